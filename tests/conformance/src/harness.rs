//! What cases share: their kind, shorthands for requests, and checks that say what was seen.

use std::fmt::{Debug, Display};
use std::time::Duration;

use futures::StreamExt as _;
use http::Request;
use k8s_openapi::api::core::v1::ConfigMap;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::api::{ApiResource, DynamicObject, GroupVersionKind, PostParams, WatchEvent, WatchParams};
use kube::core::Status;
use kube::{Api, Client};
use serde_json::{Value, json};

/// Longest wait for something that must happen.
const PATIENCE: Duration = Duration::from_secs(20);

/// Why a case failed.
#[derive(Debug)]
pub struct Failure(String);

impl Failure {
    pub(crate) fn new(why: impl Into<String>) -> Self {
        Self(why.into())
    }
}

impl Display for Failure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Failure {}

impl From<kube::Error> for Failure {
    fn from(error: kube::Error) -> Self {
        Self(format!("unexpected refusal: {error}"))
    }
}

impl From<http::Error> for Failure {
    fn from(error: http::Error) -> Self {
        Self(error.to_string())
    }
}

/// Fails unless the two are equal.
#[expect(clippy::needless_pass_by_value, reason = "callers compare temporaries")]
pub(crate) fn same<T: PartialEq<U> + Debug, U: Debug>(what: &str, seen: T, wanted: U) -> Result<(), Failure> {
    if seen == wanted {
        Ok(())
    } else {
        Err(Failure(format!("{what}: saw {seen:?}, wanted {wanted:?}")))
    }
}

/// Fails unless `holds`.
pub(crate) fn check(what: &str, holds: bool) -> Result<(), Failure> {
    if holds { Ok(()) } else { Err(Failure(what.to_owned())) }
}

/// The refusal, or a failure if there was none.
pub(crate) fn refused<T: Debug>(result: Result<T, kube::Error>) -> Result<Box<Status>, Failure> {
    match result {
        Err(kube::Error::Api(status)) => Ok(status),
        other => Err(Failure(format!("wanted a refusal, saw {other:?}"))),
    }
}

/// Fails unless one of the causes is this one; its message may go on.
pub(crate) fn cause(status: &Status, reason: &str, field: &str, message: &str) -> Result<(), Failure> {
    let causes = status.details.as_ref().map(|d| d.causes.as_slice()).unwrap_or_default();
    let found = causes
        .iter()
        .any(|c| c.reason == reason && c.field == field && c.message.starts_with(message));
    check(&format!("{causes:?} has {reason} at {field}: {message}"), found)
}

/// The definition that cases need: `things.conformance.braid.dev`.
///
/// # Panics
/// Never: the literal is a definition.
#[must_use]
#[expect(clippy::expect_used, reason = "a literal, built by every run")]
pub fn definition() -> CustomResourceDefinition {
    let keyed = json!({
        "type": "array", "maxItems": 8, "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["id"],
        "items": {
            "type": "object", "required": ["id"],
            "properties": {"id": {"type": "integer"}, "cursor": {"type": "integer"}, "mode": {"type": "string", "default": "Normal", "maxLength": 16}},
            "x-kubernetes-validations": [{"rule": "self.cursor >= oldSelf.cursor", "message": "a cursor never falls"}],
        },
    });
    let schema = json!({
        "type": "object",
        "x-kubernetes-validations": [{
            "rule": "!has(self.status) || !has(self.status.count) || !has(self.spec.size) || self.status.count <= self.spec.size",
            "messageExpression": "'count is above the size of ' + (has(self.spec.title) ? self.spec.title : 'this')",
            "reason": "FieldValueForbidden", "fieldPath": ".status.count",
        }],
        "properties": {
            "spec": {"type": "object", "properties": {
                "size": {"type": "integer", "format": "int32", "minimum": 0, "maximum": 100},
                "color": {"type": "string", "enum": ["Red", "Blue"]},
                "title": {"type": "string", "maxLength": 8, "pattern": "^[a-z]*$"},
                "owner": {"type": "string", "maxLength": 32, "x-kubernetes-validations": [{"rule": "self == oldSelf", "message": "owner is immutable"}]},
                "nested": {"type": "object", "default": {}, "properties": {
                    "level": {"type": "integer", "default": 3}, "must": {"type": "string", "default": "there"},
                }},
                "port": {"x-kubernetes-int-or-string": true},
                "free": {"type": "object", "x-kubernetes-preserve-unknown-fields": true},
                "names": {"type": "array", "maxItems": 4, "x-kubernetes-list-type": "set", "items": {"type": "string"}},
                "parts": keyed,
                "labels": {"type": "object", "additionalProperties": {"type": "string", "maxLength": 4}},
                "when": {"type": "string", "format": "date-time"},
                "maybe": {"type": "string", "nullable": true},
                "choice": {"type": "object", "properties": {"a": {"type": "string"}, "b": {"type": "string"}},
                    "oneOf": [{"required": ["a"]}, {"required": ["b"]}]},
            }},
            "status": {"type": "object", "properties": {
                "count": {"type": "integer", "x-kubernetes-validations": [{"rule": "self >= oldSelf", "message": "count never falls"}]},
                "parts": keyed,
                "note": {"type": "string"},
            }},
        },
    });
    serde_json::from_value(json!({
        "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": {"name": "things.conformance.braid.dev"},
        "spec": {
            "group": "conformance.braid.dev", "scope": "Namespaced",
            "names": {"plural": "things", "singular": "thing", "kind": "Thing", "listKind": "ThingList"},
            "versions": [{"name": "v1", "served": true, "storage": true, "subresources": {
                    "status": {}, "scale": {"specReplicasPath": ".spec.size", "statusReplicasPath": ".status.count"},
                },
                "schema": {"openAPIV3Schema": schema}}],
        },
    }))
    .expect("a definition")
}

/// What a case works with.
#[derive(Clone)]
pub struct Context {
    /// The server under test.
    pub client: Client,
    /// A namespace for this case alone. It must exist where namespaces are checked.
    pub namespace: String,
}

impl Context {
    pub(crate) fn resource() -> ApiResource {
        ApiResource::from_gvk_with_plural(&GroupVersionKind::gvk("conformance.braid.dev", "v1", "Thing"), "things")
    }

    /// The things of this case's namespace.
    pub(crate) fn things(&self) -> Api<DynamicObject> {
        Api::namespaced_with(self.client.clone(), &self.namespace, &Self::resource())
    }

    pub(crate) fn config_maps(&self) -> Api<ConfigMap> {
        Api::namespaced(self.client.clone(), &self.namespace)
    }

    /// A thing, not created.
    #[expect(clippy::unused_self, reason = "reads as the other shorthands")]
    pub(crate) fn thing(&self, name: &str, spec: &Value) -> DynamicObject {
        let mut thing = DynamicObject::new(name, &Self::resource());
        thing.data = json!({"spec": spec});
        thing
    }

    pub(crate) async fn create(&self, name: &str, spec: &Value) -> Result<DynamicObject, Failure> {
        Ok(self
            .things()
            .create(&PostParams::default(), &self.thing(name, spec))
            .await?)
    }

    /// A refusal of a thing with this spec.
    pub(crate) async fn create_refused(&self, spec: &Value) -> Result<Box<Status>, Failure> {
        refused(
            self.things()
                .create(&PostParams::default(), &self.thing("refused", spec))
                .await,
        )
    }

    pub(crate) async fn replace(&self, thing: &DynamicObject) -> Result<DynamicObject, kube::Error> {
        let name = thing.metadata.name.clone().unwrap_or_default();
        self.things().replace(&name, &PostParams::default(), thing).await
    }

    pub(crate) async fn replace_status(&self, thing: &DynamicObject) -> Result<DynamicObject, kube::Error> {
        let name = thing.metadata.name.clone().unwrap_or_default();
        self.things().replace_status(&name, &PostParams::default(), thing).await
    }

    /// Sets status and returns the answer.
    pub(crate) async fn set_status(
        &self,
        mut thing: DynamicObject,
        status: &Value,
    ) -> Result<DynamicObject, kube::Error> {
        set(&mut thing, "status", status.clone());
        self.replace_status(&thing).await
    }

    /// Sends a body as it is; `path` follows the namespace.
    pub(crate) async fn raw(&self, method: &str, path: &str, media: &str, body: &[u8]) -> Result<Value, kube::Error> {
        let uri = format!("/apis/conformance.braid.dev/v1/namespaces/{}/{path}", self.namespace);
        let request = Request::builder()
            .method(method)
            .uri(uri)
            .header("content-type", media)
            .body(body.to_vec());
        self.client.request(request.map_err(kube::Error::HttpError)?).await
    }

    /// Watches things from a version.
    pub(crate) async fn watch(&self, params: &WatchParams, version: &str) -> Result<Events, Failure> {
        let stream = self.things().watch(params, version).await?;
        Ok(Events { stream: stream.boxed() })
    }

    /// Waits until `done` says so.
    pub(crate) async fn eventually<F: Future<Output = Result<bool, Failure>>>(
        &self,
        what: &str,
        done: impl Fn() -> F,
    ) -> Result<(), Failure> {
        let deadline = tokio::time::Instant::now() + PATIENCE;
        while tokio::time::Instant::now() < deadline {
            if done().await? {
                return Ok(());
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        Err(Failure(format!("did not happen: {what}")))
    }
}

/// An open watch.
pub(crate) struct Events {
    stream: futures::stream::BoxStream<'static, Result<WatchEvent<DynamicObject>, kube::Error>>,
}

impl Events {
    /// The next event; a failure if none comes.
    pub(crate) async fn next(&mut self) -> Result<WatchEvent<DynamicObject>, Failure> {
        match tokio::time::timeout(PATIENCE, self.stream.next()).await {
            Ok(Some(event)) => Ok(event?),
            Ok(None) => Err(Failure::new("the watch ended")),
            Err(_) => Err(Failure::new("no event came")),
        }
    }

    /// The next event as `TYPE name`, bookmarks left out.
    pub(crate) async fn told(&mut self) -> Result<String, Failure> {
        loop {
            let (kind, object) = match self.next().await? {
                WatchEvent::Added(object) => ("ADDED", object),
                WatchEvent::Modified(object) => ("MODIFIED", object),
                WatchEvent::Deleted(object) => ("DELETED", object),
                WatchEvent::Bookmark(_) => continue,
                WatchEvent::Error(status) => return Ok(format!("ERROR {}", status.code)),
            };
            return Ok(format!("{kind} {}", object.metadata.name.unwrap_or_default()));
        }
    }

    /// True if the stream ends.
    pub(crate) async fn ends(&mut self) -> Result<bool, Failure> {
        loop {
            match tokio::time::timeout(PATIENCE, self.stream.next()).await {
                Ok(None) => return Ok(true),
                Ok(Some(Ok(WatchEvent::Bookmark(_)))) => {}
                Ok(Some(_)) => return Ok(false),
                Err(_) => return Err(Failure::new("the watch neither told anything nor ended")),
            }
        }
    }
}

pub(crate) fn version(object: &DynamicObject) -> String {
    object.metadata.resource_version.clone().unwrap_or_default()
}

/// A field of the object's data by JSON pointer; null if absent.
pub(crate) fn at(object: &DynamicObject, pointer: &str) -> Value {
    object.data.pointer(pointer).cloned().unwrap_or_default()
}

/// Sets a top-level field.
pub(crate) fn set(object: &mut DynamicObject, field: &str, value: Value) {
    if let Some(fields) = object.data.as_object_mut() {
        fields.insert(field.to_owned(), value);
    }
}

/// Sets a field of spec.
pub(crate) fn set_spec(object: &mut DynamicObject, field: &str, value: Value) {
    if let Some(spec) = object.data.pointer_mut("/spec").and_then(Value::as_object_mut) {
        spec.insert(field.to_owned(), value);
    }
}
