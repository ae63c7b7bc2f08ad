//! `resumeFrom`: a new run takes over what another one has counted, once, when it is accepted.
//!
//! The other run is read from the server, not from a cache. What follows from that copy is decided in [`resume`]; here it is written: first
//! the spec, into the run's own object; then the plans, as objects of its own; then the status, which names the other run's uid and has
//! its ledger and results, and which accepts the run. An operator may end after each of them: until the last is there everything is done
//! again, from a copy of its own, and what was written is compared. After it nobody looks at the other run any more.

use std::sync::Arc;

use braid_crds::{Workflow, WorkflowStatus, status::Phase, workflow::ResumeFrom};
use braid_engine::resume::{self, Refusal, Taken};
use jiff::Timestamp;
use kube::{ResourceExt as _, api::PostParams};

use super::{Pass, WorkflowError, plans, stamp};
use crate::api::{ApiError, call};

impl Pass<'_> {
    /// Takes over from another run: what the status then begins with, or why that cannot be. The object has all of its spec then.
    pub(super) async fn take_over(
        &mut self,
        from: &ResumeFrom,
        now: Timestamp,
    ) -> Result<Result<Taken, Refusal>, WorkflowError> {
        let api = self.api()?;
        let Some(source) = call("read the run to take over from", api.get_opt(&from.name)).await? else {
            return Ok(Err(Refusal::Missing(from.name.clone())));
        };
        let taken = match resume::take_over(&source, now.as_millisecond()) {
            Ok(taken) => taken,
            Err(refusal) => return Ok(Err(refusal)),
        };
        if self.workflow.spec.steps.is_empty() {
            let mut next = (*self.workflow).clone();
            next.spec = resume::spec(&self.workflow.spec, &source.spec);
            self.put_spec(next).await?;
        } else if let Some(what) = resume::difference(&self.workflow.spec, &source.spec) {
            let name = from.name.clone();
            return Ok(Err(Refusal::Differs { name, what }));
        }
        match plans::copy(self.context, &source, &self.workflow, &taken).await? {
            Some(refusal) => Ok(Err(refusal)),
            None => Ok(Ok(taken)),
        }
    }

    /// Replaces the object but for its status, at the version that it was read at, and checks what was stored.
    async fn put_spec(&mut self, mut next: Workflow) -> Result<(), WorkflowError> {
        let what = "write the spec that is taken over";
        let api = self.api()?;
        next.metadata.managed_fields = None;
        let (name, params) = (next.name_any(), PostParams::default());
        let stored = self
            .stored(call(what, api.replace(&name, &params, &next)).await)
            .await?;
        if stored.spec != next.spec {
            return Err(ApiError::Pruned { what }.into());
        }
        self.workflow = Arc::new(stored);
        self.context.fresh_workflows.wrote(self.workflow.clone());
        Ok(())
    }
}

/// The status of a run that begins now with what it has taken over.
pub fn begin(status: &mut WorkflowStatus, taken: Taken, now: Timestamp) {
    status.steps = taken.steps;
    for step in &mut status.steps {
        if !step.phase.is_terminal() && step.phase != Phase::Pending {
            step.started_at = Some(stamp(now));
        }
    }
    status.resumed_from = Some(taken.from);
}
