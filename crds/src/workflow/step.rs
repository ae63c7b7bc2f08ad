//! A step: after what, over what, how often, and what its failures mean.

use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{ResultSpec, Retry, Run};
use crate::{ByteSize, CountOrPercent, Duration, Parallelism, schema};

/// A node of the DAG: a program, run over partitions.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = ("!has(self.writes) || !(has(self.run.serve) || has(self.run.__function__))", "programs that live on cannot write data: writes goes with a process for each partition"),
    validation = ("!has(self.writes) || !has(self.repeat)", "a step that repeats cannot write data: each round would write the same files"),
    validation = ("!has(self.emit) || (has(self.results) && self.results.size() > 0)", "emit writes the results of the step: declare some in results"),
    validation = ("!has(self.emit) || !has(self.repeat)", "a step that repeats cannot emit: each round would write the same file"),
    validation = ("!has(self.afterRule) || (has(self.after) && self.after.size() > 0)", "afterRule speaks of the steps in after: name some, or leave it out")
)]
pub struct Step {
    /// A DNS label.
    #[schemars(length(min = 1, max = 30), regex(pattern = r"^[a-z]([-a-z0-9]*[a-z0-9])?$"))]
    pub name: String,
    /// Steps that must have ended before; with what outcome, `afterRule` says.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16), inner(length(min = 1, max = 30)))]
    #[x_kube(merge_strategy = ListMerge::Set)]
    pub after: Vec<String>,
    /// What the steps in `after` must have come to; else this one is Skipped. Absent: `AllSucceeded`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after_rule: Option<AfterRule>,
    /// An expression over `params`, the steps before and `workflow`, for example `steps.count.results.words > 0`: false = Skipped.
    /// Evaluated once, when the step would start; if it has no value, the step fails.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 2048))]
    pub when: Option<String>,
    /// What the step runs over, exactly one of `data`, `range`, `items`, `itemsFrom`, `matrix`; absent: one partition.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub over: Option<Over>,
    /// Where it runs, by the name of a pool; absent: `default`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 30))]
    pub pool: Option<String>,
    /// The program of a partition.
    pub run: Run,
    /// Data that every partition reads beside its own input: whole, as files in the directory `BRAID_IN_<DATA>`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["data".into()]))]
    pub reads: Vec<ReadRef>,
    /// Data that partitions write: files below `$BRAID_OUT/<DATA>/`, visible once their partition is counted. The url of the data is then a
    /// directory. Each data is written by one step; steps that read it come after that one.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 8))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["data".into()]))]
    pub writes: Vec<WriteRef>,
    /// What is made of the partitions' results.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["name".into()]))]
    pub results: Vec<ResultSpec>,
    /// The folded results, once as a file of data, when the step has succeeded.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub emit: Option<Emit>,
    /// What happens to a partition that fails.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry: Option<Retry>,
    /// The longest that the step may take from its start; then it fails.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout: Option<Duration>,
    /// The longest that one attempt of a partition may take; then it is terminated and counts as failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub partition_timeout: Option<Duration>,
    /// How many partitions may fail for good before the step does: a count or a share of all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_failed_partitions: Option<CountOrPercent>,
    /// What follows when more partitions have failed than may. Absent: `Fail`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub on_failure: Option<OnFailure>,
    /// Partitions in flight at most, over all workers: a number, or a text with an expression over `params` and the steps before, for
    /// example `$(params.n)`. May change while the run goes on; less than before takes effect as what runs ends.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parallelism: Option<Parallelism>,
    /// A condition over the step's own `results` as they are folded so far, for example `results.rows >= 1000000`. Once it holds, no
    /// more is handed out, what is settled counts, the rest is left, and the step has succeeded.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 2048))]
    pub stop_when: Option<String>,
    /// The step runs again until its results are as wanted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub repeat: Option<Repeat>,
    /// Runs after all steps that are not, however those ended: also when the run failed or was cancelled.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
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

/// Where a step's folded results go, and whether. The file is `STEP.jsonl` in the directory of the data: a line with the results that are not
/// keyed, `{"results": {...}}`, then one for each key, `{"key": ..., "results": {...}}`.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Emit {
    /// The name of data, whose url is a directory. No other step writes it, and no partition of this one; steps that read it come after.
    #[schemars(length(min = 1, max = 30))]
    pub to: String,
    /// A condition over the step's own `results`, for example `results.rows > 0`: false = nothing is written. Absent: true.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 2048))]
    pub when: Option<String>,
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

/// How data is cut: exactly one of `files`, `bytes`, `rows`, `rowGroups`, `keys`. Which of them data has depends on its format.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = ("[has(self.files), has(self.bytes), has(self.rows), has(self.rowGroups), has(self.keys)].filter(given, given).size() == 1", "split needs exactly one of files, bytes, rows, rowGroups, keys"))]
#[x_kube(validation = ("!has(self.columns) || has(self.rowGroups)", "columns goes with rowGroups: other formats have their columns in every record"))]
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
    /// With `rowGroups`: the names of the columns that partitions get, those at the top of the schema; of the rest nothing is read. Absent:
    /// all.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(min = 1, max = 64), inner(length(min = 1, max = 128)))]
    #[x_kube(merge_strategy = ListMerge::Set)]
    pub columns: Vec<String>,
    /// All records of one key to one partition: the data is written anew, in parts, when the step is planned. `CSV` and `JSONLines`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub keys: Option<Keys>,
}

/// A shuffle: which part a record comes to follows from its key alone.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Keys {
    /// The key of a record: a column, by its name in the header, or a field at the top of a JSON object.
    #[schemars(length(min = 1, max = 256))]
    pub by: String,
    /// In how many parts; a partition each, also those that no key comes to.
    #[schemars(range(min = 1, max = 4_096))]
    pub into: i32,
    /// The name of data whose url is a directory: the parts are there, below `.braid`, until the step has ended. Absent: they are in
    /// the directory of the data itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 30))]
    pub through: Option<String>,
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
