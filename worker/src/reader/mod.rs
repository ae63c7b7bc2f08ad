//! What a partition is: its item and its bytes.
//!
//! Numbers and items are at hand. Files are opened and checked against the plan: one whose size or modification time is
//! not what was planned fails its partition for good ([`InputError::Changed`]); they are looked at again when the program has
//! succeeded ([`recheck`]), so what it gave counts only for the planned bytes. A change that leaves size and time as they were, or
//! falls within one tick of the file system's clock, is not seen. Bytes are not held in memory: user code is
//! given parts of open files, so a partition may be as large as its file. Only the many small files of one partition are read
//! at once, up to [`SMALL_TOTAL`]; beyond that [`OPEN_FILES`] files are opened at once, the others when it is their turn.
//!
//! Packed files are unpacked on their way ([`unpack`]), row groups come as a file of their own ([`rowgroups`]), and where CSV is
//! cut, each part begins with the header.

use std::{
    fs::{File, Metadata},
    io,
    os::unix::fs::{FileExt as _, MetadataExt as _},
    path::{Component, Path, PathBuf},
    sync::Arc,
};

use braid_crds::workflow::Format;
use braid_engine::{
    cover::packing,
    plan::{Partition, Plan, PlannedFile},
    retry::Reason,
};
use bytes::Bytes;

pub(crate) use self::source::Source;
use self::{headers::Headers, rowgroups::Footers};
use crate::{
    ground::Ground,
    runner::{Data, Input, InputFile},
    store::OWN,
};

mod headers;
pub(crate) mod lines;
pub(crate) mod plans;
pub(crate) mod rowgroups;
mod source;
pub(crate) mod unpack;

/// Files up to this size are read at once where a partition has many, in bytes.
const SMALL_FILE: u64 = 1 << 20;
/// So much of one partition is read at once, in bytes.
const SMALL_TOTAL: u64 = 16 << 20;
/// So many files of one partition are opened at once.
const OPEN_FILES: usize = 64;

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
    /// CSV files of one partition that are not of one kind.
    #[error(
        "{path} has not the header of {first}, and both come to one partition; make them alike, or choose split: {{files: 1}}"
    )]
    Headers {
        /// The file.
        path: String,
        /// The first file of the partition that has a header.
        first: String,
    },
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
            Self::Unreadable { .. } | Self::Headers { .. } | Self::NoPartition(_) => Reason::UnreadableInput,
        }
    }
}

/// What inputs are made from beside the plan.
#[derive(Clone, Debug)]
pub(crate) struct Reader {
    /// Where data are.
    pub(crate) ground: Ground,
    footers: Arc<Footers>,
}

impl Reader {
    pub(crate) fn new(ground: Ground) -> Self {
        Self {
            ground,
            footers: Arc::default(),
        }
    }

    /// Opens the files of a partition. Blocks. `root` is the directory that names are relative to, see
    /// [`crate::planner::Pattern`].
    pub(crate) fn open(&self, plan: &Plan, partition: u64, root: &Path, many: bool) -> Result<Input, InputError> {
        let ground = &self.ground;
        let one = |planned: &PlannedFile, data| Input::One {
            name: Some(name(&planned.path, root)),
            data,
        };
        match plan.partition(partition) {
            Some(Partition::Files(files)) => {
                let format = plan.format();
                if let ([file], false) = (files, many) {
                    let data = if packing(&file.path, format).is_none() {
                        whole(checked(ground, file)?, file)
                    } else {
                        is_planned(ground, file)?;
                        self.later(file, format)
                    };
                    return Ok(Input::One {
                        name: Some(name(unpacked(file, format), root)),
                        data,
                    });
                }
                self.many(files, format, root).map(Input::Many)
            }
            Some(Partition::Bytes { file, start, end }) => {
                let opened = checked(ground, file)?;
                let lines =
                    lines::of_range(&opened, start, end, file.size).map_err(|source| unreadable(file, source))?;
                Ok(one(file, part(&Arc::new(opened), lines.start, lines.end)))
            }
            Some(Partition::Records {
                file,
                header,
                start,
                end,
            }) => {
                let opened = Arc::new(checked(ground, file)?);
                let data = if header == start || header == 0 {
                    part(&opened, start - header.min(start), end)
                } else {
                    Data::Joined(vec![part(&opened, 0, header), part(&opened, start, end)])
                };
                Ok(one(file, data))
            }
            Some(Partition::RowGroups { file, groups, columns }) => {
                let opened = checked(ground, file)?;
                Ok(one(file, self.footers.select(file, opened, groups, columns)?))
            }
            Some(Partition::Item(_)) | None => Err(InputError::NoPartition(partition)),
        }
    }

    /// Files that come to one partition, or beside it.
    pub(crate) fn many(
        &self,
        files: &[PlannedFile],
        format: Option<Format>,
        root: &Path,
    ) -> Result<Vec<InputFile>, InputError> {
        let ground = &self.ground;
        let (mut held, mut open) = (0_u64, 0_usize);
        let mut headers = Headers::default();
        let mut all = Vec::with_capacity(files.len());
        for file in files {
            let small = file.size <= SMALL_FILE && held.saturating_add(file.size) <= SMALL_TOTAL;
            let data = if packing(&file.path, format).is_some() {
                is_planned(ground, file)?;
                self.later(file, format)
            } else if small {
                held += file.size;
                Data::Bytes(read(&checked(ground, file)?, file)?)
            } else if open < OPEN_FILES {
                open += 1;
                whole(checked(ground, file)?, file)
            } else {
                is_planned(ground, file)?;
                self.later(file, format)
            };
            all.push(InputFile {
                path: name(unpacked(file, format), root),
                data,
                skip: match format {
                    Some(Format::Csv) => headers.skip(ground, file)?,
                    _ => 0,
                },
                lines: matches!(format, Some(Format::Text | Format::Csv | Format::JsonLines)),
            });
        }
        Ok(all)
    }

    /// Files that all partitions read: each is opened when it is its turn. One that is not the planned one is an error now.
    pub(crate) fn whole(
        &self,
        files: &[PlannedFile],
        format: Option<Format>,
        root: &Path,
    ) -> Result<Vec<InputFile>, InputError> {
        let file = |file: &PlannedFile| {
            is_planned(&self.ground, file)?;
            Ok((name(unpacked(file, format), root), self.later(file, format)).into())
        };
        files.iter().map(file).collect()
    }

    /// A file that is opened when its bytes are wanted.
    fn later(&self, file: &PlannedFile, format: Option<Format>) -> Data {
        Data::Made(Arc::new(Source::new(self.ground.clone(), file.clone(), format)))
    }
}

fn part(file: &Arc<File>, start: u64, end: u64) -> Data {
    Data::File {
        file: file.clone(),
        offset: start,
        length: end.saturating_sub(start),
    }
}

/// The path of a file under which its bytes are seen.
fn unpacked(file: &PlannedFile, format: Option<Format>) -> &str {
    packing(&file.path, format).map_or(&*file.path, |(_, name)| name)
}

/// Whether the files of a partition still are the planned ones. Blocks.
///
/// They are looked at by their names: a file that was removed or replaced is an error, too, since no other attempt at the
/// partition could read what this one did.
pub(crate) fn recheck(plan: &Plan, partition: u64, ground: &Ground) -> Result<(), InputError> {
    match plan.partition(partition) {
        Some(Partition::Files(files)) => files.iter().try_for_each(|file| is_planned(ground, file)),
        Some(Partition::Bytes { file, .. } | Partition::Records { file, .. } | Partition::RowGroups { file, .. }) => {
            is_planned(ground, file)
        }
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
pub(crate) fn checked(ground: &Ground, planned: &PlannedFile) -> Result<File, InputError> {
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
pub(crate) fn is_planned(ground: &Ground, planned: &PlannedFile) -> Result<(), InputError> {
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
    let is_own = |part: Component<'_>| part.as_os_str() == OWN;
    // Below Braid's own directory only the last name says something to people.
    let named = if below.as_os_str().is_empty() || below.components().any(is_own) {
        Path::new(path.file_name().unwrap_or_default())
    } else {
        below
    };
    named.to_string_lossy().into()
}

#[cfg(test)]
mod tests;
