//! What attempts save for the next, through the death of everything.

use std::{fs, thread, time::Duration};

use braid_e2e::Home;
use serde_json::json;

/// Counts to 60, a little at a time, and says where it began.
const COUNT: &str = r#"
    at=$(cat "$BRAID_CHECKPOINT/at" 2>/dev/null || echo 0)
    printf '{"began": %d, "attempts": %d}' "$at" "$BRAID_ATTEMPT" > "$BRAID_RESULTS"
    while [ "$at" -lt 60 ]; do
      at=$((at + 1))
      echo "$at" > "$BRAID_CHECKPOINT/next" && mv "$BRAID_CHECKPOINT/next" "$BRAID_CHECKPOINT/at"
      sleep 0.05
    done"#;

/// The whole of it (operator, workers, shims, programs) is killed while partitions are half done.
#[test]
fn a_run_that_was_killed_goes_on_in_the_middle_of_its_partitions() {
    let home = Home::default();
    let spec = json!({
        "steps": [{
            "name": "count", "over": {"range": {"end": 2}}, "run": {"script": COUNT, "checkpoint": {}},
            "results": [{"name": "began", "reduce": "Min"}],
        }],
    });
    let manifest = home.workflow("killed", &spec);
    let running = home.start(&manifest, &[]);
    let at = || home.shell("cat state-killed/checkpoints/*/*/at 2>/dev/null | sort -n | head -n 1");
    let half = || at().parse::<u64>().is_ok_and(|at| at >= 10) && home.shell("ls state-killed/checkpoints/*") == "0\n1";
    for _ in 0..600 {
        if half() {
            break;
        }
        thread::sleep(Duration::from_millis(20));
    }
    assert!(half(), "{}", home.shell("ls -R state-killed/checkpoints"));
    // Killed when it is dropped.
    drop(running);
    let ended = home.run(&manifest, &[]).exits(0);
    let began = ended.results("count")["began"].as_u64().unwrap();
    assert!(began >= 10, "{ended:?}");
    assert_eq!((2, 2, 0), ended.counts("count"));
    assert!(!home.path("state-killed/checkpoints").exists());
}

#[test]
fn the_next_attempt_goes_on_where_the_last_has_failed() {
    let home = Home::default();
    let script = r#"
        seen=$(ls "$BRAID_CHECKPOINT" | wc -l)
        : > "$BRAID_CHECKPOINT/$BRAID_ATTEMPT"
        printf '{"seen": %d}' "$seen" > "$BRAID_RESULTS"
        [ "$BRAID_ATTEMPT" -ge 3 ]"#;
    let step = json!({
        "name": "again", "over": {"range": {"end": 10}}, "run": {"script": script, "checkpoint": {"size": "1Mi"}},
        "retry": {"attempts": 3, "backoff": {"initial": "1ms", "max": "1ms"}},
        "results": [{"name": "seen", "reduce": "Sum"}],
    });
    // Of one worker: on a busy machine another may be given what has failed here, and what was saved stays where it was made.
    let manifest = home.workflow("again", &json!({"steps": [step]}));
    let ended = home.run(&manifest, &["--workers", "1"]).exits(0);
    assert_eq!(json!(20), ended.results("again")["seen"]);
    assert!(fs::read_dir(home.path("state-again/checkpoints")).is_err());
}
