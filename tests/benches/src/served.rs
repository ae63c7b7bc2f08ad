//! No-op partitions of programs that live on: a Python function, lines of a user's own program; Celery, Dask and Ray beside them.

use std::{path::Path, time::Instant};

use anyhow::{Context as _, ensure};
use braid_local::{Hands, LocalCluster, Settings, StateDir};
use braid_testkit as kit;
use serde_json::{Value, json};

use crate::{
    Effort,
    command::per_second,
    figure::{Figure, median, rounded},
    peers,
};

const PATIENCE: std::time::Duration = std::time::Duration::from_mins(10);

/// The sizes of the peers' chunks: what a kill loses of theirs, and how fast they are, follows from it.
const SIZES: [u64; 4] = [100, 1_000, 10_000, 100_000];

/// Answers lines as fast as a plain program can without tricks of ours: all that have come at once.
const LINES: &str = r#"
import json, os
rest = b""
while True:
    chunk = os.read(0, 65536)
    if not chunk: break
    *lines, rest = (rest + chunk).split(b"\n")
    os.write(1, b"".join(b'{"id":%d,"results":{"n":1}}\n' % json.loads(line)["id"] for line in lines))
"#;

fn spec(run: &Value, partitions: u64) -> Value {
    json!({"steps": [{
        "name": "work",
        "over": {"range": {"end": partitions}},
        "run": run,
        "results": [{"name": "n", "reduce": "Sum"}],
    }]})
}

/// Partitions per second of one run in a cluster that is made for it: from its creation to its end, interpreters' start included.
async fn braid(directory: &Path, durable: bool, run: &Value, partitions: u64) -> anyhow::Result<f64> {
    let mut settings = Settings::new(directory.to_owned(), Hands::Shim(kit::own_shim()?));
    settings.workers = 2;
    if durable {
        settings.state = Some(StateDir::at(&directory.join(format!("state-{:x}", number())))?);
    }
    let cluster = LocalCluster::start(settings).await?;
    let client = cluster.client();
    let begun = Instant::now();
    kit::submit(&client, "run", spec(run, partitions)).await?;
    let ended = kit::ended(&client, "run", PATIENCE).await?;
    let took = begun.elapsed();
    let step = kit::step(&ended, "work")?;
    ensure!(
        kit::value(step, "n") == json!(partitions) && step.partitions.succeeded == partitions,
        "the fold is wrong: {step:?}"
    );
    cluster.stop().await?;
    Ok(per_second(partitions, took))
}

/// A name that no other directory of this process has.
fn number() -> u64 {
    use std::sync::atomic::{AtomicU64, Ordering};
    static NEXT: AtomicU64 = AtomicU64::new(0);
    NEXT.fetch_add(1, Ordering::Relaxed)
}

/// A row for each size of chunks, 1 being a task for each item.
fn peer(figure: &mut Figure, python: &Path, script: &str, effort: Effort) -> anyhow::Result<()> {
    let counts: [u64; 2] = if effort.quick {
        [2_000, 100_000]
    } else {
        [20_000, 1_000_000]
    };
    let arguments: Vec<String> = counts.iter().chain(&SIZES).map(ToString::to_string).collect();
    let told = peers::told(python, script, &arguments)?;
    let name = told["name"].as_str().unwrap_or_default();
    let version = told["version"].as_str().unwrap_or_default();
    for size in [1].iter().chain(&SIZES) {
        let rate = told["rates"][size.to_string()]
            .as_f64()
            .with_context(|| format!("{script} tells nothing of {size}"))?;
        let rate = rounded(rate, 0);
        let what = match size {
            1 => format!("{name} {version}, a task for each item"),
            size => format!("{name} {version}, {size} items in a task"),
        };
        figure.row([json!(what), json!("memory"), rate.clone(), rate.clone(), rate]);
    }
    Ok(())
}

/// The measurement.
pub async fn measure(effort: Effort) -> anyhow::Result<Figure> {
    let (partitions, rounds) = if effort.quick { (200_000, 1) } else { (1_000_000, 3) };
    let mut figure = Figure::new(
        "served",
        format!(
            "{partitions} no-op partitions over a range, one Sum, 2 workers on 2 threads, from the run's creation to its end, the start \
             of its processes included; median of {rounds}. Celery (Redis without persistence), Dask, Ray: 2 processes, up and warm before the first \
             task, once; per second"
        ),
        &["what", "state", "per_second", "slowest", "fastest"],
    );
    let directory = tempfile::tempdir()?;
    std::fs::write(
        directory.path().join("noop.py"),
        "def noop(item):\n    return {\"n\": 1}\n",
    )?;
    let cases = [
        ("function", json!({"function": "noop:noop", "code": {"path": "."}})),
        (
            "lines, 256 in flight",
            json!({"command": ["python3", "-c", LINES], "serve": {"protocol": "Lines"}, "concurrency": 256}),
        ),
    ];
    for durable in [false, true] {
        for (what, run) in &cases {
            let mut rates = Vec::new();
            for _ in 0..rounds {
                rates.push(braid(directory.path(), durable, run, partitions).await?);
            }
            figure.row([
                json!(what),
                json!(if durable { "directory" } else { "memory" }),
                rounded(median(rates.clone()), 0),
                rounded(rates.iter().copied().fold(f64::INFINITY, f64::min), 0),
                rounded(rates.iter().copied().fold(0.0, f64::max), 0),
            ]);
        }
    }
    if let Some(python) = peers::python() {
        for script in ["celery_peer.py", "dask_peer.py", "ray_peer.py"] {
            peer(&mut figure, &python, script, effort)?;
        }
    }
    Ok(figure)
}
