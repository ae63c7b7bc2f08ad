//! The partitions that took longest: a list of bounded length whose merge does not depend on the order.

use std::cmp::Reverse;

use braid_crds::{Intervals, limits, status::SlowPartition};

/// Bytes of an entry in a status, at most.
pub const SLOW_BYTES: usize = 72;

/// The slowest partitions, the slowest first; of those that took equally long the lowest.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Slowest(Vec<SlowPartition>);

impl Slowest {
    /// Adds a partition, if it took long and is among the slowest.
    pub fn add(&mut self, slow: SlowPartition) {
        if slow.millis < limits::SLOW_MILLIS {
            return;
        }
        let at = self.0.partition_point(|known| order(*known) < order(slow));
        if at < limits::SLOWEST && self.0.get(at) != Some(&slow) {
            self.0.insert(at, slow);
            self.0.truncate(limits::SLOWEST);
        }
    }

    /// Adds the slowest of other partitions.
    pub fn merge(&mut self, other: &Self) {
        other.0.iter().for_each(|slow| self.add(*slow));
    }

    /// Forgets partitions that are run again. Nobody takes their place: who came after them is not known any more.
    pub fn forget(&mut self, partitions: &Intervals) {
        self.0.retain(|slow| !partitions.contains(slow.partition));
    }

    /// The list.
    #[must_use]
    pub fn list(&self) -> &[SlowPartition] {
        &self.0
    }

    /// At most so many bytes in a status.
    #[must_use]
    pub fn len_at_most(&self) -> usize {
        self.0.len() * SLOW_BYTES
    }

    /// Reads a list, whatever its order.
    #[must_use]
    pub fn read(list: &[SlowPartition]) -> Self {
        let mut slowest = Self::default();
        for slow in list {
            slowest.add(*slow);
        }
        slowest
    }
}

fn order(slow: SlowPartition) -> (Reverse<u64>, u64) {
    (Reverse(slow.millis), slow.partition)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn the_slowest_are_the_same_whoever_counted_which(millis in prop::collection::vec(0_u64..5_000, 0..60), cut in 0_usize..60) {
            let all: Vec<SlowPartition> = (0..).zip(&millis).map(|(partition, millis)| SlowPartition { partition, millis: *millis }).collect();
            let (one, other) = all.split_at(cut.min(all.len()));
            let (mut left, mut right) = (Slowest::read(one), Slowest::read(other));
            let before = left.clone();
            left.merge(&right);
            right.merge(&before);
            prop_assert_eq!(&left, &right);
            let mut sorted = all.clone();
            sorted.retain(|slow| slow.millis >= limits::SLOW_MILLIS);
            sorted.sort_by_key(|slow| order(*slow));
            sorted.truncate(limits::SLOWEST);
            prop_assert_eq!(left.list(), sorted.as_slice());
        }
    }
}
