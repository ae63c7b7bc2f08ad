//! Plans: what the partitions of a step are, as canonical bytes in a few immutable objects.
//!
//! Files are listed once, in the order of their paths' bytes, and pinned with size and modification time. The canonical
//! bytes are deflated; the digest of what comes out names the plan. Two planners that saw the same files write the same
//! bytes; if they saw different ones, different names. (Planners of different builds may deflate differently: then
//! their names differ too, and the status pins one of them.)
//!
//! What is read may have been written by anybody: the digest is checked before anything is inflated, and every length
//! has a bound.

use std::ops::Range;

use braid_crds::{PlanDigest, limits, status::PlanRef, workflow::Format};
use serde_json::Value;

use crate::{
    cover::{CUTS, Cover, CoverError, Piece, Records, Split, check, packing},
    varint::ReadError,
};

mod bytes;
mod chunks;
mod reads;

pub use chunks::{Encoded, holds_same, plan_name};
pub use reads::Read;

/// The most bytes that a plan may have before it is deflated.
pub const PLAN_BYTES: usize = 256 << 20;
/// The most files of a plan.
pub const FILES: usize = 4_000_000;
/// The most bytes of one path.
pub const PATH_BYTES: usize = 4_096;
/// The most bytes of all paths together, which front coding could otherwise multiply.
pub const PATHS_BYTES: usize = 512 << 20;
/// The most bytes of all items together.
pub const ITEMS_BYTES: usize = 512 << 10;

/// A file as it was when it was listed.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct PlannedFile {
    /// Its path, as the worker opens it.
    pub path: Box<str>,
    /// Its size in bytes.
    pub size: u64,
    /// When it was modified, in nanoseconds since the epoch.
    pub modified_nanos: i64,
}

/// What the partitions of a step are, and what all of them read beside.
#[derive(Clone, Debug, PartialEq)]
pub struct Plan {
    body: Body,
    reads: Vec<Read>,
}

/// What the partitions of a step are.
#[derive(Clone, Debug, PartialEq)]
pub enum Body {
    /// Nothing that has to be written down: numbers, or a single partition. How many there are the plan does not say.
    Numbers,
    /// Pieces of files.
    Files(FilePlan),
    /// Values, a partition each.
    Items(Vec<Value>),
}

/// Files and how they are cut.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FilePlan {
    files: Vec<PlannedFile>,
    format: Option<Format>,
    split: Split,
    found: Found,
    cover: Cover,
}

/// What a look into the files has found, a file each.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Found {
    /// They need not be looked into.
    Nothing,
    /// Where their partitions begin: by rows, and CSV by bytes.
    Records(Vec<Records>),
    /// How many row groups they have.
    RowGroups {
        /// Of each.
        groups: Vec<u32>,
        /// The columns that are taken of them, which each file has; empty: all.
        columns: Vec<String>,
    },
}

/// What a partition of a plan is.
#[derive(Clone, Debug, PartialEq)]
pub enum Partition<'a> {
    /// Whole files, in order.
    Files(&'a [PlannedFile]),
    /// The lines of one file that begin in `[start, end)`.
    Bytes {
        /// The file.
        file: &'a PlannedFile,
        /// The first byte.
        start: u64,
        /// One past the last byte.
        end: u64,
    },
    /// A part of one file, exactly.
    Records {
        /// The file.
        file: &'a PlannedFile,
        /// How many bytes of the file's beginning go before.
        header: u64,
        /// The first byte.
        start: u64,
        /// One past the last byte.
        end: u64,
    },
    /// Row groups of one file.
    RowGroups {
        /// The file.
        file: &'a PlannedFile,
        /// Which.
        groups: Range<u32>,
        /// The columns that are taken of them; empty: all.
        columns: &'a [String],
    },
    /// One value.
    Item(&'a Value),
}

/// Why there is no plan.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum PlanError {
    /// More than the objects of a plan hold.
    #[error("the plan is too large: {what}; use fewer and larger files, or a pattern that matches less")]
    TooLarge {
        /// What is too large, and its bound.
        what: String,
    },
    /// What was found in the files is not what the split needs.
    #[error("what was found in the files does not go with the split")]
    Found,
    /// Two files that are unpacked to one name.
    #[error("{0:?} would be unpacked beside a file of that name; rename one of them")]
    SameName(String),
    /// The files are not in the order of their paths, or one is listed twice.
    #[error("the file {0:?} is not after its predecessor in the list; list each file once, ordered by path")]
    Order(String),
    /// A path that cannot be planned.
    #[error("the path {0:?} is longer than {PATH_BYTES} bytes")]
    Path(String),
    /// A split that cannot be.
    #[error(transparent)]
    Cover(#[from] CoverError),
    /// Chunks that are not the pieces of one plan.
    #[error("the plan has not all of its pieces: {0}")]
    Chunks(String),
    /// The bytes are not those that the digest names.
    #[error("the plan's bytes are not those of {0}")]
    Digest(PlanDigest),
    /// The bytes are of the digest, but no plan of this version.
    #[error("the plan does not read: {0}")]
    Malformed(#[from] ReadError),
    /// The deflated bytes do not inflate, or to too much.
    #[error("the plan does not inflate within {PLAN_BYTES} bytes")]
    Inflate,
    /// An item that is not JSON.
    #[error("an item of the plan is not JSON")]
    Item,
}

/// Checks a list of files: order, number, names.
fn check_files(files: &[PlannedFile]) -> Result<(), PlanError> {
    if files.len() > FILES {
        return Err(PlanError::TooLarge {
            what: format!("{} files, at most {FILES}", files.len()),
        });
    }
    let disorder = files.windows(2).find_map(|pair| match pair {
        [before, file] if before.path.as_bytes() >= file.path.as_bytes() => Some(file),
        _ => None,
    });
    if let Some(file) = disorder {
        return Err(PlanError::Order(cut(&file.path)));
    }
    if let Some(file) = files.iter().find(|file| file.path.len() > PATH_BYTES) {
        return Err(PlanError::Path(cut(&file.path)));
    }
    let paths = files
        .iter()
        .fold(0_usize, |sum, file| sum.saturating_add(file.path.len()));
    if paths > PATHS_BYTES {
        return Err(PlanError::TooLarge {
            what: format!("{paths} bytes of paths, at most {PATHS_BYTES}"),
        });
    }
    Ok(())
}

/// Checks that files that lie in one directory have names of their own when they are unpacked.
fn check_names(files: &[PlannedFile], format: Option<Format>) -> Result<(), PlanError> {
    let packed = files.iter().filter_map(|file| packing(&file.path, format));
    let mut unpacked: Vec<&str> = packed.map(|(_, name)| name).collect();
    unpacked.sort_unstable();
    let twice = unpacked.windows(2).find_map(|pair| match pair {
        [name, other] if name == other => Some(*name),
        _ => None,
    });
    let beside = unpacked.iter().find(|name| {
        files
            .binary_search_by(|file| file.path.as_bytes().cmp(name.as_bytes()))
            .is_ok()
    });
    match twice.or(beside.copied()) {
        Some(name) => Err(PlanError::SameName(cut(name))),
        None => Ok(()),
    }
}

impl FilePlan {
    /// A plan of these files, in the order of their paths' bytes, that need not be looked into.
    pub fn new(files: Vec<PlannedFile>, format: Option<Format>, split: Split) -> Result<Self, PlanError> {
        Self::with(files, format, split, Found::Nothing)
    }

    /// A plan of these files, in the order of their paths' bytes, with what was found in them.
    pub fn with(
        files: Vec<PlannedFile>,
        format: Option<Format>,
        split: Split,
        found: Found,
    ) -> Result<Self, PlanError> {
        check_files(&files)?;
        check(format, split)?;
        if matches!(split, Split::Files(2..)) {
            check_names(&files, format)?;
        }
        let sizes = files.iter().map(|file| file.size);
        let cover = match (&found, Self::needs(format, split)) {
            (Found::Nothing, Needs::Nothing) => Cover::new(split, sizes)?,
            (Found::Records(records), Needs::Records) if records.len() == files.len() => {
                let all: usize = records.iter().map(|records| records.starts.len()).sum();
                if all > CUTS {
                    return Err(PlanError::TooLarge {
                        what: format!("{all} partitions that are pinned, at most {CUTS}"),
                    });
                }
                if !records
                    .iter()
                    .zip(sizes)
                    .all(|(records, size)| is_within(records, size))
                {
                    return Err(PlanError::Found);
                }
                Cover::counted(split, records.iter().map(|records| records.starts.len() as u64))?
            }
            (Found::RowGroups { groups, columns }, Needs::RowGroups)
                if groups.len() == files.len() && columns.len() <= limits::COLUMNS =>
            {
                let Split::RowGroups(unit @ 1..) = split else {
                    return Err(CoverError::NoSplit.into());
                };
                Cover::counted(split, groups.iter().map(|groups| u64::from(*groups).div_ceil(unit)))?
            }
            _ => return Err(PlanError::Found),
        };
        Ok(Self {
            files,
            format,
            split,
            found,
            cover,
        })
    }

    /// What has to be found in files that are cut so.
    #[must_use]
    pub fn needs(format: Option<Format>, split: Split) -> Needs {
        match (format, split) {
            (_, Split::Rows(_)) | (Some(Format::Csv), Split::Bytes(_)) => Needs::Records,
            (_, Split::RowGroups(_)) => Needs::RowGroups,
            _ => Needs::Nothing,
        }
    }

    /// The files, in order.
    #[must_use]
    pub fn files(&self) -> &[PlannedFile] {
        &self.files
    }

    /// How they are cut.
    #[must_use]
    pub fn split(&self) -> Split {
        self.split
    }

    /// How their bytes divide into records.
    #[must_use]
    pub fn format(&self) -> Option<Format> {
        self.format
    }

    /// The bytes of all files.
    #[must_use]
    pub fn total_bytes(&self) -> u64 {
        self.files.iter().fold(0, |sum, file| sum.saturating_add(file.size))
    }

    fn partition(&self, partition: u64) -> Option<Partition<'_>> {
        match self.cover.piece(partition)? {
            Piece::Files(range) => self.files.get(range).map(Partition::Files),
            Piece::Bytes { file, start, end, .. } => {
                self.files.get(file).map(|file| Partition::Bytes { file, start, end })
            }
            Piece::Part { file: place, part } => {
                let file = self.files.get(place)?;
                match (&self.found, self.split) {
                    (Found::Records(records), _) => {
                        let records = records.get(place)?;
                        Some(Partition::Records {
                            file,
                            header: records.header,
                            start: *records.starts.get(part)?,
                            end: records.starts.get(part + 1).copied().unwrap_or(file.size),
                        })
                    }
                    (Found::RowGroups { groups, columns }, Split::RowGroups(unit)) => {
                        let all = *groups.get(place)?;
                        let first = u32::try_from(unit.checked_mul(part as u64)?).ok()?;
                        let unit = u32::try_from(unit).unwrap_or(u32::MAX);
                        Some(Partition::RowGroups {
                            file,
                            groups: first..first.saturating_add(unit).min(all),
                            columns,
                        })
                    }
                    _ => None,
                }
            }
        }
    }
}

/// What has to be found in files before they can be cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Needs {
    /// Nothing.
    Nothing,
    /// Where their records are.
    Records,
    /// How many row groups they have.
    RowGroups,
}

fn is_within(records: &Records, size: u64) -> bool {
    let starts = &records.starts;
    records.header <= size
        && starts.first().is_none_or(|first| *first >= records.header)
        && starts.last().is_none_or(|last| *last < size)
        && starts.windows(2).all(|pair| matches!(pair, [a, b] if a < b))
}

impl From<FilePlan> for Plan {
    fn from(files: FilePlan) -> Self {
        Self {
            body: Body::Files(files),
            reads: Vec::new(),
        }
    }
}

impl Plan {
    /// A plan of items.
    pub fn items(items: Vec<Value>) -> Result<Self, PlanError> {
        if items.len() > limits::ITEMS {
            return Err(PlanError::TooLarge {
                what: format!("{} items, at most {}", items.len(), limits::ITEMS),
            });
        }
        Ok(Self {
            body: Body::Items(items),
            reads: Vec::new(),
        })
    }

    /// A plan of partitions that need none.
    #[must_use]
    pub fn numbers() -> Self {
        Self {
            body: Body::Numbers,
            reads: Vec::new(),
        }
    }

    /// The same, whose partitions read these files beside: a list for each data, in the order of their names.
    pub fn reading(self, reads: Vec<Read>) -> Result<Self, PlanError> {
        reads::check(&reads)?;
        Ok(Self { reads, ..self })
    }

    /// What the partitions are.
    #[must_use]
    pub fn body(&self) -> &Body {
        &self.body
    }

    /// What all partitions read beside.
    #[must_use]
    pub fn reads(&self) -> &[Read] {
        &self.reads
    }

    /// How many partitions; of numbers, 0.
    #[must_use]
    pub fn partitions(&self) -> u64 {
        match &self.body {
            Body::Numbers => 0,
            Body::Files(plan) => plan.cover.partitions(),
            Body::Items(items) => items.len() as u64,
        }
    }

    /// What a partition is; `None` if there is no such partition.
    #[must_use]
    pub fn partition(&self, partition: u64) -> Option<Partition<'_>> {
        match &self.body {
            Body::Numbers => None,
            Body::Items(items) => items.get(usize::try_from(partition).ok()?).map(Partition::Item),
            Body::Files(plan) => plan.partition(partition),
        }
    }

    /// How the bytes of its files divide into records.
    #[must_use]
    pub fn format(&self) -> Option<Format> {
        match &self.body {
            Body::Files(plan) => plan.format,
            Body::Numbers | Body::Items(_) => None,
        }
    }

    /// What a status pins of this plan, but for its digest and chunks.
    fn summary(&self) -> PlanRef {
        let (mut files, mut bytes) = match &self.body {
            Body::Files(plan) => (plan.files.len() as u64, plan.total_bytes()),
            Body::Numbers | Body::Items(_) => (0, 0),
        };
        for file in self.reads.iter().flat_map(|read| &read.files) {
            (files, bytes) = (files.saturating_add(1), bytes.saturating_add(file.size));
        }
        PlanRef {
            partitions: self.partitions(),
            files,
            bytes,
            ..PlanRef::default()
        }
    }
}

/// The reference of a plan that needs no bytes: a range, or a single partition.
#[must_use]
pub fn plan_of(partitions: u64) -> PlanRef {
    PlanRef {
        partitions,
        ..PlanRef::default()
    }
}

fn cut(path: &str) -> String {
    path.chars().take(200).collect()
}

#[cfg(test)]
mod tests;
