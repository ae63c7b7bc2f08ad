//! What a process tells of itself: logs as JSON on standard error, and traces by OTLP where somebody asks for them.
//!
//! [`start`] is called once, by programs. Libraries only use `tracing`: a span of theirs becomes part of a trace by its fields, see
//! [`spans`]. A run is one trace whose identity follows from the run's uid, so that the operator and the workers add to the same trace
//! without telling each other anything.
//!
//! Spans are a courtesy: they wait in a bounded queue for a task of their own, and are dropped, with a word in the log, when the collector
//! is away or slow. Nothing ever waits for it.

use std::{fmt, io, num::ParseFloatError};

use http::Uri;
use tokio_util::sync::CancellationToken;
use tracing_subscriber::{
    EnvFilter, Layer as _,
    filter::{FilterExt as _, Targets},
    fmt::MakeWriter,
    layer::SubscriberExt as _,
    registry::LookupSpan,
    util::SubscriberInitExt as _,
};

pub mod identity;
pub mod logs;
mod otlp;
pub mod spans;

use identity::Ratio;
use otlp::Exporter;
use spans::Spans;

/// The path of traces, where an endpoint has none.
const TRACES: &str = "/v1/traces";

/// What is told, and where.
#[derive(Clone, Debug)]
pub struct Settings {
    /// What the process is: `service.name`.
    pub service: &'static str,
    /// Its version: `service.version`.
    pub version: &'static str,
    /// Which of them it is: `service.instance.id`.
    pub instance: String,
    /// Where traces go, as in `http://collector.monitoring:4318`; `None`: nowhere.
    pub endpoint: Option<Endpoint>,
    /// The share of runs that are traced.
    pub ratio: Ratio,
}

/// Why there is no telemetry.
#[derive(Debug, thiserror::Error)]
pub enum TelemetryError {
    /// An endpoint that spans cannot be sent to.
    #[error("{text}: {why}; an endpoint is like http://collector.monitoring:4318")]
    Endpoint {
        /// What was given.
        text: String,
        /// What is wrong with it.
        why: String,
    },
    /// No share.
    #[error("{0} is no share of runs: it is between 0 and 1")]
    Ratio(f64),
    /// No number.
    #[error("a share of runs is a number between 0 and 1: {0}")]
    Number(#[from] ParseFloatError),
    /// Somebody else has said where logs go.
    #[error("logs have a place already: {0}")]
    Taken(#[from] tracing_subscriber::util::TryInitError),
}

/// Where traces go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint(Uri);

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl std::str::FromStr for Endpoint {
    type Err = TelemetryError;

    fn from_str(text: &str) -> Result<Self, TelemetryError> {
        let wrong = |why: String| TelemetryError::Endpoint {
            text: text.to_owned(),
            why,
        };
        let uri: Uri = text
            .parse()
            .map_err(|error: http::uri::InvalidUri| wrong(error.to_string()))?;
        let mut parts = uri.into_parts();
        match parts.scheme.as_ref().map(http::uri::Scheme::as_str) {
            Some("http") => {}
            Some("https") => {
                let why =
                    "spans are sent without TLS, to a collector of the same cluster or node, which passes them on";
                return Err(wrong(why.into()));
            }
            _ => return Err(wrong("it does not begin with http://".into())),
        }
        let authority = parts
            .authority
            .as_ref()
            .ok_or_else(|| wrong("it names no host".into()))?;
        if authority.as_str().contains('@') {
            return Err(TelemetryError::Endpoint {
                text: format!("http://...@{}", authority.host()),
                why: "a password does not belong into it".into(),
            });
        }
        if parts.path_and_query.as_ref().is_none_or(|path| path.as_str() == "/") {
            parts.path_and_query = Some(http::uri::PathAndQuery::from_static(TRACES));
        }
        Uri::from_parts(parts)
            .map(Self)
            .map_err(|error| wrong(error.to_string()))
    }
}

/// Telling; ended by [`Telemetry::stop`].
#[derive(Debug)]
pub struct Telemetry {
    stop: CancellationToken,
    exporter: Option<tokio::task::JoinHandle<()>>,
}

/// Begins. Logs are those that `BRAID_LOG` names, `info` without it.
///
/// # Errors
/// If it was begun before.
///
/// # Panics
/// Outside a runtime, if traces are asked for.
pub fn start(settings: &Settings) -> Result<Telemetry, TelemetryError> {
    let filter = EnvFilter::try_from_env("BRAID_LOG").unwrap_or_else(|_| EnvFilter::new("info"));
    let logs = log_layer(filter, io::stderr);
    let (stop, mut exporter) = (CancellationToken::new(), None);
    let spans = settings.endpoint.as_ref().map(|Endpoint(uri)| {
        let (spans, queue) = Spans::new(settings.ratio);
        let sender = Exporter::new(uri.clone(), settings);
        exporter = Some(tokio::spawn(sender.run(queue, stop.clone())));
        // Spans of others hold what we have not looked at: addresses, for instance.
        spans.with_filter(Targets::new().with_target("braid", tracing::Level::DEBUG))
    });
    tracing_subscriber::registry().with(logs).with(spans).try_init()?;
    Ok(Telemetry { stop, exporter })
}

fn log_layer<S, W>(filter: EnvFilter, writer: W) -> impl tracing_subscriber::Layer<S>
where
    S: tracing::Subscriber + for<'a> LookupSpan<'a>,
    W: for<'a> MakeWriter<'a> + Send + Sync + 'static,
{
    let layer = tracing_subscriber::fmt::layer().json().with_writer(writer);
    layer.with_filter(filter.and(logs::without_bodies()))
}

impl Telemetry {
    /// Sends what waits, for a few seconds at most, and ends.
    pub async fn stop(self) {
        self.stop.cancel();
        if let Some(exporter) = self.exporter
            && let Err(error) = exporter.await
        {
            tracing::error!(%error, "the task that sends spans broke");
        }
    }
}

#[cfg(test)]
mod tests;

#[cfg(test)]
mod endpoints {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

    use super::*;

    #[test]
    fn endpoints_are_plain_addresses() {
        let of = |text: &str| {
            text.parse::<Endpoint>()
                .map(|Endpoint(uri)| uri.to_string())
                .map_err(|error| error.to_string())
        };
        assert_eq!(of("http://collector:4318").unwrap(), "http://collector:4318/v1/traces");
        assert_eq!(of("http://collector:4318/").unwrap(), "http://collector:4318/v1/traces");
        assert_eq!(of("http://[::1]:4318/otlp").unwrap(), "http://[::1]:4318/otlp");
        for (wrong, why) in [
            ("https://collector:4318", "without TLS"),
            ("collector:4318", "http://"),
            ("ftp://collector", "http://"),
            ("/v1/traces", "http://"),
            ("http://", "http://"),
        ] {
            assert!(of(wrong).unwrap_err().contains(why), "{wrong}: {:?}", of(wrong));
        }
        let told = of("http://me:hunter2@collector:4318").unwrap_err();
        assert!(!told.contains("hunter2"), "{told}");
    }
}
