//! What can go wrong between a worker and its API server. Whatever it is, everything is counted once.

use std::time::Duration;

use braid_apiserver::{Fault, Target, Times, Verb};
use braid_crds::{Cursor, worker::Mode};

use crate::{
    bench::{Bench, card},
    script::{Act, Scripted},
};

fn numbers() -> Scripted {
    Scripted::new(4, |attempt| Act::Give(attempt.partition.to_string()))
}

fn commits() -> Target {
    Target::any().verb(Verb::Update).plural("workers").status()
}

async fn counts_once_in_spite_of(fault: Fault, target: Target, times: Times) {
    let mut bench = Bench::new().await;
    bench.start(numbers()).await;
    let rule = bench.faults().inject(target, fault, times);
    // Suspects commit after each partition: many commits in little time.
    let suspects = bench.assign(&card(), 0, 8, |spec| spec.mode = Mode::Suspect).await;
    let normal = bench.assign(&card(), 8, 100, |_| {}).await;
    let (first, second) = (bench.total(suspects).await, bench.total(normal).await);
    assert_eq!(first, (Cursor(8), 28, 8), "{fault:?}");
    assert_eq!(second, (Cursor(100), 4_922, 92), "{fault:?}");
    assert!(bench.faults().struck(rule) > 0, "{fault:?} never struck");
}

#[tokio::test]
async fn conflicts() {
    counts_once_in_spite_of(Fault::Conflict, commits(), Times::Count(5)).await;
}

#[tokio::test]
async fn lost_answers() {
    counts_once_in_spite_of(Fault::LostAnswer, commits(), Times::Probability(0.6)).await;
}

#[tokio::test]
async fn answers_that_say_the_opposite() {
    counts_once_in_spite_of(Fault::LateTimeout, commits(), Times::Probability(0.6)).await;
}

#[tokio::test]
async fn errors_and_overload() {
    counts_once_in_spite_of(Fault::InternalError, commits(), Times::Count(4)).await;
    counts_once_in_spite_of(Fault::TooManyRequests { retry_after: 1 }, commits(), Times::Count(3)).await;
}

#[tokio::test]
async fn writes_that_are_carried_out_after_their_time_out() {
    counts_once_in_spite_of(Fault::Slow(Duration::from_millis(450)), commits(), Times::Count(4)).await;
}

#[tokio::test]
async fn requests_without_an_answer() {
    counts_once_in_spite_of(Fault::Hang, commits(), Times::Count(2)).await;
}

#[tokio::test]
async fn broken_and_expired_watches() {
    let watches = Target::any().verb(Verb::Watch).plural("workers");
    counts_once_in_spite_of(Fault::DroppedWatch, watches.clone(), Times::Count(3)).await;
}

#[tokio::test]
async fn an_outage_delays_commits_and_nothing_else() {
    let mut bench = Bench::new().await;
    let runner = numbers();
    bench.start(runner.clone()).await;
    let shard = bench.assign(&card(), 0, 5_000, |_| {}).await;
    bench.faults().set_outage(true);
    bench.wait_for("it went on", || runner.started().len() == 5_000).await;
    bench.faults().set_outage(false);
    assert_eq!(bench.total(shard).await, (Cursor(5_000), 12_497_500, 5_000));
}
