//! Which pods a run needs: a pool for each pod class of its steps.

use std::{collections::BTreeMap, fmt::Write as _};

use braid_crds::{
    PodClass, WorkerPool, WorkerPoolSpec, Workflow,
    status::{Phase, WorkflowStatus},
    workflow::Step,
};
use kube::{
    Api, ResourceExt as _,
    api::{ObjectMeta, PostParams},
};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use super::WorkflowError;
use crate::{
    Context,
    api::{ApiError, call},
    names,
};

/// The pool of a step that names none.
const DEFAULT: &str = "default";

/// The pools of a run, by name, and which of them each step uses.
#[derive(Debug, Default)]
pub struct Pools {
    /// By name; only those that are needed so far.
    pub made: BTreeMap<String, WorkerPool>,
    /// From steps to pools.
    pub of_step: BTreeMap<String, String>,
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
    PodClass {
        template: pool.and_then(|pool| pool.template.clone()),
        image: run.image.clone(),
        resources: run.resources.clone(),
        env: from_elsewhere.collect(),
        env_from: run.env_from.clone(),
        volume_mounts: run.volume_mounts.clone(),
        security_context: run.security_context.clone(),
    }
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

/// The pools that a run needs, made if they are not there: those of steps that are under way or about to be. A pool that was made stays
/// until the run ends.
pub async fn of(context: &Context, workflow: &Workflow, status: &WorkflowStatus) -> Result<Pools, WorkflowError> {
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
        if pools.made.contains_key(&name) {
            continue;
        }
        if let Some(known) = context.pool(&namespace, &name) {
            pools.made.insert(name, (*known).clone());
        } else if is_needed(step, status) {
            let made = make(context, workflow, &namespace, &name, class, status).await?;
            pools.made.insert(name, made);
        }
    }
    Ok(pools)
}

fn is_needed(step: &Step, status: &WorkflowStatus) -> bool {
    let phase = status
        .steps
        .iter()
        .find(|known| known.name == step.name)
        .map(|step| step.phase);
    match phase {
        None | Some(Phase::Pending) => step.after.is_empty(),
        Some(phase) => !phase.is_terminal(),
    }
}

async fn make(
    context: &Context,
    workflow: &Workflow,
    namespace: &str,
    name: &str,
    pods: PodClass,
    status: &WorkflowStatus,
) -> Result<WorkerPool, WorkflowError> {
    let api: Api<WorkerPool> = Api::namespaced(context.client.clone(), namespace);
    let labels = [
        (names::MANAGED_BY.to_owned(), names::BRAID.to_owned()),
        (names::WORKFLOW_UID.to_owned(), names::uid(workflow)),
        (names::WORKFLOW.to_owned(), workflow.name_any()),
    ];
    let ended = status.phase.is_terminal();
    let pool = WorkerPool {
        metadata: ObjectMeta {
            name: Some(name.to_owned()),
            labels: Some(labels.into_iter().collect()),
            owner_references: names::owner(workflow).map(|owner| vec![owner]),
            ..ObjectMeta::default()
        },
        spec: WorkerPoolSpec {
            workers: if ended { 0 } else { context.options.workers },
            pods,
        },
        status: None,
    };
    match call("create the run's pool", api.create(&PostParams::default(), &pool)).await {
        Err(ApiError::Conflict { what }) => Ok(call(what, api.get(name)).await?),
        answer => Ok(answer?),
    }
}
