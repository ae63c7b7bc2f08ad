//! Where the lines go that user code writes.
//!
//! A runner gives lines to a [`LogSink`], except those of a shim in a container of its own, which prints them there as [`TaggedLine`]s.
//! [`LogFiles`] keeps them in one file per step, capped by bytes, and
//! [`LogReader`] reads them back, also while they are being written.

mod files;
mod marked;
mod reader;
mod tagged;

#[cfg(test)]
mod tests;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

pub use crate::frames::Stream;
pub use files::LogFiles;
pub use marked::MarkedLine;
pub use reader::{Filter, LogReader};
pub use tagged::{LostLines, TaggedLine};

/// One line that user code wrote, on its way.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogLine {
    /// The workflow's uid and the step, as in [`super::Program::run`]: workers of a shared pool run several.
    pub run: Arc<str>,
    /// The step.
    pub step: Arc<str>,
    /// The partition.
    pub partition: u64,
    /// Which attempt at the partition, from 1.
    pub attempt: u32,
    /// Where it was written.
    pub stream: Stream,
    /// Whether the line was longer than [`crate::frames::MAX_LINE`] and is kept only up to there.
    pub cut: bool,
    /// The line without its end; any bytes.
    pub line: Bytes,
}

/// Takes lines.
pub trait LogSink: Send + Sync {
    /// Takes all of these lines, or, when it is full at the moment, gives all of them back. Never waits.
    fn append(&self, lines: Vec<LogLine>) -> Result<(), Vec<LogLine>>;

    /// Is told that so many lines were dropped because it was full for too long.
    fn lost(&self, lines: u64);
}

/// A sink that drops everything: of a runner whose shim prints the lines itself, or whose lines nobody wants.
#[derive(Debug, Clone, Copy, Default)]
pub struct NoLogs;

impl LogSink for NoLogs {
    fn append(&self, _lines: Vec<LogLine>) -> Result<(), Vec<LogLine>> {
        Ok(())
    }

    fn lost(&self, _lines: u64) {}
}

/// One line as it is stored: a JSON object on a line of its own.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogRecord {
    /// When the worker took it: milliseconds since 1970.
    pub time: u64,
    /// The partition.
    pub partition: u64,
    /// Which attempt at the partition, from 1.
    pub attempt: u32,
    /// Where it was written.
    pub stream: Stream,
    /// Whether the end of a too long line is missing.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub cut: bool,
    /// The line; bytes that are not UTF-8 are replaced.
    pub line: String,
}

/// The file that is being written, and the one before it.
fn paths(directory: &Path, step: &str) -> (PathBuf, PathBuf) {
    // Names of steps are DNS labels; should one not be, it still names a file in this directory and no other step's.
    let mut name = String::with_capacity(step.len());
    for byte in step.bytes() {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_') {
            name.push(char::from(byte));
        } else {
            name.push('%');
            name.extend([byte >> 4, byte & 15].map(|digit| char::from_digit(digit.into(), 16).unwrap_or('0')));
        }
    }
    (
        directory.join(format!("{name}.ndjson")),
        directory.join(format!("{name}.1.ndjson")),
    )
}
