//! Requests to the API server, counted: a layer of the client.
//!
//! A watch is counted when its answer begins; a request that has no answer has the code `0`. What is asked for is told by the kind's
//! plural and never by an object's name, so that there are as many series as kinds.

use std::{
    sync::Arc,
    task::{Context, Poll},
    time::Instant,
};

use futures::future::BoxFuture;
use hyper::{Request, Response};
use kube::client::Body;
use tower::{Layer, Service};

use crate::Counters;

/// Counts the requests of a client.
#[derive(Clone, Debug)]
pub struct Metered(Arc<Counters>);

impl Metered {
    /// Into these counters.
    #[must_use]
    pub fn new(counters: Arc<Counters>) -> Self {
        Self(counters)
    }
}

impl<S> Layer<S> for Metered {
    type Service = MeteredService<S>;

    fn layer(&self, inner: S) -> MeteredService<S> {
        MeteredService {
            inner,
            counters: self.0.clone(),
        }
    }
}

/// What [`Metered`] makes of a client's service.
#[derive(Clone, Debug)]
pub struct MeteredService<S> {
    inner: S,
    counters: Arc<Counters>,
}

impl<S, B> Service<Request<Body>> for MeteredService<S>
where
    S: Service<Request<Body>, Response = Response<B>>,
    S::Future: Send + 'static,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = BoxFuture<'static, Result<S::Response, S::Error>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let method = request.method().to_string();
        let resource = resource(request.uri().path()).to_owned();
        let counters = self.counters.clone();
        let started = Instant::now();
        let span = tracing::debug_span!(
            "request",
            trace.title = format!("{method} {resource}"),
            code = tracing::field::Empty,
            error = tracing::field::Empty
        );
        let answered = self.inner.call(request);
        Box::pin(async move {
            let answer = answered.await;
            let code = answer.as_ref().map_or(0, |answer| answer.status().as_u16());
            span.record("code", code);
            if code == 0 || code >= 500 {
                span.record("error", "no answer that says what was done");
            }
            counters.request(method, resource, code, started.elapsed());
            answer
        })
    }
}

/// The plural of the kind that a path is of, with its subresource: `/apis/G/V/namespaces/N/workflows/x/status` is `workflows/status`.
fn resource(path: &str) -> &str {
    // What stands before the plural: `/api/V` or `/apis/G/V`, and the namespace.
    let mut rest = path.trim_matches('/');
    let prefix = if rest.starts_with("apis/") { 3 } else { 2 };
    for _ in 0..prefix {
        rest = after(rest);
    }
    if let Some(namespaced) = rest.strip_prefix("namespaces/") {
        let inside = after(namespaced);
        if !inside.is_empty() {
            rest = inside;
        }
    }
    let plural = rest.split('/').next().unwrap_or_default();
    let subresource = after(after(rest));
    match (plural, subresource) {
        ("", _) => "other",
        ("workflows", "status") => "workflows/status",
        ("workerpools", "status") => "workerpools/status",
        _ => plural,
    }
}

/// What stands behind the first `/`.
fn after(path: &str) -> &str {
    path.split_once('/').map_or("", |(_, rest)| rest)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

    use prometheus_client::{encoding::text::encode, registry::Registry};
    use tower::{ServiceExt as _, service_fn};

    use super::*;

    #[test]
    fn what_is_asked_for_is_told_by_its_kind() {
        for (path, told) in [
            (
                "/apis/braid.dev/v1alpha1/namespaces/team/workflows/x/status",
                "workflows/status",
            ),
            ("/apis/braid.dev/v1alpha1/namespaces/team/workflows/x", "workflows"),
            ("/apis/braid.dev/v1alpha1/workflows", "workflows"),
            ("/api/v1/namespaces/team/pods/x", "pods"),
            ("/api/v1/namespaces/team", "namespaces"),
            ("/apis/batch/v1/namespaces/namespaces/jobs", "jobs"),
            ("/version", "other"),
            ("/", "other"),
        ] {
            assert_eq!(resource(path), told, "{path}");
        }
    }

    #[tokio::test]
    async fn requests_are_counted_with_their_answers() {
        let counters = Arc::new(Counters::default());
        let mut registry = Registry::default();
        counters.register(&mut registry);
        let server = service_fn(|request: Request<Body>| {
            std::future::ready(match request.uri().path() {
                "/api/v1/pods" => Ok(Response::builder().status(403).body(()).unwrap()),
                _ => Err("gone"),
            })
        });
        let client = Metered::new(counters).layer(server);
        for path in ["/api/v1/pods", "/api/v1/pods", "/apis/braid.dev/v1alpha1/plans"] {
            let request = Request::get(path).body(Body::empty()).unwrap();
            let answer = client.clone().oneshot(request).await;
            assert_eq!(answer.is_ok(), path.ends_with("pods"));
        }
        let mut text = String::new();
        encode(&mut text, &registry).unwrap();
        for line in [
            "api_requests_total{method=\"GET\",resource=\"pods\",code=\"403\"} 2",
            "api_requests_total{method=\"GET\",resource=\"plans\",code=\"0\"} 1",
            "api_seconds_count{method=\"GET\",resource=\"pods\"} 2",
        ] {
            assert!(text.contains(line), "{line} is not in {text}");
        }
    }
}
