//! The protocol: how every partition is counted exactly once.
//!
//! A [`Record`] (a step's part of `Workflow.status`) holds the ledger and the folded content; they change together. A
//! [`Desk`] (a `Worker` object) holds what is assigned to a worker and the commits of what it did. Between the two
//! there are only compare-and-swap writes, whose answers may be lost, and stale copies. What each side does is a pure
//! function here; who carries it out is not its business:
//!
//! * [`fold`]: which sealed shards count, which are dropped, and why;
//! * [`handout`]: what of `[0, N)` may be assigned;
//! * [`publish`]: how counted outputs become visible, each once;
//! * [`close`]: when a step is over, and how what failed is opened again;
//! * [`retire`]: when a desk may be deleted;
//! * [`worker`]: what a worker does on each event;
//! * [`wire`]: all of this in the API's objects.
//!
//! The types are generic over a [`World`], so that the exhaustive model explores this very code with small identities
//! and with contents that remember where they came from.

use std::{fmt::Debug, hash::Hash};

use braid_crds::{
    Cursor, Intervals, PartitionRange, Round, ShardId,
    worker::{History, Mode},
};

pub mod close;
pub mod fold;
pub mod handout;
pub mod publish;
pub mod retire;
pub mod wire;
pub mod worker;

/// What the protocol does not look into.
pub trait World: Clone + Debug + Eq + Hash + 'static {
    /// One start of a worker process.
    type Start: Clone + Debug + Eq + Hash;
    /// What a shard is part of: workflow uid, step, plan, program; the round is apart.
    type Run: Clone + Debug + Eq + Hash;
    /// What settled partitions gave.
    type Content: Content;
}

/// What a set of settled partitions gave, folded. `Default` is the content of no partitions.
pub trait Content: Clone + Debug + Eq + Hash + Default {
    /// Why two contents cannot be one: too many keys, too large.
    type Error: Debug;

    /// Adds what other partitions gave. Exactly associative and commutative. On an error `self` is unspecified.
    fn merge(&mut self, other: &Self) -> Result<(), Self::Error>;

    /// About how many bytes it holds; a worker bounds what it holds by it.
    fn weight(&self) -> usize {
        0
    }

    /// Whether a commit could still hold both. If not, a worker seals before it goes on.
    fn fits(&self, _other: &Self) -> bool {
        true
    }

    /// Whether it names outputs, which must be durable before the commit that names them.
    fn has_outputs(&self) -> bool {
        false
    }
}

/// A shard as the operator assigned it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Shard<W: World> {
    /// Never used twice on one desk.
    pub id: ShardId,
    /// The start that may run it.
    pub start_id: W::Start,
    /// What it is part of.
    pub run: W::Run,
    /// The generation of the step's work.
    pub round: Round,
    /// Its partitions, at least one.
    pub range: PartitionRange,
    /// How it is run.
    pub mode: Mode,
    /// The worker seals at the first partition border after so many milliseconds; 0: as soon as it can.
    pub budget_millis: u64,
    /// Sealed by the operator: the commit as stored is all that counts.
    pub seal: bool,
    /// A shard of the same desk whose running first partition goes on as this shard's.
    pub adopts: Option<ShardId>,
    /// What its only partition went through before; of single deferred partitions.
    pub history: Option<History>,
}

/// What a worker has committed of a shard: `[start, cursor)` is settled, but for the deferred ones.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Commit<W: World> {
    /// The shard.
    pub id: ShardId,
    /// The start that made the first commit; never changes.
    pub start_id: W::Start,
    /// The first partition that the commit says nothing of.
    pub cursor: Cursor,
    /// Nothing more comes.
    pub sealed: bool,
    /// So many partitions from the cursor on the worker had begun when it sealed: they go on, for a shard that adopts
    /// them. 0 while it is not sealed by the worker.
    pub begun: u64,
    /// Partitions below the cursor that are not settled: they wait for another attempt.
    pub deferred: Vec<DeferredPartition>,
    /// What the settled ones gave.
    pub content: W::Content,
}

/// A partition that failed and waits for its next attempt.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct DeferredPartition {
    /// Which.
    pub partition: u64,
    /// Attempts made so far; orders two accounts of the same partition.
    pub attempts: i32,
    /// Deaths of its worker or shim so far.
    pub deaths: i32,
    /// Not before this time, in milliseconds since the epoch.
    pub not_before: i64,
    /// Why the last attempt failed.
    pub reason: String,
    /// Its last words.
    pub message: String,
}

/// A worker's object.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Desk<W: World> {
    /// Who sits there, if it has said so.
    pub start: Option<W::Start>,
    /// The number of the next shard; never falls.
    pub next_id: ShardId,
    /// What is assigned, in the order in which it is run.
    pub shards: Vec<Shard<W>>,
    /// What was committed.
    pub commits: Vec<Commit<W>>,
}

/// A step's part of the workflow's status.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Record<W: World> {
    /// What its shards are part of.
    pub run: W::Run,
    /// The generation of its work.
    pub round: Round,
    /// The settled partitions.
    pub ledger: Intervals,
    /// What they gave.
    pub content: W::Content,
    /// Partitions that wait for another attempt; none is in the ledger.
    pub deferred: Vec<DeferredPartition>,
    /// Nothing is folded any more.
    pub closed: bool,
}

impl<W: World> Commit<W> {
    /// The partitions of `shard` that this commit settles.
    #[must_use]
    pub fn settles(&self, shard: &Shard<W>) -> Intervals {
        let mut settled: Intervals = [shard.range.below(self.cursor)].into_iter().collect();
        for deferred in &self.deferred {
            settled.remove(PartitionRange::new(
                deferred.partition,
                deferred.partition.saturating_add(1),
            ));
        }
        settled
    }
}

impl<W: World> Desk<W> {
    /// The commit of a shard, if there is one.
    #[must_use]
    pub fn commit(&self, id: ShardId) -> Option<&Commit<W>> {
        self.commits.iter().find(|commit| commit.id == id)
    }

    /// The shard of that number, if it is assigned.
    #[must_use]
    pub fn shard(&self, id: ShardId) -> Option<&Shard<W>> {
        self.shards.iter().find(|shard| shard.id == id)
    }

    /// Whether nothing more can be committed to a shard: by its worker's word or by the operator's.
    #[must_use]
    pub fn is_sealed(&self, shard: &Shard<W>) -> bool {
        shard.seal || self.commit(shard.id).is_some_and(|commit| commit.sealed)
    }

    /// The stored cursor of a shard.
    #[must_use]
    pub fn cursor(&self, shard: &Shard<W>) -> Cursor {
        self.commit(shard.id)
            .map_or(Cursor(shard.range.start()), |commit| commit.cursor)
    }
}
