//! Braid's own kinds on the server: every schema and rule compiles, and the rules of `Worker` hold what they promise.
#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]

use braid_apiserver::ApiServer;
use kube::api::{Api, ApiResource, DynamicObject, GroupVersionKind, PostParams};
use serde_json::{Value, json};

fn workers(server: &ApiServer) -> Api<DynamicObject> {
    let kind = GroupVersionKind::gvk("braid.dev", "v1alpha1", "Worker");
    Api::default_namespaced_with(
        server.client("default"),
        &ApiResource::from_gvk_with_plural(&kind, "workers"),
    )
}

fn shard(id: i64) -> Value {
    json!({
        "id": id, "for": "pod-1", "start": 0, "end": 100, "budgetMillis": 1000,
        "run": {"workflow": "w", "uid": "u", "step": "s", "round": 0, "card": "c"},
    })
}

fn commit(id: i64, cursor: u64, sealed: bool) -> Value {
    json!({"id": id, "startId": "pod-1", "cursor": cursor, "sealed": sealed})
}

/// A worker with one assigned shard, and the server it is on.
async fn desk() -> (ApiServer, Api<DynamicObject>, DynamicObject) {
    let server = ApiServer::builder()
        .crds(braid_crds::definitions())
        .build()
        .await
        .unwrap();
    let api = workers(&server);
    let worker: DynamicObject = serde_json::from_value(json!({
        "apiVersion": "braid.dev/v1alpha1", "kind": "Worker", "metadata": {"name": "w"},
        "spec": {"podUID": "pod", "pool": "p", "nextShardId": 2, "shards": [shard(1)]},
    }))
    .unwrap();
    let worker = api.create(&PostParams::default(), &worker).await.unwrap();
    (server, api, worker)
}

async fn put_status(api: &Api<DynamicObject>, from: &DynamicObject, shards: Value) -> Result<DynamicObject, String> {
    let mut worker = from.clone();
    worker.data["status"] = json!({"protocol": {"min": 1, "max": 1}, "shards": shards});
    api.replace_status("w", &PostParams::default(), &worker)
        .await
        .map_err(|e| e.to_string())
}

async fn put_spec(
    api: &Api<DynamicObject>,
    from: &DynamicObject,
    change: impl Fn(&mut Value),
) -> Result<DynamicObject, String> {
    let mut worker = from.clone();
    change(&mut worker.data["spec"]);
    api.replace("w", &PostParams::default(), &worker)
        .await
        .map_err(|e| e.to_string())
}

fn refused(result: Result<DynamicObject, String>, because: &str) {
    let error = result.expect_err(because);
    assert!(error.contains(because), "{error}");
}

#[tokio::test]
async fn every_definition_compiles() {
    ApiServer::builder()
        .crds(braid_crds::definitions())
        .build()
        .await
        .unwrap();
}

#[tokio::test]
async fn commits_move_forward_and_end() {
    let (server, api, worker) = desk().await;
    refused(
        put_status(&api, &worker, json!([commit(9, 1, false)])).await,
        "only for a shard that is assigned",
    );
    refused(
        put_status(&api, &worker, json!([commit(1, 101, false)])).await,
        "must lie within its shard",
    );
    let first = put_status(&api, &worker, json!([commit(1, 10, false)])).await.unwrap();
    refused(
        put_status(&api, &first, json!([commit(1, 9, false)])).await,
        "a cursor never falls",
    );
    refused(put_status(&api, &first, json!([])).await, "may not be removed");
    let sealed = put_status(&api, &first, json!([commit(1, 20, true)])).await.unwrap();
    refused(
        put_status(&api, &sealed, json!([commit(1, 21, true)])).await,
        "a sealed commit is immutable",
    );
    let dropped = put_spec(&api, &sealed, |spec| spec["shards"] = json!([]))
        .await
        .unwrap();
    put_status(&api, &dropped, json!([])).await.unwrap();
    server.shutdown().await.unwrap();
}

#[tokio::test]
async fn assignments_are_immutable_but_for_budget_and_seal() {
    let (server, api, worker) = desk().await;
    refused(
        put_spec(&api, &worker, |spec| spec["podUID"] = json!("other")).await,
        "belongs to one pod for ever",
    );
    refused(
        put_spec(&api, &worker, |spec| spec["nextShardId"] = json!(1)).await,
        "nextShardId never falls",
    );
    refused(
        put_spec(&api, &worker, |spec| spec["shards"][0]["end"] = json!(50)).await,
        "a shard is immutable",
    );
    refused(
        put_spec(&api, &worker, |spec| spec["shards"][0]["budgetMillis"] = json!(2000)).await,
        "may only shrink",
    );
    let committed = put_status(&api, &worker, json!([commit(1, 10, false)])).await.unwrap();
    let sealed = put_spec(&api, &committed, |spec| spec["shards"][0]["seal"] = json!(true))
        .await
        .unwrap();
    refused(
        put_spec(&api, &sealed, |spec| spec["shards"][0]["seal"] = json!(false)).await,
        "a seal is for ever",
    );
    refused(
        put_status(&api, &sealed, json!([commit(1, 11, false)])).await,
        "that the operator sealed may not be changed",
    );
    // Shards correlate by id, not by place.
    let more = put_spec(&api, &sealed, |spec| {
        let old = spec["shards"][0].clone();
        spec["shards"] = json!([shard(2), old]);
    })
    .await
    .unwrap();
    assert_eq!(
        more.data["spec"]["shards"][0]["mode"], "Normal",
        "defaults reach the items"
    );
    server.shutdown().await.unwrap();
}

#[tokio::test]
async fn a_definition_with_a_wrong_rule_is_refused_at_build() {
    for rule in [
        "self.spec.nothing > 1",
        "self.spec.",
        "other == 1",
        "self.metadata.labels.size() > 0",
    ] {
        let mut crd = braid_crds::definitions().remove(0);
        let schema = crd.spec.versions[0]
            .schema
            .as_mut()
            .unwrap()
            .open_api_v3_schema
            .as_mut()
            .unwrap();
        schema.x_kubernetes_validations.get_or_insert_default()[0].rule = rule.into();
        let error = ApiServer::builder()
            .crds([crd])
            .build()
            .await
            .expect_err(rule)
            .to_string();
        assert!(
            error.contains("does not compile") && error.contains("workflows.braid.dev"),
            "{error}"
        );
    }
}
