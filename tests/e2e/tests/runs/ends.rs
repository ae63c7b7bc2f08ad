//! Runs that end otherwise than by themselves.

use std::fs;

use braid_e2e::Home;
use serde_json::{Value, json};

fn slow(home: &Home, more: &Value) -> Value {
    let script = r#"echo "$BRAID_PARTITION" >> "$DIARY"; sleep 0.05; echo 1 > "$BRAID_RESULTS""#;
    let mut step = json!({
        "name": "work",
        "over": {"range": {"end": 400}},
        "run": {"script": script, "env": [{"name": "DIARY", "value": home.path("diary")}]},
        "results": [{"name": "n", "reduce": "Sum"}],
    });
    for (key, value) in more.as_object().unwrap() {
        step[key] = value.clone();
    }
    json!({"steps": [step]})
}

fn settled(workflow: &Value) -> u64 {
    let counts = &workflow["status"]["steps"][0]["partitions"];
    counts["succeeded"].as_u64().unwrap_or(0)
}

#[test]
fn a_step_that_takes_too_long_fails_and_what_was_settled_counts() {
    let home = Home::default();
    let ended = home.run_spec("late", &slow(&home, &json!({"timeout": "3s"}))).exits(1);
    let step = ended.step("work");
    assert!(
        step["stopping"]["reason"].as_str().unwrap().contains("Timeout"),
        "{step:#}"
    );
    let (total, succeeded, failed) = ended.counts("work");
    assert!(
        total == 400 && failed == 0 && succeeded > 0 && succeeded < 400,
        "{:?}",
        ended.counts("work")
    );
    assert_eq!(json!(succeeded), ended.results("work")["n"]);
}

#[test]
fn a_cancelled_run_keeps_what_was_settled() {
    let home = Home::default();
    let mut run = home.start(&home.workflow("cancelled", &slow(&home, &json!({}))), &[]);
    run.until(|workflow| settled(workflow) > 0);
    run.change("cancel");
    let ended = run.wait().exits(3);
    assert_eq!("Cancelled", ended.document["phase"]);
    let (_, succeeded, failed) = ended.counts("work");
    assert!(failed == 0 && succeeded > 0 && succeeded < 400);
    assert_eq!(json!(succeeded), ended.results("work")["n"]);
}

#[test]
fn a_suspended_run_rests_and_goes_on_without_losing_or_repeating() {
    let home = Home::default();
    let mut run = home.start(&home.workflow("suspended", &slow(&home, &json!({}))), &[]);
    run.until(|workflow| settled(workflow) > 0);
    run.change("suspend");
    let rests = run.until(|workflow| workflow["status"]["phase"] == "Suspended");
    let lines = |home: &Home| fs::read_to_string(home.path("diary")).unwrap().lines().count() as u64;
    // What was begun was finished and counted: nothing is lost by a suspension.
    assert_eq!(settled(&rests), lines(&home));
    assert!(settled(&rests) < 400);
    run.change("resume");
    let ended = run.wait().exits(0);
    assert_eq!(json!(400), ended.results("work")["n"]);
    assert_eq!(400, lines(&home));
}
