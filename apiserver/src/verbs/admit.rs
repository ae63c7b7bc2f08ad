//! Bodies: parsed, pruned, defaulted, validated.

use http::HeaderMap;
use serde_json::Value;

use super::MAX_BODY_BYTES;
use crate::object;
use crate::path::Path;
use crate::resource::{Resource, Shape};
use crate::route::ObjectRequest;
use crate::rules;
use crate::schema::duplicate_fields;
use crate::status::{ApiError, Cause};

/// `fieldValidation`: what becomes of unknown and duplicate fields.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum FieldValidation {
    Ignore,
    Warn,
    Strict,
}

impl FieldValidation {
    pub(super) fn of(request: &ObjectRequest) -> Result<Self, ApiError> {
        match request.query.get("fieldValidation") {
            None | Some("Warn") => Ok(Self::Warn),
            Some("Ignore") => Ok(Self::Ignore),
            Some("Strict") => Ok(Self::Strict),
            Some(other) => Err(ApiError::bad_request(format!(
                "fieldValidation: Unsupported value: {other:?}: supported values: \"Ignore\", \"Strict\", \"Warn\""
            ))),
        }
    }
}

/// A body brought into shape, and what was wrong with it without being refused.
pub(super) struct Shaped {
    pub(super) value: Value,
    pub(super) warnings: Vec<String>,
}

/// Parses the body of a create or a replace.
pub(super) fn parse(
    resource: &Resource,
    request: &ObjectRequest,
    headers: &HeaderMap,
    body: &[u8],
) -> Result<Shaped, ApiError> {
    let media = headers
        .get(http::header::CONTENT_TYPE)
        .and_then(|v| v.to_str().ok())
        .unwrap_or("application/json");
    if media.split(';').next().map(str::trim) != Some("application/json") {
        return Err(ApiError::unsupported_media_type(media, "application/json"));
    }
    let value: Value = parse_json(body)?;
    let validation = FieldValidation::of(request)?;
    let duplicates = if validation == FieldValidation::Ignore {
        Vec::new()
    } else {
        duplicate_fields(body)
    };
    shape(resource, value, validation, &duplicates)
}

pub(super) fn parse_json(body: &[u8]) -> Result<Value, ApiError> {
    if body.len() > MAX_BODY_BYTES {
        return Err(ApiError::too_large(body.len(), MAX_BODY_BYTES));
    }
    serde_json::from_slice(body).map_err(|e| ApiError::bad_request(format!("the body is not JSON: {e}")))
}

/// Prunes and defaults an object. Unknown and duplicate fields are refused or reported, as `validation` says.
pub(super) fn shape(
    resource: &Resource,
    mut value: Value,
    validation: FieldValidation,
    duplicates: &[String],
) -> Result<Shaped, ApiError> {
    check_type(resource, &value)?;
    let mut unknown = Vec::new();
    object::shape_metadata(&mut value, &mut unknown)?;
    match &resource.shape {
        Shape::Custom(schema) => {
            schema.prune(&mut value, &mut Path::default(), &mut unknown);
            schema.drop_nulls(&mut value);
            schema.apply_defaults(&mut value);
        }
        Shape::Typed(normalize) => {
            let normal = normalize(&value).map_err(|e| {
                ApiError::bad_request(format!(
                    "{} in version {:?} cannot be handled as a {}: {e}",
                    resource.kind, resource.version, resource.kind
                ))
            })?;
            lost_fields(&value, &normal, &mut Path::default(), &mut unknown);
            value = normal;
        }
    }
    let mut complaints: Vec<String> = unknown.iter().map(|f| format!("unknown field \"{f}\"")).collect();
    complaints.extend(duplicates.iter().map(|f| format!("duplicate field \"{f}\"")));
    match validation {
        FieldValidation::Strict if !complaints.is_empty() => Err(ApiError::bad_request(format!(
            "{} in version {:?} cannot be handled as a {}: strict decoding error: {}",
            resource.kind,
            resource.version,
            resource.kind,
            complaints.join(", ")
        ))),
        FieldValidation::Ignore => Ok(Shaped {
            value,
            warnings: Vec::new(),
        }),
        FieldValidation::Strict | FieldValidation::Warn => Ok(Shaped {
            value,
            warnings: complaints,
        }),
    }
}

/// Characters of a body that a message begins with.
const SHOWN: usize = 30;

fn check_type(resource: &Resource, value: &Value) -> Result<(), ApiError> {
    if !value.is_object() {
        return Err(ApiError::bad_request("the body is not a JSON object"));
    }
    let text = |field: &str| value.get(field).and_then(Value::as_str).unwrap_or_default();
    let (kind, api_version) = (text("kind"), text("apiVersion"));
    for (field, name, given) in [("kind", "Kind", kind), ("apiVersion", "apiVersion", api_version)] {
        if given.is_empty() && value.get(field).is_none_or(Value::is_string) {
            let body = value.to_string();
            let begin: String = body.chars().take(SHOWN).collect();
            return Err(ApiError::bad_request(format!(
                "the object provided is unrecognized (must be of type {}): Object '{name}' is missing in '{body}' ({begin} ...)",
                resource.kind
            )));
        }
    }
    if kind != resource.kind {
        return Err(ApiError::bad_request(format!(
            "the kind in the data ({kind}) does not match the expected kind ({})",
            resource.kind
        )));
    }
    if api_version != resource.api_version() {
        return Err(ApiError::bad_request(format!(
            "the API version in the data ({api_version}) does not match the expected API version ({})",
            resource.api_version()
        )));
    }
    Ok(())
}

/// Fields of `before` that a round trip through a typed struct lost. Empty ones are no loss.
fn lost_fields(before: &Value, after: &Value, path: &mut Path, lost: &mut Vec<String>) {
    match (before, after) {
        (Value::Object(before), Value::Object(after)) => {
            for (name, child) in before {
                let depth = path.push_field(name, false);
                match after.get(name) {
                    Some(kept) => lost_fields(child, kept, path, lost),
                    None if child.is_null() => {}
                    None => lost.push(path.to_string()),
                }
                path.truncate(depth);
            }
        }
        (Value::Array(before), Value::Array(after)) => {
            for (index, (child, kept)) in before.iter().zip(after).enumerate() {
                let depth = path.push_index(index);
                lost_fields(child, kept, path, lost);
                path.truncate(depth);
            }
        }
        _ => {}
    }
}

/// Validates an object about to be stored, against its schema and its rules.
pub(super) fn validate(resource: &Resource, value: &Value, old: Option<&Value>) -> Result<(), ApiError> {
    let causes = causes(resource, value, old);
    if causes.is_empty() {
        Ok(())
    } else {
        Err(ApiError::invalid(resource, object::name(value), causes))
    }
}

/// Said beside other causes: what is wrong with the shape of an object is told without looking at its rules.
pub(crate) const RULES_UNCHECKED: &str = "Invalid value: null: some validation rules were not checked because the object \
                                          was invalid; correct the existing errors to complete validation";

/// All that is wrong with an object about to be stored.
pub(crate) fn causes(resource: &Resource, value: &Value, old: Option<&Value>) -> Vec<Cause> {
    let mut causes = object::check_metadata(resource, value);
    if let Some(old) = old {
        causes.extend(forbidden_changes(value, old));
    }
    if let Shape::Custom(schema) = &resource.shape {
        schema.validate(value, &mut Path::default(), &mut causes);
        let blocking = |c: &Cause| {
            matches!(
                c.reason,
                "FieldValueNotSupported"
                    | "FieldValueRequired"
                    | "FieldValueTooLong"
                    | "FieldValueTooMany"
                    | "FieldValueTypeInvalid"
            )
        };
        if !schema.ruled {
        } else if causes.iter().any(blocking) {
            causes.push(Cause {
                reason: "FieldValueInvalid",
                message: RULES_UNCHECKED.into(),
                field: "<nil>".into(),
            });
        } else {
            rules::evaluate(schema, value, old, &mut causes);
        }
    } else if let Some(old) = old {
        causes.extend(immutable_changes(value, old));
    }
    causes
}

/// An object that is being deleted takes no new finalizers.
fn forbidden_changes(value: &Value, old: &Value) -> Option<Cause> {
    if !object::is_deleting(old) {
        return None;
    }
    let added: Vec<&str> = object::finalizers(value)
        .filter(|f| !object::finalizers(old).any(|o| o == *f))
        .collect();
    (!added.is_empty()).then(|| Cause {
        reason: "FieldValueForbidden",
        message: format!(
            "Forbidden: no new finalizers can be added if the object is being deleted, found new finalizers {added:?}"
        ),
        field: "metadata.finalizers".into(),
    })
}

/// A ConfigMap or Secret marked immutable keeps its data and the mark.
fn immutable_changes(value: &Value, old: &Value) -> Option<Cause> {
    if old.get("immutable").and_then(Value::as_bool) != Some(true) {
        return None;
    }
    let field = ["immutable", "data", "binaryData", "stringData"]
        .into_iter()
        .find(|f| value.get(*f) != old.get(*f))?;
    Some(Cause {
        reason: "FieldValueForbidden",
        message: "Forbidden: field is immutable when `immutable` is set".into(),
        field: field.into(),
    })
}
