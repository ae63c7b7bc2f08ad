//! Which fields of `self` and `oldSelf` an expression can read.

use std::collections::BTreeMap;

use kube_cel::cel::common::ast::{EntryExpr, Expr, operators};
use kube_cel::cel::parser::Expression;

use super::convert::escape;
use crate::schema::{Additional, Schema, Type};

/// The part of a value that is read: nothing, some fields, or all of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Reach {
    /// The named fields (as written in CEL, so escaped).
    Fields(BTreeMap<String, Reach>),
    /// Everything.
    All,
}

impl Default for Reach {
    fn default() -> Self {
        Self::Fields(BTreeMap::new())
    }
}

impl Reach {
    pub(crate) fn is_empty(&self) -> bool {
        matches!(self, Self::Fields(fields) if fields.is_empty())
    }

    /// Reads what `other` reads, too.
    pub(crate) fn merge(&mut self, other: &Self) {
        match (&mut *self, other) {
            (Self::All, _) => {}
            (_, Self::All) => *self = Self::All,
            (Self::Fields(mine), Self::Fields(others)) => {
                for (name, reach) in others {
                    mine.entry(name.clone()).or_default().merge(reach);
                }
            }
        }
    }

    fn add(&mut self, chain: &[&str]) {
        let Self::Fields(fields) = self else { return };
        match chain.split_first() {
            None => *self = Self::All,
            Some((first, rest)) => fields.entry((*first).to_owned()).or_default().add(rest),
        }
    }

    /// The first field that the schema does not have, as a type checker would find it.
    pub(crate) fn check(&self, schema: &Schema, root: bool) -> Result<(), String> {
        let Self::Fields(fields) = self else { return Ok(()) };
        if !matches!(schema.additional, Additional::Unknown) {
            return Ok(());
        }
        for (name, below) in fields {
            // Every object has these; of metadata, rules see the name only.
            match name.as_str() {
                "metadata" if root => {
                    below.check_metadata()?;
                    continue;
                }
                "apiVersion" | "kind" if root => continue,
                _ => {}
            }
            match schema.properties.iter().find(|(field, _)| escape(field) == *name) {
                Some((_, child)) if !child.is_exposed() => return Err(name.clone()),
                Some((_, child)) => below.check(child, false).map_err(|rest| format!("{name}.{rest}"))?,
                None if schema.kind != Some(Type::Object) => {}
                None => return Err(name.clone()),
            }
        }
        Ok(())
    }

    fn check_metadata(&self) -> Result<(), String> {
        let Self::Fields(fields) = self else { return Ok(()) };
        match fields
            .keys()
            .find(|name| !matches!(name.as_str(), "name" | "generateName"))
        {
            None => Ok(()),
            Some(name) => Err(format!("metadata.{name}")),
        }
    }
}

/// Adds what `expression` reads; names that are neither variables of a rule nor bound by a macro go to `unknown`.
pub(crate) fn collect(expression: &Expression, this: &mut Reach, old: &mut Reach, unknown: &mut Vec<String>) {
    Collector {
        this,
        old,
        unknown,
        bound: Vec::new(),
    }
    .visit(expression);
}

/// Whether a rule says nothing of what was there before: `oldSelf.hasValue() || ..`.
pub(crate) fn is_only_about_new(expression: &Expression) -> bool {
    let Expr::Call(either) = &expression.expr else {
        return false;
    };
    let Some(Expr::Call(first)) = either.args.first().map(|first| &first.expr) else {
        return false;
    };
    let of_old = |target: &Expression| matches!(&target.expr, Expr::Ident(name) if name == "oldSelf");
    either.func_name == operators::LOGICAL_OR
        && first.func_name == "hasValue"
        && first.target.as_deref().is_some_and(of_old)
}

struct Collector<'a> {
    this: &'a mut Reach,
    old: &'a mut Reach,
    unknown: &'a mut Vec<String>,
    bound: Vec<String>,
}

/// Names of types, which CEL uses as values.
const TYPES: [&str; 12] = [
    "int",
    "uint",
    "double",
    "bool",
    "string",
    "bytes",
    "list",
    "map",
    "null_type",
    "type",
    "optional",
    "dyn",
];
/// Namespaces of functions, as in `math.greatest(..)`; the parser shows them as identifiers.
const NAMESPACES: [&str; 6] = ["math", "sets", "base64", "optional", "format", "jsonpatch"];

impl Collector<'_> {
    fn visit(&mut self, expression: &Expression) {
        if self.chain(expression) {
            return;
        }
        match &expression.expr {
            Expr::Unspecified | Expr::Literal(_) => {}
            Expr::Ident(name) => self.ident(name),
            Expr::Select(select) => self.visit(&select.operand),
            Expr::Call(call) => {
                call.target.iter().for_each(|target| self.visit(target));
                call.args.iter().for_each(|arg| self.visit(arg));
            }
            Expr::List(list) => list.elements.iter().for_each(|e| self.visit(e)),
            Expr::Map(map) => map.entries.iter().for_each(|e| self.entry(&e.expr)),
            Expr::Struct(structure) => structure.entries.iter().for_each(|e| self.entry(&e.expr)),
            Expr::Comprehension(c) => {
                self.visit(&c.iter_range);
                self.visit(&c.accu_init);
                let depth = self.bound.len();
                self.bound.extend([c.iter_var.clone(), c.accu_var.clone()]);
                self.bound.extend(c.iter_var2.clone());
                self.visit(&c.loop_cond);
                self.visit(&c.loop_step);
                self.visit(&c.result);
                self.bound.truncate(depth);
            }
        }
    }

    fn entry(&mut self, entry: &EntryExpr) {
        match entry {
            EntryExpr::StructField(field) => self.visit(&field.value),
            EntryExpr::MapEntry(entry) => {
                self.visit(&entry.key);
                self.visit(&entry.value);
            }
        }
    }

    fn ident(&mut self, name: &str) {
        let known = self.bound.iter().any(|b| b == name)
            || name.starts_with('@')
            || TYPES.contains(&name)
            || NAMESPACES.contains(&name);
        if !known {
            self.unknown.push(name.to_owned());
        }
    }

    /// Takes `self.a.b` and `oldSelf.?a` whole.
    fn chain(&mut self, expression: &Expression) -> bool {
        let mut names = Vec::new();
        let mut at = expression;
        loop {
            match &at.expr {
                Expr::Select(select) => {
                    names.push(select.field.as_str());
                    at = &select.operand;
                }
                // `a.?b`, and what an optional offers, stop the chain: its operand is read whole.
                Expr::Call(call) if call.func_name == operators::OPT_SELECT => return false,
                Expr::Ident(name) if !self.bound.contains(name) => {
                    names.reverse();
                    let reach = match name.as_str() {
                        "self" => &mut *self.this,
                        "oldSelf" => &mut *self.old,
                        _ => return false,
                    };
                    reach.add(&names);
                    return true;
                }
                _ => return false,
            }
        }
    }
}
