//! What a run's trace says of shards: when this worker began and sealed them.

use std::collections::HashMap;

use braid_crds::{Cursor, ShardId};
use braid_telemetry::identity;
use tracing::Span;

use super::super::runs::Runs;

/// The spans of the shards that are run and not sealed.
#[derive(Debug, Default)]
pub(super) struct ShardSpans(HashMap<ShardId, Span>);

impl ShardSpans {
    /// Takes note of the shards that are run, with their cursors. The others have been sealed: their spans end.
    pub(super) fn note(&mut self, runs: &Runs, worker: &str, progress: impl Iterator<Item = (ShardId, Cursor)>) {
        let mut known = std::mem::take(&mut self.0);
        for (id, cursor) in progress {
            let span = known.remove(&id).or_else(|| {
                let run = runs.get(id)?;
                let reference = &run.reference;
                Some(tracing::debug_span!(
                    "shard",
                    trace.of = reference.uid,
                    trace.within = identity::step(&reference.uid, &reference.step, reference.round.0),
                    trace.title = format!("shard {id} of {}", reference.step),
                    worker,
                    shard = id.0,
                    from = cursor.0,
                ))
            });
            if let Some(span) = span {
                self.0.insert(id, span);
            }
        }
    }
}
