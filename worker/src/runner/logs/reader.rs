//! Reading a step's log, from its beginning and on.

use std::fs::File;
use std::io::{self, BufRead, BufReader, ErrorKind, Read};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use super::{LogRecord, Stream, paths};

/// Longer lines are not records of ours: they are skipped.
const LONGEST: u64 = 1 << 20;

/// Records that one call gives at most.
const BATCH: usize = 1024;

/// Which records are wanted; what is `None` is not asked for.
#[derive(Debug, Clone, Copy, Default)]
pub struct Filter {
    /// Only this partition.
    pub partition: Option<u64>,
    /// Only this attempt.
    pub attempt: Option<u32>,
    /// Only this stream.
    pub stream: Option<Stream>,
}

impl Filter {
    fn takes(&self, record: &LogRecord) -> bool {
        self.partition.is_none_or(|wanted| wanted == record.partition)
            && self.attempt.is_none_or(|wanted| wanted == record.attempt)
            && self.stream.is_none_or(|wanted| wanted == record.stream)
    }
}

/// Reads the records of a step in the order of writing, across one change of files, and goes on when more is written.
/// What a slow reader misses when files change twice in between is gone.
pub struct LogReader {
    current: PathBuf,
    before: PathBuf,
    filter: Filter,
    open: Option<Open>,
}

struct Open {
    file: BufReader<File>,
    /// Which file it is, whatever its name is by now.
    identity: (u64, u64),
    partial: Vec<u8>,
}

impl LogReader {
    /// A reader of the log of this step in this directory. Nothing need be there yet.
    pub fn new(directory: &Path, step: &str, filter: Filter) -> Self {
        let (current, before) = paths(directory, step);
        Self {
            current,
            before,
            filter,
            open: None,
        }
    }

    /// The next records, at most about a thousand. Empty: there are no more by now; a follower asks again later.
    pub fn next_batch(&mut self) -> io::Result<Vec<LogRecord>> {
        let mut records = Vec::new();
        if self.open.is_none() {
            self.open = match Open::new(&self.before)? {
                Some(open) => Some(open),
                None => Open::new(&self.current)?,
            };
        }
        while let Some(open) = &mut self.open {
            // Looked up before the reading: a file that has another name by now is complete.
            let newest = Open::new(&self.current)?.filter(|newest| newest.identity != open.identity);
            while records.len() < BATCH
                && let Some(line) = open.line()?
            {
                records.extend(
                    serde_json::from_slice::<LogRecord>(&line)
                        .ok()
                        .filter(|r| self.filter.takes(r)),
                );
            }
            match newest {
                Some(newest) if records.len() < BATCH => *open = newest,
                _ => break,
            }
        }
        Ok(records)
    }
}

impl Open {
    fn new(path: &Path) -> io::Result<Option<Self>> {
        match File::open(path) {
            Ok(file) => {
                let meta = file.metadata()?;
                let identity = (meta.dev(), meta.ino());
                Ok(Some(Self {
                    file: BufReader::new(file),
                    identity,
                    partial: Vec::new(),
                }))
            }
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// The next whole line. What is there of an unfinished one is kept.
    fn line(&mut self) -> io::Result<Option<Vec<u8>>> {
        loop {
            let room = LONGEST.saturating_sub(self.partial.len() as u64);
            if room == 0 {
                self.partial.clear();
                continue;
            }
            let count = self.file.by_ref().take(room).read_until(b'\n', &mut self.partial)?;
            if self.partial.last() == Some(&b'\n') {
                return Ok(Some(std::mem::take(&mut self.partial)));
            }
            if count == 0 {
                return Ok(None);
            }
        }
    }
}
