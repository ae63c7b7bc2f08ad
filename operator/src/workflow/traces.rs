//! What a run's trace says beside its passes: when its steps and it itself began and ended.
//!
//! Workers put their shards under the step's span, whose name both sides know ([`identity::step`]). The spans are made when they
//! end; until then a trace shows what is below them.

use std::{
    collections::HashMap,
    time::{SystemTime, UNIX_EPOCH},
};

use braid_crds::{Round, Workflow, WorkflowStatus, status::StepStatus};
use braid_telemetry::identity;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::ResourceExt as _;

/// When steps began, as far as this operator was there.
pub type Begun = HashMap<(String, Round), u64>;

fn now() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_micros()).unwrap_or(u64::MAX)
}

fn micros(time: Option<&Time>) -> Option<u64> {
    u64::try_from(time?.0.as_microsecond()).ok()
}

/// Takes note of a status that has been written.
pub fn note(workflow: &Workflow, before: Option<&WorkflowStatus>, begun: &mut Begun) {
    let Some(after) = &workflow.status else { return };
    let uid = workflow.uid().unwrap_or_default();
    let known = |step: &StepStatus| {
        before
            .into_iter()
            .flat_map(|status| &status.steps)
            .find(|known| known.name == step.name)
    };
    for step in &after.steps {
        let (was_begun, was_closed) =
            known(step).map_or((false, false), |known| (known.started_at.is_some(), known.closed));
        let key = (step.name.clone(), step.round);
        if step.started_at.is_some() && !was_begun {
            begun.insert(key, now());
        } else if step.closed && !was_closed && step.started_at.is_some() {
            let began = begun
                .remove(&key)
                .or_else(|| micros(step.started_at.as_ref()))
                .unwrap_or_else(now);
            let partitions = &step.partitions;
            let error = step
                .stopping
                .as_ref()
                .map(|fatal| tracing::field::display(&fatal.reason));
            tracing::debug_span!(
                "step",
                trace.of = uid,
                trace.name = identity::step(&uid, &step.name, step.round.0),
                trace.title = format!("step {}", step.name),
                trace.began = began,
                phase = ?step.phase,
                partitions = partitions.total,
                succeeded = partitions.succeeded,
                failed = partitions.failed,
                error,
            );
        }
    }
    if after.phase.is_terminal() && !before.is_some_and(|before| before.phase.is_terminal()) {
        let began = micros(workflow.metadata.creation_timestamp.as_ref()).unwrap_or_else(now);
        let succeeded = after.phase == braid_crds::status::Phase::Succeeded;
        let error = (!succeeded).then(|| tracing::field::debug(after.phase));
        tracing::debug_span!(
            "run",
            trace.of = uid,
            trace.name = uid,
            trace.title = format!("run {}", workflow.name_any()),
            trace.began = began,
            namespace = workflow.namespace().unwrap_or_default(),
            phase = ?after.phase,
            steps = after.steps.len(),
            error,
        );
    }
}
