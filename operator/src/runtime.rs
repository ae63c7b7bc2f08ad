//! The operator's life: contend, lead, stop leading, stop.
//!
//! Leading is one future that is dropped when leadership is lost: every pass in flight ends at its next await, and
//! whatever it was about to write is refused or harmless. A new leader reads the workers before the runs: shards move
//! that way, so a run's ledger is never older than the shards that it is compared with.

use std::{
    error::Error,
    fmt,
    sync::{Arc, Mutex},
    time::Duration,
};

use braid_crds::{Worker, WorkerPool, Workflow};
use braid_sync::election::{Elector, Ended, Times, TimesError};
use futures::{FutureExt as _, Stream, StreamExt as _};
use kube::{
    Api, Client, ResourceExt as _,
    runtime::{
        Controller, WatchStreamExt as _,
        controller::Config,
        reflector::{self, ObjectRef},
        watcher,
    },
};
use tokio_util::sync::CancellationToken;

use crate::{
    Context, Counters, Options, Realm, bells::Bells, concerns::Concerns, counters::Kind, events::Events, fresh::Fresh,
    leases::Leases, names, passes::Passes, pods::PodSource, pool, waiting::Waiting, workflow,
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
                let reigns = realms.into_iter().map(|realm| {
                    let (client, options, pods) = (client.clone(), options.clone(), pods.clone());
                    Box::pin(reign(client, options, realm, pods, counters.clone(), lead.lost.clone()))
                });
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

/// Leads in a realm until `lost`.
async fn reign(
    client: Client,
    options: Options,
    realm: Realm,
    pods: Arc<dyn PodSource>,
    counters: Arc<Counters>,
    lost: CancellationToken,
) -> Result<(), OperatorError> {
    let (workers, workers_writer) = reflector::store::<Worker>();
    let (pools, pools_writer) = reflector::store::<WorkerPool>();
    let (workflows, workflows_writer) = reflector::store::<Workflow>();
    let _shown = counters.results().of(workflows.clone());
    let (events, teller) = if options.events {
        let (events, teller) = Events::new(client.clone(), &options.identity);
        (events, teller.boxed())
    } else {
        (Events::none(), std::future::pending().boxed())
    };
    let (bells, runs_rung, pools_rung) = Bells::new();
    let context = Arc::new(Context {
        leases: Leases::new(options.worker_lease, braid_sync::Clock::start()),
        client: client.clone(),
        pods,
        fresh_workflows: Fresh::default(),
        fresh_workers: Fresh::default(),
        waiting: Waiting::new(counters.clone()),
        counters,
        events,
        workers: workers.clone(),
        pools: pools.clone(),
        workflows: workflows.clone(),
        bells,
        idle_pools: Mutex::default(),
        memories: Mutex::default(),
        options,
    });
    let seen = context.clone();
    let mut concerns = Concerns::default();
    let worker_watch = watcher(realm.api::<Worker>(client.clone()), watcher::Config::default())
        .default_backoff()
        .modify(|worker| worker.metadata.managed_fields = None)
        .reflect(workers_writer)
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
        .reflect(pools_writer)
        .touched_objects()
        .inspect({
            let seen = context.clone();
            move |pool| seen.saw(Kind::WorkerPool, pool.as_ref().ok())
        });
    let run_watch = watcher(realm.api::<Workflow>(client.clone()), watcher::Config::default())
        .default_backoff()
        .modify(|workflow| workflow.metadata.managed_fields = None)
        .reflect(workflows_writer)
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
        .reconcile_on(runs_rung)
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
        .reconcile_on(pools_rung)
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
            futures::future::join(runs, pool_runs).await;
            Ok::<_, OperatorError>(())
        };
        tokio::select! {
            () = worker_watch => Err(OperatorError::WatchEnded("workers")),
            ended = synced => ended,
            () = teller => Err(OperatorError::WatchEnded("events")),
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
