//! What runs that are gone have left on the desks of a standing pool.
//!
//! A run that has ended takes its shards off the desks itself. One that was deleted cannot: nothing on the desks can count any more, and
//! whatever still runs is for nobody. That it is gone is believed only after a read that was not from a cache.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use braid_crds::{
    Worker, WorkerSpec, Workflow, limits,
    worker::{Outcome, Settled},
};
use kube::{Api, ResourceExt as _, api::PostParams};

use crate::{
    Context,
    api::{ApiError, call},
    names,
};

/// Takes the shards of runs that are gone off the desks. They are not counted.
pub(super) async fn sweep(context: &Context, namespace: &str, desks: &[Arc<Worker>]) -> Result<(), ApiError> {
    let shards = desks.iter().flat_map(|desk| &desk.spec.shards);
    let strangers: BTreeMap<&str, &str> = shards
        .filter(|shard| !context.knows_run(namespace, &shard.run.workflow, &shard.run.uid))
        .map(|shard| (shard.run.uid.as_str(), shard.run.workflow.as_str()))
        .collect();
    if strangers.is_empty() {
        return Ok(());
    }
    let runs: Api<Workflow> = Api::namespaced(context.client.clone(), namespace);
    let mut gone = BTreeSet::new();
    for (uid, name) in strangers {
        let read = call("look whether a run is gone", runs.get_opt(name)).await?;
        let is_there =
            read.is_some_and(|run| run.uid().as_deref() == Some(uid) && run.metadata.deletion_timestamp.is_none());
        if !is_there {
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
