//! `braid-bench [NAME..] [--json FILE] [--quick]`: what Braid costs, measured on this machine.
//!
//! A table on stdout for each measurement, progress on stderr, all figures in the file of `--json`. Exit code 0 only if
//! every run was exact and every limit was kept. Definitions stand with the figures.

// Serde's documents give null for what is absent.
#![allow(clippy::indexing_slicing, clippy::format_push_string)]
// A command-line tool speaks by printing.
#![allow(clippy::print_stdout, clippy::print_stderr)]

mod command;
mod data;
mod figure;
mod judged;
mod leader;
mod machine;
mod makespan;
mod noop;
mod peers;
mod plain;
mod rss;
mod served;
mod status;
mod steps;
mod tables;
mod writes;

use std::{path::PathBuf, process::ExitCode};

use anyhow::{Context as _, bail};
use clap::Parser;
use figure::Figure;
use serde_json::json;

#[derive(Parser)]
#[command(about = "Measures what Braid costs")]
struct Options {
    /// Which measurements; none: all
    names: Vec<String>,
    /// Also writes the figures to this file, as JSON
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Smaller and shorter: to see that it works
    #[arg(long)]
    quick: bool,
}

/// How much is done.
#[derive(Clone, Copy, Debug)]
pub struct Effort {
    /// Smaller and shorter.
    pub quick: bool,
}

/// `rss` first: memory that other measurements have freed is not given back at once.
const ALL: [&str; 12] = [
    "rss", "noop", "command", "served", "scan", "delivery", "tables", "writes", "status", "makespan", "leader", "steps",
];
/// Only if asked for: needs the programs of a real API server, which are built with Go the first time.
const MORE: [&str; 2] = ["steps-real", "judged-real"];

async fn measure(name: &str, effort: Effort) -> anyhow::Result<Figure> {
    match name {
        "rss" => rss::measure(effort).await,
        "noop" => noop::measure(effort).await,
        "command" => command::measure(effort).await,
        "scan" => data::scan(effort),
        "delivery" => data::delivery(effort).await,
        "tables" => tables::measure(effort).await,
        "served" => served::measure(effort).await,
        "writes" => writes::measure(effort).await,
        "status" => status::measure(effort).await,
        "makespan" => makespan::measure(effort).await,
        "leader" => leader::measure(effort).await,
        "steps" => steps::measure(effort, false).await,
        "steps-real" => steps::measure(effort, true).await,
        "judged-real" => judged::measure(effort).await,
        other => bail!("there is no measurement {other:?}"),
    }
}

fn main() -> ExitCode {
    if let Some(code) = braid_testkit::as_shim() {
        return code;
    }
    if let Some(code) = plain::as_plain() {
        return code;
    }
    tracing_subscriber::fmt()
        .with_env_filter(tracing_subscriber::EnvFilter::from_default_env())
        .with_writer(std::io::stderr)
        .init();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build();
    let done = runtime
        .context("the runtime")
        .and_then(|runtime| runtime.block_on(run(Options::parse())));
    match done {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

async fn run(options: Options) -> anyhow::Result<bool> {
    let names: Vec<&str> = if options.names.is_empty() {
        ALL.to_vec()
    } else {
        options.names.iter().map(String::as_str).collect()
    };
    if let Some(unknown) = names.iter().find(|name| !ALL.contains(name) && !MORE.contains(name)) {
        let known = [ALL.as_slice(), &MORE].concat();
        bail!("there is no measurement {unknown:?}; there are {}", known.join(", "));
    }
    let effort = Effort { quick: options.quick };
    let (mut figures, mut failed) = (Vec::new(), Vec::new());
    for name in names {
        eprintln!("measuring {name} ...");
        match Box::pin(measure(name, effort)).await {
            Ok(figure) => {
                println!("{}", figure.table());
                figures.push(figure.json());
            }
            Err(error) => {
                eprintln!("{name} failed: {error:#}");
                failed.push(json!({"name": name, "error": format!("{error:#}")}));
            }
        }
    }
    if let Some(file) = &options.json {
        let document = json!({"quick": options.quick, "figures": figures, "failed": failed});
        let text = serde_json::to_string_pretty(&document)?;
        std::fs::write(file, text + "\n").with_context(|| format!("cannot write {}", file.display()))?;
    }
    Ok(failed.is_empty())
}
