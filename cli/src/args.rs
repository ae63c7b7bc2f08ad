//! The command line.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};
use clap_complete::Shell;

/// Split a Workflow over many workers and fold the results exactly once.
#[derive(Debug, Parser)]
#[command(name = "braid", version, max_term_width = 100, after_help = AFTER)]
pub struct Cli {
    #[command(subcommand)]
    pub command: Command,
}

const AFTER: &str = "Exit codes: 0 succeeded, 1 failed, 2 wrong file or usage, 3 cancelled or not accepted, \
                     6 API or state unreachable, 70 a defect of braid itself, 130 interrupted (the state is kept).";

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run a workflow on this machine, by the code that runs it in a cluster
    Run(RunArgs),
    /// Check manifests: where, what, and how to mend it
    Lint(LintArgs),
    /// List runs on this machine
    Ls(LsArgs),
    /// Show one run
    Get(GetArgs),
    /// Show what user code printed, each line with its step, partition and attempt
    Logs(LogsArgs),
    /// Hand out no more work; what runs is finished and counted
    Suspend(Target),
    /// Go on after `suspend`
    Resume(Target),
    /// Stop a run for good; what was settled is counted
    Cancel(Target),
    /// Show the version
    Version,
    /// Print completions for a shell
    Completion {
        /// The shell.
        shell: Shell,
    },
    /// Run beside user code: started by workers
    #[command(hide = true)]
    Shim,
}

/// `braid run`.
#[derive(Debug, Args)]
pub struct RunArgs {
    /// A file with one workflow; `-` is standard input
    pub file: PathBuf,
    /// Set a param, by its type; JSON for lists and objects. May be given several times
    #[arg(short, long = "param", value_name = "NAME=VALUE")]
    pub params: Vec<String>,
    /// Keep the run's state here: a new run, or the one whose state it is
    #[arg(long, value_name = "DIR", conflicts_with = "resume")]
    pub state: Option<PathBuf>,
    /// Go on with the youngest unfinished run of this workflow
    #[arg(long)]
    pub resume: bool,
    /// How many workers [default: one for each processor]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1024))]
    pub workers: Option<u16>,
    /// What to print at the end
    #[arg(short, long, value_enum, default_value_t = RunOutput::Table)]
    pub output: RunOutput,
    /// How to show progress, on standard error
    #[arg(long, value_enum, default_value_t = ProgressKind::Auto)]
    pub progress: ProgressKind,
}

/// What `run` prints at its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum RunOutput {
    /// For people
    Table,
    /// One document: phase, outputs, steps
    Json,
}

/// How progress is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum ProgressKind {
    /// `tty` on a terminal, `plain` elsewhere and where CI is set
    Auto,
    /// A live view
    Tty,
    /// Lines
    Plain,
    /// Nothing
    None,
}

/// `braid lint`.
#[derive(Debug, Args)]
pub struct LintArgs {
    /// YAML or JSON files; `-` is standard input
    #[arg(required = true)]
    pub files: Vec<PathBuf>,
    /// How to print problems
    #[arg(short, long, value_enum, default_value_t = LintOutput::Text)]
    pub output: LintOutput,
}

/// How problems are printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum LintOutput {
    /// A line each
    Text,
    /// A list of objects
    Json,
}

/// `braid ls`.
#[derive(Debug, Args)]
pub struct LsArgs {
    /// Also the run whose state is here
    #[arg(long, value_name = "DIR")]
    pub state: Option<PathBuf>,
    /// How to print runs
    #[arg(short, long, value_enum, default_value_t = LsOutput::Table)]
    pub output: LsOutput,
}

/// How runs are printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum LsOutput {
    /// For people
    Table,
    /// A list of objects
    Json,
}

/// Which run.
#[derive(Debug, Args)]
pub struct Target {
    /// The workflow's name (its running or youngest run), or the name of the run's state directory
    #[arg(required_unless_present = "state")]
    pub name: Option<String>,
    /// The run whose state is here
    #[arg(long, value_name = "DIR")]
    pub state: Option<PathBuf>,
}

/// `braid get`.
#[derive(Debug, Args)]
pub struct GetArgs {
    #[command(flatten)]
    pub target: Target,
    /// How to print it
    #[arg(short, long, value_enum, default_value_t = GetOutput::Table)]
    pub output: GetOutput,
}

/// How a run is printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum GetOutput {
    /// For people
    Table,
    /// The object
    Json,
    /// The object
    Yaml,
}

/// `braid logs`.
#[derive(Debug, Args)]
pub struct LogsArgs {
    #[command(flatten)]
    pub target: Target,
    /// Only this step
    pub step: Option<String>,
    /// Only this partition
    #[arg(long, value_name = "N")]
    pub partition: Option<u64>,
    /// Only this attempt, from 1
    #[arg(long, value_name = "N")]
    pub attempt: Option<u32>,
    /// Only what was written to standard error
    #[arg(long)]
    pub stderr: bool,
    /// Go on with what is being written, until the run ends
    #[arg(short, long)]
    pub follow: bool,
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn fits_together() {
        Cli::command().debug_assert();
    }
}
