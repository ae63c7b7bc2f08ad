//! `Worker`: a worker's desk. The spec is what is assigned, the status is what was done.
//!
//! The operator writes the spec, the worker of the named pod and start writes the status. A shard's entry in the status
//! is its commit: it may move forward until it is sealed, then it is immutable until the operator has taken its id out
//! of the spec. The rules below hold whatever the two sides do.

use std::collections::BTreeMap;

use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{
    CardDigest, Cursor, Intervals, PartitionRange, PlanDigest, Round, ShardId, StartId, schema,
    status::{Deferred, FailureCause, PlanRef, SlowPartition},
    workflow::{Code, Format, Reduce, ResultType, RetryRule, Serve},
};

/// What is assigned to a worker.
#[derive(CustomResource, KubeSchema, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[kube(
    group = "braid.dev",
    version = "v1alpha1",
    kind = "Worker",
    namespaced,
    status = "WorkerStatus",
    category = "braid",
    derive = "PartialEq",
    printcolumn(name = "Workflow", type_ = "string", json_path = ".spec.shards[-1:].run.workflow"),
    printcolumn(name = "Step", type_ = "string", json_path = ".spec.shards[-1:].run.step"),
    printcolumn(name = "From", type_ = "integer", json_path = ".spec.shards[-1:].start"),
    printcolumn(name = "To", type_ = "integer", json_path = ".spec.shards[-1:].end"),
    printcolumn(name = "Done", type_ = "integer", json_path = ".status.summary.done"),
    printcolumn(name = "Speed", type_ = "string", json_path = ".status.summary.speed"),
    printcolumn(name = "Drains", type_ = "boolean", json_path = ".spec.drain", priority = 1),
    printcolumn(name = "Pool", type_ = "string", json_path = ".spec.pool", priority = 1),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp"),
    validation = ("!has(self.status) || !has(self.status.shards) || self.status.shards.all(s, (has(oldSelf.status) && has(oldSelf.status.shards) && oldSelf.status.shards.exists(o, o.id == s.id)) || (has(self.spec.shards) && self.spec.shards.exists(a, a.id == s.id)))", "a commit may be added only for a shard that is assigned"),
    validation = ("!has(oldSelf.status) || !has(oldSelf.status.shards) || oldSelf.status.shards.all(o, (has(self.status) && has(self.status.shards) && self.status.shards.exists(s, s.id == o.id)) || !has(self.spec.shards) || !self.spec.shards.exists(a, a.id == o.id))", "the commit of a shard that is assigned may not be removed"),
    validation = ("!has(oldSelf.status) || !has(oldSelf.status.shards) || !has(self.status) || !has(self.status.shards) || oldSelf.status.shards.all(o, self.status.shards.all(s, s.id != o.id || s == o || (has(self.spec.shards) && self.spec.shards.exists(a, a.id == o.id))))", "the commit of a shard that is no longer assigned may not be changed"),
    validation = ("!has(oldSelf.status) || !has(oldSelf.status.shards) || !has(self.status) || !has(self.status.shards) || oldSelf.status.shards.all(o, self.status.shards.all(s, s.id != o.id || s == o || !has(oldSelf.spec.shards) || !oldSelf.spec.shards.exists(a, a.id == o.id && a.seal)))", "the commit of a shard that the operator sealed may not be changed"),
    validation = ("!has(self.status) || !has(self.status.shards) || !has(self.spec.shards) || self.status.shards.all(s, self.spec.shards.all(a, a.id != s.id || (s.cursor >= a.start && s.cursor <= a.end)))", "a cursor must lie within its shard")
)]
#[serde(rename_all = "camelCase")]
pub struct WorkerSpec {
    /// The uid of the pod whose desk this is.
    #[serde(rename = "podUID")]
    #[schemars(length(min = 1, max = 63))]
    #[x_kube(validation = ("self == oldSelf", "a Worker belongs to one pod for ever"))]
    pub pod_uid: String,
    /// The pool that it belongs to.
    #[schemars(length(max = 63))]
    pub pool: String,
    /// The number of the next shard; never falls, so that no number is used twice.
    #[serde(default)]
    #[x_kube(validation = ("self >= oldSelf", "nextShardId never falls"))]
    pub next_shard_id: ShardId,
    /// The programs that the shards below run.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 8))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["digest".into()]))]
    pub cards: Vec<Card>,
    /// What is assigned, in the order in which it is run.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["id".into()]))]
    pub shards: Vec<ShardSpec>,
    /// What became of the latest shards that left `shards`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["id".into()]))]
    pub settled: Vec<Settled>,
    /// No more work comes: the worker may end when `shards` is empty.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub drain: bool,
}

/// A contiguous run of partitions with a time budget: the unit of assignment and of commit.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = ("self.start == oldSelf.start && self.end == oldSelf.end && self.run == oldSelf.run && self.mode == oldSelf.mode && has(self.adopts) == has(oldSelf.adopts) && (!has(self.adopts) || self.adopts == oldSelf.adopts) && has(self.publish) == has(oldSelf.publish) && has(self.history) == has(oldSelf.history) && (!has(self.history) || self.history == oldSelf.history)", "a shard is immutable but for its budget and its seal"),
    validation = ("self.seal || !oldSelf.seal", "a seal is for ever"),
    validation = ("self.budgetMillis <= oldSelf.budgetMillis", "a budget may only shrink"),
    validation = ("self.start < self.end", "a shard has at least one partition")
)]
pub struct ShardSpec {
    /// Its number.
    pub id: ShardId,
    /// The start of the worker that it was given to; another start must not run it.
    #[serde(rename = "for")]
    #[x_kube(validation = ("self == oldSelf", "a shard is immutable but for its budget and its seal"))]
    pub start_id: StartId,
    /// What it is part of.
    pub run: RunRef,
    /// The first partition.
    pub start: u64,
    /// One past the last partition.
    pub end: u64,
    /// The worker seals at the first partition border after so many milliseconds. 0: as soon as it can.
    pub budget_millis: u64,
    /// How it is run.
    #[serde(default)]
    pub mode: Mode,
    /// Sealed by the operator: what the status holds is all that counts.
    #[serde(default)]
    pub seal: bool,
    /// A shard of the same worker whose running partition goes on as this shard's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub adopts: Option<ShardId>,
    /// What its only partition went through before; of single deferred partitions.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub history: Option<History>,
    /// What is to be published; of shards of mode `Publish`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub publish: Option<Publication>,
}

/// What a partition went through before.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
pub struct History {
    /// Attempts made.
    #[serde(default)]
    pub attempts: i32,
    /// Deaths of the worker or shim that ran it.
    #[serde(default)]
    pub deaths: i32,
}

impl ShardSpec {
    /// Its partitions.
    #[must_use]
    pub fn range(&self) -> PartitionRange {
        PartitionRange::new(self.start, self.end)
    }
}

/// What a shard is part of.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RunRef {
    /// The workflow's name, to find it by.
    #[schemars(length(max = 63))]
    pub workflow: String,
    /// The workflow's namespace, if it is another than the worker's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 63))]
    pub namespace: Option<String>,
    /// The workflow's uid, which is what counts.
    #[schemars(length(max = 63))]
    pub uid: String,
    /// The step.
    #[schemars(length(max = 30))]
    pub step: String,
    /// The step's round.
    pub round: Round,
    /// The plan whose partitions are meant.
    #[serde(default)]
    pub plan: PlanDigest,
    /// The program.
    pub card: CardDigest,
}

/// How a shard is run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
pub enum Mode {
    /// Partitions in order, one commit at the end.
    #[default]
    Normal,
    /// One partition at a time, a commit after each: its worker died before, and the next death must name its culprit.
    Suspect,
    /// One partition that another worker runs too; the first to be folded counts.
    Twin,
    /// Not partitions: list the data and write the plan.
    Plan,
    /// Not partitions: publish files of shards that were counted.
    Publish,
}

/// What a shard of mode `Publish` is to do. Any number of workers may do the same at any time.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Publication {
    /// The counted shards whose files become visible.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16))]
    pub entries: Vec<Written>,
    /// Nothing of the step runs or is counted any more: what attempts have left is removed.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub sweep: bool,
    /// With `sweep`: nobody will read the parts of the step's shuffle again, and they are removed, too.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub parts: bool,
    /// With `sweep`: after all entries, the results of the step become a file.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub emit: Option<Emission>,
}

/// The folded results of a step that has succeeded, to be written as a file of the data of the card's `emit`.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Emission {
    /// By name; those that no partition has given are not there.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(schema_with = "schema::any_json_map")]
    pub results: BTreeMap<String, Value>,
}

/// The files of a counted shard, under the names of the attempts that wrote them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Written {
    /// The uid of the Worker that had the shard.
    #[schemars(length(max = 63))]
    pub worker: String,
    /// The shard.
    pub shard: ShardId,
    /// The start that ran it.
    #[serde(rename = "for")]
    pub start_id: StartId,
    /// Which partitions wrote files, and under which shards these lie.
    #[schemars(length(max = 8))]
    pub outputs: Vec<Outputs>,
}

/// Partitions that succeeded and wrote files.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
pub struct Outputs {
    /// The shard that they were started for: part of the names of their files.
    pub shard: ShardId,
    /// Which.
    pub partitions: Intervals,
}

/// What became of a shard.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Settled {
    /// Which.
    pub id: ShardId,
    /// What.
    pub outcome: Outcome,
}

/// What became of a shard.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
pub enum Outcome {
    /// Counted, up to its cursor.
    Folded,
    /// Not counted: held by another, empty, of an old round or of a closed step.
    Discarded,
}

/// The frozen program of a step and round: all that a worker needs to know besides its own object and its plan.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Card {
    /// Names the bytes of this card (without this field).
    pub digest: CardDigest,
    /// As in `run`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 128), inner(length(max = 8192)))]
    pub command: Vec<String>,
    /// As in `run`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 128), inner(length(max = 8192)))]
    pub args: Vec<String>,
    /// As in `run`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 24576))]
    pub script: Option<String>,
    /// As in `run`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub serve: Option<Serve>,
    /// As in `run`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 256))]
    pub function: Option<String>,
    /// As in `run`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub code: Option<Code>,
    /// Evaluated: the step's own and `BRAID_PARAM_*`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 160))]
    pub env: Vec<CardEnv>,
    /// Partitions in flight.
    pub concurrency: i32,
    /// What a partition is.
    pub source: Source,
    /// What all partitions read beside.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reads: Option<ReadsSource>,
    /// Where the files go that partitions write.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 8))]
    pub writes: Vec<CardWrite>,
    /// Where the folded results go when the step has succeeded.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub emit: Option<CardWrite>,
    /// How many bytes an attempt may save for the next; absent: attempts save nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub checkpoint: Option<u64>,
    /// What is made of results.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32))]
    pub results: Vec<CardResult>,
    /// Attempts of a partition, at least 1.
    pub attempts: i32,
    /// The wait before the second attempt, in milliseconds.
    #[serde(default)]
    pub backoff_initial_millis: u64,
    /// The longest wait, in milliseconds.
    #[serde(default)]
    pub backoff_max_millis: u64,
    /// The longest that an attempt may take, in milliseconds; 0: no limit.
    #[serde(default)]
    pub partition_timeout_millis: u64,
    /// What failures mean, as in `retry`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16))]
    pub rules: Vec<RetryRule>,
    /// Deaths of what runs a partition alone after which it is set aside; absent: three.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 8))]
    pub worker_deaths: Option<i32>,
    /// The uid that `BRAID_UID` begins with, where it is not the run's own: that of the first run that this one has taken over from.
    #[serde(default, rename = "firstUID", skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 63))]
    pub first_uid: Option<String>,
}

/// Data that partitions write.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct CardWrite {
    /// The data's name.
    #[schemars(length(max = 30))]
    pub data: String,
    /// The directory, evaluated.
    #[schemars(length(max = 4096))]
    pub url: String,
}

/// An evaluated environment variable.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct CardEnv {
    /// Its name.
    #[schemars(length(max = 160))]
    pub name: String,
    /// Its value.
    #[schemars(length(max = 16384))]
    pub value: String,
}

/// What a partition of a card is. Exactly one field is set; none: one partition without input.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Source {
    /// Partition `i` is the number `start + i * step`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub range: Option<RangeSource>,
    /// Partition `i` is item `i` of the plan.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub items: Option<ItemsSource>,
    /// Partition `i` is a piece of the plan's files.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub files: Option<FilesSource>,
}

/// Numbers.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct RangeSource {
    /// The first.
    pub start: i64,
    /// The distance.
    pub step: i64,
}

/// Items, from the plan.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ItemsSource {
    /// In how many `Plan` objects they are.
    pub chunks: i32,
}

/// Files, from the plan.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct FilesSource {
    /// The path with its glob, evaluated.
    #[schemars(length(max = 4096))]
    pub url: String,
    /// Whole files to a partition; 0: not by files.
    #[serde(default)]
    pub files: i32,
    /// Bytes to a partition; 0: not by bytes.
    #[serde(default)]
    pub bytes: u64,
    /// Records to a partition; 0: not by records.
    #[serde(default, skip_serializing_if = "nothing")]
    pub rows: u64,
    /// Row groups to a partition; 0: not by row groups.
    #[serde(default, skip_serializing_if = "nothing")]
    pub row_groups: u64,
    /// Of row groups only these columns; empty: all.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64), inner(length(max = 128)))]
    pub columns: Vec<String>,
    /// The parts of a shuffle; absent: not by keys.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub keys: Option<KeysSource>,
    /// How the bytes divide into records.
    #[serde(default, skip_serializing_if = "CardFormat::is_text")]
    pub format: CardFormat,
    /// The step of the same run that wrote them: then `url` is a directory, and what that step published there is meant.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub written_by: Option<WrittenBy>,
    /// In how many `Plan` objects the list is; 0 in a shard that makes the plan.
    #[serde(default)]
    pub chunks: i32,
}

/// A shuffle: who plans writes the records into parts, and these are the files of the plan.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct KeysSource {
    /// The field of a record that is its key.
    #[schemars(length(max = 256))]
    pub by: String,
    /// In how many parts.
    pub into: i32,
    /// The directory below which the parts are, evaluated; absent: that of the data.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 4096))]
    pub through: Option<String>,
}

/// Who wrote data that a step reads.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct WrittenBy {
    /// The step.
    #[schemars(length(max = 30))]
    pub step: String,
    /// The data, as that step names it.
    #[schemars(length(max = 30))]
    pub data: String,
    /// Whether its partitions have published something there: then whoever sees the data sees lists of it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub published: bool,
}

/// Files that all partitions read, whole, from the plan.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ReadsSource {
    /// Which, by data.
    #[schemars(length(max = 16))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["data".into()]))]
    pub data: Vec<ReadSource>,
    /// In how many `Plan` objects the lists are; 0 in a shard that makes the plan.
    #[serde(default)]
    pub chunks: i32,
}

/// The files of one data.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ReadSource {
    /// The data's name.
    #[schemars(length(max = 30))]
    pub data: String,
    /// The path with its glob, evaluated.
    #[schemars(length(max = 4096))]
    pub url: String,
    /// How the bytes divide into records.
    #[serde(default, skip_serializing_if = "CardFormat::is_text")]
    pub format: CardFormat,
    /// As of `FilesSource`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub written_by: Option<WrittenBy>,
}

/// How the bytes of files divide into records. Text is what a card says that says nothing: cards of older operators have no
/// such field.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum CardFormat {
    /// Lines.
    #[default]
    Text,
    /// Not at all.
    Whole,
    /// Records of RFC 4180.
    #[serde(rename = "CSV")]
    Csv,
    /// A JSON value to a line.
    #[serde(rename = "JSONLines")]
    JsonLines,
    /// Row groups.
    Parquet,
}

impl CardFormat {
    #[expect(clippy::trivially_copy_pass_by_ref, reason = "as serde calls it")]
    fn is_text(&self) -> bool {
        *self == Self::Text
    }
}

impl From<Option<Format>> for CardFormat {
    fn from(format: Option<Format>) -> Self {
        match format {
            None => Self::Whole,
            Some(Format::Text) => Self::Text,
            Some(Format::Csv) => Self::Csv,
            Some(Format::JsonLines) => Self::JsonLines,
            Some(Format::Parquet) => Self::Parquet,
        }
    }
}

impl From<CardFormat> for Option<Format> {
    fn from(format: CardFormat) -> Self {
        match format {
            CardFormat::Whole => None,
            CardFormat::Text => Some(Format::Text),
            CardFormat::Csv => Some(Format::Csv),
            CardFormat::JsonLines => Some(Format::JsonLines),
            CardFormat::Parquet => Some(Format::Parquet),
        }
    }
}

/// A result, as the worker folds it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct CardResult {
    /// Its name.
    #[schemars(length(max = 63))]
    pub name: String,
    /// The key under which a partition gives it.
    #[schemars(length(max = 128))]
    pub from: String,
    /// How it is folded.
    pub reduce: Reduce,
    /// What its numbers are.
    #[serde(default, rename = "type", skip_serializing_if = "Option::is_none")]
    pub kind: Option<ResultType>,
    /// Further keys that come along.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 8), inner(length(max = 128)))]
    pub carry: Vec<String>,
    /// Whether partitions give maps.
    #[serde(default)]
    pub keyed: bool,
    /// How many different keys there may be.
    #[serde(default)]
    pub max_keys: i32,
}

/// What a worker has done.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct WorkerStatus {
    /// Who writes: absent until the worker has seen its own pod's uid in the spec.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub start_id: Option<StartId>,
    /// The versions of the protocol that the worker speaks.
    #[serde(default)]
    pub protocol: ProtocolRange,
    /// The commits.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["id".into()]))]
    pub shards: Vec<ShardStatus>,
    /// How it gets on, for people; as of its last commit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub summary: Option<WorkerSummary>,
}

/// What `kubectl get workers` shows of what a worker has done.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct WorkerSummary {
    /// Partitions that it has settled since its start.
    #[serde(default)]
    pub done: u64,
    /// How fast, between its last commits: `2031/s`, `12/min`.
    #[serde(default)]
    #[schemars(length(max = 32))]
    pub speed: String,
}

/// Versions of a protocol, both ends included.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ProtocolRange {
    /// The oldest.
    pub min: i32,
    /// The newest.
    pub max: i32,
}

/// A commit: everything in `[start, cursor)` of the shard is settled.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = ("!oldSelf.sealed || self == oldSelf", "a sealed commit is immutable"),
    validation = ("self.cursor >= oldSelf.cursor", "a cursor never falls"),
    validation = ("self.startId == oldSelf.startId", "a commit belongs to the start that made it first")
)]
pub struct ShardStatus {
    /// The shard.
    pub id: ShardId,
    /// The start that made the first commit.
    pub start_id: StartId,
    /// The first partition that is not settled.
    pub cursor: Cursor,
    /// Nothing more comes.
    #[serde(default)]
    pub sealed: bool,
    /// Partitions from the cursor on that the worker had begun when it sealed: they go on, for a shard that adopts them.
    #[serde(default, skip_serializing_if = "nothing")]
    pub begun: u64,
    /// The folds of `[start, cursor)`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["name".into()]))]
    pub partials: Vec<Partial>,
    /// Partitions of `[start, cursor)` that failed for good.
    #[serde(default, skip_serializing_if = "Intervals::is_empty")]
    pub failed: Intervals,
    /// The commonest causes.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 10))]
    pub failures: Vec<FailureCause>,
    /// Partitions of `[start, cursor)` that are not settled but wait for their next attempt.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 1000))]
    pub deferred: Vec<Deferred>,
    /// Partitions of `[start, cursor)` that succeeded and wrote files. Those are durable under their attempts' names, and visible once
    /// the commit is counted and published.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 8))]
    pub outputs: Vec<Outputs>,
    /// Attempts that were followed by another.
    #[serde(default)]
    pub retried: u64,
    /// The slowest partitions of `[start, cursor)`, the slowest first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 10))]
    pub slowest: Vec<SlowPartition>,
    /// The plan that a shard of mode `Plan` made.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub plan: Option<PlanRef>,
    /// Why the step cannot go on, whatever is tried: the plan cannot be made, a result is too large.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fatal: Option<Fatal>,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "as serde calls it")]
fn nothing(count: &u64) -> bool {
    *count == 0
}

/// Why a step cannot go on.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
pub struct Fatal {
    /// In CamelCase: `NoFiles`, `PlanTooLarge`, `ResultTooLarge`, `UnreadableInput`.
    #[schemars(length(max = 64))]
    pub reason: String,
    /// What, where, and what to do.
    #[schemars(length(max = 512))]
    pub message: String,
}

/// The fold of a shard's results, opaque: base64.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
pub struct Partial {
    /// The result.
    #[schemars(length(max = 63))]
    pub name: String,
    /// The accumulator.
    #[schemars(length(max = 45_056))]
    pub state: String,
}
