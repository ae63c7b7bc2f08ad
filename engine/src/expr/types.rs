//! What can be said of the types in an expression before it runs.
//!
//! Only what is certain is said: an operand of unknown type is never a finding. Known are literals, params of a declared type, the
//! fields of steps and of the run, keyed results, and what operators and a few functions give.

use braid_crds::{status::Phase, workflow::ParamType};
use cel::common::ast::{CallExpr, Expr, IdedExpr, LiteralValue, operators as op};

use super::{Expression, Finding, Names, Reference, Rule, reference};
use crate::suggest::nearest;

/// A type, as far as expressions tell them apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// `true` or `false`.
    Condition,
    /// A number, whole or not.
    Number,
    /// A text.
    Text,
    /// A list.
    List,
    /// A map.
    Map,
}

impl Kind {
    fn named(self) -> &'static str {
        match self {
            Self::Condition => "true or false",
            Self::Number => "a number",
            Self::Text => "a text",
            Self::List => "a list",
            Self::Map => "a map",
        }
    }
}

/// What an expression must give at its place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wanted {
    /// Whatever it is.
    Anything,
    /// `true` or `false`.
    Condition,
    /// A list, or a map whose entries become one.
    Items,
}

/// The findings of a walk, and what the whole gives.
pub(super) fn check(expression: &Expression, names: &Names, wanted: Wanted) -> Vec<Finding> {
    let mut walk = Walk {
        expression,
        names,
        findings: Vec::new(),
    };
    let kind = walk.kind(&expression.tree);
    let (fits, must) = match wanted {
        Wanted::Anything => (true, ""),
        Wanted::Condition => (kind.is_none_or(|kind| kind == Kind::Condition), "true or false"),
        Wanted::Items => (
            kind.is_none_or(|kind| matches!(kind, Kind::List | Kind::Map)),
            "a list or a map",
        ),
    };
    if let (false, Some(kind)) = (fits, kind) {
        let help = match (wanted, kind) {
            (Wanted::Condition, Kind::Number) => "compare it, for example with > 0",
            (Wanted::Condition, Kind::Text) => "compare it, for example with == 'text'",
            (Wanted::Condition, Kind::List | Kind::Map) => "ask for example for size(...) > 0",
            (Wanted::Items, _) => "put it into brackets to make a list of it: [...]",
            _ => "",
        };
        walk.findings.push(Finding {
            rule: Rule::Type,
            column: 1,
            message: format!("the value here must be {must}, and this is {}", kind.named()),
            help: Some(help.to_owned()).filter(|help| !help.is_empty()),
        });
    }
    walk.findings
}

struct Walk<'a> {
    expression: &'a Expression,
    names: &'a Names,
    findings: Vec<Finding>,
}

impl Walk<'_> {
    fn kind(&mut self, node: &IdedExpr) -> Option<Kind> {
        if let Some(reference) = reference::whole(node) {
            return self.of_reference(&reference);
        }
        match &node.expr {
            Expr::Literal(literal) => match literal {
                LiteralValue::Boolean(_) => Some(Kind::Condition),
                LiteralValue::Double(_) | LiteralValue::Int(_) | LiteralValue::UInt(_) => Some(Kind::Number),
                LiteralValue::String(_) => Some(Kind::Text),
                _ => None,
            },
            Expr::List(list) => {
                for element in &list.elements {
                    self.kind(element);
                }
                Some(Kind::List)
            }
            Expr::Map(_) => Some(Kind::Map),
            // `has(...)`.
            Expr::Select(select) if select.test => Some(Kind::Condition),
            Expr::Call(call) => self.call(call, node.id),
            // What a macro binds is not known here, and its names may hide those of the scope.
            _ => None,
        }
    }

    fn call(&mut self, call: &CallExpr, id: u64) -> Option<Kind> {
        let arguments: Vec<Option<Kind>> = call.args.iter().map(|argument| self.kind(argument)).collect();
        let (first, second) = (
            arguments.first().copied().flatten(),
            arguments.get(1).copied().flatten(),
        );
        match call.func_name.as_str() {
            op::EQUALS | op::NOT_EQUALS => {
                self.differ(first, second, id, "are never equal");
                self.phases(call);
                Some(Kind::Condition)
            }
            op::LESS | op::LESS_EQUALS | op::GREATER | op::GREATER_EQUALS => {
                self.differ(first, second, id, "have no order");
                Some(Kind::Condition)
            }
            op::LOGICAL_AND | op::LOGICAL_OR => {
                for (kind, argument) in arguments.iter().zip(&call.args) {
                    if let Some(kind) = kind.filter(|kind| *kind != Kind::Condition) {
                        self.found(
                            argument.id,
                            format!("&& and || are of conditions, and this is {}", kind.named()),
                        );
                    }
                }
                Some(Kind::Condition)
            }
            op::LOGICAL_NOT | op::IN => Some(Kind::Condition),
            op::ADD => {
                self.differ(first, second, id, "cannot be added");
                first.or(second)
            }
            op::SUBSTRACT | op::MULTIPLY | op::DIVIDE | op::MODULO => {
                self.differ(first, second, id, "cannot be computed with");
                Some(Kind::Number)
            }
            op::NEGATE | "size" | "int" | "double" | "uint" => Some(Kind::Number),
            op::CONDITIONAL => {
                let third = arguments.get(2).copied().flatten();
                (second == third).then_some(second).flatten()
            }
            "string" => Some(Kind::Text),
            "bool" | "startsWith" | "endsWith" | "matches" | "contains" => Some(Kind::Condition),
            _ => None,
        }
    }

    fn differ(&mut self, first: Option<Kind>, second: Option<Kind>, id: u64, what: &str) {
        if let (Some(first), Some(second)) = (first, second)
            && first != second
        {
            self.found(id, format!("{} and {} {what}", first.named(), second.named()));
        }
    }

    /// A phase that is compared with a text that no phase has.
    fn phases(&mut self, call: &CallExpr) {
        let [one, other] = call.args.as_slice() else { return };
        for (phase, literal) in [(one, other), (other, one)] {
            let Some(reference) = reference::whole(phase) else {
                continue;
            };
            let Expr::Literal(LiteralValue::String(text)) = &literal.expr else {
                continue;
            };
            let text = text.inner();
            let is_phase = match (reference.root.as_str(), reference.path.as_slice()) {
                ("steps", [_, field]) | ("workflow", [field]) => field == "phase",
                _ => false,
            };
            let phases = Phase::ALL.map(|phase| format!("{phase:?}"));
            if is_phase && !phases.iter().any(|phase| phase == text) {
                let names = phases.iter().map(String::as_str);
                let help = nearest(text, names).map_or_else(
                    || format!("the phases are {}", phases.join(", ")),
                    |phase| format!("did you mean {phase:?}?"),
                );
                self.findings.push(Finding {
                    rule: Rule::Type,
                    column: self.expression.column_of(literal.id),
                    message: format!("there is no phase {text:?}"),
                    help: Some(help),
                });
            }
        }
    }

    fn of_reference(&self, reference: &Reference) -> Option<Kind> {
        let path: Vec<&str> = reference.path.iter().map(String::as_str).collect();
        match (reference.root.as_str(), path.as_slice()) {
            ("params", [param]) => match self.names.types.get(*param)? {
                ParamType::String => Some(Kind::Text),
                ParamType::Integer | ParamType::Number => Some(Kind::Number),
                ParamType::Boolean => Some(Kind::Condition),
                ParamType::List => Some(Kind::List),
                ParamType::Object => Some(Kind::Map),
            },
            ("steps", [_, "phase"]) | ("workflow", ["name" | "phase" | "uid" | "message"]) => Some(Kind::Text),
            ("steps", [_, "failed"]) => Some(Kind::Number),
            ("steps", [step, "results", result]) => {
                let (_, known) = self.names.step(step)?;
                known.keyed.contains(*result).then_some(Kind::Map)
            }
            ("workflow", ["failed"]) => Some(Kind::Condition),
            ("workflow", ["failures"]) => Some(Kind::List),
            _ => None,
        }
    }

    fn found(&mut self, id: u64, message: String) {
        self.findings.push(Finding {
            rule: Rule::Type,
            column: self.expression.column_of(id),
            message,
            help: None,
        });
    }
}
