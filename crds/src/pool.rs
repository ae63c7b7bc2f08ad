//! `WorkerPool`: workers of one kind. A standing one is written by people and shared by runs; a run's own is made by the operator and
//! goes with the run.
//!
//! Who decides how many workers there are stands in the object: `workers`, the operator, between bounds; `replicas`, whoever writes
//! it (a person, an autoscaler, the run that owns the pool). A pool has one of them and never both, so nobody undoes another's work.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{
    Duration, limits, schema,
    workflow::{ConfigMapVolume, FilesVolume, PoolWorkers},
};

/// Workers of one kind, for the runs that name them, or for the run that owns them.
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
        spec_replicas_path = ".spec.replicas",
        status_replicas_path = ".status.workers",
        label_selector_path = ".status.selector"
    ),
    printcolumn(name = "Wanted", type_ = "integer", json_path = ".status.wanted"),
    printcolumn(name = "Workers", type_ = "integer", json_path = ".status.workers"),
    printcolumn(name = "Ready", type_ = "integer", json_path = ".status.ready"),
    printcolumn(name = "Runs", type_ = "integer", json_path = ".status.runs"),
    printcolumn(name = "Image", type_ = "string", json_path = ".spec.pods.image", priority = 1),
    printcolumn(name = "Message", type_ = "string", json_path = ".status.message"),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp"),
    validation = ("size(self.metadata.name) <= 46", "name must have at most 46 characters: names of Jobs and pods are derived from it")
)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = ("has(self.workers) != has(self.replicas)", "a pool has either workers, between which the operator chooses, or replicas, which are as many as somebody writes"))]
pub struct WorkerPoolSpec {
    /// As many workers as the runs on the pool have work for, between these bounds. Not together with `replicas`: such a pool cannot be
    /// scaled by hand or by an autoscaler.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub workers: Option<PoolWorkers>,
    /// So many workers, whatever there is to do: what `kubectl scale` and autoscalers write.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 10_000))]
    pub replicas: Option<i32>,
    /// What their pods are. When it changes, other pods come, and those that are there finish what they run and go.
    #[serde(default, skip_serializing_if = "PodClass::is_empty")]
    pub pods: PodClass,
    /// How long steps that have not begun wait for a first worker before they fail; absent: 10m. A pool that is queued does not count.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub start_deadline: Option<Duration>,
    /// Which runs may use its workers; absent: those of its own namespace. What it allows, it allows to whoever may create a Workflow
    /// there: their programs run in these pods. May change at any time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub allowed_runs: Option<AllowedRuns>,
}

/// Which runs may use the workers of a pool.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct AllowedRuns {
    /// The namespaces that they are of.
    pub namespaces: AllowedNamespaces,
}

/// Namespaces whose runs may use the workers of a pool. Its own is always among them.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = ("(self.from == 'Names') == has(self.names)", "names are given with from: Names, and with nothing else"))]
pub struct AllowedNamespaces {
    /// Where they are named.
    pub from: AllowedFrom,
    /// With `from: Names`: these, beside the pool's own.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "schema::namespaces")]
    pub names: Vec<String>,
}

/// Where the namespaces are named whose runs may use a pool.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum AllowedFrom {
    /// The pool's own.
    #[default]
    Same,
    /// All that the operator looks at.
    All,
    /// Those in `names`.
    Names,
}

impl WorkerPoolSpec {
    /// Whether runs of another namespace may use the workers of this pool.
    #[must_use]
    pub fn allows(&self, namespace: &str) -> bool {
        let Some(AllowedRuns { namespaces }) = &self.allowed_runs else {
            return false;
        };
        match namespaces.from {
            AllowedFrom::Same => false,
            AllowedFrom::All => true,
            AllowedFrom::Names => namespaces.names.iter().any(|name| name == namespace),
        }
    }
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
    /// What the workers read data from, each under the name that workflows give to the data.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["name".into()]))]
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
    /// Whether steps write there; else it is mounted read-only.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub writable: bool,
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
    /// Workers that are wanted.
    #[serde(default)]
    pub wanted: i32,
    /// Pods that exist.
    #[serde(default)]
    pub workers: i32,
    /// Workers that have said who they are.
    #[serde(default)]
    pub ready: i32,
    /// Runs that have work for them. Of standing pools.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub runs: Option<i32>,
    /// Since when workers are wanted and none has said who it is; absent: one has, or none is wanted, or they are queued.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub starting_since: Option<Time>,
    /// Which pods they are, as a selector of labels.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    #[schemars(length(max = 256))]
    pub selector: String,
    /// Why there are fewer than wanted; empty: there are not.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    #[schemars(length(max = 512))]
    pub message: String,
}

const _: () = {
    // The attributes above take literals only.
    assert!(limits::WORKER_POOL_NAME == 46 && limits::DATA == 32);
};
