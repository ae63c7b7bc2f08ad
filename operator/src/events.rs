//! Events of runs, for `kubectl describe`: one for each cause, never one for each pass.
//!
//! What is told follows from two statuses, the one before a write and the one after it, so a pass that is repeated tells nothing twice. Events
//! are a courtesy: they wait in a bounded queue for a task of the reign, and are dropped, with a word in the log, when the API server
//! does not take them as fast.

use std::time::Duration;

use braid_crds::{
    Workflow, WorkflowStatus,
    status::{Phase, StepStatus},
};
use k8s_openapi::api::core::v1::ObjectReference;
use kube::{
    Client, Resource as _,
    runtime::events::{Event, EventType, Recorder, Reporter},
};
use tokio::sync::mpsc;

/// Events that wait.
const WAITING: usize = 256;
/// For one to be taken.
const DEADLINE: Duration = Duration::from_secs(10);
/// What a server takes of a note, in bytes.
const NOTE: usize = 1_000;

/// Why a run has no workers: reasons of its condition `Progressing`.
const NO_WORKERS: [&str; 4] = ["NoWorkers", "PoolMissing", "PoolNotShared", "PoolDoesNotFit"];

/// What happened to a run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Told {
    /// Whether somebody should look.
    pub warning: bool,
    /// In CamelCase.
    pub reason: String,
    /// In words.
    pub note: String,
}

/// Where events are left.
#[derive(Clone, Debug)]
pub struct Events(Option<mpsc::Sender<(ObjectReference, Told)>>);

impl Events {
    /// A queue, and the task that empties it for as long as it is polled.
    pub fn new(client: Client, identity: &str) -> (Self, impl Future<Output = ()> + Send + 'static) {
        let (sender, mut waiting) = mpsc::channel::<(ObjectReference, Told)>(WAITING);
        let reporter = Reporter {
            controller: "braid.dev/operator".into(),
            instance: Some(identity.to_owned()),
        };
        let recorder = Recorder::new(client, reporter);
        let task = async move {
            while let Some((object, told)) = waiting.recv().await {
                let event = Event {
                    type_: if told.warning {
                        EventType::Warning
                    } else {
                        EventType::Normal
                    },
                    reason: told.reason,
                    note: Some(cut(told.note)),
                    action: "Reconcile".into(),
                    secondary: None,
                };
                match tokio::time::timeout(DEADLINE, recorder.publish(&event, &object)).await {
                    Ok(Ok(())) => {}
                    Ok(Err(error)) => tracing::warn!(%error, "an event could not be told"),
                    Err(_) => tracing::warn!("an event could not be told within {DEADLINE:?}"),
                }
            }
        };
        (Self(Some(sender)), task)
    }

    /// For who has nobody to tell.
    #[must_use]
    pub fn none() -> Self {
        Self(None)
    }

    /// Tells what a write of the status changed.
    pub(crate) fn changed(&self, workflow: &Workflow, before: Option<&WorkflowStatus>) {
        let nothing = WorkflowStatus::default();
        let after = workflow.status.as_ref().unwrap_or(&nothing);
        for told in of(before.unwrap_or(&nothing), after) {
            self.tell(workflow.object_ref(&()), told);
        }
    }

    /// Tells something of an object.
    pub(crate) fn tell(&self, object: ObjectReference, told: Told) {
        let Some(queue) = &self.0 else { return };
        if queue.try_send((object, told)).is_err() {
            tracing::warn!("events are told faster than the API server takes them; one was dropped");
        }
    }
}

/// What is to be told of a change.
fn of(before: &WorkflowStatus, after: &WorkflowStatus) -> Vec<Told> {
    let mut told = Vec::new();
    if let (None, Some(from)) = (&before.resumed_from, &after.resumed_from) {
        told.push(Told {
            warning: false,
            reason: "TakenOver".into(),
            note: format!(
                "from {} ({}): {} partitions stay counted",
                from.name, from.uid, from.kept
            ),
        });
    }
    for step in &after.steps {
        // It had ended in the run that was taken over.
        if before.started_at.is_none() && after.resumed_from.is_some() && step.closed && step.phase != Phase::Skipped {
            continue;
        }
        let known = before.steps.iter().find(|known| known.name == step.name);
        told.extend(of_step(known.map_or(Phase::Pending, |known| known.phase), step));
    }
    if after.retried_failed > before.retried_failed {
        let steps: Vec<&str> = after
            .steps
            .iter()
            .filter(|step| step.renewal.is_some())
            .map(|step| step.name.as_str())
            .collect();
        told.push(Told {
            warning: false,
            reason: "RetryFailed".into(),
            note: if steps.is_empty() {
                "nothing has failed that could be tried again".into()
            } else {
                format!("opened again: {}", steps.join(", "))
            },
        });
    }
    if after.resumed > before.resumed {
        told.push(Told {
            warning: false,
            reason: "Resumed".into(),
            note: "what has failed so far is accepted".into(),
        });
    }
    let (was, is) = (why(before), why(after));
    let normal = |reason: &str, note: &str| Told {
        warning: false,
        reason: reason.into(),
        note: note.into(),
    };
    if before.phase != after.phase {
        match after.phase {
            Phase::Succeeded => told.push(normal("Succeeded", "all steps are done")),
            Phase::Suspended => told.push(normal("Suspended", &is.1)),
            Phase::Cancelled => told.push(normal("Cancelled", &is.1)),
            Phase::Failed | Phase::Paused => told.push(Told {
                warning: true,
                reason: is.0,
                note: is.1,
            }),
            _ => {}
        }
    } else if NO_WORKERS.contains(&is.0.as_str()) && was.1 != is.1 && !is.1.ends_with("they are starting") {
        told.push(Told {
            warning: true,
            reason: is.0,
            note: is.1,
        });
    }
    told
}

fn of_step(before: Phase, step: &StepStatus) -> Option<Told> {
    if before == step.phase {
        return None;
    }
    let (reason, note) = match step.phase {
        Phase::Running if matches!(before, Phase::Pending | Phase::Planning) => (
            "StepStarted",
            format!("{}: {} partitions", step.name, step.partitions.total),
        ),
        Phase::Succeeded => (
            "StepSucceeded",
            format!(
                "{}: {} of {} partitions",
                step.name, step.partitions.succeeded, step.partitions.total
            ),
        ),
        Phase::Skipped => ("StepSkipped", format!("{}: {}", step.name, step.message)),
        Phase::Failed => (
            "StepFailed",
            format!(
                "{}: {}",
                step.name,
                step.stopping.as_ref().map_or("", |fatal| fatal.message.as_str())
            ),
        ),
        _ => return None,
    };
    Some(Told {
        warning: step.phase == Phase::Failed,
        reason: reason.into(),
        note,
    })
}

/// Reason and message of a run's progress.
fn why(status: &WorkflowStatus) -> (String, String) {
    let progress = status
        .conditions
        .iter()
        .find(|condition| condition.type_ == "Progressing");
    progress.map_or_else(Default::default, |progress| {
        (progress.reason.clone(), progress.message.clone())
    })
}

fn cut(mut note: String) -> String {
    let end = (0..=NOTE.min(note.len())).rev().find(|at| note.is_char_boundary(*at));
    note.truncate(end.unwrap_or(0));
    note
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

    use serde_json::{Value, json};

    use super::*;

    fn status(phase: &str, step: &str, reason: &str, message: &str) -> WorkflowStatus {
        let status: Value = json!({
            "format": 1, "phase": phase,
            "steps": [{"name": "count", "phase": step, "partitions": {"total": 9, "succeeded": 9, "failed": 0}}],
            "conditions": [{
                "type": "Progressing", "status": "True", "reason": reason, "message": message,
                "lastTransitionTime": "2026-01-01T00:00:00Z",
            }],
        });
        serde_json::from_value(status).unwrap()
    }

    fn told(before: &WorkflowStatus, after: &WorkflowStatus) -> Vec<String> {
        let word = |told: Told| {
            format!(
                "{} {}: {}",
                if told.warning { "!" } else { "-" },
                told.reason,
                told.note
            )
        };
        of(before, after).into_iter().map(word).collect()
    }

    #[test]
    fn a_life_is_told_once() {
        let starting = "0 of 4 workers are ready: they are starting";
        let absent = "0 of 4 workers are ready: ErrImagePull: x-0, main: not found";
        let life = [
            status("Pending", "Pending", "Pending", ""),
            status("Running", "Running", "NoWorkers", starting),
            status("Running", "Running", "NoWorkers", absent),
            status("Running", "Running", "NoWorkers", absent),
            status("Running", "Running", "Running", "count: 3 of 9"),
            status("Succeeded", "Succeeded", "Succeeded", "all steps are done"),
        ];
        let all: Vec<String> = life.windows(2).flat_map(|pair| told(&pair[0], &pair[1])).collect();
        let expected = [
            "- StepStarted: count: 9 partitions".to_owned(),
            format!("! NoWorkers: {absent}"),
            "- StepSucceeded: count: 9 of 9 partitions".to_owned(),
            "- Succeeded: all steps are done".to_owned(),
        ];
        assert_eq!(all, expected);
    }

    #[test]
    fn a_failure_is_a_warning_with_its_reason() {
        let before = status("Running", "Running", "Running", "");
        let after = status(
            "Failed",
            "Failed",
            "TooManyFailedPartitions",
            "count: 3 partitions failed",
        );
        let all = told(&before, &after);
        assert_eq!(all[0], "! StepFailed: count: ");
        assert_eq!(all[1], "! TooManyFailedPartitions: count: 3 partitions failed");
    }

    #[test]
    fn notes_are_cut_between_letters() {
        assert_eq!(cut("é".repeat(600)).len(), 1_000);
        assert_eq!(cut("short".into()), "short");
    }
}
