#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]
//! Passes without a client: objects in, status and desks out.

use std::collections::HashMap;

use braid_crds::{
    Cursor, Intervals, PartitionRange, StartId, WorkerSpec, WorkerStatus,
    worker::{Partial, Settled, ShardSpec, ShardStatus},
};
use braid_engine::{protocol::wire, settlement::Settlement};
use serde_json::{Value, json};

use super::*;
use crate::leases::Liveness;

/// A run with its workers, advanced pass by pass as a cluster would.
struct World {
    workflow: Workflow,
    workers: Vec<(Worker, Liveness)>,
    now: Timestamp,
    memory: Memory,
}

impl World {
    fn new(spec: &Value, workers: usize) -> Self {
        let workflow: Workflow = serde_json::from_value(json!({
            "apiVersion": "braid.dev/v1alpha1", "kind": "Workflow",
            "metadata": {"name": "run", "namespace": "default", "uid": "uid-1", "generation": 1},
            "spec": spec,
        }))
        .unwrap();
        let mut world = Self {
            workers: (0..workers).map(|index| (worker(index), Liveness::Alive)).collect(),
            workflow,
            // Not a whole second: hardly any time is.
            now: Timestamp::new(1_800_000_000, 123_456_789).unwrap(),
            memory: Memory::default(),
        };
        world.workflow.status = Some(WorkflowStatus {
            format: STATUS_FORMAT,
            started_at: Some(stamp(world.now)),
            steps: world
                .workflow
                .spec
                .steps
                .iter()
                .map(|step| StepStatus {
                    name: step.name.clone(),
                    ..StepStatus::default()
                })
                .collect(),
            ..WorkflowStatus::default()
        });
        world
    }

    /// One pass, whose writes all succeed.
    fn pass(&mut self) -> Advance {
        let read =
            |(worker, liveness): &(Worker, Liveness)| DeskView::read(Arc::new(worker.clone()), *liveness).unwrap();
        let mut desks = Desks(self.workers.iter().map(read).collect());
        desks.watch(&mut self.memory);
        let status = self.workflow.status.clone().unwrap();
        let dag = Dag::new(&self.workflow.spec.steps).unwrap();
        let view = View {
            workflow: &self.workflow,
            desks: &desks,
            now: self.now,
        };
        let mut advance = advance(view, &dag, &status).unwrap();
        let mut cards = HashMap::new();
        freeze(&self.workflow, &mut advance.status, &mut cards);
        wait_or_run(&view, &mut advance.status);
        conditions::describe(
            &self.workflow,
            &mut advance.status,
            &Hands {
                working: desks.working(),
                ..Hands::default()
            },
            self.now,
        );
        let stored = serde_json::from_value(serde_json::to_value(&advance.status).unwrap()).unwrap();
        assert_eq!(advance.status, stored, "it does not come back as it was sent");
        self.workflow.status = Some(stored);
        let programs = self.workflow.spec.steps.iter().filter_map(|step| {
            let known = advance.status.steps.iter().find(|known| known.name == step.name)?;
            let plan = if known.phase == Phase::Planning {
                None
            } else {
                known.plan.as_ref()
            };
            Some((
                step.name.clone(),
                program(&self.workflow, step, &advance.status, plan).ok()?,
            ))
        });
        let programs = programs.collect();
        let folded = advance
            .folded
            .iter()
            .map(|(index, id)| (desks.0[*index].uid.clone(), *id))
            .collect();
        let settling = settle::Settling {
            view: View {
                workflow: &self.workflow,
                desks: &desks,
                now: self.now,
            },
            status: &advance.status,
            cards: &programs,
            folded: &folded,
            cuts: 10,
        };
        for (index, spec) in settle::settle(&settling).unwrap().0 {
            self.workers[index].0.spec = spec;
        }
        advance
    }

    fn step(&self, name: &str) -> &StepStatus {
        let steps = &self.workflow.status.as_ref().unwrap().steps;
        steps.iter().find(|step| step.name == name).unwrap()
    }

    fn shards(&self, worker: usize) -> &[ShardSpec] {
        &self.workers[worker].0.spec.shards
    }

    /// The worker settles its shards up to so many partitions each and seals them.
    fn work(&mut self, worker: usize, settle: impl Fn(u64, &mut Settlement)) {
        let worker = &mut self.workers[worker].0;
        let status = worker.status.as_mut().unwrap();
        for shard in &worker.spec.shards {
            if status.shards.iter().any(|commit| commit.id == shard.id) || shard.seal {
                continue;
            }
            let mut content = Settlement::default();
            (shard.start..shard.end).for_each(|partition| settle(partition, &mut content));
            let mut commit = ShardStatus {
                id: shard.id,
                start_id: shard.start_id.clone(),
                cursor: Cursor(shard.end),
                sealed: true,
                ..ShardStatus::default()
            };
            content.write_to_shard_status(&mut commit);
            status.shards.push(commit);
        }
    }

    fn work_all(&mut self, settle: impl Fn(u64, &mut Settlement) + Copy) {
        for _ in 0..40 {
            self.pass();
            (0..self.workers.len()).for_each(|worker| self.work(worker, settle));
        }
        self.pass();
    }
}

fn worker(index: usize) -> Worker {
    let mut worker = Worker::new(
        &format!("w{index}"),
        WorkerSpec {
            pod_uid: format!("pod-{index}"),
            pool: "pool".into(),
            ..WorkerSpec::default()
        },
    );
    worker.metadata.uid = Some(format!("worker-{index}"));
    worker.status = Some(WorkerStatus {
        start_id: Some(StartId::from("start")),
        ..WorkerStatus::default()
    });
    worker
}

fn over(steps: &Value) -> Value {
    json!({ "steps": steps })
}

fn range(name: &str, end: u64) -> Value {
    json!({"name": name, "over": {"range": {"end": end}}, "run": {"command": ["true"]}})
}

fn after(mut step: Value, names: &[&str]) -> Value {
    step["after"] = json!(names);
    step
}

fn nothing(_: u64, _: &mut Settlement) {}

#[test]
fn a_chain_runs_to_its_end_and_every_partition_is_settled_once() {
    let mut world = World::new(
        &over(&json!([
            range("a", 100),
            after(range("b", 7), &["a"]),
            range("none", 0)
        ])),
        3,
    );
    world.work_all(nothing);
    let status = world.workflow.status.as_ref().unwrap();
    assert_eq!(Phase::Succeeded, status.phase, "{status:#?}");
    assert_eq!("0-99", world.step("a").ledger.to_string());
    assert_eq!("0-6", world.step("b").ledger.to_string());
    assert!(status.steps.iter().all(|step| step.closed));
    assert!(
        (0..3).all(|worker| world.shards(worker).is_empty()),
        "nothing stays on a desk"
    );
    assert!((0..3).all(|worker| world.workers[worker].0.spec.cards.is_empty()));
}

#[test]
fn what_follows_starts_in_the_status_that_ends_what_was_before() {
    let mut world = World::new(&over(&json!([range("a", 1), after(range("b", 1), &["a"])])), 1);
    world.pass();
    world.pass();
    world.work(0, nothing);
    let advance = world.pass();
    assert!(advance.urgent);
    assert_eq!(
        (Phase::Succeeded, Phase::Running),
        (world.step("a").phase, world.step("b").phase)
    );
    assert!(
        world.shards(0).iter().any(|shard| shard.run.step == "b"),
        "and is handed out in the same pass"
    );
}

#[test]
fn a_shard_leaves_its_desk_only_in_a_pass_that_finds_it_counted() {
    let mut world = World::new(&over(&json!([range("a", 4)])), 1);
    world.pass();
    world.pass();
    let ids: Vec<ShardId> = world.shards(0).iter().map(|shard| shard.id).collect();
    world.pass();
    assert!(
        ids.iter().all(|id| world.shards(0).iter().any(|shard| shard.id == *id)),
        "open shards stay"
    );
    world.work(0, nothing);
    world.pass();
    let settled: &[Settled] = &world.workers[0].0.spec.settled;
    assert!(ids.iter().all(|id| {
        settled
            .iter()
            .any(|gone| gone.id == *id && gone.outcome == braid_crds::worker::Outcome::Folded)
    }));
}

#[test]
fn too_many_failures_stop_the_step_and_skip_what_follows() {
    let mut world = World::new(&over(&json!([range("a", 50), after(range("b", 1), &["a"])])), 2);
    world.work_all(|partition, content| {
        if partition == 3 {
            content.fail(partition, braid_engine::retry::Reason::Exit(7), 1, "boom");
        }
    });
    assert_eq!(
        (Phase::Failed, Phase::Skipped),
        (world.step("a").phase, world.step("b").phase)
    );
    let status = world.workflow.status.as_ref().unwrap();
    assert_eq!(Phase::Failed, status.phase);
    let failed = status
        .conditions
        .iter()
        .find(|condition| condition.type_ == "Failed")
        .unwrap();
    assert_eq!(
        ("True", "TooManyFailedPartitions"),
        (failed.status.as_str(), failed.reason.as_str())
    );
    assert!(
        failed.message.contains("Exit7") && failed.message.contains("boom"),
        "{}",
        failed.message
    );
}

#[test]
fn tolerated_failures_are_settled_and_named() {
    let mut spec = over(&json!([range("a", 50)]));
    spec["steps"][0]["maxFailedPartitions"] = json!("10%");
    let mut world = World::new(&spec, 2);
    world.work_all(|partition, content| {
        if partition % 10 == 0 {
            content.fail(partition, braid_engine::retry::Reason::Exit(1), 1, "no");
        }
    });
    let step = world.step("a");
    assert_eq!(
        (Phase::Succeeded, 5, 45),
        (step.phase, step.partitions.failed, step.partitions.succeeded)
    );
    assert_eq!("0,10,20,30,40", step.failed.to_string());
    assert_eq!(
        ("Exit1", 5, 0),
        (
            step.failures[0].reason.as_str(),
            step.failures[0].count,
            step.failures[0].sample
        )
    );
}

#[test]
fn a_lost_worker_is_sealed_its_commit_counts_and_the_rest_is_run_by_others() {
    let mut world = World::new(&over(&json!([range("a", 40)])), 2);
    world.pass();
    world.pass();
    let shard = world.shards(0)[0].clone();
    let half = shard.start + 2;
    let commit = ShardStatus {
        id: shard.id,
        start_id: shard.start_id,
        cursor: Cursor(half),
        ..ShardStatus::default()
    };
    world.workers[0].0.status.as_mut().unwrap().shards.push(commit);
    world.workers[0].1 = Liveness::Stopped;
    world.pass();
    assert!(world.shards(0).iter().all(|shard| shard.seal));
    for _ in 0..20 {
        world.pass();
        world.work(1, nothing);
    }
    world.pass();
    assert_eq!(Phase::Succeeded, world.step("a").phase);
    assert!(world.shards(0).is_empty());
    assert!(
        world.step("a").suspects.is_empty(),
        "nobody is blamed for a worker that was stopped"
    );
}

#[test]
fn a_partition_that_kills_its_worker_again_and_again_is_set_aside() {
    let mut spec = over(&json!([range("a", 10)]));
    spec["steps"][0]["maxFailedPartitions"] = json!(1);
    let mut world = World::new(&spec, 2);
    // Partition 6 kills whoever runs it; all others succeed, one commit each where the shard is suspect.
    for round in 0..60 {
        world.pass();
        for index in 0..world.workers.len() {
            let Some(shard) = world.shards(index).iter().find(|shard| !shard.seal).cloned() else {
                continue;
            };
            let suspect = shard.mode == braid_crds::worker::Mode::Suspect;
            if (shard.start..shard.end).contains(&6) {
                let cursor = if suspect { 6 } else { shard.start };
                let commit = ShardStatus {
                    id: shard.id,
                    start_id: shard.start_id.clone(),
                    cursor: Cursor(cursor),
                    ..ShardStatus::default()
                };
                let status = world.workers[index].0.status.as_mut().unwrap();
                if cursor > shard.start {
                    status.shards.push(commit);
                }
                world.workers[index].1 = Liveness::Died;
                let mut next = worker(world.workers.len() + round);
                next.metadata.name = Some(format!("r{round}-{index}"));
                world.workers.push((next, Liveness::Alive));
            } else {
                world.work(index, nothing);
            }
        }
    }
    let step = world.step("a");
    assert_eq!(Phase::Succeeded, step.phase, "{step:#?}");
    assert_eq!(
        ("6", "WorkerDied"),
        (step.failed.to_string().as_str(), step.failures[0].reason.as_str())
    );
    let dead = world
        .workers
        .iter()
        .filter(|(_, liveness)| *liveness == Liveness::Died)
        .count();
    assert!((3..=5).contains(&dead), "{dead} workers died");
}

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

#[test]
fn a_step_that_takes_too_long_fails() {
    let mut spec = over(&json!([range("a", 40)]));
    spec["steps"][0]["timeout"] = json!("10s");
    let mut world = World::new(&spec, 1);
    world.pass();
    world.now = world.now.checked_add(jiff::SignedDuration::from_secs(11)).unwrap();
    world.pass();
    assert_eq!("StepTimeout", world.step("a").stopping.as_ref().unwrap().reason);
    world.work(0, nothing);
    world.pass();
    world.pass();
    assert_eq!(Phase::Failed, world.step("a").phase);
}

#[test]
fn one_worker_makes_the_plan_and_the_first_that_is_seen_counts() {
    let mut world = World::new(
        &json!({
            "data": [{"name": "d", "files": {"url": "*.txt"}}],
            "steps": [{"name": "a", "over": {"data": "d", "split": {"files": 1}}, "run": {"command": ["true"]}}],
        }),
        2,
    );
    world.pass();
    world.pass();
    let planning: Vec<&ShardSpec> = (0..2).flat_map(|worker| world.shards(worker)).collect();
    assert_eq!(1, planning.len());
    assert_eq!(braid_crds::worker::Mode::Plan, planning[0].mode);
    let (id, start_id) = (planning[0].id, planning[0].start_id.clone());
    let plan = PlanRef {
        partitions: 3,
        digest: "sha256:00".into(),
        chunks: 1,
        files: 3,
        bytes: 9,
    };
    let commit = ShardStatus {
        id,
        start_id,
        cursor: Cursor(1),
        sealed: true,
        plan: Some(plan.clone()),
        ..ShardStatus::default()
    };
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
    let mut world = World::new(
        &json!({
            "data": [{"name": "d", "files": {"url": "*.txt"}}],
            "steps": [{"name": "a", "over": {"data": "d", "split": {"files": 1}}, "run": {"command": ["true"]}}],
        }),
        1,
    );
    world.pass();
    world.pass();
    let (id, start_id) = (world.shards(0)[0].id, world.shards(0)[0].start_id.clone());
    let fatal = Fatal {
        reason: "NoFiles".into(),
        message: "nothing matches *.txt".into(),
    };
    let commit = ShardStatus {
        id,
        start_id,
        cursor: Cursor(1),
        sealed: true,
        fatal: Some(fatal),
        ..ShardStatus::default()
    };
    world.workers[0].0.status.as_mut().unwrap().shards.push(commit);
    world.pass();
    world.pass();
    assert_eq!(Phase::Failed, world.step("a").phase);
    assert!(world.step("a").message.contains("nothing matches *.txt"));
    assert!(world.shards(0).is_empty());
}

#[test]
fn a_status_that_would_be_too_large_keeps_its_record() {
    let mut world = World::new(&over(&json!([range("a", 40)])), 1);
    world.pass();
    let before = world.workflow.status.clone().unwrap();
    let mut next = before.clone();
    next.steps[0].ledger.insert(PartitionRange::new(0, 10));
    let kept = too_large(&before, &next, 300_000);
    assert!(kept.steps[0].ledger.is_empty());
    let stopping = kept.steps[0].stopping.as_ref().unwrap();
    assert_eq!("ResultTooLarge", stopping.reason);
    assert!(stopping.message.contains("300000 bytes"));
}

#[test]
fn a_commit_that_cannot_be_read_is_refused_and_not_believed() {
    let mut broken = worker(0);
    broken.spec.shards = vec![ShardSpec {
        id: ShardId(0),
        start: 0,
        end: 4,
        ..ShardSpec::default()
    }];
    broken.spec.next_shard_id = ShardId(1);
    let commit = ShardStatus {
        id: ShardId(0),
        cursor: Cursor(9),
        partials: vec![Partial {
            name: "n".into(),
            state: "!".into(),
        }],
        ..ShardStatus::default()
    };
    broken.status.as_mut().unwrap().shards.push(commit);
    assert!(wire::desk(&broken).is_err());
}
