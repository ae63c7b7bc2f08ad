//! Why partitions failed for good: a count for each reason, and the first partition of each.
//!
//! In memory the counts are exact: there are finitely many reasons. A status names ten causes; if there are more, the
//! nine commonest keep their names and the others are one cause, `Other`. So after a status was written and read, the
//! sum of the counts is exact in any case, and each named count is exact as long as there are at most ten reasons;
//! beyond that a named count may lack partitions that were put under `Other` before. Which partitions they are is known of the
//! lowest thousand of each reason: what is lowest does not depend on the order in which they are found.

use std::collections::{BTreeMap, btree_map::Entry};

use braid_crds::{Intervals, PartitionRange, limits, status::FailureCause};

use super::{SettlementError, intervals_len_at_most};
use crate::retry::Reason;

/// Causes of failure by reason.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Causes(BTreeMap<Reason, Cause>);

/// How many partitions failed for a reason, and the lowest of them.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Cause {
    sample: u64,
    attempts: i32,
    message: String,
    count: u64,
    partitions: Intervals,
}

impl Cause {
    /// Orders causes of one reason: which of them names the sample.
    fn key(&self) -> (u64, i32, &str, u64) {
        (self.sample, self.attempts, &self.message, self.count)
    }
}

impl Causes {
    /// Counts a failed partition.
    pub fn add(&mut self, partition: u64, reason: Reason, attempts: i32, message: &str) {
        let cause = Cause {
            sample: partition,
            attempts,
            message: cut(message),
            count: 1,
            partitions: Intervals::from_iter([PartitionRange::new(partition, partition.saturating_add(1))]),
        };
        self.count(reason, cause);
    }

    /// Adds the causes of other partitions.
    pub fn merge(&mut self, other: &Self) {
        for (reason, cause) in &other.0 {
            self.count(*reason, cause.clone());
        }
    }

    fn count(&mut self, reason: Reason, cause: Cause) {
        match self.0.entry(reason) {
            Entry::Vacant(entry) => {
                entry.insert(cause);
            }
            Entry::Occupied(mut entry) => {
                let known = entry.get_mut();
                let count = known.count.saturating_add(cause.count);
                let mut partitions = std::mem::take(&mut known.partitions);
                if cause.partitions.ranges().len() == 1 {
                    cause.partitions.ranges().for_each(|range| partitions.insert(range));
                } else {
                    partitions = partitions.union(&cause.partitions);
                }
                if partitions.len() > limits::CAUSE_PARTITIONS {
                    partitions = partitions.lowest(limits::CAUSE_PARTITIONS);
                }
                if cause.key() < known.key() {
                    *known = cause;
                }
                known.count = count;
                known.partitions = partitions;
            }
        }
    }

    /// How many partitions, of all reasons.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.0.values().fold(0, |sum, cause| sum.saturating_add(cause.count))
    }

    /// The commonest causes first, as many as a status names.
    #[must_use]
    pub fn commonest(&self) -> Vec<FailureCause> {
        let mut shown = if self.0.len() > limits::FAILURE_CAUSES {
            self.lump(limits::FAILURE_CAUSES - 1).listed()
        } else {
            self.listed()
        };
        shown.sort_by(|left, right| right.count.cmp(&left.count).then(left.sample.cmp(&right.sample)));
        shown
    }

    /// The `named` commonest reasons by themselves, the others under `Other`.
    fn lump(&self, named: usize) -> Self {
        let mut ranked: Vec<_> = self.0.iter().filter(|(reason, _)| **reason != Reason::Other).collect();
        ranked.sort_by(|(_, left), (_, right)| right.count.cmp(&left.count).then_with(|| left.key().cmp(&right.key())));
        let kept: Vec<Reason> = ranked.into_iter().take(named).map(|(reason, _)| *reason).collect();
        let mut lumped = Self::default();
        for (reason, cause) in &self.0 {
            let under = if kept.contains(reason) { *reason } else { Reason::Other };
            lumped.count(under, cause.clone());
        }
        lumped
    }

    fn listed(&self) -> Vec<FailureCause> {
        (self.0.iter())
            .map(|(reason, cause)| FailureCause {
                reason: reason.to_string(),
                count: cause.count,
                partitions: cause.partitions.clone(),
                sample: cause.sample,
                attempts: cause.attempts,
                message: cause.message.clone(),
            })
            .collect()
    }

    /// Reads what a status names; the counts must be those of the failed partitions.
    pub fn read(causes: &[FailureCause], failed: &Intervals) -> Result<Self, SettlementError> {
        if causes.len() > limits::FAILURE_CAUSES {
            return Err(SettlementError::Causes);
        }
        let mut read = Self::default();
        for cause in causes {
            let (reason, count) = (Reason::from(cause.reason.as_str()), cause.count);
            let elsewhere = cause.partitions.ranges().any(|range| !failed.covers(range));
            if count == 0 || !failed.contains(cause.sample) || elsewhere || cause.partitions.len() > count {
                return Err(SettlementError::Causes);
            }
            let cause = Cause {
                sample: cause.sample,
                attempts: cause.attempts,
                message: cut(&cause.message),
                count,
                partitions: cause.partitions.lowest(limits::CAUSE_PARTITIONS),
            };
            read.count(reason, cause);
        }
        if read.total() == failed.len() {
            Ok(read)
        } else {
            Err(SettlementError::Causes)
        }
    }

    /// At most so many bytes as JSON.
    #[must_use]
    pub fn len_at_most(&self) -> usize {
        // A control character may take six bytes in JSON.
        let each = |cause: &Cause| 160 + cause.message.len() * 6 + intervals_len_at_most(&cause.partitions);
        let mut lengths: Vec<usize> = self.0.values().map(each).collect();
        lengths.sort_unstable_by(|left, right| right.cmp(left));
        lengths.iter().take(limits::FAILURE_CAUSES).sum()
    }
}

/// A message that fits a status, cut between two characters.
#[must_use]
pub fn cut(message: &str) -> String {
    let end = message.floor_char_boundary(limits::MESSAGE_BYTES);
    message.get(..end).unwrap_or_default().to_owned()
}
