//! What a plan would be, found without running anything: for people who want to know before.

use std::{io::Read, path::Path, sync::atomic::AtomicBool};

use braid_crds::worker::{FilesSource, KeysSource, ReadSource};
use braid_engine::plan::{Partition, Plan};

use super::{Pattern, PlanningError, files, shuffle};
use crate::{
    ground::Ground,
    reader::{InputError, Reader},
    runner::input_bytes,
};

/// What was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Survey {
    /// How many files.
    pub files: u64,
    /// How many bytes they have, as they lie there.
    pub bytes: u64,
    /// How many partitions.
    pub partitions: u64,
    /// In how many objects the plan is written down.
    pub objects: i32,
    /// What the first partitions are, in words.
    pub first: Vec<String>,
}

/// Why there is no plan: as a run would say it.
#[derive(Debug, thiserror::Error)]
#[error("{reason}: {message}")]
pub struct NoPlan {
    /// In CamelCase.
    pub reason: String,
    /// What, where, and what to do.
    pub message: String,
}

impl From<PlanningError> for NoPlan {
    fn from(error: PlanningError) -> Self {
        let fatal = error.to_fatal();
        Self {
            reason: fatal.reason,
            message: fatal.message,
        }
    }
}

impl From<InputError> for NoPlan {
    fn from(error: InputError) -> Self {
        Self {
            reason: error.reason().to_string(),
            message: error.to_string(),
        }
    }
}

/// The bytes of a partition of files, as its program has them on standard input. `many`: a partition is of several files. Blocks, also
/// while they are read; what is wrong with them then is told as an attempt would be.
///
/// # Errors
/// What the partition would fail with.
pub fn input(plan: &Plan, partition: u64, many: bool, ground: &Ground) -> Result<impl Read + use<>, NoPlan> {
    // Names are not shown.
    let input = Reader::new(ground.clone()).open(plan, partition, Path::new(""), many)?;
    Ok(input_bytes(&input))
}

/// Lists the files of a step, and looks into them, as a worker would. Blocks.
///
/// # Errors
/// What the step would fail with.
pub fn partitions(source: &FilesSource, ground: &Ground, first: usize) -> Result<Survey, NoPlan> {
    if let Some(keys) = &source.keys {
        return parts(source, keys, ground);
    }
    // What a run writes is not there before it runs: such a step is not surveyed.
    let files = files(source, None, "", ground, &AtomicBool::new(false))?;
    let (count, bytes) = (files.files().len() as u64, files.total_bytes());
    let plan = Plan::from(files);
    let encoded = plan.encode().map_err(PlanningError::from)?;
    let some = (0..plan.partitions()).take(first);
    Ok(Survey {
        files: count,
        bytes,
        partitions: plan.partitions(),
        objects: encoded.reference().chunks,
        first: some
            .filter_map(|number| Some(words(&plan.partition(number)?)))
            .collect(),
    })
}

/// What a shuffle will give. Nothing is written, and only the beginning is read, so the sizes of the parts are not known.
fn parts(source: &FilesSource, keys: &KeysSource, ground: &Ground) -> Result<Survey, NoPlan> {
    let files = Pattern::new(&source.url)?.list(ground)?;
    shuffle::look(source, keys, &files, ground)?;
    let partitions = u64::try_from(keys.into).unwrap_or(0);
    Ok(Survey {
        files: files.len() as u64,
        bytes: files.iter().fold(0, |sum: u64, file| sum.saturating_add(file.size)),
        partitions,
        // A list of so few files takes no more.
        objects: 1,
        first: vec![format!(
            "the records of about one in {partitions} of the values of {}; sizes are known only when a run has written the parts",
            keys.by
        )],
    })
}

/// Lists the files of a side input: how many, and their bytes. Blocks.
///
/// # Errors
/// What the step would fail with.
pub fn read(source: &ReadSource, ground: &Ground) -> Result<(u64, u64), NoPlan> {
    let files = Pattern::new(&source.url)?.list(ground)?;
    let bytes = files.iter().fold(0, |sum: u64, file| sum.saturating_add(file.size));
    Ok((files.len() as u64, bytes))
}

/// What a partition is, in words.
#[must_use]
pub fn words(partition: &Partition<'_>) -> String {
    match partition {
        Partition::Files([]) => "no file".into(),
        Partition::Files([file]) => format!("{}, {} bytes", file.path, file.size),
        Partition::Files([first, .., last]) => format!("{} to {}", first.path, last.path),
        Partition::Bytes { file, start, end } => format!("{}, lines that begin in bytes {start}-{end}", file.path),
        Partition::Records {
            file,
            header: 0,
            start,
            end,
        } => format!("{}, bytes {start}-{end}", file.path),
        Partition::Records {
            file,
            header,
            start,
            end,
        } => format!("{}, bytes {start}-{end} behind the header of {header}", file.path),
        Partition::RowGroups { file, groups, columns } => {
            let of = match columns {
                [] => String::new(),
                columns => format!(" of {}", columns.join(", ")),
            };
            format!("{}, row groups {}-{}{of}", file.path, groups.start, groups.end)
        }
        Partition::Item(item) => item.to_string(),
    }
}
