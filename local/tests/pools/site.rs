//! A local cluster with pools as in a real one, and what is asked of it.

use std::{collections::BTreeMap, path::PathBuf, time::Duration};

use braid_crds::{Worker, WorkerPool, Workflow, status::Phase};
use braid_local::{Hands, LocalCluster, NAMESPACE, Settings};
use braid_operator::standing::occupant;
use bytes::Bytes;
use kube::{
    Api, Client, Resource, ResourceExt,
    api::{ListParams, Patch, PatchParams, PostParams},
    core::NamespaceResourceScope,
};
use serde_json::{Value, json};

/// Whatever takes longer hangs.
const HANG: Duration = Duration::from_mins(3);
const PACE: Duration = Duration::from_millis(10);

pub struct Site {
    pub cluster: LocalCluster,
    client: Client,
}

impl Site {
    pub async fn new() -> Self {
        Self::with(|_| {}).await
    }

    /// One with other settings.
    pub async fn with(change: impl FnOnce(&mut Settings)) -> Self {
        let hands = Hands::NoopPaced {
            results: Some(Bytes::from_static(b"1")),
            pace: PACE,
        };
        let mut settings = Settings::new(PathBuf::from("."), hands);
        settings.pools = true;
        settings.workers = 4;
        settings.leader_lease = Duration::from_secs(2);
        change(&mut settings);
        let cluster = LocalCluster::start(settings).await.unwrap();
        let client = cluster.client();
        Self { cluster, client }
    }

    pub fn runs(&self) -> Api<Workflow> {
        Api::namespaced(self.client.clone(), NAMESPACE)
    }

    /// The objects of a kind in a namespace.
    pub fn api<K>(&self, namespace: &str) -> Api<K>
    where
        K: Resource<DynamicType = (), Scope = NamespaceResourceScope>,
    {
        Api::namespaced(self.client.clone(), namespace)
    }

    /// A run by its name, which has its namespace before it if that is another: `team/name`.
    async fn get(&self, name: &str) -> Workflow {
        let (namespace, name) = name.split_once('/').unwrap_or((NAMESPACE, name));
        self.api::<Workflow>(namespace).get(name).await.unwrap()
    }

    pub fn pools(&self) -> Api<WorkerPool> {
        Api::namespaced(self.client.clone(), NAMESPACE)
    }

    pub async fn desks(&self) -> Vec<Worker> {
        let api: Api<Worker> = Api::namespaced(self.client.clone(), NAMESPACE);
        api.list(&ListParams::default()).await.unwrap().items
    }

    pub async fn pool(&self, spec: Value) {
        let pool: WorkerPool = serde_json::from_value(json!({
            "apiVersion": "braid.dev/v1alpha1", "kind": "WorkerPool", "metadata": {"name": "warm"}, "spec": spec,
        }))
        .unwrap();
        self.pools().create(&PostParams::default(), &pool).await.unwrap();
    }

    pub async fn run(&self, name: &str, partitions: u64) {
        self.run_with(name, partitions, json!({})).await;
    }

    pub async fn run_with(&self, name: &str, partitions: u64, program: Value) {
        let mut step = json!({
            "name": "count", "pool": "shared", "over": {"range": {"end": partitions}},
            "run": {"command": ["true"]}, "results": [{"name": "n", "reduce": "Sum"}],
        });
        step["run"]
            .as_object_mut()
            .unwrap()
            .extend(program.as_object().unwrap().clone());
        let run: Workflow = serde_json::from_value(json!({
            "apiVersion": "braid.dev/v1alpha1", "kind": "Workflow", "metadata": {"name": name},
            "spec": {"pools": [{"name": "shared", "workerPoolRef": {"name": "warm"}}], "steps": [step]},
        }))
        .unwrap();
        self.runs().create(&PostParams::default(), &run).await.unwrap();
    }

    pub async fn change(&self, name: &str, spec: Value) {
        self.change_in(NAMESPACE, name, spec).await;
    }

    pub async fn change_in(&self, namespace: &str, name: &str, spec: Value) {
        let patch = Patch::Merge(json!({"spec": spec}));
        let api = self.api::<Workflow>(namespace);
        api.patch(name, &PatchParams::default(), &patch).await.unwrap();
    }

    pub async fn change_pool(&self, spec: Value) {
        let patch = Patch::Merge(json!({"spec": spec}));
        self.pools()
            .patch("warm", &PatchParams::default(), &patch)
            .await
            .unwrap();
    }

    /// Waits until `seen` gives something.
    pub async fn until<T>(&self, what: &str, mut seen: impl AsyncFnMut() -> Option<T>) -> T {
        let waiting = async {
            loop {
                if let Some(found) = seen().await {
                    return found;
                }
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        if let Ok(found) = tokio::time::timeout(HANG, waiting).await {
            return found;
        }
        let runs: Api<Workflow> = Api::all(self.client.clone());
        let runs = runs.list(&ListParams::default()).await.unwrap().items;
        let told: Vec<Value> = runs.iter().map(|run| json!([run.name_any(), run.status])).collect();
        let pool = self.pools().get_opt("warm").await.unwrap().and_then(|pool| pool.status);
        let desks: Vec<Value> = self
            .desks()
            .await
            .iter()
            .map(|desk| json!([desk.name_any(), desk.spec.shards]))
            .collect();
        panic!("{what}: not within {HANG:?}\n{:#}", json!([told, pool, desks]));
    }

    pub async fn ended(&self, name: &str) -> Workflow {
        self.until(&format!("{name} ends"), async || {
            let run = self.get(name).await;
            run.status
                .as_ref()
                .is_some_and(|status| status.phase.is_terminal())
                .then_some(run)
        })
        .await
    }

    /// A run that has counted every partition once.
    pub async fn exact(&self, name: &str, partitions: u64) {
        let status = self.ended(name).await.status.unwrap();
        assert_eq!(Phase::Succeeded, status.phase, "{name}: {status:#?}");
        let step = &status.steps[0];
        assert_eq!(format!("0-{}", partitions - 1), step.ledger.to_string(), "{name}");
        assert_eq!(Some(json!(partitions)), step.results[0].value, "{name}");
        assert_eq!(partitions, step.results[0].count, "{name}");
    }

    pub async fn condition(&self, name: &str, reason: &str) -> String {
        self.until(&format!("{name} says {reason}"), async || {
            let run = self.get(name).await;
            let conditions = run.status?.conditions;
            let progressing = conditions
                .into_iter()
                .find(|condition| condition.type_ == "Progressing")?;
            (progressing.reason == reason && progressing.status == "False").then_some(progressing.message)
        })
        .await
    }

    /// How many workers are at work for each run, by name.
    pub async fn shares(&self) -> BTreeMap<String, usize> {
        let runs: Api<Workflow> = Api::all(self.client.clone());
        let runs = runs.list(&ListParams::default()).await.unwrap().items;
        let name = |run: &Workflow| match run.namespace().unwrap() {
            namespace if namespace == NAMESPACE => run.name_any(),
            namespace => format!("{namespace}/{}", run.name_any()),
        };
        let names: BTreeMap<String, String> = runs.iter().map(|run| (run.uid().unwrap(), name(run))).collect();
        let mut shares = BTreeMap::new();
        for desk in self.desks().await {
            if let Some(name) = occupant(&desk).and_then(|uid| names.get(uid)) {
                *shares.entry(name.clone()).or_default() += 1;
            }
        }
        shares
    }

    pub async fn until_shares(&self, expected: &[(&str, usize)]) {
        let expected: BTreeMap<String, usize> = expected.iter().map(|(name, n)| ((*name).to_owned(), *n)).collect();
        self.until(&format!("shares {expected:?}"), async || {
            (self.shares().await == expected).then_some(())
        })
        .await;
    }

    /// Nothing is left on the desks.
    pub async fn until_clean(&self) {
        self.until("clean desks", async || {
            let desks = self.desks().await;
            let clean = |desk: &Worker| desk.spec.shards.is_empty() && desk.spec.cards.is_empty();
            desks.iter().all(clean).then_some(())
        })
        .await;
    }

    pub async fn stop(self) {
        assert_eq!(0, self.cluster.counters().read().held_in_part);
        self.stop_after_a_killed_leader().await;
    }

    /// What a leader has asked for when it is killed may be done after the next one has read: what both have handed out then is dropped
    /// where it was counted, and the rest is run again. With one leader that cannot be.
    pub async fn stop_after_a_killed_leader(self) {
        assert_eq!(0, self.cluster.counters().read().panicked_passes);
        self.cluster.stop().await.unwrap();
    }
}
