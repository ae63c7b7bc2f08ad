//! The workers of a run, as one pass sees them.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
    time::Instant,
};

use braid_crds::{
    PROTOCOL, Round, ShardId, Worker,
    worker::{Mode, ShardSpec, ShardStatus},
};
use braid_engine::{
    assign::{Fitness, Seat, Watched},
    protocol::{
        Desk,
        wire::{self, Braid, WireError},
    },
};

use super::memory::Memory;
use crate::{
    leases::Liveness,
    names,
    pods::Death,
    standing::{self, PoolKey, Tenant},
};

/// A worker of the run.
#[derive(Clone, Debug)]
pub struct DeskView {
    /// The object.
    pub worker: Arc<Worker>,
    /// Its uid.
    pub uid: String,
    /// What the protocol reads in it.
    pub desk: Desk<Braid>,
    /// Whether it can be given work of this run.
    pub fitness: Fitness,
    /// Whether it can be given work at all.
    pub able: Fitness,
    /// Of what it died, if by itself: what it ran may be to blame.
    pub to_blame: Option<Death>,
    /// For how long its first open shard has been watched.
    pub watched: Watched,
}

impl DeskView {
    /// Reads an object. An object that cannot be read holds no work that could be lost: it is reported and left out.
    pub fn read(worker: Arc<Worker>, liveness: Liveness) -> Result<Self, WireError> {
        let desk = wire::desk(&worker)?;
        let (fitness, to_blame) = match liveness {
            Liveness::Alive if worker.spec.drain => (Fitness::Draining, None),
            Liveness::Ending => (Fitness::Draining, None),
            Liveness::Alive if !is_understood(&worker) => (Fitness::Draining, None),
            Liveness::Alive => (Fitness::Working, None),
            Liveness::Silent | Liveness::Stopped => (Fitness::Lost, None),
            Liveness::Died(death) => (Fitness::Lost, Some(death)),
        };
        Ok(Self {
            uid: names::uid(worker.as_ref()),
            worker,
            desk,
            fitness,
            able: fitness,
            to_blame,
            watched: Watched::default(),
        })
    }

    /// Its shards of that mode, step and round, with what was committed of them.
    pub fn shards_of(
        &self,
        mode: Mode,
        uid: &str,
        step: &str,
        round: Round,
    ) -> impl Iterator<Item = (&ShardSpec, Option<&ShardStatus>)> {
        self.worker
            .spec
            .shards
            .iter()
            .filter(move |shard| {
                shard.mode == mode && shard.run.uid == uid && shard.run.step == step && shard.run.round == round
            })
            .map(|shard| (shard, self.commit(shard.id)))
    }

    /// What was committed of a shard.
    pub fn commit(&self, id: ShardId) -> Option<&ShardStatus> {
        self.worker
            .status
            .as_ref()?
            .shards
            .iter()
            .find(|commit| commit.id == id)
    }

    /// Whether nothing more can be committed to a shard.
    pub fn is_sealed(&self, shard: &ShardSpec) -> bool {
        shard.seal || self.commit(shard.id).is_some_and(|commit| commit.sealed)
    }

    /// Whether its worker sealed a shard with nothing under way and nothing deferred: then nobody waits for it to leave.
    pub fn leaves_nothing(&self, shard: &ShardSpec) -> bool {
        let commit = self.commit(shard.id).filter(|commit| commit.sealed && !shard.seal);
        commit.is_some_and(|commit| commit.begun == 0 && commit.deferred.is_empty())
    }

    /// Its first open shard of a run.
    pub fn current_of(&self, uid: &str) -> Option<&ShardSpec> {
        let mut shards = self.worker.spec.shards.iter();
        shards.find(|shard| shard.run.uid == uid && !self.is_sealed(shard))
    }

    /// Whether there is anything of a run on it.
    pub fn has(&self, uid: &str) -> bool {
        self.worker.spec.shards.iter().any(|shard| shard.run.uid == uid)
    }

    /// Its first open shard.
    pub fn current(&self) -> Option<&ShardSpec> {
        self.worker.spec.shards.iter().find(|shard| !self.is_sealed(shard))
    }
}

/// Whether a worker reads what this operator writes. One of another version, as in a rolling upgrade, finishes what it has. What it speaks
/// is known once it has begun, and nothing is assigned before.
pub(crate) fn is_understood(worker: &Worker) -> bool {
    let begun = worker.status.as_ref().filter(|status| status.start_id.is_some());
    begun.is_none_or(|status| status.protocol.min <= PROTOCOL.1 && PROTOCOL.0 <= status.protocol.max)
}

/// All workers of a run.
#[derive(Clone, Debug, Default)]
pub struct Desks(pub Vec<DeskView>);

impl Desks {
    /// All shards on all desks, each with the uid of its worker.
    pub fn held(&self) -> HashSet<(&str, ShardId)> {
        self.0
            .iter()
            .flat_map(|view| {
                view.worker
                    .spec
                    .shards
                    .iter()
                    .map(|shard| (view.uid.as_str(), shard.id))
            })
            .collect()
    }

    /// Says of each worker of a standing pool whether it is this run's: one that is another's, or that the run may not have any more, finishes
    /// what it runs of this one, and one that another is still at work on is not given more.
    pub fn share(&mut self, uid: &str, pool: &PoolKey, is_allowed: bool, tenants: &[Tenant]) {
        let of_pool = |view: &&mut DeskView| {
            let started = view.desk.start.is_some();
            pool.has(&view.worker) && view.able == Fitness::Working && started
        };
        if !is_allowed {
            for view in self.0.iter_mut().filter(of_pool) {
                view.fitness = Fitness::Yielding;
            }
            return;
        }
        let mut views: Vec<&mut DeskView> = self.0.iter_mut().filter(of_pool).collect();
        let workers: Vec<Arc<Worker>> = views.iter().map(|view| view.worker.clone()).collect();
        let workers: Vec<&Worker> = workers.iter().map(Arc::as_ref).collect();
        let owners = standing::owners(tenants, &workers);
        for (view, owner) in views.iter_mut().zip(owners) {
            let is_occupied = standing::occupant(&view.worker).is_some_and(|other| other != uid);
            view.fitness = match owner {
                Some(owner) if owner != uid => Fitness::Yielding,
                _ if is_occupied => Fitness::Draining,
                _ => Fitness::Working,
            };
        }
    }

    /// Notes for how long each first open shard of a run has been watched.
    pub fn watch(&mut self, uid: &str, memory: &mut Memory) {
        let mut seen = HashMap::new();
        for view in &mut self.0 {
            let Some(current) = view.current_of(uid) else { continue };
            let key = (view.uid.clone(), current.id);
            let since = memory.watch(&key, current.budget_millis == 0);
            view.watched = since.ages();
            seen.insert(key, since);
        }
        memory.watched = seen;
        self.watch_seals(memory);
    }

    /// Notes since when shards have been sealed that are not counted yet.
    fn watch_seals(&self, memory: &mut Memory) {
        let now = Instant::now();
        let mut sealed = HashMap::new();
        for view in &self.0 {
            for shard in view.worker.spec.shards.iter().filter(|shard| view.is_sealed(shard)) {
                let key = (view.uid.clone(), shard.id);
                if !memory.folded.contains(&key) {
                    let since = memory.sealed.get(&key).copied().unwrap_or(now);
                    sealed.insert(key, since);
                }
            }
        }
        memory.sealed = sealed;
    }

    /// The protocol's desks, keyed by position.
    pub fn protocol(&self) -> impl Iterator<Item = (usize, &Desk<Braid>)> + Clone {
        self.0.iter().enumerate().map(|(index, view)| (index, &view.desk))
    }

    /// The policy's seats, keyed by position.
    pub fn seats(&self) -> Vec<Seat<'_, Braid, usize>> {
        self.0
            .iter()
            .enumerate()
            .map(|(key, view)| Seat {
                key,
                desk: &view.desk,
                stored: &view.desk,
                fitness: view.fitness,
                watched: view.watched,
            })
            .collect()
    }

    /// How many could work now.
    pub fn working(&self) -> usize {
        self.0
            .iter()
            .filter(|view| view.fitness == Fitness::Working && view.desk.start.is_some())
            .count()
    }

    /// Whether any desk has a shard of a step.
    pub fn any(&self, uid: &str, step: &str) -> bool {
        let mut shards = self.0.iter().flat_map(|view| &view.worker.spec.shards);
        shards.any(|shard| shard.run.uid == uid && shard.run.step == step)
    }

    /// Whether any shard of a step is still open.
    pub fn any_open(&self, uid: &str, step: &str) -> bool {
        self.0.iter().any(|view| {
            let mut shards = view.worker.spec.shards.iter();
            shards.any(|shard| shard.run.uid == uid && shard.run.step == step && !view.is_sealed(shard))
        })
    }
}
