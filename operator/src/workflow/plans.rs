//! Plans of steps over items. (Data is listed by workers: the operator never touches it.)

use std::borrow::Cow;

use braid_crds::{
    Plan, PlanDigest, PlanSpec, WorkerPool, Workflow, WorkflowStatus,
    status::{PlanRef, StepStatus},
    workflow::Over,
};
use braid_engine::{
    expr::Scope,
    items, plan,
    resume::{Refusal, Taken},
};
use kube::{
    Api, ResourceExt as _,
    api::{DeleteParams, ObjectMeta, PostParams, Preconditions},
};
use serde_json::Value;

use super::{Memory, WorkflowError, pools::Pools};
use crate::{
    Context,
    api::{ApiError, call},
    counters::Kind,
    names,
    stages::Stage,
    standing::PoolKey,
};

/// The items of a step that runs over such: what the manifest says, or what its expression gives. `None`: over something else.
pub fn items<'a>(
    workflow: &Workflow,
    over: &'a Over,
    status: &WorkflowStatus,
) -> Option<Result<Cow<'a, [Value]>, String>> {
    let mut failed = None;
    let found = items::of(over, || {
        super::programs::scope(workflow, status).unwrap_or_else(|error| {
            failed = Some(error);
            Scope::default()
        })
    })?;
    Some(match failed {
        Some(error) => Err(error),
        None => found.map_err(|error| error.to_string()),
    })
}

/// Makes the plan of a step over items: its objects exist when this returns.
pub async fn make(
    context: &Context,
    workflow: &Workflow,
    step: &StepStatus,
    items: &[Value],
) -> Result<PlanRef, WorkflowError> {
    let namespace = workflow.namespace().ok_or(WorkflowError::Malformed("namespace"))?;
    let plan = plan::Plan::items(items.to_vec())
        .and_then(|plan| plan.encode())
        .map_err(|error| WorkflowError::Spec(error.to_string()))?;
    let api: Api<Plan> = Api::namespaced(context.client.clone(), &namespace);
    for (name, spec) in plan.objects(&workflow.name_any(), &names::uid(workflow), &step.name, step.round) {
        put(&api, own(workflow, name), spec).await?;
    }
    Ok(plan.reference().clone())
}

/// Copies the plans of steps that a run has taken over: they become the run's own, so that it needs nothing of the other one. Objects of
/// plans carry the digest of the whole, which whoever reads them checks. A refusal if one is gone that is needed.
pub async fn copy(
    context: &Context,
    source: &Workflow,
    workflow: &Workflow,
    taken: &Taken,
) -> Result<Option<Refusal>, WorkflowError> {
    let namespace = workflow.namespace().ok_or(WorkflowError::Malformed("namespace"))?;
    let api: Api<Plan> = Api::namespaced(context.client.clone(), &namespace);
    for step in &taken.steps {
        let Some(plan) = step.plan.as_ref().filter(|plan| plan.chunks > 0) else {
            continue;
        };
        let name_of =
            |run: &Workflow, chunk| plan::plan_name(&run.name_any(), &names::uid(run), &step.name, &plan.digest, chunk);
        for chunk in 0..plan.chunks {
            let there = call("read a plan", api.get_opt(&name_of(source, chunk))).await?;
            let there = there.filter(|there| {
                let spec = &there.spec;
                (&spec.digest, spec.chunk, spec.chunks) == (&plan.digest, chunk, plan.chunks)
            });
            let Some(there) = there else {
                // Of a step that has ended nobody needs it but people who look at its input.
                if step.phase.is_terminal() {
                    break;
                }
                return Ok(Some(Refusal::PlanMissing {
                    name: source.name_any(),
                    step: step.name.clone(),
                }));
            };
            let spec = PlanSpec {
                workflow_uid: names::uid(workflow),
                round: step.round,
                ..there.spec
            };
            put(&api, own(workflow, name_of(workflow, chunk)), spec).await?;
        }
    }
    Ok(None)
}

/// Sees to it that the plans of steps whose workers are in another namespace are there and here: workers read and write plans where they live,
/// and an owner cannot be elsewhere. Those there belong to the pool, and go with it or with the run; those here are the run's own, as any. Done
/// before anything is handed out by a plan.
pub async fn lend(
    context: &Context,
    workflow: &Workflow,
    status: &WorkflowStatus,
    pools: &Pools,
    memory: &mut Memory,
) -> Result<(), WorkflowError> {
    if status.phase.is_terminal() {
        // They are about to be swept.
        memory.lent.clear();
        return Ok(());
    }
    let is_current = |step: &StepStatus, name: &str, digest: &PlanDigest| {
        step.name == name && step.plan.as_ref().is_some_and(|plan| plan.digest == *digest)
    };
    memory
        .lent
        .retain(|(name, digest, _)| status.steps.iter().any(|step| is_current(step, name, digest)));
    for step in status.steps.iter().filter(|step| !step.phase.is_terminal()) {
        let plan = step.plan.as_ref().filter(|plan| plan.chunks > 0);
        let pool = pools
            .of(&step.name)
            .filter(|pool| PoolKey::of(pool).is_elsewhere(workflow));
        let Some((plan, pool)) = plan.zip(pool) else { continue };
        let key = (step.name.clone(), plan.digest.clone(), names::uid(pool));
        if memory.lent.contains(&key) {
            continue;
        }
        let lending = Box::pin(lend_one(context, workflow, step, plan, pool));
        context.stage(Kind::Workflow, Stage::Plan, lending).await?;
        memory.lent.insert(key);
    }
    Ok(())
}

async fn lend_one(
    context: &Context,
    workflow: &Workflow,
    step: &StepStatus,
    plan: &PlanRef,
    pool: &WorkerPool,
) -> Result<(), WorkflowError> {
    let namespace = workflow.namespace().ok_or(WorkflowError::Malformed("namespace"))?;
    let here: Api<Plan> = Api::namespaced(context.client.clone(), &namespace);
    let there: Api<Plan> = Api::namespaced(context.client.clone(), &pool.namespace().unwrap_or_default());
    let (uid, pool_uid) = (names::uid(workflow), names::uid(pool));
    for chunk in 0..plan.chunks {
        let name = plan::plan_name(&workflow.name_any(), &uid, &step.name, &plan.digest, chunk);
        let is_it = |found: &Plan| {
            let spec = &found.spec;
            (&spec.digest, spec.chunk, spec.chunks, &spec.workflow_uid) == (&plan.digest, chunk, plan.chunks, &uid)
        };
        let own_one = call("read a plan", here.get_opt(&name)).await?.filter(is_it);
        let lent = call("read a plan", there.get_opt(&name)).await?.filter(is_it);
        let stays = |lent: &Plan| {
            let mut owners = lent.owner_references().iter();
            lent.metadata.deletion_timestamp.is_none() && owners.any(|owner| owner.uid == pool_uid)
        };
        let is_lent = lent.as_ref().is_some_and(stays);
        if let Some(gone) = lent.as_ref().filter(|_| !is_lent) {
            // Of a pool of the same name that is gone: the server is about to remove it.
            delete(&there, &name, gone.uid()).await?;
        }
        // If it is nowhere, whoever needs it says so.
        let Some(spec) = own_one.as_ref().or(lent.as_ref()).map(|found| found.spec.clone()) else {
            continue;
        };
        if !is_lent {
            put(&there, of_pool(pool, workflow, name.clone()), spec.clone()).await?;
        }
        if own_one.is_none() {
            put(&here, own(workflow, name), spec).await?;
        }
    }
    Ok(())
}

/// Deletes a plan, if it is still that one.
pub async fn delete(api: &Api<Plan>, name: &str, uid: Option<String>) -> Result<(), ApiError> {
    let params = DeleteParams {
        preconditions: Some(Preconditions {
            uid,
            resource_version: None,
        }),
        ..DeleteParams::default()
    };
    match call("delete a plan that nobody needs", api.delete(name, &params)).await {
        Ok(_) | Err(ApiError::NotFound { .. }) => Ok(()),
        Err(error) => Err(error),
    }
}

/// The metadata of a run's own plan.
fn own(workflow: &Workflow, name: String) -> ObjectMeta {
    let labels = [
        (names::MANAGED_BY.to_owned(), names::BRAID.to_owned()),
        (names::WORKFLOW_UID.to_owned(), names::uid(workflow)),
    ];
    ObjectMeta {
        name: Some(name),
        labels: Some(labels.into_iter().collect()),
        owner_references: names::owner(workflow).map(|owner| vec![owner]),
        ..ObjectMeta::default()
    }
}

/// The metadata of a copy for the workers of a pool elsewhere. Workers write the same, and no more.
fn of_pool(pool: &WorkerPool, workflow: &Workflow, name: String) -> ObjectMeta {
    ObjectMeta {
        name: Some(name),
        labels: Some(names::lent(
            &names::uid(pool),
            &workflow.namespace().unwrap_or_default(),
            &workflow.name_any(),
            &names::uid(workflow),
        )),
        owner_references: names::owner(pool).map(|owner| vec![owner]),
        ..ObjectMeta::default()
    }
}

/// Creates an object of a plan; one that is there already holds the same.
async fn put(api: &Api<Plan>, metadata: ObjectMeta, spec: PlanSpec) -> Result<(), WorkflowError> {
    let name = metadata.name.clone().unwrap_or_default();
    let object = Plan { metadata, spec };
    match call("create a plan", api.create(&PostParams::default(), &object)).await {
        Err(ApiError::Conflict { what }) => {
            let there = call(what, api.get(&name)).await?;
            if !plan::holds_same(&there.spec, &object.spec) {
                return Err(ApiError::Refused {
                    what,
                    message: format!("{name} exists and holds something else"),
                }
                .into());
            }
        }
        answer => drop(answer?),
    }
    Ok(())
}
