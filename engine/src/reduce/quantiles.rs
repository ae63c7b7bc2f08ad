//! Quantiles by counts in buckets whose borders are fixed.
//!
//! A bucket is all doubles that agree in sign, exponent and the first bits of their fraction; at depth 0 these are six bits, 64
//! buckets to an octave. So where a value goes depends on its bits alone, on no logarithm of any machine. When there would be more
//! buckets than may be, neighbours are joined in pairs (one depth more), all at once and as often as it takes. The depth is the
//! least at which the content fits: a part of the content never needs a greater one than the whole, so the state depends on the
//! content alone, whatever the order in which it came.
//!
//! Magnitudes below the smallest normal double count as zero.

use std::{
    collections::BTreeMap,
    ops::Bound::{Excluded, Unbounded},
};

use super::number::Number;
use crate::varint::{self, ReadError, Reader};

/// Bits of a double behind those that choose the bucket, at depth 0.
const DROPPED: u32 = 46;
/// Octaves are joined from this depth on.
const OCTAVE: u8 = 6;
/// At this depth everything of one sign is in one bucket.
const DEEPEST: u8 = 17;
/// The code of infinity: one past the largest.
const CODES: i32 = 2047 << 6;
/// Whole numbers up to here are told apart by doubles.
const SAFE: f64 = 9_007_199_254_740_992.0;
/// The parts of a whole in which shares are counted.
const PARTS: u32 = 100_000;

/// Buckets of one sketch at most.
pub const BUCKETS: usize = 2_048;
/// Buckets of all keys together at most: with two bytes for the distance to the next and five for a count, they fit into a
/// partial.
const BUCKETS_OF_KEYS: usize = 4_096;

/// Buckets for each key where there may be so many.
pub fn buckets_with(keys: usize) -> usize {
    (BUCKETS_OF_KEYS / keys.max(1)).clamp(16, BUCKETS)
}

/// What the sketches of so many keys may take in usual cases: four bytes a bucket. With large counts it may be twice as much.
pub fn usual_len(keys: usize) -> usize {
    keys.saturating_mul(buckets_with(keys)).saturating_mul(4)
}

/// Counts of numbers in buckets; of at least one number.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Quantiles {
    most: usize,
    depth: u8,
    /// All numbers are whole, and doubles tell them apart.
    whole: bool,
    min: Finite,
    max: Finite,
    buckets: BTreeMap<i32, u64>,
    /// The encoded bytes of the buckets, kept up to date.
    bytes: usize,
}

/// A finite double that is never -0.0, by its bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Finite(u64);

impl Finite {
    fn of(value: f64) -> Option<Self> {
        let one_zero = value != 0.0 || value.is_sign_positive();
        (value.is_finite() && one_zero).then(|| Self(value.to_bits()))
    }

    fn get(self) -> f64 {
        f64::from_bits(self.0)
    }
}

/// A share of all numbers, as in `p99_9`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Share(u32);

impl Share {
    /// Reads `p50`, `p99_9`.
    pub fn parse(text: &str) -> Option<Self> {
        let (whole, rest) = match text.strip_prefix('p')?.split_once('_') {
            Some((whole, rest)) => (whole, rest),
            None => (text.strip_prefix('p')?, "0"),
        };
        let digits = |text: &str| (1..=3).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_digit());
        if !digits(whole) || !digits(rest) {
            return None;
        }
        let thousandths: u32 = format!("{rest:0<3}").parse().ok()?;
        let parts = whole.parse::<u32>().ok()? * 1_000 + thousandths;
        (parts <= PARTS).then_some(Self(parts))
    }
}

/// A value at a share, and whether it is exactly that of the content.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct At {
    pub value: f64,
    pub exact: bool,
}

impl Quantiles {
    /// The sketch of one number.
    pub fn of(number: Number, most: usize) -> Self {
        let value = number.to_float();
        // The smallest doubles are those of the bucket of zero; that there are two zeros was ended before.
        let finite = Finite(value.to_bits());
        let mut sketch = Self {
            most: most.max(1),
            depth: 0,
            whole: value.fract() == 0.0 && value.abs() <= SAFE,
            min: finite,
            max: finite,
            buckets: BTreeMap::new(),
            bytes: 0,
        };
        sketch.put(key_of(value, 0), 1);
        sketch
    }

    /// Adds other numbers.
    pub fn merge(&mut self, other: &Self) {
        self.whole &= other.whole;
        if other.min.get() < self.min.get() {
            self.min = other.min;
        }
        if other.max.get() > self.max.get() {
            self.max = other.max;
        }
        while self.depth < other.depth {
            self.deepen();
        }
        for (key, count) in &other.buckets {
            let key = (other.depth..self.depth).fold(*key, |key, _| joined(key));
            self.put(key, *count);
        }
        while self.buckets.len() > self.most && self.depth < DEEPEST {
            self.deepen();
        }
    }

    fn put(&mut self, key: i32, count: u64) {
        if let Some(held) = self.buckets.get_mut(&key) {
            self.bytes -= varint::len(u128::from(*held));
            *held = held.saturating_add(count);
            self.bytes += varint::len(u128::from(*held));
            return;
        }
        let before = self.buckets.range(..key).next_back().map(|(key, _)| *key);
        let after = self
            .buckets
            .range((Excluded(key), Unbounded))
            .next()
            .map(|(key, _)| *key);
        if let Some(after) = after {
            self.bytes -= key_len(before, after);
            self.bytes += key_len(Some(key), after);
        }
        self.bytes += key_len(before, key) + varint::len(u128::from(count));
        self.buckets.insert(key, count);
    }

    fn deepen(&mut self) {
        let buckets = std::mem::take(&mut self.buckets);
        self.bytes = 0;
        self.depth += 1;
        for (key, count) in buckets {
            self.put(joined(key), count);
        }
    }

    /// How many numbers there are.
    pub fn count(&self) -> u64 {
        self.buckets
            .values()
            .fold(0, |sum: u64, count| sum.saturating_add(*count))
    }

    /// The value at a share: of n numbers in their order that of rank ceil(share * n), the first at 0.
    pub fn at(&self, share: Share) -> At {
        let count = self.count();
        let rank = (u128::from(count) * u128::from(share.0)).div_ceil(u128::from(PARTS));
        let exactly = |value: Finite| At {
            value: value.get(),
            exact: true,
        };
        if rank <= 1 {
            return exactly(self.min);
        }
        if rank >= u128::from(count) {
            return exactly(self.max);
        }
        let mut below = 0_u128;
        for (key, count) in &self.buckets {
            below += u128::from(*count);
            if below >= rank {
                return self.middle(*key);
            }
        }
        exactly(self.max)
    }

    /// A value for all of a bucket: its middle.
    fn middle(&self, key: i32) -> At {
        if self.min == self.max {
            return At {
                value: self.min.get(),
                exact: true,
            };
        }
        let (min, max) = (self.min.get(), self.max.get());
        let (low, high) = borders(key, self.depth);
        let (magnitude, exact) = if key == 0 {
            (0.0, self.whole)
        } else if self.whole {
            let (first, last) = (low.ceil(), high.ceil() - 1.0);
            ((first + ((last - first) / 2.0).floor()), first >= last)
        } else {
            (four_digits(low / 2.0 + high / 2.0), false)
        };
        let value = if key < 0 { -magnitude } else { magnitude };
        At {
            // Zero has one sign.
            value: value.clamp(min, max) + 0.0,
            exact,
        }
    }

    /// By how much a value may be off at most, in percent of the true one.
    pub fn error_percent(&self) -> f64 {
        let width = if self.depth <= OCTAVE {
            2_f64.powi(i32::from(self.depth) - i32::from(OCTAVE))
        } else {
            2_f64.powi(1 << (self.depth - OCTAVE).min(9)) - 1.0
        };
        // Half a bucket, and what rounding to four digits does.
        (width * 50.0 + 0.05).ceil()
    }

    pub fn encode(&self, bytes: &mut Vec<u8>) {
        bytes.push(self.depth | u8::from(self.whole) << 7);
        bytes.extend_from_slice(&self.min.0.to_le_bytes());
        bytes.extend_from_slice(&self.max.0.to_le_bytes());
        varint::put(bytes, self.buckets.len() as u128);
        let mut before = None;
        for (key, count) in &self.buckets {
            match before {
                None => varint::put_signed(bytes, i128::from(*key)),
                Some(before) => varint::put(bytes, distance(before, *key)),
            }
            varint::put(bytes, u128::from(*count));
            before = Some(*key);
        }
    }

    pub fn encoded_len(&self) -> usize {
        17 + varint::len(self.buckets.len() as u128) + self.bytes
    }

    /// Reads what [`encode`](Self::encode) wrote, and only that.
    pub fn decode(most: usize, reader: &mut Reader<'_>) -> Result<Self, ReadError> {
        let flags = reader.byte()?;
        let (depth, whole) = (flags & 0x7f, flags >> 7 == 1);
        let mut finite = || -> Result<Finite, ReadError> {
            let bytes: [u8; 8] = reader.bytes(8)?.try_into().map_err(|_| ReadError::Short)?;
            Finite::of(f64::from_bits(u64::from_le_bytes(bytes))).ok_or(ReadError::Number)
        };
        let (min, max) = (finite()?, finite()?);
        let count: usize = reader.narrow()?;
        if depth > DEEPEST || count == 0 || count > most.max(1) {
            return Err(ReadError::Number);
        }
        let mut sketch = Self {
            most: most.max(1),
            depth,
            whole,
            min,
            max,
            buckets: BTreeMap::new(),
            bytes: 0,
        };
        let mut before: Option<i32> = None;
        for _ in 0..count {
            let key = match before {
                None => i32::try_from(reader.signed()?).map_err(|_| ReadError::Number)?,
                Some(before) => {
                    let distance: i32 = reader.narrow()?;
                    (before.checked_add(distance))
                        .and_then(|key| key.checked_add(1))
                        .ok_or(ReadError::Number)?
                }
            };
            let held = reader.narrow()?;
            if held == 0 || key.unsigned_abs() > key_of(f64::MAX, depth).unsigned_abs() {
                return Err(ReadError::Number);
            }
            sketch.put(key, held);
            before = Some(key);
        }
        let ends = |value: Finite| key_of(value.get(), depth);
        let first = sketch.buckets.first_key_value().map(|(key, _)| *key);
        let last = sketch.buckets.last_key_value().map(|(key, _)| *key);
        let is_whole = |value: f64| value.fract() == 0.0 && value.abs() <= SAFE;
        let fits = min.get() <= max.get()
            && first == Some(ends(min))
            && last == Some(ends(max))
            && (!whole || (is_whole(min.get()) && is_whole(max.get())));
        if fits { Ok(sketch) } else { Err(ReadError::Number) }
    }
}

/// The bucket of a finite double: 0 of zero, else with its sign, growing with it.
fn key_of(value: f64, depth: u8) -> i32 {
    let magnitude = value.abs();
    if magnitude < f64::MIN_POSITIVE {
        return 0;
    }
    // At most 2047 * 64.
    let code = i32::try_from(magnitude.to_bits() >> DROPPED).unwrap_or(CODES - 1);
    let key = (code >> depth) + 1;
    if value < 0.0 { -key } else { key }
}

/// The bucket of the next depth that a bucket is part of.
fn joined(key: i32) -> i32 {
    match key {
        0 => 0,
        1.. => ((key - 1) >> 1) + 1,
        _ => -(((-key - 1) >> 1) + 1),
    }
}

/// The least magnitude in a bucket, and the least beyond it.
fn borders(key: i32, depth: u8) -> (f64, f64) {
    let border = |code: i32| {
        let code = code.clamp(0, CODES);
        let value = f64::from_bits(u64::from(code.unsigned_abs()) << DROPPED);
        value.clamp(f64::MIN_POSITIVE, f64::MAX)
    };
    let code = key.abs().saturating_sub(1);
    let shifted = |code: i32| i32::try_from(i64::from(code) << depth).unwrap_or(CODES);
    (border(shifted(code)), border(shifted(code.saturating_add(1))))
}

fn four_digits(value: f64) -> f64 {
    format!("{value:.3e}").parse().unwrap_or(value)
}

fn distance(before: i32, key: i32) -> u128 {
    u128::try_from(i64::from(key) - i64::from(before) - 1).unwrap_or(0)
}

fn key_len(before: Option<i32>, key: i32) -> usize {
    match before {
        None => varint::len_signed(i128::from(key)),
        Some(before) => varint::len(distance(before, key)),
    }
}
