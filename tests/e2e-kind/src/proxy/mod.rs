//! A proxy between a cluster's API server and the pods of the cluster, which breaks what it is told to break.
//!
//! Every request is known by its sender's token and by its path, so a fault can be aimed at one write of one part: it is never passed
//! on, or its answer is lost, or it arrives when somebody else has done the same. Without a fault everything is passed on as it is.
//! The proxy speaks HTTP/1.1, one connection to the server for each of a client. Requests that change their protocol (`exec`) are
//! not for it.

mod call;
mod fault;
mod relay;
#[cfg(test)]
mod tests;
mod tls;

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::runtime::{Builder, Runtime};
use tokio::sync::{broadcast, watch};
use tokio_rustls::{TlsAcceptor, TlsConnector};

pub use call::{Call, Edge, Verb, Who};
use fault::Fault;
pub use fault::{Armed, Hands, Hit, Moment};
pub use tls::{Identity, ProxyError};

/// Answered writes that whoever waits for one may be behind.
const BEHIND: usize = 1_024;

/// Requests that are refused for a while.
type Bar = Arc<dyn Fn(&Call) -> bool + Send + Sync>;

/// What connections share.
struct Shared {
    acceptor: TlsAcceptor,
    connector: TlsConnector,
    server: SocketAddr,
    operators: String,
    fault: watch::Sender<Option<Arc<Fault>>>,
    bars: Mutex<Vec<Bar>>,
    /// How often each pod went each way.
    counts: Mutex<BTreeMap<(Edge, String), u64>>,
    /// Writes that were carried out.
    written: broadcast::Sender<Call>,
}

/// A running proxy. Its connections end with it.
pub struct Proxy {
    shared: Arc<Shared>,
    address: SocketAddr,
    runtime: Option<Runtime>,
}

impl Proxy {
    /// Listens on a free port of this address, for the API server at `server`; `operators` is the namespace of Braid's operators.
    ///
    /// # Errors
    /// [`ProxyError`]
    pub fn start(here: IpAddr, server: SocketAddr, identity: &Identity, operators: &str) -> Result<Self, ProxyError> {
        let shared = Arc::new(Shared {
            acceptor: identity.acceptor()?,
            connector: identity.connector()?,
            server,
            operators: operators.to_owned(),
            fault: watch::Sender::default(),
            bars: Mutex::default(),
            counts: Mutex::default(),
            written: broadcast::Sender::new(BEHIND),
        });
        let runtime = Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .thread_name("proxy")
            .build()?;
        let listener = runtime.block_on(TcpListener::bind((here, 0)))?;
        let address = listener.local_addr()?;
        runtime.spawn(relay::accept(listener, shared.clone()));
        Ok(Self {
            shared,
            address,
            runtime: Some(runtime),
        })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Arms a fault for the next request on an edge that is about this namespace and counts. One at a time: the one before is disarmed.
    pub fn arm(&self, edge: &Edge, namespace: &str, moment: Moment, long: Duration, hands: Box<dyn Hands>) -> Armed {
        let (fault, armed) = Fault::new(edge.clone(), namespace, moment, long, hands);
        self.shared.fault.send_replace(Some(Arc::new(fault)));
        armed
    }

    /// No request is broken any more.
    pub fn disarm(&self) {
        self.shared.fault.send_replace(None);
    }

    /// Refuses requests for as long as the answer is kept: their connections are cut, and nothing is passed on.
    #[must_use]
    pub fn bar(&self, which: impl Fn(&Call) -> bool + Send + Sync + 'static) -> Barred {
        let bar: Bar = Arc::new(which);
        self.shared.bars().push(bar.clone());
        Barred {
            shared: self.shared.clone(),
            bar,
        }
    }

    /// How often each edge was gone.
    pub fn edges(&self) -> BTreeMap<Edge, u64> {
        let mut edges = BTreeMap::new();
        for ((edge, _), count) in &*self.shared.counts() {
            *edges.entry(edge.clone()).or_insert(0) += count;
        }
        edges
    }

    /// How often a pod went an edge.
    pub fn count(&self, edge: &Edge, pod: &str) -> u64 {
        let key = (edge.clone(), pod.to_owned());
        self.shared.counts().get(&key).copied().unwrap_or(0)
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            // A fault may be waiting for its successor; nobody waits for it.
            runtime.shutdown_background();
        }
    }
}

/// Requests are refused while this is kept.
pub struct Barred {
    shared: Arc<Shared>,
    bar: Bar,
}

impl Drop for Barred {
    fn drop(&mut self) {
        self.shared.bars().retain(|bar| !Arc::ptr_eq(bar, &self.bar));
    }
}

impl Shared {
    fn bars(&self) -> std::sync::MutexGuard<'_, Vec<Bar>> {
        self.bars.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn counts(&self) -> std::sync::MutexGuard<'_, BTreeMap<(Edge, String), u64>> {
        self.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn count(&self, call: &Call) {
        *self.counts().entry((call.edge.clone(), call.pod.clone())).or_insert(0) += 1;
    }

    fn is_barred(&self, call: &Call) -> bool {
        self.bars().iter().any(|bar| bar(call))
    }

    /// The fault that waits for such a request, whether or not it counts.
    fn aimed(&self, call: &Call) -> Option<Arc<Fault>> {
        let fault = self.fault.borrow().clone();
        fault.filter(|fault| fault.is_for(call))
    }

    /// Takes the fault if it is still armed, nobody else has it, and the request counts.
    async fn take(&self, fault: &Arc<Fault>, call: &Call) -> bool {
        let is_armed = self
            .fault
            .borrow()
            .as_ref()
            .is_some_and(|armed| Arc::ptr_eq(armed, fault));
        if !is_armed || !fault.take() {
            return false;
        }
        let (looking, of) = (fault.clone(), call.clone());
        let counts = tokio::task::spawn_blocking(move || looking.hands.counts(&of)).await;
        // A look that panicked says nothing.
        if !counts.unwrap_or(false) {
            fault.leave();
            return false;
        }
        self.fault.send_if_modified(|armed| {
            let ours = armed.as_ref().is_some_and(|armed| Arc::ptr_eq(armed, fault));
            if ours {
                *armed = None;
            }
            ours
        });
        true
    }
}
