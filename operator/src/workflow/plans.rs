//! Plans of steps over items. (Data is listed by workers: the operator never touches it.)

use std::borrow::Cow;

use braid_crds::{
    Plan, Workflow, WorkflowStatus,
    status::{PlanRef, StepStatus},
    workflow::Over,
};
use braid_engine::{expr::Scope, items, plan};
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
    }
    Ok(plan.reference().clone())
}
