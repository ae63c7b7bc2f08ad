//! Runs that do not go on, and why: their conditions in words.

use braid_crds::{Workflow, status::Phase};
use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::{ResourceExt as _, api::ListParams};

use super::{Finding, State};
use crate::{
    attend::has_finished,
    cluster::{Cluster, ClusterError},
    program,
};

const ABOUT: &str = "run";
/// Runs that the server gives at once.
const PAGE: u32 = 100;
/// How long an operator or pods may take to begin, in seconds.
const PATIENCE: i64 = 60;
/// Runs that are told one by one.
const TOLD: usize = 50;

/// The runs of the namespace, or of all: those that stand still one by one, the others as a count.
pub async fn runs(cluster: &Cluster, all: bool) -> Vec<Finding> {
    let api = cluster.workflows(all);
    let now = Timestamp::now();
    let (mut going, mut more) = (0_usize, 0_usize);
    let mut findings = Vec::new();
    let mut params = ListParams::default().limit(PAGE);
    loop {
        let page = match cluster.call(api.list(&params)).await {
            Ok(page) => page,
            // Told already.
            Err(ClusterError::NotInstalled(_)) => return findings,
            Err(error) => {
                findings.push(Finding::of(ABOUT, &error));
                return findings;
            }
        };
        for workflow in page.items.iter().filter(|workflow| !has_finished(workflow)) {
            match judge(workflow, now) {
                None => going += 1,
                Some(_) if findings.len() >= TOLD => more += 1,
                Some(finding) => findings.push(finding),
            }
        }
        match page.metadata.continue_.filter(|token| !token.is_empty()) {
            Some(token) => params = params.continue_token(&token),
            None => break,
        }
    }
    if more > 0 {
        findings.push(Finding::new(ABOUT, State::Note, format!("{more} more do not go on")));
    }
    let told = match (going, findings.is_empty()) {
        (0, true) => "none is there that has not ended".to_owned(),
        (0, false) => return findings,
        (1, _) => "1 goes on".to_owned(),
        (going, _) => format!("{going} go on"),
    };
    findings.push(Finding::new(ABOUT, State::Fine, told));
    findings
}

fn seconds_since(time: Timestamp, now: Timestamp) -> i64 {
    now.duration_since(time).as_secs()
}

/// Why a run stands still, if it does.
fn judge(workflow: &Workflow, now: Timestamp) -> Option<Finding> {
    let namespace = workflow.namespace().unwrap_or_default();
    let name = workflow.name_any();
    let at = format!("-n {namespace} {name}");
    let finding = |state, told: String| Some(Finding::new(ABOUT, state, format!("{namespace}/{name}: {told}")));
    let status = workflow.status.clone().unwrap_or_default();
    let Some(progressing) = condition(&status.conditions, "Progressing") else {
        let age = workflow
            .creation_timestamp()
            .map_or(0, |created| seconds_since(created.0, now));
        return if age > PATIENCE {
            finding(State::Problem, format!("no operator has looked at it for {age}s"))
                .map(|it| it.help("see what is said of the operator above"))
        } else {
            None
        };
    };
    if status.phase == Phase::Suspended {
        let help = format!("{} resume {at}", program::name());
        return finding(State::Note, "it is suspended".to_owned()).map(|it| it.help(help));
    }
    if status.observed_generation < workflow.metadata.generation {
        // Just changed, or nobody looks any more: the lead tells which.
        return finding(
            State::Note,
            "the operator has not yet looked at its last change".to_owned(),
        );
    }
    if progressing.status == "True" {
        return None;
    }
    let stands = seconds_since(progressing.last_transition_time.0, now);
    let told = format!("{} for {stands}s: {}", progressing.reason, progressing.message);
    let pods = format!("kubectl -n {namespace} get pods,jobs -l braid.dev/workflow={name}");
    match progressing.reason.as_str() {
        "NoWorkers" if stands > PATIENCE => finding(State::Problem, told).map(|it| it.help(pods)),
        "PoolMissing" | "PoolNotShared" | "PoolDoesNotFit" if stands > PATIENCE => {
            finding(State::Problem, told).map(|it| it.help(format!("kubectl -n {namespace} get workerpools.braid.dev")))
        }
        // Whom to ask, the message says.
        "RefNotPermitted" | "PoolNotWatched" | "PoolNotRead" if stands > PATIENCE => finding(State::Problem, told),
        _ if status.phase == Phase::Paused => finding(State::Problem, told)
            .map(|it| it.help(format!("mend the cause, then {} resume {at}", program::name()))),
        _ => finding(State::Note, told),
    }
}

fn condition<'a>(conditions: &'a [Condition], kind: &str) -> Option<&'a Condition> {
    conditions.iter().find(|condition| condition.type_ == kind)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use serde_json::{Value, json};

    use super::*;

    fn judged(spec: &Value, status: &Value) -> Option<(State, String)> {
        let workflow: Workflow = serde_json::from_value(json!({
            "apiVersion": "braid.dev/v1alpha1", "kind": "Workflow",
            "metadata": {"name": "w", "namespace": "team", "generation": 2, "creationTimestamp": "2026-01-01T00:00:00Z"},
            "spec": spec, "status": status,
        }))
        .unwrap();
        let finding = judge(&workflow, "2026-01-01T00:05:00Z".parse().unwrap())?;
        Some((finding.state, format!("{}; {}", finding.message, finding.help)))
    }

    fn progressing(status: &str, reason: &str, since: &str) -> Value {
        json!([{
            "type": "Progressing", "status": status, "reason": reason, "message": "0 of 4 workers are ready: no image",
            "lastTransitionTime": since,
        }])
    }

    #[test]
    fn what_stands_still_says_why() {
        let spec = json!({"steps": []});
        let (state, told) = judged(&spec, &json!({})).unwrap();
        assert_eq!(State::Problem, state);
        assert!(told.contains("no operator has looked at it for 300s"), "{told}");
        let with = |conditions: Value, phase: &str| {
            judged(
                &spec,
                &json!({"phase": phase, "observedGeneration": 2, "conditions": conditions}),
            )
        };
        let long = "2026-01-01T00:00:10Z";
        let (state, told) = with(progressing("False", "NoWorkers", long), "Running").unwrap();
        assert_eq!(State::Problem, state);
        assert!(
            told.contains("NoWorkers for 290s: 0 of 4 workers are ready: no image"),
            "{told}"
        );
        assert!(told.contains("kubectl -n team get pods"), "{told}");
        let (state, told) = with(progressing("False", "PoolMissing", long), "Running").unwrap();
        assert_eq!(State::Problem, state);
        assert!(told.contains("kubectl -n team get workerpools.braid.dev"), "{told}");
        for reason in ["RefNotPermitted", "PoolNotWatched"] {
            let (state, _) = with(progressing("False", reason, long), "Running").unwrap();
            assert_eq!(State::Problem, state, "{reason}");
        }
        // Others have the workers: that will pass.
        let (state, _) = with(progressing("False", "WaitingForWorkers", long), "Running").unwrap();
        assert_eq!(State::Note, state);
        let just_now = progressing("False", "NoWorkers", "2026-01-01T00:04:50Z");
        assert_eq!(State::Note, with(just_now, "Running").unwrap().0);
        let (state, told) = with(progressing("False", "Suspended", long), "Suspended").unwrap();
        assert_eq!(State::Note, state);
        assert!(told.contains("resume -n team w"), "{told}");
        assert_eq!(None, with(progressing("True", "Running", long), "Running"));
    }
}
