//! Which workers are alive: what their pods say, and how long their Leases have been silent.

use std::{
    collections::BTreeSet,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use braid_crds::Worker;
use braid_sync::{
    Clock,
    observer::{self, Observer, Patience, sightings},
};
use k8s_openapi::api::coordination::v1::Lease;
use kube::{
    Api, Client, ResourceExt as _,
    api::{ListParams, PostParams},
};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use crate::{
    api::{ApiError, call},
    names,
    pods::{Death, PodState, Pods},
    pool,
};

/// How a worker is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Liveness {
    /// Nothing speaks against it.
    Alive,
    /// Its pod is being ended: it may finish what it has.
    Ending,
    /// Its Lease has not changed for its whole duration.
    Silent,
    /// Its pod died by itself.
    Died(Death),
    /// Its pod was stopped, or is gone with everything else.
    Stopped,
}

/// Watches the Leases of all workers.
#[derive(Debug)]
pub struct Leases {
    duration: Duration,
    clock: Clock,
    observer: Mutex<Observer>,
    silent: Mutex<BTreeSet<String>>,
    /// Rung whenever a worker falls silent or is heard again.
    pub changed: Notify,
}

impl Leases {
    /// For Leases of that duration.
    pub fn new(duration: Duration, clock: Clock) -> Self {
        Self {
            duration,
            clock,
            observer: Mutex::new(Observer::new(Patience::of(duration))),
            silent: Mutex::default(),
            changed: Notify::new(),
        }
    }

    /// Makes the Lease of a worker, which only that worker renews.
    pub async fn open(&self, client: &Client, namespace: &str, desk: &Worker) -> Result<(), ApiError> {
        let api: Api<Lease> = Api::namespaced(client.clone(), namespace);
        let lease = pool::lease(desk, self.duration);
        match call("create a worker's Lease", api.create(&PostParams::default(), &lease)).await {
            Ok(_) | Err(ApiError::Conflict { .. }) => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// How a worker is.
    pub fn liveness(&self, pods: &Pods, worker: &Worker) -> Liveness {
        let pod = pods.pods.iter().find(|pod| pod.uid == worker.spec.pod_uid);
        match pod.map(|pod| pod.state) {
            Some(PodState::Died(death)) => Liveness::Died(death),
            Some(PodState::Stopped) => Liveness::Stopped,
            None if pods.synced => Liveness::Stopped,
            _ if self.is_silent(&key(worker)) => Liveness::Silent,
            Some(PodState::Ending) => Liveness::Ending,
            _ => Liveness::Alive,
        }
    }

    /// A version of a Worker was seen: a commit is as good as a renewal.
    pub fn saw(&self, worker: &Worker) {
        let version = worker.resource_version().unwrap_or_default();
        self.observer
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .status(&key(worker), &version, self.clock.now());
    }

    fn is_silent(&self, key: &str) -> bool {
        self.silent.lock().unwrap_or_else(PoisonError::into_inner).contains(key)
    }

    /// Reads all Leases, again and again, until cancelled. A read that fails says nothing about workers.
    pub async fn watch(&self, api: Api<Lease>, cancel: &CancellationToken) {
        let selected = ListParams::default().labels(&format!("{}={}", names::MANAGED_BY, names::BRAID));
        let every = Patience::of(self.duration).read_every();
        while cancel.run_until_cancelled(tokio::time::sleep(every)).await.is_some() {
            let sent = self.clock.now();
            match sightings(&api, &selected, every.max(Duration::from_secs(1))).await {
                Ok(seen) => self.judge(sent, seen),
                Err(error) => tracing::warn!(%error, "the workers' Leases could not be read"),
            }
        }
    }

    fn judge(&self, sent: braid_sync::Moment, seen: Vec<braid_sync::observer::Sighting>) {
        let now = self.clock.now();
        let names: BTreeSet<String> = seen.iter().map(|sighting| sighting.name.clone()).collect();
        let mut observer = self.observer.lock().unwrap_or_else(PoisonError::into_inner);
        observer.read(sent, now, seen);
        observer.retain(|name| names.contains(name));
        let lost = observer.give_up(now);
        let heard: Vec<String> = {
            let silent = self.silent.lock().unwrap_or_else(PoisonError::into_inner);
            silent.iter().filter(|name| !observer.is_lost(name)).cloned().collect()
        };
        drop(observer);
        if lost.is_empty() && heard.is_empty() {
            return;
        }
        let mut silent = self.silent.lock().unwrap_or_else(PoisonError::into_inner);
        for name in &lost {
            tracing::warn!(
                worker = name,
                "fell silent: its Lease did not change for {:?}",
                self.duration
            );
        }
        silent.extend(lost);
        for name in heard {
            silent.remove(&name);
        }
        drop(silent);
        self.changed.notify_waiters();
    }
}

fn key(worker: &Worker) -> String {
    observer::key(&worker.metadata).unwrap_or_default()
}
