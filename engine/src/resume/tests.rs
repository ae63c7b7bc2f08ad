#![allow(clippy::unwrap_used, clippy::indexing_slicing)]
use std::collections::BTreeSet;

use braid_crds::{Intervals, PartitionRange};
use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;

const BEGAN: &str = "2026-01-01T00:00:00Z";

fn step(name: &str, more: &Value) -> Value {
    let mut step = json!({"name": name, "over": {"range": {"end": 10}}, "run": {"command": ["true"]}});
    merge(&mut step, more);
    step
}

fn merge(into: &mut Value, more: &Value) {
    for (key, value) in more.as_object().unwrap() {
        into[key] = value.clone();
    }
}

/// A step that has ended with all of ten partitions settled, but for what `more` says.
fn record(name: &str, phase: &str, more: &Value) -> Value {
    let mut record = json!({
        "name": name, "phase": phase, "closed": true, "startedAt": BEGAN, "finishedAt": BEGAN, "round": 3,
        "plan": {"partitions": 10}, "card": "sha256:1", "ledger": "0-9", "partitions": {"total": 10, "succeeded": 10, "failed": 0},
    });
    merge(&mut record, more);
    record
}

fn failed() -> Value {
    json!({
        "failed": "3,5", "partitions": {"total": 10, "succeeded": 8, "failed": 2},
        "failures": [{"reason": "Exit1", "count": 2, "partitions": "3,5", "sample": 3}],
    })
}

fn run(phase: &str, steps: &Value, records: &Value) -> Workflow {
    serde_json::from_value(json!({
        "apiVersion": "braid.dev/v1alpha1", "kind": "Workflow", "metadata": {"name": "old", "uid": "u-1"},
        "spec": {"steps": steps},
        "status": {"format": 1, "phase": phase, "startedAt": BEGAN, "steps": records},
    }))
    .unwrap()
}

fn names(list: &[String]) -> Vec<&str> {
    list.iter().map(String::as_str).collect()
}

#[test]
fn what_failed_is_open_what_is_behind_begins_anew_and_the_rest_stays_as_it_ended() {
    let steps = json!([
        step("a", &json!({})),
        step("b", &json!({"after": ["a"]})),
        step("c", &json!({"after": ["b"]})),
        step("other", &json!({})),
        step("last", &json!({"finally": true})),
    ]);
    let mut of_a = failed();
    merge(
        &mut of_a,
        &json!({"stopping": {"reason": "X", "message": "x"}, "message": "x", "accepted": 1}),
    );
    let records = json!([
        record("a", "Failed", &of_a),
        {"name": "b", "phase": "Skipped", "skipped": "Failure", "closed": true},
        {"name": "c", "phase": "Skipped", "skipped": "Failure", "closed": true},
        record("other", "Succeeded", &json!({})),
        record("last", "Succeeded", &json!({})),
    ]);
    let source = run("Failed", &steps, &records);
    let taken = take_over(&source, 7).unwrap();
    assert_eq!(
        (vec!["a"], vec!["b", "c", "last"]),
        (names(&taken.rest), names(&taken.anew))
    );
    let from = ResumedFrom {
        name: "old".into(),
        uid: "u-1".into(),
        first_uid: "u-1".into(),
        kept: 18,
    };
    assert_eq!(from, taken.from);
    let a = &taken.steps[0];
    assert_eq!(
        (Phase::Running, 0, "0-2,4,6-9", false),
        (a.phase, a.round.0, a.ledger.to_string().as_str(), a.closed)
    );
    assert!(a.failed.is_empty() && a.stopping.is_none() && a.card.is_none() && a.message.is_empty());
    assert_eq!((8, 0, 0), (a.partitions.succeeded, a.partitions.failed, a.accepted));
    assert!(a.started_at.is_none() && a.finished_at.is_none());
    for index in [1, 2, 4] {
        let fresh = StepStatus {
            name: source.spec.steps[index].name.clone(),
            ..StepStatus::default()
        };
        assert_eq!(fresh, taken.steps[index]);
    }
    let ended = StepStatus {
        round: Round(0),
        ..source.status.as_ref().unwrap().steps[3].clone()
    };
    assert_eq!(ended, taken.steps[3]);
}

#[test]
fn the_first_of_several_runs_is_remembered() {
    let mut source = run(
        "Failed",
        &json!([step("a", &json!({}))]),
        &json!([record("a", "Failed", &failed())]),
    );
    source.status.as_mut().unwrap().resumed_from = Some(ResumedFrom {
        first_uid: "u-0".into(),
        ..ResumedFrom::default()
    });
    let from = take_over(&source, 7).unwrap().from;
    assert_eq!(("u-1", "u-0"), (from.uid.as_str(), from.first_uid.as_str()));
}

#[test]
fn what_a_cancelled_run_has_not_settled_is_left() {
    let steps = json!([
        step("a", &json!({})),
        step("b", &json!({})),
        step("c", &json!({"after": ["a"]}))
    ]);
    let records = json!([
        record("a", "Cancelled", &json!({"ledger": "0-3", "partitions": {"total": 10, "succeeded": 4}})),
        record("b", "Succeeded", &json!({})),
        {"name": "c", "phase": "Cancelled", "closed": true, "message": "the run was cancelled before it began"},
    ]);
    let mut source = run("Cancelled", &steps, &records);
    source.spec.cancel = true;
    let taken = take_over(&source, 7).unwrap();
    assert_eq!(
        (vec!["a"], vec!["c"], 14),
        (names(&taken.rest), names(&taken.anew), taken.from.kept)
    );
    assert_eq!("0-3", taken.steps[0].ledger.to_string());
    assert!(
        !spec(&WorkflowSpec::default(), &source.spec).cancel,
        "that is of the run, not of what it does"
    );
}

#[test]
fn a_round_that_had_ended_is_not_counted_twice() {
    let repeat = json!({"repeat": {"until": "results.n > 3", "max": 9, "every": "1h"}});
    for more in [json!({}), json!({"ledger": "0-3", "satisfied": true})] {
        let mut ended = json!({"repeat": {"rounds": 2}});
        merge(&mut ended, &more);
        let source = run(
            "Cancelled",
            &json!([step("a", &repeat)]),
            &json!([record("a", "Cancelled", &ended)]),
        );
        let a = take_over(&source, 7).unwrap().steps.remove(0);
        let rounds = a.repeat.unwrap();
        assert_eq!(
            (Phase::Waiting, true, 2, Some(7)),
            (a.phase, a.closed, rounds.rounds, rounds.next_at)
        );
    }
    // One in its midst goes on in it.
    let midst = json!({"repeat": {"rounds": 2}, "ledger": "0-3", "partitions": {"total": 10, "succeeded": 4}});
    let source = run(
        "Cancelled",
        &json!([step("a", &repeat)]),
        &json!([record("a", "Cancelled", &midst)]),
    );
    let a = take_over(&source, 7).unwrap().steps.remove(0);
    assert_eq!((Phase::Running, false, 2, None), {
        let rounds = a.repeat.unwrap();
        (a.phase, a.closed, rounds.rounds, rounds.next_at)
    });
}

#[test]
fn what_cannot_be_gone_on_with_begins_anew() {
    let keys = json!({"over": {"data": "d", "split": {"keys": {"by": "k", "into": 10}}}});
    let exhausted = json!({"stopping": {"reason": EXHAUSTED, "message": "m"}, "repeat": {"rounds": 9}});
    for (declared, more) in [
        (keys, failed()),
        (json!({"repeat": {"until": "false", "max": 9}}), exhausted),
        // It had not come to its program: its plan may lack what it reads beside.
        (
            json!({"reads": [{"data": "d"}]}),
            json!({"card": null, "ledger": "", "partitions": {"total": 10}}),
        ),
    ] {
        let source = run(
            "Failed",
            &json!([step("a", &declared)]),
            &json!([record("a", "Failed", &more)]),
        );
        let taken = take_over(&source, 7).unwrap();
        assert_eq!(vec!["a"], names(&taken.anew), "{declared}");
        assert_eq!((Phase::Pending, 0), (taken.steps[0].phase, taken.from.kept));
    }
}

#[test]
fn files_are_neither_written_twice_nor_looked_for_elsewhere() {
    let writes = json!({"writes": [{"data": "d"}]});
    let reads = json!({"over": {"data": "d", "split": {"files": 1}}});
    let refusal = |steps: &Value, records: &Value| take_over(&run("Failed", steps, records), 7).unwrap_err();
    let steps = json!([step("a", &writes)]);
    let failing = json!([record("a", "Failed", &failed())]);
    assert!(matches!(refusal(&steps, &failing), Refusal::FilesWritten { step, .. } if step == "a"));
    // Behind what failed.
    let steps = json!([
        step("a", &json!({})),
        step("b", &json!({"after": ["a"], "writes": [{"data": "d"}]}))
    ]);
    let records = json!([
        record("a", "Succeeded", &failed()),
        record("b", "Succeeded", &json!({}))
    ]);
    assert!(matches!(refusal(&steps, &records), Refusal::FilesWritten { step, .. } if step == "b"));
    // The results of a step are a file, too, once they have been written.
    let steps = json!([step("a", &json!({"emit": {"to": "d"}}))]);
    let tolerated = |sweep: Value| {
        let mut record = record("a", "Succeeded", &failed());
        record["sweep"] = sweep;
        json!([record])
    };
    let emitted = refusal(&steps, &tolerated(json!("Done")));
    assert!(matches!(emitted, Refusal::FilesWritten { step, .. } if step == "a"));
    assert!(take_over(&run("Succeeded", &steps, &tolerated(Value::Null)), 7).is_ok());
    // Who lists them in the new run would find none; who has listed them knows them.
    let steps = json!([step("a", &writes), step("b", &reads)]);
    let unlisted = json!({"name": "b", "phase": "Failed", "closed": true, "startedAt": BEGAN});
    let records = json!([record("a", "Succeeded", &json!({})), unlisted]);
    assert!(matches!(refusal(&steps, &records), Refusal::FilesRead { reader, .. } if reader == "b"));
    let records = json!([record("a", "Succeeded", &json!({})), record("b", "Failed", &failed())]);
    assert!(take_over(&run("Failed", &steps, &records), 7).is_ok());
    // Nothing was written.
    let nothing = json!({"ledger": "", "partitions": {"total": 10}});
    let records = json!([record("a", "Failed", &nothing), {"name": "b", "phase": "Skipped", "skipped": "Failure", "closed": true}]);
    assert!(take_over(&run("Failed", &steps, &records), 7).is_ok());
}

#[test]
fn what_cannot_be_taken_over_is_refused_with_its_reason() {
    let steps = json!([step("a", &json!({}))]);
    let good = run("Failed", &steps, &json!([record("a", "Failed", &failed())]));
    assert!(take_over(&good, 7).is_ok());
    let refused = |change: &dyn Fn(&mut Workflow)| {
        let mut source = good.clone();
        change(&mut source);
        let refusal = take_over(&source, 7).unwrap_err();
        assert!(refusal.to_string().contains("old"), "{refusal}");
        refusal.reason()
    };
    let status = |source: &mut Workflow, change: &dyn Fn(&mut WorkflowStatus)| change(source.status.as_mut().unwrap());
    assert_eq!("SourceNotBegun", refused(&|source| source.status = None));
    assert_eq!(
        "SourceNotBegun",
        refused(&|source| status(source, &|status| status.started_at = None))
    );
    assert_eq!(
        "SourceNewer",
        refused(&|source| status(source, &|status| status.format = STATUS_FORMAT + 1))
    );
    assert_eq!("SourceNotEnded", refused(&|source| source.spec.retry_failed = Some(1)));
    for phase in [Phase::Running, Phase::Paused, Phase::Suspended] {
        let goes_on = |status: &mut WorkflowStatus| {
            status.phase = phase;
            status.steps[0].phase = phase;
        };
        assert_eq!("SourceNotEnded", refused(&|source| status(source, &goes_on)));
    }
    let succeeded = |status: &mut WorkflowStatus| {
        status.steps[0].phase = Phase::Succeeded;
        status.steps[0].failed = Intervals::new();
    };
    assert_eq!("NothingFailed", refused(&|source| status(source, &succeeded)));
    let odd = |status: &mut WorkflowStatus| status.steps[0].ledger = Intervals::new();
    assert_eq!("SourceUnreadable", refused(&|source| status(source, &odd)));
    let large = |status: &mut WorkflowStatus| {
        status.steps[0].results = vec![braid_crds::status::StepResult {
            name: "gone".into(),
            value: Some(json!("x".repeat(limits::STATUS_BYTES))),
            ..Default::default()
        }];
        let other = StepStatus {
            name: "b".into(),
            failed: Intervals::new(),
            phase: Phase::Succeeded,
            ..status.steps[0].clone()
        };
        status.steps.push(other);
    };
    assert_eq!(
        "StatusTooLarge",
        refused(&|source| {
            status(source, &large);
            let other = Step {
                name: "b".into(),
                ..source.spec.steps[0].clone()
            };
            source.spec.steps.push(other);
        })
    );
}

#[test]
fn what_is_done_is_taken_over_and_how_it_is_gone_about_is_not() {
    let source = run(
        "Failed",
        &json!([step("a", &json!({})), step("b", &json!({}))]),
        &json!([]),
    )
    .spec;
    let own = WorkflowSpec {
        suspend: true,
        ..WorkflowSpec::default()
    };
    let mut taken = spec(&own, &source);
    assert!(taken.suspend);
    taken.steps.reverse();
    taken.steps[0].max_failed_partitions = serde_json::from_value(json!("5%")).unwrap();
    taken.steps[1].parallelism = serde_json::from_value(json!(3)).unwrap();
    assert_eq!(None, difference(&taken, &source));
    taken.steps[0].run.command = vec!["false".into()];
    assert_eq!(Some("the steps (as \"b\")".to_owned()), difference(&taken, &source));
    taken = spec(&own, &source);
    taken.params = serde_json::from_value(json!([{"name": "p", "value": 1}])).unwrap();
    assert_eq!(Some("the params".to_owned()), difference(&taken, &source));
}

proptest! {
    /// What had succeeded, nothing else and nothing less, is counted when the new run begins.
    #[test]
    fn what_had_succeeded_is_what_is_counted(
        settled in prop::collection::btree_set(0_u64..10, 0..10),
        chosen in prop::collection::btree_set(0_u64..10, 0..10),
        cancelled in any::<bool>(),
    ) {
        let intervals = |set: &BTreeSet<u64>| -> Intervals { set.iter().map(|p| PartitionRange::new(*p, p + 1)).collect() };
        let bad: BTreeSet<u64> = settled.intersection(&chosen).copied().collect();
        let mut more = json!({"ledger": intervals(&settled), "failed": intervals(&bad)});
        if let Some(first) = bad.first() {
            more["failures"] = json!([{"reason": "Exit1", "count": bad.len(), "partitions": intervals(&bad), "sample": first}]);
        }
        let phase = if cancelled { "Cancelled" } else { "Failed" };
        let source = run(phase, &json!([step("a", &json!({}))]), &json!([record("a", phase, &more)]));
        let taken = take_over(&source, 7).unwrap();
        let good: BTreeSet<u64> = settled.difference(&bad).copied().collect();
        prop_assert_eq!(intervals(&good), taken.steps[0].ledger.clone());
        prop_assert!(taken.steps[0].failed.is_empty());
        prop_assert_eq!(good.len() as u64, taken.from.kept);
    }
}
