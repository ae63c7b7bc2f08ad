//! Partitions that fail, wait, are poison, or give what cannot be counted.

use braid_crds::{
    Cursor,
    worker::{Card, History},
};
use braid_worker::runner::Failure;

use crate::{
    bench::{Bench, card},
    script::{Act, Scripted},
};

fn retrying(attempts: i32, backoff: u64) -> Card {
    Card {
        attempts,
        backoff_initial_millis: backoff,
        backoff_max_millis: backoff,
        ..card()
    }
}

#[tokio::test]
async fn a_rule_ends_the_step_with_the_partition_that_it_names_and_spares_others_their_attempts() {
    let mut bench = Bench::new().await;
    let runner = Scripted::new(1, |attempt| match attempt.partition {
        1 => Act::Fail(Failure::Exit(65)),
        3 => Act::Fail(Failure::Exit(66)),
        _ => Act::Give("1".into()),
    });
    bench.start(runner.clone()).await;
    let rules = serde_json::json!([
        {"exitCodes": [65], "action": "FailPartition"},
        {"exitCodes": [66], "action": "FailStep"},
    ]);
    let ruled = Card {
        rules: serde_json::from_value(rules).unwrap(),
        ..retrying(3, 2)
    };
    let shard = bench.assign(&ruled, 0, 9, |_| {}).await;
    let entry = bench.sealed(shard).await;
    assert_eq!(
        ("1,3", Cursor(4), 0),
        (entry.failed.to_string().as_str(), entry.cursor, entry.retried)
    );
    let fatal = entry.fatal.unwrap();
    assert_eq!("FailStep", fatal.reason);
    assert!(
        fatal.message.contains("partition 3") && fatal.message.contains("Exit66"),
        "{}",
        fatal.message
    );
}

#[tokio::test]
async fn a_short_wait_is_waited_here_and_the_last_failure_counts() {
    let mut bench = Bench::new().await;
    let runner = Scripted::new(4, |attempt| match (attempt.partition, attempt.attempt) {
        (1, 1 | 2) | (2, _) => Act::Fail(Failure::Exit(65)),
        _ => Act::Give("1".into()),
    });
    bench.start(runner.clone()).await;
    let shard = bench.assign(&retrying(3, 2), 0, 4, |_| {}).await;
    assert_eq!(bench.total(shard).await, (Cursor(4), 3, 3));
    let entry = bench.sealed(shard).await;
    assert_eq!(entry.failed.to_string(), "2");
    assert_eq!(entry.retried, 4);
    let cause = &entry.failures[0];
    assert_eq!(
        (&*cause.reason, cause.count, cause.sample, cause.attempts),
        ("Exit65", 1, 2, 3)
    );
    assert_eq!(cause.message, "its last words");
}

#[tokio::test]
async fn a_long_wait_is_deferred_with_what_is_known() {
    let mut bench = Bench::new().await;
    let runner = Scripted::new(4, |attempt| {
        if attempt.partition == 1 {
            Act::Fail(Failure::Signal(11))
        } else {
            Act::Give("1".into())
        }
    });
    bench.start(runner.clone()).await;
    let card = retrying(3, 60_000);
    let shard = bench.assign(&card, 0, 3, |_| {}).await;
    let entry = bench.sealed(shard).await;
    assert_eq!((entry.cursor, entry.deferred.len()), (Cursor(3), 1));
    let deferred = &entry.deferred[0];
    assert_eq!(
        (deferred.partition, deferred.attempts, &*deferred.reason),
        (1, 1, "Signal11")
    );
    assert!(deferred.not_before > jiff::Timestamp::now().as_millisecond());
    // Handed out again for its last attempt.
    let shard = bench
        .assign(&card, 1, 2, |spec| {
            spec.history = Some(History { attempts: 2, deaths: 0 });
        })
        .await;
    let entry = bench.sealed(shard).await;
    assert_eq!((entry.failed.to_string(), entry.retried), ("1".to_owned(), 2));
    assert_eq!(runner.started().last(), Some(&(1, 3)));
}

#[tokio::test]
async fn results_that_are_none_fail_their_partition_only() {
    let mut bench = Bench::new().await;
    let runner = Scripted::new(4, |attempt| {
        Act::Give(if attempt.partition == 1 {
            "{\"n\": \"x\"}".into()
        } else {
            "{\"n\": 2}".into()
        })
    });
    bench.start(runner.clone()).await;
    let shard = bench.assign(&retrying(5, 1), 0, 3, |_| {}).await;
    assert_eq!(bench.total(shard).await, (Cursor(3), 4, 2));
    let entry = bench.sealed(shard).await;
    assert_eq!(
        (entry.failed.to_string(), &*entry.failures[0].reason),
        ("1".to_owned(), "BadResult")
    );
    assert_eq!(runner.started().len(), 3, "not tried again");
}

#[tokio::test]
async fn a_partition_that_kills_its_shim_three_times_alone_is_set_aside() {
    one_partition_kills(None, 3).await;
}

#[tokio::test]
async fn a_partition_kills_as_many_shims_as_its_step_allows() {
    one_partition_kills(Some(1), 1).await;
    one_partition_kills(Some(4), 4).await;
}

async fn one_partition_kills(worker_deaths: Option<i32>, expected: usize) {
    let mut bench = Bench::new().await;
    let runner = Scripted::new(2, |attempt| {
        if attempt.partition == 1 {
            Act::Hang
        } else {
            Act::Give("1".into())
        }
    });
    bench.start(runner.clone()).await;
    let card = Card {
        worker_deaths,
        ..card()
    };
    let shard = bench.assign(&card, 0, 4, |spec| spec.history = None).await;
    for deaths in 1..=expected {
        let hung = runner.clone();
        bench
            .wait_for("it runs again", || {
                hung.started().iter().filter(|(partition, _)| *partition == 1).count() == deaths
            })
            .await;
        // Its neighbours end first, so that it is alone.
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        runner.kill_shim();
    }
    assert_eq!(bench.total(shard).await, (Cursor(4), 3, 3));
    let entry = bench.sealed(shard).await;
    assert_eq!(
        (entry.failed.to_string(), &*entry.failures[0].reason),
        ("1".to_owned(), "WorkerDied")
    );
    assert_eq!(entry.retried, 0, "a death is no attempt");
}

#[tokio::test]
async fn those_that_die_together_are_run_again_alone() {
    let mut bench = Bench::new().await;
    let runner = Scripted::new(3, |_| Act::Hang);
    bench.start(runner.clone()).await;
    let shard = bench.assign(&card(), 0, 3, |_| {}).await;
    bench.wait_for("three run", || runner.started().len() == 3).await;
    runner.kill_shim();
    for partition in 0..3 {
        bench
            .wait_for("one runs alone", || {
                runner.started().len() == 4 + usize::try_from(partition).unwrap()
            })
            .await;
        assert_eq!(runner.started().last(), Some(&(partition, 1)));
        runner.let_go(partition);
    }
    assert_eq!(bench.total(shard).await, (Cursor(3), 3, 3));
}

#[tokio::test]
async fn a_result_that_no_commit_holds_stops_the_step() {
    let mut bench = Bench::new().await;
    let keys: Vec<String> = (0..3_000).map(|key| format!("\"key-number-{key}\":1")).collect();
    let huge = format!("{{{}}}", keys.join(","));
    let runner = Scripted::new(1, move |attempt| {
        Act::Give(if attempt.partition == 2 {
            huge.clone()
        } else {
            "{\"a\":1}".into()
        })
    });
    bench.start(runner).await;
    let mut keyed = card();
    keyed.results[0].keyed = true;
    keyed.results[0].max_keys = 50_000;
    let shard = bench.assign(&keyed, 0, 4, |_| {}).await;
    let fatal = bench.sealed(shard).await.fatal.expect("a reason to stop");
    assert_eq!(fatal.reason, "ResultTooLarge");
    assert!(fatal.message.contains("partition 2"), "{}", fatal.message);
}

#[tokio::test]
async fn commits_that_are_full_are_sealed_and_everything_is_counted() {
    let mut bench = Bench::new().await;
    // Each partition brings 400 keys of its own: a few fill a commit.
    let runner = Scripted::new(4, |attempt| {
        let keys: Vec<String> = (0..400)
            .map(|key| format!("\"key-{}-{key:06}\":1", attempt.partition))
            .collect();
        Act::Give(format!("{{{}}}", keys.join(",")))
    });
    bench.start(runner).await;
    let mut keyed = card();
    keyed.results[0].keyed = true;
    keyed.results[0].max_keys = 50_000;
    let (mut next, mut last) = (0, None);
    while next < 20 {
        let shard = bench.assign(&keyed, next, 20, |spec| spec.adopts = last).await;
        let entry = bench.sealed(shard).await;
        assert!(entry.cursor.0 > next && entry.fatal.is_none(), "{entry:?}");
        assert!(entry.cursor.0 < next + 10, "a commit has a cap");
        if let Some(left) = last {
            bench
                .edit(|worker| worker.spec.shards.retain(|spec| spec.id != left))
                .await;
        }
        (next, last) = (entry.cursor.0, Some(shard));
    }
}
