//! Which actions are possible in a state.

use braid_crds::{PartitionRange, Round, worker::Mode};
use braid_engine::protocol::{
    Shard,
    fold::{self, Verdict},
    handout, publish,
};

use crate::{
    actor::{Actor, Event},
    mutation::Mutation,
    state::{Action, Config, Seat, State},
    tiny::Tiny,
};

impl<A: Actor> State<A> {
    /// Every action that is possible.
    #[must_use]
    pub fn enabled(&self, config: &Config) -> Vec<Action> {
        let mut actions = Vec::new();
        self.of_processes(&mut actions);
        self.of_pods(&mut actions);
        self.of_desks(config, &mut actions);
        self.of_the_workflow(config, &mut actions);
        self.of_publishing(config, &mut actions);
        actions
    }

    fn of_processes(&self, actions: &mut Vec<Action>) {
        let budget = &self.rest.budget;
        for (p, process) in self.processes.iter().enumerate() {
            let Some(actor) = &process.actor else { continue };
            let seat = &self.seats[process.seat];
            if process.put.is_some() {
                actions.push(Action::Write(p));
                if budget.lost > 0 {
                    actions.push(Action::WriteUnanswered(p));
                }
                if budget.late > 0 {
                    actions.push(Action::WriteGivenUp(p));
                }
            }
            if process.reading {
                actions.push(Action::Read(p));
            }
            if self.unseen(p) {
                actions.push(Action::Watch(p));
            }
            for (shard, _, partition) in &process.running {
                actions.push(Action::Succeed(p, *shard, *partition));
                if budget.failures > 0 {
                    actions.push(Action::Fail(p, *shard, *partition));
                }
                if budget.deferrals > 0 {
                    actions.push(Action::Defer(p, *shard, *partition));
                }
            }
            if budget.cuts > 0 && actor.heeds(&Event::BudgetOver) {
                actions.push(Action::BudgetOver(p));
            }
            if budget.fulls > 0 && actor.heeds(&Event::Full) {
                actions.push(Action::Full(p));
            }
            if budget.shims > 0 && !process.running.is_empty() {
                actions.push(Action::LoseShim(p));
            }
            if budget.deaths > 0 && !seat.pod_gone {
                actions.push(Action::Die(p));
            }
        }
        let late = 0..self.rest.late.len();
        actions.extend(late.map(Action::LateWrite));
    }

    /// Whether a process has not seen its desk as it is.
    #[must_use]
    pub fn unseen(&self, process: usize) -> bool {
        let process = &self.processes[process];
        let seat = &self.seats[process.seat];
        let seen = process
            .actor
            .as_ref()
            .map(|actor| actor.version() == Some(seat.version));
        !seat.deleted && seen == Some(false)
    }

    fn of_pods(&self, actions: &mut Vec<Action>) {
        let budget = &self.rest.budget;
        for (index, seat) in self.seats.iter().enumerate() {
            if !seat.pod_gone {
                if self.is_vacant(index) {
                    actions.push(Action::Restart(index));
                }
                if budget.pods > 0 {
                    actions.push(Action::LosePod(index));
                }
                if budget.zombies > 0 && !self.is_vacant(index) {
                    actions.push(Action::LosePodNotProcess(index));
                }
            }
        }
        // A pod's name is free once its predecessor's desk is deleted; another name is free at any time.
        if budget.replacements > 0 && self.seats.iter().any(|seat| seat.pod_gone) {
            actions.push(Action::Replace);
        }
    }

    /// Whether no process is at a desk whose pod is there.
    #[must_use]
    pub fn is_vacant(&self, seat: usize) -> bool {
        let mut there = self.processes.iter();
        !there.any(|process| process.seat == seat && process.actor.is_some())
    }

    fn of_desks(&self, config: &Config, actions: &mut Vec<Action>) {
        let budget = &self.rest.budget;
        let older = || {
            0..if config.split_brain {
                self.workflow.older.len()
            } else {
                0
            }
        };
        for (index, seat) in self.seats.iter().enumerate().filter(|(_, seat)| !seat.deleted) {
            if budget.shards > 0 && seat.desk.start.is_some() && !seat.pod_gone {
                self.assignments(config, index, seat, actions);
            }
            for shard in &seat.desk.shards {
                let lost = seat.pod_gone || seat.desk.start != Some(shard.start_id);
                if !seat.desk.is_sealed(shard) {
                    if budget.seals > 0 || lost {
                        actions.push(Action::Seal(index, shard.id));
                    }
                    if budget.cuts > 0 && shard.budget_millis > 0 {
                        actions.push(Action::Cut(index, shard.id));
                    }
                }
                if self.may_drop(config, seat, shard, None) {
                    actions.push(Action::Drop(index, shard.id, None));
                }
                for old in older().filter(|old| self.may_drop(config, seat, shard, Some(*old))) {
                    actions.push(Action::Drop(index, shard.id, Some(old)));
                }
                if self.counts(config, seat, shard) {
                    actions.push(Action::Fold(index, shard.id));
                }
            }
            if seat.pod_gone {
                if self.may_delete(config, seat, None) {
                    actions.push(Action::Delete(index, None));
                } else {
                    let old = older().find(|old| self.may_delete(config, seat, Some(*old)));
                    actions.extend(old.map(|old| Action::Delete(index, Some(old))));
                }
            }
        }
    }

    /// Whether a fold would count a shard.
    #[must_use]
    pub fn counts(&self, config: &Config, seat: &Seat, shard: &Shard<Tiny>) -> bool {
        let mut commit = seat.desk.commit(shard.id).cloned();
        if let Some(commit) = &mut commit {
            commit.sealed |= config.mutation == Some(Mutation::FoldUnsealed);
        }
        let verdict = fold::judge(&self.workflow.record, shard, commit.as_ref());
        verdict == Verdict::Fold
            || (verdict == Verdict::HeldInPart && config.mutation == Some(Mutation::FoldPartlyNew))
            || (verdict == Verdict::HeldInPart && !config.split_brain)
    }

    /// What may be handed out: with one operator what is free; else, whatever somebody with any copy might think is free.
    fn assignments(&self, config: &Config, index: usize, seat: &Seat, actions: &mut Vec<Action>) {
        let record = &self.workflow.record;
        let total = u64::from(config.partitions);
        let stopped = record.closed || self.workflow.cancel;
        let assign = |range: PartitionRange, round: Round, mode: Mode, adopts| Action::Assign {
            seat: index,
            range,
            round,
            mode,
            adopts,
        };
        let desk = &seat.desk;
        let free = handout::unassigned(record, total, self.desks().map(|(_, desk)| desk));
        // Who was cut goes on with what it runs.
        for shard in desk.shards.iter().filter(|shard| desk.is_sealed(shard)) {
            let cursor = desk.cursor(shard).0;
            let adopted = desk.shards.iter().any(|other| other.adopts == Some(shard.id));
            let same = Some(shard.start_id) == desk.start && shard.round == record.round && !adopted && !stopped;
            if same && cursor < shard.range.end() && (free.contains(cursor) || config.split_brain) {
                let range = PartitionRange::new(cursor, cursor + 1);
                actions.push(assign(range, record.round, config.mode, Some(shard.id)));
            }
        }
        if config.split_brain {
            for start in 0..total {
                for end in start + 1..=total {
                    for round in 0..=record.round.0 {
                        actions.push(assign(PartitionRange::new(start, end), Round(round), config.mode, None));
                    }
                }
            }
            return;
        }
        if stopped {
            return;
        }
        for gap in free.ranges() {
            for end in gap.start() + 1..=gap.end() {
                let range = PartitionRange::new(gap.start(), end);
                actions.push(assign(range, record.round, config.mode, None));
            }
        }
        let live = handout::live(record, self.desks().map(|(_, desk)| desk));
        for deferred in record
            .deferred
            .iter()
            .filter(|deferred| !live.contains(deferred.partition))
        {
            let range = PartitionRange::new(deferred.partition, deferred.partition + 1);
            actions.push(assign(range, record.round, config.mode, None));
        }
        if config.twins && desk.shards.iter().all(|shard| desk.is_sealed(shard)) {
            let others = self
                .desks()
                .flat_map(|(_, desk)| desk.shards.iter().map(move |shard| (desk, shard)));
            for (_, shard) in others.filter(|(desk, shard)| shard.range.len() == 1 && !desk.is_sealed(shard)) {
                let alone = self.desks().flat_map(|(_, desk)| &desk.shards);
                if alone.filter(|other| other.range == shard.range).count() == 1 && shard.round == record.round {
                    actions.push(assign(shard.range, record.round, Mode::Twin, None));
                }
            }
        }
    }

    fn of_the_workflow(&self, config: &Config, actions: &mut Vec<Action>) {
        let budget = &self.rest.budget;
        let workflow = &self.workflow;
        if workflow.halfway.is_some() {
            actions.push(Action::WriteLedger);
        }
        let shards = self.seats.iter().filter(|seat| !seat.deleted);
        let shards = shards.flat_map(|seat| seat.desk.shards.iter().map(move |shard| (seat, shard)));
        if shards.filter(|(seat, shard)| self.counts(config, seat, shard)).count() > 1 {
            actions.push(Action::FoldAll);
        }
        for (index, (_, shard, commit)) in self.rest.archive.iter().enumerate() {
            if fold::judge(&workflow.record, shard, Some(commit)) == Verdict::Fold {
                actions.push(Action::FoldArchived(index));
            }
        }
        if !workflow.record.closed {
            if self.closed(config, true).is_some() {
                actions.push(Action::Close);
            } else if config.split_brain && self.closed(config, false).is_some() {
                actions.push(Action::CloseUnseen);
            }
            if budget.cancels > 0 && !workflow.cancel {
                actions.push(Action::Cancel);
            }
        }
        let failed = workflow.record.content.0.iter().any(|settlement| !settlement.ok);
        if budget.retries > 0 && failed {
            if self.reopened(config, true).is_some() {
                actions.push(Action::Retry);
            } else if config.split_brain && self.reopened(config, false).is_some() {
                actions.push(Action::RetryUnseen);
            }
        }
    }

    fn of_publishing(&self, config: &Config, actions: &mut Vec<Action>) {
        if !config.outputs {
            return;
        }
        let unnamed = publish::unnamed(&self.rest.chain, &self.workflow.entries).len();
        let early = config.mutation == Some(Mutation::EntriesLeaveEarly);
        if unnamed < self.workflow.entries.len() || (early && unnamed > 0) {
            actions.push(Action::Unlist);
        }
        let alive = self.processes.iter().enumerate();
        for (p, process) in alive
            .filter(|(_, process)| process.actor.is_some())
            .take(config.publishers)
        {
            if process.publishing.is_some() {
                actions.push(Action::PutManifest(p));
            } else if unnamed > 0 {
                actions.push(Action::PrepareManifest(p));
            }
        }
    }
}
