//! Looking at a run that goes on, and changing it.

use serde_json::json;

use crate::harness::{Home, gated, phase};

#[test]
fn a_running_run_is_shown_suspended_resumed_and_cancelled() {
    let home = Home::new();
    let first = home.path("first");
    let script = format!(
        "echo begun\n[ \"$BRAID_ITEM\" -gt 0 ] || {{ touch '{}'; }}\n{}",
        first.display(),
        gated(&home.path("gate"))
    );
    let file = home.numbers("slow", 1000, &script);
    let file = file.to_str().unwrap();
    let run = home.start(&["run", file, "--workers", "2", "-o", "json"]);
    home.wait_for(&["slow"], |found| phase(found) == "Running" && first.exists());

    let listed = home.braid(&["ls", "-o", "json"]).exits(0).json();
    assert_eq!(
        (json!("slow"), json!(true)),
        (listed[0]["name"].clone(), listed[0]["running"].clone())
    );
    let shown = home.braid(&["get", "slow"]).exits(0).out;
    assert!(shown.contains("slow  Running for"), "{shown}");
    let state = listed[0]["state"].as_str().unwrap();
    let second = home.braid(&["run", file, "--state", state]).exits(6);
    assert!(second.err.contains(&format!("process {}", run.pid())), "{}", second.err);

    let follower = home.start(&["logs", "slow", "work", "-f"]);
    let said = home.braid(&["suspend", "slow"]).exits(0);
    assert!(said.out.contains("slow suspended"), "{}", said.out);
    home.wait_for(&["slow"], |found| found["spec"]["suspend"] == json!(true));
    std::fs::write(home.path("gate"), "").unwrap();
    home.wait_for(&["slow"], |found| phase(found) == "Suspended");
    std::fs::remove_file(home.path("gate")).unwrap();
    home.braid(&["resume", "slow"]).exits(0);
    home.wait_for(&["slow"], |found| phase(found) == "Running");
    home.braid(&["cancel", "slow"]).exits(0);
    let ended = run.wait().exits(3).json();
    assert_eq!(json!("Cancelled"), ended["phase"]);
    let counts = &ended["steps"]["work"]["partitions"];
    assert_eq!(
        (json!(1000), json!(0)),
        (counts["total"].clone(), counts["failed"].clone())
    );
    // The run's end is the follower's.
    let followed = follower.wait().exits(0);
    assert!(followed.out.contains("work 0 1 | begun"), "{}", followed.out);
}
