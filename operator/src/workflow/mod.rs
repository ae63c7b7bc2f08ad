//! The pass over a run: observe, accept, advance, write, settle.
//!
//! A pass reads copies (never older than this operator's own last writes), decides with pure functions, writes the status
//! once with the version that it read, and only when that write is known to have succeeded changes the workers' desks,
//! one write each. It may end after any write: the next pass recomputes everything from what exists.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use braid_crds::{
    STATUS_FORMAT, ShardId, WorkerPool, Workflow, WorkflowStatus, limits,
    status::{Phase, PlanRef, StepStatus},
    worker::{Card, Fatal},
    workflow::Step,
};
use braid_engine::{
    assign::Fitness,
    card,
    dag::{self, Dag},
    expr::Scope,
    params,
    protocol::wire::WireError,
    scale, validate,
};
use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::{Api, ResourceExt as _, api::PostParams, runtime::controller::Action};

use crate::{
    Context,
    api::{ApiError, call},
    counters::Kind,
    names,
    stages::Stage,
    standing::{self, PoolKey, Trouble},
};

mod advance;
mod conditions;
pub(crate) mod desks;
mod expiry;
mod memory;
mod orders;
pub(crate) mod places;
pub(crate) mod plans;
pub(crate) mod pools;
mod resuming;
mod settle;
mod traces;

#[cfg(test)]
mod tests;

pub use memory::Memory;

use advance::{Advance, View, advance, cut};
use conditions::Hands;
use desks::{DeskView, Desks};
use pools::Pools;

/// What passes of this module are over.
const KIND: Kind = Kind::Workflow;
/// How soon a run whose workers are idle is looked at again: the tail of a step.
const TAIL: Duration = Duration::from_millis(250);
/// How soon a run that moves is looked at again even if nothing is heard.
const TICK: Duration = Duration::from_secs(1);
/// How soon a run that does not move is.
const REST: Duration = Duration::from_secs(30);
/// So many passes in a row may meet a write of somebody else before that is taken for a failure, which is backed off.
const RACES: u32 = 4;

/// Why a pass over a run ended early.
#[derive(Debug, thiserror::Error)]
pub enum WorkflowError {
    /// An API call failed.
    #[error(transparent)]
    Api(#[from] ApiError),
    /// An object holds what this operator cannot read.
    #[error("{object} cannot be read: {source}")]
    Unreadable {
        /// Which.
        object: String,
        /// Why.
        source: WireError,
    },
    /// The object cannot be worked with.
    #[error("the workflow has no {0}")]
    Malformed(&'static str),
    /// A spec that was accepted and is not in order: somebody changed what must not change.
    #[error("the spec is not in order: {0}")]
    Spec(String),
    /// A status of a newer operator.
    #[error(
        "status.format is {found}, this operator knows {STATUS_FORMAT}: it must not touch this run; upgrade the operator"
    )]
    NewerFormat {
        /// The format found.
        found: i32,
    },
}

impl WorkflowError {
    /// Whether somebody else wrote first, nothing else being wrong.
    fn is_race(&self) -> bool {
        matches!(self, Self::Api(ApiError::Conflict { .. }))
    }
}

/// A time as the API keeps it: in whole seconds. Anything finer would not come back from a write as it was sent.
fn stamp(now: Timestamp) -> Time {
    Time(Timestamp::from_second(now.as_second()).unwrap_or(now))
}

/// The statuses of steps before any of them has started.
fn unstarted(steps: &[Step]) -> Vec<StepStatus> {
    let status = |step: &Step| StepStatus {
        name: step.name.clone(),
        ..StepStatus::default()
    };
    steps.iter().map(status).collect()
}

/// One pass over one run.
pub async fn reconcile(seen: Arc<Workflow>, context: Arc<Context>) -> Result<Action, WorkflowError> {
    let workflow = context.fresh_workflows.newest(seen);
    let uid = workflow.uid().ok_or(WorkflowError::Malformed("uid"))?;
    if workflow.metadata.deletion_timestamp.is_some() {
        // All that belongs to it is owned by it, and goes with it.
        context.forget(&uid);
        return Ok(Action::await_change());
    }
    let memory = context.memory(&uid);
    let mut memory = memory.lock().await;
    let mut pass = Pass {
        context: &context,
        workflow,
        memory: &mut memory,
        expires: None,
    };
    match Box::pin(pass.run()).await {
        // What is true has been read: nothing is to be waited for.
        Err(error) if error.is_race() && memory.races < RACES => {
            memory.races += 1;
            tracing::debug!(%error, "somebody wrote first: another pass at once");
            Ok(Action::requeue(Duration::ZERO))
        }
        outcome => {
            memory.races = 0;
            outcome
        }
    }
}

struct Pass<'a> {
    context: &'a Context,
    workflow: Arc<Workflow>,
    memory: &'a mut Memory,
    /// When the run is to be deleted, if it has ended and is not kept.
    expires: Option<Duration>,
}

impl Pass<'_> {
    async fn run(&mut self) -> Result<Action, WorkflowError> {
        let now = Timestamp::now();
        if let Some(left) = expiry::expire(self.context, &self.workflow, self.memory, now).await? {
            self.expires = Some(left);
        }
        let Some(status) = self.accept(now).await? else {
            return Ok(self.expires.map_or_else(Action::await_change, Action::requeue));
        };
        let pools = pools::of(self.context, &self.workflow)?;
        let mut desks = self.desks(&pools);
        let uid = names::uid(self.workflow.as_ref());
        self.share(&pools, &mut desks, now);
        desks.watch(&uid, self.memory);
        let mut planned = self.plan_items(status).await?;
        pools::give_up(self.context, &self.workflow, &pools, &mut planned, now);

        let hands = hands(&pools, &desks, places::of(&self.workflow, &planned).problem);
        let view = View {
            workflow: &self.workflow,
            desks: &desks,
            now,
        };
        let dag = Dag::new(&self.workflow.spec.steps).map_err(|error| WorkflowError::Spec(error.to_string()))?;
        let compiled = &mut self.memory.compiled;
        let folding = async { advance(view, &dag, &planned, compiled) };
        let folded = self.context.stage(KIND, Stage::Fold, folding).await;
        let mut advance = folded.map_err(|source| self.unreadable(source))?;
        // Steps over items that have just begun: their plans need nobody else.
        let status = std::mem::take(&mut advance.status);
        advance.status = self.plan_items(status).await?;
        self.context.counters.held_in_part(advance.held_in_part);
        freeze(&self.workflow, &mut advance.status, &mut self.memory.cards);
        wait_or_run(&view, &mut advance.status);
        conditions::describe(&self.workflow, &mut advance.status, &hands, now);
        if advance.outdated {
            self.reread().await?;
            return Err(ApiError::Conflict { what: "read the run" }.into());
        }
        let held = desks.held();
        self.memory
            .folded
            .retain(|(uid, id)| held.contains(&(uid.as_str(), *id)));
        let written = self.write(advance, &desks, now).await?;
        let counted = (!written.is_empty()).then(std::time::Instant::now);
        self.memory.folded.extend(written);

        let status = self.workflow.status.clone().unwrap_or_default();
        plans::lend(self.context, &self.workflow, &status, &pools, self.memory).await?;
        let cards = self.cards(&status);
        let places = places::of(&self.workflow, &status);
        let cuts = self.memory.cuts();
        // What has just been written may have changed what the run can use.
        self.share(&pools, &mut desks, now);
        let view = View {
            workflow: &self.workflow,
            desks: &desks,
            now,
        };
        let settling = settle::Settling {
            view,
            status: &status,
            cards: &cards,
            pools: &pools.of_step,
            places: &places,
            folded: &self.memory.folded,
            cuts,
        };
        let (specs, spent) = settle::settle(&settling).map_err(|source| self.unreadable(source))?;
        self.memory.spend_cuts(spent);
        // Neither waits for the other: a new worker finds its desk empty, a desk does not care how many others there are.
        let assigned = orders::write(self.context, &desks, specs, counted);
        let scaled = pools::scale(self.context, &self.workflow, &status, &pools, &places, self.memory, now);
        let assigned = self.context.stage(KIND, Stage::Desks, assigned);
        let scaled = self.context.stage(KIND, Stage::Scale, scaled);
        let (assigned, scaled) = Box::pin(futures::future::join(assigned, scaled)).await;
        scaled?;
        assigned?;
        Ok(Action::requeue(self.next(&status, &desks, now)))
    }

    /// Checks a new run and makes its first status, which is written with what the pass makes of it. `None`: there is nothing to do
    /// for it.
    async fn accept(&mut self, now: Timestamp) -> Result<Option<WorkflowStatus>, WorkflowError> {
        let current = self.workflow.status.clone().unwrap_or_default();
        if current.format > STATUS_FORMAT {
            return Err(WorkflowError::NewerFormat { found: current.format });
        }
        if current.started_at.is_some() {
            return Ok(Some(current));
        }
        if current.phase.is_terminal() {
            return Ok(None);
        }
        let taken = match self.workflow.spec.resume_from.clone() {
            Some(from) => match self.take_over(&from, now).await? {
                Ok(taken) => Some(taken),
                Err(refusal) => {
                    let message = format!("resumeFrom: {refusal}");
                    return self.refuse(current, refusal.reason(), &message, now).await;
                }
            },
            None => None,
        };
        let problems = validate::validate(&self.workflow);
        if let Some(first) = problems.first() {
            let more = problems.len().saturating_sub(1);
            let more = if more == 0 {
                String::new()
            } else {
                format!(" (and {more} more: `braid lint` lists them)")
            };
            return self.refuse(current, "Invalid", &format!("{first}{more}"), now).await;
        }
        if let Some(trouble) = self.does_not_fit().await? {
            return self.refuse(current, trouble.reason(), &trouble.to_string(), now).await;
        }
        let for_pods = self.context.options.pod_classes;
        if let Some(problem) = pools::only_on_a_laptop(&self.workflow).filter(|_| for_pods) {
            return self.refuse(current, "Invalid", &problem, now).await;
        }
        let mut status = self.first(current);
        if let Some(taken) = taken {
            resuming::begin(&mut status, taken, now);
        }
        status.started_at = Some(stamp(now));
        Ok(Some(status))
    }

    /// The status of a run of which nothing has been done.
    fn first(&self, current: WorkflowStatus) -> WorkflowStatus {
        WorkflowStatus {
            format: STATUS_FORMAT,
            observed_generation: self.workflow.metadata.generation,
            steps: unstarted(&self.workflow.spec.steps),
            // What was asked for before anything could have failed has been done.
            resumed: self.workflow.spec.resume.unwrap_or(0),
            retried_failed: self.workflow.spec.retry_failed.unwrap_or(0),
            ..current
        }
    }

    /// Does not accept a run, and says why.
    async fn refuse(
        &mut self,
        current: WorkflowStatus,
        reason: &str,
        message: &str,
        now: Timestamp,
    ) -> Result<Option<WorkflowStatus>, WorkflowError> {
        let mut status = self.first(current);
        conditions::refuse(&self.workflow, &mut status, reason, &cut(message), now);
        self.put_status(status).await?;
        Ok(None)
    }

    /// The first step that does not fit into its standing pool, of the pools that are there: as they are, and not as a watch shows them, since
    /// the answer is final. Later the run waits.
    async fn does_not_fit(&self) -> Result<Option<Trouble>, WorkflowError> {
        if !self.context.options.pod_classes {
            return Ok(None);
        }
        let mut read: BTreeMap<PoolKey, Option<WorkerPool>> = BTreeMap::new();
        for step in &self.workflow.spec.steps {
            let Some(key) = standing::reference(&self.workflow, step) else {
                continue;
            };
            let pool = match read.remove(&key) {
                Some(pool) => pool,
                None if self.context.at(&key.namespace).is_none() => None,
                None => {
                    let api: Api<WorkerPool> = Api::namespaced(self.context.client.clone(), &key.namespace);
                    call("read a standing pool", api.get_opt(&key.name)).await?
                }
            };
            let trouble = Trouble::of(&self.workflow, step, &key, pool.as_ref());
            if let Some(trouble) = trouble.filter(Trouble::is_final) {
                return Ok(Some(trouble));
            }
            read.insert(key, pool);
        }
        Ok(None)
    }

    fn desks(&self, pools: &Pools) -> Desks {
        let pods = self.context.pods.watch().borrow().clone();
        let mut desks = Desks::default();
        for (key, pool) in &pools.made {
            let Some(there) = self.context.at(&key.namespace) else {
                continue;
            };
            for worker in there.desks_of_pool(&names::uid(pool)) {
                let liveness = there.leases.liveness(&pods, &worker);
                let name = worker.name_any();
                match DeskView::read(worker, liveness) {
                    Ok(view) => desks.0.push(view),
                    // It stays as it is, and nothing on it counts: what it holds is run by others. One broken object must
                    // not stop the run.
                    Err(error) => {
                        tracing::warn!(worker = name, %error, "a worker's object cannot be read and is left alone");
                    }
                }
            }
        }
        desks
    }

    /// Says whose the workers of standing pools are. Who else is concerned hears of it when the run's own wants change.
    fn share(&mut self, pools: &Pools, desks: &mut Desks, now: Timestamp) {
        let uid = names::uid(self.workflow.as_ref());
        for pool in pools.standing() {
            let (key, tenants) = (PoolKey::of(pool), self.context.tenants(pool, now));
            desks.share(&uid, &key, standing::allows(pool, &self.workflow), &tenants);
            let own = tenants.iter().find(|tenant| tenant.uid == uid);
            let most = pool.status.as_ref().map_or(0, |status| status.wanted).max(1);
            let wants = own
                .map_or(0, |own| scale::places(&own.loads))
                .min(u64::from(most.unsigned_abs()));
            if self.memory.wants(key.clone(), wants) {
                self.context.ring_pool(&key.namespace, &key.name);
                let others = tenants.iter().filter(|tenant| tenant.uid != uid);
                others.for_each(|other| self.context.ring_run(&other.namespace, &other.name));
            }
        }
    }

    /// Makes the plans of steps over items: nobody needs to look anything up. Returns the status with them pinned.
    async fn plan_items(&self, mut planned: WorkflowStatus) -> Result<WorkflowStatus, WorkflowError> {
        if planned.steps.iter().all(|step| step.phase != Phase::Planning) {
            return Ok(planned);
        }
        let seen = planned.clone();
        for step in planned
            .steps
            .iter_mut()
            // One that is made already waits for a worker, which adds what is read beside it.
            .filter(|step| step.phase == Phase::Planning && step.plan.is_none() && step.stopping.is_none())
        {
            let declared = self
                .workflow
                .spec
                .steps
                .iter()
                .find(|declared| declared.name == step.name);
            let over = declared.and_then(|declared| declared.over.as_ref());
            match over.and_then(|over| plans::items(&self.workflow, over, &seen)) {
                Some(Ok(items)) => {
                    let making = Box::pin(plans::make(self.context, &self.workflow, step, &items));
                    let plan = self.context.stage(KIND, Stage::Plan, making).await?;
                    step.partitions.total = plan.partitions;
                    step.plan = Some(plan);
                    if declared.is_some_and(|declared| declared.reads.is_empty()) {
                        step.phase = Phase::Running;
                    }
                }
                Some(Err(message)) => {
                    step.stopping = Some(Fatal {
                        reason: "BadItems".into(),
                        message: cut(&message),
                    });
                }
                None => {}
            }
        }
        Ok(planned)
    }

    /// The programs of the steps that are under way, as they were frozen.
    fn cards(&mut self, status: &WorkflowStatus) -> BTreeMap<String, Card> {
        let mut cards = BTreeMap::new();
        let current = |name: &String, round| {
            status
                .steps
                .iter()
                .any(|step| step.name == *name && step.round == round)
        };
        self.memory.cards.retain(|(name, round), _| current(name, *round));
        for step in &status.steps {
            let Some(declared) = self
                .workflow
                .spec
                .steps
                .iter()
                .find(|declared| declared.name == step.name)
            else {
                continue;
            };
            let built = match step.phase {
                // For items that were listed already, with the list's pieces.
                Phase::Planning => program(&self.workflow, declared, status, step.plan.as_ref()).ok(),
                Phase::Running | Phase::Waiting | Phase::Suspended | Phase::Paused => {
                    let known = self.memory.cards.get(&(step.name.clone(), step.round)).cloned();
                    known
                        .or_else(|| program(&self.workflow, declared, status, step.plan.as_ref()).ok())
                        // Another build of the operator froze another program: only that one may run.
                        .filter(|card| step.card.as_ref() == Some(&card.digest))
                }
                _ => None,
            };
            if let Some(card) = built {
                if step.card.is_some() {
                    self.memory.cards.insert((step.name.clone(), step.round), card.clone());
                }
                cards.insert(step.name.clone(), card);
            }
        }
        cards
    }

    /// Writes the status if it is due. Returns the shards that the write counted.
    async fn write(
        &mut self,
        advance: Advance,
        desks: &Desks,
        now: Timestamp,
    ) -> Result<BTreeSet<(String, ShardId)>, WorkflowError> {
        let Advance {
            mut status,
            urgent,
            folded,
            ..
        } = advance;
        status.observed_generation = self.workflow.metadata.generation;
        let crowded = desks
            .0
            .iter()
            .any(|view| view.worker.spec.shards.len() > limits::SHARDS_PER_WORKER / 2);
        let before = self.workflow.status.clone().unwrap_or_default();
        // Planned, or begun.
        let urgent = urgent || before.started_at.is_none() || phases(&before) != phases(&status);
        if status == before
            || !(urgent || crowded || self.memory.status_rests(self.context.options.status_interval).is_zero())
        {
            return Ok(BTreeSet::new());
        }
        let bytes = serde_json::to_vec(&status).map_or(usize::MAX, |json| json.len());
        let folded = if bytes > limits::STATUS_BYTES {
            status = too_large(&before, &status, bytes);
            conditions::describe(&self.workflow, &mut status, &Hands::default(), now);
            BTreeSet::new()
        } else {
            let uid = |index: usize| desks.0.get(index).map(|view| view.uid.clone());
            folded
                .into_iter()
                .filter_map(|(index, id)| Some((uid(index)?, id)))
                .collect()
        };
        self.put_status(status).await?;
        self.context.counters.folded(folded.len());
        for since in folded.iter().filter_map(|key| self.memory.sealed.get(key)) {
            self.context.counters.sealed_for(since.elapsed());
        }
        self.memory.written_bytes = bytes;
        Ok(folded)
    }

    /// Replaces the status, at the version that it was read at, and checks what was stored.
    async fn put_status(&mut self, status: WorkflowStatus) -> Result<(), WorkflowError> {
        let what = "write the run's status";
        let api = self.api()?;
        let mut next = (*self.workflow).clone();
        next.metadata.managed_fields = None;
        next.status = Some(status);
        let (name, params) = (next.name_any(), PostParams::default());
        let written = call(what, api.replace_status(&name, &params, &next));
        let stored = self
            .stored(self.context.stage(KIND, Stage::Status, written).await)
            .await?;
        if stored.status != next.status {
            return Err(ApiError::Pruned { what }.into());
        }
        self.memory.written = Some(std::time::Instant::now());
        let before = std::mem::replace(&mut self.workflow, Arc::new(stored));
        self.context.events.changed(&self.workflow, before.status.as_ref());
        traces::note(&self.workflow, before.status.as_ref(), &mut self.memory.begun);
        self.context.fresh_workflows.wrote(self.workflow.clone());
        Ok(())
    }

    /// The runs of its namespace.
    fn api(&self) -> Result<Api<Workflow>, WorkflowError> {
        let namespace = self.workflow.namespace().ok_or(WorkflowError::Malformed("namespace"))?;
        Ok(Api::namespaced(self.context.client.clone(), &namespace))
    }

    /// What was stored of the run, by the answer to a write of it. If somebody else was faster, the next pass begins with what is there.
    async fn stored(&self, answer: Result<Workflow, ApiError>) -> Result<Workflow, WorkflowError> {
        if answer.as_ref().is_err_and(ApiError::is_stale) {
            self.reread().await?;
        }
        Ok(answer?)
    }

    /// After an answer that leaves doubt: the truth, from the server and not from a cache.
    async fn reread(&self) -> Result<(), WorkflowError> {
        let api = self.api()?;
        match call("read the run", api.get(&self.workflow.name_any())).await {
            Ok(read) => self.context.fresh_workflows.wrote(Arc::new(read)),
            Err(ApiError::NotFound { .. }) => self.context.fresh_workflows.forget(&names::uid(self.workflow.as_ref())),
            Err(error) => return Err(error.into()),
        }
        Ok(())
    }

    fn next(&self, status: &WorkflowStatus, desks: &Desks, now: Timestamp) -> Duration {
        if status.phase.is_terminal() {
            let uid = names::uid(self.workflow.as_ref());
            let own = names::pool(&self.workflow.name_any(), &uid);
            let waits = |view: &DeskView| view.has(&uid) || view.worker.spec.pool.starts_with(&own);
            let rest = if desks.0.iter().any(waits) { TICK } else { REST };
            return self.expires.map_or(rest, |left| left.min(rest));
        }
        let idle = desks
            .0
            .iter()
            .any(|view| view.fitness == Fitness::Working && view.current().is_none());
        let resting = self.memory.status_rests(self.context.options.status_interval);
        let tick = if idle { TAIL } else { TICK };
        let wait = until_due(status, now).map_or(tick, |due| due.min(tick));
        if resting.is_zero() {
            wait
        } else {
            wait.min(resting + Duration::from_millis(1))
        }
    }

    fn unreadable(&self, source: WireError) -> WorkflowError {
        WorkflowError::Unreadable {
            object: format!("workflow {}", self.workflow.name_any()),
            source,
        }
    }
}

/// The phases of the steps, in order.
fn phases(status: &WorkflowStatus) -> Vec<Phase> {
    status.steps.iter().map(|step| step.phase).collect()
}

/// What is known of the workers that a run may use.
fn hands(pools: &Pools, desks: &Desks, limit: Option<String>) -> Hands {
    let count = |count: i32| usize::try_from(count).unwrap_or(0);
    let wanted = |pool: &WorkerPool| {
        let standing = pool.status.as_ref().map_or(0, |status| status.wanted);
        count(pool.spec.replicas.unwrap_or(standing))
    };
    let statuses = pools.used().filter_map(|pool| pool.status.as_ref());
    let mut messages = statuses.map(|status| status.message.clone());
    let troubles = pools.troubles.iter();
    Hands {
        working: desks.working(),
        wanted: pools.used().map(wanted).sum(),
        message: messages.find(|message| !message.is_empty()).unwrap_or_default(),
        limit,
        elsewhere: desks
            .0
            .iter()
            .filter(|view| view.able == Fitness::Working && view.desk.start.is_some())
            .count(),
        troubles: troubles
            .map(|(step, trouble)| (step.clone(), (trouble.reason(), trouble.to_string())))
            .collect(),
    }
}

/// How long until the next deferred partition may be tried or the next round begins. What may be tried already is on a desk or waits
/// for room on one: both are heard of.
fn until_due(status: &WorkflowStatus, now: Timestamp) -> Option<Duration> {
    let deferred = status.steps.iter().flat_map(|step| &step.deferred);
    let rounds = status.steps.iter().filter_map(|step| step.repeat.as_ref()?.next_at);
    let times = deferred.map(|deferred| deferred.not_before).chain(rounds);
    let millis = times.map(|time| time.saturating_sub(now.as_millisecond()));
    let soonest = millis.filter(|millis| *millis > 0).min()?;
    Some(Duration::from_millis(soonest.unsigned_abs()))
}

/// What the expressions of a run can see.
fn scope(workflow: &Workflow, status: &WorkflowStatus) -> Result<Scope, String> {
    scope_of(workflow, status, |_| true)
}

/// The same of some steps only: what is not read need not be copied.
fn scope_of(workflow: &Workflow, status: &WorkflowStatus, read: impl Fn(&str) -> bool) -> Result<Scope, String> {
    let params = params::resolve(&workflow.spec.params).map_err(|error| error.to_string())?;
    let mut scope = Scope::of(params, status, &workflow.name_any(), &names::uid(workflow), read);
    // What the run has come to is what its steps have, but for those that run after it whatever that is.
    let spec = &workflow.spec;
    let ordinary = status.steps.iter().filter(|step| {
        let declared = spec.steps.iter().find(|declared| declared.name == step.name);
        declared.is_some_and(|declared| !declared.finally)
    });
    let phases: Vec<Phase> = ordinary.map(|step| step.phase).collect();
    if !phases.is_empty() {
        let phase = dag::run_phase(&phases, spec.suspend);
        scope.workflow.phase = format!("{phase:?}");
        if phase == Phase::Cancelled && scope.workflow.message.is_empty() {
            "the run was cancelled".clone_into(&mut scope.workflow.message);
        }
    }
    Ok(scope)
}

/// Whether the steps of a run rest because somebody wants it: what runs after a cancelled run does not.
fn rests(workflow: &Workflow, step: &Step) -> bool {
    workflow.spec.suspend && !(step.finally && workflow.spec.cancel)
}

/// Whether a step is to end because the run is: what runs at its end is not.
fn is_cancelled(workflow: &Workflow, step: &Step) -> bool {
    workflow.spec.cancel && !step.finally
}

/// The program of a step, from the run's params and the steps before.
fn program(workflow: &Workflow, step: &Step, status: &WorkflowStatus, plan: Option<&PlanRef>) -> Result<Card, String> {
    let scope = scope(workflow, status)?;
    card::build(&workflow.spec, step, plan, &scope).map_err(|error| error.to_string())
}

/// Freezes the programs of steps that have just begun to run. A step whose program cannot be made fails.
fn freeze(
    workflow: &Workflow,
    status: &mut WorkflowStatus,
    cards: &mut std::collections::HashMap<(String, braid_crds::Round), Card>,
) {
    for declared in &workflow.spec.steps {
        let snapshot = status.clone();
        let Some(step) = status.steps.iter_mut().find(|step| step.name == declared.name) else {
            continue;
        };
        if step.card.is_some() || step.stopping.is_some() || !matches!(step.phase, Phase::Running | Phase::Planning) {
            continue;
        }
        let plan = if step.phase == Phase::Planning {
            None
        } else {
            step.plan.as_ref()
        };
        match program(workflow, declared, &snapshot, plan) {
            Ok(_) if step.phase == Phase::Planning => {}
            Ok(card) => {
                step.card = Some(card.digest.clone());
                cards.insert((step.name.clone(), step.round), card);
            }
            Err(error) => {
                step.stopping = Some(Fatal {
                    reason: "BadProgram".into(),
                    message: cut(&error),
                });
            }
        }
    }
}

/// A running step in which nothing runs is waiting for its retries, or suspended.
fn wait_or_run(view: &View<'_>, status: &mut WorkflowStatus) {
    let uid = view.workflow.uid().unwrap_or_default();
    for step in status.steps.iter_mut().filter(|step| {
        matches!(
            step.phase,
            Phase::Running | Phase::Waiting | Phase::Suspended | Phase::Paused
        )
    }) {
        let declared = view
            .workflow
            .spec
            .steps
            .iter()
            .find(|declared| declared.name == step.name);
        let suspended = declared.is_some_and(|declared| rests(view.workflow, declared));
        if step.is_between_rounds() {
            step.phase = if suspended { Phase::Suspended } else { Phase::Waiting };
            continue;
        }
        let total = step.partitions.total;
        let waits = step.ledger.len().saturating_add(step.deferred.len() as u64) >= total && !step.deferred.is_empty();
        let open = view.desks.any_open(&uid, &step.name);
        // What is sealed may have left a partition running that is about to be adopted: not at rest before it has left.
        let rests = !view.desks.any(&uid, &step.name);
        step.phase = match suspended {
            _ if step.paused.is_some() && step.renewal.is_none() && rests => Phase::Paused,
            true if rests => Phase::Suspended,
            false if waits && !open => Phase::Waiting,
            _ => Phase::Running,
        };
    }
}

/// A status that would be too large keeps its old record, and the steps that grew fail before work is lost.
fn too_large(before: &WorkflowStatus, next: &WorkflowStatus, bytes: usize) -> WorkflowStatus {
    let mut status = before.clone();
    for step in &mut status.steps {
        let grew = next
            .steps
            .iter()
            .any(|other| other.name == step.name && other.ledger != step.ledger);
        if grew && step.stopping.is_none() {
            step.stopping = Some(Fatal {
                reason: "ResultTooLarge".into(),
                message: format!(
                    "the run's status would take {bytes} bytes, {} may: give fewer keys (maxKeys), fewer results, or allow fewer failures",
                    limits::STATUS_BYTES
                ),
            });
        }
    }
    status
}
