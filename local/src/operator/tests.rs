#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use braid_operator::OperatorError;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::{Operator, OperatorEnd};

fn start(running: impl Future<Output = Result<(), OperatorError>> + Send + 'static) -> (Operator, TaskTracker) {
    let tasks = TaskTracker::new();
    (Operator::start(running, CancellationToken::new(), &tasks), tasks)
}

#[tokio::test]
async fn every_end_is_told_and_all_tasks_are_over_then() {
    let table = [
        (start(async { Ok(()) }), "the operator was stopped"),
        (
            start(async { Err(OperatorError::WatchEnded("runs")) }),
            "the operator ended: the watch of runs ended",
        ),
        (start(async { panic!("no such luck") }), "no such luck"),
    ];
    for ((operator, tasks), wanted) in table {
        let told = operator.ended().await;
        assert!(told.to_string().contains(wanted), "{told:?}");
        assert_eq!(operator.ended().await, told, "again, to whoever asks later");
        tasks.close();
        tasks.wait().await;
    }
}

#[tokio::test]
async fn an_operator_that_is_killed_is_told_from_one_that_broke() {
    let (operator, tasks) = start(std::future::pending());
    operator.kill();
    assert_eq!(operator.ended().await, OperatorEnd::Killed);
    tasks.close();
    tasks.wait().await;
}
