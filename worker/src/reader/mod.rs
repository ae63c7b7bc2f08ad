//! What a partition is: its item and its bytes.
//!
//! Numbers and items are at hand. Files are opened and checked against the plan: one whose size or modification time is
//! not what was planned fails its partition for good ([`InputError::Changed`]); they are looked at again when the program has
//! succeeded ([`recheck`]), so what it gave counts only for the planned bytes. A change that leaves size and time as they were, or
//! falls within one tick of the file system's clock, is not seen. Bytes are not held in memory: user code is
//! given parts of open files, so a partition may be as large as its file. Only the many small files of one partition are read
//! at once, up to [`SMALL_TOTAL`]; beyond that at most [`OPEN_FILES`] files stay open, and more is a clear failure.

use std::{
    fs::{File, Metadata},
    io,
    os::unix::fs::{FileExt as _, MetadataExt as _},
    path::{Path, PathBuf},
    sync::Arc,
};

use braid_engine::{
    plan::{Partition, Plan, PlannedFile},
    retry::Reason,
};
use bytes::Bytes;

use crate::{
    ground::Ground,
    runner::{Data, Input},
};

pub(crate) mod lines;
pub(crate) mod plans;

/// Files up to this size are read at once where a partition has many, in bytes.
const SMALL_FILE: u64 = 1 << 20;
/// So much of one partition is read at once, in bytes.
const SMALL_TOTAL: u64 = 16 << 20;
/// So many files of one partition may be open.
const OPEN_FILES: usize = 256;

/// Why a partition's input is not there.
#[derive(Debug, thiserror::Error)]
pub(crate) enum InputError {
    /// It is not what was planned.
    #[error("{path} has changed since it was listed: {what}; start a new run for the new data")]
    Changed {
        /// The file.
        path: String,
        /// What is different.
        what: String,
    },
    /// It cannot be read.
    #[error("{path} cannot be read: {source}")]
    Unreadable {
        /// The file.
        path: String,
        /// Why.
        source: io::Error,
    },
    /// More large files than can be open.
    #[error(
        "the partition has more than {OPEN_FILES} files beyond its first {SMALL_TOTAL} bytes; choose a smaller split.files"
    )]
    TooManyFiles,
    /// The plan has no such partition, or one of another kind.
    #[error("the plan has no files for partition {0}")]
    NoPartition(u64),
}

impl InputError {
    /// Why the attempt fails.
    pub(crate) fn reason(&self) -> Reason {
        match self {
            // A file that is gone is not the file that was planned.
            Self::Changed { .. } => Reason::InputChanged,
            Self::Unreadable { .. } | Self::TooManyFiles | Self::NoPartition(_) => Reason::UnreadableInput,
        }
    }
}

/// Opens the files of a partition. Blocks. `root` is the directory that names are relative to, see
/// [`crate::planner::Pattern`].
pub(crate) fn open(plan: &Plan, partition: u64, ground: &Ground, root: &Path, many: bool) -> Result<Input, InputError> {
    match plan.partition(partition) {
        Some(Partition::Files(files)) => {
            if let ([file], false) = (files, many) {
                let opened = checked(ground, file)?;
                return Ok(Input::One {
                    name: Some(name(&file.path, root)),
                    data: whole(opened, file),
                });
            }
            let (mut held, mut open) = (0_u64, 0_usize);
            let mut all = Vec::with_capacity(files.len());
            for file in files {
                let opened = checked(ground, file)?;
                let small = file.size <= SMALL_FILE && held.saturating_add(file.size) <= SMALL_TOTAL;
                let data = if small {
                    held += file.size;
                    Data::Bytes(read(&opened, file)?)
                } else if open < OPEN_FILES {
                    open += 1;
                    whole(opened, file)
                } else {
                    return Err(InputError::TooManyFiles);
                };
                all.push((name(&file.path, root), data));
            }
            Ok(Input::Many(all))
        }
        Some(Partition::Bytes { file, start, end }) => {
            let opened = checked(ground, file)?;
            let unreadable = |source| unreadable(file, source);
            let lines = lines::of_range(&opened, start, end, file.size).map_err(unreadable)?;
            Ok(Input::One {
                name: Some(name(&file.path, root)),
                data: Data::File {
                    file: Arc::new(opened),
                    offset: lines.start,
                    length: lines.end - lines.start,
                },
            })
        }
        Some(Partition::Item(_)) | None => Err(InputError::NoPartition(partition)),
    }
}

/// Whether the files of a partition still are the planned ones. Blocks.
///
/// They are looked at by their names: a file that was removed or replaced is an error, too, since no other attempt at the
/// partition could read what this one did.
pub(crate) fn recheck(plan: &Plan, partition: u64, ground: &Ground) -> Result<(), InputError> {
    match plan.partition(partition) {
        Some(Partition::Files(files)) => files.iter().try_for_each(|file| is_planned(ground, file)),
        Some(Partition::Bytes { file, .. }) => is_planned(ground, file),
        Some(Partition::Item(_)) | None => Err(InputError::NoPartition(partition)),
    }
}

fn whole(file: File, planned: &PlannedFile) -> Data {
    Data::File {
        file: Arc::new(file),
        offset: 0,
        length: planned.size,
    }
}

fn read(file: &File, planned: &PlannedFile) -> Result<Bytes, InputError> {
    let mut bytes = vec![0; usize::try_from(planned.size).unwrap_or(0)];
    file.read_exact_at(&mut bytes, 0)
        .map_err(|source| unreadable(planned, source))?;
    Ok(bytes.into())
}

/// Opens a file and checks that it is the planned one.
fn checked(ground: &Ground, planned: &PlannedFile) -> Result<File, InputError> {
    // Looked at first: opening a pipe in a file's place would wait for its other end.
    is_planned(ground, planned)?;
    let file = ground
        .open(Path::new(&*planned.path))
        .map_err(|source| missing(planned, source))?;
    // Once more, since another file may have taken the name in between.
    let metadata = file.metadata().map_err(|source| unreadable(planned, source))?;
    compare(planned, &metadata)?;
    Ok(file)
}

/// Checks that the file with a planned one's name is that one.
fn is_planned(ground: &Ground, planned: &PlannedFile) -> Result<(), InputError> {
    let metadata = ground
        .metadata(Path::new(&*planned.path))
        .map_err(|source| missing(planned, source))?;
    compare(planned, &metadata)
}

fn compare(planned: &PlannedFile, found: &Metadata) -> Result<(), InputError> {
    let changed = |what: String| InputError::Changed {
        path: planned.path.to_string(),
        what,
    };
    if !found.is_file() {
        return Err(changed("it is no regular file".into()));
    }
    if found.len() != planned.size {
        return Err(changed(format!("{} bytes instead of {}", found.len(), planned.size)));
    }
    if modified_nanos(found) != planned.modified_nanos {
        return Err(changed("it was modified".into()));
    }
    Ok(())
}

fn missing(planned: &PlannedFile, source: io::Error) -> InputError {
    if source.kind() == io::ErrorKind::NotFound {
        return InputError::Changed {
            path: planned.path.to_string(),
            what: "it is gone".into(),
        };
    }
    unreadable(planned, source)
}

fn unreadable(planned: &PlannedFile, source: io::Error) -> InputError {
    InputError::Unreadable {
        path: planned.path.to_string(),
        source,
    }
}

/// When a file was modified, in nanoseconds since the epoch.
pub(crate) fn modified_nanos(metadata: &Metadata) -> i64 {
    metadata
        .mtime()
        .saturating_mul(1_000_000_000)
        .saturating_add(metadata.mtime_nsec())
}

/// A file's path below the pattern's fixed part; the whole path if it is not below.
fn name(path: &str, root: &Path) -> Arc<str> {
    let path: PathBuf = path.into();
    let below = path.strip_prefix(root).unwrap_or(&path);
    let named = if below.as_os_str().is_empty() {
        Path::new(path.file_name().unwrap_or_default())
    } else {
        below
    };
    named.to_string_lossy().into()
}

#[cfg(test)]
mod tests;
