//! What is seen of a run, and what follows.
#![allow(clippy::unwrap_used, clippy::panic)]

use braid_crds::Workflow;
use serde_json::{Value, json};

use super::*;

fn workflow(status: &Value) -> Workflow {
    serde_json::from_value(json!({
        "apiVersion": "braid.dev/v1alpha1", "kind": "Workflow",
        "metadata": {"name": "w", "generation": 3},
        "spec": {"steps": []},
        "status": status,
    }))
    .unwrap()
}

#[test]
fn only_the_condition_says_that_a_run_has_ended() {
    let condition = |kind: &str, status: &str| {
        json!([{
            "type": kind, "status": status, "reason": "R", "message": "",
            "lastTransitionTime": "2026-01-01T00:00:00Z",
        }])
    };
    let with = |conditions: Value| workflow(&json!({"phase": "Succeeded", "conditions": conditions}));
    assert!(happened(&with(condition("Finished", "True")), Event::Finished));
    assert!(!happened(&with(condition("Finished", "False")), Event::Finished));
    assert!(!happened(&with(condition("Complete", "True")), Event::Finished));
    assert!(!happened(&with(json!([])), Event::Finished));
    assert!(happened(&with(condition("Accepted", "True")), Event::Accepted));
}

#[test]
fn a_suspension_is_that_of_the_spec_as_it_is() {
    let suspended = |observed: i64| workflow(&json!({"phase": "Suspended", "observedGeneration": observed}));
    assert!(happened(&suspended(3), Event::Suspended));
    assert!(!happened(&suspended(2), Event::Suspended));
    let started = workflow(&json!({"steps": [{"name": "a", "startedAt": "2026-01-01T00:00:00Z"}]}));
    assert!(happened(&started, Event::Started));
    assert!(!happened(&workflow(&json!({"steps": [{"name": "a"}]})), Event::Started));
}
