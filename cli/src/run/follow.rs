//! Following a run to its end, and what signals do meanwhile.

use std::pin::pin;

use braid_crds::{Workflow, status::Phase};
use futures::StreamExt as _;
use kube::{
    Api, ResourceExt as _,
    api::{Patch, PatchParams},
    runtime::{WatchStreamExt as _, watcher},
};
use serde_json::Value;

use super::signals::{Asked, Signals};
use crate::{
    exit::Failure,
    progress::{FRAME, Progress},
    runs::call,
};

/// How following ended.
#[derive(Debug)]
pub enum Ended {
    /// The run has ended.
    Finished(Workflow),
    /// It was interrupted, and what ran has been finished.
    Suspended(Workflow),
    /// It was told to stop at once.
    Stopped(Workflow),
    /// Failures have paused it, and what ran has been finished: people have to decide.
    Paused(Workflow),
}

/// Follows a run until it ends or is told to. The first interrupt makes the change `interrupt`.
pub async fn follow(
    api: &Api<Workflow>,
    mut known: Workflow,
    interrupt: &Value,
    mut signals: Signals,
    progress: &mut Progress,
) -> Result<Ended, Failure> {
    let name = known.name_any();
    let mut changes = pin!(watcher::watch_object(api.clone(), &name).default_backoff());
    let mut frames = tokio::time::interval(FRAME);
    frames.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Skip);
    let mut interrupted = false;
    progress.update(&known);
    loop {
        tokio::select! {
            _ = frames.tick() => progress.tick(),
            asked = signals.next() => {
                if interrupted || asked == Asked::Terminate {
                    return Ok(Ended::Stopped(known));
                }
                interrupted = true;
                progress.note("interrupted: what runs is being finished; ^C again stops at once");
                let (params, patch) = (PatchParams::default(), Patch::Merge(interrupt));
                let change = call(api.patch(&name, &params, &patch));
                // A second signal must not wait for the first one's answer.
                tokio::select! {
                    changed = change => drop(changed?),
                    _ = signals.next() => return Ok(Ended::Stopped(known)),
                }
            }
            change = changes.next() => match change {
                Some(Ok(Some(workflow))) => {
                    known = workflow;
                    progress.update(&known);
                    let phase = known.status.as_ref().map(|status| status.phase).unwrap_or_default();
                    if phase.is_terminal() && !known.wants_retry() {
                        return Ok(Ended::Finished(known));
                    }
                    if phase == Phase::Paused && is_seen(&known) {
                        return Ok(Ended::Paused(known));
                    }
                    if interrupted && phase == Phase::Suspended && is_seen(&known) {
                        return Ok(Ended::Suspended(known));
                    }
                }
                Some(Ok(None)) => return Err(Failure::unreachable(format!("the workflow {name} was deleted"))),
                Some(Err(error)) => tracing::debug!(%error, "the watch is begun again"),
                None => return Err(Failure::unreachable("the watch of the run has ended")),
            }
        }
    }
}

/// Whether the status speaks of the spec as it is.
fn is_seen(workflow: &Workflow) -> bool {
    let seen = workflow.status.as_ref().and_then(|status| status.observed_generation);
    seen.is_some() && seen == workflow.metadata.generation
}
