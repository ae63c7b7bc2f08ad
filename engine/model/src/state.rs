//! A state of the whole system, and the actions that lead from one to the next.

use std::rc::Rc;

use braid_crds::{Cursor, Intervals, PartitionRange, Round, ShardId, worker::Mode};
use braid_engine::protocol::{Commit, Desk, Record, Shard};

use crate::{
    actor::Actor,
    mutation::Mutation,
    tiny::{Entry, Manifest, Output, Provenance, Tiny, Uid},
};

/// Faults and choices of users that a run may still contain.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Budget {
    /// A process dies; it may be started again at the same desk.
    pub deaths: u8,
    /// A pod is gone, and its process with it.
    pub pods: u8,
    /// A pod is gone, and its process goes on.
    pub zombies: u8,
    /// A pod takes the place of one that is gone, at a desk of its own.
    pub replacements: u8,
    /// A write is applied and its answer lost.
    pub lost: u8,
    /// A write is given up and may arrive later.
    pub late: u8,
    /// A partition fails for good.
    pub failures: u8,
    /// A partition fails and is to be tried again.
    pub deferrals: u8,
    /// The user opens again what failed.
    pub retries: u8,
    /// The user cancels.
    pub cancels: u8,
    /// A worker's budget ends early.
    pub cuts: u8,
    /// A worker holds as many results as it may.
    pub fulls: u8,
    /// The operator seals what runs.
    pub seals: u8,
    /// What runs a worker's partitions dies, not the worker.
    pub shims: u8,
    /// Shards that are handed out.
    pub shards: u8,
}

/// What a run of the model looks at, and how far.
#[derive(Clone, Debug)]
pub struct Config {
    /// Its name in the tables.
    pub name: &'static str,
    /// Partitions of the step.
    pub partitions: u32,
    /// Desks at the start, each with a process.
    pub desks: usize,
    /// Whether there may be several operators at a time, with copies of any age. One has fresh copies.
    pub split_brain: bool,
    /// Whether an idle worker may run a straggler's partition a second time.
    pub twins: bool,
    /// How shards are run.
    pub mode: Mode,
    /// Partitions that a worker runs at a time.
    pub concurrency: u64,
    /// After how many results a worker commits before it seals.
    pub held: usize,
    /// Whether partitions write outputs.
    pub outputs: bool,
    /// How many workers may publish at the same time.
    pub publishers: usize,
    /// What may still happen.
    pub budget: Budget,
    /// A broken rule.
    pub mutation: Option<Mutation>,
}

/// The workflow's object, and what the invariants remember of it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Workflow {
    /// The step.
    pub record: Record<Tiny>,
    /// Counted outputs that wait for their manifest.
    pub entries: Vec<Entry>,
    /// The user wants it stopped.
    pub cancel: bool,
    /// The record as each older round left it: a stale copy says no more than that.
    pub older: Vec<Record<Tiny>>,
    /// A ledger that is yet to be written. Only with [`Mutation::TwoWrites`].
    pub halfway: Option<Intervals>,
    /// Remembered: what was counted of shards that are still on a desk.
    pub folded: Vec<(Uid, Commit<Tiny>)>,
    /// Remembered: how often it was opened again, and for which partitions.
    pub generation: u8,
    /// Remembered: the partitions that were opened again, and when.
    pub reopened: Vec<(u32, u8)>,
}

/// A desk, and the pod whose it is.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Seat {
    /// Its identity.
    pub uid: Uid,
    /// Counts its writes; only equality has a meaning.
    pub version: u64,
    /// The object.
    pub desk: Desk<Tiny>,
    /// The pod exists no more.
    pub pod_gone: bool,
    /// The object exists no more.
    pub deleted: bool,
    /// Remembered: the generation in which each shard was assigned.
    pub generations: Vec<u8>,
}

/// A write on its way.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Write {
    /// The version that was read.
    pub version: u64,
    /// Who sits there.
    pub start: u16,
    /// All commits.
    pub commits: Vec<Commit<Tiny>>,
    /// Outputs that are written once it is answered. Only with [`Mutation::OutputsAfterCommit`].
    pub after: Vec<Output>,
}

/// A worker's process.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Process<A> {
    /// Its desk.
    pub seat: usize,
    /// Its start.
    pub start: u16,
    /// What it is; absent when it is dead.
    pub actor: Option<A>,
    /// Its write, not answered.
    pub put: Option<Write>,
    /// It waits for a read.
    pub reading: bool,
    /// What it runs: shard, generation, partition.
    pub running: Vec<(ShardId, u8, u64)>,
    /// A manifest that it is about to put, and where.
    pub publishing: Option<(usize, Manifest)>,
}

/// Everything else.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Rest {
    /// Writes that were given up and may still arrive, with their desk.
    pub late: Vec<(usize, Write)>,
    /// The store's manifests.
    pub chain: Vec<Manifest>,
    /// Outputs that are named somewhere and were not written.
    pub missing: Vec<Output>,
    /// What may still happen.
    pub budget: Budget,
    /// Remembered: every shard that there ever was.
    pub issued: Vec<(Uid, ShardId)>,
    /// Sealed shards that left their desk and might still be folded from a stale copy.
    pub archive: Vec<(Uid, Shard<Tiny>, Commit<Tiny>)>,
}

/// A state. Its parts are shared with its neighbours.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct State<A> {
    /// The workflow.
    pub workflow: Rc<Workflow>,
    /// The desks there are and were.
    pub seats: Vec<Rc<Seat>>,
    /// The processes there are and were.
    pub processes: Vec<Rc<Process<A>>>,
    /// Everything else.
    pub rest: Rc<Rest>,
}

/// A step of the model. Indexes are of seats and processes.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Action {
    /// A process sees the current version of its desk.
    Watch(usize),
    /// A process' read is answered.
    Read(usize),
    /// A process' write is applied or refused, and answered.
    Write(usize),
    /// A process' write is applied, and the answer is lost.
    WriteUnanswered(usize),
    /// A process gives its write up; it is still on its way.
    WriteGivenUp(usize),
    /// A write that was given up arrives.
    LateWrite(usize),
    /// A partition ends well.
    Succeed(usize, ShardId, u64),
    /// A partition fails for good.
    Fail(usize, ShardId, u64),
    /// A partition fails and is to be tried again.
    Defer(usize, ShardId, u64),
    /// The time budget of what a process runs is over.
    BudgetOver(usize),
    /// A process holds as many results as it may.
    Full(usize),
    /// What runs a process' partitions dies.
    LoseShim(usize),
    /// A process dies.
    Die(usize),
    /// A process starts at a desk whose process died.
    Restart(usize),
    /// A pod is gone, and its process.
    LosePod(usize),
    /// A pod is gone, and its process goes on.
    LosePodNotProcess(usize),
    /// A pod takes the place of one that is gone.
    Replace,
    /// The operator hands out a range.
    Assign {
        /// To whom.
        seat: usize,
        /// What.
        range: PartitionRange,
        /// Of which round.
        round: Round,
        /// How.
        mode: Mode,
        /// What it adopts.
        adopts: Option<ShardId>,
    },
    /// The operator has a shard end as soon as it can.
    Cut(usize, ShardId),
    /// The operator seals a shard.
    Seal(usize, ShardId),
    /// The operator folds all that it sees.
    FoldAll,
    /// The operator folds one shard.
    Fold(usize, ShardId),
    /// The operator folds a shard that it saw before it left its desk.
    FoldArchived(usize),
    /// The ledger follows the results. Only with [`Mutation::TwoWrites`].
    WriteLedger,
    /// The operator drops a shard, by the current record or by that of an older round.
    Drop(usize, ShardId, Option<usize>),
    /// The operator deletes the desk of a pod that is gone, by the current record or by that of an older round.
    Delete(usize, Option<usize>),
    /// A worker reads the chain and makes the next manifest.
    PrepareManifest(usize),
    /// A worker puts its manifest if the place is empty.
    PutManifest(usize),
    /// The operator takes out of the status what manifests name.
    Unlist,
    /// The step ends.
    Close,
    /// The step ends by an operator that does not see the desks.
    CloseUnseen,
    /// The user cancels.
    Cancel,
    /// The user has what failed opened again.
    Retry,
    /// So does an operator that does not see the desks.
    RetryUnseen,
}

impl Action {
    /// What kind of action it is, for counting.
    #[must_use]
    pub fn kind(&self) -> String {
        let text = format!("{self:?}");
        let end = text
            .find(|letter: char| !letter.is_alphanumeric())
            .unwrap_or(text.len());
        let kind = text[..end].to_owned();
        match self {
            Self::Drop(_, _, Some(_)) | Self::Delete(_, Some(_)) => kind + "ByOldRecord",
            Self::Assign { mode: Mode::Twin, .. } => kind + "Twin",
            Self::Assign { adopts: Some(_), .. } => kind + "Adopter",
            _ => kind,
        }
    }
}

/// The uid of the only run.
pub const RUN: u8 = 0;

impl<A: Actor> State<A> {
    /// Before anything has happened.
    #[must_use]
    pub fn initial(config: &Config) -> Self {
        let mut state = Self {
            workflow: Rc::new(Workflow {
                record: Record {
                    run: RUN,
                    round: Round(0),
                    ledger: Intervals::new(),
                    content: Provenance::default(),
                    deferred: Vec::new(),
                    closed: false,
                },
                entries: Vec::new(),
                cancel: false,
                older: Vec::new(),
                halfway: None,
                folded: Vec::new(),
                generation: 0,
                reopened: Vec::new(),
            }),
            seats: Vec::new(),
            processes: Vec::new(),
            rest: Rc::new(Rest {
                late: Vec::new(),
                chain: Vec::new(),
                missing: Vec::new(),
                budget: config.budget,
                issued: Vec::new(),
                archive: Vec::new(),
            }),
        };
        for _ in 0..config.desks {
            state.add_pod(None, config);
        }
        for seat in &mut state.seats {
            // The workers have said who they are: that they have to is explored by those that start later.
            let seat = Rc::make_mut(seat);
            seat.desk.start = Some(seat.uid);
        }
        state
    }

    /// A pod with a desk and a process. The desk's identity is new unless it is given.
    pub fn add_pod(&mut self, uid: Option<Uid>, config: &Config) {
        let seat = self.seats.len();
        self.seats.push(Rc::new(Seat {
            uid: uid.unwrap_or(seat as Uid),
            version: 1,
            desk: Desk {
                start: None,
                next_id: ShardId(0),
                shards: Vec::new(),
                commits: Vec::new(),
            },
            pod_gone: false,
            deleted: false,
            generations: Vec::new(),
        }));
        self.add_process(seat, config);
    }

    /// A process at a desk.
    pub fn add_process(&mut self, seat: usize, config: &Config) {
        let start = self.processes.len() as u16;
        self.processes.push(Rc::new(Process {
            seat,
            start,
            actor: Some(A::new(start, config)),
            put: None,
            reading: false,
            running: Vec::new(),
            publishing: None,
        }));
    }

    /// The desks that exist.
    pub fn desks(&self) -> impl Iterator<Item = (Uid, &Desk<Tiny>)> {
        let present = self.seats.iter().filter(|seat| !seat.deleted);
        present.map(|seat| (seat.uid, &seat.desk))
    }
}

/// The cursor that a commit may have at most and at least.
#[must_use]
pub fn within(shard: &Shard<Tiny>, cursor: Cursor) -> bool {
    shard.range.start() <= cursor.0 && cursor.0 <= shard.range.end()
}

impl Action {
    /// Tells apart what [`Action::kind`] tells apart.
    #[must_use]
    pub fn variant(&self) -> u8 {
        match self {
            Self::Drop(_, _, Some(_)) | Self::Delete(_, Some(_)) | Self::Assign { mode: Mode::Twin, .. } => 1,
            Self::Assign { adopts: Some(_), .. } => 2,
            _ => 0,
        }
    }
}
