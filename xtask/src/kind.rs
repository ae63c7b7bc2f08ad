//! `cargo xtask cluster`: a Kubernetes on this machine, as the tests use it.

use std::ffi::OsStr;
use std::path::PathBuf;
use std::process::Command;
use std::time::Instant;

use anyhow::Context as _;
use braid_cluster::kind::{self, KindError, Name};
use braid_cluster::{EngineError, Phase, Steps, userland};
use clap::{Args, Subcommand};

use crate::{FEATURES, cargo, cluster, images, root};

/// The stage of the tests on a cluster, for people.
pub const ALONE: &str = "cargo xtask test --only e2e-kind";
/// The cluster of the stage, which is made and removed by it. A cluster of that name that is there already is used, and stays.
const NAME: &str = "braid-e2e";
/// The control plane, a node to be lost, and one where everything goes on.
const NODES: u8 = 3;

/// Options of `cluster`.
#[derive(Args)]
pub struct ClusterOptions {
    #[command(subcommand)]
    command: ClusterCommand,
}

#[derive(Subcommand)]
enum ClusterCommand {
    /// Makes a cluster; what is missing for it is fetched, built and kept, which takes many minutes the first time
    Up {
        /// Nodes; the first one is the control plane
        #[arg(long, default_value_t = 1)]
        nodes: u8,
        /// The cluster's name
        #[arg(long, default_value = "braid")]
        name: Name,
    },
    /// Removes a cluster
    Down {
        /// The cluster's name
        #[arg(long, default_value = "braid")]
        name: Name,
        /// Also stops the container engine, if it was started for clusters
        #[arg(long)]
        engine: bool,
    },
    /// Loads an image into all nodes
    Load {
        /// A tar of an OCI layout, or of `docker save`
        file: PathBuf,
        /// The cluster's name
        #[arg(long, default_value = "braid")]
        name: Name,
    },
}

/// Does what was asked.
pub fn run(options: &ClusterOptions) -> anyhow::Result<()> {
    let say = |what: &str| println!("{what}");
    let begun = Instant::now();
    match &options.command {
        ClusterCommand::Up { nodes, name } => {
            let mut steps = Steps::default();
            let made = kind::up(name, *nodes, &mut steps, &say);
            println!("\n{steps}");
            println!(
                "{:.1} s in all; what is kept for the next time took {:.1} s of downloads and {:.1} s of builds",
                begun.elapsed().as_secs_f64(),
                steps.of(Phase::Download).as_secs_f64(),
                steps.of(Phase::Build).as_secs_f64()
            );
            let cluster = made?;
            println!("\nexport KUBECONFIG={}", cluster.kubeconfig.display());
            if let Some(host) = cluster.engine.host() {
                println!("export DOCKER_HOST={host}");
            }
        }
        ClusterCommand::Down { name, engine } => {
            let removed = kind::down(name, &say)?;
            println!("{name}: {}", if removed { "removed" } else { "was not there" });
            if *engine {
                let stopped = kind::stop_engine(&say)?;
                println!("engine: {}", if stopped { "stopped" } else { "none of our own" });
            }
        }
        ClusterCommand::Load { file, name } => {
            let file = std::path::absolute(file).with_context(|| format!("{}", file.display()))?;
            kind::load(name, &file, &say)?;
            println!(
                "{} is in {name} after {:.1} s",
                file.display(),
                begun.elapsed().as_secs_f64()
            );
        }
    }
    Ok(())
}

/// How much of the tests on the cluster is run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Extent {
    /// The examples, images and rights: that what is installed works.
    Short,
    /// Also shared pools, memory, drains, and what happens when things break.
    Whole,
}

/// The cases of [`Extent::Short`], by the beginnings of their names.
const SHORT: [&str; 4] = ["squares", "retry", "an_image_of_one_static_program", "security::"];

/// Makes the cluster of the tests and the images, unless they are there, and runs the tests on it.
pub fn with_cluster<T>(extent: Extent, run: impl Fn(Command) -> anyhow::Result<T>) -> anyhow::Result<Vec<T>> {
    on_cluster(|images| {
        let command = |tests: &[&str], threads: u8| {
            let threads = format!("--test-threads={threads}");
            let mut command = cluster::test(tests, &["--nocapture", &threads]);
            command.env("BRAID_CLUSTER", NAME).env("BRAID_IMAGES", images);
            command
        };
        if extent == Extent::Short {
            let mut short = command(&["cases"], 3);
            short.args(SHORT);
            return Ok(vec![run(short)?]);
        }
        Ok(vec![
            run(command(&["cases", "faults"], 3))?,
            run(command(&["outages"], 1))?,
        ])
    })
}

/// Measures on the cluster of the tests.
pub fn figures(arguments: &[String]) -> anyhow::Result<()> {
    program("braid-figures", arguments)
}

/// Breaks every request and every process on the cluster of the tests.
pub fn faults(arguments: &[String]) -> anyhow::Result<()> {
    program("braid-faults", arguments)
}

/// Runs one of the tests' programs on their cluster.
fn program(name: &str, arguments: &[String]) -> anyhow::Result<()> {
    on_cluster(|images| {
        let target = root()?.join("target");
        let built = cargo()
            .current_dir(root()?)
            .args([
                "build",
                "--workspace",
                "--features",
                FEATURES,
                "--locked",
                "--bin",
                name,
            ])
            .arg("--target-dir")
            .arg(&target)
            .status()
            .with_context(|| format!("cargo build {name}"))?;
        anyhow::ensure!(built.success(), "cargo build {name}: {built}");
        let ended = Command::new(target.join("debug").join(name))
            .current_dir(root()?)
            .args(arguments)
            .env("BRAID_CLUSTER", NAME)
            .env("BRAID_IMAGES", images)
            .status()
            .with_context(|| name.to_owned())?;
        anyhow::ensure!(ended.success(), "{name}: {ended}");
        Ok(())
    })
}

/// Does something with the cluster and the list of images, both made if they are not there.
fn on_cluster<T>(work: impl FnOnce(&OsStr) -> anyhow::Result<T>) -> anyhow::Result<T> {
    let say = |what: &str| println!("{what}");
    let built = images::for_tests(&root()?.join("target/images"))?;
    println!(
        "programs {:.1} s, images {:.1} s",
        built.programs.as_secs_f64(),
        built.images.as_secs_f64()
    );
    let name: Name = NAME.parse()?;
    let mut steps = Steps::default();
    let (cluster, ours) = match kind::find_cluster(&name, &say) {
        Ok(cluster) => (cluster, false),
        Err(KindError::Absent(_) | KindError::Engine(EngineError::Absent(_))) => {
            (kind::up(&name, NODES, &mut steps, &say)?, true)
        }
        Err(error) => return Err(error.into()),
    };
    let userland = userland::obtain(&cluster.engine, &mut steps, &say);
    println!("{steps}");
    let worked = userland.map_err(anyhow::Error::from).and_then(|userland| {
        let files = built.files.into_iter().map(|image| image.file).chain([userland]);
        work(&std::env::join_paths(files)?)
    });
    if ours && let Err(error) = kind::down(&name, &say) {
        println!("{NAME} stays: {error}");
    }
    worked
}
