//! One worker: its desk, its machine, its runner.
//!
//! [`WorkerTask::run`] watches the worker's own object, lets the protocol's [`Machine`](braid_engine::protocol::worker::Machine) decide, and carries out what
//! that asks for: commits and reads on the API server, attempts on the [`Runner`]. It is one loop; what takes longer than a
//! step of it (requests, opening files, listing data) runs beside it in tasks that it owns. When it returns, none of them is
//! left.
//!
//! Failure modes
//! - The API server is away: partitions go on; commits wait, in doubt or not yet written, until it answers.
//! - The process sleeps, for however long: what it believes may be old, but every commit is a compare-and-swap, and what
//!   does not fit the stored object any more is dropped.
//! - The runner's shim dies: what ran is run again alone, and what has died with it three times is set aside.
//! - The object is gone, or names another start: the task ends, see [`Exit`].

use std::{pin::pin, time::Duration};

use braid_crds::{StartId, Worker};
use braid_engine::protocol::worker::Bounds;
use braid_sync::heartbeat::{Heartbeat, Rhythm};
use futures::StreamExt as _;
use k8s_openapi::api::coordination::v1::Lease;
use kube::{Api, Client};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use self::session::Session;
use crate::{desk::DeskApi, ground::Ground, runner::Runner};

mod attempts;
mod ending;
mod programs;
mod runs;
mod session;
mod tally;

/// Who a worker is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WorkerIdentity {
    /// The namespace of its objects.
    pub namespace: String,
    /// The name of its Worker object and of its Lease.
    pub name: String,
    /// The uid of its pod.
    pub pod_uid: String,
}

/// How a worker goes about it.
#[derive(Clone, Debug)]
pub struct Options {
    /// Where data are.
    pub ground: Ground,
    /// The heartbeat.
    pub rhythm: Rhythm,
    /// How long one call to the API server may take.
    pub call_deadline: Duration,
    /// After the cancellation: how long what runs may go on, so that it still counts. Then it is killed.
    pub grace: Duration,
    /// After that: how long the last commit may take.
    pub last_commit: Duration,
    /// From TERM to KILL, when an attempt is ended.
    pub kill_grace: Duration,
    /// How much is held.
    pub bounds: Bounds,
}

impl Options {
    /// What fits most, for data there.
    #[must_use]
    pub fn new(ground: Ground) -> Self {
        Self {
            ground,
            rhythm: Rhythm::of_workers(1),
            call_deadline: Duration::from_secs(10),
            grace: Duration::from_secs(10),
            last_commit: Duration::from_secs(5),
            kill_grace: Duration::from_secs(5),
            bounds: Bounds::default(),
        }
    }
}

/// Why a worker ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// It was cancelled.
    Cancelled,
    /// Its object says that no more work comes.
    Drained,
    /// Its object is gone.
    Gone,
    /// Another start of the same pod has taken its desk.
    Replaced,
    /// The place where user code runs was shut down.
    RunnerEnded,
}

/// Why a worker cannot go on.
#[derive(Debug, thiserror::Error)]
pub enum WorkerError {
    /// The API server refuses a status that says no more than who the worker is, or why a shard failed.
    #[error("the API server refuses the status of the Worker {name}: {message}")]
    Refused {
        /// The object.
        name: String,
        /// The server's words.
        message: String,
    },
}

/// A worker.
#[derive(Debug)]
pub struct WorkerTask;

impl WorkerTask {
    /// Works until it is cancelled or has nothing to work for. Dropping it kills what runs; cancelling `stop` gives it the
    /// time to commit.
    ///
    /// # Errors
    /// See [`WorkerError`]. Everything else is waited out.
    pub async fn run<R: Runner>(
        client: Client,
        identity: WorkerIdentity,
        mut runner: R,
        options: Options,
        stop: CancellationToken,
    ) -> Result<Exit, WorkerError> {
        let start = StartId(format!("{:032x}", rand::random::<u128>()));
        let workers: Api<Worker> = Api::namespaced(client.clone(), &identity.namespace);
        let desk = DeskApi::new(workers, &identity.name, options.call_deadline);
        let leases: Api<Lease> = Api::namespaced(client.clone(), &identity.namespace);
        let heartbeat = Heartbeat::new(leases, &identity.name, &identity.pod_uid, &start.0, options.rhythm);
        let pulse = heartbeat.pulse();
        tracing::info!(worker = %identity.name, %start, "worker starts");

        let mut session = Session::new(client, identity, desk.clone(), start, options, pulse);
        // In the same task as the work: a worker that is stuck or asleep must not seem alive.
        let exit = tokio::select! {
            exit = session_loop(&mut session, &desk, &mut runner, &stop) => exit,
            never = beat(heartbeat) => match never {},
        };
        session.close().await;
        runner.shutdown().await;
        exit
    }
}

/// Renews the Lease for as long as it is polled. A Lease that another start has taken is left to it: whose desk it is, the
/// Worker object says.
async fn beat(heartbeat: Heartbeat) -> std::convert::Infallible {
    if let Err(error) = heartbeat.run(CancellationToken::new()).await {
        tracing::warn!(%error, "the heartbeat ends");
    }
    std::future::pending().await
}

/// What a turn of the loop is about.
enum Turn {
    Finished(Result<Vec<crate::runner::Finished>, crate::runner::RunnerError>),
    Seen(Box<Option<Worker>>),
    Answered(session::Answer),
    Job(Box<session::Job>),
    Time,
    Stop,
}

async fn session_loop<R: Runner>(
    session: &mut Session,
    desk: &DeskApi,
    runner: &mut R,
    stop: &CancellationToken,
) -> Result<Exit, WorkerError> {
    let mut watch = pin!(desk.watch());
    let mut stopped = false;
    let mut runner_not_before = None;
    loop {
        session.start_what_can(runner).await;
        if let Some(exit) = session.exit(stopped) {
            return exit;
        }
        let runner_rests = runner_not_before.is_some_and(|at| Instant::now() < at);
        let wake = [session.wake_at(), runner_not_before.filter(|_| runner_rests)];
        let wake = wake.into_iter().flatten().min();
        let turn = tokio::select! {
            finished = runner.next(), if !runner_rests => Turn::Finished(finished),
            Some(seen) = watch.next() => Turn::Seen(Box::new(seen)),
            answer = session.request.answer() => Turn::Answered(answer),
            answer = session.probe.answer() => Turn::Answered(answer),
            job = session.jobs.next(), if !session.jobs.is_empty() => Turn::Job(Box::new(job)),
            () = sleep_until(wake), if wake.is_some() => Turn::Time,
            () = stop.cancelled(), if !stopped => Turn::Stop,
        };
        match turn {
            Turn::Finished(Ok(finished)) => {
                session.finished(finished);
                if runner.is_draining() {
                    session.runner_drains();
                }
            }
            Turn::Finished(Err(error)) => {
                tracing::warn!(%error, "user code cannot be run at the moment");
                runner_not_before = Some(Instant::now() + Duration::from_millis(100));
            }
            Turn::Seen(worker) => session.seen(*worker),
            Turn::Answered(answer) => session.answered(answer)?,
            Turn::Job(job) => session.done(*job),
            Turn::Time => session.tick(),
            Turn::Stop => {
                stopped = true;
                session.stop();
            }
        }
    }
}

async fn sleep_until(wake: Option<Instant>) {
    match wake {
        Some(at) => tokio::time::sleep_until(at).await,
        None => std::future::pending().await,
    }
}
