//! What fails, and who dies.

use braid_crds::status::Deferred;

use super::*;
use crate::pods::Death;

#[test]
fn too_many_failures_stop_the_step_and_skip_what_follows() {
    let mut world = World::new(&over(&json!([range("a", 50), after(range("b", 1), &["a"])])), 2);
    world.work_all(|partition, content| {
        if partition == 3 {
            content.fail(partition, braid_engine::retry::Reason::Exit(7), 1, "boom");
        }
    });
    assert_eq!(
        (Phase::Failed, Phase::Skipped),
        (world.step("a").phase, world.step("b").phase)
    );
    let status = world.workflow.status.as_ref().unwrap();
    assert_eq!(Phase::Failed, status.phase);
    let failed = status
        .conditions
        .iter()
        .find(|condition| condition.type_ == "Failed")
        .unwrap();
    assert_eq!(
        ("True", "TooManyFailedPartitions"),
        (failed.status.as_str(), failed.reason.as_str())
    );
    assert!(
        failed.message.contains("Exit7") && failed.message.contains("boom"),
        "{}",
        failed.message
    );
}

#[test]
fn tolerated_failures_are_settled_and_named() {
    let mut spec = over(&json!([range("a", 50)]));
    spec["steps"][0]["maxFailedPartitions"] = json!("10%");
    let mut world = World::new(&spec, 2);
    world.work_all(|partition, content| {
        if partition % 10 == 0 {
            content.fail(partition, braid_engine::retry::Reason::Exit(1), 1, "no");
        }
    });
    let step = world.step("a");
    assert_eq!(
        (Phase::Succeeded, 5, 45),
        (step.phase, step.partitions.failed, step.partitions.succeeded)
    );
    assert_eq!("0,10,20,30,40", step.failed.to_string());
    assert_eq!(
        ("Exit1", 5, 0),
        (
            step.failures[0].reason.as_str(),
            step.failures[0].count,
            step.failures[0].sample
        )
    );
}

#[test]
fn a_lost_worker_is_sealed_its_commit_counts_and_the_rest_is_run_by_others() {
    let mut world = World::new(&over(&json!([range("a", 40)])), 2);
    world.pass();
    world.pass();
    let shard = world.shards(0)[0].clone();
    let half = shard.start + 2;
    let commit = ShardStatus {
        id: shard.id,
        start_id: shard.start_id,
        cursor: Cursor(half),
        ..ShardStatus::default()
    };
    world.workers[0].0.status.as_mut().unwrap().shards.push(commit);
    world.workers[0].1 = Liveness::Stopped;
    world.pass();
    assert!(world.shards(0).iter().all(|shard| shard.seal));
    for _ in 0..20 {
        world.pass();
        world.work(1, nothing);
    }
    world.pass();
    assert_eq!(Phase::Succeeded, world.step("a").phase);
    assert!(world.shards(0).is_empty());
    assert!(
        world.step("a").suspects.is_empty(),
        "nobody is blamed for a worker that was stopped"
    );
}

#[test]
fn a_partition_that_kills_its_worker_again_and_again_is_set_aside() {
    one_partition_kills(Death::Unknown, None, "WorkerDied", "its worker died 3 times");
}

#[test]
fn a_partition_kills_as_many_workers_as_its_step_allows() {
    one_partition_kills(Death::Unknown, Some(1), "WorkerDied", "its worker died once");
    one_partition_kills(Death::Unknown, Some(5), "WorkerDied", "its worker died 5 times");
}

#[test]
fn of_what_workers_die_is_told() {
    one_partition_kills(Death::OutOfMemory, None, "OutOfMemory", "for want of memory");
}

fn one_partition_kills(death: Death, allowed: Option<usize>, reason: &str, words: &str) {
    let mut spec = over(&json!([range("a", 10)]));
    spec["steps"][0]["maxFailedPartitions"] = json!(1);
    if let Some(allowed) = allowed {
        spec["steps"][0]["retry"] = json!({"workerDeaths": allowed});
    }
    let mut world = World::new(&spec, 2);
    // Partition 6 kills whoever runs it; all others succeed, one commit each where the shard is suspect.
    for round in 0..60 {
        world.pass();
        for index in 0..world.workers.len() {
            let Some(shard) = world.shards(index).iter().find(|shard| !shard.seal).cloned() else {
                continue;
            };
            let suspect = shard.mode == braid_crds::worker::Mode::Suspect;
            if (shard.start..shard.end).contains(&6) {
                let cursor = if suspect { 6 } else { shard.start };
                let commit = ShardStatus {
                    id: shard.id,
                    start_id: shard.start_id.clone(),
                    cursor: Cursor(cursor),
                    ..ShardStatus::default()
                };
                let status = world.workers[index].0.status.as_mut().unwrap();
                if cursor > shard.start {
                    status.shards.push(commit);
                }
                world.workers[index].1 = Liveness::Died(death);
                let mut next = worker(world.workers.len() + round);
                next.metadata.name = Some(format!("r{round}-{index}"));
                world.workers.push((next, Liveness::Alive));
            } else {
                world.work(index, nothing);
            }
        }
    }
    let step = world.step("a");
    assert_eq!(Phase::Succeeded, step.phase, "{step:#?}");
    assert_eq!(
        ("6", reason),
        (step.failed.to_string().as_str(), step.failures[0].reason.as_str())
    );
    assert!(step.failures[0].message.contains(words), "{:?}", step.failures);
    let dead = world
        .workers
        .iter()
        .filter(|(_, liveness)| matches!(liveness, Liveness::Died(_)))
        .count();
    // Until it is known by name, some die with others beside it.
    let least = allowed.unwrap_or(3);
    assert!((least..=least + 2).contains(&dead), "{dead} workers died");
}

#[test]
fn a_step_that_takes_too_long_fails() {
    let mut spec = over(&json!([range("a", 40)]));
    spec["steps"][0]["timeout"] = json!("10s");
    let mut world = World::new(&spec, 1);
    world.pass();
    world.now = world.now.checked_add(jiff::SignedDuration::from_secs(11)).unwrap();
    world.pass();
    assert_eq!("StepTimeout", world.step("a").stopping.as_ref().unwrap().reason);
    world.work(0, nothing);
    world.pass();
    world.pass();
    assert_eq!(Phase::Failed, world.step("a").phase);
}

#[test]
fn a_retry_that_is_due_wakes_nobody_again_and_again() {
    let now = Timestamp::from_millisecond(10_000).unwrap();
    let at = |not_before: &[i64]| {
        let deferred = not_before.iter().map(|not_before| Deferred {
            partition: 1,
            attempts: 1,
            deaths: 0,
            reason: "Exit7".into(),
            message: String::new(),
            not_before: *not_before,
        });
        let step = StepStatus {
            deferred: deferred.collect(),
            ..StepStatus::default()
        };
        let status = WorkflowStatus {
            steps: vec![step],
            ..WorkflowStatus::default()
        };
        until_due(&status, now)
    };
    assert_eq!(None, at(&[]));
    assert_eq!(None, at(&[9_000, 10_000]), "it is on a desk, or waits for room on one");
    assert_eq!(Some(Duration::from_millis(250)), at(&[9_000, 12_000, 10_250]));
}

#[test]
fn a_death_is_counted_once_though_its_desk_could_not_be_sealed_at_once() {
    let mut world = World::new(&over(&json!([range("a", 10)])), 2);
    world.pass();
    world.pass();
    world.workers[0].0.spec.shards[0].mode = braid_crds::worker::Mode::Suspect;
    world.workers[0].1 = Liveness::Died(Death::Unknown);
    let unsealed = world.workers[0].0.spec.clone();
    for _ in 0..3 {
        world.pass();
        assert!(world.shards(0).iter().all(|shard| shard.seal));
        let [suspect] = world.step("a").suspects.as_slice() else {
            panic!("{:#?}", world.step("a").suspects)
        };
        assert_eq!((1, 1), (suspect.deaths, suspect.witnesses.len()));
        // The write that sealed it is refused.
        world.workers[0].0.spec = unsealed.clone();
    }
}

/// What is told of a run that has failed: the first step that did with its commonest cause, and that others did, too.
#[test]
fn a_failed_run_tells_all_steps_that_failed() {
    let world = World::new(&over(&json!([range("a", 10), range("b", 10), range("c", 10)])), 1);
    let mut status = world.workflow.status.clone().unwrap();
    for (step, at) in status.steps.iter_mut().zip(0..) {
        step.phase = if at == 1 { Phase::Succeeded } else { Phase::Failed };
        step.stopping = Some(Fatal {
            reason: "TooManyFailedPartitions".into(),
            message: "1 partition failed, 0 may".into(),
        });
        step.failures = serde_json::from_value(json!([
            {"reason": "Exit1", "count": 3, "sample": 4, "attempts": 1, "message": "no such file"},
        ]))
        .unwrap();
    }
    conditions::describe(&world.workflow, &mut status, &Hands::default(), Timestamp::UNIX_EPOCH);
    assert_eq!(
        "a: 1 partition failed, 0 may (failed, too: c); in all 3 x Exit1 (first: partition 4) no such file",
        status.summary.unwrap().message
    );
}
