//! The exact sum.

use std::cmp::Ordering;

use serde_json::Value;

use super::{
    exact::Exact,
    number::{self, Number},
};
use crate::varint::{self, ReadError, Reader};

/// A sum of integers and doubles. Each sum has one form: integers that fit are always `Integer`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Sum {
    /// Only integers were added, and the sum fits.
    Integer(i128),
    /// Only integers were added, and the sum is beyond 128 bits.
    Large(Box<Exact>),
    /// A double was added.
    Float(Box<Exact>),
}

impl Sum {
    /// The sum of one number.
    pub fn of(number: Number) -> Self {
        match number {
            Number::Integer(value) => Self::Integer(value),
            Number::Float(value) => {
                let mut exact = Exact::ZERO;
                exact.add_float(value);
                Self::Float(Box::new(exact))
            }
        }
    }

    /// Adds a number.
    pub fn add(&mut self, number: Number) {
        match (&mut *self, number) {
            (Self::Integer(sum), Number::Integer(value)) if sum.checked_add(value).is_some() => *sum += value,
            (Self::Float(sum), Number::Integer(value)) => sum.add_integer(value),
            (Self::Float(sum), Number::Float(value)) => sum.add_float(value),
            _ => self.merge(&Self::of(number)),
        }
    }

    /// Adds another sum.
    pub fn merge(&mut self, other: &Self) {
        if let (Self::Integer(left), Self::Integer(right)) = (&*self, other)
            && let Some(sum) = left.checked_add(*right)
        {
            *self = Self::Integer(sum);
            return;
        }
        let float = matches!(self, Self::Float(_)) || matches!(other, Self::Float(_));
        let mut sum = self.exact();
        match other {
            Self::Integer(value) => sum.add_integer(*value),
            Self::Large(exact) | Self::Float(exact) => sum.add(exact),
        }
        *self = if float {
            Self::Float(Box::new(sum))
        } else {
            Self::whole(sum)
        };
    }

    /// The sum as a fixed-point number.
    pub fn exact(&self) -> Exact {
        match self {
            Self::Integer(value) => {
                let mut exact = Exact::ZERO;
                exact.add_integer(*value);
                exact
            }
            Self::Large(exact) | Self::Float(exact) => (**exact).clone(),
        }
    }

    /// By value.
    pub fn compare(&self, other: &Self) -> Ordering {
        match (self, other) {
            (Self::Integer(left), Self::Integer(right)) => left.cmp(right),
            _ => self.exact().cmp(&other.exact()),
        }
    }

    /// As people and expressions read it: rounded once if a double was added.
    pub fn shown(&self) -> Value {
        match self {
            Self::Integer(value) => number::integer(*value),
            Self::Large(exact) => exact.to_digits().into(),
            Self::Float(exact) => number::float(exact.to_float()),
        }
    }

    /// The whole sum in decimal digits; a sum of doubles without what is behind the point.
    pub fn to_digits(&self) -> String {
        match self {
            Self::Integer(value) => value.to_string(),
            Self::Large(exact) | Self::Float(exact) => exact.to_digits(),
        }
    }

    /// The sum times a power of ten.
    pub fn shifted(&self, places: u32) -> Self {
        if let Self::Integer(value) = self
            && let Some(product) = 10_i128.checked_pow(places).and_then(|power| value.checked_mul(power))
        {
            return Self::Integer(product);
        }
        let mut exact = self.exact();
        for _ in 0..places {
            exact.multiply(10);
        }
        Self::whole(exact)
    }

    /// A whole number in its one form.
    pub fn whole(exact: Exact) -> Self {
        match exact.to_integer() {
            Some(small) => Self::Integer(small),
            None => Self::Large(Box::new(exact)),
        }
    }

    pub fn encode(&self, bytes: &mut Vec<u8>) {
        match self {
            Self::Integer(value) => {
                bytes.push(0);
                varint::put_signed(bytes, *value);
            }
            Self::Large(exact) => {
                bytes.push(1);
                exact.encode(bytes);
            }
            Self::Float(exact) => {
                bytes.push(2);
                exact.encode(bytes);
            }
        }
    }

    pub fn encoded_len(&self) -> usize {
        match self {
            Self::Integer(value) => 1 + varint::len_signed(*value),
            Self::Large(_) | Self::Float(_) => {
                let mut bytes = Vec::new();
                self.encode(&mut bytes);
                bytes.len()
            }
        }
    }

    pub fn decode(reader: &mut Reader<'_>) -> Result<Self, ReadError> {
        match reader.byte()? {
            0 => reader.signed().map(Self::Integer),
            1 => {
                let exact = Exact::decode(reader)?;
                // One form: what fits is an `Integer`, and what has a fraction is a `Float`.
                if exact.is_whole() && exact.to_integer().is_none() {
                    Ok(Self::Large(Box::new(exact)))
                } else {
                    Err(ReadError::Number)
                }
            }
            2 => Exact::decode(reader).map(|exact| Self::Float(Box::new(exact))),
            _ => Err(ReadError::Number),
        }
    }
}
