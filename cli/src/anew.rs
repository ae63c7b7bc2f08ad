//! `braid retry --new`: what failed is tried again in a run of its own, which takes over what the other one has counted.

use braid_crds::{
    Workflow, WorkflowSpec,
    status::StepStatus,
    workflow::{ResumeFrom, ResumedPartitions},
};
use braid_engine::resume::{self, Refusal, Taken};
use kube::{ResourceExt as _, api::ObjectMeta};

use crate::{
    args::RetryArgs,
    code,
    exit::{Exit, Failure},
    out,
    place::{self, Found, Remote},
    program, progress,
    submit::create,
    summary::qualified,
    text::count,
};

/// Characters that are kept of a name to which the server adds some.
const NAME: usize = 46;

/// Creates a run that takes over from the one that is meant. `name`: its name; else the server makes one.
pub async fn retry(args: &RetryArgs, name: Option<&str>) -> Result<Exit, Failure> {
    let target = &args.target;
    match place::find(target.name.as_deref(), &target.place).await? {
        Found::Here(found) => {
            let source = found.workflow().await;
            found.close().await?;
            Err(not_here(&source?.name_any()))
        }
        Found::There(remote) => there(&remote, name).await,
    }
}

/// A run on a laptop has its state for itself.
pub fn not_here(name: &str) -> Failure {
    Failure::usage(format!(
        "a run on this machine has its state for itself, so another one cannot take over from {name}"
    ))
    .help(format!(
        "`{} retry {name} --failed` tries again what failed in that run itself, and keeps what succeeded",
        program::name()
    ))
}

async fn there(remote: &Remote, name: Option<&str>) -> Result<Exit, Failure> {
    let source = remote.workflow().await?;
    // The operator decides; but what it would refuse need not be created.
    let taken = resume::take_over(&source, 0).map_err(|refusal| refused(remote, &source, &refusal))?;
    let workflow = taker(&source, name);
    let created = create(&remote.cluster, &workflow, false)
        .await
        .map_err(|(failure, _)| failure)?;
    code::share(&remote.cluster, &source, &created).await?;
    out::lines(&[format!("{} created", qualified(&created)), told(&taken)])?;
    progress::say(&format!(
        "braid: in {}; {} watch {}",
        remote.cluster.place(),
        program::name(),
        Remote::of(remote.cluster.clone(), &created).named()
    ));
    Ok(Exit::Succeeded)
}

fn refused(remote: &Remote, source: &Workflow, refusal: &Refusal) -> Failure {
    let failure = Failure::usage(refusal.to_string());
    let itself = matches!(
        refusal,
        Refusal::FilesWritten { .. } | Refusal::FilesRead { .. } | Refusal::NotEnded { .. }
    );
    if itself && !source.spec.cancel {
        let (program, run) = (program::name(), remote.named());
        return failure.help(format!("{program} retry {run} --failed"));
    }
    failure
}

/// The run that takes over: it is kept for as long as the other one would be.
fn taker(source: &Workflow, name: Option<&str>) -> Workflow {
    let from = source.name_any();
    let cut: String = from.chars().take(NAME).collect();
    let metadata = ObjectMeta {
        name: name.map(str::to_owned),
        generate_name: name.is_none().then(|| format!("{}-", cut.trim_end_matches(['-', '.']))),
        namespace: source.namespace(),
        ..ObjectMeta::default()
    };
    Workflow {
        metadata,
        spec: WorkflowSpec {
            resume_from: Some(ResumeFrom {
                name: from,
                partitions: Some(ResumedPartitions::Failed),
            }),
            ttl: source.spec.ttl.clone(),
            ..WorkflowSpec::default()
        },
        status: None,
    }
}

/// What will be done, in words.
fn told(taken: &Taken) -> String {
    let left = |step: &StepStatus| step.partitions.total.saturating_sub(step.partitions.succeeded);
    let rest = taken.rest.iter().map(
        |name| match taken.steps.iter().find(|step| step.name == *name).map_or(0, left) {
            0 => name.clone(),
            1 => format!("{name} (1 partition)"),
            many => format!("{name} ({} partitions)", count(many)),
        },
    );
    let mut told = format!(
        "{}: {} partitions stay counted",
        taken.from.name,
        count(taken.from.kept)
    );
    for (what, steps) in [
        ("run again", rest.collect::<Vec<_>>()),
        ("run from the beginning", taken.anew.clone()),
    ] {
        if !steps.is_empty() {
            told.push_str("; ");
            told.push_str(what);
            told.push_str(": ");
            told.push_str(&steps.join(", "));
        }
    }
    told
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use serde_json::json;

    use super::*;

    fn source(name: &str) -> Workflow {
        let began = "2026-01-01T00:00:00Z";
        let run = json!({"command": ["true"]});
        serde_json::from_value(json!({
            "apiVersion": "braid.dev/v1alpha1", "kind": "Workflow", "metadata": {"name": name, "uid": "u", "namespace": "n"},
            "spec": {"ttl": {"afterSuccess": "1h"}, "steps": [
                {"name": "a", "over": {"range": {"end": 10}}, "run": run}, {"name": "b", "after": ["a"], "run": run},
            ]},
            "status": {"format": 1, "phase": "Succeeded", "startedAt": began, "steps": [
                {"name": "a", "phase": "Succeeded", "closed": true, "startedAt": began, "plan": {"partitions": 10}, "card": "sha256:1",
                 "ledger": "0-9", "failed": "3,5", "failures": [{"reason": "Exit1", "count": 2, "partitions": "3,5", "sample": 3}],
                 "partitions": {"total": 10, "succeeded": 8, "failed": 2}},
                {"name": "b", "phase": "Succeeded", "closed": true, "startedAt": began, "plan": {"partitions": 1},
                 "ledger": "0", "partitions": {"total": 1, "succeeded": 1}},
            ]},
        }))
        .unwrap()
    }

    #[test]
    fn what_is_run_again_and_what_from_the_beginning_is_told() {
        let taken = resume::take_over(&source("w"), 0).unwrap();
        assert_eq!(
            "w: 8 partitions stay counted; run again: a (2 partitions); run from the beginning: b",
            told(&taken)
        );
    }

    #[test]
    fn the_new_run_says_from_whom_and_nothing_that_it_takes_over() {
        let long = format!("{}-{}", "a".repeat(45), "b".repeat(6));
        let taker = taker(&source(&long), None);
        assert_eq!(Some(format!("{}-", "a".repeat(45))), taker.metadata.generate_name);
        assert_eq!(
            json!({"resumeFrom": {"name": long, "partitions": "Failed"}, "ttl": {"afterSuccess": "1h"}}),
            serde_json::to_value(&taker.spec).unwrap()
        );
    }
}
