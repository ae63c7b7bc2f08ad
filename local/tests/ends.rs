//! How a local cluster ends: in order, and when its operator ends by itself.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::{path::PathBuf, time::Duration};

use braid_apiserver::{ApiServer, Fault, Target, Times};
use braid_crds::{Worker, Workflow};
use braid_local::{Hands, LocalCluster, NAMESPACE, OperatorEnd, Settings, StateDir};
use kube::{
    Api, ResourceExt as _,
    api::{ListParams, PostParams},
};
use serde_json::json;

// A no-op worker hardly ever waits, so each keeps a thread to itself; the others have theirs.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn workers_end_after_the_operator_so_nobody_takes_their_shards_back() {
    let home = tempfile::tempdir().unwrap();
    let state = StateDir::at(home.path()).unwrap();
    let mut settings = Settings::new(PathBuf::from("."), Hands::Noop(None));
    settings.workers = 2;
    settings.state = Some(state.clone());
    let cluster = LocalCluster::start(settings).await.unwrap();
    let api: Api<Workflow> = Api::namespaced(cluster.client(), NAMESPACE);
    let run: Workflow = serde_json::from_value(json!({
        "apiVersion": "braid.dev/v1alpha1", "kind": "Workflow", "metadata": {"name": "endless"},
        "spec": {"steps": [{"name": "step", "over": {"range": {"end": 100_000_000_000_u64}}, "run": {"command": ["true"]}}]},
    }))
    .unwrap();
    api.create(&PostParams::default(), &run).await.unwrap();
    let workers: Api<Worker> = Api::namespaced(cluster.client(), NAMESPACE);
    let busy = async {
        loop {
            let desks = workers.list(&ListParams::default()).await.unwrap().items;
            if desks.iter().filter(|desk| !desk.spec.shards.is_empty()).count() == 2 {
                return desks;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    let desks = tokio::time::timeout(Duration::from_mins(1), busy).await.unwrap();
    // One ends long after the other: time enough for an operator to see it.
    let last = Target::any()
        .plural("workers")
        .status()
        .name(desks.first().unwrap().name_any());
    cluster
        .server()
        .faults()
        .inject(last, Fault::Slow(Duration::from_secs(1)), Times::Always);
    cluster.stop().await.unwrap();

    let server = ApiServer::builder()
        .crds(braid_crds::definitions())
        .state_dir(Some(state.api()))
        .build()
        .await
        .unwrap();
    let workers: Api<Worker> = Api::namespaced(server.client(NAMESPACE), NAMESPACE);
    let desks = workers.list(&ListParams::default()).await.unwrap().items;
    assert_eq!(2, desks.len(), "none was replaced");
    for desk in &desks {
        assert!(!desk.spec.shards.is_empty(), "work was on the desk to the end");
        assert!(desk.spec.shards.iter().all(|shard| !shard.seal), "{desk:#?}");
        let commits = desk
            .status
            .as_ref()
            .map(|status| status.shards.as_slice())
            .unwrap_or_default();
        assert!(
            commits.iter().any(|commit| commit.sealed),
            "what was settled is committed: {desk:#?}"
        );
    }
    server.shutdown().await.unwrap();
}

#[tokio::test]
async fn an_operator_that_cannot_go_on_is_told() {
    let mut settings = Settings::new(PathBuf::from("."), Hands::Noop(None));
    // An election with such a Lease contradicts itself, so the operator ends at once.
    settings.leader_lease = Duration::ZERO;
    let cluster = LocalCluster::start(settings).await.unwrap();
    let ended = cluster.operator().unwrap().ended();
    let end = tokio::time::timeout(Duration::from_mins(1), ended).await.unwrap();
    assert!(matches!(end, OperatorEnd::Failed(_)), "{end:?}");
    cluster.stop().await.unwrap();
}
