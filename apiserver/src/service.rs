//! The server as a tower service: one HTTP request in, one HTTP response out, no network between.

use std::convert::Infallible;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Request, Response, StatusCode, header};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt as _, Full, Limited, StreamBody};
use kube::client::Body;
use tower::{BoxError, Service};

use crate::counters::CounterKey;
use crate::discovery;
use crate::faults::Fault;
use crate::resource::Resource;
use crate::route::{ObjectRequest, Route, Verb, route};
use crate::server::Inner;
use crate::status::ApiError;
use crate::verbs::{self, Answer, MAX_BODY_BYTES};
use crate::watch;

/// Body of an answer.
pub type AnswerBody = UnsyncBoxBody<Bytes, Infallible>;

/// The service behind `kube::Client`. Clones share the server.
#[derive(Clone)]
pub struct ApiService {
    inner: Arc<Inner>,
}

/// What a client sees when the connection breaks instead of answering.
#[derive(Debug, thiserror::Error)]
#[error("the connection to the embedded API server was lost: {0}")]
struct ConnectionLost(&'static str);

impl ApiService {
    pub(crate) fn new(inner: Arc<Inner>) -> Self {
        Self { inner }
    }
}

impl Service<Request<Body>> for ApiService {
    type Response = Response<AnswerBody>;
    type Error = BoxError;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, BoxError>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let inner = Arc::clone(&self.inner);
        Box::pin(async move { handle(inner, request).await })
    }
}

async fn handle(inner: Arc<Inner>, request: Request<Body>) -> Result<Response<AnswerBody>, BoxError> {
    let (parts, body) = request.into_parts();
    if inner.faults.outage() {
        return Err(ConnectionLost("an outage is simulated").into());
    }
    if inner.stop.is_cancelled() {
        return Ok(refusal(&ApiError::unavailable("the server is shutting down")));
    }
    let request = match route(&inner.api.registry, &parts.method, &parts.uri) {
        Ok(Route::Object(request)) => request,
        Ok(Route::Discovery(segments)) => return Ok(discover(&inner, &segments)),
        Err(error) => return Ok(refusal(&error)),
    };
    let body = match Limited::new(body, MAX_BODY_BYTES).collect().await {
        Ok(body) => body.to_bytes(),
        Err(_) => return Ok(refusal(&ApiError::too_large(MAX_BODY_BYTES + 1, MAX_BODY_BYTES))),
    };
    let resource = inner.api.resource(&request).map_err(|e| e.to_string())?;
    let name = request.name.clone().or_else(|| watched_name(&request));
    let fault = inner
        .faults
        .strike(request.verb, &resource.plural, request.subresource, name.as_deref());
    match fault {
        None | Some(Fault::DroppedWatch) => answer(&inner, &request, &parts.headers, &body).await,
        Some(fault) => {
            tracing::debug!(?fault, verb = request.verb.name(), plural = %resource.plural, ?name, "fault injected");
            let shown = name.unwrap_or_default();
            faulty(&inner, fault, request, parts.headers, body, &shown).await
        }
    }
}

/// The one name that a watch or list is restricted to.
fn watched_name(request: &ObjectRequest) -> Option<String> {
    let interest = verbs::interest(request).ok()?;
    interest.name.map(|name| name.to_string())
}

async fn faulty(
    inner: &Arc<Inner>,
    fault: Fault,
    request: ObjectRequest,
    headers: HeaderMap,
    body: Bytes,
    name: &str,
) -> Result<Response<AnswerBody>, BoxError> {
    let resource = inner.api.resource(&request).map_err(|e| e.to_string())?;
    let refuse = |error: &ApiError| {
        count(inner, &request, error.code().as_u16() / 100);
        Ok(refusal(error))
    };
    match fault {
        Fault::Conflict => refuse(&ApiError::modified(resource, name)),
        Fault::Gone => {
            let error = ApiError::expired(0, 1);
            count(inner, &request, error.code().as_u16() / 100);
            Ok(streaming(watch::refused(&error)))
        }
        Fault::TooManyRequests { retry_after } => refuse(&ApiError::too_many_requests(retry_after)),
        Fault::InternalError => refuse(&ApiError::internal("injected fault")),
        Fault::LostAnswer => {
            let _ = detached(inner, request, headers, body, Duration::ZERO).await;
            Err(ConnectionLost("the answer was lost").into())
        }
        Fault::LateTimeout => {
            let _ = detached(inner, request, headers, body, Duration::ZERO).await;
            Ok(refusal(&ApiError::new(
                StatusCode::GATEWAY_TIMEOUT,
                "Timeout",
                "the server was unable to return a response in the time allotted, but may still be processing the request",
            )))
        }
        Fault::Slow(delay) => detached(inner, request, headers, body, delay).await,
        Fault::Hang => {
            count(inner, &request, 0);
            inner.stop.cancelled().await;
            Err(ConnectionLost("the server stopped").into())
        }
        Fault::DroppedWatch => answer(inner, &request, &headers, &body).await,
    }
}

/// Carries a request out in a task of the server, so that it happens even if its client gives up.
async fn detached(
    inner: &Arc<Inner>,
    request: ObjectRequest,
    headers: HeaderMap,
    body: Bytes,
    delay: Duration,
) -> Result<Response<AnswerBody>, BoxError> {
    let shared = Arc::clone(inner);
    let task = inner.tasks.spawn(async move {
        tokio::select! {
            () = shared.stop.cancelled() => Err(ConnectionLost("the server stopped").into()),
            () = tokio::time::sleep(delay) => answer(&shared, &request, &headers, &body).await,
        }
    });
    task.await.unwrap_or_else(|error| Err(error.into()))
}

async fn answer(
    inner: &Arc<Inner>,
    request: &ObjectRequest,
    headers: &HeaderMap,
    body: &[u8],
) -> Result<Response<AnswerBody>, BoxError> {
    let answer = if request.verb == Verb::Watch {
        open_watch(inner, request, headers)
    } else {
        inner.api.run(request, headers, body).await.map(success)
    };
    let response = answer.unwrap_or_else(|error| refusal(&error));
    count(inner, request, response.status().as_u16() / 100);
    Ok(response)
}

/// Counts what the server made of a request, whether or not its client hears of it.
fn count(inner: &Inner, request: &ObjectRequest, class: u16) {
    if let Ok(resource) = inner.api.resource(request) {
        inner.counters.add(CounterKey {
            verb: request.verb,
            plural: inner.plural(resource, request.resource),
            subresource: request.subresource,
            class,
        });
    }
}

fn open_watch(
    inner: &Arc<Inner>,
    request: &ObjectRequest,
    headers: &HeaderMap,
) -> Result<Response<AnswerBody>, ApiError> {
    let resource: &Resource = inner.api.resource(request)?;
    let query = &request.query;
    let interest = verbs::interest(request)?;
    let initial_events = query.flag("sendInitialEvents");
    let options = watch::Options {
        bookmarks: query.flag("allowWatchBookmarks"),
        bookmark_period: inner.bookmark_period,
        initial_events,
        metadata_only: verbs::wants_metadata(headers),
        timeout: watch::Options::timeout(request)?,
    };
    if initial_events && (query.get("resourceVersionMatch") != Some("NotOlderThan") || !options.bookmarks) {
        return Err(ApiError::bad_request(
            "sendInitialEvents needs resourceVersionMatch=NotOlderThan and allowWatchBookmarks=true",
        ));
    }
    let since = verbs::parse_version(query.get("resourceVersion"))?.filter(|v| *v > 0 && !initial_events);
    let name = interest.name.as_ref().map(ToString::to_string);
    match inner.api.store.subscribe(request.resource, interest, since) {
        Ok(subscription) => {
            let stop = inner.stop.child_token();
            Ok(streaming(watch::stream(
                subscription,
                options,
                resource,
                name,
                inner.faults.clone(),
                stop,
            )))
        }
        // A version that is too old is told in the stream.
        Err(error) if error.code() == StatusCode::GONE => Ok(streaming(watch::refused(&error))),
        Err(error) => Err(error),
    }
}

fn discover(inner: &Inner, segments: &[String]) -> Response<AnswerBody> {
    let parts: Vec<&str> = segments.iter().map(String::as_str).collect();
    match discovery::answer(&inner.api, &parts) {
        Some(value) => response(StatusCode::OK, value.to_string().into()),
        None => refusal(&ApiError::no_such_path()),
    }
}

fn response(code: StatusCode, body: Bytes) -> Response<AnswerBody> {
    let mut response = Response::new(Full::new(body).boxed_unsync());
    *response.status_mut() = code;
    response
        .headers_mut()
        .insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

fn success(answer: Answer) -> Response<AnswerBody> {
    let mut response = response(answer.code, answer.body);
    for warning in answer.warnings {
        let quoted = warning.replace('\\', "\\\\").replace('"', "\\\"");
        if let Ok(value) = HeaderValue::from_str(&format!("299 - \"{quoted}\"")) {
            response.headers_mut().append(header::WARNING, value);
        }
    }
    response
}

fn refusal(error: &ApiError) -> Response<AnswerBody> {
    let mut response = response(error.code(), error.to_json().to_string().into());
    if let Some(seconds) = error.retry_after() {
        response.headers_mut().insert(header::RETRY_AFTER, seconds.into());
    }
    response
}

fn streaming(frames: watch::Frames) -> Response<AnswerBody> {
    let mut response = Response::new(StreamBody::new(frames).boxed_unsync());
    response
        .headers_mut()
        .insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}
