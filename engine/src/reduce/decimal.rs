//! Decimal numbers and their exact sums: `type: Decimal`.
//!
//! A decimal is a whole number of units of 10^-scale. A sum has the largest scale that was given, as people add by hand:
//! 9.90 + 0.1 = 10.00. So neither the value nor its text depends on the order. What may be given is bounded (38 digits,
//! as a DECIMAL(38) of SQL); sums are not.

use std::cmp::Ordering;

use super::{exact::Exact, sum::Sum};
use crate::varint::{self, ReadError, Reader};

/// Digits of a decimal at most, and digits behind its point.
const DIGITS: u32 = 38;
/// Exponents of ten beyond this are refused before anything is computed.
const EXPONENT: i32 = 100;
/// Bits of a sum of units that is believed when read: far from where [`Exact`] would wrap.
const READ_BITS: u32 = 512;
/// Digits that a mean has behind those of its sum.
const MEAN_DIGITS: u32 = 6;

/// A decimal number as it was given: 9.9 and 9.90 are equal and two.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Decimal {
    units: i128,
    scale: u32,
}

impl Decimal {
    /// Reads a plain or scientific decimal number; `None` if it is none, or has too many digits.
    pub fn parse(text: &str) -> Option<Self> {
        let (negative, rest) = match text.as_bytes().first()? {
            b'-' => (true, text.get(1..)?),
            b'+' => (false, text.get(1..)?),
            _ => (false, text),
        };
        let (mantissa, exponent) = match rest.split_once(['e', 'E']) {
            Some((mantissa, exponent)) if exponent.len() <= 6 => (mantissa, exponent.parse::<i32>().ok()?),
            Some(_) => return None,
            None => (rest, 0),
        };
        let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, "0"));
        let digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        if !digits(whole) || !digits(fraction) || exponent.abs() > EXPONENT {
            return None;
        }
        let fraction = if mantissa.contains('.') { fraction } else { "" };
        let mut units = 0_i128;
        for digit in whole.bytes().chain(fraction.bytes()) {
            units = units.checked_mul(10)?.checked_add(i128::from(digit - b'0'))?;
        }
        let mut scale = i32::try_from(fraction.len()).ok()?.checked_sub(exponent)?;
        while scale < 0 && units != 0 {
            units = units.checked_mul(10)?;
            scale += 1;
        }
        let scale = u32::try_from(scale.max(0)).ok()?;
        let units = if negative { -units } else { units };
        Self { units, scale }.bounded()
    }

    fn bounded(self) -> Option<Self> {
        let fits = self.scale <= DIGITS && self.units.unsigned_abs() < 10_u128.pow(DIGITS);
        fits.then_some(self)
    }

    /// By value alone.
    pub fn compare(self, other: Self) -> Ordering {
        if self.scale == other.scale {
            return self.units.cmp(&other.units);
        }
        Total::of(self).compare(&Total::of(other))
    }

    /// By value, then by digits behind the point: no two different decimals are equal.
    pub fn total_compare(self, other: Self) -> Ordering {
        self.compare(other).then_with(|| self.scale.cmp(&other.scale))
    }

    /// As it was given, without exponent.
    pub fn shown(self) -> String {
        pointed(&self.units.to_string(), self.scale)
    }

    pub fn encode(self, bytes: &mut Vec<u8>) {
        varint::put(bytes, u128::from(self.scale));
        varint::put_signed(bytes, self.units);
    }

    pub fn encoded_len(self) -> usize {
        varint::len(u128::from(self.scale)) + varint::len_signed(self.units)
    }

    pub fn decode(reader: &mut Reader<'_>) -> Result<Self, ReadError> {
        let scale = reader.narrow()?;
        let units = reader.signed()?;
        Self { units, scale }.bounded().ok_or(ReadError::Number)
    }
}

/// A sum of decimals.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Total {
    units: Sum,
    scale: u32,
}

impl Total {
    /// The sum of one decimal.
    pub fn of(decimal: Decimal) -> Self {
        Self {
            units: Sum::Integer(decimal.units),
            scale: decimal.scale,
        }
    }

    /// Adds another sum.
    pub fn merge(&mut self, other: &Self) {
        match self.scale.cmp(&other.scale) {
            Ordering::Less => {
                self.units = self.units.shifted(other.scale - self.scale);
                self.scale = other.scale;
                self.units.merge(&other.units);
            }
            Ordering::Equal => self.units.merge(&other.units),
            Ordering::Greater => self.units.merge(&other.units.shifted(self.scale - other.scale)),
        }
    }

    /// By value.
    pub fn compare(&self, other: &Self) -> Ordering {
        let scale = self.scale.max(other.scale);
        let left = self.units.shifted(scale - self.scale);
        left.compare(&other.units.shifted(scale - other.scale))
    }

    /// The units and the scale.
    pub fn parts(&self) -> (Exact, u32) {
        (self.units.exact(), self.scale)
    }

    /// The sum's digits.
    pub fn shown(&self) -> String {
        pointed(&self.units.to_digits(), self.scale)
    }

    /// The sum by `count`, rounded to six more digits behind the point than the sum has, ties to even. Of the zeros at its
    /// end those that the sum has not are left out.
    pub fn mean(&self, count: u64) -> String {
        let exact: Exact = self.units.shifted(MEAN_DIGITS).exact();
        let mean = Sum::whole(exact.divided_whole(count));
        let text = pointed(&mean.to_digits(), self.scale + MEAN_DIGITS);
        let zeros = text.bytes().rev().take_while(|byte| *byte == b'0').count();
        let cut = zeros.min(MEAN_DIGITS as usize);
        text.get(..text.len() - cut)
            .map_or_else(|| text.clone(), |text| text.trim_end_matches('.').to_owned())
    }

    pub fn encode(&self, bytes: &mut Vec<u8>) {
        varint::put(bytes, u128::from(self.scale));
        self.units.encode(bytes);
    }

    pub fn encoded_len(&self) -> usize {
        varint::len(u128::from(self.scale)) + self.units.encoded_len()
    }

    pub fn decode(reader: &mut Reader<'_>) -> Result<Self, ReadError> {
        let scale = reader.narrow()?;
        let units = Sum::decode(reader)?;
        let believed = match &units {
            Sum::Integer(_) => true,
            Sum::Large(exact) => exact.whole_bits() <= READ_BITS,
            Sum::Float(_) => false,
        };
        if scale > DIGITS || !believed {
            return Err(ReadError::Number);
        }
        Ok(Self { units, scale })
    }
}

/// Puts the point before the last `scale` digits.
fn pointed(digits: &str, scale: u32) -> String {
    let (sign, digits) = digits.strip_prefix('-').map_or(("", digits), |rest| ("-", rest));
    let scale = scale as usize;
    if scale == 0 {
        return format!("{sign}{digits}");
    }
    let digits = format!("{digits:0>width$}", width = scale + 1);
    let (whole, fraction) = digits.split_at(digits.len() - scale);
    format!("{sign}{whole}.{fraction}")
}
