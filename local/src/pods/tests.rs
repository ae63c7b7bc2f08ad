#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use super::*;

fn pool() -> PoolRef {
    PoolRef {
        name: "pool".into(),
        namespace: "default".into(),
        uid: "uid".into(),
        ..PoolRef::default()
    }
}

/// Pods that run until they are cancelled.
fn patient() -> LocalPods {
    LocalPods::new(Arc::new(|_, stop: CancellationToken| {
        Box::pin(async move {
            stop.cancelled().await;
            Ok(())
        })
    }))
}

#[tokio::test]
async fn nothing_is_started_after_the_end() {
    let pods = patient();
    pods.scale(&pool(), 2, &[]).await.unwrap();
    assert_eq!(pods.alive().len(), 2);
    pods.shutdown().await;
    // An operator that is still there wants its workers back.
    pods.scale(&pool(), 2, &[]).await.unwrap();
    assert_eq!(pods.alive(), Vec::<String>::new());
}

#[tokio::test]
async fn a_killed_pod_has_died_and_is_replaced_by_another() {
    let pods = patient();
    pods.scale(&pool(), 1, &[]).await.unwrap();
    let first = pods.alive().remove(0);
    let mut views = pods.watch();
    views.borrow_and_update();
    pods.kill(&first);
    views.changed().await.unwrap();
    assert_eq!(views.borrow().pods[0].state, PodState::Died(Death::Unknown));
    pods.scale(&pool(), 1, std::slice::from_ref(&first)).await.unwrap();
    let second = pods.alive();
    assert_eq!(second.len(), 1);
    assert_ne!(second[0], first);
    pods.shutdown().await;
}
