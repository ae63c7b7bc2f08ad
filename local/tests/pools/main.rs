//! Standing pools: runs share their workers, whatever becomes of the runs, the operator and the pool.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use std::{
    collections::{BTreeMap, BTreeSet},
    path::PathBuf,
    time::Duration,
};

use braid_crds::{Worker, WorkerPool, Workflow, status::Phase};
use braid_local::{Hands, LocalCluster, NAMESPACE, Settings};
use braid_operator::standing::occupant;
use bytes::Bytes;
use kube::{
    Api, Client, ResourceExt,
    api::{DeleteParams, ListParams, Patch, PatchParams, PostParams},
};
use serde_json::{Value, json};

/// Whatever takes longer hangs.
const HANG: Duration = Duration::from_mins(3);
const PACE: Duration = Duration::from_millis(10);

struct Site {
    cluster: LocalCluster,
    client: Client,
}

impl Site {
    async fn new() -> Self {
        let hands = Hands::NoopPaced {
            results: Some(Bytes::from_static(b"1")),
            pace: PACE,
        };
        let mut settings = Settings::new(PathBuf::from("."), hands);
        settings.pools = true;
        settings.workers = 4;
        settings.leader_lease = Duration::from_secs(2);
        let cluster = LocalCluster::start(settings).await.unwrap();
        let client = cluster.client();
        Self { cluster, client }
    }

    fn runs(&self) -> Api<Workflow> {
        Api::namespaced(self.client.clone(), NAMESPACE)
    }

    fn pools(&self) -> Api<WorkerPool> {
        Api::namespaced(self.client.clone(), NAMESPACE)
    }

    async fn desks(&self) -> Vec<Worker> {
        let api: Api<Worker> = Api::namespaced(self.client.clone(), NAMESPACE);
        api.list(&ListParams::default()).await.unwrap().items
    }

    async fn pool(&self, spec: Value) {
        let pool: WorkerPool = serde_json::from_value(json!({
            "apiVersion": "braid.dev/v1alpha1", "kind": "WorkerPool", "metadata": {"name": "warm"}, "spec": spec,
        }))
        .unwrap();
        self.pools().create(&PostParams::default(), &pool).await.unwrap();
    }

    async fn run(&self, name: &str, partitions: u64) {
        self.run_with(name, partitions, json!({})).await;
    }

    async fn run_with(&self, name: &str, partitions: u64, program: Value) {
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

    async fn change(&self, name: &str, spec: Value) {
        let patch = Patch::Merge(json!({"spec": spec}));
        self.runs().patch(name, &PatchParams::default(), &patch).await.unwrap();
    }

    async fn change_pool(&self, spec: Value) {
        let patch = Patch::Merge(json!({"spec": spec}));
        self.pools()
            .patch("warm", &PatchParams::default(), &patch)
            .await
            .unwrap();
    }

    /// Waits until `seen` gives something.
    async fn until<T>(&self, what: &str, mut seen: impl AsyncFnMut() -> Option<T>) -> T {
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
        let runs = self.runs().list(&ListParams::default()).await.unwrap().items;
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

    async fn ended(&self, name: &str) -> Workflow {
        self.until(&format!("{name} ends"), async || {
            let run = self.runs().get(name).await.unwrap();
            run.status
                .as_ref()
                .is_some_and(|status| status.phase.is_terminal())
                .then_some(run)
        })
        .await
    }

    /// A run that has counted every partition once.
    async fn exact(&self, name: &str, partitions: u64) {
        let status = self.ended(name).await.status.unwrap();
        assert_eq!(Phase::Succeeded, status.phase, "{name}: {status:#?}");
        let step = &status.steps[0];
        assert_eq!(format!("0-{}", partitions - 1), step.ledger.to_string(), "{name}");
        assert_eq!(Some(json!(partitions)), step.results[0].value, "{name}");
        assert_eq!(partitions, step.results[0].count, "{name}");
    }

    async fn condition(&self, name: &str, reason: &str) -> String {
        self.until(&format!("{name} says {reason}"), async || {
            let run = self.runs().get(name).await.unwrap();
            let conditions = run.status?.conditions;
            let progressing = conditions
                .into_iter()
                .find(|condition| condition.type_ == "Progressing")?;
            (progressing.reason == reason && progressing.status == "False").then_some(progressing.message)
        })
        .await
    }

    /// How many workers are at work for each run, by name.
    async fn shares(&self) -> BTreeMap<String, usize> {
        let runs = self.runs().list(&ListParams::default()).await.unwrap().items;
        let names: BTreeMap<String, String> = runs.iter().map(|run| (run.uid().unwrap(), run.name_any())).collect();
        let mut shares = BTreeMap::new();
        for desk in self.desks().await {
            if let Some(name) = occupant(&desk).and_then(|uid| names.get(uid)) {
                *shares.entry(name.clone()).or_default() += 1;
            }
        }
        shares
    }

    async fn until_shares(&self, expected: &[(&str, usize)]) {
        let expected: BTreeMap<String, usize> = expected.iter().map(|(name, n)| ((*name).to_owned(), *n)).collect();
        self.until(&format!("shares {expected:?}"), async || {
            (self.shares().await == expected).then_some(())
        })
        .await;
    }

    /// Nothing is left on the desks.
    async fn until_clean(&self) {
        self.until("clean desks", async || {
            let desks = self.desks().await;
            let clean = |desk: &Worker| desk.spec.shards.is_empty() && desk.spec.cards.is_empty();
            desks.iter().all(clean).then_some(())
        })
        .await;
    }

    async fn stop(self) {
        let counts = self.cluster.counters().read();
        assert_eq!((0, 0), (counts.held_in_part, counts.panicked_passes));
        self.cluster.stop().await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_runs_have_even_shares_and_one_alone_has_all() {
    let site = Site::new().await;
    site.pool(json!({"workers": {"min": 4, "max": 4}})).await;
    site.run("first", 3_000).await;
    site.until_shares(&[("first", 4)]).await;
    site.run("second", 3_000).await;
    site.until_shares(&[("first", 2), ("second", 2)]).await;
    site.exact("first", 3_000).await;
    site.exact("second", 3_000).await;
    site.until_clean().await;
    // The pool outlives them, and says that nobody is on it.
    site.until("a pool at rest", async || {
        let status = site.pools().get("warm").await.unwrap().status?;
        (status.runs == Some(0) && (status.wanted, status.ready) == (4, 4)).then_some(())
    })
    .await;
    site.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn five_runs_are_exact_whatever_becomes_of_them_the_operator_and_the_pool() {
    let site = Site::new().await;
    site.pool(json!({"workers": {"min": 4, "max": 4}, "pods": {"image": "one"}}))
        .await;
    let names = ["one", "two", "three", "four", "five"];
    for name in names {
        site.run(name, 1_500).await;
    }
    // Four workers, five runs: the most senior have one each, and the fifth waits and says so. Which they are is a matter of chance, as all
    // are of the same second.
    let at_work = site
        .until("four at work", async || {
            let shares = site.shares().await;
            (shares.len() == 4 && shares.values().all(|share| *share == 1)).then_some(shares)
        })
        .await;
    let mut working = at_work.keys().map(String::as_str);
    let deleted = names.into_iter().find(|name| !at_work.contains_key(*name)).unwrap();
    let [suspended, cancelled, third, fourth] = std::array::from_fn(|_| working.next().unwrap());
    let told = site.condition(deleted, "WaitingForWorkers").await;
    assert!(told.contains("at work for other runs"), "{told}");

    site.change(suspended, json!({"suspend": true})).await;
    site.until_shares(&[(third, 1), (fourth, 1), (cancelled, 1), (deleted, 1)])
        .await;
    site.change(cancelled, json!({"cancel": true})).await;
    let status = site.ended(cancelled).await.status.unwrap();
    assert_eq!(Phase::Cancelled, status.phase);
    let step = &status.steps[0];
    assert_eq!(step.ledger.len(), step.results[0].count, "what was settled is counted");

    // What the deleted one has on the desks is taken off, though nobody of its own can.
    let uid = site.runs().get(deleted).await.unwrap().uid().unwrap();
    let has_some = async || {
        site.desks()
            .await
            .iter()
            .any(|desk| desk.spec.shards.iter().any(|shard| shard.run.uid == uid))
    };
    site.until("the last one at work", async || has_some().await.then_some(()))
        .await;
    site.runs().delete(deleted, &DeleteParams::default()).await.unwrap();
    site.until("its shards off the desks", async || (!has_some().await).then_some(()))
        .await;
    site.until_shares(&[(third, 2), (fourth, 2)]).await;

    // A new leader comes to the same shares.
    site.cluster.operator().unwrap().kill();
    site.cluster.depose().await.unwrap();
    let _second = site.cluster.operate("second");
    site.change(suspended, json!({"suspend": false})).await;
    site.until("the third at work again", async || {
        let shares = site.shares().await;
        (shares.values().sum::<usize>() == 4 && shares.len() == 3).then_some(())
    })
    .await;

    // Other pods: new ones come, the old ones go.
    let old: BTreeSet<String> = site.desks().await.iter().map(ResourceExt::name_any).collect();
    site.change_pool(json!({"pods": {"image": "two"}})).await;
    site.until("four other workers", async || {
        let desks = site.desks().await;
        (desks.len() == 4 && desks.iter().all(|desk| !old.contains(&desk.name_any()))).then_some(())
    })
    .await;
    for name in [third, fourth, suspended] {
        site.exact(name, 1_500).await;
    }
    site.until_clean().await;
    site.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_run_waits_for_a_pool_and_says_for_which() {
    let site = Site::new().await;
    site.run("early", 50).await;
    let told = site.condition("early", "PoolMissing").await;
    assert_eq!(told, "there is no WorkerPool warm in the run's namespace");
    site.pool(json!({"replicas": 1, "pods": {"image": "one"}})).await;
    site.exact("early", 50).await;

    // What does not fit from the first is refused; what fits or asks for nothing runs.
    site.run_with("unfit", 50, json!({"image": "other"})).await;
    let refused = site.ended("unfit").await.status.unwrap();
    let accepted = refused
        .conditions
        .iter()
        .find(|condition| condition.type_ == "Accepted")
        .unwrap();
    assert_eq!(
        ("False", "PoolDoesNotFit"),
        (accepted.status.as_str(), accepted.reason.as_str())
    );
    assert!(
        accepted.message.contains("image other, and its pods have one"),
        "{}",
        accepted.message
    );
    site.run_with("fit", 50, json!({"image": "one"})).await;
    site.exact("fit", 50).await;

    // A pool that changes under a run: it waits, for the pods that it has asked for, and goes on with them.
    site.run_with("waits", 2_000, json!({"image": "one"})).await;
    site.until_shares(&[("waits", 1)]).await;
    site.change_pool(json!({"pods": {"image": "two"}})).await;
    let told = site.condition("waits", "PoolDoesNotFit").await;
    assert!(told.contains("image one, and its pods have two"), "{told}");
    site.change_pool(json!({"pods": {"image": "one"}})).await;
    site.exact("waits", 2_000).await;

    // A run's own pool is nobody else's.
    let own: Workflow = serde_json::from_value(json!({
        "apiVersion": "braid.dev/v1alpha1", "kind": "Workflow", "metadata": {"name": "owner"},
        "spec": {"steps": [{"name": "one", "over": {"range": {"end": 50}}, "run": {"command": ["true"]}}]},
    }))
    .unwrap();
    site.runs().create(&PostParams::default(), &own).await.unwrap();
    site.ended("owner").await;
    let pools = site.pools().list(&ListParams::default()).await.unwrap().items;
    let name = pools
        .iter()
        .map(ResourceExt::name_any)
        .find(|name| name != "warm")
        .unwrap();
    let thief: Workflow = serde_json::from_value(json!({
        "apiVersion": "braid.dev/v1alpha1", "kind": "Workflow", "metadata": {"name": "thief"},
        "spec": {
            "pools": [{"name": "default", "workerPoolRef": {"name": name}}],
            "steps": [{"name": "one", "run": {"command": ["true"]}}],
        },
    }))
    .unwrap();
    site.runs().create(&PostParams::default(), &thief).await.unwrap();
    let told = site.condition("thief", "PoolNotShared").await;
    assert!(told.contains(&name), "{told}");
    site.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_standing_pool_follows_the_work_of_all_its_runs_or_whoever_writes_its_count() {
    let site = Site::new().await;
    site.pool(json!({"workers": {"max": 4, "idle": "10ms"}})).await;
    let wanted = async |count: i32| {
        site.until(&format!("{count} wanted"), async || {
            let status = site.pools().get("warm").await.unwrap().status?;
            (status.wanted == count && status.ready == count).then_some(())
        })
        .await;
    };
    wanted(0).await;
    site.run("little", 2).await;
    site.exact("little", 2).await;
    for name in ["one", "two"] {
        site.run(name, 3_000).await;
    }
    wanted(4).await;
    site.exact("one", 3_000).await;
    site.exact("two", 3_000).await;
    wanted(0).await;
    // Nobody can have it both ways.
    let both = Patch::Merge(json!({"spec": {"replicas": 2}}));
    let refused = site
        .pools()
        .patch("warm", &PatchParams::default(), &both)
        .await
        .unwrap_err();
    assert!(refused.to_string().contains("either workers"), "{refused}");
    site.change_pool(json!({"replicas": 2, "workers": null})).await;
    wanted(2).await;
    site.run("fixed", 500).await;
    site.exact("fixed", 500).await;
    wanted(2).await;
    site.stop().await;
}
