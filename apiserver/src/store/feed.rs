//! What watchers ask for and get.

use std::sync::Arc;

use tokio::sync::mpsc;

use super::{Key, Store, Stored};
use crate::resource::ResourceId;
use crate::selectors::LabelSelector;

/// The objects that a list or a watch is about.
#[derive(Clone, Debug, Default)]
pub(crate) struct Interest {
    pub(crate) namespace: Option<Arc<str>>,
    pub(crate) name: Option<Arc<str>>,
    pub(crate) labels: LabelSelector,
}

impl Interest {
    pub(crate) fn matches(&self, key: &Key, object: &Stored) -> bool {
        self.namespace.as_ref().is_none_or(|n| *n == key.namespace)
            && self.name.as_ref().is_none_or(|n| *n == key.name)
            && (self.labels.is_empty() || self.labels.matches(&object.value))
    }
}

/// Type of a watch event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum EventKind {
    Added,
    Modified,
    Deleted,
}

impl EventKind {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Added => "ADDED",
            Self::Modified => "MODIFIED",
            Self::Deleted => "DELETED",
        }
    }
}

/// One item of a watch.
#[derive(Clone, Debug)]
pub(crate) enum Delivery {
    Event { kind: EventKind, object: Arc<Stored> },
    Bookmark { version: u64 },
}

/// An open watch. Dropping it ends it.
pub(crate) struct Subscription {
    store: Arc<Store>,
    resource: ResourceId,
    id: u64,
    /// The version that the backlog is complete to.
    pub(crate) version: u64,
    backlog: std::vec::IntoIter<Delivery>,
    queue: mpsc::Receiver<Delivery>,
}

impl Subscription {
    pub(super) fn new(
        store: Arc<Store>,
        resource: ResourceId,
        id: u64,
        version: u64,
        backlog: Vec<Delivery>,
        queue: mpsc::Receiver<Delivery>,
    ) -> Self {
        Self {
            store,
            resource,
            id,
            version,
            backlog: backlog.into_iter(),
            queue,
        }
    }

    /// The next event known when the watch was opened.
    pub(crate) fn backlog(&mut self) -> Option<Delivery> {
        self.backlog.next()
    }

    /// The next event; `None` when the server ended the watch. Can be dropped and called again without loss.
    pub(crate) async fn next(&mut self) -> Option<Delivery> {
        self.queue.recv().await
    }

    /// Asks for a bookmark behind everything queued so far.
    pub(crate) fn request_bookmark(&self) {
        self.store.bookmark(self.resource, self.id);
    }
}

impl Drop for Subscription {
    fn drop(&mut self) {
        self.store.unsubscribe(self.resource, self.id);
    }
}
