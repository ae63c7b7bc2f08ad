//! Runs that end by themselves.

use std::fs;

use serde_json::json;

use crate::harness::{Home, NUMBER};

#[test]
fn a_run_prints_one_document() {
    let home = Home::new();
    let file = home.numbers("small", 10, NUMBER);
    let said = home
        .braid(&[
            "run",
            file.to_str().unwrap(),
            "-p",
            "factor=2",
            "-o",
            "json",
            "--workers",
            "2",
        ])
        .exits(0);
    let expected = json!({
        "phase": "Succeeded",
        "outputs": {"total": 90},
        "steps": {"work": {
            "phase": "Succeeded",
            "partitions": {"total": 10, "succeeded": 10, "failed": 0},
            "results": {"sum": 90, "runs": 10},
        }},
    });
    assert_eq!(expected, said.json());
    assert!(said.err.contains("braid: local, 2 workers, state in "), "{}", said.err);
    assert!(
        said.err.contains("work: Succeeded, 10 of 10 partitions"),
        "{}",
        said.err
    );
    let listed = home.braid(&["ls", "-o", "json"]).exits(0).json();
    assert_eq!(json!("small"), listed[0]["name"]);
    assert_eq!(json!(false), listed[0]["running"]);
    let shown = home.braid(&["get", "small"]).exits(0).out;
    assert!(shown.contains("work.sum"), "{shown}");
    let yaml = home.braid(&["get", "small", "-o", "yaml"]).exits(0).out;
    assert!(yaml.contains("kind: Workflow"), "{yaml}");
}

#[test]
fn a_failure_says_what_failed_and_what_to_look_at() {
    let home = Home::new();
    let script = r#"echo "on $BRAID_ITEM"; echo "bad item $BRAID_ITEM" >&2; [ "$BRAID_ITEM" != 3 ] || exit 7"#;
    let file = home.numbers("broken", 5, script);
    let said = home
        .braid(&["run", file.to_str().unwrap(), "--workers", "1", "--progress", "none"])
        .exits(1);
    assert!(said.out.contains("broken  Failed"), "{}", said.out);
    assert!(
        said.out.contains("Exit7") && said.out.contains("bad item 3"),
        "{}",
        said.out
    );
    assert!(
        said.out.contains("braid logs broken work --partition 3"),
        "{}",
        said.out
    );

    let logs = home
        .braid(&["logs", "broken", "work", "--partition", "3", "--attempt", "1"])
        .exits(0);
    let mut lines: Vec<&str> = logs.out.lines().collect();
    lines.sort_unstable();
    assert_eq!(vec!["work 3 1 | bad item 3", "work 3 1 | on 3"], lines);
    let logs = home.braid(&["logs", "broken", "--partition", "3", "--stderr"]).exits(0);
    assert!(
        logs.out.lines().all(|line| line.ends_with("bad item 3")),
        "{}",
        logs.out
    );
    let said = home.braid(&["logs", "broken", "wrok"]).exits(2);
    assert!(said.err.contains("did you mean \"work\"?"), "{}", said.err);
    let said = home.braid(&["cancel", "broken"]).exits(2);
    assert!(said.err.contains("broken has ended: Failed"), "{}", said.err);
}

#[test]
fn a_finished_run_is_told_again_and_not_run_again() {
    let home = Home::new();
    let trace = home.path("trace");
    let file = home.numbers("once", 4, &format!("echo x >> '{}'\n{NUMBER}", trace.display()));
    let file = file.to_str().unwrap();
    let first = home.braid(&["run", file, "--state", "here", "-o", "json"]).exits(0);
    // A partition may run twice, where nobody is sure that it still runs; counted it is once.
    let ran = || fs::read_to_string(&trace).unwrap().lines().count();
    let at_first = ran();
    assert!(at_first >= 4, "{at_first}");
    let second = home.braid(&["run", file, "--state", "here", "-o", "json"]).exits(0);
    assert_eq!(first.json(), second.json());
    assert_eq!(at_first, ran());
    let other = home.braid(&["run", file, "--state", "here", "-p", "factor=3"]).exits(2);
    assert!(other.err.contains("param factor was 1 and is 3"), "{}", other.err);
    home.braid(&["get", "--state", "here"]).exits(0);
}

#[test]
fn a_cancelled_manifest_is_a_cancelled_run() {
    let home = Home::new();
    let file = home.numbers("stopped", 4, NUMBER);
    let text = fs::read_to_string(&file)
        .unwrap()
        .replace("spec:\n", "spec:\n  cancel: true\n");
    fs::write(&file, text).unwrap();
    let said = home.braid(&["run", file.to_str().unwrap(), "-o", "json"]).exits(3);
    assert_eq!(json!("Cancelled"), said.json()["phase"]);
}
