//! The project's own tools: `cargo xtask test | generate | cluster | images | bench | compare | chaos`.
//!
//! Everything runs from a clean clone with the Rust toolchain and, for real API servers, Go; what else is needed is built
//! below `target/`.

// A command-line tool speaks by printing.
#![allow(clippy::print_stdout, clippy::print_stderr)]

mod cluster;
mod compare;
#[cfg(test)]
mod doors;
mod drivers;
mod generate;
mod images;
mod kind;
mod python;
mod reference;
mod stages;
mod values;

use std::{
    path::PathBuf,
    process::{self, ExitCode},
};

use anyhow::Context as _;
use clap::{Parser, Subcommand};

#[derive(Parser)]
#[command(name = "cargo xtask", about = "Checks, generates and measures Braid")]
struct Options {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Runs every check and every test; needs the Rust toolchain, and Go for those on a real API server
    Test(stages::TestOptions),
    /// Writes what is generated: the definitions of the kinds, the API reference, the charts' values
    Generate {
        /// Writes nothing; fails if a file is not as it would be generated
        #[arg(long)]
        check: bool,
    },
    /// A Kubernetes on this machine: kind, on Docker; what is missing for that is installed and built where it can be
    Cluster(kind::ClusterOptions),
    /// Builds the images of the operator and of the worker, each a tar of an OCI layout
    Images(images::ImagesOptions),
    /// Measures; prints a table
    Bench(drivers::BenchOptions),
    /// Folds real data with `braid run` and compares with pandas; needs python3 and a package index
    Compare,
    /// Breaks things at random for a while and checks that the numbers stay exact
    Chaos(drivers::ChaosOptions),
}

fn main() -> ExitCode {
    let done = match Options::parse().command {
        Command::Test(options) => stages::test(&options),
        Command::Generate { check } => generate::run(check).map(|()| true),
        Command::Cluster(options) => kind::run(&options).map(|()| true),
        Command::Images(options) => images::run(&options).map(|()| true),
        Command::Bench(options) => drivers::bench(&options).map(|()| true),
        Command::Compare => compare::run().map(|()| true),
        Command::Chaos(options) => drivers::chaos(&options).map(|()| true),
    };
    match done {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// The root of the repository, whatever the working directory is.
fn root() -> anyhow::Result<PathBuf> {
    let manifest = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    manifest
        .parent()
        .map(PathBuf::from)
        .context("xtask lies in the root of the repository")
}

/// What tests need that are not for every machine. Every stage builds the whole workspace with these: a choice of packages would give
/// dependencies other features, and build them again.
const FEATURES: &str = "braid-cluster/real,braid-e2e-kind/cluster,braid-e2e-kind/real,braid/real";

/// The `cargo` that runs this, without the variables that it has set for this: builds of dependencies look at some, and would be done
/// again after each call by hand.
fn cargo() -> process::Command {
    let mut command = process::Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    for (name, _) in std::env::vars_os() {
        let of_this = ["CARGO_PKG_", "CARGO_MANIFEST_"];
        if of_this
            .iter()
            .any(|of| name.as_encoded_bytes().starts_with(of.as_bytes()))
        {
            command.env_remove(name);
        }
    }
    command
}
