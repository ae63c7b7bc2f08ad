//! `Workflow`: what people write. One object is one run.

use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{ByteSize, CountOrPercent, Duration, Parallelism, WorkflowStatus, limits, schema};

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
    validation = ("size(self.metadata.name) <= 52", "name must have at most 52 characters: names of what belongs to the run are derived from it")
)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = ("has(self.params) == has(oldSelf.params) && has(self.data) == has(oldSelf.data) && has(self.pools) == has(oldSelf.pools) && has(self.outputs) == has(oldSelf.outputs) && has(self.timeout) == has(oldSelf.timeout) && has(self.stepDefaults) == has(oldSelf.stepDefaults)", "the spec of a run is immutable but for suspend, cancel, resume, retryFailed, ttl, maxFailedPartitions, parallelism and pools[].workers: create another Workflow"),
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
    #[x_kube(merge_strategy = ListMerge::Map(vec!["name".into()]), validation = ("self.size() == oldSelf.size() && self.all(pool, oldSelf.exists(old, old.name == pool.name))", "pools are immutable but for workers and startDeadline: create another Workflow"))]
    pub pools: Vec<Pool>,
    /// What holds for every step that does not say otherwise.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[x_kube(validation = ("self == oldSelf", "stepDefaults are immutable: create another Workflow"))]
    pub step_defaults: Option<StepDefaults>,
    /// Partitions in flight at most, of all steps over all workers, shared evenly by the steps that run: a number, or a text with an
    /// expression over `params`, for example `$(params.n)`. May change while the run goes on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parallelism: Option<Parallelism>,
    /// The work. The order means nothing: a step starts when all in its `after` are done.
    #[schemars(length(min = 1, max = 64))]
    #[x_kube(
        merge_strategy = ListMerge::Map(vec!["name".into()]),
        validation = ("size(self) == size(oldSelf) && self.all(s, oldSelf.exists(o, o.name == s.name))", "steps may not be added, removed or renamed: create another Workflow")
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
    /// For how long the run is kept once it has ended; absent: until somebody deletes it. May change.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ttl: Option<Ttl>,
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
    /// The workers of a standing `WorkerPool` of the run's namespace, which it shares with other runs.
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

/// Data by name. Its kind is its synchronisation: files are listed once and pinned; those that a step writes are new, and never replace others.
#[derive(KubeSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Data {
    /// A DNS label.
    #[schemars(length(min = 1, max = 30), regex(pattern = r"^[a-z]([-a-z0-9]*[a-z0-9])?$"))]
    pub name: String,
    /// Files, by path and glob.
    pub files: Files,
}

/// Files on the machine where the workers run, or on a volume.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = ("has(self.volume) == has(oldSelf.volume) && has(self.format) == has(oldSelf.format)", "files are immutable: create another Workflow"))]
pub struct Files {
    /// Where they are in a cluster; workers read it, and programs do not see it. On a laptop only `hostPath` is there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub volume: Option<FilesVolume>,
    /// A path with `*`, `**`, `?`, `[..]` and `{a,b}`; `$( )` is an expression. Below the root of the volume, if there is one;
    /// else, on a laptop, absolute or below the directory of the run, and a leading `~/` is the home directory. Of data that a step
    /// writes: a directory, without wildcards; it need not be there.
    #[schemars(length(min = 1, max = 1024))]
    pub url: String,
    /// How the bytes divide into records; absent: they do not, files are given whole and as they are.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub format: Option<Format>,
}

/// A volume with files: one of these.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = ("[has(self.persistentVolumeClaim), has(self.hostPath), has(self.configMap)].filter(given, given).size() == 1", "a volume is one of persistentVolumeClaim, hostPath, configMap")
)]
pub struct FilesVolume {
    /// A claim in the namespace of the run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub persistent_volume_claim: Option<ClaimVolume>,
    /// A directory of the nodes, or of the laptop. Clusters may forbid it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub host_path: Option<HostPathVolume>,
    /// The keys of a `ConfigMap` in the namespace of the run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub config_map: Option<ConfigMapVolume>,
}

/// A claim.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ClaimVolume {
    /// Its name.
    #[schemars(length(min = 1, max = 253))]
    pub claim_name: String,
}

/// A directory of the nodes.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct HostPathVolume {
    /// Its absolute path.
    #[schemars(length(min = 1, max = 1024), regex(pattern = r"^/"))]
    pub path: String,
}

/// A `ConfigMap`.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ConfigMapVolume {
    /// Its name.
    #[schemars(length(min = 1, max = 253))]
    pub name: String,
}

/// How the bytes of a file divide into records. Files of `Text`, `CSV` and `JSONLines` whose names end in `.gz` or `.zst` are
/// unpacked before programs see them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
pub enum Format {
    /// Lines, ended by a line feed.
    Text,
    /// Records of RFC 4180: a header, then a record to a line, where quoted fields may have line ends. Each partition begins
    /// with the header.
    #[serde(rename = "CSV")]
    Csv,
    /// A JSON value to a line. Empty lines are none.
    #[serde(rename = "JSONLines")]
    JsonLines,
    /// Row groups.
    Parquet,
}

impl Format {
    /// As manifests have it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Text => "Text",
            Self::Csv => "CSV",
            Self::JsonLines => "JSONLines",
            Self::Parquet => "Parquet",
        }
    }
}

/// A node of the DAG: a program, run over partitions.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = ("has(self.over) == has(oldSelf.over) && has(self.after) == has(oldSelf.after) && has(self.afterRule) == has(oldSelf.afterRule) && has(self.when) == has(oldSelf.when) && has(self.pool) == has(oldSelf.pool) && has(self.results) == has(oldSelf.results) && has(self.retry) == has(oldSelf.retry) && has(self.timeout) == has(oldSelf.timeout) && has(self.partitionTimeout) == has(oldSelf.partitionTimeout) && has(self.stopWhen) == has(oldSelf.stopWhen) && has(self.repeat) == has(oldSelf.repeat) && has(self.finally) == has(oldSelf.finally) && has(self.reads) == has(oldSelf.reads) && has(self.onFailure) == has(oldSelf.onFailure) && has(self.writes) == has(oldSelf.writes)", "a step is immutable but for maxFailedPartitions and parallelism: create another Workflow"),
    validation = ("!has(self.writes) || !(has(self.run.serve) || has(self.run.__function__))", "programs that live on cannot write data: writes goes with a process for each partition"),
    validation = ("!has(self.writes) || !has(self.repeat)", "a step that repeats cannot write data: each round would write the same files"),
    validation = ("!has(self.afterRule) || (has(self.after) && self.after.size() > 0)", "afterRule speaks of the steps in after: name some, or leave it out")
)]
pub struct Step {
    /// A DNS label.
    #[schemars(length(min = 1, max = 30), regex(pattern = r"^[a-z]([-a-z0-9]*[a-z0-9])?$"))]
    pub name: String,
    /// Steps that must have ended before; with what outcome, `afterRule` says.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16), inner(length(min = 1, max = 30)))]
    #[x_kube(merge_strategy = ListMerge::Set, validation = ("self == oldSelf", "after is immutable: create another Workflow"))]
    pub after: Vec<String>,
    /// What the steps in `after` must have come to; else this one is Skipped. Absent: `AllSucceeded`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[x_kube(validation = ("self == oldSelf", "afterRule is immutable: create another Workflow"))]
    pub after_rule: Option<AfterRule>,
    /// An expression over `params`, the steps before and `workflow`, for example `steps.count.results.words > 0`: false = Skipped.
    /// Evaluated once, when the step would start; if it has no value, the step fails.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 2048))]
    #[x_kube(validation = ("self == oldSelf", "when is immutable: create another Workflow"))]
    pub when: Option<String>,
    /// What the step runs over, exactly one of `data`, `range`, `items`, `itemsFrom`, `matrix`; absent: one partition.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[x_kube(validation = ("self == oldSelf", "over is immutable: create another Workflow"))]
    pub over: Option<Over>,
    /// Where it runs, by the name of a pool; absent: `default`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 30))]
    #[x_kube(validation = ("self == oldSelf", "pool is immutable: create another Workflow"))]
    pub pool: Option<String>,
    /// The program of a partition.
    #[x_kube(validation = ("self == oldSelf", "run is immutable: create another Workflow"))]
    pub run: Run,
    /// Data that every partition reads beside its own input: whole, as files in the directory `BRAID_IN_<DATA>`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["data".into()]), validation = ("self == oldSelf", "reads are immutable: create another Workflow"))]
    pub reads: Vec<ReadRef>,
    /// Data that partitions write: files below `$BRAID_OUT/<DATA>/`, visible once their partition is counted. The url of the data is then a
    /// directory. Each data is written by one step; steps that read it come after that one.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 8))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["data".into()]), validation = ("self == oldSelf", "writes are immutable: create another Workflow"))]
    pub writes: Vec<WriteRef>,
    /// What is made of the partitions' results.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["name".into()]), validation = ("self == oldSelf", "results are immutable: create another Workflow"))]
    pub results: Vec<ResultSpec>,
    /// What happens to a partition that fails.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[x_kube(validation = ("self == oldSelf", "retry is immutable: create another Workflow"))]
    pub retry: Option<Retry>,
    /// The longest that the step may take from its start; then it fails.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[x_kube(validation = ("self == oldSelf", "timeout is immutable: create another Workflow"))]
    pub timeout: Option<Duration>,
    /// The longest that one attempt of a partition may take; then it is terminated and counts as failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[x_kube(validation = ("self == oldSelf", "partitionTimeout is immutable: create another Workflow"))]
    pub partition_timeout: Option<Duration>,
    /// How many partitions may fail for good before the step does: a count or a share of all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_failed_partitions: Option<CountOrPercent>,
    /// What follows when more partitions have failed than may. Absent: `Fail`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[x_kube(validation = ("self == oldSelf", "onFailure is immutable: create another Workflow"))]
    pub on_failure: Option<OnFailure>,
    /// Partitions in flight at most, over all workers: a number, or a text with an expression over `params` and the steps before, for
    /// example `$(params.n)`. May change while the run goes on; less than before takes effect as what runs ends.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parallelism: Option<Parallelism>,
    /// A condition over the step's own `results` as they are folded so far, for example `results.rows >= 1000000`. Once it holds, no
    /// more is handed out, what is settled counts, the rest is left, and the step has succeeded.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 2048))]
    #[x_kube(validation = ("self == oldSelf", "stopWhen is immutable: create another Workflow"))]
    pub stop_when: Option<String>,
    /// The step runs again until its results are as wanted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[x_kube(validation = ("self == oldSelf", "repeat is immutable: create another Workflow"))]
    pub repeat: Option<Repeat>,
    /// Runs after all steps that are not, however those ended: also when the run failed or was cancelled.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    #[x_kube(validation = ("self == oldSelf", "finally is immutable: create another Workflow"))]
    pub finally: bool,
}

/// What follows when more partitions of a step have failed than may.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
pub enum OnFailure {
    /// The step fails at once; the rest of it is left.
    #[default]
    Fail,
    /// All partitions are run; then the step fails.
    Continue,
    /// Nothing more is handed out until somebody resumes the run, tries again what failed, or allows more failures.
    Pause,
}

/// Data that a step reads beside what it runs over.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ReadRef {
    /// The name of data.
    #[schemars(length(min = 1, max = 30))]
    pub data: String,
}

/// Data that the partitions of a step write.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct WriteRef {
    /// The name of data.
    #[schemars(length(min = 1, max = 30))]
    pub data: String,
}

/// What holds for every step that has no such field of its own. A field of a step replaces the whole of the one here.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct StepDefaults {
    /// As `timeout` of a step.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout: Option<Duration>,
    /// As `partitionTimeout` of a step.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub partition_timeout: Option<Duration>,
    /// As `retry` of a step.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry: Option<Retry>,
}

/// Rounds of a step: each runs all partitions anew, and its results replace those of the one before.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Repeat {
    /// A condition over the `results` of a round that has succeeded: true = the step has succeeded.
    #[schemars(length(min = 1, max = 2048))]
    pub until: String,
    /// Rounds at most; if `until` is false after the last of them, the step fails.
    #[schemars(range(min = 1, max = 10_000))]
    pub max: i32,
    /// The wait between the end of a round and the begin of the next; absent: none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub every: Option<Duration>,
}

/// What the steps in `after` must have come to for a step to start. It is judged when all of them have ended. A step that was
/// skipped because of a failure counts as failed; one that was skipped by its `when` counts neither as succeeded nor as failed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
pub enum AfterRule {
    /// None failed. One that was skipped by its `when` is no hindrance.
    #[default]
    AllSucceeded,
    /// All succeeded, and none was skipped for whatever reason.
    NoneSkipped,
    /// At least one succeeded.
    AnySucceeded,
    /// At least one failed.
    AnyFailed,
    /// All failed.
    AllFailed,
    /// However they ended.
    AllDone,
}

/// What a step runs over: exactly one of `data`, `range`, `items`, `itemsFrom`, `matrix`.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = ("has(self.data) == has(self.split)", "split goes with data: say how the data is cut, for example split: {files: 1}")
)]
pub struct Over {
    /// The name of data.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 30))]
    pub data: Option<String>,
    /// How data is cut.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub split: Option<Split>,
    /// Numbers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub range: Option<Range>,
    /// A list of any values; a partition each.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::items")]
    pub items: Option<Vec<Value>>,
    /// An expression that gives the list, evaluated once when the step starts, for example `steps.list.results.names`. Of a map each
    /// entry is an item `{key, value}`, in the order of the keys.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 2048))]
    pub items_from: Option<String>,
    /// Every combination of some values.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub matrix: Option<Matrix>,
}

/// The combinations of the values of some axes; a partition each, an object from axes to values. Of two combinations that differ in
/// several axes, the first of those decides which comes first. Then `exclude`, then `include`.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Matrix {
    /// The axes.
    #[schemars(length(min = 1, max = 16))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["name".into()]))]
    pub axes: Vec<Axis>,
    /// Each adds its entries to every combination whose axes it does not contradict, or else is a combination of its own, at the end.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "schema::objects")]
    pub include: Vec<serde_json::Map<String, Value>>,
    /// Combinations that have all the values that one of these names are left out.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "schema::objects")]
    pub exclude: Vec<serde_json::Map<String, Value>>,
}

/// An axis of a matrix.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Axis {
    /// An identifier; programs see a partition's value as `BRAID_ITEM_<NAME>`.
    #[schemars(length(min = 1, max = 63), regex(pattern = r"^[A-Za-z_][A-Za-z0-9_]*$"))]
    pub name: String,
    /// Its values, any JSON.
    #[schemars(schema_with = "schema::axis_values")]
    pub values: Vec<Value>,
}

/// How data is cut: exactly one of `files`, `bytes`, `rows`, `rowGroups`. Which of them data has depends on its format.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = ("[has(self.files), has(self.bytes), has(self.rows), has(self.rowGroups)].filter(given, given).size() == 1", "split needs exactly one of files, bytes, rows, rowGroups"))]
pub struct Split {
    /// So many whole files to a partition. Any format.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 100_000))]
    pub files: Option<i32>,
    /// About so many bytes of one file to a partition, cut where records end. `Text`, `JSONLines` and `CSV`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bytes: Option<ByteSize>,
    /// So many records of one file to a partition; the last of a file may have fewer. `Text`, `JSONLines` and `CSV`: each file is
    /// read through once when the step is planned.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 1_000_000_000))]
    pub rows: Option<i32>,
    /// So many row groups of one file to a partition, as a file of their own. `Parquet`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 100_000))]
    pub row_groups: Option<i32>,
}

/// The numbers `start`, `start + step`, ... below `end`; a partition each.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = ("self.end >= self.start", "range.end must not be below range.start"),
    validation = ("(self.end - self.start) / self.step < 1099511627776", "a step has fewer than 2^40 partitions: choose a larger range.step")
)]
pub struct Range {
    /// The first number.
    #[serde(default)]
    #[schemars(range(min = -1_152_921_504_606_846_976_i64, max = 1_152_921_504_606_846_976_i64))]
    pub start: i64,
    /// One past the last number.
    #[schemars(range(min = -1_152_921_504_606_846_976_i64, max = 1_152_921_504_606_846_976_i64))]
    pub end: i64,
    /// The distance from one to the next, at least 1.
    #[serde(default = "one")]
    #[schemars(range(min = 1, max = 1_152_921_504_606_846_976_i64))]
    pub step: i64,
}

fn one() -> i64 {
    1
}

/// A program. `command` with `args`, or `script`, or `script` given to `command`: a process for each partition, or with `serve` one
/// that lives on. Or `function`, of Python.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = ("has(self.command) || has(self.script) || has(self.__function__)", "run needs a command, a script or a function"),
    validation = ("!has(self.__function__) || !(has(self.script) || has(self.args) || has(self.serve))", "a function goes without script, args and serve: Braid calls it, and command may say with which Python"),
    validation = ("!has(self.code) || has(self.__function__)", "code goes with function")
)]
pub struct Run {
    /// The program and its first words; with a script: what runs the script's file.
    /// `$(NAME)` is the environment variable NAME, `$$(NAME)` the text `$(NAME)`. As in a container, `$$` is one `$` wherever it
    /// stands: the `$$` of a shell, its process, is written `$$$$` here, or belongs into a script.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(min = 1, max = 128), inner(length(max = 8192)))]
    pub command: Vec<String>,
    /// Further words, expanded as `command`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 128), inner(length(max = 8192)))]
    pub args: Vec<String>,
    /// A program text, run by `command`, or by `sh` where there is none. Never expanded.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 24576))]
    pub script: Option<String>,
    /// Environment variables. `$( )` in a value is an expression, evaluated once when the step starts; `$$(` is the text `$(`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["name".into()]))]
    pub env: Vec<EnvVar>,
    /// The program lives on: one process in each worker, for all partitions. Absent: a process for each partition.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub serve: Option<Serve>,
    /// `MODULE:NAME`, a Python function (3.9 or newer) that is called with each partition's item, and with a context if it takes two
    /// arguments. What it returns are the results; an exception is a failed attempt. `command` is the interpreter, `python3` if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(
        length(min = 3, max = 256),
        regex(
            pattern = r"^[A-Za-z_][A-Za-z0-9_]*(\.[A-Za-z_][A-Za-z0-9_]*)*:[A-Za-z_][A-Za-z0-9_]*(\.[A-Za-z_][A-Za-z0-9_]*)*$"
        )
    )]
    pub function: Option<String>,
    /// Where the function's module is, if the interpreter does not know it by itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub code: Option<Code>,
    /// Partitions in flight in one worker: processes, lines or requests without an answer, threads of a function.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 256))]
    pub concurrency: Option<i32>,
    /// The image of the container that the program runs in; absent: the one that the operator was started with. A laptop uses
    /// no images: the program runs on the machine as it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 512))]
    pub image: Option<String>,
    /// What the container may use, as in core/v1. Shared by all partitions that run in one worker at once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::pod_part")]
    pub resources: Option<Value>,
    /// Environment variables from ConfigMaps and Secrets, as in core/v1.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "schema::pod_parts")]
    pub env_from: Vec<Value>,
    /// Where volumes of the pool's template are seen, as in core/v1.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "schema::pod_parts")]
    pub volume_mounts: Vec<Value>,
    /// Rights of the container, as in core/v1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::pod_part")]
    pub security_context: Option<Value>,
}

/// How partitions reach a program that lives on.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = ("self.protocol == 'HTTP' || !(has(self.port) || has(self.path) || has(self.readyPath) || has(self.readyTimeout))", "port, path, readyPath and readyTimeout go with protocol: HTTP")
)]
pub struct Serve {
    /// How it is spoken to.
    pub protocol: Protocol,
    /// HTTP: where it listens in a pod. Absent, and on a laptop: at a free port. The variable `BRAID_PORT` says it in any case.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 65_535))]
    pub port: Option<i32>,
    /// HTTP: what partitions are posted to; absent: `/`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 1024), regex(pattern = r"^/[!-~]*$"))]
    pub path: Option<String>,
    /// HTTP: what answers 2xx when the program is ready. Absent: it is ready when it listens.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 1024), regex(pattern = r"^/[!-~]*$"))]
    pub ready_path: Option<String>,
    /// HTTP: how long it may take to be ready; then it is ended and started again. Absent: 1m.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ready_timeout: Option<Duration>,
}

/// How a program that lives on is spoken to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
pub enum Protocol {
    /// One JSON on a line each way, over standard input and output.
    #[default]
    Lines,
    /// A POST for each partition.
    #[serde(rename = "HTTP")]
    Http,
}

/// Where a function's module is: one of these.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = ("has(self.path) != has(self.configMapRef)", "code is one of path, configMapRef"))]
pub struct Code {
    /// A directory of this machine, absolute or below the directory of the run. `braid submit` makes a ConfigMap of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 1024))]
    pub path: Option<String>,
    /// A ConfigMap in the namespace of the run, best an immutable one: a file for each key, or an archive `code.tar.gz`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub config_map_ref: Option<ConfigMapVolume>,
}

/// An environment variable.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = ("!has(self.valueFrom) || !has(self.value) || self.value == ''", "a variable has a value or valueFrom, not both"),
    validation = ("!self.name.startsWith('BRAID_')", "names that begin with BRAID_ are Braid's own")
)]
pub struct EnvVar {
    /// The variable's name.
    #[schemars(length(min = 1, max = 128), regex(pattern = r"^[A-Za-z_][A-Za-z0-9_]*$"))]
    pub name: String,
    /// Its value.
    #[serde(default)]
    #[schemars(length(max = 8192))]
    pub value: String,
    /// Where its value comes from, as in core/v1: a key of a Secret or a ConfigMap, a field of the pod. Not on a laptop.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::pod_part")]
    pub value_from: Option<Value>,
}

/// How results are folded. Whatever the split, the order and the re-runs of partitions, equal results give equal bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
pub enum Reduce {
    /// The sum, exact.
    #[default]
    Sum,
    /// How many partitions gave the result; keyed: how many gave each key.
    Count,
    /// The smallest, and the partition it came from.
    Min,
    /// The largest, and the partition it came from.
    Max,
    /// The mean of all numbers: the exact sum by their count, rounded once.
    Mean,
    /// Values at shares of all numbers in their order (`at`), within a relative error.
    Quantiles,
    /// How many different values there are: exact while they are few, then estimated.
    Distinct,
    /// All values, as a list in the order of partitions.
    Collect,
    /// The value of the lowest partition that gave one.
    First,
    /// The value of the highest partition that gave one.
    Last,
    /// Whether all are `true`.
    All,
    /// Whether any is `true`.
    Any,
}

/// What a result's numbers are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
pub enum ResultType {
    /// Decimal numbers of at most 38 digits, never rounded: texts like `"9.90"` in and out.
    Decimal,
}

/// A named result of a step: what partitions give under a key, folded.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = ("(!has(self.top) && !has(self.maxKeys)) || (has(self.keyed) && self.keyed)", "top and maxKeys need keyed: true"),
    validation = ("!has(self.top) || self.reduce in ['Sum', 'Count', 'Min', 'Max', 'Mean', 'Distinct']", "top needs results with an order: Sum, Count, Min, Max, Mean or Distinct"),
    validation = ("has(self.at) == (self.reduce == 'Quantiles')", "at goes with reduce: Quantiles: say which ones, for example at: [p50, p99]"),
    validation = ("!has(self.carry) || self.reduce in ['Min', 'Max', 'First', 'Last']", "carry goes with results that are one partition's: Min, Max, First or Last"),
    validation = ("!has(self.type) || self.reduce in ['Sum', 'Mean', 'Min', 'Max']", "type: Decimal goes with Sum, Mean, Min or Max"),
    validation = ("!has(self.keyed) || !self.keyed || !(self.reduce in ['Quantiles', 'Distinct']) || (has(self.maxKeys) && self.maxKeys <= (self.reduce == 'Quantiles' ? 64 : 128))", "a keyed result of Quantiles needs maxKeys of at most 64, one of Distinct of at most 128: every key takes room for itself"),
    validation = ("!has(self.metric) || !self.metric || (!(has(self.keyed) && self.keyed) && !(self.reduce in ['Collect', 'First', 'Last']))", "a metric is one number: not of keyed results, Collect, First or Last")
)]
pub struct ResultSpec {
    /// An identifier; expressions see `steps.STEP.results.NAME`.
    #[schemars(length(min = 1, max = 63), regex(pattern = r"^[A-Za-z_][A-Za-z0-9_]*$"))]
    pub name: String,
    /// The key under which a partition gives it, if not `name`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 128))]
    pub from: Option<String>,
    /// How it is folded.
    pub reduce: Reduce,
    /// What its numbers are; absent: integers of at most 128 bits and doubles.
    #[serde(default, rename = "type", skip_serializing_if = "Option::is_none")]
    pub kind: Option<ResultType>,
    /// Quantiles: which, as `p50` or `p99_9` (99.9 %). `p0` is the smallest, `p100` the largest.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(
        length(min = 1, max = 16),
        inner(
            length(max = 8),
            regex(pattern = r"^p([0-9]|[1-9][0-9]|100|[0-9]_[0-9]{1,3}|[1-9][0-9]_[0-9]{1,3})$")
        )
    )]
    #[x_kube(merge_strategy = ListMerge::Set)]
    pub at: Vec<String>,
    /// Min, Max, First, Last: further keys of the chosen partition's results that come along. The result is then a map of `value` and
    /// `carry`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(min = 1, max = 8), inner(length(min = 1, max = 128)))]
    #[x_kube(merge_strategy = ListMerge::Set)]
    pub carry: Vec<String>,
    /// A partition gives a map; each key is folded by itself.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub keyed: bool,
    /// Show the so many largest (Min: smallest) keys only. All keys are folded, so the answer is exact.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 1000))]
    pub top: Option<i32>,
    /// How many different keys there may be at most; more fail the step.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 50_000))]
    pub max_keys: Option<i32>,
    /// The value where no partition has given one, also of a step that was skipped.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::any_json")]
    pub default: Option<Value>,
    /// Whether the operator shows it at `/metrics`, as `braid_workflow_result`, as long as the run's object is there.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub metric: bool,
}

/// What happens to a partition that fails.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Retry {
    /// How often a partition is tried before it is set aside as failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 1000))]
    pub attempts: Option<i32>,
    /// How long it waits between two attempts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub backoff: Option<Backoff>,
    /// What failures of a kind mean. The first rule that names a failure decides; where none does, it is tried again, but not
    /// `NotRunnable`, `BadResult`, `ResultTooLarge`, `InputChanged`, `Refused` and HTTP below 500.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16))]
    pub rules: Vec<RetryRule>,
}

/// What failures of a kind mean.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = ("has(self.exitCodes) || has(self.reasons)", "a rule needs exitCodes, reasons, or both: failures that it is about"))]
pub struct RetryRule {
    /// The process ended with one of these codes.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(min = 1, max = 32), inner(range(min = 1, max = 255)))]
    #[x_kube(merge_strategy = ListMerge::Set)]
    pub exit_codes: Vec<i32>,
    /// It failed for one of these.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(min = 1, max = 8))]
    #[x_kube(merge_strategy = ListMerge::Set)]
    pub reasons: Vec<RetryReason>,
    /// What then.
    pub action: RetryAction,
}

/// Why an attempt failed, as rules name it. A partition that kills its worker is not among these: it is set aside after three deaths.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
pub enum RetryReason {
    /// A signal ended the process; not one that Braid sent.
    Signal,
    /// It took longer than `partitionTimeout`.
    Timeout,
    /// It went beyond its memory.
    OutOfMemory,
    /// The program cannot be started.
    NotRunnable,
    /// The program succeeded, and what it gave is not what was declared.
    BadResult,
    /// Its results are larger than a commit may hold.
    ResultTooLarge,
    /// The input is not what was planned.
    InputChanged,
    /// The input cannot be read.
    UnreadableInput,
    /// The program said so itself: an exception of a function, an `error` for a line.
    Error,
    /// The same, and that trying again cannot help.
    Refused,
    /// A server answered with a status that is no success.
    #[serde(rename = "HTTP")]
    Http,
    /// A program that lives on did not answer as agreed.
    BadAnswer,
    /// It wrote a file whose name is taken.
    OutputExists,
    /// What it wrote cannot be a file of data.
    BadOutput,
    /// What it wrote could not be stored.
    OutputNotStored,
}

/// What a failed attempt means.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
pub enum RetryAction {
    /// The partition is tried again, up to `attempts`.
    #[default]
    Retry,
    /// The partition has failed for good.
    FailPartition,
    /// So has the step, at once, however many partitions may fail; with `onFailure: Pause` it is paused.
    FailStep,
}

/// A wait that doubles with each attempt.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Backoff {
    /// Before the second attempt; absent: 1s.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub initial: Option<Duration>,
    /// At most; absent: 1m.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max: Option<Duration>,
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
