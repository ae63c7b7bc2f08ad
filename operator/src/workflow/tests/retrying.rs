//! What failed beyond what may: failed, continued, paused, resumed, and opened again, under operators that end at any write.

use braid_engine::{
    reduce::{self, Fold, RawResults},
    retry::{FAIL_STEP, Reason},
};

use super::*;

pub(super) const CRASHES: [Crash; 3] = [Crash::BeforeStatus, Crash::BeforeDesks, Crash::AfterADesk];

/// A step over so many numbers that give 1 each, with more of it.
pub(super) fn summing(name: &str, end: u64, more: &Value) -> Value {
    let mut step = range(name, end);
    step["results"] = json!([{"name": "n", "reduce": "Sum"}]);
    for (key, value) in more.as_object().unwrap() {
        step[key] = value.clone();
    }
    step
}

/// Partitions of `step` for which `fails` says so fail; the others give 1.
pub(super) fn settle<'a>(step: &'a Value, fails: impl Fn(u64) -> bool + 'a) -> impl Fn(u64, &mut Settlement) + 'a {
    let specs: Vec<braid_crds::workflow::ResultSpec> = serde_json::from_value(step["results"].clone()).unwrap();
    let fold = Fold::new(&reduce::declared(&specs));
    move |partition, content| {
        if fails(partition) {
            content.fail(partition, Reason::Exit(3), 1, "no");
        } else {
            content.succeed(&fold, partition, &RawResults(b"{\"n\": 1}")).unwrap();
        }
    }
}

/// Passes until `done`; operators end where `crash` says.
pub(super) fn until(
    world: &mut World,
    settle: impl Fn(u64, &mut Settlement),
    crash: impl Fn(usize) -> Crash,
    done: impl Fn(&World) -> bool,
) {
    for pass in 0..400 {
        world.pass_until(crash(pass));
        if done(world) {
            return;
        }
        (0..world.workers.len()).for_each(|worker| world.work(worker, &settle));
        world.now += jiff::SignedDuration::from_secs(1);
    }
    panic!("it does not come to that: {:#?}", world.workflow.status);
}

pub(super) fn phase(world: &World) -> Phase {
    world.workflow.status.as_ref().unwrap().phase
}

pub(super) fn ended(world: &World) -> bool {
    phase(world).is_terminal()
}

fn at_rest(world: &World) -> bool {
    phase(world) == Phase::Paused && world.workers.iter().all(|(worker, _)| worker.spec.shards.is_empty())
}

fn n(world: &World, step: &str) -> Value {
    world.step(step).results[0].value.clone().unwrap_or_default()
}

#[test]
fn continue_runs_everything_and_fails_then() {
    let step = summing("a", 300, &json!({"onFailure": "Continue", "maxFailedPartitions": 2}));
    let mut world = World::new(&over(&json!([step])), 2);
    until(&mut world, settle(&step, |p| p % 100 == 50), |_| Crash::Nowhere, ended);
    let a = world.step("a");
    assert_eq!(
        (Phase::Failed, 297, 3),
        (a.phase, a.partitions.succeeded, a.partitions.failed)
    );
    assert_eq!("TooManyFailedPartitions", a.stopping.as_ref().unwrap().reason);
    assert_eq!(json!(297), n(&world, "a"));
}

#[test]
fn a_pause_rests_says_why_and_goes_on_when_it_is_resumed() {
    let step = summing(
        "a",
        400,
        &json!({"onFailure": "Pause", "maxFailedPartitions": 1, "timeout": "5m"}),
    );
    let mut world = World::new(&over(&json!([step, after(summing("b", 1, &json!({})), &["a"])])), 2);
    let fails = |p: u64| p % 20 == 10;
    until(&mut world, settle(&step, fails), |_| Crash::Nowhere, at_rest);
    let failed = world.step("a").partitions.failed;
    assert!(
        failed > 1 && world.step("a").ledger.len() < 400,
        "{:?}",
        world.step("a").partitions
    );
    let conditions = &world.workflow.status.as_ref().unwrap().conditions;
    let progress = conditions
        .iter()
        .find(|condition| condition.type_ == "Progressing")
        .unwrap();
    assert_eq!(
        ("False", "TooManyFailedPartitions"),
        (progress.status.as_str(), progress.reason.as_str())
    );
    assert!(progress.message.contains("Exit3"), "{}", progress.message);
    // Whatever time goes by, it waits for people.
    world.now += jiff::SignedDuration::from_hours(100);
    let before = world.workflow.status.clone();
    for _ in 0..5 {
        world.pass();
    }
    assert_eq!(before.unwrap().steps, world.workflow.status.as_ref().unwrap().steps);

    world.workflow.spec.resume = Some(1);
    until(&mut world, settle(&step, |_| false), |_| Crash::Nowhere, ended);
    let a = world.step("a");
    assert_eq!(
        (Phase::Succeeded, failed, failed),
        (a.phase, a.accepted, a.partitions.failed)
    );
    assert_eq!(json!(400 - failed), n(&world, "a"));
    assert_eq!(Phase::Succeeded, world.step("b").phase);
}

#[test]
fn a_resumed_step_is_paused_again_by_as_many_failures_again() {
    let step = summing("a", 2_000, &json!({"onFailure": "Pause", "maxFailedPartitions": 3}));
    let mut world = World::new(&over(&json!([step])), 2);
    let fails = |p: u64| p.is_multiple_of(10);
    until(&mut world, settle(&step, fails), |_| Crash::Nowhere, at_rest);
    let first = world.step("a").partitions.failed;
    world.workflow.spec.resume = Some(1);
    until(
        &mut world,
        settle(&step, fails),
        |_| Crash::Nowhere,
        |world| at_rest(world) && world.step("a").accepted == first,
    );
    assert!(
        world.step("a").partitions.failed > first + 3,
        "{:?}",
        world.step("a").partitions
    );
}

#[test]
fn more_that_may_fail_lifts_a_pause() {
    let step = summing("a", 400, &json!({"onFailure": "Pause", "maxFailedPartitions": 1}));
    let mut world = World::new(&over(&json!([step])), 2);
    until(&mut world, settle(&step, |p| p < 4), |_| Crash::Nowhere, at_rest);
    world.workflow.spec.steps[0].max_failed_partitions = serde_json::from_value(json!("1%")).unwrap();
    until(&mut world, settle(&step, |p| p < 4), |_| Crash::Nowhere, ended);
    assert_eq!(
        (Phase::Succeeded, 4),
        (phase(&world), world.step("a").partitions.failed)
    );
}

#[test]
fn a_paused_run_can_be_cancelled() {
    let step = summing("a", 400, &json!({"onFailure": "Pause"}));
    let mut world = World::new(&over(&json!([step])), 2);
    until(&mut world, settle(&step, |p| p < 4), |_| Crash::Nowhere, at_rest);
    world.workflow.spec.cancel = true;
    until(&mut world, settle(&step, |_| false), |_| Crash::Nowhere, ended);
    assert_eq!(
        (Phase::Cancelled, None),
        (phase(&world), world.step("a").paused.clone())
    );
}

/// Pauses at the limit, what made it fail is mended, and what failed is tried again: as if nothing had ever failed.
#[test]
fn a_retry_of_what_failed_gives_what_a_clean_run_gives_whatever_operators_do() {
    for (index, crash) in CRASHES.into_iter().enumerate() {
        for every in 2..5 {
            let often = |pass: usize| {
                if pass % every == index % every {
                    crash
                } else {
                    Crash::Nowhere
                }
            };
            let step = summing("a", 400, &json!({"onFailure": "Pause", "maxFailedPartitions": 1}));
            let mut world = World::new(&over(&json!([step, after(summing("b", 2, &json!({})), &["a"])])), 2);
            until(&mut world, settle(&step, |p| p % 20 == 10), often, at_rest);
            let ledger = world.step("a").ledger.len() - world.step("a").partitions.failed;
            assert!(ledger > 0);
            world.workflow.spec.retry_failed = Some(1);
            until(&mut world, settle(&step, |_| false), often, ended);
            let a = world.step("a");
            assert_eq!(
                (Phase::Succeeded, 1, 400, 0),
                (a.phase, a.round.0, a.partitions.succeeded, a.partitions.failed)
            );
            assert!(a.failures.is_empty() && a.failed.is_empty(), "{a:#?}");
            assert_eq!(json!(400), n(&world, "a"), "{crash:?} {every}");
            assert_eq!(Phase::Succeeded, world.step("b").phase);
        }
    }
}

#[test]
fn an_ended_run_is_opened_again_and_what_is_behind_runs_anew() {
    for crash in [
        Crash::Nowhere,
        Crash::BeforeStatus,
        Crash::BeforeDesks,
        Crash::AfterADesk,
    ] {
        let step = summing("a", 300, &json!({"onFailure": "Continue"}));
        let spec = json!({
            "steps": [
                step,
                after(summing("b", 3, &json!({})), &["a"]),
                after(summing("mend", 1, &json!({"afterRule": "AnyFailed"})), &["a"]),
                summing("other", 1, &json!({})),
                summing("last", 1, &json!({"finally": true})),
            ],
            "outputs": [{"name": "n", "value": "steps.a.results.n"}],
        });
        let often = |pass: usize| if pass % 3 == 1 { crash } else { Crash::Nowhere };
        let mut world = World::new(&spec, 2);
        until(&mut world, settle(&step, |p| p % 100 == 50), often, ended);
        assert_eq!(Phase::Failed, phase(&world));
        assert_eq!(
            [
                Phase::Failed,
                Phase::Skipped,
                Phase::Succeeded,
                Phase::Succeeded,
                Phase::Succeeded
            ],
            ["a", "b", "mend", "other", "last"].map(|name| world.step(name).phase)
        );
        world.workflow.spec.retry_failed = Some(1);
        until(&mut world, settle(&step, |_| false), often, ended);
        let status = world.workflow.status.clone().unwrap();
        assert_eq!(Phase::Succeeded, status.phase, "{status:#?}");
        assert_eq!(json!(300), status.outputs["n"]);
        assert_eq!(
            [
                Phase::Succeeded,
                Phase::Succeeded,
                Phase::Skipped,
                Phase::Succeeded,
                Phase::Succeeded
            ],
            ["a", "b", "mend", "other", "last"].map(|name| world.step(name).phase)
        );
        assert_eq!(
            [1, 1, 1, 0, 1],
            ["a", "b", "mend", "other", "last"].map(|name| world.step(name).round.0)
        );
        let finished = status
            .conditions
            .iter()
            .find(|condition| condition.type_ == "Finished")
            .unwrap();
        assert_eq!("True", finished.status);
    }
}

/// A run in its midst, of whose partitions a fifth fails.
fn partly_failed() -> (Value, World) {
    let step = summing("a", 600, &json!({"maxFailedPartitions": "50%"}));
    let mut world = World::new(&over(&json!([step])), 2);
    until(
        &mut world,
        settle(&step, |p| p % 5 == 0),
        |_| Crash::Nowhere,
        |world| world.step("a").partitions.failed > 3,
    );
    (step, world)
}

#[test]
fn a_retry_of_a_run_that_goes_on_waits_until_its_desks_are_empty() {
    let (step, mut world) = partly_failed();
    assert!(world.step("a").ledger.len() < 600);
    world.workflow.spec.retry_failed = Some(1);
    let mut last = 0;
    for _ in 0..200 {
        world.pass();
        let a = world.step("a").clone();
        if a.round.0 == 1 && last == 0 {
            last = a.ledger.len();
            assert!(a.failed.is_empty() && last > 0, "{a:#?}");
        }
        if a.round.0 == 0 && a.closed {
            assert!(!a.phase.is_terminal());
        }
        let old = world
            .workers
            .iter()
            .flat_map(|(worker, _)| &worker.spec.shards)
            .filter(|shard| shard.run.round.0 == 0);
        assert!(
            a.round.0 == 0 || old.count() == 0,
            "a shard of the old round is on a desk"
        );
        if ended(&world) {
            break;
        }
        let fails = move |p: u64| a.round.0 == 0 && p.is_multiple_of(5);
        (0..2).for_each(|worker| world.work(worker, settle(&step, fails)));
        world.now += jiff::SignedDuration::from_secs(1);
    }
    assert_eq!((Phase::Succeeded, json!(600)), (phase(&world), n(&world, "a")));
}

#[test]
fn where_nothing_failed_a_retry_changes_nothing() {
    let step = summing("a", 10, &json!({}));
    let mut world = World::new(&over(&json!([step])), 1);
    until(&mut world, settle(&step, |_| false), |_| Crash::Nowhere, ended);
    let before = world.workflow.status.clone().unwrap();
    world.workflow.spec.retry_failed = Some(1);
    for _ in 0..4 {
        world.pass();
    }
    let after = world.workflow.status.clone().unwrap();
    assert_eq!(
        (before.steps, before.phase, before.finished_at),
        (after.steps, after.phase, after.finished_at)
    );
    assert_eq!(1, after.retried_failed);
}

#[test]
fn a_rule_ends_the_step_or_pauses_it() {
    for (on_failure, expected) in [
        ("Fail", Phase::Failed),
        ("Continue", Phase::Failed),
        ("Pause", Phase::Paused),
    ] {
        let more = json!({"onFailure": on_failure, "maxFailedPartitions": "90%"});
        let step = summing("a", 100, &more);
        let mut world = World::new(&over(&json!([step])), 1);
        let fails = |partition: u64, content: &mut Settlement| {
            settle(&step, |p| p == 3)(partition, content);
            if partition == 3 {
                content.stop(&Fatal {
                    reason: FAIL_STEP.into(),
                    message: "partition 3".into(),
                });
            }
        };
        until(
            &mut world,
            fails,
            |_| Crash::Nowhere,
            |world| phase(world) == expected && world.shards(0).is_empty(),
        );
        let a = world.step("a");
        assert_eq!("3", a.failed.to_string());
        if expected == Phase::Paused {
            assert_eq!(
                (None, FAIL_STEP),
                (a.stopping.clone(), a.paused.as_ref().unwrap().reason.as_str())
            );
            world.workflow.spec.retry_failed = Some(1);
            until(&mut world, settle(&step, |_| false), |_| Crash::Nowhere, ended);
            assert_eq!((Phase::Succeeded, json!(100)), (phase(&world), n(&world, "a")));
        }
    }
}

#[test]
fn a_cancel_ends_what_was_closed_to_be_opened_again() {
    let (step, mut world) = partly_failed();
    world.workflow.spec.retry_failed = Some(1);
    until(
        &mut world,
        settle(&step, |_| true),
        |_| Crash::Nowhere,
        |world| world.step("a").closed,
    );
    world.workflow.spec.cancel = true;
    until(&mut world, settle(&step, |_| true), |_| Crash::Nowhere, ended);
    let a = world.step("a");
    assert_eq!((Phase::Cancelled, None, 0), (a.phase, a.renewal, a.round.0));
}
