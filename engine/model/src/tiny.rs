//! A world with small identities, and a content that remembers where it came from.

use std::convert::Infallible;

use braid_crds::{Intervals, PartitionRange, ShardId};
use braid_engine::protocol::{
    Content, World,
    close::Failures,
    publish::{self, Outputs},
};

/// The world of the model.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Tiny;

/// Names a desk for ever: its uid.
pub type Uid = u16;

impl World for Tiny {
    type Start = u16;
    type Run = u8;
    type Content = Provenance;
}

/// One settled partition, and who settled it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Settlement {
    /// Which.
    pub partition: u32,
    /// The desk.
    pub desk: Uid,
    /// The shard's number on that desk.
    pub shard: u32,
    /// The start of the process that ran it.
    pub start: u16,
    /// How often the step had been opened again when the shard was assigned.
    pub generation: u8,
    /// Whether it succeeded.
    pub ok: bool,
}

/// Names one output: the attempt that wrote it, and for which partition.
pub type Output = Settlement;
/// Outputs of a counted shard.
pub type Entry = publish::Entry<Uid, Output>;
/// A link of the chain.
pub type Manifest = publish::Manifest<Uid, Output>;

/// What settled partitions gave: the settlements themselves, in order. A partition that is in it twice was counted
/// twice.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Provenance(pub Vec<Settlement>);

impl Provenance {
    /// The partitions in it, as a set.
    #[must_use]
    pub fn partitions(&self) -> Intervals {
        self.0.iter().map(|settlement| single(settlement.partition)).collect()
    }
}

impl Content for Provenance {
    type Error = Infallible;

    fn merge(&mut self, other: &Self) -> Result<(), Infallible> {
        self.0.extend_from_slice(&other.0);
        self.0.sort_unstable();
        Ok(())
    }

    fn weight(&self) -> usize {
        self.0.len()
    }

    fn has_outputs(&self) -> bool {
        self.0.iter().any(|settlement| settlement.ok)
    }
}

impl Outputs for Provenance {
    type Output = Output;

    fn outputs(&self) -> Vec<Output> {
        self.0.iter().filter(|settlement| settlement.ok).copied().collect()
    }
}

impl Failures for Provenance {
    fn failed(&self) -> Intervals {
        let failed = self.0.iter().filter(|settlement| !settlement.ok);
        failed.map(|settlement| single(settlement.partition)).collect()
    }

    fn forget_failed(&mut self) {
        self.0.retain(|settlement| settlement.ok);
    }
}

/// The range of one partition.
#[must_use]
pub fn single(partition: u32) -> PartitionRange {
    PartitionRange::new(u64::from(partition), u64::from(partition) + 1)
}

/// A shard's number as it is kept in a settlement.
#[must_use]
pub fn number(id: ShardId) -> u32 {
    u32::try_from(id.0).expect("shard numbers are tiny")
}
