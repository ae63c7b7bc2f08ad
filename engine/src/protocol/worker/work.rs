//! What a worker holds of one shard: what was sent, what is folded but not sent, what ended out of order, what runs.

use std::{
    collections::{BTreeMap, BTreeSet},
    mem,
};

use braid_crds::{Cursor, PartitionRange, ShardId, worker::Mode};

use super::{
    super::{Commit, Content as _, DeferredPartition, Shard, World, fold::ContentError},
    Bounds, Task,
};

/// What became of a partition for good, as far as its shard goes.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum Outcome<W: World> {
    /// It succeeded or failed for good.
    Settled(W::Content),
    /// It waits for another attempt, elsewhere.
    Deferred(DeferredPartition),
}

/// What consecutive partitions gave, up to a cursor.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Segment<W: World> {
    pub(super) cursor: Cursor,
    pub(super) content: W::Content,
    pub(super) deferred: Vec<DeferredPartition>,
}

impl<W: World> Segment<W> {
    fn empty(cursor: Cursor) -> Self {
        Self {
            cursor,
            content: W::Content::default(),
            deferred: Vec::new(),
        }
    }
}

/// A segment that a write carries whose fate is not known.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Sent<W: World> {
    pub(super) segment: Segment<W>,
    pub(super) sealed: bool,
    /// As in the commit.
    pub(super) begun: u64,
    pub(super) flushed: bool,
}

/// Why a shard is given up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Ending {
    /// It is not.
    None,
    /// Its contents do not fit together, or its commit was refused: waits to be told what to say.
    Broken,
    /// Sealed where it is, with the reason in its content.
    Fatal,
}

/// What of a shard may be started.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Next {
    /// Nothing, ever: shards behind it may begin.
    Nothing,
    /// Nothing now, and nothing behind it either.
    Wait,
    /// These.
    Start(PartitionRange),
}

/// A stored entry does not continue what was sent: somebody else wrote it.
#[derive(Debug)]
pub(super) struct Foreign;

/// A shard that is being run. `[start, base)` is stored, `[base, sent)` is in doubt, `[.., open)` is folded; above lie the
/// partitions that ended out of order (`ahead`), that are to be started again (`again`), and, up to `next`, those that run.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Work<W: World> {
    pub(super) id: ShardId,
    pub(super) range: PartitionRange,
    pub(super) mode: Mode,
    pub(super) budget_millis: u64,
    /// The stored cursor; the stored content is in the desk.
    pub(super) base: Cursor,
    /// How many partitions the stored entry defers.
    base_deferred: usize,
    pub(super) sent: Option<Sent<W>>,
    pub(super) open: Segment<W>,
    pub(super) ahead: BTreeMap<u64, Outcome<W>>,
    ahead_bytes: usize,
    pub(super) again: BTreeSet<u64>,
    /// Those that were lost with others, and run alone.
    solo: BTreeSet<u64>,
    /// Under which shard adopted partitions were started.
    adopted: BTreeMap<u64, ShardId>,
    pub(super) next: u64,
    pub(super) started_at: Option<u64>,
    /// The budget is over: nothing is started any more.
    late: bool,
    /// The budget is over twice: nothing is waited for.
    overdue: bool,
    /// No further partition fits into the commit.
    full: bool,
    pub(super) ending: Ending,
}

/// What is left of a sealed shard: processes and outcomes that another shard may adopt.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Leftover<W: World> {
    pub(super) id: ShardId,
    pub(super) running: BTreeMap<u64, Task>,
    pub(super) ended: BTreeMap<u64, Outcome<W>>,
}

impl<W: World> Leftover<W> {
    pub(super) fn is_empty(&self) -> bool {
        self.running.is_empty() && self.ended.is_empty()
    }
}

impl<W: World> Work<W> {
    pub(super) fn new(shard: &Shard<W>) -> Self {
        let start = Cursor(shard.range.start());
        Self {
            id: shard.id,
            range: shard.range,
            mode: shard.mode,
            budget_millis: shard.budget_millis,
            base: start,
            base_deferred: 0,
            sent: None,
            open: Segment::empty(start),
            ahead: BTreeMap::new(),
            ahead_bytes: 0,
            again: BTreeSet::new(),
            solo: BTreeSet::new(),
            adopted: BTreeMap::new(),
            next: shard.range.start(),
            started_at: None,
            late: false,
            overdue: false,
            full: false,
            ending: Ending::None,
        }
    }

    /// Takes over what of its range is left of another shard.
    pub(super) fn adopt(&mut self, leftover: &mut Leftover<W>, now: u64) {
        let range = self.range.start()..self.range.end();
        let running: Vec<u64> = leftover.running.range(range.clone()).map(|(p, _)| *p).collect();
        let ended: Vec<u64> = leftover.ended.range(range).map(|(p, _)| *p).collect();
        let Some(last) = running.last().max(ended.last()).copied() else {
            return;
        };
        self.again = (self.range.start()..=last).collect();
        self.next = last + 1;
        self.started_at = Some(now);
        for partition in running {
            if let Some(task) = leftover.running.remove(&partition) {
                self.again.remove(&partition);
                self.adopted.insert(partition, task.shard);
            }
        }
        for partition in ended {
            if let Some(outcome) = leftover.ended.remove(&partition) {
                self.again.remove(&partition);
                self.hold(partition, outcome);
            }
        }
    }

    /// The partitions in flight, as they were started.
    pub(super) fn running(&self) -> impl Iterator<Item = (u64, Task)> + '_ {
        (self.open.cursor.0..self.next)
            .filter(|p| !self.ahead.contains_key(p) && !self.again.contains(p))
            .map(|p| {
                let shard = self.adopted.get(&p).copied().unwrap_or(self.id);
                (p, Task { shard, partition: p })
            })
    }

    pub(super) fn in_flight(&self) -> u64 {
        (self.next - self.open.cursor.0).saturating_sub((self.ahead.len() + self.again.len()) as u64)
    }

    /// Whether `task` is one of its partitions in flight.
    pub(super) fn runs(&self, task: Task) -> bool {
        let own = if self.adopted.is_empty() {
            self.id
        } else {
            self.adopted.get(&task.partition).copied().unwrap_or(self.id)
        };
        own == task.shard
            && (self.open.cursor.0..self.next).contains(&task.partition)
            && (self.ahead.is_empty() || !self.ahead.contains_key(&task.partition))
            && (self.again.is_empty() || !self.again.contains(&task.partition))
    }

    fn is_frozen(&self) -> bool {
        self.full || self.ending != Ending::None || self.sent.as_ref().is_some_and(|sent| sent.sealed)
    }

    /// No partition is begun any more, but the first.
    fn is_cut(&self) -> bool {
        self.late || self.budget_millis == 0
    }

    fn settled_any(&self) -> bool {
        self.open.cursor.0 > self.range.start()
    }

    /// What may be started, with `flying` partitions of all shards in flight.
    pub(super) fn next_start(&self, flying: u64, bounds: &Bounds) -> Next {
        let one = |p: u64| Next::Start(PartitionRange::new(p, p.saturating_add(1)));
        let suspect = self.mode == Mode::Suspect;
        if self.is_frozen() {
            return if suspect { Next::Wait } else { Next::Nothing };
        }
        if suspect && (flying > 0 || self.sent.is_some() || self.open.cursor != self.base) {
            return Next::Wait;
        }
        if self.is_cut() {
            let first = !self.settled_any() && self.in_flight() == 0 && !self.ahead.contains_key(&self.open.cursor.0);
            return if first { one(self.open.cursor.0) } else { Next::Nothing };
        }
        let waiting = self.solo.iter().find(|p| self.again.contains(p));
        if let Some(p) = waiting.or_else(|| self.again.first()) {
            return one(*p);
        }
        if self.next == self.range.end() {
            return Next::Nothing;
        }
        if self.ahead.len() >= bounds.results || self.ahead_bytes >= bounds.bytes {
            return Next::Wait;
        }
        if suspect {
            one(self.next)
        } else {
            Next::Start(PartitionRange::new(self.next, self.range.end()))
        }
    }

    /// Whether a partition that must run alone runs or waits to be started.
    pub(super) fn wants_solitude(&self) -> bool {
        !self.solo.is_empty() && (!self.is_frozen() || self.solo.iter().any(|p| !self.again.contains(p)))
    }

    /// Marks what [`Work::next_start`] named as started.
    pub(super) fn start(&mut self, range: PartitionRange, now: u64) {
        self.started_at.get_or_insert(now);
        if !self.again.remove(&range.start()) {
            self.next = self.next.max(range.end());
        }
    }

    /// Takes back a partition whose process was lost: it is started again, alone.
    pub(super) fn lose(&mut self, partition: u64) {
        self.adopted.remove(&partition);
        self.again.insert(partition);
        self.solo.insert(partition);
    }

    /// Notes that the budget is over.
    pub(super) fn tick(&mut self, now: u64) {
        if let Some(started) = self.started_at {
            self.late = self.late || now >= started.saturating_add(self.budget_millis);
            self.overdue = self.overdue || now >= started.saturating_add(self.budget_millis.saturating_mul(2));
        }
    }

    /// When [`Work::tick`] has news.
    pub(super) fn wake_at(&self) -> Option<u64> {
        let started = self
            .started_at
            .filter(|_| self.budget_millis > 0 && !self.is_frozen())?;
        match (self.late, self.overdue) {
            (false, _) => Some(started.saturating_add(self.budget_millis)),
            (true, false) => Some(started.saturating_add(self.budget_millis.saturating_mul(2))),
            (true, true) => None,
        }
    }

    /// Folds what one partition gave, by `add`; in order: straight into the running content. `add` must leave the content
    /// as it was when it fails; then the partition goes on as in flight.
    pub(super) fn settle<E>(
        &mut self,
        partition: u64,
        bounds: &Bounds,
        add: impl FnOnce(&mut W::Content) -> Result<(), E>,
    ) -> Result<Result<(), ContentError<W>>, E> {
        if partition == self.open.cursor.0 && !self.is_frozen() {
            add(&mut self.open.content)?;
            self.open.cursor.0 += 1;
            if !self.adopted.is_empty() {
                self.adopted.remove(&partition);
            }
            if !self.solo.is_empty() {
                self.solo.remove(&partition);
            }
        } else {
            let mut content = W::Content::default();
            add(&mut content)?;
            self.end(partition, Outcome::Settled(content));
        }
        Ok(if self.ahead.is_empty() {
            Ok(())
        } else {
            self.advance(bounds)
        })
    }

    /// Notes the outcome of a partition in flight; [`Work::advance`] folds it.
    pub(super) fn end(&mut self, partition: u64, outcome: Outcome<W>) {
        self.adopted.remove(&partition);
        self.solo.remove(&partition);
        self.hold(partition, outcome);
    }

    fn hold(&mut self, partition: u64, outcome: Outcome<W>) {
        self.ahead_bytes += weight(&outcome);
        self.ahead.insert(partition, outcome);
    }

    /// Folds what has become consecutive.
    pub(super) fn advance(&mut self, bounds: &Bounds) -> Result<(), ContentError<W>> {
        while !self.is_frozen() {
            let Some(outcome) = self.ahead.remove(&self.open.cursor.0) else {
                break;
            };
            match outcome {
                outcome if self.settled_any() && !self.has_room_for(&outcome, bounds) => {
                    self.ahead.insert(self.open.cursor.0, outcome);
                    self.fill();
                    break;
                }
                Outcome::Deferred(deferred) => self.open.deferred.push(deferred),
                Outcome::Settled(content) => {
                    self.ahead_bytes = self.ahead_bytes.saturating_sub(content.weight());
                    self.open.content.merge(&content)?;
                }
            }
            self.open.cursor.0 += 1;
        }
        Ok(())
    }

    /// Whether the next commit can hold the outcome of the partition at the cursor, too.
    fn has_room_for(&self, outcome: &Outcome<W>, bounds: &Bounds) -> bool {
        let sent = self.sent.as_ref().map(|sent| &sent.segment);
        match outcome {
            Outcome::Settled(content) => {
                self.open.content.fits(content) && sent.is_none_or(|sent| sent.content.fits(content))
            }
            Outcome::Deferred(_) => {
                let in_doubt = sent.map_or(0, |sent| sent.deferred.len());
                self.base_deferred + in_doubt + self.open.deferred.len() < bounds.deferred
            }
        }
    }

    /// No further partition fits: seals where it is, if anything is settled.
    pub(super) fn fill(&mut self) {
        self.full = self.settled_any();
    }

    /// Whether a commit may be due; cheap, and never wrong when it says no.
    pub(super) fn may_be_due(&self, stopping: bool) -> bool {
        self.open.cursor.0 == self.range.end()
            || self.is_cut()
            || self.full
            || stopping
            || self.mode == Mode::Suspect
            || self.ending != Ending::None
            || self.open.cursor.0.is_multiple_of(1024)
    }

    /// Whether a commit is due, and whether it seals.
    pub(super) fn due(&self, stopping: bool, bounds: &Bounds) -> Option<bool> {
        match self.ending {
            Ending::Fatal => return Some(true),
            Ending::Broken => return None,
            Ending::None => {}
        }
        let idle = self.in_flight() == 0;
        let cut = self.settled_any() && (self.budget_millis == 0 || self.overdue || (self.late && idle));
        // Nobody gives a worker that stops what it has begun back to it: that is waited for, or it would be run again elsewhere.
        let cut = cut && (idle || !stopping);
        if self.open.cursor.0 == self.range.end() || self.full || cut || (stopping && idle) {
            return Some(true);
        }
        let early = self.mode == Mode::Suspect || self.open.content.weight() >= bounds.bytes;
        (early && self.open.cursor > self.base).then_some(false)
    }

    /// How many partitions from the folded ones on are in flight or have ended out of order, with the gaps between them.
    fn begun(&self) -> u64 {
        let ended = self.ahead.last_key_value().map(|(partition, _)| *partition);
        let last = self.running().map(|(partition, _)| partition).last().max(ended);
        last.map_or(0, |last| (last + 1).saturating_sub(self.open.cursor.0))
    }

    /// Puts what is folded into the next write.
    pub(super) fn send(&mut self, sealed: bool) {
        let begun = if sealed { self.begun() } else { 0 };
        let empty = Segment::empty(self.open.cursor);
        let segment = mem::replace(&mut self.open, empty);
        let flushed = !segment.content.has_outputs();
        self.sent = Some(Sent {
            segment,
            sealed,
            begun,
            flushed,
        });
    }

    /// The commit to write: what is stored and what is sent.
    pub(super) fn commit(
        &self,
        start: &W::Start,
        stored: Option<&Commit<W>>,
    ) -> Option<Result<Commit<W>, ContentError<W>>> {
        let sent = self.sent.as_ref()?;
        let mut commit: Commit<W> = Commit {
            id: self.id,
            start_id: start.clone(),
            cursor: sent.segment.cursor,
            sealed: sent.sealed,
            begun: sent.begun,
            deferred: stored.map(|stored| stored.deferred.clone()).unwrap_or_default(),
            content: match stored {
                Some(stored) => stored.content.clone(),
                None => sent.segment.content.clone(),
            },
        };
        if stored.is_some()
            && let Err(error) = commit.content.merge(&sent.segment.content)
        {
            return Some(Err(error));
        }
        commit.deferred.extend(sent.segment.deferred.iter().cloned());
        Some(Ok(commit))
    }

    /// The write did not happen, and will not.
    fn unsend(&mut self) -> Result<(), ContentError<W>> {
        let Some(sent) = self.sent.take() else { return Ok(()) };
        let mut whole = sent.segment;
        let open = mem::replace(&mut self.open, Segment::empty(whole.cursor));
        whole.content.merge(&open.content)?;
        whole.deferred.extend(open.deferred);
        whole.cursor = open.cursor;
        self.open = whole;
        Ok(())
    }

    /// Takes the stored entry of a newer object as the base: it is the base of before, or what was sent last. So what was
    /// sent is decided: it is stored, or never will be.
    pub(super) fn rebase(&mut self, stored: Option<&Commit<W>>) -> Result<Result<(), ContentError<W>>, Foreign> {
        let cursor = stored.map_or(Cursor(self.range.start()), |stored| stored.cursor);
        let sealed = stored.is_some_and(|stored| stored.sealed);
        match &self.sent {
            Some(sent) if sent.segment.cursor == cursor && (cursor != self.base || sealed) => {
                self.sent = None;
                self.base = cursor;
                self.base_deferred = stored.map_or(0, |stored| stored.deferred.len());
                Ok(Ok(()))
            }
            _ if cursor == self.base => Ok(self.unsend()),
            _ => Err(Foreign),
        }
    }

    /// Contents that do not fit together, or a refused commit: drops what is not stored. Returns what must be killed.
    pub(super) fn give_up(&mut self, ending: Ending) -> Vec<Task> {
        let killed = self.running().map(|(_, task)| task).collect();
        let cursor = self.sent.as_ref().map_or(self.base, |sent| sent.segment.cursor);
        self.open = Segment::empty(cursor);
        self.ahead.clear();
        self.ahead_bytes = 0;
        self.again.clear();
        self.solo.clear();
        self.adopted.clear();
        self.next = cursor.0;
        self.ending = ending;
        killed
    }

    /// What is left once the shard is sealed at its base.
    pub(super) fn into_leftover(mut self) -> Leftover<W> {
        let running = self.running().collect();
        let base = self.base.0;
        // What one partition gave is known even when it was folded already.
        if self.sent.is_none() && self.open.cursor.0 == base + 1 && self.ending == Ending::None {
            let outcome = match self.open.deferred.pop() {
                Some(deferred) => Outcome::Deferred(deferred),
                None => Outcome::Settled(self.open.content),
            };
            self.ahead.insert(base, outcome);
        }
        Leftover {
            id: self.id,
            running,
            ended: self.ahead,
        }
    }
}

fn weight<W: World>(outcome: &Outcome<W>) -> usize {
    match outcome {
        Outcome::Settled(content) => content.weight(),
        Outcome::Deferred(_) => 0,
    }
}
