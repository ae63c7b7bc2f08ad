//! get and list.

use http::HeaderMap;
use serde_json::{Value, json};

use super::{Answer, Api, key};
use crate::route::ObjectRequest;
use crate::selectors::{FieldSelector, LabelSelector};
use crate::status::ApiError;
use crate::store::Interest;

impl Api {
    pub(super) async fn get(&self, request: &ObjectRequest, headers: &HeaderMap) -> Result<Answer, ApiError> {
        let resource = self.resource(request)?;
        let key = key(request);
        let found = self.store.get(request.resource, &key).await?;
        let object = found.ok_or_else(|| ApiError::not_found(resource, &key.name))?;
        Ok(Answer::object(&object, headers))
    }

    /// Lists are whole: `limit` may be ignored, and then there is no `continue`.
    pub(super) async fn list(&self, request: &ObjectRequest, headers: &HeaderMap) -> Result<Answer, ApiError> {
        let resource = self.resource(request)?;
        let query = &request.query;
        if query.get("continue").is_some() {
            return Err(ApiError::bad_request(
                "continue key is not valid: lists of this server are never cut",
            ));
        }
        let version = parse_version(query.get("resourceVersion"))?;
        let matching = query.get("resourceVersionMatch");
        if matching.is_some() && version.is_none() {
            return Err(ApiError::bad_request(
                "resourceVersionMatch is forbidden unless resourceVersion is provided",
            ));
        }
        let fresh = version != Some(0);
        let interest = interest(request)?;
        let (at, objects) = self.store.list(request.resource, &interest, fresh).await;
        match version {
            Some(wanted) if wanted > at => {
                return Err(ApiError::new(
                    http::StatusCode::GATEWAY_TIMEOUT,
                    "Timeout",
                    format!("Too large resource version: {wanted}, current: {at}"),
                ));
            }
            Some(wanted) if matching == Some("Exact") && wanted != at => return Err(ApiError::expired(wanted, at)),
            _ => {}
        }
        if wants_metadata(headers) {
            let items: Vec<Value> = objects.iter().map(|o| partial(&o.value)).collect();
            return Ok(Answer::json(&json!({
                "kind": "PartialObjectMetadataList", "apiVersion": "meta.k8s.io/v1",
                "metadata": {"resourceVersion": at.to_string()}, "items": items,
            })));
        }
        let size: usize = objects.iter().map(|o| o.raw.len() + 1).sum();
        let mut body = Vec::with_capacity(size + 256);
        body.extend_from_slice(
            format!(
                r#"{{"kind":"{}","apiVersion":"{}","metadata":{{"resourceVersion":"{at}"}},"items":["#,
                resource.list_kind,
                resource.api_version()
            )
            .as_bytes(),
        );
        for (index, object) in objects.iter().enumerate() {
            if index > 0 {
                body.push(b',');
            }
            body.extend_from_slice(&object.raw);
        }
        body.extend_from_slice(b"]}");
        Ok(Answer::ok(body))
    }
}

/// The objects that a list, a watch or a deletecollection selects.
pub(crate) fn interest(request: &ObjectRequest) -> Result<Interest, ApiError> {
    let fields = FieldSelector::parse(request.query.get("fieldSelector").unwrap_or_default())?;
    let labels = LabelSelector::parse(request.query.get("labelSelector").unwrap_or_default())?;
    let namespace = match (request.namespace.as_deref(), fields.namespace.as_deref()) {
        (Some(path), Some(field)) if path != field => {
            // Nothing is in two namespaces; no object has this name.
            return Ok(Interest {
                namespace: Some("".into()),
                name: Some("".into()),
                labels,
            });
        }
        (path, field) => path.or(field),
    };
    Ok(Interest {
        namespace: namespace.map(Into::into),
        name: fields.name.map(Into::into),
        labels,
    })
}

/// `resourceVersion` of a read: absent, 0 (any), or a number.
pub(crate) fn parse_version(text: Option<&str>) -> Result<Option<u64>, ApiError> {
    text.map(|t| {
        t.parse()
            .map_err(|_| ApiError::bad_request(format!("invalid resource version: {t:?}")))
    })
    .transpose()
}

/// Does the client ask for metadata only?
pub(crate) fn wants_metadata(headers: &HeaderMap) -> bool {
    headers
        .get(http::header::ACCEPT)
        .and_then(|a| a.to_str().ok())
        .is_some_and(|a| a.contains("as=PartialObjectMetadata"))
}

/// The metadata of an object as a `PartialObjectMetadata`.
pub(crate) fn partial(object: &Value) -> Value {
    let metadata = object.get("metadata").cloned().unwrap_or_default();
    json!({"kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1", "metadata": metadata})
}
