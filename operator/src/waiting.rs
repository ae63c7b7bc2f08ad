//! Objects that something has happened to and that wait for their pass.
//!
//! One that is passed over at the moment waits for its next pass. What is looked at again by the clock does not wait before its time has
//! come, and then hardly.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Instant,
};

use crate::{Counters, counters::Kind};

/// Since when objects wait, by namespace and name.
type Since = HashMap<(String, String), Instant>;

/// Those that wait, of one reign.
#[derive(Debug)]
pub(crate) struct Waiting {
    workflows: Mutex<Since>,
    pools: Mutex<Since>,
    counters: Arc<Counters>,
}

impl Waiting {
    pub(crate) fn new(counters: Arc<Counters>) -> Self {
        Self {
            workflows: Mutex::default(),
            pools: Mutex::default(),
            counters,
        }
    }

    /// Something happened to an object.
    pub(crate) fn rung(&self, kind: Kind, namespace: &str, name: &str) {
        let mut since = self.of(kind);
        since
            .entry((namespace.to_owned(), name.to_owned()))
            .or_insert_with(Instant::now);
        self.counters.waiting(kind, since.len());
    }

    /// Its pass begins.
    pub(crate) fn begun(&self, kind: Kind, namespace: &str, name: &str) {
        if let Some(since) = self.take(kind, namespace, name) {
            self.counters.waited(kind, since.elapsed());
        }
    }

    /// It is gone: there will be no pass.
    pub(crate) fn gone(&self, kind: Kind, namespace: &str, name: &str) {
        self.take(kind, namespace, name);
    }

    fn take(&self, kind: Kind, namespace: &str, name: &str) -> Option<Instant> {
        let mut since = self.of(kind);
        let taken = since.remove(&(namespace.to_owned(), name.to_owned()));
        self.counters.waiting(kind, since.len());
        taken
    }

    fn of(&self, kind: Kind) -> MutexGuard<'_, Since> {
        let since = match kind {
            Kind::Workflow => &self.workflows,
            Kind::WorkerPool => &self.pools,
        };
        since.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        for kind in Kind::ALL {
            self.counters.waiting(kind, 0);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_object_waits_once_until_its_pass_begins() {
        let counters = Arc::new(Counters::default());
        let waiting = Waiting::new(counters.clone());
        let now = || (counters.queued(Kind::Workflow), counters.queued(Kind::WorkerPool));
        waiting.rung(Kind::Workflow, "n", "a");
        waiting.rung(Kind::Workflow, "n", "a");
        waiting.rung(Kind::Workflow, "m", "a");
        waiting.rung(Kind::WorkerPool, "n", "a");
        assert_eq!(now(), (2, 1));
        waiting.begun(Kind::Workflow, "n", "a");
        assert_eq!(now(), (1, 1));
        // While it is passed over.
        waiting.rung(Kind::Workflow, "n", "a");
        assert_eq!(now(), (2, 1));
        waiting.gone(Kind::Workflow, "m", "a");
        assert_eq!(now(), (1, 1));
        drop(waiting);
        assert_eq!(now(), (0, 0));
    }
}
