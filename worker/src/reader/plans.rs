//! Plans, read from their objects once and kept while they are of use.

use std::{sync::Arc, time::Duration};

use braid_crds::{Plan as PlanObject, PlanDigest, worker::RunRef};
use braid_engine::plan::{Plan, PlanError, plan_name};
use braid_sync::{CallError, call::within};
use kube::Api;

use crate::desk::pause;

/// So many plans are kept.
const KEPT: usize = 4;
/// So often a piece that is not there is asked for, before that is believed.
const ASKED: u32 = 5;

/// Why there is no plan to work by.
#[derive(Debug, thiserror::Error)]
pub(crate) enum FetchError {
    /// A piece is not there.
    #[error("the Plan {0} is missing: it was deleted, or never made")]
    Missing(String),
    /// The pieces are not a plan.
    #[error(transparent)]
    Plan(#[from] PlanError),
    /// The decoding was cut short.
    #[error("the plan could not be decoded")]
    Decode,
}

/// Reads the plan of a run, with patience for an API server that does not answer.
pub(crate) async fn fetch(
    api: Api<PlanObject>,
    run: RunRef,
    chunks: i32,
    deadline: Duration,
) -> Result<Arc<Plan>, FetchError> {
    let mut pieces = Vec::new();
    for chunk in 0..chunks {
        let name = plan_name(&run.workflow, &run.uid, &run.step, &run.plan, chunk);
        let (mut failures, mut missing) = (0, 0);
        pieces.push(loop {
            tokio::time::sleep(pause(failures)).await;
            failures = u32::saturating_add(failures, 1);
            match within(deadline, api.get(&name)).await {
                Ok(object) => break object.spec,
                Err(CallError::NotFound) if missing + 1 >= ASKED => return Err(FetchError::Missing(name)),
                Err(CallError::NotFound) => missing += 1,
                Err(error) => tracing::debug!(plan = %name, %error, "the Plan cannot be read; trying on"),
            }
        });
    }
    let decoded = tokio::task::spawn_blocking(move || Plan::decode(&run.plan, &pieces)).await;
    Ok(Arc::new(decoded.map_err(|_| FetchError::Decode)??))
}

/// The latest plans.
#[derive(Debug, Default)]
pub(crate) struct Plans(Vec<(PlanDigest, Arc<Plan>)>);

impl Plans {
    /// The plan of that digest, if it is at hand.
    pub(crate) fn get(&mut self, digest: &PlanDigest) -> Option<Arc<Plan>> {
        let index = self.0.iter().position(|(known, _)| known == digest)?;
        // The latest used is the last.
        let found = self.0.remove(index);
        let plan = found.1.clone();
        self.0.push(found);
        Some(plan)
    }

    /// Keeps a plan, and forgets the one that was used longest ago.
    pub(crate) fn keep(&mut self, digest: PlanDigest, plan: Arc<Plan>) {
        self.0.retain(|(known, _)| *known != digest);
        if self.0.len() >= KEPT {
            self.0.remove(0);
        }
        self.0.push((digest, plan));
    }
}
