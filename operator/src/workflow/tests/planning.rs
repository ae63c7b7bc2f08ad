//! Who makes plans.

use braid_crds::worker::Mode;

use super::*;

/// A run with a step over files, which a worker has to list.
fn over_files(workers: usize) -> World {
    World::new(
        &json!({
            "data": [{"name": "d", "files": {"url": "*.txt"}}],
            "steps": [{"name": "a", "over": {"data": "d", "split": {"files": 1}}, "run": {"command": ["true"]}}],
        }),
        workers,
    )
}

/// The end of the only planning shard: sealed, with this.
pub(super) fn planned(shard: &ShardSpec, plan: Option<PlanRef>, fatal: Option<Fatal>) -> ShardStatus {
    ShardStatus {
        id: shard.id,
        start_id: shard.start_id.clone(),
        cursor: Cursor(1),
        sealed: true,
        plan,
        fatal,
        ..ShardStatus::default()
    }
}

#[test]
fn items_are_planned_by_nobody_but_the_operator() {
    let mut world = World::new(
        &over(&json!([{"name": "a", "over": {"items": ["x", "y"]}, "run": {"command": ["true"]}}])),
        2,
    );
    for _ in 0..3 {
        // The operator has not written the plan yet: meanwhile there is nothing for a worker to list.
        world.pass();
        assert_eq!(Phase::Planning, world.step("a").phase);
        assert!((0..2).all(|worker| world.shards(worker).is_empty()));
    }
}

#[test]
fn one_worker_makes_the_plan_and_the_first_that_is_seen_counts() {
    let mut world = over_files(2);
    world.pass();
    world.pass();
    let planning: Vec<&ShardSpec> = (0..2).flat_map(|worker| world.shards(worker)).collect();
    assert_eq!(1, planning.len());
    assert_eq!(Mode::Plan, planning[0].mode);
    let planning = planning[0].clone();
    let plan = PlanRef {
        partitions: 3,
        digest: "sha256:00".into(),
        chunks: 1,
        files: 3,
        bytes: 9,
    };
    let commit = planned(&planning, Some(plan.clone()), None);
    let index = usize::from(world.shards(0).is_empty());
    world.workers[index].0.status.as_mut().unwrap().shards.push(commit);
    world.pass();
    assert_eq!(
        (Phase::Running, Some(&plan)),
        (world.step("a").phase, world.step("a").plan.as_ref())
    );
    world.work_all(nothing);
    assert_eq!(Phase::Succeeded, world.step("a").phase);
    assert_eq!(
        Intervals::from_iter([PartitionRange::new(0, 3)]),
        world.step("a").ledger
    );
}

#[test]
fn a_plan_that_cannot_be_made_fails_the_step_with_its_reason() {
    let mut world = over_files(1);
    world.pass();
    world.pass();
    let fatal = Fatal {
        reason: "NoFiles".into(),
        message: "nothing matches *.txt".into(),
    };
    let commit = planned(&world.shards(0)[0], None, Some(fatal));
    world.workers[0].0.status.as_mut().unwrap().shards.push(commit);
    world.pass();
    world.pass();
    assert_eq!(Phase::Failed, world.step("a").phase);
    assert!(world.step("a").message.contains("nothing matches *.txt"));
    assert!(world.shards(0).is_empty());
}

/// A worker that dies while it lists data and begins again in the same pod has forgotten it: it is told again.
#[test]
fn what_a_worker_forgot_to_plan_is_planned_anew() {
    let mut world = over_files(1);
    world.pass();
    world.pass();
    let forgotten = world.shards(0)[0].clone();
    world.workers[0].0.status.as_mut().unwrap().start_id = Some(StartId::from("again"));
    for _ in 0..3 {
        world.pass();
    }
    let told = world.shards(0);
    assert_eq!(1, told.len(), "{told:#?}");
    assert_eq!(
        (Mode::Plan, StartId::from("again"), false),
        (told[0].mode, told[0].start_id.clone(), told[0].seal)
    );
    assert_ne!(forgotten.id, told[0].id);
}
