//! Parts of a shuffle are removed when nobody will read them again, and not before.

use braid_crds::{status::Sweep, worker::Mode};
use braid_engine::retry::Reason;

use super::*;

/// A run whose step is split by keys into four, planned.
fn shuffled(more: &Value) -> World {
    let mut step = json!({
        "name": "a", "over": {"data": "d", "split": {"keys": {"by": "k", "into": 4}}}, "run": {"command": ["true"]},
    });
    for (key, value) in more.as_object().unwrap() {
        step[key] = value.clone();
    }
    let data =
        json!([{"name": "d", "files": {"url": "*.csv", "format": "CSV"}}, {"name": "out", "files": {"url": "out"}}]);
    let mut world = World::new(&json!({"data": data, "steps": [step]}), 1);
    world.pass();
    world.pass();
    let planning = world.shards(0)[0].clone();
    assert_eq!(Mode::Plan, planning.mode);
    let plan = PlanRef {
        partitions: 4,
        digest: "sha256:00".into(),
        chunks: 1,
        files: 4,
        bytes: 9,
    };
    let commit = planning::planned(&planning, Some(plan), None);
    world.workers[0].0.status.as_mut().unwrap().shards.push(commit);
    world
}

/// Runs until nothing changes any more. Gives, of each order to sweep, its round and whether parts go.
fn run(world: &mut World, settle: impl Fn(u64, &mut Settlement)) -> Vec<(i32, bool)> {
    let mut swept = Vec::new();
    for _ in 0..30 {
        world.pass();
        let done = world.workers[0].0.status.clone().unwrap().shards;
        for shard in world.shards(0).to_vec() {
            if !shard.seal && done.iter().all(|commit| commit.id != shard.id) {
                match &shard.publish {
                    Some(order) if order.sweep => swept.push((shard.run.round.0, order.parts)),
                    _ => {}
                }
                let published = shard.mode == Mode::Publish;
                world.seal(0, &shard, shard.end, |partition, content| {
                    if !published {
                        settle(partition, content);
                    }
                });
            }
        }
    }
    swept
}

fn fails(partition: u64, content: &mut Settlement) {
    if partition == 2 {
        content.fail(2, Reason::Exit(1), 1, "no");
    }
}

#[test]
fn parts_are_swept_before_the_step_ends() {
    let mut world = shuffled(&json!({}));
    for _ in 0..3 {
        world.pass();
        world.work(0, nothing);
    }
    assert_eq!(
        (Phase::Running, Some(Sweep::Due)),
        (world.step("a").phase, world.step("a").sweep)
    );
    world.pass();
    world.work(0, nothing);
    world.pass();
    assert_eq!(
        (Phase::Succeeded, Some(Sweep::Done)),
        (world.step("a").phase, world.step("a").sweep)
    );
    assert_eq!(run(&mut shuffled(&json!({})), nothing), [(0, true)]);
}

/// What failed is tried again with the parts that there are: the ledger is of these, and the files may have changed.
#[test]
fn parts_stay_while_what_failed_can_be_tried_again() {
    for more in [
        json!({"maxFailedPartitions": 1}),
        json!({}),
        json!({"maxFailedPartitions": 1, "writes": [{"data": "out"}]}),
    ] {
        let mut world = shuffled(&more);
        let writes = more.get("writes").is_some();
        let swept = run(&mut world, fails);
        assert_eq!(swept, if writes { vec![(0, false)] } else { vec![] }, "{more}");
        assert!(world.step("a").phase.is_terminal());
        let plan = world.step("a").plan.clone();
        world.workflow.spec.retry_failed = Some(1);
        assert_eq!(run(&mut world, nothing), [(1, true)], "{more}");
        assert_eq!(
            (Phase::Succeeded, plan),
            (world.step("a").phase, world.step("a").plan.clone())
        );
    }
}

#[test]
fn parts_of_what_is_cancelled_are_swept() {
    let mut world = shuffled(&json!({"maxFailedPartitions": 1}));
    world.pass();
    world.workflow.spec.cancel = true;
    let swept = run(&mut world, fails);
    assert_eq!(swept, [(0, true)]);
    assert_eq!(Phase::Cancelled, world.step("a").phase);
}
