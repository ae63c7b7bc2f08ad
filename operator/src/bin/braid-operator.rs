//! The operator of a cluster: `run` operates, `check` asks an installation how it is.
//!
//! `run` waits until the API server has its definitions, contends for the lead, and ends after SIGTERM with the Lease released.
//! Exit codes: 0 after a signal or when all is well, 1 when it cannot go on or something is wrong, 2 for a wrong command line.

use std::{collections::BTreeSet, io, net::SocketAddr, process::ExitCode, sync::Arc, time::Duration};

use braid_operator::{
    Counters, Options, definitions,
    jobs::{JobPods, PodOptions, WorkerTracing},
    metered::Metered,
    probe,
    runtime::{Chain, LEADER_LEASE},
    service::{self, Readiness},
};
use braid_telemetry::{Endpoint, Settings, identity::Ratio};
use clap::{ArgAction, Args, Parser, Subcommand};
use hyper::Uri;
use k8s_openapi::api::{coordination::v1::Lease, core::v1::ResourceRequirements};
use kube::{Api, Client, Config, client::ClientBuilder};
use prometheus_client::registry::Registry;
use tokio::{
    net::TcpListener,
    signal::unix::{SignalKind, signal},
};
use tokio_util::sync::CancellationToken;

/// Turns Workflow objects into work on workers, and what they did into status.
#[derive(Debug, Parser)]
#[command(name = "braid-operator", version)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Operate until told to end.
    Run(Box<Run>),
    /// Ask an installation how it is: its definitions, its leader, its probes.
    Check(Check),
}

/// The Lease that operators contend for.
#[derive(Debug, Args)]
struct Lead {
    /// The namespace of the leader's Lease; in a pod its own.
    #[arg(long, env = "NAMESPACE")]
    namespace: String,
    /// The leader's Lease. Operators that contend for different ones must watch different namespaces.
    #[arg(long, env = "BRAID_LEASE_NAME", default_value = LEADER_LEASE)]
    lease_name: String,
}

#[derive(Debug, Args)]
struct Check {
    #[command(flatten)]
    lead: Lead,
    /// Where the operators' metrics port is, as in http://braid-operator:8080.
    #[arg(long)]
    url: Uri,
    /// How long all may take to be well, in seconds.
    #[arg(long, default_value_t = 60)]
    timeout_seconds: u64,
}

#[derive(Debug, Args)]
struct Run {
    #[command(flatten)]
    lead: Lead,
    /// Who this operator is among others; in a pod its name.
    #[arg(long, env = "POD_NAME")]
    identity: String,
    /// The only namespaces whose objects are looked at, separated by commas; without it all are.
    #[arg(long, env = "BRAID_WATCH_NAMESPACES", value_delimiter = ',')]
    watch_namespaces: Vec<String>,
    /// Workers of a run, for each kind of pod that it needs.
    #[arg(long, env = "BRAID_WORKERS", default_value_t = 4, value_parser = clap::value_parser!(i32).range(1..=10_000))]
    workers: i32,
    /// How long a worker may be silent, in seconds.
    #[arg(long, env = "BRAID_WORKER_LEASE_SECONDS", default_value_t = 15, value_parser = clap::value_parser!(u64).range(5..=3600))]
    worker_lease_seconds: u64,
    /// How long a leader may be silent, in seconds.
    #[arg(long, env = "BRAID_LEADER_LEASE_SECONDS", default_value_t = 15, value_parser = clap::value_parser!(u64).range(5..=3600))]
    leader_lease_seconds: u64,
    /// The image of the worker, with the shim beside it.
    #[arg(long, env = "BRAID_WORKER_IMAGE")]
    worker_image: String,
    /// When that image is pulled.
    #[arg(long, env = "BRAID_WORKER_PULL_POLICY", value_parser = ["Always", "IfNotPresent", "Never"])]
    worker_pull_policy: Option<String>,
    /// Names of secrets to pull it with, in the namespaces of the runs.
    #[arg(long, env = "BRAID_WORKER_PULL_SECRETS", value_delimiter = ',')]
    worker_pull_secrets: Vec<String>,
    /// The resources of the worker's container, as JSON of core/v1: {"requests": {..}, "limits": {..}}.
    #[arg(long, env = "BRAID_WORKER_RESOURCES", default_value = "{}", value_parser = resources)]
    worker_resources: ResourceRequirements,
    /// The image for steps that name none.
    #[arg(long, env = "BRAID_DEFAULT_IMAGE")]
    default_image: Option<String>,
    /// The `ClusterRole` that workers' service accounts are bound to.
    #[arg(long, env = "BRAID_WORKER_ROLE", default_value = "braid-worker")]
    worker_role: String,
    #[command(flatten)]
    tracing: Tracing,
    /// Where /healthz, /readyz and /metrics are answered.
    #[arg(long, env = "BRAID_LISTEN", default_value = "0.0.0.0:8080")]
    listen: SocketAddr,
}

#[derive(Debug, Args)]
struct Tracing {
    /// Where spans are sent, as in http://collector:4318 (OTLP, protobuf over HTTP); without it nowhere.
    #[arg(long, env = "BRAID_OTLP_ENDPOINT")]
    otlp_endpoint: Option<Endpoint>,
    /// The share of runs that are traced.
    #[arg(long, env = "BRAID_OTLP_RATIO", default_value = "1")]
    otlp_ratio: Ratio,
    /// Whether workers send spans, too, to the same place.
    #[arg(long, env = "BRAID_OTLP_WORKERS", default_value_t = true, action = ArgAction::Set)]
    otlp_workers: bool,
}

fn resources(text: &str) -> Result<ResourceRequirements, serde_json::Error> {
    serde_json::from_str(text)
}

#[tokio::main]
async fn main() -> ExitCode {
    let cli = Cli::parse();
    let mut settings = Settings {
        service: "braid-operator",
        version: env!("CARGO_PKG_VERSION"),
        instance: String::new(),
        endpoint: None,
        ratio: Ratio::default(),
    };
    if let Command::Run(run) = &cli.command {
        settings.instance.clone_from(&run.identity);
        settings.endpoint.clone_from(&run.tracing.otlp_endpoint);
        settings.ratio = run.tracing.otlp_ratio;
    }
    // Nobody else says where logs go.
    let Ok(telemetry) = braid_telemetry::start(&settings) else {
        return ExitCode::FAILURE;
    };
    let done = match cli.command {
        Command::Run(args) => Box::pin(operate(*args)).await,
        Command::Check(args) => Box::pin(check(args)).await,
    };
    let code = match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!(error, "the operator ends");
            ExitCode::FAILURE
        }
    };
    telemetry.stop().await;
    code
}

/// Asks until all is well, or says what is not.
async fn check(args: Check) -> Result<(), String> {
    let client = client(&Arc::default()).await?;
    let leases: Api<Lease> = Api::namespaced(client.clone(), &args.lead.namespace);
    let until = tokio::time::Instant::now() + Duration::from_secs(args.timeout_seconds);
    loop {
        let found = probe::ask(&client, &leases, &args.lead.lease_name, &args.url).await;
        match found {
            Ok(leader) => {
                tracing::info!(
                    leader,
                    "the definitions fit, an operator leads, and all that were asked are ready"
                );
                return Ok(());
            }
            Err(problem) if tokio::time::Instant::now() >= until => return Err(problem),
            Err(problem) => tracing::info!(problem, "not yet"),
        }
        tokio::time::sleep(Duration::from_secs(2)).await;
    }
}

/// A client whose requests are counted.
async fn client(counters: &Arc<Counters>) -> Result<Client, String> {
    let failed = |error: &(dyn std::error::Error + 'static)| format!("no way to the API server: {}", Chain(error));
    let config = Config::infer().await.map_err(|error| failed(&error))?;
    let builder = ClientBuilder::try_from(config).map_err(|error| failed(&error))?;
    Ok(builder.with_layer(&Metered::new(counters.clone())).build())
}

async fn operate(args: Run) -> Result<(), String> {
    let stop = CancellationToken::new();
    let signals = tokio::spawn(stop_on_signals(stop.clone())?);
    let counters = Arc::new(Counters::default());
    let client = client(&counters).await?;
    let mut registry = Registry::default();
    counters.register(registry.sub_registry_with_prefix("braid_operator"));
    counters.results().register(&mut registry);
    let ready = Arc::new(Readiness::default());
    let listener = TcpListener::bind(args.listen)
        .await
        .map_err(|error| format!("cannot listen on {}: {error}", args.listen))?;
    let telling = CancellationToken::new();
    let teller = tokio::spawn(service::serve(
        listener,
        Arc::new(registry),
        ready.clone(),
        telling.clone(),
    ));
    let ended = if definitions::wait(&client, &ready, &stop).await {
        lead(args, client, counters, &stop).await
    } else {
        Ok(())
    };
    telling.cancel();
    signals.abort();
    let told = teller.await;
    ended?;
    told.map_err(|error| format!("the answers to probes ended: {error}"))
}

/// Contends and leads until told to stop.
async fn lead(args: Run, client: Client, counters: Arc<Counters>, stop: &CancellationToken) -> Result<(), String> {
    // An empty variable is the way of a chart to say nothing.
    let namespaces: BTreeSet<String> = args
        .watch_namespaces
        .into_iter()
        .filter(|name| !name.is_empty())
        .collect();
    let pods = Arc::new(JobPods::new(
        client.clone(),
        PodOptions {
            worker_image: args.worker_image,
            pull_policy: args.worker_pull_policy,
            pull_secrets: args.worker_pull_secrets,
            worker_resources: args.worker_resources,
            default_image: args.default_image,
            worker_role: args.worker_role,
            tracing: args
                .tracing
                .otlp_endpoint
                .filter(|_| args.tracing.otlp_workers)
                .map(|endpoint| WorkerTracing {
                    endpoint: endpoint.to_string(),
                    ratio: args.tracing.otlp_ratio.to_string(),
                }),
        },
    ));
    let options = Options {
        namespace: args.lead.namespace,
        lease_name: args.lead.lease_name,
        watch: namespaces.clone(),
        worker_lease: Duration::from_secs(args.worker_lease_seconds),
        leader_lease: Duration::from_secs(args.leader_lease_seconds),
        events: true,
        pod_classes: true,
        ..Options::new(args.identity, args.workers)
    };
    tokio::select! {
        ended = braid_operator::run(client, options, pods.clone(), counters, stop.clone()) => {
            ended.map_err(|error| Chain(&error).to_string())
        }
        () = pods.watch_pods(&namespaces) => Err("the watch of pods ended".into()),
    }
}

/// Cancels at the first signal that asks for an end.
fn stop_on_signals(stop: CancellationToken) -> Result<impl Future<Output = ()> + Send + 'static, String> {
    let failed = |error: io::Error| format!("signals cannot be received: {error}");
    let mut terminate = signal(SignalKind::terminate()).map_err(failed)?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(failed)?;
    Ok(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        tracing::info!("told to end");
        stop.cancel();
    })
}
