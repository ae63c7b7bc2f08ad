//! Cancel and suspend.

use super::*;

#[test]
fn cancel_seals_what_runs_counts_what_was_settled_and_starts_nothing() {
    let mut world = World::new(&over(&json!([range("a", 40), after(range("b", 1), &["a"])])), 1);
    world.pass();
    world.pass();
    world.workflow.spec.cancel = true;
    world.pass();
    assert!(
        world
            .shards(0)
            .iter()
            .all(|shard| shard.seal || shard.budget_millis == 0)
    );
    world.work(0, nothing);
    world.pass();
    world.pass();
    assert_eq!(
        (Phase::Cancelled, Phase::Cancelled),
        (world.step("a").phase, world.step("b").phase)
    );
    assert!(!world.step("a").ledger.is_empty());
    assert_eq!(Phase::Cancelled, world.workflow.status.as_ref().unwrap().phase);
}

#[test]
fn suspend_rests_and_goes_on() {
    let mut world = World::new(&over(&json!([range("a", 40)])), 1);
    world.pass();
    world.pass();
    world.workflow.spec.suspend = true;
    world.pass();
    world.work(0, nothing);
    world.pass();
    world.pass();
    assert_eq!(Phase::Suspended, world.workflow.status.as_ref().unwrap().phase);
    assert!(world.shards(0).is_empty());
    world.workflow.spec.suspend = false;
    world.work_all(nothing);
    assert_eq!(Phase::Succeeded, world.workflow.status.as_ref().unwrap().phase);
}

#[test]
fn suspend_does_not_rest_while_a_partition_of_an_ended_shard_runs_on() {
    let mut world = World::new(&over(&json!([range("a", 40)])), 1);
    world.pass();
    world.pass();
    world.workflow.spec.suspend = true;
    // Cut before the end: the partition at the cursor still runs, and its worker will go on with it.
    let first = world.shards(0)[0].clone();
    let mut commit = ShardStatus {
        id: first.id,
        start_id: first.start_id.clone(),
        cursor: Cursor(first.start + 1),
        sealed: true,
        begun: 1,
        ..ShardStatus::default()
    };
    Settlement::default().write_to_shard_status(&mut commit);
    world.workers[0].0.status.as_mut().unwrap().shards.push(commit);
    let phase = |world: &World| world.workflow.status.as_ref().unwrap().phase;
    world.pass();
    assert_eq!(Phase::Running, phase(&world));
    let adopter = world.shards(0).iter().find(|shard| shard.adopts == Some(first.id));
    assert_eq!(Some((1, 2)), adopter.map(|shard| (shard.start, shard.end)));
    world.pass();
    assert_eq!(Phase::Running, phase(&world));
    world.work(0, nothing);
    world.pass();
    world.pass();
    world.pass();
    assert_eq!(Phase::Suspended, phase(&world));
    // The one that was done, the one that ran on, and what had been ahead and was begun when that one's shard ended.
    let begun = 2 + (30 - 20);
    assert_eq!(begun, world.step("a").partitions.succeeded);
}
