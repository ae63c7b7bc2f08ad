//! One partition's value out of all: the smallest, the largest, the first, the last; and what comes along with it.

use std::cmp::Ordering;

use serde_json::{Map, Value};

use super::{canonical, decimal::Decimal, number::Number};
use crate::varint::{self, ReadError, Reader};

/// A value, the partition that gave it, and what that partition gave besides.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Pick {
    pub value: Picked,
    pub partition: u64,
    /// A map in its one form; `None` where nothing is to come along.
    pub carry: Option<Box<str>>,
}

/// What a reducer chooses from.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Picked {
    /// Of `Min` and `Max`.
    Number(Number),
    /// Of these with `type: Decimal`.
    Decimal(Decimal),
    /// Of `First` and `Last`: JSON in its one form.
    Json(Box<str>),
}

/// What a pick holds, by declaration.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Holds {
    Number,
    Decimal,
    Json,
}

impl Picked {
    fn compare(&self, other: &Self) -> Ordering {
        match (self, other) {
            (Self::Number(left), Self::Number(right)) => left.compare(*right),
            (Self::Decimal(left), Self::Decimal(right)) => left.compare(*right),
            _ => Ordering::Equal,
        }
    }

    fn total_compare(&self, other: &Self) -> Ordering {
        match (self, other) {
            (Self::Number(left), Self::Number(right)) => left.total_compare(*right),
            (Self::Decimal(left), Self::Decimal(right)) => left.total_compare(*right),
            (Self::Json(left), Self::Json(right)) => left.cmp(right),
            _ => Ordering::Equal,
        }
    }

    pub fn shown(&self) -> Value {
        match self {
            Self::Number(number) => number.shown(),
            Self::Decimal(decimal) => decimal.shown().into(),
            Self::Json(text) => serde_json::from_str(text).unwrap_or(Value::Null),
        }
    }
}

impl Pick {
    /// Takes the other one if it is better by value; of equal ones that of the lower partition.
    pub fn by_value(&mut self, other: &Self, wanted: Ordering) {
        let by_value = other.value.compare(&self.value);
        if by_value == wanted || (by_value == Ordering::Equal && self.comes_after(other)) {
            self.clone_from(other);
        }
    }

    /// Takes the other one if its partition is lower, or higher.
    pub fn by_partition(&mut self, other: &Self, wanted: Ordering) {
        let by_partition = other.partition.cmp(&self.partition);
        if by_partition == wanted || (by_partition == Ordering::Equal && self.comes_after(other)) {
            self.clone_from(other);
        }
    }

    /// Whether the other one goes before. Two values of one partition cannot happen; that there is an order even then keeps a
    /// fold of nonsense from depending on its order.
    fn comes_after(&self, other: &Self) -> bool {
        let order = (other.partition.cmp(&self.partition))
            .then_with(|| other.value.total_compare(&self.value))
            .then_with(|| other.carry.cmp(&self.carry));
        order == Ordering::Less
    }

    /// The order in which keys are shown, the largest first.
    pub fn rank(&self, other: &Self) -> Ordering {
        other.value.compare(&self.value)
    }

    /// The value; with what came along if anything may.
    pub fn shown(&self) -> Value {
        let Some(carry) = &self.carry else {
            return self.value.shown();
        };
        let mut shown = Map::new();
        shown.insert("value".into(), self.value.shown());
        shown.insert("carry".into(), serde_json::from_str(carry).unwrap_or_default());
        Value::Object(shown)
    }

    pub fn encode(&self, bytes: &mut Vec<u8>) {
        match &self.value {
            Picked::Number(number) => number.encode(bytes),
            Picked::Decimal(decimal) => decimal.encode(bytes),
            Picked::Json(text) => varint::put_text(bytes, text),
        }
        varint::put(bytes, u128::from(self.partition));
        if let Some(carry) = &self.carry {
            varint::put_text(bytes, carry);
        }
    }

    pub fn encoded_len(&self) -> usize {
        let text = |text: &str| varint::len(text.len() as u128) + text.len();
        let value = match &self.value {
            Picked::Number(number) => number.encoded_len(),
            Picked::Decimal(decimal) => decimal.encoded_len(),
            Picked::Json(json) => text(json),
        };
        value + varint::len(u128::from(self.partition)) + self.carry.as_deref().map_or(0, text)
    }

    pub fn decode(holds: Holds, carries: bool, reader: &mut Reader<'_>) -> Result<Self, ReadError> {
        let json = |reader: &mut Reader<'_>| -> Result<(Box<str>, Value), ReadError> {
            let text = reader.text()?;
            let value = canonical::read(text).ok_or(ReadError::Number)?;
            Ok((text.into(), value))
        };
        let value = match holds {
            Holds::Number => Picked::Number(Number::decode(reader)?),
            Holds::Decimal => Picked::Decimal(Decimal::decode(reader)?),
            Holds::Json => Picked::Json(json(reader)?.0),
        };
        let partition = reader.narrow()?;
        let carry = if carries {
            let (text, value) = json(reader)?;
            Some(text).filter(|_| value.is_object())
        } else {
            None
        };
        if carries && carry.is_none() {
            return Err(ReadError::Number);
        }
        Ok(Self {
            value,
            partition,
            carry,
        })
    }
}
