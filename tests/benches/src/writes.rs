//! What a step costs the API server and the operator, beside what a kill would lose.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::Context as _;
use braid_apiserver::ApiService;
use braid_local::{Hands, LocalCluster, Settings};
use braid_testkit as kit;
use kube::Client;
use serde_json::json;
use tower::{Service as _, service_fn};

use crate::{
    Effort,
    figure::{Figure, rounded},
    machine,
};

/// The operator's thread; the kernel keeps 15 characters.
const THREAD: &str = "bench-operator";

/// A client whose requests are served on this runtime, wherever they are made.
fn elsewhere(service: ApiService) -> Client {
    let runtime = tokio::runtime::Handle::current();
    let served = service_fn(move |request: http::Request<kube::client::Body>| {
        let (runtime, mut service) = (runtime.clone(), service.clone());
        async move { runtime.spawn(async move { service.call(request).await }).await? }
    });
    Client::new(served, braid_local::NAMESPACE)
}

/// The measurement.
pub async fn measure(effort: Effort) -> anyhow::Result<Figure> {
    let seconds: u64 = if effort.quick { 8 } else { 30 };
    let mut figure = Figure::new(
        "writes",
        format!(
            "a step of sleeping processes for about {seconds} s; all requests that ask for a change (Worker, Workflow, Lease, ...; \
             conflicts and refusals among them), by shard counted and by second; T: the longest that a shard runs before it is \
             committed, so what a kill of a worker loses at most; operator CPU: of a thread that runs the leading operator and \
             nothing else, by /proc/self/task, with its own making and reading of JSON, without what the server does for it"
        ),
        &[
            "workers",
            "T_s",
            "shards",
            "writes",
            "per_shard",
            "per_second",
            "worker",
            "workflow",
            "lease",
            "other",
            "refused",
            "operator_cpu_ms_per_shard",
            "operator_cpu_percent",
        ],
    );
    for workers in [2_usize, 16] {
        let mut settings = Settings::new(".".into(), Hands::Shim(kit::own_shim()?));
        settings.workers = workers;
        // As in a cluster.
        settings.status_interval = braid_operator::Options::new("bench", 1).status_interval;
        let cluster = Arc::new(LocalCluster::start(settings).await?);
        // The one in this runtime gives way to one with a thread of its own.
        let first = cluster.operator().context("no operator")?;
        let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
        first.stop();
        let theirs = cluster.clone();
        let client = elsewhere(cluster.server().service());
        let thread = std::thread::Builder::new().name(THREAD.into()).spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
            runtime.block_on(async move {
                let operator = theirs.operate_through(client, "own-thread");
                let _ = stopped.await;
                operator.stop();
            });
            Ok::<_, std::io::Error>(())
        })?;
        // 20 ms each, so that starting processes is not what is measured.
        let partitions = seconds * 50 * workers as u64;
        let client = cluster.client();
        let spec = json!({"steps": [{
            "name": "work",
            "over": {"range": {"end": partitions}},
            "run": {"command": ["sleep", "0.02"]},
        }]});
        let requests = cluster.server().counters();
        let (cpu, begun) = (machine::cpu_seconds(THREAD), Instant::now());
        kit::submit(&client, "writes", spec).await?;
        kit::ended(&client, "writes", Duration::from_mins(10)).await?;
        let took = begun.elapsed().as_secs_f64();
        let cpu = machine::cpu_seconds(THREAD) - cpu;
        let counts = cluster.server().counters().since(&requests);
        let shards = cluster.counters().read().folded;
        let of = |plural: &str| counts.total(|key| key.verb.is_write() && *key.plural == *plural);
        let refused = counts.total(|key| key.verb.is_write() && key.class != 2);
        let writes = counts.writes();
        let by_kind = [of("workers"), of("workflows"), of("leases")];
        #[allow(clippy::cast_precision_loss)]
        let (all, folded) = (writes as f64, shards.max(1) as f64);
        let budget = braid_engine::assign::budget_millis(workers);
        figure.row([
            json!(workers),
            json!(budget / 1000),
            json!(shards),
            json!(writes),
            rounded(all / folded, 2),
            rounded(all / took, 1),
            json!(by_kind[0]),
            json!(by_kind[1]),
            json!(by_kind[2]),
            json!(writes - by_kind.iter().sum::<u64>()),
            json!(refused),
            rounded(cpu * 1000.0 / folded, 2),
            rounded(cpu * 100.0 / took, 2),
        ]);
        drop(stop);
        let joined = tokio::task::spawn_blocking(move || thread.join()).await?;
        joined.map_err(|_| anyhow::anyhow!("the operator's thread panicked"))??;
        let cluster = Arc::try_unwrap(cluster).map_err(|_| anyhow::anyhow!("the cluster is still in use"))?;
        cluster.stop().await?;
    }
    Ok(figure)
}
