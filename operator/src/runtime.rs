//! The operator's life: contend, lead, stop leading, stop.
//!
//! Leading is one future that is dropped when leadership is lost: every pass in flight ends at its next await, and
//! whatever it was about to write is refused or harmless. A new leader reads the workers before the runs: shards move
//! that way, so a run's ledger is never older than the shards that it is compared with.

use std::{
    error::Error,
    fmt,
    sync::{Arc, Mutex, atomic::AtomicBool},
    time::Duration,
};

use braid_crds::{Worker, WorkerPool, Workflow};
use braid_sync::election::{Elector, Ended, Times, TimesError};
use futures::{FutureExt as _, Stream, StreamExt as _, future::BoxFuture};
use kube::{
    Api, Client, ResourceExt as _,
    runtime::{
        Controller, WatchStreamExt as _,
        controller::Config,
        reflector::{self, ObjectRef, store::Writer},
        watcher,
    },
};
use tokio_util::sync::CancellationToken;

use crate::{
    Context, Counters, Options, Realm,
    bells::{Bells, Rung},
    concerns::Concerns,
    counters::Kind,
    events::Events,
    fresh::Fresh,
    leases::Leases,
    names,
    passes::Passes,
    pods::PodSource,
    pool,
    realms::Realms,
    waiting::Waiting,
    workflow,
};

/// The leader's Lease where nobody says another.
pub const LEADER_LEASE: &str = "braid-operator";

/// Why an operator ended.
#[derive(Debug, thiserror::Error)]
pub enum OperatorError {
    /// The first reads did not come to an end.
    #[error("the watch of {0} ended")]
    WatchEnded(&'static str),
    /// The election cannot be run with these times.
    #[error(transparent)]
    Election(#[from] TimesError),
    /// Leading ended though nobody had asked it to.
    #[error("the operator's work ended by itself; its log says why")]
    Ended,
}

/// Prints an error with all that caused it.
pub struct Chain<'a>(pub &'a (dyn Error + 'static));

impl fmt::Display for Chain<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)?;
        let mut cause = self.0.source();
        while let Some(error) = cause {
            write!(f, ": {error}")?;
            cause = error.source();
        }
        Ok(())
    }
}

/// Contends for the lead and leads, until cancelled. `pods` outlives reigns.
pub async fn run(
    client: Client,
    options: Options,
    pods: Arc<dyn PodSource>,
    counters: Arc<Counters>,
    stop: CancellationToken,
) -> Result<(), OperatorError> {
    let leases = Api::namespaced(client.clone(), &options.namespace);
    let times = Times::of(options.leader_lease);
    let elector = Elector::new(leases, &options.lease_name, &options.identity, times)?.drain(Duration::from_secs(5));
    let ended = elector
        .run(stop.clone(), |lead| {
            let (client, options, pods, counters) = (client.clone(), options.clone(), pods.clone(), counters.clone());
            async move {
                let _leading = counters.lead();
                // Each namespace has watches and memories of its own: what is read in one says nothing of the others.
                let realms: Vec<Realm> = if options.watch.is_empty() {
                    vec![Realm::Cluster]
                } else {
                    options.watch.iter().cloned().map(Realm::Namespace).collect()
                };
                let known = Arc::new(Realms::default());
                let (contexts, parts): (Vec<_>, Vec<_>) = realms
                    .into_iter()
                    .map(|realm| {
                        let (client, options, pods) = (client.clone(), options.clone(), pods.clone());
                        prepare(client, options, (realm, known.clone()), pods, counters.clone())
                    })
                    .unzip();
                known.are(&contexts);
                let reigns = contexts.into_iter().zip(parts);
                let reigns = reigns.map(|(context, parts)| Box::pin(reign(context, parts, lead.lost.clone())));
                if let Err(error) = futures::future::try_join_all(reigns).await {
                    tracing::error!(error = %Chain(&error), "the reign ended");
                }
            }
        })
        .await;
    match ended {
        Ended::Stopped => Ok(()),
        Ended::WorkEnded => Err(OperatorError::Ended),
    }
}

/// What a reign needs beside the context.
struct Parts {
    workers: Writer<Worker>,
    pools: Writer<WorkerPool>,
    workflows: Writer<Workflow>,
    teller: BoxFuture<'static, ()>,
    runs_rung: Rung<Workflow>,
    pools_rung: Rung<WorkerPool>,
}

/// What passes in a realm share, before anything has been read.
fn prepare(
    client: Client,
    options: Options,
    (realm, realms): (Realm, Arc<Realms>),
    pods: Arc<dyn PodSource>,
    counters: Arc<Counters>,
) -> (Arc<Context>, Parts) {
    let (workers, workers_writer) = reflector::store::<Worker>();
    let (pools, pools_writer) = reflector::store::<WorkerPool>();
    let (workflows, workflows_writer) = reflector::store::<Workflow>();
    let (events, teller) = if options.events {
        let (events, teller) = Events::new(client.clone(), &options.identity);
        (events, teller.boxed())
    } else {
        (Events::none(), std::future::pending().boxed())
    };
    let (bells, runs_rung, pools_rung) = Bells::new();
    let context = Arc::new(Context {
        leases: Leases::new(options.worker_lease, braid_sync::Clock::start()),
        client,
        pods,
        fresh_workflows: Fresh::default(),
        fresh_workers: Fresh::default(),
        realm,
        realms,
        read: AtomicBool::new(false),
        waiting: Waiting::new(counters.clone()),
        counters,
        events,
        workers,
        pools,
        workflows,
        bells,
        idle_pools: Mutex::default(),
        swept_pools: Mutex::default(),
        memories: Mutex::default(),
        options,
    });
    let parts = Parts {
        workers: workers_writer,
        pools: pools_writer,
        workflows: workflows_writer,
        teller,
        runs_rung,
        pools_rung,
    };
    (context, parts)
}

/// Leads in a realm until `lost`.
async fn reign(context: Arc<Context>, parts: Parts, lost: CancellationToken) -> Result<(), OperatorError> {
    let (client, realm) = (context.client.clone(), context.realm.clone());
    let (workers, pools, workflows) = (
        context.workers.clone(),
        context.pools.clone(),
        context.workflows.clone(),
    );
    let _shown = context.counters.results().of(workflows.clone());
    let seen = context.clone();
    let mut concerns = Concerns::default();
    let worker_watch = watcher(realm.api::<Worker>(client.clone()), watcher::Config::default())
        .default_backoff()
        .modify(|worker| worker.metadata.managed_fields = None)
        .reflect(parts.workers)
        .touched_objects()
        .for_each(move |worker| {
            let for_pool = worker.as_ref().is_ok_and(|worker| {
                let is_there = |namespace: &str, name: &str| {
                    let reference = ObjectRef::<Worker>::new(name).within(namespace);
                    seen.workers.get(&reference).is_some()
                };
                if concerns.len() > 2 * seen.workers.len() + 64 {
                    concerns.keep(is_there);
                }
                let is_there = is_there(&worker.namespace().unwrap_or_default(), &worker.name_any());
                if !is_there {
                    seen.fresh_workers.forget(&names::uid(worker));
                }
                concerns.changes(worker, is_there)
            });
            match worker {
                Ok(worker) => {
                    seen.leases.saw(&worker);
                    seen.ring_of(&worker, for_pool);
                }
                Err(error) => tracing::warn!(%error, "the watch of workers was interrupted"),
            }
            std::future::ready(())
        });

    let pool_watch = watcher(realm.api::<WorkerPool>(client.clone()), watcher::Config::default())
        .default_backoff()
        .reflect(parts.pools)
        .touched_objects()
        .inspect({
            let seen = context.clone();
            move |pool| seen.saw(Kind::WorkerPool, pool.as_ref().ok())
        });
    let run_watch = watcher(realm.api::<Workflow>(client.clone()), watcher::Config::default())
        .default_backoff()
        .modify(|workflow| workflow.metadata.managed_fields = None)
        .reflect(parts.workflows)
        .touched_objects()
        .inspect({
            let seen = context.clone();
            move |run| {
                let run = run.as_ref().ok();
                seen.saw(Kind::Workflow, run);
                if let Some(run) = run {
                    seen.ring_if_gone(run);
                }
            }
        });

    let config = Config::default().concurrency(context.options.concurrency);
    let run_passes = Passes::<Workflow>::new(context.clone(), Kind::Workflow);
    let runs = Controller::for_stream(run_watch, workflows)
        .with_config(config.clone())
        .reconcile_on(parts.runs_rung)
        .reconcile_all_on(pods_changed(context.pods.watch()))
        .reconcile_all_on(rung(context.clone()))
        .run(
            move |workflow, passes: Arc<Passes<Workflow>>| passes.pass(workflow, workflow::reconcile),
            |_, never, _| match *never {},
            Arc::new(run_passes),
        )
        .for_each(|_| std::future::ready(()));
    let pool_passes = Passes::<WorkerPool>::new(context.clone(), Kind::WorkerPool);
    let pool_runs = Controller::for_stream(pool_watch, pools)
        .with_config(config)
        .reconcile_on(parts.pools_rung)
        .reconcile_all_on(pods_changed(context.pods.watch()))
        .run(
            move |pool, passes: Arc<Passes<WorkerPool>>| passes.pass(pool, pool::reconcile),
            |_, never, _| match *never {},
            Arc::new(pool_passes),
        )
        .for_each(|_| std::future::ready(()));

    let work = async {
        let synced = async {
            workers
                .wait_until_ready()
                .await
                .map_err(|_| OperatorError::WatchEnded("workers"))?;
            // Only now the runs: their ledgers are then at least as new as the shards known.
            let runs = async {
                // Runs on standing pools would say that they have none.
                if context.options.pod_classes {
                    context.until_all_are_read().await;
                }
                runs.await;
            };
            futures::future::join3(runs, pool_runs, context.until_read()).await;
            Ok::<_, OperatorError>(())
        };
        tokio::select! {
            () = worker_watch => Err(OperatorError::WatchEnded("workers")),
            ended = synced => ended,
            () = parts.teller => Err(OperatorError::WatchEnded("events")),
            () = context.leases.watch(realm.api(client.clone()), &lost) => Ok(()),
        }
    };
    lost.run_until_cancelled(Box::pin(work)).await.unwrap_or(Ok(()))
}

/// Rings for all runs whenever a worker falls silent or is heard again.
fn rung(context: Arc<Context>) -> impl futures::Stream<Item = ()> {
    futures::stream::unfold(context, |context| async move {
        context.leases.changed.notified().await;
        Some(((), context))
    })
}

fn pods_changed(pods: tokio::sync::watch::Receiver<crate::pods::Pods>) -> impl Stream<Item = ()> {
    futures::stream::unfold(pods, |mut pods| async move {
        pods.changed().await.ok().map(|()| ((), pods))
    })
}
