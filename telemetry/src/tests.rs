#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]
//! Spans of a program, as a collector receives them.

use std::{
    convert::Infallible,
    sync::{Arc, Mutex, PoisonError},
};

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt as _, Full};
use hyper::{body::Incoming, service::service_fn};
use hyper_util::rt::TokioIo;
use opentelemetry_proto::tonic::{
    collector::trace::v1::ExportTraceServiceRequest,
    common::v1::any_value::Value,
    trace::v1::{Span, status::StatusCode as SpanStatus},
};
use prost::Message as _;
use tokio::net::TcpListener;
use tracing::{Instrument as _, debug_span, info_span};
use tracing_subscriber::layer::SubscriberExt as _;

use super::*;
use crate::identity::{SpanId, TraceId};

const UID: &str = "0123abcd-0000-4000-8000-00000000ff07";

/// A collector that answers with this, and keeps what it was sent.
struct Collector {
    endpoint: Endpoint,
    requests: Arc<Mutex<Vec<ExportTraceServiceRequest>>>,
}

impl Collector {
    async fn start(status: StatusCode) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let endpoint = format!("http://{}", listener.local_addr().unwrap()).parse().unwrap();
        let requests: Arc<Mutex<Vec<ExportTraceServiceRequest>>> = Arc::default();
        let kept = requests.clone();
        tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                let kept = kept.clone();
                let service = service_fn(move |request: Request<Incoming>| {
                    let kept = kept.clone();
                    async move {
                        assert_eq!(request.uri().path(), "/v1/traces");
                        assert_eq!(request.headers()[http::header::CONTENT_TYPE], "application/x-protobuf");
                        let body = request.into_body().collect().await.unwrap().to_bytes();
                        let read = ExportTraceServiceRequest::decode(body).unwrap();
                        kept.lock().unwrap_or_else(PoisonError::into_inner).push(read);
                        let mut answer = Response::new(Full::new(Bytes::new()));
                        *answer.status_mut() = status;
                        Ok::<_, Infallible>(answer)
                    }
                });
                let served = hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service);
                tokio::spawn(async move { served.await.unwrap() });
            }
        });
        Self { endpoint, requests }
    }

    fn spans(&self) -> Vec<Span> {
        let requests = self.requests.lock().unwrap_or_else(PoisonError::into_inner);
        let scopes = requests
            .iter()
            .flat_map(|request| &request.resource_spans)
            .flat_map(|spans| &spans.scope_spans);
        scopes.flat_map(|scope| scope.spans.clone()).collect()
    }
}

fn settings(endpoint: &Endpoint, ratio: Ratio) -> Settings {
    Settings {
        service: "braid-test",
        version: "1.2.3",
        instance: "pod-0".into(),
        endpoint: Some(endpoint.clone()),
        ratio,
    }
}

/// What a program does, with its spans sent to a collector.
async fn traced(settings: &Settings, program: impl Future<Output = ()>) {
    let (layer, queue) = Spans::new(settings.ratio);
    let stop = CancellationToken::new();
    let Endpoint(uri) = settings.endpoint.clone().unwrap();
    let sending = tokio::spawn(Exporter::new(uri, settings).run(queue, stop.clone()));
    {
        let _subscribed = tracing::subscriber::set_default(tracing_subscriber::registry().with(layer));
        program.await;
    }
    stop.cancel();
    sending.await.unwrap();
}

fn value(span: &Span, key: &str) -> Option<Value> {
    span.attributes
        .iter()
        .find(|kept| kept.key == key)?
        .value
        .clone()?
        .value
}

#[tokio::test]
async fn a_run_is_one_trace_of_spans_that_know_their_places() {
    let collector = Collector::start(StatusCode::OK).await;
    traced(&settings(&collector.endpoint, Ratio::default()), async {
        let pass = debug_span!("pass", trace.of = UID, object = "words", error = tracing::field::Empty);
        let stage = async {
            debug_span!("stage", shards = 3_u64).in_scope(|| {});
            tracing::Span::current().record("error", "the object was changed");
        };
        stage.instrument(pass).await;
        // Known by their names, by whoever makes the others.
        info_span!("step", trace.of = UID, trace.name = "s/0", trace.began = 1_000_000_u64).in_scope(|| {});
        info_span!("shard", trace.of = UID, trace.within = "s/0").in_scope(|| {});
        info_span!("run", trace.of = UID, trace.name = UID).in_scope(|| {});
        // Nobody's business.
        info_span!("election").in_scope(|| info_span!("renewal").in_scope(|| {}));
    })
    .await;
    let spans = collector.spans();
    let of = |name: &str| {
        spans
            .iter()
            .find(|span| span.name == name)
            .unwrap_or_else(|| panic!("{name}: {spans:#?}"))
    };
    let (pass, stage, step, shard, run) = (of("pass"), of("stage"), of("step"), of("shard"), of("run"));
    assert_eq!(spans.len(), 5, "{spans:#?}");
    assert!(spans.iter().all(|span| span.trace_id == TraceId::of(UID).0));
    assert_eq!(run.parent_span_id, Vec::<u8>::new());
    assert_eq!(run.span_id, SpanId::of(UID).0);
    assert_eq!(
        (&pass.parent_span_id, &step.parent_span_id),
        (&run.span_id, &run.span_id)
    );
    assert_eq!(
        (&stage.parent_span_id, &shard.parent_span_id),
        (&pass.span_id, &step.span_id)
    );
    assert_eq!(step.start_time_unix_nano, 1_000_000_000);
    assert!(
        spans
            .iter()
            .all(|span| span.start_time_unix_nano <= span.end_time_unix_nano)
    );
    assert_eq!(value(stage, "shards"), Some(Value::IntValue(3)));
    assert_eq!(value(pass, "object"), Some(Value::StringValue("words".into())));
    let status = pass.status.clone().unwrap();
    assert_eq!(
        (status.code(), status.message.as_str()),
        (SpanStatus::Error, "the object was changed")
    );
    assert!(stage.status.is_none() && value(pass, "trace.of").is_none());
    let requests = collector.requests.lock().unwrap();
    let resource = requests[0].resource_spans[0].resource.clone().unwrap();
    let names: Vec<(String, Option<Value>)> = resource
        .attributes
        .into_iter()
        .map(|kept| (kept.key, kept.value.and_then(|value| value.value)))
        .collect();
    for (key, said) in [
        ("service.name", "braid-test"),
        ("service.version", "1.2.3"),
        ("service.instance.id", "pod-0"),
    ] {
        assert!(
            names.contains(&(key.to_owned(), Some(Value::StringValue(said.into())))),
            "{names:?}"
        );
    }
}

#[tokio::test]
async fn what_is_not_of_the_share_is_not_made() {
    let collector = Collector::start(StatusCode::OK).await;
    traced(&settings(&collector.endpoint, "0".parse().unwrap()), async {
        info_span!("pass", trace.of = UID).in_scope(|| info_span!("stage").in_scope(|| {}));
    })
    .await;
    assert_eq!(collector.spans(), []);
}

/// More spans than may wait, a collector that refuses, and one that is not there: the program goes on as if nothing were.
#[tokio::test]
async fn nobody_waits_for_a_collector() {
    let refusing = Collector::start(StatusCode::SERVICE_UNAVAILABLE).await;
    let absent: Endpoint = "http://127.0.0.1:1".parse().unwrap();
    // Takes connections and never answers.
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let silent: Endpoint = format!("http://{}", listener.local_addr().unwrap()).parse().unwrap();
    for endpoint in [&refusing.endpoint, &absent, &silent] {
        let mut done = 0;
        traced(&settings(endpoint, Ratio::default()), async {
            for n in 0..10_000_u64 {
                // Without an await in between: the task that sends has no time to.
                info_span!("pass", trace.of = UID, n).in_scope(|| done += 1);
            }
        })
        .await;
        assert_eq!(done, 10_000);
    }
    assert!(!refusing.spans().is_empty());
}

#[test]
fn bodies_of_answers_are_not_logged_whatever_is_asked_for() {
    #[derive(Clone, Default)]
    struct Written(Arc<Mutex<Vec<u8>>>);
    impl io::Write for Written {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
    let written = Written::default();
    let writer = written.clone();
    let layer = log_layer(EnvFilter::new("trace"), move || writer.clone());
    tracing::subscriber::with_default(tracing_subscriber::registry().with(layer), || {
        tracing::warn!(target: "kube_client::client", "{{\"value\": \"hunter2\"}}");
        tracing::trace!(target: "kube_client::client", "Status from hunter2");
        tracing::error!(target: "kube_client::client::builder", "failed with status 503");
        tracing::debug!("a pass failed");
    });
    let text = String::from_utf8(written.0.lock().unwrap().clone()).unwrap();
    assert!(!text.contains("hunter2"), "{text}");
    assert!(text.contains("status 503") && text.contains("a pass failed"), "{text}");
    for line in text.lines() {
        assert!(line.starts_with('{') && line.ends_with('}'), "{line}");
    }
}

#[tokio::test]
async fn values_are_cut_and_counted() {
    let collector = Collector::start(StatusCode::OK).await;
    traced(&settings(&collector.endpoint, Ratio::default()), async {
        info_span!("pass", trace.of = UID, long = "é".repeat(9_000)).in_scope(|| {});
    })
    .await;
    let spans = collector.spans();
    let Some(Value::StringValue(long)) = value(&spans[0], "long") else {
        panic!("{spans:?}");
    };
    assert_eq!(long.len(), 512);
}
