//! Files that partitions wrote: made durable before they are named, published when they were counted.

use std::sync::Arc;

use braid_crds::{PartitionRange, ShardId, worker::Publication};
use braid_engine::protocol::worker::Task;

use super::{super::runs::Run, Job, Session};
use crate::{
    desk::pause,
    store::{PublishError, Store},
};

impl Session {
    /// Makes what partitions of these shards wrote durable. Tries on while that fails: nothing is committed before.
    pub(super) fn flush(&mut self, ranges: &[(ShardId, PartitionRange)]) {
        // What a shard has adopted lies beside its own.
        let stores = ranges
            .iter()
            .filter_map(|(shard, _)| self.runs.get(*shard)?.store.clone());
        let mut stores: Vec<Arc<Store>> = stores.collect();
        stores.sort_by_key(|store| Arc::as_ptr(store).addr());
        stores.dedup_by(|one, other| Arc::ptr_eq(one, other));
        self.jobs.0.spawn(async move {
            let mut failures = 0;
            loop {
                tokio::time::sleep(pause(failures)).await;
                let flushing = stores.clone();
                let flushed = tokio::task::spawn_blocking(move || flushing.iter().try_for_each(|store| store.flush()));
                match flushed.await {
                    Ok(Ok(())) => return Job::Flushed,
                    Ok(Err(error)) => {
                        tracing::warn!(%error, "files that were written cannot be made durable; trying on");
                    }
                    Err(error) => tracing::error!(%error, "a task of the worker broke"),
                }
                failures = u32::saturating_add(failures, 1);
            }
        });
    }

    /// Publishes, and tries on while that fails and may yet succeed.
    pub(super) fn begin_publishing(&mut self, run: &Run, order: Publication) {
        let Some(begun) = self.machine.begin(1, self.clock.now()) else {
            return;
        };
        let task = Task {
            shard: begun.shard,
            partition: begun.range.start(),
        };
        let parts = run.parts.clone().filter(|_| order.parts);
        let store = run.store.clone();
        if store.is_none() && parts.is_none() {
            return self.fatal(
                begun.shard,
                "NotPublished",
                "the program of the step names no data that it writes or emits to, and none that it is shuffled through",
            );
        }
        let publishing = self.jobs.0.spawn(async move {
            let mut failures = 0;
            loop {
                tokio::time::sleep(pause(failures)).await;
                let (store, parts, order) = (store.clone(), parts.clone(), order.clone());
                let publish = move || {
                    store.map_or(Ok(()), |store| store.publish(&order))?;
                    if let Some(Err(error)) = parts.map(|parts| parts.sweep()) {
                        // They take room, and nothing else.
                        tracing::warn!(%error, "the parts of a shuffle cannot be removed");
                    }
                    Ok(())
                };
                match tokio::task::spawn_blocking(publish).await {
                    Ok(Ok(())) => return Job::Published(task, Ok(())),
                    Ok(Err(PublishError::Never(why))) => return Job::Published(task, Err(why)),
                    Ok(Err(error)) => tracing::warn!(%error, "files that were counted cannot be published; trying on"),
                    Err(error) => tracing::error!(%error, "a task of the worker broke"),
                }
                failures = u32::saturating_add(failures, 1);
            }
        });
        self.planning.insert(task, publishing);
    }
}
