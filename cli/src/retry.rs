//! `braid retry`: what failed is tried again, in the same run or, with `--new`, in another one.

use braid_crds::{
    Workflow,
    status::{Phase, StepStatus},
};
use braid_engine::dag::Dag;
use kube::ResourceExt as _;
use serde_json::{Value, json};

use crate::{
    anew,
    args::RetryArgs,
    exit::{Exit, Failure},
    out,
    place::{self, Found},
    progress,
    run::{self, How},
    text::count,
};

/// Opens the failed partitions of a run again.
pub async fn retry(args: &RetryArgs) -> Result<Exit, Failure> {
    if let Some(name) = &args.new {
        return anew::retry(args, Some(name.as_str()).filter(|name| !name.is_empty())).await;
    }
    let target = &args.target;
    let told = match place::find(target.name.as_deref(), &target.place).await? {
        Found::Here(found) => {
            let workflow = match found.workflow().await {
                Ok(workflow) => workflow,
                Err(error) => {
                    found.close().await?;
                    return Err(error.into());
                }
            };
            let asked = asked(&workflow);
            if !found.is_running() {
                let state = found.state.clone();
                found.close().await?;
                let (patch, told) = asked?;
                progress::say(&format!("braid: {told}"));
                let how = How {
                    workers: args.workers,
                    output: args.output,
                    progress: args.progress,
                    ..How::named(target, &state, &workflow)
                };
                return run::go_on(&how, &state, &workflow, patch).await;
            }
            let done = match asked {
                Ok((patch, told)) => found.patch(&workflow.name_any(), &patch).await.map(|_| told),
                Err(failure) => {
                    found.close().await?;
                    return Err(failure);
                }
            };
            found.close().await?;
            done?
        }
        Found::There(remote) => {
            let workflow = remote.workflow().await?;
            let (mut patch, told) = asked(&workflow)?;
            // Of this object only: a later one of the same name is another run.
            if let (Some(uid), Some(patch)) = (workflow.uid(), patch.as_object_mut()) {
                patch.insert("metadata".to_owned(), json!({ "uid": uid }));
            }
            remote.patch(&patch).await?;
            told
        }
    };
    out::lines(&[told])?;
    Ok(Exit::Succeeded)
}

/// The change that asks for it, and what follows; or why it cannot be asked for.
fn asked(workflow: &Workflow) -> Result<(Value, String), Failure> {
    let name = workflow.name_any();
    let status = workflow.status.clone().unwrap_or_default();
    if workflow.spec.cancel {
        return Err(
            Failure::usage(format!("{name} was cancelled, which cannot be taken back"))
                .help("create another run of it; in a cluster `braid retry NAME --new` takes over what it has counted"),
        );
    }
    if status.started_at.is_none() {
        return Err(Failure::usage(format!("{name} has not begun: {:?}", status.phase)));
    }
    let has_failed = |step: &&StepStatus| step.phase == Phase::Failed || !step.failed.is_empty();
    let failed: Vec<&StepStatus> = status.steps.iter().filter(has_failed).collect();
    if failed.is_empty() {
        return Err(Failure::usage(format!(
            "nothing of {name} has failed that could be tried again"
        )));
    }
    let again = failed.iter().map(|step| match step.failed.len() {
        0 => step.name.clone(),
        1 => format!("{} (1 partition)", step.name),
        many => format!("{} ({} partitions)", step.name, count(many)),
    });
    let mut told = format!("{name}: tried again: {}", again.collect::<Vec<_>>().join(", "));
    if let Ok(dag) = Dag::new(&workflow.spec.steps) {
        let behind = status.steps.iter().filter(|step| {
            let upstream = dag.upstream(&step.name);
            step.started_at.is_some() && failed.iter().any(|failed| upstream.contains(failed.name.as_str()))
        });
        let behind: Vec<&str> = behind.map(|step| step.name.as_str()).collect();
        if !behind.is_empty() {
            told.push_str("; run anew, as what is before it changes: ");
            told.push_str(&behind.join(", "));
        }
    }
    let next = workflow.spec.retry_failed.unwrap_or(0).max(status.retried_failed);
    Ok((json!({"spec": {"retryFailed": next.saturating_add(1)}}), told))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn workflow(spec: &Value, steps: &Value) -> Workflow {
        let step = |name: &str| json!({"name": name, "run": {"command": ["true"]}});
        let mut given = json!({"steps": [step("a"), {"name": "b", "after": ["a"], "run": {"command": ["true"]}}]});
        for (key, value) in spec.as_object().unwrap() {
            given[key] = value.clone();
        }
        serde_json::from_value(json!({
            "apiVersion": "braid.dev/v1alpha1", "kind": "Workflow", "metadata": {"name": "w"}, "spec": given,
            "status": {"format": 1, "phase": "Failed", "startedAt": "2026-01-01T00:00:00Z", "steps": steps},
        }))
        .unwrap()
    }

    #[test]
    fn what_is_tried_again_and_what_is_run_anew_is_told() {
        let began = "2026-01-01T00:00:00Z";
        let steps = json!([
            {"name": "a", "phase": "Succeeded", "ledger": "0-9", "failed": "3,5", "startedAt": began},
            {"name": "b", "phase": "Succeeded", "startedAt": began},
        ]);
        let (patch, told) = asked(&workflow(&json!({"retryFailed": 4}), &steps)).unwrap();
        assert_eq!(json!({"spec": {"retryFailed": 5}}), patch);
        assert_eq!(
            "w: tried again: a (2 partitions); run anew, as what is before it changes: b",
            told
        );
    }

    #[test]
    fn a_cancelled_run_and_one_without_failures_are_not_tried_again() {
        let steps = json!([{"name": "a", "phase": "Succeeded"}, {"name": "b", "phase": "Succeeded"}]);
        assert_eq!(2, asked(&workflow(&json!({}), &steps)).unwrap_err().exit().code());
        let steps = json!([{"name": "a", "phase": "Failed"}]);
        assert!(asked(&workflow(&json!({"cancel": true}), &steps)).is_err());
        assert!(asked(&workflow(&json!({}), &steps)).is_ok());
    }
}
