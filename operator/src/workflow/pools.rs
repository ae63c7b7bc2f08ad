//! Which pods a run needs: a `WorkerPool` for each kind of pod of its steps, and how many workers in each.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use braid_crds::{
    DataVolume, PodClass, Worker, WorkerPool, WorkerPoolSpec, Workflow,
    status::{Phase, StepStatus, Sweep, WorkflowStatus},
    worker::Fatal,
    workflow::{Data, Step},
};
use braid_engine::{
    card,
    scale::{Bounds, Kind, Load, demand, workers},
};
use jiff::Timestamp;
use kube::{
    Api, ResourceExt as _,
    api::{ObjectMeta, PostParams},
};
use serde_json::json;

use super::{Memory, WorkflowError, advance::cut, places::Places, settle::stop};
use crate::{
    Context,
    api::{ApiError, call},
    names,
    standing::{self, PoolKey, Trouble},
};

/// The pool of a step that names none.
pub(crate) const DEFAULT: &str = "default";

/// For how long workers stay that have nothing to do, where nobody says otherwise.
pub(crate) const IDLE: Duration = Duration::from_secs(30);
/// How long a step that has not begun waits for its first worker, where nobody says otherwise: what a Deployment allows its pods to make
/// progress. A cluster that adds a node and pulls a large image is done by then.
const START_DEADLINE: Duration = Duration::from_mins(10);
/// What is tried again within this time is worth a worker now.
const SOON_MILLIS: i64 = 10_000;

/// The pools of a run, by name, and which of them each step uses.
#[derive(Debug, Default)]
pub struct Pools {
    /// `WorkerPool`s that are there: the run's own, and the standing ones that it may use, or still has something on.
    pub made: BTreeMap<PoolKey, WorkerPool>,
    /// Whose workers each step uses.
    pub of_step: BTreeMap<String, Home>,
    /// Why steps cannot have the workers of their standing pools.
    pub troubles: BTreeMap<String, Trouble>,
    /// The run's namespace.
    here: String,
    /// From declared pools to the kinds of pods in them, by the names of their `WorkerPool`s.
    kinds: BTreeMap<String, BTreeMap<String, PodClass>>,
}

/// Which workers a step may use.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Home {
    /// Their `WorkerPool`; absent: none may be used.
    pub pool: Option<PoolKey>,
    /// What their pods must have been made as; absent: any will do.
    pub class: Option<String>,
}

impl Home {
    /// Whether a worker is one of them.
    pub fn has(&self, worker: &Worker) -> bool {
        let class = self.class.as_ref();
        let is_of_pool = self.pool.as_ref().is_some_and(|pool| pool.has(worker));
        is_of_pool && class.is_none_or(|class| worker.labels().get(names::POD_CLASS) == Some(class))
    }
}

impl Pools {
    /// The standing ones.
    pub fn standing(&self) -> impl Iterator<Item = &WorkerPool> {
        self.made.values().filter(|pool| !standing::is_of_a_run(pool))
    }

    /// Those that steps may use now.
    pub fn used(&self) -> impl Iterator<Item = &WorkerPool> {
        let is_used = |key: &PoolKey| self.of_step.values().any(|home| home.pool.as_ref() == Some(key));
        let used = self.made.iter().filter(move |(key, _)| is_used(key));
        used.map(|(_, pool)| pool)
    }

    /// The pool of a step, if it is there and may be used.
    pub fn of(&self, step: &str) -> Option<&WorkerPool> {
        self.made.get(self.of_step.get(step)?.pool.as_ref()?)
    }

    /// The key of one of the run's own.
    fn own(&self, name: &str) -> PoolKey {
        PoolKey {
            namespace: self.here.clone(),
            name: name.to_owned(),
        }
    }
}

/// What must be in the pods of a step.
#[must_use]
pub fn class_of(workflow: &Workflow, step: &Step) -> PodClass {
    let name = step.pool.as_deref().unwrap_or(DEFAULT);
    let pool = workflow.spec.pools.iter().find(|pool| pool.name == name);
    let run = &step.run;
    let from_elsewhere = run.env.iter().filter_map(|variable| {
        let source = variable.value_from.as_ref()?;
        Some(json!({"name": variable.name, "valueFrom": source}))
    });
    let over = step.over.as_ref().and_then(|over| over.data.as_ref());
    let is_written = |declared: &Data| {
        card::written(step).any(|name| name == declared.name)
            || card::shuffled_through(step) == Some(declared.name.as_str())
    };
    let data = (workflow.spec.data.iter()).filter(|declared| {
        Some(&declared.name) == over || step.reads.iter().any(|read| read.data == declared.name) || is_written(declared)
    });
    PodClass {
        data: data
            .filter_map(|data| {
                Some(DataVolume {
                    name: data.name.clone(),
                    volume: data.files.volume.clone()?,
                    writable: is_written(data),
                })
            })
            .collect(),
        template: pool.and_then(|pool| pool.template.clone()),
        image: run.image.clone(),
        code: run.code.as_ref().and_then(|code| code.config_map_ref.clone()),
        resources: run.resources.clone(),
        env: from_elsewhere.collect(),
        env_from: run.env_from.clone(),
        volume_mounts: run.volume_mounts.clone(),
        security_context: run.security_context.clone(),
    }
}

/// What a run asks for that pods do not have; `None`: nothing.
#[must_use]
pub fn only_on_a_laptop(workflow: &Workflow) -> Option<String> {
    let steps = workflow.spec.steps.iter().enumerate();
    let mut paths = steps.filter_map(|(at, step)| Some((at, step.run.code.as_ref()?.path.as_ref()?)));
    let (at, path) = paths.next()?;
    Some(format!(
        "spec.steps[{at}].run.code.path: {path:?} is a directory of a laptop, which pods do not have; `braid submit` makes a ConfigMap \
         of it, and code.configMapRef names one"
    ))
}

/// The name of a run's pool for a class: that of the run's only pool, for the class of no demands, else with a hash behind it.
fn name_of(workflow: &Workflow, class: &PodClass) -> String {
    let base = names::pool(&workflow.name_any(), &names::uid(workflow));
    if class.is_empty() {
        return base;
    }
    format!("{base}-{}", names::digest(class, 3))
}

/// The pools of a run's steps, and which of them are there.
pub fn of(context: &Context, workflow: &Workflow) -> Result<Pools, WorkflowError> {
    let namespace = workflow.namespace().ok_or(WorkflowError::Malformed("namespace"))?;
    let mut pools = Pools {
        here: namespace.clone(),
        ..Pools::default()
    };
    for step in &workflow.spec.steps {
        let class = if context.options.pod_classes {
            class_of(workflow, step)
        } else {
            PodClass::default()
        };
        // A laptop is every pool.
        if let Some(key) = standing::reference(workflow, step).filter(|_| context.options.pod_classes) {
            let (pool, trouble) = standing_pool(context, workflow, step, &key);
            let home = match (&pool, &trouble) {
                (Some(pool), None) => Home {
                    class: (!class.is_empty()).then(|| names::class(&pool.spec.pods)),
                    pool: Some(key.clone()),
                },
                _ => Home::default(),
            };
            pools.of_step.insert(step.name.clone(), home);
            pools
                .troubles
                .extend(trouble.map(|trouble| (step.name.clone(), trouble)));
            // What it has on the desks of a pool that it does not fit or may not use any more counts all the same.
            if let Some(pool) = pool {
                pools.made.insert(key, (*pool).clone());
            }
            continue;
        }
        let name = name_of(workflow, &class);
        let key = pools.own(&name);
        let home = Home {
            pool: Some(key.clone()),
            class: None,
        };
        pools.of_step.insert(step.name.clone(), home);
        if let Some(known) = context.pool(&namespace, &name) {
            pools.made.insert(key, (*known).clone());
        }
        let declared = step.pool.as_deref().unwrap_or(DEFAULT);
        let kinds = pools.kinds.entry(declared.to_owned()).or_default();
        kinds.insert(name, class);
    }
    Ok(pools)
}

/// The standing pool of a step, as far as the run has to do with it, and why the step cannot have its workers.
fn standing_pool(
    context: &Context,
    workflow: &Workflow,
    step: &Step,
    key: &PoolKey,
) -> (Option<Arc<WorkerPool>>, Option<Trouble>) {
    let Some(there) = context.at(&key.namespace) else {
        return (None, Some(Trouble::NotWatched(key.clone())));
    };
    if key.is_elsewhere(workflow) && !there.is_read() {
        return (None, Some(Trouble::NotRead(key.clone())));
    }
    let pool = there.pool(&key.namespace, &key.name);
    let trouble = Trouble::of(workflow, step, key, pool.as_deref());
    let uid = names::uid(workflow);
    let pool = pool.filter(|pool| {
        let has_some = || {
            let desks = there.desks_of_pool(&names::uid(pool.as_ref()));
            let mut shards = desks.iter().flat_map(|desk| &desk.spec.shards);
            shards.any(|shard| shard.run.uid == uid)
        };
        !standing::is_of_a_run(pool) && (standing::allows(pool, workflow) || has_some())
    });
    (pool, trouble)
}

/// Fails steps that have waited too long for a first worker, in the words of whoever knows why there is none. Only steps of which nothing
/// is settled: what has cost work already waits.
pub fn give_up(context: &Context, workflow: &Workflow, pools: &Pools, status: &mut WorkflowStatus, now: Timestamp) {
    if workflow.spec.suspend || workflow.spec.cancel || !context.options.pod_classes {
        return;
    }
    for declared in &workflow.spec.steps {
        let pool = pools.of(&declared.name);
        let Some((pool, step)) = pool.zip(status.steps.iter_mut().find(|step| step.name == declared.name)) else {
            continue;
        };
        let limit = start_deadline(workflow, declared, pool);
        if let Some(fatal) = overdue(pool, step, &limit, now) {
            step.stopping = Some(fatal);
        }
    }
}

fn start_deadline(workflow: &Workflow, step: &Step, pool: &WorkerPool) -> Duration {
    let name = step.pool.as_deref().unwrap_or(DEFAULT);
    let declared = workflow.spec.pools.iter().find(|pool| pool.name == name);
    let said = match declared {
        Some(declared) if declared.worker_pool_ref.is_none() => declared.start_deadline.as_ref(),
        Some(_) => pool.spec.start_deadline.as_ref(),
        None => None,
    };
    said.map_or(START_DEADLINE, braid_crds::Duration::get)
}

/// Why a step fails that none of the pool's workers has begun.
fn overdue(pool: &WorkerPool, step: &StepStatus, limit: &Duration, now: Timestamp) -> Option<Fatal> {
    let waits = matches!(step.phase, Phase::Planning | Phase::Running) && step.stopping.is_none();
    let untouched = step.ledger.is_empty() && step.deferred.is_empty() && step.suspects.is_empty();
    let pool = pool.status.as_ref().filter(|_| waits && untouched)?;
    let since = pool.starting_since.as_ref()?.0.max(step.started_at.as_ref()?.0);
    let waited = Duration::try_from(now.duration_since(since)).ok()?;
    if waited <= *limit {
        return None;
    }
    let cause = pool.message.split_once(": ").map_or("", |(reason, _)| reason);
    let is_reason = !cause.is_empty() && cause.chars().all(|c| c.is_ascii_alphanumeric()) && cause.len() <= 64;
    let why = if pool.message.is_empty() {
        "nothing tells why"
    } else {
        &pool.message
    };
    Some(Fatal {
        reason: if is_reason {
            cause.to_owned()
        } else {
            "NoWorkers".to_owned()
        },
        message: cut(&format!("no worker was ready within {}s: {why}", limit.as_secs())),
    })
}

/// Gives each kind of pod as many workers as there is work for, within what its pool allows; none once the run is over.
pub async fn scale(
    context: &Context,
    workflow: &Workflow,
    status: &WorkflowStatus,
    pools: &Pools,
    places: &Places,
    memory: &mut Memory,
    now: Timestamp,
) -> Result<(), WorkflowError> {
    for (declared, kinds) in &pools.kinds {
        let names: Vec<&String> = kinds.keys().collect();
        // A paused run waits for people, maybe for days, and what they mend is seen by new pods at once.
        let rests = context.options.pod_classes && status.phase == Phase::Paused;
        let wanted = if status.phase.is_terminal() || rests {
            vec![0; names.len()]
        } else if context.options.pod_classes {
            let bounds = bounds(context, workflow, declared);
            elastic(workflow, (status, places), pools, &names, bounds, memory, now)
        } else {
            // The machine's own: they cost nothing while they wait.
            vec![context.options.workers; names.len()]
        };
        for ((name, class), wanted) in kinds.iter().zip(wanted) {
            match pools.made.get(&pools.own(name)) {
                Some(pool) if pool.spec.replicas == Some(wanted) => {}
                Some(pool) => resize(context, pool, wanted).await?,
                None if wanted > 0 => make(context, workflow, name, class.clone(), wanted).await?,
                None => {}
            }
        }
    }
    Ok(())
}

fn bounds(context: &Context, workflow: &Workflow, declared: &str) -> Bounds {
    let pool = workflow.spec.pools.iter().find(|pool| pool.name == declared);
    let workers = pool.and_then(|pool| pool.workers.as_ref());
    let count = |count: i32| u64::try_from(count).unwrap_or(0);
    let idle = workers
        .and_then(|workers| workers.idle.as_ref())
        .map_or(IDLE, braid_crds::Duration::get);
    Bounds {
        min: count(workers.and_then(|workers| workers.min).unwrap_or(0)),
        max: count(
            workers
                .and_then(|workers| workers.max)
                .unwrap_or(context.options.workers),
        ),
        idle_millis: u64::try_from(idle.as_millis()).unwrap_or(u64::MAX),
    }
}

fn elastic(
    workflow: &Workflow,
    (status, places): (&WorkflowStatus, &Places),
    pools: &Pools,
    names: &[&String],
    bounds: Bounds,
    memory: &mut Memory,
    now: Timestamp,
) -> Vec<i32> {
    let kinds: Vec<Kind> = names
        .iter()
        .map(|name| {
            let key = pools.own(name);
            let pool = pools.made.get(&key);
            let wanted = pool.map_or(0, |pool| u64::try_from(pool.spec.replicas.unwrap_or(0)).unwrap_or(0));
            let steps = workflow.spec.steps.iter().filter(|step| {
                pools
                    .of_step
                    .get(&step.name)
                    .is_some_and(|home| home.pool.as_ref() == Some(&key))
            });
            let loads: Vec<Load> = steps
                .filter_map(|step| load(workflow, step, (status, places), wanted, now))
                .collect();
            let demand = demand(&loads, wanted);
            Kind {
                demand,
                now: wanted,
                idle_millis: memory.idle(name, demand < wanted),
            }
        })
        .collect();
    let given = workers(bounds, &kinds);
    given
        .into_iter()
        .map(|count| i32::try_from(count).unwrap_or(i32::MAX))
        .collect()
}

/// What is left of a step for its workers; `None`: nothing, or nothing now.
pub(crate) fn load(
    workflow: &Workflow,
    step: &Step,
    (status, places): (&WorkflowStatus, &Places),
    workers: u64,
    now: Timestamp,
) -> Option<Load> {
    let known = status.steps.iter().find(|known| known.name == step.name)?;
    let publishes = !known.unpublished.is_empty() || known.sweep.is_some_and(Sweep::is_due);
    let settled_all = known.ledger.len() >= known.partitions.total;
    if publishes && !known.closed && (settled_all || stop(workflow, step, known).is_some()) {
        // One of them publishes what was counted: the step does not end before.
        return Some(Load {
            partitions: 1,
            most: 1,
            concurrency: 1,
            mean_micros: None,
        });
    }
    if stop(workflow, step, known).is_some() || known.is_between_rounds() {
        return None;
    }
    let concurrency = step
        .run
        .concurrency
        .and_then(|n| u64::try_from(n).ok())
        .unwrap_or(1)
        .max(1);
    match known.phase {
        // One of them looks what there is.
        Phase::Planning => Some(Load {
            partitions: 1,
            most: 1,
            concurrency: 1,
            mean_micros: None,
        }),
        Phase::Running | Phase::Waiting => {
            let soon = now.as_millisecond().saturating_add(SOON_MILLIS);
            let later = known
                .deferred
                .iter()
                .filter(|deferred| deferred.not_before > soon)
                .count() as u64;
            let settled = known.ledger.len();
            let started = known.round_started_at().map_or(now, |at| at.0);
            let elapsed = u64::try_from(now.duration_since(started).as_micros()).unwrap_or(0);
            Some(Load {
                partitions: known.partitions.total.saturating_sub(settled).saturating_sub(later),
                most: places.of_step(&step.name).unwrap_or(u64::MAX),
                concurrency,
                mean_micros: elapsed
                    .saturating_mul(
                        workers
                            .saturating_mul(concurrency)
                            .min(places.of_step(&step.name).unwrap_or(u64::MAX)),
                    )
                    .checked_div(settled),
            })
        }
        _ => None,
    }
}

async fn resize(context: &Context, pool: &WorkerPool, workers: i32) -> Result<(), WorkflowError> {
    let namespace = pool.namespace().ok_or(WorkflowError::Malformed("namespace"))?;
    let api: Api<WorkerPool> = Api::namespaced(context.client.clone(), &namespace);
    let mut next = pool.clone();
    next.spec.replicas = Some(workers);
    next.spec.workers = None;
    match call(
        "resize a pool of the run",
        api.replace(&next.name_any(), &PostParams::default(), &next),
    )
    .await
    {
        Ok(_) | Err(ApiError::NotFound { .. }) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

async fn make(
    context: &Context,
    workflow: &Workflow,
    name: &str,
    pods: PodClass,
    workers: i32,
) -> Result<(), WorkflowError> {
    let namespace = workflow.namespace().ok_or(WorkflowError::Malformed("namespace"))?;
    let api: Api<WorkerPool> = Api::namespaced(context.client.clone(), &namespace);
    let labels = [
        (names::MANAGED_BY.to_owned(), names::BRAID.to_owned()),
        (names::WORKFLOW_UID.to_owned(), names::uid(workflow)),
        (names::WORKFLOW.to_owned(), workflow.name_any()),
    ];
    let pool = WorkerPool {
        metadata: ObjectMeta {
            name: Some(name.to_owned()),
            labels: Some(labels.into_iter().collect()),
            owner_references: names::owner(workflow).map(|owner| vec![owner]),
            ..ObjectMeta::default()
        },
        spec: WorkerPoolSpec {
            replicas: Some(workers),
            pods,
            ..WorkerPoolSpec::default()
        },
        status: None,
    };
    match call("create a pool of the run", api.create(&PostParams::default(), &pool)).await {
        // An earlier pass did it; the watch tells of it soon.
        Ok(_) | Err(ApiError::Conflict { .. }) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

#[cfg(test)]
mod tests;
