//! Structural validation, with the real server's messages.

use std::collections::HashSet;

use serde_json::{Number, Value};

use super::{ListType, Schema, Type};
use crate::path::Path;
use crate::status::Cause;

/// Causes kept for one object; more would only make the answer large.
const MAX_CAUSES: usize = 64;

impl Schema {
    /// Appends what is wrong with `value` to `causes`.
    pub(crate) fn validate(&self, value: &Value, path: &mut Path, causes: &mut Vec<Cause>) {
        if causes.len() >= MAX_CAUSES {
            return;
        }
        if value.is_null() && self.nullable {
            return;
        }
        if !self.type_matches(value) {
            let wanted = if self.int_or_string {
                "integer,string"
            } else {
                self.kind.map_or("object", Type::name)
            };
            let found = type_name(value);
            causes.push(Cause {
                reason: "FieldValueTypeInvalid",
                message: format!("Invalid value: \"{found}\": {path} in body must be of type {wanted}: \"{found}\""),
                field: path.to_string(),
            });
            return;
        }
        if !self.allowed.is_empty() && !self.allowed.contains(value) {
            let supported: Vec<String> = self.allowed.iter().map(ToString::to_string).collect();
            causes.push(Cause {
                reason: "FieldValueNotSupported",
                message: format!("Unsupported value: {value}: supported values: {}", supported.join(", ")),
                field: path.to_string(),
            });
        }
        match value {
            Value::Object(fields) => {
                for name in &self.required {
                    if !fields.contains_key(name) {
                        causes.push(Cause {
                            reason: "FieldValueRequired",
                            message: "Required value".into(),
                            field: path.child(name),
                        });
                    }
                }
                self.check_count(fields.len(), Counted::Properties, path, causes);
                for (name, child) in fields {
                    if let Some(schema) = self.field(name) {
                        let depth = path.push_field(name, false);
                        schema.validate(child, path, causes);
                        path.truncate(depth);
                    }
                }
            }
            Value::Array(items) => {
                self.check_count(items.len(), Counted::Items, path, causes);
                if let Some(schema) = &self.items {
                    for (index, item) in items.iter().enumerate() {
                        let depth = path.push_index(index);
                        schema.validate(item, path, causes);
                        path.truncate(depth);
                    }
                }
                self.check_uniqueness(items, path, causes);
            }
            Value::String(text) => self.check_string(text, path, causes),
            Value::Number(number) => self.check_number(number, path, causes),
            Value::Null | Value::Bool(_) => {}
        }
        self.check_branches(value, path, causes);
    }

    fn accepts(&self, value: &Value) -> bool {
        let mut causes = Vec::new();
        self.validate(value, &mut Path::default(), &mut causes);
        causes.is_empty()
    }

    fn type_matches(&self, value: &Value) -> bool {
        if self.int_or_string {
            return value.is_string() || is_integer(value);
        }
        match self.kind {
            // An untyped node takes anything; a null is refused unless the node says otherwise.
            None => !value.is_null() || self.preserve_unknown || self.is_bare(),
            Some(Type::Object) => value.is_object(),
            Some(Type::Array) => value.is_array(),
            Some(Type::String) => value.is_string(),
            Some(Type::Integer) => is_integer(value),
            Some(Type::Number) => value.is_number(),
            Some(Type::Boolean) => value.is_boolean(),
        }
    }

    /// A branch of oneOf/anyOf/not has no type of its own.
    fn is_bare(&self) -> bool {
        self.properties.is_empty() && self.items.is_none()
    }

    fn check_string(&self, text: &str, path: &Path, causes: &mut Vec<Cause>) {
        let field = || path.to_string();
        let limits = &self.limits;
        if limits.max_length.is_some() || limits.min_length.is_some() {
            let length = text.chars().count();
            if let Some(most) = limits.max_length.filter(|most| length > *most) {
                causes.push(Cause {
                    reason: "FieldValueTooLong",
                    message: format!("Too long: may not be more than {most} bytes"),
                    field: field(),
                });
            }
            if let Some(least) = limits.min_length.filter(|least| length < *least) {
                causes.push(invalid(
                    path,
                    &quoted(text),
                    &format!("should be at least {least} chars long"),
                ));
            }
        }
        if let Some(pattern) = self.pattern.as_ref().filter(|p| !p.regex.is_match(text)) {
            causes.push(invalid(
                path,
                &quoted(text),
                &format!("should match '{}'", pattern.source),
            ));
        }
        if let Some(format) = self.format.as_deref().filter(|f| !matches_format(f, text)) {
            let told = quoted(text);
            causes.push(invalid(path, &told, &format!("must be of type {format}: {told}")));
        }
    }

    fn check_number(&self, number: &Number, path: &Path, causes: &mut Vec<Cause>) {
        let limits = &self.limits;
        let told = number.to_string();
        if let Some(format @ ("int32" | "int64")) = self.format.as_deref() {
            let fits = match format {
                "int32" => number.as_i64().is_some_and(|n| i32::try_from(n).is_ok()),
                _ => number.as_i64().is_some() || number.is_f64(),
            };
            if !fits {
                causes.push(invalid(path, &told, &format!("must be of type {format}: {told}")));
            }
        }
        let Some(n) = number.as_f64() else { return };
        if let Some(least) = limits.minimum {
            if limits.exclusive_minimum && n <= least {
                causes.push(invalid(path, &told, &format!("should be greater than {least}")));
            } else if n < least {
                causes.push(invalid(
                    path,
                    &told,
                    &format!("should be greater than or equal to {least}"),
                ));
            }
        }
        if let Some(most) = limits.maximum {
            if limits.exclusive_maximum && n >= most {
                causes.push(invalid(path, &told, &format!("should be less than {most}")));
            } else if n > most {
                causes.push(invalid(path, &told, &format!("should be less than or equal to {most}")));
            }
        }
        if let Some(factor) = limits.multiple_of.filter(|factor| *factor > 0.0) {
            let quotient = n / factor;
            if (quotient - quotient.round()).abs() > 1e-9 {
                causes.push(invalid(path, &told, &format!("should be a multiple of {factor}")));
            }
        }
    }

    fn check_count(&self, count: usize, what: Counted, path: &Path, causes: &mut Vec<Cause>) {
        let (least, most, noun) = match what {
            Counted::Items => (self.limits.min_items, self.limits.max_items, "items"),
            Counted::Properties => (self.limits.min_properties, self.limits.max_properties, "properties"),
        };
        if let Some(most) = most.filter(|most| count > *most) {
            causes.push(Cause {
                reason: "FieldValueTooMany",
                message: format!("Too many: {count}: must have at most {most} items"),
                field: path.to_string(),
            });
        }
        if let Some(least) = least.filter(|least| count < *least) {
            causes.push(invalid(
                path,
                &count.to_string(),
                &format!("should have at least {least} {noun}"),
            ));
        }
    }

    fn check_uniqueness(&self, items: &[Value], path: &mut Path, causes: &mut Vec<Cause>) {
        let key_of: Box<dyn Fn(&Value) -> Value> = match &self.list_type {
            ListType::Map(keys) => Box::new(move |item| {
                keys.iter()
                    .filter_map(|key| Some((key.clone(), item.get(key)?.clone())))
                    .collect()
            }),
            ListType::Set => Box::new(Value::clone),
            ListType::Atomic if self.unique_items => Box::new(Value::clone),
            ListType::Atomic => return,
        };
        let mut seen = HashSet::with_capacity(items.len());
        for (index, item) in items.iter().enumerate() {
            let key = key_of(item);
            if !seen.insert(canonical(&key)) {
                let depth = path.push_index(index);
                causes.push(Cause {
                    reason: "FieldValueDuplicate",
                    message: format!("Duplicate value: {key}"),
                    field: path.to_string(),
                });
                path.truncate(depth);
            }
        }
    }

    fn check_branches(&self, value: &Value, path: &mut Path, causes: &mut Vec<Cause>) {
        for branch in &self.all_of {
            branch.validate(value, path, causes);
        }
        let told = || quoted_value(value);
        if !self.any_of.is_empty() && !self.any_of.iter().any(|b| b.accepts(value)) {
            causes.push(invalid(path, &told(), "must validate at least one schema (anyOf)"));
        }
        if !self.one_of.is_empty() {
            let matching = self.one_of.iter().filter(|b| b.accepts(value)).count();
            if matching != 1 {
                let found = if matching == 0 {
                    "Found none valid".to_owned()
                } else {
                    format!("Found {matching} valid alternatives")
                };
                causes.push(invalid(
                    path,
                    &told(),
                    &format!("must validate one and only one schema (oneOf). {found}"),
                ));
            }
        }
        if self.not.as_ref().is_some_and(|b| b.accepts(value)) {
            causes.push(invalid(path, &told(), "must not validate the schema (not)"));
        }
    }
}

#[derive(Clone, Copy)]
enum Counted {
    Items,
    Properties,
}

fn invalid(path: &Path, value: &str, what: &str) -> Cause {
    Cause {
        reason: "FieldValueInvalid",
        message: format!("Invalid value: {value}: {path} in body {what}"),
        field: path.to_string(),
    }
}

fn quoted(text: &str) -> String {
    Value::String(text.to_owned()).to_string()
}

fn quoted_value(value: &Value) -> String {
    match value {
        Value::Object(_) | Value::Array(_) => quoted(type_name(value)),
        other => other.to_string(),
    }
}

/// JSON with sorted keys, so that equal objects have equal texts.
fn canonical(value: &Value) -> String {
    match value {
        Value::Object(fields) => {
            let mut names: Vec<_> = fields.iter().collect();
            names.sort_by_key(|(name, _)| *name);
            let told: Vec<String> = names
                .into_iter()
                .map(|(n, v)| format!("{}:{}", quoted(n), canonical(v)))
                .collect();
            format!("{{{}}}", told.join(","))
        }
        Value::Array(items) => format!("[{}]", items.iter().map(canonical).collect::<Vec<_>>().join(",")),
        other => other.to_string(),
    }
}

pub(crate) fn type_name(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(n) if n.is_f64() => "number",
        Value::Number(_) => "integer",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    }
}

/// Integers as the real server takes them: also written as `1.0`.
fn is_integer(value: &Value) -> bool {
    value.is_i64() || value.is_u64() || value.as_f64().is_some_and(|f| f.fract() == 0.0 && f.abs() < 9.0e15)
}

/// The formats that the server checks; others are hints.
fn matches_format(format: &str, text: &str) -> bool {
    match format {
        "date-time" => text.parse::<jiff::Timestamp>().is_ok(),
        "date" => text.parse::<jiff::civil::Date>().is_ok(),
        "uuid" => {
            let hex = text.replace('-', "");
            hex.len() == 32 && hex.bytes().all(|b| b.is_ascii_hexdigit())
        }
        "ipv4" => text.parse::<std::net::Ipv4Addr>().is_ok(),
        "ipv6" => text.parse::<std::net::Ipv6Addr>().is_ok(),
        "byte" => base64_shaped(text),
        _ => true,
    }
}

fn base64_shaped(text: &str) -> bool {
    let trimmed = text.trim_end_matches('=');
    text.len().is_multiple_of(4)
        && text.len() - trimmed.len() <= 2
        && trimmed
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'+' | b'/'))
}
