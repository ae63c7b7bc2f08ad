//! The programs of steps: made from the run's params and the steps before, and frozen when the step begins.

use std::collections::{BTreeMap, HashMap};

use braid_crds::{
    Round, Workflow, WorkflowStatus,
    status::{Phase, PlanRef},
    worker::{Card, Fatal},
    workflow::Step,
};
use braid_engine::{card, dag, expr::Scope, params};
use kube::ResourceExt as _;

use super::{Pass, advance::cut};
use crate::names;

impl Pass<'_> {
    /// The programs of the steps that are under way, as they were frozen.
    pub(super) fn cards(&mut self, status: &WorkflowStatus) -> BTreeMap<String, Card> {
        let mut cards = BTreeMap::new();
        let current = |name: &String, round| {
            status
                .steps
                .iter()
                .any(|step| step.name == *name && step.round == round)
        };
        self.memory.cards.retain(|(name, round), _| current(name, *round));
        for step in &status.steps {
            let Some(declared) = self
                .workflow
                .spec
                .steps
                .iter()
                .find(|declared| declared.name == step.name)
            else {
                continue;
            };
            let built = match step.phase {
                // For items that were listed already, with the list's pieces.
                Phase::Planning => program(&self.workflow, declared, status, step.plan.as_ref()).ok(),
                Phase::Running | Phase::Waiting | Phase::Suspended | Phase::Paused => {
                    let known = self.memory.cards.get(&(step.name.clone(), step.round)).cloned();
                    known
                        .or_else(|| program(&self.workflow, declared, status, step.plan.as_ref()).ok())
                        // Another build of the operator froze another program: only that one may run.
                        .filter(|card| step.card.as_ref() == Some(&card.digest))
                }
                _ => None,
            };
            if let Some(card) = built {
                if step.card.is_some() {
                    self.memory.cards.insert((step.name.clone(), step.round), card.clone());
                }
                cards.insert(step.name.clone(), card);
            }
        }
        cards
    }
}

/// What the expressions of a run can see.
pub(super) fn scope(workflow: &Workflow, status: &WorkflowStatus) -> Result<Scope, String> {
    scope_of(workflow, status, |_| true)
}

/// The same of some steps only: what is not read need not be copied.
pub(super) fn scope_of(
    workflow: &Workflow,
    status: &WorkflowStatus,
    read: impl Fn(&str) -> bool,
) -> Result<Scope, String> {
    let params = params::resolve(&workflow.spec.params).map_err(|error| error.to_string())?;
    let mut scope = Scope::of(params, status, &workflow.name_any(), &names::uid(workflow), read);
    // What the run has come to is what its steps have, but for those that run after it whatever that is.
    let spec = &workflow.spec;
    let ordinary = status.steps.iter().filter(|step| {
        let declared = spec.steps.iter().find(|declared| declared.name == step.name);
        declared.is_some_and(|declared| !declared.finally)
    });
    let phases: Vec<Phase> = ordinary.map(|step| step.phase).collect();
    if !phases.is_empty() {
        let phase = dag::run_phase(&phases, spec.suspend);
        scope.workflow.phase = format!("{phase:?}");
        if phase == Phase::Cancelled && scope.workflow.message.is_empty() {
            "the run was cancelled".clone_into(&mut scope.workflow.message);
        }
    }
    Ok(scope)
}

/// The program of a step, from the run's params and the steps before.
pub(super) fn program(
    workflow: &Workflow,
    step: &Step,
    status: &WorkflowStatus,
    plan: Option<&PlanRef>,
) -> Result<Card, String> {
    let scope = scope(workflow, status)?;
    card::build(&workflow.spec, step, plan, &scope).map_err(|error| error.to_string())
}

/// Freezes the programs of steps that have just begun to run. A step whose program cannot be made fails.
pub(super) fn freeze(workflow: &Workflow, status: &mut WorkflowStatus, cards: &mut HashMap<(String, Round), Card>) {
    for declared in &workflow.spec.steps {
        let snapshot = status.clone();
        let Some(step) = status.steps.iter_mut().find(|step| step.name == declared.name) else {
            continue;
        };
        if step.card.is_some() || step.stopping.is_some() || !matches!(step.phase, Phase::Running | Phase::Planning) {
            continue;
        }
        let plan = if step.phase == Phase::Planning {
            None
        } else {
            step.plan.as_ref()
        };
        match program(workflow, declared, &snapshot, plan) {
            Ok(_) if step.phase == Phase::Planning => {}
            Ok(card) => {
                step.card = Some(card.digest.clone());
                cards.insert((step.name.clone(), step.round), card);
            }
            Err(error) => {
                step.stopping = Some(Fatal {
                    reason: "BadProgram".into(),
                    message: cut(&error),
                });
            }
        }
    }
}
