//! From an HTTP request line to what is asked of which kind.

use std::collections::HashMap;

use http::{Method, Uri};
use percent_encoding::percent_decode_str;

use crate::resource::{Registry, ResourceId};
use crate::status::ApiError;

/// What a request does, in the words of Kubernetes' authorization.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Verb {
    /// One object.
    Get,
    /// All objects of a kind, in one namespace or in all.
    List,
    /// A stream of changes.
    Watch,
    /// POST.
    Create,
    /// PUT, of the object or of its status.
    Update,
    /// PATCH, of the object or of its status.
    Patch,
    /// DELETE of one object.
    Delete,
    /// DELETE of a selection.
    DeleteCollection,
}

impl Verb {
    /// Lower-case name, as in RBAC rules.
    pub fn name(self) -> &'static str {
        match self {
            Self::Get => "get",
            Self::List => "list",
            Self::Watch => "watch",
            Self::Create => "create",
            Self::Update => "update",
            Self::Patch => "patch",
            Self::Delete => "delete",
            Self::DeleteCollection => "deletecollection",
        }
    }

    /// Does it change anything?
    pub fn is_write(self) -> bool {
        !matches!(self, Self::Get | Self::List | Self::Watch)
    }
}

/// Which part of an object is addressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Subresource {
    /// The object itself.
    Main,
    /// `/status`.
    Status,
}

impl Subresource {
    /// Empty for the object itself.
    pub fn name(self) -> &'static str {
        match self {
            Self::Main => "",
            Self::Status => "status",
        }
    }
}

/// The query of a request.
#[derive(Debug, Default)]
pub(crate) struct Query(HashMap<String, String>);

impl Query {
    fn parse(uri: &Uri) -> Self {
        Self(
            form_urlencoded::parse(uri.query().unwrap_or_default().as_bytes())
                .into_owned()
                .collect(),
        )
    }

    /// A parameter that is there and not empty.
    pub(crate) fn get(&self, key: &str) -> Option<&str> {
        self.0.get(key).map(String::as_str).filter(|v| !v.is_empty())
    }

    pub(crate) fn flag(&self, key: &str) -> bool {
        matches!(self.get(key), Some("true" | "1"))
    }
}

/// A request for objects.
#[derive(Debug)]
pub(crate) struct ObjectRequest {
    pub(crate) verb: Verb,
    pub(crate) resource: ResourceId,
    pub(crate) subresource: Subresource,
    /// `None`: all namespaces, or a cluster-scoped kind.
    pub(crate) namespace: Option<String>,
    pub(crate) name: Option<String>,
    pub(crate) query: Query,
}

/// Where a request goes.
#[derive(Debug)]
pub(crate) enum Route {
    Object(ObjectRequest),
    /// Anything about the server itself: the path's segments.
    Discovery(Vec<String>),
}

/// Parses a request line.
pub(crate) fn route(registry: &Registry, method: &Method, uri: &Uri) -> Result<Route, ApiError> {
    let segments: Vec<String> = uri
        .path()
        .split('/')
        .filter(|s| !s.is_empty())
        .map(|s| percent_decode_str(s).decode_utf8().map(std::borrow::Cow::into_owned))
        .collect::<Result<_, _>>()
        .map_err(|_| ApiError::bad_request("the path is not UTF-8"))?;
    let parts: Vec<&str> = segments.iter().map(String::as_str).collect();
    let (group, version, rest) = match parts.as_slice() {
        ["api", version, rest @ ..] if !rest.is_empty() => ("", *version, rest),
        ["apis", group, version, rest @ ..] if !rest.is_empty() && *group != "apiextensions.k8s.io" => {
            (*group, *version, rest)
        }
        _ if method == Method::GET => return Ok(Route::Discovery(segments)),
        _ => return Err(ApiError::method_not_allowed()),
    };
    let (namespace, rest) = match rest {
        ["namespaces", namespace, rest @ ..] if !rest.is_empty() => (Some(*namespace), rest),
        rest => (None, rest),
    };
    let (plural, name, subresource) = match rest {
        [plural] => (*plural, None, Subresource::Main),
        [plural, name] => (*plural, Some(*name), Subresource::Main),
        [plural, name, "status"] => (*plural, Some(*name), Subresource::Status),
        _ => return Err(ApiError::no_such_path()),
    };
    let id = registry
        .by_path(group, version, plural)
        .ok_or_else(ApiError::no_such_path)?;
    let resource = registry.get(id).ok_or_else(ApiError::no_such_path)?;
    if subresource == Subresource::Status && !resource.status {
        return Err(ApiError::no_such_path());
    }
    if namespace.is_some() && !resource.namespaced {
        return Err(ApiError::no_such_path());
    }
    let query = Query::parse(uri);
    let mut name = name.map(ToOwned::to_owned);
    let verb = match (method, &name) {
        (&Method::GET, None) if query.flag("watch") => Verb::Watch,
        (&Method::GET, Some(_)) if query.flag("watch") => {
            return Err(ApiError::bad_request(
                "watch a single object with fieldSelector=metadata.name=NAME",
            ));
        }
        (&Method::GET, None) => Verb::List,
        (&Method::GET, Some(_)) => Verb::Get,
        (&Method::POST, None) => Verb::Create,
        (&Method::PUT, Some(_)) => Verb::Update,
        (&Method::PATCH, Some(_)) => Verb::Patch,
        (&Method::DELETE, Some(_)) if subresource == Subresource::Main => Verb::Delete,
        (&Method::DELETE, None) => Verb::DeleteCollection,
        _ => return Err(ApiError::method_not_allowed()),
    };
    let everywhere = resource.namespaced && namespace.is_none();
    if everywhere && !matches!(verb, Verb::List | Verb::Watch) {
        // Only reads of a namespaced kind may span namespaces.
        return Err(ApiError::method_not_allowed());
    }
    if name.as_deref() == Some("") {
        name = None;
    }
    Ok(Route::Object(ObjectRequest {
        verb,
        resource: id,
        subresource,
        namespace: namespace.map(ToOwned::to_owned),
        name,
        query,
    }))
}
