//! What a run is told of a pool that it may not use.

#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

use serde_json::{Value, json};

use super::*;

fn run(reference: &Value, program: &Value) -> Workflow {
    serde_json::from_value(json!({
        "apiVersion": "braid.dev/v1alpha1", "kind": "Workflow", "metadata": {"name": "w", "namespace": "team"},
        "spec": {
            "pools": [{"name": "default", "workerPoolRef": reference}],
            "steps": [{"name": "one", "run": program}],
        },
    }))
    .unwrap()
}

fn pool(namespace: &str, allowed: &Value) -> WorkerPool {
    serde_json::from_value(json!({
        "apiVersion": "braid.dev/v1alpha1", "kind": "WorkerPool", "metadata": {"name": "warm", "namespace": namespace},
        "spec": {"replicas": 1, "allowedRuns": allowed, "pods": {"image": "one"}},
    }))
    .unwrap()
}

fn told(run: &Workflow, pool: Option<&WorkerPool>) -> Option<(&'static str, String)> {
    let step = &run.spec.steps[0];
    let key = reference(run, step).unwrap();
    Trouble::of(run, step, &key, pool).map(|trouble| (trouble.reason(), trouble.to_string()))
}

#[test]
fn permission_comes_before_existence_and_what_the_run_says_before_both() {
    let elsewhere = json!({"name": "warm", "namespace": "shared"});
    let plain = run(&elsewhere, &json!({"command": ["true"]}));
    let names = |names: &[&str]| json!({"namespaces": {"from": "Names", "names": names}});
    let missing = told(&plain, None);
    assert_eq!("RefNotPermitted", missing.as_ref().unwrap().0);
    let mut of_a_run = pool("shared", &json!({"namespaces": {"from": "All"}}));
    of_a_run.metadata.owner_references = serde_json::from_value(json!([
        {"apiVersion": "braid.dev/v1alpha1", "kind": "Workflow", "name": "other", "uid": "u"},
    ]))
    .unwrap();
    assert_eq!(missing, told(&plain, Some(&of_a_run)));
    for closed in [
        Value::Null,
        json!({"namespaces": {"from": "Same"}}),
        names(&["teams", "tea"]),
    ] {
        assert_eq!(missing, told(&plain, Some(&pool("shared", &closed))), "{closed}");
    }
    for open in [json!({"namespaces": {"from": "All"}}), names(&["x", "team"])] {
        assert_eq!(None, told(&plain, Some(&pool("shared", &open))), "{open}");
        // Only then its pods are compared, and told of.
        let unfit = run(&elsewhere, &json!({"command": ["true"], "image": "two"}));
        assert!(
            told(&unfit, Some(&pool("shared", &open)))
                .unwrap()
                .1
                .contains("its pods have one")
        );
        assert_eq!(missing, told(&unfit, None));
    }
    let bound = run(
        &elsewhere,
        &json!({"command": ["true"], "envFrom": [{"secretRef": {"name": "s"}}]}),
    );
    let said = told(&bound, None);
    assert_eq!("PoolDoesNotFit", said.as_ref().unwrap().0);
    let open = pool("shared", &json!({"namespaces": {"from": "All"}}));
    assert_eq!(said, told(&bound, Some(&open)));
}

#[test]
fn a_pool_of_the_own_namespace_needs_no_permission() {
    for reference in [json!({"name": "warm"}), json!({"name": "warm", "namespace": "team"})] {
        let plain = run(&reference, &json!({"command": ["true"]}));
        assert_eq!(None, told(&plain, Some(&pool("team", &Value::Null))));
        assert_eq!("PoolMissing", told(&plain, None).unwrap().0);
        // What it asks for by name is of the same namespace, and compared.
        let secret = json!({"command": ["true"], "envFrom": [{"secretRef": {"name": "s"}}]});
        let message = told(&run(&reference, &secret), Some(&pool("team", &Value::Null)))
            .unwrap()
            .1;
        assert!(message.contains("its pods have none"), "{message}");
    }
}
