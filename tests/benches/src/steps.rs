//! From the end of a step's last program to the start of the next step's first, on workers that are there; taken apart.
//!
//! Every request of the operator and of the workers is noted with its begin and its end, so that what happens between two steps
//! can be told: which part is the worker's, which the operator's, and which the API server's. The programs tell their own times.

use std::{
    sync::{Arc, Mutex, PoisonError},
    task::{Context, Poll},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use anyhow::{Context as _, ensure};
use braid_apiserver::ApiServer;
use braid_cluster::RealApiServer;
use braid_crds::Workflow;
use braid_local::{Hands, LocalPods, Settings};
use braid_operator::{Counters, Options};
use braid_testkit as kit;
use futures::future::BoxFuture;
use http::{Request, Response};
use kube::{
    Client, Config,
    client::{Body, ClientBuilder},
    config::{KubeConfigOptions, Kubeconfig},
};
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;
use tower::{Layer, Service};

use crate::{
    Effort,
    figure::{Figure, rounded},
};

/// As the figures of a real cluster have it.
const WORKERS: i32 = 4;
/// A run that takes longer is stuck.
const PATIENCE: Duration = Duration::from_mins(5);
/// Each program takes so long, and tells when it began and when it ended, in microseconds of the wall clock.
const PROGRAM: &str = r#"now() { echo $(($(date +%s%N) / 1000)); }
begin=$(now); sleep 0.1; printf '{"begin": %d, "end": %d}' "$begin" "$(now)" >"$BRAID_RESULTS""#;

/// What is between two steps, in the order of time.
const PARTS: [&str; 6] = ["settle", "seal", "notice", "status", "orders", "start"];

/// Who asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Who {
    Operator,
    Worker,
}

/// A request and its answer.
#[derive(Clone, Debug)]
struct Asked {
    who: Who,
    method: String,
    path: String,
    begun: i64,
    ended: i64,
}

/// Everything that was asked.
#[derive(Clone, Debug, Default)]
struct Trail(Arc<Mutex<Vec<Asked>>>);

impl Trail {
    fn of(&self, who: Who) -> TrailLayer {
        TrailLayer(who, self.clone())
    }

    fn take(&self) -> Vec<Asked> {
        std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

fn now() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_micros()).unwrap_or(i64::MAX)
}

#[derive(Clone, Debug)]
struct TrailLayer(Who, Trail);

impl<S> Layer<S> for TrailLayer {
    type Service = TrailService<S>;

    fn layer(&self, inner: S) -> TrailService<S> {
        TrailService {
            inner,
            who: self.0,
            trail: self.1.clone(),
        }
    }
}

#[derive(Clone, Debug)]
struct TrailService<S> {
    inner: S,
    who: Who,
    trail: Trail,
}

impl<S, B> Service<Request<Body>> for TrailService<S>
where
    S: Service<Request<Body>, Response = Response<B>>,
    S::Future: Send + 'static,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = BoxFuture<'static, Result<S::Response, S::Error>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let mut asked = Asked {
            who: self.who,
            method: request.method().to_string(),
            path: request.uri().path().to_owned(),
            begun: now(),
            ended: 0,
        };
        let trail = self.trail.clone();
        let answered = self.inner.call(request);
        Box::pin(async move {
            let answer = answered.await;
            asked.ended = now();
            trail.0.lock().unwrap_or_else(PoisonError::into_inner).push(asked);
            answer
        })
    }
}

/// Where the objects are.
enum Server {
    Embedded(ApiServer),
    Real(Box<RealApiServer>),
}

impl Server {
    async fn client(&self, layer: &TrailLayer) -> anyhow::Result<Client> {
        Ok(match self {
            Self::Embedded(server) => Client::new(layer.layer(server.service()), braid_local::NAMESPACE),
            Self::Real(server) => {
                let kubeconfig = Kubeconfig::from_yaml(&server.kubeconfig(braid_local::NAMESPACE, None))?;
                let config = Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await?;
                ClientBuilder::try_from(config)?.with_layer(layer).build()
            }
        })
    }

    async fn stop(self) -> anyhow::Result<()> {
        match self {
            Self::Embedded(server) => server.shutdown().await?,
            Self::Real(server) => server.stop().await,
        }
        Ok(())
    }
}

/// A chain of steps.
pub fn spec(steps: usize) -> Value {
    let steps = (0..steps).map(|index| {
        let before = index.checked_sub(1).map(|before| format!("s{before}"));
        json!({
            "name": format!("s{index}"),
            "after": before.into_iter().collect::<Vec<_>>(),
            "over": {"range": {"end": WORKERS}},
            "run": {"script": PROGRAM},
            "results": [{"name": "begin", "reduce": "Min"}, {"name": "end", "reduce": "Max"}],
        })
    });
    json!({"steps": steps.collect::<Vec<_>>()})
}

/// What a step's programs tell of themselves.
fn told(run: &Workflow, step: usize, name: &str) -> anyhow::Result<i64> {
    let value = kit::value(kit::step(run, &format!("s{step}"))?, name);
    // A smallest or largest may come with the partition that it is of.
    let micros = value.as_i64().or_else(|| value["value"].as_i64());
    micros.with_context(|| format!("step s{step} tells no {name}: {value}"))
}

/// The parts of one gap, in microseconds.
fn parts(trail: &[Asked], end: i64, begin: i64) -> Option<[i64; PARTS.len()]> {
    let of = |who, method: &'static str, part: &'static str| {
        let fits = move |asked: &&Asked| asked.who == who && asked.method == method && asked.path.contains(part);
        trail.iter().filter(fits)
    };
    // The write that starts the step is the last one that is followed by a desk before the first program runs.
    let (status, desk) = of(Who::Operator, "PUT", "/workflows/")
        .filter(|asked| asked.begun > end && asked.ended < begin)
        .filter_map(|status| {
            let desks = of(Who::Operator, "PUT", "/workers/");
            let after = desks.filter(|asked| asked.begun >= status.ended && asked.begun < begin);
            Some((status, after.min_by_key(|asked| asked.begun)?))
        })
        .max_by_key(|(status, _)| status.ended)?;
    let seal = of(Who::Worker, "PUT", "/workers/")
        .filter(|asked| asked.begun < status.begun)
        .max_by_key(|asked| asked.begun)?;
    Some([
        seal.begun - end,
        seal.ended - seal.begun,
        status.begun - seal.ended,
        status.ended - status.begun,
        desk.begun - status.ended,
        begin - desk.begun,
    ])
}

/// A percentile, in milliseconds.
pub fn at(micros: &mut [i64], percent: usize) -> Value {
    micros.sort_unstable();
    let index = (micros.len() * percent / 100).min(micros.len().saturating_sub(1));
    #[allow(clippy::cast_precision_loss)]
    let millis = micros.get(index).copied().unwrap_or_default() as f64 / 1_000.0;
    rounded(millis, 1)
}

async fn chain(server: &Server, steps: usize) -> anyhow::Result<(Workflow, Vec<Asked>, Arc<Counters>)> {
    let trail = Trail::default();
    let operator = server.client(&trail.of(Who::Operator)).await?;
    let worker = server.client(&trail.of(Who::Worker)).await?;
    let mut settings = Settings::new(".".into(), Hands::Shim(kit::own_shim()?));
    settings.workers = usize::try_from(WORKERS)?;
    let logs = Arc::new(braid_worker::runner::logs::NoLogs);
    let pods = Arc::new(LocalPods::new(braid_local::worker(worker, &settings, logs)));
    let mut options = Options::new("bench", WORKERS);
    options.events = matches!(server, Server::Real(_));
    let (counters, stop) = (Arc::new(Counters::default()), CancellationToken::new());
    let running = braid_operator::run(operator.clone(), options, pods.clone(), counters.clone(), stop.clone());
    let running = tokio::spawn(running);
    kit::submit(&operator, "chain", spec(steps)).await?;
    let run = kit::ended(&operator, "chain", PATIENCE).await?;
    stop.cancel();
    running.await??;
    pods.shutdown().await;
    Ok((run, trail.take(), counters))
}

/// The measurement, on the embedded server or on a real one.
pub async fn measure(effort: Effort, real: bool) -> anyhow::Result<Figure> {
    let steps = if effort.quick { 6 } else { 41 };
    let server = if real {
        let server = RealApiServer::builder().crds(braid_crds::definitions()).start().await?;
        Server::Real(Box::new(server))
    } else {
        Server::Embedded(ApiServer::builder().crds(braid_crds::definitions()).build().await?)
    };
    let mut figure = Figure::new(
        if real { "steps-real" } else { "steps" },
        format!(
            "milliseconds from the end of a step's last program to the start of the next step's first, by the programs' clocks: \
             {steps} steps of {WORKERS} programs of 0.1 s on {WORKERS} workers that are there; {}. settle: until the last seal \
             is sent; seal: until it is answered; notice: until the run's status is sent; status: until it is answered; orders: \
             until the first desk is sent; start: until the first program says that it runs",
            if real {
                "kube-apiserver and etcd (without fsync) on this machine, operator and workers in this process"
            } else {
                "all in this process"
            }
        ),
        &["part", "p50_ms", "p90_ms", "p99_ms"],
    );
    let load = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    let (run, trail, counters) = chain(&server, steps).await?;
    server.stop().await?;
    let mut gaps = Vec::new();
    let mut of_part: [Vec<i64>; PARTS.len()] = Default::default();
    for step in 1..steps {
        let (end, begin) = (told(&run, step - 1, "end")?, told(&run, step, "begin")?);
        gaps.push(begin - end);
        let parts = parts(&trail, end, begin).with_context(|| format!("step s{step} began without being assigned"))?;
        for (all, part) in of_part.iter_mut().zip(parts) {
            all.push(part);
        }
    }
    ensure!(!gaps.is_empty(), "no gaps");
    let mut row = |name: &str, micros: &mut [i64]| {
        figure.row([json!(name), at(micros, 50), at(micros, 90), at(micros, 99)]);
    };
    row("step to step", &mut gaps);
    for (name, micros) in PARTS.iter().zip(&mut of_part) {
        row(name, micros);
    }
    let writes = |who, path: &'static str| {
        let fits = |asked: &&Asked| asked.who == who && asked.method != "GET" && asked.path.contains(path);
        trail.iter().filter(fits).count()
    };
    figure.meaning += &format!(
        "; load before: {}; {} requests; writes: {} of the run's status, {} of desks, {} of workers' statuses; {:?}",
        load.trim(),
        trail.len(),
        writes(Who::Operator, "/workflows/"),
        writes(Who::Operator, "/workers/"),
        writes(Who::Worker, "/workers/"),
        counters.read()
    );
    Ok(figure)
}
