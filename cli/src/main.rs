//! `braid`: the command line.

use std::{
    io::{self, Write as _},
    path::{Path, PathBuf},
    process::ExitCode,
};

use braid_cli::lint::{self, Linter};
use clap::{Parser, Subcommand, ValueEnum};

#[derive(Parser)]
#[command(
    name = "braid",
    version,
    about = "Split a Workflow over many workers and fold the results exactly once"
)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Check manifests: where, what, and how to mend it. Exits with 2 if anything is wrong.
    Lint {
        /// YAML or JSON files; `-` is standard input.
        #[arg(required = true)]
        files: Vec<PathBuf>,
        /// How to print the problems.
        #[arg(short, long, default_value = "text")]
        output: Output,
    },
}

#[derive(Clone, Copy, ValueEnum)]
enum Output {
    /// A line each.
    Text,
    /// A list of objects.
    Json,
}

fn main() -> anyhow::Result<ExitCode> {
    let Command::Lint { files, output } = Cli::parse().command;
    let problems = lint::files(&Linter::new()?, files.iter().map(PathBuf::as_path).map(Path::as_ref));
    let mut out = io::stdout().lock();
    match output {
        Output::Text => problems.iter().try_for_each(|problem| writeln!(out, "{problem}"))?,
        Output::Json => writeln!(out, "{}", serde_json::to_string_pretty(&problems)?)?,
    }
    Ok(ExitCode::from(if problems.is_empty() { 0 } else { 2 }))
}
