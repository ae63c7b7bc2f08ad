//! `bench` and `chaos`: built with optimisations, then run. What they do is their crates' business; the conventions are
//! these: a table on stdout, progress on stderr, one JSON document into the file of `--json`, exit code 0 only if
//! everything was exact.

use std::{
    hash::{BuildHasher as _, Hasher as _, RandomState},
    path::{Path, PathBuf},
    process,
};

use anyhow::{Context as _, bail};
use clap::Args;

use crate::{cargo, kind, python, root};

/// Options of `bench`.
#[derive(Args)]
pub struct BenchOptions {
    /// Which measurements; none: all that need no cluster, or all on one
    names: Vec<String>,
    /// On a cluster in containers, beside an Indexed Job
    #[arg(long)]
    cluster: bool,
    /// On a cluster: lets the Indexed Job of the large comparison run to its end, too, which takes most of an hour
    #[arg(long, requires = "cluster")]
    whole: bool,
    /// Beside Celery, Dask, Ray and DuckDB, too: needs python3 and a package index, and root or redis-server
    #[arg(long, conflicts_with = "cluster")]
    peers: bool,
    /// Also writes the figures to this file, as JSON
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

/// Options of `chaos`.
#[derive(Args)]
pub struct ChaosOptions {
    /// On a cluster in containers: every request and every process once, each while shards are in flight
    #[arg(long, conflicts_with_all = ["minutes", "seeds", "seed"])]
    cluster: bool,
    /// On a cluster: only cells with this text in their names; may be given more than once
    #[arg(long, value_name = "TEXT", requires = "cluster")]
    only: Vec<String>,
    /// How long
    #[arg(long, default_value_t = 30)]
    minutes: u32,
    /// Before that, so many runs of the simulator, in virtual time; 0 leaves it out
    #[arg(long, default_value_t = 2_000)]
    seeds: u64,
    /// Makes the choices repeatable; by chance unless given
    #[arg(long)]
    seed: Option<u64>,
    /// Also writes what was hit to this file, as JSON
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

/// Measures.
pub fn bench(options: &BenchOptions) -> anyhow::Result<()> {
    if options.cluster {
        let mut arguments = Vec::new();
        if options.whole {
            arguments.push("--whole".to_owned());
        }
        for name in &options.names {
            arguments.extend(["--only".to_owned(), name.clone()]);
        }
        if let Some(file) = &options.json {
            arguments.extend(["--json".to_owned(), absolute(file)?]);
        }
        return kind::figures(&arguments);
    }
    let mut arguments = options.names.clone();
    if let Some(file) = &options.json {
        arguments.extend(["--json".to_owned(), absolute(file)?]);
    }
    let python = options.peers.then(peers).transpose()?;
    run("braid-bench", &arguments, python.as_deref())
}

/// The Python of an environment that has the peers; what is no package of Python is installed, too.
fn peers() -> anyhow::Result<PathBuf> {
    let root = root()?;
    if process::Command::new("redis-server").arg("--version").output().is_err() {
        let mut install = process::Command::new("apt-get");
        install.args(["install", "--yes", "--quiet", "redis-server"]);
        python::succeed(
            &mut install,
            "Celery is measured with redis-server, which could not be installed",
        )?;
    }
    python::environment(
        &root.join("target/peers"),
        &root.join("tests/benches/peers/requirements.txt"),
    )
}

/// Breaks things: first the protocol alone, then all of it.
pub fn chaos(options: &ChaosOptions) -> anyhow::Result<()> {
    if options.cluster {
        let mut arguments = Vec::new();
        for text in &options.only {
            arguments.extend(["--only".to_owned(), text.clone()]);
        }
        if let Some(file) = &options.json {
            arguments.extend(["--json".to_owned(), absolute(file)?]);
        }
        return kind::faults(&arguments);
    }
    if options.seeds > 0 {
        simulate(options.seeds, options.seed)?;
    }
    let mut arguments = vec!["--minutes".to_owned(), options.minutes.to_string()];
    if let Some(seed) = options.seed {
        arguments.extend(["--seed".to_owned(), seed.to_string()]);
    }
    if let Some(file) = &options.json {
        arguments.extend(["--json".to_owned(), absolute(file)?]);
    }
    run("braid-chaos", &arguments, None)
}

/// Runs the simulator on other seeds than the tests do, unless told where to begin. Not as a release: the development profile
/// optimises the model all the same, and keeps the checks of overflows and assertions.
fn simulate(seeds: u64, from: Option<u64>) -> anyhow::Result<()> {
    let by_chance = || RandomState::new().build_hasher().finish() >> 32;
    let from = from.unwrap_or_else(by_chance);
    let ended = cargo()
        .current_dir(root()?)
        .args([
            "run",
            "--locked",
            "--quiet",
            "--package",
            "braid-model",
            "--bin",
            "sim",
            "--",
        ])
        .args(["--seeds", &seeds.to_string(), "--from", &from.to_string()])
        .status()
        .context("cargo run --package braid-model --bin sim")?;
    if !ended.success() {
        bail!("a seed of the simulator is wrong ({ended}); it repeats with --seed");
    }
    Ok(())
}

/// The driver runs in the root of the repository, the user may not.
fn absolute(file: &Path) -> anyhow::Result<String> {
    let path = std::path::absolute(file).with_context(|| format!("{}", file.display()))?;
    path.into_os_string()
        .into_string()
        .map_err(|path| anyhow::anyhow!("{} is not UTF-8", path.display()))
}

fn run(binary: &str, arguments: &[String], peers: Option<&Path>) -> anyhow::Result<()> {
    // The program under measurement is `braid` itself: it is built too, so that the binary beside the driver is new.
    let packages = ["--package", "braid", "--package", binary];
    let built = cargo()
        .current_dir(root()?)
        .args(["build", "--release", "--locked", "--quiet"])
        .args(packages)
        .status()
        .context("cargo build")?;
    if !built.success() {
        bail!("{binary} was not built; alone: cargo build --release --package {binary}");
    }
    let mut program = cargo();
    program
        .current_dir(root()?)
        .args(["run", "--release", "--locked", "--quiet", "--package", binary, "--"])
        .args(arguments);
    if let Some(python) = peers {
        program.env("PEER_PYTHON", python);
    }
    let ended = program
        .status()
        .with_context(|| format!("cargo run --package {binary}"))?;
    if !ended.success() {
        bail!("{binary} failed ({ended})");
    }
    Ok(())
}
