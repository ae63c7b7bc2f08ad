//! The server: built once, handed out as clients, shut down in order.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use tokio::sync::Mutex;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::collect;
use crate::counters::{Counters, Counts};
use crate::error::BuildError;
use crate::faults::{Faults, Target};
use crate::journal::{self, Journal};
use crate::resource::{Registry, Resource, ResourceId};
use crate::route::{Subresource, Verb};
use crate::service::ApiService;
use crate::store::{Store, Window};
use crate::verbs::Api;

/// Everything that requests need.
pub(crate) struct Inner {
    pub(crate) api: Api,
    pub(crate) faults: Faults,
    pub(crate) counters: Counters,
    pub(crate) stop: CancellationToken,
    pub(crate) tasks: TaskTracker,
    pub(crate) bookmark_period: Duration,
    plurals: Vec<Arc<str>>,
    journal: Mutex<Option<Journal>>,
}

impl Inner {
    /// The shared text of a kind's plural.
    pub(crate) fn plural(&self, resource: &Resource, id: ResourceId) -> Arc<str> {
        self.plurals
            .get(id.0)
            .cloned()
            .unwrap_or_else(|| resource.plural.as_str().into())
    }
}

/// Settings of a server.
#[derive(Debug)]
#[must_use]
pub struct Builder {
    crds: Vec<CustomResourceDefinition>,
    state_dir: Option<PathBuf>,
    faults: Faults,
    window: Window,
    bookmark_period: Duration,
}

impl Default for Builder {
    fn default() -> Self {
        Self {
            crds: Vec::new(),
            state_dir: None,
            faults: Faults::default(),
            window: Window {
                events: 4096,
                bytes: 16 * 1024 * 1024,
            },
            bookmark_period: Duration::from_secs(30),
        }
    }
}

impl Builder {
    /// The kinds to serve besides the built-in ones.
    pub fn crds(mut self, crds: impl IntoIterator<Item = CustomResourceDefinition>) -> Self {
        self.crds.extend(crds);
        self
    }

    /// Where the log is kept; created if absent, used by one process at a time. `None`: nothing survives the process.
    pub fn state_dir(mut self, path: Option<PathBuf>) -> Self {
        self.state_dir = path;
        self
    }

    /// The faults to inject. Keep a clone to change them later.
    pub fn faults(mut self, faults: Faults) -> Self {
        self.faults = faults;
        self
    }

    /// How many events of each kind are kept for watches; older versions are answered with 410. Default 4096 (and
    /// never more than 16 MiB).
    pub fn watch_window(mut self, events: usize) -> Self {
        self.window.events = events;
        self
    }

    /// Time between the bookmarks of a watch that asks for them. Default 30 s.
    pub fn bookmark_period(mut self, period: Duration) -> Self {
        self.bookmark_period = period.max(Duration::from_millis(1));
        self
    }

    /// Compiles the definitions, reads the log, starts the garbage collector. Must run in a tokio runtime.
    pub async fn build(self) -> Result<ApiServer, BuildError> {
        let registry = Registry::new(&self.crds)?;
        let (store, journal) = match self.state_dir {
            None => (Arc::new(Store::new(registry.len(), 0, self.window)), None),
            Some(directory) => {
                let names = registry.iter().map(Resource::qualified).collect();
                let (store, journal) = journal::open(directory, names, self.window).await?;
                (store, Some(journal))
            }
        };
        let plurals = registry.iter().map(|r| r.plural.as_str().into()).collect();
        let inner = Arc::new(Inner {
            api: Api { registry, store },
            faults: self.faults,
            counters: Counters::default(),
            stop: CancellationToken::new(),
            tasks: TaskTracker::new(),
            bookmark_period: self.bookmark_period,
            plurals,
            journal: Mutex::new(journal),
        });
        let collector = Arc::downgrade(&inner);
        let (touched, stop) = (inner.api.store.touched(), inner.stop.clone());
        inner.tasks.spawn(collect::run(collector, touched, stop));
        Ok(ApiServer { inner })
    }
}

/// A running server. Clones are handles to the same one.
#[derive(Clone)]
pub struct ApiServer {
    inner: Arc<Inner>,
}

impl std::fmt::Debug for ApiServer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ApiServer")
            .field("faults", &self.inner.faults)
            .finish_non_exhaustive()
    }
}

impl ApiServer {
    /// Settings for a new server.
    pub fn builder() -> Builder {
        Builder::default()
    }

    /// A client with this default namespace. It never retries by itself, unlike a client made from a kubeconfig.
    pub fn client(&self, namespace: &str) -> kube::Client {
        kube::Client::new(self.service(), namespace)
    }

    /// The tower service itself, for clients with layers of their own.
    pub fn service(&self) -> ApiService {
        ApiService::new(Arc::clone(&self.inner))
    }

    #[cfg(test)]
    pub(crate) fn inner(&self) -> &Inner {
        &self.inner
    }

    /// The faults of this server.
    pub fn faults(&self) -> &Faults {
        &self.inner.faults
    }

    /// Requests counted so far. The server's own garbage collection is not among them.
    pub fn counters(&self) -> Counts {
        self.inner.counters.snapshot()
    }

    /// Ends the open watches that match, now; returns their number. (Of a target, verb and part are not looked at.)
    pub fn drop_watches(&self, target: &Target) -> usize {
        let target = Target {
            verb: None,
            subresource: None,
            ..target.clone()
        };
        let registry = &self.inner.api.registry;
        let end = |(index, resource): (usize, &Resource)| {
            let matches = |name: Option<&str>| target.matches(Verb::Watch, &resource.plural, Subresource::Main, name);
            self.inner.api.store.end_watches(ResourceId(index), matches)
        };
        registry.iter().enumerate().map(end).sum()
    }

    /// Forgets the past: every watch that starts from an older version than now is answered with 410.
    pub fn forget_history(&self) {
        self.inner.api.store.forget_history();
    }

    /// Number of stored objects of a kind, by its plural and group (`workers.braid.dev`).
    pub fn count(&self, qualified: &str) -> usize {
        self.inner
            .api
            .registry
            .by_qualified(qualified)
            .map_or(0, |id| self.inner.api.store.len(id))
    }

    /// Ends the watches, refuses new requests, lets delayed ones end, writes the log out and closes it.
    pub async fn shutdown(&self) -> Result<(), BuildError> {
        let inner = &self.inner;
        inner.stop.cancel();
        inner.tasks.close();
        inner.tasks.wait().await;
        inner.api.store.close();
        match inner.journal.lock().await.take() {
            Some(journal) => journal.close().await,
            None => Ok(()),
        }
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        // Not shut down in order: the log's thread still writes what it was given and lets the directory go.
        self.stop.cancel();
        self.api.store.close();
    }
}
