//! What was broken, how often, and how often while work was in flight.

use std::fmt::Write as _;
use std::{
    collections::BTreeMap,
    sync::{Mutex, PoisonError},
};

use serde_json::{Value, json};

#[derive(Clone, Copy, Debug, Default)]
struct Count {
    injected: u64,
    in_flight: u64,
}

/// Counts by fault.
#[derive(Debug, Default)]
pub struct Tally(Mutex<BTreeMap<String, Count>>);

impl Tally {
    /// So many faults of a kind, with so many shards open at that time.
    pub fn add(&self, fault: impl Into<String>, times: u64, open_shards: usize) {
        if times == 0 {
            return;
        }
        let mut counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let count = counts.entry(fault.into()).or_default();
        count.injected += times;
        if open_shards > 0 {
            count.in_flight += times;
        }
    }

    /// Lists a fault though it may never be injected.
    pub fn expect(&self, fault: impl Into<String>) {
        let mut counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        counts.entry(fault.into()).or_default();
    }

    /// How often a fault was injected with shards open.
    pub fn in_flight(&self, fault: &str) -> u64 {
        let counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        counts.get(fault).map_or(0, |count| count.in_flight)
    }

    /// The faults that never met an open shard.
    pub fn missed(&self) -> Vec<String> {
        let counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let missed = counts.iter().filter(|(_, count)| count.in_flight == 0);
        missed.map(|(fault, _)| fault.clone()).collect()
    }

    /// As a table.
    pub fn table(&self) -> String {
        let counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let mut table = format!("{:<44} {:>9} {:>20}\n", "fault", "injected", "with shards in flight");
        for (fault, count) in counts.iter() {
            let _ = writeln!(table, "{fault:<44} {:>9} {:>20}", count.injected, count.in_flight);
        }
        table
    }

    /// As JSON.
    pub fn json(&self) -> Value {
        let counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        counts
            .iter()
            .map(|(fault, count)| json!({"fault": fault, "injected": count.injected, "inFlight": count.in_flight}))
            .collect()
    }
}
