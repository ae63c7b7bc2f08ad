//! What partitions give, and how it becomes one.

use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::schema;

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
