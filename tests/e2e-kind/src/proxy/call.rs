//! What a request to an API server is: who sent it, and what it does to what.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hyper::Method;
use serde_json::Value;

/// Namespaces of what a cluster brings itself.
const CLUSTERS_OWN: [&str; 2] = ["kube-system", "local-path-storage"];

/// A part of Braid, known by its token.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Who {
    /// A pod of the operators' namespace.
    Operator,
    /// A pod of any other namespace.
    Worker,
    /// Nobody of ours: no token of a pod, or one of the cluster's own.
    Other,
}

/// What is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Verb {
    /// Read one.
    Get,
    /// Read all.
    List,
    /// Follow.
    Watch,
    /// Make one.
    Create,
    /// Replace one.
    Update,
    /// Change one.
    Patch,
    /// Remove one, or all.
    Delete,
}

impl Verb {
    /// Whether it changes anything.
    pub fn writes(self) -> bool {
        matches!(self, Self::Create | Self::Update | Self::Patch | Self::Delete)
    }

    const fn name(self) -> &'static str {
        match self {
            Self::Get => "get",
            Self::List => "list",
            Self::Watch => "watch",
            Self::Create => "create",
            Self::Update => "update",
            Self::Patch => "patch",
            Self::Delete => "delete",
        }
    }
}

/// A way on which parts meet: who does what to which kind.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Edge {
    /// Who asks.
    pub who: Who,
    /// For what.
    pub verb: Verb,
    /// Of which kind: its plural, with the subresource behind a `/`. The Lease by which operators elect is `leases/leader`.
    pub resource: String,
}

impl Edge {
    /// An edge.
    pub fn new(who: Who, verb: Verb, resource: &str) -> Self {
        Self {
            who,
            verb,
            resource: resource.to_owned(),
        }
    }
}

impl fmt::Display for Edge {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let who = match self.who {
            Who::Operator => "operator",
            Who::Worker => "worker",
            Who::Other => "other",
        };
        write!(out, "{who}: {} {}", self.verb.name(), self.resource)
    }
}

/// A request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Call {
    /// What it is.
    pub edge: Edge,
    /// The pod that sent it; empty if it is nobody of ours.
    pub pod: String,
    /// The namespace that it is about; empty: of the cluster, or of all.
    pub namespace: String,
    /// The object's name; empty if it has none yet.
    pub name: String,
}

impl Call {
    /// Reads a request's line and its token. The token is not checked: the server does that.
    pub(super) fn read(method: &Method, path: &str, query: &str, token: Option<&str>, operators: &str) -> Self {
        let (home, pod) = token.and_then(sender).unwrap_or_default();
        let who = match home.as_str() {
            home if pod.is_empty() || CLUSTERS_OWN.contains(&home) => Who::Other,
            home if home == operators => Who::Operator,
            _ => Who::Worker,
        };
        let place = Place::read(path);
        let watches = query
            .split('&')
            .any(|pair| pair == "watch=true" || pair == "watch=1" || pair == "watch");
        let verb = match *method {
            Method::POST => Verb::Create,
            Method::PUT => Verb::Update,
            Method::PATCH => Verb::Patch,
            Method::DELETE => Verb::Delete,
            _ if watches => Verb::Watch,
            _ if place.name.is_empty() => Verb::List,
            _ => Verb::Get,
        };
        let elects = place.plural == "leases" && place.namespace == operators && who == Who::Operator;
        let resource = match (place.plural, place.subresource) {
            _ if elects => "leases/leader".to_owned(),
            (plural, "") => plural.to_owned(),
            (plural, subresource) => format!("{plural}/{subresource}"),
        };
        Self {
            edge: Edge { who, verb, resource },
            pod,
            namespace: place.namespace.to_owned(),
            name: place.name.to_owned(),
        }
    }
}

/// What stands in a path.
#[derive(Debug, Default, PartialEq, Eq)]
struct Place<'a> {
    namespace: &'a str,
    plural: &'a str,
    name: &'a str,
    subresource: &'a str,
}

impl<'a> Place<'a> {
    /// `/api/V/..` and `/apis/G/V/..`; anything else has its first word for a kind.
    fn read(path: &'a str) -> Self {
        let mut words = path.trim_matches('/').split('/');
        let plural = match words.next() {
            Some("api") => words.nth(1),
            Some("apis") => words.nth(2),
            other => other,
        };
        let plural = plural.unwrap_or_default();
        let mut next = || words.next().unwrap_or_default();
        if plural != "namespaces" {
            return Self {
                namespace: "",
                plural,
                name: next(),
                subresource: next(),
            };
        }
        match (next(), next(), next(), next()) {
            // A namespace itself.
            (name, subresource @ ("" | "status" | "finalize"), ..) => Self {
                namespace: "",
                plural,
                name,
                subresource,
            },
            (namespace, plural, name, subresource) => Self {
                namespace,
                plural,
                name,
                subresource,
            },
        }
    }
}

/// The namespace and the pod of a token that is bound to one.
fn sender(authorization: &str) -> Option<(String, String)> {
    let payload = authorization.strip_prefix("Bearer ")?.split('.').nth(1)?;
    let claims: Value = serde_json::from_slice(&URL_SAFE_NO_PAD.decode(payload).ok()?).ok()?;
    let own = &claims["kubernetes.io"];
    Some((
        own["namespace"].as_str()?.to_owned(),
        own["pod"]["name"].as_str()?.to_owned(),
    ))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn token(namespace: &str, pod: &str) -> String {
        let claims = json!({"kubernetes.io": {"namespace": namespace, "pod": {"name": pod}}}).to_string();
        format!("Bearer x.{}.y", URL_SAFE_NO_PAD.encode(claims))
    }

    fn edge(method: &Method, path: &str, query: &str, home: &str) -> String {
        let token = token(home, "pod-1");
        Call::read(method, path, query, Some(&token), "braid").edge.to_string()
    }

    #[test]
    fn requests_are_told_apart() {
        let own = "/apis/braid.dev/v1alpha1/namespaces/n";
        for (method, path, query, home, expected) in [
            (
                Method::PUT,
                format!("{own}/workflows/x/status"),
                "",
                "braid",
                "operator: update workflows/status",
            ),
            (
                Method::PUT,
                format!("{own}/workers/x"),
                "",
                "braid",
                "operator: update workers",
            ),
            (
                Method::PUT,
                format!("{own}/workers/x/status"),
                "",
                "n",
                "worker: update workers/status",
            ),
            (
                Method::POST,
                format!("{own}/plans"),
                "fieldManager=a",
                "n",
                "worker: create plans",
            ),
            (
                Method::DELETE,
                format!("{own}/workers/x"),
                "",
                "braid",
                "operator: delete workers",
            ),
            (
                Method::GET,
                format!("{own}/workers"),
                "watch=true&fieldSelector=x",
                "n",
                "worker: watch workers",
            ),
            (
                Method::GET,
                "/apis/braid.dev/v1alpha1/workers".into(),
                "limit=500",
                "braid",
                "operator: list workers",
            ),
            (
                Method::GET,
                "/api/v1/pods".into(),
                "labelSelector=a&watch=true",
                "braid",
                "operator: watch pods",
            ),
            (
                Method::DELETE,
                "/api/v1/namespaces/n/pods/p".into(),
                "",
                "braid",
                "operator: delete pods",
            ),
            (
                Method::PUT,
                "/apis/coordination.k8s.io/v1/namespaces/braid/leases/braid-operator".into(),
                "",
                "braid",
                "operator: update leases/leader",
            ),
            (
                Method::POST,
                "/apis/coordination.k8s.io/v1/namespaces/n/leases".into(),
                "",
                "braid",
                "operator: create leases",
            ),
            (
                Method::GET,
                "/api/v1/namespaces/n".into(),
                "",
                "n",
                "worker: get namespaces",
            ),
            (Method::GET, "/version".into(), "", "kube-system", "other: list version"),
        ] {
            assert_eq!(expected, edge(&method, &path, query, home), "{method} {path}?{query}");
        }
    }

    #[test]
    fn objects_and_senders_are_read() {
        let path = "/apis/braid.dev/v1alpha1/namespaces/n/workers/w/status";
        let call = Call::read(&Method::PUT, path, "", Some(&token("n", "w")), "braid");
        assert_eq!(
            ("n", "w", "w"),
            (call.namespace.as_str(), call.name.as_str(), call.pod.as_str())
        );
        for nonsense in ["", "Bearer", "Bearer a.b.c", "Bearer a.e30.c", "Basic x"] {
            let call = Call::read(&Method::GET, "", "", Some(nonsense), "braid");
            assert_eq!((Who::Other, ""), (call.edge.who, call.pod.as_str()), "{nonsense}");
        }
    }
}
