//! Standing pools: runs share their workers, whatever becomes of the runs, the operator and the pool.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use std::collections::BTreeSet;

use braid_crds::{Workflow, status::Phase};
use kube::{
    ResourceExt,
    api::{DeleteParams, ListParams, Patch, PatchParams, PostParams},
};
use serde_json::json;

mod elsewhere;
mod site;

use site::Site;

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
    site.stop_after_a_killed_leader().await;
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
