//! One accumulator: of a plain result, or of one key of a keyed one.

use std::cmp::Ordering;

use braid_crds::{status::ValueType, workflow::Reduce};
use serde_json::{Map, Value};

use super::{
    declared::Declared,
    distinct::Distinct,
    list::List,
    mean::{Mean, Total},
    number::{self, Number},
    pick::{Holds, Pick, Picked},
    quantiles::{Quantiles, Share},
    sum::Sum,
};
use crate::varint::{self, ReadError, Reader};

/// What was given so far, by at least one partition.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Cell {
    Sum(Total),
    Count(u64),
    Mean(Box<Mean>),
    Min(Pick),
    Max(Pick),
    First(Pick),
    Last(Pick),
    All(bool),
    Any(bool),
    Quantiles(Box<Quantiles>),
    Distinct(Box<Distinct>),
    Collect(Box<List>),
}

/// What is shown of a cell.
#[derive(Clone, Debug)]
pub struct Shown {
    pub value: Value,
    pub kind: ValueType,
    /// How far an estimate may be off.
    pub error: Option<String>,
}

impl Shown {
    fn exact(value: Value, kind: ValueType) -> Self {
        Self {
            value,
            kind,
            error: None,
        }
    }
}

impl Cell {
    /// No sum takes more bytes: the widest is that of the largest and the smallest double.
    pub const SUM_LEN: usize = 300;

    /// Whether both together may take more bytes than the one and the other.
    pub fn may_widen(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Sum(held), Self::Sum(other)) => held.may_widen(other),
            (Self::Mean(held), Self::Mean(other)) => held.total.may_widen(&other.total),
            _ => false,
        }
    }

    /// By at most how many bytes a cell grows that this is added to, whatever it holds.
    pub fn adds_at_most(&self) -> usize {
        match self {
            Self::Sum(_) | Self::Mean(_) => Self::SUM_LEN,
            other => other.encoded_len(),
        }
    }

    /// Adds another cell; false, and nothing done, if it is of another reducer.
    #[must_use]
    pub fn merge(&mut self, other: &Self) -> bool {
        match (self, other) {
            (Self::Sum(sum), Self::Sum(other)) => return sum.merge(other),
            (Self::Count(count), Self::Count(other)) => *count = count.saturating_add(*other),
            (Self::Mean(mean), Self::Mean(other)) => return mean.merge(other),
            (Self::Min(held), Self::Min(other)) => held.by_value(other, Ordering::Less),
            (Self::Max(held), Self::Max(other)) => held.by_value(other, Ordering::Greater),
            (Self::First(held), Self::First(other)) => held.by_partition(other, Ordering::Less),
            (Self::Last(held), Self::Last(other)) => held.by_partition(other, Ordering::Greater),
            (Self::All(held), Self::All(other)) => *held &= *other,
            (Self::Any(held), Self::Any(other)) => *held |= *other,
            (Self::Quantiles(held), Self::Quantiles(other)) => held.merge(other),
            (Self::Distinct(held), Self::Distinct(other)) => return held.merge(other),
            (Self::Collect(held), Self::Collect(other)) => held.merge(other),
            _ => return false,
        }
        true
    }

    /// Adds a number to a sum in place: the path of a step with one plain sum.
    pub fn add_to_sum(&mut self, number: Number) -> bool {
        let Self::Sum(Total::Number(sum)) = self else {
            return false;
        };
        sum.add(number);
        true
    }

    /// As people and expressions read it; `at` says which quantiles.
    pub fn shown(&self, at: &[String]) -> Shown {
        match self {
            Self::Sum(total) => Shown::exact(
                total.shown(),
                match total {
                    Total::Number(Sum::Integer(_) | Sum::Large(_)) => ValueType::Integer,
                    Total::Number(Sum::Float(_)) => ValueType::Number,
                    Total::Decimal(_) => ValueType::Decimal,
                },
            ),
            Self::Count(count) => Shown::exact(number::integer(i128::from(*count)), ValueType::Integer),
            Self::Mean(mean) => Shown::exact(
                mean.shown(),
                match mean.total {
                    Total::Number(_) => ValueType::Number,
                    Total::Decimal(_) => ValueType::Decimal,
                },
            ),
            Self::Min(held) | Self::Max(held) | Self::First(held) | Self::Last(held) => Shown::exact(
                held.shown(),
                match held.value {
                    Picked::Number(number) if number.is_integer() => ValueType::Integer,
                    Picked::Number(_) => ValueType::Number,
                    Picked::Decimal(_) => ValueType::Decimal,
                    Picked::Json(_) => ValueType::Json,
                },
            ),
            Self::All(held) | Self::Any(held) => Shown::exact((*held).into(), ValueType::Json),
            Self::Quantiles(held) => quantiles(held, at),
            Self::Distinct(held) => Shown {
                value: number::integer(i128::from(held.count())),
                kind: ValueType::Integer,
                error: (!held.is_exact()).then(|| format!("standard {:.1}%", held.error_percent())),
            },
            Self::Collect(held) => Shown::exact(held.shown(), ValueType::Json),
        }
    }

    /// The order in which keys are shown: the largest first, of `Min` the smallest.
    pub fn rank(&self, other: &Self) -> Ordering {
        match (self, other) {
            (Self::Sum(left), Self::Sum(right)) => right.compare(left),
            (Self::Count(left), Self::Count(right)) => right.cmp(left),
            (Self::Mean(left), Self::Mean(right)) => right.compare(left),
            (Self::Max(left), Self::Max(right)) => left.rank(right),
            (Self::Min(left), Self::Min(right)) => right.rank(left),
            (Self::Distinct(left), Self::Distinct(right)) => right.count().cmp(&left.count()),
            _ => Ordering::Equal,
        }
    }

    pub fn encode(&self, bytes: &mut Vec<u8>) {
        match self {
            Self::Sum(total) => total.encode(bytes),
            Self::Count(count) => varint::put(bytes, u128::from(*count)),
            Self::Mean(mean) => mean.encode(bytes),
            Self::Min(held) | Self::Max(held) | Self::First(held) | Self::Last(held) => held.encode(bytes),
            Self::All(held) | Self::Any(held) => bytes.push(u8::from(*held)),
            Self::Quantiles(held) => held.encode(bytes),
            Self::Distinct(held) => held.encode(bytes),
            Self::Collect(held) => held.encode(bytes),
        }
    }

    pub fn encoded_len(&self) -> usize {
        match self {
            Self::Sum(total) => total.encoded_len(),
            Self::Count(count) => varint::len(u128::from(*count)),
            Self::Mean(mean) => mean.encoded_len(),
            Self::Min(held) | Self::Max(held) | Self::First(held) | Self::Last(held) => held.encoded_len(),
            Self::All(_) | Self::Any(_) => 1,
            Self::Quantiles(held) => held.encoded_len(),
            Self::Distinct(held) => held.encoded_len(),
            Self::Collect(held) => held.encoded_len(),
        }
    }

    pub fn decode(declared: &Declared, reader: &mut Reader<'_>) -> Result<Self, ReadError> {
        let number = if declared.decimal {
            Holds::Decimal
        } else {
            Holds::Number
        };
        let carries = !declared.carry.is_empty();
        let boolean = |reader: &mut Reader<'_>| match reader.byte()? {
            0 => Ok(false),
            1 => Ok(true),
            _ => Err(ReadError::Number),
        };
        Ok(match declared.reduce {
            Reduce::Sum => Self::Sum(Total::decode(declared.decimal, reader)?),
            Reduce::Count => match reader.narrow()? {
                0 => return Err(ReadError::Number),
                count => Self::Count(count),
            },
            Reduce::Mean => Self::Mean(Box::new(Mean::decode(declared.decimal, reader)?)),
            Reduce::Min => Self::Min(Pick::decode(number, carries, reader)?),
            Reduce::Max => Self::Max(Pick::decode(number, carries, reader)?),
            Reduce::First => Self::First(Pick::decode(Holds::Json, carries, reader)?),
            Reduce::Last => Self::Last(Pick::decode(Holds::Json, carries, reader)?),
            Reduce::All => Self::All(boolean(reader)?),
            Reduce::Any => Self::Any(boolean(reader)?),
            Reduce::Quantiles => Self::Quantiles(Box::new(Quantiles::decode(declared.buckets, reader)?)),
            Reduce::Distinct => Self::Distinct(Box::new(Distinct::decode(declared.precision, reader)?)),
            Reduce::Collect => Self::Collect(Box::new(List::decode(reader)?)),
        })
    }
}

/// The map of the quantiles that are asked for.
fn quantiles(held: &Quantiles, at: &[String]) -> Shown {
    let mut exact = true;
    let mut shown = Map::new();
    for name in at {
        let Some(share) = Share::parse(name) else { continue };
        let at = held.at(share);
        exact &= at.exact;
        shown.insert(name.clone(), number::float(at.value));
    }
    Shown {
        value: Value::Object(shown),
        kind: ValueType::Number,
        error: (!exact).then(|| format!("at most {}%", held.error_percent())),
    }
}
