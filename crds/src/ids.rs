//! Identities of the protocol. None is ever re-used, and none is interchangeable with another.

use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The generation of a step's work: a retry of what failed is a new round. Grows only within one object.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(transparent)]
pub struct Round(pub i32);

impl fmt::Display for Round {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A shard's number, unique in its `Worker` object for ever: taken from `spec.nextShardId`, which never falls.
/// With the Worker's uid it is unique in the world.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(transparent)]
pub struct ShardId(pub i64);

impl ShardId {
    /// The number that follows.
    #[must_use]
    pub fn next(self) -> Self {
        Self(self.0.saturating_add(1))
    }
}

impl fmt::Display for ShardId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

macro_rules! text_id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
        #[serde(transparent)]
        pub struct $name(#[schemars(length(max = 80))] pub String);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl From<&str> for $name {
            fn from(text: &str) -> Self {
                Self(text.to_owned())
            }
        }
    };
}

text_id! {
    /// One start of a worker process, random. The same pod with another start id is another worker: its predecessor
    /// is dead and what it ran is lost.
    StartId
}
text_id! {
    /// Names the bytes of a step's plan: `sha256:` and 64 hexadecimal digits. Empty for a range, which is its own plan.
    PlanDigest
}
text_id! {
    /// Names the frozen program of a step and round: `sha256:` and 64 hexadecimal digits.
    CardDigest
}

/// The first partition of a shard that is not settled: everything in `[start, cursor)` is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(transparent)]
pub struct Cursor(pub u64);

impl fmt::Display for Cursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A half-open run of partitions `[start, end)` with `start <= end`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PartitionRange {
    start: u64,
    end: u64,
}

impl PartitionRange {
    /// `[start, end)`; an `end` before `start` gives the empty range at `start`.
    #[must_use]
    pub fn new(start: u64, end: u64) -> Self {
        Self {
            start,
            end: end.max(start),
        }
    }

    /// The first partition.
    #[must_use]
    pub fn start(self) -> u64 {
        self.start
    }

    /// One past the last partition.
    #[must_use]
    pub fn end(self) -> u64 {
        self.end
    }

    /// How many partitions.
    #[must_use]
    pub fn len(self) -> u64 {
        self.end - self.start
    }

    /// Whether there is no partition in it.
    #[must_use]
    pub fn is_empty(self) -> bool {
        self.start == self.end
    }

    /// Whether `partition` lies in it.
    #[must_use]
    pub fn contains(self, partition: u64) -> bool {
        self.start <= partition && partition < self.end
    }

    /// The part that both have; empty if none.
    #[must_use]
    pub fn intersect(self, other: Self) -> Self {
        Self::new(self.start.max(other.start), self.end.min(other.end))
    }

    /// `[start, cursor)`, the settled part below a cursor.
    #[must_use]
    pub fn below(self, cursor: Cursor) -> Self {
        Self::new(self.start, cursor.0.min(self.end))
    }

    /// `[cursor, end)`, what a cursor leaves.
    #[must_use]
    pub fn from_cursor(self, cursor: Cursor) -> Self {
        Self::new(cursor.0.max(self.start), self.end)
    }
}

impl fmt::Display for PartitionRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "[{}, {})", self.start, self.end)
    }
}
