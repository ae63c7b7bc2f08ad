//! delete and deletecollection: preconditions, finalizers, propagation.

use http::HeaderMap;
use serde_json::{Value, json};

use super::{Answer, Api, admit, is_dry_run, key, read};
use crate::object;
use crate::resource::{Resource, ResourceId};
use crate::route::ObjectRequest;
use crate::status::ApiError;
use crate::store::{Key, NotCommitted, Store, Write};

/// `propagationPolicy`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Propagation {
    /// The object goes at once, its dependents after it.
    Background,
    /// Dependents that block go first.
    Foreground,
    /// Dependents stay and lose their reference.
    Orphan,
}

/// The options of a deletion.
#[derive(Clone, Debug)]
struct Options {
    uid: Option<String>,
    version: Option<String>,
    propagation: Propagation,
    dry_run: bool,
}

impl Options {
    fn parse(request: &ObjectRequest, body: &[u8]) -> Result<Self, ApiError> {
        let body = if body.is_empty() {
            Value::Null
        } else {
            admit::parse_json(body)?
        };
        let text = |value: Option<&Value>| {
            value
                .and_then(Value::as_str)
                .filter(|t| !t.is_empty())
                .map(ToOwned::to_owned)
        };
        let preconditions = body.get("preconditions");
        let policy =
            text(body.get("propagationPolicy")).or_else(|| request.query.get("propagationPolicy").map(Into::into));
        let propagation = match policy.as_deref() {
            None | Some("Background") => Propagation::Background,
            Some("Foreground") => Propagation::Foreground,
            Some("Orphan") => Propagation::Orphan,
            Some(other) => {
                return Err(ApiError::bad_request(format!(
                    "propagationPolicy: Unsupported value: {other:?}: supported values: \"Foreground\", \"Background\", \
                     \"Orphan\""
                )));
            }
        };
        Ok(Self {
            uid: text(preconditions.and_then(|p| p.get("uid"))),
            version: text(preconditions.and_then(|p| p.get("resourceVersion"))),
            propagation,
            dry_run: is_dry_run(request)
                || body
                    .get("dryRun")
                    .is_some_and(|d| d.as_array().is_some_and(|a| !a.is_empty())),
        })
    }
}

/// What became of the object.
pub(crate) enum Deleted {
    /// It is gone; its last state.
    Gone(Value),
    /// It waits for its finalizers; its present state.
    Finalizing(Value),
}

impl Api {
    pub(super) async fn delete(
        &self,
        request: &ObjectRequest,
        headers: &HeaderMap,
        body: &[u8],
    ) -> Result<Answer, ApiError> {
        let resource = self.resource(request)?;
        let options = Options::parse(request, body)?;
        let deleted = delete(&self.store, resource, request.resource, &key(request), &options).await?;
        Ok(match deleted {
            Deleted::Finalizing(object) if read::wants_metadata(headers) => Answer::json(&read::partial(&object)),
            Deleted::Finalizing(object) => Answer::json(&object),
            Deleted::Gone(object) => Answer::json(&json!({
                "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success",
                "details": {
                    "name": object::name(&object), "group": resource.group, "kind": resource.plural,
                    "uid": object::uid(&object),
                },
            })),
        })
    }

    pub(super) async fn delete_collection(&self, request: &ObjectRequest, body: &[u8]) -> Result<Answer, ApiError> {
        let resource = self.resource(request)?;
        let options = Options::parse(request, body)?;
        let (version, objects) = self.store.list(request.resource, &read::interest(request)?, true).await;
        let mut items = Vec::with_capacity(objects.len());
        for object in objects {
            let key = Key::new(
                object::meta_str(&object.value, "namespace"),
                object::name(&object.value),
            );
            // The list selected this object, not another of its name.
            let options = Options {
                uid: Some(object::uid(&object.value).to_owned()),
                ..options.clone()
            };
            match delete(&self.store, resource, request.resource, &key, &options).await {
                Ok(Deleted::Gone(value) | Deleted::Finalizing(value)) => items.push(value),
                // Somebody else deleted it.
                Err(error) if matches!(error.code().as_u16(), 404 | 409) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(Answer::json(&json!({
            "kind": resource.list_kind, "apiVersion": resource.api_version(),
            "metadata": {"resourceVersion": version.to_string()}, "items": items,
        })))
    }
}

/// Deletes for the garbage collector: this uid, and only as it was looked at.
pub(crate) async fn delete_object(
    store: &Store,
    resource: &Resource,
    id: ResourceId,
    key: &Key,
    seen: (&str, u64),
    propagation: Propagation,
) -> Result<Deleted, ApiError> {
    let (uid, version) = seen;
    let options = Options {
        uid: Some(uid.to_owned()),
        version: Some(version.to_string()),
        propagation,
        dry_run: false,
    };
    delete(store, resource, id, key, &options).await
}

async fn delete(
    store: &Store,
    resource: &Resource,
    id: ResourceId,
    key: &Key,
    options: &Options,
) -> Result<Deleted, ApiError> {
    loop {
        let current = store
            .head(id, key)
            .ok_or_else(|| ApiError::not_found(resource, &key.name))?;
        let found = object::uid(&current.value);
        if let Some(wanted) = options.uid.as_deref().filter(|wanted| *wanted != found) {
            return Err(ApiError::uid_precondition(resource, &key.name, wanted, found));
        }
        if let Some(wanted) = options
            .version
            .as_deref()
            .filter(|wanted| *wanted != current.version.to_string())
        {
            return Err(ApiError::version_precondition(
                resource,
                &key.name,
                wanted,
                &current.version.to_string(),
            ));
        }
        let mut value = current.value.clone();
        set_collector_finalizer(&mut value, options.propagation);
        let finalizing = object::finalizers(&value).next().is_some();
        if options.dry_run {
            return Ok(if finalizing {
                Deleted::Finalizing(value)
            } else {
                Deleted::Gone(value)
            });
        }
        if finalizing {
            if !object::is_deleting(&value) {
                mark_deleting(&mut value);
            } else if value == current.value {
                store.published(current.version).await?;
                return Ok(Deleted::Finalizing(value));
            }
        }
        let write = if finalizing {
            Write::Put(value)
        } else {
            Write::Delete(value)
        };
        match store.commit(id, key, Some(&current), write).await {
            Ok(stored) if finalizing => return Ok(Deleted::Finalizing(stored.value.clone())),
            Ok(stored) => return Ok(Deleted::Gone(stored.value.clone())),
            Err(NotCommitted::Raced) => {}
            Err(NotCommitted::Refused(error)) => return Err(error),
        }
    }
}

/// Foreground and orphaning deletions are finalizers that the garbage collector serves.
fn set_collector_finalizer(value: &mut Value, propagation: Propagation) {
    let wanted = match propagation {
        Propagation::Background => None,
        Propagation::Foreground => Some(object::FOREGROUND),
        Propagation::Orphan => Some(object::ORPHAN),
    };
    let Some(wanted) = wanted else { return };
    let mut finalizers: Vec<Value> = object::finalizers(value).map(Value::from).collect();
    if !finalizers.iter().any(|f| f == wanted) {
        finalizers.push(wanted.into());
        object::metadata_mut(value).insert("finalizers".into(), Value::Array(finalizers));
    }
}

/// A deletion is a change of what the object should be: its generation grows.
fn mark_deleting(value: &mut Value) {
    let metadata = object::metadata_mut(value);
    metadata.insert("deletionTimestamp".into(), object::now().into());
    metadata.insert("deletionGracePeriodSeconds".into(), 0.into());
    if let Some(generation) = metadata.get("generation").and_then(Value::as_i64) {
        metadata.insert("generation".into(), (generation + 1).into());
    }
}
