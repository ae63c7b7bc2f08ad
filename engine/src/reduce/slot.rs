//! One declared result and what was folded into it.

use std::{collections::BTreeMap, sync::Arc};

use braid_crds::{
    limits,
    status::ValueType,
    workflow::{Reduce, ResultSpec},
};
use serde_json::{Map, Value};

use super::{
    ReduceError,
    cell::{Cell, Shown},
    declared::{Declared, Part},
};
use crate::varint::{self, ReadError, Reader};

/// `maxKeys` where none is declared.
pub const MAX_KEYS: i32 = 10_000;
/// The first byte of every encoded state.
const VERSION: u8 = 1;

/// A declared result and its accumulators.
#[derive(Clone, Debug)]
pub struct Slot {
    pub declared: Arc<Declared>,
    /// Partitions that gave it.
    pub count: u64,
    pub cells: Cells,
}

/// The accumulators of a result.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Cells {
    Plain(Option<Cell>),
    /// With the encoded bytes of all entries, kept up to date.
    Keyed(BTreeMap<String, Cell>, usize),
}

impl Slot {
    pub fn new(declared: Arc<Declared>) -> Self {
        let cells = if declared.keyed {
            Cells::Keyed(BTreeMap::new(), 0)
        } else {
            Cells::Plain(None)
        };
        Self {
            declared,
            count: 0,
            cells,
        }
    }

    /// Whether `part` may be added.
    pub fn admits(&self, part: &Part) -> Result<(), ReduceError> {
        let (Part::Keyed(parts), Cells::Keyed(cells, _)) = (part, &self.cells) else {
            return Ok(());
        };
        if cells.len() + parts.len() <= self.declared.max_keys {
            return Ok(());
        }
        let new = parts.iter().filter(|(key, _)| !cells.contains_key(key)).count();
        self.declared.check_keys(cells.len() + new)
    }

    /// Adds what one partition gives, which was admitted.
    pub fn add(&mut self, part: Part) -> Result<(), ReduceError> {
        let same = match (part, &mut self.cells) {
            (Part::Plain(cell), Cells::Plain(held)) => merge_plain(held, &cell),
            (Part::Keyed(parts), Cells::Keyed(cells, bytes)) => {
                (parts.into_iter()).all(|(key, cell)| match cells.get_mut(&key) {
                    Some(held) => merge_entry(held, &cell, bytes),
                    None => insert(cells, key, cell, bytes),
                })
            }
            _ => false,
        };
        if !same {
            return Err(ReduceError::Different(self.declared.name.clone()));
        }
        self.count = self.count.saturating_add(1);
        Ok(())
    }

    /// Adds what other partitions gave.
    pub fn merge(&mut self, other: &Self) -> Result<(), ReduceError> {
        if !Arc::ptr_eq(&self.declared, &other.declared) && !self.declared.folds_as(&other.declared) {
            return Err(ReduceError::Different(other.declared.name.clone()));
        }
        let same = match (&mut self.cells, &other.cells) {
            (Cells::Plain(held), Cells::Plain(Some(cell))) => merge_plain(held, cell),
            (Cells::Plain(_), Cells::Plain(None)) => true,
            (Cells::Keyed(cells, bytes), Cells::Keyed(others, _)) => {
                let same = others.iter().all(|(key, cell)| match cells.get_mut(key) {
                    Some(held) => merge_entry(held, cell, bytes),
                    None => insert(cells, key.clone(), cell.clone(), bytes),
                });
                self.declared.check_keys(cells.len())?;
                same
            }
            _ => false,
        };
        if !same {
            return Err(ReduceError::Different(other.declared.name.clone()));
        }
        self.count = self.count.saturating_add(other.count);
        self.check_list()
    }

    /// Whether a list has not become too long. Its value is in the status beside its state.
    fn check_list(&self) -> Result<(), ReduceError> {
        let bytes = match &self.cells {
            Cells::Plain(Some(Cell::Collect(list))) => list.json_len(),
            _ => 0,
        };
        if bytes <= limits::LIST_BYTES {
            return Ok(());
        }
        Err(ReduceError::TooLarge {
            result: self.declared.name.clone(),
            bytes,
            max: limits::LIST_BYTES,
        })
    }

    /// As people and expressions read it; `None` if nothing was given and nothing is no value.
    pub fn shown(&self, spec: &ResultSpec) -> Option<Shown> {
        match &self.cells {
            Cells::Plain(Some(cell)) => Some(cell.shown(&spec.at)),
            Cells::Keyed(cells, _) if self.count > 0 => {
                let mut ranked: Vec<_> = cells.iter().collect();
                if let Some(top) = spec.top {
                    ranked.sort_by(|(left, a), (right, b)| a.rank(b).then_with(|| left.cmp(right)));
                    ranked.truncate(usize::try_from(top).unwrap_or(0));
                }
                Some(keyed(ranked, &spec.at))
            }
            Cells::Plain(None) | Cells::Keyed(..) => nothing(spec),
        }
    }

    /// The canonical bytes.
    pub fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(self.encoded_len());
        bytes.push(VERSION);
        varint::put(&mut bytes, u128::from(self.count));
        match &self.cells {
            Cells::Plain(Some(cell)) => cell.encode(&mut bytes),
            Cells::Plain(None) => {}
            Cells::Keyed(cells, _) => {
                varint::put(&mut bytes, cells.len() as u128);
                for (key, cell) in cells {
                    varint::put_text(&mut bytes, key);
                    cell.encode(&mut bytes);
                }
            }
        }
        bytes
    }

    pub fn encoded_len(&self) -> usize {
        let cells = match &self.cells {
            Cells::Plain(cell) => cell.as_ref().map_or(0, Cell::encoded_len),
            Cells::Keyed(cells, bytes) => varint::len(cells.len() as u128) + bytes,
        };
        1 + varint::len(u128::from(self.count)) + cells
    }

    /// At most so many encoded bytes with `part` added.
    pub fn len_with(&self, part: &Part) -> usize {
        let added = match part {
            Part::Plain(cell) => cell.adds_at_most(),
            Part::Keyed(parts) => (parts.iter())
                .map(|(key, cell)| match self.cell_of(key) {
                    Some(held) if held.may_widen(cell) => Cell::SUM_LEN,
                    _ => entry_len(key, cell),
                })
                .sum(),
        };
        // Two counts may grow by a byte each.
        let at_most = self.encoded_len() + added + 2;
        if at_most <= limits::PARTIAL_BYTES {
            return at_most;
        }
        // Near the cap it is worth to be exact: most keys are there already.
        let mut with = self.clone();
        match with.add(part.clone()) {
            Ok(()) => with.encoded_len(),
            Err(_) => at_most,
        }
    }

    /// Whether a partial of so many bytes may be committed.
    pub fn check_len(&self, bytes: usize) -> Result<(), ReduceError> {
        if bytes <= limits::PARTIAL_BYTES {
            return Ok(());
        }
        Err(ReduceError::TooLarge {
            result: self.declared.name.clone(),
            bytes,
            max: limits::PARTIAL_BYTES,
        })
    }

    fn cell_of(&self, key: &str) -> Option<&Cell> {
        match &self.cells {
            Cells::Plain(_) => None,
            Cells::Keyed(cells, _) => cells.get(key),
        }
    }

    /// Reads canonical bytes of a result of which at least one partition gave something.
    pub fn decode(declared: &Arc<Declared>, bytes: &[u8]) -> Result<Self, ReduceError> {
        let malformed = |error| ReduceError::Malformed(declared.name.clone(), error);
        let mut reader = Reader::new(bytes);
        if reader.byte().map_err(malformed)? != VERSION {
            return Err(malformed(ReadError::Number));
        }
        let mut slot = Self::new(Arc::clone(declared));
        slot.count = reader.narrow().map_err(malformed)?;
        if slot.count == 0 {
            return Err(malformed(ReadError::Number));
        }
        match &mut slot.cells {
            Cells::Plain(held) => {
                let cell = Cell::decode(declared, &mut reader).map_err(malformed)?;
                let fits = match &cell {
                    Cell::Count(count) => *count == slot.count,
                    Cell::Collect(list) => list.partitions() as u64 == slot.count,
                    _ => true,
                };
                if !fits {
                    return Err(malformed(ReadError::Number));
                }
                *held = Some(cell);
            }
            Cells::Keyed(cells, bytes) => {
                let keys: usize = reader.narrow().map_err(malformed)?;
                declared.check_keys(keys)?;
                for _ in 0..keys {
                    let key = reader.text().map_err(malformed)?;
                    let cell = Cell::decode(declared, &mut reader).map_err(malformed)?;
                    let follows = cells.last_key_value().is_none_or(|(last, _)| last.as_str() < key);
                    if !follows {
                        return Err(malformed(ReadError::Number));
                    }
                    insert(cells, key.to_owned(), cell, bytes);
                }
            }
        }
        reader.end().map_err(malformed)?;
        Ok(slot)
    }
}

fn merge_plain(held: &mut Option<Cell>, cell: &Cell) -> bool {
    let Some(held) = held else {
        *held = Some(cell.clone());
        return true;
    };
    held.merge(cell)
}

fn merge_entry(held: &mut Cell, cell: &Cell, bytes: &mut usize) -> bool {
    *bytes -= held.encoded_len();
    let same = held.merge(cell);
    *bytes += held.encoded_len();
    same
}

/// Adds a new key: always possible.
fn insert(cells: &mut BTreeMap<String, Cell>, key: String, cell: Cell, bytes: &mut usize) -> bool {
    *bytes += entry_len(&key, &cell);
    cells.insert(key, cell);
    true
}

/// The encoded bytes of one key and its cell.
pub fn entry_len(key: &str, cell: &Cell) -> usize {
    varint::len(key.len() as u128) + key.len() + cell.encoded_len()
}

/// What is shown where nothing was given: what the reducer makes of nothing, if that is a value.
pub fn nothing(spec: &ResultSpec) -> Option<Shown> {
    let (value, kind) = match spec.reduce {
        _ if spec.keyed => return None,
        Reduce::Count | Reduce::Distinct => (0.into(), ValueType::Integer),
        Reduce::Collect => (Value::Array(Vec::new()), ValueType::Json),
        _ => return None,
    };
    Some(Shown {
        value,
        kind,
        error: None,
    })
}

/// A map of what cells show. Its numbers are of one type: doubles if any is.
fn keyed(cells: Vec<(&String, &Cell)>, at: &[String]) -> Shown {
    let mut map = Map::new();
    let (mut kind, mut worst) = (None, None);
    for (key, cell) in cells {
        let shown = cell.shown(at);
        if kind.is_none() || shown.kind == ValueType::Number {
            kind = Some(shown.kind);
        }
        // The texts differ in their number only, and the larger is the longer or the later.
        let rank = |text: &String| (text.len(), text.clone());
        if let Some(error) = shown.error
            && worst.as_ref().is_none_or(|worst| rank(worst) < rank(&error))
        {
            worst = Some(error);
        }
        map.insert(key.clone(), shown.value);
    }
    Shown {
        value: Value::Object(map),
        kind: kind.unwrap_or(ValueType::Json),
        error: worst,
    }
}
