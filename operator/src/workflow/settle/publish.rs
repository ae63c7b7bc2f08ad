//! Publishing: which files a worker is told to make visible, and when what attempts left is removed.
//!
//! One order at a time is enough for a step: what comes meanwhile waits for the next. An order is a shard of its own, so what becomes of it
//! when its worker is lost is what becomes of any shard: it is sealed, and another worker gets the same.

use braid_crds::{
    PartitionRange, WorkerSpec, limits,
    status::{Phase, StepStatus, Sweep},
    worker::{Mode, Publication, ShardSpec},
    workflow::Step,
};
use braid_engine::{assign::Fitness, emission};
use kube::ResourceExt as _;

use super::{
    super::{
        advance::{is_read_through, is_same},
        desks::DeskView,
        is_cancelled,
    },
    NewShard, Settling,
};

/// So many shards' files are worth an order of their own while the step goes on.
const BATCH: usize = 8;

impl Settling<'_> {
    /// Whether a shard that publishes has nothing to do, or is done.
    pub(super) fn is_published(view: &DeskView, shard: &ShardSpec, status: &StepStatus) -> bool {
        let Some(order) = &shard.publish else { return true };
        let Some(commit) = view.commit(shard.id) else {
            return true;
        };
        let failed = commit.fatal.is_some();
        let done = failed || commit.cursor.0 >= shard.end;
        // Done, it stays until the status says so; not done, another will do it.
        let waits = (order.entries.iter()).any(|entry| status.unpublished.iter().any(|other| is_same(entry, other)))
            || (order.sweep && !failed && status.sweep.is_some_and(Sweep::is_due));
        !done || !waits
    }

    /// Tells a worker to publish what was counted, or to remove what was not.
    pub(super) fn order_publication(&self, step: &Step, status: &StepStatus, specs: &mut [WorkerSpec]) {
        let sweep = status.sweep.is_some_and(Sweep::is_due);
        if status.unpublished.is_empty() && !sweep {
            return;
        }
        let uid = self.view.workflow.uid().unwrap_or_default();
        let is_of_step = |shard: &ShardSpec| shard.run.uid == uid && shard.run.step == step.name;
        let mut shards = specs.iter().flat_map(|spec| &spec.shards);
        if shards.any(|shard| is_of_step(shard) && shard.mode == Mode::Publish && !shard.seal) {
            return;
        }
        // While more is on its way, a few at a time; when nothing is, whatever there is.
        let goes_on = status.sweep.is_none() && self.stop(step, status).is_none();
        if goes_on && status.phase == Phase::Running && status.unpublished.len() < BATCH {
            return;
        }
        let Some(card) = self.cards.get(&step.name) else { return };
        let able = self.view.desks.0.iter().enumerate().filter(|(_, view)| {
            view.fitness == Fitness::Working && view.desk.start.is_some() && self.suits(step, view)
        });
        let least = able.min_by_key(|(index, _)| specs.get(*index).map_or(usize::MAX, |spec| spec.shards.len()));
        let Some((index, view)) = least else { return };
        let Some(spec) = specs.get_mut(index) else { return };
        let entries = status.unpublished.iter().take(limits::PUBLISHED_AT_ONCE);
        // Only what is left after all of them is nobody's.
        let sweep = sweep && status.unpublished.len() <= limits::PUBLISHED_AT_ONCE;
        let cancelled = is_cancelled(self.view.workflow, step);
        let order = NewShard {
            range: PartitionRange::new(0, 1),
            mode: Mode::Publish,
            budget_millis: u64::from(u32::MAX),
            adopts: None,
            history: None,
            publish: Some(Publication {
                entries: entries.cloned().collect(),
                sweep,
                parts: sweep && is_read_through(step, status, cancelled),
                // What has failed meanwhile says nothing any more.
                emit: (sweep && status.sweep == Some(Sweep::Emit) && status.stopping.is_none() && !cancelled)
                    .then(|| emission::of(&status.results)),
            }),
        };
        self.add(view, spec, step, status, card, order);
    }
}
