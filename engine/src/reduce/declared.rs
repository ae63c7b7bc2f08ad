//! What a result is declared to be, and the reading of what a partition gives to it.

use std::fmt::Write as _;

use braid_crds::{
    limits,
    worker::CardResult,
    workflow::{Reduce, ResultType},
};

use super::{
    ReduceError, canonical,
    cell::Cell,
    decimal,
    distinct::{self, Distinct},
    given::Text,
    list::List,
    mean::{Mean, Total},
    number::Number,
    pick::{Pick, Picked},
    quantiles::{self, Quantiles},
    slot::MAX_KEYS,
    sum::Sum,
};

/// What a fold needs to know of a result.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Declared {
    pub name: String,
    pub from: String,
    pub reduce: Reduce,
    /// Numbers are decimals.
    pub decimal: bool,
    pub carry: Vec<String>,
    pub keyed: bool,
    pub max_keys: usize,
    /// Buckets of a sketch of quantiles.
    pub buckets: usize,
    /// The precision of a sketch of distinct values.
    pub precision: u8,
}

/// What a partition gives to one result.
#[derive(Clone, Debug)]
pub enum Part {
    Plain(Cell),
    /// Ordered by key; none twice.
    Keyed(Vec<(String, Cell)>),
}

/// What a reducer takes, for an error.
type Needed = &'static str;

const NUMBER: Needed = "a number of at most 128 bits";
const DECIMAL: Needed = "a decimal number of at most 38 digits, as a number or a text";
const NUMBERS: Needed = "a number or a list of numbers";
const MEAN: Needed = "a number, a list of numbers, or a map of sum and count";
const BOOLEAN: Needed = "true or false";

impl From<&CardResult> for Declared {
    fn from(result: &CardResult) -> Self {
        let max_keys = if result.max_keys == 0 {
            MAX_KEYS
        } else {
            result.max_keys
        };
        let max_keys = usize::try_from(max_keys.clamp(1, limits::KEYS)).unwrap_or(1);
        Self {
            name: result.name.clone(),
            from: result.from.clone(),
            reduce: result.reduce,
            decimal: result.kind == Some(ResultType::Decimal),
            carry: result.carry.clone(),
            keyed: result.keyed,
            max_keys,
            buckets: if result.keyed {
                quantiles::buckets_with(max_keys)
            } else {
                quantiles::BUCKETS
            },
            precision: if result.keyed {
                distinct::precision_with(max_keys)
            } else {
                distinct::PRECISION
            },
        }
    }
}

impl Declared {
    /// Whether what partitions give in a few bytes takes a few bytes, however many give it.
    pub fn is_small(&self) -> bool {
        use Reduce::{All, Any, Count, Max, Mean, Min, Sum};
        !self.keyed && self.carry.is_empty() && matches!(self.reduce, Sum | Count | Min | Max | Mean | All | Any)
    }

    /// Whether accumulators of both may be merged.
    pub fn folds_as(&self, other: &Self) -> bool {
        let how = |declared: &Self| {
            (
                declared.reduce,
                declared.decimal,
                declared.keyed,
                declared.buckets,
                declared.precision,
            )
        };
        self.name == other.name && how(self) == how(other) && self.carry == other.carry
    }

    /// What a partition gives: `text` under this result's key, and what comes along out of the whole `document`. `None`: it
    /// gives nothing.
    pub fn read(&self, text: Text<'_>, document: Text<'_>, partition: u64) -> Result<Option<Part>, ReduceError> {
        let carried = self.carried(document)?;
        if !self.keyed {
            let carry = self.carry_of(&carried, None)?;
            return Ok(self.cell(text, None, partition, carry)?.map(Part::Plain));
        }
        let members = text.members().ok_or_else(|| self.bad(text, None, "a map"))?;
        let mut cells = Vec::new();
        for (key, value) in members.filter(|(_, value)| !value.is_null()) {
            let carry = self.carry_of(&carried, Some(&key))?;
            if let Some(cell) = self.cell(value, Some(&key), partition, carry)? {
                cells.push((key.into_owned(), cell));
            }
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
        Ok(Some(Part::Keyed(cells)))
    }

    /// The members of the document that come along, in the order of their names.
    fn carried<'a>(&self, document: Text<'a>) -> Result<Vec<(&str, Text<'a>)>, ReduceError> {
        let mut carried: Vec<(&str, Text<'a>)> = Vec::new();
        if self.carry.is_empty() {
            return Ok(carried);
        }
        for (key, value) in document.members().into_iter().flatten() {
            let Some(name) = self.carry.iter().find(|name| **name == key) else {
                continue;
            };
            if carried.iter().any(|(known, _)| known == name) {
                return Err(ReduceError::Twice { key: cut(name) });
            }
            carried.push((name, value));
        }
        carried.retain(|(_, value)| !value.is_null());
        carried.sort_by_key(|(name, _)| *name);
        Ok(carried)
    }

    /// What comes along with one value, as a map; keyed: of each member the entry of the same key.
    fn carry_of(&self, carried: &[(&str, Text<'_>)], key: Option<&str>) -> Result<Option<Box<str>>, ReduceError> {
        if self.carry.is_empty() {
            return Ok(None);
        }
        let mut map = String::from("{");
        for (name, value) in carried {
            let value = match key {
                None => Some(*value),
                Some(key) => {
                    let mut members = value.members().ok_or_else(|| {
                        bad_of(
                            &format!("{}, carry {name}", self.name),
                            *value,
                            "a map with an entry for each key",
                        )
                    })?;
                    members.find(|(other, _)| other == key).map(|(_, value)| value)
                }
            };
            let Some(value) = value.filter(|value| !value.is_null()) else {
                continue;
            };
            let text = canonical::canonical(value)
                .ok_or_else(|| bad_of(&format!("{}, carry {name}", self.name), value, canonical::NEEDED))?;
            let comma = if map.len() > 1 { "," } else { "" };
            // A String takes everything.
            let _ = write!(map, "{comma}{}:{text}", serde_json::Value::from(*name));
        }
        map.push('}');
        if map.len() > limits::CARRY_BYTES {
            return Err(ReduceError::BadResult {
                result: self.name.clone(),
                found: format!("given with {} bytes that come along", map.len()),
                needed: "at most 1,024 bytes of JSON in all of carry",
            });
        }
        Ok(Some(map.into()))
    }

    fn cell(
        &self,
        text: Text<'_>,
        key: Option<&str>,
        partition: u64,
        carry: Option<Box<str>>,
    ) -> Result<Option<Cell>, ReduceError> {
        let bad = |needed| self.bad(text, key, needed);
        let pick = |value| Pick {
            value,
            partition,
            carry,
        };
        Ok(Some(match self.reduce {
            Reduce::Count => Cell::Count(1),
            Reduce::Sum => Cell::Sum(self.total(text).map_err(bad)?),
            Reduce::Min => Cell::Min(pick(self.picked(text).map_err(bad)?)),
            Reduce::Max => Cell::Max(pick(self.picked(text).map_err(bad)?)),
            Reduce::First => Cell::First(pick(json(text).map_err(bad)?)),
            Reduce::Last => Cell::Last(pick(json(text).map_err(bad)?)),
            Reduce::All => Cell::All(text.boolean().ok_or_else(|| bad(BOOLEAN))?),
            Reduce::Any => Cell::Any(text.boolean().ok_or_else(|| bad(BOOLEAN))?),
            Reduce::Mean => match self.mean(text).map_err(bad)? {
                Some(mean) => Cell::Mean(Box::new(mean)),
                None => return Ok(None),
            },
            Reduce::Quantiles => match self.quantiles(text).map_err(bad)? {
                Some(sketch) => Cell::Quantiles(Box::new(sketch)),
                None => return Ok(None),
            },
            Reduce::Distinct => match self.distinct(text).map_err(bad)? {
                Some(sketch) => Cell::Distinct(Box::new(sketch)),
                None => return Ok(None),
            },
            Reduce::Collect => match elements(text).map_err(bad)? {
                Some(elements) => Cell::Collect(Box::new(List::of(partition, elements))),
                None => return Ok(None),
            },
        }))
    }

    fn total(&self, text: Text<'_>) -> Result<Total, Needed> {
        if self.decimal {
            let decimal = text.decimal().ok_or(DECIMAL)?;
            return Ok(Total::Decimal(Box::new(decimal::Total::of(decimal))));
        }
        text.number().map(|number| Total::Number(Sum::of(number))).ok_or(NUMBER)
    }

    fn picked(&self, text: Text<'_>) -> Result<Picked, Needed> {
        if self.decimal {
            return text.decimal().map(Picked::Decimal).ok_or(DECIMAL);
        }
        text.number().map(Picked::Number).ok_or(NUMBER)
    }

    fn mean(&self, text: Text<'_>) -> Result<Option<Mean>, Needed> {
        if let Some(members) = text.members() {
            let (mut sum, mut count) = (None, None);
            for (key, value) in members {
                match &*key {
                    "sum" if sum.is_none() => sum = Some(self.total(value)?),
                    "count" if count.is_none() => {
                        count = match value.number() {
                            Some(Number::Integer(count)) => u64::try_from(count).ok(),
                            _ => None,
                        };
                        count.ok_or(MEAN)?;
                    }
                    _ => return Err(MEAN),
                }
            }
            let (total, count) = sum.zip(count).ok_or(MEAN)?;
            return Ok((count > 0).then_some(Mean { total, count }));
        }
        let mut mean: Option<Mean> = None;
        for element in each(text) {
            let total = self
                .total(element)
                .map_err(|needed| if self.decimal { needed } else { MEAN })?;
            let one = Mean { total, count: 1 };
            match &mut mean {
                Some(mean) => mean.merge(&one).then_some(()).ok_or(MEAN)?,
                None => mean = Some(one),
            }
        }
        Ok(mean)
    }

    fn quantiles(&self, text: Text<'_>) -> Result<Option<Quantiles>, Needed> {
        let mut sketch: Option<Quantiles> = None;
        for element in each(text) {
            let one = Quantiles::of(element.number().ok_or(NUMBERS)?, self.buckets);
            match &mut sketch {
                Some(sketch) => sketch.merge(&one),
                None => sketch = Some(one),
            }
        }
        Ok(sketch)
    }

    fn distinct(&self, text: Text<'_>) -> Result<Option<Distinct>, Needed> {
        let mut sketch: Option<Distinct> = None;
        for element in each(text) {
            let text = canonical::canonical(element).ok_or(canonical::NEEDED)?;
            let one = Distinct::of(distinct::hash(&text), self.precision);
            match &mut sketch {
                Some(sketch) => sketch.merge(&one).then_some(()).ok_or(canonical::NEEDED)?,
                None => sketch = Some(one),
            }
        }
        Ok(sketch)
    }

    fn bad(&self, text: Text<'_>, key: Option<&str>, needed: Needed) -> ReduceError {
        match key {
            Some(key) => bad_of(&format!("{}[{:?}]", self.name, cut(key)), text, needed),
            None => bad_of(&self.name, text, needed),
        }
    }

    /// Whether there may be so many keys.
    pub fn check_keys(&self, keys: usize) -> Result<(), ReduceError> {
        if keys <= self.max_keys {
            return Ok(());
        }
        Err(ReduceError::TooManyKeys {
            result: self.name.clone(),
            max: self.max_keys,
        })
    }
}

fn bad_of(result: &str, text: Text<'_>, needed: Needed) -> ReduceError {
    ReduceError::BadResult {
        result: result.to_owned(),
        found: found(text, needed),
        needed,
    }
}

/// What was given, in words: of a list the element that is no number, where it must be numbers.
fn found(text: Text<'_>, needed: Needed) -> String {
    let whole = text.kind();
    if !matches!(needed, NUMBERS | MEAN) || !whole.starts_with("a list") {
        return whole;
    }
    match each(text).find(|element| element.number().is_none()) {
        Some(wrong) => format!("{whole} with {} in it", wrong.kind()),
        None => whole,
    }
}

fn json(text: Text<'_>) -> Result<Picked, Needed> {
    let text = canonical::canonical(text).ok_or(canonical::NEEDED)?;
    Ok(Picked::Json(text.into()))
}

/// The elements of a list but for its nulls; of anything else that itself.
fn each(text: Text<'_>) -> impl Iterator<Item = Text<'_>> {
    let elements = text.elements();
    let itself = elements.is_none().then_some(text);
    elements
        .into_iter()
        .flatten()
        .chain(itself)
        .filter(|element| !element.is_null())
}

/// The elements in their one form, with commas between them; `None` if there are none.
fn elements(text: Text<'_>) -> Result<Option<Box<str>>, Needed> {
    let mut written = String::new();
    for element in each(text) {
        if !written.is_empty() {
            written.push(',');
        }
        written.push_str(&canonical::canonical(element).ok_or(canonical::NEEDED)?);
    }
    Ok((!written.is_empty()).then(|| written.into()))
}

/// A key as an error says it.
pub fn cut(key: &str) -> String {
    key.chars().take(40).collect()
}
