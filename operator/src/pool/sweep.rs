//! What runs that are gone have left in a standing pool.
//!
//! A run that has ended takes its shards off the desks itself. One that was deleted cannot: nothing on the desks can count any more, and
//! whatever still runs is for nobody. Copies of plans of runs elsewhere belong to the pool, so nobody else removes them when their runs are
//! over. That a run is gone or over is believed only after a read that was not from a cache.
//!
//! Of runs in namespaces that the operator does not look at (any more) nothing can be known, and nothing is touched.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, PoisonError},
    time::Instant,
};

use braid_crds::{
    Plan, Worker, WorkerPool, WorkerSpec, Workflow, limits,
    worker::{Outcome, Settled},
};
use kube::{
    Api, ResourceExt as _,
    api::{ListParams, PartialObjectMeta, PostParams},
};

use crate::{
    Context,
    api::{ApiError, call},
    names,
    standing::PoolKey,
    workflow::plans,
};

/// After so many intervals without a look at a pool it is taken for gone.
const FORGOTTEN: u32 = 100;

/// Takes the shards of runs that are gone off the desks. They are not counted.
pub(super) async fn sweep(context: &Context, namespace: &str, desks: &[Arc<Worker>]) -> Result<(), ApiError> {
    let shards = desks.iter().flat_map(|desk| &desk.spec.shards);
    let strangers: BTreeMap<&str, (&str, &str)> = shards
        .map(|shard| (shard.run.namespace.as_deref().unwrap_or(namespace), &shard.run))
        .filter(|(namespace, run)| !context.knows_run(namespace, &run.workflow, &run.uid))
        .filter(|(namespace, _)| context.at(namespace).is_some())
        .map(|(namespace, run)| (run.uid.as_str(), (namespace, run.workflow.as_str())))
        .collect();
    if strangers.is_empty() {
        return Ok(());
    }
    let mut gone = BTreeSet::new();
    for (uid, (namespace, name)) in strangers {
        if read(context, namespace, name, uid).await?.is_none() {
            gone.insert(uid);
        }
    }
    let workers: Api<Worker> = Api::namespaced(context.client.clone(), namespace);
    for desk in desks {
        let Some(spec) = without(&desk.spec, &gone) else {
            continue;
        };
        let mut next = (**desk).clone();
        next.spec = spec;
        next.metadata.managed_fields = None;
        let what = "take shards of runs that are gone off a desk";
        match call(what, workers.replace(&next.name_any(), &PostParams::default(), &next)).await {
            Ok(stored) => context.fresh_workers.wrote(Arc::new(stored)),
            Err(ApiError::NotFound { .. }) => context.fresh_workers.forget(&names::uid(desk.as_ref())),
            Err(error) => {
                // Most likely its worker has committed: the watch tells of it soon.
                context.counters.conflict();
                return Err(error);
            }
        }
    }
    Ok(())
}

/// A run as the server has it; `None`: it is gone, or about to go.
async fn read(context: &Context, namespace: &str, name: &str, uid: &str) -> Result<Option<Workflow>, ApiError> {
    let runs: Api<Workflow> = Api::namespaced(context.client.clone(), namespace);
    let found = call("look whether a run is gone", runs.get_opt(name)).await?;
    Ok(found.filter(|run| run.uid().as_deref() == Some(uid) && run.metadata.deletion_timestamp.is_none()))
}

/// Deletes copies of plans of runs elsewhere that are over, if it is time for that.
pub(super) async fn sweep_plans(context: &Context, pool: &WorkerPool) -> Result<(), ApiError> {
    let uid = names::uid(pool);
    if !context.sweep_is_due(&uid) {
        return Ok(());
    }
    let api: Api<Plan> = Api::namespaced(context.client.clone(), &pool.namespace().unwrap_or_default());
    let selected = ListParams::default().labels(&format!("{}={uid}", names::POOL_UID));
    let found = call("look for plans of runs that are over", api.list_metadata(&selected)).await?;
    let mut of_runs: BTreeMap<(&str, &str, &str), Vec<&PartialObjectMeta<Plan>>> = BTreeMap::new();
    for plan in &found.items {
        let label = |name: &str| plan.labels().get(name).map(String::as_str);
        // One without these is nobody's whom we know.
        if let (Some(namespace), Some(name), Some(run)) = (
            label(names::WORKFLOW_NAMESPACE),
            label(names::WORKFLOW),
            label(names::WORKFLOW_UID),
        ) {
            of_runs.entry((namespace, name, run)).or_default().push(plan);
        }
    }
    for ((namespace, name, run), plans) in of_runs {
        let Some(there) = context.at(namespace) else { continue };
        let is_known = context.knows_run(namespace, name, run);
        // No pass over the run meanwhile, which may be about to need them again.
        let memory = is_known.then(|| there.memory(run));
        let mut memory = match &memory {
            Some(memory) => Some(memory.lock().await),
            None => None,
        };
        let read = read(context, namespace, name, run).await?;
        let has_ended = |run: &Workflow| run.status.as_ref().is_some_and(|status| status.phase.is_terminal());
        if read.is_some_and(|run| !has_ended(&run) || run.wants_retry()) {
            continue;
        }
        for plan in plans {
            plans::delete(&api, &plan.name_any(), plan.uid()).await?;
        }
        if let Some(memory) = &mut memory {
            memory.lent.clear();
        }
    }
    context.has_swept(&uid);
    Ok(())
}

impl Context {
    /// The next pass over a pool looks for plans of runs that are over.
    pub(crate) fn sweep_soon(&self, key: &PoolKey) {
        let there = self.at(&key.namespace);
        if let Some((there, pool)) =
            there.and_then(|there| Some((there.clone(), there.pool(&key.namespace, &key.name)?)))
        {
            let mut swept = there.swept_pools.lock().unwrap_or_else(PoisonError::into_inner);
            swept.remove(&names::uid(pool.as_ref()));
        }
    }

    fn sweep_is_due(&self, pool: &str) -> bool {
        let swept = self.swept_pools.lock().unwrap_or_else(PoisonError::into_inner);
        let last = swept.get(pool);
        last.is_none_or(|last| last.elapsed() >= self.options.sweep_interval)
    }

    fn has_swept(&self, pool: &str) {
        let mut swept = self.swept_pools.lock().unwrap_or_else(PoisonError::into_inner);
        // Those of pools that are gone are due for ever.
        let forgotten = self.options.sweep_interval.saturating_mul(FORGOTTEN);
        swept.retain(|_, last| last.elapsed() < forgotten);
        swept.insert(pool.to_owned(), Instant::now());
    }
}

/// A desk without the shards of these runs; `None`: there are none.
fn without(desk: &WorkerSpec, gone: &BTreeSet<&str>) -> Option<WorkerSpec> {
    let (left, kept): (Vec<_>, Vec<_>) = desk
        .shards
        .iter()
        .cloned()
        .partition(|shard| gone.contains(shard.run.uid.as_str()));
    if left.is_empty() {
        return None;
    }
    let mut spec = WorkerSpec {
        shards: kept,
        ..desk.clone()
    };
    spec.settled.extend(left.into_iter().map(|shard| Settled {
        id: shard.id,
        outcome: Outcome::Discarded,
    }));
    let surplus = spec.settled.len().saturating_sub(limits::SETTLED);
    spec.settled.drain(..surplus);
    let shards = &spec.shards;
    spec.cards
        .retain(|card| shards.iter().any(|shard| shard.run.card == card.digest));
    Some(spec)
}
