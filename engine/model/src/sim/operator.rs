//! Operators in time: what they have seen, what they make of it, what they write.

use std::{collections::BTreeMap, rc::Rc};

use braid_crds::{PartitionRange, ShardId, worker::Mode};
use braid_engine::{
    assign::{self, Fitness, Order, Situation, Watched},
    protocol::{Desk, close, fold, fold::Verdict, publish},
};

use super::{
    Event, LEASE_MILLIS, Sim,
    faults::{Arrow, Fault},
};
use crate::{
    apply::Assignment,
    invariants::Invariant,
    mutation::Mutation,
    state::{Action, Seat, State, Workflow},
    tiny::{Tiny, Uid},
};

/// A change to one desk.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum Change {
    Drop(ShardId),
    Assign(Assignment),
    Cut(ShardId),
    Seal(ShardId),
}

/// A write of an operator, with the version that it was made for.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum Write {
    /// To the workflow's status: what was seen on these desks is folded.
    Fold(u64, Vec<(Uid, Desk<Tiny>)>),
    /// To the workflow's status.
    Workflow(u64, Action),
    /// To a desk.
    Desk(usize, u64, Vec<Change>),
    /// A desk for a pod.
    Create,
    /// A desk is deleted.
    Delete(usize, u64),
}

impl Write {
    fn arrow(&self) -> Arrow {
        match self {
            Self::Fold(..) | Self::Workflow(..) => Arrow::OperatorStatus,
            Self::Desk(..) => Arrow::OperatorDesk,
            Self::Create => Arrow::CreateDesk,
            Self::Delete(..) => Arrow::DeleteDesk,
        }
    }
}

/// One operator.
#[derive(Clone, Debug)]
pub(super) struct Operator {
    index: usize,
    /// Whether it acts. Two may.
    pub(super) leads: bool,
    /// Counts its lives: what was under way for an earlier one is for nobody.
    life: u32,
    paused_until: u64,
    busy: bool,
    thinking: bool,
    workflow: Option<(u64, Rc<Workflow>)>,
    desks: Vec<Option<Rc<Seat>>>,
    /// Since when each desk's first open shard is that, and since when it is cut.
    watched: BTreeMap<usize, (ShardId, u64)>,
    cut_at: BTreeMap<(usize, ShardId), u64>,
    /// Until when it leads after it should have stopped.
    deposed_at: Option<u64>,
}

impl Operator {
    pub(super) fn new(index: usize) -> Self {
        Self {
            index,
            leads: false,
            life: 0,
            paused_until: 0,
            busy: false,
            thinking: false,
            workflow: None,
            desks: Vec::new(),
            watched: BTreeMap::new(),
            cut_at: BTreeMap::new(),
            deposed_at: None,
        }
    }
}

impl Sim {
    /// An operator starts to lead: first it lists everything.
    pub(super) fn lead(&mut self, operator: usize) {
        let workflow = (self.workflow_version, Rc::clone(&self.state.workflow));
        let desks = self.state.seats.iter().map(|seat| Some(Rc::clone(seat))).collect();
        let life = self.operators[operator].life + 1;
        self.operators[operator] = Operator {
            leads: true,
            life,
            thinking: true,
            workflow: Some(workflow),
            desks,
            ..Operator::new(self.operators[operator].index)
        };
        self.soon(Event::Think(operator, life));
    }

    fn crash(&mut self, operator: usize) {
        let life = self.operators[operator].life + 1;
        self.operators[operator] = Operator {
            life,
            ..Operator::new(operator)
        };
        let millis = self.rng.between(500, 4_000);
        self.after(millis, Event::Elect);
    }

    /// An operator stands still. If that takes long, the other one leads, and for a while both do.
    fn pause_operator(&mut self, operator: usize) -> u64 {
        let millis = self.rng.between(300, 9_000);
        self.operators[operator].paused_until = self.now + millis;
        let other = 1 - operator;
        if millis > 2_000 && !self.operators[other].leads {
            self.lead(other);
            let both = self.rng.between(500, 5_000);
            self.operators[operator].deposed_at = Some(self.now + millis + both);
        }
        millis
    }

    fn is(&self, operator: usize, life: u32) -> bool {
        let operator = &self.operators[operator];
        operator.leads && operator.life == life
    }

    fn both_lead(&self) -> bool {
        self.operators.iter().all(|operator| operator.leads)
    }

    pub(super) fn tell_operator_of(&mut self, operator: usize, seat: usize, later: u64) {
        let life = self.operators[operator].life;
        if self.operators[operator].leads {
            let millis = later + self.rng.between(1, self.lag);
            self.after(millis, Event::SeeDesk(operator, life, seat));
        }
    }

    fn tell_operators_of_workflow(&mut self) {
        for operator in 0..2 {
            let life = self.operators[operator].life;
            if self.operators[operator].leads {
                let millis = self.rng.between(1, self.lag);
                self.after(millis, Event::SeeWorkflow(operator, life));
            }
        }
    }

    /// Whether news reach an operator now; if not, what becomes of them is settled.
    fn sees(&mut self, operator: usize, event: Event) -> bool {
        let until = self.operators[operator].paused_until;
        if until > self.now {
            // Who wakes up may act before it has heard what happened.
            let millis = self.rng.between(0, 1_500);
            self.after(until - self.now + millis, event);
            return false;
        }
        if self.both_lead() {
            self.hit(Arrow::WatchOperator, Fault::SplitBrain);
        }
        match self.fault(Arrow::WatchOperator, self.per_mille / 4) {
            Some(Fault::CrashBefore) => self.crash(operator),
            Some(Fault::AnswerLost) => self.after(15_000, event),
            Some(Fault::Stale) => {
                let millis = self.rng.between(500, 6_000);
                self.after(millis, event);
            }
            Some(Fault::Pause) => {
                let millis = self.pause_operator(operator);
                self.after(millis, event);
            }
            _ => return true,
        }
        false
    }

    pub(super) fn see_desk(&mut self, operator: usize, life: u32, seat: usize) {
        if !self.is(operator, life) || !self.sees(operator, Event::SeeDesk(operator, life, seat)) {
            return;
        }
        let desks = &mut self.operators[operator].desks;
        desks.resize(self.state.seats.len(), None);
        desks[seat] = Some(Rc::clone(&self.state.seats[seat]));
        self.think_soon(operator);
    }

    pub(super) fn see_workflow(&mut self, operator: usize, life: u32) {
        if !self.is(operator, life) || !self.sees(operator, Event::SeeWorkflow(operator, life)) {
            return;
        }
        self.operators[operator].workflow = Some((self.workflow_version, Rc::clone(&self.state.workflow)));
        self.think_soon(operator);
    }

    fn think_soon(&mut self, operator: usize) {
        let life = self.operators[operator].life;
        if !self.operators[operator].thinking {
            self.operators[operator].thinking = true;
            let millis = self.rng.between(5, 60);
            self.after(millis, Event::Think(operator, life));
        }
    }

    pub(super) fn think(&mut self, operator: usize, life: u32) {
        if !self.is(operator, life) {
            return;
        }
        let it = &mut self.operators[operator];
        if it.paused_until > self.now {
            let millis = it.paused_until - self.now;
            self.after(millis, Event::Think(operator, life));
            return;
        }
        it.thinking = false;
        if it.deposed_at.is_some_and(|at| at < self.now) {
            it.leads = false;
            self.after(500, Event::Elect);
            return;
        }
        if it.busy {
            return;
        }
        if let Some(write) = self.next_write(operator) {
            self.operators[operator].busy = true;
            self.soon(Event::Arrive(operator, Some(life), Box::new(write)));
        } else {
            self.operators[operator].thinking = true;
            self.after(200, Event::Think(operator, life));
        }
    }

    /// The first thing that the copies of an operator say is to be written.
    fn next_write(&mut self, operator: usize) -> Option<Write> {
        if self.pods_waiting > 0 {
            return Some(Write::Create);
        }
        let it = &self.operators[operator];
        let (version, workflow) = it.workflow.clone()?;
        let copies: Vec<(usize, Rc<Seat>)> = it
            .desks
            .iter()
            .enumerate()
            .filter_map(|(index, seat)| Some((index, Rc::clone(seat.as_ref()?))))
            .filter(|(_, seat)| !seat.deleted)
            .collect();
        if workflow.halfway.is_some() {
            return Some(Write::Workflow(version, Action::WriteLedger));
        }
        if self.config.mutation == Some(Mutation::DeletedWithPod)
            && let Some(deletion) = self.deletion(&workflow, &copies)
        {
            return Some(deletion);
        }
        let desks: Vec<_> = copies.iter().map(|(_, seat)| (seat.uid, seat.desk.clone())).collect();
        if self.folds(&workflow, &desks) {
            return Some(Write::Fold(version, desks));
        }
        self.watch_shards(operator, &copies);
        self.desk_write(operator, &workflow, &copies)
            .or_else(|| self.deletion(&workflow, &copies))
            .or_else(|| self.workflow_write(version, &workflow, &copies))
    }

    /// Whether a fold of these copies would change the record.
    fn folds(&mut self, workflow: &Rc<Workflow>, desks: &[(Uid, Desk<Tiny>)]) -> bool {
        if let Some(Mutation::FoldUnsealed | Mutation::FoldPartlyNew) = self.config.mutation {
            let mut trial = State {
                workflow: Rc::clone(workflow),
                ..self.state.clone()
            };
            let folded = trial.fold(&self.config, desks);
            return folded.is_ok() && trial.workflow.record != workflow.record;
        }
        let mut folds = false;
        for (_, desk) in desks {
            for shard in &desk.shards {
                let verdict = fold::judge(&workflow.record, shard, desk.commit(shard.id));
                folds |= verdict == Verdict::Fold;
            }
        }
        folds
    }

    fn watch_shards(&mut self, operator: usize, copies: &[(usize, Rc<Seat>)]) {
        let now = self.now;
        let it = &mut self.operators[operator];
        for (index, seat) in copies {
            let open = seat.desk.shards.iter().find(|shard| !seat.desk.is_sealed(shard));
            match open {
                Some(shard) if it.watched.get(index).is_none_or(|(id, _)| *id != shard.id) => {
                    it.watched.insert(*index, (shard.id, now));
                }
                Some(shard) if shard.budget_millis == 0 => {
                    it.cut_at.entry((*index, shard.id)).or_insert(now);
                }
                Some(_) => {}
                None => {
                    it.watched.remove(index);
                }
            }
        }
    }

    fn fitness(&self, index: usize, seat: &Seat) -> Fitness {
        let silent = self.now.saturating_sub(self.leases[index]) > LEASE_MILLIS;
        if seat.pod_gone || silent {
            Fitness::Lost
        } else {
            Fitness::Working
        }
    }

    /// What the policy says and what is to be dropped, of the first desk that there is something for.
    fn desk_write(&mut self, operator: usize, workflow: &Workflow, copies: &[(usize, Rc<Seat>)]) -> Option<Write> {
        let record = &workflow.record;
        let it = &self.operators[operator];
        let seats: Vec<assign::Seat<'_, Tiny, usize>> = copies
            .iter()
            .map(|(index, seat)| {
                let first = it.watched.get(index);
                let cut = first.and_then(|(id, _)| it.cut_at.get(&(*index, *id)));
                assign::Seat {
                    key: *index,
                    desk: &seat.desk,
                    stored: &seat.desk,
                    fitness: self.fitness(*index, seat),
                    watched: Watched {
                        running_millis: first.map_or(0, |(_, since)| self.now - since),
                        cut_millis: cut.map(|since| self.now - since),
                    },
                }
            })
            .collect();
        let suspects: Vec<PartitionRange> = self.suspects.iter().copied().collect();
        let situation = Situation {
            now_millis: i64::try_from(self.now).unwrap_or(i64::MAX),
            total: u64::from(self.config.partitions),
            concurrency: self.config.concurrency,
            suspects: &suspects,
            mean_micros: Some(self.mean_millis * 1_000),
            cuts: 2,
            places: None,
            stop: None,
        };
        let orders = if record.closed {
            Vec::new()
        } else {
            assign::orders(record, &situation, &seats)
        };
        for (index, seat) in copies {
            let mut changes: Vec<Change> = Vec::new();
            for order in &orders {
                changes.extend(match order {
                    Order::Assign {
                        seat,
                        range,
                        mode,
                        budget_millis,
                        adopts,
                        history,
                    } if seat == index => Some(Change::Assign(Assignment {
                        range: *range,
                        round: record.round,
                        mode: *mode,
                        adopts: *adopts,
                        budget_millis: *budget_millis,
                        history: *history,
                    })),
                    Order::Cut { seat, shard } if seat == index => Some(Change::Cut(*shard)),
                    Order::Seal { seat, shard } if seat == index => Some(Change::Seal(*shard)),
                    _ => None,
                });
            }
            for shard in &seat.desk.shards {
                if self.may_drop(workflow, seat, shard) {
                    changes.push(Change::Drop(shard.id));
                } else if (record.closed || shard.round < record.round) && !seat.desk.is_sealed(shard) {
                    changes.push(Change::Seal(shard.id));
                }
            }
            if !changes.is_empty() {
                return Some(Write::Desk(*index, seat.version, changes));
            }
        }
        None
    }

    /// As [`State::may_drop`], by an operator's own copy.
    fn may_drop(&self, workflow: &Workflow, seat: &Seat, shard: &braid_engine::protocol::Shard<Tiny>) -> bool {
        let commit = seat.desk.commit(shard.id);
        let record = &workflow.record;
        if self.config.mutation == Some(Mutation::DroppedByOldRound) && record.round < shard.round {
            let mut shard = shard.clone();
            shard.round = record.round;
            return fold::judge(record, &shard, commit).drops();
        }
        fold::judge(record, shard, commit).drops()
    }

    fn deletion(&self, workflow: &Rc<Workflow>, copies: &[(usize, Rc<Seat>)]) -> Option<Write> {
        let copy = State {
            workflow: Rc::clone(workflow),
            ..self.state.clone()
        };
        let mut gone = copies.iter().filter(|(_, seat)| seat.pod_gone);
        gone.find(|(_, seat)| copy.may_delete(&self.config, seat, None))
            .map(|(index, seat)| Write::Delete(*index, seat.version))
    }

    fn workflow_write(&self, version: u64, workflow: &Workflow, copies: &[(usize, Rc<Seat>)]) -> Option<Write> {
        let named = publish::unnamed(&self.state.rest.chain, &workflow.entries).len() < workflow.entries.len();
        let early = self.config.mutation == Some(Mutation::EntriesLeaveEarly);
        if named || (early && !workflow.entries.is_empty()) {
            return Some(Write::Workflow(version, Action::Unlist));
        }
        let desks = || copies.iter().map(|(_, seat)| &seat.desk);
        let mut record = workflow.record.clone();
        if record.closed {
            let failed = close::reopen(&mut record, desks()).is_ok_and(|failed| !failed.is_empty());
            let wanted = failed && self.retries > 0;
            return wanted.then_some(Write::Workflow(version, Action::RetryUnseen));
        }
        let unpublished = if self.config.mutation == Some(Mutation::ClosedBeforePublished) {
            0
        } else {
            workflow.entries.len()
        };
        let total = u64::from(self.config.partitions);
        close::close(&mut record, total, false, unpublished, desks()).ok()?;
        Some(Write::Workflow(version, Action::CloseUnseen))
    }

    /// A write reaches the server.
    pub(super) fn arrive(&mut self, operator: usize, life: Option<u32>, write: Write) -> Result<(), Invariant> {
        let Some(life) = life else {
            self.carry_out(&write)?;
            return Ok(());
        };
        if !self.is(operator, life) {
            return Ok(());
        }
        let arrow = write.arrow();
        if self.both_lead() {
            self.split_brain = true;
            self.hit(arrow, Fault::SplitBrain);
        }
        let rare = matches!(arrow, Arrow::CreateDesk | Arrow::DeleteDesk);
        let often = if rare { 10 } else { 1 };
        let fault = self.fault(arrow, self.per_mille * often);
        match fault {
            Some(Fault::CrashBefore) => {
                self.crash(operator);
                return Ok(());
            }
            Some(Fault::Pause) => {
                let millis = self.pause_operator(operator);
                self.after(millis, Event::Arrive(operator, Some(life), Box::new(write)));
                return Ok(());
            }
            Some(Fault::Late) => {
                let millis = self.rng.between(100, 6_000);
                self.after(millis, Event::Arrive(operator, None, Box::new(write)));
                self.retry_later(operator, life);
                return Ok(());
            }
            _ => {}
        }
        let applied = self.carry_out(&write)?;
        match fault {
            Some(Fault::CrashAfter) => self.crash(operator),
            Some(Fault::AnswerLost) => self.retry_later(operator, life),
            _ if applied => {
                self.learn(operator, &write);
                self.operators[operator].busy = false;
                self.operators[operator].thinking = true;
                self.after(1, Event::Think(operator, life));
            }
            _ => {
                self.conflicts += 1;
                if arrow != Arrow::CreateDesk {
                    self.hit(arrow, Fault::Stale);
                }
                self.retry_later(operator, life);
            }
        }
        Ok(())
    }

    fn retry_later(&mut self, operator: usize, life: u32) {
        let it = &mut self.operators[operator];
        it.busy = false;
        if !it.thinking {
            it.thinking = true;
            self.after(100, Event::Think(operator, life));
        }
    }

    /// An operator takes the answer of its own write for its copy.
    fn learn(&mut self, operator: usize, write: &Write) {
        let it = &mut self.operators[operator];
        match write {
            Write::Fold(..) | Write::Workflow(..) => {
                it.workflow = Some((self.workflow_version, Rc::clone(&self.state.workflow)));
            }
            Write::Desk(seat, ..) | Write::Delete(seat, _) => {
                // What became of the pod is not in the answer.
                let known = it.desks[*seat].as_ref().is_some_and(|seat| seat.pod_gone);
                let mut seen = Rc::clone(&self.state.seats[*seat]);
                if seen.pod_gone != known {
                    Rc::make_mut(&mut seen).pod_gone = known;
                }
                it.desks[*seat] = Some(seen);
            }
            Write::Create => {}
        }
    }

    /// Applies a write if the object has the version that it was made for.
    fn carry_out(&mut self, write: &Write) -> Result<bool, Invariant> {
        match write {
            Write::Fold(version, _) | Write::Workflow(version, _) if *version != self.workflow_version => {
                return Ok(false);
            }
            Write::Desk(seat, version, _) | Write::Delete(seat, version)
                if self.state.seats[*seat].version != *version || self.state.seats[*seat].deleted =>
            {
                return Ok(false);
            }
            _ => {}
        }
        match write {
            Write::Fold(_, desks) => {
                let in_part = self.state.fold(&self.config, desks)?;
                self.held_in_part += u64::from(in_part && !self.split_brain);
                self.workflow_changed()?;
            }
            Write::Workflow(_, action) => {
                self.act(action)?;
                if *action == Action::RetryUnseen {
                    self.retries -= 1;
                    self.closed = None;
                }
                self.workflow_changed()?;
            }
            Write::Desk(seat, _, changes) => {
                for change in changes {
                    self.change(*seat, change)?;
                }
            }
            Write::Create => {
                if self.pods_waiting == 0 {
                    return Ok(false);
                }
                self.pods_waiting -= 1;
                self.act(&Action::Replace)?;
                let process = self.state.processes.len() - 1;
                self.meet(process);
            }
            Write::Delete(seat, _) => self.act(&Action::Delete(*seat, None))?,
        }
        Ok(true)
    }

    fn change(&mut self, seat: usize, change: &Change) -> Result<(), Invariant> {
        match change {
            Change::Drop(id) => self.state.drop_shard(&self.config, seat, *id),
            Change::Assign(assignment) => {
                let mut assignment = *assignment;
                if assignment.mode == Mode::Plan {
                    assignment.mode = Mode::Normal;
                }
                self.state.assign(seat, assignment)
            }
            Change::Cut(id) => self.state.change_shard(seat, *id, |shard| shard.budget_millis = 0),
            Change::Seal(id) => self.state.change_shard(seat, *id, |shard| shard.seal = true),
        }
    }

    /// The workflow has a new version.
    fn workflow_changed(&mut self) -> Result<(), Invariant> {
        self.workflow_version += 1;
        self.tell_operators_of_workflow();
        let record = &self.state.workflow.record;
        if let Some(closed) = &self.closed
            && (closed.content != record.content || closed.ledger != record.ledger)
        {
            return Err(Invariant::ClosedNeverChanges);
        }
        if record.closed {
            self.closed = Some(record.clone());
        }
        crate::invariants::check(&self.config, &self.state)
    }
}
