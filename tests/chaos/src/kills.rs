//! `braid run` as a process of its own, killed with SIGKILL again and again, and started again on its state.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use anyhow::{Context as _, bail, ensure};
use rand::{Rng as _, SeedableRng as _, rngs::StdRng};
use serde_json::{Value, json};

use crate::work::{self, Waste};

/// The last life may take so long.
const PATIENCE: Duration = Duration::from_mins(10);

/// What is run, and how often it is killed.
#[derive(Clone, Debug)]
pub struct Kills {
    /// The choices.
    pub seed: u64,
    /// How often.
    pub times: u32,
    /// Partitions.
    pub partitions: u64,
    /// What a partition takes, in milliseconds.
    pub pace_millis: u64,
    /// The program.
    pub braid: PathBuf,
    /// For the diary and the state.
    pub directory: PathBuf,
}

/// How it went.
#[derive(Clone, Copy, Debug)]
pub struct Survived {
    /// How long all lives took.
    pub took: Duration,
    /// Kills after which the run was not over, and had not just been started.
    pub in_flight: u32,
    /// How much was run again.
    pub waste: Waste,
}

/// Kills it so often, lets it end, and checks what it says.
pub fn survive(kills: &Kills) -> anyhow::Result<Survived> {
    let diary = kills.directory.join("diary");
    let manifest = kills.directory.join("kills.json");
    let workflow = json!({
        "apiVersion": "braid.dev/v1alpha1",
        "kind": "Workflow",
        "metadata": {"name": "kills"},
        "spec": work::spec(kills.partitions, kills.pace_millis, &diary),
    });
    fs::write(&manifest, serde_json::to_vec_pretty(&workflow)?)?;
    let mut random = StdRng::seed_from_u64(kills.seed);
    let begun = Instant::now();
    let mut in_flight = 0;
    for life in 1..=kills.times {
        let lines_before = lines(&diary)?;
        let mut child = start(kills, &manifest, "killed")?;
        let long = Duration::from_millis(random.random_range(100..2500));
        std::thread::sleep(long);
        if let Some(status) = child.try_wait()? {
            bail!("life {life} ended by itself ({status}) before it was killed: give it more partitions");
        }
        child.kill().context("SIGKILL")?;
        child.wait()?;
        in_flight += u32::from(lines(&diary)? > lines_before);
    }
    let mut child = start(kills, &manifest, "last")?;
    let last = Instant::now();
    let status = loop {
        if let Some(status) = child.try_wait()? {
            break status;
        }
        if last.elapsed() > PATIENCE {
            child.kill()?;
            child.wait()?;
            bail!("the last life did not end within {PATIENCE:?}");
        }
        std::thread::sleep(Duration::from_millis(50));
    };
    let took = begun.elapsed();
    let said = fs::read_to_string(kills.directory.join("last.out"))?;
    if !status.success() {
        let errors = fs::read_to_string(kills.directory.join("last.err"))?;
        bail!("the last life ended with {status}: {said}{errors}");
    }
    check(
        &serde_json::from_str(&said).context("not one JSON document")?,
        kills.partitions,
    )?;
    work::check_files(&diary, kills.partitions)?;
    Ok(Survived {
        took,
        in_flight,
        waste: work::check_diary(&diary, kills.partitions)?,
    })
}

fn start(kills: &Kills, manifest: &Path, life: &str) -> anyhow::Result<Child> {
    let file = |kind: &str| fs::File::create(kills.directory.join(format!("{life}.{kind}")));
    Command::new(&kills.braid)
        .arg("run")
        .arg(manifest)
        .arg("--state")
        .arg(kills.directory.join("state"))
        .args(["-o", "json"])
        .stdin(Stdio::null())
        .stdout(file("out")?)
        .stderr(file("err")?)
        .spawn()
        .with_context(|| format!("cannot start {}", kills.braid.display()))
}

fn lines(diary: &Path) -> anyhow::Result<usize> {
    match fs::read(diary) {
        Ok(bytes) => Ok(bytes.split(|byte| *byte == b'\n').skip(1).count()),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(0),
        Err(error) => Err(error.into()),
    }
}

/// Checks the document that `braid run -o json` prints.
fn check(document: &Value, partitions: u64) -> anyhow::Result<()> {
    ensure!(document["phase"] == "Succeeded", "it says {document}");
    let step = &document["steps"][work::STEP];
    let counts = json!({"total": partitions, "succeeded": partitions, "failed": 0});
    ensure!(step["partitions"] == counts, "it says {}", step["partitions"]);
    let results = step["results"].as_object().context("no results")?;
    ensure!(results.len() == 5, "it says {results:?}");
    for (name, value) in results {
        work::exact(name, value, partitions)?;
    }
    Ok(())
}
