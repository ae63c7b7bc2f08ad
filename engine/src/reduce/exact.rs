//! A sum of doubles and integers without rounding.
//!
//! A fixed-point number in two's complement whose lowest bit is 2^-1074, the smallest double, and whose highest is
//! beyond the sum of 2^128 of the largest. Nothing is ever rounded, so the order of additions does not matter; it is
//! rounded once, when it is shown.

use std::{cmp::Ordering, fmt::Write as _};

use crate::varint::{self, ReadError, Reader};

const LIMBS: usize = 36;
/// The position of the bit that is worth one.
const POINT: u32 = 1074;
/// The bytes of a magnitude that is believed when read: 2^1102, from which 2^100 additions cannot overflow.
const READ_BYTES: usize = 34 * 8;

/// A sum without rounding.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Exact([u64; LIMBS]);

impl Exact {
    /// Zero.
    pub const ZERO: Self = Self([0; LIMBS]);

    /// Adds a finite double.
    pub fn add_float(&mut self, value: f64) {
        let bits = value.to_bits();
        let fraction = u128::from(bits & ((1 << 52) - 1));
        match low_u32(u128::from(bits >> 52) & 0x7ff) {
            0 => self.add_magnitude(fraction, 0, value.is_sign_negative()),
            exponent => self.add_magnitude(fraction | 1 << 52, exponent - 1, value.is_sign_negative()),
        }
    }

    /// Adds an integer.
    pub fn add_integer(&mut self, value: i128) {
        self.add_magnitude(value.unsigned_abs(), POINT, value < 0);
    }

    /// Adds another sum.
    pub fn add(&mut self, other: &Self) {
        let mut carry = false;
        for (limb, part) in self.0.iter_mut().zip(&other.0) {
            (*limb, carry) = carrying_add(*limb, *part, carry);
        }
    }

    fn add_magnitude(&mut self, magnitude: u128, bit: u32, negative: bool) {
        let (skip, shift) = ((bit / 64) as usize, bit % 64);
        let (low, high) = (low_u64(magnitude), low_u64(magnitude >> 64));
        let parts = if shift == 0 {
            [low, high, 0]
        } else {
            [low << shift, high << shift | low >> (64 - shift), high >> (64 - shift)]
        };
        let mut carry = false;
        let parts = parts.into_iter().map(Some).chain(std::iter::repeat(None));
        for (limb, part) in self.0.iter_mut().skip(skip).zip(parts) {
            if part.is_none() && !carry {
                break;
            }
            let part = part.unwrap_or(0);
            (*limb, carry) = if negative {
                borrowing_sub(*limb, part, carry)
            } else {
                carrying_add(*limb, part, carry)
            };
        }
    }

    fn is_negative(&self) -> bool {
        self.0.last().is_some_and(|top| top >> 63 == 1)
    }

    fn magnitude(&self) -> [u64; LIMBS] {
        let mut limbs = self.0;
        if self.is_negative() {
            let mut carry = true;
            for limb in &mut limbs {
                (*limb, carry) = carrying_add(!*limb, 0, carry);
            }
        }
        limbs
    }

    /// The nearest double, ties to even; infinite if beyond the largest.
    pub fn to_float(&self) -> f64 {
        self.signed(rounded(&self.magnitude(), Rest::NONE))
    }

    /// The double nearest to this by `count`, ties to even; a count of 0 is taken as 1.
    pub fn divided(&self, count: u64) -> f64 {
        let (limbs, rest) = quotient(&self.magnitude(), count.max(1));
        self.signed(rounded(&limbs, rest))
    }

    fn signed(&self, magnitude: f64) -> f64 {
        if self.is_negative() { -magnitude } else { magnitude }
    }

    /// This by `count`, rounded to a whole number, ties to even; a count of 0 is taken as 1.
    pub fn divided_whole(&self, count: u64) -> Self {
        let (limbs, rest) = quotient(&self.magnitude(), count.max(1));
        let mut whole = Self(limbs);
        let half = bits_from(&limbs, POINT - 1, 1) == 1;
        let beyond = rest != Rest::NONE || lowest_bit(&limbs).is_some_and(|lowest| lowest < POINT - 1);
        let odd = bits_from(&limbs, POINT, 1) == 1;
        for (index, limb) in (0_u32..).zip(&mut whole.0) {
            let behind = POINT.saturating_sub(index * 64).min(64);
            *limb = limb.checked_shr(behind).map_or(0, |high| high << behind);
        }
        if half && (beyond || odd) {
            whole.add_integer(1);
        }
        if self.is_negative() {
            let mut negative = Self::ZERO;
            for (index, limb) in (0_u32..).zip(&whole.0) {
                negative.add_magnitude(u128::from(*limb), index * 64, true);
            }
            return negative;
        }
        whole
    }

    /// Multiplies by a small number. Whole numbers of up to 1,100 bits stay whole numbers; what is beyond the bounds wraps.
    pub fn multiply(&mut self, factor: u64) {
        let negative = self.is_negative();
        let mut carry = 0_u128;
        let mut product = Self::ZERO;
        for (limb, part) in product.0.iter_mut().zip(self.magnitude()) {
            let wide = u128::from(part) * u128::from(factor) + carry;
            *limb = low_u64(wide);
            carry = wide >> 64;
        }
        *self = Self::ZERO;
        for (index, limb) in (0_u32..).zip(&product.0) {
            self.add_magnitude(u128::from(*limb), index * 64, negative);
        }
    }

    /// The bits before the point.
    pub fn whole_bits(&self) -> u32 {
        highest_bit(&self.magnitude()).map_or(0, |highest| (highest + 1).saturating_sub(POINT))
    }

    /// Whether there is nothing behind the point.
    pub fn is_whole(&self) -> bool {
        lowest_bit(&self.0).is_none_or(|lowest| lowest >= POINT)
    }

    /// The sum as an integer, if it is a sum of integers and fits.
    pub fn to_integer(&self) -> Option<i128> {
        let limbs = self.magnitude();
        let Some(highest) = highest_bit(&limbs) else {
            return Some(0);
        };
        if highest > POINT + 127 || !self.is_whole() {
            return None;
        }
        let low = bits_from(&limbs, POINT, 64);
        let high = bits_from(&limbs, POINT + 64, 64);
        let magnitude = u128::from(high) << 64 | u128::from(low);
        if self.is_negative() {
            0_i128.checked_sub_unsigned(magnitude)
        } else {
            i128::try_from(magnitude).ok()
        }
    }

    /// The whole part in decimal digits.
    pub fn to_digits(&self) -> String {
        const GROUP: u128 = 10_u128.pow(19);
        let limbs = self.magnitude();
        let first = POINT / 64;
        let mut rest: Vec<u64> = (0..LIMBS)
            .zip(first..)
            .map(|(_, limb)| bits_from(&limbs, limb * 64 + POINT % 64, 64))
            .collect();
        let mut groups = Vec::new();
        while rest.iter().any(|limb| *limb != 0) {
            let mut remainder = 0_u128;
            for limb in rest.iter_mut().rev() {
                let dividend = remainder << 64 | u128::from(*limb);
                *limb = low_u64(dividend / GROUP);
                remainder = dividend % GROUP;
            }
            groups.push(remainder);
        }
        let mut digits = String::from(if self.is_negative() { "-" } else { "" });
        let mut groups = groups.into_iter().rev();
        digits.push_str(&groups.next().unwrap_or(0).to_string());
        for group in groups {
            let _ = write!(digits, "{group:019}"); // a String takes everything
        }
        digits
    }

    /// Appends the sign, and the magnitude without the zero bytes at its ends.
    pub fn encode(&self, bytes: &mut Vec<u8>) {
        let magnitude: Vec<u8> = self.magnitude().iter().flat_map(|limb| limb.to_le_bytes()).collect();
        let from = magnitude.iter().position(|byte| *byte != 0).unwrap_or(0);
        let to = magnitude
            .iter()
            .rposition(|byte| *byte != 0)
            .map_or(from, |last| last + 1);
        bytes.push(u8::from(self.is_negative()));
        varint::put(bytes, from as u128);
        varint::put(bytes, (to - from) as u128);
        bytes.extend_from_slice(magnitude.get(from..to).unwrap_or_default());
    }

    /// Reads what [`encode`](Self::encode) wrote, and only that.
    pub fn decode(reader: &mut Reader<'_>) -> Result<Self, ReadError> {
        let negative = match reader.byte()? {
            0 => false,
            1 => true,
            _ => return Err(ReadError::Number),
        };
        let from: usize = reader.narrow()?;
        let length: usize = reader.narrow()?;
        if from.saturating_add(length) > READ_BYTES {
            return Err(ReadError::Number);
        }
        let taken = reader.bytes(length)?;
        let canonical = match (taken.first(), taken.last()) {
            (Some(first), Some(last)) => *first != 0 && *last != 0,
            _ => from == 0 && !negative,
        };
        if !canonical {
            return Err(ReadError::Number);
        }
        let mut sum = Self::ZERO;
        for (position, byte) in (0_u32..).zip(taken) {
            let bit = u32::try_from(from).map_err(|_| ReadError::Number)? * 8 + position * 8;
            sum.add_magnitude(u128::from(*byte), bit, negative);
        }
        Ok(sum)
    }
}

impl Ord for Exact {
    fn cmp(&self, other: &Self) -> Ordering {
        // Two's complement of equal sign orders as the bits do.
        (other.is_negative().cmp(&self.is_negative())).then_with(|| self.0.iter().rev().cmp(other.0.iter().rev()))
    }
}

impl PartialOrd for Exact {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

fn carrying_add(left: u64, right: u64, carry: bool) -> (u64, bool) {
    let (sum, first) = left.overflowing_add(right);
    let (sum, second) = sum.overflowing_add(u64::from(carry));
    (sum, first || second)
}

fn borrowing_sub(left: u64, right: u64, borrow: bool) -> (u64, bool) {
    let (difference, first) = left.overflowing_sub(right);
    let (difference, second) = difference.overflowing_sub(u64::from(borrow));
    (difference, first || second)
}

/// What is left below the lowest bit, as a part of that bit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Rest {
    some: bool,
    half: Ordering,
}

impl Rest {
    const NONE: Self = Self {
        some: false,
        half: Ordering::Less,
    };
}

/// Long division.
fn quotient(limbs: &[u64; LIMBS], divisor: u64) -> ([u64; LIMBS], Rest) {
    let mut quotient = *limbs;
    let mut remainder = 0_u128;
    for limb in quotient.iter_mut().rev() {
        let dividend = remainder << 64 | u128::from(*limb);
        *limb = low_u64(dividend / u128::from(divisor));
        remainder = dividend % u128::from(divisor);
    }
    let rest = Rest {
        some: remainder != 0,
        half: (remainder * 2).cmp(&u128::from(divisor)),
    };
    (quotient, rest)
}

/// The double nearest to a magnitude, ties to even.
fn rounded(limbs: &[u64; LIMBS], rest: Rest) -> f64 {
    let highest = highest_bit(limbs).unwrap_or(0);
    // A double's bits read as an integer grow with its value, subnormal or not: the exponent field is the shift.
    let bits = match highest.checked_sub(52) {
        None | Some(0) => {
            let kept = bits_from(limbs, 0, 53);
            let up = match rest.half {
                Ordering::Less => false,
                Ordering::Equal => kept & 1 == 1,
                Ordering::Greater => true,
            };
            kept + u64::from(up)
        }
        Some(shift) => {
            let kept = bits_from(limbs, shift, 53);
            let half = bits_from(limbs, shift - 1, 1) == 1;
            let beyond = rest.some || lowest_bit(limbs).is_some_and(|lowest| lowest < shift - 1);
            let up = half && (beyond || kept & 1 == 1);
            (u64::from(shift) << 52) + kept + u64::from(up)
        }
    };
    f64::from_bits(bits.min(f64::INFINITY.to_bits()))
}

fn highest_bit(limbs: &[u64]) -> Option<u32> {
    (0_u32..)
        .zip(limbs)
        .filter(|(_, limb)| **limb != 0)
        .last()
        .map(|(index, limb)| index * 64 + 63 - limb.leading_zeros())
}

fn lowest_bit(limbs: &[u64]) -> Option<u32> {
    (0_u32..)
        .zip(limbs)
        .find(|(_, limb)| **limb != 0)
        .map(|(index, limb)| index * 64 + limb.trailing_zeros())
}

/// `count` bits (at most 64) from bit `from` upwards.
fn bits_from(limbs: &[u64], from: u32, count: u32) -> u64 {
    let at = |index: u32| limbs.get(index as usize).copied().unwrap_or(0);
    let pair = u128::from(at(from / 64)) | u128::from(at(from / 64 + 1)) << 64;
    low_u64(pair >> (from % 64)) & (u64::MAX >> (64 - count))
}

#[expect(clippy::cast_possible_truncation, reason = "the low bits are meant")]
fn low_u64(number: u128) -> u64 {
    number as u64
}

#[expect(clippy::cast_possible_truncation, reason = "the low bits are meant")]
fn low_u32(number: u128) -> u32 {
    number as u32
}
