//! What the operator tells whoever asks over HTTP: `/healthz`, `/readyz`, `/metrics`.
//!
//! It is healthy as long as it answers; a restart would not help against anything else. It is ready when the API server has its
//! definitions, whether it leads or stands by.

use std::{
    io,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use bytes::Bytes;
use http_body_util::Full;
use hyper::{Method, Request, Response, StatusCode, body::Incoming, header::CONTENT_TYPE, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use prometheus_client::{encoding::text::encode, registry::Registry};
use std::sync::Arc;
use tokio::{net::TcpListener, sync::Semaphore};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

/// Connections at the same time; more wait.
const CONNECTIONS: usize = 32;
/// How long a request may take to arrive, and an idle connection to stay.
const HEADERS: Duration = Duration::from_secs(10);
/// The type of OpenMetrics text.
const METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
const TEXT: &str = "text/plain; charset=utf-8";

/// Whether the operator can do its work.
#[derive(Debug)]
pub struct Readiness(Mutex<Option<String>>);

impl Default for Readiness {
    fn default() -> Self {
        Self(Mutex::new(Some("starting".into())))
    }
}

impl Readiness {
    /// It can.
    pub fn now(&self) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    /// It cannot, for this reason.
    pub fn not(&self, why: String) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(why);
    }

    fn missing(&self) -> Option<String> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// Answers on this listener until told to stop.
pub async fn serve(listener: TcpListener, registry: Arc<Registry>, ready: Arc<Readiness>, stop: CancellationToken) {
    let connections = TaskTracker::new();
    let places = Arc::new(Semaphore::new(CONNECTIONS));
    while let Some(accepted) = stop.run_until_cancelled(accept(&listener, &places)).await {
        let (stream, place) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                tracing::warn!(%error, "a connection could not be accepted");
                tokio::time::sleep(Duration::from_millis(100)).await;
                continue;
            }
        };
        let (registry, ready, stop) = (registry.clone(), ready.clone(), stop.clone());
        connections.spawn(async move {
            let service = service_fn(move |request: Request<Incoming>| {
                let answer = answer(request.method(), request.uri().path(), &registry, &ready);
                std::future::ready(Ok::<_, std::convert::Infallible>(answer))
            });
            let connection = hyper::server::conn::http1::Builder::new()
                .timer(TokioTimer::new())
                .header_read_timeout(HEADERS)
                .serve_connection(TokioIo::new(stream), service);
            if let Some(Err(error)) = stop.run_until_cancelled(connection).await {
                tracing::debug!(%error, "a connection ended");
            }
            drop(place);
        });
    }
    connections.close();
    connections.wait().await;
}

async fn accept(
    listener: &TcpListener,
    places: &Arc<Semaphore>,
) -> io::Result<(tokio::net::TcpStream, tokio::sync::OwnedSemaphorePermit)> {
    let place = places.clone().acquire_owned().await.map_err(io::Error::other)?;
    let (stream, _) = listener.accept().await?;
    Ok((stream, place))
}

fn answer(method: &Method, path: &str, registry: &Registry, ready: &Readiness) -> Response<Full<Bytes>> {
    let text = |status, text: String| respond(status, TEXT, text);
    if method != Method::GET && method != Method::HEAD {
        return text(StatusCode::METHOD_NOT_ALLOWED, "only GET\n".into());
    }
    match path {
        "/healthz" => text(StatusCode::OK, "ok\n".into()),
        "/readyz" => match ready.missing() {
            None => text(StatusCode::OK, "ok\n".into()),
            Some(why) => text(StatusCode::SERVICE_UNAVAILABLE, format!("{why}\n")),
        },
        "/metrics" => {
            let mut metrics = String::new();
            match encode(&mut metrics, registry) {
                Ok(()) => respond(StatusCode::OK, METRICS, metrics),
                Err(error) => text(StatusCode::INTERNAL_SERVER_ERROR, format!("{error}\n")),
            }
        }
        _ => text(
            StatusCode::NOT_FOUND,
            "there are /healthz, /readyz and /metrics\n".into(),
        ),
    }
}

fn respond(status: StatusCode, kind: &'static str, body: String) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from(body)));
    *response.status_mut() = status;
    response
        .headers_mut()
        .insert(CONTENT_TYPE, hyper::header::HeaderValue::from_static(kind));
    response
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

    use tokio::{
        io::{AsyncReadExt as _, AsyncWriteExt as _},
        net::TcpStream,
    };

    use super::*;
    use crate::{
        Counters,
        counters::{Kind, Outcome},
    };

    async fn ask(address: std::net::SocketAddr, request: &str) -> String {
        let mut stream = TcpStream::connect(address).await.unwrap();
        let request = format!("{request} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        answer
    }

    #[tokio::test]
    async fn it_tells_how_it_is_over_a_real_connection() {
        let counters = Counters::default();
        counters.pass(Kind::Workflow, Outcome::Failed, Duration::from_millis(3));
        counters.folded(5);
        let reign = counters.lead();
        let mut registry = Registry::with_prefix("braid_operator");
        counters.register(&mut registry);
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (ready, stop) = (Arc::new(Readiness::default()), CancellationToken::new());
        let served = tokio::spawn(serve(listener, Arc::new(registry), ready.clone(), stop.clone()));

        assert!(ask(address, "GET /healthz").await.starts_with("HTTP/1.1 200"));
        assert!(ask(address, "GET /readyz").await.starts_with("HTTP/1.1 503"));
        ready.not("the definition x is missing".into());
        assert!(
            ask(address, "GET /readyz")
                .await
                .ends_with("the definition x is missing\n")
        );
        ready.now();
        assert!(ask(address, "GET /readyz").await.starts_with("HTTP/1.1 200"));
        assert!(ask(address, "POST /metrics").await.starts_with("HTTP/1.1 405"));
        assert!(ask(address, "GET /other").await.starts_with("HTTP/1.1 404"));

        let metrics = ask(address, "GET /metrics").await;
        for line in [
            "braid_operator_passes_total{kind=\"Workflow\",outcome=\"Failed\"} 1",
            "braid_operator_pass_seconds_bucket{le=\"0.005\",kind=\"Workflow\"} 1",
            "braid_operator_folded_shards_total 5",
            "braid_operator_leading 1",
        ] {
            assert!(metrics.contains(line), "{line} is not in {metrics}");
        }
        drop(reign);
        assert!(ask(address, "GET /metrics").await.contains("braid_operator_leading 0"));
        stop.cancel();
        served.await.unwrap();
    }
}
