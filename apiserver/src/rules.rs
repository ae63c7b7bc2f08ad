//! The CEL rules of custom resources (`x-kubernetes-validations`), on create, update and status alike.
//!
//! Rules are compiled when the server is built. A rule is evaluated at each value that its schema node describes, with
//! `self` and, for updates, `oldSelf`: objects and maps correlate by key, lists of type map by their keys, other
//! lists not at all. Only the fields that a node's rules can reach are converted for them, so that a rule about
//! one field of a large object costs as much as that field.

mod convert;
mod reach;

use std::collections::HashMap;

use kube_cel::KubeCelExt as _;
use kube_cel::cel::objects::OptionalValue;
use kube_cel::cel::parser::{Expression, Parser};
use kube_cel::cel::{Context, ExecutionError, Value as Cel};
use serde_json::Value;

use self::reach::Reach;
use crate::path::Path;
use crate::schema::{ListType, Schema, Type};
use crate::status::Cause;

/// Causes kept for one object.
const MAX_CAUSES: usize = 64;

/// One compiled rule.
#[derive(Debug)]
pub(crate) struct Rule {
    source: String,
    program: Expression,
    message: Option<String>,
    message_program: Option<Expression>,
    reason: &'static str,
    field_path: Option<String>,
    transition: bool,
    optional_old_self: bool,
    /// `oldSelf.hasValue() || ..`: it holds wherever there was something before.
    only_new: bool,
    /// Type of the node, which the real server shows as the invalid value.
    type_name: &'static str,
    reach_self: Reach,
    reach_old: Reach,
}

impl Rule {
    /// Compiles the rules of one schema node. `path` is empty at the root.
    pub(crate) fn compile_all(source: &Value, path: &str, kind: Option<Type>) -> Result<Vec<Self>, String> {
        let list = source
            .as_array()
            .ok_or_else(|| format!("{path}: x-kubernetes-validations must be a list"))?;
        list.iter().map(|rule| Self::compile(rule, path, kind)).collect()
    }

    fn compile(source: &Value, path: &str, kind: Option<Type>) -> Result<Self, String> {
        let text = |key: &str| source.get(key).and_then(Value::as_str).filter(|t| !t.is_empty());
        let rule = text("rule").ok_or_else(|| format!("{path}: a rule without text"))?;
        let parse = |expression: &str| {
            Parser::new()
                .enable_optional_syntax(true)
                .parse(expression)
                .map_err(|e| format!("{path}: the rule {expression:?} does not compile: {e}"))
        };
        let program = parse(rule)?;
        let message_program = text("messageExpression").map(parse).transpose()?;
        let mut reach_self = Reach::default();
        let mut reach_old = Reach::default();
        let mut unknown = Vec::new();
        for expression in [Some(&program), message_program.as_ref()].into_iter().flatten() {
            reach::collect(expression, &mut reach_self, &mut reach_old, &mut unknown);
        }
        if let Some(name) = unknown.first() {
            return Err(format!(
                "{path}: the rule {rule:?} does not compile: undeclared reference to '{name}'"
            ));
        }
        let transition = !reach_old.is_empty();
        let optional_old_self = source.get("optionalOldSelf").and_then(Value::as_bool).unwrap_or(false);
        let only_new = optional_old_self && reach::is_only_about_new(&program);
        let reason = match text("reason") {
            None | Some("FieldValueInvalid") => "FieldValueInvalid",
            Some("FieldValueForbidden") => "FieldValueForbidden",
            Some("FieldValueRequired") => "FieldValueRequired",
            Some("FieldValueDuplicate") => "FieldValueDuplicate",
            Some(other) => return Err(format!("{path}: the rule {rule:?} has the unknown reason {other:?}")),
        };
        Ok(Self {
            source: rule.to_owned(),
            program,
            message: text("message").map(ToOwned::to_owned),
            message_program,
            reason,
            field_path: text("fieldPath").map(ToOwned::to_owned),
            transition,
            optional_old_self,
            only_new,
            type_name: kind.map_or("object", Type::name),
            reach_self,
            reach_old,
        })
    }

    /// Checks that the fields the rule reads from `self` and `oldSelf` exist in the schema of its node.
    pub(crate) fn check_fields(&self, schema: &Schema, root: bool) -> Result<(), String> {
        for reach in [&self.reach_self, &self.reach_old] {
            reach
                .check(schema, root)
                .map_err(|field| format!("the rule {:?} does not compile: undefined field '{field}'", self.source))?;
        }
        Ok(())
    }

    fn failed(&self, message: &str, path: &Path) -> Cause {
        let field = match self.field_path.as_deref() {
            None => path.to_string(),
            Some(below) => format!(
                "{path}{}",
                if path.to_string().is_empty() {
                    below.trim_start_matches('.')
                } else {
                    below
                }
            ),
        };
        let message = match self.reason {
            "FieldValueForbidden" => format!("Forbidden: {message}"),
            "FieldValueRequired" => format!("Required value: {message}"),
            "FieldValueDuplicate" => format!("Duplicate value: \"{}\"", self.type_name),
            _ => format!("Invalid value: \"{}\": {message}", self.type_name),
        };
        // The real server names the root `<nil>`.
        Cause {
            reason: self.reason,
            message,
            field: if field.is_empty() { "<nil>".to_owned() } else { field },
        }
    }

    fn evaluate(&self, scope: &Context<'_>, has_old: bool, path: &Path, causes: &mut Vec<Cause>) {
        if self.transition && !has_old && !self.optional_old_self {
            return;
        }
        match Cel::resolve(&self.program, scope) {
            Ok(Cel::Bool(true)) => {}
            Ok(Cel::Bool(false)) => {
                let dynamic = self
                    .message_program
                    .as_ref()
                    .and_then(|m| match Cel::resolve(m, scope) {
                        Ok(Cel::String(text)) if !text.trim().is_empty() && !text.contains('\n') => {
                            Some(text.to_string())
                        }
                        _ => None,
                    });
                let message = dynamic
                    .or_else(|| self.message.clone())
                    .unwrap_or_else(|| format!("failed rule: {}", self.source));
                causes.push(self.failed(&message, path));
            }
            Ok(_) => causes.push(self.failed(&format!("rule did not give a boolean: {}", self.source), path)),
            Err(error) => {
                let told = self.message.as_deref().unwrap_or(&self.source);
                causes.push(self.failed(&format!("{} evaluating rule: {told}", error_text(&error)), path));
            }
        }
    }
}

/// The real server's words for the errors that it names.
fn error_text(error: &ExecutionError) -> String {
    match error {
        ExecutionError::DivisionByZero(_) => "division by zero".to_owned(),
        ExecutionError::RemainderByZero(_) => "modulus by zero".to_owned(),
        ExecutionError::NoSuchKey(key) => format!("no such key: {key}"),
        other => other.to_string(),
    }
}

thread_local! {
    // Registering the functions costs far more than evaluating a rule.
    static FUNCTIONS: Context<'static> = Context::default().with_all();
}

/// Evaluates all rules of `schema` on `value` and appends what fails to `causes`.
pub(crate) fn evaluate(schema: &Schema, value: &Value, old: Option<&Value>, causes: &mut Vec<Cause>) {
    if schema.ruled {
        FUNCTIONS.with(|functions| walk(schema, value, old, &mut Path::default(), true, functions, causes));
    }
}

fn walk(
    schema: &Schema,
    value: &Value,
    old: Option<&Value>,
    path: &mut Path,
    root: bool,
    functions: &Context<'_>,
    causes: &mut Vec<Cause>,
) {
    if !schema.ruled || causes.len() >= MAX_CAUSES || (value.is_null() && schema.nullable) {
        return;
    }
    // A null has no fields to compare with.
    let old = old.filter(|o| !o.is_null());
    if !schema.rules.is_empty() {
        evaluate_node(schema, value, old, path, root, functions, causes);
    }
    match value {
        Value::Object(fields) => {
            for (name, child) in fields {
                let Some(below) = schema.field(name).filter(|s| s.ruled) else {
                    continue;
                };
                let depth = path.push_field(name, !schema.properties.contains_key(name));
                walk(
                    below,
                    child,
                    old.and_then(|o| o.get(name)),
                    path,
                    false,
                    functions,
                    causes,
                );
                path.truncate(depth);
            }
        }
        Value::Array(items) => {
            let Some(below) = schema.items.as_deref().filter(|s| s.ruled) else {
                return;
            };
            let former = old_items(schema, old);
            for (index, item) in items.iter().enumerate() {
                let before = former
                    .as_ref()
                    .and_then(|(keys, map)| map.get(&item_key(keys, item)).copied());
                let depth = path.push_index(index);
                walk(below, item, before, path, false, functions, causes);
                path.truncate(depth);
            }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

fn evaluate_node(
    schema: &Schema,
    value: &Value,
    old: Option<&Value>,
    path: &Path,
    root: bool,
    functions: &Context<'_>,
    causes: &mut Vec<Cause>,
) {
    // What has not changed has passed before; a rule about a change is asked all the same.
    let unchanged = old.is_some_and(|old| old == value);
    let due = |rule: &&Rule| !(rule.only_new && old.is_some()) && (rule.transition || !unchanged);
    if !schema.rules.iter().any(|rule| due(&rule)) {
        return;
    }
    let mut reach_self = Reach::default();
    let mut reach_old = Reach::default();
    for rule in schema.rules.iter().filter(due) {
        reach_self.merge(&rule.reach_self);
        reach_old.merge(&rule.reach_old);
    }
    let mut scope = functions.new_inner_scope();
    scope.add_variable_from_value("self", convert::convert(Some(schema), value, &reach_self, root));
    let former = old
        .filter(|_| !reach_old.is_empty())
        .map(|o| convert::convert(Some(schema), o, &reach_old, root));
    if schema.rules.iter().filter(due).any(|r| r.optional_old_self) {
        let mut optional = scope.new_inner_scope();
        let bound = former.clone().map_or_else(OptionalValue::none, OptionalValue::of);
        optional.add_variable_from_value("oldSelf", Cel::Opaque(std::sync::Arc::new(bound)));
        for rule in schema.rules.iter().filter(due).filter(|r| r.optional_old_self) {
            rule.evaluate(&optional, old.is_some(), path, causes);
        }
    }
    if let Some(former) = former {
        scope.add_variable_from_value("oldSelf", former);
    }
    for rule in schema.rules.iter().filter(due).filter(|r| !r.optional_old_self) {
        rule.evaluate(&scope, old.is_some(), path, causes);
    }
}

type Former<'a> = (&'a [String], HashMap<Vec<String>, &'a Value>);

/// The old items by key, for lists of type map only: other lists do not correlate.
fn old_items<'a>(schema: &'a Schema, old: Option<&'a Value>) -> Option<Former<'a>> {
    let ListType::Map(keys) = &schema.list_type else {
        return None;
    };
    let items = old?.as_array()?;
    Some((keys, items.iter().map(|item| (item_key(keys, item), item)).collect()))
}

fn item_key(keys: &[String], item: &Value) -> Vec<String> {
    keys.iter()
        .map(|key| item.get(key).map(ToString::to_string).unwrap_or_default())
        .collect()
}

#[cfg(test)]
mod tests;
