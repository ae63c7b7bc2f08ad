//! Structural schemas of custom resources: compiled once, then walked by pruning, defaulting, validation and rules.

mod defaults;
mod duplicates;
mod metadata;
mod prune;
mod validate;

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use regex::Regex;
use serde_json::{Map, Value};

pub(crate) use self::duplicates::duplicate_fields;
pub(crate) use self::metadata::object_meta;
use crate::rules::Rule;

/// Schemas nested deeper than this are refused when the server is built.
const MAX_DEPTH: usize = 64;

/// `type` of a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Type {
    Object,
    Array,
    String,
    Integer,
    Number,
    Boolean,
}

impl Type {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Object => "object",
            Self::Array => "array",
            Self::String => "string",
            Self::Integer => "integer",
            Self::Number => "number",
            Self::Boolean => "boolean",
        }
    }
}

/// `x-kubernetes-list-type`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) enum ListType {
    #[default]
    Atomic,
    Set,
    Map(Vec<String>),
}

/// `additionalProperties`.
#[derive(Debug, Default)]
pub(crate) enum Additional {
    /// Not given: fields that are not named are unknown.
    #[default]
    Unknown,
    /// `true`: anything.
    Any,
    /// Values of one shape, keys are data.
    Schema(Box<Schema>),
}

/// A pattern with its source.
#[derive(Debug)]
pub(crate) struct Pattern {
    pub(crate) source: String,
    pub(crate) regex: Regex,
}

/// Limits on a node's value. Lengths are in characters, as in JSON schema.
#[derive(Debug, Default)]
pub(crate) struct Limits {
    pub(crate) minimum: Option<f64>,
    pub(crate) exclusive_minimum: bool,
    pub(crate) maximum: Option<f64>,
    pub(crate) exclusive_maximum: bool,
    pub(crate) multiple_of: Option<f64>,
    pub(crate) min_length: Option<usize>,
    pub(crate) max_length: Option<usize>,
    pub(crate) min_items: Option<usize>,
    pub(crate) max_items: Option<usize>,
    pub(crate) min_properties: Option<usize>,
    pub(crate) max_properties: Option<usize>,
}

/// One compiled node.
#[derive(Debug, Default)]
pub(crate) struct Schema {
    pub(crate) kind: Option<Type>,
    pub(crate) nullable: bool,
    pub(crate) int_or_string: bool,
    pub(crate) preserve_unknown: bool,
    pub(crate) embedded: bool,
    pub(crate) properties: BTreeMap<String, Schema>,
    pub(crate) additional: Additional,
    pub(crate) items: Option<Box<Schema>>,
    pub(crate) required: Vec<String>,
    pub(crate) allowed: Vec<Value>,
    pub(crate) pattern: Option<Pattern>,
    pub(crate) format: Option<String>,
    pub(crate) limits: Limits,
    pub(crate) default: Option<Value>,
    pub(crate) list_type: ListType,
    pub(crate) unique_items: bool,
    pub(crate) all_of: Vec<Schema>,
    pub(crate) any_of: Vec<Schema>,
    pub(crate) one_of: Vec<Schema>,
    pub(crate) not: Option<Box<Schema>>,
    pub(crate) rules: Vec<Rule>,
    /// This node or one below it has rules.
    pub(crate) ruled: bool,
    /// This node or one below it has a default.
    pub(crate) defaulted: bool,
}

impl Schema {
    /// Compiles the root schema of a definition: `apiVersion`, `kind` and `metadata` are added if not there.
    pub(crate) fn compile(source: &Value) -> Result<Self, String> {
        let mut schema = Self::node(source, "", 0)?;
        for name in ["apiVersion", "kind"] {
            let text = Self {
                kind: Some(Type::String),
                ..Self::default()
            };
            schema.properties.entry(name.to_owned()).or_insert(text);
        }
        // The server's own schema of metadata is checked apart; what a definition may say of it (name limits) is kept.
        let metadata = schema.properties.entry("metadata".to_owned()).or_default();
        metadata.preserve_unknown = true;
        metadata.kind.get_or_insert(Type::Object);
        Ok(schema)
    }

    /// Whether rules see it: what has no type, and lists and maps of such, are not there for them.
    pub(crate) fn is_exposed(&self) -> bool {
        match (self.kind, &self.additional) {
            _ if self.int_or_string => true,
            (None, _) => false,
            (Some(Type::Array), _) => self.items.as_ref().is_some_and(|items| items.is_exposed()),
            (Some(Type::Object), Additional::Schema(values)) => values.is_exposed(),
            _ => true,
        }
    }

    /// Compiles a node; `path` names it in errors.
    pub(crate) fn node(source: &Value, path: &str, depth: usize) -> Result<Self, String> {
        let object = source
            .as_object()
            .ok_or_else(|| format!("{path}: a schema must be an object"))?;
        if depth > MAX_DEPTH {
            return Err(format!("{path}: the schema is nested deeper than {MAX_DEPTH}"));
        }
        let mut schema = Self {
            kind: kind(object, path)?,
            nullable: flag(object, "nullable"),
            int_or_string: flag(object, "x-kubernetes-int-or-string"),
            preserve_unknown: flag(object, "x-kubernetes-preserve-unknown-fields"),
            embedded: flag(object, "x-kubernetes-embedded-resource"),
            required: strings(object, "required"),
            allowed: object
                .get("enum")
                .and_then(Value::as_array)
                .cloned()
                .unwrap_or_default(),
            pattern: pattern(object, path)?,
            format: object.get("format").and_then(Value::as_str).map(ToOwned::to_owned),
            limits: limits(object),
            default: object.get("default").cloned(),
            list_type: list_type(object, path)?,
            unique_items: flag(object, "uniqueItems"),
            ..Self::default()
        };
        if let Some(Value::Object(properties)) = object.get("properties") {
            for (name, child) in properties {
                let child = Self::node(child, &format!("{path}.{name}"), depth + 1)?;
                schema.properties.insert(name.clone(), child);
            }
        }
        schema.additional = match object.get("additionalProperties") {
            None | Some(Value::Bool(false)) => Additional::Unknown,
            Some(Value::Bool(true)) => Additional::Any,
            Some(child) => Additional::Schema(Box::new(Self::node(child, &format!("{path}[*]"), depth + 1)?)),
        };
        if let Some(items) = object.get("items") {
            schema.items = Some(Box::new(Self::node(items, &format!("{path}[]"), depth + 1)?));
        }
        let branches = |key: &str| -> Result<Vec<Self>, String> {
            let Some(Value::Array(list)) = object.get(key) else {
                return Ok(Vec::new());
            };
            list.iter()
                .map(|branch| Self::node(branch, &format!("{path}.{key}"), depth + 1))
                .collect()
        };
        schema.all_of = branches("allOf")?;
        schema.any_of = branches("anyOf")?;
        schema.one_of = branches("oneOf")?;
        if let Some(not) = object.get("not") {
            schema.not = Some(Box::new(Self::node(not, &format!("{path}.not"), depth + 1)?));
        }
        if let Some(rules) = object.get("x-kubernetes-validations") {
            schema.rules = Rule::compile_all(rules, path, schema.kind)?;
            for rule in &schema.rules {
                rule.check_fields(&schema, depth == 0)
                    .map_err(|why| format!("{path}: {why}"))?;
            }
        }
        schema.ruled = !schema.rules.is_empty() || schema.children().any(|c| c.ruled);
        schema.defaulted = schema.default.is_some() || schema.children().any(|c| c.defaulted);
        Ok(schema)
    }

    fn children(&self) -> impl Iterator<Item = &Self> {
        let additional = match &self.additional {
            Additional::Schema(schema) => Some(&**schema),
            Additional::Unknown | Additional::Any => None,
        };
        self.properties.values().chain(additional).chain(self.items.as_deref())
    }

    /// The schema of a field of an object, if the field is known.
    pub(crate) fn field(&self, name: &str) -> Option<&Self> {
        self.properties.get(name).or(match &self.additional {
            Additional::Schema(schema) => Some(schema),
            Additional::Unknown | Additional::Any => None,
        })
    }

    /// Are the keys of such an object data (a map) rather than named fields?
    pub(crate) fn is_map(&self) -> bool {
        !matches!(self.additional, Additional::Unknown)
    }
}

fn flag(object: &Map<String, Value>, key: &str) -> bool {
    object.get(key).and_then(Value::as_bool).unwrap_or(false)
}

fn strings(object: &Map<String, Value>, key: &str) -> Vec<String> {
    let list = object.get(key).and_then(Value::as_array);
    list.map(|l| l.iter().filter_map(Value::as_str).map(ToOwned::to_owned).collect())
        .unwrap_or_default()
}

fn kind(object: &Map<String, Value>, path: &str) -> Result<Option<Type>, String> {
    Ok(Some(match object.get("type").and_then(Value::as_str) {
        None | Some("") => return Ok(None),
        Some("object") => Type::Object,
        Some("array") => Type::Array,
        Some("string") => Type::String,
        Some("integer") => Type::Integer,
        Some("number") => Type::Number,
        Some("boolean") => Type::Boolean,
        Some(other) => return Err(format!("{path}: unknown type {other:?}")),
    }))
}

fn pattern(object: &Map<String, Value>, path: &str) -> Result<Option<Pattern>, String> {
    let Some(source) = object.get("pattern").and_then(Value::as_str).filter(|p| !p.is_empty()) else {
        return Ok(None);
    };
    let regex = Regex::new(source).map_err(|e| format!("{path}: the pattern does not compile: {e}"))?;
    Ok(Some(Pattern {
        source: source.to_owned(),
        regex,
    }))
}

fn limits(object: &Map<String, Value>) -> Limits {
    let float = |key: &str| object.get(key).and_then(Value::as_f64);
    let size = |key: &str| {
        object
            .get(key)
            .and_then(Value::as_u64)
            .map(|n| usize::try_from(n).unwrap_or(usize::MAX))
    };
    Limits {
        minimum: float("minimum"),
        exclusive_minimum: flag(object, "exclusiveMinimum"),
        maximum: float("maximum"),
        exclusive_maximum: flag(object, "exclusiveMaximum"),
        multiple_of: float("multipleOf"),
        min_length: size("minLength"),
        max_length: size("maxLength"),
        min_items: size("minItems"),
        max_items: size("maxItems"),
        min_properties: size("minProperties"),
        max_properties: size("maxProperties"),
    }
}

fn list_type(object: &Map<String, Value>, path: &str) -> Result<ListType, String> {
    Ok(match object.get("x-kubernetes-list-type").and_then(Value::as_str) {
        None | Some("atomic") => ListType::Atomic,
        Some("set") => ListType::Set,
        Some("map") => {
            let keys = strings(object, "x-kubernetes-list-map-keys");
            if keys.is_empty() {
                return Err(format!("{path}: a list of type map needs x-kubernetes-list-map-keys"));
            }
            ListType::Map(keys)
        }
        Some(other) => return Err(format!("{path}: unknown x-kubernetes-list-type {other:?}")),
    })
}
