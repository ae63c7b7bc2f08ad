//! The attempts of a worker: in flight, waiting for their next time, and what is remembered of partitions in trouble.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BinaryHeap, HashMap, VecDeque},
    hash::{BuildHasherDefault, Hasher},
    sync::Arc,
    time::Duration,
};

use braid_crds::ShardId;
use braid_engine::{plan::Plan, protocol::worker::Task};
use tokio::time::Instant;

use super::runs::Run;
use crate::runner::{AttemptId, Input, Item};

/// One attempt at a partition.
#[derive(Clone, Debug)]
pub(super) struct Flight {
    pub(super) task: Task,
    pub(super) run: Arc<Run>,
    /// Which attempt it is, from 1.
    pub(super) attempt: u32,
    /// Deaths of the partition's worker or shim so far.
    pub(super) deaths: i32,
    /// The plan whose files it reads, once they were opened.
    pub(super) pinned: Option<Arc<Plan>>,
    /// Whether it has succeeded and written files.
    pub(super) wrote: bool,
    /// How long it ran, once it has ended.
    pub(super) took: Duration,
}

/// An attempt that has all it needs.
#[derive(Debug)]
pub(super) struct Prepared {
    pub(super) flight: Flight,
    pub(super) item: Item,
    pub(super) input: Input,
}

/// What is known of a partition that was lost with its shim.
#[derive(Clone, Copy, Debug)]
pub(super) struct Trouble {
    pub(super) attempt: u32,
    pub(super) deaths: i32,
}

/// Attempt numbers are consecutive, so they are their own hash.
#[derive(Debug, Default)]
pub(super) struct Consecutive(u64);

impl Hasher for Consecutive {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = self.0.rotate_left(8) ^ u64::from(*byte);
        }
    }

    fn write_u64(&mut self, number: u64) {
        // The table looks at the highest bits, too.
        self.0 = number.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    }
}

/// A partition's next attempt, and when.
#[derive(Debug)]
struct Waiting {
    at: Instant,
    number: u64,
    flight: Flight,
}

impl PartialEq for Waiting {
    fn eq(&self, other: &Self) -> bool {
        self.number == other.number
    }
}

impl Eq for Waiting {}

impl PartialOrd for Waiting {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Waiting {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (self.at, self.number).cmp(&(other.at, other.number))
    }
}

/// Every attempt that is not over.
#[derive(Debug, Default)]
pub(super) struct Attempts {
    next: u64,
    flying: HashMap<AttemptId, Flight, BuildHasherDefault<Consecutive>>,
    waiting: BinaryHeap<Reverse<Waiting>>,
    /// Prepared, for which there is no room yet.
    pub(super) ready: VecDeque<Prepared>,
    troubles: BTreeMap<(ShardId, u64), Trouble>,
}

impl Attempts {
    /// Takes note of an attempt that is started now, and names it.
    pub(super) fn launch(&mut self, flight: Flight) -> AttemptId {
        self.next += 1;
        let id = AttemptId(self.next);
        self.flying.insert(id, flight);
        id
    }

    /// The plan whose files an attempt reads, if it reads files and somebody still asks for it.
    pub(super) fn pinned(&self, id: AttemptId) -> Option<(u64, Arc<Plan>)> {
        let flight = self.flying.get(&id)?;
        Some((flight.task.partition, flight.pinned.clone()?))
    }

    /// Notes of an attempt that has ended how long it ran, and whether it has written files.
    pub(super) fn ended(&mut self, id: AttemptId, wrote: bool, took: Duration) {
        if let Some(flight) = self.flying.get_mut(&id) {
            (flight.wrote, flight.took) = (wrote, took);
        }
    }

    /// Takes out an attempt that is over; `None`: nobody asks for it any more.
    pub(super) fn land(&mut self, id: AttemptId) -> Option<Flight> {
        self.flying.remove(&id)
    }

    /// Lets a partition wait for its next attempt.
    pub(super) fn wait(&mut self, flight: Flight, at: Instant) {
        self.next += 1;
        let number = self.next;
        self.waiting.push(Reverse(Waiting { at, number, flight }));
    }

    /// The first that has waited long enough.
    pub(super) fn awake(&mut self, now: Instant) -> Option<Flight> {
        if self.waiting.peek().is_some_and(|first| first.0.at <= now) {
            return self.waiting.pop().map(|first| first.0.flight);
        }
        None
    }

    /// When the next has waited long enough.
    pub(super) fn wake_at(&self) -> Option<Instant> {
        self.waiting.peek().map(|first| first.0.at)
    }

    /// Forgets a partition, wherever it is; gives the attempts to kill.
    pub(super) fn forget(&mut self, task: Task) -> Vec<AttemptId> {
        self.waiting.retain(|waiting| waiting.0.flight.task != task);
        self.ready.retain(|prepared| prepared.flight.task != task);
        let killed: Vec<AttemptId> = (self.flying.iter())
            .filter(|(_, flight)| flight.task == task)
            .map(|(id, _)| *id)
            .collect();
        for id in &killed {
            self.flying.remove(id);
        }
        killed
    }

    /// What a partition went through in this worker.
    pub(super) fn trouble(&self, shard: ShardId, partition: u64) -> Option<Trouble> {
        if self.troubles.is_empty() {
            return None;
        }
        self.troubles.get(&(shard, partition)).copied()
    }

    /// Remembers what a partition went through.
    pub(super) fn remember(&mut self, shard: ShardId, partition: u64, trouble: Trouble) {
        self.troubles.insert((shard, partition), trouble);
    }

    /// Forgets what concerns shards that are gone.
    pub(super) fn keep_shards(&mut self, kept: impl Fn(ShardId) -> bool) {
        self.troubles.retain(|(shard, _), _| kept(*shard));
    }
}
