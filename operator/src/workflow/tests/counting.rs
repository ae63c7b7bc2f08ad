//! Partitions are settled once, and what follows starts.

use super::*;

#[test]
fn a_chain_runs_to_its_end_and_every_partition_is_settled_once() {
    let mut world = World::new(
        &over(&json!([
            range("a", 100),
            after(range("b", 7), &["a"]),
            range("none", 0)
        ])),
        3,
    );
    world.work_all(nothing);
    let status = world.workflow.status.as_ref().unwrap();
    assert_eq!(Phase::Succeeded, status.phase, "{status:#?}");
    assert_eq!("0-99", world.step("a").ledger.to_string());
    assert_eq!("0-6", world.step("b").ledger.to_string());
    assert!(status.steps.iter().all(|step| step.closed));
    assert!(
        (0..3).all(|worker| world.shards(worker).is_empty()),
        "nothing stays on a desk"
    );
    assert!((0..3).all(|worker| world.workers[worker].0.spec.cards.is_empty()));
}

#[test]
fn what_follows_starts_in_the_status_that_ends_what_was_before() {
    let mut world = World::new(&over(&json!([range("a", 1), after(range("b", 1), &["a"])])), 1);
    world.pass();
    world.pass();
    world.work(0, nothing);
    let advance = world.pass();
    assert!(advance.urgent);
    assert_eq!(
        (Phase::Succeeded, Phase::Running),
        (world.step("a").phase, world.step("b").phase)
    );
    assert!(
        world.shards(0).iter().any(|shard| shard.run.step == "b"),
        "and is handed out in the same pass"
    );
}

#[test]
fn a_shard_leaves_its_desk_only_in_a_pass_that_finds_it_counted() {
    let mut world = World::new(&over(&json!([range("a", 4)])), 1);
    world.pass();
    world.pass();
    let ids: Vec<ShardId> = world.shards(0).iter().map(|shard| shard.id).collect();
    world.pass();
    assert!(
        ids.iter().all(|id| world.shards(0).iter().any(|shard| shard.id == *id)),
        "open shards stay"
    );
    world.work(0, nothing);
    world.pass();
    let settled: &[Settled] = &world.workers[0].0.spec.settled;
    assert!(ids.iter().all(|id| {
        settled
            .iter()
            .any(|gone| gone.id == *id && gone.outcome == braid_crds::worker::Outcome::Folded)
    }));
}

#[test]
fn what_was_counted_leaves_its_desk_with_the_next_write_that_says_more() {
    let mut world = World::new(&over(&json!([range("a", 1_000)])), 1);
    world.pass();
    world.pass();
    let [first, second] = [world.shards(0)[0].clone(), world.shards(0)[1].clone()];
    // The first one's end, with the desk full and no news but that it counts.
    world.seal(0, &first, first.end, nothing);
    world.pass();
    let refilled = world.shards(0).to_vec();
    assert!(
        refilled.iter().all(|shard| shard.id != first.id),
        "it went with the next assignment"
    );
    world.seal(0, &second, second.start + 1, nothing);
    world.pass();
    assert!(world.shards(0).iter().all(|shard| shard.id != second.id));

    // Nothing is free: there is nothing more to say.
    let mut world = World::new(&over(&json!([range("a", 2)])), 1);
    world.pass();
    world.pass();
    let first = world.shards(0)[0].clone();
    world.seal(0, &first, first.end, nothing);
    world.pass();
    assert!(world.step("a").ledger.contains(first.start), "it is counted");
    assert!(world.shards(0).iter().any(|shard| shard.id == first.id), "and stays");
    world.work(0, nothing);
    world.pass();
    assert_eq!(0, world.shards(0).len(), "until the step is over");
}

#[test]
fn a_status_that_would_be_too_large_keeps_its_record() {
    let mut world = World::new(&over(&json!([range("a", 40)])), 1);
    world.pass();
    let before = world.workflow.status.clone().unwrap();
    let mut next = before.clone();
    next.steps[0].ledger.insert(PartitionRange::new(0, 10));
    let kept = too_large(&before, &next, 300_000);
    assert!(kept.steps[0].ledger.is_empty());
    let stopping = kept.steps[0].stopping.as_ref().unwrap();
    assert_eq!("ResultTooLarge", stopping.reason);
    assert!(stopping.message.contains("300000 bytes"));
}

#[test]
fn a_commit_that_cannot_be_read_is_refused_and_not_believed() {
    let mut broken = worker(0);
    broken.spec.shards = vec![ShardSpec {
        id: ShardId(0),
        start: 0,
        end: 4,
        ..ShardSpec::default()
    }];
    broken.spec.next_shard_id = ShardId(1);
    let commit = ShardStatus {
        id: ShardId(0),
        cursor: Cursor(9),
        partials: vec![Partial {
            name: "n".into(),
            state: "!".into(),
        }],
        ..ShardStatus::default()
    };
    broken.status.as_mut().unwrap().shards.push(commit);
    assert!(wire::desk(&broken).is_err());
}

#[test]
fn a_worker_of_another_version_finishes_what_it_has_and_gets_no_more() {
    let mut world = World::new(&over(&json!([range("one", 40)])), 2);
    world.pass();
    world.pass();
    let old = &mut world.workers[0].0;
    assert!(!old.spec.shards.is_empty());
    old.status.as_mut().unwrap().protocol = ProtocolRange { min: 1, max: 1 };
    let newest = old.spec.next_shard_id;
    world.work_all(nothing);
    assert_eq!(world.workers[0].0.spec.next_shard_id, newest);
    assert_eq!(world.step("one").ledger.to_string(), "0-39");
}
