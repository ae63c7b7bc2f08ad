//! Pieces of schema that derive cannot say, and the last touch on generated definitions.

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::{CustomResourceDefinition, JSONSchemaProps};
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
        "additionalProperties": {"x-kubernetes-preserve-unknown-fields": true}
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

/// API servers know the formats `int32` and `int64` only, and warn on others: the unsigned ones are dropped (their
/// minimum of 0 stays).
#[must_use]
pub fn polish(mut definition: CustomResourceDefinition) -> CustomResourceDefinition {
    for version in &mut definition.spec.versions {
        if let Some(root) = version
            .schema
            .as_mut()
            .and_then(|schema| schema.open_api_v3_schema.as_mut())
        {
            strip_unsigned(root);
        }
    }
    definition
}

fn strip_unsigned(node: &mut JSONSchemaProps) {
    use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::{
        JSONSchemaPropsOrArray, JSONSchemaPropsOrBool,
    };
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
