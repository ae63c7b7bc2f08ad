//! Standing pools that runs of other namespaces use, as far as they may.

use std::{collections::BTreeSet, time::Duration};

use braid_crds::{Plan, Worker, WorkerPool, Workflow, labels, status::Phase};
use braid_local::NAMESPACE;
use kube::{
    ResourceExt,
    api::{DeleteParams, ListParams, PostParams},
};
use serde_json::{Value, json};

use super::site::Site;

/// The namespace of runs that use a pool elsewhere.
const TEAM: &str = "team";

impl Site {
    /// A run of [`TEAM`] on the pool of the other namespace.
    async fn team_run(&self, name: &str, over: Value) {
        self.team_run_with(name, over, json!({"command": ["true"]})).await;
    }

    async fn team_run_with(&self, name: &str, over: Value, program: Value) {
        self.team_create(
            name,
            json!({
                "pools": [{"name": "shared", "workerPoolRef": {"name": "warm", "namespace": NAMESPACE}}],
                "data": [{"name": "texts", "files": {"url": "src/*.rs", "format": "Text"}}],
                "steps": [{
                    "name": "count", "pool": "shared", "over": over, "run": program,
                    "results": [{"name": "n", "reduce": "Sum"}],
                }],
            }),
        )
        .await;
    }

    async fn team_create(&self, name: &str, spec: Value) {
        let run: Workflow = serde_json::from_value(json!({
            "apiVersion": "braid.dev/v1alpha1", "kind": "Workflow", "metadata": {"name": name}, "spec": spec,
        }))
        .unwrap();
        self.api(TEAM).create(&PostParams::default(), &run).await.unwrap();
    }

    async fn allow(&self, names: &[&str]) {
        let namespaces = match names {
            [] => json!({"from": "Same", "names": null}),
            names => json!({"from": "Names", "names": names}),
        };
        self.change_pool(json!({"allowedRuns": {"namespaces": namespaces}}))
            .await;
    }

    /// The plans in a namespace of runs of [`TEAM`].
    async fn plans(&self, namespace: &str) -> Vec<Plan> {
        let runs: Vec<Workflow> = self.api(TEAM).list(&ListParams::default()).await.unwrap().items;
        let uids: BTreeSet<String> = runs.iter().filter_map(ResourceExt::uid).collect();
        let plans: Vec<Plan> = self.api(namespace).list(&ListParams::default()).await.unwrap().items;
        let of_team = |plan: &Plan| namespace == NAMESPACE || uids.contains(&plan.spec.workflow_uid);
        plans.into_iter().filter(of_team).collect()
    }

    async fn until_nothing_is_lent(&self) {
        self.until("no plans of runs that are over", async || {
            self.plans(NAMESPACE).await.is_empty().then_some(())
        })
        .await;
    }

    async fn refused(&self, name: &str) -> (String, String) {
        let status = self.ended(name).await.status.unwrap();
        let accepted = status.conditions.into_iter().find(|it| it.type_ == "Accepted").unwrap();
        assert_eq!("False", accepted.status, "{name}");
        (accepted.reason, accepted.message)
    }

    /// Names of the desks with something of a run on them.
    async fn desks_of(&self, uid: &str) -> Vec<String> {
        let desks = self.desks().await;
        let has = |desk: &&Worker| desk.spec.shards.iter().any(|shard| shard.run.uid == uid);
        desks.iter().filter(has).map(ResourceExt::name_any).collect()
    }
}

fn range(end: u64) -> Value {
    json!({"range": {"end": end}})
}

async fn quick() -> Site {
    Site::with(|settings| settings.sweep_interval = Duration::from_millis(50)).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn namespaces_have_even_shares_however_many_runs_they_have() {
    let site = quick().await;
    site.pool(json!({
        "workers": {"min": 4, "max": 4}, "allowedRuns": {"namespaces": {"from": "Names", "names": [TEAM]}},
    }))
    .await;
    for name in ["one", "two", "three"] {
        site.run(name, 1_500).await;
    }
    // As one of the other namespace: names mean nothing.
    site.team_run("one", range(1_500)).await;
    let even = async || {
        let shares = site.shares().await;
        let team = shares.get("team/one").copied().unwrap_or_default();
        ((team, shares.values().sum::<usize>()) == (2, 4)).then_some(())
    };
    site.until("two workers for each namespace", even).await;
    site.until("four runs", async || {
        let status = site.pools().get("warm").await.unwrap().status?;
        (status.runs == Some(4)).then_some(())
    })
    .await;
    // A new leader comes to the same shares.
    site.cluster.operator().unwrap().kill();
    site.cluster.depose().await.unwrap();
    let _second = site.cluster.operate("second");
    for name in ["one", "two", "three", "team/one"] {
        site.exact(name, 1_500).await;
    }
    site.until_clean().await;
    site.stop_after_a_killed_leader().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_run_uses_a_pool_elsewhere_while_that_allows_it() {
    let site = quick().await;
    site.pool(json!({"workers": {"min": 2, "max": 2}})).await;
    site.team_run("waits", range(1_000)).await;
    let told = site.condition("team/waits", "RefNotPermitted").await;
    let expected = "there is no WorkerPool warm in the namespace default that runs of team may use: who owns it can name team in its \
                    allowedRuns.namespaces";
    assert_eq!(expected, told);
    // A pool that is not there is told in the same words.
    site.team_create(
        "guesses",
        json!({
            "pools": [{"name": "default", "workerPoolRef": {"name": "nothing", "namespace": NAMESPACE}}],
            "steps": [{"name": "one", "run": {"command": ["true"]}}],
        }),
    )
    .await;
    let guessed = site.condition("team/guesses", "RefNotPermitted").await;
    assert_eq!(expected.replace("warm", "nothing"), guessed);

    site.allow(&["other"]).await;
    site.condition("team/waits", "RefNotPermitted").await;
    site.allow(&["other", TEAM]).await;
    site.until_shares(&[("team/waits", 2)]).await;
    // Withdrawn: what runs is finished and counted, and nothing more is given.
    let uid = site.api::<Workflow>(TEAM).get("waits").await.unwrap().uid().unwrap();
    site.until("something counted", async || {
        let run: Workflow = site.api(TEAM).get("waits").await.unwrap();
        (run.status?.steps[0].partitions.succeeded > 0).then_some(())
    })
    .await;
    site.allow(&[]).await;
    site.condition("team/waits", "RefNotPermitted").await;
    site.until("desks without it", async || {
        site.desks_of(&uid).await.is_empty().then_some(())
    })
    .await;
    let stopped = site.api::<Workflow>(TEAM).get("waits").await.unwrap().status.unwrap();
    let counted = stopped.steps[0].partitions.succeeded;
    assert!(counted > 0 && counted < 1_000, "{counted}");
    tokio::time::sleep(Duration::from_millis(300)).await;
    let later = site.api::<Workflow>(TEAM).get("waits").await.unwrap().status.unwrap();
    assert_eq!(
        counted, later.steps[0].partitions.succeeded,
        "nothing is given any more"
    );
    assert_eq!(Phase::Running, later.phase);
    site.allow(&[TEAM]).await;
    site.exact("team/waits", 1_000).await;
    site.until_clean().await;
    site.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn plans_are_lent_to_a_pool_elsewhere_and_swept_when_their_runs_are_over() {
    let site = quick().await;
    let allowed = json!({"workers": {"min": 2, "max": 2}, "allowedRuns": {"namespaces": {"from": "All"}}});
    site.pool(allowed.clone()).await;
    let items: Vec<u32> = (0..400).collect();
    site.team_run("items", json!({"items": items})).await;
    // Listed by a worker, where it lives.
    site.team_run("files", json!({"data": "texts", "split": {"bytes": 64}}))
        .await;
    let (lent, own) = site
        .until("plans there and here", async || {
            let (lent, own) = (site.plans(NAMESPACE).await, site.plans(TEAM).await);
            (lent.len() == 2 && own.len() == 2).then_some((lent, own))
        })
        .await;
    let pool = site.pools().get("warm").await.unwrap();
    for plan in &lent {
        let owners: Vec<&str> = plan.owner_references().iter().map(|owner| owner.uid.as_str()).collect();
        assert_eq!(owners, [pool.uid().unwrap()]);
        assert_eq!(TEAM, plan.labels()[labels::WORKFLOW_NAMESPACE]);
        let like = own.iter().find(|own| own.name_any() == plan.name_any()).unwrap();
        assert_eq!(like.spec, plan.spec);
        assert_eq!("Workflow", like.owner_references()[0].kind);
    }
    // Another pool of the same name: the plans go with the old one, and come again.
    site.pools().delete("warm", &DeleteParams::default()).await.unwrap();
    site.condition("team/items", "RefNotPermitted").await;
    site.pool(allowed).await;
    let total = site
        .api::<Workflow>(TEAM)
        .get("files")
        .await
        .unwrap()
        .status
        .unwrap()
        .steps[0]
        .partitions
        .total;
    assert!(total > 100, "{total}");
    site.exact("team/items", 400).await;
    site.exact("team/files", total).await;
    site.until_nothing_is_lent().await;
    assert_eq!(2, site.plans(TEAM).await.len(), "their own stay");

    // One that ends early, and one that takes over from it: it has its plan from here.
    site.team_run("early", json!({"items": items})).await;
    site.until("something counted", async || {
        let run: Workflow = site.api(TEAM).get("early").await.unwrap();
        (run.status?.steps[0].partitions.succeeded > 0).then_some(())
    })
    .await;
    site.change_in(TEAM, "early", json!({"cancel": true})).await;
    site.ended("team/early").await;
    site.until_nothing_is_lent().await;
    site.team_create("late", json!({"resumeFrom": {"name": "early"}})).await;
    site.exact("team/late", 400).await;
    // One that is deleted.
    site.team_run("gone", json!({"items": items})).await;
    site.until("its plan is lent", async || {
        let plans = site.plans(NAMESPACE).await;
        plans
            .iter()
            .any(|plan| plan.labels()[labels::WORKFLOW] == "gone")
            .then_some(())
    })
    .await;
    site.api::<Workflow>(TEAM)
        .delete("gone", &DeleteParams::default())
        .await
        .unwrap();
    site.until_nothing_is_lent().await;
    site.until_clean().await;
    site.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_names_objects_of_its_namespace_is_not_given_those_of_another() {
    let site = quick().await;
    let secret = json!({"name": "TOKEN", "valueFrom": {"secretKeyRef": {"name": "crm", "key": "token"}}});
    site.pool(json!({
        "workers": {"min": 1, "max": 1}, "allowedRuns": {"namespaces": {"from": "All"}},
        "pods": {"image": "one", "env": [secret], "code": {"name": "words"}},
    }))
    .await;
    // Word for word what the pool's pods have: of the pool's namespace.
    let asks = json!({"command": ["true"], "env": [secret]});
    site.run_with("fits", 50, asks.clone()).await;
    site.exact("fits", 50).await;
    let code = json!({"function": "a:f", "code": {"configMapRef": {"name": "words"}}});
    for (name, program, words) in [
        ("asks", asks, "asks for env {\"name\":\"TOKEN\""),
        (
            "packed",
            code,
            "asks for code.configMapRef words of the run's namespace, and pods of the WorkerPool warm are in",
        ),
    ] {
        site.team_run_with(name, range(50), program).await;
        let (reason, message) = site.refused(&format!("team/{name}")).await;
        assert_eq!("PoolDoesNotFit", reason);
        assert!(message.contains(words), "{message}");
    }
    // What is the pod's own is compared as ever.
    site.team_run_with("image", range(50), json!({"command": ["true"], "image": "other"}))
        .await;
    let (reason, message) = site.refused("team/image").await;
    assert_eq!("PoolDoesNotFit", reason);
    assert!(message.contains("image other, and its pods have one"), "{message}");
    site.team_run_with("same", range(50), json!({"command": ["true"], "image": "one"}))
        .await;
    site.exact("team/same", 50).await;
    site.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_operator_for_some_namespaces_shares_pools_among_these() {
    let watched = [NAMESPACE, TEAM].map(str::to_owned);
    let site = Site::with(|settings| {
        settings.watch = watched.into();
        settings.sweep_interval = Duration::from_millis(50);
    })
    .await;
    let allowed = json!({"workers": {"min": 4, "max": 4}, "allowedRuns": {"namespaces": {"from": "All"}}});
    site.pool(allowed.clone()).await;
    let hidden: WorkerPool = serde_json::from_value(json!({
        "apiVersion": "braid.dev/v1alpha1", "kind": "WorkerPool", "metadata": {"name": "warm"}, "spec": allowed,
    }))
    .unwrap();
    site.api("hidden")
        .create(&PostParams::default(), &hidden)
        .await
        .unwrap();
    site.team_create(
        "blind",
        json!({
            "pools": [{"name": "default", "workerPoolRef": {"name": "warm", "namespace": "hidden"}}],
            "steps": [{"name": "one", "run": {"command": ["true"]}}],
        }),
    )
    .await;
    let told = site.condition("team/blind", "PoolNotWatched").await;
    assert!(told.contains("both namespaces must be in its list"), "{told}");

    site.run("one", 2_000).await;
    site.team_run("one", range(2_000)).await;
    site.until_shares(&[("one", 2), ("team/one", 2)]).await;
    // A worker dies: its run hears of it, wherever it is.
    let killed = site.cluster.pods().alive().pop().unwrap();
    site.cluster.pods().kill(&killed);
    site.cluster.operator().unwrap().kill();
    site.cluster.depose().await.unwrap();
    let _second = site.cluster.operate("second");
    site.exact("one", 2_000).await;
    site.exact("team/one", 2_000).await;
    let items: Vec<u32> = (0..100).collect();
    site.team_run("items", json!({"items": items})).await;
    site.exact("team/items", 100).await;
    site.until_nothing_is_lent().await;
    site.until_clean().await;
    site.stop_after_a_killed_leader().await;
}
