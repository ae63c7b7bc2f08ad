//! Bells: how a pass over one object, or a watch, asks for a pass over another.
//!
//! Ringing never waits. A bell that is full has passes enough before it, and what is missed is seen at the next look, which every pass asks for.

use braid_crds::{Worker, WorkerPool, Workflow, worker::ShardSpec};
use futures::channel::mpsc;
use kube::{ResourceExt as _, runtime::reflector::ObjectRef};

use crate::{
    Context,
    counters::Kind,
    names,
    standing::{self, PoolKey},
};

/// Passes that may be asked for at once.
const BELLS: usize = 1024;

/// The bells of both kinds of passes.
#[derive(Clone, Debug)]
pub(crate) struct Bells {
    runs: mpsc::Sender<ObjectRef<Workflow>>,
    pools: mpsc::Sender<ObjectRef<WorkerPool>>,
}

/// What rings: objects that a pass is asked for.
pub(crate) type Rung<K> = mpsc::Receiver<ObjectRef<K>>;

impl Bells {
    pub(crate) fn new() -> (Self, Rung<Workflow>, Rung<WorkerPool>) {
        let (runs, runs_rung) = mpsc::channel(BELLS);
        let (pools, pools_rung) = mpsc::channel(BELLS);
        (Self { runs, pools }, runs_rung, pools_rung)
    }

    fn run(&self, namespace: &str, name: &str) {
        if self
            .runs
            .clone()
            .try_send(ObjectRef::new(name).within(namespace))
            .is_err()
        {
            tracing::debug!(name, "runs are asked for faster than they are looked at");
        }
    }

    fn pool(&self, namespace: &str, name: &str) {
        if self
            .pools
            .clone()
            .try_send(ObjectRef::new(name).within(namespace))
            .is_err()
        {
            tracing::debug!(name, "pools are asked for faster than they are looked at");
        }
    }
}

impl Context {
    /// Asks for a pass over a run.
    pub(crate) fn ring_run(&self, namespace: &str, name: &str) {
        if let Some(there) = self.at(namespace) {
            there.rung(Kind::Workflow, namespace, name);
            there.bells.run(namespace, name);
        }
    }

    /// Asks for a pass over a pool.
    pub(crate) fn ring_pool(&self, namespace: &str, name: &str) {
        if let Some(there) = self.at(namespace) {
            there.rung(Kind::WorkerPool, namespace, name);
            there.bells.pool(namespace, name);
        }
    }

    /// Rings for all whom a change of a worker concerns: its pool, if it is one that pools look at, the runs that have something on its desk,
    /// and, if it has nothing to do, all that might give it something.
    pub(crate) fn ring_of(&self, worker: &Worker, for_pool: bool) {
        let namespace = worker.namespace().unwrap_or_default();
        if for_pool {
            self.ring_pool(&namespace, &worker.spec.pool);
        }
        if let Some(run) = worker.labels().get(names::WORKFLOW) {
            return self.ring_run(&namespace, run);
        }
        let run = |shard: &ShardSpec| {
            let elsewhere = shard.run.namespace.as_ref();
            (elsewhere.unwrap_or(&namespace).clone(), shard.run.workflow.clone())
        };
        let mut runs: Vec<(String, String)> = worker.spec.shards.iter().map(run).collect();
        if standing::occupant(worker).is_none() {
            let on_it = self.runs_on(&PoolKey {
                namespace: namespace.clone(),
                name: worker.spec.pool.clone(),
            });
            let going = on_it
                .iter()
                .filter(|run| run.status.as_ref().is_some_and(|status| !status.phase.is_terminal()));
            runs.extend(going.map(|run| (run.namespace().unwrap_or_default(), run.name_any())));
        }
        runs.sort();
        runs.dedup();
        for (namespace, run) in &runs {
            self.ring_run(namespace, run);
        }
    }

    /// Rings for the standing pools of a run that is gone: what it has left in them is to be taken away.
    pub(crate) fn ring_if_gone(&self, run: &Workflow) {
        let namespace = run.namespace().unwrap_or_default();
        if !self.knows_run(&namespace, &run.name_any(), &names::uid(run)) {
            for pool in standing::references(run) {
                if pool.is_elsewhere(run) {
                    self.sweep_soon(&pool);
                }
                self.ring_pool(&pool.namespace, &pool.name);
            }
        }
    }
}
