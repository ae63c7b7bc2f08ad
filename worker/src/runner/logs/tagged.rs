//! A line of user code with what it is of, as a shim in a container of its own prints it and as `braid logs` reads it.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};

use super::Stream;

/// One line: a JSON object on a line of its own.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TaggedLine<'a> {
    /// The uid of the workflow: workers of a shared pool run several. Empty in lines of older shims.
    #[serde(default)]
    pub run: Cow<'a, str>,
    /// The step.
    pub step: Cow<'a, str>,
    /// The partition.
    pub partition: u64,
    /// Which attempt at the partition, from 1.
    pub attempt: u32,
    /// Where it was written.
    pub stream: Stream,
    /// Whether the end of a too long line is missing.
    #[serde(default)]
    pub cut: bool,
    /// The line; bytes that are not UTF-8 are replaced.
    pub line: Cow<'a, str>,
}

/// Stands where lines are missing, because for too long nobody read them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct LostLines {
    /// How many.
    pub lost: u64,
}
