//! What can be said of an expression before it runs: names that do not exist.

use super::{
    ExprError, Expression, Names, Reference, scan,
    types::{self, Wanted},
};
use crate::suggest::nearest;

/// The functions and macros that expressions have, for people to be told.
const FUNCTIONS: [&str; 18] = [
    "all",
    "bool",
    "bytes",
    "contains",
    "double",
    "dyn",
    "endsWith",
    "exists",
    "exists_one",
    "filter",
    "has",
    "int",
    "map",
    "matches",
    "size",
    "startsWith",
    "string",
    "type",
];
/// `uint` is CEL's; results and params never are.
const MORE_FUNCTIONS: [&str; 1] = ["uint"];
/// Types are values in CEL: `type(x) == int`.
const TYPES: [&str; 9] = [
    "bool",
    "bytes",
    "double",
    "int",
    "list",
    "map",
    "null_type",
    "string",
    "uint",
];
const ROOTS: [&str; 3] = ["params", "steps", "workflow"];
const STEP_FIELDS: [&str; 3] = ["phase", "failed", "results"];
const WORKFLOW_FIELDS: [&str; 6] = ["name", "phase", "uid", "failed", "message", "failures"];
/// The variable of a step's own results, where there is one.
const OWN: &str = "results";

/// A rule that an expression breaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Rule {
    /// Too much text.
    Length,
    /// Too deep.
    Depth,
    /// Too many names and literals.
    Terms,
    /// Too many macros in one another.
    Macros,
    /// Not CEL.
    Syntax,
    /// `$(` without `)`.
    Unclosed,
    /// A variable that there is not.
    UnknownVariable,
    /// A variable where one of its fields is meant.
    WholeVariable,
    /// A param that there is not.
    UnknownParam,
    /// A step that there is not.
    UnknownStep,
    /// A step that has not run before this place.
    HiddenStep,
    /// A result that there is not.
    UnknownResult,
    /// A field that there is not.
    UnknownField,
    /// A name with `-` behind a dot.
    Subtraction,
    /// A function that there is not.
    UnknownFunction,
    /// A message of a named type.
    Message,
    /// A value of a type that does not fit its place.
    Type,
}

impl Rule {
    /// All of them.
    pub const ALL: [Self; 17] = [
        Self::Length,
        Self::Depth,
        Self::Terms,
        Self::Macros,
        Self::Syntax,
        Self::Unclosed,
        Self::UnknownVariable,
        Self::WholeVariable,
        Self::UnknownParam,
        Self::UnknownStep,
        Self::HiddenStep,
        Self::UnknownResult,
        Self::UnknownField,
        Self::Subtraction,
        Self::UnknownFunction,
        Self::Message,
        Self::Type,
    ];
}

/// What is wrong with an expression.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// The broken rule.
    pub rule: Rule,
    /// Where in the text, in characters from 1.
    pub column: usize,
    /// What.
    pub message: String,
    /// How to mend it, if known.
    pub help: Option<String>,
}

impl Finding {
    /// The finding that an error of reading is.
    #[must_use]
    pub fn of(error: &ExprError) -> Self {
        let rule = match error {
            ExprError::TooLong { .. } => Rule::Length,
            ExprError::TooDeep { .. } => Rule::Depth,
            ExprError::TooManyTerms { .. } => Rule::Terms,
            ExprError::TooManyMacros { .. } => Rule::Macros,
            ExprError::Unclosed { .. } => Rule::Unclosed,
            _ => Rule::Syntax,
        };
        Self {
            rule,
            column: error.column().unwrap_or(1),
            message: error.to_string(),
            help: None,
        }
    }
}

impl Expression {
    /// The names in it that do not exist, and the forms that cannot be evaluated.
    #[must_use]
    pub fn check(&self, names: &Names) -> Vec<Finding> {
        self.check_for(names, Wanted::Anything)
    }

    /// The same, at a place that takes only some values.
    #[must_use]
    pub fn check_for(&self, names: &Names, wanted: Wanted) -> Vec<Finding> {
        let mut findings: Vec<Finding> = Vec::new();
        for at in &self.found.subtractions {
            findings.push(self.subtraction(*at, names));
        }
        for (function, id) in &self.found.functions {
            let operator = function.contains(['_', '@']) && !function.starts_with(|c: char| c.is_ascii_alphabetic());
            if !operator && !FUNCTIONS.contains(&function.as_str()) && !MORE_FUNCTIONS.contains(&function.as_str()) {
                let help = nearest(function, FUNCTIONS).map(did_you_mean);
                let help = help.or_else(|| Some(format!("the functions are {}", FUNCTIONS.join(", "))));
                findings.push(Finding {
                    rule: Rule::UnknownFunction,
                    column: self.column_of(*id),
                    message: format!("there is no function {function:?}"),
                    help,
                });
            }
        }
        for id in &self.found.structs {
            findings.push(Finding {
                rule: Rule::Message,
                column: self.column_of(*id),
                message: "there are no message types".to_owned(),
                help: Some("write a map, for example {\"a\": 1}".to_owned()),
            });
        }
        for reference in &self.found.references {
            findings.extend(self.reference(reference, names));
        }
        // What is not there has no type.
        if findings.is_empty() {
            findings = types::check(self, names, wanted);
        }
        findings.sort_by_key(|finding| finding.column);
        findings.dedup();
        findings
    }

    fn subtraction(&self, at: usize, names: &Names) -> Finding {
        let text = self.text.get(at..).unwrap_or_default();
        let chain: String = text
            .chars()
            .take_while(|c| c.is_ascii_alphanumeric() || "-_.".contains(*c))
            .collect();
        let name = chain.split('.').nth(1).unwrap_or_default();
        let known = names.step(name).map(|(step, _)| step);
        let meant = known
            .or_else(|| nearest(name, names.steps.keys().map(String::as_str)))
            .unwrap_or(name);
        Finding {
            rule: Rule::Subtraction,
            column: scan::column(&self.text, at),
            message: format!("steps.{name} is a subtraction"),
            help: Some(format!("write steps.{}", meant.replace('-', "_"))),
        }
    }

    fn reference(&self, reference: &Reference, names: &Names) -> Option<Finding> {
        let finding = |rule, message: String, help: Option<String>| {
            Some(Finding {
                rule,
                column: scan::column(&self.text, reference.at),
                message,
                help,
            })
        };
        let path: Vec<&str> = reference.path.iter().map(String::as_str).collect();
        match (reference.root.as_str(), path.as_slice()) {
            ("params", [param, ..]) if names.params.contains(*param) => None,
            ("params", [param, ..]) => {
                let help = nearest(param, names.params.iter().map(String::as_str)).map(did_you_mean);
                let help = help.or_else(|| Some(listed("params", names.params.iter().map(String::as_str))));
                finding(Rule::UnknownParam, format!("there is no param {param:?}"), help)
            }
            ("steps", [step, rest @ ..]) => {
                let Some((step, known)) = names.step(step) else {
                    let steps = names.steps.keys().map(|step| step.replace('-', "_"));
                    let steps: Vec<String> = steps.collect();
                    let help = nearest(step, steps.iter().map(String::as_str)).map(did_you_mean);
                    let help = help.or_else(|| Some(listed("steps", steps.iter().map(String::as_str))));
                    return finding(Rule::UnknownStep, format!("there is no step {step:?}"), help);
                };
                if let Some(why) = &known.hidden {
                    return finding(
                        Rule::HiddenStep,
                        format!("step {step:?} cannot be read here"),
                        Some(why.clone()),
                    );
                }
                match rest {
                    ["phase" | "failed"] => None,
                    ["results", result, ..] if known.results.contains(*result) => None,
                    ["results", result, ..] => {
                        let help = nearest(result, known.results.iter().map(String::as_str)).map(did_you_mean);
                        let what = format!("results of step {step:?}");
                        let help = help.or_else(|| Some(listed(&what, known.results.iter().map(String::as_str))));
                        finding(
                            Rule::UnknownResult,
                            format!("step {step:?} has no result {result:?}"),
                            help,
                        )
                    }
                    [] | ["results"] => finding(
                        Rule::WholeVariable,
                        format!("{} is not a value", chain(reference)),
                        Some(format!(
                            "name a field, for example steps.{}.failed",
                            step.replace('-', "_")
                        )),
                    ),
                    [field, ..] => finding(
                        Rule::UnknownField,
                        format!("a step has no {field:?} that can be read as {}", chain(reference)),
                        nearest(field, STEP_FIELDS)
                            .map(did_you_mean)
                            .or_else(|| Some(listed("fields of a step", STEP_FIELDS))),
                    ),
                }
            }
            ("workflow", [field]) if WORKFLOW_FIELDS.contains(field) => None,
            ("workflow", [field, ..]) => finding(
                Rule::UnknownField,
                format!("a workflow has no {field:?} that can be read as {}", chain(reference)),
                nearest(field, WORKFLOW_FIELDS)
                    .map(did_you_mean)
                    .or_else(|| Some(listed("fields of a workflow", WORKFLOW_FIELDS))),
            ),
            (OWN, [result, ..]) if names.own.as_ref().is_some_and(|own| own.contains(*result)) => None,
            (OWN, [result, ..]) if names.own.is_some() => {
                let own = || names.own.iter().flatten().map(String::as_str);
                let help = nearest(result, own()).map(did_you_mean);
                let help = help.or_else(|| Some(listed("results of this step", own())));
                finding(Rule::UnknownResult, format!("this step has no result {result:?}"), help)
            }
            (OWN, []) if names.own.is_some() => finding(
                Rule::WholeVariable,
                "results is not a value".to_owned(),
                Some("name one, for example results.NAME".to_owned()),
            ),
            (OWN, _) => finding(
                Rule::UnknownVariable,
                "there is no variable \"results\" here".to_owned(),
                Some("name the step: steps.NAME.results.RESULT".to_owned()),
            ),
            ("item", _) => finding(
                Rule::UnknownVariable,
                "there is no variable \"item\" here".to_owned(),
                Some("expressions are evaluated once for all partitions; programs have BRAID_ITEM".to_owned()),
            ),
            (root, []) if ROOTS.contains(&root) => finding(
                Rule::WholeVariable,
                format!("{root} is not a value"),
                Some("write the name out: it cannot be computed, for example params.NAME".to_owned()),
            ),
            (root, []) if TYPES.contains(&root) => None,
            (root, _) => {
                let as_param = names
                    .params
                    .contains(root)
                    .then(|| format!("did you mean params.{root}?"));
                let help = as_param.or_else(|| nearest(root, ROOTS).map(did_you_mean));
                let help = help.or_else(|| Some(listed("variables", ROOTS)));
                finding(Rule::UnknownVariable, format!("there is no variable {root:?}"), help)
            }
        }
    }
}

fn chain(reference: &Reference) -> String {
    let mut text = reference.root.clone();
    for name in &reference.path {
        text.push('.');
        text.push_str(name);
    }
    text
}

fn did_you_mean(name: &str) -> String {
    format!("did you mean {name:?}?")
}

fn listed<'a>(what: &str, names: impl IntoIterator<Item = &'a str>) -> String {
    let names: Vec<&str> = names.into_iter().collect();
    if names.is_empty() {
        return format!("there are no {what}");
    }
    let more = names.len().saturating_sub(8);
    let shown = names.get(..names.len().min(8)).unwrap_or_default().join(", ");
    if more == 0 {
        format!("the {what} are {shown}")
    } else {
        format!("the {what} are {shown} and {more} more")
    }
}
