//! The pass over a run: observe, accept, advance, write, settle.
//!
//! A pass reads copies (never older than this operator's own last writes), decides with pure functions, writes the status
//! once with the version that it read, and only when that write is known to have succeeded changes the workers' desks,
//! one write each. It may end after any write: the next pass recomputes everything from what exists.

use std::{sync::Arc, time::Duration};

use braid_crds::{STATUS_FORMAT, WorkerPool, Workflow, WorkflowStatus, status::Phase, worker::Fatal, workflow::Step};
use braid_engine::{assign::Fitness, dag::Dag, protocol::wire::WireError, scale};
use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::{ResourceExt as _, runtime::controller::Action};

use crate::{
    Context,
    api::ApiError,
    counters::Kind,
    names,
    stages::Stage,
    standing::{self, PoolKey},
};

mod accepting;
mod advance;
mod conditions;
pub(crate) mod desks;
mod expiry;
mod memory;
mod orders;
pub(crate) mod places;
pub(crate) mod plans;
pub(crate) mod pools;
mod programs;
mod record;
mod resuming;
mod settle;
mod traces;

#[cfg(test)]
mod tests;

pub use memory::Memory;

use advance::{View, advance, cut};
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
        programs::freeze(&self.workflow, &mut advance.status, &mut self.memory.cards);
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

/// Whether the steps of a run rest because somebody wants it: what runs after a cancelled run does not.
fn rests(workflow: &Workflow, step: &Step) -> bool {
    workflow.spec.suspend && !(step.finally && workflow.spec.cancel)
}

/// Whether a step is to end because the run is: what runs at its end is not.
fn is_cancelled(workflow: &Workflow, step: &Step) -> bool {
    workflow.spec.cancel && !step.finally
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
