//! What a worker does on each event.
//!
//! A [`Machine`] holds what one start of a worker knows. Its owner reports what happened ([`Event`], and [`Machine::settle`]
//! for the common case) and carries out what is asked ([`Command`]). There is at most one write or read of the object
//! under way. The rules:
//!
//! * Only shards that are given to this start are run, in the order of the spec. Partitions may end in any order; what is
//!   committed is always `[start, cursor)`, with the content of exactly those.
//! * A shard is committed once, by its seal: at its end, or when its budget is over and something is settled. Before that
//!   only if too much is held, and, when its partitions are suspected of killing their worker, after each of them.
//! * A commit is the stored content and what was done since. After a doubtful answer the object is read, and the stored
//!   cursor decides what was stored; until the object is seen to have changed, the very same commits are sent again. So a
//!   stored cursor is the one of before or the one that was sent, and contents need not be taken apart.
//! * An entry that is not the machine's own (an older start's, or a cursor that was never sent) is sealed as it is stored.
//! * Nothing is committed to a shard that the operator has sealed.
//! * A sealed shard's processes and outcomes from the cursor on are kept until the shard has left the spec, for a shard
//!   that adopts them.
//! * Outputs that a commit names are durable before it is written: [`Command::Flush`] comes before [`Command::Put`].
//!
//! Whether a partition is tried again, and what its failure is, is the owner's matter: a partition is reported when it is
//! settled, deferred or lost.

use braid_crds::{Cursor, PartitionRange, ShardId, limits};

use self::work::{Ending, Leftover, Next, Outcome, Work};
use super::{Commit, DeferredPartition, Desk, World, fold::ContentError};

mod work;

/// A version of the worker's object. Grows with each write.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Version(pub u64);

/// A partition in flight: under which shard it was started, and which it is. Stays its name when another shard adopts it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Task {
    /// The shard that it was started for.
    pub shard: ShardId,
    /// The partition.
    pub partition: u64,
}

/// How much a machine holds.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Bounds {
    /// Partitions of a shard that ended out of order; with more, none is begun.
    pub results: usize,
    /// Bytes of contents of a shard that ended out of order, and of what is folded but not committed.
    pub bytes: usize,
    /// Deferred partitions in one commit.
    pub deferred: usize,
}

impl Default for Bounds {
    fn default() -> Self {
        Self {
            results: 4_096,
            bytes: 16 << 20,
            deferred: limits::DEFERRED,
        }
    }
}

/// The status of the worker's object, as it is written.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Sheet<W: World> {
    /// Who writes.
    pub start: W::Start,
    /// Every commit.
    pub commits: Vec<Commit<W>>,
}

/// What happened.
#[derive(Clone, Debug)]
pub enum Event<W: World> {
    /// A watch shows the object. It may be an old state.
    Seen(Version, Desk<W>),
    /// The write was carried out; this is the object that it made.
    Stored(Version, Desk<W>),
    /// Whether the write was carried out is not known: a conflict, a time-out, a server's error, a cut connection. A
    /// conflict is among them because a client may have repeated the request by itself.
    Doubtful,
    /// The write was not carried out and will not be: its content was refused.
    Refused,
    /// A quorum read shows the object.
    Read(Version, Desk<W>),
    /// The outputs asked for are durable.
    Flushed,
    /// A partition is settled: it succeeded or failed for good.
    Settled(Task, W::Content),
    /// A partition waits for another attempt, elsewhere.
    Deferred(Task, DeferredPartition),
    /// What ran these is gone. They are started again, alone.
    Lost(Vec<Task>),
    /// A commit of the shard holds no further content: it is sealed at its cursor. Report the partition that did not fit as
    /// settled all the same; it is kept for an adopter.
    Full(ShardId),
    /// The step cannot go on; why is in the content. The shard is sealed at what is stored or sent.
    Fatal(ShardId, W::Content),
    /// Time passed.
    Tick,
    /// Nothing more is begun; what is idle is sealed.
    Stop,
    /// As `Stop`, and what runs is killed.
    Halt,
}

/// What is to be done.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Command<W: World> {
    /// Make the outputs of these partitions durable; answered by [`Event::Flushed`]. Those of sealed shards that were flushed
    /// before stay.
    Flush(Vec<(ShardId, PartitionRange)>),
    /// Replace the status of the object of this version; answered by `Stored`, `Doubtful` or `Refused`.
    Put(Version, Sheet<W>),
    /// Read the object, with a quorum, however often that needs to be tried; answered by [`Event::Read`].
    Read,
    /// Kill this; nothing more of it is heard.
    Kill(Task),
    /// The contents of the shard do not fit together, or its commit was refused; answered by [`Event::Fatal`].
    Broken(ShardId),
    /// Another start has taken the desk: nothing can be committed any more.
    Replaced,
}

/// A run of partitions to start.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Begin {
    /// Of which shard.
    pub shard: ShardId,
    /// Which.
    pub range: PartitionRange,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Pen {
    Idle,
    Flushing,
    Putting(Version),
    Reading,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum Life {
    /// The object does not name this start yet.
    New,
    /// It does.
    Claimed,
    /// It names another, after it named this one.
    Replaced,
}

/// One start of a worker.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Machine<W: World> {
    start: W::Start,
    bounds: Bounds,
    life: Life,
    stopping: bool,
    pen: Pen,
    /// The newest state of the object that is known.
    desk: Option<(Version, Desk<W>)>,
    /// In the order of the spec.
    works: Vec<Work<W>>,
    leftovers: Vec<Leftover<W>>,
}

impl<W: World> Machine<W> {
    /// A start that has not seen its object.
    pub fn new(start: W::Start, bounds: Bounds) -> Self {
        Self {
            start,
            bounds,
            life: Life::New,
            stopping: false,
            pen: Pen::Idle,
            desk: None,
            works: Vec::new(),
            leftovers: Vec::new(),
        }
    }

    /// The newest state of the object that is known.
    pub fn desk(&self) -> Option<(Version, &Desk<W>)> {
        self.desk.as_ref().map(|(version, desk)| (*version, desk))
    }

    /// Whether another start has taken the desk.
    pub fn is_replaced(&self) -> bool {
        self.life == Life::Replaced
    }

    /// Whether there is nothing to wait for: nothing runs, every shard of this start is sealed, no request is under way.
    pub fn is_idle(&self) -> bool {
        self.pen == Pen::Idle && self.works.is_empty() && self.leftovers.iter().all(|l| l.running.is_empty())
    }

    /// Partitions in flight, leftovers of sealed shards included.
    pub fn in_flight(&self) -> u64 {
        self.works.iter().map(Work::in_flight).sum::<u64>()
            + self.leftovers.iter().map(|l| l.running.len() as u64).sum::<u64>()
    }

    /// The partitions in flight, as they were started.
    pub fn running(&self) -> impl Iterator<Item = Task> + '_ {
        let leftovers = self
            .leftovers
            .iter()
            .flat_map(|leftover| leftover.running.values().copied());
        self.works
            .iter()
            .flat_map(|work| work.running().map(|(_, task)| task))
            .chain(leftovers)
    }

    /// The shard that a partition in flight counts for now; none: it is a leftover, or not in flight.
    pub fn owner(&self, task: Task) -> Option<ShardId> {
        self.works.iter().find(|work| work.runs(task)).map(|work| work.id)
    }

    /// The shards that are run and not sealed, with the cursors up to which they are folded.
    pub fn progress(&self) -> impl Iterator<Item = (ShardId, Cursor)> + '_ {
        self.works.iter().map(|work| (work.id, work.open.cursor))
    }

    /// What [`Machine::begin`] would start.
    pub fn ready(&self) -> Option<Begin> {
        if self.life != Life::Claimed || self.stopping {
            return None;
        }
        let flying = self.in_flight();
        let lonely = self.works.iter().any(Work::wants_solitude);
        if lonely && flying > 0 {
            return None;
        }
        for work in self.works.iter().filter(|work| !lonely || work.wants_solitude()) {
            match work.next_start(flying, &self.bounds) {
                Next::Nothing => {}
                Next::Wait => return None,
                Next::Start(range) => {
                    let range = if lonely {
                        PartitionRange::new(range.start(), range.start() + 1)
                    } else {
                        range
                    };
                    return Some(Begin { shard: work.id, range });
                }
            }
        }
        None
    }

    /// Takes up to `room` partitions to start now: at least one if there is any and `room` is not 0.
    pub fn begin(&mut self, room: u64, now_millis: u64) -> Option<Begin> {
        let Begin { shard, range } = self.ready().filter(|_| room > 0)?;
        let range = PartitionRange::new(range.start(), range.end().min(range.start().saturating_add(room)));
        self.works
            .iter_mut()
            .find(|work| work.id == shard)?
            .start(range, now_millis);
        Some(Begin { shard, range })
    }

    /// When [`Event::Tick`] is wanted at the latest.
    pub fn wake_at(&self) -> Option<u64> {
        self.works.iter().filter_map(Work::wake_at).min()
    }

    /// As [`Event::Settled`], without a content in between: `add` folds what the partition gave into the content that it is
    /// given, and leaves that as it was if it fails. Then the partition goes on as in flight.
    pub fn settle<E>(
        &mut self,
        task: Task,
        now_millis: u64,
        add: impl FnOnce(&mut W::Content) -> Result<(), E>,
    ) -> Result<Vec<Command<W>>, E> {
        let Some(work) = self.works.iter_mut().find(|work| work.runs(task)) else {
            if let Some(leftover) = running_leftover(&mut self.leftovers, task) {
                let mut content = W::Content::default();
                add(&mut content)?;
                leftover.running.remove(&task.partition);
                leftover.ended.insert(task.partition, Outcome::Settled(content));
            }
            return Ok(Vec::new());
        };
        let fits = work.settle(task.partition, &self.bounds, add)?;
        if fits.is_ok() && !work.may_be_due(self.stopping) {
            return Ok(Vec::new());
        }
        let mut commands = Vec::new();
        break_unless(&fits, work, &mut commands);
        self.pump(now_millis, &mut commands);
        Ok(commands)
    }

    /// Takes note of an event. `now_millis` only has to be the same clock's each time.
    pub fn handle(&mut self, event: Event<W>, now_millis: u64) -> Vec<Command<W>> {
        let mut commands = Vec::new();
        if self.life == Life::Replaced {
            return commands;
        }
        match event {
            Event::Seen(version, desk) => self.observe(version, desk, now_millis, &mut commands),
            Event::Stored(version, desk) => {
                self.pen = Pen::Idle;
                self.observe(version, desk, now_millis, &mut commands);
            }
            Event::Read(version, desk) => {
                if self.pen == Pen::Reading {
                    self.pen = Pen::Idle;
                }
                self.observe(version, desk, now_millis, &mut commands);
            }
            Event::Doubtful => {
                // A newer object was seen meanwhile: that has decided it.
                let decided = matches!(self.pen, Pen::Putting(version) if self.version() != Some(version));
                if decided {
                    self.pen = Pen::Idle;
                } else {
                    self.pen = Pen::Reading;
                    commands.push(Command::Read);
                }
            }
            Event::Refused => self.refused(&mut commands),
            Event::Flushed => {
                for sent in self.works.iter_mut().filter_map(|work| work.sent.as_mut()) {
                    sent.flushed = true;
                }
                if self.pen == Pen::Flushing {
                    self.pen = Pen::Idle;
                }
            }
            Event::Settled(task, content) => self.end(task, Outcome::Settled(content), &mut commands),
            Event::Deferred(task, deferred) => self.end(task, Outcome::Deferred(deferred), &mut commands),
            Event::Lost(tasks) => self.lost(&tasks),
            Event::Full(shard) => {
                if let Some(work) = self.works.iter_mut().find(|work| work.id == shard) {
                    work.fill();
                }
            }
            Event::Fatal(shard, content) => {
                if let Some(work) = self.works.iter_mut().find(|work| work.id == shard) {
                    commands.extend(work.give_up(Ending::Fatal).into_iter().map(Command::Kill));
                    work.open.content = content;
                }
            }
            Event::Tick => {}
            Event::Stop => self.stopping = true,
            Event::Halt => {
                self.stopping = true;
                let killed: Vec<Task> = self.running().collect();
                self.lost(&killed);
                commands.extend(killed.into_iter().map(Command::Kill));
            }
        }
        self.pump(now_millis, &mut commands);
        commands
    }

    fn version(&self) -> Option<Version> {
        self.desk.as_ref().map(|(version, _)| *version)
    }

    fn end(&mut self, task: Task, outcome: Outcome<W>, commands: &mut Vec<Command<W>>) {
        if let Some(work) = self.works.iter_mut().find(|work| work.runs(task)) {
            work.end(task.partition, outcome);
            let fits = work.advance(&self.bounds);
            break_unless(&fits, work, commands);
        } else if let Some(leftover) = running_leftover(&mut self.leftovers, task) {
            leftover.running.remove(&task.partition);
            leftover.ended.insert(task.partition, outcome);
        }
    }

    fn lost(&mut self, tasks: &[Task]) {
        for task in tasks {
            if let Some(work) = self.works.iter_mut().find(|work| work.runs(*task)) {
                work.lose(task.partition);
            } else if let Some(leftover) = running_leftover(&mut self.leftovers, *task) {
                leftover.running.remove(&task.partition);
            }
        }
    }

    fn refused(&mut self, commands: &mut Vec<Command<W>>) {
        self.pen = Pen::Idle;
        for work in self.works.iter_mut().filter(|work| work.sent.is_some()) {
            // It will never be stored, and a content that is refused once is refused again.
            work.sent = None;
            commands.extend(work.give_up(Ending::Broken).into_iter().map(Command::Kill));
            commands.push(Command::Broken(work.id));
        }
    }

    /// Takes a state of the object, if it is newer than the known one.
    fn observe(&mut self, version: Version, desk: Desk<W>, now: u64, commands: &mut Vec<Command<W>>) {
        if self.version().is_some_and(|known| version <= known) {
            return;
        }
        if self.pen == Pen::Reading {
            // Newer than the write in doubt: that is decided, whatever the read will say.
            self.pen = Pen::Idle;
        }
        if desk.start.as_ref() == Some(&self.start) {
            self.life = Life::Claimed;
        } else if self.life == Life::Claimed {
            self.life = Life::Replaced;
            commands.extend(self.running().map(Command::Kill));
            commands.push(Command::Replaced);
            self.works.clear();
            self.leftovers.clear();
            self.desk = Some((version, desk));
            return;
        }
        self.rebase(&desk, commands);
        for shard in desk.shards.iter().filter(|shard| shard.start_id == self.start) {
            let known = self.works.iter().any(|work| work.id == shard.id);
            if known || shard.seal || desk.commit(shard.id).is_some() {
                continue;
            }
            let mut work = Work::new(shard);
            if let Some(leftover) = shard
                .adopts
                .and_then(|id| self.leftovers.iter_mut().find(|l| l.id == id))
            {
                work.adopt(leftover, now);
                let fits = work.advance(&self.bounds);
                break_unless(&fits, &mut work, commands);
            }
            self.works.push(work);
        }
        let place = |id: ShardId| desk.shards.iter().position(|shard| shard.id == id);
        self.works.sort_by_key(|work| place(work.id));
        self.leftovers.retain(|leftover| {
            let kept = place(leftover.id).is_some();
            if !kept {
                commands.extend(leftover.running.values().copied().map(Command::Kill));
            }
            kept && !leftover.is_empty()
        });
        self.desk = Some((version, desk));
    }

    /// Lets every shard that is run see what is stored of it.
    fn rebase(&mut self, desk: &Desk<W>, commands: &mut Vec<Command<W>>) {
        for mut work in std::mem::take(&mut self.works) {
            let shard = desk.shard(work.id);
            let stored = desk.commit(work.id);
            let own = stored.is_none_or(|stored| stored.start_id == self.start);
            // A shard that has left may have left without its entry: then nothing is known of what was sent.
            let rebased = match (shard, stored) {
                (None, None) => Ok(Ok(())),
                _ if own => work.rebase(stored),
                _ => Err(work::Foreign),
            };
            let Ok(fits) = rebased else {
                commands.extend(work.running().map(|(_, task)| Command::Kill(task)));
                continue;
            };
            if shard.is_none_or(|shard| desk.is_sealed(shard)) {
                self.leftovers.push(work.into_leftover());
                continue;
            }
            work.budget_millis = shard.map_or(work.budget_millis, |shard| shard.budget_millis);
            let fits = fits.and_then(|()| work.advance(&self.bounds));
            break_unless(&fits, &mut work, commands);
            self.works.push(work);
        }
    }

    /// Writes, if a write is due and none is under way.
    fn pump(&mut self, now: u64, commands: &mut Vec<Command<W>>) {
        for work in &mut self.works {
            work.tick(now);
        }
        let Some((version, desk)) = self.desk.as_ref() else {
            return;
        };
        if self.pen != Pen::Idle || self.life == Life::Replaced {
            return;
        }
        for work in &mut self.works {
            if work.sent.is_none()
                && let Some(sealed) = work.due(self.stopping, &self.bounds)
            {
                work.send(sealed);
            }
        }
        let unflushed: Vec<_> = self
            .works
            .iter()
            .filter_map(|work| {
                let sent = work.sent.as_ref().filter(|sent| !sent.flushed)?;
                Some((work.id, PartitionRange::new(work.base.0, sent.segment.cursor.0)))
            })
            .collect();
        if !unflushed.is_empty() {
            self.pen = Pen::Flushing;
            commands.push(Command::Flush(unflushed));
            return;
        }
        let strange = |commit: &Commit<W>| {
            !commit.sealed
                && desk.shard(commit.id).is_some_and(|shard| !shard.seal)
                && !self.works.iter().any(|work| work.id == commit.id)
        };
        let due = self.life == Life::New
            || desk.commits.iter().any(strange)
            || self.works.iter().any(|work| work.sent.is_some());
        if !due {
            return;
        }
        let mut commits: Vec<Commit<W>> = desk
            .commits
            .iter()
            .filter(|commit| desk.shard(commit.id).is_some())
            .map(|commit| {
                let mut commit = commit.clone();
                commit.sealed |= strange(&commit);
                commit
            })
            .collect();
        let mut broken = Vec::new();
        for work in &self.works {
            match work.commit(&self.start, desk.commit(work.id)) {
                None => {}
                Some(Err(_)) => broken.push(work.id),
                Some(Ok(commit)) => match commits.iter_mut().find(|stored| stored.id == work.id) {
                    Some(stored) => *stored = commit,
                    None => commits.push(commit),
                },
            }
        }
        let version = *version;
        if broken.is_empty() {
            self.pen = Pen::Putting(version);
            let start = self.start.clone();
            commands.push(Command::Put(version, Sheet { start, commits }));
            return;
        }
        for work in self.works.iter_mut().filter(|work| broken.contains(&work.id)) {
            work.sent = None;
            commands.extend(work.give_up(Ending::Broken).into_iter().map(Command::Kill));
            commands.push(Command::Broken(work.id));
        }
        self.pump(now, commands);
    }
}

fn running_leftover<W: World>(leftovers: &mut [Leftover<W>], task: Task) -> Option<&mut Leftover<W>> {
    leftovers
        .iter_mut()
        .find(|leftover| leftover.running.get(&task.partition) == Some(&task))
}

/// Gives the shard up where contents did not fit together.
fn break_unless<W: World>(fits: &Result<(), ContentError<W>>, work: &mut Work<W>, commands: &mut Vec<Command<W>>) {
    if fits.is_err() && work.ending == Ending::None {
        commands.extend(work.give_up(Ending::Broken).into_iter().map(Command::Kill));
        commands.push(Command::Broken(work.id));
    }
}

#[cfg(test)]
mod tests;
