//! What an operator has done: counts and times, read by tests and by whoever scrapes metrics.

use std::time::Duration;

use prometheus_client::{
    encoding::{EncodeLabelSet, EncodeLabelValue},
    metrics::{counter::Counter, family::Family, gauge::Gauge, histogram::Histogram},
    registry::Registry,
};

use crate::{
    results::Results,
    stages::{Stage, StageEnd},
};

/// Upper bounds of pass times, in seconds: from a pass that writes nothing to one that meets every deadline.
const SECONDS: [f64; 9] = [0.001, 0.005, 0.02, 0.1, 0.5, 2.0, 5.0, 10.0, 30.0];

/// A metric, as documentation and tests of alerts see it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Metric {
    /// Its name, without the prefix `braid_operator_` and without what its type puts behind.
    pub name: &'static str,
    /// Whether it is a counter, a gauge or a histogram.
    pub kind: MetricKind,
    /// Its labels.
    pub labels: &'static [&'static str],
    /// What it counts.
    pub help: &'static str,
}

/// What a metric is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MetricKind {
    /// It only grows; read with `_total` behind its name.
    Counter,
    /// It is what it is now.
    Gauge,
    /// Of times in seconds; read with `_bucket`, `_sum`, `_count` behind its name.
    Histogram,
}

const fn metric(name: &'static str, kind: MetricKind, labels: &'static [&'static str], help: &'static str) -> Metric {
    Metric {
        name,
        kind,
        labels,
        help,
    }
}

const PASSES: Metric = metric(
    "passes",
    MetricKind::Counter,
    &["kind", "outcome"],
    "Passes over objects, by kind and how they ended",
);
const PASS_SECONDS: Metric = metric("pass_seconds", MetricKind::Histogram, &["kind"], "How long passes took");
const PASSES_IN_FLIGHT: Metric = metric(
    "passes_in_flight",
    MetricKind::Gauge,
    &["kind"],
    "Passes that are being made",
);
const STAGES: Metric = metric(
    "stages",
    MetricKind::Counter,
    &["kind", "stage", "end"],
    "Stages of passes, by kind, stage and how they ended",
);
const STAGE_SECONDS: Metric = metric(
    "stage_seconds",
    MetricKind::Histogram,
    &["kind", "stage"],
    "How long stages of passes took",
);
const WAITING: Metric = metric(
    "objects_waiting",
    MetricKind::Gauge,
    &["kind"],
    "Objects to which something happened and whose pass has not begun",
);
const WAIT_SECONDS: Metric = metric(
    "wait_seconds",
    MetricKind::Histogram,
    &["kind"],
    "How long objects waited for their pass",
);
const SEAL_TO_FOLD: Metric = metric(
    "seal_to_fold_seconds",
    MetricKind::Histogram,
    &[],
    "From the first pass that saw a shard sealed until it was counted",
);
const FOLD_TO_ASSIGN: Metric = metric(
    "fold_to_assign_seconds",
    MetricKind::Histogram,
    &[],
    "From the count of shards until the same pass had assigned what came next",
);
const FOLDED: Metric = metric(
    "folded_shards",
    MetricKind::Counter,
    &[],
    "Shards counted into a run's status",
);
const HELD_IN_PART: Metric = metric(
    "shards_held_in_part",
    MetricKind::Counter,
    &[],
    "Shards dropped although a part of them was new; 0 wherever there is one operator",
);
const CONFLICTS: Metric = metric(
    "desk_conflicts",
    MetricKind::Counter,
    &[],
    "Writes to a Worker that met a change by the worker",
);
const LEADING: Metric = metric("leading", MetricKind::Gauge, &[], "Whether this operator leads: 1 or 0");
const API_REQUESTS: Metric = metric(
    "api_requests",
    MetricKind::Counter,
    &["method", "resource", "code"],
    "Requests to the API server, by method, kind and the answer's code; 0 is no answer",
);
const API_SECONDS: Metric = metric(
    "api_seconds",
    MetricKind::Histogram,
    &["method", "resource"],
    "How long answers of the API server took to begin",
);

/// All that an operator shows at `/metrics`.
pub const METRICS: [Metric; 15] = [
    LEADING,
    PASSES,
    PASS_SECONDS,
    PASSES_IN_FLIGHT,
    STAGES,
    STAGE_SECONDS,
    WAITING,
    WAIT_SECONDS,
    FOLDED,
    SEAL_TO_FOLD,
    FOLD_TO_ASSIGN,
    HELD_IN_PART,
    CONFLICTS,
    API_REQUESTS,
    API_SECONDS,
];

/// Counts since the start of the process.
#[derive(Debug)]
pub struct Counters {
    in_flight: Family<KindLabel, Gauge>,
    requests: Family<RequestLabels, Counter>,
    answers: Family<AnswerLabels, Histogram>,
    passes: Family<PassLabels, Counter>,
    seconds: Family<KindLabel, Histogram>,
    stages: Family<StageLabels, Counter>,
    stage_seconds: Family<StageLabel, Histogram>,
    waiting: Family<KindLabel, Gauge>,
    waited: Family<KindLabel, Histogram>,
    seal_to_fold: Histogram,
    fold_to_assign: Histogram,
    folded: Counter,
    held_in_part: Counter,
    conflicts: Counter,
    leading: Gauge,
    results: Results,
}

/// What a pass was over.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, EncodeLabelValue)]
pub enum Kind {
    /// A run.
    Workflow,
    /// A pool.
    WorkerPool,
}

impl Kind {
    /// All of them.
    pub const ALL: [Self; 2] = [Self::Workflow, Self::WorkerPool];
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
struct StageLabels {
    kind: Kind,
    stage: Stage,
    end: StageEnd,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct StageLabel {
    kind: Kind,
    stage: Stage,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RequestLabels {
    method: String,
    resource: String,
    code: u16,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct AnswerLabels {
    method: String,
    resource: String,
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
            in_flight: Family::default(),
            requests: Family::default(),
            answers: Family::new_with_constructor(|| Histogram::new(SECONDS)),
            passes: Family::default(),
            seconds: Family::new_with_constructor(|| Histogram::new(SECONDS)),
            stages: Family::default(),
            stage_seconds: Family::new_with_constructor(|| Histogram::new(SECONDS)),
            waiting: Family::default(),
            waited: Family::new_with_constructor(|| Histogram::new(SECONDS)),
            seal_to_fold: Histogram::new(SECONDS),
            fold_to_assign: Histogram::new(SECONDS),
            folded: Counter::default(),
            held_in_part: Counter::default(),
            conflicts: Counter::default(),
            leading: Gauge::default(),
            results: Results::default(),
        }
    }
}

impl Counters {
    /// The counts now.
    #[must_use]
    pub fn read(&self) -> Counts {
        let of = |outcome| -> u64 {
            Kind::ALL
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
        show(registry, &PASSES, self.passes.clone());
        show(registry, &PASS_SECONDS, self.seconds.clone());
        show(registry, &PASSES_IN_FLIGHT, self.in_flight.clone());
        show(registry, &STAGES, self.stages.clone());
        show(registry, &STAGE_SECONDS, self.stage_seconds.clone());
        show(registry, &WAITING, self.waiting.clone());
        show(registry, &WAIT_SECONDS, self.waited.clone());
        show(registry, &SEAL_TO_FOLD, self.seal_to_fold.clone());
        show(registry, &FOLD_TO_ASSIGN, self.fold_to_assign.clone());
        show(registry, &FOLDED, self.folded.clone());
        show(registry, &HELD_IN_PART, self.held_in_part.clone());
        show(registry, &CONFLICTS, self.conflicts.clone());
        show(registry, &LEADING, self.leading.clone());
        show(registry, &API_REQUESTS, self.requests.clone());
        show(registry, &API_SECONDS, self.answers.clone());
    }

    /// The results of runs that are shown as metrics.
    #[must_use]
    pub fn results(&self) -> &Results {
        &self.results
    }

    /// A request to the API server has been answered, or has failed with code 0.
    pub(crate) fn request(&self, method: String, resource: String, code: u16, took: Duration) {
        self.answers
            .get_or_create(&AnswerLabels {
                method: method.clone(),
                resource: resource.clone(),
            })
            .observe(took.as_secs_f64());
        self.requests
            .get_or_create(&RequestLabels { method, resource, code })
            .inc();
    }

    /// A pass is being made for as long as the answer is kept.
    pub(crate) fn begun(&self, kind: Kind) -> InFlight {
        let gauge = self.in_flight.get_or_create_owned(&KindLabel { kind });
        gauge.inc();
        InFlight(gauge)
    }

    pub(crate) fn pass(&self, kind: Kind, outcome: Outcome, took: Duration) {
        self.passes.get_or_create(&PassLabels { kind, outcome }).inc();
        self.seconds
            .get_or_create(&KindLabel { kind })
            .observe(took.as_secs_f64());
    }

    /// A stage of a pass has ended.
    pub(crate) fn stage(&self, kind: Kind, stage: Stage, end: StageEnd, took: Duration) {
        self.stages.get_or_create(&StageLabels { kind, stage, end }).inc();
        self.stage_seconds
            .get_or_create(&StageLabel { kind, stage })
            .observe(took.as_secs_f64());
    }

    /// How often a stage has ended so.
    #[must_use]
    pub fn stages(&self, kind: Kind, stage: Stage, end: StageEnd) -> u64 {
        self.stages.get_or_create(&StageLabels { kind, stage, end }).get()
    }

    /// So many objects wait for a pass.
    pub(crate) fn waiting(&self, kind: Kind, count: usize) {
        let gauge = self.waiting.get_or_create(&KindLabel { kind });
        gauge.set(i64::try_from(count).unwrap_or(i64::MAX));
    }

    /// How many objects wait for a pass.
    #[must_use]
    pub fn queued(&self, kind: Kind) -> i64 {
        self.waiting.get_or_create(&KindLabel { kind }).get()
    }

    pub(crate) fn waited(&self, kind: Kind, took: Duration) {
        self.waited
            .get_or_create(&KindLabel { kind })
            .observe(took.as_secs_f64());
    }

    pub(crate) fn sealed_for(&self, took: Duration) {
        self.seal_to_fold.observe(took.as_secs_f64());
    }

    pub(crate) fn assigned_after(&self, took: Duration) {
        self.fold_to_assign.observe(took.as_secs_f64());
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

/// Shows a metric as it is described.
fn show(registry: &mut Registry, metric: &Metric, source: impl prometheus_client::registry::Metric) {
    registry.register(metric.name, metric.help, source);
}

/// A reign; it may end by being dropped at any await.
#[derive(Debug)]
pub(crate) struct Leading(Gauge);

impl Drop for Leading {
    fn drop(&mut self) {
        self.0.set(0);
    }
}

/// A pass that is being made; it may end by being dropped at any await.
#[derive(Debug)]
pub(crate) struct InFlight(Gauge);

impl Drop for InFlight {
    fn drop(&mut self) {
        self.0.dec();
    }
}
