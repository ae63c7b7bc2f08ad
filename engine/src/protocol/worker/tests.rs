#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::unnecessary_wraps
)]
//! The rules as traces, and a simulation that mixes them.

use std::collections::BTreeMap;

use braid_crds::{Cursor, Intervals, PartitionRange, Round, ShardId, worker::Mode};

use super::{
    super::{Commit, Content, DeferredPartition, Desk, Record, Shard, World},
    Begin, Bounds, Command, Event, Machine, Sheet, Task, Version,
};

mod object;
mod random;
mod traces;

/// A world whose contents count how often each partition is in them.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Small {}

impl World for Small {
    type Start = u8;
    type Run = u8;
    type Content = Counts;
}

/// How often each partition was counted.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
struct Counts {
    times: BTreeMap<u64, u32>,
    fatal: bool,
}

impl Counts {
    fn of(partition: u64) -> Self {
        Self {
            times: [(partition, 1)].into(),
            fatal: false,
        }
    }

    fn fatal() -> Self {
        Self {
            fatal: true,
            ..Self::default()
        }
    }
}

impl Content for Counts {
    type Error = &'static str;

    fn merge(&mut self, other: &Self) -> Result<(), Self::Error> {
        for (partition, times) in &other.times {
            *self.times.entry(*partition).or_default() += times;
        }
        self.fatal |= other.fatal;
        // Stands for contents that grow too large together.
        if self.times.contains_key(&666) && self.times.len() > 1 {
            return Err("too large");
        }
        Ok(())
    }

    fn weight(&self) -> usize {
        self.times.len()
    }

    /// Partition 777 fits with nothing.
    fn fits(&self, other: &Self) -> bool {
        self.times.is_empty() || !other.times.contains_key(&777)
    }

    fn has_outputs(&self) -> bool {
        !self.times.is_empty()
    }
}

const ME: u8 = 1;

fn shard(id: i64, start: u64, end: u64) -> Shard<Small> {
    Shard {
        id: ShardId(id),
        start_id: ME,
        run: 0,
        round: Round(0),
        range: PartitionRange::new(start, end),
        mode: Mode::Normal,
        budget_millis: 1_000,
        seal: false,
        adopts: None,
        history: None,
    }
}

fn deferred(partition: u64) -> DeferredPartition {
    DeferredPartition {
        partition,
        attempts: 1,
        deaths: 0,
        not_before: 0,
        reason: "Exit1".into(),
        message: String::new(),
    }
}

fn task(shard: i64, partition: u64) -> Task {
    Task {
        shard: ShardId(shard),
        partition,
    }
}
