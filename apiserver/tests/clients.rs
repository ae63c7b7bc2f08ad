//! The server as its clients see it: watchers and reflectors through faults, and exact concurrent counting.
#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]

mod support;

use std::time::Duration;

use braid_apiserver::{ApiServer, Fault, Faults, Subresource, Target, Times, Verb};
use futures::StreamExt as _;
use kube::api::{ListParams, Patch, PatchParams, PostParams, WatchParams};
use kube::runtime::reflector::{self, ObjectRef};
use kube::runtime::{WatchStreamExt as _, watcher};
use serde_json::{Value, json};
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

/// Keeps changing an object, with `disturb` in between, while a reflector follows it; both must end alike.
async fn reflects(server: &ApiServer, config: watcher::Config, disturb: impl Fn(u32)) {
    let api = widgets(server.client("default"));
    api.create(&PostParams::default(), &widget("w", &json!({"size": 0})))
        .await
        .unwrap();
    api.create(&PostParams::default(), &widget("goes", &json!({})))
        .await
        .unwrap();
    let writer = reflector::store::Writer::new(support::resource());
    let reader = writer.as_reader();
    let stream = reflector::reflector(writer, watcher(api.clone(), config)).default_backoff();
    let following = tokio::spawn(stream.for_each(|_| std::future::ready(())));
    reader.wait_until_ready().await.unwrap();
    for count in 1..=30_u32 {
        if count == 10 {
            api.delete("goes", &kube::api::DeleteParams::default()).await.unwrap();
        }
        let patch = json!({"status": {"count": count}});
        api.patch_status("w", &PatchParams::default(), &Patch::Merge(patch))
            .await
            .unwrap();
        disturb(count);
        tokio::task::yield_now().await;
    }
    let key = ObjectRef::new_with("w", support::resource()).within("default");
    let seen = async {
        loop {
            let count = reader.get(&key).map(|o| o.data["status"]["count"].clone());
            if count == Some(json!(30)) && reader.state().len() == 1 {
                break;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(Duration::from_mins(1), seen)
        .await
        .expect("the reflector catches up");
    following.abort();
}

#[tokio::test]
async fn a_reflector_survives_dropped_watches() {
    let server = server().await;
    reflects(&server, watcher::Config::default(), |count| {
        if count % 7 == 0 {
            server.drop_watches(&Target::any().plural("widgets"));
        }
    })
    .await;
    server.shutdown().await.unwrap();
}

#[tokio::test]
async fn a_reflector_survives_410() {
    for config in [watcher::Config::default(), watcher::Config::default().streaming_lists()] {
        let server = server().await;
        reflects(&server, config, |count| {
            if count % 10 == 0 {
                // The next watch begins from a version that is forgotten.
                server.drop_watches(&Target::any());
                server.forget_history();
            }
        })
        .await;
        let watches = server.counters().total(|k| k.verb == Verb::Watch);
        assert!(watches > 1, "the watch was opened again: {watches}");
        server.shutdown().await.unwrap();
    }
}

#[tokio::test]
async fn a_reflector_survives_injected_faults_on_watches() {
    let faults = Faults::seeded(7);
    let server = ApiServer::builder()
        .crds([widget_crd()])
        .faults(faults.clone())
        .build()
        .await
        .unwrap();
    let gone = faults.inject(Target::any().verb(Verb::Watch), Fault::Gone, Times::Count(2));
    let dropped = faults.inject(
        Target::any().plural("widgets"),
        Fault::DroppedWatch,
        Times::Probability(0.2),
    );
    reflects(&server, watcher::Config::default(), |_| {
        if faults.struck(dropped) >= 3 {
            faults.remove(dropped);
        }
    })
    .await;
    assert_eq!(faults.struck(gone), 2);
    server.shutdown().await.unwrap();
}

#[tokio::test]
async fn each_fault_does_what_it_says() {
    let server = server().await;
    let faults = server.faults().clone();
    let api = widgets(server.client("default"));
    let made = api
        .create(&PostParams::default(), &widget("w", &json!({"size": 0})))
        .await
        .unwrap();
    let target = || Target::any().verb(Verb::Update).plural("widgets").status().name("w");
    let write = |count: i64| {
        let api = api.clone();
        async move {
            let mut now = api.get("w").await.unwrap();
            now.data["status"] = json!({"count": count});
            api.replace_status("w", &PostParams::default(), &now).await
        }
    };
    let count = || async { api.get("w").await.unwrap().data["status"]["count"].clone() };

    for (fault, code) in [
        (Fault::Conflict, 409),
        (Fault::TooManyRequests { retry_after: 3 }, 429),
        (Fault::InternalError, 500),
    ] {
        let id = faults.inject(target(), fault, Times::Once);
        match write(1).await {
            Err(kube::Error::Api(status)) => {
                assert_eq!(status.code, code);
                let wait = status.details.map_or(0, |d| d.retry_after_seconds);
                assert_eq!(wait, if code == 429 { 3 } else { 0 });
            }
            other => panic!("{fault:?}: {other:?}"),
        }
        assert_eq!(faults.remove(id), Some(1));
    }
    assert_eq!(count().await, Value::Null, "nothing was written");

    faults.inject(target(), Fault::LostAnswer, Times::Once);
    assert!(matches!(write(2).await, Err(kube::Error::Service(_))));
    assert_eq!(count().await, json!(2), "it was written");
    faults.inject(target(), Fault::LateTimeout, Times::Once);
    assert!(matches!(write(3).await, Err(kube::Error::Api(status)) if status.code == 504));
    assert_eq!(count().await, json!(3), "it was written");

    // The client gives up first; the write happens all the same.
    faults.inject(target(), Fault::Slow(Duration::from_millis(200)), Times::Once);
    assert!(tokio::time::timeout(Duration::from_millis(20), write(4)).await.is_err());
    while count().await != json!(4) {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    faults.inject(target(), Fault::Hang, Times::Once);
    assert!(tokio::time::timeout(Duration::from_millis(20), write(5)).await.is_err());
    assert_eq!(count().await, json!(4));

    // A rule is for its target only.
    let id = faults.inject(target().name("other"), Fault::InternalError, Times::Always);
    write(5).await.unwrap();
    assert_eq!(faults.struck(id), 0);

    faults.set_outage(true);
    assert!(matches!(api.get("w").await, Err(kube::Error::Service(_))));
    assert_eq!(faults.refused_in_outage(), 1);
    faults.set_outage(false);
    api.get("w").await.unwrap();
    assert_eq!(made.metadata.uid, api.get("w").await.unwrap().metadata.uid);

    let counts = server.counters();
    let statuses = |class: u16| {
        counts.total(|k| k.verb == Verb::Update && k.subresource == Subresource::Status && k.class == class)
    };
    assert_eq!((statuses(4), statuses(5), statuses(0)), (2, 1, 1));
    // Carried out: answer lost, answered late, delayed, undisturbed.
    assert_eq!(statuses(2), 4);
    server.shutdown().await.unwrap();
}

#[tokio::test]
async fn bookmarks_come_and_move_on() {
    let server = ApiServer::builder()
        .crds([widget_crd()])
        .bookmark_period(Duration::from_millis(20))
        .build()
        .await
        .unwrap();
    let api = widgets(server.client("default"));
    let from = api
        .list(&ListParams::default())
        .await
        .unwrap()
        .metadata
        .resource_version
        .unwrap();
    let mut events = api
        .watch(&WatchParams::default().fields("metadata.name=quiet"), &from)
        .await
        .unwrap()
        .boxed();
    let made = api
        .create(&PostParams::default(), &widget("w", &json!({})))
        .await
        .unwrap();
    let wanted: u64 = made.metadata.resource_version.unwrap().parse().unwrap();
    let moved = async {
        while let Some(event) = events.next().await {
            if let kube::api::WatchEvent::Bookmark(bookmark) = event.unwrap()
                && bookmark.metadata.resource_version.parse::<u64>().unwrap() >= wanted
            {
                return;
            }
        }
        panic!("the watch ended");
    };
    tokio::time::timeout(Duration::from_secs(20), moved).await.unwrap();
    server.shutdown().await.unwrap();
}

#[tokio::test]
async fn a_shut_down_server_ends_watches_and_refuses() {
    let server = server().await;
    let api = widgets(server.client("default"));
    let mut events = api.watch(&WatchParams::default(), "0").await.unwrap().boxed();
    server.shutdown().await.unwrap();
    let end = tokio::time::timeout(Duration::from_secs(20), events.next())
        .await
        .unwrap();
    assert!(end.is_none(), "the watch ends");
    assert!(matches!(api.get("w").await, Err(kube::Error::Api(status)) if status.code == 503));
}

#[tokio::test]
async fn a_state_directory_survives_a_server_that_was_never_shut_down() {
    let directory = tempfile::tempdir().unwrap();
    let build = || {
        ApiServer::builder()
            .crds([widget_crd()])
            .state_dir(Some(directory.path().to_owned()))
            .build()
    };
    let made = {
        let server = build().await.unwrap();
        let api = widgets(server.client("default"));
        api.create(&PostParams::default(), &widget("w", &json!({"size": 7})))
            .await
            .unwrap()
    };
    // The log's thread lets the directory go when the last client is gone.
    let again = async {
        loop {
            match build().await {
                Ok(server) => return server,
                Err(braid_apiserver::BuildError::Locked { .. }) => tokio::time::sleep(Duration::from_millis(10)).await,
                Err(error) => panic!("{error}"),
            }
        }
    };
    let server = tokio::time::timeout(Duration::from_secs(20), again).await.unwrap();
    let api = widgets(server.client("default"));
    assert_eq!(api.get("w").await.unwrap(), made);
    let old = made.metadata.resource_version.unwrap();
    let mut events = api.watch(&WatchParams::default(), &old).await.unwrap().boxed();
    let first = events.next().await.unwrap().unwrap();
    assert!(matches!(first, kube::api::WatchEvent::Error(status) if status.code == 410));
    server.shutdown().await.unwrap();
}
