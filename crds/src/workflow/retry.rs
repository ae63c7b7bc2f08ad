//! What failures mean, and how long is waited.

use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::Duration;

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
    /// How often a worker may die with a partition that it runs alone before the partition is set aside as `WorkerDied`; absent: 3.
    /// These are not counted as attempts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 8))]
    pub worker_deaths: Option<i32>,
    /// What failures of a kind mean. The first rule that names a failure decides; where none does, it is tried again, but not
    /// `NotRunnable`, `BadResult`, `ResultTooLarge`, `InputChanged`, `Refused` and HTTP below 500.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16))]
    pub rules: Vec<RetryRule>,
}

/// What failures of a kind mean.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = (
    "has(self.exitCodes) || has(self.httpStatuses) || has(self.reasons)",
    "a rule needs exitCodes, httpStatuses, reasons, or several of them: failures that it is about"
))]
pub struct RetryRule {
    /// The process ended with one of these codes.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(min = 1, max = 32), inner(range(min = 1, max = 255)))]
    #[x_kube(merge_strategy = ListMerge::Set)]
    pub exit_codes: Vec<i32>,
    /// A server answered with one of these. `reasons: [HTTP]` is about all of them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(min = 1, max = 32), inner(range(min = 300, max = 599)))]
    #[x_kube(merge_strategy = ListMerge::Set)]
    pub http_statuses: Vec<i32>,
    /// It failed for one of these.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(min = 1, max = 8))]
    #[x_kube(merge_strategy = ListMerge::Set)]
    pub reasons: Vec<RetryReason>,
    /// What then.
    pub action: RetryAction,
}

/// Why an attempt failed, as rules name it. A partition that kills its worker is not among these: `workerDeaths` is about it.
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
    /// A server answered with a status that is no success, whichever.
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
