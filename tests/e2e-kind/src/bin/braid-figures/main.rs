//! Figures of a real cluster, beside an Indexed Job that does the same on the same nodes in the same run.
//!
//! The cluster and the images are those of the tests (`cargo xtask bench --cluster`). Prints a table, and JSON if asked. Times are
//! seen from outside, by `kubectl`, whose own start (about 0.1 s) is in every one of them, the Job's too; gaps between steps are
//! those of the programs' own clocks.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, clippy::print_stdout)]

mod events;
mod leader;
mod peer;
mod warm;

use std::fs;
use std::path::PathBuf;
use std::process::ExitCode;
use std::thread;
use std::time::{Duration, Instant};

use braid_e2e_kind::{Space, USERLAND, suite, sum};
use clap::{Parser, ValueEnum};
use serde_json::{Value, json};

/// Items of the small and of the large comparison.
const ITEMS: [u64; 2] = [200, 5_000];
/// Workers of Braid.
const WORKERS: u64 = 4;

struct Row {
    what: String,
    value: String,
    json: Value,
}

fn row(what: impl Into<String>, value: impl Into<String>, json: Value) -> Row {
    let (what, value) = (what.into(), value.into());
    println!("{what:<64} {value}");
    Row { what, value, json }
}

#[derive(Parser)]
#[command(about = "Figures of Braid on a real cluster, beside an Indexed Job")]
struct Options {
    /// Lets the Job of the large comparison run to its end, too, which takes most of an hour
    #[arg(long)]
    whole: bool,
    /// Only these figures; may be given more than once
    #[arg(long, value_enum, value_name = "FIGURE")]
    only: Vec<Figure>,
    /// Also writes the figures to this file, as JSON
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

/// What is measured, in this order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Figure {
    /// Memory of operators while nothing runs
    Rest,
    /// A few items, by a Job and by Braid
    Small,
    /// Many items, by a Job and by Braid
    Large,
    /// From step to step
    Chain,
    /// From a run's object to its first program, on a standing pool
    Starts,
    /// Writes to the API server, and memory in a run
    Writes,
    /// The loss of the leader
    Leader,
}

impl Figure {
    fn measure(self, whole: bool, rows: &mut Vec<Row>) {
        let [small, large] = ITEMS;
        match self {
            Self::Rest => rows.push(memory("at rest")),
            Self::Small => {
                peer::whole(small, rows);
                runs(small, rows);
            }
            Self::Large => {
                if whole {
                    peer::whole(large, rows);
                } else {
                    peer::rate(large, rows);
                }
                runs(large, rows);
            }
            Self::Chain => warm::chain(rows),
            Self::Starts => warm::starts(rows),
            Self::Writes => writes(rows),
            Self::Leader => leader::losses(rows),
        }
    }
}

fn main() -> ExitCode {
    let options = Options::parse();
    let mut rows = Vec::new();
    for figure in Figure::value_variants() {
        if options.only.is_empty() || options.only.contains(figure) {
            figure.measure(options.whole, &mut rows);
        }
    }
    if let Some(file) = options.json {
        let rows: Vec<Value> = rows
            .into_iter()
            .map(|row| json!({"what": row.what, "value": row.value, "data": row.json}))
            .collect();
        fs::write(file, serde_json::to_string_pretty(&rows).unwrap()).unwrap();
    }
    ExitCode::SUCCESS
}

/// The middle one.
fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted.get(sorted.len() / 2).copied().unwrap_or(f64::NAN)
}

fn per_second(items: u64, took: Duration) -> String {
    #[allow(clippy::cast_precision_loss)]
    let rate = items as f64 / took.as_secs_f64();
    format!("{:>8.1} s {rate:>9.1} items/s", took.as_secs_f64())
}

fn wait(space: &Space, condition: &str, what: &str) {
    let condition = format!("--for=condition={condition}");
    suite().kubectl_patiently(&["wait", &condition, "--timeout=30m", what, "--namespace", space.name()]);
}

fn step(name: &str, items: u64, after: Option<&str>) -> Value {
    json!({
        "name": name,
        "after": after.into_iter().collect::<Vec<_>>(),
        "over": {"range": {"end": items}},
        "run": {"image": USERLAND, "command": ["true"], "concurrency": 2},
    })
}

/// The same by Braid: with no pod there yet, and on workers that have just done something else.
fn runs(items: u64, rows: &mut Vec<Row>) {
    let space = Space::restricted(&format!("figures-{items}"));
    let pools = json!([{"name": "default", "workers": {"min": WORKERS, "max": WORKERS}}]);
    let begun = Instant::now();
    space.run("cold", &json!({"pools": pools, "steps": [step("work", items, None)]}));
    wait(&space, "Complete", "workflow.braid.dev/cold");
    let took = begun.elapsed();
    let data = json!({"items": items, "seconds": took.as_secs_f64(), "workers": WORKERS});
    rows.push(row(
        format!("Braid, {items} items, {WORKERS} workers, cold"),
        per_second(items, took),
        data,
    ));

    let warm_up = json!({
        "name": "first", "over": {"range": {"end": WORKERS * 4}},
        "run": {"image": USERLAND, "command": ["sleep", "1"], "concurrency": 2},
    });
    space.run(
        "warm",
        &json!({"pools": pools, "steps": [warm_up, step("work", items, Some("first"))]}),
    );
    let reached = |phases: &[&str]| {
        space.until("the second step", || {
            let workflow = space.workflow("warm");
            let phase = workflow["status"]["steps"][1]["phase"].as_str()?;
            phases.contains(&phase).then(Instant::now)
        })
    };
    let begun = reached(&["Running", "Succeeded"]);
    wait(&space, "Complete", "workflow.braid.dev/warm");
    let took = begun.elapsed();
    let data = json!({"items": items, "seconds": took.as_secs_f64(), "workers": WORKERS});
    rows.push(row(
        format!("Braid, {items} items, {WORKERS} workers, warm"),
        per_second(items, took),
        data,
    ));
}

/// Writes that the API server has been asked for, of kinds that Braid uses, and shards counted by the leader.
fn counts() -> (f64, f64) {
    let suite = suite();
    let server = suite.kubectl(&["get", "--raw", "/metrics"]);
    let writes = sum(&server, "apiserver_request_total", |line| {
        let writes = ["POST", "PUT", "PATCH", "APPLY", "DELETE"];
        let verb = writes.iter().any(|verb| line.contains(&format!("verb=\"{verb}\"")));
        verb && (line.contains("group=\"braid.dev\"") || line.contains("resource=\"leases\""))
    });
    let path = format!(
        "/api/v1/namespaces/{}/pods/{}:8080/proxy/metrics",
        suite.namespace(),
        suite.leader()
    );
    let operator = suite.kubectl(&["get", "--raw", &path]);
    (writes, sum(&operator, "braid_operator_folded_shards_total", |_| true))
}

/// Writes for a shard and for a second of a run that lasts. The Leases of nodes and of Kubernetes' own controllers are measured
/// while nothing runs, and taken off.
fn writes(rows: &mut Vec<Row>) {
    let rest = Duration::from_secs(20);
    let (before, _) = counts();
    thread::sleep(rest);
    let idle = (counts().0 - before) / rest.as_secs_f64();
    let space = Space::restricted("figures-writes");
    let pools = json!([{"name": "default", "workers": {"min": WORKERS, "max": WORKERS}}]);
    let mut step = step("work", 4_000, None);
    step["run"]["command"] = json!(["sleep", "0.1"]);
    space.run("run", &json!({"pools": pools, "steps": [step]}));
    let settled = || {
        space.workflow("run")["status"]["steps"][0]["partitions"]["succeeded"]
            .as_u64()
            .unwrap_or(0)
    };
    space.until("the run is under way", || (settled() > 100).then_some(()));
    let ((writes, shards), begun) = (counts(), Instant::now());
    thread::sleep(Duration::from_secs(25));
    let (now, took) = (counts(), begun.elapsed().as_secs_f64());
    assert!(settled() < 4_000, "it was too fast to be measured");
    let (writes, shards) = (now.0 - writes - idle * took, now.1 - shards);
    rows.push(row(
        format!("API writes, {WORKERS} workers, partitions of 0.1 s"),
        format!(
            "{:.2} for a shard, {:.1}/s ({shards} shards in {took:.1} s; {idle:.1}/s without Braid's run)",
            writes / shards,
            writes / took
        ),
        json!({"writes": writes, "shards": shards, "seconds": took, "idle_per_second": idle}),
    ));
    rows.push(memory("in a run"));
}

/// What operators and workers hold, by their nodes.
fn memory(when: &str) -> Row {
    let (mut operators, mut workers) = (Vec::new(), Vec::new());
    for node in suite().nodes() {
        let path = format!("/api/v1/nodes/{node}/proxy/stats/summary");
        let summary: Value = serde_json::from_str(&suite().kubectl(&["get", "--raw", &path])).unwrap();
        for pod in summary["pods"].as_array().into_iter().flatten() {
            for container in pod["containers"].as_array().into_iter().flatten() {
                let Some(bytes) = container["memory"]["rssBytes"].as_u64() else {
                    continue;
                };
                match container["name"].as_str() {
                    Some("operator") if pod["podRef"]["namespace"] == suite().namespace() => operators.push(bytes),
                    Some("worker") => workers.push(bytes),
                    _ => {}
                }
            }
        }
    }
    let told = |bytes: &[u64]| {
        let each: Vec<String> = bytes.iter().map(|bytes| format!("{:.1}", mebibytes(*bytes))).collect();
        each.join(", ")
    };
    row(
        format!("RSS {when}, MiB: operators; workers"),
        format!("{}; {}", told(&operators), told(&workers)),
        json!({"operators": operators, "workers": workers}),
    )
}

fn mebibytes(bytes: u64) -> f64 {
    #[allow(clippy::cast_precision_loss)]
    let bytes = bytes as f64;
    bytes / 1_048_576.0
}
