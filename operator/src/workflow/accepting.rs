//! Whether a new run is one that this operator can do, and its first status. The answer is final: what is refused has ended.

use std::collections::BTreeMap;

use braid_crds::{STATUS_FORMAT, WorkerPool, WorkflowStatus, status::StepStatus, workflow::Step};
use braid_engine::validate;
use jiff::Timestamp;
use kube::Api;

use super::{Pass, WorkflowError, advance::cut, conditions, pools, resuming, stamp};
use crate::{
    api::call,
    standing::{self, PoolKey, Trouble},
};

impl Pass<'_> {
    /// Checks a new run and makes its first status, which is written with what the pass makes of it. `None`: there is nothing to do
    /// for it.
    pub(super) async fn accept(&mut self, now: Timestamp) -> Result<Option<WorkflowStatus>, WorkflowError> {
        let current = self.workflow.status.clone().unwrap_or_default();
        if current.format > STATUS_FORMAT {
            return Err(WorkflowError::NewerFormat { found: current.format });
        }
        if current.started_at.is_some() {
            return Ok(Some(current));
        }
        if current.phase.is_terminal() {
            return Ok(None);
        }
        let taken = match self.workflow.spec.resume_from.clone() {
            Some(from) => match self.take_over(&from, now).await? {
                Ok(taken) => Some(taken),
                Err(refusal) => {
                    let message = format!("resumeFrom: {refusal}");
                    return self.refuse(current, refusal.reason(), &message, now).await;
                }
            },
            None => None,
        };
        let problems = validate::validate(&self.workflow);
        if let Some(first) = problems.first() {
            let more = problems.len().saturating_sub(1);
            let more = if more == 0 {
                String::new()
            } else {
                format!(" (and {more} more: `braid lint` lists them)")
            };
            return self.refuse(current, "Invalid", &format!("{first}{more}"), now).await;
        }
        if let Some(trouble) = self.does_not_fit().await? {
            return self.refuse(current, trouble.reason(), &trouble.to_string(), now).await;
        }
        let for_pods = self.context.options.pod_classes;
        if let Some(problem) = pools::only_on_a_laptop(&self.workflow).filter(|_| for_pods) {
            return self.refuse(current, "Invalid", &problem, now).await;
        }
        let mut status = self.first(current);
        if let Some(taken) = taken {
            resuming::begin(&mut status, taken, now);
        }
        status.started_at = Some(stamp(now));
        Ok(Some(status))
    }

    /// The status of a run of which nothing has been done.
    fn first(&self, current: WorkflowStatus) -> WorkflowStatus {
        WorkflowStatus {
            format: STATUS_FORMAT,
            observed_generation: self.workflow.metadata.generation,
            steps: unstarted(&self.workflow.spec.steps),
            // What was asked for before anything could have failed has been done.
            resumed: self.workflow.spec.resume.unwrap_or(0),
            retried_failed: self.workflow.spec.retry_failed.unwrap_or(0),
            ..current
        }
    }

    /// Does not accept a run, and says why.
    async fn refuse(
        &mut self,
        current: WorkflowStatus,
        reason: &str,
        message: &str,
        now: Timestamp,
    ) -> Result<Option<WorkflowStatus>, WorkflowError> {
        let mut status = self.first(current);
        conditions::refuse(&self.workflow, &mut status, reason, &cut(message), now);
        self.put_status(status).await?;
        Ok(None)
    }

    /// The first step that does not fit into its standing pool, of the pools that are there: as they are, and not as a watch shows them, since
    /// the answer is final. Later the run waits.
    async fn does_not_fit(&self) -> Result<Option<Trouble>, WorkflowError> {
        if !self.context.options.pod_classes {
            return Ok(None);
        }
        let mut read: BTreeMap<PoolKey, Option<WorkerPool>> = BTreeMap::new();
        for step in &self.workflow.spec.steps {
            let Some(key) = standing::reference(&self.workflow, step) else {
                continue;
            };
            let pool = match read.remove(&key) {
                Some(pool) => pool,
                None if self.context.at(&key.namespace).is_none() => None,
                None => {
                    let api: Api<WorkerPool> = Api::namespaced(self.context.client.clone(), &key.namespace);
                    call("read a standing pool", api.get_opt(&key.name)).await?
                }
            };
            let trouble = Trouble::of(&self.workflow, step, &key, pool.as_ref());
            if let Some(trouble) = trouble.filter(Trouble::is_final) {
                return Ok(Some(trouble));
            }
            read.insert(key, pool);
        }
        Ok(None)
    }
}

/// The statuses of steps before any of them has started.
pub(super) fn unstarted(steps: &[Step]) -> Vec<StepStatus> {
    let status = |step: &Step| StepStatus {
        name: step.name.clone(),
        ..StepStatus::default()
    };
    steps.iter().map(status).collect()
}
