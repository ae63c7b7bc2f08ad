//! Refusals as Kubernetes words them: `metav1.Status` bodies that `kube::Error::Api` understands.
//!
//! Every constructor gives the HTTP code, the machine-readable `reason` and the message of the real server, because
//! clients branch on the reason (`is_conflict`, `is_already_exists`, ...) and people read the message.

use http::StatusCode;
use serde_json::{Map, Value, json};

use crate::resource::Resource;

/// One entry of `details.causes`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Cause {
    /// `FieldValueInvalid`, `FieldValueRequired`, ...
    pub(crate) reason: &'static str,
    /// The message without the field.
    pub(crate) message: String,
    /// Path of the field, as `spec.shards[0].id`.
    pub(crate) field: String,
}

/// A refused request.
#[derive(Clone, Debug)]
pub(crate) struct ApiError(Box<Inner>);

#[derive(Clone, Debug)]
struct Inner {
    code: StatusCode,
    reason: &'static str,
    message: String,
    name: String,
    group: String,
    kind: String,
    causes: Vec<Cause>,
    retry_after_seconds: u32,
}

impl ApiError {
    pub(crate) fn new(code: StatusCode, reason: &'static str, message: impl Into<String>) -> Self {
        Self(Box::new(Inner {
            code,
            reason,
            message: message.into(),
            name: String::new(),
            group: String::new(),
            kind: String::new(),
            causes: Vec::new(),
            retry_after_seconds: 0,
        }))
    }

    /// Names the object; `kind` is the plural for most reasons, the kind for `Invalid`, as in the real server.
    fn of(mut self, resource: &Resource, kind: &str, name: &str) -> Self {
        name.clone_into(&mut self.0.name);
        kind.clone_into(&mut self.0.kind);
        resource.group.clone_into(&mut self.0.group);
        self
    }

    pub(crate) fn code(&self) -> StatusCode {
        self.0.code
    }

    pub(crate) fn retry_after(&self) -> Option<u32> {
        (self.0.retry_after_seconds > 0).then_some(self.0.retry_after_seconds)
    }

    pub(crate) fn bad_request(message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "BadRequest", message)
    }

    pub(crate) fn not_found(resource: &Resource, name: &str) -> Self {
        let message = format!("{} \"{name}\" not found", resource.qualified());
        Self::new(StatusCode::NOT_FOUND, "NotFound", message).of(resource, &resource.plural, name)
    }

    pub(crate) fn no_such_path() -> Self {
        Self::new(
            StatusCode::NOT_FOUND,
            "NotFound",
            "the server could not find the requested resource",
        )
    }

    pub(crate) fn already_exists(resource: &Resource, name: &str) -> Self {
        let message = format!("{} \"{name}\" already exists", resource.qualified());
        Self::new(StatusCode::CONFLICT, "AlreadyExists", message).of(resource, &resource.plural, name)
    }

    pub(crate) fn conflict(resource: &Resource, name: &str, why: &str) -> Self {
        let message = format!(
            "Operation cannot be fulfilled on {} \"{name}\": {why}",
            resource.qualified()
        );
        Self::new(StatusCode::CONFLICT, "Conflict", message).of(resource, &resource.plural, name)
    }

    pub(crate) fn modified(resource: &Resource, name: &str) -> Self {
        let why = "the object has been modified; please apply your changes to the latest version and try again";
        Self::conflict(resource, name, why)
    }

    pub(crate) fn uid_precondition(resource: &Resource, name: &str, wanted: &str, found: &str) -> Self {
        let why = format!("Precondition failed: UID in precondition: {wanted}, UID in object meta: {found}");
        Self::conflict(resource, name, &why)
    }

    pub(crate) fn version_precondition(resource: &Resource, name: &str, wanted: &str, found: &str) -> Self {
        let why = format!(
            "Precondition failed: ResourceVersion in precondition: {wanted}, ResourceVersion in object meta: {found}"
        );
        Self::conflict(resource, name, &why)
    }

    /// A 422 whose message is made of the causes.
    pub(crate) fn invalid(resource: &Resource, name: &str, causes: Vec<Cause>) -> Self {
        let told: Vec<String> = causes.iter().map(|c| format!("{}: {}", c.field, c.message)).collect();
        let list = match told.as_slice() {
            [one] => one.clone(),
            many => format!("[{}]", many.join(", ")),
        };
        let kind = if resource.group.is_empty() {
            resource.kind.clone()
        } else {
            format!("{}.{}", resource.kind, resource.group)
        };
        let message = format!("{kind} \"{name}\" is invalid: {list}");
        let mut error =
            Self::new(StatusCode::UNPROCESSABLE_ENTITY, "Invalid", message).of(resource, &resource.kind, name);
        error.0.causes = causes;
        error
    }

    pub(crate) fn method_not_allowed() -> Self {
        Self::new(
            StatusCode::METHOD_NOT_ALLOWED,
            "MethodNotAllowed",
            "the server does not allow this method on the requested resource",
        )
    }

    pub(crate) fn unsupported_media_type(what: &str, accepted: &str) -> Self {
        Self::new(
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            "UnsupportedMediaType",
            format!(
                "the body of the request was in an unknown format - {what}; accepted media types include: {accepted}"
            ),
        )
    }

    pub(crate) fn too_large(bytes: usize, limit: usize) -> Self {
        Self::new(
            StatusCode::PAYLOAD_TOO_LARGE,
            "RequestEntityTooLarge",
            format!("Request entity too large: request is too large: {bytes} bytes, the limit is {limit}"),
        )
    }

    pub(crate) fn expired(wanted: u64, oldest: u64) -> Self {
        Self::new(
            StatusCode::GONE,
            "Expired",
            format!("too old resource version: {wanted} ({oldest})"),
        )
    }

    pub(crate) fn internal(message: impl Into<String>) -> Self {
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, "InternalError", message)
    }

    pub(crate) fn unavailable(message: impl Into<String>) -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "ServiceUnavailable", message)
    }

    pub(crate) fn too_many_requests(retry_after_seconds: u32) -> Self {
        let mut error = Self::new(
            StatusCode::TOO_MANY_REQUESTS,
            "TooManyRequests",
            "Too many requests, please try again later.",
        );
        error.0.retry_after_seconds = retry_after_seconds;
        error
    }

    /// The body.
    pub(crate) fn to_json(&self) -> Value {
        let inner = &self.0;
        let mut status = json!({
            "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
            "message": inner.message, "reason": inner.reason,
        });
        let mut details = Map::new();
        let named = [("name", &inner.name), ("group", &inner.group), ("kind", &inner.kind)];
        for (key, value) in named {
            if !value.is_empty() {
                details.insert(key.into(), Value::String(value.clone()));
            }
        }
        if !inner.causes.is_empty() {
            let causes: Vec<Value> = inner
                .causes
                .iter()
                .map(|c| json!({"reason": c.reason, "message": c.message, "field": c.field}))
                .collect();
            details.insert("causes".into(), Value::Array(causes));
        }
        if inner.retry_after_seconds > 0 {
            details.insert("retryAfterSeconds".into(), inner.retry_after_seconds.into());
        }
        if let Some(object) = status.as_object_mut() {
            if !details.is_empty() {
                object.insert("details".into(), Value::Object(details));
            }
            object.insert("code".into(), inner.code.as_u16().into());
        }
        status
    }
}

impl std::fmt::Display for ApiError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0.message)
    }
}
