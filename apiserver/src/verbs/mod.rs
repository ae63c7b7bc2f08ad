//! What each verb does. Everything here ends in at most one commit to the store per object.

mod admit;
mod delete;
mod patch;
mod read;
mod write;

use std::sync::Arc;

use bytes::Bytes;
use http::HeaderMap;
use serde_json::Value;

pub(crate) use self::admit::{RULES_UNCHECKED, causes};
pub(crate) use self::delete::{Propagation, delete_object};
pub(crate) use self::read::{interest, parse_version, partial, wants_metadata};
use crate::resource::{Registry, Resource};
use crate::route::{ObjectRequest, Verb};
use crate::status::ApiError;
use crate::store::{Key, Store, Stored};

/// Bodies larger than this are refused before they are parsed, as by the real server.
pub(crate) const MAX_BODY_BYTES: usize = 3 * 1024 * 1024;

/// What a verb works with.
pub(crate) struct Api {
    pub(crate) registry: Registry,
    pub(crate) store: Arc<Store>,
}

/// A successful answer, except for watches.
pub(crate) struct Answer {
    pub(crate) code: http::StatusCode,
    pub(crate) body: Bytes,
    /// `Warning` headers: what was ignored.
    pub(crate) warnings: Vec<String>,
}

impl Answer {
    fn ok(body: impl Into<Bytes>) -> Self {
        Self {
            code: http::StatusCode::OK,
            body: body.into(),
            warnings: Vec::new(),
        }
    }

    fn json(value: &Value) -> Self {
        Self::ok(value.to_string())
    }

    fn object(object: &Stored, headers: &HeaderMap) -> Self {
        if read::wants_metadata(headers) {
            Self::json(&read::partial(&object.value))
        } else {
            Self::ok(object.raw.clone())
        }
    }
}

impl Api {
    /// The kind that a request is about.
    pub(crate) fn resource(&self, request: &ObjectRequest) -> Result<&Resource, ApiError> {
        self.registry.get(request.resource).ok_or_else(ApiError::no_such_path)
    }

    /// Runs any verb but watch.
    pub(crate) async fn run(
        &self,
        request: &ObjectRequest,
        headers: &HeaderMap,
        body: &[u8],
    ) -> Result<Answer, ApiError> {
        match request.verb {
            Verb::Get => self.get(request, headers).await,
            Verb::List | Verb::Watch => self.list(request, headers).await,
            Verb::Create => self.create(request, headers, body).await,
            Verb::Update => self.replace(request, headers, body).await,
            Verb::Patch => self.patch(request, headers, body).await,
            Verb::Delete => self.delete(request, headers, body).await,
            Verb::DeleteCollection => self.delete_collection(request, body).await,
        }
    }
}

/// The key of the object that a request names.
fn key(request: &ObjectRequest) -> Key {
    Key::new(
        request.namespace.as_deref().unwrap_or_default(),
        request.name.as_deref().unwrap_or_default(),
    )
}

fn is_dry_run(request: &ObjectRequest) -> bool {
    request.query.get("dryRun").is_some()
}
