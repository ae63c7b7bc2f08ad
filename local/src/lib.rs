//! Braid in one process: the embedded API server, the operator, and workers as tasks with shims as child processes.
//!
//! [`LocalCluster::start`] brings everything up on a state directory (or in memory), [`LocalCluster::stop`] takes it down in
//! order. What runs is the code that runs in a cluster, through `kube::Client`; only pods are tasks here. A process that is
//! killed leaves its state directory: started on it again, it goes on. Nothing of the dead process lives on (its
//! workers' pods are not among this process's), so whatever they had not committed is handed out anew at once.

use std::{
    collections::BTreeSet,
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use braid_apiserver::{ApiServer, BuildError, Faults};
use braid_operator::{Counters, Options as OperatorOptions, pods::PodView};
use braid_sync::heartbeat::Rhythm;
use braid_worker::{
    ground::Ground,
    runner::{
        Limits, NoopRunner, ShimCommand, ShimRunner,
        logs::{LogFiles, LogSink, NoLogs},
    },
    task::{Exit, Options as WorkerOptions, WorkerIdentity, WorkerTask},
};
use bytes::Bytes;
use k8s_openapi::api::coordination::v1::Lease;
use kube::{Api, Client, api::DeleteParams};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

pub mod control;
mod operator;
pub mod pods;
pub mod state;

pub use control::ControlError;
pub use operator::{Operator, OperatorEnd};
pub use pods::LocalPods;
pub use state::{StateDir, StateError};

/// The namespace of local runs.
pub const NAMESPACE: &str = "default";
/// Bytes of log kept per step.
const LOG_CAP: u64 = 256 << 20;

/// What runs user code.
#[derive(Clone, Debug)]
pub enum Hands {
    /// Processes, by shims.
    Shim(ShimCommand),
    /// Nothing: every partition succeeds at once with these results. Measures all but user code.
    Noop(Option<Bytes>),
    /// The same, but each partition takes so long.
    NoopPaced {
        /// What they give.
        results: Option<Bytes>,
        /// How long each takes.
        pace: Duration,
    },
    /// The same, but so many of a thousand partitions fail.
    NoopFailing {
        /// What the others give.
        results: Option<Bytes>,
        /// Of a thousand; the same ones in every run.
        permille: u32,
    },
    /// These by turns, a pod each: for workers that differ.
    ByTurns(Vec<Hands>),
}

impl Hands {
    /// What the pod with this number has.
    fn of(&self, number: usize) -> Self {
        match self {
            Self::ByTurns(turns) => turns
                .get(number.checked_rem(turns.len()).unwrap_or(0))
                .map_or_else(|| self.clone(), |hands| hands.of(number)),
            hands => hands.clone(),
        }
    }
}

/// What a local cluster is started with.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Where state is kept; `None`: in memory, gone with the process.
    pub state: Option<StateDir>,
    /// Workers of a run.
    pub workers: usize,
    /// What relative paths of data are relative to.
    pub base_dir: PathBuf,
    /// What runs user code.
    pub hands: Hands,
    /// How patient workers are with their shims.
    pub shim_limits: Limits,
    /// How long a worker's Lease lasts.
    pub worker_lease: Duration,
    /// How long the leader's Lease lasts.
    pub leader_lease: Duration,
    /// How often a run's status is written at most; often, as here it costs next to nothing.
    pub status_interval: Duration,
    /// How often standing pools are looked over for plans of runs that are over.
    pub sweep_interval: Duration,
    /// The only namespaces that the operator looks at; none named: all of them.
    pub watch: BTreeSet<String>,
    /// Faults of the API server.
    pub faults: Faults,
    /// Whether pools are as in a cluster: elastic, one for each kind of pod, and some of them standing. Else the machine is every pool.
    pub pools: bool,
}

impl Settings {
    /// The defaults, for data below `base_dir`: as many workers as processors.
    #[must_use]
    pub fn new(base_dir: PathBuf, hands: Hands) -> Self {
        Self {
            state: None,
            workers: std::thread::available_parallelism().map_or(2, std::num::NonZero::get),
            base_dir,
            hands,
            shim_limits: Limits::default(),
            worker_lease: Duration::from_secs(15),
            leader_lease: Duration::from_secs(15),
            status_interval: Duration::from_millis(500),
            sweep_interval: Duration::from_mins(1),
            watch: BTreeSet::new(),
            faults: Faults::default(),
            pools: false,
        }
    }
}

/// Why a local cluster did not start or stop.
#[derive(Debug, thiserror::Error)]
pub enum LocalError {
    /// The API server.
    #[error(transparent)]
    Server(#[from] BuildError),
    /// The control socket.
    #[error(transparent)]
    Control(#[from] ControlError),
    /// The logs.
    #[error("cannot keep logs: {0}")]
    Logs(#[source] std::io::Error),
    /// The leader's Lease of the process before could not be cleared.
    #[error("cannot clear the Lease of the operator before: {0}")]
    Lease(#[source] kube::Error),
}

/// A running local cluster.
pub struct LocalCluster {
    server: ApiServer,
    pods: Arc<LocalPods>,
    counters: Arc<Counters>,
    settings: Settings,
    /// The control socket and its connections.
    tasks: TaskTracker,
    stop: CancellationToken,
    operators: TaskTracker,
    lead: CancellationToken,
    operator: Option<Operator>,
}

impl LocalCluster {
    /// Starts the server, the control socket and one operator.
    pub async fn start(settings: Settings) -> Result<Self, LocalError> {
        let server = ApiServer::builder()
            .crds(braid_crds::definitions())
            .state_dir(settings.state.as_ref().map(StateDir::api))
            .faults(settings.faults.clone())
            .build()
            .await?;
        let (tasks, stop) = (TaskTracker::new(), CancellationToken::new());
        let logs: Arc<dyn LogSink> = match &settings.state {
            Some(state) => Arc::new(LogFiles::open(&state.logs(), LOG_CAP).map_err(LocalError::Logs)?),
            None => Arc::new(NoLogs),
        };
        if let Some(state) = &settings.state {
            control::serve(state.path(), server.service(), &tasks, stop.clone())?;
        }
        let pods = Arc::new(LocalPods::new(worker(server.client(NAMESPACE), &settings, logs)));
        let mut cluster = Self {
            server,
            pods,
            counters: Arc::default(),
            settings,
            tasks,
            stop,
            operators: TaskTracker::new(),
            lead: CancellationToken::new(),
            operator: None,
        };
        cluster.depose().await?;
        cluster.operator = Some(cluster.operate("local"));
        Ok(cluster)
    }

    /// A client, for [`NAMESPACE`].
    #[must_use]
    pub fn client(&self) -> Client {
        self.server.client(NAMESPACE)
    }

    /// The server, for its counters and faults.
    #[must_use]
    pub fn server(&self) -> &ApiServer {
        &self.server
    }

    /// The pods, to kill and pause them.
    #[must_use]
    pub fn pods(&self) -> &Arc<LocalPods> {
        &self.pods
    }

    /// The operator that was started first, to kill it, or to be told of its end.
    #[must_use]
    pub fn operator(&self) -> Option<&Operator> {
        self.operator.as_ref()
    }

    /// What operators have done.
    #[must_use]
    pub fn counters(&self) -> &Counters {
        &self.counters
    }

    /// Starts another operator on the same objects; cancel the token to end it. The first one is started by
    /// [`start`](Self::start).
    pub fn operate(&self, identity: &str) -> Operator {
        self.operate_through(self.client(), identity)
    }

    /// As [`operate`](Self::operate), through a client with layers of its own around this server's service.
    pub fn operate_through(&self, client: Client, identity: &str) -> Operator {
        let mut options = OperatorOptions::new(
            format!("{identity}-{:08x}", rand::random::<u32>()),
            i32::try_from(self.settings.workers).unwrap_or(i32::MAX),
        );
        options.namespace = NAMESPACE.into();
        options.worker_lease = self.settings.worker_lease;
        options.leader_lease = self.settings.leader_lease;
        options.status_interval = self.settings.status_interval;
        options.sweep_interval = self.settings.sweep_interval;
        options.watch.clone_from(&self.settings.watch);
        options.pod_classes = self.settings.pools;
        let stop = self.lead.child_token();
        let running = braid_operator::run(client, options, self.pods.clone(), self.counters.clone(), stop.clone());
        Operator::start(running, stop, &self.operators)
    }

    /// Takes the lead from whoever has it: the Lease of a dead process must not keep a new one waiting.
    pub async fn depose(&self) -> Result<(), LocalError> {
        let leases: Api<Lease> = Api::namespaced(self.client(), NAMESPACE);
        match leases
            .delete(braid_operator::runtime::LEADER_LEASE, &DeleteParams::default())
            .await
        {
            Ok(_) => Ok(()),
            Err(kube::Error::Api(status)) if status.code == 404 => Ok(()),
            Err(error) => Err(LocalError::Lease(error)),
        }
    }

    /// Ends the operators, so that nothing new is assigned and no worker that ends now is called lost; then the workers (what they
    /// have settled is committed); then the server.
    pub async fn stop(self) -> Result<(), LocalError> {
        self.lead.cancel();
        self.operators.close();
        self.operators.wait().await;
        self.pods.shutdown().await;
        self.stop.cancel();
        self.tasks.close();
        self.tasks.wait().await;
        self.server.shutdown().await?;
        Ok(())
    }
}

/// What a pod does here: a worker, with that client.
pub fn worker(client: Client, settings: &Settings, logs: Arc<dyn LogSink>) -> pods::Body {
    let (turns, limits) = (settings.hands.clone(), settings.shim_limits.clone());
    let started = AtomicUsize::new(0);
    let mut options = WorkerOptions::new(Ground::Open(settings.base_dir.clone()));
    options.rhythm = Rhythm::every(settings.worker_lease / 3);
    Arc::new(move |pod: PodView, stop| {
        let hands = turns.of(started.fetch_add(1, Ordering::Relaxed));
        let (client, limits, options, logs) = (client.clone(), limits.clone(), options.clone(), logs.clone());
        Box::pin(async move {
            let identity = WorkerIdentity {
                namespace: pod.namespace,
                name: pod.name,
                pod_uid: pod.uid,
            };
            let ended = match hands {
                Hands::Shim(command) => {
                    let runner = ShimRunner::new(command, limits, logs);
                    Box::pin(WorkerTask::run(client, identity, runner, options, stop)).await
                }
                Hands::ByTurns(_) => return Err("nothing to run user code with: no turns are given".to_owned()),
                Hands::Noop(results) => {
                    let runner = NoopRunner::new(results);
                    Box::pin(WorkerTask::run(client, identity, runner, options, stop)).await
                }
                Hands::NoopPaced { results, pace } => {
                    let runner = NoopRunner::new(results).taking(pace);
                    Box::pin(WorkerTask::run(client, identity, runner, options, stop)).await
                }
                Hands::NoopFailing { results, permille } => {
                    let runner = NoopRunner::new(results).failing(permille);
                    Box::pin(WorkerTask::run(client, identity, runner, options, stop)).await
                }
            };
            match ended {
                Ok(Exit::Cancelled | Exit::Drained | Exit::Gone) => Ok(()),
                Ok(exit) => Err(format!("{exit:?}")),
                Err(error) => Err(error.to_string()),
            }
        })
    })
}
