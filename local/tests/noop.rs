//! The whole of Braid but user code, in one process.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::{path::PathBuf, time::Duration};

use braid_crds::{Workflow, status::Phase};
use braid_local::{Hands, LocalCluster, NAMESPACE, Settings};
use bytes::Bytes;
use kube::{Api, api::PostParams};
use serde_json::json;

fn workflow(spec: &serde_json::Value) -> Workflow {
    serde_json::from_value(json!({
        "apiVersion": "braid.dev/v1alpha1", "kind": "Workflow", "metadata": {"name": "noop"}, "spec": spec,
    }))
    .unwrap()
}

async fn finish(api: &Api<Workflow>) -> Workflow {
    let deadline = tokio::time::Instant::now() + Duration::from_mins(1);
    loop {
        let found = api.get("noop").await.unwrap();
        if found.status.as_ref().is_some_and(|status| status.phase.is_terminal()) {
            return found;
        }
        assert!(
            tokio::time::Instant::now() < deadline,
            "{}",
            serde_json::to_string_pretty(&found.status).unwrap()
        );
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn counts_every_partition_once() {
    let mut settings = Settings::new(PathBuf::from("."), Hands::Noop(Some(Bytes::from_static(b"1"))));
    settings.workers = 2;
    let cluster = LocalCluster::start(settings).await.unwrap();
    let api: Api<Workflow> = Api::namespaced(cluster.client(), NAMESPACE);
    let run = workflow(&json!({
        "steps": [
            {"name": "first", "over": {"range": {"end": 50_000}}, "run": {"command": ["true"]},
             "results": [{"name": "n", "reduce": "Sum"}]},
            {"name": "second", "after": ["first"], "over": {"items": ["a", "b", {"c": 1}]}, "run": {"command": ["true"]},
             "results": [{"name": "m", "reduce": "Sum"}]},
            {"name": "third", "after": ["second"], "run": {"command": ["true"]}},
            {"name": "empty", "over": {"range": {"end": 0}}, "run": {"command": ["true"]}},
        ],
        "outputs": [{"name": "total", "value": "steps.first.results.n + steps.second.results.m"}],
    }));
    api.create(&PostParams::default(), &run).await.unwrap();
    let done = finish(&api).await;
    let status = done.status.unwrap();
    assert_eq!(
        Phase::Succeeded,
        status.phase,
        "{}",
        serde_json::to_string_pretty(&status).unwrap()
    );
    assert_eq!(Some(&json!(50_003)), status.outputs.get("total"));
    assert_eq!("0-49999", status.steps.first().unwrap().ledger.to_string());
    assert_eq!(0, cluster.counters().read().held_in_part);
    assert_eq!(0, cluster.counters().read().panicked_passes);
    cluster.stop().await.unwrap();
}
