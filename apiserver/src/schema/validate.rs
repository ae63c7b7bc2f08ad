//! Structural validation, with the real server's messages.

use std::collections::HashSet;

use serde_json::{Map, Number, Value};

use super::{ListType, Schema, Type};
use crate::path::Path;
use crate::status::Cause;

/// Causes kept for one object; more would only make the answer large.
const MAX_CAUSES: usize = 64;

impl Schema {
    /// Appends what is wrong with `value` to `causes`, in the real server's order: the shape of everything, then lists.
    pub(crate) fn validate(&self, value: &Value, path: &mut Path, causes: &mut Vec<Cause>) {
        self.check_shape(value, path, causes);
        self.check_lists(value, path, causes);
    }

    fn check_shape(&self, value: &Value, path: &mut Path, causes: &mut Vec<Cause>) {
        if causes.len() >= MAX_CAUSES {
            return;
        }
        if value.is_null() && self.nullable {
            return;
        }
        // A value of a wrong type is held against everything else that the schema says, too.
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
        }
        if !value.is_null() {
            self.check_branches(value, path, causes);
        }
        match value {
            Value::String(text) => self.check_string(text, path, causes),
            Value::Number(number) => self.check_number(number, path, causes),
            Value::Array(items) => {
                self.check_count(items.len(), Counted::Items, path, causes);
                if let Some(schema) = &self.items {
                    for (index, item) in items.iter().enumerate() {
                        let depth = path.push_index(index);
                        schema.check_shape(item, path, causes);
                        path.truncate(depth);
                    }
                }
            }
            Value::Null | Value::Bool(_) | Value::Object(_) => {}
        }
        if !self.allowed.is_empty() && !self.allowed.contains(value) {
            let supported: Vec<String> = self.allowed.iter().map(ToString::to_string).collect();
            causes.push(Cause {
                reason: "FieldValueNotSupported",
                message: format!("Unsupported value: {value}: supported values: {}", supported.join(", ")),
                field: path.to_string(),
            });
        }
        if let Value::Object(fields) = value {
            self.check_fields(fields, path, causes);
        }
    }

    fn check_fields(&self, fields: &Map<String, Value>, path: &mut Path, causes: &mut Vec<Cause>) {
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
                schema.check_shape(child, path, causes);
                path.truncate(depth);
            }
        }
    }

    /// Lists of type set and map have no item twice.
    fn check_lists(&self, value: &Value, path: &mut Path, causes: &mut Vec<Cause>) {
        if causes.len() >= MAX_CAUSES {
            return;
        }
        match value {
            Value::Object(fields) => {
                for (name, child) in fields {
                    if let Some(schema) = self.field(name) {
                        let depth = path.push_field(name, false);
                        schema.check_lists(child, path, causes);
                        path.truncate(depth);
                    }
                }
            }
            Value::Array(items) => {
                self.check_uniqueness(items, path, causes);
                let Some(schema) = &self.items else { return };
                for (index, item) in items.iter().enumerate() {
                    let depth = path.push_index(index);
                    schema.check_lists(item, path, causes);
                    path.truncate(depth);
                }
            }
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
        }
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

    /// The first of the limits that a text breaks, and its format.
    fn check_string(&self, text: &str, path: &Path, causes: &mut Vec<Cause>) {
        let limits = &self.limits;
        let length = text.chars().count();
        if let Some(most) = limits.max_length.filter(|most| length > *most) {
            causes.push(Cause {
                reason: "FieldValueTooLong",
                message: format!("Too long: may not be more than {most} bytes"),
                field: path.to_string(),
            });
        } else if let Some(least) = limits.min_length.filter(|least| length < *least) {
            let what = format!("should be at least {least} chars long");
            causes.push(invalid(path, &quoted(text), &what));
        } else if let Some(pattern) = self.pattern.as_ref().filter(|p| !p.regex.is_match(text)) {
            let what = format!("should match '{}'", pattern.source);
            causes.push(invalid(path, &quoted(text), &what));
        }
        if let Some(format) = self.format.as_deref().filter(|f| !matches_format(f, text)) {
            let told = quoted(text);
            causes.push(Cause {
                reason: "FieldValueTypeInvalid",
                ..invalid(path, &told, &format!("must be of type {format}: {told}"))
            });
        }
    }

    fn check_number(&self, number: &Number, path: &Path, causes: &mut Vec<Cause>) {
        let limits = &self.limits;
        let told = number_text(number);
        let Some(n) = number.as_f64() else { return };
        // Limits are told as the value is: whole beside a whole one.
        let limit = |limit: f64| {
            if number.is_i64() {
                whole_text(limit)
            } else {
                float_text(limit)
            }
        };
        if let Some(least) = limits.minimum {
            if limits.exclusive_minimum && n <= least {
                causes.push(invalid(
                    path,
                    &told,
                    &format!("should be greater than {}", limit(least)),
                ));
            } else if n < least {
                causes.push(invalid(
                    path,
                    &told,
                    &format!("should be greater than or equal to {}", limit(least)),
                ));
            }
        }
        if let Some(most) = limits.maximum {
            if limits.exclusive_maximum && n >= most {
                causes.push(invalid(path, &told, &format!("should be less than {}", limit(most))));
            } else if n > most {
                causes.push(invalid(
                    path,
                    &told,
                    &format!("should be less than or equal to {}", limit(most)),
                ));
            }
        }
        if let Some(factor) = limits.multiple_of.filter(|factor| *factor > 0.0) {
            let quotient = n / factor;
            if (quotient - quotient.round()).abs() > 1e-9 {
                causes.push(invalid(
                    path,
                    &told,
                    &format!("should be a multiple of {}", limit(factor)),
                ));
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
        if matches!(self.list_type, ListType::Map(_))
            && let Some((index, item)) = (0..).zip(items).find(|(_, item)| !item.is_object() && !item.is_null())
        {
            let depth = path.push_index(index);
            causes.push(Cause {
                reason: "FieldValueInvalid",
                message: format!("Invalid value: {item}: must be an object for an array of list-type map"),
                field: path.to_string(),
            });
            path.truncate(depth);
            return;
        }
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
            branch.check_shape(value, path, causes);
        }
        let accepting = |branches: &[Self]| branches.iter().filter(|branch| branch.accepts(value)).count();
        // Where no branch accepts, the first one says what it wants.
        let mut choose = |branches: &[Self], what: &str| {
            causes.push(choice(path, what));
            if accepting(branches) == 0
                && let Some(first) = branches.first()
            {
                first.check_shape(value, path, causes);
            }
        };
        if !self.any_of.is_empty() && accepting(&self.any_of) == 0 {
            choose(&self.any_of, "must validate at least one schema (anyOf)");
        }
        if !self.one_of.is_empty() {
            match accepting(&self.one_of) {
                1 => {}
                0 => choose(
                    &self.one_of,
                    "must validate one and only one schema (oneOf). Found none valid",
                ),
                more => {
                    let what =
                        format!("must validate one and only one schema (oneOf). Found {more} valid alternatives");
                    choose(&self.one_of, &what);
                }
            }
        }
        if self.not.as_ref().is_some_and(|branch| branch.accepts(value)) {
            causes.push(choice(path, "must not validate the schema (not)"));
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

/// A choice between schemas is told of the object as a whole; the place is in the message.
fn choice(path: &Path, what: &str) -> Cause {
    Cause {
        reason: "FieldValueInvalid",
        message: format!("Invalid value: \"\": \"{path}\" {what}"),
        field: "<nil>".to_owned(),
    }
}

/// A number as the real server tells it: whole ones beyond 64 bits are floating-point numbers to it.
fn number_text(number: &Number) -> String {
    match number.as_f64().filter(|_| !number.is_i64()) {
        Some(n) => float_text(n),
        None => number.to_string(),
    }
}

#[expect(clippy::cast_possible_truncation, reason = "the cast saturates, as the limit does")]
fn whole_text(n: f64) -> String {
    (n as i64).to_string()
}

/// Shortest digits, with an exponent where it is below -4 or above 5: as Go's `%v`.
fn float_text(n: f64) -> String {
    let scientific = format!("{n:e}");
    match scientific.split_once('e') {
        Some((digits, exponent)) => match exponent.parse::<i32>() {
            Ok(exponent) if !(-4..6).contains(&exponent) => {
                let sign = if exponent < 0 { '-' } else { '+' };
                format!("{digits}e{sign}{:02}", exponent.abs())
            }
            _ => n.to_string(),
        },
        None => scientific,
    }
}

fn quoted(text: &str) -> String {
    Value::String(text.to_owned()).to_string()
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
        Value::Number(n) if n.is_i64() => "integer",
        Value::Number(_) => "number",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    }
}

/// Whole floating-point numbers below this are integers, too.
const EXACT: f64 = 9_007_199_254_740_992.0;

/// Integers as the real server takes them: also written as `1.0`.
fn is_integer(value: &Value) -> bool {
    value.is_i64() || value.as_f64().is_some_and(|f| f.fract() == 0.0 && f.abs() < EXACT)
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
