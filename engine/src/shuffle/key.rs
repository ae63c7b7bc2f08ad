//! From a key to its part. What is here may never change: parts of one key have to be the same wherever and whenever they are made.

use crate::hash;

/// Before the text of a key, so that no text hashes as no key does.
const TEXT: &[u8] = b"key:";
const NONE: &[u8] = b"none";

/// The part, of so many, that a key comes to. A key is a text: that of a field of CSV without its quotes, that of a text of JSON, and of
/// numbers and booleans what is written. `None` is the key of records that have none.
#[must_use]
pub fn part_of(key: Option<&[u8]>, into: u32) -> u32 {
    let hash = match key {
        Some(text) => hash::of([TEXT, text]),
        None => hash::of([NONE]),
    };
    u32::try_from(hash % u64::from(into.max(1))).unwrap_or(0)
}
