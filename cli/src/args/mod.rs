//! The command line.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};
use clap_complete::Shell;

mod place;

pub use place::{ClusterArgs, Side, Target, Where};

/// Split a Workflow over many workers and fold the results exactly once.
#[derive(Debug, Parser)]
#[command(name = "braid", version, max_term_width = 100, after_help = AFTER)]
pub struct Cli {
    #[command(subcommand)]
    pub command: Command,
}

const AFTER: &str = "Which run is meant: with --local or --state one on this machine; with -n, -A, --context or any other \
                     option of clusters one in the cluster; with neither the one of that name on this machine if \
                     there is one, else the one in the cluster. `run` is always on this machine, `submit` and `doctor` \
                     are always of the cluster. As `kubectl braid`, the cluster is meant unless --local or --state \
                     is given.\n\n\
                     Exit codes: 0 succeeded, 1 failed, 2 wrong file or usage, 3 cancelled or not accepted, \
                     4 timed out (the run goes on), 5 the run waits for a person, 6 API or state unreachable, \
                     70 a defect of braid itself, 130 interrupted (the state is kept).";

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run a workflow on this machine, by the code that runs it in a cluster
    Run(RunArgs),
    /// Create a workflow in the cluster
    Submit(SubmitArgs),
    /// Check manifests: where, what, and how to mend it
    Lint(LintArgs),
    /// Draw which steps come after which
    Graph(GraphArgs),
    /// Show what the partitions of each step would be, without running anything
    Plan(PlanArgs),
    /// List runs
    Ls(LsArgs),
    /// Show one run; without a name, list runs
    Get(GetArgs),
    /// Show how a run goes on until it ends, and end as it does
    Watch(WatchArgs),
    /// Wait until a run ends (or whatever else is waited for), and end as it does
    Wait(WaitArgs),
    /// Show what user code printed, each line with its step, partition and attempt
    Logs(LogsArgs),
    /// Write a page about a run: its steps, workers over time, speed, failures, results
    Report(ReportArgs),
    /// List partitions by how they stand: failed, waiting, suspect, succeeded, open
    Partitions(PartitionsArgs),
    /// Try again what failed; what succeeded is kept
    Retry(RetryArgs),
    /// Hand out no more work; what runs is finished and counted
    Suspend(Target),
    /// Go on after `suspend`, or after a pause: what has failed is accepted then
    Resume(Target),
    /// Stop a run for good; what was settled is counted
    Cancel(Target),
    /// Check whether the cluster can run workflows, and why runs there do not go on
    Doctor(DoctorArgs),
    /// Show the version
    Version,
    /// Print completions for a shell
    Completion {
        /// The shell.
        shell: Shell,
    },
    /// Run beside user code: started by workers
    #[command(hide = true)]
    Shim {
        /// Where what attempts save for the next is kept
        #[arg(long, value_name = "DIR")]
        checkpoints: Option<PathBuf>,
    },
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

/// `braid graph`.
#[derive(Debug, Args)]
pub struct GraphArgs {
    /// A YAML or JSON file; `-` is standard input
    pub file: PathBuf,
    /// Print it for Graphviz
    #[arg(long, conflicts_with = "mermaid")]
    pub dot: bool,
    /// Print it for Mermaid
    #[arg(long)]
    pub mermaid: bool,
}

/// `braid plan`.
#[derive(Debug, Args)]
pub struct PlanArgs {
    /// A file with one workflow; `-` is standard input
    pub file: PathBuf,
    /// Set a param, by its type; JSON for lists and objects. May be given several times
    #[arg(short, long = "param", value_name = "NAME=VALUE")]
    pub params: Vec<String>,
    /// How many partitions of each step to show
    #[arg(long, value_name = "N", default_value_t = 3)]
    pub first: u16,
    /// How to print it
    #[arg(short, long, value_enum, default_value_t = RunOutput::Table)]
    pub output: RunOutput,
}

/// `braid submit`.
#[derive(Debug, Args)]
pub struct SubmitArgs {
    /// A file with one workflow; `-` is standard input
    pub file: PathBuf,
    /// Set a param, by its type; JSON for lists and objects. May be given several times
    #[arg(short, long = "param", value_name = "NAME=VALUE")]
    pub params: Vec<String>,
    /// Give the run this name
    #[arg(long, value_name = "NAME", conflicts_with = "generate_name")]
    pub name: Option<String>,
    /// Let the server make a new name from the one in the file: NAME-x7k2p
    #[arg(long)]
    pub generate_name: bool,
    /// Let the server check it and create nothing
    #[arg(long, value_enum, value_name = "WHERE", conflicts_with_all = ["watch", "wait"])]
    pub dry_run: Option<DryRun>,
    /// Show how it goes on until it ends, and end as it does
    #[arg(short, long)]
    pub watch: bool,
    /// Wait until it ends, and end as it does
    #[arg(long, conflicts_with = "watch")]
    pub wait: bool,
    /// Wait at most so long: 90s, 10m, 2h. The run goes on
    #[arg(long, value_name = "TIME")]
    pub timeout: Option<braid_crds::Duration>,
    /// What to print; with --watch or --wait of the run at its end, else of what was created
    #[arg(short, long, value_enum, default_value_t = SubmitOutput::Text)]
    pub output: SubmitOutput,
    /// How to show progress with --watch, on standard error
    #[arg(long, value_enum, default_value_t = ProgressKind::Auto)]
    pub progress: ProgressKind,
    #[command(flatten)]
    pub cluster: ClusterArgs,
}

/// Who checks what is not created.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum DryRun {
    /// The API server: definitions, policies, rights
    Server,
}

/// What `submit` prints.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum SubmitOutput {
    /// For people
    Text,
    /// `workflow.braid.dev/NAME`
    Name,
    /// The object
    Json,
    /// The object
    Yaml,
}

/// `braid watch`.
#[derive(Debug, Args)]
pub struct WatchArgs {
    #[command(flatten)]
    pub target: Target,
    /// Watch at most so long: 90s, 10m, 2h
    #[arg(long, value_name = "TIME")]
    pub timeout: Option<braid_crds::Duration>,
    /// Note here what the workers do, for `report`; a file that is there is gone on with
    #[arg(long, value_name = "FILE")]
    pub timeline: Option<PathBuf>,
    /// What to print at the end
    #[arg(short, long, value_enum, default_value_t = RunOutput::Table)]
    pub output: RunOutput,
    /// How to show progress, on standard error
    #[arg(long, value_enum, default_value_t = ProgressKind::Auto)]
    pub progress: ProgressKind,
}

/// `braid wait`.
#[derive(Debug, Args)]
pub struct WaitArgs {
    #[command(flatten)]
    pub target: Target,
    /// What to wait for
    #[arg(long = "for", value_enum, default_value_t = Event::Finished)]
    pub event: Event,
    /// Wait at most so long: 90s, 10m, 2h [default: however long it takes]
    #[arg(long, value_name = "TIME")]
    pub timeout: Option<braid_crds::Duration>,
    /// End with exit code 5 when the run is suspended or paused: somebody has to resume it
    #[arg(long)]
    pub no_wait_human: bool,
}

/// What can be waited for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Event {
    /// The operator has looked at it and can run it
    Accepted,
    /// Its first step has begun
    Started,
    /// It is suspended, and nothing runs any more
    Suspended,
    /// It has ended; the exit code says how
    Finished,
    /// It is gone
    Deleted,
}

/// `braid ls`.
#[derive(Debug, Args)]
pub struct LsArgs {
    #[command(flatten)]
    pub place: Where,
    /// The runs of all namespaces
    #[arg(short = 'A', long, conflicts_with_all = ["namespace", "local", "state"])]
    pub all_namespaces: bool,
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
    /// The names
    Name,
}

/// `braid get`.
#[derive(Debug, Args)]
pub struct GetArgs {
    /// The workflow's name (its running or youngest run), or the name of the run's state directory
    pub name: Option<String>,
    #[command(flatten)]
    pub place: Where,
    /// Without a name: the runs of all namespaces
    #[arg(short = 'A', long, conflicts_with_all = ["name", "namespace", "local", "state"])]
    pub all_namespaces: bool,
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
    /// `workflow.braid.dev/NAME`
    Name,
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

/// `braid partitions`.
#[derive(Debug, Args)]
pub struct PartitionsArgs {
    #[command(flatten)]
    pub target: Target,
    /// Only this step
    pub step: Option<String>,
    /// Only those that failed for good, by cause
    #[arg(long)]
    pub failed: bool,
    /// The N of each step that took longest, ten at most and if nothing is said: of those that took a second or more
    #[arg(
        long, value_name = "N", num_args = 0..=1, default_missing_value = "10", conflicts_with = "failed",
        value_parser = clap::value_parser!(u8).range(1..=10)
    )]
    pub slowest: Option<u8>,
    /// What partition P of the step is: its number, its item, or which part of which file
    #[arg(long, value_name = "P", conflicts_with_all = ["failed", "slowest"])]
    pub show: Option<u64>,
    /// With --show: its input and nothing else, as the program has it on standard input
    #[arg(long, requires = "show", conflicts_with = "output")]
    pub input: bool,
    /// How to print them
    #[arg(short, long, value_enum, default_value_t = RunOutput::Table)]
    pub output: RunOutput,
}

/// `braid retry`.
#[derive(Debug, Args)]
pub struct RetryArgs {
    #[command(flatten)]
    pub target: Target,
    /// Try the failed partitions again, in this run (the default)
    #[arg(long)]
    pub failed: bool,
    /// In a cluster: leave this run, which has ended, as it is, and create another one that takes over what it has counted; without a
    /// name the server makes one
    #[arg(long, value_name = "NEWNAME", num_args = 0..=1, default_missing_value = "", conflicts_with_all = ["failed", "workers", "output", "progress"])]
    pub new: Option<String>,
    /// On this machine, if no process runs it: how many workers [default: one for each processor]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1024))]
    pub workers: Option<u16>,
    /// On this machine, if no process runs it: what to print at the end
    #[arg(short, long, value_enum, default_value_t = RunOutput::Table)]
    pub output: RunOutput,
    /// On this machine, if no process runs it: how to show progress, on standard error
    #[arg(long, value_enum, default_value_t = ProgressKind::Auto)]
    pub progress: ProgressKind,
}

/// `braid report`.
#[derive(Debug, Args)]
pub struct ReportArgs {
    #[command(flatten)]
    pub target: Target,
    /// Where the page goes; `-` is standard output [default: NAME.html]
    #[arg(short, long, value_name = "FILE")]
    pub output: Option<PathBuf>,
    /// What `watch --timeline` wrote [default: what `run` keeps with its state]
    #[arg(long, value_name = "FILE")]
    pub timeline: Option<PathBuf>,
}

/// `braid doctor`.
#[derive(Debug, Args)]
pub struct DoctorArgs {
    #[command(flatten)]
    pub cluster: ClusterArgs,
    /// Look at the runs of all namespaces
    #[arg(short = 'A', long, conflicts_with = "namespace")]
    pub all_namespaces: bool,
    /// Where operators are looked for by those who may not look everywhere
    #[arg(long, value_name = "NAMESPACE", default_value = "braid-system")]
    pub operator_namespace: String,
    /// How to print what was found
    #[arg(short, long, value_enum, default_value_t = LintOutput::Text)]
    pub output: LintOutput,
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn fits_together() {
        Cli::command().debug_assert();
    }

    #[test]
    fn every_command_is_on_its_page() {
        let page = include_str!("../../../docs/command-line.md");
        let commands = Cli::command();
        for command in commands.get_subcommands().filter(|command| !command.is_hide_set()) {
            let name = command.get_name();
            let told = [format!("`{name}`"), format!("`{name} ")];
            assert!(told.iter().any(|told| page.contains(told)), "{name}");
        }
    }
}
