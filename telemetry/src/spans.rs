//! Which spans of the program are parts of traces, and what they say.
//!
//! A span with one of these fields has its place in a trace; a span within such a span has it, too; all others are nobody's business.
//!
//! | field | |
//! |---|---|
//! | `trace.of` | the uid of the run: which trace |
//! | `trace.within` | the name of the span that it is in; without it the run's own, whose name is its uid |
//! | `trace.name` | its own name, for those within it; without it nobody can know it but its children here |
//! | `trace.title` | what it is called in a trace; without it, what it is called here |
//! | `trace.began` | when it began, in microseconds since the epoch; without it, now |
//! | `error` | that it failed, and why |
//!
//! Other fields are what it says. Values are cut, and there are only so many of them; nothing but what is given as a field leaves the
//! process.

use std::{
    fmt,
    sync::Arc,
    sync::atomic::{AtomicU64, Ordering},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use opentelemetry_proto::tonic::{
    common::v1::{AnyValue, KeyValue, any_value::Value},
    trace::v1::{Span, Status, span::SpanKind, status::StatusCode},
};
use tokio::sync::mpsc;
use tracing::{
    Subscriber,
    field::{Field, Visit},
    span::{Attributes, Id, Record},
};
use tracing_subscriber::{
    Layer,
    layer::Context,
    registry::{LookupSpan, SpanRef},
};

use crate::identity::{Ratio, SpanId, TraceId};

/// Spans that wait to be sent.
const WAITING: usize = 4_096;
/// Bytes of a value.
const VALUE: usize = 512;
/// Values of a span.
const VALUES: usize = 24;

/// Spans on their way out.
#[derive(Debug)]
pub(crate) struct Queue {
    pub(crate) spans: mpsc::Receiver<Span>,
    pub(crate) dropped: Arc<AtomicU64>,
}

/// The layer that makes them.
#[derive(Debug)]
pub(crate) struct Spans {
    ratio: Ratio,
    queue: mpsc::Sender<Span>,
    dropped: Arc<AtomicU64>,
}

impl Spans {
    pub(crate) fn new(ratio: Ratio) -> (Self, Queue) {
        let (queue, spans) = mpsc::channel(WAITING);
        let dropped = Arc::new(AtomicU64::new(0));
        let layer = Self {
            ratio,
            queue,
            dropped: dropped.clone(),
        };
        (layer, Queue { spans, dropped })
    }
}

/// What is known of a span that is part of a trace.
struct Open {
    trace: TraceId,
    own: SpanId,
    within: Option<SpanId>,
    began: SystemTime,
    said: Said,
}

/// The fields of a span.
#[derive(Debug, Default)]
struct Said {
    of: Option<String>,
    within: Option<String>,
    name: Option<String>,
    title: Option<String>,
    began: Option<u64>,
    error: Option<String>,
    values: Vec<KeyValue>,
}

impl Said {
    fn say(&mut self, field: &Field, value: Value) {
        let value = Some(AnyValue { value: Some(value) });
        if let Some(known) = self.values.iter_mut().find(|known| known.key == field.name()) {
            known.value = value;
        } else if self.values.len() < VALUES {
            self.values.push(KeyValue {
                key: field.name().to_owned(),
                value,
                ..KeyValue::default()
            });
        }
    }

    fn text(&mut self, field: &Field, text: String) {
        match field.name() {
            "trace.of" => self.of = Some(text),
            "trace.within" => self.within = Some(text),
            "trace.name" => self.name = Some(text),
            "trace.title" => self.title = Some(cut(text)),
            "error" => self.error = Some(cut(text)),
            _ => self.say(field, Value::StringValue(cut(text))),
        }
    }
}

impl Visit for Said {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.text(field, format!("{value:?}"));
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.text(field, value.to_owned());
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        if field.name() == "trace.began" {
            self.began = Some(value);
        } else {
            self.say(field, Value::IntValue(i64::try_from(value).unwrap_or(i64::MAX)));
        }
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.say(field, Value::IntValue(value));
    }

    fn record_f64(&mut self, field: &Field, value: f64) {
        self.say(field, Value::DoubleValue(value));
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.say(field, Value::BoolValue(value));
    }
}

fn cut(mut text: String) -> String {
    let end = (0..=VALUE.min(text.len())).rev().find(|at| text.is_char_boundary(*at));
    text.truncate(end.unwrap_or(0));
    text
}

impl<S> Layer<S> for Spans
where
    S: Subscriber + for<'a> LookupSpan<'a>,
{
    fn on_new_span(&self, attributes: &Attributes<'_>, id: &Id, context: Context<'_, S>) {
        let Some(span) = context.span(id) else { return };
        let mut said = Said::default();
        attributes.record(&mut said);
        let place = match &said.of {
            Some(uid) => {
                let trace = TraceId::of(uid);
                if !self.ratio.takes(trace) {
                    return;
                }
                let is_the_run = said.name.as_ref() == Some(uid);
                let within = said.within.as_ref().unwrap_or(uid);
                Some((trace, (!is_the_run).then(|| SpanId::of(within))))
            }
            None => around(&span),
        };
        let Some((trace, within)) = place else { return };
        let began = said.began.map(|micros| UNIX_EPOCH + Duration::from_micros(micros));
        span.extensions_mut().insert(Open {
            trace,
            own: said.name.as_deref().map_or_else(SpanId::random, SpanId::of),
            within,
            began: began.unwrap_or_else(SystemTime::now),
            said,
        });
    }

    fn on_record(&self, id: &Id, values: &Record<'_>, context: Context<'_, S>) {
        let Some(span) = context.span(id) else { return };
        if let Some(open) = span.extensions_mut().get_mut::<Open>() {
            values.record(&mut open.said);
        }
    }

    fn on_close(&self, id: Id, context: Context<'_, S>) {
        let Some(span) = context.span(&id) else { return };
        let Some(open) = span.extensions_mut().remove::<Open>() else {
            return;
        };
        if self.queue.try_send(finished(span.name(), open)).is_err() {
            self.dropped.fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// The place of a span that is within one of a trace.
fn around<S: for<'a> LookupSpan<'a>>(span: &SpanRef<'_, S>) -> Option<(TraceId, Option<SpanId>)> {
    span.scope().skip(1).find_map(|outer| {
        let extensions = outer.extensions();
        extensions.get::<Open>().map(|open| (open.trace, Some(open.own)))
    })
}

fn finished(name: &str, open: Open) -> Span {
    let nanos = |time: SystemTime| {
        let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
        u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
    };
    let (began, ended) = (nanos(open.began), nanos(SystemTime::now()));
    Span {
        trace_id: open.trace.0.to_vec(),
        span_id: open.own.0.to_vec(),
        parent_span_id: open.within.map(|within| within.0.to_vec()).unwrap_or_default(),
        name: open.said.title.unwrap_or_else(|| name.to_owned()),
        kind: SpanKind::Internal.into(),
        start_time_unix_nano: began,
        // A clock may be set back.
        end_time_unix_nano: ended.max(began),
        attributes: open.said.values,
        status: open.said.error.map(|message| Status {
            message,
            code: StatusCode::Error.into(),
        }),
        ..Span::default()
    }
}
