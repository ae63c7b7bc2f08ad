//! The timeline of a run: which worker had which shard, from when to when, and how far the steps were.
//!
//! Objects hold what counts, not what happened: a shard that is folded leaves no trace in them. Whoever wants to see the run
//! afterwards has to watch it. A [`Recorder`] does that beside `braid run` (always) and `braid watch` (if asked), and appends a
//! line of JSON for each thing that it sees; [`read`] takes such a file back. Nothing depends on it: a run whose timeline
//! cannot be written goes on, a line that is torn or unknown is left out, and the file has a largest size.

use std::{
    fs::File,
    io::{self, BufRead as _, BufReader},
    path::Path,
};

use braid_crds::{status::Phase, worker::Mode};
use serde::{Deserialize, Serialize};

mod recorder;
mod seen;

pub use recorder::Recorder;

/// The name of the file in a state directory.
pub const FILE: &str = "timeline.ndjson";
/// The most entries of a file. About 30 MB; a thousand workers fill it in some hours.
pub const ENTRIES: usize = 200_000;
/// The longest line that is read, in bytes.
const LINE: u64 = 4_096;

/// Something that was seen.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// When, in milliseconds since the epoch, by the watcher's clock.
    pub at: i64,
    /// What.
    #[serde(flatten)]
    pub what: What,
}

/// What was seen.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "what", rename_all = "camelCase", rename_all_fields = "camelCase")]
pub enum What {
    /// A shard was given to a worker.
    Assigned {
        /// The worker.
        worker: String,
        /// The shard, a number of that worker.
        shard: i64,
        /// The step.
        step: String,
        /// The step's round.
        round: i32,
        /// The first partition.
        start: u64,
        /// One past the last.
        end: u64,
        /// How it is run.
        mode: Mode,
    },
    /// Nothing more can be committed to it.
    Sealed {
        /// The worker.
        worker: String,
        /// The shard.
        shard: i64,
        /// One past the last partition that it settled.
        cursor: u64,
        /// How many of these failed for good.
        failed: u64,
        /// Whether the operator sealed it: its worker was lost, or stuck.
        taken: bool,
    },
    /// A worker is there.
    Came {
        /// Which.
        worker: String,
    },
    /// It is no more.
    Went {
        /// Which.
        worker: String,
    },
    /// How far a step is.
    Step {
        /// Which.
        step: String,
        /// Where it is.
        phase: Phase,
        /// Partitions that succeeded.
        succeeded: u64,
        /// Partitions that failed for good.
        failed: u64,
        /// All partitions, as far as known.
        total: u64,
    },
    /// The file was full: nothing after this was written.
    Full,
}

/// What a file holds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Timeline {
    /// In the order in which they were written.
    pub entries: Vec<Entry>,
    /// Lines that could not be read.
    pub unreadable: usize,
}

/// Reads a file. Lines that cannot be read are counted; no such file is an empty timeline.
pub fn read(path: &Path) -> io::Result<Timeline> {
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Timeline::default()),
        Err(error) => return Err(error),
    };
    let mut lines = BufReader::new(file);
    let mut timeline = Timeline::default();
    let mut line = Vec::new();
    loop {
        line.clear();
        let read = io::Read::take(&mut lines, LINE).read_until(b'\n', &mut line)?;
        if read == 0 {
            return Ok(timeline);
        }
        match serde_json::from_slice(&line) {
            Ok(entry) if timeline.entries.len() < ENTRIES => timeline.entries.push(entry),
            Ok(_) => return Ok(timeline),
            Err(_) => timeline.unreadable += 1,
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::fs;

    use super::*;

    #[test]
    fn torn_and_foreign_lines_are_left_out() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join(FILE);
        assert_eq!(Timeline::default(), read(&path).unwrap());
        let went = |worker: &str| Entry {
            at: 5,
            what: What::Went { worker: worker.into() },
        };
        let mut text = serde_json::to_string(&went("a")).unwrap();
        text.push_str("\n{\"at\":1,\"what\":\"future\"}\n");
        text.push_str(&"x".repeat(10_000));
        text.push('\n');
        text.push_str(&serde_json::to_string(&went("b")).unwrap());
        text.push_str("\n{\"at\":6,\"wh");
        fs::write(&path, text).unwrap();
        let timeline = read(&path).unwrap();
        assert_eq!(vec![went("a"), went("b")], timeline.entries);
        assert!(timeline.unreadable >= 3);
    }

    #[test]
    fn entries_come_back_as_they_were() {
        let all = [
            What::Assigned {
                worker: "w".into(),
                shard: 3,
                step: "s".into(),
                round: 1,
                start: 5,
                end: 9,
                mode: Mode::Twin,
            },
            What::Sealed {
                worker: "w".into(),
                shard: 3,
                cursor: 7,
                failed: 1,
                taken: true,
            },
            What::Step {
                step: "s".into(),
                phase: Phase::Running,
                succeeded: 1,
                failed: 2,
                total: 3,
            },
            What::Full,
        ];
        for what in all {
            let entry = Entry { at: -1, what };
            let text = serde_json::to_string(&entry).unwrap();
            assert_eq!(entry, serde_json::from_str(&text).unwrap(), "{text}");
        }
    }
}
