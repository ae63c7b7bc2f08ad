//! From text to a bounded syntax tree.

use cel::{
    common::ast::{IdedExpr, SourceInfo},
    parser::Parser,
};

use super::{
    ExprError, MACROS,
    reference::{self, Found, Reference},
    scan, stack,
};

/// The parser's own limit on rules in rules; what passed the scan is far below it.
const PARSER_DEPTH: u16 = 96;
/// How often the parser goes on after an error: only the first is told.
const PARSER_RECOVERIES: u32 = 4;

/// A parsed expression within all limits.
pub struct Expression {
    pub(super) text: String,
    pub(super) tree: IdedExpr,
    pub(super) source: SourceInfo,
    pub(super) found: Found,
}

impl std::fmt::Debug for Expression {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Expression").field(&self.text).finish()
    }
}

impl Expression {
    /// Reads an expression: its limits, then its syntax. Names are the business of [`Expression::check`].
    pub fn parse(text: &str) -> Result<Self, ExprError> {
        scan::check(text)?;
        stack::deep(|| Self::parse_deep(text))
    }

    fn parse_deep(text: &str) -> Result<Self, ExprError> {
        let (tree, source) = Parser::new()
            .max_recursion_depth(PARSER_DEPTH)
            .error_recovery_limit(PARSER_RECOVERIES)
            .parse_with_source_info(text)
            .map_err(|errors| first(text, &errors))?;
        let found = reference::walk(&tree, &|id| offset(&source, id));
        if found.macros.0 > MACROS {
            let column = scan::column(text, offset(&source, found.macros.1));
            return Err(ExprError::TooManyMacros { column });
        }
        Ok(Self {
            text: text.to_owned(),
            tree,
            source,
            found,
        })
    }

    /// The text as written.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.text
    }

    /// What of the scope it reads, in order.
    #[must_use]
    pub fn references(&self) -> &[Reference] {
        &self.found.references
    }

    /// Whether it reads a step of that name.
    #[must_use]
    pub fn reads(&self, step: &str) -> bool {
        let named = |name: &str| name == step || name == step.replace('-', "_");
        self.references()
            .iter()
            .any(|reference| reference.root == "steps" && reference.path.first().is_none_or(|name| named(name)))
    }

    /// The column of a node.
    pub(super) fn column_of(&self, id: u64) -> usize {
        scan::column(&self.text, offset(&self.source, id))
    }
}

fn offset(source: &SourceInfo, id: u64) -> usize {
    source
        .offset_for(id)
        .and_then(|(start, _)| usize::try_from(start).ok())
        .unwrap_or(0)
}

/// The first error of the parser, without its drawing of the place.
fn first(text: &str, errors: &cel::ParseErrors) -> ExprError {
    let Some(error) = errors.errors.first() else {
        return ExprError::syntax(text, 0, "it cannot be read");
    };
    let (line, column) = error.pos;
    let before: usize = text
        .split_inclusive('\n')
        .take(usize::try_from(line - 1).unwrap_or(0))
        .map(|line| line.chars().count())
        .sum();
    let mut message: String = error
        .msg
        .lines()
        .next()
        .unwrap_or("it cannot be read")
        .chars()
        .take(160)
        .collect();
    if text.trim().is_empty() {
        "it is empty".clone_into(&mut message);
    }
    ExprError::Syntax {
        column: before + usize::try_from(column).unwrap_or(0).max(1),
        message,
    }
}
