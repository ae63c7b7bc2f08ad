//! A set of partitions as merged intervals: the ledger, and the failed ones.
//!
//! On the wire it is a text of inclusive intervals as in `Job.status.completedIndexes` (`0-16,18,20-41`) while that is
//! at most 8 kB, else a bitmap: `bitmap:<first>:<base64>`, whichever is shorter. Both forms read back to the same set, and a
//! text that is not in order or overlaps is refused: a status that somebody edited must not be believed.

use std::{borrow::Cow, fmt, str::FromStr};

use base64::Engine as _;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use crate::{PartitionRange, limits};

/// Above this many bytes a text gives way to a bitmap.
const TEXT_BYTES: usize = 8 * 1024;
/// The longest form that is read: one status.
const READ_BYTES: usize = limits::STATUS_BYTES;
const BITMAP: &str = "bitmap:";

/// A set of partition numbers, kept as disjoint, ordered ranges that do not touch.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Intervals(Vec<PartitionRange>);

/// Why a text is no set of partitions.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum IntervalsError {
    /// Longer than a status may be.
    #[error("intervals of {0} bytes: at most {READ_BYTES}")]
    TooLong(usize),
    /// Not numbers, or out of order.
    #[error("{0:?} is not an interval that follows its predecessor")]
    Malformed(String),
    /// A bitmap that is none.
    #[error("not a bitmap: {0}")]
    Bitmap(String),
}

impl Intervals {
    /// The empty set.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Whether nothing is in it.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// How many partitions are in it.
    #[must_use]
    pub fn len(&self) -> u64 {
        self.0.iter().map(|range| range.len()).sum()
    }

    /// The first range.
    #[must_use]
    pub fn first(&self) -> Option<PartitionRange> {
        self.0.first().copied()
    }

    /// The ranges, in order.
    pub fn ranges(&self) -> impl ExactSizeIterator<Item = PartitionRange> + '_ {
        self.0.iter().copied()
    }

    /// Every partition, in order.
    pub fn partitions(&self) -> impl Iterator<Item = u64> + '_ {
        self.0.iter().flat_map(|range| range.start()..range.end())
    }

    /// Whether `partition` is in it.
    #[must_use]
    pub fn contains(&self, partition: u64) -> bool {
        self.position(partition).is_ok()
    }

    /// Whether all of `range` is in it (an empty range always is).
    #[must_use]
    pub fn covers(&self, range: PartitionRange) -> bool {
        range.is_empty() || self.0.iter().any(|held| held.intersect(range) == range)
    }

    /// Whether any of `range` is in it.
    #[must_use]
    pub fn overlaps(&self, range: PartitionRange) -> bool {
        let first = self.0.partition_point(|held| held.end() <= range.start());
        !range.is_empty() && self.0.get(first).is_some_and(|held| held.start() < range.end())
    }

    /// The lowest so many partitions of it.
    #[must_use]
    pub fn lowest(&self, count: u64) -> Self {
        let mut left = count;
        let mut ranges = Vec::new();
        for range in &self.0 {
            let taken = range.len().min(left);
            if taken == 0 {
                break;
            }
            ranges.push(PartitionRange::new(range.start(), range.start().saturating_add(taken)));
            left -= taken;
        }
        Self(ranges)
    }

    /// Adds `range`.
    pub fn insert(&mut self, range: PartitionRange) {
        if range.is_empty() {
            return;
        }
        // Those that overlap or touch: everything between the first that ends at or after our start and the last that
        // starts at or before our end.
        let from = self.0.partition_point(|held| held.end() < range.start());
        let to = self.0.partition_point(|held| held.start() <= range.end());
        let touched = self.0.get(from..to).unwrap_or_default();
        let start = touched
            .first()
            .map_or(range.start(), |held| held.start().min(range.start()));
        let end = touched.last().map_or(range.end(), |held| held.end().max(range.end()));
        self.0.splice(from..to, [PartitionRange::new(start, end)]);
    }

    /// Takes `range` out.
    pub fn remove(&mut self, range: PartitionRange) {
        let from = self.0.partition_point(|held| held.end() <= range.start());
        let to = self.0.partition_point(|held| held.start() < range.end());
        if range.is_empty() || from >= to {
            return;
        }
        let rest: Vec<_> = self
            .0
            .get(from..to)
            .unwrap_or_default()
            .iter()
            .flat_map(|held| {
                [
                    PartitionRange::new(held.start(), range.start().min(held.end())),
                    PartitionRange::new(range.end().max(held.start()), held.end()),
                ]
            })
            .filter(|part| !part.is_empty())
            .collect();
        self.0.splice(from..to, rest);
    }

    /// Both sets together.
    #[must_use]
    pub fn union(&self, other: &Self) -> Self {
        let mut all: Vec<PartitionRange> = self.0.iter().chain(&other.0).copied().collect();
        all.sort_unstable();
        let mut merged: Vec<PartitionRange> = Vec::with_capacity(all.len());
        for range in all {
            match merged.last_mut() {
                Some(last) if range.start() <= last.end() => {
                    *last = PartitionRange::new(last.start(), last.end().max(range.end()));
                }
                _ => merged.push(range),
            }
        }
        Self(merged)
    }

    /// What of `range` is not in the set.
    #[must_use]
    pub fn gaps(&self, range: PartitionRange) -> Self {
        let mut gaps = Vec::new();
        let mut from = range.start();
        let first = self.0.partition_point(|held| held.end() <= range.start());
        for held in self.0.iter().skip(first).take_while(|held| held.start() < range.end()) {
            if from < held.start() {
                gaps.push(PartitionRange::new(from, held.start()));
            }
            from = held.end();
        }
        if from < range.end() {
            gaps.push(PartitionRange::new(from, range.end()));
        }
        Self(gaps)
    }

    fn position(&self, partition: u64) -> Result<usize, usize> {
        self.0.binary_search_by(|held| {
            if held.end() <= partition {
                std::cmp::Ordering::Less
            } else if held.start() > partition {
                std::cmp::Ordering::Greater
            } else {
                std::cmp::Ordering::Equal
            }
        })
    }

    fn text(&self) -> String {
        let mut text = String::new();
        for range in &self.0 {
            if !text.is_empty() {
                text.push(',');
            }
            text.push_str(&range.start().to_string());
            if range.len() > 1 {
                text.push('-');
                text.push_str(&(range.end() - 1).to_string());
            }
        }
        text
    }

    fn bitmap(&self) -> Option<String> {
        let (first, last) = (self.0.first()?.start(), self.0.last()?.end());
        let bytes = usize::try_from((last - first).div_ceil(8))
            .ok()
            .filter(|bytes| *bytes <= READ_BYTES)?;
        let mut bits = vec![0_u8; bytes];
        for offset in self.partitions().map(|partition| partition - first) {
            if let Some(byte) = usize::try_from(offset / 8).ok().and_then(|index| bits.get_mut(index)) {
                *byte |= 1 << (offset % 8);
            }
        }
        Some(format!(
            "{BITMAP}{first}:{}",
            base64::engine::general_purpose::STANDARD.encode(bits)
        ))
    }

    fn from_text(text: &str) -> Result<Self, IntervalsError> {
        let mut ranges: Vec<PartitionRange> = Vec::new();
        for part in text.split(',').filter(|_| !text.is_empty()) {
            let malformed = || IntervalsError::Malformed(part.chars().take(40).collect());
            let (first, last) = part.split_once('-').unwrap_or((part, part));
            let first: u64 = first.parse().map_err(|_| malformed())?;
            let last: u64 = last.parse().map_err(|_| malformed())?;
            let follows = ranges.last().is_none_or(|before| before.end() < first);
            if last < first || last >= limits::PARTITIONS || !follows {
                return Err(malformed());
            }
            ranges.push(PartitionRange::new(first, last + 1));
        }
        Ok(Self(ranges))
    }

    fn from_bitmap(text: &str) -> Result<Self, IntervalsError> {
        let (first, bits) = text
            .split_once(':')
            .ok_or_else(|| IntervalsError::Bitmap("no offset".into()))?;
        let first: u64 = first
            .parse()
            .map_err(|_| IntervalsError::Bitmap("the offset is no number".into()))?;
        let bits = base64::engine::general_purpose::STANDARD
            .decode(bits)
            .map_err(|error| IntervalsError::Bitmap(error.to_string()))?;
        if first.saturating_add(bits.len() as u64 * 8) > limits::PARTITIONS + 8 {
            return Err(IntervalsError::Bitmap("it reaches beyond the largest partition".into()));
        }
        let mut ranges: Vec<PartitionRange> = Vec::new();
        let set = bits.iter().enumerate().flat_map(|(index, byte)| {
            (0..8_u64)
                .filter(move |bit| byte & (1 << bit) != 0)
                .map(move |bit| index as u64 * 8 + bit)
        });
        for partition in set.map(|offset| first + offset) {
            match ranges.last_mut() {
                Some(last) if last.end() == partition => *last = PartitionRange::new(last.start(), partition + 1),
                _ => ranges.push(PartitionRange::new(partition, partition + 1)),
            }
        }
        Ok(Self(ranges))
    }
}

impl FromIterator<PartitionRange> for Intervals {
    fn from_iter<T: IntoIterator<Item = PartitionRange>>(ranges: T) -> Self {
        Self(ranges.into_iter().filter(|range| !range.is_empty()).collect()).union(&Self::new())
    }
}

impl fmt::Display for Intervals {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = self.text();
        if text.len() <= TEXT_BYTES {
            return f.write_str(&text);
        }
        match self.bitmap() {
            Some(bitmap) if bitmap.len() < text.len() => f.write_str(&bitmap),
            _ => f.write_str(&text),
        }
    }
}

impl FromStr for Intervals {
    type Err = IntervalsError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text.len() > READ_BYTES {
            return Err(IntervalsError::TooLong(text.len()));
        }
        match text.strip_prefix(BITMAP) {
            Some(bitmap) => Self::from_bitmap(bitmap),
            None => Self::from_text(text),
        }
    }
}

impl Serialize for Intervals {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Intervals {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(de::Error::custom)
    }
}

impl JsonSchema for Intervals {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "Intervals".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({"type": "string", "maxLength": READ_BYTES})
    }
}

#[cfg(test)]
mod tests;
