//! The server as its clients see it: watchers and reflectors through faults, and exact concurrent counting.
#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]

mod support;

use braid_apiserver::ApiServer;
use kube::api::{ListParams, PostParams};
use serde_json::json;
use support::{widget, widget_crd, widgets};

async fn server() -> ApiServer {
    ApiServer::builder().crds([widget_crd()]).build().await.unwrap()
}

#[tokio::test]
async fn many_writers_that_compare_and_swap_count_exactly() {
    let server = server().await;
    let api = widgets(server.client("default"));
    api.create(&PostParams::default(), &widget("w", &json!({"size": 0})))
        .await
        .unwrap();
    let mut tasks = tokio::task::JoinSet::new();
    for _ in 0..8 {
        let api = widgets(server.client("default"));
        tasks.spawn(async move {
            for _ in 0..50 {
                loop {
                    let mut now = api.get("w").await.unwrap();
                    let count = now.data["status"]["count"].as_i64().unwrap_or(0);
                    now.data["status"] = json!({"count": count + 1});
                    match api.replace_status("w", &PostParams::default(), &now).await {
                        Ok(_) => break,
                        Err(kube::Error::Api(status)) if status.is_conflict() => {}
                        Err(error) => panic!("{error}"),
                    }
                }
            }
        });
    }
    tasks.join_all().await;
    let end = api.get("w").await.unwrap();
    assert_eq!(end.data["status"]["count"], 400);
    assert_eq!(end.data["spec"]["size"], 0);
    assert_eq!(api.list(&ListParams::default()).await.unwrap().items.len(), 1);
    server.shutdown().await.unwrap();
}
