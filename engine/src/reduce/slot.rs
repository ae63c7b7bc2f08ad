//! One declared result and what was folded into it.

use std::{collections::BTreeMap, sync::Arc};

use braid_crds::{limits, worker::CardResult, workflow::Reduce};
use serde_json::{Map, Value};

use super::{
    ReduceError,
    cell::{Cell, Given},
    given::Text,
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

/// What a fold needs to know of a result.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Declared {
    pub name: String,
    pub from: String,
    pub reduce: Reduce,
    pub keyed: bool,
    max_keys: usize,
}

/// The accumulators of a result.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Cells {
    Plain(Option<Cell>),
    /// With the encoded bytes of all entries, kept up to date.
    Keyed(BTreeMap<String, Cell>, usize),
}

/// What a partition gives to one result.
#[derive(Clone, Debug)]
pub enum Part {
    Plain(Cell),
    /// Ordered by key; none twice.
    Keyed(Vec<(String, Cell)>),
}

impl From<&CardResult> for Declared {
    fn from(result: &CardResult) -> Self {
        let max_keys = if result.max_keys == 0 {
            MAX_KEYS
        } else {
            result.max_keys
        };
        Self {
            name: result.name.clone(),
            from: result.from.clone(),
            reduce: result.reduce,
            keyed: result.keyed,
            max_keys: usize::try_from(max_keys.clamp(1, limits::KEYS)).unwrap_or(1),
        }
    }
}

impl Declared {
    /// What a partition gives under this result's key.
    pub fn read(&self, text: Text<'_>, partition: u64) -> Result<Part, ReduceError> {
        if !self.keyed {
            return self.cell(text, None, partition).map(Part::Plain);
        }
        let members = text.members().ok_or_else(|| self.bad(text, None, "a map"))?;
        let mut cells = Vec::new();
        for (key, value) in members.filter(|(_, value)| !value.is_null()) {
            let cell = self.cell(value, Some(&key), partition)?;
            cells.push((key.into_owned(), cell));
        }
        cells.sort_by(|(left, _), (right, _)| left.cmp(right));
        let twice = cells.windows(2).find_map(|pair| match pair {
            [(left, _), (right, _)] if left == right => Some(left),
            _ => None,
        });
        if let Some(key) = twice {
            return Err(ReduceError::Twice { key: cut(key) });
        }
        self.check_keys(cells.len())?;
        Ok(Part::Keyed(cells))
    }

    fn cell(&self, text: Text<'_>, key: Option<&str>, partition: u64) -> Result<Cell, ReduceError> {
        let given = match self.reduce {
            Reduce::Count => Some(Given::Anything),
            _ => text.number().map(Given::Number),
        };
        given
            .and_then(|given| Cell::of(self.reduce, given, partition))
            .ok_or_else(|| self.bad(text, key, "a number of at most 128 bits"))
    }

    fn bad(&self, text: Text<'_>, key: Option<&str>, needed: &'static str) -> ReduceError {
        ReduceError::BadResult {
            result: match key {
                Some(key) => format!("{}[{:?}]", self.name, cut(key)),
                None => self.name.clone(),
            },
            found: text.kind(),
            needed,
        }
    }

    fn check_keys(&self, keys: usize) -> Result<(), ReduceError> {
        if keys <= self.max_keys {
            return Ok(());
        }
        Err(ReduceError::TooManyKeys {
            result: self.name.clone(),
            max: self.max_keys,
        })
    }
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
        let (ours, theirs) = (&self.declared, &other.declared);
        if (&ours.name, ours.reduce) != (&theirs.name, theirs.reduce) {
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
        Ok(())
    }

    /// As people and expressions read it; `None` if nothing was given and nothing is no number.
    pub fn shown(&self, top: Option<usize>) -> Option<Value> {
        match &self.cells {
            Cells::Plain(Some(cell)) => Some(cell.shown()),
            Cells::Plain(None) if self.declared.reduce == Reduce::Count => Some(0.into()),
            Cells::Keyed(cells, _) if self.count > 0 => {
                let mut ranked: Vec<_> = cells.iter().collect();
                ranked.sort_by(|(left, a), (right, b)| a.rank(b).then_with(|| left.cmp(right)));
                ranked.truncate(top.unwrap_or(usize::MAX));
                let shown: Map<String, Value> = ranked
                    .into_iter()
                    .map(|(key, cell)| (key.clone(), cell.shown()))
                    .collect();
                Some(Value::Object(shown))
            }
            Cells::Plain(None) | Cells::Keyed(..) => None,
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
            Part::Plain(_) => Cell::MAX_LEN,
            Part::Keyed(parts) => (parts.iter())
                .map(|(key, cell)| match self.cell_of(key) {
                    Some(held) if held.may_widen(cell) => Cell::MAX_LEN,
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
                let cell = Cell::decode(declared.reduce, &mut reader).map_err(malformed)?;
                if matches!(cell, Cell::Count(count) if count != slot.count) {
                    return Err(malformed(ReadError::Number));
                }
                *held = Some(cell);
            }
            Cells::Keyed(cells, bytes) => {
                let keys: usize = reader.narrow().map_err(malformed)?;
                declared.check_keys(keys)?;
                for _ in 0..keys {
                    let key = reader.text().map_err(malformed)?;
                    let cell = Cell::decode(declared.reduce, &mut reader).map_err(malformed)?;
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

fn cut(key: &str) -> String {
    key.chars().take(40).collect()
}
