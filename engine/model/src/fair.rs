//! What happens when nothing bad happens any more: one deterministic continuation of every state.

use braid_crds::{PartitionRange, Round, worker::Mode};
use braid_engine::protocol::{
    fold::{self, Verdict},
    handout, publish,
};

use crate::{
    actor::{Actor, Event},
    state::{Action, Config, State},
};

impl<A: Actor> State<A> {
    /// Whether everything is settled, published and closed, and no desk holds anything.
    #[must_use]
    pub fn complete(&self) -> bool {
        let empty = self.desks().all(|(_, desk)| desk.shards.is_empty());
        self.workflow.record.closed && self.workflow.entries.is_empty() && empty
    }

    /// The next action of a world without faults, or none if nothing is left that could happen.
    #[must_use]
    pub fn fair(&self, config: &Config) -> Option<Action> {
        self.fair_process()
            .or_else(|| self.fair_desk(config))
            .or_else(|| self.fair_workflow(config))
            .or_else(|| self.fair_assignment(config))
            .or_else(|| self.fair_end_of_budget())
    }

    fn fair_process(&self) -> Option<Action> {
        for (p, process) in self.processes.iter().enumerate() {
            if process.actor.is_none() {
                continue;
            }
            if process.put.is_some() {
                return Some(Action::Write(p));
            }
            if process.reading {
                return Some(Action::Read(p));
            }
            if self.unseen(p) {
                return Some(Action::Watch(p));
            }
            if let Some((shard, _, partition)) = process.running.first() {
                return Some(Action::Succeed(p, *shard, *partition));
            }
        }
        (0..self.seats.len())
            .find(|seat| !self.seats[*seat].pod_gone && self.is_vacant(*seat))
            .map(Action::Restart)
    }

    fn fair_desk(&self, config: &Config) -> Option<Action> {
        for (index, seat) in self.seats.iter().enumerate().filter(|(_, seat)| !seat.deleted) {
            for shard in &seat.desk.shards {
                let lost = seat.pod_gone || seat.desk.start != Some(shard.start_id);
                let stopped =
                    self.workflow.record.closed || self.workflow.cancel || shard.round < self.workflow.record.round;
                if !seat.desk.is_sealed(shard) && (lost || stopped) {
                    return Some(Action::Seal(index, shard.id));
                }
                if fold::judge(&self.workflow.record, shard, seat.desk.commit(shard.id)) == Verdict::Fold {
                    return Some(Action::FoldAll);
                }
                if self.may_drop(config, seat, shard, None) {
                    return Some(Action::Drop(index, shard.id, None));
                }
            }
            if seat.pod_gone && self.may_delete(config, seat, None) {
                return Some(Action::Delete(index, None));
            }
        }
        let present = self.seats.iter().any(|seat| !seat.pod_gone && !seat.deleted);
        (!present && !self.workflow.record.closed).then_some(Action::Replace)
    }

    fn fair_workflow(&self, config: &Config) -> Option<Action> {
        let workflow = &self.workflow;
        let unnamed = publish::unnamed(&self.rest.chain, &workflow.entries).len();
        if unnamed < workflow.entries.len() {
            return Some(Action::Unlist);
        }
        let alive = self.processes.iter().position(|process| process.actor.is_some());
        if let Some(p) = alive.filter(|_| unnamed > 0) {
            return Some(if self.processes[p].publishing.is_some() {
                Action::PutManifest(p)
            } else {
                Action::PrepareManifest(p)
            });
        }
        if unnamed > 0 {
            return Some(Action::Replace);
        }
        let open = !workflow.record.closed && self.closed(config, true).is_some();
        open.then_some(Action::Close)
    }

    fn fair_assignment(&self, config: &Config) -> Option<Action> {
        let record = &self.workflow.record;
        if record.closed || self.workflow.cancel {
            return None;
        }
        let desks = || self.desks().map(|(_, desk)| desk);
        let free = handout::unassigned(record, u64::from(config.partitions), desks());
        let live = handout::live(record, desks());
        let mut deferred = record.deferred.iter().map(|deferred| deferred.partition);
        let deferred = deferred.find(|partition| !live.contains(*partition));
        let deferred = deferred.map(|partition| PartitionRange::new(partition, partition + 1));
        let range = free.ranges().next().or(deferred)?;
        let mut seats = self.seats.iter();
        let seat = seats.position(|seat| !seat.pod_gone && !seat.deleted && seat.desk.start.is_some())?;
        let Round(_) = record.round;
        Some(Action::Assign {
            seat,
            range,
            round: record.round,
            mode: Mode::Normal,
            adopts: None,
        })
    }

    /// Time passes when there is nothing else to do.
    fn fair_end_of_budget(&self) -> Option<Action> {
        let mut processes = self.processes.iter();
        processes
            .position(|process| {
                let actor = process.actor.as_ref();
                actor.is_some_and(|actor| actor.heeds(&Event::BudgetOver))
            })
            .map(Action::BudgetOver)
    }
}
