//! The body of a watch: one JSON document per line, until the time is over, the client goes or the server ends it.

use std::convert::Infallible;
use std::pin::Pin;
use std::time::Duration;

use bytes::Bytes;
use futures::Stream;
use http_body::Frame;
use serde_json::json;
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;

use crate::faults::Faults;
use crate::resource::Resource;
use crate::route::ObjectRequest;
use crate::status::ApiError;
use crate::store::{Delivery, Subscription};
use crate::verbs::partial;

/// Longest watch when the client names none; the real server picks 30 to 60 minutes.
const DEFAULT_TIMEOUT: Duration = Duration::from_mins(30);

/// Frames of a watch's body.
pub(crate) type Frames = Pin<Box<dyn Stream<Item = Result<Frame<Bytes>, Infallible>> + Send>>;

/// How a watch is to run.
pub(crate) struct Options {
    pub(crate) bookmarks: bool,
    /// Time between bookmarks.
    pub(crate) bookmark_period: Duration,
    /// The initial state is followed by a bookmark that says so.
    pub(crate) initial_events: bool,
    pub(crate) metadata_only: bool,
    pub(crate) timeout: Duration,
}

impl Options {
    pub(crate) fn timeout(request: &ObjectRequest) -> Result<Duration, ApiError> {
        match request.query.get("timeoutSeconds") {
            None | Some("0") => Ok(DEFAULT_TIMEOUT),
            Some(text) => text
                .parse()
                .map(Duration::from_secs)
                .map_err(|_| ApiError::bad_request(format!("timeoutSeconds: {text:?} is not a number of seconds"))),
        }
    }
}

struct Watch {
    subscription: Subscription,
    options: Options,
    faults: Faults,
    plural: String,
    name: Option<String>,
    types: (String, String),
    deadline: Instant,
    next_bookmark: Instant,
    initial_end_due: bool,
    stop: CancellationToken,
}

/// A watch that answers with one error, as the real server does for versions that are too old.
pub(crate) fn refused(error: &ApiError) -> Frames {
    let line = format!("{}\n", json!({"type": "ERROR", "object": error.to_json()}));
    Box::pin(futures::stream::once(async move { Ok(Frame::data(Bytes::from(line))) }))
}

/// The stream of a watch.
pub(crate) fn stream(
    subscription: Subscription,
    options: Options,
    resource: &Resource,
    name: Option<String>,
    faults: Faults,
    stop: CancellationToken,
) -> Frames {
    let now = Instant::now();
    let watch = Watch {
        deadline: now + options.timeout,
        next_bookmark: now + options.bookmark_period,
        initial_end_due: options.initial_events,
        plural: resource.plural.clone(),
        name,
        types: (resource.api_version(), resource.kind.clone()),
        subscription,
        options,
        faults,
        stop,
    };
    let documents = futures::stream::unfold(watch, |mut watch| async move {
        let document = watch.next().await?;
        Some((document, watch))
    });
    Box::pin(futures::StreamExt::flat_map(documents, |document| {
        futures::stream::iter(document.into_iter().map(|part| Ok(Frame::data(part))))
    }))
}

impl Watch {
    /// The parts of the next line; `None` at the end.
    async fn next(&mut self) -> Option<Vec<Bytes>> {
        if let Some(delivery) = self.subscription.backlog() {
            return self.render(&delivery);
        }
        if self.initial_end_due {
            self.initial_end_due = false;
            return Some(vec![self.bookmark(self.subscription.version, true)]);
        }
        loop {
            let period = self.options.bookmark_period;
            let wake = if self.options.bookmarks {
                self.next_bookmark.min(self.deadline)
            } else {
                self.deadline
            };
            let delivery = tokio::select! {
                biased;
                () = self.stop.cancelled() => return None,
                delivery = self.subscription.next() => delivery?,
                () = sleep_until(wake) => {
                    let now = Instant::now();
                    if now >= self.deadline {
                        return None;
                    }
                    self.next_bookmark = now + period;
                    self.subscription.request_bookmark();
                    continue;
                }
            };
            return self.render(&delivery);
        }
    }

    fn render(&self, delivery: &Delivery) -> Option<Vec<Bytes>> {
        let (kind, object) = match delivery {
            Delivery::Bookmark { version } => return Some(vec![self.bookmark(*version, false)]),
            Delivery::Event { kind, object } => (kind.name(), object),
        };
        let name = self
            .name
            .as_deref()
            .unwrap_or_else(|| crate::object::name(&object.value));
        if self.faults.drops_watch(&self.plural, name) {
            return None;
        }
        let raw = if self.options.metadata_only {
            partial(&object.value).to_string().into()
        } else {
            object.raw.clone()
        };
        let head = match kind {
            "ADDED" => Bytes::from_static(br#"{"type":"ADDED","object":"#),
            "MODIFIED" => Bytes::from_static(br#"{"type":"MODIFIED","object":"#),
            _ => Bytes::from_static(br#"{"type":"DELETED","object":"#),
        };
        Some(vec![head, raw, Bytes::from_static(b"}\n")])
    }

    fn bookmark(&self, version: u64, initial_end: bool) -> Bytes {
        let mut metadata = json!({"resourceVersion": version.to_string(), "creationTimestamp": null});
        if initial_end && let Some(fields) = metadata.as_object_mut() {
            fields.insert("annotations".into(), json!({"k8s.io/initial-events-end": "true"}));
        }
        let (api_version, kind) = &self.types;
        let object = json!({"kind": kind, "apiVersion": api_version, "metadata": metadata});
        format!("{}\n", json!({"type": "BOOKMARK", "object": object})).into()
    }
}
