//! `Workflow.status`: the ledger, the folded results, and what people read.
//!
//! The ledger of a step and its results change together, in one replacement of the status that carries the version it
//! was computed from. Everything a new operator needs to go on is here and in the `Worker` objects.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{
    CardDigest, Intervals, PartitionRange, PlanDigest, Round, schema,
    worker::{Fatal, Written},
};

/// What a run has done.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct WorkflowStatus {
    /// The layout of this status; an operator does not touch one that is newer than its own.
    #[serde(default)]
    pub format: i32,
    /// The generation of the spec that this status speaks of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// For people; machines read `conditions`.
    #[serde(default)]
    pub phase: Phase,
    /// Ready-made texts for `kubectl get`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub summary: Option<Summary>,
    /// `Accepted`, `Progressing`, `Complete`, `Failed`, `Finished`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["type".into()]))]
    pub conditions: Vec<Condition>,
    /// The values of `spec.outputs`, once the run has succeeded.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(schema_with = "schema::any_json_map")]
    pub outputs: BTreeMap<String, Value>,
    /// When the operator accepted the run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub started_at: Option<Time>,
    /// When the run ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub finished_at: Option<Time>,
    /// The run that this one has taken over from; absent: it began with nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resumed_from: Option<ResumedFrom>,
    /// When people last resumed the run or had what failed tried again: the times that run and steps may take begin anew.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resumed_at: Option<Time>,
    /// The `spec.resume` that was followed.
    #[serde(default, skip_serializing_if = "is_never")]
    pub resumed: i32,
    /// The `spec.retryFailed` that was followed.
    #[serde(default, skip_serializing_if = "is_never")]
    pub retried_failed: i32,
    /// A record for each step of the spec.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["name".into()]))]
    pub steps: Vec<StepStatus>,
}

/// The run that another one has taken over from, as it was then. It is not looked at again.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ResumedFrom {
    /// Its name.
    #[schemars(length(max = 63))]
    pub name: String,
    /// Its uid.
    #[schemars(length(max = 63))]
    pub uid: String,
    /// The uid of the first run of all: `BRAID_UID` begins with it.
    #[serde(rename = "firstUID")]
    #[schemars(length(max = 63))]
    pub first_uid: String,
    /// Partitions that had succeeded and stay counted.
    #[serde(default)]
    pub kept: u64,
}

/// Where a run or a step is. `Planning`, `Running`, `Paused` and the last four are of both; the rest as told.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
pub enum Phase {
    /// Not begun.
    #[default]
    Pending,
    /// The partitions are being listed.
    Planning,
    /// Partitions run.
    Running,
    /// Nothing runs until something outside happens: a retry's time, a worker.
    Waiting,
    /// Stopped by a failure, to be resumed.
    Paused,
    /// Stopped by `spec.suspend`.
    Suspended,
    /// Done.
    Succeeded,
    /// More failed than may.
    Failed,
    /// Ended by `spec.cancel`.
    Cancelled,
    /// A step only: never begun; `skipped` says why.
    Skipped,
    /// A step only: ended before all partitions ran, on purpose.
    Stopped,
}

impl Phase {
    /// All of them.
    pub const ALL: [Self; 11] = [
        Self::Pending,
        Self::Planning,
        Self::Running,
        Self::Waiting,
        Self::Paused,
        Self::Suspended,
        Self::Succeeded,
        Self::Failed,
        Self::Cancelled,
        Self::Skipped,
        Self::Stopped,
    ];

    /// Whether nothing follows.
    #[must_use]
    pub fn is_terminal(self) -> bool {
        matches!(
            self,
            Self::Succeeded | Self::Failed | Self::Cancelled | Self::Skipped | Self::Stopped
        )
    }
}

impl StepStatus {
    /// Whether nothing is left to be settled: all partitions of its plan are, or its results are as wanted. Without a plan there are none.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        let total = self.plan.as_ref().map_or(0, |plan| plan.partitions);
        self.satisfied || self.ledger.len() >= total
    }

    /// Whether a round has ended and the next has not begun.
    #[must_use]
    pub fn is_between_rounds(&self) -> bool {
        self.repeat.as_ref().is_some_and(|repeat| repeat.next_at.is_some())
    }

    /// When the round that goes on began.
    #[must_use]
    pub fn round_started_at(&self) -> Option<&Time> {
        let round = self.repeat.as_ref().and_then(|repeat| repeat.started_at.as_ref());
        round.or(self.started_at.as_ref())
    }
}

/// What is opened of a step that is opened again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
pub enum Renewal {
    /// What failed and what was not settled.
    Failed,
    /// Everything: something before it has changed.
    All,
}

/// Why a step was skipped. It decides what becomes of the steps after it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
pub enum SkipCause {
    /// Its `when` was false: no hindrance for the steps after it.
    When,
    /// Its `afterRule` was not met, and not because something failed: no hindrance either.
    Rule,
    /// A step before it failed, was cancelled, or was itself skipped because of that.
    Failure,
}

/// Ready-made texts for `kubectl get`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Summary {
    /// Ended steps of all: `1/4`.
    #[serde(default)]
    pub steps: String,
    /// Settled partitions of all that are known: `61234/100000`.
    #[serde(default)]
    pub partitions: String,
    /// Failed partitions.
    #[serde(default)]
    pub failed: String,
    /// Live workers.
    #[serde(default)]
    pub workers: String,
    /// What goes on, or why nothing does.
    #[serde(default)]
    pub message: String,
}

/// The record of a step.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct StepStatus {
    /// The step.
    #[schemars(length(max = 30))]
    pub name: String,
    /// Where it is.
    #[serde(default)]
    pub phase: Phase,
    /// The generation of its work.
    #[serde(default)]
    pub round: Round,
    /// What the partitions are; absent until planned.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub plan: Option<PlanRef>,
    /// The frozen program of this round; absent until started.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub card: Option<CardDigest>,
    /// Counts, all derived from the fields below.
    #[serde(default)]
    pub partitions: PartitionCounts,
    /// The settled partitions: succeeded and failed.
    #[serde(default, skip_serializing_if = "Intervals::is_empty")]
    pub ledger: Intervals,
    /// Those of the ledger that failed for good.
    #[serde(default, skip_serializing_if = "Intervals::is_empty")]
    pub failed: Intervals,
    /// Partitions that wait for their next attempt; not in the ledger.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 1000))]
    pub deferred: Vec<Deferred>,
    /// Ranges whose worker died while it ran them; not in the ledger.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64))]
    pub suspects: Vec<Suspect>,
    /// The commonest causes of failure.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 10))]
    pub failures: Vec<FailureCause>,
    /// Attempts that were followed by another.
    #[serde(default)]
    pub retried: u64,
    /// The partitions whose last attempts took longest, the longest first; of those that took a second or more.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 10))]
    pub slowest: Vec<SlowPartition>,
    /// The folded results.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["name".into()]))]
    pub results: Vec<StepResult>,
    /// Why no more work is given: once all shards are sealed and folded, the step ends as failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stopping: Option<Fatal>,
    /// Why nothing is handed out until somebody resumes the run, tries again what failed, or allows more failures.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub paused: Option<Fatal>,
    /// It is about to be opened again, by `spec.retryFailed`: nothing is handed out meanwhile.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub renewal: Option<Renewal>,
    /// Failed partitions that somebody went on after: so many more may fail.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub accepted: u64,
    /// Why it was never begun; of skipped steps.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub skipped: Option<SkipCause>,
    /// `stopWhen` held: no more work is given, and once all shards are sealed and folded, the step ends as succeeded.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub satisfied: bool,
    /// The rounds of a step that repeats; absent until the first has ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub repeat: Option<RepeatStatus>,
    /// Counted shards whose files are not published yet: the step does not end before they are.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 512))]
    pub unpublished: Vec<Written>,
    /// Nothing is counted any more: once all files are published, what lost attempts left is removed. Absent before, and of steps that
    /// write nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sweep: Option<Sweep>,
    /// Nothing is folded any more.
    #[serde(default)]
    pub closed: bool,
    /// Why it is where it is.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    #[schemars(length(max = 512))]
    pub message: String,
    /// When it left Pending.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub started_at: Option<Time>,
    /// When it ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub finished_at: Option<Time>,
}

/// What becomes of files that attempts left and nobody counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
pub enum Sweep {
    /// A worker is to remove them.
    Due,
    /// A worker is to remove them, and to write the results of the step, which has succeeded, to the data of its `emit`.
    Emit,
    /// They are gone.
    Done,
}

impl Sweep {
    /// Whether a worker has something to do.
    #[must_use]
    pub fn is_due(self) -> bool {
        matches!(self, Self::Due | Self::Emit)
    }
}

/// The pinned plan of a step.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct PlanRef {
    /// How many partitions.
    pub partitions: u64,
    /// Names the plan's bytes; empty for a range or a single partition.
    #[serde(default)]
    pub digest: PlanDigest,
    /// In how many `Plan` objects the bytes are.
    #[serde(default)]
    pub chunks: i32,
    /// Files in the plan.
    #[serde(default)]
    pub files: u64,
    /// Bytes in those files.
    #[serde(default)]
    pub bytes: u64,
}

/// How many partitions are where.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct PartitionCounts {
    /// All; 0 until planned.
    #[serde(default)]
    pub total: u64,
    /// Settled and counted.
    #[serde(default)]
    pub succeeded: u64,
    /// Failed for good.
    #[serde(default)]
    pub failed: u64,
    /// Left, because `stopWhen` held before they were run.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub stopped: u64,
}

// Serde hands over references.
#[allow(clippy::trivially_copy_pass_by_ref)]
fn is_zero(count: &u64) -> bool {
    *count == 0
}

#[allow(clippy::trivially_copy_pass_by_ref)]
fn is_never(count: &i32) -> bool {
    *count == 0
}

/// Where a step that repeats is.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RepeatStatus {
    /// Rounds that have ended.
    #[serde(default)]
    pub rounds: i32,
    /// The next begins at this time, in milliseconds since the epoch; absent while one goes on and after the last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next_at: Option<i64>,
    /// When the one that goes on began; absent in the first, which began with the step.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub started_at: Option<Time>,
}

/// A partition that failed and waits for its next attempt.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Deferred {
    /// Which.
    pub partition: u64,
    /// Attempts made.
    #[serde(default)]
    pub attempts: i32,
    /// Deaths of the worker or shim that ran it.
    #[serde(default)]
    pub deaths: i32,
    /// Why the last attempt failed, as in `FailureCause.reason`.
    #[schemars(length(max = 64))]
    pub reason: String,
    /// The last attempt's last words.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    #[schemars(length(max = 512))]
    pub message: String,
    /// Not before this time, in milliseconds since the epoch.
    pub not_before: i64,
}

/// A range whose worker died while it ran it. It is run one partition at a time, with a commit after each, so that
/// the next death names its culprit.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Suspect {
    /// The first partition.
    pub start: u64,
    /// One past the last.
    pub end: u64,
    /// Deaths seen.
    #[serde(default)]
    pub deaths: i32,
    /// The shards that died on it, as `<uid of the Worker>/<shard>`: each death is counted once, however often it is looked at.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 8), inner(length(max = 96)))]
    pub witnesses: Vec<String>,
    /// Of what the last of them died, where that is known: `OutOfMemory`, if its container was killed for its memory.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 64))]
    pub reason: Option<String>,
}

impl Suspect {
    /// Its partitions.
    #[must_use]
    pub fn range(&self) -> PartitionRange {
        PartitionRange::new(self.start, self.end)
    }
}

/// How long the attempt took that settled a partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
pub struct SlowPartition {
    /// Which.
    pub partition: u64,
    /// How long, in milliseconds.
    pub millis: u64,
}

/// A cause of failures, with how many partitions it failed.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct FailureCause {
    /// In CamelCase: `Exit1`, `Signal9`, `Timeout`, `OutOfMemory`, `NotRunnable`, `BadResult`, `ResultTooLarge`, `InputChanged`,
    /// `OutputExists`, `BadOutput`, `OutputNotStored`, `WorkerDied`.
    #[schemars(length(max = 64))]
    pub reason: String,
    /// Partitions that failed for good by it.
    pub count: u64,
    /// Which, the lowest thousand of them.
    #[serde(default, skip_serializing_if = "Intervals::is_empty")]
    pub partitions: Intervals,
    /// The first of them.
    pub sample: u64,
    /// Attempts made of that one.
    #[serde(default)]
    pub attempts: i32,
    /// That one's last words.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    #[schemars(length(max = 512))]
    pub message: String,
}

/// What the numbers of a value are, which its JSON does not always show: `3` may be a double, `"3"` a decimal.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
pub enum ValueType {
    /// Whole numbers. Texts of digits are numbers beyond 2^53.
    Integer,
    /// Doubles.
    Number,
    /// Decimals, all of them texts.
    Decimal,
    /// JSON as it was given: texts are texts.
    Json,
}

/// A folded result.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct StepResult {
    /// The result.
    #[schemars(length(max = 63))]
    pub name: String,
    /// What people and expressions read. Whole numbers beyond 2^53 are strings. Absent: nothing was given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::any_json")]
    pub value: Option<Value>,
    /// What the value's numbers are; absent: as they look.
    #[serde(default, rename = "type", skip_serializing_if = "Option::is_none")]
    pub kind: Option<ValueType>,
    /// Whether the value is an estimate.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub approximate: bool,
    /// How far an estimate may be off, for people.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    #[schemars(length(max = 63))]
    pub error: String,
    /// Partitions that gave it.
    #[serde(default)]
    pub count: u64,
    /// The accumulator, opaque: base64.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    #[schemars(length(max = 262_144))]
    pub state: String,
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::*;

    fn read_back(value: &Value) -> Value {
        let result = StepResult {
            value: Some(value.clone()),
            ..StepResult::default()
        };
        let read: StepResult = serde_json::from_str(&serde_json::to_string(&result).unwrap()).unwrap();
        read.value.unwrap()
    }

    /// Otherwise what a server gives back would not be what it was given, and the write would be refused as not kept, for ever.
    #[test]
    fn a_double_that_many_readers_miss() {
        for double in [194_269.150_000_000_08, 10_353.0 / 545.0] {
            assert_eq!(json!(double), read_back(&json!(double)));
        }
    }

    proptest! {
        #[test]
        fn doubles_read_back_as_they_were_written(double in prop::num::f64::NORMAL | prop::num::f64::SUBNORMAL | prop::num::f64::ZERO) {
            prop_assert_eq!(json!(double), read_back(&json!(double)));
        }
    }
}
