//! The order of steps: which may start, which never will, and what that makes of the run.
//!
//! A step starts when all in its `after` have succeeded. It is skipped when one of them failed, was cancelled, or was itself
//! skipped; the other branches go on. Everything is computed from the phases, so a new operator needs nothing else.

use std::collections::BTreeSet;

use braid_crds::{status::Phase, workflow::Step};

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
}

/// Whether a step that has not begun may begin.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Readiness {
    /// All before it have succeeded.
    Start,
    /// Something before it is not done.
    Wait,
    /// It never will.
    Skip {
        /// The step that is the cause.
        because: String,
        /// How that one ended.
        phase: Phase,
    },
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
            });
        }
        for (index, step) in steps.iter().enumerate() {
            for name in &step.after {
                let before = steps.iter().position(|other| other.name == *name);
                let before = before.ok_or_else(|| DagError::Unknown {
                    step: step.name.clone(),
                    after: name.clone(),
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

    fn after(&self, index: usize) -> &[usize] {
        self.nodes.get(index).map_or(&[], |node| &node.after)
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
                .find(|index| self.after(*index).iter().all(|before| !left.contains(before)));
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
        while let Some(next) = self.after(at).iter().copied().find(|before| left.contains(before)) {
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
            for before in self.after(index) {
                if found.insert(self.name(*before)) {
                    open.push(*before);
                }
            }
        }
        found
    }

    /// What becomes of each step that is `Pending`, in order. A skip shows in the steps behind it at once, so one call is
    /// enough however long the chain.
    pub fn readiness(&self, phase: impl Fn(&str) -> Phase) -> Vec<(&str, Readiness)> {
        let mut phases: Vec<Phase> = self.nodes.iter().map(|node| phase(&node.name)).collect();
        let mut answers = Vec::new();
        for index in self.order.iter().copied() {
            if phases.get(index) != Some(&Phase::Pending) {
                continue;
            }
            let readiness = self.ready(index, &phases);
            if let (Readiness::Skip { .. }, Some(phase)) = (&readiness, phases.get_mut(index)) {
                *phase = Phase::Skipped;
            }
            answers.push((self.name(index), readiness));
        }
        answers
    }

    fn ready(&self, index: usize, phases: &[Phase]) -> Readiness {
        let before = |wanted: fn(Phase) -> bool| {
            let found = self
                .after(index)
                .iter()
                .copied()
                .filter_map(|before| Some((before, *phases.get(before)?)));
            found.into_iter().find(|(_, phase)| wanted(*phase))
        };
        let bad = |phase| matches!(phase, Phase::Failed | Phase::Cancelled | Phase::Skipped);
        if let Some((cause, phase)) = before(bad) {
            return Readiness::Skip {
                because: self.name(cause).to_owned(),
                phase,
            };
        }
        match before(|phase| !phase.is_terminal()) {
            Some(_) => Readiness::Wait,
            None => Readiness::Start,
        }
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
        } else if any(Phase::Cancelled) || any(Phase::Skipped) {
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
mod tests {
    #![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    fn steps(edges: &[(&str, &[&str])]) -> Vec<Step> {
        edges
            .iter()
            .map(|(name, after)| Step {
                name: (*name).into(),
                after: after.iter().map(|after| (*after).into()).collect(),
                ..Step::default()
            })
            .collect()
    }

    fn diamond() -> Dag {
        Dag::new(&steps(&[
            ("d", &["b", "c"]),
            ("b", &["a"]),
            ("c", &["a"]),
            ("a", &[]),
            ("x", &[]),
        ]))
        .unwrap()
    }

    #[test]
    fn orders_and_closes_over() {
        let dag = diamond();
        assert_eq!(vec!["a", "b", "c", "d", "x"], dag.order().collect::<Vec<_>>());
        assert_eq!(BTreeSet::from(["a", "b", "c"]), dag.upstream("d"));
        assert_eq!(BTreeSet::new(), dag.upstream("x"));
        assert_eq!(BTreeSet::new(), dag.upstream("no such step"));
    }

    #[test]
    fn names_the_cycle() {
        let error = Dag::new(&steps(&[
            ("start", &["c"]),
            ("a", &["c"]),
            ("b", &["a"]),
            ("c", &["b"]),
        ]))
        .unwrap_err();
        let DagError::Cycle(names) = &error else {
            panic!("{error}")
        };
        assert_eq!((4, &names[0]), (names.len(), &names[3]), "{error}");
        assert!(!names.contains(&"start".to_owned()), "{error}");
        for pair in names.windows(2) {
            assert!(
                [("a", "b"), ("b", "c"), ("c", "a")].contains(&(pair[0].as_str(), pair[1].as_str())),
                "{error}"
            );
        }
        assert_eq!(
            Err(DagError::Cycle(vec!["a".into(), "a".into()])),
            Dag::new(&steps(&[("a", &["a"])]))
        );
        assert!(matches!(
            Dag::new(&steps(&[("a", &["b"])])),
            Err(DagError::Unknown { .. })
        ));
        assert!(matches!(
            Dag::new(&steps(&[("a", &[]), ("a", &[])])),
            Err(DagError::Duplicate(_))
        ));
    }

    #[test]
    fn skips_what_cannot_come() {
        let dag = diamond();
        let phases = BTreeMap::from([
            ("a", Phase::Succeeded),
            ("b", Phase::Failed),
            ("c", Phase::Running),
            ("x", Phase::Pending),
        ]);
        let ready = dag.readiness(|step| phases.get(step).copied().unwrap_or_default());
        let skip = Readiness::Skip {
            because: "b".into(),
            phase: Phase::Failed,
        };
        assert_eq!(vec![("d", skip), ("x", Readiness::Start)], ready);
        let chain = Dag::new(&steps(&[("a", &[]), ("b", &["a"]), ("c", &["b"])])).unwrap();
        let ready = chain.readiness(|step| if step == "a" { Phase::Cancelled } else { Phase::Pending });
        assert!(
            ready
                .iter()
                .all(|(_, readiness)| matches!(readiness, Readiness::Skip { .. })),
            "{ready:?}"
        );
        let ready = chain.readiness(|step| if step == "a" { Phase::Stopped } else { Phase::Pending });
        assert_eq!(vec![("b", Readiness::Start), ("c", Readiness::Wait)], ready);
    }

    #[test]
    fn derives_the_run() {
        use Phase::{Cancelled, Failed, Paused, Pending, Planning, Running, Skipped, Succeeded, Suspended, Waiting};
        for (steps, suspend, expected) in [
            (vec![Pending, Pending], false, Pending),
            (vec![Pending, Pending], true, Suspended),
            (vec![Planning, Pending], false, Planning),
            (vec![Planning, Running], false, Running),
            (vec![Running, Paused], true, Running),
            (vec![Succeeded, Pending], false, Running),
            (vec![Succeeded, Pending], true, Suspended),
            (vec![Paused, Waiting], false, Paused),
            (vec![Waiting, Succeeded], false, Waiting),
            (vec![Succeeded, Succeeded], true, Succeeded),
            (vec![Failed, Skipped], false, Failed),
            (vec![Failed, Running], false, Running),
            (vec![Cancelled, Skipped, Succeeded], false, Cancelled),
            (vec![Cancelled, Failed], false, Failed),
            (vec![], false, Pending),
        ] {
            assert_eq!(expected, run_phase(&steps, suspend), "{steps:?}");
        }
    }

    proptest! {
        /// An order puts every step behind what is before it; no order means that there is a true circle.
        #[test]
        fn orders_or_shows_a_circle(edges in prop::collection::vec((0..12_usize, 0..12_usize), 0..30)) {
            let all: Vec<Step> = (0..12).map(|index: usize| Step {
                name: format!("s{index}"),
                after: edges.iter().filter(|(to, _)| *to == index).map(|(_, from)| format!("s{from}")).collect(),
                ..Step::default()
            }).collect();
            match Dag::new(&all) {
                Ok(dag) => {
                    let order: Vec<&str> = dag.order().collect();
                    prop_assert_eq!(12, order.len());
                    for step in &all {
                        let at = order.iter().position(|name| *name == step.name);
                        for before in &step.after {
                            prop_assert!(order.iter().position(|name| name == before) < at);
                        }
                    }
                }
                Err(DagError::Cycle(names)) => {
                    prop_assert!(names.len() >= 2 && names.first() == names.last());
                    for pair in names.windows(2) {
                        let step = all.iter().find(|step| step.name == pair[1]).unwrap();
                        prop_assert!(step.after.contains(&pair[0]));
                    }
                }
                Err(error) => prop_assert!(false, "{error}"),
            }
        }
    }
}
