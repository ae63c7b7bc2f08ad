//! Standing pools: which runs are on one, what each can use of it, and whose each worker is.
//!
//! Everything is computed from the objects, by every pass anew, so passes over different runs come to the same answer without talking to
//! each other, and a new leader to the one of the old. Where two copies differ for a moment, two passes may write the same desk: one of the
//! two writes is refused, and its pass computes again.

use std::{collections::BTreeMap, sync::Arc, time::Instant};

use braid_crds::{Worker, WorkerPool, Workflow, workflow::Step};
use braid_engine::{
    fit::{self, Difference},
    scale::{self, Bounds, Kind, Load},
    share::{self, Holder},
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

/// Why a step cannot have the workers of a standing pool. None of it is for ever: the run waits, and says so.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Trouble {
    /// There is no such pool.
    #[error("there is no WorkerPool {0} in the run's namespace")]
    Missing(String),
    /// It belongs to a run, and goes with it.
    #[error("the WorkerPool {0} is a run's own, and no other run may use it: name one that stands by itself")]
    NotShared(String),
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
            Self::DoesNotFit { .. } => "PoolDoesNotFit",
        }
    }

    /// Why a step cannot use this pool; `None`: it can.
    #[must_use]
    pub fn of(workflow: &Workflow, step: &Step, name: &str, pool: Option<&WorkerPool>) -> Option<Self> {
        let Some(pool) = pool else {
            return Some(Self::Missing(name.to_owned()));
        };
        if is_of_a_run(pool) {
            return Some(Self::NotShared(name.to_owned()));
        }
        fit::difference(&class_of(workflow, step), &pool.spec.pods).map(|difference| Self::DoesNotFit {
            step: step.name.clone(),
            pool: name.to_owned(),
            difference,
        })
    }
}

/// The name of the standing pool of a step, if it names one.
#[must_use]
pub fn reference<'a>(workflow: &'a Workflow, step: &Step) -> Option<&'a str> {
    let name = step.pool.as_deref().unwrap_or(DEFAULT);
    let pool = workflow.spec.pools.iter().find(|pool| pool.name == name)?;
    Some(pool.worker_pool_ref.as_ref()?.name.as_str())
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
    /// The run's name.
    pub name: String,
    /// What its steps have to do on the pool.
    pub loads: Vec<Load>,
    /// All of these steps ask for something of their pods: only workers that were made as this will do.
    pub class: Option<String>,
}

impl Context {
    /// The runs that name a standing pool, the most senior first: those that have ended, too.
    pub(crate) fn runs_on(&self, namespace: &str, pool: &str) -> Vec<Arc<Workflow>> {
        if !self.options.pod_classes {
            return Vec::new();
        }
        let names_it = |workflow: &Workflow| {
            let mut pools = workflow.spec.pools.iter();
            workflow.namespace().as_deref() == Some(namespace)
                && pools.any(|known| known.worker_pool_ref.as_ref().is_some_and(|known| known.name == pool))
        };
        let mut runs = self.workflows.state_filter(|workflow| names_it(workflow));
        runs.sort_by_cached_key(|run| (run.creation_timestamp().map(|at| at.0), names::uid(run.as_ref())));
        runs
    }

    /// What each run on a standing pool has to do there, the most senior first.
    pub(crate) fn tenants(&self, pool: &WorkerPool, now: Timestamp) -> Vec<Tenant> {
        let (namespace, name) = (pool.namespace().unwrap_or_default(), pool.name_any());
        let runs: Vec<Arc<Workflow>> = self
            .runs_on(&namespace, &name)
            .into_iter()
            .map(|run| self.fresh_workflows.newest(run))
            .filter(|run| run.metadata.deletion_timestamp.is_none())
            .filter(|run| run.status.as_ref().is_some_and(|status| !status.phase.is_terminal()))
            .collect();
        let wanted = pool.status.as_ref().map_or(0, |status| status.wanted);
        // How long partitions take is told by how many workers were at it: about an even share.
        let each = u64::try_from(wanted).unwrap_or(0).div_ceil((runs.len() as u64).max(1));
        let tenant = |run: Arc<Workflow>| {
            let status = run.status.clone().unwrap_or_default();
            let steps = run.spec.steps.iter();
            let here = steps.filter(|step| {
                reference(&run, step) == Some(&name) && Trouble::of(&run, step, &name, Some(pool)).is_none()
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
                name: run.name_any(),
                class: (picky && !loads.is_empty()).then(|| names::class(&pool.spec.pods)),
                loads,
            }
        };
        runs.into_iter().map(tenant).collect()
    }

    /// Whether a run is there and not about to go, as far as the watch has told.
    pub(crate) fn knows_run(&self, namespace: &str, name: &str, uid: &str) -> bool {
        let known = self.workflows.get(&ObjectRef::new(name).within(namespace));
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
    let claims: Vec<u64> = tenants
        .iter()
        .map(|tenant| {
            let places = scale::places(&tenant.loads);
            tenant.class.as_ref().map_or(places, |class| places.min(usable(class)))
        })
        .collect();
    let places: BTreeMap<&str, usize> = tenants
        .iter()
        .enumerate()
        .filter(|(index, _)| claims.get(*index).is_some_and(|claim| *claim > 0))
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
