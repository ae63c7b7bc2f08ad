//! Splitting files into partitions: a cover. The union of the partitions is the input, each record once.
//!
//! By `files`, a partition is so many whole files in their order. By `bytes`, a partition of text is a range of one file's bytes,
//! of which it gets the records that begin there: [`LineCover`] finds them. What lines alone do not tell (records of CSV, their
//! number, row groups of Parquet) is found by looking into the files once, [`RecordScan`], and pinned. Files are never joined but
//! by `files`; an empty file has no records, hence no partition, but is a file by `files`.

use std::ops::Range;

use braid_crds::{limits, worker::FilesSource};

mod fit;
mod line;
mod records;

pub use fit::{Packing, check, check_keys, packing};
pub use line::LineCover;
pub use records::{CUTS, DELIMITERS, HEADER_BYTES, RecordScan, Records, ScanError, Unit, bare_header};

/// How files are cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Split {
    /// So many whole files to a partition, at least one.
    Files(u64),
    /// So many bytes of one file to a partition, at least one; the last of a file may have fewer.
    Bytes(u64),
    /// So many records of one file to a partition, at least one; the last of a file may have fewer.
    Rows(u64),
    /// So many row groups of one file to a partition, at least one; the last of a file may have fewer.
    RowGroups(u64),
}

impl Split {
    fn unit(self) -> u64 {
        let (Self::Files(unit) | Self::Bytes(unit) | Self::Rows(unit) | Self::RowGroups(unit)) = self;
        unit
    }
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
    /// One of the parts that were found in a file.
    Part {
        /// The file's place in the list.
        file: usize,
        /// Which of them.
        part: usize,
    },
}

/// Why files cannot be cut.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CoverError {
    /// None of the five, or several.
    #[error("a split needs exactly one of files, bytes, rows, rowGroups and keys, at least 1")]
    NoSplit,
    /// The format has no such records.
    #[error("data of format {format} cannot be split by {by}: {instead}")]
    Format {
        /// The format; `none` where there is none.
        format: &'static str,
        /// The field of the split.
        by: &'static str,
        /// What can be done.
        instead: &'static str,
    },
    /// Too many partitions.
    #[error("the files give more than 2^40 partitions; choose a larger split")]
    TooMany,
}

impl TryFrom<&FilesSource> for Split {
    type Error = CoverError;

    fn try_from(source: &FilesSource) -> Result<Self, CoverError> {
        match (source.files, source.bytes, source.rows, source.row_groups) {
            (files @ 1.., 0, 0, 0) => u64::try_from(files).map(Self::Files).map_err(|_| CoverError::NoSplit),
            (0, bytes @ 1.., 0, 0) => Ok(Self::Bytes(bytes)),
            (0, 0, rows @ 1.., 0) => Ok(Self::Rows(rows)),
            (0, 0, 0, groups @ 1..) => Ok(Self::RowGroups(groups)),
            _ => Err(CoverError::NoSplit),
        }
    }
}

/// The partitions of a list of files.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cover {
    split: Split,
    /// For all but `Files`: the first partition of each file and its size; without files that have none.
    starts: Vec<Start>,
    /// Each file's partitions were found by looking into it.
    counted: bool,
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
    /// Cuts files of these sizes, in their order, by `files` or by `bytes`.
    pub fn new(split: Split, sizes: impl IntoIterator<Item = u64>) -> Result<Self, CoverError> {
        let of_file = |size: u64| match split {
            Split::Bytes(unit) if unit > 0 => Ok(size.div_ceil(unit)),
            Split::Files(1..) => Ok(0),
            _ => Err(CoverError::NoSplit),
        };
        Self::cut(split, false, sizes.into_iter().map(|size| Ok((size, of_file(size)?))))
    }

    /// Cuts files in which so many partitions were found.
    pub fn counted(split: Split, counts: impl IntoIterator<Item = u64>) -> Result<Self, CoverError> {
        Self::cut(split, true, counts.into_iter().map(|count| Ok((count, count))))
    }

    fn cut(
        split: Split,
        counted: bool,
        files: impl Iterator<Item = Result<(u64, u64), CoverError>>,
    ) -> Result<Self, CoverError> {
        if split.unit() == 0 {
            return Err(CoverError::NoSplit);
        }
        let mut cover = Self {
            split,
            starts: Vec::new(),
            counted,
            files: 0,
            partitions: 0,
        };
        for file in files {
            let (size, partitions) = file?;
            if partitions > 0 {
                cover.starts.push(Start {
                    partition: cover.partitions,
                    file: cover.files,
                    size,
                });
                cover.partitions = cover.partitions.saturating_add(partitions);
            }
            cover.files += 1;
        }
        if let Split::Files(unit) = split {
            cover.partitions = (cover.files as u64).div_ceil(unit);
        }
        if cover.partitions >= limits::PARTITIONS {
            return Err(CoverError::TooMany);
        }
        Ok(cover)
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
        if let Split::Files(unit) = self.split {
            let first = usize::try_from(partition.checked_mul(unit)?).ok()?;
            let unit = usize::try_from(unit).unwrap_or(usize::MAX);
            return Some(Piece::Files(first..first.saturating_add(unit).min(self.files)));
        }
        let after = self.starts.partition_point(|start| start.partition <= partition);
        let held = self.starts.get(after.checked_sub(1)?)?;
        let part = partition - held.partition;
        if self.counted {
            return Some(Piece::Part {
                file: held.file,
                part: usize::try_from(part).ok()?,
            });
        }
        let unit = self.split.unit();
        let start = part.checked_mul(unit)?;
        Some(Piece::Bytes {
            file: held.file,
            start,
            end: start.saturating_add(unit).min(held.size),
            size: held.size,
        })
    }
}

#[cfg(test)]
mod tests;
