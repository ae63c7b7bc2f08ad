#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]
use braid_crds::status::{PartitionCounts, PlanRef, StepResult, WorkflowStatus};
use braid_crds::{WorkflowSpec, workflow::Step};
use serde_json::json;

use super::*;

fn step(name: &str, phase: Phase, succeeded: u64, total: u64) -> StepStatus {
    StepStatus {
        name: name.into(),
        phase,
        plan: (total > 0).then(|| PlanRef {
            partitions: total,
            ..PlanRef::default()
        }),
        partitions: PartitionCounts {
            total,
            succeeded,
            ..PartitionCounts::default()
        },
        ..StepStatus::default()
    }
}

fn workflow(steps: Vec<StepStatus>) -> Workflow {
    let spec = WorkflowSpec {
        steps: steps
            .iter()
            .scan(None::<String>, |before, step| {
                let after = before.replace(step.name.clone()).into_iter().collect();
                Some(Step {
                    name: step.name.clone(),
                    after,
                    ..Step::default()
                })
            })
            .collect(),
        ..WorkflowSpec::default()
    };
    let mut workflow = Workflow::new("w", spec);
    workflow.status = Some(WorkflowStatus {
        phase: Phase::Running,
        steps,
        ..WorkflowStatus::default()
    });
    workflow
}

const CANVAS: Canvas = Canvas {
    columns: 100,
    rows: 40,
    tint: Tint(false),
    frame: 2,
};

fn wall() -> Timestamp {
    Timestamp::from_second(0).unwrap()
}

#[test]
fn a_running_step_has_a_bar_a_speed_and_an_end() {
    let start = Instant::now();
    let mut board = Board::default();
    board.update(&workflow(vec![step("clean", Phase::Running, 40_000, 100_000)]), start);
    let mut later = step("clean", Phase::Running, 60_000, 100_000);
    later.results = vec![StepResult {
        name: "rows".into(),
        value: Some(json!(612_340_000)),
        count: 1,
        ..StepResult::default()
    }];
    let now = start + Duration::from_secs(10);
    board.update(&workflow(vec![later, step("publish", Phase::Pending, 0, 0)]), now);
    assert_eq!(
        vec![
            " ⠹ clean    ████████████████▊             60%  60,000/100,000  2,000/s  20s left",
            "            rows 612,340,000   (so far)",
            " · publish  waits for clean",
        ],
        board.draw(CANVAS, now, wall())
    );
    assert_eq!(
        vec!["clean: 60%  60,000/100,000  2,000/s  20s left  rows 612,340,000"],
        board.working(now, wall())
    );
}

/// Why a run that runs has no workers is told once it has lasted: in the live view, and between the lines of the plain one.
#[test]
fn what_holds_a_run_up_is_told() {
    let now = Instant::now();
    let mut waits = workflow(vec![step("clean", Phase::Running, 0, 10)]);
    let status = waits.status.as_mut().unwrap();
    let message = "0 of 2 workers are ready: ErrImagePull: w-0, main: not found";
    status.summary = Some(serde_json::from_value(json!({"message": message})).unwrap());
    let condition = |status: &str| {
        serde_json::from_value(json!({
            "type": "Progressing", "status": status, "reason": "NoWorkers", "message": message,
            "lastTransitionTime": "1970-01-01T00:00:00Z",
        }))
        .unwrap()
    };
    status.conditions = vec![condition("False")];
    let mut board = Board::default();
    board.update(&waits, now);
    let told = |board: &Board, seconds: i64| {
        let wall = Timestamp::from_second(seconds).unwrap();
        let told = |lines: Vec<String>| lines.iter().any(|line| line.contains("ErrImagePull"));
        (told(board.draw(CANVAS, now, wall)), told(board.working(now, wall)))
    };
    assert_eq!((false, false), told(&board, 1), "workers need a moment to start");
    assert_eq!((true, true), told(&board, 4));
    waits.status.as_mut().unwrap().conditions = vec![condition("True")];
    board.update(&waits, now);
    assert_eq!((false, false), told(&board, 4));
}

#[test]
fn lines_never_exceed_the_terminal() {
    let start = Instant::now();
    let mut board = Board::default();
    let mut steps: Vec<StepStatus> = (0..60)
        .map(|at| step(&format!("s{at}"), Phase::Succeeded, 10, 10))
        .collect();
    steps[30] = step("in-the-middle", Phase::Running, 5, 10);
    steps[40] = step("s40", Phase::Pending, 0, 0);
    board.update(&workflow(steps), start);
    let canvas = Canvas {
        columns: 30,
        rows: 10,
        ..CANVAS
    };
    let drawn = board.draw(canvas, start, wall());
    assert_eq!(3, drawn.len(), "{drawn:#?}");
    assert_eq!(" ✔ done: 58 of 60 steps", drawn[0]);
    assert_eq!(" · to come: 1 of 60 steps", drawn[2]);
    assert!(drawn.iter().all(|line| width(line) <= 30), "{drawn:#?}");
}

#[test]
fn a_bar_is_empty_at_nothing_and_full_at_all() {
    assert_eq!("    ", bar(share(0, 0), 4));
    assert_eq!("██▌ ", bar(share(5, 8), 4));
    assert_eq!("████", bar(share(u64::MAX, u64::MAX), 4));
    assert_eq!("████", bar(share(9, 8), 4));
}

#[test]
fn changes_are_told_once() {
    let mut board = Board::default();
    let mut told = Vec::new();
    board.update(&workflow(vec![step("a", Phase::Pending, 0, 0)]), Instant::now());
    assert!(board.changes(&mut told).is_empty());
    board.update(&workflow(vec![step("a", Phase::Running, 0, 1000)]), Instant::now());
    assert_eq!(vec!["a: Running, 0 of 1,000 partitions"], board.changes(&mut told));
    assert!(board.changes(&mut told).is_empty());
}
