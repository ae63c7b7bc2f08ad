//! The sink that writes files.

use std::collections::HashMap;
use std::fs::{self, File, OpenOptions};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::thread::JoinHandle;
use std::time::{SystemTime, UNIX_EPOCH};

use super::{LogLine, LogRecord, LogSink, paths};

/// Batches that wait for the disk; a batch is what one read of a shim's socket gave, at most a few hundred kilobytes.
const WAITING: usize = 32;

/// Keeps lines as `DIRECTORY/<step>.ndjson`, one [`LogRecord`] per line. A file that has half of the cap becomes
/// `<step>.1.ndjson` and takes the place of the one before, so a step keeps its last lines and never has more than the
/// cap. One thread writes; dropping the sink writes what waits and ends the thread.
pub struct LogFiles {
    batches: Option<SyncSender<Vec<LogLine>>>,
    writer: Option<JoinHandle<()>>,
    lost: AtomicU64,
}

impl LogFiles {
    /// Makes the directory. `cap` is in bytes per step.
    pub fn open(directory: &Path, cap: u64) -> io::Result<Self> {
        fs::create_dir_all(directory)?;
        let (batches, waiting) = sync_channel(WAITING);
        let files = Files {
            directory: directory.to_owned(),
            half: (cap / 2).max(1),
            open: HashMap::new(),
        };
        let writer = std::thread::Builder::new()
            .name("logs".to_owned())
            .spawn(move || files.write_all(&waiting))?;
        Ok(Self {
            batches: Some(batches),
            writer: Some(writer),
            lost: AtomicU64::new(0),
        })
    }

    /// How many lines were dropped because the disk was too slow.
    pub fn lost_lines(&self) -> u64 {
        self.lost.load(Ordering::Relaxed)
    }
}

impl LogSink for LogFiles {
    fn append(&self, lines: Vec<LogLine>) -> Result<(), Vec<LogLine>> {
        match self.batches.as_ref().map(|batches| batches.try_send(lines)) {
            Some(Err(TrySendError::Full(lines) | TrySendError::Disconnected(lines))) => Err(lines),
            Some(Ok(())) | None => Ok(()),
        }
    }

    fn lost(&self, lines: u64) {
        self.lost.fetch_add(lines, Ordering::Relaxed);
    }
}

impl Drop for LogFiles {
    fn drop(&mut self) {
        self.batches = None;
        if let Some(writer) = self.writer.take()
            && writer.join().is_err()
        {
            tracing::error!("the thread that writes logs has panicked");
        }
    }
}

struct Files {
    directory: PathBuf,
    half: u64,
    open: HashMap<String, StepFile>,
}

struct StepFile {
    file: BufWriter<File>,
    size: u64,
}

impl Files {
    fn write_all(mut self, batches: &Receiver<Vec<LogLine>>) {
        let mut next = batches.recv().ok();
        while let Some(batch) = next {
            let time = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
            let time = u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
            for line in batch {
                self.report("write", |files| files.write(&line, time));
            }
            next = batches.try_recv().ok();
            if next.is_none() {
                self.report("flush", Self::flush);
                next = batches.recv().ok();
            }
        }
    }

    /// A log that cannot be written (the disk is full) must not stop work: it is said, and the next line tries again.
    fn report(&mut self, what: &str, write: impl FnOnce(&mut Self) -> io::Result<()>) {
        if let Err(error) = write(self) {
            tracing::warn!(directory = %self.directory.display(), %error, "cannot {what} a log");
            self.open.clear();
        }
    }

    fn write(&mut self, line: &LogLine, time: u64) -> io::Result<()> {
        let record = LogRecord {
            time,
            partition: line.partition,
            attempt: line.attempt,
            stream: line.stream,
            cut: line.cut,
            line: String::from_utf8_lossy(&line.line).into_owned(),
        };
        let mut text = serde_json::to_vec(&record)?;
        text.push(b'\n');
        let step: &str = &line.step;
        let length = text.len() as u64;
        if self
            .open
            .get(step)
            .is_some_and(|open| open.size > 0 && open.size + length > self.half)
            && let Some(mut full) = self.open.remove(step)
        {
            full.file.flush()?;
            let (current, before) = paths(&self.directory, step);
            fs::rename(current, before)?;
        }
        if !self.open.contains_key(step) {
            // Steps come one after the other; the files of those that are over need not stay open.
            if self.open.len() >= 64 {
                self.flush()?;
                self.open.clear();
            }
            let file = OpenOptions::new()
                .create(true)
                .append(true)
                .open(paths(&self.directory, step).0)?;
            let size = file.metadata()?.len();
            self.open.insert(
                step.to_owned(),
                StepFile {
                    file: BufWriter::new(file),
                    size,
                },
            );
        }
        if let Some(open) = self.open.get_mut(step) {
            open.file.write_all(&text)?;
            open.size += length;
        }
        Ok(())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.open.values_mut().try_for_each(|open| open.file.flush())
    }
}
