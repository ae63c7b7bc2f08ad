//! How many different values there are: their hashes while they are few, then a HyperLogLog sketch.
//!
//! A value's hash is the first eight bytes of the SHA-256 of its JSON in its one form. Up to a number of hashes that takes as many
//! bytes as the registers would, the hashes themselves are kept and the count is exact; with one more they become registers. Which
//! of both a state is depends on its content alone, so merging gives the same bytes in any order.

use std::collections::BTreeSet;

use crate::varint::{self, ReadError, Reader};

/// Bits of a hash that choose the register, of a result without keys: 16,384 registers, a standard error of 0.8 %.
pub const PRECISION: u8 = 14;
/// The least, where many keys share a partial.
const LEAST: u8 = 8;
/// Bytes of all keys' registers together.
const BYTES_OF_KEYS: usize = 28 * 1024;
/// Bits of a register: a hash has at most 64 zeros.
const REGISTER: usize = 6;

/// The precision for each key where there may be so many.
pub fn precision_with(keys: usize) -> u8 {
    let fits = |precision: &u8| keys.max(1).saturating_mul(packed_len(*precision)) <= BYTES_OF_KEYS;
    (LEAST..PRECISION).rev().find(fits).unwrap_or(LEAST)
}

/// Different values.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Distinct {
    precision: u8,
    kept: Kept,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Kept {
    /// At least one hash.
    Hashes(BTreeSet<u64>),
    /// Of each register the most zeros before the first one, plus one.
    Registers(Box<[u8]>),
}

/// The hash of a value in its one form.
pub fn hash(canonical: &str) -> u64 {
    crate::hash::of([canonical.as_bytes()])
}

impl Distinct {
    /// The sketch of one hash.
    pub fn of(hash: u64, precision: u8) -> Self {
        Self {
            precision,
            kept: Kept::Hashes(BTreeSet::from([hash])),
        }
    }

    /// Adds other values; false, and nothing done, if they are sketched otherwise.
    #[must_use]
    pub fn merge(&mut self, other: &Self) -> bool {
        if self.precision != other.precision {
            return false;
        }
        match &other.kept {
            Kept::Hashes(hashes) => {
                for hash in hashes {
                    self.add(*hash);
                }
            }
            Kept::Registers(others) => {
                if let Kept::Hashes(hashes) = &self.kept {
                    let mut registers = others.clone();
                    for hash in hashes {
                        raise(&mut registers, self.precision, *hash);
                    }
                    self.kept = Kept::Registers(registers);
                } else if let Kept::Registers(registers) = &mut self.kept {
                    for (register, other) in registers.iter_mut().zip(others) {
                        *register = (*register).max(*other);
                    }
                }
            }
        }
        true
    }

    fn add(&mut self, hash: u64) {
        match &mut self.kept {
            Kept::Registers(registers) => raise(registers, self.precision, hash),
            Kept::Hashes(hashes) => {
                hashes.insert(hash);
                if hashes.len() > most_hashes(self.precision) {
                    let mut registers = vec![0; 1 << self.precision].into_boxed_slice();
                    for hash in hashes.iter() {
                        raise(&mut registers, self.precision, *hash);
                    }
                    self.kept = Kept::Registers(registers);
                }
            }
        }
    }

    /// Whether the count is exact, but for two values of one 64-bit hash.
    pub fn is_exact(&self) -> bool {
        matches!(self.kept, Kept::Hashes(_))
    }

    /// How many there are.
    pub fn count(&self) -> u64 {
        match &self.kept {
            Kept::Hashes(hashes) => hashes.len() as u64,
            Kept::Registers(registers) => {
                estimate(registers, self.precision).max(most_hashes(self.precision) as u64 + 1)
            }
        }
    }

    /// The standard error of an estimate in percent: two of three are within it.
    pub fn error_percent(&self) -> f64 {
        104.0 / f64::from(1_u32 << self.precision).sqrt()
    }

    pub fn encode(&self, bytes: &mut Vec<u8>) {
        match &self.kept {
            Kept::Hashes(hashes) => {
                bytes.push(0);
                varint::put(bytes, hashes.len() as u128);
                for hash in hashes {
                    bytes.extend_from_slice(&hash.to_be_bytes());
                }
            }
            Kept::Registers(registers) => {
                bytes.push(1);
                let (mut held, mut bits) = (0_u32, 0_usize);
                for register in registers {
                    held |= u32::from(*register) << bits;
                    bits += REGISTER;
                    while bits >= 8 {
                        bytes.push((held & 0xff) as u8);
                        held >>= 8;
                        bits -= 8;
                    }
                }
            }
        }
    }

    pub fn encoded_len(&self) -> usize {
        1 + match &self.kept {
            Kept::Hashes(hashes) => varint::len(hashes.len() as u128) + hashes.len() * 8,
            Kept::Registers(_) => packed_len(self.precision),
        }
    }

    /// Reads what [`encode`](Self::encode) wrote, and only that.
    pub fn decode(precision: u8, reader: &mut Reader<'_>) -> Result<Self, ReadError> {
        let kept = match reader.byte()? {
            0 => {
                let count: usize = reader.narrow()?;
                if count == 0 || count > most_hashes(precision) {
                    return Err(ReadError::Number);
                }
                let mut hashes = BTreeSet::new();
                for _ in 0..count {
                    let bytes: [u8; 8] = reader.bytes(8)?.try_into().map_err(|_| ReadError::Short)?;
                    let hash = u64::from_be_bytes(bytes);
                    if hashes.last().is_some_and(|last| *last >= hash) {
                        return Err(ReadError::Number);
                    }
                    hashes.insert(hash);
                }
                Kept::Hashes(hashes)
            }
            1 => {
                let packed = reader.bytes(packed_len(precision))?;
                let mut registers = Vec::with_capacity(1 << precision);
                let (mut held, mut bits) = (0_u32, 0_usize);
                for byte in packed {
                    held |= u32::from(*byte) << bits;
                    bits += 8;
                    while bits >= REGISTER {
                        registers.push((held & 0x3f) as u8);
                        held >>= REGISTER;
                        bits -= REGISTER;
                    }
                }
                if registers.iter().any(|register| *register > 65 - precision) {
                    return Err(ReadError::Number);
                }
                Kept::Registers(registers.into_boxed_slice())
            }
            _ => return Err(ReadError::Number),
        };
        Ok(Self { precision, kept })
    }
}

/// What one sketch takes at most.
pub fn most_len(precision: u8) -> usize {
    packed_len(precision) + 4
}

/// As many hashes as take the bytes of the registers.
fn most_hashes(precision: u8) -> usize {
    packed_len(precision) / 8
}

fn packed_len(precision: u8) -> usize {
    (1_usize << precision) * REGISTER / 8
}

fn raise(registers: &mut [u8], precision: u8, hash: u64) {
    let index = usize::try_from(hash >> (64 - precision)).unwrap_or(0);
    // The bits behind the index, with a one behind them so that there is an end.
    let rest = hash << precision | 1 << (precision - 1);
    let rank = u8::try_from(rest.leading_zeros() + 1).unwrap_or(u8::MAX);
    if let Some(register) = registers.get_mut(index) {
        *register = (*register).max(rank);
    }
}

/// The estimator of Ertl (2017), "New cardinality estimation algorithms for HyperLogLog sketches": no tables, no seams. Additions,
/// products and roots of doubles only, which are the same on every machine.
#[expect(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "an estimate"
)]
fn estimate(registers: &[u8], precision: u8) -> u64 {
    let m = registers.len() as f64;
    let q = 64 - usize::from(precision);
    let mut of_rank = vec![0_u32; q + 2];
    for register in registers {
        if let Some(count) = of_rank.get_mut(usize::from(*register)) {
            *count += 1;
        }
    }
    let at = |rank: usize| f64::from(of_rank.get(rank).copied().unwrap_or(0));
    let mut z = m * tau(1.0 - at(q + 1) / m);
    for rank in (1..=q).rev() {
        z = 0.5 * (z + at(rank));
    }
    z += m * sigma(at(0) / m);
    let alpha = 0.5 / std::f64::consts::LN_2;
    let estimate = (alpha * m * m / z).round();
    if estimate.is_finite() {
        estimate as u64
    } else {
        u64::MAX
    }
}

#[expect(clippy::float_cmp, reason = "until nothing changes any more")]
fn sigma(mut x: f64) -> f64 {
    if x == 1.0 {
        return f64::INFINITY;
    }
    let (mut y, mut z) = (1.0, x);
    loop {
        x *= x;
        let before = z;
        z += x * y;
        y += y;
        if z == before {
            return z;
        }
    }
}

#[expect(clippy::float_cmp, reason = "until nothing changes any more")]
fn tau(mut x: f64) -> f64 {
    if x == 0.0 || x == 1.0 {
        return 0.0;
    }
    let (mut y, mut z) = (1.0, 1.0 - x);
    loop {
        x = x.sqrt();
        let before = z;
        y *= 0.5;
        z -= (1.0 - x) * (1.0 - x) * y;
        if z == before {
            return z / 3.0;
        }
    }
}
