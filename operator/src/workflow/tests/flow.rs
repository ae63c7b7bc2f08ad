//! The language of flow: conditions, rules, and what they make of the steps behind.

use braid_crds::status::SkipCause;

use super::*;

fn with(mut step: Value, field: &str, value: Value) -> Value {
    step[field] = value;
    step
}

fn phases(world: &World) -> Vec<(&str, Phase)> {
    let steps = &world.workflow.status.as_ref().unwrap().steps;
    steps.iter().map(|step| (step.name.as_str(), step.phase)).collect()
}

fn fails(partition: u64, content: &mut Settlement) {
    content.fail(partition, braid_engine::retry::Reason::Exit(1), 1, "no");
}

#[test]
fn a_false_condition_skips_a_step_and_hinders_nobody() {
    let mut spec = over(&json!([
        range("a", 4),
        with(after(range("big", 1), &["a"]), "when", json!("params.limit > 10")),
        with(
            after(range("small", 2), &["a"]),
            "when",
            json!("params.limit <= 10 && steps.a.phase == 'Succeeded'")
        ),
        after(range("join", 1), &["big", "small"]),
        with(
            after(range("strict", 1), &["big", "small"]),
            "afterRule",
            json!("NoneSkipped")
        ),
        after(range("end", 1), &["strict"]),
    ]));
    spec["params"] = json!([{"name": "limit", "type": "Integer", "default": 10}]);
    let mut world = World::new(&spec, 2);
    world.work_all(nothing);
    assert_eq!(
        vec![
            ("a", Phase::Succeeded),
            ("big", Phase::Skipped),
            ("small", Phase::Succeeded),
            ("join", Phase::Succeeded),
            ("strict", Phase::Skipped),
            ("end", Phase::Succeeded),
        ],
        phases(&world)
    );
    assert_eq!(Some(SkipCause::When), world.step("big").skipped);
    assert_eq!("when is false: params.limit > 10", world.step("big").message);
    assert_eq!(Some(SkipCause::Rule), world.step("strict").skipped);
    assert_eq!(
        "afterRule NoneSkipped is not met: step big is Skipped, step small is Succeeded",
        world.step("strict").message
    );
    assert_eq!(Phase::Succeeded, world.workflow.status.as_ref().unwrap().phase);
}

#[test]
fn a_failure_skips_what_wanted_success_and_starts_what_wanted_failure() {
    let mut world = World::new(
        &over(&json!([
            range("a", 4),
            after(range("next", 1), &["a"]),
            with(after(range("mend", 2), &["next"]), "afterRule", json!("AnyFailed")),
            with(
                after(range("report", 1), &["a", "next", "mend"]),
                "afterRule",
                json!("AllDone")
            ),
            with(
                after(range("both", 1), &["a", "mend"]),
                "afterRule",
                json!("AnySucceeded")
            ),
            with(after(range("none", 1), &["a", "mend"]), "afterRule", json!("AllFailed")),
        ])),
        2,
    );
    // Only the first step has four partitions, and only its last one fails.
    world.work_all(|partition, content| {
        if partition == 3 {
            fails(partition, content);
        }
    });
    assert_eq!(
        vec![
            ("a", Phase::Failed),
            ("next", Phase::Skipped),
            ("mend", Phase::Succeeded),
            ("report", Phase::Succeeded),
            ("both", Phase::Succeeded),
            ("none", Phase::Skipped),
        ],
        phases(&world)
    );
    assert_eq!(Some(SkipCause::Failure), world.step("next").skipped);
    assert_eq!(Some(SkipCause::Rule), world.step("none").skipped);
    // Somebody took care of it, and still it is a run in which a step failed.
    assert_eq!(Phase::Failed, world.workflow.status.as_ref().unwrap().phase);
}

#[test]
fn a_condition_without_a_value_fails_its_step_with_the_reason() {
    let step = with(range("a", 4), "results", json!([{"name": "n", "reduce": "Sum"}]));
    let mut world = World::new(
        &over(&json!([
            step,
            with(after(range("b", 1), &["a"]), "when", json!("steps.a.results.n > 1")),
            with(after(range("c", 1), &["a"]), "when", json!("has(steps.a.results.n)")),
        ])),
        1,
    );
    world.work_all(nothing);
    assert_eq!(
        vec![("a", Phase::Succeeded), ("b", Phase::Failed), ("c", Phase::Skipped)],
        phases(&world)
    );
    assert_eq!("BadCondition", world.step("b").stopping.as_ref().unwrap().reason);
    assert!(
        world.step("b").message.contains("step a gave no result n"),
        "{}",
        world.step("b").message
    );
    assert!(world.step("b").started_at.is_none());
}

#[test]
fn a_condition_is_asked_once_all_before_have_ended_and_not_while_the_run_is_suspended() {
    let mut world = World::new(
        &over(&json!([
            range("a", 4),
            with(after(range("b", 1), &["a"]), "when", json!("steps.a.failed == 0"))
        ])),
        1,
    );
    for _ in 0..3 {
        world.pass();
        assert_eq!(Phase::Pending, world.step("b").phase);
    }
    world.workflow.spec.suspend = true;
    for _ in 0..4 {
        world.work(0, nothing);
        world.pass();
    }
    assert!(world.step("b").started_at.is_none() && world.step("b").skipped.is_none());
    world.workflow.spec.suspend = false;
    world.work_all(nothing);
    assert_eq!(Phase::Succeeded, world.step("b").phase);
}
