//! What people and tools read of a run: its phase, its conditions, its summary, and always why it does not move.

use std::collections::BTreeMap;

use braid_crds::{
    Workflow, WorkflowStatus, limits,
    status::{Phase, StepStatus, Summary},
};
use braid_engine::{dag, outputs};
use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use serde_json::Value;

use super::{advance::cut, stamp};

/// What the operator knows of a run's workers.
#[derive(Clone, Debug, Default)]
pub struct Hands {
    /// Workers that can be given work.
    pub working: usize,
    /// Workers that are wanted.
    pub wanted: usize,
    /// Why there are fewer, if it is known.
    pub message: String,
    /// Workers of standing pools that are there, and at work for other runs.
    pub elsewhere: usize,
    /// Why steps cannot have the workers of their pools, by step: reason and words.
    pub troubles: BTreeMap<String, (&'static str, String)>,
    /// Why the run or a step is limited to nothing.
    pub limit: Option<String>,
}

impl Hands {
    /// Why nothing can be done, though steps are under way: none of them can have workers.
    fn trouble(&self, status: &WorkflowStatus) -> Option<&(&'static str, String)> {
        let active = |step: &&StepStatus| {
            matches!(step.phase, Phase::Planning | Phase::Running | Phase::Waiting) && step.stopping.is_none()
        };
        let mut found = None;
        for step in status.steps.iter().filter(active) {
            found = Some(found.unwrap_or(self.troubles.get(&step.name)?));
        }
        found
    }
}

/// Derives phase, outputs, conditions and summary from the steps.
pub fn describe(workflow: &Workflow, status: &mut WorkflowStatus, hands: &Hands, now: Timestamp) {
    let phase = phase(workflow, status);
    if !phase.is_terminal() {
        status.finished_at = None;
    } else if status.finished_at.is_none() {
        status.finished_at = Some(stamp(now));
    }
    let mut failed = (phase == Phase::Failed).then(|| failure(status));
    let mut phase = phase;
    if phase == Phase::Succeeded && status.outputs.len() < workflow.spec.outputs.len() {
        match outputs(workflow, status) {
            Ok(outputs) => status.outputs = outputs,
            Err(error) => {
                failed = Some(("OutputFailed".to_owned(), error));
                phase = Phase::Failed;
            }
        }
    }
    status.phase = phase;
    let (reason, message) = failed.unwrap_or_else(|| why(status, hands, now));
    set(status, workflow, now, "Accepted", true, "Valid", "");
    let conditions = [
        (
            "Progressing",
            matches!(phase, Phase::Planning | Phase::Running) && hands.working > 0 && hands.trouble(status).is_none(),
        ),
        ("Complete", phase == Phase::Succeeded),
        ("Failed", matches!(phase, Phase::Failed | Phase::Cancelled)),
        ("Finished", phase.is_terminal()),
    ];
    for (kind, value) in conditions {
        set(status, workflow, now, kind, value, &reason, &message);
    }
    status.summary = Some(summary(status, hands, &message));
}

/// A run that is not accepted: nothing is done, and it says why.
pub fn refuse(workflow: &Workflow, status: &mut WorkflowStatus, reason: &str, message: &str, now: Timestamp) {
    status.phase = Phase::Failed;
    status.finished_at.get_or_insert(stamp(now));
    for (kind, value) in [
        ("Accepted", false),
        ("Progressing", false),
        ("Complete", false),
        ("Failed", true),
        ("Finished", true),
    ] {
        set(status, workflow, now, kind, value, reason, message);
    }
    status.summary = Some(summary(status, &Hands::default(), message));
}

fn phase(workflow: &Workflow, status: &WorkflowStatus) -> Phase {
    // What is about to be opened again has not ended, whatever it had come to.
    let phase = |step: &StepStatus| step.renewal.map_or(step.phase, |_| Phase::Running);
    let phases: Vec<Phase> = status.steps.iter().map(phase).collect();
    dag::run_phase(&phases, workflow.spec.suspend)
}

fn outputs(workflow: &Workflow, status: &WorkflowStatus) -> Result<BTreeMap<String, Value>, String> {
    let scope = super::programs::scope(workflow, status)?;
    outputs::evaluate(&workflow.spec.outputs, &scope).map_err(|error| error.to_string())
}

fn failure(status: &WorkflowStatus) -> (String, String) {
    let mut failed = status.steps.iter().filter(|step| step.phase == Phase::Failed);
    let Some(first) = failed.next() else {
        return ("StepFailed".to_owned(), String::new());
    };
    let fatal = first.stopping.as_ref();
    let reason = fatal.map_or("StepFailed", |fatal| fatal.reason.as_str());
    let why = fatal.map_or("", |fatal| fatal.message.as_str());
    let others: Vec<&str> = failed.map(|step| step.name.as_str()).collect();
    let others = if others.is_empty() {
        String::new()
    } else {
        // Before the cause: what user code says may be long, and is cut.
        format!(" (failed, too: {})", others.join(", "))
    };
    (
        reason.to_owned(),
        format!("{}: {why}{others}{}", first.name, cause(first)),
    )
}

/// The commonest cause of a step's failures. More may have failed since the step was stopped.
fn cause(step: &StepStatus) -> String {
    step.failures.first().map_or_else(String::new, |cause| {
        format!(
            "; in all {} x {} (first: partition {}) {}",
            cause.count, cause.reason, cause.sample, cause.message
        )
    })
}

/// Why a run is where it is.
fn why(status: &WorkflowStatus, hands: &Hands, now: Timestamp) -> (String, String) {
    match status.phase {
        Phase::Succeeded => return ("Succeeded".into(), "all steps are done".into()),
        Phase::Cancelled => {
            return (
                "Cancelled".into(),
                "cancelled by spec.cancel; what was settled is counted".into(),
            );
        }
        Phase::Suspended => {
            return (
                "Suspended".into(),
                "suspended by spec.suspend; `braid resume` goes on".into(),
            );
        }
        Phase::Paused => {
            let paused = status.steps.iter().find_map(|step| Some((step, step.paused.as_ref()?)));
            if let Some((step, paused)) = paused {
                return (
                    paused.reason.clone(),
                    format!("{}: {}{}", step.name, paused.message, cause(step)),
                );
            }
        }
        _ => {}
    }
    if let Some(step) = status.steps.iter().find(|step| step.renewal.is_some()) {
        return step_why(step, now);
    }
    if let Some((reason, message)) = hands.trouble(status) {
        return ((*reason).to_owned(), message.clone());
    }
    if hands.working == 0 && hands.elsewhere > 0 {
        let message = format!("all {} workers of its pool are at work for other runs", hands.elsewhere);
        return ("WaitingForWorkers".into(), message);
    }
    if hands.working == 0 {
        let detail = if hands.message.is_empty() {
            "they are starting"
        } else {
            &hands.message
        };
        return (
            "NoWorkers".into(),
            format!("0 of {} workers are ready: {detail}", hands.wanted),
        );
    }
    if let Some(problem) = &hands.limit {
        return ("BadParallelism".into(), problem.clone());
    }
    let active = status.steps.iter().find(|step| {
        matches!(
            step.phase,
            Phase::Running | Phase::Planning | Phase::Waiting | Phase::Suspended
        )
    });
    active.map_or_else(|| ("Pending".to_owned(), String::new()), |step| step_why(step, now))
}

fn step_why(step: &StepStatus, now: Timestamp) -> (String, String) {
    let settled = step.partitions.succeeded.saturating_add(step.partitions.failed);
    let ends = step.stopping.is_some() || settled >= step.partitions.total;
    let waiting = step.unpublished.len();
    if waiting > 0 && (ends || waiting >= limits::UNPUBLISHED) {
        return (
            "Publishing".into(),
            format!(
                "{}: the files of {waiting} counted shards are being published",
                step.name
            ),
        );
    }
    if step.renewal.is_some() {
        return (
            "Retrying".into(),
            format!("{}: what failed is opened again once its workers have ended", step.name),
        );
    }
    if let Some(paused) = step.paused.as_ref().filter(|_| step.stopping.is_none()) {
        return (
            "Pausing".into(),
            format!(
                "{}: {}; running partitions are being finished",
                step.name, paused.message
            ),
        );
    }
    if let Some(stopping) = &step.stopping {
        return (
            "Stopping".into(),
            format!("{}: {}; waiting for its workers to end", step.name, stopping.message),
        );
    }
    if let Some(next_at) = step.repeat.as_ref().and_then(|repeat| repeat.next_at) {
        let rounds = step.repeat.as_ref().map_or(0, |repeat| repeat.rounds);
        let seconds = next_at.saturating_sub(now.as_millisecond()).max(0) / 1000;
        return (
            "Repeating".into(),
            format!("{}: {rounds} rounds are over, the next begins in {seconds}s", step.name),
        );
    }
    match step.phase {
        Phase::Planning => ("Planning".into(), format!("{}: a worker lists the data", step.name)),
        Phase::Waiting => {
            let next = step
                .deferred
                .iter()
                .map(|deferred| deferred.not_before)
                .min()
                .unwrap_or_default();
            let seconds = next.saturating_sub(now.as_millisecond()).max(0) / 1000;
            let count = step.deferred.len();
            (
                "BackingOff".into(),
                format!(
                    "{}: {count} failed partitions are tried again, the first in {seconds}s",
                    step.name
                ),
            )
        }
        Phase::Suspended => (
            "Suspending".into(),
            format!("{}: running partitions are being finished", step.name),
        ),
        _ => ("Running".into(), format!("{}: {}", step.name, speed(step, now))),
    }
}

fn speed(step: &StepStatus, now: Timestamp) -> String {
    let settled = step.partitions.succeeded.saturating_add(step.partitions.failed);
    let started = step.round_started_at().map_or(now, |at| at.0);
    let millis = u64::try_from(now.duration_since(started).as_millis())
        .unwrap_or(0)
        .max(1);
    let rate = settled.saturating_mul(1000) / millis;
    let left = step.partitions.total.saturating_sub(settled);
    match left.checked_div(rate) {
        Some(seconds) => format!("{rate}/s, about {seconds}s left"),
        None => format!("{settled} of {} partitions", step.partitions.total),
    }
}

fn summary(status: &WorkflowStatus, hands: &Hands, message: &str) -> Summary {
    let ended = status.steps.iter().filter(|step| step.phase.is_terminal()).count();
    let total: u64 = status.steps.iter().map(|step| step.partitions.total).sum();
    let failed: u64 = status.steps.iter().map(|step| step.partitions.failed).sum();
    let settled: u64 = status
        .steps
        .iter()
        .map(|step| step.partitions.succeeded.saturating_add(step.partitions.stopped))
        .sum::<u64>()
        .saturating_add(failed);
    Summary {
        steps: format!("{ended}/{}", status.steps.len()),
        partitions: format!("{settled}/{total}"),
        failed: failed.to_string(),
        workers: hands.working.to_string(),
        message: cut(message),
    }
}

fn set(
    status: &mut WorkflowStatus,
    workflow: &Workflow,
    now: Timestamp,
    kind: &str,
    value: bool,
    reason: &str,
    message: &str,
) {
    let text = if value { "True" } else { "False" };
    let known = status.conditions.iter().position(|condition| condition.type_ == kind);
    let since = known
        .and_then(|index| status.conditions.get(index))
        .filter(|condition| condition.status == text)
        .map_or(stamp(now), |condition| condition.last_transition_time.clone());
    let condition = Condition {
        type_: kind.to_owned(),
        status: text.to_owned(),
        reason: reason.to_owned(),
        message: cut(message),
        last_transition_time: since,
        observed_generation: workflow.metadata.generation,
    };
    match known.and_then(|index| status.conditions.get_mut(index)) {
        Some(known) => *known = condition,
        None => status.conditions.push(condition),
    }
}
