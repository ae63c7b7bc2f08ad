//! Names and labels of what the operator makes. Everything is keyed by the workflow's uid: a name may be used again.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use kube::{Resource, ResourceExt as _};

/// The label that holds the uid of the workflow.
pub const WORKFLOW_UID: &str = "braid.dev/workflow-uid";
/// The label that holds the name of the workflow.
pub const WORKFLOW: &str = "braid.dev/workflow";
/// The label that holds the uid of the pool.
pub const POOL_UID: &str = "braid.dev/pool-uid";
/// The annotation of a pod that names the container on whose output the lines of user code are; absent: the worker's.
pub const LINES: &str = "braid.dev/lines";
/// The label that says who made an object.
pub const MANAGED_BY: &str = "app.kubernetes.io/managed-by";
/// The value of [`MANAGED_BY`].
pub const BRAID: &str = "braid";

/// The name of the pool that a run owns: `<workflow, cut to 24>-<first 8 of its uid>`.
pub fn pool(workflow: &str, uid: &str) -> String {
    let short: String = uid.chars().filter(char::is_ascii_alphanumeric).take(8).collect();
    let name: String = workflow.chars().take(24).collect();
    format!("{}-{short}", name.trim_end_matches(['-', '.']))
}

/// A reference to a controlling owner; absent for an object that the server has not given a uid.
pub fn owner<K: Resource<DynamicType = ()>>(object: &K) -> Option<OwnerReference> {
    object.controller_owner_ref(&())
}

/// The uid, or nothing.
pub fn uid<K: Resource>(object: &K) -> String {
    object.uid().unwrap_or_default()
}
