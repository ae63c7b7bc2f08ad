//! What each action does. Steps check what states cannot show.

use std::rc::Rc;

use braid_crds::{
    PartitionRange, Round, ShardId,
    worker::{History, Mode},
};
use braid_engine::protocol::{
    Content as _, Desk, Record, Shard, close,
    fold::{self, Verdict},
    publish::{self, Outputs as _},
    retire::{self, Known},
};

use crate::{
    actor::{Actor, Answer, Effect, End, Event},
    guards,
    invariants::{self, Invariant},
    mutation::Mutation,
    state::{Action, Config, Process, Seat, State, Write},
    tiny::{Output, Provenance, Settlement, Tiny, Uid},
};

/// The budget of a shard that is not cut. Time does not pass in the model: its end is an event.
pub const BUDGET: u64 = 1_000;

/// What became of a worker's write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Landed {
    /// It was applied.
    Applied,
    /// The object had another version.
    Conflict,
    /// A rule forbids it.
    Refused,
}

/// What a shard is to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Assignment {
    /// Its partitions.
    pub range: PartitionRange,
    /// The generation of the step's work that it is part of.
    pub round: Round,
    /// How it is run.
    pub mode: Mode,
    /// The shard that it goes on with.
    pub adopts: Option<ShardId>,
    /// Its time.
    pub budget_millis: u64,
    /// What its only partition went through.
    pub history: Option<History>,
}

type Checked<T = ()> = Result<T, Invariant>;

/// The state after an action that is enabled.
pub fn apply<A: Actor>(config: &Config, before: &State<A>, action: &Action) -> Checked<State<A>> {
    let mut state = before.clone();
    state.act(config, action)?;
    state.check_closed(before)?;
    Ok(state)
}

impl<A: Actor> State<A> {
    /// Does it, in place.
    pub fn act(&mut self, config: &Config, action: &Action) -> Checked {
        let mutation = config.mutation;
        match action {
            Action::Watch(p) => {
                let (version, desk) = self.copy(*p);
                let asked = false;
                self.tell(config, *p, Event::Desk { version, desk, asked })?;
            }
            Action::Read(p) => {
                self.process(*p).reading = false;
                if !self.rest.missing.is_empty() {
                    let start = self.processes[*p].start;
                    let missing = &mut Rc::make_mut(&mut self.rest).missing;
                    missing.retain(|output| output.start != start);
                }
                if self.seats[self.processes[*p].seat].deleted {
                    self.end_process(*p);
                } else {
                    let (version, desk) = self.copy(*p);
                    let asked = true;
                    self.tell(config, *p, Event::Desk { version, desk, asked })?;
                }
            }
            Action::Write(p) => {
                let write = self.process(*p).put.take().expect("a write");
                let seat = self.processes[*p].seat;
                let stored = self.land(config, seat, &write)?;
                let rest = Rc::make_mut(&mut self.rest);
                rest.missing.retain(|output| !write.after.contains(output));
                let answer = match stored {
                    Landed::Applied => {
                        let (version, desk) = self.copy(*p);
                        Answer::Stored(version, desk)
                    }
                    Landed::Conflict => Answer::Conflict,
                    // In a broken world the rules are the last line: the worker is to go on.
                    Landed::Refused if mutation.is_some() => Answer::Conflict,
                    Landed::Refused => Answer::Refused,
                };
                self.tell(config, *p, Event::Answer(answer))?;
            }
            Action::WriteUnanswered(p) => {
                spend(&mut Rc::make_mut(&mut self.rest).budget.lost);
                let write = self.process(*p).put.take().expect("a write");
                let seat = self.processes[*p].seat;
                self.land(config, seat, &write)?;
                self.tell(config, *p, Event::Answer(Answer::Unknown))?;
            }
            Action::WriteGivenUp(p) => {
                let write = self.process(*p).put.take().expect("a write");
                let seat = self.processes[*p].seat;
                let rest = Rc::make_mut(&mut self.rest);
                spend(&mut rest.budget.late);
                rest.late.push((seat, write));
                self.tell(config, *p, Event::Answer(Answer::Unknown))?;
            }
            Action::LateWrite(index) => {
                let (seat, write) = Rc::make_mut(&mut self.rest).late.remove(*index);
                self.land(config, seat, &write)?;
            }
            Action::Succeed(p, shard, partition) => self.settle(config, *p, *shard, *partition, true)?,
            Action::Fail(p, shard, partition) => {
                spend(&mut Rc::make_mut(&mut self.rest).budget.failures);
                self.settle(config, *p, *shard, *partition, false)?;
            }
            Action::Defer(p, shard, partition) => {
                spend(&mut Rc::make_mut(&mut self.rest).budget.deferrals);
                self.process(*p)
                    .running
                    .retain(|(id, _, other)| (id, other) != (shard, partition));
                self.tell(config, *p, Event::Ended(*shard, *partition, End::Deferred))?;
            }
            Action::BudgetOver(p) => {
                spend(&mut Rc::make_mut(&mut self.rest).budget.cuts);
                self.tell(config, *p, Event::BudgetOver)?;
            }
            Action::Full(p) => {
                spend(&mut Rc::make_mut(&mut self.rest).budget.fulls);
                self.tell(config, *p, Event::Full)?;
            }
            Action::LoseShim(p) => {
                spend(&mut Rc::make_mut(&mut self.rest).budget.shims);
                let lost = std::mem::take(&mut self.process(*p).running);
                let lost = lost
                    .into_iter()
                    .map(|(shard, _, partition)| (shard, partition))
                    .collect();
                self.tell(config, *p, Event::Lost(lost))?;
            }
            Action::Die(p) => {
                spend(&mut Rc::make_mut(&mut self.rest).budget.deaths);
                self.end_process(*p);
            }
            Action::Restart(seat) => self.add_process(*seat, config),
            Action::LosePod(seat) => {
                spend(&mut Rc::make_mut(&mut self.rest).budget.pods);
                self.seat(*seat).pod_gone = true;
                self.end_processes(*seat);
            }
            Action::LosePodNotProcess(seat) => {
                spend(&mut Rc::make_mut(&mut self.rest).budget.zombies);
                self.seat(*seat).pod_gone = true;
            }
            Action::Replace => {
                spend(&mut Rc::make_mut(&mut self.rest).budget.replacements);
                let reused = self.seats.iter().rfind(|seat| seat.deleted).map(|seat| seat.uid);
                self.add_pod(reused.filter(|_| mutation == Some(Mutation::IdsReused)), config);
            }
            Action::Assign {
                seat,
                range,
                round,
                mode,
                adopts,
            } => self.assign(
                *seat,
                Assignment {
                    range: *range,
                    round: *round,
                    mode: *mode,
                    adopts: *adopts,
                    budget_millis: BUDGET,
                    history: None,
                },
            )?,
            Action::Cut(seat, id) => {
                spend(&mut Rc::make_mut(&mut self.rest).budget.cuts);
                self.change_shard(*seat, *id, |shard| shard.budget_millis = 0)?;
            }
            Action::Seal(seat, id) => {
                spend(&mut Rc::make_mut(&mut self.rest).budget.seals);
                self.change_shard(*seat, *id, |shard| shard.seal = true)?;
            }
            Action::FoldAll => {
                let desks: Vec<_> = self.desks().map(|(uid, desk)| (uid, desk.clone())).collect();
                self.fold(config, &desks)?;
            }
            Action::Fold(seat, id) => {
                let seat = &self.seats[*seat];
                let desk = only(&seat.desk, *id);
                self.fold(config, &[(seat.uid, desk)])?;
            }
            Action::FoldArchived(index) => {
                let (uid, shard, commit) = self.rest.archive[*index].clone();
                let desk = Desk {
                    start: None,
                    next_id: shard.id.next(),
                    shards: vec![shard],
                    commits: vec![commit],
                };
                self.fold(config, &[(uid, desk)])?;
            }
            Action::WriteLedger => {
                let workflow = Rc::make_mut(&mut self.workflow);
                workflow.record.ledger = workflow.halfway.take().expect("a ledger that follows");
            }
            Action::Drop(seat, id, _) => self.drop_shard(config, *seat, *id)?,
            Action::Delete(seat, _) => self.delete(config, *seat)?,
            Action::PrepareManifest(p) => {
                let manifest = publish::next_manifest(&self.rest.chain, &self.workflow.entries);
                let place = self.rest.chain.len();
                self.process(*p).publishing = manifest.map(|manifest| (place, manifest));
            }
            Action::PutManifest(p) => {
                let (place, manifest) = self.process(*p).publishing.take().expect("a manifest");
                if self.rest.chain.len() == place {
                    Rc::make_mut(&mut self.rest).chain.push(manifest);
                } else if mutation == Some(Mutation::TakenBelieved) {
                    let workflow = Rc::make_mut(&mut self.workflow);
                    workflow.entries.retain(|entry| !manifest.entries.contains(entry));
                }
            }
            Action::Unlist => {
                let entries = publish::unnamed(&self.rest.chain, &self.workflow.entries);
                Rc::make_mut(&mut self.workflow).entries = entries;
                if mutation == Some(Mutation::EntriesLeaveEarly) {
                    Rc::make_mut(&mut self.workflow).entries.clear();
                }
            }
            Action::Close | Action::CloseUnseen => {
                let record = self.closed(config, *action == Action::Close).expect("it can be closed");
                Rc::make_mut(&mut self.workflow).record = record;
            }
            Action::Cancel => {
                spend(&mut Rc::make_mut(&mut self.rest).budget.cancels);
                Rc::make_mut(&mut self.workflow).cancel = true;
            }
            Action::Retry | Action::RetryUnseen => self.retry(config, *action == Action::Retry),
        }
        Ok(())
    }

    /// What closing makes of the record, if that is allowed.
    pub fn closed(&self, config: &Config, seen: bool) -> Option<Record<Tiny>> {
        let workflow = &self.workflow;
        let early = config.mutation == Some(Mutation::ClosedBeforePublished);
        let waiting = if early { 0 } else { workflow.entries.len() };
        let mut record = workflow.record.clone();
        let desks = self.desks().filter(|_| seen).map(|(_, desk)| desk);
        let total = u64::from(config.partitions);
        close::close(&mut record, total, workflow.cancel, waiting, desks).ok()?;
        Some(record)
    }

    /// What opening again makes of the record, if that is allowed.
    pub fn reopened(&self, config: &Config, seen: bool) -> Option<Record<Tiny>> {
        let mut record = self.workflow.record.clone();
        let early = config.mutation == Some(Mutation::RetryBeforeSealed);
        record.closed |= early;
        let desks = self.desks().filter(|_| seen && !early).map(|(_, desk)| desk);
        close::reopen(&mut record, desks).ok()?;
        Some(record)
    }

    fn retry(&mut self, config: &Config, seen: bool) {
        let mut record = self.reopened(config, seen).expect("it can be opened again");
        spend(&mut Rc::make_mut(&mut self.rest).budget.retries);
        let workflow = Rc::make_mut(&mut self.workflow);
        workflow.generation += 1;
        for settlement in workflow.record.content.0.iter().filter(|settlement| !settlement.ok) {
            workflow.reopened.push((settlement.partition, workflow.generation));
        }
        if config.mutation == Some(Mutation::RetryWithoutRound) {
            record.round = workflow.record.round;
        }
        let mut old = std::mem::replace(&mut workflow.record, record);
        if config.split_brain {
            old.content = Provenance::default();
            workflow.older.push(old);
        }
        workflow.cancel = false;
        self.prune_archive(config);
    }

    fn process(&mut self, index: usize) -> &mut Process<A> {
        Rc::make_mut(&mut self.processes[index])
    }

    fn seat(&mut self, index: usize) -> &mut Seat {
        Rc::make_mut(&mut self.seats[index])
    }

    /// The desk of a process as it is.
    fn copy(&self, process: usize) -> (u64, Desk<Tiny>) {
        let seat = &self.seats[self.processes[process].seat];
        (seat.version, seat.desk.clone())
    }

    fn end_process(&mut self, index: usize) {
        let process = self.process(index);
        process.actor = None;
        process.reading = false;
        process.running.clear();
        process.publishing = None;
        // What it has sent may arrive or not. That it arrives at once is explored by sending and then dying.
        process.put = None;
    }

    fn end_processes(&mut self, seat: usize) {
        for index in 0..self.processes.len() {
            if self.processes[index].seat == seat && self.processes[index].actor.is_some() {
                self.end_process(index);
            }
        }
    }

    /// Tells a process something and does what it wants.
    pub fn tell(&mut self, config: &Config, index: usize, event: Event) -> Checked {
        let seat = self.processes[index].seat;
        let Some(mut actor) = self.process(index).actor.take() else {
            return Ok(());
        };
        let effects = actor.on(event, config.mutation);
        self.process(index).actor = Some(actor);
        for effect in effects {
            match effect {
                Effect::Start(shard, partition) => {
                    let generation = self.seats[seat].generations.get(shard.0 as usize).copied();
                    self.process(index)
                        .running
                        .push((shard, generation.unwrap_or_default(), partition));
                    self.process(index).running.sort_unstable();
                }
                Effect::Kill(shard, partition) => self
                    .process(index)
                    .running
                    .retain(|(id, _, other)| (*id, *other) != (shard, partition)),
                Effect::Put {
                    version,
                    start,
                    commits,
                    mut unwritten,
                } => {
                    let mut after = Vec::new();
                    if config.mutation == Some(Mutation::OutputsAfterCommit) {
                        after = self.unstored(seat, &commits);
                        unwritten.extend(&after);
                    }
                    if !unwritten.is_empty() && config.outputs {
                        Rc::make_mut(&mut self.rest).missing.extend(unwritten);
                    }
                    self.process(index).put = Some(Write {
                        version,
                        start,
                        commits,
                        after,
                    });
                }
                Effect::Get => self.process(index).reading = true,
                Effect::Leave => self.end_process(index),
                Effect::Broken(_) => return Err(Invariant::NeverRefused),
            }
        }
        Ok(())
    }

    /// The outputs that commits name and the desk's do not.
    fn unstored(&self, seat: usize, commits: &[braid_engine::protocol::Commit<Tiny>]) -> Vec<Output> {
        let stored = |output: &Output| {
            let commits = &self.seats[seat].desk.commits;
            commits.iter().any(|commit| commit.content.0.contains(output))
        };
        let named = commits.iter().flat_map(|commit| commit.content.outputs());
        named.filter(|output| !stored(output)).collect()
    }

    fn settle(&mut self, config: &Config, index: usize, shard: ShardId, partition: u64, ok: bool) -> Checked {
        let desk = self.seats[self.processes[index].seat].uid;
        let process = self.process(index);
        let position = process.running.iter();
        let position = position
            .clone()
            .position(|(id, _, other)| (*id, *other) == (shard, partition))
            .expect("it runs");
        let (_, generation, _) = process.running.remove(position);
        let settlement = Settlement {
            partition: partition as u32,
            desk,
            shard: crate::tiny::number(shard),
            start: process.start,
            generation,
            ok,
        };
        let end = End::Settled(Provenance(vec![settlement]));
        self.tell(config, index, Event::Ended(shard, partition, end))
    }

    /// A worker's write reaches the server.
    pub fn land(&mut self, config: &Config, seat: usize, write: &Write) -> Checked<Landed> {
        let target = &self.seats[seat];
        let blind = config.mutation == Some(Mutation::BlindCommit);
        let mut desk = target.desk.clone();
        desk.start = Some(write.start);
        desk.commits.clone_from(&write.commits);
        if target.deleted || (target.version != write.version && !blind) {
            return Ok(Landed::Conflict);
        }
        if guards::check(&target.desk, &desk).is_err() && !blind {
            // A machine that knows the rules does not break them.
            return if config.mutation.is_none() {
                Err(Invariant::NeverRefused)
            } else {
                Ok(Landed::Refused)
            };
        }
        self.write_desk(seat, desk)?;
        Ok(Landed::Applied)
    }

    /// A write to a desk that is applied.
    fn write_desk(&mut self, seat: usize, desk: Desk<Tiny>) -> Checked {
        invariants::check_desk(&self.seats[seat].desk, &desk)?;
        let target = self.seat(seat);
        target.version += 1;
        target.desk = desk;
        Ok(())
    }

    /// The operator's write to a desk: no rule of the server is in its way.
    fn write_spec(&mut self, seat: usize, desk: Desk<Tiny>) -> Checked {
        let refusal = guards::check(&self.seats[seat].desk, &desk);
        assert_eq!(refusal, Ok(()), "the server refuses what the operator writes");
        self.write_desk(seat, desk)
    }

    /// Gives a desk a new shard.
    pub fn assign(&mut self, seat: usize, assignment: Assignment) -> Checked {
        let Assignment {
            range,
            round,
            mode,
            adopts,
            budget_millis,
            history,
        } = assignment;
        let generation = self.workflow.generation;
        let target = self.seat(seat);
        let uid = target.uid;
        let mut desk = target.desk.clone();
        let id = desk.next_id;
        target.generations.resize(id.0 as usize, 0);
        // An older round is one that was opened earlier.
        let behind = (self.workflow.record.round.0 - round.0) as u8;
        self.seat(seat).generations.push(generation - behind);
        desk.next_id = id.next();
        desk.shards.push(Shard {
            id,
            start_id: desk.start.expect("somebody sits there"),
            run: self.workflow.record.run,
            round,
            range,
            mode,
            budget_millis,
            seal: false,
            adopts,
            history,
        });
        let rest = Rc::make_mut(&mut self.rest);
        spend(&mut rest.budget.shards);
        if rest.issued.contains(&(uid, id)) {
            return Err(Invariant::NumbersAreNew);
        }
        rest.issued.push((uid, id));
        self.write_spec(seat, desk)
    }

    /// Changes what may be changed of a shard.
    pub fn change_shard(&mut self, seat: usize, id: ShardId, change: impl FnOnce(&mut Shard<Tiny>)) -> Checked {
        let mut desk = self.seats[seat].desk.clone();
        desk.shards.iter_mut().find(|shard| shard.id == id).map(change);
        self.write_spec(seat, desk)
    }

    /// Takes a shard off its desk.
    pub fn drop_shard(&mut self, config: &Config, seat: usize, id: ShardId) -> Checked {
        let target = Rc::clone(&self.seats[seat]);
        let shard = target.desk.shard(id).expect("it is on the desk");
        invariants::check_drop(config, self, &target, shard)?;
        self.archive(config, &target, shard);
        let mut desk = target.desk.clone();
        desk.shards.retain(|shard| shard.id != id);
        let folded = &mut Rc::make_mut(&mut self.workflow).folded;
        folded.retain(|(uid, commit)| (*uid, commit.id) != (target.uid, id));
        self.write_spec(seat, desk)
    }

    fn delete(&mut self, config: &Config, seat: usize) -> Checked {
        let target = Rc::clone(&self.seats[seat]);
        for shard in &target.desk.shards {
            invariants::check_drop(config, self, &target, shard)?;
            self.archive(config, &target, shard);
        }
        let folded = &mut Rc::make_mut(&mut self.workflow).folded;
        folded.retain(|(uid, _)| *uid != target.uid);
        let target = self.seat(seat);
        target.deleted = true;
        target.version += 1;
        target.desk.shards.clear();
        target.desk.commits.clear();
        Ok(())
    }

    /// Remembers a shard that leaves, if an operator with an old copy might still fold it.
    fn archive(&mut self, config: &Config, seat: &Seat, shard: &Shard<Tiny>) {
        let Some(commit) = seat.desk.commit(shard.id).filter(|_| config.split_brain) else {
            return;
        };
        let folds = fold::judge(&self.workflow.record, shard, Some(commit)) == Verdict::Fold;
        if folds || config.mutation == Some(Mutation::RetryWithoutRound) {
            let rest = Rc::make_mut(&mut self.rest);
            rest.archive.push((seat.uid, shard.clone(), commit.clone()));
        }
    }

    /// Forgets archived shards that can never be folded.
    fn prune_archive(&mut self, config: &Config) {
        if self.rest.archive.is_empty() || config.mutation == Some(Mutation::RetryWithoutRound) {
            return;
        }
        let record = &self.workflow.record;
        let rest = Rc::make_mut(&mut self.rest);
        rest.archive
            .retain(|(_, shard, commit)| fold::judge(record, shard, Some(commit)) == Verdict::Fold);
    }

    /// The operator folds desks as it saw them.
    /// Whether a shard was held in part.
    pub fn fold(&mut self, config: &Config, desks: &[(Uid, Desk<Tiny>)]) -> Checked<bool> {
        let stored = desks;
        let mut desks = desks.to_vec();
        let before = &self.workflow.record;
        if config.mutation == Some(Mutation::FoldUnsealed) {
            let commits = desks.iter_mut().flat_map(|(_, desk)| &mut desk.commits);
            commits.for_each(|commit| commit.sealed = true);
        }
        let mut record = before.clone();
        let mut verdicts = Vec::new();
        let seen = |desks: &[(Uid, Desk<Tiny>)], record: &mut Record<Tiny>| {
            let verdicts = fold::fold(record, desks.iter().map(|(uid, desk)| (*uid, desk)));
            verdicts.unwrap_or_else(|never| match never {})
        };
        match config.mutation {
            Some(Mutation::FoldPartlyNew) => {
                for (_, desk) in &mut desks {
                    let judge = |shard: &Shard<Tiny>| fold::judge(before, shard, desk.commit(shard.id));
                    let wanted: Vec<_> = desk.shards.iter().map(judge).collect();
                    let mut wanted = wanted.iter();
                    desk.shards
                        .retain(|_| matches!(wanted.next(), Some(Verdict::Fold | Verdict::HeldInPart)));
                }
                record.ledger = braid_crds::Intervals::new();
                verdicts = seen(&desks, &mut record);
                record.ledger = record.ledger.union(&before.ledger);
            }
            Some(Mutation::FoldedAtOnce) => {
                for (uid, desk) in &desks {
                    for shard in &desk.shards {
                        let mut alone = before.clone();
                        alone.content = Provenance::default();
                        verdicts.extend(seen(&[(*uid, only(desk, shard.id))], &mut alone));
                        record.ledger = record.ledger.union(&alone.ledger);
                        alone.deferred.retain(|deferred| !record.deferred.contains(deferred));
                        record.deferred.append(&mut alone.deferred);
                        record
                            .content
                            .merge(&alone.content)
                            .unwrap_or_else(|never| match never {});
                    }
                }
            }
            _ => verdicts = seen(&desks, &mut record),
        }
        if config.mutation.is_some() {
            let ledger = record.ledger.clone();
            record.deferred.retain(|deferred| !ledger.contains(deferred.partition));
        }
        let held_in_part = verdicts.iter().any(|(_, _, verdict)| *verdict == Verdict::HeldInPart);
        if held_in_part && !config.split_brain {
            return Err(Invariant::NeverHeldInPart);
        }
        let borrowed = || desks.iter().map(|(uid, desk)| (*uid, desk));
        let entries = publish::counted(&verdicts, borrowed());
        let workflow = Rc::make_mut(&mut self.workflow);
        for (uid, id, _) in verdicts.iter().filter(|(_, _, verdict)| *verdict == Verdict::Fold) {
            let present = self.seats.iter().find(|seat| seat.uid == *uid && !seat.deleted);
            if present.is_none_or(|seat| seat.desk.shard(*id).is_none()) {
                continue;
            }
            let desk = stored.iter().find(|(other, _)| other == uid).map(|(_, desk)| desk);
            workflow.folded.extend(
                desk.and_then(|desk| desk.commit(*id))
                    .map(|commit| (*uid, commit.clone())),
            );
        }
        if config.outputs {
            workflow.entries.extend(entries);
        }
        if config.mutation == Some(Mutation::TwoWrites) {
            let ledger = std::mem::replace(&mut record.ledger, workflow.record.ledger.clone());
            workflow.halfway = Some(ledger);
        }
        workflow.record = record;
        self.prune_archive(config);
        Ok(held_in_part)
    }

    fn check_closed(&self, before: &Self) -> Checked {
        let (old, new) = (&before.workflow.record, &self.workflow.record);
        let same = old.content == new.content && old.ledger == new.ledger && old.deferred == new.deferred;
        if old.closed && new.closed && !same {
            return Err(Invariant::ClosedNeverChanges);
        }
        Ok(())
    }

    /// Whether a shard may leave its desk, by the current record or by that of an older round.
    pub fn may_drop(&self, config: &Config, seat: &Seat, shard: &Shard<Tiny>, older: Option<usize>) -> bool {
        let record = older.map_or(&self.workflow.record, |index| &self.workflow.older[index]);
        let commit = seat.desk.commit(shard.id);
        if config.mutation == Some(Mutation::DroppedByOldRound) && record.round < shard.round {
            let mut shard = shard.clone();
            shard.round = record.round;
            return fold::judge(record, &shard, commit).drops();
        }
        fold::judge(record, shard, commit).drops()
    }

    /// Whether a desk may be deleted, by the current record or by that of an older round.
    pub fn may_delete(&self, config: &Config, seat: &Seat, older: Option<usize>) -> bool {
        let record = older.map_or(&self.workflow.record, |index| &self.workflow.older[index]);
        let allowed = retire::may_delete(&seat.desk, |run| {
            if *run == record.run {
                Known::Record(record)
            } else {
                Known::Unknown
            }
        });
        allowed || config.mutation == Some(Mutation::DeletedWithPod)
    }
}

fn spend(left: &mut u8) {
    *left = left.saturating_sub(1);
}

/// A desk as if it had only one shard.
fn only(desk: &Desk<Tiny>, id: ShardId) -> Desk<Tiny> {
    let mut desk = desk.clone();
    desk.shards.retain(|shard| shard.id == id);
    desk
}
