//! What all partitions of a step read beside their own input: files by data, whole.

use braid_crds::{limits, workflow::Format};

use super::{PlanError, PlannedFile, check_files, check_names};

/// The files of one data.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Read {
    /// The data.
    pub data: Box<str>,
    /// How their bytes divide into records: whether they are unpacked.
    pub format: Option<Format>,
    /// The files, in the order of their paths' bytes.
    pub files: Vec<PlannedFile>,
}

/// Checks lists of files: in the order of the data's names, each data once.
pub(super) fn check(reads: &[Read]) -> Result<(), PlanError> {
    if reads.len() > limits::READS {
        return Err(PlanError::TooLarge {
            what: format!("{} data to read, at most {}", reads.len(), limits::READS),
        });
    }
    for pair in reads.windows(2) {
        if let [before, read] = pair
            && before.data >= read.data
        {
            return Err(PlanError::Order(read.data.to_string()));
        }
    }
    for read in reads {
        check_files(&read.files)?;
        check_names(&read.files, read.format)?;
    }
    Ok(())
}
