//! Pieces of schema that derive cannot say, and the last touch on generated definitions.

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::{
    CustomResourceDefinition, JSONSchemaProps, JSONSchemaPropsOrArray, JSONSchemaPropsOrBool, ValidationRule,
};
use schemars::{Schema, SchemaGenerator, json_schema};

use crate::limits;

/// Any JSON value.
pub fn any_json(_: &mut SchemaGenerator) -> Schema {
    json_schema!({"x-kubernetes-preserve-unknown-fields": true})
}

/// A short list of any JSON values.
pub fn any_json_list(_: &mut SchemaGenerator) -> Schema {
    json_schema!({"type": "array", "maxItems": 64, "items": {"x-kubernetes-preserve-unknown-fields": true}})
}

/// A map from names to any JSON values.
pub fn any_json_map(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "object",
        "maxProperties": limits::OUTPUTS,
        // Without it, an API server drops the nulls.
        "additionalProperties": {"x-kubernetes-preserve-unknown-fields": true, "nullable": true}
    })
}

/// Names of namespaces, each once.
pub fn namespaces(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "array",
        "minItems": 1,
        "maxItems": limits::ALLOWED_NAMESPACES,
        "x-kubernetes-list-type": "set",
        "items": {"type": "string", "minLength": 1, "maxLength": 63, "pattern": "^[a-z0-9]([-a-z0-9]*[a-z0-9])?$"}
    })
}

/// `over.items`: any JSON values, a bounded number of them.
pub fn items(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "array",
        "minItems": 1,
        "maxItems": limits::ITEMS,
        "items": {"x-kubernetes-preserve-unknown-fields": true}
    })
}

/// The values of a matrix's axis: any JSON values, a bounded number of them.
pub fn axis_values(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "array",
        "minItems": 1,
        "maxItems": limits::AXIS_VALUES,
        "items": {"x-kubernetes-preserve-unknown-fields": true}
    })
}

/// A list of objects from names to any JSON values.
pub fn objects(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "array",
        "maxItems": limits::MATRIX_EDITS,
        "items": {"type": "object", "x-kubernetes-preserve-unknown-fields": true}
    })
}

/// A choice between fields of an object.
enum Choice {
    AnyOf,
    OneOf,
}

/// Choices that are no rules, because some of their fields are any JSON: to a rule such a field does not exist, and an API
/// server refuses a definition that asks for it. The kind, the object in its schema, and the fields.
const CHOICES: [(&str, &[&str], Choice, &[&str]); 2] = [
    (
        "Workflow",
        &["spec", "params", ITEMS],
        Choice::AnyOf,
        &["value", "default"],
    ),
    (
        "Workflow",
        &["spec", "steps", ITEMS, "over"],
        Choice::OneOf,
        &["data", "range", "items", "itemsFrom", "matrix"],
    ),
];

/// Objects whose fields stay as they were made: the kind, the object in its schema, what is said of it, and the fields that may change. A field
/// that comes to such a type stays, too, until it is named here.
const FIXED: [(&str, &[&str], &str, &[&str]); 1] = [(
    "Workflow",
    &["spec", "steps", ITEMS],
    "a step is immutable but for maxFailedPartitions and parallelism: create another Workflow",
    &["maxFailedPartitions", "parallelism"],
)];

/// In a path through a schema: the items of a list.
const ITEMS: &str = "[]";

/// A piece of a pod, as core/v1 has it. Its fields are checked by the API server that makes the pod.
pub fn pod_part(_: &mut SchemaGenerator) -> Schema {
    json_schema!({"type": "object", "x-kubernetes-preserve-unknown-fields": true})
}

/// A list of pieces of a pod, as core/v1 has them.
pub fn pod_parts(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "array",
        "maxItems": limits::POD_PARTS,
        "items": {"type": "object", "x-kubernetes-preserve-unknown-fields": true}
    })
}

/// Environment variables of a pod's container, as core/v1 has them.
pub fn pod_env(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "array",
        "maxItems": limits::ENV,
        "items": {"type": "object", "x-kubernetes-preserve-unknown-fields": true}
    })
}

/// API servers know the formats `int32` and `int64` only, and warn on others: the unsigned ones are dropped (their
/// minimum of 0 stays).
#[must_use]
pub fn polish(mut definition: CustomResourceDefinition) -> CustomResourceDefinition {
    let kind = definition.spec.names.kind.clone();
    for version in &mut definition.spec.versions {
        if let Some(root) = version
            .schema
            .as_mut()
            .and_then(|schema| schema.open_api_v3_schema.as_mut())
        {
            strip_unsigned(root);
            for (_, path, choice, fields) in CHOICES.iter().filter(|(of, ..)| *of == kind) {
                if let Some(node) = at(root, path) {
                    choose(node, choice, fields);
                }
            }
            for (_, path, message, but) in FIXED.iter().filter(|(of, ..)| *of == kind) {
                if let Some(node) = at(root, path) {
                    fix(node, message, but);
                }
            }
        }
    }
    definition
}

/// Adds the rule about what does not change of an object whose fields stay as they were made, and leaves all others below it to the moment
/// in which it is made. A server judges every rule at each write of a status, and makes a table of an object's fields anew for every look at
/// one of them: half of all memory that such writes took was for these.
fn fix(node: &mut JSONSchemaProps, message: &str, but: &[&str]) {
    once(node);
    let fields = node.properties.iter().flatten().map(|(field, _)| field.as_str());
    let fields: Vec<&str> = fields.filter(|field| !but.contains(field)).collect();
    let same = |field: &&str| {
        format!("has(self.{field}) == has(oldSelf.{field}) && (!has(self.{field}) || self.{field} == oldSelf.{field})")
    };
    let each: Vec<String> = fields.iter().map(same).collect();
    let told = fields.iter().zip(&each);
    let told: Vec<String> = told
        .map(|(field, same)| format!("!({same}) ? '{field}: {message}' : "))
        .collect();
    let rule = ValidationRule {
        rule: format!("self == oldSelf || ({})", each.join(" && ")),
        message: Some(message.to_owned()),
        message_expression: Some(format!("{}'{message}'", told.concat())),
        ..ValidationRule::default()
    };
    node.x_kubernetes_validations.get_or_insert_default().push(rule);
}

/// Has rules judge what is new only. Below a list without keys a server does not know what is.
fn once(node: &mut JSONSchemaProps) {
    for rule in node.x_kubernetes_validations.iter_mut().flatten() {
        rule.rule = format!("oldSelf.hasValue() || ({})", rule.rule);
        rule.optional_old_self = Some(true);
    }
    node.properties.iter_mut().flatten().for_each(|(_, field)| once(field));
    if let Some(JSONSchemaPropsOrArray::Schema(items)) = &mut node.items
        && node.x_kubernetes_list_type.as_deref() == Some("map")
    {
        once(items);
    }
}

/// The place of a path in a schema.
fn at<'a>(node: &'a mut JSONSchemaProps, path: &[&str]) -> Option<&'a mut JSONSchemaProps> {
    let Some((first, rest)) = path.split_first() else {
        return Some(node);
    };
    let child = if *first == ITEMS {
        match &mut node.items {
            Some(JSONSchemaPropsOrArray::Schema(items)) => Some(&mut **items),
            _ => None,
        }
    } else {
        node.properties
            .as_mut()
            .and_then(|properties| properties.get_mut(*first))
    };
    at(child?, rest)
}

fn choose(node: &mut JSONSchemaProps, choice: &Choice, fields: &[&str]) {
    let required = |field: &&str| JSONSchemaProps {
        required: Some(vec![(*field).to_owned()]),
        ..JSONSchemaProps::default()
    };
    let branches = Some(fields.iter().map(required).collect());
    match choice {
        Choice::AnyOf => node.any_of = branches,
        Choice::OneOf => node.one_of = branches,
    }
}

fn strip_unsigned(node: &mut JSONSchemaProps) {
    if node.format.as_deref().is_some_and(|format| format.starts_with("uint")) {
        node.format = None;
    }
    node.properties
        .iter_mut()
        .flatten()
        .for_each(|(_, property)| strip_unsigned(property));
    match &mut node.items {
        Some(JSONSchemaPropsOrArray::Schema(items)) => strip_unsigned(items),
        Some(JSONSchemaPropsOrArray::Schemas(items)) => items.iter_mut().for_each(strip_unsigned),
        None => {}
    }
    if let Some(JSONSchemaPropsOrBool::Schema(values)) = &mut node.additional_properties {
        strip_unsigned(values);
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::panic)]
    use super::*;

    fn integers_without_maximum(node: &JSONSchemaProps, path: &str, found: &mut Vec<String>) {
        if node.type_.as_deref() == Some("integer") && node.maximum.is_none() {
            found.push(path.to_owned());
        }
        for (name, child) in node.properties.iter().flatten() {
            integers_without_maximum(child, &format!("{path}.{name}"), found);
        }
        if let Some(JSONSchemaPropsOrArray::Schema(items)) = &node.items {
            integers_without_maximum(items, &format!("{path}[]"), found);
        }
        if let Some(JSONSchemaPropsOrBool::Schema(values)) = &node.additional_properties {
            integers_without_maximum(values, &format!("{path}{{}}"), found);
        }
    }

    /// API servers do not enforce `int32` and `int64`: a number beyond them would be stored and could not be read.
    #[test]
    fn integers_that_people_write_have_a_maximum() {
        let mut found = Vec::new();
        for definition in crate::definitions() {
            let kind = &definition.spec.names.kind;
            if !["Workflow", "WorkerPool"].contains(&kind.as_str()) {
                continue;
            }
            let schema = definition.spec.versions.first().unwrap().schema.as_ref().unwrap();
            let root = schema.open_api_v3_schema.as_ref().unwrap();
            let spec = root.properties.as_ref().unwrap().get("spec").unwrap();
            integers_without_maximum(spec, &format!("{kind}.spec"), &mut found);
        }
        assert!(found.is_empty(), "{found:?}");
    }
}
