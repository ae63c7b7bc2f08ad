//! Ends that results decide, under operators that end at any write.

use braid_engine::reduce::{self, Fold, RawResults};

use super::*;

const CRASHES: [Crash; 3] = [Crash::BeforeStatus, Crash::BeforeDesks, Crash::AfterADesk];

/// A step over so many numbers, each of which gives `n`.
fn counting(name: &str, end: u64) -> Value {
    let mut step = range(name, end);
    step["results"] = json!([{"name": "n", "reduce": "Sum"}]);
    step
}

fn give<F: Fn(u64) -> u64>(world: &World, step: &str, n: F) -> impl Fn(u64, &mut Settlement) + use<F> {
    let steps = &world.workflow.spec.steps;
    let declared = steps.iter().find(|declared| declared.name == step).unwrap();
    let fold = Fold::new(&reduce::declared(&declared.results));
    move |partition, content| {
        let given = format!("{{\"n\": {}}}", n(partition));
        content
            .succeed(&fold, partition, &RawResults(given.as_bytes()))
            .unwrap();
    }
}

fn value(world: &World, step: &str) -> Value {
    world.step(step).results[0].value.clone().unwrap_or_default()
}

/// Passes until the run has ended. Operators end where `crash` says; the time goes on by a second a pass.
fn run(world: &mut World, step: &str, n: impl Fn(u32, u64) -> u64 + Copy, crash: impl Fn(usize) -> Crash) {
    for pass in 0..400 {
        world.pass_until(crash(pass));
        if world.workflow.status.as_ref().unwrap().phase.is_terminal() {
            return;
        }
        let round = world.step(step).round.0;
        let round = u32::try_from(round).unwrap();
        let settle = give(world, step, move |partition| n(round, partition));
        (0..world.workers.len()).for_each(|worker| world.work(worker, &settle));
        world.now += jiff::SignedDuration::from_secs(1);
    }
    panic!("it does not end: {:#?}", world.workflow.status);
}

#[test]
fn enough_is_enough_and_the_rest_is_left() {
    let mut spec = over(&json!([counting("a", 1_000), after(counting("b", 1), &["a"])]));
    spec["steps"][0]["stopWhen"] = json!("results.n >= params.wanted");
    spec["params"] = json!([{"name": "wanted", "type": "Integer", "value": 100}]);
    let mut world = World::new(&spec, 2);
    run(&mut world, "a", |_, _| 1, |_| Crash::Nowhere);
    let step = world.step("a");
    assert_eq!(
        (Phase::Succeeded, true, true),
        (step.phase, step.satisfied, step.closed)
    );
    let counts = &step.partitions;
    assert_eq!(
        json!(counts.succeeded),
        value(&world, "a"),
        "what is counted is what is folded"
    );
    assert!(counts.succeeded >= 100 && counts.stopped > 0, "{counts:?}");
    assert_eq!(1_000, counts.succeeded + counts.failed + counts.stopped);
    assert_eq!("stopped: results.n >= params.wanted", step.message);
    assert_eq!(Phase::Succeeded, world.step("b").phase);
    assert!((0..2).all(|worker| world.shards(worker).is_empty()));
}

#[test]
fn the_condition_is_asked_of_what_is_folded_and_nothing_is_handed_out_after_it_held() {
    let mut spec = over(&json!([counting("a", 1_000)]));
    spec["steps"][0]["stopWhen"] = json!("results.n >= 1");
    let mut world = World::new(&spec, 2);
    world.pass();
    world.pass();
    let given: Vec<ShardSpec> = (0..2).flat_map(|worker| world.shards(worker).to_vec()).collect();
    assert!(
        !world.step("a").satisfied,
        "nothing is folded yet, and an absent result holds nothing"
    );
    let settle = give(&world, "a", |_| 1);
    let first = world.shards(0)[0].clone();
    world.seal(0, &first, first.start + 1, &settle);
    world.pass();
    assert!(world.step("a").satisfied);
    let left: Vec<ShardSpec> = (0..2).flat_map(|worker| world.shards(worker).to_vec()).collect();
    assert!(
        left.iter()
            .all(|shard| given.iter().any(|before| before.id == shard.id))
    );
    assert!(
        left.iter().all(|shard| shard.seal || shard.budget_millis == 0),
        "{left:?}"
    );
    // What runs on a worker and is sealed there later still counts.
    let running = world.shards(1)[0].clone();
    world.seal(1, &running, running.start + 2, &settle);
    let begun = world.shards(0)[0].clone();
    world.seal(0, &begun, begun.start, &settle);
    for _ in 0..4 {
        world.pass();
    }
    assert_eq!(
        (Phase::Succeeded, json!(3)),
        (world.step("a").phase, value(&world, "a"))
    );
    assert_eq!(997, world.step("a").partitions.stopped);
}

#[test]
fn a_step_that_fails_too_often_has_failed_even_if_it_has_enough() {
    let mut spec = over(&json!([counting("a", 4)]));
    spec["steps"][0]["stopWhen"] = json!("results.n >= 1");
    let mut world = World::new(&spec, 1);
    let settle = give(&world, "a", |_| 1);
    world.work_all(|partition, content| {
        if partition == 0 {
            content.fail(partition, braid_engine::retry::Reason::Exit(1), 1, "no");
        } else {
            settle(partition, content);
        }
    });
    assert_eq!(Phase::Failed, world.step("a").phase);
}

#[test]
fn a_condition_that_breaks_fails_the_step() {
    let mut spec = over(&json!([counting("a", 10)]));
    spec["steps"][0]["stopWhen"] = json!("1 / (results.n - results.n) > 0");
    let mut world = World::new(&spec, 1);
    run(&mut world, "a", |_, _| 1, |_| Crash::Nowhere);
    let stopping = world.step("a").stopping.as_ref().unwrap();
    assert_eq!(
        ("BadCondition", Phase::Failed),
        (stopping.reason.as_str(), world.step("a").phase)
    );
    assert!(stopping.message.starts_with("stopWhen: "), "{}", stopping.message);
}

fn polling(until: &str, max: i32) -> Value {
    let mut spec = over(&json!([counting("a", 5), after(counting("b", 1), &["a"])]));
    spec["steps"][0]["repeat"] = json!({"until": until, "max": max, "every": "10s"});
    spec
}

/// In round r each of the five partitions gives r, so the sum is 5r: what is left at the end is that of one round alone.
fn of_round(round: u32, _: u64) -> u64 {
    u64::from(round)
}

#[test]
fn a_step_repeats_until_its_results_are_as_wanted() {
    let mut world = World::new(&polling("results.n >= 10", 9), 2);
    let began = world.now;
    run(&mut world, "a", of_round, |_| Crash::Nowhere);
    let step = world.step("a");
    assert_eq!((Phase::Succeeded, 2), (step.phase, step.round.0));
    assert_eq!(json!(10), value(&world, "a"));
    assert_eq!("0-4", step.ledger.to_string());
    let repeat = step.repeat.as_ref().unwrap();
    assert_eq!((3, None), (repeat.rounds, repeat.next_at));
    assert!(world.now.duration_since(began).as_secs() >= 20, "it waits twice");
    assert_eq!(Phase::Succeeded, world.step("b").phase);
}

#[test]
fn rounds_have_an_end() {
    let mut world = World::new(&polling("results.n < 0", 3), 1);
    run(&mut world, "a", of_round, |_| Crash::Nowhere);
    let step = world.step("a");
    let stopping = step.stopping.as_ref().unwrap();
    assert_eq!(
        (Phase::Failed, "RepeatExhausted"),
        (step.phase, stopping.reason.as_str())
    );
    assert!(stopping.message.contains("after 3 rounds") && stopping.message.contains("results.n < 0"));
    assert_eq!(
        (3, json!(10)),
        (step.repeat.as_ref().unwrap().rounds, value(&world, "a"))
    );
    assert_eq!(Phase::Skipped, world.step("b").phase);
}

/// At every pass of a run, at every write of it, the operator ends: the numbers are those of a run in which nobody ends.
#[test]
fn operators_that_end_at_any_write_change_nothing() {
    let mut stopping = over(&json!([counting("a", 200)]));
    stopping["steps"][0]["stopWhen"] = json!("results.n >= 20");
    for crash in CRASHES {
        for at in 0..60 {
            let mut world = World::new(&polling("results.n >= 10", 9), 2);
            run(&mut world, "a", of_round, |pass| {
                if pass == at { crash } else { Crash::Nowhere }
            });
            let step = world.step("a");
            assert_eq!(
                (Phase::Succeeded, 2, json!(10)),
                (step.phase, step.round.0, value(&world, "a")),
                "{crash:?} {at}"
            );
            assert_eq!(
                (3, 5),
                (step.repeat.as_ref().unwrap().rounds, step.partitions.succeeded),
                "{crash:?} {at}"
            );

            let mut world = World::new(&stopping, 2);
            run(
                &mut world,
                "a",
                |_, _| 1,
                |pass| if pass == at { crash } else { Crash::Nowhere },
            );
            let counts = world.step("a").partitions.clone();
            assert_eq!(Phase::Succeeded, world.step("a").phase, "{crash:?} {at}");
            assert_eq!(json!(counts.succeeded), value(&world, "a"), "{crash:?} {at}");
            assert!(
                counts.succeeded >= 20 && counts.succeeded + counts.stopped == 200,
                "{crash:?} {at}: {counts:?}"
            );
        }
        for every in 2..7 {
            let mut world = World::new(&polling("results.n >= 10", 9), 2);
            run(&mut world, "a", of_round, |pass| {
                if pass % every == 0 { crash } else { Crash::Nowhere }
            });
            assert_eq!(
                (2, json!(10)),
                (world.step("a").round.0, value(&world, "a")),
                "{crash:?} {every}"
            );
        }
    }
}

/// A run whose step waits for its second round.
fn between_rounds() -> World {
    let mut world = World::new(&polling("results.n >= 10", 9), 1);
    for _ in 0..20 {
        world.pass();
        if world.step("a").is_between_rounds() {
            world.pass();
            return world;
        }
        let settle = give(&world, "a", |_| 0);
        world.work(0, &settle);
    }
    panic!("{:#?}", world.workflow.status)
}

#[test]
fn between_two_rounds_the_step_is_closed_waits_and_shows_what_it_found() {
    let mut world = between_rounds();
    let step = world.step("a");
    assert_eq!(
        (Phase::Waiting, true, 1),
        (step.phase, step.closed, step.repeat.as_ref().unwrap().rounds)
    );
    assert_eq!(json!(0), value(&world, "a"));
    assert!(world.shards(0).is_empty());
    let progress = &world
        .workflow
        .status
        .as_ref()
        .unwrap()
        .summary
        .as_ref()
        .unwrap()
        .message;
    assert!(
        progress.contains("a: 1 rounds are over, the next begins in"),
        "{progress}"
    );
    // A clock that was set back by a year makes nobody wait for a year.
    world.now -= jiff::SignedDuration::from_hours(24 * 365);
    world.pass();
    let next_at = world.step("a").repeat.as_ref().unwrap().next_at.unwrap();
    assert_eq!(10_000, next_at - world.now.as_millisecond());
    world.now += jiff::SignedDuration::from_secs(10);
    world.pass();
    assert_eq!((1, false), (i64::from(world.step("a").round.0), world.step("a").closed));
    assert!(world.step("a").results.iter().all(|result| result.value.is_none()));
}

#[test]
fn between_two_rounds_a_run_can_be_suspended_cancelled_and_late() {
    let mut world = between_rounds();
    world.workflow.spec.suspend = true;
    world.now += jiff::SignedDuration::from_secs(60);
    world.pass();
    world.pass();
    assert_eq!(
        (Phase::Suspended, 0),
        (world.step("a").phase, i64::from(world.step("a").round.0))
    );
    world.workflow.spec.suspend = false;
    world.pass();
    assert_eq!(1, i64::from(world.step("a").round.0));

    let mut world = between_rounds();
    world.workflow.spec.cancel = true;
    world.pass();
    assert_eq!(Phase::Cancelled, world.step("a").phase);
    assert_eq!(None, world.step("a").repeat.as_ref().unwrap().next_at);

    let mut world = between_rounds();
    world.workflow.spec.steps[0].timeout = Some("30s".parse().unwrap());
    world.now += jiff::SignedDuration::from_secs(40);
    world.pass();
    world.pass();
    assert_eq!("StepTimeout", world.step("a").stopping.as_ref().unwrap().reason);
    assert_eq!(Phase::Failed, world.step("a").phase);
}

#[test]
fn a_failed_round_fails_the_step() {
    let mut world = World::new(&polling("results.n >= 10", 9), 1);
    world.work_all(|partition, content| {
        content.fail(partition, braid_engine::retry::Reason::Exit(1), 1, "no");
    });
    assert_eq!(
        (Phase::Failed, 0),
        (world.step("a").phase, i64::from(world.step("a").round.0))
    );
}

#[test]
fn finally_runs_after_all_others_whatever_became_of_them() {
    let mut hook = range("hook", 2);
    hook["finally"] = json!(true);
    let mut told = range("told", 1);
    told["finally"] = json!(true);
    told["when"] = json!("workflow.failed && workflow.failures[0].step == 'a' && workflow.phase == 'Failed'");
    let spec = over(&json!([hook, told, range("a", 4), after(range("b", 1), &["a"])]));
    let mut world = World::new(&spec, 1);
    for _ in 0..3 {
        world.pass();
        assert_eq!(Phase::Pending, world.step("hook").phase);
    }
    world.work_all(nothing);
    assert_eq!(
        (Phase::Succeeded, Phase::Skipped),
        (world.step("hook").phase, world.step("told").phase)
    );
    assert_eq!(Phase::Succeeded, world.workflow.status.as_ref().unwrap().phase);

    let mut world = World::new(&spec, 1);
    world.work_all(|partition, content| {
        if partition == 3 {
            content.fail(partition, braid_engine::retry::Reason::Exit(1), 1, "no");
        }
    });
    assert_eq!(
        (Phase::Failed, Phase::Skipped),
        (world.step("a").phase, world.step("b").phase)
    );
    assert_eq!(
        (Phase::Succeeded, Phase::Succeeded),
        (world.step("hook").phase, world.step("told").phase)
    );
    assert_eq!(Phase::Failed, world.workflow.status.as_ref().unwrap().phase);

    for suspend in [false, true] {
        let mut world = World::new(&spec, 1);
        world.pass();
        world.pass();
        world.workflow.spec.suspend = suspend;
        world.pass();
        world.workflow.spec.cancel = true;
        world.work_all(nothing);
        assert_eq!(
            (Phase::Cancelled, Phase::Cancelled),
            (world.step("a").phase, world.step("b").phase)
        );
        assert_eq!(Phase::Succeeded, world.step("hook").phase);
        assert_eq!(Phase::Skipped, world.step("told").phase, "nothing failed");
        assert_eq!(Phase::Cancelled, world.workflow.status.as_ref().unwrap().phase);
    }
}

#[test]
fn the_time_of_the_run_does_not_end_what_runs_after_it() {
    let mut hook = range("hook", 1);
    hook["finally"] = json!(true);
    let mut spec = over(&json!([range("a", 4), hook]));
    spec["timeout"] = json!("5s");
    let mut world = World::new(&spec, 1);
    world.pass();
    world.pass();
    world.now += jiff::SignedDuration::from_secs(60);
    world.work_all(nothing);
    assert_eq!("WorkflowTimeout", world.step("a").stopping.as_ref().unwrap().reason);
    assert_eq!(Phase::Succeeded, world.step("hook").phase);
}

/// Open shards on the desks, by worker.
fn open(world: &World) -> usize {
    (0..world.workers.len())
        .filter(|worker| !world.shards(*worker).is_empty())
        .count()
}

#[test]
fn parallelism_of_a_step_and_of_the_run_bounds_the_workers_at_work() {
    let mut spec = over(&json!([range("a", 1_000), range("b", 1_000)]));
    spec["params"] = json!([{"name": "n", "value": 2}]);
    spec["steps"][0]["parallelism"] = json!("$(params.n)");
    spec["steps"][1]["parallelism"] = json!(1);
    let mut world = World::new(&spec, 8);
    world.pass();
    world.pass();
    let of = |world: &World, step: &str| {
        (0..8)
            .filter(|worker| world.shards(*worker).iter().any(|shard| shard.run.step == step))
            .count()
    };
    assert_eq!((2, 1), (of(&world, "a"), of(&world, "b")));
    let mut spec = spec.clone();
    spec["parallelism"] = json!(2);
    let mut world = World::new(&spec, 8);
    world.pass();
    world.pass();
    assert_eq!((1, 1), (of(&world, "a"), of(&world, "b")));
    // More, while it runs.
    world.workflow.spec.parallelism = Some(serde_json::from_value(json!(3)).unwrap());
    world.pass();
    assert_eq!((2, 1), (of(&world, "a"), of(&world, "b")));
    // A text that gives nothing holds the hand-out, and says so.
    world.workflow.spec.parallelism = Some(serde_json::from_value(json!("$(params.m)")).unwrap());
    world.pass();
    world.work(0, nothing);
    world.pass();
    let places = places::of(&world.workflow, world.workflow.status.as_ref().unwrap());
    assert!(
        places.problem.as_ref().unwrap().starts_with("spec: parallelism: "),
        "{places:?}"
    );
    assert_eq!(Some(0), places.of_step("a"));
    world.workflow.spec.parallelism = None;
    world.work_all(nothing);
    assert_eq!(Phase::Succeeded, world.workflow.status.as_ref().unwrap().phase);
    assert_eq!(0, open(&world));
}
