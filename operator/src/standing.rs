//! Standing pools: which runs are on one, what each can use of it, and whose each worker is.
//!
//! Everything is computed from the objects, by every pass anew, so passes over different runs come to the same answer without talking to
//! each other, and a new leader to the one of the old. Where two copies differ for a moment, two passes may write the same desk: one of the
//! two writes is refused, and its pass computes again.

use std::{collections::BTreeMap, fmt, sync::Arc, time::Instant};

use braid_crds::{
    Worker, WorkerPool, Workflow,
    workflow::{Step, WorkerPoolRef},
};
use braid_engine::{
    fit::{self, Bound, Difference},
    scale::{self, Bounds, Kind, Load},
    share::{self, Claim, Holder},
};
use jiff::Timestamp;
use kube::{ResourceExt as _, runtime::reflector::ObjectRef};

use crate::{
    Context, names,
    workflow::{
        places,
        pools::{DEFAULT, IDLE, class_of, load},
    },
};

/// Where a standing pool is.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PoolKey {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
}

impl PoolKey {
    /// That of a pool.
    #[must_use]
    pub fn of(pool: &WorkerPool) -> Self {
        Self {
            namespace: pool.namespace().unwrap_or_default(),
            name: pool.name_any(),
        }
    }

    /// Whether a worker is one of the pool's.
    #[must_use]
    pub fn has(&self, worker: &Worker) -> bool {
        let namespace = worker.metadata.namespace.as_deref().unwrap_or_default();
        worker.spec.pool == self.name && namespace == self.namespace
    }

    /// Whether the pool is in another namespace than the run.
    #[must_use]
    pub fn is_elsewhere(&self, workflow: &Workflow) -> bool {
        workflow.metadata.namespace.as_deref().unwrap_or_default() != self.namespace
    }
}

impl fmt::Display for PoolKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.namespace, self.name)
    }
}

/// Why a step cannot have the workers of a standing pool. What a spec asks for in vain is for ever; else the run waits, and says so.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Trouble {
    /// There is no such pool.
    #[error("there is no WorkerPool {0} in the run's namespace")]
    Missing(String),
    /// It belongs to a run, and goes with it.
    #[error("the WorkerPool {0} is a run's own, and no other run may use it: name one that stands by itself")]
    NotShared(String),
    /// It is in another namespace, and is not there or does not allow runs of this one: which of both is told to nobody who may not use it.
    #[error(
        "there is no WorkerPool {} in the namespace {} that runs of {namespace} may use: who owns it can name {namespace} in its \
         allowedRuns.namespaces", pool.name, pool.namespace
    )]
    NotPermitted {
        /// The pool.
        pool: PoolKey,
        /// The run's namespace.
        namespace: String,
    },
    /// It is in a namespace that this operator does not look at.
    #[error(
        "the WorkerPool {} is in the namespace {}, which the operator of this run does not look at: both namespaces must be in its \
         list (watchNamespaces of the chart)", .0.name, .0.namespace
    )]
    NotWatched(PoolKey),
    /// It is in a namespace that this operator has not read yet.
    #[error("the operator has not read the WorkerPools of the namespace {} yet; if it stays so, its log says why", .0.namespace)]
    NotRead(PoolKey),
    /// The step asks for an object of its own namespace, which pods of another cannot have.
    #[error(
        "step {step} asks for {bound} of the run's namespace, and pods of the WorkerPool {} are in the namespace {}: leave it out, or \
         take a pool of the run's namespace", pool.name, pool.namespace
    )]
    BoundElsewhere {
        /// The step.
        step: String,
        /// The pool.
        pool: PoolKey,
        /// What.
        bound: Bound,
    },
    /// Its pods are not what the step needs.
    #[error("step {step} does not fit into the WorkerPool {pool}: {difference}")]
    DoesNotFit {
        /// The step.
        step: String,
        /// The pool.
        pool: String,
        /// In what.
        difference: Difference,
    },
}

impl Trouble {
    /// In CamelCase, for conditions.
    #[must_use]
    pub fn reason(&self) -> &'static str {
        match self {
            Self::Missing(_) => "PoolMissing",
            Self::NotShared(_) => "PoolNotShared",
            Self::NotPermitted { .. } => "RefNotPermitted",
            Self::NotWatched(_) => "PoolNotWatched",
            Self::NotRead(_) => "PoolNotRead",
            Self::BoundElsewhere { .. } | Self::DoesNotFit { .. } => "PoolDoesNotFit",
        }
    }

    /// Whether the run is refused for it when it is new.
    #[must_use]
    pub fn is_final(&self) -> bool {
        matches!(self, Self::BoundElsewhere { .. } | Self::DoesNotFit { .. })
    }

    /// Why a step cannot use this pool; `None`: it can.
    #[must_use]
    pub fn of(workflow: &Workflow, step: &Step, key: &PoolKey, pool: Option<&WorkerPool>) -> Option<Self> {
        let class = class_of(workflow, step);
        if key.is_elsewhere(workflow) {
            // What the run itself says comes first, then the permission, and only then what there is.
            if let Some(bound) = fit::bound(&class) {
                return Some(Self::BoundElsewhere {
                    step: step.name.clone(),
                    pool: key.clone(),
                    bound,
                });
            }
            if !pool.is_some_and(|pool| !is_of_a_run(pool) && allows(pool, workflow)) {
                return Some(Self::NotPermitted {
                    pool: key.clone(),
                    namespace: workflow.namespace().unwrap_or_default(),
                });
            }
        }
        let Some(pool) = pool else {
            return Some(Self::Missing(key.name.clone()));
        };
        if is_of_a_run(pool) {
            return Some(Self::NotShared(key.name.clone()));
        }
        fit::difference(&class, &pool.spec.pods).map(|difference| Self::DoesNotFit {
            step: step.name.clone(),
            pool: key.name.clone(),
            difference,
        })
    }
}

/// Whether a pool allows the runs of a run's namespace.
#[must_use]
pub fn allows(pool: &WorkerPool, workflow: &Workflow) -> bool {
    let namespace = workflow.metadata.namespace.as_deref().unwrap_or_default();
    pool.metadata.namespace.as_deref().unwrap_or_default() == namespace || pool.spec.allows(namespace)
}

/// The standing pools that a run names.
pub fn references(workflow: &Workflow) -> impl Iterator<Item = PoolKey> {
    let references = workflow
        .spec
        .pools
        .iter()
        .filter_map(|pool| pool.worker_pool_ref.as_ref());
    references.map(|reference| key_of(workflow, reference))
}

fn key_of(workflow: &Workflow, reference: &WorkerPoolRef) -> PoolKey {
    let namespace = reference.namespace.clone().or_else(|| workflow.namespace());
    PoolKey {
        namespace: namespace.unwrap_or_default(),
        name: reference.name.clone(),
    }
}

/// The standing pool of a step, if it names one.
#[must_use]
pub fn reference(workflow: &Workflow, step: &Step) -> Option<PoolKey> {
    let name = step.pool.as_deref().unwrap_or(DEFAULT);
    let pool = workflow.spec.pools.iter().find(|pool| pool.name == name)?;
    Some(key_of(workflow, pool.worker_pool_ref.as_ref()?))
}

/// Whether a pool was made for a run.
#[must_use]
pub fn is_of_a_run(pool: &WorkerPool) -> bool {
    pool.owner_references().iter().any(|owner| owner.kind == "Workflow")
}

/// On whose behalf a worker is at work, by the uid of the run: it has an open shard, or runs on what a sealed one has left.
#[must_use]
pub fn occupant(worker: &Worker) -> Option<&str> {
    let commits = worker
        .status
        .as_ref()
        .map(|status| status.shards.as_slice())
        .unwrap_or_default();
    let shards = &worker.spec.shards;
    let occupies = |shard: &&braid_crds::worker::ShardSpec| {
        let commit = commits.iter().find(|commit| commit.id == shard.id);
        match commit.filter(|commit| commit.sealed) {
            Some(commit) => commit.begun > 0 && !shards.iter().any(|other| other.adopts == Some(shard.id)),
            None => !shard.seal,
        }
    };
    shards.iter().find(occupies).map(|shard| shard.run.uid.as_str())
}

/// A run on a standing pool.
#[derive(Clone, Debug)]
pub struct Tenant {
    /// The run's uid.
    pub uid: String,
    /// The run's namespace.
    pub namespace: String,
    /// The run's name.
    pub name: String,
    /// What its steps have to do on the pool.
    pub loads: Vec<Load>,
    /// All of these steps ask for something of their pods: only workers that were made as this will do.
    pub class: Option<String>,
}

impl Context {
    /// The runs that name a standing pool, of all namespaces, the most senior first: those that have ended, and those that may not, too.
    pub(crate) fn runs_on(&self, pool: &PoolKey) -> Vec<Arc<Workflow>> {
        if !self.options.pod_classes {
            return Vec::new();
        }
        let mut runs: Vec<Arc<Workflow>> = Vec::new();
        for realm in self.everywhere() {
            let found = realm
                .workflows
                .state_filter(|workflow| references(workflow).any(|named| named == *pool));
            runs.extend(found.into_iter().map(|run| realm.fresh_workflows.newest(run)));
        }
        runs.sort_by_cached_key(|run| (run.creation_timestamp().map(|at| at.0), names::uid(run.as_ref())));
        runs
    }

    /// What each run on a standing pool has to do there, the most senior first.
    pub(crate) fn tenants(&self, pool: &WorkerPool, now: Timestamp) -> Vec<Tenant> {
        let key = PoolKey::of(pool);
        let runs: Vec<Arc<Workflow>> = self
            .runs_on(&key)
            .into_iter()
            .filter(|run| run.metadata.deletion_timestamp.is_none() && allows(pool, run))
            .filter(|run| run.status.as_ref().is_some_and(|status| !status.phase.is_terminal()))
            .collect();
        let wanted = pool.status.as_ref().map_or(0, |status| status.wanted);
        // How long partitions take is told by how many workers were at it: about an even share.
        let each = u64::try_from(wanted).unwrap_or(0).div_ceil((runs.len() as u64).max(1));
        let tenant = |run: Arc<Workflow>| {
            let status = run.status.clone().unwrap_or_default();
            let steps = run.spec.steps.iter();
            let here = steps.filter(|step| {
                reference(&run, step).as_ref() == Some(&key) && Trouble::of(&run, step, &key, Some(pool)).is_none()
            });
            let places = places::of(&run, &status);
            let (mut loads, mut picky) = (Vec::new(), true);
            for step in here {
                if let Some(load) = load(&run, step, (&status, &places), each, now) {
                    loads.push(load);
                    picky &= !class_of(&run, step).is_empty();
                }
            }
            Tenant {
                uid: names::uid(run.as_ref()),
                namespace: run.namespace().unwrap_or_default(),
                name: run.name_any(),
                class: (picky && !loads.is_empty()).then(|| names::class(&pool.spec.pods)),
                loads,
            }
        };
        runs.into_iter().map(tenant).collect()
    }

    /// Whether a run is there and not about to go, as far as the watch has told.
    pub(crate) fn knows_run(&self, namespace: &str, name: &str, uid: &str) -> bool {
        let there = self.at(namespace);
        let known = there.and_then(|there| there.workflows.get(&ObjectRef::new(name).within(namespace)));
        known.is_some_and(|known| known.uid().as_deref() == Some(uid) && known.metadata.deletion_timestamp.is_none())
    }

    /// For how long a standing pool has had more workers than there is work for, in milliseconds. Not kept over a change of leaders: then
    /// they stay a little longer.
    fn pool_idle(&self, uid: &str, is_idle: bool) -> u64 {
        let mut idle = self
            .idle_pools
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        if !is_idle {
            idle.remove(uid);
            return 0;
        }
        let since = idle.entry(uid.to_owned()).or_insert_with(Instant::now);
        u64::try_from(since.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    /// How many workers a pool shall have.
    pub(crate) fn wanted(&self, pool: &WorkerPool, tenants: &[Tenant]) -> i32 {
        let Some(workers) = &pool.spec.workers else {
            return pool.spec.replicas.unwrap_or(0);
        };
        let count = |count: i32| u64::try_from(count).unwrap_or(0);
        let now = count(pool.status.as_ref().map_or(0, |status| status.wanted));
        let idle = workers.idle.as_ref().map_or(IDLE, braid_crds::Duration::get);
        let bounds = Bounds {
            min: count(workers.min.unwrap_or(0)),
            max: count(workers.max.unwrap_or(self.options.workers)),
            idle_millis: u64::try_from(idle.as_millis()).unwrap_or(u64::MAX),
        };
        let loads: Vec<Load> = tenants.iter().flat_map(|tenant| tenant.loads.iter().copied()).collect();
        let demand = scale::demand(&loads, now);
        let kind = Kind {
            demand,
            now,
            idle_millis: self.pool_idle(&names::uid(pool), demand < now),
        };
        let wanted = scale::workers(bounds, &[kind]).first().copied().unwrap_or(0);
        i32::try_from(wanted).unwrap_or(i32::MAX)
    }
}

/// Whose each worker is, by the uid of the run; `None`: nobody wants it. `workers` can all work, and are in the order of their names.
#[must_use]
pub fn owners<'a>(tenants: &'a [Tenant], workers: &[&Worker]) -> Vec<Option<&'a str>> {
    // While other pods are on their way, who needs them claims no more than are there.
    let usable = |class: &String| {
        let made = workers
            .iter()
            .filter(|worker| worker.labels().get(names::POD_CLASS) == Some(class));
        made.count() as u64
    };
    let claims: Vec<Claim<'_>> = tenants
        .iter()
        .map(|tenant| {
            let places = scale::places(&tenant.loads);
            Claim {
                namespace: &tenant.namespace,
                workers: tenant.class.as_ref().map_or(places, |class| places.min(usable(class))),
            }
        })
        .collect();
    let places: BTreeMap<&str, usize> = tenants
        .iter()
        .enumerate()
        .filter(|(index, _)| claims.get(*index).is_some_and(|claim| claim.workers > 0))
        .map(|(index, tenant)| (tenant.uid.as_str(), index))
        .collect();
    let holder = |worker: &&Worker| match occupant(worker) {
        None => Holder::Nobody,
        Some(uid) => places.get(uid).map_or(Holder::Leaving, |index| Holder::Claim(*index)),
    };
    let holders: Vec<Holder> = workers.iter().map(holder).collect();
    let shares = share::shares(&claims, &holders);
    let uid = |share: Option<usize>| Some(tenants.get(share?)?.uid.as_str());
    shares.into_iter().map(uid).collect()
}

#[cfg(test)]
mod tests;
