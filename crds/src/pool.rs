//! `WorkerPool`: workers of one kind. Owned by a run, and gone with it.

use kube::{CustomResource, KubeSchema};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{
    schema,
    workflow::{ConfigMapVolume, FilesVolume},
};

/// So many workers for a run.
#[derive(CustomResource, KubeSchema, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[kube(
    group = "braid.dev",
    version = "v1alpha1",
    kind = "WorkerPool",
    namespaced,
    status = "WorkerPoolStatus",
    shortname = "bwp",
    category = "braid",
    derive = "PartialEq",
    scale(
        spec_replicas_path = ".spec.workers",
        status_replicas_path = ".status.workers",
        label_selector_path = ".status.selector"
    ),
    printcolumn(name = "Wanted", type_ = "integer", json_path = ".spec.workers"),
    printcolumn(name = "Workers", type_ = "integer", json_path = ".status.workers"),
    printcolumn(name = "Ready", type_ = "integer", json_path = ".status.ready")
)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = ("has(self.pods) == has(oldSelf.pods)", "the pods of a pool are immutable: create another WorkerPool"))]
pub struct WorkerPoolSpec {
    /// How many workers there shall be.
    #[schemars(range(min = 0, max = 10_000))]
    pub workers: i32,
    /// What their pods are. Immutable: other pods are another pool.
    #[serde(default, skip_serializing_if = "PodClass::is_empty")]
    #[x_kube(validation = ("self == oldSelf", "the pods of a pool are immutable: create another WorkerPool"))]
    pub pods: PodClass,
}

/// What must be in a pod for a program to run in it. Steps of one class share workers; what else differs between programs goes to
/// the workers with each step.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PodClass {
    /// The template of the pods, as a Job has it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::pod_part")]
    pub template: Option<Value>,
    /// The image of `main`; absent: the operator's default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 512))]
    pub image: Option<String>,
    /// What the workers read data from.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 1))]
    pub data: Vec<DataVolume>,
    /// Where `main` has the code of functions from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub code: Option<ConfigMapVolume>,
    /// The resources of `main`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::pod_part")]
    pub resources: Option<Value>,
    /// The environment of `main` as far as it comes from other objects, by name.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "schema::pod_env")]
    pub env: Vec<Value>,
    /// The same, whole objects at once.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "schema::pod_parts")]
    pub env_from: Vec<Value>,
    /// The volumes that `main` sees.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "schema::pod_parts")]
    pub volume_mounts: Vec<Value>,
    /// The rights of `main`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::pod_part")]
    pub security_context: Option<Value>,
}

/// A volume of data, mounted into the worker under its name.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct DataVolume {
    /// The name of the data.
    #[schemars(length(min = 1, max = 30))]
    pub name: String,
    /// Where they are.
    pub volume: FilesVolume,
}

impl PodClass {
    /// Whether any pod will do.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
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
    /// Which pods they are, as a selector of labels.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    #[schemars(length(max = 256))]
    pub selector: String,
    /// Why there are fewer than wanted; empty: there are not.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    #[schemars(length(max = 512))]
    pub message: String,
}
