//! One slow worker of four: how far from the ideal the end is.

use std::time::{Duration, Instant};

use anyhow::ensure;
use braid_crds::Workflow;
use braid_local::{Hands, LocalCluster, Settings};
use braid_testkit as kit;
use braid_worker::runner::ShimCommand;
use serde_json::json;

use crate::{
    Effort,
    figure::{Figure, rounded},
};

/// A partition's time on a fast worker, in seconds.
const NAP: f64 = 0.1;
/// The slow worker takes so many times as long.
const SLOW: f64 = 10.0;

/// A shim whose user code finds how long it has to sleep in `NAP`.
fn napping(seconds: f64) -> anyhow::Result<Hands> {
    let ShimCommand { program, args } = kit::own_shim()?;
    let mut words = vec![format!("NAP={seconds}").into(), program.into_os_string()];
    words.extend(args);
    Ok(Hands::Shim(ShimCommand {
        program: "/usr/bin/env".into(),
        args: words,
    }))
}

/// The measurement.
pub async fn measure(effort: Effort) -> anyhow::Result<Figure> {
    // In seconds of a fast worker.
    let work = if effort.quick { 15.0 } else { 60.0 };
    let mut figure = Figure::new(
        "makespan",
        format!(
            "{work} s of work in partitions that sleep {NAP} s, four workers, one of them {SLOW} times slower; from the step's \
             start to Complete; ideal: work / sum of the speeds"
        ),
        &["workers", "partitions", "took_s", "ideal_s", "ratio"],
    );
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
    let partitions = (work / NAP).round() as u64;
    for slow in [false, true] {
        let fast = napping(NAP)?;
        let odd = if slow { napping(NAP * SLOW)? } else { fast.clone() };
        let hands = Hands::ByTurns(vec![odd, fast.clone(), fast.clone(), fast]);
        let mut settings = Settings::new(".".into(), hands);
        settings.workers = 4;
        let cluster = LocalCluster::start(settings).await?;
        let client = cluster.client();
        let spec = json!({"steps": [{
            "name": "nap",
            "over": {"range": {"end": partitions}},
            "run": {"command": ["sh", "-c", "exec sleep $NAP"]},
        }]});
        kit::submit(&client, "naps", spec).await?;
        let is_begun = |run: &Workflow| kit::step(run, "nap").is_ok_and(|step| step.started_at.is_some());
        kit::until(&client, "naps", Duration::from_mins(1), is_begun).await?;
        let begun = Instant::now();
        let run = kit::ended(&client, "naps", Duration::from_mins(10)).await?;
        let took = begun.elapsed().as_secs_f64();
        ensure!(
            kit::step(&run, "nap")?.partitions.succeeded == partitions,
            "{:?}",
            run.status
        );
        cluster.stop().await?;
        let ideal = work / (3.0 + if slow { 1.0 / SLOW } else { 1.0 });
        figure.row([
            json!(if slow { "one 10x slow" } else { "all equal" }),
            json!(partitions),
            rounded(took, 2),
            rounded(ideal, 2),
            rounded(took / ideal, 3),
        ]);
    }
    Ok(figure)
}
