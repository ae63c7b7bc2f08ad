//! Shards: committed, cut, sealed, adopted, and what becomes of them when a worker ends.

use std::time::Duration;

use braid_crds::{Cursor, worker::Mode};
use braid_worker::{runner::NoopRunner, task::Exit};
use k8s_openapi::api::coordination::v1::Lease;
use kube::Api;

use crate::{
    bench::{Bench, card, entry},
    script::{Act, Scripted},
};

fn numbers() -> Scripted {
    Scripted::new(8, |attempt| Act::Give(attempt.partition.to_string()))
}

#[tokio::test]
async fn a_shard_is_run_and_committed_once_and_the_lease_lives() {
    let mut bench = Bench::new().await;
    bench.start(numbers()).await;
    let shard = bench.assign(&card(), 0, 1_000, |_| {}).await;
    assert_eq!(bench.total(shard).await, (Cursor(1_000), 499_500, 1_000));
    let leases: Api<Lease> = Api::namespaced(bench.client.clone(), "default");
    let renewed = |lease: Lease| lease.spec.and_then(|spec| spec.renew_time);
    let first = renewed(leases.get("w").await.unwrap());
    let mut later = first.clone();
    while later == first {
        tokio::time::sleep(Duration::from_millis(20)).await;
        later = renewed(leases.get("w").await.unwrap());
    }
    assert_eq!(bench.stop().await, Exit::Cancelled);
}

#[tokio::test]
async fn a_runner_that_runs_nothing_is_fast_enough_to_test_with() {
    let mut bench = Bench::new().await;
    bench.start(NoopRunner::new(Some("1".into()))).await;
    let shard = bench.assign(&card(), 0, 20_000, |_| {}).await;
    assert_eq!(bench.total(shard).await, (Cursor(20_000), 20_000, 20_000));
}

#[tokio::test]
async fn a_budget_ends_a_shard_and_the_rest_is_the_operators() {
    let mut bench = Bench::new().await;
    let runner = Scripted::new(1, |attempt| {
        if attempt.partition < 3 {
            Act::Give("1".into())
        } else {
            Act::Hang
        }
    });
    bench.start(runner.clone()).await;
    let shard = bench.assign(&card(), 0, 9, |_| {}).await;
    bench.wait_for("it hangs", || runner.started().len() == 4).await;
    bench.edit(|worker| worker.spec.shards[0].budget_millis = 0).await;
    assert_eq!(bench.total(shard).await, (Cursor(3), 3, 3));
    // The running one goes on as another shard's.
    let adopter = bench.assign(&card(), 3, 4, |spec| spec.adopts = Some(shard)).await;
    bench
        .edit(|worker| worker.spec.shards.retain(|spec| spec.id != shard))
        .await;
    let (counted, later) = (runner.clone(), bench.assign(&card(), 9, 10, |_| {}).await);
    runner.let_go(3);
    assert_eq!(bench.total(adopter).await, (Cursor(4), 1, 1));
    bench
        .wait_for("the next runs", || counted.started().last() == Some(&(9, 1)))
        .await;
    runner.let_go(9);
    bench.sealed(later).await;
    assert_eq!(runner.started().len(), 5, "nothing was started twice");
    assert!(runner.killed().is_empty());
}

#[tokio::test]
async fn the_operators_seal_is_respected_and_leftovers_die() {
    let mut bench = Bench::new().await;
    let runner = Scripted::new(2, |_| Act::Hang);
    bench.start(runner.clone()).await;
    let shard = bench.assign(&card(), 0, 9, |_| {}).await;
    bench.wait_for("two hang", || runner.started().len() == 2).await;
    bench.edit(|worker| worker.spec.shards[0].seal = true).await;
    let next = bench.assign(&card(), 0, 1, |_| {}).await;
    bench
        .edit(|worker| worker.spec.shards.retain(|spec| spec.id != shard))
        .await;
    bench
        .wait_for("the leftovers are killed", || {
            let mut killed = runner.killed();
            killed.sort_unstable();
            killed == [0, 1]
        })
        .await;
    bench
        .wait_for("it is started for the other", || runner.started().len() == 3)
        .await;
    runner.let_go(0);
    assert_eq!(bench.total(next).await, (Cursor(1), 1, 1));
    assert!(entry(&bench.worker().await, shard).is_none());
}

#[tokio::test]
async fn suspects_are_committed_one_by_one() {
    let mut bench = Bench::new().await;
    let runner = Scripted::new(4, |_| Act::Hang);
    bench.start(runner.clone()).await;
    let shard = bench.assign(&card(), 5, 8, |spec| spec.mode = Mode::Suspect).await;
    for partition in 5..8 {
        bench
            .wait_for("it runs", || runner.started().last() == Some(&(partition, 1)))
            .await;
        let cursor = entry(&bench.worker().await, shard).map_or(5, |entry| entry.cursor.0);
        assert_eq!(cursor, partition, "committed before the next starts");
        runner.let_go(partition);
    }
    assert_eq!(bench.total(shard).await, (Cursor(8), 3, 3));
}

#[tokio::test]
async fn a_stopped_worker_commits_what_it_has_and_gives_the_rest_back() {
    let mut bench = Bench::new().await;
    let runner = Scripted::new(2, |attempt| {
        if attempt.partition < 5 {
            Act::Give("1".into())
        } else {
            Act::Hang
        }
    });
    bench.start(runner.clone()).await;
    let first = bench.assign(&card(), 0, 9, |_| {}).await;
    let second = bench.assign(&card(), 9, 20, |_| {}).await;
    bench.wait_for("it hangs", || runner.started().len() == 7).await;
    assert_eq!(bench.stop().await, Exit::Cancelled);
    assert_eq!(bench.total(first).await, (Cursor(5), 5, 5));
    assert_eq!(bench.total(second).await, (Cursor(9), 0, 0));
    assert_eq!(runner.killed().len(), 2);
}

#[tokio::test]
async fn a_new_start_seals_what_the_old_one_left_and_the_old_one_ends() {
    let mut bench = Bench::new().await;
    let runner = Scripted::new(1, |_| Act::Hang);
    bench.start(runner.clone()).await;
    let shard = bench.assign(&card(), 0, 9, |spec| spec.mode = Mode::Suspect).await;
    runner.let_go(0);
    bench.wait_for("the first runs", || !runner.started().is_empty()).await;
    runner.let_go(0);
    bench
        .until("the first is committed", |worker| {
            entry(worker, shard).filter(|entry| entry.cursor.0 == 1).cloned()
        })
        .await;
    bench.crash().await;
    bench.start(numbers()).await;
    let entry = bench.sealed(shard).await;
    assert_eq!(entry.cursor, Cursor(1));
    assert_ne!(Some(entry.start_id), bench.worker().await.status.unwrap().start_id);

    let mut other = Bench::new().await;
    other.start(numbers()).await;
    other
        .edit(|worker| worker.metadata.labels = Some([("a".into(), "b".into())].into()))
        .await;
    let mut worker = other.worker().await;
    worker.status.as_mut().unwrap().start_id = Some("another".into());
    other
        .workers
        .replace_status("w", &kube::api::PostParams::default(), &worker)
        .await
        .unwrap();
    assert_eq!(other.ended().await, Exit::Replaced);
}

#[tokio::test]
async fn a_worker_ends_with_its_object_or_when_it_is_drained() {
    let mut bench = Bench::new().await;
    bench.start(numbers()).await;
    bench
        .workers
        .delete("w", &kube::api::DeleteParams::default())
        .await
        .unwrap();
    assert_eq!(bench.ended().await, Exit::Gone);

    let mut bench = Bench::new().await;
    bench.start(numbers()).await;
    bench.edit(|worker| worker.spec.drain = true).await;
    assert_eq!(bench.ended().await, Exit::Drained);
}
