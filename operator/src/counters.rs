//! What an operator has done: counts and times, read by tests and by whoever scrapes metrics.

use std::time::Duration;

use prometheus_client::{
    encoding::{EncodeLabelSet, EncodeLabelValue},
    metrics::{counter::Counter, family::Family, gauge::Gauge, histogram::Histogram},
    registry::Registry,
};

/// Upper bounds of pass times, in seconds: from a pass that writes nothing to one that meets every deadline.
const SECONDS: [f64; 9] = [0.001, 0.005, 0.02, 0.1, 0.5, 2.0, 5.0, 10.0, 30.0];

/// Counts since the start of the process.
#[derive(Debug)]
pub struct Counters {
    passes: Family<PassLabels, Counter>,
    seconds: Family<KindLabel, Histogram>,
    folded: Counter,
    held_in_part: Counter,
    conflicts: Counter,
    leading: Gauge,
}

/// What a pass was over.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, EncodeLabelValue)]
pub enum Kind {
    /// A run.
    Workflow,
    /// A pool.
    WorkerPool,
}

/// How a pass ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, EncodeLabelValue)]
pub enum Outcome {
    /// As it should.
    Done,
    /// With an error; it is tried again.
    Failed,
    /// With a panic: a defect.
    Panicked,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct PassLabels {
    kind: Kind,
    outcome: Outcome,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct KindLabel {
    kind: Kind,
}

/// A reading of [`Counters`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Passes over runs and pools.
    pub passes: u64,
    /// Those that ended with an error or a panic.
    pub failed_passes: u64,
    /// Those that panicked.
    pub panicked_passes: u64,
    /// Shards counted.
    pub folded: u64,
    /// Shards dropped although a part of them was new: 0 wherever there is one operator.
    pub held_in_part: u64,
    /// Desk writes that met a change by the worker.
    pub conflicts: u64,
}

impl Default for Counters {
    fn default() -> Self {
        Self {
            passes: Family::default(),
            seconds: Family::new_with_constructor(|| Histogram::new(SECONDS)),
            folded: Counter::default(),
            held_in_part: Counter::default(),
            conflicts: Counter::default(),
            leading: Gauge::default(),
        }
    }
}

impl Counters {
    /// The counts now.
    #[must_use]
    pub fn read(&self) -> Counts {
        let of = |outcome| -> u64 {
            let kinds = [Kind::Workflow, Kind::WorkerPool];
            kinds
                .map(|kind| self.passes.get_or_create(&PassLabels { kind, outcome }).get())
                .iter()
                .sum()
        };
        let (done, failed, panicked) = (of(Outcome::Done), of(Outcome::Failed), of(Outcome::Panicked));
        Counts {
            passes: done + failed + panicked,
            failed_passes: failed + panicked,
            panicked_passes: panicked,
            folded: self.folded.get(),
            held_in_part: self.held_in_part.get(),
            conflicts: self.conflicts.get(),
        }
    }

    /// Makes them known to a registry, which shows them under these names. Counters get `_total` behind theirs.
    pub fn register(&self, registry: &mut Registry) {
        registry.register(
            "passes",
            "Passes over objects, by kind and how they ended",
            self.passes.clone(),
        );
        registry.register("pass_seconds", "How long passes took", self.seconds.clone());
        registry.register(
            "folded_shards",
            "Shards counted into a run's status",
            self.folded.clone(),
        );
        registry.register(
            "shards_held_in_part",
            "Shards dropped although a part of them was new; 0 wherever there is one operator",
            self.held_in_part.clone(),
        );
        registry.register(
            "desk_conflicts",
            "Writes to a Worker that met a change by the worker",
            self.conflicts.clone(),
        );
        registry.register("leading", "Whether this operator leads: 1 or 0", self.leading.clone());
    }

    pub(crate) fn pass(&self, kind: Kind, outcome: Outcome, took: Duration) {
        self.passes.get_or_create(&PassLabels { kind, outcome }).inc();
        self.seconds
            .get_or_create(&KindLabel { kind })
            .observe(took.as_secs_f64());
    }

    /// Leads for as long as the answer is kept.
    pub(crate) fn lead(&self) -> Leading {
        self.leading.set(1);
        Leading(self.leading.clone())
    }

    pub(crate) fn folded(&self, count: usize) {
        self.folded.inc_by(count as u64);
    }

    pub(crate) fn held_in_part(&self, count: usize) {
        self.held_in_part.inc_by(count as u64);
    }

    pub(crate) fn conflict(&self) {
        self.conflicts.inc();
    }
}

/// A reign; it may end by being dropped at any await.
#[derive(Debug)]
pub(crate) struct Leading(Gauge);

impl Drop for Leading {
    fn drop(&mut self) {
        self.0.set(0);
    }
}
