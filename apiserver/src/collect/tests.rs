#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use k8s_openapi::api::core::v1::{ConfigMap, Event};
use kube::api::{Api, ListParams, PostParams};
use serde_json::json;

use super::*;
use crate::ApiServer;

#[tokio::test]
async fn events_are_forgotten_after_an_hour_and_nothing_else_is() {
    let server = ApiServer::builder().build().await.unwrap();
    let events: Api<Event> = Api::default_namespaced(server.client("default"));
    let maps: Api<ConfigMap> = Api::default_namespaced(server.client("default"));
    let event = json!({"metadata": {"name": "e"}, "involvedObject": {"kind": "Pod", "name": "p"}});
    events
        .create(&PostParams::default(), &serde_json::from_value(event).unwrap())
        .await
        .unwrap();
    maps.create(
        &PostParams::default(),
        &serde_json::from_value(json!({"metadata": {"name": "m"}})).unwrap(),
    )
    .await
    .unwrap();
    let left = || async { events.list(&ListParams::default()).await.unwrap().items.len() };
    let now = jiff::Timestamp::now();
    forget_events(server.inner(), now + jiff::SignedDuration::from_mins(59)).await;
    assert_eq!(left().await, 1);
    forget_events(server.inner(), now + jiff::SignedDuration::from_mins(61)).await;
    assert_eq!(left().await, 0);
    assert!(maps.get_opt("m").await.unwrap().is_some());
    server.shutdown().await.unwrap();
}
