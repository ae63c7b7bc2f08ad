//! What settled partitions gave: the content that the protocol moves from commits to the record.
//!
//! Everything here merges exactly associatively and commutatively, so the status of a run does not depend on the split,
//! the order or the re-runs of its partitions. The one limit is the table of causes, see [`Causes`].

use braid_crds::{
    Intervals, PartitionRange, limits,
    status::StepStatus,
    worker::{CardResult, ShardStatus},
    workflow::ResultSpec,
};

use crate::{
    protocol::Content,
    reduce::{self, Contribution, Fold, RawResults, ReduceError},
    retry::Reason,
};

mod causes;

pub use causes::{Causes, cut};

/// What a set of settled partitions gave.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Settlement {
    fold: Fold,
    failed: Intervals,
    causes: Causes,
    retried: u64,
}

/// Why settlements cannot be merged, read or committed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SettlementError {
    /// The results.
    #[error(transparent)]
    Reduce(#[from] ReduceError),
    /// Both say that they settled the same partition.
    #[error("two settlements hold the same failed partition")]
    Overlap,
    /// A status whose causes are not those of its failed partitions.
    #[error("the causes of failure do not fit the failed partitions")]
    Causes,
    /// More than a commit may hold.
    #[error("a commit of {bytes} bytes is too large, at most {max} fit")]
    TooLarge {
        /// Its size at most.
        bytes: usize,
        /// The cap.
        max: usize,
    },
}

impl Settlement {
    /// The settlement of no partitions yet.
    #[must_use]
    pub fn new(declared: &[CardResult]) -> Self {
        Self {
            fold: Fold::new(declared),
            ..Self::default()
        }
    }

    /// Settles a partition that succeeded: all of what it gave counts, or on an error nothing.
    pub fn succeed(&mut self, partition: u64, raw: &RawResults<'_>) -> Result<(), ReduceError> {
        self.fold.add(partition, raw)
    }

    /// Reads and checks what a partition gave, before it is settled.
    pub fn read(&self, partition: u64, raw: &RawResults<'_>) -> Result<Contribution, ReduceError> {
        self.fold.read(partition, raw)
    }

    /// Settles a partition that succeeded, with what was read of it.
    pub fn succeed_with(&mut self, contribution: Contribution) -> Result<(), ReduceError> {
        self.fold.apply(contribution)
    }

    /// Settles a partition that failed for good after so many attempts. False, and nothing done, if it had already.
    pub fn fail(&mut self, partition: u64, reason: Reason, attempts: i32, message: &str) -> bool {
        if self.failed.contains(partition) {
            return false;
        }
        self.failed
            .insert(PartitionRange::new(partition, partition.saturating_add(1)));
        self.causes.add(partition, reason, attempts, message);
        true
    }

    /// Counts attempts that were followed by another.
    pub fn retry(&mut self, attempts: u64) {
        self.retried = self.retried.saturating_add(attempts);
    }

    /// The accumulators.
    #[must_use]
    pub fn fold(&self) -> &Fold {
        &self.fold
    }

    /// The partitions that failed for good.
    #[must_use]
    pub fn failed(&self) -> &Intervals {
        &self.failed
    }

    /// Why they failed.
    #[must_use]
    pub fn causes(&self) -> &Causes {
        &self.causes
    }

    /// Attempts that were followed by another.
    #[must_use]
    pub fn retried(&self) -> u64 {
        self.retried
    }

    /// At most so many bytes as part of a commit.
    #[must_use]
    pub fn encoded_len(&self) -> usize {
        // An interval takes at most 28 bytes; only if that is much is the true length, which may be a bitmap's, looked at.
        let intervals = self.failed.ranges().len() * 28;
        let failed = if intervals > limits::SHARD_BYTES / 4 {
            self.failed.to_string().len()
        } else {
            intervals
        };
        let names = 256;
        self.fold.encoded_len() + failed + self.causes.len_at_most() + names
    }

    /// Whether a commit could still hold this settlement with `contribution` added. If not, what is here must be
    /// committed first; if there is nothing here yet, no commit can hold it and the step cannot go on.
    pub fn fits(&self, contribution: &Contribution) -> Result<(), SettlementError> {
        let more = self.fold.growth(contribution)?;
        self.fits_with(more)
    }

    /// Whether a commit could still hold this settlement with one more failed partition.
    pub fn fits_failure(&self) -> Result<(), SettlementError> {
        self.fits_with(limits::MESSAGE_BYTES * 6 + 160)
    }

    fn fits_with(&self, more: usize) -> Result<(), SettlementError> {
        let bytes = self.encoded_len().saturating_add(more);
        if bytes <= limits::SHARD_BYTES {
            return Ok(());
        }
        Err(SettlementError::TooLarge {
            bytes,
            max: limits::SHARD_BYTES,
        })
    }

    /// Reads the content of a commit.
    pub fn from_shard_status(declared: &[CardResult], status: &ShardStatus) -> Result<Self, SettlementError> {
        Ok(Self {
            fold: Fold::decode(declared, &status.partials)?,
            causes: Causes::read(&status.failures, &status.failed)?,
            failed: status.failed.clone(),
            retried: status.retried,
        })
    }

    /// Writes the content of a commit: `partials`, `failed`, `failures`, `retried`.
    pub fn write_to_shard_status(&self, status: &mut ShardStatus) {
        status.partials = self.fold.encode();
        status.failed.clone_from(&self.failed);
        status.failures = self.causes.commonest();
        status.retried = self.retried;
    }

    /// Reads the content of a step's record.
    pub fn from_step_status(results: &[ResultSpec], status: &StepStatus) -> Result<Self, SettlementError> {
        Ok(Self {
            fold: Fold::from_results(&reduce::declared(results), &status.results)?,
            causes: Causes::read(&status.failures, &status.failed)?,
            failed: status.failed.clone(),
            retried: status.retried,
        })
    }

    /// Writes the content of a step's record: `results`, `failed`, `failures`, `retried`.
    pub fn write_to_step_status(&self, results: &[ResultSpec], status: &mut StepStatus) {
        status.results = self.fold.results(results);
        status.failed.clone_from(&self.failed);
        status.failures = self.causes.commonest();
        status.retried = self.retried;
    }
}

impl Content for Settlement {
    type Error = SettlementError;

    fn merge(&mut self, other: &Self) -> Result<(), SettlementError> {
        let failed = self.failed.union(&other.failed);
        if failed.len() != self.failed.len() + other.failed.len() {
            return Err(SettlementError::Overlap);
        }
        self.fold.merge(&other.fold)?;
        self.failed = failed;
        self.causes.merge(&other.causes);
        self.retried = self.retried.saturating_add(other.retried);
        Ok(())
    }
}

#[cfg(test)]
mod tests;
