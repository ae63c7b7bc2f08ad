//! What follows for the desks from a status that is known to be written: what leaves them, what is sealed, what comes.
//!
//! One write per desk and pass: it drops what was folded or cannot count, tells the worker what became of it, carries the
//! policy's orders, and the programs that the new shards run. A drop that nothing waits for makes no write of its own: it
//! goes with the next one. Pure.

use std::collections::{BTreeMap, BTreeSet};

use braid_crds::{
    PartitionRange, PlanDigest, ShardId, WorkerSpec, Workflow, WorkflowStatus, limits,
    status::{Phase, Renewal, StepStatus, Suspect},
    worker::{Card, Mode, Outcome, Publication, RunRef, Settled, ShardSpec},
    workflow::{Step, WorkflowSpec},
};
use braid_engine::{
    assign::{self, Fitness, Order, Situation, Stop},
    defaults, items,
    protocol::{
        Record,
        fold::judge,
        wire::{self, Braid, WireError},
    },
    retry,
};
use kube::ResourceExt as _;

use super::{advance::View, desks::DeskView, is_cancelled, places::Places, pools::Home, rests};

mod publish;

/// A desk with so many shards is written even if only to take off what was folded.
const LITTER: usize = 6;
/// As many bytes of folded results, too: they are part of all that the worker writes.
const LITTER_BYTES: usize = 64 * 1024;

/// Whether a step gets no new work, and why.
pub fn stop(workflow: &Workflow, step: &Step, status: &StepStatus) -> Option<Stop> {
    let anew = status.renewal == Some(Renewal::All);
    if status.stopping.is_some() || status.satisfied || anew || is_cancelled(workflow, step) {
        Some(Stop::Cancel)
    } else {
        let waits = status.paused.is_some() || status.renewal.is_some() || rests(workflow, step);
        waits.then_some(Stop::Suspend)
    }
}

/// The partitions of a step that have killed their workers often enough to be set aside.
pub fn condemned<'a>(run: &WorkflowSpec, step: &Step, status: &'a StepStatus) -> impl Iterator<Item = &'a Suspect> {
    let deaths = retry::deaths(defaults::retry(run, step).and_then(|retry| retry.worker_deaths));
    let suspects = status.suspects.iter();
    suspects.filter(move |suspect| suspect.deaths >= deaths && suspect.range().len() == 1)
}

/// Everything that the orders for one run are made from.
#[derive(Debug)]
pub struct Settling<'a> {
    /// The run.
    pub view: View<'a>,
    /// The status as it is stored.
    pub status: &'a WorkflowStatus,
    /// The programs of steps, by step.
    pub cards: &'a BTreeMap<String, Card>,
    /// Which workers each step uses; a step that is not in it may use any.
    pub pools: &'a BTreeMap<String, Home>,
    /// How many partitions of each step may be in flight.
    pub places: &'a Places,
    /// Shards that were counted and have not left their desks.
    pub folded: &'a BTreeSet<(String, ShardId)>,
    /// How many shards may be cut or sealed to feed idle workers.
    pub cuts: usize,
}

/// What the desks' specs become, where they change, and how many cuts that took.
pub fn settle(settling: &Settling<'_>) -> Result<(Vec<(usize, WorkerSpec)>, usize), WireError> {
    let desks = &settling.view.desks.0;
    let mut specs: Vec<WorkerSpec> = desks.iter().map(|view| view.worker.spec.clone()).collect();
    let mut waits = Vec::with_capacity(specs.len());
    for (view, spec) in desks.iter().zip(&mut specs) {
        waits.push(settling.clear(view, spec)?);
    }
    let mut cuts = settling.cuts;
    for step in &settling.view.workflow.spec.steps {
        let Some(status) = settling.status.steps.iter().find(|status| status.name == step.name) else {
            continue;
        };
        match status.phase {
            Phase::Planning => settling.order_plan(step, status, &mut specs),
            // Between two rounds there is nothing to hand out.
            _ if status.closed => {}
            Phase::Running | Phase::Waiting | Phase::Suspended | Phase::Paused => {
                settling.order_publication(step, status, &mut specs);
                // At the end nothing is handed out any more.
                if status.sweep.is_none() {
                    cuts = cuts.saturating_sub(settling.order(step, status, cuts, &mut specs)?);
                }
            }
            _ => {}
        }
    }
    let spent = settling.cuts.saturating_sub(cuts);
    let changed = desks
        .iter()
        .zip(specs)
        .zip(waits)
        .enumerate()
        .filter(|(_, ((view, spec), waits))| view.worker.spec != *spec && !(*waits && only_drops(view, spec)));
    Ok((changed.map(|(index, ((_, spec), _))| (index, spec)).collect(), spent))
}

/// Whether nothing of a desk changes but that shards leave it.
fn only_drops(view: &DeskView, spec: &WorkerSpec) -> bool {
    let known = &view.worker.spec;
    spec.next_shard_id == known.next_shard_id && spec.shards.iter().all(|shard| known.shards.contains(shard))
}

impl Settling<'_> {
    /// Whether a worker has the pods that a step needs.
    fn suits(&self, step: &Step, view: &DeskView) -> bool {
        self.pools.get(&step.name).is_none_or(|home| home.has(&view.worker))
    }

    fn step(&self, run: &RunRef) -> Option<(&Step, &StepStatus)> {
        let step = self
            .view
            .workflow
            .spec
            .steps
            .iter()
            .find(|step| step.name == run.step)?;
        let status = self.status.steps.iter().find(|status| status.name == run.step)?;
        (run.uid == self.view.workflow.uid().unwrap_or_default()).then_some((step, status))
    }

    fn record(&self, step: &Step, status: &StepStatus) -> Result<Record<Braid>, WireError> {
        let workflow = self.view.workflow;
        wire::record(
            &workflow.name_any(),
            &workflow.uid().unwrap_or_default(),
            &step.results,
            status,
        )
    }

    /// The run's namespace, if a worker is in another.
    fn elsewhere(&self, view: &DeskView) -> Option<String> {
        let own = self.view.workflow.namespace();
        own.filter(|_| view.worker.metadata.namespace != self.view.workflow.metadata.namespace)
    }

    /// Takes off a desk what is settled, and seals what can no longer count. True: nothing waits for that to be written.
    fn clear(&self, view: &DeskView, spec: &mut WorkerSpec) -> Result<bool, WireError> {
        // Only on a desk that is written again soon: one that gets no more of this run would keep what was folded.
        let mut waits = view.fitness == Fitness::Working && spec.shards.len() < LITTER;
        let mut bytes = 0;
        let mut kept = Vec::with_capacity(spec.shards.len());
        for mut shard in std::mem::take(&mut spec.shards) {
            let Some((step, status)) = self.step(&shard.run) else {
                // Another run's, on a pool that is shared: that one's business.
                kept.push(shard);
                continue;
            };
            let over = status.closed || shard.run.round < status.round || view.fitness == Fitness::Lost;
            let pointless = over || (shard.mode == Mode::Plan && status.phase != Phase::Planning);
            let full = status.plan.as_ref().is_some_and(|plan| {
                plan.partitions > 0 && status.ledger.covers(PartitionRange::new(0, plan.partitions))
            });
            if !view.is_sealed(&shard) {
                // Its worker has begun anew, and goes on with nothing that it had before.
                let orphaned = view.desk.start.as_ref().is_some_and(|start| *start != shard.start_id);
                shard.seal |= pointless || orphaned || (full && shard.mode != Mode::Publish);
                kept.push(shard);
                continue;
            }
            let drops = if shard.mode == Mode::Plan {
                let useless = view
                    .commit(shard.id)
                    .is_none_or(|commit| commit.plan.is_none() && commit.fatal.is_none());
                pointless || useless
            } else if shard.mode == Mode::Publish {
                pointless || Self::is_published(view, &shard, status)
            } else {
                let record = self.record(step, status)?;
                let (Some(known), commit) = (view.desk.shard(shard.id), view.desk.commit(shard.id)) else {
                    kept.push(shard);
                    continue;
                };
                judge(&record, known, commit).drops()
            };
            if drops {
                waits &=
                    status.phase == Phase::Running && self.stop(step, status).is_none() && view.leaves_nothing(&shard);
                let partials = view.commit(shard.id).into_iter().flat_map(|commit| &commit.partials);
                bytes += partials.map(|partial| partial.state.len()).sum::<usize>();
                let folded = self.folded.contains(&(view.uid.clone(), shard.id));
                let outcome = if folded { Outcome::Folded } else { Outcome::Discarded };
                spec.settled.push(Settled { id: shard.id, outcome });
            } else {
                kept.push(shard);
            }
        }
        let surplus = spec.settled.len().saturating_sub(limits::SETTLED);
        spec.settled.drain(..surplus);
        spec.shards = kept;
        spec.cards
            .retain(|card| spec.shards.iter().any(|shard| shard.run.card == card.digest));
        Ok(waits && bytes < LITTER_BYTES)
    }

    /// Gives the listing of a step's data to one worker.
    fn order_plan(&self, step: &Step, status: &StepStatus, specs: &mut [WorkerSpec]) {
        // Items are planned by the operator itself; what is read beside them, by a worker that adds it.
        let items = step.over.as_ref().is_some_and(items::are_of);
        if items && (step.reads.is_empty() || status.plan.is_none()) {
            return;
        }
        let stopped = self.stop(step, status).is_some();
        let uid = self.view.workflow.uid().unwrap_or_default();
        let planning = |view: &DeskView| view.shards_of(Mode::Plan, &uid, &step.name, status.round).count();
        if stopped {
            for spec in specs.iter_mut() {
                let plans = spec
                    .shards
                    .iter_mut()
                    .filter(|shard| shard.mode == Mode::Plan && shard.run.step == step.name);
                plans.for_each(|shard| shard.seal = true);
            }
            return;
        }
        let Some(card) = self.cards.get(&step.name) else { return };
        let desks = &self.view.desks.0;
        let wanted = desks
            .iter()
            .all(|view| planning(view) == 0 || view.fitness == Fitness::Lost)
            && !specs.iter().any(|spec| {
                spec.shards
                    .iter()
                    .any(|shard| shard.mode == Mode::Plan && shard.run.step == step.name && !shard.seal)
            });
        let idle = desks
            .iter()
            .enumerate()
            .filter(|(_, view)| view.fitness == Fitness::Working && view.desk.start.is_some() && self.suits(step, view))
            .min_by_key(|(index, _)| specs.get(*index).map_or(usize::MAX, |spec| spec.shards.len()));
        if let (true, Some((index, view))) = (wanted, idle) {
            let Some(spec) = specs.get_mut(index) else { return };
            let order = NewShard {
                range: PartitionRange::new(0, 1),
                mode: Mode::Plan,
                budget_millis: u64::from(u32::MAX),
                adopts: None,
                history: None,
                publish: None,
            };
            self.add(view, spec, step, status, card, order);
        }
    }

    fn stop(&self, step: &Step, status: &StepStatus) -> Option<Stop> {
        stop(self.view.workflow, step, status)
    }

    fn order(
        &self,
        step: &Step,
        status: &StepStatus,
        cuts: usize,
        specs: &mut [WorkerSpec],
    ) -> Result<usize, WireError> {
        let Some(plan) = status.plan.as_ref() else { return Ok(0) };
        let mut record = self.record(step, status)?;
        // Condemned: nobody runs it again, and the next pass finds it free and sets it aside.
        for suspect in condemned(&self.view.workflow.spec, step, status) {
            record.ledger.insert(suspect.range());
        }
        let suspects: Vec<PartitionRange> = status.suspects.iter().map(Suspect::range).collect();
        let concurrency = step
            .run
            .concurrency
            .and_then(|n| u64::try_from(n).ok())
            .unwrap_or(1)
            .max(1);
        let started = status.round_started_at().map_or(self.view.now, |at| at.0);
        let elapsed = u64::try_from(self.view.now.duration_since(started).as_millis()).unwrap_or(0);
        let working =
            |view: &&DeskView| view.fitness == Fitness::Working && view.desk.start.is_some() && self.suits(step, view);
        let places = self.places.of_step(&step.name);
        let hands = self.view.desks.0.iter().filter(working).count() as u64 * concurrency;
        let hands = hands.min(places.unwrap_or(u64::MAX));
        let situation = Situation {
            now_millis: self.view.now.as_millisecond(),
            total: plan.partitions,
            concurrency,
            suspects: &suspects,
            mean_micros: elapsed
                .saturating_mul(1_000)
                .saturating_mul(hands)
                .checked_div(record.ledger.len()),
            cuts,
            places,
            stop: self.stop(step, status),
        };
        // The policy sees the desks as this very write leaves them.
        let cleared: Vec<_> = self
            .view
            .desks
            .0
            .iter()
            .zip(specs.iter())
            .map(|(view, spec)| wire::desk_of(spec, &view.worker.status.clone().unwrap_or_default()))
            .collect::<Result<_, WireError>>()?;
        let seats: Vec<_> = self
            .view
            .desks
            .seats()
            .into_iter()
            .zip(&cleared)
            .zip(&self.view.desks.0)
            .map(|((seat, desk), view)| {
                // Workers of other pods may finish what they have; they get nothing of this step.
                let fitness = match seat.fitness {
                    Fitness::Working if !self.suits(step, view) => Fitness::Draining,
                    fitness => fitness,
                };
                assign::Seat { desk, fitness, ..seat }
            })
            .collect();
        let mut spent = 0;
        for order in assign::orders(&record, &situation, &seats) {
            let (Order::Assign { seat, .. } | Order::Cut { seat, .. } | Order::Seal { seat, .. }) = order;
            let (Some(view), Some(spec)) = (self.view.desks.0.get(seat), specs.get_mut(seat)) else {
                continue;
            };
            match order {
                Order::Assign {
                    range,
                    mode,
                    budget_millis,
                    adopts,
                    history,
                    ..
                } => {
                    // A store that is down stops the hand-out; what runs goes on.
                    if adopts.is_none() && status.unpublished.len() >= limits::UNPUBLISHED {
                        continue;
                    }
                    if let Some(card) = self.cards.get(&step.name) {
                        self.add(
                            view,
                            spec,
                            step,
                            status,
                            card,
                            NewShard {
                                range,
                                mode,
                                budget_millis,
                                adopts,
                                history,
                                publish: None,
                            },
                        );
                    }
                }
                Order::Cut { shard, .. } => {
                    spent += 1;
                    change(spec, shard, |shard| shard.budget_millis = 0);
                }
                Order::Seal { shard, .. } => {
                    spent += usize::from(view.fitness != Fitness::Lost);
                    change(spec, shard, |shard| shard.seal = true);
                }
            }
        }
        Ok(spent)
    }

    fn add(
        &self,
        view: &DeskView,
        spec: &mut WorkerSpec,
        step: &Step,
        status: &StepStatus,
        card: &Card,
        new: NewShard,
    ) {
        let Some(start_id) = view.desk.start.clone() else {
            return;
        };
        let known = spec.cards.iter().any(|known| known.digest == card.digest);
        if spec.shards.len() >= limits::SHARDS_PER_WORKER || (!known && spec.cards.len() >= limits::CARDS_PER_WORKER) {
            return;
        }
        let plan = status
            .plan
            .as_ref()
            .map_or_else(PlanDigest::default, |plan| plan.digest.clone());
        spec.shards.push(ShardSpec {
            id: spec.next_shard_id,
            start_id,
            run: RunRef {
                workflow: self.view.workflow.name_any(),
                namespace: self.elsewhere(view),
                uid: self.view.workflow.uid().unwrap_or_default(),
                step: step.name.clone(),
                round: status.round,
                plan,
                card: card.digest.clone(),
            },
            start: new.range.start(),
            end: new.range.end(),
            budget_millis: new.budget_millis,
            mode: new.mode,
            seal: false,
            adopts: new.adopts,
            history: new.history,
            publish: new.publish,
        });
        spec.next_shard_id = spec.next_shard_id.next();
        if !known {
            spec.cards.push(card.clone());
        }
    }
}

#[derive(Clone)]
struct NewShard {
    range: PartitionRange,
    mode: Mode,
    budget_millis: u64,
    adopts: Option<ShardId>,
    history: Option<braid_crds::worker::History>,
    publish: Option<Publication>,
}

fn change(spec: &mut WorkerSpec, id: ShardId, change: impl FnOnce(&mut ShardSpec)) {
    if let Some(shard) = spec.shards.iter_mut().find(|shard| shard.id == id) {
        change(shard);
    }
}
