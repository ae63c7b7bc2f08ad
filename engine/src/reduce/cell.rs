//! One accumulator: of a plain result, or of one key of a keyed one.

use std::cmp::Ordering;

use braid_crds::workflow::Reduce;
use serde_json::Value;

use super::{
    number::{self, Number},
    sum::Sum,
};
use crate::varint::{self, ReadError, Reader};

/// What was given so far, by at least one partition.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Cell {
    /// Of `Sum`.
    Sum(Sum),
    /// Of `Count`.
    Count(u64),
    /// Of `Min`.
    Min(Extreme),
    /// Of `Max`.
    Max(Extreme),
}

/// The smallest or largest number and the partition that gave it; the lowest partition of several.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Extreme {
    value: Number,
    partition: u64,
}

/// What one partition gives to one cell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Given {
    /// To `Count`, which does not look at it.
    Anything,
    /// To the others.
    Number(Number),
}

impl Cell {
    /// No cell is longer encoded: the widest is a sum of the largest and the smallest double.
    pub const MAX_LEN: usize = 300;

    /// The cell of one partition; `None` if what it gives is not for this reducer.
    pub fn of(reduce: Reduce, given: Given, partition: u64) -> Option<Self> {
        Some(match (reduce, given) {
            (Reduce::Count, _) => Self::Count(1),
            (_, Given::Anything) => return None,
            (Reduce::Sum, Given::Number(value)) => Self::Sum(Sum::of(value)),
            (Reduce::Min, Given::Number(value)) => Self::Min(Extreme { value, partition }),
            (Reduce::Max, Given::Number(value)) => Self::Max(Extreme { value, partition }),
        })
    }

    /// Whether both together may take more bytes than the one and the other.
    pub fn may_widen(&self, other: &Self) -> bool {
        !matches!(
            (self, other),
            (Self::Sum(Sum::Integer(_)), Self::Sum(Sum::Integer(_))) | (Self::Count(_), Self::Count(_))
        )
    }

    /// Adds another cell; false, and nothing done, if it is of another reducer.
    #[must_use]
    pub fn merge(&mut self, other: &Self) -> bool {
        match (self, other) {
            (Self::Sum(sum), Self::Sum(other)) => sum.merge(other),
            (Self::Count(count), Self::Count(other)) => *count = count.saturating_add(*other),
            (Self::Min(held), Self::Min(other)) => held.take_if(other, Ordering::Less),
            (Self::Max(held), Self::Max(other)) => held.take_if(other, Ordering::Greater),
            _ => return false,
        }
        true
    }

    /// Adds a number to a sum in place: the path of a step with one plain sum.
    pub fn add_to_sum(&mut self, number: Number) -> bool {
        let Self::Sum(sum) = self else { return false };
        sum.add(number);
        true
    }

    /// As people and expressions read it.
    pub fn shown(&self) -> Value {
        match self {
            Self::Sum(sum) => sum.shown(),
            Self::Count(count) => number::integer(i128::from(*count)),
            Self::Min(held) | Self::Max(held) => held.value.shown(),
        }
    }

    /// The order in which keys are shown: the largest first, of `Min` the smallest.
    pub fn rank(&self, other: &Self) -> Ordering {
        match (self, other) {
            (Self::Sum(left), Self::Sum(right)) => right.compare(left),
            (Self::Count(left), Self::Count(right)) => right.cmp(left),
            (Self::Max(left), Self::Max(right)) => right.value.compare(left.value),
            (Self::Min(left), Self::Min(right)) => left.value.compare(right.value),
            _ => Ordering::Equal,
        }
    }

    pub fn encode(&self, bytes: &mut Vec<u8>) {
        match self {
            Self::Sum(sum) => sum.encode(bytes),
            Self::Count(count) => varint::put(bytes, u128::from(*count)),
            Self::Min(held) | Self::Max(held) => {
                held.value.encode(bytes);
                varint::put(bytes, u128::from(held.partition));
            }
        }
    }

    pub fn encoded_len(&self) -> usize {
        match self {
            Self::Sum(sum) => sum.encoded_len(),
            Self::Count(count) => varint::len(u128::from(*count)),
            Self::Min(held) | Self::Max(held) => held.value.encoded_len() + varint::len(u128::from(held.partition)),
        }
    }

    pub fn decode(reduce: Reduce, reader: &mut Reader<'_>) -> Result<Self, ReadError> {
        Ok(match reduce {
            Reduce::Sum => Self::Sum(Sum::decode(reader)?),
            Reduce::Count => match reader.narrow()? {
                0 => return Err(ReadError::Number),
                count => Self::Count(count),
            },
            Reduce::Min => Self::Min(Extreme::decode(reader)?),
            Reduce::Max => Self::Max(Extreme::decode(reader)?),
        })
    }
}

impl Extreme {
    fn take_if(&mut self, other: &Self, wanted: Ordering) {
        let by_value = other.value.compare(self.value);
        // Two numbers of one partition cannot happen; the last comparison keeps even that without an order.
        let first = (other.partition.cmp(&self.partition)).then_with(|| other.value.total_compare(self.value));
        if by_value == wanted || (by_value == Ordering::Equal && first == Ordering::Less) {
            self.clone_from(other);
        }
    }

    fn decode(reader: &mut Reader<'_>) -> Result<Self, ReadError> {
        Ok(Self {
            value: Number::decode(reader)?,
            partition: reader.narrow()?,
        })
    }
}
