//! What expressions can see: the names (before a run) and the values (in a run).

use std::collections::{BTreeMap, BTreeSet};

use braid_crds::{WorkflowSpec, status::WorkflowStatus};
use serde_json::Value;

/// The names that an expression may use at one place.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Names {
    /// The params.
    pub params: BTreeSet<String>,
    /// All steps of the workflow, by name.
    pub steps: BTreeMap<String, StepNames>,
}

/// The names of a step.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StepNames {
    /// Its results.
    pub results: BTreeSet<String>,
    /// Why it cannot be read at this place; absent: it can.
    pub hidden: Option<String>,
}

impl Names {
    /// All names of a workflow, as its outputs see them.
    #[must_use]
    pub fn of(spec: &WorkflowSpec) -> Self {
        let steps = spec.steps.iter().map(|step| {
            let results = step.results.iter().map(|result| result.name.clone()).collect();
            (step.name.clone(), StepNames { results, hidden: None })
        });
        Self {
            params: spec.params.iter().map(|param| param.name.clone()).collect(),
            steps: steps.collect(),
        }
    }

    /// The step that an expression calls `name`: itself, or with its dashes as underscores.
    #[must_use]
    pub fn step(&self, name: &str) -> Option<(&str, &StepNames)> {
        self.steps
            .iter()
            .find(|(step, _)| *step == name || step.replace('-', "_") == name)
            .map(|(step, names)| (step.as_str(), names))
    }
}

/// The values that an expression computes with.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Scope {
    /// The params, resolved.
    pub params: BTreeMap<String, Value>,
    /// The steps that can be read.
    pub steps: BTreeMap<String, StepScope>,
    /// The run.
    pub workflow: WorkflowScope,
}

/// What of a step can be read.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct StepScope {
    /// Its phase, as in its status.
    pub phase: String,
    /// How many of its partitions failed for good.
    pub failed: u64,
    /// Its results that were given.
    pub results: BTreeMap<String, Value>,
}

/// What of the run can be read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct WorkflowScope {
    /// Its name.
    pub name: String,
    /// Its phase.
    pub phase: String,
    /// Its uid.
    pub uid: String,
}

impl Scope {
    /// The scope of a run: the resolved params, and what the status says.
    #[must_use]
    pub fn of(params: BTreeMap<String, Value>, status: &WorkflowStatus, name: &str, uid: &str) -> Self {
        let steps = status.steps.iter().map(|step| {
            let results = step
                .results
                .iter()
                .filter_map(|result| Some((result.name.clone(), result.value.clone()?)))
                .collect();
            let scope = StepScope {
                phase: format!("{:?}", step.phase),
                failed: step.partitions.failed,
                results,
            };
            (step.name.clone(), scope)
        });
        Self {
            params,
            steps: steps.collect(),
            workflow: WorkflowScope {
                name: name.to_owned(),
                phase: format!("{:?}", status.phase),
                uid: uid.to_owned(),
            },
        }
    }

    /// The step that an expression calls `name`.
    pub(super) fn step(&self, name: &str) -> Option<(&str, &StepScope)> {
        self.steps
            .iter()
            .find(|(step, _)| *step == name || step.replace('-', "_") == name)
            .map(|(step, scope)| (step.as_str(), scope))
    }
}
