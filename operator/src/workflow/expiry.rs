//! `ttl`: ended runs that are deleted when their time is over.
//!
//! The time since a run ended is told by wall clocks, the one of whoever wrote it and the one of who reads it, and either may be wrong. Two
//! things are done about it: nobody deletes what it has not itself seen ended for a while, by a clock that only goes forward; and a
//! time that lies ahead counts from when it was seen.

use std::time::{Duration, Instant};

use braid_crds::Workflow;
use jiff::Timestamp;
use kube::{
    Api, ResourceExt as _,
    api::{DeleteParams, Preconditions, PropagationPolicy},
};

use super::{Memory, WorkflowError};
use crate::{
    Context,
    api::{ApiError, call},
};

/// For so long an operator has seen a run ended before it deletes it, or for the whole of a shorter ttl.
const SEEN: Duration = Duration::from_mins(1);

/// What is to be done about a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expiry {
    /// It is kept, or has not ended.
    Keep,
    /// It is to be looked at again then.
    In(Duration),
    /// Its time is over.
    Due,
}

/// Whether a run that has been seen ended for so long is to be deleted.
pub fn of(workflow: &Workflow, seen: Duration, now: Timestamp) -> Expiry {
    let (Some(ttl), Some(status)) = (&workflow.spec.ttl, &workflow.status) else {
        return Expiry::Keep;
    };
    let (Some(limit), Some(finished), false) = (ttl.of(status.phase), &status.finished_at, workflow.wants_retry())
    else {
        return Expiry::Keep;
    };
    let elapsed = Duration::try_from(now.duration_since(finished.0)).unwrap_or(seen);
    let left = limit.saturating_sub(elapsed).max(limit.min(SEEN).saturating_sub(seen));
    if left.is_zero() { Expiry::Due } else { Expiry::In(left) }
}

/// Deletes a run whose time is over. Otherwise says when it is to be looked at again, if ever.
pub async fn expire(
    context: &Context,
    workflow: &Workflow,
    memory: &mut Memory,
    now: Timestamp,
) -> Result<Option<Duration>, WorkflowError> {
    // A laptop's runs are directories, which `braid run` removes.
    if !context.options.pod_classes {
        return Ok(None);
    }
    let ended = workflow
        .status
        .as_ref()
        .is_some_and(|status| status.phase.is_terminal());
    if !ended {
        memory.ended = None;
        return Ok(None);
    }
    let seen = memory.ended.get_or_insert_with(Instant::now).elapsed();
    match of(workflow, seen, now) {
        Expiry::Keep => Ok(None),
        Expiry::In(left) => Ok(Some(left)),
        Expiry::Due => {
            let namespace = workflow.namespace().ok_or(WorkflowError::Malformed("namespace"))?;
            let api: Api<Workflow> = Api::namespaced(context.client.clone(), &namespace);
            let params = DeleteParams {
                // As it was seen: somebody may have asked for a retry just now.
                preconditions: Some(Preconditions {
                    uid: workflow.uid(),
                    resource_version: workflow.resource_version(),
                }),
                propagation_policy: Some(PropagationPolicy::Background),
                ..DeleteParams::default()
            };
            tracing::info!(workflow = workflow.name_any(), "its ttl is over: it is deleted");
            match call(
                "delete a run whose ttl is over",
                api.delete(&workflow.name_any(), &params),
            )
            .await
            {
                Ok(_) | Err(ApiError::NotFound { .. }) => Ok(None),
                Err(error) => Err(error.into()),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use serde_json::{Value, json};

    use super::*;

    fn ended(phase: &str, ttl: &Value, retry: i32) -> Workflow {
        serde_json::from_value(json!({
            "apiVersion": "braid.dev/v1alpha1", "kind": "Workflow", "metadata": {"name": "w"},
            "spec": {"steps": [], "ttl": ttl, "retryFailed": retry},
            "status": {"format": 1, "phase": phase, "finishedAt": "2026-01-01T00:00:00Z"},
        }))
        .unwrap()
    }

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    const HOUR: Duration = Duration::from_hours(1);

    #[test]
    fn how_a_run_ended_says_how_long_it_is_kept() {
        let ttl = json!({"afterSuccess": "1h", "afterFailure": "3h"});
        let two = at("2026-01-01T02:00:00Z");
        assert_eq!(Expiry::Due, of(&ended("Succeeded", &ttl, 0), HOUR, two));
        for phase in ["Failed", "Cancelled"] {
            assert_eq!(Expiry::In(HOUR), of(&ended(phase, &ttl, 0), HOUR, two));
        }
        for phase in ["Running", "Paused"] {
            assert_eq!(Expiry::Keep, of(&ended(phase, &ttl, 0), HOUR, two));
        }
        assert_eq!(
            Expiry::Keep,
            of(&ended("Failed", &json!({"afterSuccess": "1h"}), 0), HOUR, two)
        );
        assert_eq!(
            Expiry::Keep,
            of(&ended("Succeeded", &ttl, 1), HOUR, two),
            "a retry is asked for"
        );
    }

    #[test]
    fn a_clock_that_was_set_deletes_nothing_at_once_and_keeps_nothing_for_ever() {
        let run = ended("Succeeded", &json!({"afterSuccess": "1h"}), 0);
        let next_year = at("2027-01-01T00:00:00Z");
        assert_eq!(Expiry::In(SEEN), of(&run, Duration::ZERO, next_year));
        assert_eq!(Expiry::Due, of(&run, SEEN, next_year));
        let last_year = at("2025-01-01T00:00:00Z");
        assert_eq!(Expiry::In(HOUR), of(&run, Duration::ZERO, last_year));
        assert_eq!(Expiry::Due, of(&run, HOUR, last_year));
        let short = ended("Succeeded", &json!({"afterSuccess": "5s"}), 0);
        assert_eq!(
            Expiry::Due,
            of(&short, Duration::from_secs(5), at("2026-01-01T00:00:05Z"))
        );
    }
}
