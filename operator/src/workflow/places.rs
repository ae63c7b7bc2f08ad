//! How many partitions of each step may be in flight now: `parallelism` of the steps and of the run.
//!
//! It may change while the run goes on, so it is computed in each pass. A text that gives no number stops the hand-out of what it
//! limits, and says so, until somebody mends it: nothing is lost by waiting.

use std::collections::BTreeMap;

use braid_crds::{Workflow, WorkflowStatus, status::Phase};
use braid_engine::{expr::Scope, parallelism};

/// The limits that hold now.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Places {
    /// By step; a step that is not in it has no limit.
    of_step: BTreeMap<String, u64>,
    /// Why something is limited to nothing.
    pub problem: Option<String>,
}

impl Places {
    /// The limit of a step; `None`: as many as there are places.
    #[must_use]
    pub fn of_step(&self, step: &str) -> Option<u64> {
        self.of_step.get(step).copied()
    }
}

/// The limits of a run's active steps.
#[must_use]
pub fn of(workflow: &Workflow, status: &WorkflowStatus) -> Places {
    let spec = &workflow.spec;
    let mut places = Places::default();
    if spec.parallelism.is_none() && spec.steps.iter().all(|step| step.parallelism.is_none()) {
        return places;
    }
    let scope = super::programs::scope(workflow, status).unwrap_or_else(|error| {
        places.problem = Some(error);
        Scope::default()
    });
    let mut problem = None;
    let mut limit = |parallelism, what: &str| match parallelism::resolve(parallelism, &scope) {
        Ok(count) => count,
        Err(error) => {
            problem = Some(format!("{what}: {error}"));
            0
        }
    };
    let run = spec.parallelism.as_ref().map(|parallelism| limit(parallelism, "spec"));
    let mut active = Vec::new();
    for step in &spec.steps {
        let known = status.steps.iter().find(|known| known.name == step.name);
        let Some(known) = known.filter(|known| matches!(known.phase, Phase::Running | Phase::Waiting)) else {
            continue;
        };
        let own = step
            .parallelism
            .as_ref()
            .map(|parallelism| limit(parallelism, &step.name));
        let left = known.partitions.total.saturating_sub(known.ledger.len());
        active.push((step.name.clone(), own, left));
    }
    places.problem = places.problem.take().or(problem);
    let shares = run.map(|run| {
        let wants: Vec<u64> = active
            .iter()
            .map(|(_, own, left)| own.unwrap_or(u64::MAX).min(*left))
            .collect();
        parallelism::shares(run, &wants)
    });
    for (index, (step, own, _)) in active.into_iter().enumerate() {
        let share = shares.as_ref().and_then(|shares| shares.get(index)).copied();
        let limit = match (own, share) {
            (Some(own), Some(share)) => Some(own.min(share)),
            (own, share) => own.or(share),
        };
        if let Some(limit) = limit {
            places.of_step.insert(step, limit);
        }
    }
    places
}
