//! `WorkerPool`: workers of one kind. Owned by a run, and gone with it.

use kube::{CustomResource, KubeSchema};
use serde::{Deserialize, Serialize};

/// So many workers for a run.
#[derive(CustomResource, KubeSchema, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[kube(
    group = "braid.dev",
    version = "v1alpha1",
    kind = "WorkerPool",
    namespaced,
    status = "WorkerPoolStatus",
    shortname = "bwp",
    category = "braid",
    derive = "PartialEq",
    printcolumn(name = "Wanted", type_ = "integer", json_path = ".spec.workers"),
    printcolumn(name = "Workers", type_ = "integer", json_path = ".status.workers"),
    printcolumn(name = "Ready", type_ = "integer", json_path = ".status.ready")
)]
#[serde(rename_all = "camelCase")]
pub struct WorkerPoolSpec {
    /// How many workers there shall be.
    #[schemars(range(min = 0, max = 10_000))]
    pub workers: i32,
}

/// What became of it.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct WorkerPoolStatus {
    /// The generation that this status speaks of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// Pods that exist.
    #[serde(default)]
    pub workers: i32,
    /// Workers that have said who they are.
    #[serde(default)]
    pub ready: i32,
    /// Why there are fewer than wanted; empty: there are not.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    #[schemars(length(max = 512))]
    pub message: String,
}
