#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]
use serde_json::json;

use super::*;

#[allow(clippy::needless_pass_by_value)]
fn workflow(spec: Value) -> Workflow {
    serde_json::from_value(json!({
        "apiVersion": "braid.dev/v1alpha1", "kind": "Workflow", "metadata": {"name": "w"}, "spec": spec,
    }))
    .unwrap()
}

fn spec(year: i64, script: &str, tolerated: i64) -> Value {
    json!({
        "params": [{"name": "year", "type": "Integer", "value": year}],
        "steps": [{"name": "a", "run": {"script": script}, "maxFailedPartitions": tolerated}],
    })
}

#[test]
fn another_run_is_told_from_the_same() {
    let stored = workflow(spec(2013, "x", 0));
    let told = |given: Value| {
        fits(&stored, &workflow(given), Path::new("/d"))
            .err()
            .map(|failure| failure.to_string())
    };
    assert_eq!(None, told(spec(2013, "x", 0)));
    assert_eq!(None, told(spec(2013, "x", 5)), "may change while it runs");
    let year = told(spec(2014, "x", 0)).unwrap();
    assert!(year.contains("param year was 2013 and is 2014"), "{year}");
    let script = told(spec(2013, "y", 0)).unwrap();
    assert!(script.contains("its step a differs"), "{script}");
}

#[test]
fn going_on_takes_back_an_interrupts_suspend_only() {
    let given = workflow(spec(2013, "x", 0));
    let mut stored = given.clone();
    stored.spec.suspend = true;
    assert_eq!(json!({"metadata": {}, "spec": {}}), renewal(&stored, &given, false));
    assert_eq!(json!(false), renewal(&stored, &given, true)["spec"]["suspend"]);
    stored.annotations_mut().insert(INTERRUPTED.into(), "true".into());
    let change = renewal(&stored, &given, false);
    assert_eq!(json!(false), change["spec"]["suspend"]);
    assert_eq!(json!(null), change["metadata"]["annotations"][INTERRUPTED]);
}

#[test]
fn going_on_takes_over_what_may_change() {
    let stored = workflow(spec(2013, "x", 0));
    let change = renewal(&stored, &workflow(spec(2013, "x", 7)), false);
    assert_eq!(json!(7), change["spec"]["steps"][0]["maxFailedPartitions"]);
    assert_eq!(None, change["spec"].get("suspend"));
}
