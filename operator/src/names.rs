//! Names and labels of what the operator makes. Everything is keyed by the workflow's uid: a name may be used again.

use std::fmt::Write as _;

use braid_engine::card::sorted;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use kube::{Resource, ResourceExt as _};
use serde::Serialize;
use sha2::{Digest as _, Sha256};

pub use braid_crds::labels::{BRAID, MANAGED_BY, POOL_UID, WORKFLOW, WORKFLOW_NAMESPACE, WORKFLOW_UID, lent};

/// The annotation of a pod that names the container on whose output the lines of user code are; absent: the worker's.
pub const LINES: &str = "braid.dev/lines";
/// The label that names what a pod of a standing pool was made as: the digest of its class.
pub const POD_CLASS: &str = "braid.dev/pod-class";
/// The annotation of a Job that names what its pods were made as, the operator's part included: the digest of their template.
pub const POD_TEMPLATE: &str = "braid.dev/pod-template";

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

/// The first `bytes` bytes of the digest of a value, in hexadecimal. The order of fields means nothing.
pub fn digest<T: Serialize>(value: &T, bytes: usize) -> String {
    let text = sorted(serde_json::to_value(value).unwrap_or_default()).to_string();
    let mut digest = String::with_capacity(2 * bytes);
    for byte in Sha256::digest(text).iter().take(bytes) {
        // Writing to a string cannot fail.
        let _ = write!(digest, "{byte:02x}");
    }
    digest
}

/// What a pod of this class is labelled as.
pub fn class(pods: &braid_crds::PodClass) -> String {
    digest(pods, 8)
}
