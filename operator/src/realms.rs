//! Where the objects are that an operator looks at, and whose copies of them are to be asked.
//!
//! An operator for some namespaces has watches and memories for each: what is read in one says nothing of the others. Runs may use standing
//! pools of other namespaces, so a pass may have to ask the copies of another realm.

use std::{
    sync::{Arc, OnceLock, Weak, atomic::Ordering},
    time::Duration,
};

use kube::{Api, Client, Resource, core::NamespaceResourceScope};

use crate::Context;

/// For how long the first passes over runs wait for the pools of other realms.
const A_MOMENT: Duration = Duration::from_secs(2);

/// Where the objects are that one set of watches shows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Realm {
    /// In all namespaces.
    Cluster,
    /// In this one.
    Namespace(String),
}

impl Realm {
    /// The objects of a kind in it.
    pub fn api<K>(&self, client: Client) -> Api<K>
    where
        K: Resource<DynamicType = (), Scope = NamespaceResourceScope>,
    {
        match self {
            Self::Namespace(namespace) => Api::namespaced(client, namespace),
            Self::Cluster => Api::all(client),
        }
    }

    fn has(&self, namespace: &str) -> bool {
        match self {
            Self::Namespace(own) => own == namespace,
            Self::Cluster => true,
        }
    }
}

/// All realms of one reign. They end with it, so none holds another.
#[derive(Debug, Default)]
pub(crate) struct Realms(OnceLock<Vec<Weak<Context>>>);

impl Realms {
    /// Tells each of all. Once, before the first pass.
    pub(crate) fn are(&self, contexts: &[Arc<Context>]) {
        self.0.get_or_init(|| contexts.iter().map(Arc::downgrade).collect());
    }

    fn all(&self) -> impl Iterator<Item = Arc<Context>> {
        self.0.get().into_iter().flatten().filter_map(Weak::upgrade)
    }
}

impl Context {
    /// Whose copies of the objects of a namespace are to be asked; `None`: the operator does not look at it.
    pub(crate) fn at(&self, namespace: &str) -> Option<Arc<Self>> {
        self.realms.all().find(|context| context.realm.has(namespace))
    }

    /// The contexts of all realms.
    pub(crate) fn everywhere(&self) -> impl Iterator<Item = Arc<Self>> {
        self.realms.all()
    }

    /// The same, if its workers and pools have been read: a pass of another realm may come before.
    pub(crate) fn is_read(&self) -> bool {
        self.read.load(Ordering::Acquire)
    }

    /// Waits until its workers and pools have been read. If they cannot be, the watch has ended, and so has the reign.
    pub(crate) async fn until_read(&self) {
        if self.workers.wait_until_ready().await.is_ok() && self.pools.wait_until_ready().await.is_ok() {
            self.read.store(true, Ordering::Release);
        }
    }

    /// Waits until those of all realms have been read, for a moment only: one that cannot be read does not hold up the others for longer.
    pub(crate) async fn until_all_are_read(&self) {
        let all = self.everywhere().map(|there| async move { there.until_read().await });
        // Who comes before says that they have not been read.
        let _ = tokio::time::timeout(A_MOMENT, futures::future::join_all(all)).await;
    }
}
