//! Plans: what the partitions of a step are, as canonical bytes in a few immutable objects.
//!
//! Files are listed once, in the order of their paths' bytes, and pinned with size and modification time. The canonical
//! bytes are deflated; the digest of what comes out names the plan. Two planners that saw the same files write the same
//! bytes; if they saw different ones, different names. (Planners of different builds may deflate differently: then
//! their names differ too, and the status pins one of them.)
//!
//! What is read may have been written by anybody: the digest is checked before anything is inflated, and every length
//! has a bound.

use braid_crds::{PlanDigest, limits, status::PlanRef};
use serde_json::Value;

use crate::{
    cover::{Cover, CoverError, Piece, Split},
    varint::ReadError,
};

mod bytes;
mod chunks;

pub use chunks::{Encoded, holds_same, plan_name};

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

/// What the partitions of a step are.
#[derive(Clone, Debug, PartialEq)]
pub enum Plan {
    /// Pieces of files.
    Files(FilePlan),
    /// Values, a partition each.
    Items(Vec<Value>),
}

/// Files and how they are cut.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FilePlan {
    files: Vec<PlannedFile>,
    split: Split,
    cover: Cover,
}

/// What a partition of a plan is.
#[derive(Clone, Debug, PartialEq)]
pub enum Partition<'a> {
    /// Whole files, in order.
    Files(&'a [PlannedFile]),
    /// The records of one file that begin in `[start, end)`.
    Bytes {
        /// The file.
        file: &'a PlannedFile,
        /// The first byte.
        start: u64,
        /// One past the last byte.
        end: u64,
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

impl FilePlan {
    /// A plan of these files, in the order of their paths' bytes.
    pub fn new(files: Vec<PlannedFile>, split: Split) -> Result<Self, PlanError> {
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
        let cover = Cover::new(split, files.iter().map(|file| file.size))?;
        Ok(Self { files, split, cover })
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

    /// The bytes of all files.
    #[must_use]
    pub fn total_bytes(&self) -> u64 {
        self.files.iter().fold(0, |sum, file| sum.saturating_add(file.size))
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
        Ok(Self::Items(items))
    }

    /// How many partitions.
    #[must_use]
    pub fn partitions(&self) -> u64 {
        match self {
            Self::Files(plan) => plan.cover.partitions(),
            Self::Items(items) => items.len() as u64,
        }
    }

    /// What a partition is; `None` if there is no such partition.
    #[must_use]
    pub fn partition(&self, partition: u64) -> Option<Partition<'_>> {
        match self {
            Self::Items(items) => items.get(usize::try_from(partition).ok()?).map(Partition::Item),
            Self::Files(plan) => match plan.cover.piece(partition)? {
                Piece::Files(range) => plan.files.get(range).map(Partition::Files),
                Piece::Bytes { file, start, end, .. } => {
                    plan.files.get(file).map(|file| Partition::Bytes { file, start, end })
                }
            },
        }
    }

    /// What a status pins of this plan, but for its digest and chunks.
    fn summary(&self) -> PlanRef {
        let (files, bytes) = match self {
            Self::Files(plan) => (plan.files.len() as u64, plan.total_bytes()),
            Self::Items(_) => (0, 0),
        };
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
