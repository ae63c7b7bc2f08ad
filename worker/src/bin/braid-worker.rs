//! The worker of a pod: `run` works, `drain` is the pod's preStop hook, `install` copies the shim to where `main` finds it.
//!
//! Exit codes of `run`: 0 after a signal, when everything is committed; 1 when it cannot work as it is, so that the kubelet tries
//! again; 2 for a wrong command line or environment. It never ends with 0 by itself.

use std::fs::{self, File};
use std::io::{self, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::time::Duration;

use braid_telemetry::{Endpoint, Settings, identity::Ratio};
use braid_worker::ground::Ground;
use braid_worker::runner::logs::{LogLine, LogSink};
use braid_worker::runner::{Limits, Link, Runner as _, ShimRunner};
use braid_worker::task::{Exit, Options, WorkerIdentity, WorkerTask};
use clap::{Args, Parser, Subcommand};
use kube::{Client, Config};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::json;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

/// The name of the shim's program, which lies beside this one.
const SHIM: &str = "braid-shim";

/// Between a start that has ended and the next.
const PAUSE: Duration = Duration::from_secs(1);

/// Batches of lines that wait for standard output.
const BATCHES: usize = 64;

/// The worker of a pod.
#[derive(Debug, Parser)]
#[command(name = "braid-worker", version)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Work until told to end.
    Run(Box<Run>),
    /// Tell the worker of this container to finish what it has and to take nothing more.
    Drain,
    /// Copy the shim into a directory.
    Install {
        /// The directory, which must be there.
        directory: PathBuf,
    },
}

#[derive(Debug, Args)]
struct Run {
    /// The pod's name, which is also that of its Worker object.
    #[arg(long, env = "POD_NAME")]
    pod_name: String,
    /// The pod's uid.
    #[arg(long, env = "POD_UID")]
    pod_uid: String,
    /// The pod's namespace.
    #[arg(long, env = "NAMESPACE")]
    namespace: String,
    /// The socket to which the shim connects, in a directory that only this container can write.
    #[arg(long, env = "BRAID_SOCKET", default_value = "/braid/link/worker.sock")]
    socket: PathBuf,
    /// A file that only this container can see, for what has to outlive a restart.
    #[arg(long, env = "BRAID_KEY_FILE", default_value = "/braid/worker/key")]
    key_file: PathBuf,
    /// Where the volumes of data are mounted; nothing else is read.
    #[arg(long, env = "BRAID_DATA", default_value = "/data")]
    data: PathBuf,
    /// Where spans are sent, as in http://collector:4318 (OTLP, protobuf over HTTP); without it nowhere.
    #[arg(long, env = "BRAID_OTLP_ENDPOINT")]
    otlp_endpoint: Option<Endpoint>,
    /// The share of runs that are traced.
    #[arg(long, env = "BRAID_OTLP_RATIO", default_value = "1")]
    otlp_ratio: Ratio,
    /// How many seconds what runs may go on after the signal to end.
    #[arg(long, env = "BRAID_GRACE_SECONDS", default_value_t = 10)]
    grace_seconds: u64,
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let Ok(runtime) = runtime else {
        return ExitCode::FAILURE;
    };
    runtime.block_on(tell(cli.command))
}

/// Does what is asked for, and tells of it: standard output is for the lines of user code.
async fn tell(command: Command) -> ExitCode {
    let mut settings = Settings {
        service: "braid-worker",
        version: env!("CARGO_PKG_VERSION"),
        instance: String::new(),
        endpoint: None,
        ratio: Ratio::default(),
    };
    if let Command::Run(run) = &command {
        settings.instance.clone_from(&run.pod_name);
        settings.endpoint.clone_from(&run.otlp_endpoint);
        settings.ratio = run.otlp_ratio;
    }
    // Nobody else says where logs go.
    let Ok(telemetry) = braid_telemetry::start(&settings) else {
        return ExitCode::FAILURE;
    };
    let done = match command {
        Command::Run(run) => work(*run).await,
        // The first process of the container is the worker.
        Command::Drain => {
            kill(Pid::from_raw(1), Signal::SIGUSR1).map_err(|error| format!("cannot reach the worker: {error}"))
        }
        Command::Install { directory } => install(&directory),
    };
    let code = match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!(error, "the worker ends");
            ExitCode::FAILURE
        }
    };
    telemetry.stop().await;
    code
}

/// Copies the shim, whole or not at all.
fn install(directory: &Path) -> Result<(), String> {
    let failed = |what: &'static str| move |error: io::Error| format!("{what}: {error}");
    let own = std::env::current_exe().map_err(failed("this program's own path"))?;
    let (source, target) = (own.with_file_name(SHIM), directory.join(SHIM));
    let draft = target.with_extension("new");
    fs::copy(&source, &draft).map_err(failed("the shim cannot be copied"))?;
    fs::set_permissions(&draft, fs::Permissions::from_mode(0o755))
        .map_err(failed("the shim cannot be made executable"))?;
    File::open(&draft)
        .and_then(|file| file.sync_all())
        .map_err(failed("the shim cannot be stored"))?;
    fs::rename(&draft, &target).map_err(failed("the shim cannot be put into its place"))
}

async fn work(run: Run) -> Result<(), String> {
    let stop = CancellationToken::new();
    let signals = tokio::spawn(stop_on_signals(stop.clone())?);
    let done = Box::pin(serve(run, &stop)).await;
    signals.abort();
    done
}

/// Cancels at the first signal that asks for an end.
fn stop_on_signals(stop: CancellationToken) -> Result<impl Future<Output = ()> + Send + 'static, String> {
    let failed = |error: io::Error| format!("signals cannot be received: {error}");
    let mut terminate = signal(SignalKind::terminate()).map_err(failed)?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(failed)?;
    let mut drain = signal(SignalKind::user_defined1()).map_err(failed)?;
    Ok(async move {
        let why = tokio::select! {
            _ = terminate.recv() => "SIGTERM",
            _ = interrupt.recv() => "SIGINT",
            _ = drain.recv() => "the preStop hook",
        };
        tracing::info!(why, "the worker drains");
        stop.cancel();
    })
}

async fn serve(run: Run, stop: &CancellationToken) -> Result<(), String> {
    let config = Config::incluster().map_err(|error| format!("this is not a pod with a token: {error}"))?;
    let client = Client::try_from(config).map_err(|error| format!("no client: {error}"))?;
    let sink = lines_to_stdout()?;
    let identity = WorkerIdentity {
        namespace: run.namespace,
        name: run.pod_name,
        pod_uid: run.pod_uid,
    };
    let mut options = Options::new(Ground::Confined(run.data));
    options.grace = Duration::from_secs(run.grace_seconds);
    loop {
        let link = Link::new(run.socket.clone(), run.key_file.clone());
        let mut runner = ShimRunner::new(link, Limits::default(), Arc::clone(&sink));
        // A worker without a place to run anything in says nothing of itself: its image may never come.
        match stop.run_until_cancelled(runner.connected()).await {
            None => {
                runner.shutdown().await;
                return Ok(());
            }
            Some(connected) => connected.map_err(|error| error.to_string())?,
        }
        tracing::info!("the shim is there");
        let ended = WorkerTask::run(client.clone(), identity.clone(), runner, options.clone(), stop.clone());
        match Box::pin(ended).await.map_err(|error| error.to_string())? {
            Exit::Cancelled => return Ok(()),
            exit @ Exit::Drained => {
                tracing::info!(?exit, "there is nothing more to do");
                stop.cancelled().await;
                return Ok(());
            }
            // If the pod is still wanted it gets another desk.
            exit @ Exit::Gone => {
                tracing::info!(?exit, "the desk is gone; waiting for another");
                if stop.run_until_cancelled(tokio::time::sleep(PAUSE)).await.is_none() {
                    return Ok(());
                }
            }
            exit @ (Exit::Replaced | Exit::RunnerEnded) => {
                if stop.is_cancelled() {
                    return Ok(());
                }
                return Err(format!("the work here is over: {exit:?}"));
            }
        }
    }
}

/// Lines of user code, as JSON objects on standard output.
struct Stdout(SyncSender<Vec<LogLine>>);

impl LogSink for Stdout {
    fn append(&self, lines: Vec<LogLine>) -> Result<(), Vec<LogLine>> {
        match self.0.try_send(lines) {
            Err(TrySendError::Full(lines)) => Err(lines),
            // Disconnected: nobody reads them any more.
            Ok(()) | Err(TrySendError::Disconnected(_)) => Ok(()),
        }
    }

    fn lost(&self, lines: u64) {
        tracing::warn!(
            lines,
            "lines of user code were dropped: standard output is not read fast enough"
        );
    }
}

fn lines_to_stdout() -> Result<Arc<dyn LogSink>, String> {
    let (sender, receiver) = sync_channel(BATCHES);
    std::thread::Builder::new()
        .name("lines".to_owned())
        .spawn(move || print(&receiver))
        .map_err(|error| format!("no thread for the lines of user code: {error}"))?;
    Ok(Arc::new(Stdout(sender)))
}

fn print(lines: &Receiver<Vec<LogLine>>) {
    for batch in lines {
        let mut text = Vec::new();
        for line in batch {
            let tagged = json!({
                "run": line.run.split_once('/').map_or("", |(uid, _)| uid),
                "step": line.step.as_ref(),
                "partition": line.partition,
                "attempt": line.attempt,
                "stream": line.stream,
                "cut": line.cut,
                "line": String::from_utf8_lossy(&line.line),
            });
            text.extend_from_slice(tagged.to_string().as_bytes());
            text.push(b'\n');
        }
        if let Err(error) = io::stdout().lock().write_all(&text) {
            tracing::warn!(%error, "lines of user code cannot be written any more");
            return;
        }
    }
}
