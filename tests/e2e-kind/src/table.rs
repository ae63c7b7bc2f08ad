//! The table of faults: what was broken, when, and that it was in the midst of work.

use std::fmt;
use std::time::Duration;

use serde_json::{Value, json};

/// A cell of the table that was hit while shards were in flight.
#[derive(Clone, Debug, PartialEq)]
pub struct Row {
    /// What was broken: an edge or a process.
    pub what: String,
    /// How, or when.
    pub how: String,
    /// Partitions that were done by then, by what user code wrote.
    pub done: u64,
    /// Shards that were handed out and not sealed.
    pub open: usize,
    /// What else is to be known of it.
    pub note: String,
    /// Until more partitions counted, or the run had ended.
    pub on_after: Duration,
}

impl fmt::Display for Row {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            out,
            "{:<38} {:<14} {:>9} {:>6} {:>9.1} s  {}",
            self.what,
            self.how,
            self.done,
            self.open,
            self.on_after.as_secs_f64(),
            self.note
        )
    }
}

impl Row {
    /// What stands above rows.
    pub fn head() -> String {
        format!(
            "{:<38} {:<14} {:>9} {:>6} {:>11}  note",
            "broken", "how", "after", "open", "goes on"
        )
    }

    /// The same for programs.
    pub fn json(&self) -> Value {
        json!({
            "what": self.what, "how": self.how, "partitionsBefore": self.done, "openShards": self.open,
            "secondsUntilOn": self.on_after.as_secs_f64(), "note": self.note,
        })
    }
}
