//! What stands between people and their programs when workers are there: from a run to its first program, from step to step.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use braid_e2e_kind::{Space, USERLAND, suite};
use serde_json::{Value, json};

use crate::events::Events;
use crate::{Row, WORKERS, row};

/// Steps of the chain whose gaps are measured.
const CHAIN: usize = 41;
/// Runs on the standing pool.
const RUNS: usize = 41;
const PATIENCE: Duration = Duration::from_mins(1);

/// Tells when it began and ended, in microseconds.
const SCRIPT: &str = r#"now() { echo $(($(date +%s%N) / 1000)); }
begin=$(now); sleep 0.1; printf '{"begin": %d, "end": %d}' "$begin" "$(now)" >"$BRAID_RESULTS""#;

/// From the end of a step's last program to the start of the next step's first, by the programs' clocks.
pub fn chain(rows: &mut Vec<Row>) {
    let space = Space::restricted("figures-chain");
    let steps: Vec<Value> = (0..CHAIN)
        .map(|index| {
            let after: Vec<String> = index
                .checked_sub(1)
                .map(|before| format!("s{before}"))
                .into_iter()
                .collect();
            json!({
                "name": format!("s{index}"), "after": after, "over": {"range": {"end": WORKERS}},
                "run": {"image": USERLAND, "script": SCRIPT},
                "results": [{"name": "begin", "reduce": "Min"}, {"name": "end", "reduce": "Max"}],
            })
        })
        .collect();
    let pools = json!([{"name": "default", "workers": {"min": WORKERS, "max": WORKERS}}]);
    space.run("chain", &json!({"pools": pools, "steps": steps}));
    let ended = space.finished("chain");
    let mut gaps: Vec<i64> = (1..CHAIN)
        .map(|step| micros(&ended, step, "begin") - micros(&ended, step - 1, "end"))
        .collect();
    let (p50, p99) = quantiles(&mut gaps);
    rows.push(row(
        format!("step to step, {} gaps", gaps.len()),
        format!("p50 {p50} ms, p99 {p99} ms"),
        json!({"micros": gaps}),
    ));
}

/// What a step's programs have told.
fn micros(run: &Value, step: usize, name: &str) -> i64 {
    let results = run["status"]["steps"][step]["results"].as_array().unwrap();
    let found = results.iter().find(|result| result["name"] == name).unwrap();
    // A smallest or largest may come with the partition that it is of.
    let value = &found["value"];
    value
        .as_i64()
        .or_else(|| value["value"].as_i64())
        .unwrap_or_else(|| panic!("{found}"))
}

/// The middle one and the 99th of a hundred, in milliseconds; the values are in order then.
fn quantiles(micros: &mut [i64]) -> (i64, i64) {
    micros.sort_unstable();
    let at = |share: usize| micros[(micros.len() * share / 100).min(micros.len() - 1)];
    (at(50) / 1_000, at(99) / 1_000)
}

/// From a run's object, as a watcher sees it, to the start of its first program by that program's clock: on a standing pool whose
/// workers have nothing to do. `kubectl` itself is not in it.
pub fn starts(rows: &mut Vec<Row>) {
    let space = Space::restricted("figures-warm");
    let pool = json!({"workers": {"min": WORKERS, "max": WORKERS}, "pods": {"image": USERLAND}});
    space.apply(&json!({
        "apiVersion": "braid.dev/v1alpha1", "kind": "WorkerPool", "metadata": {"name": "warm"}, "spec": pool,
    }));
    space.until("the pool is there", || {
        let pool = suite().json(&["get", "workerpools.braid.dev", "warm", "--namespace", space.name()]);
        (pool["status"]["ready"] == json!(WORKERS)).then_some(())
    });
    let seen = Events::of("workflows.braid.dev", space.name());
    let mut waits: Vec<i64> = (0..RUNS)
        .map(|index| {
            let name = format!("run-{index}");
            space.run(
                &name,
                &json!({
                    "pools": [{"name": "default", "workerPoolRef": {"name": "warm"}}],
                    "steps": [{
                        "name": "only", "over": {"range": {"end": WORKERS}},
                        "run": {"image": USERLAND, "script": SCRIPT},
                        "results": [{"name": "begin", "reduce": "Min"}, {"name": "end", "reduce": "Max"}],
                    }],
                }),
            );
            let made = seen.first("the run", PATIENCE, |_, run| run["metadata"]["name"] == name);
            micros(&space.finished(&name), 0, "begin") - by_the_clock(made)
        })
        .collect();
    let (p50, p99) = quantiles(&mut waits);
    rows.push(row(
        format!("a run on a standing pool, object to first program, {RUNS} runs"),
        format!("p50 {p50} ms, p99 {p99} ms"),
        json!({"micros": waits}),
    ));
}

/// That moment as programs on the same machine tell it.
fn by_the_clock(at: Instant) -> i64 {
    let at = SystemTime::now() - at.elapsed();
    let since = at.duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_micros()).unwrap_or(i64::MAX)
}
