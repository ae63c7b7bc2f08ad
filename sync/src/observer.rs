//! Judges which of many workers have fallen silent, by the observer's own clock.
//!
//! A worker is heard when its Lease or the status of its Worker object changes. It is silent for as long as the
//! observer has *looked* and seen no change: up to the sending of its latest successful read, not up to now. Time in
//! which nothing could be read says nothing about workers, so after a gap in the reads, and in a new observer (a new
//! leader has one), every worker gets a full period again. However many fall silent together, only a share of them is
//! given up per period: a mistake about the network must not throw away the work of all.
//!
//! [`Observer`] is pure: moments are arguments, and [`sightings`] is the read that feeds it.

use std::{
    collections::{BTreeMap, VecDeque},
    time::Duration,
};

use k8s_openapi::{api::coordination::v1::Lease, apimachinery::pkg::apis::meta::v1::ObjectMeta};
use kube::{Api, api::ListParams};

use crate::{
    Moment,
    call::{CallError, within},
};

#[cfg(test)]
mod tests;

/// How patient an [`Observer`] is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Patience {
    /// How long a worker may be silent: the Lease's own duration, the same for all.
    pub period: Duration,
    /// Reads that are farther apart than this are a gap. A good value is three times the distance of reads.
    pub gap: Duration,
    /// Given up per period: so many percent of the workers, and at least one.
    pub share_percent: usize,
}

impl Patience {
    /// For Leases of that duration, read four times per period or more often; a tenth may be given up per period.
    #[must_use]
    pub fn of(period: Duration) -> Self {
        Self {
            period,
            gap: period.mul_f64(0.75),
            share_percent: 10,
        }
    }

    /// How often to read.
    #[must_use]
    pub fn read_every(&self) -> Duration {
        self.gap / 3
    }
}

/// A worker's Lease as it was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sighting {
    /// Namespace and name of the Lease, which are the worker's: names alone may be equal.
    pub name: String,
    /// Changes whenever the Lease does: its uid and its resource version.
    pub mark: String,
}

/// Reads the Leases that `selected` selects, consistently, in one call.
///
/// # Errors
/// The read failed: tell the observer nothing.
pub async fn sightings(
    api: &Api<Lease>,
    selected: &ListParams,
    deadline: Duration,
) -> Result<Vec<Sighting>, CallError> {
    let leases = within(deadline, api.list(selected)).await?;
    Ok(leases
        .items
        .into_iter()
        .filter_map(|lease| {
            Some(Sighting {
                name: key(&lease.metadata)?,
                mark: format!(
                    "{}/{}",
                    lease.metadata.uid.unwrap_or_default(),
                    lease.metadata.resource_version.unwrap_or_default()
                ),
            })
        })
        .collect())
}

/// The name by which an [`Observer`] knows a worker, from the metadata of its Lease or of itself. `None`: it has none.
#[must_use]
pub fn key(metadata: &ObjectMeta) -> Option<String> {
    let namespace = metadata.namespace.as_deref().unwrap_or_default();
    Some(format!("{namespace}/{}", metadata.name.as_ref()?))
}

#[derive(Clone, Debug)]
struct Heard {
    /// The latest known mark of the Lease.
    lease: Option<String>,
    /// The latest known mark of the Worker's status.
    status: Option<String>,
    /// When it was last heard, or given a full period.
    at: Moment,
    /// Given up, and not heard since.
    lost: bool,
}

/// Who was heard when. See the module's head.
#[derive(Clone, Debug)]
pub struct Observer {
    patience: Patience,
    workers: BTreeMap<String, Heard>,
    /// When the latest successful read was sent.
    looked: Option<Moment>,
    /// When workers were given up, within the latest period.
    given_up: VecDeque<Moment>,
}

impl Observer {
    /// Knows nobody yet.
    #[must_use]
    pub fn new(patience: Patience) -> Self {
        Self {
            patience,
            workers: BTreeMap::new(),
            looked: None,
            given_up: VecDeque::new(),
        }
    }

    /// A read of all Leases that was sent at `sent` has been answered at `now`. Workers without a Lease among them are
    /// not forgotten: they are silent.
    pub fn read(&mut self, sent: Moment, now: Moment, sightings: impl IntoIterator<Item = Sighting>) {
        if self.looked.is_none_or(|before| sent.since(before) > self.patience.gap) {
            for worker in self.workers.values_mut() {
                worker.at = now;
            }
        }
        self.looked = self.looked.max(Some(sent));
        for Sighting { name, mark } in sightings {
            let worker = self.worker(name, now);
            if worker.lease.as_ref() != Some(&mark) {
                worker.lease = Some(mark);
                worker.at = now;
                worker.lost = false;
            }
        }
    }

    /// The status of a Worker object was seen in this version. Workers send no renewals while they commit. Not a read:
    /// what a cache serves does not show that nothing else has changed.
    pub fn status(&mut self, name: &str, version: &str, now: Moment) {
        let worker = self.worker(name.to_owned(), now);
        if worker.status.as_deref() != Some(version) {
            worker.status = Some(version.to_owned());
            worker.at = now;
            worker.lost = false;
        }
    }

    /// The worker is gone on purpose.
    pub fn forget(&mut self, name: &str) {
        self.workers.remove(name);
    }

    /// Forgets all but these.
    pub fn retain(&mut self, known: impl Fn(&str) -> bool) {
        self.workers.retain(|name, _| known(name));
    }

    /// Workers to give up now, the longest silent first, each named once until it is heard again. Never more per
    /// period than the share allows; the rest is named later.
    pub fn give_up(&mut self, now: Moment) -> Vec<String> {
        while self
            .given_up
            .front()
            .is_some_and(|at| now.since(*at) >= self.patience.period)
        {
            self.given_up.pop_front();
        }
        let allowed = (self.workers.len().saturating_mul(self.patience.share_percent) / 100)
            .max(1)
            .saturating_sub(self.given_up.len());
        let Some(looked) = self.looked else { return Vec::new() };
        if now.since(looked) > self.patience.gap {
            return Vec::new();
        }
        let mut silent: Vec<(Moment, String)> = self
            .workers
            .iter()
            .filter(|(_, worker)| !worker.lost && looked.since(worker.at) >= self.patience.period)
            .map(|(name, worker)| (worker.at, name.clone()))
            .collect();
        silent.sort();
        silent.truncate(allowed);
        silent
            .into_iter()
            .map(|(_, name)| {
                if let Some(worker) = self.workers.get_mut(&name) {
                    worker.lost = true;
                }
                self.given_up.push_back(now);
                name
            })
            .collect()
    }

    /// How many are silent beyond the period: given up, or waiting for the share.
    #[must_use]
    pub fn silent(&self) -> usize {
        self.workers
            .values()
            .filter(|worker| {
                worker.lost
                    || self
                        .looked
                        .is_some_and(|looked| looked.since(worker.at) >= self.patience.period)
            })
            .count()
    }

    /// Whether the worker was given up and has not been heard since.
    #[must_use]
    pub fn is_lost(&self, name: &str) -> bool {
        self.workers.get(name).is_some_and(|worker| worker.lost)
    }

    fn worker(&mut self, name: String, now: Moment) -> &mut Heard {
        self.workers.entry(name).or_insert(Heard {
            lease: None,
            status: None,
            at: now,
            lost: false,
        })
    }
}
