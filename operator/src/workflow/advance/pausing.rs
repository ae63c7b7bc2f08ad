//! More failures than may be: the step fails, or nothing more of it is handed out until people have decided.

use braid_crds::{
    status::{Phase, StepStatus},
    worker::Fatal,
    workflow::{OnFailure, Step},
};
use braid_engine::retry::FAIL_STEP;

use super::{Pass, tolerated};
use crate::workflow::stamp;

/// Why a step fails or is paused that has too many failures.
const TOO_MANY: &str = "TooManyFailedPartitions";

impl Pass<'_> {
    /// Goes on with what is paused if somebody has asked for it since: what has failed so far is accepted.
    pub(super) fn resume(&mut self) {
        let wanted = self.view.workflow.spec.resume.unwrap_or(0);
        let status = &mut self.advance.status;
        if wanted <= status.resumed {
            return;
        }
        status.resumed = wanted;
        for step in status.steps.iter_mut().filter(|step| step.paused.is_some()) {
            step.paused = None;
            step.accepted = step.partitions.failed;
            status.resumed_at = Some(stamp(self.view.now));
        }
        self.advance.urgent = true;
    }
}

/// Looks at what has failed for good.
pub(super) fn too_many(spec: &Step, step: &mut StepStatus) {
    if !matches!(
        step.phase,
        Phase::Running | Phase::Waiting | Phase::Suspended | Phase::Paused
    ) {
        return;
    }
    let on_failure = spec.on_failure.unwrap_or_default();
    if on_failure == OnFailure::Pause
        && let Some(fatal) = step.stopping.take_if(|fatal| fatal.reason == FAIL_STEP)
    {
        step.paused.get_or_insert(fatal);
    }
    if step.stopping.is_some() {
        return;
    }
    let (failed, total) = (step.partitions.failed, step.partitions.total);
    let limit = tolerated(spec, total).saturating_add(step.accepted);
    let found = (failed > limit).then(|| Fatal {
        reason: TOO_MANY.into(),
        message: match failed {
            1 => format!("1 partition failed, {limit} may"),
            _ => format!("{failed} partitions failed, {limit} may"),
        },
    });
    match (on_failure, found) {
        (OnFailure::Fail, found) => step.stopping = found,
        (OnFailure::Continue, found) => {
            let over = step.satisfied || step.ledger.len() >= total;
            step.stopping = found.filter(|_| over);
        }
        (OnFailure::Pause, Some(fatal)) => {
            // What is sealed while it comes to rest counts, too.
            if step.paused.as_ref().is_none_or(|paused| paused.reason == TOO_MANY) {
                step.paused = Some(fatal);
            }
        }
        (OnFailure::Pause, None) => {
            // More are allowed now.
            step.paused.take_if(|paused| paused.reason == TOO_MANY);
        }
    }
}
