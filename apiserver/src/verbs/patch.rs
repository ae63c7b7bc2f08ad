//! JSON merge patch (RFC 7386) of the object or of its status. Other patch types are refused.

use http::HeaderMap;
use serde_json::Value;

use super::admit::{self, FieldValidation};
use super::{Answer, Api, key};
use crate::route::ObjectRequest;
use crate::schema::duplicate_fields;
use crate::status::ApiError;

const MERGE_PATCH: &str = "application/merge-patch+json";

impl Api {
    pub(super) async fn patch(
        &self,
        request: &ObjectRequest,
        headers: &HeaderMap,
        body: &[u8],
    ) -> Result<Answer, ApiError> {
        let resource = self.resource(request)?;
        let media = headers
            .get(http::header::CONTENT_TYPE)
            .and_then(|v| v.to_str().ok())
            .unwrap_or_default();
        if media.split(';').next().map(str::trim) != Some(MERGE_PATCH) {
            return Err(ApiError::unsupported_media_type(media, MERGE_PATCH));
        }
        let patch = admit::parse_json(body)?;
        if !patch.is_object() {
            return Err(ApiError::bad_request(
                "a merge patch of an object must be a JSON object",
            ));
        }
        let validation = FieldValidation::of(request)?;
        let duplicates = if validation == FieldValidation::Ignore {
            Vec::new()
        } else {
            duplicate_fields(body)
        };
        let key = key(request);
        let warnings = std::sync::Mutex::new(Vec::new());
        let stored = self
            .update(request, resource, &key, |current| {
                let mut merged = current.clone();
                merge(&mut merged, &patch);
                let shaped = admit::shape(resource, merged, validation, &duplicates)?;
                if crate::object::name(&shaped.value) != &*key.name {
                    return Err(ApiError::bad_request(format!(
                        "the name of the object ({}) does not match the name on the URL ({})",
                        crate::object::name(&shaped.value),
                        key.name
                    )));
                }
                if let Ok(mut warnings) = warnings.lock() {
                    *warnings = shaped.warnings;
                }
                Ok(shaped.value)
            })
            .await?;
        let warnings = warnings.into_inner().unwrap_or_default();
        Ok(Answer {
            warnings,
            ..Answer::object(&stored, headers)
        })
    }
}

/// Nulls remove, objects merge, anything else replaces.
fn merge(target: &mut Value, patch: &Value) {
    let (Value::Object(fields), Value::Object(changes)) = (&mut *target, patch) else {
        *target = without_nulls(patch);
        return;
    };
    for (name, change) in changes {
        match (change, fields.get_mut(name)) {
            (Value::Null, _) => {
                fields.shift_remove(name);
            }
            (Value::Object(_), Some(present @ Value::Object(_))) => merge(present, change),
            (change, _) => {
                fields.insert(name.clone(), without_nulls(change));
            }
        }
    }
}

/// A patch that creates objects does not create nulls in them.
fn without_nulls(patch: &Value) -> Value {
    match patch {
        Value::Object(fields) => fields
            .iter()
            .filter(|(_, v)| !v.is_null())
            .map(|(k, v)| (k.clone(), without_nulls(v)))
            .collect(),
        other => other.clone(),
    }
}
