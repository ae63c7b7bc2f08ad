//! Files that were counted, on their way to be visible: from the fold into the status, out of it when a worker has published them.

use braid_crds::{
    ShardId,
    status::{StepStatus, Sweep},
    worker::{Mode, Written},
    workflow::Step,
};
use braid_engine::{
    card,
    protocol::{fold::Verdict, publish},
};

use super::{Pass, rounds::bad};
use crate::workflow::is_cancelled;

impl Pass<'_> {
    /// Notes the files of the shards that have just been counted, in the status that counts them.
    pub(super) fn note_outputs(&self, verdicts: &[(usize, ShardId, Verdict)], step: &mut StepStatus) {
        for entry in publish::counted(verdicts, self.view.desks.protocol()) {
            let view = self.view.desks.0.get(entry.desk);
            let commit = view.and_then(|view| view.desk.commit(entry.shard));
            if let (Some(view), Some(commit)) = (view, commit) {
                step.unpublished.push(Written {
                    worker: view.uid.clone(),
                    shard: entry.shard,
                    start_id: commit.start_id.clone(),
                    outputs: entry.outputs,
                });
            }
        }
    }

    /// What workers have published leaves the status; so does what can never be, for which the step fails.
    pub(super) fn published(&mut self, step: &mut StepStatus) {
        let before = (step.unpublished.len(), step.sweep);
        for view in &self.view.desks.0 {
            for (shard, commit) in view.shards_of(Mode::Publish, &self.uid, &step.name, step.round) {
                let (Some(order), Some(commit)) = (&shard.publish, commit.filter(|_| view.is_sealed(shard))) else {
                    continue;
                };
                if let Some(fatal) = &commit.fatal {
                    step.stopping.get_or_insert_with(|| fatal.clone());
                    if order.emit.is_some() && step.sweep == Some(Sweep::Emit) {
                        step.sweep = Some(Sweep::Due);
                    }
                } else if commit.cursor.0 < shard.end {
                    continue;
                }
                step.unpublished
                    .retain(|entry| !order.entries.iter().any(|done| is_same(done, entry)));
                if order.sweep && commit.fatal.is_none() && step.sweep.is_some_and(Sweep::is_due) {
                    step.sweep = Some(Sweep::Done);
                }
            }
        }
        // The step may end now.
        self.advance.urgent |= before != (step.unpublished.len(), step.sweep);
    }

    /// Whether what lost attempts of a step left is gone, and the parts of its shuffle. It is asked when nothing is left to be counted,
    /// and from then on nothing is counted: files that nobody has counted until now may be removed, and results are what they will be.
    pub(super) fn is_swept(&mut self, spec: &Step, step: &mut StepStatus) -> bool {
        if step.sweep.is_none() {
            // Nothing was ever counted: there may be nobody who could remove anything.
            let writes = !spec.writes.is_empty() && !step.ledger.is_empty();
            step.sweep = if self.emits(spec, step) {
                Some(Sweep::Emit)
            } else if writes || is_read_through(spec, step, is_cancelled(self.view.workflow, spec)) {
                Some(Sweep::Due)
            } else {
                return true;
            };
            self.advance.urgent = true;
        }
        step.sweep == Some(Sweep::Done)
    }

    /// Whether a step that ends now writes its results. A condition without a value fails it.
    fn emits(&mut self, spec: &Step, step: &mut StepStatus) -> bool {
        let Some(emit) = &spec.emit else { return false };
        let succeeds = step.stopping.is_none()
            && !is_cancelled(self.view.workflow, spec)
            && !step.ledger.is_empty()
            && step.is_complete();
        let Some(when) = emit.when.as_ref().filter(|_| succeeds) else {
            return succeeds;
        };
        match self.holds(when, step) {
            Ok(holds) => holds,
            Err(message) => {
                step.stopping = Some(bad("emit.when", &message));
                false
            }
        }
    }
}

/// Whether nobody will read the parts of a step's shuffle again: what has failed or was left can be tried again with the same parts. False
/// for a step that is not shuffled. It is asked of a step that ends.
pub(in crate::workflow) fn is_read_through(spec: &Step, step: &StepStatus, cancelled: bool) -> bool {
    if step.plan.is_none() || card::shuffled_through(spec).is_none() {
        return false;
    }
    cancelled || (step.is_complete() && step.failed.is_empty())
}

/// Whether both are of the same shard.
pub(in crate::workflow) fn is_same(one: &Written, other: &Written) -> bool {
    one.worker == other.worker && one.shard == other.shard
}
