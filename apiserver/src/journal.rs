//! The log that makes writes durable: one append-only file, one thread that writes it, one fsync for all that wait.
//!
//! A *frame* is what one fsync covers: `length u32 | crc of the payload u32 | crc of these eight bytes u32 | payload`,
//! little-endian. The payload is one JSON line per write: `{"v":version,"r":"workers.braid.dev","ns":..,"n":..,"o":{..}}`,
//! without `o` for a deletion; `{"v":version}` only keeps the counter. A frame that ends before the file's end
//! was acknowledged: if it is damaged, opening fails and nothing is changed. The last frame may be torn by a kill; it was
//! never acknowledged and is cut off.
//!
//! Failure modes: an I/O error refuses the waiting writes and all later ones; reads go on.

mod compact;
mod file;
mod replay;

#[cfg(test)]
mod tests;

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{Read as _, Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::{self, JoinHandle};

use tokio::sync::mpsc;

use self::file::LogFile;
use crate::error::BuildError;
use crate::store::{Change, Store, Window};

/// Writes that may wait for one fsync; more wait for their turn.
const QUEUE: usize = 256;
/// A frame is closed when it is larger than this.
const FRAME_BYTES: usize = 4 * 1024 * 1024;
/// Added to the highest version of the log at every start, so that no version is ever given out twice, whatever was
/// seen of writes that a crash took back.
const RESTART_GAP: u64 = 1_000_000;

/// The running log.
pub(crate) struct Journal {
    path: PathBuf,
    thread: JoinHandle<Result<(), BuildError>>,
}

/// Opens or creates the log in `directory` and the store it describes. `names` are the served kinds in registry order.
pub(crate) async fn open(
    directory: PathBuf,
    names: Vec<String>,
    window: Window,
) -> Result<(Arc<Store>, Journal), BuildError> {
    let opening = tokio::task::spawn_blocking(move || open_blocking(&directory, &names, window));
    opening.await.map_err(|e| BuildError::Thread(e.to_string()))?
}

fn open_blocking(directory: &Path, names: &[String], window: Window) -> Result<(Arc<Store>, Journal), BuildError> {
    fs::create_dir_all(directory).map_err(|e| BuildError::io("create", directory, e))?;
    let lock = lock(directory)?;
    let path = directory.join("log");
    let replayed = replay::replay(&path, names)?;
    let start = if replayed.highest == 0 {
        0
    } else {
        replayed.highest.saturating_add(RESTART_GAP)
    };
    let store = Arc::new(Store::new(names.len(), start, window));
    for (resource, key, object) in replayed.objects {
        store.restore(resource, &key, object);
    }
    let log = LogFile::open(&path, replayed.length)?;
    let (sender, records) = mpsc::channel(QUEUE);
    store.attach_log(sender);
    let shared = Arc::clone(&store);
    let names = names.to_vec();
    let thread = thread::Builder::new()
        .name("braid-log".into())
        .spawn(move || {
            let result = Writer {
                log,
                store: shared,
                names,
            }
            .run(records);
            // Held as long as the file may be written.
            drop(lock);
            result
        })
        .map_err(|e| BuildError::Thread(e.to_string()))?;
    Ok((store, Journal { path, thread }))
}

/// Takes the directory for this process; the lock goes with the file, also when the process is killed.
fn lock(directory: &Path) -> Result<File, BuildError> {
    let path = directory.join("lock");
    let mut file = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .open(&path)
        .map_err(|e| BuildError::io("open", &path, e))?;
    match file.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => {
            let mut holder = String::new();
            // What the holder wrote is a courtesy; without it the refusal stands all the same.
            let _ = (&mut file).take(20).read_to_string(&mut holder);
            let holder = holder.trim();
            let holder = if holder.is_empty() { "unknown" } else { holder }.to_owned();
            return Err(BuildError::Locked {
                path: directory.to_owned(),
                holder,
            });
        }
        Err(TryLockError::Error(e)) => return Err(BuildError::io("lock", &path, e)),
    }
    file.set_len(0)
        .and_then(|()| file.seek(SeekFrom::Start(0)))
        .and_then(|_| writeln!(file, "{}", std::process::id()))
        .map_err(|e| BuildError::io("write", &path, e))?;
    Ok(file)
}

impl Journal {
    /// Waits until the thread has written everything it was given. The store must be closed before.
    pub(crate) async fn close(self) -> Result<(), BuildError> {
        let Self { path, thread } = self;
        let joined = tokio::task::spawn_blocking(move || thread.join()).await;
        match joined {
            Ok(Ok(result)) => result,
            _ => Err(BuildError::Thread(format!(
                "the thread that writes {} ended abnormally",
                path.display()
            ))),
        }
    }
}

struct Writer {
    log: LogFile,
    store: Arc<Store>,
    names: Vec<String>,
}

impl Writer {
    fn run(mut self, mut records: mpsc::Receiver<Change>) -> Result<(), BuildError> {
        let mut payload = Vec::with_capacity(64 * 1024);
        while let Some(first) = records.blocking_recv() {
            payload.clear();
            let mut last = first.version();
            self.encode(&first, &mut payload);
            while payload.len() < FRAME_BYTES
                && let Ok(next) = records.try_recv()
            {
                last = next.version();
                self.encode(&next, &mut payload);
            }
            let written = self.log.append(&payload).and_then(|()| {
                self.store.publish_up_to(last);
                self.compact_if_large()
            });
            if let Err(error) = written {
                tracing::error!(%error, "the log failed; no write is accepted any more");
                self.store.fail(&error.to_string());
                return Err(error);
            }
        }
        Ok(())
    }

    fn encode(&self, change: &Change, payload: &mut Vec<u8>) {
        let name = self
            .names
            .get(change.resource.0)
            .map(String::as_str)
            .unwrap_or_default();
        let raw = (!change.deleted).then_some(&change.object.raw[..]);
        file::encode(payload, change.version(), name, &change.key, raw);
    }

    fn compact_if_large(&mut self) -> Result<(), BuildError> {
        if compact::is_due(self.log.length(), self.store.live_bytes()) {
            let (version, objects) = self.store.snapshot();
            self.log = compact::compact(self.log.path(), &self.names, version, &objects)?;
        }
        Ok(())
    }
}
