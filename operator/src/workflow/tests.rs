#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]
//! Passes without a client: objects in, status and desks out.

use std::collections::HashMap;

use braid_crds::{
    Cursor, Intervals, PROTOCOL, PartitionRange, ShardId, StartId, Worker, WorkerSpec, WorkerStatus, limits,
    status::{PlanRef, StepStatus},
    worker::{Partial, ProtocolRange, Settled, ShardSpec, ShardStatus},
};
use braid_engine::{protocol::wire, settlement::Settlement};
use serde_json::{Value, json};

use super::{
    accepting::unstarted,
    advance::Advance,
    programs::{freeze, program},
    record::too_large,
    *,
};
use crate::leases::Liveness;

mod counting;
mod failures;
mod flow;
mod planning;
mod publishing;
mod resuming;
mod retrying;
mod rounds;
mod shuffling;
mod stopping;

/// Where an operator ends within a pass.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Crash {
    Nowhere,
    BeforeStatus,
    BeforeDesks,
    AfterADesk,
}

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
            steps: unstarted(&world.workflow.spec.steps),
            ..WorkflowStatus::default()
        });
        world
    }

    /// One pass, whose writes all succeed.
    fn pass(&mut self) -> Advance {
        self.pass_until(Crash::Nowhere)
    }

    /// One pass of an operator that ends there; the next is another's, who remembers nothing.
    fn pass_until(&mut self, crash: Crash) -> Advance {
        let read =
            |(worker, liveness): &(Worker, Liveness)| DeskView::read(Arc::new(worker.clone()), *liveness).unwrap();
        let mut desks = Desks(self.workers.iter().map(read).collect());
        desks.watch("uid-1", &mut self.memory);
        let status = self.workflow.status.clone().unwrap();
        let dag = Dag::new(&self.workflow.spec.steps).unwrap();
        let view = View {
            workflow: &self.workflow,
            desks: &desks,
            now: self.now,
        };
        let mut advance = advance(view, &dag, &status, &mut self.memory.compiled).unwrap();
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
        if crash == Crash::BeforeStatus {
            self.memory = Memory::default();
            return advance;
        }
        self.workflow.status = Some(stored);
        if crash == Crash::BeforeDesks {
            self.memory = Memory::default();
            return advance;
        }
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
            .map(|(index, id)| (desks.0[*index].uid.clone(), *id));
        self.memory.folded.extend(folded);
        let settling = settle::Settling {
            view: View {
                workflow: &self.workflow,
                desks: &desks,
                now: self.now,
            },
            status: &advance.status,
            cards: &programs,
            pools: &std::collections::BTreeMap::new(),
            places: &places::of(&self.workflow, &advance.status),
            folded: &self.memory.folded,
            cuts: 10,
        };
        for (index, spec) in settle::settle(&settling).unwrap().0 {
            self.workers[index].0.spec = spec;
            if crash == Crash::AfterADesk {
                self.memory = Memory::default();
                break;
            }
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
        let committed = self.workers[worker].0.status.clone().unwrap().shards;
        for shard in self.shards(worker).to_vec() {
            if committed.iter().all(|commit| commit.id != shard.id) && !shard.seal {
                self.seal(worker, &shard, shard.end, &settle);
            }
        }
    }

    /// The worker settles a shard up to that partition and seals it, with nothing under way.
    fn seal(&mut self, worker: usize, shard: &ShardSpec, cursor: u64, settle: impl Fn(u64, &mut Settlement)) {
        let mut content = Settlement::default();
        (shard.start..cursor).for_each(|partition| settle(partition, &mut content));
        let mut commit = ShardStatus {
            id: shard.id,
            start_id: shard.start_id.clone(),
            cursor: Cursor(cursor),
            sealed: true,
            ..ShardStatus::default()
        };
        content.write_to_shard_status(&mut commit);
        self.workers[worker].0.status.as_mut().unwrap().shards.push(commit);
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
        protocol: ProtocolRange {
            min: PROTOCOL.0,
            max: PROTOCOL.1,
        },
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
