//! Runs that are told to end, and go on later: nothing is lost, nothing counted twice.

use std::fs;

use nix::sys::signal::Signal;
use serde_json::json;

use crate::harness::{Home, NUMBER, gated, phase, settled};

const MANY: u32 = 300;

fn sum() -> u64 {
    (0..u64::from(MANY)).sum()
}

#[test]
fn an_interrupt_suspends_and_the_same_state_goes_on() {
    let home = Home::new();
    let file = home.numbers("long", MANY, &format!("sleep 0.02\n{NUMBER}"));
    let words = [
        "run",
        file.to_str().unwrap(),
        "--state",
        "here",
        "--workers",
        "2",
        "-o",
        "json",
    ];
    let run = home.start(&words);
    home.wait_for(&["--state", "here"], |found| settled(found) > 0);
    run.signal(Signal::SIGINT);
    let said = run.wait().exits(130);
    assert_eq!(json!("Suspended"), said.json()["phase"]);
    assert!(said.err.contains("interrupted"), "{}", said.err);
    assert!(
        said.err.contains("braid run") && said.err.contains("--state"),
        "{}",
        said.err
    );
    let before = said.json()["steps"]["work"]["partitions"]["succeeded"]
        .as_u64()
        .unwrap();
    assert!(before > 0 && before < u64::from(MANY), "{before}");

    let done = home.braid(&words).exits(0).json();
    assert_eq!(json!({"sum": sum(), "runs": MANY}), done["steps"]["work"]["results"]);
}

#[test]
fn a_termination_and_a_second_interrupt_stop_at_once_and_keep_the_state() {
    let home = Home::new();
    let gate = home.path("gate");
    let file = home.numbers("stuck", 20, &gated(&gate));
    let file = file.to_str().unwrap();
    let run = home.start(&["run", file, "--workers", "1"]);
    home.wait_for(&["stuck"], |found| phase(found) == "Running");
    run.signal(Signal::SIGTERM);
    run.wait().exits(130);

    let run = home.start(&["run", file, "--workers", "1", "--resume"]);
    // The partition cannot end, so the first interrupt alone could not end the run.
    home.wait_running();
    run.signal(Signal::SIGINT);
    home.wait_for(&["stuck"], |found| found["spec"]["suspend"] == json!(true));
    run.signal(Signal::SIGINT);
    run.wait().exits(130);
    let listed = home.braid(&["ls"]).exits(0).out;
    assert!(listed.contains("stuck") && listed.contains("0/20"), "{listed}");

    fs::write(&gate, "").unwrap();
    let done = home.braid(&["run", file, "--resume", "-o", "json"]).exits(0).json();
    assert_eq!(json!({"sum": 190, "runs": 20}), done["steps"]["work"]["results"]);
    home.braid(&["run", file, "--resume"]).exits(2);
}

#[test]
fn a_stored_run_is_changed_for_its_next_start() {
    let home = Home::new();
    let file = home.numbers("later", 20, &gated(&home.path("never")));
    let words = ["run", file.to_str().unwrap(), "--state", "here", "--workers", "1"];
    let run = home.start(&words);
    home.wait_for(&["--state", "here"], |found| phase(found) == "Running");
    run.signal(Signal::SIGTERM);
    run.wait().exits(130);
    for (verb, told) in [
        ("suspend", "will be suspended"),
        ("resume", "will go on"),
        ("cancel", "will be cancelled"),
    ] {
        let said = home.braid(&[verb, "later", "--state", "here"]).exits(0);
        assert!(
            said.out.contains("later is not running") && said.out.contains(told),
            "{}",
            said.out
        );
    }
    let said = home.braid(&["resume", "--state", "here"]).exits(2);
    assert!(said.err.contains("cannot be taken back"), "{}", said.err);
    let said = home.braid(&words).exits(3);
    assert!(said.out.contains("later  Cancelled"), "{}", said.out);
}
