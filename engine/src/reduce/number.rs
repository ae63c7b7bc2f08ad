//! The numbers that partitions give: JSON integers and doubles, each exactly as written.

use std::{cmp::Ordering, hash::Hash};

use serde_json::Value;

use super::exact::Exact;
use crate::varint::{self, ReadError, Reader};

/// Whole numbers up to here are exact in every reader of JSON.
const SAFE: i128 = 1 << 53;

/// A number that a partition gave.
#[derive(Clone, Copy, Debug)]
pub enum Number {
    /// Written without point and exponent.
    Integer(i128),
    /// Written with one of them; finite, and never -0.0.
    Float(f64),
}

impl Number {
    /// Reads the text of a JSON number; `None` if it is beyond 128 bits, or beyond the largest double.
    pub fn parse(text: &str) -> Option<Self> {
        if text.bytes().any(|byte| matches!(byte, b'.' | b'e' | b'E')) {
            text.parse().ok().and_then(Self::float)
        } else {
            text.parse().ok().map(Self::Integer)
        }
    }

    fn float(value: f64) -> Option<Self> {
        // -0.0 + 0.0 = 0.0: there is one zero.
        value.is_finite().then_some(Self::Float(value + 0.0))
    }

    /// By value alone: 1 and 1.0 are equal.
    pub fn compare(self, other: Self) -> Ordering {
        match (self, other) {
            (Self::Integer(left), Self::Integer(right)) => left.cmp(&right),
            (Self::Float(left), Self::Float(right)) => left.total_cmp(&right),
            _ => self.exact().cmp(&other.exact()),
        }
    }

    /// The nearest double.
    #[expect(clippy::cast_precision_loss, reason = "the nearest is meant")]
    pub fn to_float(self) -> f64 {
        match self {
            Self::Integer(value) => value as f64,
            Self::Float(value) => value,
        }
    }

    /// Whether it was written without point and exponent.
    pub fn is_integer(self) -> bool {
        matches!(self, Self::Integer(_))
    }

    fn exact(self) -> Exact {
        let mut exact = Exact::ZERO;
        match self {
            Self::Integer(value) => exact.add_integer(value),
            Self::Float(value) => exact.add_float(value),
        }
        exact
    }

    /// As people and expressions read it.
    pub fn shown(self) -> Value {
        match self {
            Self::Integer(value) => integer(value),
            Self::Float(value) => float(value),
        }
    }

    pub fn encode(self, bytes: &mut Vec<u8>) {
        match self {
            Self::Integer(value) => {
                bytes.push(0);
                varint::put_signed(bytes, value);
            }
            Self::Float(value) => {
                bytes.push(1);
                bytes.extend_from_slice(&value.to_bits().to_le_bytes());
            }
        }
    }

    pub fn encoded_len(self) -> usize {
        match self {
            Self::Integer(value) => 1 + varint::len_signed(value),
            Self::Float(_) => 9,
        }
    }

    pub fn decode(reader: &mut Reader<'_>) -> Result<Self, ReadError> {
        match reader.byte()? {
            0 => reader.signed().map(Self::Integer),
            1 => {
                let bytes: [u8; 8] = reader.bytes(8)?.try_into().map_err(|_| ReadError::Short)?;
                let value = f64::from_bits(u64::from_le_bytes(bytes));
                let one_zero = value != 0.0 || value.is_sign_positive();
                Self::float(value).filter(|_| one_zero).ok_or(ReadError::Number)
            }
            _ => Err(ReadError::Number),
        }
    }

    /// What tells two numbers apart: also 1 from 1.0.
    fn identity(self) -> (bool, u128) {
        match self {
            Self::Integer(value) => (false, value.cast_unsigned()),
            Self::Float(value) => (true, u128::from(value.to_bits())),
        }
    }

    /// By value, then integers before doubles: no two different numbers are equal.
    pub fn total_compare(self, other: Self) -> Ordering {
        self.compare(other).then_with(|| self.identity().cmp(&other.identity()))
    }
}

impl PartialEq for Number {
    fn eq(&self, other: &Self) -> bool {
        self.identity() == other.identity()
    }
}

impl Eq for Number {}

impl Hash for Number {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        self.identity().hash(state);
    }
}

/// A whole number as JSON: a text beyond ±2^53, where readers of JSON begin to round.
pub fn integer(value: i128) -> Value {
    match i64::try_from(value) {
        Ok(small) if (-SAFE..=SAFE).contains(&value) => small.into(),
        _ => value.to_string().into(),
    }
}

/// A double as JSON, in a form that any reader and writer of JSON keeps: whole ones without a point, and beyond 2^53 as text
/// like any whole number (from 2^64 on no reader takes digits for an integer). A text, too, if it is infinite, which JSON
/// cannot say.
#[expect(
    clippy::cast_possible_truncation,
    clippy::float_cmp,
    reason = "whole, and within the bounds of i128"
)]
pub fn float(value: f64) -> Value {
    const BEYOND: f64 = 18_446_744_073_709_551_616.0;
    if value.abs() < BEYOND && value.trunc() == value {
        return integer(value as i128);
    }
    match serde_json::Number::from_f64(value) {
        Some(number) => Value::Number(number),
        None if value < 0.0 => "-Infinity".into(),
        None => "Infinity".into(),
    }
}
