//! Requests counted by what they were and how they ended.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use crate::route::{Subresource, Verb};

/// What a request is counted under.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct CounterKey {
    /// What it asked for.
    pub verb: Verb,
    /// Of which kind (plural).
    pub plural: Arc<str>,
    /// Of which part of the object.
    pub subresource: Subresource,
    /// Hundreds of the HTTP code with which the server ended it, whether or not the client heard of it: 2 for success, 4
    /// and 5 for refusals; 0 for a request that was never carried out ([`Fault::Hang`](crate::Fault::Hang)). Requests
    /// refused in an outage are not counted here: they never reached the server.
    pub class: u16,
}

/// A snapshot of the counters.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counts(BTreeMap<CounterKey, u64>);

impl Counts {
    /// All counters, in order.
    pub fn iter(&self) -> impl Iterator<Item = (&CounterKey, u64)> {
        self.0.iter().map(|(key, count)| (key, *count))
    }

    /// Requests for which `matches` holds.
    pub fn total(&self, matches: impl Fn(&CounterKey) -> bool) -> u64 {
        self.iter()
            .filter(|(key, _)| matches(key))
            .map(|(_, count)| count)
            .sum()
    }

    /// Everything that asked for a change, whatever came of it.
    pub fn writes(&self) -> u64 {
        self.total(|key| key.verb.is_write())
    }

    /// What was counted since an earlier snapshot.
    #[must_use]
    pub fn since(&self, earlier: &Self) -> Self {
        let count = |(key, now): (&CounterKey, &u64)| {
            let then = earlier.0.get(key).copied().unwrap_or(0);
            (*now > then).then(|| (key.clone(), now - then))
        };
        Self(self.0.iter().filter_map(count).collect())
    }
}

/// The live counters.
#[derive(Default)]
pub(crate) struct Counters(Mutex<BTreeMap<CounterKey, u64>>);

impl Counters {
    pub(crate) fn add(&self, key: CounterKey) {
        *self
            .0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .entry(key)
            .or_default() += 1;
    }

    pub(crate) fn snapshot(&self) -> Counts {
        Counts(self.0.lock().unwrap_or_else(PoisonError::into_inner).clone())
    }
}
