//! Metadata of objects: the fields that the server owns, names, and what may be in them.

use rand::Rng as _;
use serde_json::{Map, Value};

use crate::path::Path;
use crate::resource::Resource;
use crate::schema::object_meta;
use crate::selectors::{label_key, label_value};
use crate::status::{ApiError, Cause};

/// The finalizer of a foreground deletion.
pub(crate) const FOREGROUND: &str = "foregroundDeletion";
/// The finalizer of a deletion that leaves the dependents.
pub(crate) const ORPHAN: &str = "orphan";
/// Annotations of one object, keys and values together.
const MAX_ANNOTATION_BYTES: usize = 262_144;

pub(crate) fn metadata(object: &Value) -> Option<&Map<String, Value>> {
    object.get("metadata")?.as_object()
}

/// A text field of metadata; empty when absent.
pub(crate) fn meta_str<'a>(object: &'a Value, field: &str) -> &'a str {
    metadata(object)
        .and_then(|m| m.get(field))
        .and_then(Value::as_str)
        .unwrap_or_default()
}

pub(crate) fn uid(object: &Value) -> &str {
    meta_str(object, "uid")
}

pub(crate) fn name(object: &Value) -> &str {
    meta_str(object, "name")
}

pub(crate) fn is_deleting(object: &Value) -> bool {
    !meta_str(object, "deletionTimestamp").is_empty()
}

pub(crate) fn finalizers(object: &Value) -> impl Iterator<Item = &str> {
    let list = metadata(object)
        .and_then(|m| m.get("finalizers"))
        .and_then(Value::as_array);
    list.into_iter().flatten().filter_map(Value::as_str)
}

/// Is there a finalizer that the garbage collector removes?
pub(crate) fn has_collector_finalizer(object: &Value) -> bool {
    finalizers(object).any(|f| f == FOREGROUND || f == ORPHAN)
}

pub(crate) fn owner_references(object: &Value) -> impl Iterator<Item = &Value> {
    let list = metadata(object)
        .and_then(|m| m.get("ownerReferences"))
        .and_then(Value::as_array);
    list.into_iter().flatten()
}

/// `metadata` for writing; made an object if it is not one.
pub(crate) fn metadata_mut(object: &mut Value) -> &mut Map<String, Value> {
    field_mut(object, "metadata")
}

fn field_mut<'a>(object: &'a mut Value, field: &str) -> &'a mut Map<String, Value> {
    let fields = as_map(object);
    as_map(
        fields
            .entry(field.to_owned())
            .or_insert_with(|| Value::Object(Map::new())),
    )
}

fn as_map(value: &mut Value) -> &mut Map<String, Value> {
    if !value.is_object() {
        *value = Value::Object(Map::new());
    }
    match value {
        Value::Object(map) => map,
        // Made an object just above.
        _ => unreachable!(),
    }
}

/// Sets the version. Where there was none, it comes to its place among sorted fields.
pub(crate) fn set_version(object: &mut Value, version: u64) {
    const FIELD: &str = "resourceVersion";
    let metadata = metadata_mut(object);
    let version = Value::from(version.to_string());
    if let Some(known) = metadata.get_mut(FIELD) {
        *known = version;
        return;
    }
    let at = metadata.keys().position(|key| key.as_str() > FIELD);
    metadata.shift_insert(at.unwrap_or(metadata.len()), FIELD.into(), version);
}

/// Now, in whole seconds, as Kubernetes writes timestamps.
pub(crate) fn now() -> String {
    jiff::Timestamp::now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}

/// A random (version 4) uid.
pub(crate) fn new_uid() -> String {
    let bits: u128 = rand::rng().random();
    let bits = (bits & !(0xf << 76) & !(0b11 << 62)) | (0x4 << 76) | (0b10 << 62);
    format!(
        "{:08x}-{:04x}-{:04x}-{:04x}-{:012x}",
        bits >> 96,
        (bits >> 80) & 0xffff,
        (bits >> 64) & 0xffff,
        (bits >> 48) & 0xffff,
        bits & 0xffff_ffff_ffff
    )
}

/// A name from `generateName`: the base, cut to fit, and five characters that spell no words.
pub(crate) fn generate_name(base: &str) -> String {
    const ALPHABET: &[u8] = b"bcdfghjklmnpqrstvwxz2456789";
    const KEPT: usize = 58;
    let cut = base
        .char_indices()
        .map(|(i, c)| i + c.len_utf8())
        .take_while(|end| *end <= KEPT)
        .last()
        .unwrap_or(0);
    let mut random = rand::rng();
    let suffix = (0..5)
        .filter_map(|_| ALPHABET.get(random.random_range(0..ALPHABET.len())))
        .map(|b| char::from(*b));
    base.get(..cut).unwrap_or_default().chars().chain(suffix).collect()
}

/// Is this a DNS subdomain of at most 253 characters?
fn is_subdomain(name: &str) -> bool {
    let edge = |c: Option<char>| c.is_some_and(|c| c.is_ascii_lowercase() || c.is_ascii_digit());
    name.len() <= 253
        && name.split('.').all(|label| {
            edge(label.chars().next())
                && edge(label.chars().last())
                && label
                    .chars()
                    .all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-')
        })
}

/// Prunes metadata and checks its types; `unknown` collects the names of what was dropped.
pub(crate) fn shape_metadata(object: &mut Value, unknown: &mut Vec<String>) -> Result<(), ApiError> {
    let Some(metadata) = object.get_mut("metadata") else {
        return Ok(());
    };
    if metadata.is_null() {
        *metadata = Value::Object(Map::new());
    }
    let mut path = Path::default();
    path.push_field("metadata", false);
    let schema = object_meta();
    schema.prune(metadata, &mut path, unknown);
    if let Some(fields) = metadata.as_object_mut() {
        // The server keeps no field ownership: what a client sends back of it means nothing.
        fields.shift_remove("managedFields");
        fields.shift_remove("selfLink");
        fields.retain(|_, value| !is_empty(value));
    }
    let mut causes = Vec::new();
    schema.validate(metadata, &mut path, &mut causes);
    let wrong = causes.iter().find(|c| c.reason == "FieldValueTypeInvalid");
    match wrong {
        Some(cause) => Err(ApiError::bad_request(format!(
            "the metadata cannot be read: {}: {}",
            cause.field, cause.message
        ))),
        None => Ok(()),
    }
}

fn is_empty(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::String(text) => text.is_empty(),
        Value::Array(items) => items.is_empty(),
        Value::Object(fields) => fields.is_empty(),
        Value::Bool(_) | Value::Number(_) => false,
    }
}

/// What is wrong with the metadata of an object about to be stored.
pub(crate) fn check_metadata(resource: &Resource, object: &Value) -> Vec<Cause> {
    let mut causes = Vec::new();
    let invalid = |field: &str, value: &str, why: &str| Cause {
        reason: "FieldValueInvalid",
        message: format!("Invalid value: \"{value}\": {why}"),
        field: field.to_owned(),
    };
    let name = name(object);
    if name.is_empty() {
        causes.push(Cause {
            reason: "FieldValueRequired",
            message: "Required value: name or generateName is required".into(),
            field: "metadata.name".into(),
        });
    } else if !is_subdomain(name) {
        causes.push(invalid(
            "metadata.name",
            name,
            "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must \
             start and end with an alphanumeric character (e.g. 'example.com', regex used for validation is \
             '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')",
        ));
    }
    let Some(metadata) = metadata(object) else {
        return causes;
    };
    if resource.namespaced && meta_str(object, "namespace").is_empty() {
        causes.push(Cause {
            reason: "FieldValueRequired",
            message: "Required value".into(),
            field: "metadata.namespace".into(),
        });
    }
    if let Some(Value::Object(labels)) = metadata.get("labels") {
        for (key, value) in labels {
            let value = value.as_str().unwrap_or_default();
            if let Err(why) = label_key(key) {
                causes.push(invalid("metadata.labels", key, &why));
            }
            if let Err(why) = label_value(value) {
                causes.push(invalid("metadata.labels", value, &why));
            }
        }
    }
    if let Some(Value::Object(annotations)) = metadata.get("annotations") {
        let bytes: usize = annotations
            .iter()
            .map(|(k, v)| k.len() + v.as_str().map_or(0, str::len))
            .sum();
        if bytes > MAX_ANNOTATION_BYTES {
            causes.push(Cause {
                reason: "FieldValueTooLong",
                message: format!("Too long: may not be more than {MAX_ANNOTATION_BYTES} bytes"),
                field: "metadata.annotations".into(),
            });
        }
    }
    let mut path = Path::default();
    path.push_field("metadata", false);
    if let Some(value) = object.get("metadata") {
        object_meta().validate(value, &mut path, &mut causes);
    }
    let controllers = owner_references(object).filter(|o| o.get("controller").and_then(Value::as_bool) == Some(true));
    if controllers.count() > 1 {
        causes.push(invalid(
            "metadata.ownerReferences",
            "object",
            "Only one reference can have Controller set to true.",
        ));
    }
    for finalizer in finalizers(object) {
        if !finalizer.contains('/') && ![FOREGROUND, ORPHAN, "kubernetes"].contains(&finalizer) {
            causes.push(invalid(
                "metadata.finalizers",
                finalizer,
                "name is neither a standard finalizer name nor is it fully qualified",
            ));
        }
    }
    causes
}

#[cfg(test)]
mod tests;
