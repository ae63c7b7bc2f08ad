//! What expressions can see: the names (before a run) and the values (in a run).

use std::collections::{BTreeMap, BTreeSet};

use braid_crds::{
    WorkflowSpec,
    status::{Phase, StepResult, StepStatus, ValueType, WorkflowStatus},
    workflow::ParamType,
};
use serde_json::Value;

/// The names that an expression may use at one place.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Names {
    /// The params.
    pub params: BTreeSet<String>,
    /// The types of the params that declare one.
    pub types: BTreeMap<String, ParamType>,
    /// All steps of the workflow, by name.
    pub steps: BTreeMap<String, StepNames>,
    /// The results of the step itself, where it looks at them.
    pub own: Option<BTreeSet<String>>,
}

/// The names of a step.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StepNames {
    /// Its results.
    pub results: BTreeSet<String>,
    /// Those of them that are maps.
    pub keyed: BTreeSet<String>,
    /// Why it cannot be read at this place; absent: it can.
    pub hidden: Option<String>,
}

impl Names {
    /// All names of a workflow, as its outputs see them.
    #[must_use]
    pub fn of(spec: &WorkflowSpec) -> Self {
        let steps = spec.steps.iter().map(|step| {
            let results = step.results.iter().map(|result| result.name.clone()).collect();
            let keyed = step.results.iter().filter(|result| result.keyed);
            let names = StepNames {
                results,
                keyed: keyed.map(|result| result.name.clone()).collect(),
                hidden: None,
            };
            (step.name.clone(), names)
        });
        let types = spec.params.iter();
        Self {
            params: spec.params.iter().map(|param| param.name.clone()).collect(),
            types: types
                .filter_map(|param| Some((param.name.clone(), param.kind?)))
                .collect(),
            steps: steps.collect(),
            own: None,
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
    /// The results of the step itself, where it looks at them.
    pub own: BTreeMap<String, Given>,
}

/// What of a step can be read.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct StepScope {
    /// Its phase, as in its status.
    pub phase: String,
    /// How many of its partitions succeeded.
    pub succeeded: u64,
    /// How many of them failed for good.
    pub failed: u64,
    /// Its results that were given.
    pub results: BTreeMap<String, Given>,
}

/// A value of a result, and what its numbers are: JSON does not always show that.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Given {
    /// As the status has it.
    pub value: Value,
    /// As the status says; absent: as it looks.
    pub kind: Option<ValueType>,
}

impl From<Value> for Given {
    fn from(value: Value) -> Self {
        Self { value, kind: None }
    }
}

impl Given {
    /// The results of a step that have a value, by name: what [`crate::reduce::Fold::results`] makes of a fold, also one that goes
    /// on, or what a status holds.
    #[must_use]
    pub fn of(results: &[StepResult]) -> BTreeMap<String, Self> {
        let given = results.iter().filter_map(|result| {
            let (value, kind) = (result.value.clone()?, result.kind);
            Some((result.name.clone(), Self { value, kind }))
        });
        given.collect()
    }
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
    /// The uid of the first run that this one has taken over from; expressions do not see it.
    pub first_uid: Option<String>,
    /// Whether a step has failed.
    pub failed: bool,
    /// Why the first that failed did; else empty.
    pub message: String,
    /// The steps that have failed.
    pub failures: Vec<Failure>,
}

/// A step that has failed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Failure {
    /// Its name.
    pub step: String,
    /// Why, in CamelCase.
    pub reason: String,
    /// Why, for people.
    pub message: String,
}

impl Scope {
    /// The scope of a run: the resolved params, and what the status says of the steps that are `read`.
    #[must_use]
    pub fn of(
        params: BTreeMap<String, Value>,
        status: &WorkflowStatus,
        name: &str,
        uid: &str,
        read: impl Fn(&str) -> bool,
    ) -> Self {
        let steps = status.steps.iter().filter(|step| read(&step.name)).map(|step| {
            let scope = StepScope {
                phase: format!("{:?}", step.phase),
                succeeded: step.partitions.succeeded,
                failed: step.partitions.failed,
                results: Given::of(&step.results),
            };
            (step.name.clone(), scope)
        });
        let failed = status.steps.iter().filter(|step| step.phase == Phase::Failed);
        let failures: Vec<Failure> = failed
            .map(|step| Failure {
                step: step.name.clone(),
                reason: step
                    .stopping
                    .as_ref()
                    .map_or_else(|| "StepFailed".to_owned(), |fatal| fatal.reason.clone()),
                message: step.message.clone(),
            })
            .collect();
        Self {
            params,
            steps: steps.collect(),
            workflow: WorkflowScope {
                name: name.to_owned(),
                phase: format!("{:?}", status.phase),
                uid: uid.to_owned(),
                first_uid: status.resumed_from.as_ref().map(|from| from.first_uid.clone()),
                failed: !failures.is_empty(),
                message: failures
                    .first()
                    .map(|failure| format!("{}: {}", failure.step, failure.message))
                    .unwrap_or_default(),
                failures,
            },
            own: BTreeMap::new(),
        }
    }

    /// The same for a place where a step looks at its own results.
    #[must_use]
    pub fn within(mut self, step: &StepStatus) -> Self {
        self.own = Given::of(&step.results);
        self
    }

    /// The step that an expression calls `name`.
    pub(super) fn step(&self, name: &str) -> Option<(&str, &StepScope)> {
        self.steps
            .iter()
            .find(|(step, _)| *step == name || step.replace('-', "_") == name)
            .map(|(step, scope)| (step.as_str(), scope))
    }
}
