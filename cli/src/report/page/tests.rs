#![allow(clippy::unwrap_used)]

use braid_crds::{
    status::{FailureCause, PartitionCounts, Phase, PlanRef, StepResult, StepStatus},
    worker::Mode,
    workflow::Step,
};
use serde_json::json;

use super::*;
use crate::timeline::{Entry, What};

fn hostile() -> Workflow {
    let evil = "<script>alert('x')</script>";
    let step = |name: &str, after: &[&str]| Step {
        name: name.into(),
        after: after.iter().map(|name| (*name).to_owned()).collect(),
        ..Step::default()
    };
    let mut workflow = Workflow::new(
        "words",
        braid_crds::WorkflowSpec {
            steps: vec![step("count", &[]), step(evil, &["count", evil, "nobody"])],
            ..braid_crds::WorkflowSpec::default()
        },
    );
    let mut status = WorkflowStatus {
        phase: Phase::Failed,
        steps: vec![StepStatus {
            name: "count".into(),
            phase: Phase::Failed,
            plan: Some(PlanRef::default()),
            message: evil.into(),
            partitions: PartitionCounts {
                total: 10,
                succeeded: 7,
                failed: 3,
                stopped: 0,
            },
            failures: vec![FailureCause {
                reason: evil.into(),
                count: 3,
                partitions: braid_crds::Intervals::default(),
                sample: 4,
                attempts: 1,
                message: evil.into(),
            }],
            results: vec![
                StepResult {
                    name: "words".into(),
                    value: Some(json!(1_234_567)),
                    count: 7,
                    ..serde_json::from_value(json!({"name": "words"})).unwrap()
                },
                StepResult {
                    name: "top".into(),
                    value: Some(json!({"a": 5, evil: 3, "c": -1, "d": "x"})),
                    ..serde_json::from_value(json!({"name": "top"})).unwrap()
                },
            ],
            ..StepStatus::default()
        }],
        ..WorkflowStatus::default()
    };
    status.outputs.insert("all".into(), json!(evil));
    workflow.status = Some(status);
    workflow
}

fn timeline() -> Timeline {
    let mut entries = Vec::new();
    for n in 0..40_i64 {
        let worker = format!("w-<{}>", n % 3);
        entries.push(Entry {
            at: n * 100,
            what: What::Assigned {
                worker: worker.clone(),
                shard: n,
                step: "count".into(),
                round: 0,
                start: u64::try_from(n).unwrap() * 10,
                end: u64::try_from(n).unwrap() * 10 + 10,
                mode: if n == 7 { Mode::Twin } else { Mode::Normal },
            },
        });
        if n != 39 {
            entries.push(Entry {
                at: n * 100 + if n == 20 { 3_000 } else { 90 },
                what: What::Sealed {
                    worker,
                    shard: n,
                    cursor: u64::try_from(n).unwrap() * 10 + 10,
                    failed: 0,
                    taken: n == 9,
                },
            });
        }
        entries.push(Entry {
            at: n * 100 + 95,
            what: What::Step {
                step: "count".into(),
                phase: Phase::Running,
                succeeded: u64::try_from(n).unwrap() * 10,
                failed: 0,
                total: 400,
            },
        });
    }
    Timeline { entries, unreadable: 1 }
}

#[test]
fn nothing_that_was_given_is_markup() {
    let page = page(&hostile(), &timeline(), Timestamp::UNIX_EPOCH);
    assert!(!page.contains("<script"), "{page}");
    assert!(!page.contains("w-<"), "{page}");
    assert!(page.contains("&lt;script&gt;"));
}

#[test]
fn everything_is_on_the_page() {
    let page = page(&hostile(), &timeline(), Timestamp::UNIX_EPOCH);
    for told in [
        "Failures by cause",
        "1,234,567",
        "Workers over time",
        "Partitions per second",
        "Slow shards",
        "braid logs words count --partition 4",
        "taken back by the operator",
        "1 lines of the timeline could not be read",
    ] {
        assert!(page.contains(told), "{told}");
    }
    let opened = |tag: &str| page.matches(&format!("<{tag}")).count();
    let closed = |tag: &str| page.matches(&format!("</{tag}>")).count();
    for tag in ["section", "table", "svg", "tr", "td", "g", "div", "title"] {
        assert_eq!(
            opened(&format!("{tag}>")) + opened(&format!("{tag} ")),
            closed(tag),
            "{tag}"
        );
    }
}

#[test]
fn a_run_without_a_timeline_has_a_page_too() {
    let empty = Workflow::new("none", braid_crds::WorkflowSpec::default());
    let page = page(&empty, &Timeline::default(), Timestamp::UNIX_EPOCH);
    assert!(page.contains("No timeline was kept"));
}
