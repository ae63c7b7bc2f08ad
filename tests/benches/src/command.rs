//! `command` steps beside `xargs -P2` that does the same work.

use std::{
    fs::File,
    io::{BufWriter, Write as _},
    path::Path,
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use anyhow::{Context as _, ensure};
use braid_crds::Workflow;
use braid_local::{Hands, LocalCluster, Settings, StateDir};
use braid_testkit as kit;
use serde_json::{Value, json};

use crate::{
    Effort,
    figure::{Figure, median, rounded},
};

const PATIENCE: Duration = Duration::from_mins(10);

struct Case {
    name: &'static str,
    command: &'static [&'static str],
    results: bool,
    /// What xargs starts and nothing else.
    bare: &'static [&'static str],
    /// What a shell does for the item `$1`, with files in `$D`: deliver it, capture output, read the results.
    same: &'static str,
}

const CASES: [Case; 3] = [
    Case {
        name: "/bin/true",
        command: &["/bin/true"],
        results: false,
        bare: &["/bin/true"],
        same: r#"BRAID_ITEM=$1 /bin/true >"$D/$1.out" 2>"$D/$1.err""#,
    },
    Case {
        name: "sh -c 'echo x'",
        command: &["sh", "-c", "echo x"],
        results: false,
        bare: &["sh", "-c", "echo x"],
        same: r#"BRAID_ITEM=$1 sh -c 'echo x' >"$D/$1.out" 2>"$D/$1.err""#,
    },
    Case {
        name: "sh -c 'echo 1 > results'",
        command: &["sh", "-c", "echo 1 > $BRAID_RESULTS"],
        results: true,
        bare: &["sh", "-c", "echo 1 > $D/results.$$"],
        same: r#"export BRAID_ITEM=$1 BRAID_RESULTS="$D/$1.res"
                 sh -c 'echo 1 > $BRAID_RESULTS' >"$D/$1.out" 2>"$D/$1.err"; read -r x <"$D/$1.res""#,
    },
];

fn spec(case: &Case, partitions: u64) -> Value {
    let mut step = json!({
        "name": "work",
        "over": {"range": {"end": partitions}},
        "run": {"command": case.command},
    });
    if case.results {
        step["results"] = json!([{"name": "n", "reduce": "Sum"}]);
    }
    json!({"steps": [step]})
}

async fn cluster(state: Option<StateDir>) -> anyhow::Result<LocalCluster> {
    let mut settings = Settings::new(".".into(), Hands::Shim(kit::own_shim()?));
    settings.workers = 2;
    settings.state = state;
    Ok(LocalCluster::start(settings).await?)
}

async fn braid(cluster: &LocalCluster, name: &str, case: &Case, partitions: u64) -> anyhow::Result<f64> {
    let client = cluster.client();
    kit::submit(&client, name, spec(case, partitions)).await?;
    let is_begun = |run: &Workflow| kit::step(run, "work").is_ok_and(|step| step.started_at.is_some());
    kit::until(&client, name, PATIENCE, is_begun).await?;
    let begun = Instant::now();
    let run = kit::ended(&client, name, PATIENCE).await?;
    let took = begun.elapsed();
    let step = kit::step(&run, "work")?;
    ensure!(step.partitions.succeeded == partitions, "{name}: {step:?}");
    ensure!(
        !case.results || kit::value(step, "n") == json!(partitions),
        "{name}: {step:?}"
    );
    Ok(per_second(partitions, took))
}

fn xargs(words: &[&str], partitions: u64, directory: &Path) -> anyhow::Result<f64> {
    let list = directory.join("items");
    let mut items = BufWriter::new(File::create(&list)?);
    for item in 0..partitions {
        writeln!(items, "{item}")?;
    }
    items.flush()?;
    let begun = Instant::now();
    let status = Command::new("xargs")
        .args(["-P2", "-n1"])
        .args(words)
        .env("D", directory)
        .stdin(File::open(&list)?)
        .stdout(Stdio::from(File::create(directory.join("out"))?))
        .status()
        .context("xargs")?;
    ensure!(status.success(), "xargs failed: {status}");
    Ok(per_second(partitions, begun.elapsed()))
}

/// A rate.
pub fn per_second(partitions: u64, took: Duration) -> f64 {
    #[allow(clippy::cast_precision_loss)]
    let partitions = partitions as f64;
    partitions / took.as_secs_f64()
}

/// The measurement.
pub async fn measure(effort: Effort) -> anyhow::Result<Figure> {
    let (partitions, rounds) = if effort.quick { (1000, 1) } else { (4000, 5) };
    let version = Command::new("xargs").arg("--version").output()?;
    let version = String::from_utf8_lossy(&version.stdout);
    let mut figure = Figure::new(
        "command",
        format!(
            "{partitions} partitions of one process each, 2 workers beside xargs -P2 ({}), in turns after a warm-up, median of \
             {rounds}; `same`: through a shell that delivers the item, captures output and reads the results; per second",
            version.lines().next().unwrap_or("unknown")
        ),
        &[
            "command",
            "state",
            "braid",
            "xargs_bare",
            "xargs_same",
            "of_bare",
            "of_same",
        ],
    );
    for durable in [false, true] {
        for case in &CASES {
            let (mut ours, mut bare, mut same) = (Vec::new(), Vec::new(), Vec::new());
            for round in 0..=rounds {
                let directory = tempfile::tempdir()?;
                let state = durable
                    .then(|| StateDir::at(&directory.path().join("state")))
                    .transpose()?;
                let cluster = cluster(state).await?;
                let rates = (
                    braid(&cluster, &format!("round-{round}"), case, partitions).await?,
                    xargs(case.bare, partitions, directory.path())?,
                    xargs(&["sh", "-c", case.same, "sh"], partitions, directory.path())?,
                );
                cluster.stop().await?;
                // The first is the warm-up.
                if round > 0 {
                    ours.push(rates.0);
                    bare.push(rates.1);
                    same.push(rates.2);
                }
            }
            let (ours, bare, same) = (median(ours), median(bare), median(same));
            figure.row([
                json!(case.name),
                json!(if durable { "directory" } else { "memory" }),
                rounded(ours, 0),
                rounded(bare, 0),
                rounded(same, 0),
                rounded(ours / bare, 2),
                rounded(ours / same, 2),
            ]);
        }
    }
    Ok(figure)
}
