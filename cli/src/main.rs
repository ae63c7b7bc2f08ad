//! `braid`: the command line.
//!
//! Each command gives how it ended ([`exit::Exit`]) or why it could not do its work ([`exit::Failure`]), told here and nowhere
//! else. What people asked for goes to standard output, everything else to standard error.

use std::{process::ExitCode, time::Duration};

use braid_telemetry::logs::without_bodies;
use braid_worker::shim;
use clap::{CommandFactory as _, FromArgMatches as _};
use tracing_subscriber::{
    EnvFilter, Layer as _,
    filter::{FilterExt as _, LevelFilter},
    layer::SubscriberExt as _,
    util::SubscriberInitExt as _,
};

mod anew;
mod args;
mod attend;
mod change;
mod check;
mod cluster;
mod code;
mod doctor;
mod exit;
mod get;
mod graph;
mod logs;
mod ls;
mod out;
mod partitions;
mod place;
mod plan;
mod program;
mod progress;
mod report;
mod retry;
mod run;
mod runs;
mod submit;
mod summary;
mod text;
mod timeline;
mod watch;

use args::{Cli, Command};
use change::Change;
use exit::{Exit, Failure};

/// Which messages of the system are shown: a filter such as `info` or `braid_operator=debug`.
const LOG: &str = "BRAID_LOG";
/// What is shown if nobody says: the client's errors are told as this program's own.
const QUIET: &str = "kube_client=off";
/// How long blocking work may go on after a command has ended.
const LAST: Duration = Duration::from_secs(2);

fn main() -> ExitCode {
    let command = parse().command;
    // A shim has neither log nor runtime: it forks and waits for processes.
    if let Command::Shim { checkpoints } = command {
        return match shim::Config::from_stdin() {
            Ok(config) => shim::main(shim::Config { checkpoints, ..config }),
            Err(error) => told(&Failure::usage(error).doing("cannot take standard input")),
        };
    }
    match log().and_then(|()| execute(&command)) {
        Ok(exit) => exit.into(),
        Err(failure) => told(&failure),
    }
}

/// The command line; usage is told as people have called it.
fn parse() -> Cli {
    let mut command = Cli::command();
    if program::is_plugin() {
        command = command.bin_name(program::name()).display_name(program::name());
    }
    let matches = command.get_matches();
    Cli::from_arg_matches(&matches).unwrap_or_else(|error| error.exit())
}

fn told(failure: &Failure) -> ExitCode {
    progress::say(&failure.to_string());
    failure.exit().into()
}

fn log() -> Result<(), Failure> {
    let builder = EnvFilter::builder().with_default_directive(LevelFilter::WARN.into());
    let filter = builder
        .parse(std::env::var(LOG).unwrap_or_else(|_| QUIET.to_owned()))
        .map_err(|error| Failure::usage(error).doing(format!("{LOG} is no filter")))?;
    let layer = tracing_subscriber::fmt::layer()
        .with_writer(progress::Log)
        .with_ansi(text::Tint::of(&std::io::stderr()).0)
        .with_target(false)
        .without_time()
        .with_filter(filter.and(without_bodies()));
    tracing_subscriber::registry().with(layer).init();
    Ok(())
}

fn execute(command: &Command) -> Result<Exit, Failure> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::unreachable(error).doing("cannot start threads"))?;
    let ended = runtime.block_on(async {
        match command {
            Command::Run(args) => run::run(args).await,
            Command::Submit(args) => submit::submit(args).await,
            Command::Watch(args) => watch::watch(args).await,
            Command::Wait(args) => watch::wait(args).await,
            Command::Lint(args) => check::check(args),
            Command::Graph(args) => graph::graph(args),
            Command::Plan(args) => plan::plan(args),
            Command::Ls(args) => ls::ls(args).await,
            Command::Get(args) => get::get(args).await,
            Command::Logs(args) => logs::logs(args).await,
            Command::Report(args) => report::report(args).await,
            Command::Partitions(args) => partitions::partitions(args).await,
            Command::Retry(args) => retry::retry(args).await,
            Command::Suspend(target) => change::change(target, Change::Suspend).await,
            Command::Resume(target) => change::change(target, Change::Resume).await,
            Command::Cancel(target) => change::change(target, Change::Cancel).await,
            Command::Doctor(args) => doctor::doctor(args).await,
            Command::Version => version(),
            Command::Completion { shell } => completion(*shell),
            Command::Shim { .. } => Err(Failure::usage("a shim is started by a worker")),
        }
    });
    runtime.shutdown_timeout(LAST);
    ended
}

fn version() -> Result<Exit, Failure> {
    let (oldest, newest) = braid_crds::PROTOCOL;
    out::lines(&[format!(
        "braid {} (API {}/{}, status format {}, protocol {oldest} to {newest})",
        env!("CARGO_PKG_VERSION"),
        braid_crds::GROUP,
        braid_crds::VERSION,
        braid_crds::STATUS_FORMAT,
    )])?;
    Ok(Exit::Succeeded)
}

fn completion(shell: clap_complete::Shell) -> Result<Exit, Failure> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "braid", &mut script);
    out::write(&String::from_utf8_lossy(&script))?;
    Ok(Exit::Succeeded)
}
