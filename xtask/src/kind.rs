//! `cargo xtask cluster`: a Kubernetes on this machine, as the tests use it.

use std::path::PathBuf;
use std::time::Instant;

use anyhow::Context as _;
use braid_cluster::kind::{self, Name};
use braid_cluster::{Phase, Steps};
use clap::{Args, Subcommand};

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
