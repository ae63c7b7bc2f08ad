//! The worker's side, as the model drives it.
//!
//! An [`Actor`] is told what happened and answers with what it wants done; the model decides when, in which order, and
//! whether at all. Two actors exist: the production machine, and [`Reference`], the protocol's rules for a worker
//! written down as plainly as possible. The reference is smaller, so larger bounds can be explored with it, and it can be
//! broken on purpose.

use std::{fmt::Debug, hash::Hash};

use braid_crds::{Cursor, PartitionRange, ShardId};
use braid_engine::protocol::{Commit, Content as _, DeferredPartition, Desk, Shard};

use crate::{
    mutation::Mutation,
    state::Config,
    tiny::{Output, Provenance, Tiny},
};

/// How a partition ended.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum End {
    /// For good, successfully or not: the content says which.
    Settled(Provenance),
    /// To be tried again by somebody, later.
    Deferred,
}

/// What is said of a write.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Answer {
    /// It was applied; this is the object now.
    Stored(u64, Desk<Tiny>),
    /// It was refused: the object has another version.
    Conflict,
    /// It was refused: a rule forbids it.
    Refused,
    /// Nobody knows.
    Unknown,
}

/// What happens to a worker.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Event {
    /// Its object, from the watch or, if `asked`, from the read that it asked for.
    Desk {
        /// The version.
        version: u64,
        /// The object.
        desk: Desk<Tiny>,
        /// Whether this is the answer to a read.
        asked: bool,
    },
    /// A partition ended that was started for this shard.
    Ended(ShardId, u64, End),
    /// What ran these is gone.
    Lost(Vec<(ShardId, u64)>),
    /// Its write was answered.
    Answer(Answer),
    /// The time budget of what runs is over, or over for the second time.
    BudgetOver,
    /// It holds as many results as it may.
    Full,
    /// Time has passed.
    Tick,
}

/// What a worker wants done.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Effect {
    /// Run a partition of a shard.
    Start(ShardId, u64),
    /// Stop running what was started so.
    Kill(ShardId, u64),
    /// Write its status: if the object still has that version.
    Put {
        /// The version that was read.
        version: u64,
        /// Who sits there.
        start: u16,
        /// All commits.
        commits: Vec<Commit<Tiny>>,
        /// Outputs that the commits name and that were not made durable first.
        unwritten: Vec<Output>,
    },
    /// Read the object, not from a cache.
    Get,
    /// Another start has the desk.
    Leave,
    /// It cannot commit a shard, and does not know why. Never seen.
    Broken(ShardId),
}

/// A worker process.
pub trait Actor: Clone + Debug + Eq + Hash {
    /// A process that has just started.
    fn new(start: u16, config: &Config) -> Self;

    /// Tells it what happened.
    fn on(&mut self, event: Event, mutation: Option<Mutation>) -> Vec<Effect>;

    /// The version of its copy, if it has one.
    fn version(&self) -> Option<u64>;

    /// Whether the end of a budget, or being full, would change something.
    fn heeds(&self, event: &Event) -> bool;
}

/// The rules for a worker, as plainly as possible.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Reference {
    start: u16,
    version: Option<u64>,
    desk: Option<Desk<Tiny>>,
    /// A write's fate is not known: nothing is written before a read.
    doubt: bool,
    /// What was written and is not answered.
    sent: Option<Vec<Commit<Tiny>>>,
    work: Option<Work>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Work {
    id: ShardId,
    range: PartitionRange,
    /// In partition order, none below the stored cursor.
    results: Vec<(u64, End)>,
    running: Option<u64>,
    /// The budget is over.
    ending: bool,
    /// It holds as much as it may.
    full: bool,
}

impl Work {
    fn next(&self, cursor: Cursor) -> u64 {
        self.results.last().map_or(cursor.0, |(partition, _)| partition + 1)
    }
}

impl Reference {
    /// What to do now.
    fn proceed(&mut self, mutation: Option<Mutation>) -> Vec<Effect> {
        let mut effects = Vec::new();
        let (Some(version), Some(desk)) = (self.version, self.desk.take()) else {
            return effects;
        };
        if !self.doubt {
            self.pick(&desk, mutation, &mut effects);
            if self.sent.is_none()
                && let Some(commits) = self.commits(&desk, mutation)
            {
                self.sent = Some(commits.clone());
                effects.push(Effect::Put {
                    version,
                    start: self.start,
                    commits,
                    unwritten: Vec::new(),
                });
            }
        }
        self.desk = Some(desk);
        effects
    }

    /// Looks for work, drops what is over, rebases what is not, starts the next partition.
    fn pick(&mut self, desk: &Desk<Tiny>, mutation: Option<Mutation>, effects: &mut Vec<Effect>) {
        let mine = |shard: &&Shard<Tiny>| shard.start_id == self.start && !desk.is_sealed(shard);
        let first = desk.shards.iter().find(mine);
        if let Some(work) = self.work.take_if(|work| first.is_none_or(|shard| shard.id != work.id)) {
            effects.extend(work.running.map(|partition| Effect::Kill(work.id, partition)));
        }
        let Some(shard) = first.filter(|_| desk.start == Some(self.start)) else {
            return;
        };
        let work = self.work.get_or_insert_with(|| Work {
            id: shard.id,
            range: shard.range,
            results: Vec::new(),
            running: None,
            ending: false,
            full: false,
        });
        let cursor = desk.cursor(shard);
        if mutation != Some(Mutation::NoRebase) {
            work.results.retain(|(partition, _)| *partition >= cursor.0);
        }
        work.full &= !work.results.is_empty();
        let next = work.next(cursor);
        let empty = next == work.range.start();
        if work.running.is_none() && next < work.range.end() && (!work.ending || empty) && !work.full {
            work.running = Some(next);
            effects.push(Effect::Start(work.id, next));
        }
    }

    /// What to write, if there is something.
    fn commits(&mut self, desk: &Desk<Tiny>, mutation: Option<Mutation>) -> Option<Vec<Commit<Tiny>>> {
        let kept = desk.commits.iter().filter(|commit| desk.shard(commit.id).is_some());
        let mut commits: Vec<_> = kept.cloned().collect();
        if desk.start != Some(self.start) {
            return Some(commits);
        }
        let work = self.work.as_mut()?;
        let shard = desk.shard(work.id)?;
        let next = work.next(desk.cursor(shard));
        let ended = next == work.range.end();
        let cut = work.ending && work.running.is_none() && next > work.range.start();
        let full = work.full && !work.results.is_empty();
        if !(ended || cut || full) {
            return None;
        }
        let mut commit = desk.commit(work.id).cloned().unwrap_or_else(|| Commit {
            id: work.id,
            start_id: self.start,
            cursor: Cursor(work.range.start()),
            sealed: false,
            begun: 0,
            deferred: Vec::new(),
            content: Provenance::default(),
        });
        for (partition, end) in &work.results {
            match end {
                End::Settled(content) => commit.content.merge(content).unwrap_or_else(|never| match never {}),
                End::Deferred => commit.deferred.push(deferred(*partition)),
            }
        }
        debug_assert!(mutation == Some(Mutation::NoRebase) || commit.cursor.0 <= next);
        commit.cursor = Cursor(next);
        commit.sealed = ended || cut;
        commits.retain(|other| other.id != work.id);
        commits.push(commit);
        commits.sort_by_key(|commit| commit.id);
        Some(commits)
    }
}

impl Actor for Reference {
    fn new(start: u16, _: &Config) -> Self {
        Self {
            start,
            version: None,
            desk: None,
            doubt: false,
            sent: None,
            work: None,
        }
    }

    fn on(&mut self, event: Event, mutation: Option<Mutation>) -> Vec<Effect> {
        match event {
            Event::Desk { version, desk, asked } => {
                self.doubt &= !asked;
                self.version = Some(version);
                self.desk = Some(desk);
            }
            Event::Ended(_, partition, end) => {
                if let Some(work) = self.work.as_mut().filter(|work| work.running == Some(partition)) {
                    work.running = None;
                    work.results.push((partition, end));
                }
            }
            Event::Lost(_) => {
                if let Some(work) = &mut self.work {
                    work.running = None;
                }
            }
            Event::Answer(Answer::Stored(version, desk)) => {
                let commits = self.sent.take().unwrap_or_default();
                if let Some(work) = &mut self.work {
                    work.full = false;
                    if let Some(commit) = commits.iter().find(|commit| commit.id == work.id) {
                        work.results.retain(|(partition, _)| *partition >= commit.cursor.0);
                    }
                }
                self.version = Some(version);
                self.desk = Some(desk);
            }
            Event::Answer(Answer::Conflict | Answer::Refused | Answer::Unknown) => {
                self.sent = None;
                self.doubt = true;
                return vec![Effect::Get];
            }
            Event::BudgetOver => {
                if let Some(work) = &mut self.work {
                    work.ending = true;
                }
            }
            Event::Tick => {}
            Event::Full => {
                if let Some(work) = &mut self.work {
                    work.full = true;
                }
            }
        }
        self.proceed(mutation)
    }

    fn version(&self) -> Option<u64> {
        self.version
    }

    fn heeds(&self, event: &Event) -> bool {
        self.work.as_ref().is_some_and(|work| match event {
            Event::BudgetOver => !work.ending,
            Event::Full => !work.full && !work.results.is_empty() && self.sent.is_none(),
            _ => true,
        })
    }
}

/// What is said of a partition that is to be tried again: the model's attempts take no time.
#[must_use]
pub fn deferred(partition: u64) -> DeferredPartition {
    DeferredPartition {
        partition,
        attempts: 1,
        deaths: 0,
        not_before: 0,
        reason: String::new(),
        message: String::new(),
    }
}
