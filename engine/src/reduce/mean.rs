//! Sums and means, of numbers or of decimals.

use std::cmp::Ordering;

use serde_json::Value;

use super::{decimal, number, sum::Sum};
use crate::varint::{self, ReadError, Reader};

/// An exact total.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Total {
    /// Of integers and doubles.
    Number(Sum),
    /// Of decimals.
    Decimal(Box<decimal::Total>),
}

impl Total {
    /// Adds another total; false, and nothing done, if it is of another kind.
    #[must_use]
    pub fn merge(&mut self, other: &Self) -> bool {
        match (self, other) {
            (Self::Number(sum), Self::Number(other)) => sum.merge(other),
            (Self::Decimal(sum), Self::Decimal(other)) => sum.merge(other),
            _ => return false,
        }
        true
    }

    /// By value.
    pub fn compare(&self, other: &Self) -> Ordering {
        match (self, other) {
            (Self::Number(left), Self::Number(right)) => left.compare(right),
            (Self::Decimal(left), Self::Decimal(right)) => left.compare(right),
            _ => Ordering::Equal,
        }
    }

    /// As people and expressions read it.
    pub fn shown(&self) -> Value {
        match self {
            Self::Number(sum) => sum.shown(),
            Self::Decimal(sum) => sum.shown().into(),
        }
    }

    /// Whether both together may take more bytes than the one and the other.
    pub fn may_widen(&self, other: &Self) -> bool {
        !matches!(
            (self, other),
            (Self::Number(Sum::Integer(_)), Self::Number(Sum::Integer(_)))
        )
    }

    pub fn encode(&self, bytes: &mut Vec<u8>) {
        match self {
            Self::Number(sum) => sum.encode(bytes),
            Self::Decimal(sum) => sum.encode(bytes),
        }
    }

    pub fn encoded_len(&self) -> usize {
        match self {
            Self::Number(sum) => sum.encoded_len(),
            Self::Decimal(sum) => sum.encoded_len(),
        }
    }

    pub fn decode(decimal: bool, reader: &mut Reader<'_>) -> Result<Self, ReadError> {
        if decimal {
            decimal::Total::decode(reader).map(|sum| Self::Decimal(Box::new(sum)))
        } else {
            Sum::decode(reader).map(Self::Number)
        }
    }
}

/// A mean: the total and how many numbers it is of, at least one.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Mean {
    pub total: Total,
    pub count: u64,
}

impl Mean {
    /// Adds other numbers; false, and nothing done, if they are of another kind.
    #[must_use]
    pub fn merge(&mut self, other: &Self) -> bool {
        let same = self.total.merge(&other.total);
        if same {
            self.count = self.count.saturating_add(other.count);
        }
        same
    }

    /// Rounded once: to the nearest double, or to six more digits than the decimals have.
    pub fn shown(&self) -> Value {
        match &self.total {
            Total::Number(sum) => number::float(sum.exact().divided(self.count)),
            Total::Decimal(sum) => sum.mean(self.count).into(),
        }
    }

    /// By the value that is shown.
    pub fn compare(&self, other: &Self) -> Ordering {
        // a/n to b/m as a*m to b*n.
        let scaled = |mean: &Self, by: u64| {
            let (sum, scale) = match &mean.total {
                Total::Number(sum) => (sum.exact(), 0),
                Total::Decimal(sum) => sum.parts(),
            };
            (sum, scale, by)
        };
        let (mut left, left_scale, by) = scaled(self, other.count);
        left.multiply(by);
        let (mut right, right_scale, by) = scaled(other, self.count);
        right.multiply(by);
        for _ in left_scale..right_scale {
            left.multiply(10);
        }
        for _ in right_scale..left_scale {
            right.multiply(10);
        }
        left.cmp(&right)
    }

    pub fn encode(&self, bytes: &mut Vec<u8>) {
        self.total.encode(bytes);
        varint::put(bytes, u128::from(self.count));
    }

    pub fn encoded_len(&self) -> usize {
        self.total.encoded_len() + varint::len(u128::from(self.count))
    }

    pub fn decode(decimal: bool, reader: &mut Reader<'_>) -> Result<Self, ReadError> {
        let total = Total::decode(decimal, reader)?;
        match reader.narrow()? {
            0 => Err(ReadError::Number),
            count => Ok(Self { total, count }),
        }
    }
}
