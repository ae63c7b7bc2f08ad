//! A list of all values, in the order of partitions.
//!
//! Kept by partition, so it does not matter which came first. What a partition gives is one text: its elements in their one form,
//! with commas between them.

use std::{
    collections::BTreeMap,
    ops::Bound::{Excluded, Unbounded},
};

use serde_json::Value;

use super::canonical;
use crate::varint::{self, ReadError, Reader};

/// What partitions gave; at least one gave something.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct List {
    parts: BTreeMap<u64, Box<str>>,
    /// The encoded bytes of the parts, kept up to date.
    bytes: usize,
    /// The bytes of the texts.
    texts: usize,
}

impl List {
    /// The list of one partition: its elements with commas between them.
    pub fn of(partition: u64, elements: Box<str>) -> Self {
        let mut list = Self {
            parts: BTreeMap::new(),
            bytes: 0,
            texts: 0,
        };
        list.put(partition, elements);
        list
    }

    /// Adds what other partitions gave.
    pub fn merge(&mut self, other: &Self) {
        for (partition, elements) in &other.parts {
            self.put(*partition, elements.clone());
        }
    }

    fn put(&mut self, partition: u64, elements: Box<str>) {
        if let Some(held) = self.parts.get_mut(&partition) {
            // One partition is counted once. Even so: an answer without an order.
            if elements < *held {
                self.bytes = self.bytes - text_len(held) + text_len(&elements);
                self.texts = self.texts - held.len() + elements.len();
                *held = elements;
            }
            return;
        }
        let before = self.parts.range(..partition).next_back().map(|(key, _)| *key);
        let after = self.parts.range((Excluded(partition), Unbounded)).next();
        if let Some((after, _)) = after {
            self.bytes -= varint::len(distance(before, *after));
            self.bytes += varint::len(distance(Some(partition), *after));
        }
        self.bytes += varint::len(distance(before, partition)) + text_len(&elements);
        self.texts += elements.len() + 1;
        self.parts.insert(partition, elements);
    }

    /// How many partitions gave something.
    pub fn partitions(&self) -> usize {
        self.parts.len()
    }

    /// The bytes of the list as JSON.
    pub fn json_len(&self) -> usize {
        self.texts + 1
    }

    /// The list.
    pub fn shown(&self) -> Value {
        let mut json = String::with_capacity(self.json_len());
        for elements in self.parts.values() {
            json.push(if json.is_empty() { '[' } else { ',' });
            json.push_str(elements);
        }
        json.push(']');
        serde_json::from_str(&json).unwrap_or(Value::Null)
    }

    pub fn encode(&self, bytes: &mut Vec<u8>) {
        varint::put(bytes, self.parts.len() as u128);
        let mut before = None;
        for (partition, elements) in &self.parts {
            varint::put(bytes, distance(before, *partition));
            varint::put_text(bytes, elements);
            before = Some(*partition);
        }
    }

    pub fn encoded_len(&self) -> usize {
        varint::len(self.parts.len() as u128) + self.bytes
    }

    /// Reads what [`encode`](Self::encode) wrote, and only that.
    pub fn decode(reader: &mut Reader<'_>) -> Result<Self, ReadError> {
        let count: usize = reader.narrow()?;
        if count == 0 || count > reader.left() {
            return Err(ReadError::Number);
        }
        let mut list: Option<Self> = None;
        let mut before: Option<u64> = None;
        for _ in 0..count {
            let distance: u64 = reader.narrow()?;
            let partition = match before {
                None => distance,
                Some(before) => before
                    .checked_add(distance)
                    .and_then(|partition| partition.checked_add(1))
                    .ok_or(ReadError::Number)?,
            };
            before = Some(partition);
            let elements = reader.text()?;
            let read = canonical::read(&format!("[{elements}]"));
            if elements.is_empty() || read.is_none() {
                return Err(ReadError::Number);
            }
            let one = Self::of(partition, elements.into());
            match &mut list {
                Some(list) => list.merge(&one),
                None => list = Some(one),
            }
        }
        list.ok_or(ReadError::Short)
    }
}

fn distance(before: Option<u64>, partition: u64) -> u128 {
    match before {
        None => u128::from(partition),
        Some(before) => u128::from(partition.saturating_sub(before).saturating_sub(1)),
    }
}

fn text_len(text: &str) -> usize {
    varint::len(text.len() as u128) + text.len()
}
