//! What is begun: attempts with their inputs, and plans.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use braid_crds::{Plan as PlanObject, worker::Fatal};
use braid_engine::{
    plan::{Partition, Plan},
    protocol::worker::Task,
    retry::Reason,
};
use bytes::Bytes;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use kube::Api;
use tokio::time::Instant;

use super::{
    super::{
        attempts::{Flight, Prepared},
        runs::{Run, Source},
    },
    Job, Session,
};
use crate::{
    planner,
    reader::{self, InputError, Reader, plans},
    runner::{Attempt, AttemptId, Input, Item, Runner, RunnerError, Side},
};

/// So many inputs are opened ahead of the runner at most.
const PREPARED: usize = 64;
/// How long a runner that takes no more is left alone.
const NO_ROOM: Duration = Duration::from_millis(5);

impl Session {
    /// Starts what there is room for, and kills what is to be killed.
    pub(in crate::task) async fn start_what_can<R: Runner>(&mut self, runner: &mut R) {
        for id in std::mem::take(&mut self.kills) {
            if let Err(error) = runner.kill(id).await {
                tracing::debug!(?id, %error, "an attempt was over before it was killed");
            }
        }
        for (program, partition) in std::mem::take(&mut self.discards) {
            runner.discard(program, partition);
        }
        let now = Instant::now();
        if self.no_room.is_some_and(|at| now < at) {
            return;
        }
        self.no_room = None;
        while let Some(flight) = self.attempts.awake(now) {
            self.prepare(flight);
        }
        while let Some(prepared) = self.attempts.ready.pop_front() {
            if !self.start(runner, prepared).await {
                return;
            }
        }
        while let Some(ready) = self.machine.ready() {
            let Some(run) = self.runs.get(ready.shard).cloned() else {
                self.fatal(ready.shard, "NoCard", "the operator gave the shard without its program");
                continue;
            };
            if let Some(error) = &run.impossible {
                let Fatal { reason, message } = error.clone();
                self.fatal(ready.shard, &reason, &message);
                continue;
            }
            if let Source::Planning(order) = &run.source {
                self.begin_planning(&run, (**order).clone());
                continue;
            }
            if let Source::Publishing(order) = &run.source {
                self.begin_publishing(&run, order.clone());
                continue;
            }
            if !self.has_plan(&run) || !self.has_sides(&run) {
                return;
            }
            match runner.prepare(run.program.clone()).await {
                Ok(()) => {}
                Err(RunnerError::TooManyPrograms) => return self.rest(),
                Err(error) => {
                    self.fatal(ready.shard, "NotRunnable", &error.to_string());
                    continue;
                }
            }
            let ahead = self.opening + self.attempts.ready.len();
            let mut room = runner.capacity(run.program.id).saturating_sub(ahead);
            if matches!(run.source, Source::Files { .. }) {
                room = room.min(PREPARED.saturating_sub(ahead));
            }
            let Some(begun) = self.machine.begin(room as u64, self.clock.now()) else {
                if self.machine.in_flight() == 0 {
                    // Nothing that ends will tell that there is room again.
                    self.rest();
                }
                return;
            };
            for partition in begun.range.start()..begun.range.end() {
                let flight = self.flight(&run, begun.shard, partition);
                match &run.source {
                    Source::None | Source::Range(_) => {
                        let prepared = numbered(flight);
                        if !self.start(runner, prepared).await {
                            // Those that are left are begun for the machine: they wait like this one.
                            for partition in partition + 1..begun.range.end() {
                                let flight = self.flight(&run, begun.shard, partition);
                                self.attempts.ready.push_back(numbered(flight));
                            }
                            return;
                        }
                    }
                    _ => self.prepare(flight),
                }
            }
            while let Some(prepared) = self.attempts.ready.pop_front() {
                if !self.start(runner, prepared).await {
                    return;
                }
            }
        }
    }

    /// Gives an attempt to the runner. False: there is no room, and the attempt waits.
    async fn start<R: Runner>(&mut self, runner: &mut R, prepared: Prepared) -> bool {
        let Prepared { flight, item, input } = prepared;
        let program = flight.run.program.clone();
        if runner.capacity(program.id) == 0
            && runner.prepare(program.clone()).await.is_ok()
            && runner.capacity(program.id) == 0
        {
            self.attempts.ready.push_front(Prepared { flight, item, input });
            self.rest();
            return false;
        }
        let (partition, attempt, timeout) = (flight.task.partition, flight.attempt, flight.run.timeout);
        let store = flight.run.store.as_ref();
        let outlet = store.and_then(|store| store.outlet(flight.task.shard, partition));
        let id = self.attempts.launch(flight);
        let started = runner
            .start(Attempt {
                id,
                program: program.id,
                partition,
                attempt,
                item,
                input,
                outlet,
                timeout,
            })
            .await;
        let Err(error) = started else { return true };
        let Some(flight) = self.attempts.land(id) else {
            return true;
        };
        match error {
            RunnerError::Full
            | RunnerError::UnknownProgram(_)
            | RunnerError::TooManyPrograms
            | RunnerError::Spawn { .. } => {
                // Its input is made again: this is rare.
                let at = Instant::now() + NO_ROOM;
                self.attempts.wait(flight, at);
                self.rest();
                false
            }
            error => {
                self.failed(flight, Reason::NotRunnable, &error.to_string());
                true
            }
        }
    }

    /// Leaves the runner alone for a moment; its next ending comes first, as a rule.
    fn rest(&mut self) {
        self.no_room = Some(Instant::now() + NO_ROOM);
    }

    /// Makes the input of an attempt.
    fn prepare(&mut self, mut flight: Flight) {
        let run = flight.run.clone();
        let partition = flight.task.partition;
        let plan = self.plans.get(&run.reference.plan);
        match (&run.source, plan) {
            (Source::Items { .. }, Some(plan)) => {
                let Some(Partition::Item(item)) = plan.partition(partition) else {
                    let error = InputError::NoPartition(partition);
                    return self.failed(flight, error.reason(), &error.to_string());
                };
                let item = Item::Json(Arc::new(item.clone()));
                let input = Input::None;
                self.attempts.ready.push_back(Prepared { flight, item, input });
            }
            (Source::Files { root, many, .. }, Some(plan)) => {
                self.opening += 1;
                flight.pinned = Some(plan.clone());
                let (root, many, reader) = (root.clone(), *many, self.reader.clone());
                self.jobs.0.spawn_blocking(move || {
                    let input = reader.open(&plan, partition, &root, many);
                    Job::Opened(flight, input)
                });
            }
            (Source::Items { .. } | Source::Files { .. }, None) => {
                // The plan was forgotten for newer ones; it is fetched, and the attempt made then.
                self.has_plan(&run);
                let at = Instant::now() + NO_ROOM * 4;
                self.attempts.wait(flight, at);
            }
            _ => self.attempts.ready.push_back(numbered(flight)),
        }
    }

    /// Looks once more at the files of an attempt whose program has succeeded.
    pub(in crate::task) fn recheck(&mut self, id: AttemptId, partition: u64, plan: Arc<Plan>, results: Option<Bytes>) {
        let ground = self.options.ground.clone();
        self.jobs.0.spawn_blocking(move || {
            let input = reader::recheck(&plan, partition, &ground);
            Job::Rechecked(id, results, input)
        });
    }

    /// Whether the plan of a run is at hand; else it is fetched.
    fn has_plan(&mut self, run: &Run) -> bool {
        let Some(chunks) = run.chunks() else { return true };
        let digest = &run.reference.plan;
        if self.plans.get(digest).is_some() {
            return true;
        }
        if !self.fetching.contains(digest) {
            self.fetching.push(digest.clone());
            let (reference, digest) = (run.reference.clone(), digest.clone());
            let (api, deadline) = (self.plan_api(), self.options.call_deadline);
            self.jobs.0.spawn(async move {
                let plan = plans::fetch(api, reference, chunks, deadline).await;
                Job::Fetched(digest, plan)
            });
        }
        false
    }

    /// Whether the files that all attempts of a run read are at hand; else they are opened. The plan is there.
    fn has_sides(&mut self, run: &Arc<Run>) -> bool {
        let Some(reads) = &run.reads else { return true };
        if run.program.sides.are_known() {
            return true;
        }
        let Some(plan) = self.plans.get(&run.reference.plan) else {
            return false;
        };
        if !self.siding.contains(&run.program.id) {
            self.siding.push(run.program.id);
            let (run, reader, roots) = (run.clone(), self.reader.clone(), reads.roots.clone());
            self.jobs.0.spawn_blocking(move || {
                let sides = sides(&reader, &plan, &roots);
                Job::Sides(run, sides)
            });
        }
        false
    }

    fn begin_planning(&mut self, run: &Run, order: planner::Order) {
        let Some(begun) = self.machine.begin(1, self.clock.now()) else {
            return;
        };
        let task = Task {
            shard: begun.shard,
            partition: begun.range.start(),
        };
        let (reference, ground) = (run.reference.clone(), self.options.ground.clone());
        let (api, deadline) = (self.plan_api(), self.options.call_deadline);
        let pool = self.pool();
        let planning = self.jobs.0.spawn(async move {
            let planned = planner::plan(api, (reference, pool), order, ground, deadline).await;
            Job::Planned(task, planned)
        });
        self.planning.insert(task, planning);
    }

    /// The pool that its object belongs to.
    fn pool(&self) -> Option<OwnerReference> {
        let (_, worker) = self.newest.as_ref()?;
        let mut owners = worker.metadata.owner_references.iter().flatten();
        owners.find(|owner| owner.kind == "WorkerPool").cloned()
    }

    fn plan_api(&self) -> Api<PlanObject> {
        Api::namespaced(self.client.clone(), &self.identity.namespace)
    }
}

/// The directories of what all attempts read. Blocks.
fn sides(reader: &Reader, plan: &Plan, roots: &[(String, PathBuf)]) -> Result<Vec<Side>, InputError> {
    let all = plan.reads().iter().map(|read| {
        let root = roots.iter().find(|(data, _)| **data == *read.data);
        let root = root.map_or(Path::new(""), |(_, root)| root);
        Ok(Side {
            variable: format!("BRAID_IN_{}", read.data.to_ascii_uppercase().replace('-', "_")),
            files: reader.whole(&read.files, read.format, root)?,
        })
    });
    all.collect()
}

/// An attempt that needs no input but its number.
fn numbered(flight: Flight) -> Prepared {
    let item = match &flight.run.source {
        Source::Range(range) => {
            let offset = i64::try_from(flight.task.partition)
                .unwrap_or(i64::MAX)
                .saturating_mul(range.step);
            Item::Number(range.start.saturating_add(offset))
        }
        _ => Item::None,
    };
    Prepared {
        flight,
        item,
        input: Input::None,
    }
}
