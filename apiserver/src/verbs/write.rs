//! create and replace, and the part that patch shares with replace.

use std::sync::Arc;

use http::{HeaderMap, StatusCode};
use serde_json::Value;

use super::admit::{self, Shaped};
use super::{Answer, Api, is_dry_run, key};
use crate::object;
use crate::resource::Resource;
use crate::route::{ObjectRequest, Subresource};
use crate::status::{ApiError, Cause};
use crate::store::{Key, NotCommitted, Stored, Write};

/// Attempts to find a free generated name.
const NAME_ATTEMPTS: usize = 8;

impl Api {
    pub(super) async fn create(
        &self,
        request: &ObjectRequest,
        headers: &HeaderMap,
        body: &[u8],
    ) -> Result<Answer, ApiError> {
        let resource = self.resource(request)?;
        let Shaped { mut value, warnings } = admit::parse(resource, request, headers, body)?;
        if !matches!(object::meta_str(&value, "resourceVersion"), "" | "0") {
            // The real server answers this with an unclassified 500.
            return Err(ApiError::new(
                StatusCode::INTERNAL_SERVER_ERROR,
                "",
                "resourceVersion should not be set on objects to be created",
            ));
        }
        set_namespace(request, &mut value)?;
        let generate = object::meta_str(&value, "generateName").to_owned();
        let generated = object::name(&value).is_empty() && !generate.is_empty();
        prepare_for_create(resource, &mut value);
        for attempt in 1..=NAME_ATTEMPTS {
            let mut candidate = value.clone();
            if generated {
                object::metadata_mut(&mut candidate).insert("name".into(), object::generate_name(&generate).into());
            }
            admit::validate(resource, &candidate, None)?;
            let key = Key::new(
                request.namespace.as_deref().unwrap_or_default(),
                object::name(&candidate),
            );
            if self.store.head(request.resource, &key).is_some() {
                if generated && attempt < NAME_ATTEMPTS {
                    continue;
                }
                return Err(ApiError::already_exists(resource, &key.name));
            }
            if is_dry_run(request) {
                return Ok(Answer {
                    code: StatusCode::CREATED,
                    warnings,
                    ..Answer::json(&candidate)
                });
            }
            match self
                .store
                .commit(request.resource, &key, None, Write::Put(candidate))
                .await
            {
                Ok(stored) => {
                    return Ok(Answer {
                        code: StatusCode::CREATED,
                        warnings,
                        ..Answer::object(&stored, headers)
                    });
                }
                Err(NotCommitted::Raced) if generated && attempt < NAME_ATTEMPTS => {}
                Err(NotCommitted::Raced) => return Err(ApiError::already_exists(resource, &key.name)),
                Err(NotCommitted::Refused(error)) => return Err(error),
            }
        }
        Err(ApiError::already_exists(resource, &generate))
    }

    pub(super) async fn replace(
        &self,
        request: &ObjectRequest,
        headers: &HeaderMap,
        body: &[u8],
    ) -> Result<Answer, ApiError> {
        let resource = self.resource(request)?;
        let Shaped { mut value, warnings } = admit::parse(resource, request, headers, body)?;
        let key = key(request);
        let named = object::name(&value);
        if named.is_empty() && request.subresource == Subresource::Main || !named.is_empty() && named != &*key.name {
            return Err(ApiError::bad_request(format!(
                "the name of the object ({named}) does not match the name on the URL ({})",
                key.name
            )));
        }
        set_namespace(request, &mut value)?;
        if object::meta_str(&value, "resourceVersion").is_empty() && !resource.unconditional_update {
            return Err(ApiError::invalid(
                resource,
                &key.name,
                vec![Cause {
                    reason: "FieldValueInvalid",
                    message: "Invalid value: 0: must be specified for an update".into(),
                    field: "metadata.resourceVersion".into(),
                }],
            ));
        }
        let stored = self.update(request, resource, &key, |_| Ok(value.clone())).await?;
        Ok(Answer {
            warnings,
            ..Answer::object(&stored, headers)
        })
    }

    /// Read, compute, compare, commit; again if somebody else was faster and the request allows it.
    pub(super) async fn update(
        &self,
        request: &ObjectRequest,
        resource: &Resource,
        key: &Key,
        wanted: impl Fn(&Value) -> Result<Value, ApiError>,
    ) -> Result<Arc<Stored>, ApiError> {
        loop {
            let current = self
                .store
                .head(request.resource, key)
                .ok_or_else(|| ApiError::not_found(resource, &key.name))?;
            let new = wanted(&current.value)?;
            check_preconditions(resource, key, &new, &current)?;
            let mut new = merge_with_current(resource, request.subresource, new, &current.value);
            if same_but_version(&new, &current.value) {
                // Nothing changed: the version stays. It may still be on its way to the disk.
                self.store.published(current.version).await?;
                return Ok(current);
            }
            bump_generation(resource, &mut new, &current.value);
            admit::validate(resource, &new, Some(&current.value))?;
            if is_dry_run(request) {
                object::set_version(&mut new, current.version);
                let raw = new.to_string().into();
                return Ok(Arc::new(Stored {
                    value: new,
                    raw,
                    version: current.version,
                }));
            }
            let finished = object::is_deleting(&new) && object::finalizers(&new).next().is_none();
            let write = if finished { Write::Delete(new) } else { Write::Put(new) };
            match self.store.commit(request.resource, key, Some(&current), write).await {
                Ok(stored) => return Ok(stored),
                Err(NotCommitted::Raced) => {}
                Err(NotCommitted::Refused(error)) => return Err(error),
            }
        }
    }
}

/// Takes the namespace from the path, or refuses a body of another one.
fn set_namespace(request: &ObjectRequest, value: &mut Value) -> Result<(), ApiError> {
    let namespace = request.namespace.as_deref().unwrap_or_default();
    let given = object::meta_str(value, "namespace");
    if !given.is_empty() && given != namespace {
        return Err(ApiError::bad_request(
            "the namespace of the provided object does not match the namespace sent on the request",
        ));
    }
    if !namespace.is_empty() {
        object::metadata_mut(value).insert("namespace".into(), namespace.into());
    }
    Ok(())
}

/// Sets what the server owns. Status of a kind with `/status` is not taken from a create.
fn prepare_for_create(resource: &Resource, value: &mut Value) {
    if resource.status
        && let Some(fields) = value.as_object_mut()
    {
        fields.shift_remove("status");
    }
    let metadata = object::metadata_mut(value);
    for field in [
        "resourceVersion",
        "deletionTimestamp",
        "deletionGracePeriodSeconds",
        "generation",
    ] {
        metadata.shift_remove(field);
    }
    metadata.insert("uid".into(), object::new_uid().into());
    metadata.insert("creationTimestamp".into(), object::now().into());
    if resource.generation {
        metadata.insert("generation".into(), 1.into());
    }
}

/// The version and the uid that a body names must be those of the object.
fn check_preconditions(resource: &Resource, key: &Key, new: &Value, current: &Stored) -> Result<(), ApiError> {
    let (uid, found) = (object::uid(new), object::uid(&current.value));
    if !uid.is_empty() && uid != found {
        return Err(ApiError::uid_precondition(resource, &key.name, uid, found));
    }
    let version = object::meta_str(new, "resourceVersion");
    if version.is_empty() {
        return Ok(());
    }
    let version: u64 = version.parse().map_err(|_| {
        ApiError::invalid(
            resource,
            &key.name,
            vec![Cause {
                reason: "FieldValueInvalid",
                message: format!("Invalid value: {version:?}: must be a number"),
                field: "metadata.resourceVersion".into(),
            }],
        )
    })?;
    if version == current.version {
        Ok(())
    } else {
        Err(ApiError::modified(resource, &key.name))
    }
}

/// What a write may not change is taken from the current object.
fn merge_with_current(resource: &Resource, subresource: Subresource, mut new: Value, current: &Value) -> Value {
    if subresource == Subresource::Status {
        let mut merged = current.clone();
        if let (Some(fields), Some(given)) = (merged.as_object_mut(), new.as_object_mut()) {
            match given.shift_remove("status") {
                Some(status) => fields.insert("status".into(), status),
                None => fields.shift_remove("status"),
            };
        }
        return merged;
    }
    if resource.status
        && let Some(fields) = new.as_object_mut()
    {
        match current.get("status") {
            Some(status) => fields.insert("status".into(), status.clone()),
            None => fields.shift_remove("status"),
        };
    }
    let kept = object::metadata(current);
    let metadata = object::metadata_mut(&mut new);
    for field in [
        "name",
        "namespace",
        "uid",
        "creationTimestamp",
        "generation",
        "deletionTimestamp",
        "deletionGracePeriodSeconds",
        "generateName",
    ] {
        match kept.and_then(|m| m.get(field)) {
            Some(value) => metadata.insert(field.into(), value.clone()),
            None => metadata.shift_remove(field),
        };
    }
    new
}

/// Equal in everything but `metadata.resourceVersion`.
fn same_but_version(a: &Value, b: &Value) -> bool {
    let (Some(a), Some(b)) = (a.as_object(), b.as_object()) else {
        return false;
    };
    let same_metadata = || match (
        a.get("metadata").and_then(Value::as_object),
        b.get("metadata").and_then(Value::as_object),
    ) {
        (Some(a), Some(b)) => {
            let others = |m: &serde_json::Map<String, Value>| m.keys().filter(|k| *k != "resourceVersion").count();
            others(a) == others(b)
                && a.iter()
                    .filter(|(k, _)| *k != "resourceVersion")
                    .all(|(k, v)| b.get(k) == Some(v))
        }
        _ => false,
    };
    a.len() == b.len()
        && a.iter().all(|(k, v)| {
            if k == "metadata" {
                same_metadata()
            } else {
                b.get(k) == Some(v)
            }
        })
}

/// The generation grows when anything but metadata (and status, where it has its own endpoint) changed.
fn bump_generation(resource: &Resource, new: &mut Value, current: &Value) {
    if !resource.generation {
        return;
    }
    let counts = |key: &str| key != "metadata" && !(resource.status && key == "status");
    let (Some(a), Some(b)) = (new.as_object(), current.as_object()) else {
        return;
    };
    let same = a.iter().filter(|(k, _)| counts(k)).all(|(k, v)| b.get(k) == Some(v))
        && b.keys().filter(|k| counts(k)).all(|k| a.contains_key(k));
    if !same {
        let generation = object::metadata(current)
            .and_then(|m| m.get("generation"))
            .and_then(Value::as_i64)
            .unwrap_or(0);
        object::metadata_mut(new).insert("generation".into(), (generation + 1).into());
    }
}
