//! A server, a Worker object and its Lease, and a worker; the test is the operator.

use std::{path::PathBuf, time::Duration};

use braid_apiserver::{ApiServer, Faults};
use braid_crds::{
    CardDigest, Cursor, Plan, PlanDigest, Round, ShardId, Worker, WorkerSpec, Workflow,
    worker::{Card, CardResult, RangeSource, RunRef, ShardSpec, ShardStatus, Source},
    workflow::Reduce,
};
use braid_engine::{protocol::wire, reduce::Fold};
use braid_sync::heartbeat::Rhythm;
use braid_worker::{
    ground::Ground,
    runner::Runner,
    task::{Exit, Options, WorkerError, WorkerIdentity, WorkerTask},
};
use k8s_openapi::api::coordination::v1::Lease;
use kube::{Api, Client, api::PostParams};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

const NAMESPACE: &str = "default";
const NAME: &str = "w";
const POD: &str = "pod-1";
/// How long a test waits for something that must come.
const PATIENCE: Duration = Duration::from_secs(20);

pub struct Bench {
    pub server: ApiServer,
    pub client: Client,
    pub workers: Api<Worker>,
    pub stop: CancellationToken,
    /// The uid of the workflow, which owns its plans.
    pub uid: String,
    base_dir: PathBuf,
    task: Option<JoinHandle<Result<Exit, WorkerError>>>,
}

impl Bench {
    pub async fn new() -> Self {
        let server = ApiServer::builder()
            .crds(braid_crds::definitions())
            .build()
            .await
            .unwrap();
        let client = server.client(NAMESPACE);
        let workers: Api<Worker> = Api::namespaced(client.clone(), NAMESPACE);
        let spec = WorkerSpec {
            pod_uid: POD.into(),
            pool: "p".into(),
            ..WorkerSpec::default()
        };
        workers
            .create(&PostParams::default(), &Worker::new(NAME, spec))
            .await
            .unwrap();
        let mut lease = Lease::default();
        lease.metadata.name = Some(NAME.into());
        let leases: Api<Lease> = Api::namespaced(client.clone(), NAMESPACE);
        leases.create(&PostParams::default(), &lease).await.unwrap();
        let workflow: Workflow = serde_json::from_value(serde_json::json!({
            "apiVersion": "braid.dev/v1alpha1", "kind": "Workflow", "metadata": {"name": "flow"},
            "spec": {"steps": [{"name": "step", "run": {"command": ["true"]}}]},
        }))
        .unwrap();
        let workflows: Api<Workflow> = Api::namespaced(client.clone(), NAMESPACE);
        let workflow = workflows.create(&PostParams::default(), &workflow).await.unwrap();
        Self {
            server,
            client,
            workers,
            stop: CancellationToken::new(),
            uid: workflow.metadata.uid.unwrap(),
            base_dir: PathBuf::from("/"),
            task: None,
        }
    }

    pub fn faults(&self) -> &Faults {
        self.server.faults()
    }

    pub fn below(mut self, base_dir: PathBuf) -> Self {
        self.base_dir = base_dir;
        self
    }

    /// Starts a worker, and waits until it has claimed the desk.
    pub async fn start(&mut self, runner: impl Runner + 'static) {
        let before = self.worker().await.status.and_then(|status| status.start_id);
        self.start_only(runner);
        self.until("the desk is claimed", |worker| {
            let start = worker.status.as_ref().and_then(|status| status.start_id.clone());
            (start.is_some() && start != before).then_some(())
        })
        .await;
    }

    pub fn start_only(&mut self, runner: impl Runner + 'static) {
        let identity = WorkerIdentity {
            namespace: NAMESPACE.into(),
            name: NAME.into(),
            pod_uid: POD.into(),
        };
        let mut options = Options::new(Ground::Open(self.base_dir.clone()));
        options.rhythm = Rhythm::every(Duration::from_millis(200));
        options.call_deadline = Duration::from_millis(300);
        options.grace = Duration::from_millis(300);
        let run = WorkerTask::run(self.client.clone(), identity, runner, options, self.stop.clone());
        self.task = Some(tokio::spawn(run));
    }

    /// Aborts the worker as a crash would.
    pub async fn crash(&mut self) {
        let task = self.task.take().unwrap();
        task.abort();
        assert!(task.await.unwrap_err().is_cancelled());
    }

    /// How the worker ended by itself.
    pub async fn ended(&mut self) -> Exit {
        let task = self.task.take().unwrap();
        tokio::time::timeout(PATIENCE, task).await.unwrap().unwrap().unwrap()
    }

    pub async fn stop(&mut self) -> Exit {
        self.stop.cancel();
        self.ended().await
    }

    pub async fn worker(&self) -> Worker {
        self.workers.get(NAME).await.unwrap()
    }

    /// Looks at the object until `seen` gives something.
    pub async fn until<T>(&self, what: &str, seen: impl Fn(&Worker) -> Option<T>) -> T {
        let mut latest = None;
        let look = async {
            loop {
                // The server's faults are for the worker, so an answer may be missing here, too.
                if let Ok(Ok(worker)) = tokio::time::timeout(Duration::from_millis(500), self.workers.get(NAME)).await {
                    if let Some(found) = seen(&worker) {
                        return found;
                    }
                    latest = Some(worker);
                }
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
        };
        let found = tokio::time::timeout(PATIENCE, look).await;
        found.unwrap_or_else(|_| panic!("{what}: never: {latest:#?}"))
    }

    /// Waits for something that is not on the server.
    pub async fn wait_for(&self, what: &str, seen: impl Fn() -> bool) {
        let look = async {
            while !seen() {
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
        };
        tokio::time::timeout(PATIENCE, look)
            .await
            .unwrap_or_else(|_| panic!("{what}: never"));
    }

    /// A write of the spec by the operator.
    pub async fn edit(&self, edit: impl Fn(&mut Worker)) {
        loop {
            let mut worker = self.worker().await;
            edit(&mut worker);
            match self.workers.replace(NAME, &PostParams::default(), &worker).await {
                Ok(_) => return,
                Err(kube::Error::Api(status)) if status.code == 409 => {}
                Err(error) => panic!("{error}"),
            }
        }
    }

    /// Assigns `[start, end)` of a card to the present start.
    pub async fn assign(&self, card: &Card, start: u64, end: u64, with: impl Fn(&mut ShardSpec)) -> ShardId {
        self.edit(|worker| {
            let spec = &mut worker.spec;
            let id = spec.next_shard_id;
            spec.next_shard_id = id.next();
            if !spec.cards.iter().any(|known| known.digest == card.digest) {
                spec.cards.push(card.clone());
            }
            let start_id = worker.status.as_ref().unwrap().start_id.clone().unwrap();
            let mut shard = ShardSpec {
                id,
                start_id,
                run: RunRef {
                    workflow: "flow".into(),
                    uid: self.uid.clone(),
                    step: "step".into(),
                    round: Round(0),
                    plan: PlanDigest::default(),
                    card: card.digest.clone(),
                    ..RunRef::default()
                },
                start,
                end,
                budget_millis: 600_000,
                ..ShardSpec::default()
            };
            with(&mut shard);
            spec.shards.push(shard);
        })
        .await;
        self.worker().await.spec.shards.last().unwrap().id
    }

    pub async fn sealed(&self, shard: ShardId) -> ShardStatus {
        self.until("the shard is sealed", |worker| {
            entry(worker, shard).filter(|entry| entry.sealed).cloned()
        })
        .await
    }

    /// The sum and the count of the only result of a sealed shard.
    pub async fn total(&self, shard: ShardId) -> (Cursor, i64, u64) {
        let entry = self.sealed(shard).await;
        let worker = self.worker().await;
        let desk = wire::desk(&worker).unwrap();
        let fold: Fold = desk.commit(shard).unwrap().content.fold().clone();
        let specs = [braid_crds::workflow::ResultSpec {
            name: "n".into(),
            reduce: Reduce::Sum,
            keyed: false,
            ..braid_crds::workflow::ResultSpec::default()
        }];
        let value = fold.results(&specs)[0].value.clone();
        (
            entry.cursor,
            value.and_then(|value| value.as_i64()).unwrap_or(0),
            fold.count("n"),
        )
    }

    pub fn plans(&self) -> Api<Plan> {
        Api::namespaced(self.client.clone(), NAMESPACE)
    }
}

pub fn entry(worker: &Worker, shard: ShardId) -> Option<&ShardStatus> {
    worker.status.as_ref()?.shards.iter().find(|entry| entry.id == shard)
}

/// A card with one sum, over numbers.
pub fn card() -> Card {
    Card {
        digest: CardDigest("sha256:card".into()),
        command: vec!["true".into()],
        concurrency: 4,
        attempts: 1,
        source: Source {
            range: Some(RangeSource { start: 0, step: 1 }),
            ..Source::default()
        },
        results: vec![CardResult {
            name: "n".into(),
            from: "n".into(),
            reduce: Reduce::Sum,
            keyed: false,
            ..CardResult::default()
        }],
        ..Card::default()
    }
}
