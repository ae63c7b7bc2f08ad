//! The order of steps: which may start, which never will, and what that makes of the run.
//!
//! A step comes after the steps in its `after`, and after those that write data that it reads. It starts when all of these have ended
//! and its `afterRule` is met by how they ended; if it can no longer be met,
//! the step is skipped, and the other branches go on. Everything is computed from the phases and the causes of skips, so a new
//! operator needs nothing else. A step that is `finally` waits, besides, until all that are not have ended. What is decided never depends on which of several steps ended first.

use std::collections::BTreeSet;

use braid_crds::{
    status::{Phase, SkipCause},
    workflow::{AfterRule, Step},
};

use crate::card;

mod rule;

/// Why steps have no order. Indexes are those of the list of steps.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DagError {
    /// `after` names a step that there is not.
    #[error("step {step:?} runs after {after:?}, and there is no such step")]
    Unknown {
        /// The step.
        step: String,
        /// What it names.
        after: String,
    },
    /// Two steps of one name.
    #[error("there are two steps {0:?}")]
    Duplicate(String),
    /// Steps that wait for each other; the first is repeated at the end.
    #[error("steps wait for each other in a circle: {}", .0.join(" -> "))]
    Cycle(Vec<String>),
}

/// Steps and what is before them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Dag {
    nodes: Vec<Node>,
    order: Vec<usize>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Node {
    name: String,
    after: Vec<usize>,
    /// Those that must have ended, however, before its turn comes: for a step that is `finally`, all that are not.
    behind: Vec<usize>,
    rule: AfterRule,
}

/// Where a step is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct At {
    /// Its phase.
    pub phase: Phase,
    /// Why it was skipped, if it was. A skipped step without a cause counts as skipped because of a failure.
    pub skipped: Option<SkipCause>,
}

impl From<Phase> for At {
    fn from(phase: Phase) -> Self {
        Self { phase, skipped: None }
    }
}

/// Whether a step that has not begun may begin.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Readiness {
    /// All before it have ended as it wants.
    Start,
    /// Something before it is not done.
    Wait,
    /// It never will.
    Skip {
        /// What that means for the steps after it.
        cause: SkipCause,
        /// For people.
        because: String,
    },
}

/// The data that a step reads: what it runs over, and what it reads beside.
pub fn inputs(step: &Step) -> impl Iterator<Item = &str> {
    let over = step.over.as_ref().and_then(|over| over.data.as_deref());
    over.into_iter().chain(step.reads.iter().map(|read| read.data.as_str()))
}

/// The steps that a step comes after: those in its `after`, then those that write data that it reads.
#[must_use]
pub fn before<'a>(steps: &'a [Step], step: &'a Step) -> Vec<&'a str> {
    let mut before: Vec<&str> = step.after.iter().map(String::as_str).collect();
    for data in inputs(step) {
        let writes = |other: &&Step| card::written(other).any(|name| name == data);
        for writer in steps.iter().filter(writes) {
            if !before.contains(&writer.name.as_str()) {
                before.push(&writer.name);
            }
        }
    }
    before
}

impl Dag {
    /// Orders the steps.
    pub fn new(steps: &[Step]) -> Result<Self, DagError> {
        let mut nodes: Vec<Node> = Vec::with_capacity(steps.len());
        for step in steps {
            if nodes.iter().any(|node| node.name == step.name) {
                return Err(DagError::Duplicate(step.name.clone()));
            }
            nodes.push(Node {
                name: step.name.clone(),
                after: Vec::new(),
                behind: Vec::new(),
                rule: step.after_rule.unwrap_or_default(),
            });
        }
        let ordinary = || (0..steps.len()).filter(|index| steps.get(*index).is_some_and(|step| !step.finally));
        for (node, _) in nodes.iter_mut().zip(steps).filter(|(_, step)| step.finally) {
            node.behind = ordinary().collect();
        }
        for (index, step) in steps.iter().enumerate() {
            for name in before(steps, step) {
                let before = steps.iter().position(|other| other.name == name);
                let before = before.ok_or_else(|| DagError::Unknown {
                    step: step.name.clone(),
                    after: name.to_owned(),
                })?;
                if let Some(node) = nodes.get_mut(index)
                    && !node.after.contains(&before)
                {
                    node.after.push(before);
                }
            }
        }
        let mut dag = Self {
            nodes,
            order: Vec::new(),
        };
        dag.order = dag.sort()?;
        Ok(dag)
    }

    /// All that must have ended before a step.
    fn before(&self, index: usize) -> impl Iterator<Item = usize> {
        let node = self.nodes.get(index);
        node.into_iter()
            .flat_map(|node| node.after.iter().chain(&node.behind).copied())
    }

    fn name(&self, index: usize) -> &str {
        self.nodes.get(index).map_or("", |node| &node.name)
    }

    /// Takes away what has nothing before it until nothing is left; each time the first of the list, so that the order is
    /// that of the manifest where it can be.
    fn sort(&self) -> Result<Vec<usize>, DagError> {
        let mut order = Vec::with_capacity(self.nodes.len());
        let mut left: BTreeSet<usize> = (0..self.nodes.len()).collect();
        while let Some(first) = left.first().copied() {
            let free = left
                .iter()
                .copied()
                .find(|index| self.before(*index).all(|before| !left.contains(&before)));
            let Some(free) = free else {
                return Err(DagError::Cycle(self.cycle(&left, first)));
            };
            left.remove(&free);
            order.push(free);
        }
        Ok(order)
    }

    /// Follows `after` among steps that all have one left, until a step comes a second time.
    fn cycle(&self, left: &BTreeSet<usize>, first: usize) -> Vec<String> {
        let mut way = vec![first];
        let mut at = first;
        while let Some(next) = self.before(at).find(|before| left.contains(before)) {
            let seen = way.iter().position(|index| *index == next);
            way.push(next);
            if let Some(seen) = seen {
                way.drain(..seen);
                break;
            }
            at = next;
        }
        // The way leads backwards; people read forwards.
        way.iter().rev().map(|index| self.name(*index).to_owned()).collect()
    }

    /// The steps in an order in which they may run.
    pub fn order(&self) -> impl Iterator<Item = &str> {
        self.order.iter().map(|index| self.name(*index))
    }

    /// Every step that has ended before `step` begins.
    #[must_use]
    pub fn upstream(&self, step: &str) -> BTreeSet<&str> {
        let mut found = BTreeSet::new();
        let mut open: Vec<usize> = self
            .nodes
            .iter()
            .position(|node| node.name == step)
            .into_iter()
            .collect();
        while let Some(index) = open.pop() {
            for before in self.before(index) {
                if found.insert(self.name(before)) {
                    open.push(before);
                }
            }
        }
        found
    }

    /// What becomes of each step that is `Pending`, in order. A skip shows in the steps behind it at once, so one call is
    /// enough however long the chain.
    pub fn readiness(&self, at: impl Fn(&str) -> At) -> Vec<(&str, Readiness)> {
        let mut all: Vec<At> = self.nodes.iter().map(|node| at(&node.name)).collect();
        let mut answers = Vec::new();
        for index in self.order.iter().copied() {
            if all.get(index).map(|at| at.phase) != Some(Phase::Pending) {
                continue;
            }
            let readiness = self.ready(index, &all);
            if let (Readiness::Skip { cause, .. }, Some(at)) = (&readiness, all.get_mut(index)) {
                *at = At {
                    phase: Phase::Skipped,
                    skipped: Some(*cause),
                };
            }
            answers.push((self.name(index), readiness));
        }
        answers
    }

    fn ready(&self, index: usize, all: &[At]) -> Readiness {
        let Some(node) = self.nodes.get(index) else {
            return Readiness::Wait;
        };
        let ended = |before: &usize| all.get(*before).is_some_and(|at| at.phase.is_terminal());
        if !node.behind.iter().all(ended) {
            return Readiness::Wait;
        }
        let before: Vec<(&str, At)> = node
            .after
            .iter()
            .map(|before| (self.name(*before), all.get(*before).copied().unwrap_or_default()))
            .collect();
        rule::judge(node.rule, &before)
    }
}

/// The phase of a run whose steps are in these phases.
///
/// Once all have ended: failed if a step failed, else cancelled if a step was, else succeeded. Before that: what goes on
/// most actively; with nothing active, suspended if that was asked for.
#[must_use]
pub fn run_phase(steps: &[Phase], suspend: bool) -> Phase {
    let any = |phase| steps.contains(&phase);
    if !steps.is_empty() && steps.iter().all(|phase| phase.is_terminal()) {
        return if any(Phase::Failed) {
            Phase::Failed
        } else if any(Phase::Cancelled) {
            Phase::Cancelled
        } else {
            Phase::Succeeded
        };
    }
    let active = [Phase::Running, Phase::Planning].into_iter().find(|phase| any(*phase));
    let asked = suspend.then_some(Phase::Suspended);
    let idle = [Phase::Paused, Phase::Suspended, Phase::Waiting]
        .into_iter()
        .find(|phase| any(*phase));
    let begun = steps.iter().any(|phase| phase.is_terminal()).then_some(Phase::Running);
    active.or(asked).or(idle).or(begun).unwrap_or(Phase::Pending)
}

#[cfg(test)]
mod tests;
