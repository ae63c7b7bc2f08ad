//! The loss of the leading operator: until another leads, and until that one hands out work.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use braid_e2e_kind::{Process, Signal, Space, suite};
use serde_json::{Value, json};

use crate::events::Events;
use crate::{Row, WORKERS, median, row, step};

/// How often each loss is measured.
const TIMES: usize = 3;
const PATIENCE: Duration = Duration::from_mins(1);

/// Both kinds of loss: the process is killed, so that its container starts anew; or it stops for ever, as with its node.
pub fn losses(rows: &mut Vec<Row>) {
    let space = Space::restricted("figures-leader");
    let pools = json!([{"name": "default", "workers": {"min": WORKERS, "max": WORKERS}}]);
    let mut step = step("work", 100_000, None);
    step["run"]["command"] = json!(["sleep", "0.1"]);
    space.run("run", &json!({"pools": pools, "steps": [step]}));
    let desks = Events::of("workers.braid.dev", space.name());
    let leases = Events::of("leases", suite().namespace());
    let mut given = Given::default();
    // Work is handed out again and again: a worker has come back for more.
    desks.first("shards are handed out", PATIENCE, |_, desk| {
        given.grows(desk);
        given.0.values().any(|number| *number > 6)
    });
    for (what, signal) in [("killed", Signal::Kill), ("stopped for ever", Signal::Stop)] {
        let losses: Vec<[f64; 2]> = (0..TIMES).map(|_| lose(signal, &desks, &leases, &mut given)).collect();
        let of = |index: usize| losses.iter().map(|loss| loss[index]).collect::<Vec<f64>>();
        let (elected, first) = (of(0), of(1));
        let behind: Vec<f64> = losses.iter().map(|loss| loss[1] - loss[0]).collect();
        let worst = |times: &[f64]| times.iter().copied().fold(0.0, f64::max);
        rows.push(row(
            format!("the leader {what} (Lease of 5 s), {TIMES} times"),
            format!(
                "a next one leads after {:.1} s (at most {:.1}), hands out work after {:.1} s (at most {:.1}), which is {:.2} s \
                 after it was elected (at most {:.2})",
                median(&elected),
                worst(&elected),
                median(&first),
                worst(&first),
                median(&behind),
                worst(&behind)
            ),
            json!({"elected": elected, "handsOut": first, "afterElection": behind}),
        ));
    }
    let cancel = r#"{"spec": {"cancel": true}}"#;
    let words = ["patch", "workflow.braid.dev/run", "--type=merge", "--patch", cancel];
    suite().kubectl(&[&words[..], &["--namespace", space.name()]].concat());
}

/// The number of the shard that each desk will get next: it grows with each that is handed out.
#[derive(Default)]
struct Given(BTreeMap<String, u64>);

impl Given {
    /// Takes note of a desk; whether it was known and has been given something since.
    fn grows(&mut self, desk: &Value) -> bool {
        let name = desk["metadata"]["name"].as_str().unwrap_or_default();
        let now = desk["spec"]["nextShardId"].as_u64().unwrap_or(0);
        let known = self.0.insert(name.to_owned(), now);
        known.is_some_and(|known| now > known)
    }
}

/// The grant of the leaders' Lease.
fn term(lease: &Value) -> u64 {
    let term = lease["metadata"]["annotations"]["braid.dev/term"].as_str();
    term.and_then(|term| term.parse().ok()).unwrap_or(0)
}

/// From the loss of the leader, in seconds: until a next one is elected, and until it has handed out a shard.
fn lose(signal: Signal, desks: &Events, leases: &Events, given: &mut Given) -> [f64; 2] {
    let before = leases.rest().iter().map(|event| term(&event.1)).max();
    let known = before.unwrap_or_else(|| {
        let list = suite().json(&["get", "leases", "--namespace", suite().namespace()]);
        list["items"]
            .as_array()
            .into_iter()
            .flatten()
            .map(term)
            .max()
            .unwrap_or(0)
    });
    let process: Process = suite().leader_process();
    let pod = suite().leader();
    for (_, desk) in desks.rest() {
        given.grows(&desk);
    }
    let lost = Instant::now();
    assert!(suite().signal(&process, signal), "the leader is gone");
    // Whatever the old one was about to write is in the server by now or never will be: it can write no more.
    let gone = Instant::now();
    let elected = leases.first("a next leader", PATIENCE, |at, lease| at > gone && term(lease) > known);
    // What was handed out before that was the old one's, in its last moment.
    let first = desks.first("a new shard", PATIENCE, |at, desk| given.grows(desk) && at > elected);
    if signal == Signal::Stop {
        suite().signal(&process, Signal::Kill);
    }
    // A container that was killed is started again later each time; a pod is not.
    let words = ["delete", "pod", &pod, "--ignore-not-found", "--wait=true"];
    suite().kubectl(&[&words[..], &["--namespace", suite().namespace()]].concat());
    suite().operators_ready();
    [elected, first].map(|at| at.duration_since(lost).as_secs_f64())
}
