//! Where workers come from: the seam below `WorkerPool`.
//!
//! In a cluster a pool is a Job of pods; on a laptop it is tasks of this process. The operator knows neither: it says
//! how many there shall be and watches what is there.

use std::collections::BTreeMap;

use braid_crds::PodClass;
use futures::future::BoxFuture;
use tokio::sync::watch;

/// What the operator needs to know of a pod.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PodView {
    /// The pod's name, and its Worker's.
    pub name: String,
    /// The pod's namespace.
    pub namespace: String,
    /// The pod's uid: another pod of the same name is another pod.
    pub uid: String,
    /// The uid of the `WorkerPool` it belongs to.
    pub pool_uid: String,
    /// What it was made as, of a standing pool's pods: the digest of a class.
    pub class: String,
    /// How it is.
    pub state: PodState,
}

/// How a pod is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PodState {
    /// It runs, or will.
    Alive,
    /// It is being ended, and may finish what it has; nothing new is for it.
    Ending,
    /// It ended by itself while it had work: what it ran may be to blame.
    Died(Death),
    /// It was ended from outside, on purpose: nobody is to blame.
    Stopped,
}

/// Of what a pod died.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Death {
    /// Nobody says.
    Unknown,
    /// The kernel ended its container for want of memory.
    OutOfMemory,
}

/// All pods of all pools.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Pods {
    /// Whether the list is complete: before, a pod that is not in it is not known to be gone.
    pub synced: bool,
    /// The pods.
    pub pods: Vec<PodView>,
}

/// A pool whose pods are wanted.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct PoolRef {
    /// Its name.
    pub name: String,
    /// Its namespace.
    pub namespace: String,
    /// Its uid.
    pub uid: String,
    /// Its labels, for its pods.
    pub labels: BTreeMap<String, String>,
    /// What its pods are.
    pub class: PodClass,
    /// Whether it stands: its class may change, and its pods with it.
    pub standing: bool,
    /// Whether its pods stay as they were made, whatever becomes of the operator's options: they work, or have something to finish.
    pub keeps_pods: bool,
}

/// Why pods could not be had.
#[derive(Debug, thiserror::Error)]
#[error("workers of pool {pool}: {reason}")]
pub struct PodError {
    /// Which pool's.
    pub pool: String,
    /// What is wrong and what to do.
    pub reason: String,
}

/// Makes pods.
pub trait PodSource: Send + Sync + 'static {
    /// Brings the pool to `wanted` live pods: starts new ones (with new uids) in place of ended ones, ends the
    /// superfluous and those that were made as something else, and forgets ended ones that `forget` names by uid. Idempotent. Gives the reason why there are fewer, as far as
    /// it is known; empty: there is none.
    fn scale<'a>(
        &'a self,
        pool: &'a PoolRef,
        wanted: usize,
        forget: &'a [String],
    ) -> BoxFuture<'a, Result<String, PodError>>;

    /// All pods, now and whenever that changes.
    fn watch(&self) -> watch::Receiver<Pods>;
}
