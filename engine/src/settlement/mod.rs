//! What settled partitions gave: the content that the protocol moves from commits to the record.
//!
//! Everything here merges exactly associatively and commutatively, so the status of a run does not depend on the split,
//! the order or the re-runs of its partitions. The one limit is the table of causes, see [`Causes`].

use std::collections::BTreeMap;

use braid_crds::{
    Intervals, PartitionRange, ShardId, limits,
    status::{PlanRef, SlowPartition, StepStatus},
    worker::{CardResult, Fatal, Outputs, ShardStatus},
    workflow::ResultSpec,
};

use crate::{
    protocol::{Content, close::Failures, publish},
    reduce::{self, Contribution, Fold, RawResults, ReduceError},
    retry::Reason,
};

mod causes;
mod slowest;

pub use causes::{Causes, cut};
pub use slowest::{SLOW_BYTES, Slowest};

/// What a set of settled partitions gave.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Settlement {
    fold: Fold,
    failed: Intervals,
    causes: Causes,
    retried: u64,
    slowest: Slowest,
    /// Partitions that wrote files, by the shard that they were started for.
    outputs: BTreeMap<ShardId, Intervals>,
    plan: Option<PlanRef>,
    fatal: Option<Fatal>,
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
    /// Settles a partition that succeeded: all of what it gave counts, or on an error nothing. `declared` is the empty
    /// fold of the step.
    pub fn succeed(&mut self, declared: &Fold, partition: u64, raw: &RawResults<'_>) -> Result<(), ReduceError> {
        self.fold.declare(declared);
        self.fold.add(partition, raw)
    }

    /// Settles a partition that succeeded, with what [`Fold::read`] of `declared` has read and checked before.
    pub fn succeed_with(&mut self, declared: &Fold, contribution: Contribution) -> Result<(), ReduceError> {
        self.fold.declare(declared);
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

    /// Notes that a partition that succeeded wrote files, which lie under the name of the shard that it was started for.
    pub fn wrote(&mut self, shard: ShardId, partition: u64) {
        let range = PartitionRange::new(partition, partition.saturating_add(1));
        self.outputs.entry(shard).or_default().insert(range);
    }

    /// Whether a commit can name files of one more partition, started for that shard.
    #[must_use]
    pub fn has_room_for_outputs(&self, shard: ShardId) -> bool {
        self.outputs.contains_key(&shard) || self.outputs.len() < limits::OUTPUT_SHARDS
    }

    /// Counts attempts that were followed by another.
    pub fn retry(&mut self, attempts: u64) {
        self.retried = self.retried.saturating_add(attempts);
    }

    /// Notes how long the attempt took that settled a partition, if that is long.
    pub fn took(&mut self, partition: u64, millis: u64) {
        self.slowest.add(SlowPartition { partition, millis });
    }

    /// The partitions that took longest.
    #[must_use]
    pub fn slowest(&self) -> &Slowest {
        &self.slowest
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

    /// The plan that a shard of mode `Plan` made.
    #[must_use]
    pub fn plan(&self) -> Option<&PlanRef> {
        self.plan.as_ref()
    }

    /// Notes the plan that a shard of mode `Plan` made.
    pub fn planned(&mut self, plan: PlanRef) {
        self.plan = Some(plan);
    }

    /// Why the step cannot go on.
    #[must_use]
    pub fn fatal(&self) -> Option<&Fatal> {
        self.fatal.as_ref()
    }

    /// Notes why the step cannot go on. Of several reasons the first in their texts' order is kept.
    pub fn stop(&mut self, fatal: &Fatal) {
        let fatal = Fatal {
            reason: fatal.reason.chars().take(64).collect(),
            message: cut(&fatal.message),
        };
        let comes_first = |held: &Fatal| (&fatal.reason, &fatal.message) < (&held.reason, &held.message);
        if self.fatal.as_ref().is_none_or(comes_first) {
            self.fatal = Some(fatal);
        }
    }

    /// At most so many bytes as part of a commit.
    #[must_use]
    pub fn encoded_len(&self) -> usize {
        let failed = intervals_len_at_most(&self.failed);
        let fatal = self.fatal.as_ref().map_or(0, |fatal| 120 + fatal.message.len() * 6);
        let outputs = self
            .outputs
            .values()
            .map(|partitions| 64 + intervals_len_at_most(partitions));
        // The entry's own fields, and a plan's.
        let fields = 512 + outputs.sum::<usize>() + self.slowest.len_at_most();
        self.fold.encoded_len() + failed + self.causes.len_at_most() + fatal + fields
    }

    /// By at most how many bytes a commit grows with `contribution`. An error if a partial would become too large: what
    /// is here must be sealed first. If nothing is here yet, no commit can hold it and the step cannot go on.
    pub fn growth(&self, declared: &Fold, contribution: &Contribution) -> Result<usize, ReduceError> {
        if self.fold.is_declared() {
            self.fold.growth(contribution)
        } else {
            declared.growth(contribution)
        }
    }

    /// Whether a commit of this content, and of `more` bytes besides, is within the caps: of each partial and of the
    /// whole entry.
    pub fn fits(&self, more: usize) -> Result<(), SettlementError> {
        self.fold.fits()?;
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
            slowest: Slowest::read(&status.slowest),
            outputs: (status.outputs.iter())
                .map(|outputs| (outputs.shard, outputs.partitions.clone()))
                .collect(),
            plan: status.plan.clone(),
            fatal: status.fatal.clone(),
        })
    }

    /// Writes the content of a commit: `partials`, `failed`, `failures`, `retried`, `slowest`, `outputs`, `plan`, `fatal`.
    pub fn write_to_shard_status(&self, status: &mut ShardStatus) {
        status.partials = self.fold.encode();
        status.failed.clone_from(&self.failed);
        status.failures = self.causes.commonest();
        status.retried = self.retried;
        status.slowest = self.slowest.list().to_vec();
        status.outputs = publish::Outputs::outputs(self);
        status.plan.clone_from(&self.plan);
        status.fatal.clone_from(&self.fatal);
    }

    /// Reads the content of a step's record.
    pub fn from_step_status(results: &[ResultSpec], status: &StepStatus) -> Result<Self, SettlementError> {
        Ok(Self {
            fold: Fold::from_results(&reduce::declared(results), &status.results)?,
            causes: Causes::read(&status.failures, &status.failed)?,
            failed: status.failed.clone(),
            retried: status.retried,
            slowest: Slowest::read(&status.slowest),
            // The record has them beside, each with the start that wrote it.
            outputs: BTreeMap::new(),
            plan: None,
            fatal: status.stopping.clone(),
        })
    }

    /// Writes the content of a step's record: `results`, `failed`, `failures`, `retried`, `slowest`, and `stopping` if there is a
    /// reason to stop. The plan is not content there: the status pins it.
    pub fn write_to_step_status(&self, results: &[ResultSpec], status: &mut StepStatus) {
        status.results = self.fold.results(results);
        status.failed.clone_from(&self.failed);
        status.failures = self.causes.commonest();
        status.retried = self.retried;
        status.slowest = self.slowest.list().to_vec();
        if let Some(fatal) = &self.fatal {
            status.stopping = Some(fatal.clone());
        }
    }
}

/// At most so many bytes as text or as bitmap, whichever a status takes, without writing either.
fn intervals_len_at_most(intervals: &Intervals) -> usize {
    /// Up to here a status takes the text, even if a bitmap were shorter.
    const TEXT_BYTES: usize = 8 * 1024;
    let end = intervals.ranges().last().map_or(1, PartitionRange::end);
    let digits = end.max(1).ilog10() as usize + 1;
    let text = |range: PartitionRange| if range.len() == 1 { digits + 1 } else { 2 * digits + 2 };
    let text: usize = intervals.ranges().map(text).sum();
    let start = intervals.first().map_or(0, PartitionRange::start);
    let bits = usize::try_from(end - start).unwrap_or(usize::MAX);
    let bitmap = (bits.div_ceil(8).div_ceil(3))
        .saturating_mul(4)
        .saturating_add(digits + 8);
    text.min(bitmap.max(TEXT_BYTES))
}

impl Failures for Settlement {
    fn failed(&self) -> Intervals {
        self.failed.clone()
    }

    fn forget_failed(&mut self) {
        self.slowest.forget(&self.failed);
        self.failed = Intervals::new();
        self.causes = Causes::default();
        self.fatal = None;
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
        self.slowest.merge(&other.slowest);
        for (shard, partitions) in &other.outputs {
            let known = self.outputs.entry(*shard).or_default();
            *known = known.union(partitions);
        }
        let digest = |plan: &Option<PlanRef>| plan.as_ref().map(|plan| plan.digest.clone());
        if digest(&other.plan) > digest(&self.plan) {
            self.plan.clone_from(&other.plan);
        }
        if let Some(fatal) = &other.fatal {
            self.stop(fatal);
        }
        Ok(())
    }

    fn weight(&self) -> usize {
        self.encoded_len()
    }

    fn fits(&self, other: &Self) -> bool {
        // The merged one is at most as long as both together; only large ones are merged to see.
        let shards = self.outputs.len() + other.outputs.len();
        if self.encoded_len().saturating_add(other.encoded_len()) <= limits::PARTIAL_BYTES
            && shards <= limits::OUTPUT_SHARDS
        {
            return true;
        }
        let mut both = self.clone();
        both.merge(other).is_ok()
            && both.encoded_len() <= limits::SHARD_BYTES
            && both.outputs.len() <= limits::OUTPUT_SHARDS
            && both.fold.fits().is_ok()
    }

    fn has_outputs(&self) -> bool {
        !self.outputs.is_empty()
    }
}

impl publish::Outputs for Settlement {
    type Output = Outputs;

    fn outputs(&self) -> Vec<Outputs> {
        let outputs = self.outputs.iter();
        let outputs = outputs.map(|(shard, partitions)| Outputs {
            shard: *shard,
            partitions: partitions.clone(),
        });
        outputs.collect()
    }
}

#[cfg(test)]
mod tests;
