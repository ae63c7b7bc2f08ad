#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use serde_json::json;

use super::*;

const WINDOW: Window = Window {
    events: 8,
    bytes: 1 << 20,
};
const THINGS: ResourceId = ResourceId(0);

fn store() -> Arc<Store> {
    Arc::new(Store::new(1, 0, WINDOW))
}

async fn put(store: &Store, name: &str, n: u64) -> Arc<Stored> {
    let key = Key::new("ns", name);
    let seen = store.head(THINGS, &key);
    let value = json!({"metadata": {"name": name, "uid": name}, "n": n});
    store
        .commit(THINGS, &key, seen.as_ref(), Write::Put(value))
        .await
        .unwrap()
}

#[tokio::test]
async fn a_commit_against_an_older_state_is_raced() {
    let store = store();
    let key = Key::new("ns", "a");
    let first = put(&store, "a", 1).await;
    put(&store, "a", 2).await;
    for seen in [Some(&first), None] {
        let result = store.commit(THINGS, &key, seen, Write::Put(json!({}))).await;
        assert!(matches!(result, Err(NotCommitted::Raced)));
    }
}

#[tokio::test]
async fn committed_writes_are_not_seen_before_they_are_published() {
    let store = store();
    let (sender, mut records) = mpsc::channel(4);
    store.attach_log(sender);
    let mut watch = store.subscribe(THINGS, Interest::default(), Some(0)).unwrap();
    let writer = Arc::clone(&store);
    let writing = tokio::spawn(async move { put(&writer, "a", 1).await });
    let record = records.recv().await.unwrap();
    let key = Key::new("ns", "a");
    assert!(store.head(THINGS, &key).is_some(), "later writes compare with it");
    assert_eq!(store.list(THINGS, &Interest::default(), false).await.1.len(), 0);
    assert!(!writing.is_finished());
    let reader = Arc::clone(&store);
    let reading = tokio::spawn(async move { reader.get(THINGS, &Key::new("ns", "a")).await.unwrap() });
    tokio::task::yield_now().await;
    assert!(
        !reading.is_finished(),
        "a quorum read waits for what was accepted before it"
    );
    store.publish_up_to(record.version());
    assert_eq!(writing.await.unwrap().version, record.version());
    assert!(reading.await.unwrap().is_some());
    assert!(matches!(watch.next().await, Some(Delivery::Event { .. })));
}

#[tokio::test]
async fn a_watcher_that_does_not_keep_up_is_cut_off() {
    let store = store();
    let mut slow = store.subscribe(THINGS, Interest::default(), Some(0)).unwrap();
    for n in 0..2000 {
        put(&store, "a", n).await;
    }
    let mut seen = 0;
    while slow.next().await.is_some() {
        seen += 1;
    }
    assert!((1..2000).contains(&seen), "{seen}");
}

#[tokio::test]
async fn versions_before_the_window_are_gone() {
    let store = store();
    for n in 0..20 {
        put(&store, "a", n).await;
    }
    let expired = store.subscribe(THINGS, Interest::default(), Some(11)).err().unwrap();
    assert_eq!(expired.code(), http::StatusCode::GONE);
    let mut kept = store.subscribe(THINGS, Interest::default(), Some(12)).unwrap();
    let mut versions = Vec::new();
    while let Some(Delivery::Event { object, .. }) = kept.backlog() {
        versions.push(object.version);
    }
    assert_eq!(versions, (13..=20).collect::<Vec<_>>());
}
