//! What can be wrong with a workflow that its schema and its CEL rules allow.
//!
//! Pure and total: any `Workflow` that could be read gives a list, however odd; nothing is evaluated that depends on a run. An
//! object with problems is not accepted, whoever finds them: `braid lint`, `braid run` and the operator call this same function.

use std::fmt;

use braid_crds::Workflow;

use crate::{dag::Dag, expr};

mod keys;
mod params;
mod pools;
mod programs;
mod results;
mod steps;
mod texts;
mod writes;

#[cfg(test)]
mod tests;

/// A rule that a workflow breaks. Each has at least one wrong manifest in the tests of the command line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Rule {
    /// Two entries of one name.
    Duplicate,
    /// `after` names a step that there is not.
    UnknownStep,
    /// A step is in its own `after`.
    AfterItself,
    /// A step that is not `finally` runs after one that is.
    AfterFinally,
    /// Steps wait for each other.
    Cycle,
    /// `over.data` names data that there is not.
    UnknownData,
    /// `pool` names a pool that there is not.
    UnknownPool,
    /// Data that two steps write.
    WrittenTwice,
    /// A step writes what it reads.
    WritesInput,
    /// Data that is written has a url with wildcards.
    WritePattern,
    /// Data that is written is on a volume that cannot be.
    WriteVolume,
    /// A way to cut that the data's format has not.
    SplitFormat,
    /// A way to cut that packed files have not.
    SplitPacked,
    /// More of a pod than a pool may carry.
    PodClassTooLarge,
    /// More bytes of items than an object may carry.
    ItemsTooLarge,
    /// More combinations than a step may have.
    MatrixTooLarge,
    /// `exclude` names an axis that there is not.
    UnknownAxis,
    /// Two names of a matrix with one environment variable.
    AxisEnv,
    /// A param without value.
    ParamMissing,
    /// A param's value that is not of its type or not in its `enum`.
    ParamValue,
    /// Two params with one environment variable.
    ParamEnv,
    /// An expression in `command`, `args` or `script`, where there are none.
    NoExpressionHere,
    /// An empty program.
    EmptyCommand,
    /// A byte 0 in what becomes an argument or an environment variable.
    Nul,
    /// A program that is larger than a card.
    CardTooLarge,
    /// An expression of params alone that has no value, or one of no use.
    NoValue,
    /// A first wait that is longer than the longest.
    Backoff,
    /// An exit code or a reason that an earlier rule of `retry` takes.
    RetryRule,
    /// A timeout of no time.
    ZeroTimeout,
    /// A default that its reducer could not give.
    ResultDefault,
    /// Sketches that take more than a commit or a status holds.
    ResultsTooLarge,
    /// A rule of expressions.
    Expression(expr::Rule),
}

impl Rule {
    /// All rules.
    pub fn all() -> impl Iterator<Item = Self> {
        let own = [
            Self::Duplicate,
            Self::UnknownStep,
            Self::AfterItself,
            Self::AfterFinally,
            Self::Cycle,
            Self::UnknownData,
            Self::UnknownPool,
            Self::WrittenTwice,
            Self::WritesInput,
            Self::WritePattern,
            Self::WriteVolume,
            Self::SplitFormat,
            Self::SplitPacked,
            Self::PodClassTooLarge,
            Self::ItemsTooLarge,
            Self::MatrixTooLarge,
            Self::UnknownAxis,
            Self::AxisEnv,
            Self::ParamMissing,
            Self::ParamValue,
            Self::ParamEnv,
            Self::NoExpressionHere,
            Self::EmptyCommand,
            Self::Nul,
            Self::CardTooLarge,
            Self::NoValue,
            Self::Backoff,
            Self::RetryRule,
            Self::ZeroTimeout,
            Self::ResultDefault,
            Self::ResultsTooLarge,
        ];
        own.into_iter().chain(expr::Rule::ALL.into_iter().map(Self::Expression))
    }
}

/// Something wrong, where, and how to mend it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// The broken rule.
    pub rule: Rule,
    /// The field, as in `spec.steps[2].after[0]`.
    pub path: String,
    /// Where in the field's text, in characters from 1; 0: the field as a whole.
    pub column: usize,
    /// What is wrong.
    pub message: String,
    /// How to mend it; empty: the message says it.
    pub help: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.path, self.message)?;
        if !self.help.is_empty() {
            write!(f, "; {}", self.help)?;
        }
        Ok(())
    }
}

/// The problems found so far.
#[derive(Default)]
struct Problems(Vec<Problem>);

impl Problems {
    fn add(&mut self, rule: Rule, path: impl Into<String>, message: impl Into<String>, help: impl Into<String>) {
        self.0.push(Problem {
            rule,
            path: path.into(),
            column: 0,
            message: message.into(),
            help: help.into(),
        });
    }

    fn expression(&mut self, path: &str, findings: Vec<expr::Finding>) {
        for finding in findings {
            self.0.push(Problem {
                rule: Rule::Expression(finding.rule),
                path: path.to_owned(),
                column: finding.column,
                message: finding.message,
                help: finding.help.unwrap_or_default(),
            });
        }
    }

    /// A second entry of a name in a list of named things.
    fn duplicates<'a>(&mut self, path: &str, what: &str, names: impl Iterator<Item = &'a str>) {
        let mut seen: Vec<&str> = Vec::new();
        for (index, name) in names.enumerate() {
            if seen.contains(&name) {
                let first = seen.iter().position(|other| *other == name).unwrap_or_default();
                self.add(
                    Rule::Duplicate,
                    format!("{path}[{index}].name"),
                    format!("there are two {what} {name:?}: {path}[{first}] is the first"),
                    "give each a name of its own",
                );
            }
            seen.push(name);
        }
    }
}

/// Everything that is wrong with a workflow beyond its schema, in the order of its fields.
#[must_use]
pub fn validate(workflow: &Workflow) -> Vec<Problem> {
    let spec = &workflow.spec;
    let mut problems = Problems::default();
    params::check(spec, &mut problems);
    problems.duplicates("spec.data", "data", spec.data.iter().map(|data| data.name.as_str()));
    problems.duplicates("spec.steps", "steps", spec.steps.iter().map(|step| step.name.as_str()));
    problems.duplicates(
        "spec.outputs",
        "outputs",
        spec.outputs.iter().map(|output| output.name.as_str()),
    );
    pools::check(&workflow.spec, &mut problems);
    steps::check(spec, &mut problems);
    results::check(spec, &mut problems);
    // Without an order nobody can say which steps an expression may read: then all of them.
    let dag = Dag::new(&spec.steps).ok();
    texts::check(spec, dag.as_ref(), &mut problems);
    programs::check(spec, &mut problems);
    if let Some(timeout) = &spec.timeout
        && timeout.get().is_zero()
    {
        steps::zero_timeout(&mut problems, "spec.timeout");
    }
    steps::defaults(spec, &mut problems);
    problems.0
}

/// "did you mean", or the list of what there is.
fn suggest<'a>(wrong: &str, what: &str, names: impl Iterator<Item = &'a str> + Clone) -> String {
    if let Some(name) = crate::suggest::nearest(wrong, names.clone()) {
        return format!("did you mean {name:?}?");
    }
    let names: Vec<&str> = names.take(9).collect();
    match names.as_slice() {
        [] => format!("there are no {what}"),
        names if names.len() > 8 => format!(
            "the {what} are {} and more",
            names.get(..8).unwrap_or_default().join(", ")
        ),
        names => format!("the {what} are {}", names.join(", ")),
    }
}
