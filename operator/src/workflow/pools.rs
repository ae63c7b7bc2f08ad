//! Which pods a run needs: a `WorkerPool` for each kind of pod of its steps, and how many workers in each.

use std::{collections::BTreeMap, fmt::Write as _, time::Duration};

use braid_crds::{
    DataVolume, PodClass, WorkerPool, WorkerPoolSpec, Workflow,
    status::{Phase, WorkflowStatus},
    workflow::Step,
};
use braid_engine::scale::{Bounds, Kind, Load, demand, workers};
use jiff::Timestamp;
use kube::{
    Api, ResourceExt as _,
    api::{ObjectMeta, PostParams},
};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use super::{Memory, WorkflowError, places::Places, settle::stop};
use crate::{
    Context,
    api::{ApiError, call},
    names,
};

/// The pool of a step that names none.
const DEFAULT: &str = "default";

/// For how long workers stay that have nothing to do, where nobody says otherwise.
const IDLE: Duration = Duration::from_secs(30);
/// What is tried again within this time is worth a worker now.
const SOON_MILLIS: i64 = 10_000;

/// The pools of a run, by name, and which of them each step uses.
#[derive(Debug, Default)]
pub struct Pools {
    /// `WorkerPool`s that are there, by their names.
    pub made: BTreeMap<String, WorkerPool>,
    /// From steps to the names of `WorkerPool`s.
    pub of_step: BTreeMap<String, String>,
    /// From declared pools to the kinds of pods in them, by the names of their `WorkerPool`s.
    kinds: BTreeMap<String, BTreeMap<String, PodClass>>,
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
    let data = step.over.as_ref().and_then(|over| over.data.as_ref());
    let data = workflow
        .spec
        .data
        .iter()
        .filter(|declared| Some(&declared.name) == data);
    PodClass {
        data: data
            .filter_map(|data| {
                Some(DataVolume {
                    name: data.name.clone(),
                    volume: data.files.volume.clone()?,
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
    let mut name = format!("{base}-");
    // A map's order means nothing.
    let text = sorted(serde_json::to_value(class).unwrap_or_default()).to_string();
    for byte in Sha256::digest(text).iter().take(3) {
        // Writing to a string cannot fail.
        let _ = write!(name, "{byte:02x}");
    }
    name
}

fn sorted(value: Value) -> Value {
    match value {
        Value::Array(items) => Value::Array(items.into_iter().map(sorted).collect()),
        Value::Object(fields) => {
            let fields: BTreeMap<String, Value> =
                fields.into_iter().map(|(name, value)| (name, sorted(value))).collect();
            Value::Object(fields.into_iter().collect())
        }
        other => other,
    }
}

/// The pools of a run's steps, and which of them are there.
pub fn of(context: &Context, workflow: &Workflow) -> Result<Pools, WorkflowError> {
    let namespace = workflow.namespace().ok_or(WorkflowError::Malformed("namespace"))?;
    let mut pools = Pools::default();
    for step in &workflow.spec.steps {
        let class = if context.options.pod_classes {
            class_of(workflow, step)
        } else {
            PodClass::default()
        };
        let name = name_of(workflow, &class);
        pools.of_step.insert(step.name.clone(), name.clone());
        if let Some(known) = context.pool(&namespace, &name) {
            pools.made.insert(name.clone(), (*known).clone());
        }
        let declared = step.pool.as_deref().unwrap_or(DEFAULT);
        let kinds = pools.kinds.entry(declared.to_owned()).or_default();
        kinds.insert(name, class);
    }
    Ok(pools)
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
        let wanted = if status.phase.is_terminal() {
            vec![0; names.len()]
        } else if context.options.pod_classes {
            let bounds = bounds(context, workflow, declared);
            elastic(workflow, (status, places), pools, &names, bounds, memory, now)
        } else {
            // The machine's own: they cost nothing while they wait.
            vec![context.options.workers; names.len()]
        };
        for ((name, class), wanted) in kinds.iter().zip(wanted) {
            match pools.made.get(name) {
                Some(pool) if pool.spec.workers == wanted => {}
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
            let pool = pools.made.get(*name);
            let wanted = pool.map_or(0, |pool| u64::try_from(pool.spec.workers).unwrap_or(0));
            let steps = workflow
                .spec
                .steps
                .iter()
                .filter(|step| pools.of_step.get(&step.name) == Some(*name));
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
fn load(
    workflow: &Workflow,
    step: &Step,
    (status, places): (&WorkflowStatus, &Places),
    workers: u64,
    now: Timestamp,
) -> Option<Load> {
    let known = status.steps.iter().find(|known| known.name == step.name)?;
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
    next.spec.workers = workers;
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
        spec: WorkerPoolSpec { workers, pods },
        status: None,
    };
    match call("create a pool of the run", api.create(&PostParams::default(), &pool)).await {
        // An earlier pass did it; the watch tells of it soon.
        Ok(_) | Err(ApiError::Conflict { .. }) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

    use super::*;

    fn with(code: &Value) -> Workflow {
        let steps =
            json!([{"name": "one", "run": {"script": "a"}}, {"name": "two", "run": {"function": "a:f", "code": code}}]);
        serde_json::from_value(json!({
            "apiVersion": "braid.dev/v1alpha1", "kind": "Workflow", "metadata": {"name": "a"}, "spec": {"steps": steps},
        }))
        .unwrap()
    }

    #[test]
    fn code_is_part_of_the_kind_of_pod() {
        let run = with(&json!({"configMapRef": {"name": "code-1"}}));
        assert_eq!(only_on_a_laptop(&run), None);
        let classes: Vec<PodClass> = run.spec.steps.iter().map(|step| class_of(&run, step)).collect();
        assert_eq!(classes[0], PodClass::default());
        assert_eq!(classes[1].code.as_ref().unwrap().name, "code-1");
        let other = with(&json!({"configMapRef": {"name": "code-2"}}));
        let name = |run: &Workflow| name_of(run, &class_of(run, &run.spec.steps[1]));
        assert_ne!(name(&run), name(&other));
    }

    #[test]
    fn a_directory_of_a_laptop_is_not_for_pods() {
        let problem = only_on_a_laptop(&with(&json!({"path": "./src"}))).unwrap();
        assert!(
            problem.starts_with("spec.steps[1].run.code.path: \"./src\""),
            "{problem}"
        );
    }
}
