//! A run that takes over from another ends as one that nothing was ever wrong with, under operators that end at any write.

use braid_crds::{WorkflowSpec, workflow::ResumeFrom};
use braid_engine::resume;

use super::{
    retrying::{CRASHES, ended, phase, settle, summing, until},
    *,
};

/// A run that takes over from the one of `source`, accepted, with workers of its own.
fn taker(source: &World) -> World {
    let mut old = source.workflow.clone();
    old.metadata.name = Some("old".into());
    old.metadata.uid = Some("uid-0".into());
    let own = WorkflowSpec {
        resume_from: Some(ResumeFrom {
            name: "old".into(),
            partitions: None,
        }),
        ..WorkflowSpec::default()
    };
    let mut world = World::new(&json!({"steps": []}), 2);
    world.now = source.now;
    world.workflow.spec = resume::spec(&own, &old.spec);
    let mut status = WorkflowStatus {
        format: STATUS_FORMAT,
        started_at: Some(stamp(world.now)),
        ..WorkflowStatus::default()
    };
    let taken = resume::take_over(&old, world.now.as_millisecond()).unwrap();
    super::super::resuming::begin(&mut status, taken, world.now);
    world.workflow.status = Some(status);
    world
}

/// Of all steps: what they have come to, with all that their results are folded from.
fn all(world: &World) -> Value {
    let status = world.workflow.status.as_ref().unwrap();
    let steps: Vec<Value> = status
        .steps
        .iter()
        .map(|step| {
            json!([
                step.name,
                step.phase,
                step.ledger,
                step.failed,
                step.partitions,
                step.results,
                step.failures
            ])
        })
        .collect();
    json!([status.phase, status.outputs, steps])
}

fn often(index: usize, every: usize) -> impl Fn(usize) -> Crash {
    move |pass| {
        if pass % every == index % every {
            CRASHES[index]
        } else {
            Crash::Nowhere
        }
    }
}

fn spec(of_a: &Value) -> (Value, Value) {
    let a = summing("a", 300, of_a);
    let spec = json!({
        "steps": [
            a,
            after(summing("b", 3, &json!({})), &["a"]),
            after(summing("mend", 1, &json!({"afterRule": "AnyFailed"})), &["a"]),
            summing("other", 20, &json!({})),
            summing("last", 1, &json!({"finally": true})),
        ],
        "outputs": [{"name": "n", "value": "steps.a.results.n + steps.b.results.n + steps.other.results.n"}],
    });
    (a, spec)
}

#[test]
fn a_run_that_takes_over_ends_as_a_clean_run_does_whatever_operators_do() {
    for of_a in [
        json!({"onFailure": "Continue"}),
        json!({"maxFailedPartitions": 5}),
        json!({}),
    ] {
        let (a, spec) = spec(&of_a);
        let mut clean = World::new(&spec, 2);
        until(&mut clean, settle(&a, |_| false), |_| Crash::Nowhere, ended);
        assert_eq!(
            (Phase::Succeeded, json!(323)),
            (
                phase(&clean),
                clean.workflow.status.as_ref().unwrap().outputs["n"].clone()
            )
        );
        for index in 0..CRASHES.len() {
            for every in 2..4 {
                let mut old = World::new(&spec, 2);
                until(&mut old, settle(&a, |p| p % 100 == 50), often(index, every), ended);
                assert!(old.step("a").partitions.failed > 0);
                let mut new = taker(&old);
                let kept = new
                    .workflow
                    .status
                    .as_ref()
                    .unwrap()
                    .resumed_from
                    .as_ref()
                    .unwrap()
                    .kept;
                assert!(kept >= 20, "{kept}");
                until(&mut new, settle(&a, |_| false), often(index, every), ended);
                assert_eq!(all(&clean), all(&new), "{of_a} {index} {every}");
                assert!(new.workflow.status.unwrap().steps.iter().all(|step| step.round.0 == 0));
            }
        }
    }
}

#[test]
fn a_cancelled_run_is_gone_on_with_by_another() {
    let (a, spec) = spec(&json!({}));
    let mut clean = World::new(&spec, 2);
    until(&mut clean, settle(&a, |_| false), |_| Crash::Nowhere, ended);
    let mut old = World::new(&spec, 2);
    until(
        &mut old,
        settle(&a, |_| false),
        |_| Crash::Nowhere,
        |world| world.step("a").partitions.succeeded > 10,
    );
    old.workflow.spec.cancel = true;
    until(&mut old, settle(&a, |_| false), |_| Crash::Nowhere, ended);
    assert_eq!(Phase::Cancelled, phase(&old));
    let counted = old.step("a").ledger.len();
    assert!(counted < 300, "{counted}");
    let mut new = taker(&old);
    until(&mut new, settle(&a, |_| false), |_| Crash::Nowhere, ended);
    assert_eq!(all(&clean), all(&new));
}

#[test]
fn only_what_is_left_is_handed_out_under_the_key_of_the_first_run() {
    let (a, spec) = spec(&json!({"onFailure": "Continue"}));
    let mut old = World::new(&spec, 2);
    until(&mut old, settle(&a, |p| p % 100 == 50), |_| Crash::Nowhere, ended);
    let mut new = taker(&old);
    let mut again = std::collections::BTreeSet::new();
    for _ in 0..100 {
        new.pass();
        for (worker, _) in &new.workers {
            for shard in worker.spec.shards.iter().filter(|shard| shard.run.step == "a") {
                assert_eq!("uid-1", shard.run.uid);
                again.extend(shard.start..shard.end);
            }
            assert!(
                worker
                    .spec
                    .cards
                    .iter()
                    .all(|card| card.first_uid.as_deref() == Some("uid-0"))
            );
        }
        if ended(&new) {
            break;
        }
        (0..2).for_each(|worker| new.work(worker, settle(&a, |_| false)));
        new.now += jiff::SignedDuration::from_secs(1);
    }
    assert!(ended(&new));
    assert_eq!(vec![50, 150, 250], again.into_iter().collect::<Vec<u64>>());
}

#[test]
fn what_has_taken_over_can_be_taken_over_and_try_again_itself() {
    let (a, spec) = spec(&json!({"onFailure": "Continue"}));
    let mut clean = World::new(&spec, 2);
    until(&mut clean, settle(&a, |_| false), |_| Crash::Nowhere, ended);
    let mut old = World::new(&spec, 2);
    until(&mut old, settle(&a, |p| p % 50 == 7), |_| Crash::Nowhere, ended);
    let mut second = taker(&old);
    until(&mut second, settle(&a, |p| p % 100 == 7), |_| Crash::Nowhere, ended);
    assert_eq!((Phase::Failed, 3), (phase(&second), second.step("a").partitions.failed));
    let mut third = taker(&second);
    until(&mut third, settle(&a, |_| false), |_| Crash::Nowhere, ended);
    assert_eq!(all(&clean), all(&third));
    second.workflow.spec.retry_failed = Some(1);
    until(
        &mut second,
        settle(&a, |_| false),
        |_| Crash::Nowhere,
        |world| phase(world) == Phase::Succeeded,
    );
    assert_eq!(all(&clean), all(&second));
}
