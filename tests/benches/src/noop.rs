//! Partitions per second of all but user code: protocol, operator, worker, embedded API server.

use std::time::{Duration, Instant};

use anyhow::ensure;
use braid_crds::Workflow;
use braid_local::{Hands, LocalCluster, Settings, StateDir};
use braid_testkit as kit;
use bytes::Bytes;
use serde_json::{Value, json};

use crate::{
    Effort,
    figure::{Figure, median, rounded},
};

/// A run that takes longer is stuck.
const PATIENCE: Duration = Duration::from_mins(2);

/// A step over a range that sums `n`, which every partition gives.
pub fn spec(partitions: u64) -> Value {
    json!({"steps": [{
        "name": "noop",
        "over": {"range": {"end": partitions}},
        "run": {"command": ["noop"]},
        "results": [{"name": "n", "reduce": "Sum"}],
    }]})
}

/// A cluster of two workers whose partitions succeed at once and give `{"n": 1}`.
pub async fn cluster(state: Option<StateDir>) -> anyhow::Result<LocalCluster> {
    let mut settings = Settings::new(".".into(), Hands::Noop(Some(Bytes::from_static(b"{\"n\":1}"))));
    settings.workers = 2;
    settings.state = state;
    Ok(LocalCluster::start(settings).await?)
}

/// Partitions per second of one run: from the sight of the step's start to the sight of the end, and from the creation of
/// the run, which includes starting its workers.
pub async fn once(cluster: &LocalCluster, name: &str, partitions: u64) -> anyhow::Result<(f64, f64)> {
    let client = cluster.client();
    let begun = Instant::now();
    kit::submit(&client, name, spec(partitions)).await?;
    let is_begun = |run: &Workflow| kit::step(run, "noop").is_ok_and(|step| step.started_at.is_some());
    kit::until(&client, name, PATIENCE, is_begun).await?;
    let started = begun.elapsed();
    let run = kit::ended(&client, name, PATIENCE).await?;
    let whole = begun.elapsed();
    let took = whole.saturating_sub(started);
    let step = kit::step(&run, "noop")?;
    ensure!(
        kit::value(step, "n") == json!(partitions) && step.partitions.succeeded == partitions,
        "the fold is wrong: {step:?}"
    );
    #[allow(clippy::cast_precision_loss)]
    let partitions = partitions as f64;
    Ok((partitions / took.as_secs_f64(), partitions / whole.as_secs_f64()))
}

/// The measurement.
pub async fn measure(effort: Effort) -> anyhow::Result<Figure> {
    let (partitions, rounds) = if effort.quick { (200_000, 3) } else { (1_000_000, 5) };
    let mut figure = Figure::new(
        "noop",
        format!(
            "{partitions} partitions of nothing over a range, one Sum, 2 workers, all in this process on 2 threads; from \
             the step's start to Complete with the fold visible; median of {rounds}"
        ),
        &["state", "partitions/s", "slowest", "fastest", "with_submission/s"],
    );
    for durable in [false, true] {
        let directory = tempfile::tempdir()?;
        let state = durable.then(|| StateDir::at(directory.path())).transpose()?;
        let cluster = cluster(state).await?;
        once(&cluster, "warm-up", partitions / 10).await?;
        let (mut rates, mut wholes) = (Vec::new(), Vec::new());
        for round in 0..rounds {
            let (rate, whole) = once(&cluster, &format!("round-{round}"), partitions).await?;
            rates.push(rate);
            wholes.push(whole);
        }
        cluster.stop().await?;
        let slowest = rates.iter().copied().fold(f64::INFINITY, f64::min);
        let fastest = rates.iter().copied().fold(0.0, f64::max);
        figure.row([
            json!(if durable { "directory" } else { "memory" }),
            rounded(median(rates), 0),
            rounded(slowest, 0),
            rounded(fastest, 0),
            rounded(median(wholes), 0),
        ]);
    }
    Ok(figure)
}
