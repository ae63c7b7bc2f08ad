//! Sends spans to a collector: OTLP, protobuf over HTTP.
//!
//! One task, one request at a time, each under a deadline. What cannot be sent is dropped: traces are looked at, not counted on. The log
//! says once that the collector is away, and once that it is back.

use std::{sync::atomic::Ordering, time::Duration};

use bytes::Bytes;
use http::{Request, Uri, header::CONTENT_TYPE};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::TokioExecutor,
};
use opentelemetry_proto::tonic::{
    collector::trace::v1::ExportTraceServiceRequest,
    common::v1::{AnyValue, InstrumentationScope, KeyValue, any_value::Value},
    resource::v1::Resource,
    trace::v1::{ResourceSpans, ScopeSpans, Span},
};
use prost::Message as _;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use crate::{Settings, spans::Queue};

/// Spans of one request.
const BATCH: usize = 512;
/// How long spans wait for others to go with.
const GATHER: Duration = Duration::from_secs(2);
/// For one request, and for all that is left at the end.
const DEADLINE: Duration = Duration::from_secs(5);

/// Bytes of an answer that are read.
const ANSWER: usize = 64 << 10;

/// The way to a collector.
pub(crate) struct Exporter {
    uri: Uri,
    resource: Resource,
    scope: InstrumentationScope,
    client: Client<HttpConnector, Full<Bytes>>,
    /// What is wrong, as it was told.
    away: bool,
    /// Spans that were dropped and have not been told.
    lost: u64,
}

impl Exporter {
    pub(crate) fn new(uri: Uri, settings: &Settings) -> Self {
        let attribute = |key: &str, value: &str| KeyValue {
            key: key.to_owned(),
            value: Some(AnyValue {
                value: Some(Value::StringValue(value.to_owned())),
            }),
            ..KeyValue::default()
        };
        Self {
            uri,
            resource: Resource {
                attributes: vec![
                    attribute("service.namespace", "braid"),
                    attribute("service.name", settings.service),
                    attribute("service.version", settings.version),
                    attribute("service.instance.id", &settings.instance),
                ],
                ..Resource::default()
            },
            scope: InstrumentationScope {
                name: "braid".into(),
                version: settings.version.into(),
                ..InstrumentationScope::default()
            },
            client: Client::builder(TokioExecutor::new()).build_http(),
            away: false,
            lost: 0,
        }
    }

    /// Sends what comes until told to stop; then what is there.
    pub(crate) async fn run(mut self, mut queue: Queue, stop: CancellationToken) {
        let mut batch = Vec::with_capacity(BATCH);
        while let Some(Some(first)) = stop.run_until_cancelled(queue.spans.recv()).await {
            batch.push(first);
            let gather = async { while batch.len() < BATCH && queue.spans.recv_many(&mut batch, BATCH).await > 0 {} };
            // Either end will do.
            let _ = stop.run_until_cancelled(timeout(GATHER, gather)).await;
            self.lost += queue.dropped.swap(0, Ordering::Relaxed);
            let sending = self.send(std::mem::take(&mut batch));
            sending.await;
        }
        queue.spans.close();
        let rest = async {
            while queue.spans.recv_many(&mut batch, BATCH).await > 0 {
                let rest = std::mem::take(&mut batch);
                self.send(rest).await;
            }
        };
        if timeout(DEADLINE, rest).await.is_err() {
            tracing::debug!("the last spans could not be sent");
        }
    }

    async fn send(&mut self, spans: Vec<Span>) {
        let count = spans.len() as u64;
        match timeout(DEADLINE, self.post(spans)).await {
            Ok(Ok(())) => {
                if self.away {
                    tracing::info!(lost = self.lost, "spans are taken again");
                } else if self.lost > 0 {
                    tracing::warn!(
                        lost = self.lost,
                        "spans came faster than they were sent; some were dropped"
                    );
                }
                (self.away, self.lost) = (false, 0);
            }
            Ok(Err(why)) => self.missed(count, &why),
            Err(_) => self.missed(count, "no answer in time"),
        }
    }

    fn missed(&mut self, count: u64, why: &str) {
        self.lost += count;
        if !std::mem::replace(&mut self.away, true) {
            tracing::warn!(to = %self.uri, why, "spans are not taken, and dropped until they are");
        }
    }

    async fn post(&self, spans: Vec<Span>) -> Result<(), String> {
        let request = ExportTraceServiceRequest {
            resource_spans: vec![ResourceSpans {
                resource: Some(self.resource.clone()),
                scope_spans: vec![ScopeSpans {
                    scope: Some(self.scope.clone()),
                    spans,
                    ..ScopeSpans::default()
                }],
                ..ResourceSpans::default()
            }],
        };
        let request = Request::post(self.uri.clone())
            .header(CONTENT_TYPE, "application/x-protobuf")
            .body(Full::new(Bytes::from(request.encode_to_vec())))
            .map_err(|error| error.to_string())?;
        let answer = self.client.request(request).await.map_err(|error| chain(&error))?;
        let status = answer.status();
        // The body would say which spans were refused: they are gone either way. It is read for the connection's sake.
        if let Err(error) = Limited::new(answer.into_body(), ANSWER).collect().await {
            tracing::debug!(%error, "the collector's answer was not read to its end");
        }
        if status.is_success() {
            Ok(())
        } else {
            Err(format!("it answers {status}"))
        }
    }
}

fn chain(error: &dyn std::error::Error) -> String {
    let mut words = vec![error.to_string()];
    let mut cause = error.source();
    while let Some(error) = cause {
        words.push(error.to_string());
        cause = error.source();
    }
    words.join(": ")
}
