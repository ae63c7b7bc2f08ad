//! The peer: an Indexed Job, a pod for each item.

use std::thread;
use std::time::{Duration, Instant};

use braid_e2e_kind::{Space, USERLAND, suite};
use serde_json::{Value, json};

use crate::{Row, per_second, row, wait};

/// Pods at once. 4, 20 and 40 were tried: 20 was the fastest on two cores.
const PODS: u64 = 20;
/// Before its rate is measured, and for how long that is.
const WARM: Duration = Duration::from_secs(30);
const MEASURED: Duration = Duration::from_mins(5);

fn begin(items: u64) -> (Space, Instant) {
    let space = Space::restricted("figures-job");
    let begun = Instant::now();
    space.apply(&json!({
        "apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": "peer"},
        "spec": {
            "completionMode": "Indexed", "completions": items, "parallelism": PODS,
            "template": {"spec": {
                "restartPolicy": "Never", "automountServiceAccountToken": false, "terminationGracePeriodSeconds": 0,
                "securityContext": {"runAsNonRoot": true, "runAsUser": 65532, "seccompProfile": {"type": "RuntimeDefault"}},
                "containers": [{
                    "name": "main", "image": USERLAND, "command": ["true"],
                    "securityContext": {"allowPrivilegeEscalation": false, "capabilities": {"drop": ["ALL"]}},
                }],
            }},
        },
    }));
    (space, begun)
}

/// All of it, from the request to the last pod's end.
pub fn whole(items: u64, rows: &mut Vec<Row>) {
    let (space, begun) = begin(items);
    wait(&space, "complete", "job/peer");
    let took = begun.elapsed();
    rows.push(row(
        format!("Indexed Job, {items} items, {PODS} pods at once"),
        per_second(items, took),
        json!({"items": items, "seconds": took.as_secs_f64()}),
    ));
}

/// Its rate for some minutes, once it is under way; it does not run to its end.
pub fn rate(items: u64, rows: &mut Vec<Row>) {
    let (space, _) = begin(items);
    let done = || -> u64 {
        let job: Value = suite().json(&["get", "job", "peer", "--namespace", space.name()]);
        job["status"]["succeeded"].as_u64().unwrap_or(0)
    };
    thread::sleep(WARM);
    let (before, begun) = (done(), Instant::now());
    thread::sleep(MEASURED);
    let (after, took) = (done(), begun.elapsed());
    assert!(
        before > 0 && after < items,
        "nothing to measure: from {before} to {after} of {items}"
    );
    #[allow(clippy::cast_precision_loss)]
    let rate = (after - before) as f64 / took.as_secs_f64();
    #[allow(clippy::cast_precision_loss)]
    let all = items as f64 / rate;
    rows.push(row(
        format!("Indexed Job, {items} items, {PODS} pods at once, NOT run whole"),
        format!(
            "{rate:>21.1} items/s over {:.0} s ({} items); at that rate all would take {all:.0} s",
            took.as_secs_f64(),
            after - before
        ),
        json!({"items": items, "measuredItems": after - before, "measuredSeconds": took.as_secs_f64(), "whole": false}),
    ));
    suite().kubectl(&["delete", "job", "peer", "--namespace", space.name(), "--wait=false"]);
}
