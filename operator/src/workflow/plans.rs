//! Plans of steps over items. (Data is listed by workers: the operator never touches it.)

use std::borrow::Cow;

use braid_crds::{
    Plan, PlanSpec, Workflow, WorkflowStatus,
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
    api::{ObjectMeta, PostParams},
};
use serde_json::Value;

use super::WorkflowError;
use crate::{
    Context,
    api::{ApiError, call},
    names,
};

/// The items of a step that runs over such: what the manifest says, or what its expression gives. `None`: over something else.
pub fn items<'a>(
    workflow: &Workflow,
    over: &'a Over,
    status: &WorkflowStatus,
) -> Option<Result<Cow<'a, [Value]>, String>> {
    let mut failed = None;
    let found = items::of(over, || {
        super::scope(workflow, status).unwrap_or_else(|error| {
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
        put(&api, workflow, name, spec).await?;
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
            put(&api, workflow, name_of(workflow, chunk), spec).await?;
        }
    }
    Ok(None)
}

/// Creates an object of a plan; one that is there already holds the same.
async fn put(api: &Api<Plan>, workflow: &Workflow, name: String, spec: PlanSpec) -> Result<(), WorkflowError> {
    let labels = [
        (names::MANAGED_BY.to_owned(), names::BRAID.to_owned()),
        (names::WORKFLOW_UID.to_owned(), names::uid(workflow)),
    ];
    let metadata = ObjectMeta {
        name: Some(name.clone()),
        labels: Some(labels.into_iter().collect()),
        owner_references: names::owner(workflow).map(|owner| vec![owner]),
        ..ObjectMeta::default()
    };
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
