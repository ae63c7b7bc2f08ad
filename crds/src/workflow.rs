//! `Workflow`: what people write. One object is one run.

mod data;
mod program;
mod results;
mod retry;
mod step;

pub use data::{ClaimVolume, ConfigMapVolume, Data, Files, FilesVolume, Format, HostPathVolume};
pub use program::{Checkpoint, Code, EnvVar, Protocol, Run, Serve};
pub use results::{Reduce, ResultSpec, ResultType};
pub use retry::{Backoff, Retry, RetryAction, RetryReason, RetryRule};
pub use step::{
    AfterRule, Axis, Emit, Keys, Matrix, OnFailure, Over, Range, ReadRef, Repeat, Split, Step, StepDefaults, WriteRef,
};

use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{Duration, Parallelism, WorkflowStatus, limits, schema, status::Phase};

/// A run over partitioned work: steps, the data they read, and what is made of their results.
/// Its spec is immutable but for `suspend`, `cancel`, `resume`, `retryFailed`, `ttl`, `parallelism`, `pools[].workers`, and of steps
/// `maxFailedPartitions` and `parallelism`.
#[derive(CustomResource, KubeSchema, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[kube(
    group = "braid.dev",
    version = "v1alpha1",
    kind = "Workflow",
    namespaced,
    status = "WorkflowStatus",
    shortname = "bwf",
    category = "braid",
    derive = "PartialEq",
    printcolumn(name = "Phase", type_ = "string", json_path = ".status.phase"),
    printcolumn(name = "Steps", type_ = "string", json_path = ".status.summary.steps"),
    printcolumn(name = "Partitions", type_ = "string", json_path = ".status.summary.partitions"),
    printcolumn(name = "Failed", type_ = "string", json_path = ".status.summary.failed"),
    printcolumn(name = "Workers", type_ = "string", json_path = ".status.summary.workers"),
    printcolumn(name = "Message", type_ = "string", json_path = ".status.summary.message"),
    printcolumn(name = "Started", type_ = "date", json_path = ".status.startedAt"),
    validation = ("size(self.metadata.name) <= 52", "name must have at most 52 characters: names of what belongs to the run are derived from it"),
    validation = ("!has(self.spec.resumeFrom) || self.spec.resumeFrom.name != self.metadata.name", "a run cannot take over from itself: resumeFrom names another one")
)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = ("has(self.steps) || has(self.resumeFrom)", "a run has steps, or takes over those of another one: resumeFrom"),
    validation = ("has(self.steps) || !(has(self.params) || has(self.data) || has(self.pools) || has(self.stepDefaults) || has(self.parallelism) || has(self.outputs) || has(self.timeout))", "params, data, pools, stepDefaults, parallelism, outputs and timeout are taken over with the steps: leave them out"),
    validation = ("has(self.resumeFrom) == has(oldSelf.resumeFrom) && ((has(oldSelf.resumeFrom) && !has(oldSelf.steps)) || (has(self.steps) == has(oldSelf.steps) && has(self.params) == has(oldSelf.params) && has(self.data) == has(oldSelf.data) && has(self.pools) == has(oldSelf.pools) && has(self.outputs) == has(oldSelf.outputs) && has(self.timeout) == has(oldSelf.timeout) && has(self.stepDefaults) == has(oldSelf.stepDefaults)))", "the spec of a run is immutable but for suspend, cancel, resume, retryFailed, ttl, maxFailedPartitions, parallelism and pools[].workers: create another Workflow"),
    validation = ("!has(oldSelf.resume) || (has(self.resume) && self.resume >= oldSelf.resume)", "resume only grows: add one to go on after a pause"),
    validation = ("!has(oldSelf.retryFailed) || (has(self.retryFailed) && self.retryFailed >= oldSelf.retryFailed)", "retryFailed only grows: add one to try again what failed"),
    validation = ("!has(oldSelf.cancel) || !oldSelf.cancel || (has(self.cancel) && self.cancel)", "a cancel cannot be taken back: create another Workflow")
)]
pub struct WorkflowSpec {
    /// Values that a submission may set.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["name".into()]), validation = ("self == oldSelf", "params are immutable: create another Workflow"))]
    pub params: Vec<Param>,
    /// Data that steps read and write.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["name".into()]), validation = ("self == oldSelf", "data are immutable: create another Workflow"))]
    pub data: Vec<Data>,
    /// Where steps run: workers of one kind each. A step without `pool` uses the one named `default`, which need not be declared.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 8))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["name".into()]), validation = ("self.map(pool, pool.name) == oldSelf.map(pool, pool.name)", "pools are immutable but for workers and startDeadline, and stay in their order: create another Workflow"))]
    pub pools: Vec<Pool>,
    /// What holds for every step that does not say otherwise.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[x_kube(validation = ("self == oldSelf", "stepDefaults are immutable: create another Workflow"))]
    pub step_defaults: Option<StepDefaults>,
    /// Partitions in flight at most, of all steps over all workers, shared evenly by the steps that run: a number, or a text with an
    /// expression over `params`, for example `$(params.n)`. May change while the run goes on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parallelism: Option<Parallelism>,
    /// The work. The order means nothing: a step starts when all in its `after` are done. Absent in a run that takes over from another:
    /// the operator adds them with all that belongs to them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(min = 1, max = 64))]
    #[x_kube(
        merge_strategy = ListMerge::Map(vec!["name".into()]),
        // Each write of a status is judged by all rules, and a server takes microseconds for each look at a field of a step: no look at
        // each pair of them.
        validation = ("self.map(s, s.name) == oldSelf.map(s, s.name)", "steps may not be added, removed, renamed or put into another order: create another Workflow")
    )]
    pub steps: Vec<Step>,
    /// What the run says at its end, computed from the steps' results.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["name".into()]), validation = ("self == oldSelf", "outputs are immutable: create another Workflow"))]
    pub outputs: Vec<Output>,
    /// The longest that the whole run may take; then it fails.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[x_kube(validation = ("self == oldSelf", "timeout is immutable: create another Workflow"))]
    pub timeout: Option<Duration>,
    /// Stops handing out work; what runs is finished and counted. May be taken back.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub suspend: bool,
    /// Stops the run: running partitions are terminated, what was settled is counted. Final.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub cancel: bool,
    /// How often the run has been resumed. One more goes on with steps that `onFailure: Pause` has stopped: what has failed is
    /// accepted, and as many again may fail.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 1_000_000))]
    pub resume: Option<i32>,
    /// How often what failed has been tried again. One more opens the failed partitions of all steps again, in a run that goes on, is
    /// paused or has ended: a new round, which keeps what succeeded. Steps behind them are run anew.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 1_000_000))]
    pub retry_failed: Option<i32>,
    /// The run begins with what another one has counted, instead of with nothing: an ended run, whose steps, params, data and all else
    /// that says what is done it takes over. What had failed or was not settled is run, and all that comes after it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[x_kube(validation = ("self == oldSelf", "resumeFrom is immutable: create another Workflow"))]
    pub resume_from: Option<ResumeFrom>,
    /// For how long the run is kept once it has ended; absent: until somebody deletes it. May change.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ttl: Option<Ttl>,
}

/// Another run, of the same namespace, whose work is gone on with.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ResumeFrom {
    /// Its name.
    #[schemars(length(min = 1, max = 52))]
    pub name: String,
    /// Which of its partitions are run again; absent: `Failed`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub partitions: Option<ResumedPartitions>,
}

/// Which partitions of a run another one runs again.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum ResumedPartitions {
    /// Those that failed for good, and those that were not settled.
    #[default]
    Failed,
}

/// For how long an ended run is kept: then it is deleted with all that belongs to it.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Ttl {
    /// One that has succeeded; absent: until somebody deletes it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after_success: Option<Duration>,
    /// One that has failed, was cancelled or was not accepted; absent: until somebody deletes it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after_failure: Option<Duration>,
}

impl Ttl {
    /// For how long a run of that phase is kept; `None`: it has not ended, or until somebody deletes it.
    #[must_use]
    pub fn of(&self, phase: Phase) -> Option<std::time::Duration> {
        let limit = match phase {
            Phase::Succeeded => self.after_success.as_ref(),
            Phase::Failed | Phase::Cancelled => self.after_failure.as_ref(),
            _ => None,
        };
        limit.map(Duration::get)
    }
}

impl Workflow {
    /// Whether somebody wants what failed to be tried again, and the operator has not taken it up yet.
    #[must_use]
    pub fn wants_retry(&self) -> bool {
        let followed = self.status.as_ref().map_or(0, |status| status.retried_failed);
        self.spec.retry_failed.unwrap_or(0) > followed
    }
}

/// Workers, in a cluster. On a laptop the machine itself is every pool. Steps whose programs need different pods (another image, other
/// resources) have workers of different kinds in one pool, which share its maximum.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = ("has(self.template) == has(oldSelf.template) && has(self.workerPoolRef) == has(oldSelf.workerPoolRef)", "a pool is immutable but for workers and startDeadline: create another Workflow"),
    validation = ("!has(self.workerPoolRef) || !(has(self.template) || has(self.workers) || has(self.startDeadline))", "a pool with workerPoolRef has no template, workers or startDeadline: its WorkerPool says them")
)]
pub struct Pool {
    /// A DNS label.
    #[schemars(length(min = 1, max = 30), regex(pattern = r"^[a-z]([-a-z0-9]*[a-z0-9])?$"))]
    pub name: String,
    /// The pods' template, as a Job has it: `metadata` and `spec` of a pod. Its container `main` is where the programs run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::pod_part")]
    pub template: Option<Value>,
    /// How many workers. May change while the run goes on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub workers: Option<PoolWorkers>,
    /// The workers of a standing `WorkerPool`, which it shares with other runs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[x_kube(validation = ("self == oldSelf", "workerPoolRef is immutable: create another Workflow"))]
    pub worker_pool_ref: Option<WorkerPoolRef>,
    /// How long a step that has not begun waits for its first worker before it fails; absent: 10m. Workers that are queued do not
    /// count. May change while the run goes on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub start_deadline: Option<Duration>,
}

/// A standing `WorkerPool`.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct WorkerPoolRef {
    /// Its name.
    #[schemars(length(min = 1, max = 46))]
    pub name: String,
    /// Its namespace, if it is another than the run's: its `allowedRuns` must name the run's. Absent: the run's own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 63), regex(pattern = r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$"))]
    pub namespace: Option<String>,
}

/// How many workers a pool has: as many as there is something to do for, between these.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = ("!has(self.min) || !has(self.max) || self.min <= self.max", "workers.min cannot be more than workers.max"))]
pub struct PoolWorkers {
    /// Workers that stay, also with nothing to do: while the run goes on, or for as long as a standing pool is there; absent: 0.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 10_000))]
    pub min: Option<i32>,
    /// Workers at most, of all kinds together; absent: as the operator was started.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 10_000))]
    pub max: Option<i32>,
    /// For how long workers stay that have nothing to do; absent: 30s.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub idle: Option<Duration>,
}

/// The type of a parameter.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum ParamType {
    /// Text.
    String,
    /// A whole number within 64 bits.
    Integer,
    /// Any finite number.
    Number,
    /// `true` or `false`.
    Boolean,
    /// A list of any values.
    List,
    /// A map from text to any values.
    Object,
}

/// A value that a submission may set. Steps see it as `params.NAME` in expressions and as `BRAID_PARAM_NAME`.
#[derive(KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Param {
    /// An identifier.
    #[schemars(length(min = 1, max = 63), regex(pattern = r"^[A-Za-z_][A-Za-z0-9_]*$"))]
    pub name: String,
    /// What the value must be; absent: whatever JSON it is.
    #[serde(default, rename = "type", skip_serializing_if = "Option::is_none")]
    pub kind: Option<ParamType>,
    /// The value of this run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::any_json")]
    pub value: Option<Value>,
    /// The value where none is given. One of both must be there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::any_json")]
    pub default: Option<Value>,
    /// What it may be.
    #[serde(default, rename = "enum", skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "schema::any_json_list")]
    pub allowed: Vec<Value>,
    /// For people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 1024))]
    pub description: Option<String>,
}

/// A named output of a run.
#[derive(KubeSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Output {
    /// An identifier.
    #[schemars(length(min = 1, max = 63), regex(pattern = r"^[A-Za-z_][A-Za-z0-9_]*$"))]
    pub name: String,
    /// An expression over `params`, `steps` and `workflow`, for example `steps.count.results.words`.
    #[schemars(length(min = 1, max = 2048))]
    pub value: String,
}

const _: () = {
    // The attributes above take literals only; the code reads `limits`.
    assert!(limits::PARAMS == 64 && limits::DATA == 32 && limits::STEPS == 64 && limits::OUTPUTS == 64);
    assert!(limits::RETRY_RULES == 16 && limits::EXIT_CODES == 32);
    assert!(limits::POOLS == 8 && limits::WORKER_POOL_NAME == 46 && limits::ROUNDS == 10_000);
    assert!(
        limits::AXES == 16 && limits::AFTER == 16 && limits::RESULTS == 32 && limits::ENV == 64 && limits::WORDS == 128
    );
    assert!(limits::WORD_BYTES == 8_192 && limits::SCRIPT_BYTES == 24_576 && limits::EXPRESSION_BYTES == 2_048);
    assert!(
        limits::QUANTILES_KEYS == 64
            && limits::DISTINCT_KEYS == 128
            && limits::QUANTILES_AT == 16
            && limits::CARRY == 8
    );
    assert!(
        limits::READS == 16
            && limits::WRITES == 8
            && limits::CONCURRENCY == 256
            && limits::KEYS == 50_000
            && limits::PARTITIONS == 1_099_511_627_776
    );
};
