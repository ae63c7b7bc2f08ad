//! Users' expressions: CEL over `params`, `steps` and `workflow`.
//!
//! An expression is untrusted twice: its text comes from a manifest, its values from user code. Both are bounded:
//!
//! * the text before it is parsed (`scan`): 2 kB, 16 levels of nesting, 64 terms; then two nested macros;
//! * the evaluation by an allowance ([`ExprError::TooMuchWork`]): every element that a macro visits and every byte or element that
//!   an addition makes is charged to it. At most about 65,000 elements are visited, fewer where the values are
//!   large, and at most 1 MiB is made. So an evaluation ends by itself, within a second or so.
//!
//! Parsing and evaluating recurse on a stack of their own (`stack`) and block the caller for as long: an async caller
//! that cannot spare a second uses a blocking thread.
//!
//! Only names that are written out can be reached: `params.NAME`, `steps.NAME.results.R`, `steps.NAME.phase`,
//! `steps.NAME.failed` (how many partitions failed for good), `workflow.name`, `workflow.uid`, `workflow.phase`, `workflow.failed`,
//! `workflow.message`, `workflow.failures`, and where a step looks at itself `results.R`. A step `sign-off` is `steps.sign_off` and
//! `steps["sign-off"]`. [`Expression::check`] finds names that do not exist and types that cannot fit, so an expression that passes
//! fails in evaluation only for its values: an absent result, an overflow, a division by zero, a type that was not known before.

use braid_crds::limits::EXPRESSION_BYTES;
use serde_json::Value;

mod check;
mod convert;
mod eval;
mod parse;
mod reference;
mod scan;
mod scope;
mod stack;
mod template;
mod types;

pub use check::{Finding, Rule};
pub use parse::Expression;
pub use reference::Reference;
pub use scan::{NESTING, TERMS};
pub use scope::{Failure, Given, Names, Scope, StepNames, StepScope, WorkflowScope};
pub use template::Template;
pub use types::{Kind, Wanted};

/// Macros (`all`, `exists`, `exists_one`, `filter`, `map`) in one another: at most so many.
pub const MACROS: usize = 2;

/// Why an expression cannot be read or has no value. Columns count characters of the expression from 1.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ExprError {
    /// More text than an expression may have.
    #[error("the expression has more than {EXPRESSION_BYTES} bytes: compute the value in a step")]
    TooLong {
        /// Bytes seen when it was given up.
        bytes: usize,
    },
    /// Deeper than an expression may be.
    #[error("more than {NESTING} {what}: make the expression simpler")]
    TooDeep {
        /// Where.
        column: usize,
        /// Of what there are too many.
        what: &'static str,
    },
    /// Wider than an expression may be.
    #[error("more than {TERMS} names and literals: make the expression simpler")]
    TooManyTerms {
        /// Where.
        column: usize,
    },
    /// Macros in macros in macros.
    #[error("more than {MACROS} macros in one another: make the expression simpler")]
    TooManyMacros {
        /// Where.
        column: usize,
    },
    /// Not CEL.
    #[error("not an expression: {message}")]
    Syntax {
        /// Where.
        column: usize,
        /// What is wrong.
        message: String,
    },
    /// `$(` without its end.
    #[error("$( has no closing ): write $$( for the text $(")]
    Unclosed {
        /// Where.
        column: usize,
    },
    /// A result that no partition gave.
    #[error(
        "step {step} gave no result {result}: no partition of it wrote that key; guard it with has(steps.{step}.results.{result})"
    )]
    Absent {
        /// The step.
        step: String,
        /// The result.
        result: String,
    },
    /// A result of the step itself that no partition has given.
    #[error("no partition gave the result {result}: guard it with has(results.{result})")]
    NotYet {
        /// The result.
        result: String,
    },
    /// A whole number beyond 64 bits.
    #[error("{what} is {value}: more than the 64 bits that expressions compute with")]
    Overflow {
        /// What holds it.
        what: String,
        /// The number.
        value: String,
    },
    /// The allowance is spent.
    #[error("the expression visits or makes too much: compute the value in a step")]
    TooMuchWork,
    /// An error of the evaluation.
    #[error("{0}")]
    Evaluation(String),
    /// A value that JSON does not have.
    #[error("the value cannot be written as JSON: {0}")]
    NoJson(String),
}

impl ExprError {
    /// Where in the expression, if it is a place.
    #[must_use]
    pub fn column(&self) -> Option<usize> {
        match self {
            Self::TooDeep { column, .. }
            | Self::TooManyTerms { column }
            | Self::TooManyMacros { column }
            | Self::Syntax { column, .. }
            | Self::Unclosed { column } => Some(*column),
            _ => None,
        }
    }

    fn syntax(text: &str, at: usize, message: &str) -> Self {
        Self::Syntax {
            column: scan::column(text, at),
            message: message.to_owned(),
        }
    }

    fn shifted(self, by: usize) -> Self {
        match self {
            Self::TooDeep { column, what } => Self::TooDeep {
                column: column + by,
                what,
            },
            Self::TooManyTerms { column } => Self::TooManyTerms { column: column + by },
            Self::TooManyMacros { column } => Self::TooManyMacros { column: column + by },
            Self::Syntax { column, message } => Self::Syntax {
                column: column + by,
                message,
            },
            other => other,
        }
    }
}

/// Everything that is wrong with the text of an expression whose names are these.
#[must_use]
pub fn check(text: &str, names: &Names, wanted: Wanted) -> Vec<Finding> {
    match Expression::parse(text) {
        Ok(expression) => expression.check_for(names, wanted),
        Err(error) => vec![Finding::of(&error)],
    }
}

/// Whether a condition holds; anything but a boolean is an error.
pub fn holds(text: &str, scope: &Scope) -> Result<bool, ExprError> {
    Expression::parse(text)?.holds(scope)
}

/// The value of an expression, as JSON. A plain reference keeps its value whatever its size; whole numbers beyond 2^53
/// become strings, as JSON readers lose their last digits.
pub fn evaluate(text: &str, scope: &Scope) -> Result<Value, ExprError> {
    Expression::parse(text)?.evaluate(scope)
}

#[cfg(test)]
mod tests;
