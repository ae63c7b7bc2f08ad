//! The run's object on the server: read anew where there is doubt, and its status written at the version that it was read at.

use std::{collections::BTreeSet, sync::Arc};

use braid_crds::{ShardId, Workflow, WorkflowStatus, limits, status::Phase, worker::Fatal};
use jiff::Timestamp;
use kube::{Api, ResourceExt as _, api::PostParams};

use super::{
    KIND, Pass, WorkflowError,
    advance::Advance,
    conditions::{self, Hands},
    desks::Desks,
    traces,
};
use crate::{
    api::{ApiError, call},
    names,
    stages::Stage,
};

impl Pass<'_> {
    /// Writes the status if it is due. Returns the shards that the write counted.
    pub(super) async fn write(
        &mut self,
        advance: Advance,
        desks: &Desks,
        now: Timestamp,
    ) -> Result<BTreeSet<(String, ShardId)>, WorkflowError> {
        let Advance {
            mut status,
            urgent,
            folded,
            ..
        } = advance;
        status.observed_generation = self.workflow.metadata.generation;
        let crowded = desks
            .0
            .iter()
            .any(|view| view.worker.spec.shards.len() > limits::SHARDS_PER_WORKER / 2);
        let before = self.workflow.status.clone().unwrap_or_default();
        // Planned, or begun.
        let urgent = urgent || before.started_at.is_none() || phases(&before) != phases(&status);
        if status == before
            || !(urgent || crowded || self.memory.status_rests(self.context.options.status_interval).is_zero())
        {
            return Ok(BTreeSet::new());
        }
        let bytes = serde_json::to_vec(&status).map_or(usize::MAX, |json| json.len());
        let folded = if bytes > limits::STATUS_BYTES {
            status = too_large(&before, &status, bytes);
            conditions::describe(&self.workflow, &mut status, &Hands::default(), now);
            BTreeSet::new()
        } else {
            let uid = |index: usize| desks.0.get(index).map(|view| view.uid.clone());
            folded
                .into_iter()
                .filter_map(|(index, id)| Some((uid(index)?, id)))
                .collect()
        };
        self.put_status(status).await?;
        self.context.counters.folded(folded.len());
        for since in folded.iter().filter_map(|key| self.memory.sealed.get(key)) {
            self.context.counters.sealed_for(since.elapsed());
        }
        self.memory.written_bytes = bytes;
        Ok(folded)
    }

    /// Replaces the status, at the version that it was read at, and checks what was stored.
    pub(super) async fn put_status(&mut self, status: WorkflowStatus) -> Result<(), WorkflowError> {
        let what = "write the run's status";
        let api = self.api()?;
        let mut next = (*self.workflow).clone();
        next.metadata.managed_fields = None;
        next.status = Some(status);
        let (name, params) = (next.name_any(), PostParams::default());
        let written = call(what, api.replace_status(&name, &params, &next));
        let stored = self
            .stored(self.context.stage(KIND, Stage::Status, written).await)
            .await?;
        if stored.status != next.status {
            return Err(ApiError::Pruned { what }.into());
        }
        self.memory.written = Some(std::time::Instant::now());
        let before = std::mem::replace(&mut self.workflow, Arc::new(stored));
        self.context.events.changed(&self.workflow, before.status.as_ref());
        traces::note(&self.workflow, before.status.as_ref(), &mut self.memory.begun);
        self.context.fresh_workflows.wrote(self.workflow.clone());
        Ok(())
    }

    /// The runs of its namespace.
    pub(super) fn api(&self) -> Result<Api<Workflow>, WorkflowError> {
        let namespace = self.workflow.namespace().ok_or(WorkflowError::Malformed("namespace"))?;
        Ok(Api::namespaced(self.context.client.clone(), &namespace))
    }

    /// What was stored of the run, by the answer to a write of it. If somebody else was faster, the next pass begins with what is there.
    pub(super) async fn stored(&self, answer: Result<Workflow, ApiError>) -> Result<Workflow, WorkflowError> {
        if answer.as_ref().is_err_and(ApiError::is_stale) {
            self.reread().await?;
        }
        Ok(answer?)
    }

    /// After an answer that leaves doubt: the truth, from the server and not from a cache.
    pub(super) async fn reread(&self) -> Result<(), WorkflowError> {
        let api = self.api()?;
        match call("read the run", api.get(&self.workflow.name_any())).await {
            Ok(read) => self.context.fresh_workflows.wrote(Arc::new(read)),
            Err(ApiError::NotFound { .. }) => self.context.fresh_workflows.forget(&names::uid(self.workflow.as_ref())),
            Err(error) => return Err(error.into()),
        }
        Ok(())
    }
}

/// The phases of the steps, in order.
fn phases(status: &WorkflowStatus) -> Vec<Phase> {
    status.steps.iter().map(|step| step.phase).collect()
}

/// A status that would be too large keeps its old record, and the steps that grew fail before work is lost.
pub(super) fn too_large(before: &WorkflowStatus, next: &WorkflowStatus, bytes: usize) -> WorkflowStatus {
    let mut status = before.clone();
    for step in &mut status.steps {
        let grew = next
            .steps
            .iter()
            .any(|other| other.name == step.name && other.ledger != step.ledger);
        if grew && step.stopping.is_none() {
            step.stopping = Some(Fatal {
                reason: "ResultTooLarge".into(),
                message: format!(
                    "the run's status would take {bytes} bytes, {} may: give fewer keys (maxKeys), fewer results, or allow fewer failures",
                    limits::STATUS_BYTES
                ),
            });
        }
    }
    status
}
