//! What attempts save for the next attempt of their partition: `$BRAID_CHECKPOINT`.
//!
//! ```text
//! ROOT/PROGRAM/PARTITION/...
//! ```
//!
//! Shims of one machine share a root, and what a shim that died has left is there for the others. Whoever runs an attempt holds a lock on the
//! directory of its partition; the program inherits it, so it is held as long as either of them lives. An attempt that finds it held
//! gets another directory, which nobody will look into: what is saved may be lost, and is never shared.

use std::fs::{self, DirBuilder, File, OpenOptions, TryLockError};
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use nix::fcntl::{FcntlArg, FdFlag, OFlag, fcntl};

use super::scratch::{Scratch, remove_tree};

/// So many partitions may have something saved, in all programs of a root. Those that were saved first go.
const KEPT: usize = 256;

/// What nobody has asked for in this time is removed.
const OLD: Duration = Duration::from_hours(7 * 24);

/// The most entries of a partition's directory, with all below it.
const ENTRIES: usize = 10_000;

/// The deepest directory below that of a partition.
const DEPTH: usize = 64;

/// How often a directory is tried that others are removing.
const MEETINGS: usize = 16;

/// Where what attempts save is kept.
pub(super) struct Checkpoints {
    /// `None`: in this shim's private directory, and gone with it.
    root: Option<PathBuf>,
    swept: bool,
}

/// The directory of one attempt.
#[derive(Debug)]
pub(super) struct Checkpoint {
    path: PathBuf,
    /// `None`: another attempt of the partition has its directory, and this one is nobody's.
    lock: Option<File>,
    limit: u64,
}

impl Checkpoints {
    pub(super) fn new(root: Option<PathBuf>) -> Self {
        Self { root, swept: false }
    }

    fn root(&self, scratch: &mut Scratch) -> io::Result<PathBuf> {
        match &self.root {
            Some(root) => Ok(root.clone()),
            None => Ok(scratch.sized(u64::MAX)?.join("checkpoints")),
        }
    }

    /// The directory of a partition for an attempt, with what the attempt before it has saved.
    pub(super) fn take(
        &mut self,
        (key, limit): (&str, u64),
        (partition, attempt): (u64, u64),
        scratch: &mut Scratch,
    ) -> io::Result<Checkpoint> {
        let root = self.root(scratch)?;
        if !std::mem::replace(&mut self.swept, true) {
            sweep(&root);
        }
        let path = root.join(checked(key)?).join(partition.to_string());
        for _ in 0..MEETINGS {
            directories(&path)?;
            match lock(&path)? {
                Lock::Held => break,
                Lock::Gone => {}
                // It was left by a shim that died, and nobody has looked at it.
                Lock::Mine(_) if measure(&path, limit).is_err() => remove_tree(&path)?,
                Lock::Mine(lock) => {
                    return Ok(Checkpoint {
                        path,
                        lock: Some(lock),
                        limit,
                    });
                }
            }
        }
        let path = scratch.sized(u64::MAX)?.join(format!("checkpoint-{attempt}"));
        directories(&path)?;
        Ok(Checkpoint {
            path,
            lock: None,
            limit,
        })
    }

    /// Removes what attempts of a partition have saved, unless one of them runs.
    pub(super) fn discard(&self, key: &str, partition: u64, scratch: &mut Scratch) {
        let mut discard = || {
            let path = self.root(scratch)?.join(checked(key)?).join(partition.to_string());
            remove_unlocked(&path)
        };
        // What cannot be removed is swept later.
        let _ = discard();
    }

    /// The attempt is over, and nothing of it runs any more. Of one that has succeeded nothing is kept. Says why nothing of another is.
    pub(super) fn end(&self, checkpoint: Checkpoint, succeeded: bool, scratch: &mut Scratch) -> Option<String> {
        let Checkpoint { path, lock, limit } = checkpoint;
        let why = match lock.as_ref().filter(|_| !succeeded).map(|_| measure(&path, limit)) {
            Some(Ok(0)) | None => None,
            Some(Ok(_)) => {
                // From here on its age counts.
                let _ = lock.as_ref().map(|lock| lock.set_modified(SystemTime::now()));
                drop(lock);
                if let Ok(root) = self.root(scratch) {
                    sweep(&root);
                }
                return None;
            }
            Some(Err(why)) => Some(format!("$BRAID_CHECKPOINT is not kept: {why}")),
        };
        // While it is locked: nobody else can have begun with it. What cannot be removed is swept later.
        let _ = remove_tree(&path);
        why
    }
}

impl Checkpoint {
    /// What `BRAID_CHECKPOINT` says.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Whether processes that are started from here on inherit the lock. There is one thread, so none inherits it by accident.
    pub(super) fn hand_down(&self, inherited: bool) -> io::Result<()> {
        let flags = if inherited { FdFlag::empty() } else { FdFlag::FD_CLOEXEC };
        if let Some(lock) = &self.lock {
            fcntl(lock, FcntlArg::F_SETFD(flags))?;
        }
        Ok(())
    }
}

enum Lock {
    Mine(File),
    /// An attempt runs.
    Held,
    /// It was removed meanwhile.
    Gone,
}

/// Names come from the worker, and are names of one entry.
fn checked(key: &str) -> io::Result<&str> {
    if matches!(key, "" | "." | "..") || key.contains(['/', '\0']) {
        return Err(io::ErrorKind::InvalidFilename.into());
    }
    Ok(key)
}

fn directories(path: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(path)
}

fn lock(path: &Path) -> io::Result<Lock> {
    // User code may have put anything there.
    let flags = OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW;
    let directory = match OpenOptions::new().read(true).custom_flags(flags.bits()).open(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Lock::Gone),
        opened => opened?,
    };
    match directory.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => return Ok(Lock::Held),
        Err(TryLockError::Error(error)) => return Err(error),
    }
    let (mine, there) = (directory.metadata()?, fs::symlink_metadata(path));
    let same = there.is_ok_and(|there| (there.dev(), there.ino()) == (mine.dev(), mine.ino()));
    Ok(if same { Lock::Mine(directory) } else { Lock::Gone })
}

fn remove_unlocked(path: &Path) -> io::Result<()> {
    match lock(path)? {
        Lock::Mine(_lock) => remove_tree(path),
        Lock::Held | Lock::Gone => Ok(()),
    }
}

/// How many entries there are; an error in words if that is too much, or too many bytes.
fn measure(path: &Path, limit: u64) -> Result<usize, String> {
    let mut left = vec![(path.to_owned(), DEPTH)];
    let (mut entries, mut bytes) = (0, 0_u64);
    while let Some((directory, depth)) = left.pop() {
        let unreadable = |error: io::Error| format!("it cannot be read: {error}");
        for entry in fs::read_dir(&directory).map_err(unreadable)? {
            let entry = entry.map_err(unreadable)?;
            // Of a link the link itself.
            let meta = entry.metadata().map_err(unreadable)?;
            entries += 1;
            bytes = bytes.saturating_add(if meta.is_dir() { 0 } else { meta.len() });
            if entries > ENTRIES {
                return Err(format!("it has more than {ENTRIES} entries"));
            }
            if bytes > limit {
                return Err(format!("it has more than {limit} bytes, which checkpoint.size allows"));
            }
            if meta.is_dir() {
                let depth = depth.checked_sub(1).ok_or("it is too deep")?;
                left.push((entry.path(), depth));
            }
        }
    }
    Ok(entries)
}

/// Removes what is old or beyond what may be kept, and the directories of programs that are empty then.
fn sweep(root: &Path) {
    let Ok(programs) = fs::read_dir(root) else { return };
    let mut saved = Vec::new();
    for program in programs.flatten() {
        let Ok(partitions) = fs::read_dir(program.path()) else {
            continue;
        };
        for partition in partitions.flatten() {
            let time = partition.metadata().and_then(|meta| meta.modified());
            saved.push((time.unwrap_or(SystemTime::UNIX_EPOCH), partition.path()));
        }
    }
    saved.sort_unstable_by(|one, other| other.cmp(one));
    let now = SystemTime::now();
    for (at, (time, path)) in saved.into_iter().enumerate() {
        let old = now.duration_since(time).is_ok_and(|age| age > OLD);
        if at >= KEPT || old {
            // What is in use or cannot be removed is looked at again.
            let _ = remove_unlocked(&path);
        }
    }
    for program in fs::read_dir(root).into_iter().flatten().flatten() {
        // One that is not empty stays.
        let _ = fs::remove_dir(program.path());
    }
}

#[cfg(test)]
mod tests;
