//! Splitting files into partitions: a cover. The union of the partitions is the input, each record once.
//!
//! By `files`, a partition is so many whole files in their order. By `bytes`, it is a range of one file's bytes, of which
//! it gets the records that begin there: [`LineCover`] finds them. Files are never joined by `bytes`; an empty file has no
//! records, hence no partition there, but is a file by `files`.

use std::ops::Range;

use braid_crds::{limits, worker::FilesSource};

mod line;

pub use line::LineCover;

/// How files are cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Split {
    /// So many whole files to a partition, at least one.
    Files(u64),
    /// So many bytes of one file to a partition, at least one; the last of a file may have fewer.
    Bytes(u64),
}

/// What one partition reads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Piece {
    /// Whole files, by their places in the list.
    Files(Range<usize>),
    /// The records of one file that begin in a range of its bytes.
    Bytes {
        /// The file's place in the list.
        file: usize,
        /// The first byte.
        start: u64,
        /// One past the last byte.
        end: u64,
        /// The file's size.
        size: u64,
    },
}

/// Why files cannot be cut.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CoverError {
    /// Neither `files` nor `bytes`, or both.
    #[error("a split needs exactly one of files and bytes, at least 1")]
    NoSplit,
    /// Too many partitions.
    #[error("the files give more than 2^40 partitions; choose a larger split")]
    TooMany,
}

impl TryFrom<&FilesSource> for Split {
    type Error = CoverError;

    fn try_from(source: &FilesSource) -> Result<Self, CoverError> {
        match (u64::try_from(source.files), source.bytes) {
            (Ok(files @ 1..), 0) => Ok(Self::Files(files)),
            (Ok(0), bytes @ 1..) => Ok(Self::Bytes(bytes)),
            _ => Err(CoverError::NoSplit),
        }
    }
}

/// The partitions of a list of files.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cover {
    split: Split,
    /// For `Bytes`: the first partition of each file and its size; without empty files.
    starts: Vec<Start>,
    files: usize,
    partitions: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Start {
    partition: u64,
    file: usize,
    size: u64,
}

impl Cover {
    /// Cuts files of these sizes, in their order.
    pub fn new(split: Split, sizes: impl IntoIterator<Item = u64>) -> Result<Self, CoverError> {
        let (Split::Files(unit) | Split::Bytes(unit)) = split;
        if unit == 0 {
            return Err(CoverError::NoSplit);
        }
        let (mut starts, mut files, mut partitions) = (Vec::new(), 0_usize, 0_u64);
        for size in sizes {
            if let Split::Bytes(bytes) = split
                && size > 0
            {
                starts.push(Start {
                    partition: partitions,
                    file: files,
                    size,
                });
                partitions = partitions.saturating_add(size.div_ceil(bytes));
            }
            files += 1;
        }
        if let Split::Files(unit) = split {
            partitions = (files as u64).div_ceil(unit);
        }
        if partitions >= limits::PARTITIONS {
            return Err(CoverError::TooMany);
        }
        Ok(Self {
            split,
            starts,
            files,
            partitions,
        })
    }

    /// How many partitions.
    #[must_use]
    pub fn partitions(&self) -> u64 {
        self.partitions
    }

    /// What a partition reads; `None` if there is no such partition.
    #[must_use]
    pub fn piece(&self, partition: u64) -> Option<Piece> {
        if partition >= self.partitions {
            return None;
        }
        match self.split {
            Split::Files(unit) => {
                let first = usize::try_from(partition.checked_mul(unit)?).ok()?;
                let unit = usize::try_from(unit).unwrap_or(usize::MAX);
                Some(Piece::Files(first..first.saturating_add(unit).min(self.files)))
            }
            Split::Bytes(unit) => {
                let after = self.starts.partition_point(|start| start.partition <= partition);
                let held = self.starts.get(after.checked_sub(1)?)?;
                let start = (partition - held.partition).checked_mul(unit)?;
                Some(Piece::Bytes {
                    file: held.file,
                    start,
                    end: start.saturating_add(unit).min(held.size),
                    size: held.size,
                })
            }
        }
    }
}

#[cfg(test)]
mod tests;
