//! Files that were counted leave the status when they are published, and a step ends only then.

use braid_crds::{status::Sweep, worker::Mode};

use super::*;

/// A step over so many numbers that write, and one that reads what they wrote.
fn writing(partitions: u64, workers: usize) -> World {
    let mut make = range("make", partitions);
    make["writes"] = json!([{"data": "made"}]);
    let read = json!({"name": "read", "reads": [{"data": "made"}], "run": {"command": ["true"]}});
    World::new(
        &json!({"data": [{"name": "made", "files": {"url": "out"}}], "steps": [read, make]}),
        workers,
    )
}

/// Workers settle so much of what is theirs; every partition but each fifth writes. Orders to publish wait.
fn run(world: &mut World, most: u64) {
    for worker in 0..world.workers.len() {
        let done = world.workers[worker].0.status.clone().unwrap().shards;
        for shard in world.shards(worker).to_vec() {
            let new = done.iter().all(|commit| commit.id != shard.id);
            if new && shard.mode == Mode::Normal && shard.run.step == "make" {
                let cursor = shard.end.min(shard.start.saturating_add(most));
                world.seal(worker, &shard, cursor, |partition, content| {
                    if !partition.is_multiple_of(5) {
                        content.wrote(shard.id, partition);
                    }
                });
            }
        }
    }
}

/// The orders to publish that are on desks and not answered.
fn orders(world: &World) -> Vec<(usize, ShardSpec)> {
    let on = |worker: usize| {
        let done = world.workers[worker].0.status.clone().unwrap().shards;
        let open = move |shard: &&ShardSpec| {
            shard.mode == Mode::Publish && !shard.seal && done.iter().all(|commit| commit.id != shard.id)
        };
        let shards: Vec<_> = world.shards(worker).iter().filter(open).cloned().collect();
        shards.into_iter().map(move |shard| (worker, shard))
    };
    (0..world.workers.len()).flat_map(on).collect()
}

/// All partitions that orders name, with the shards that they lie under.
fn named(orders: &[(usize, ShardSpec)]) -> Vec<u64> {
    let entries = orders
        .iter()
        .flat_map(|(_, shard)| &shard.publish.as_ref().unwrap().entries);
    let mut named: Vec<u64> = entries
        .flat_map(|entry| &entry.outputs)
        .flat_map(|outputs| {
            outputs
                .partitions
                .ranges()
                .flat_map(|range| range.start()..range.end())
                .collect::<Vec<_>>()
        })
        .collect();
    named.sort_unstable();
    named
}

#[test]
fn a_step_ends_when_its_files_are_published_and_the_next_begins_then() {
    for crash in [
        Crash::Nowhere,
        Crash::BeforeStatus,
        Crash::BeforeDesks,
        Crash::AfterADesk,
    ] {
        let mut world = writing(50, 2);
        let mut published = Vec::new();
        for _ in 0..60 {
            world.pass_until(crash);
            world.pass();
            run(&mut world, u64::MAX);
            assert_eq!(Phase::Pending, world.step("read").phase, "{crash:?}");
            let open = orders(&world);
            assert!(open.len() <= 1, "{open:?}");
            published.extend(named(&open));
            let swept = open.iter().any(|(_, shard)| shard.publish.as_ref().unwrap().sweep);
            for (worker, shard) in open {
                world.seal(worker, &shard, shard.end, nothing);
            }
            if swept {
                break;
            }
            assert_ne!(Phase::Succeeded, world.step("make").phase);
        }
        world.pass();
        let expected: Vec<u64> = (0..50).filter(|partition| partition % 5 != 0).collect();
        published.sort_unstable();
        published.dedup();
        assert_eq!(expected, published, "{crash:?}");
        let step = world.step("make");
        assert_eq!(
            (Phase::Succeeded, Some(Sweep::Done)),
            (step.phase, step.sweep),
            "{crash:?}"
        );
        assert!(step.unpublished.is_empty());
        assert_ne!(Phase::Pending, world.step("read").phase);
    }
}

#[test]
fn an_order_of_a_lost_worker_is_given_to_another() {
    let mut world = writing(10, 2);
    for _ in 0..10 {
        world.pass();
        run(&mut world, u64::MAX);
    }
    let first = orders(&world);
    let (lost, shard) = first[0].clone();
    assert!(shard.publish.unwrap().sweep, "all is counted: what is left may go");
    world.workers[lost].1 = Liveness::Died(crate::pods::Death::Unknown);
    world.pass();
    world.pass();
    let second = orders(&world);
    assert_eq!((1, 1 - lost), (second.len(), second[0].0));
    assert_eq!(named(&first), named(&second));
    assert!(world.step("make").suspects.is_empty(), "publishing is nobody's fault");
}

#[test]
fn an_order_that_a_worker_forgot_is_given_anew() {
    let mut world = writing(10, 1);
    for _ in 0..10 {
        world.pass();
        run(&mut world, u64::MAX);
    }
    let first = orders(&world);
    // It begins again in the same pod.
    world.workers[0].0.status.as_mut().unwrap().start_id = Some(StartId::from("again"));
    for _ in 0..3 {
        world.pass();
    }
    let second = orders(&world);
    assert_eq!((1, 1), (first.len(), second.len()));
    assert_eq!(StartId::from("again"), second[0].1.start_id);
    assert_eq!(named(&first), named(&second));
    assert_eq!(Some(Sweep::Due), world.step("make").sweep);
}

/// The worker of the only order finds that name taken, and the operator sees it.
fn is_taken(world: &mut World, name: &str) {
    let (worker, shard) = orders(world)[0].clone();
    let commit = ShardStatus {
        id: shard.id,
        start_id: shard.start_id.clone(),
        cursor: Cursor(0),
        sealed: true,
        fatal: Some(Fatal {
            reason: "OutputExists".into(),
            message: name.into(),
        }),
        ..ShardStatus::default()
    };
    world.workers[worker].0.status.as_mut().unwrap().shards.push(commit);
    world.pass();
    world.pass();
}

#[test]
fn what_cannot_be_published_fails_the_step_and_does_not_hold_it_up() {
    let mut world = writing(10, 1);
    for _ in 0..10 {
        world.pass();
        run(&mut world, u64::MAX);
    }
    is_taken(&mut world, "made/x");
    // What attempts left is removed all the same.
    let (worker, shard) = orders(&world)[0].clone();
    let order = shard.publish.clone().unwrap();
    assert!(order.sweep && order.entries.is_empty());
    world.seal(worker, &shard, shard.end, nothing);
    world.pass();
    assert_eq!(Phase::Failed, world.step("make").phase);
    assert_eq!("OutputExists", world.step("make").stopping.as_ref().unwrap().reason);
    assert_eq!(Phase::Skipped, world.step("read").phase);
}

#[test]
fn a_store_that_is_down_stops_the_hand_out() {
    let mut world = writing(1_000_000, 3);
    let mut most = 0;
    for _ in 0..300 {
        world.pass();
        run(&mut world, 2);
        most = most.max(world.step("make").unpublished.len());
    }
    let step = world.step("make");
    assert!(
        (limits::UNPUBLISHED..512).contains(&step.unpublished.len()),
        "{}",
        step.unpublished.len()
    );
    assert_eq!(most, step.unpublished.len());
    assert!(step.ledger.len() < 1_000_000);
}

/// Runs until nothing changes any more; every order to publish is carried out.
fn run_to_the_end(world: &mut World, settle: impl Fn(&ShardSpec, u64, &mut Settlement)) {
    for _ in 0..30 {
        world.pass();
        for worker in 0..world.workers.len() {
            let done = world.workers[worker].0.status.clone().unwrap().shards;
            for shard in world.shards(worker).to_vec() {
                if shard.mode == Mode::Normal && !shard.seal && done.iter().all(|commit| commit.id != shard.id) {
                    world.seal(worker, &shard, shard.end, |partition, content| {
                        settle(&shard, partition, content);
                    });
                }
            }
        }
        for (worker, shard) in orders(world) {
            world.seal(worker, &shard, shard.end, nothing);
        }
    }
}

#[test]
fn what_failed_adds_its_files_and_what_is_behind_it_does_not_write_twice() {
    let mut make = range("make", 10);
    make["writes"] = json!([{"data": "made"}]);
    make["maxFailedPartitions"] = json!(1);
    let copy = json!({
        "name": "copy", "after": ["make"], "over": {"range": {"end": 3}}, "writes": [{"data": "copied"}],
        "run": {"command": ["true"]},
    });
    let data = json!([{"name": "made", "files": {"url": "out"}}, {"name": "copied", "files": {"url": "copied"}}]);
    let mut world = World::new(&json!({"data": data, "steps": [make, copy]}), 1);
    run_to_the_end(&mut world, |shard, partition, content| {
        if shard.run.step == "make" && partition == 4 {
            content.fail(4, braid_engine::retry::Reason::Exit(1), 1, "no");
        } else {
            content.wrote(shard.id, partition);
        }
    });
    assert_eq!(Phase::Succeeded, world.step("copy").phase);
    world.workflow.spec.retry_failed = Some(1);
    let again = std::cell::RefCell::new(Vec::new());
    run_to_the_end(&mut world, |shard, partition, content| {
        again.borrow_mut().push((shard.run.step.clone(), partition));
        content.wrote(shard.id, partition);
    });
    assert_eq!([("make".to_owned(), 4)].as_slice(), again.into_inner());
    let step = world.step("make");
    assert_eq!(
        (Phase::Succeeded, Some(Sweep::Done), 1),
        (step.phase, step.sweep, step.round.0)
    );
    assert!(step.unpublished.is_empty() && step.failed.is_empty());
    let copy = world.step("copy");
    assert_eq!(
        (Phase::Failed, "OutputExists"),
        (copy.phase, copy.stopping.as_ref().unwrap().reason.as_str())
    );
}

/// A step whose results are written if they are as wanted, and one that reads them.
fn emitting(when: &str) -> World {
    let mut count = range("count", 10);
    count["results"] = json!([{"name": "n", "reduce": "Sum"}]);
    count["emit"] = json!({"to": "sums", "when": when});
    let read = json!({"name": "read", "reads": [{"data": "sums"}], "run": {"command": ["true"]}});
    World::new(
        &json!({"data": [{"name": "sums", "files": {"url": "out"}}], "steps": [read, count]}),
        1,
    )
}

/// Every partition of the step gives one; an order to publish waits.
fn count(world: &mut World) {
    let declared = braid_engine::reduce::Fold::new(&braid_engine::reduce::declared(
        &world
            .workflow
            .spec
            .steps
            .iter()
            .find(|step| step.name == "count")
            .unwrap()
            .results,
    ));
    for _ in 0..10 {
        world.pass();
        let done = world.workers[0].0.status.clone().unwrap().shards;
        for shard in world.shards(0).to_vec() {
            let new = done.iter().all(|commit| commit.id != shard.id);
            if new && shard.mode == Mode::Normal && shard.run.step == "count" {
                world.seal(0, &shard, shard.end, |partition, content| {
                    let raw = braid_engine::reduce::RawResults(br#"{"n": 1}"#);
                    content.succeed(&declared, partition, &raw).unwrap();
                });
            }
        }
    }
}

#[test]
fn a_step_that_emits_ends_when_its_results_are_written() {
    let mut world = emitting("results.n > 9");
    count(&mut world);
    assert_eq!(Some(Sweep::Emit), world.step("count").sweep);
    assert_eq!(Phase::Pending, world.step("read").phase);
    let open = orders(&world);
    let (worker, shard) = open[0].clone();
    let order = shard.publish.clone().unwrap();
    assert_eq!((1, true), (open.len(), order.sweep));
    assert_eq!(Some(&json!(10)), order.emit.unwrap().results.get("n"));
    // Its worker dies: another is told the same.
    world.workers[worker].1 = Liveness::Died(crate::pods::Death::Unknown);
    world.workers.push((super::worker(1), Liveness::Alive));
    world.pass();
    world.pass();
    let again = orders(&world);
    let (worker, shard) = again.iter().find(|(worker, _)| *worker == 1).cloned().unwrap();
    assert_eq!(
        Some(&json!(10)),
        shard.publish.clone().unwrap().emit.unwrap().results.get("n")
    );
    world.seal(worker, &shard, shard.end, nothing);
    world.pass();
    let step = world.step("count");
    assert_eq!((Phase::Succeeded, Some(Sweep::Done)), (step.phase, step.sweep));
    assert_ne!(Phase::Pending, world.step("read").phase);
}

#[test]
fn a_step_whose_condition_is_false_writes_nothing_and_one_without_a_value_fails() {
    let mut world = emitting("results.n > 10");
    count(&mut world);
    assert_eq!(
        (Phase::Succeeded, None),
        (world.step("count").phase, world.step("count").sweep)
    );
    assert!(orders(&world).is_empty());
    let mut world = emitting("10 / (results.n - 10) > 0");
    count(&mut world);
    let step = world.step("count");
    assert_eq!(Phase::Failed, step.phase);
    let stopping = step.stopping.as_ref().unwrap();
    assert!(
        stopping.reason == "BadCondition" && stopping.message.contains("emit.when"),
        "{stopping:?}"
    );
    assert!(orders(&world).is_empty());
}

#[test]
fn results_that_cannot_be_written_fail_the_step_once() {
    let mut world = emitting("true");
    count(&mut world);
    is_taken(&mut world, "sums/count.jsonl");
    // What attempts left is removed all the same, and nothing is written.
    let (worker, shard) = orders(&world)[0].clone();
    let order = shard.publish.clone().unwrap();
    assert!(order.sweep && order.emit.is_none());
    world.seal(worker, &shard, shard.end, nothing);
    world.pass();
    assert_eq!(Phase::Failed, world.step("count").phase);
    assert_eq!(Phase::Skipped, world.step("read").phase);
}

#[test]
fn a_step_that_failed_emits_nothing() {
    let mut world = emitting("true");
    for _ in 0..5 {
        world.pass();
        world.work(0, |partition, content| {
            content.fail(partition, braid_engine::retry::Reason::Exit(1), 1, "no");
        });
    }
    world.pass();
    assert_eq!(
        (Phase::Failed, None),
        (world.step("count").phase, world.step("count").sweep)
    );
    assert!(orders(&world).is_empty());
}
