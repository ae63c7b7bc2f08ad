//! The writes of a pass to workers' desks: one for each that changes, some at a time.

use std::{sync::Arc, time::Instant};

use braid_crds::{Worker, WorkerSpec};
use futures::{StreamExt as _, stream};
use kube::{Api, ResourceExt as _, api::PostParams};

use super::{WorkflowError, desks::Desks};
use crate::{
    Context,
    api::{ApiError, call},
    names,
};

/// Desks that are written at the same time: each takes a connection of its own.
const AT_ONCE: usize = 16;

/// Writes the desks that change, side by side: first those whose workers have nothing to do. The first error is reported once all
/// have been tried. `counted`: when this pass counted shards, if it did.
pub async fn write(
    context: &Context,
    desks: &Desks,
    mut specs: Vec<(usize, WorkerSpec)>,
    counted: Option<Instant>,
) -> Result<(), WorkflowError> {
    let assigns = specs.iter().any(|(index, spec)| {
        let known = desks.0.get(*index).map(|view| view.worker.spec.next_shard_id);
        known.is_some_and(|known| known < spec.next_shard_id)
    });
    specs.sort_by_key(|(index, _)| desks.0.get(*index).is_some_and(|view| view.current().is_some()));
    let writes = specs.into_iter().filter_map(|(index, spec)| {
        let mut worker = (*desks.0.get(index)?.worker).clone();
        worker.spec = spec;
        worker.metadata.managed_fields = None;
        Some(write_desk(context, worker))
    });
    let answers: Vec<Result<(), ApiError>> = stream::iter(writes).buffer_unordered(AT_ONCE).collect().await;
    // What is wrong comes before what was only late.
    let mut races = Ok(());
    for answer in answers {
        match answer {
            Err(error @ ApiError::Conflict { .. }) => races = Err(error.into()),
            answer => answer?,
        }
    }
    if let (Ok(()), true, Some(counted)) = (&races, assigns, counted) {
        context.counters.assigned_after(counted.elapsed());
    }
    races
}

async fn write_desk(context: &Context, worker: Worker) -> Result<(), ApiError> {
    // Desks of a standing pool may be in another namespace than the run.
    let namespace = worker.namespace().unwrap_or_default();
    let Some(there) = context.at(&namespace) else {
        return Ok(());
    };
    let api: Api<Worker> = Api::namespaced(context.client.clone(), &namespace);
    let what = "write a worker's desk";
    match call(what, api.replace(&worker.name_any(), &PostParams::default(), &worker)).await {
        Ok(stored) if stored.spec == worker.spec => {
            there.fresh_workers.wrote(Arc::new(stored));
            Ok(())
        }
        Ok(_) => Err(ApiError::Pruned { what }),
        Err(error) if error.is_stale() => {
            // The worker committed meanwhile, most likely: its commit is on its way to us, read it at once.
            match call("read a worker's desk", api.get(&worker.name_any())).await {
                Ok(read) => there.fresh_workers.wrote(Arc::new(read)),
                Err(ApiError::NotFound { .. }) => there.fresh_workers.forget(&names::uid(&worker)),
                Err(other) => return Err(other),
            }
            context.counters.conflict();
            Err(error)
        }
        Err(error) => Err(error),
    }
}
