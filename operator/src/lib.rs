//! Braid's operator: turns `Workflow` objects into work on workers' desks, and what the workers committed into status.
//!
//! [`run`] contends for leadership and, while it leads, keeps two controllers going: runs ([`workflow`]) and pools
//! ([`pool`]). Nothing it remembers is needed: everything is recomputed from objects, so it may be killed at any write,
//! and two of them at once waste work but count nothing twice. A pass that panics is a failed pass of one object.

use std::{
    collections::{BTreeSet, HashMap},
    sync::{Arc, Mutex, PoisonError, atomic::AtomicBool},
    time::{Duration, Instant},
};

use braid_crds::{Worker, WorkerPool, Workflow};
use kube::{
    Client, Resource, ResourceExt as _,
    runtime::reflector::{ObjectRef, Store},
};

pub mod api;
mod bells;
mod concerns;
pub mod counters;
pub mod definitions;
pub mod events;
pub mod fresh;
pub mod jobs;
pub mod leases;
pub mod metered;
pub mod names;
mod passes;
pub mod pods;
pub mod pool;
pub mod probe;
mod realms;
pub mod results;
pub mod runtime;
pub mod service;
pub mod stages;
pub mod standing;
mod waiting;
pub mod workflow;

pub use counters::Counters;
pub use realms::Realm;
pub use runtime::{OperatorError, run};

use bells::Bells;
use events::Events;
use fresh::Fresh;
use leases::Leases;
use pods::PodSource;
use realms::Realms;
use stages::Stage;
use waiting::Waiting;

/// What an operator is started with.
#[derive(Clone, Debug)]
pub struct Options {
    /// Who it is, for the leader's Lease: unique among operators.
    pub identity: String,
    /// Where the leader's Lease is.
    pub namespace: String,
    /// The leader's Lease.
    pub lease_name: String,
    /// Workers for a run.
    pub workers: i32,
    /// How long a worker's Lease lasts.
    pub worker_lease: Duration,
    /// How long the leader's Lease lasts.
    pub leader_lease: Duration,
    /// How often a run's status is written at most, but for the ends of its phases: what a write costs is shared by all
    /// shards that were sealed meanwhile.
    pub status_interval: Duration,
    /// Passes at the same time, over different objects.
    pub concurrency: u16,
    /// The only namespaces whose objects are looked at; none named: all of them.
    pub watch: BTreeSet<String>,
    /// Whether runs' events are told. Not on a laptop, where progress is seen.
    pub events: bool,
    /// How often standing pools are looked over for plans of runs that are over.
    pub sweep_interval: Duration,
    /// Whether steps that need different pods get different ones. Not on a laptop, where there is one machine.
    pub pod_classes: bool,
}

impl Options {
    /// The defaults, for so many workers.
    #[must_use]
    pub fn new(identity: impl Into<String>, workers: i32) -> Self {
        Self {
            identity: identity.into(),
            namespace: "default".into(),
            lease_name: runtime::LEADER_LEASE.into(),
            workers,
            worker_lease: Duration::from_secs(15),
            leader_lease: Duration::from_secs(15),
            status_interval: Duration::from_secs(2),
            sweep_interval: Duration::from_mins(1),
            concurrency: 8,
            watch: BTreeSet::new(),
            events: false,
            pod_classes: false,
        }
    }
}

/// What passes share.
pub struct Context {
    /// The API server.
    pub client: Client,
    /// As started.
    pub options: Options,
    /// Where workers come from.
    pub pods: Arc<dyn PodSource>,
    /// Which workers are alive.
    pub leases: Leases,
    /// Answers of own writes to runs.
    pub fresh_workflows: Fresh<Workflow>,
    /// Answers of own writes to desks.
    pub fresh_workers: Fresh<Worker>,
    /// What was done, for metrics and tests.
    pub counters: Arc<Counters>,
    /// What happens to runs, for people.
    pub events: Events,
    /// Whose objects the copies are of.
    realm: Realm,
    /// Who has copies of the others.
    realms: Arc<Realms>,
    /// Whether workers and pools have been read once.
    read: AtomicBool,
    /// What waits for a pass.
    waiting: Waiting,
    workers: Store<Worker>,
    pools: Store<WorkerPool>,
    workflows: Store<Workflow>,
    /// Passes that somebody else's pass asks for.
    bells: Bells,
    /// Since when standing pools have had more workers than there is work for, by uid.
    idle_pools: Mutex<HashMap<String, Instant>>,
    /// When standing pools were last looked over for plans of runs that are over, by uid.
    swept_pools: Mutex<HashMap<String, Instant>>,
    memories: Mutex<HashMap<String, Arc<tokio::sync::Mutex<workflow::Memory>>>>,
}

impl Context {
    /// The desks of a pool, none older than this operator's own last write.
    fn desks_of_pool(&self, pool_uid: &str) -> Vec<Arc<Worker>> {
        let mut desks: Vec<Arc<Worker>> = self
            .workers
            .state_filter(|worker| worker.labels().get(names::POOL_UID).is_some_and(|uid| uid == pool_uid))
            .into_iter()
            .map(|worker| self.fresh_workers.newest(worker))
            .collect();
        desks.sort_by_cached_key(|desk| desk.name_any());
        desks
    }

    /// Whether an object is there, as the watches have it.
    fn is_there(&self, kind: counters::Kind, namespace: &str, name: &str) -> bool {
        match kind {
            counters::Kind::Workflow => self.workflows.get(&ObjectRef::new(name).within(namespace)).is_some(),
            counters::Kind::WorkerPool => self.pools.get(&ObjectRef::new(name).within(namespace)).is_some(),
        }
    }

    /// Something has happened that is worth a pass over an object.
    fn rung(&self, kind: counters::Kind, namespace: &str, name: &str) {
        if self.is_there(kind, namespace, name) {
            self.waiting.rung(kind, namespace, name);
        }
    }

    /// A watch shows an object: there will be a pass, unless it is gone.
    fn saw<K: Resource>(&self, kind: counters::Kind, object: Option<&K>) {
        let Some(object) = object else { return };
        let (namespace, name) = (object.namespace().unwrap_or_default(), object.name_any());
        if self.is_there(kind, &namespace, &name) {
            self.waiting.rung(kind, &namespace, &name);
        } else {
            self.waiting.gone(kind, &namespace, &name);
            // A deletion that waits for nothing makes no pass.
            self.forget(&names::uid(object));
        }
    }

    fn pool(&self, namespace: &str, name: &str) -> Option<Arc<WorkerPool>> {
        self.pools.get(&ObjectRef::new(name).within(namespace))
    }

    /// Goes through a stage of a pass over a run or a pool.
    async fn stage<T, E>(
        &self,
        kind: counters::Kind,
        stage: Stage,
        work: impl Future<Output = Result<T, E>>,
    ) -> Result<T, E> {
        stages::through(&self.counters, kind, stage, work).await
    }

    fn memory(&self, uid: &str) -> Arc<tokio::sync::Mutex<workflow::Memory>> {
        let mut memories = self.memories.lock().unwrap_or_else(PoisonError::into_inner);
        memories.entry(uid.to_owned()).or_default().clone()
    }

    fn forget(&self, uid: &str) {
        self.memories.lock().unwrap_or_else(PoisonError::into_inner).remove(uid);
        self.fresh_workflows.forget(uid);
    }
}
