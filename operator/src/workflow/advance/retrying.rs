//! `retryFailed`: what failed is opened again, as a new round, and what was behind it is run anew.
//!
//! Three writes, each of which an operator may end after. The first says of each step what becomes of it; from then on nothing of these
//! steps is handed out, and nothing new begins. Once all that is on desks is sealed and folded they are closed. Once that is stored, and no
//! desk has a shard of any of them, one write opens them all: partitions that failed are unsettled again, in a round of their own, and
//! whatever still comes of the old round is dropped.

use braid_crds::{
    Workflow,
    status::{Phase, Renewal, StepStatus, WorkflowStatus},
    worker::Fatal,
    workflow::Step,
};
use braid_engine::{
    dag::Dag,
    protocol::{
        close,
        wire::{self, WireError},
    },
    repeat::EXHAUSTED,
    resume,
};

use super::{Pass, finish, start};
use crate::workflow::stamp;

impl Pass<'_> {
    /// Follows `retryFailed`, as far as it can be followed now.
    pub(super) fn retry_failed(&mut self, dag: &Dag) -> Result<(), WireError> {
        let wanted = self.view.workflow.spec.retry_failed.unwrap_or(0);
        if wanted > self.advance.status.retried_failed {
            self.advance.status.retried_failed = wanted;
            self.advance.urgent = true;
            for (index, renewal) in renewals(self.view.workflow, &self.advance.status, dag) {
                if let Some(step) = self.advance.status.steps.get_mut(index) {
                    step.renewal = Some(renewal);
                }
            }
            return Ok(());
        }
        if self.view.workflow.spec.cancel {
            // Nothing is opened any more, and what was closed for it has ended.
            for step in &mut self.advance.status.steps {
                if step.renewal.take().is_some() && step.closed && !step.phase.is_terminal() {
                    finish(step, Phase::Cancelled, self.view.now);
                    self.advance.urgent = true;
                }
            }
        }
        self.renew()
    }

    /// Opens the steps again that are to be, if all of them are closed and gone.
    fn renew(&mut self) -> Result<(), WireError> {
        let steps = &self.advance.status.steps;
        let mut meant = steps.iter().filter(|step| step.renewal.is_some()).peekable();
        // What is closed here is stored as closed: nothing has been decided in this pass yet.
        if meant.peek().is_none() || !meant.all(|step| step.closed && !self.view.desks.any(&self.uid, &step.name)) {
            return Ok(());
        }
        let mut opened = steps.clone();
        for step in &mut opened {
            let Some(renewal) = step.renewal else { continue };
            let declared = self.view.workflow.spec.steps.iter().find(|spec| spec.name == step.name);
            let Some(declared) = declared else { continue };
            if !self.open(declared, renewal, step)? {
                return Ok(());
            }
        }
        let status = &mut self.advance.status;
        status.steps = opened;
        status.outputs.clear();
        status.resumed_at = Some(stamp(self.view.now));
        self.advance.urgent = true;
        Ok(())
    }

    /// Opens a step again; false: it cannot be yet.
    fn open(&self, spec: &Step, renewal: Renewal, step: &mut StepStatus) -> Result<bool, WireError> {
        let mut record = self.record(spec, step)?;
        let desks = self.view.desks.protocol().map(|(_, desk)| desk);
        if renewal == Renewal::All || !resume::has_begun(step) {
            if close::renew(&mut record, desks).is_err() {
                return Ok(false);
            }
            let ran = renewal == Renewal::Failed && step.started_at.is_some();
            let wrote = !spec.writes.is_empty() && !step.ledger.is_empty();
            *step = StepStatus {
                name: step.name.clone(),
                round: record.round,
                started_at: step.started_at.take().filter(|_| ran),
                ..StepStatus::default()
            };
            if wrote {
                // Files are never replaced, and the old ones must not be taken for those of a new round.
                step.stopping = Some(Fatal {
                    reason: "OutputExists".into(),
                    message: "it comes behind what failed, has written its files already, and files are never replaced: start another run"
                        .into(),
                });
                finish(step, Phase::Failed, self.view.now);
            } else if ran {
                start(spec, step, self.view.now);
            }
            return Ok(true);
        }
        if close::reopen(&mut record, desks).is_err() {
            return Ok(false);
        }
        wire::write_record(&record, &spec.results, step);
        resume::go_on(step);
        Ok(true)
    }

    /// Closes a step that is to be opened again, once all that is on desks is sealed, folded and published. An ended one is closed.
    pub(super) fn close_for_renewal(&mut self, spec: &Step, step: &mut StepStatus) -> Result<(), WireError> {
        if step.renewal.is_none() || step.closed {
            return Ok(());
        }
        let closed = if step.phase == Phase::Planning {
            !self.view.desks.any_open(&self.uid, &step.name)
        } else {
            let mut record = self.record(spec, step)?;
            let total = step.plan.as_ref().map_or(0, |plan| plan.partitions);
            let desks = self.view.desks.protocol().map(|(_, desk)| desk);
            close::close(&mut record, total, true, step.unpublished.len(), desks).is_ok()
        };
        if closed {
            step.closed = true;
            step.deferred.clear();
            step.suspects.clear();
            self.advance.urgent = true;
        }
        Ok(())
    }
}

/// What becomes of each step, by its place in the status: those with failures keep what succeeded, and all that has begun behind one
/// of them is run anew, since what it reads will change.
fn renewals(workflow: &Workflow, status: &WorkflowStatus, dag: &Dag) -> Vec<(usize, Renewal)> {
    if workflow.spec.cancel {
        return Vec::new();
    }
    let has_failed = |step: &StepStatus| step.phase == Phase::Failed || !step.failed.is_empty();
    let failed: Vec<&str> = (status.steps.iter())
        .filter(|step| has_failed(step))
        .map(|step| step.name.as_str())
        .collect();
    let mut renewals = Vec::new();
    for (index, step) in status.steps.iter().enumerate() {
        let upstream = dag.upstream(&step.name);
        if failed.iter().any(|name| upstream.contains(name)) {
            if step.phase != Phase::Pending {
                renewals.push((index, Renewal::All));
            }
        } else if failed.contains(&step.name.as_str()) {
            let exhausted = step.stopping.as_ref().is_some_and(|fatal| fatal.reason == EXHAUSTED);
            renewals.push((index, if exhausted { Renewal::All } else { Renewal::Failed }));
        }
    }
    renewals
}
