//! Texts with expressions in them: `words-$(params.year).txt`.
//!
//! `$$(` is the text `$(`; a `$` before anything else is itself. A text that is one expression and nothing else gives strings as they
//! are and other values as JSON; within a longer text it is the same.

use serde_json::Value;

use super::{ExprError, Expression, Finding, Names, Scope, scan};

/// A text with expressions in it.
#[derive(Debug)]
pub struct Template {
    parts: Vec<Part>,
}

#[derive(Debug)]
enum Part {
    Text(String),
    /// The expression, and how many characters stand before it.
    Expression(Box<Expression>, usize),
}

impl Template {
    /// Reads a text. Columns in errors count from the beginning of the text.
    pub fn parse(text: &str) -> Result<Self, ExprError> {
        let mut parts = Vec::new();
        let mut literal = String::new();
        let mut at = 0;
        while let Some(found) = text.get(at..).and_then(|rest| rest.find('$')).map(|found| at + found) {
            literal.push_str(text.get(at..found).unwrap_or_default());
            let rest = text.get(found..).unwrap_or_default();
            if rest.starts_with("$$(") {
                literal.push_str("$(");
                at = found + 3;
            } else if rest.starts_with("$(") {
                let from = found + 2;
                let before = text.get(..from).map_or(0, |before| before.chars().count());
                let end = scan::end_of_embedded(text, from).map_err(|error| match error {
                    ExprError::Syntax { message, .. } if message.contains("not closed") => ExprError::Unclosed {
                        column: scan::column(text, found),
                    },
                    other => other,
                })?;
                let end = end.ok_or(ExprError::Unclosed {
                    column: scan::column(text, found),
                })?;
                let inner = text.get(from..end).unwrap_or_default();
                let expression = Expression::parse(inner).map_err(|error| error.shifted(before))?;
                if !literal.is_empty() {
                    parts.push(Part::Text(std::mem::take(&mut literal)));
                }
                parts.push(Part::Expression(Box::new(expression), before));
                at = end + 1;
            } else {
                literal.push('$');
                at = found + 1;
            }
        }
        literal.push_str(text.get(at..).unwrap_or_default());
        if !literal.is_empty() {
            parts.push(Part::Text(literal));
        }
        Ok(Self { parts })
    }

    /// The expressions in it.
    pub fn expressions(&self) -> impl Iterator<Item = &Expression> {
        self.parts.iter().filter_map(|part| match part {
            Part::Text(_) => None,
            Part::Expression(expression, _) => Some(expression.as_ref()),
        })
    }

    /// Everything that is wrong with the names in it; columns count from the beginning of the text.
    #[must_use]
    pub fn check(&self, names: &Names) -> Vec<Finding> {
        let mut findings = Vec::new();
        for part in &self.parts {
            if let Part::Expression(expression, before) = part {
                findings.extend(expression.check(names).into_iter().map(|finding| Finding {
                    column: finding.column + before,
                    ..finding
                }));
            }
        }
        findings
    }

    /// The text with the values of its expressions.
    pub fn render(&self, scope: &Scope) -> Result<String, ExprError> {
        let mut text = String::new();
        for part in &self.parts {
            match part {
                Part::Text(literal) => text.push_str(literal),
                Part::Expression(expression, _) => match expression.evaluate(scope)? {
                    Value::String(value) => text.push_str(&value),
                    value => text.push_str(&value.to_string()),
                },
            }
        }
        Ok(text)
    }
}
