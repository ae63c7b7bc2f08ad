//! Labels that operator, workers and tools agree on.

use std::collections::BTreeMap;

/// The label that holds the uid of the workflow.
pub const WORKFLOW_UID: &str = "braid.dev/workflow-uid";
/// The label that holds the name of the workflow.
pub const WORKFLOW: &str = "braid.dev/workflow";
/// The label that holds the namespace of the workflow, on what is in another one.
pub const WORKFLOW_NAMESPACE: &str = "braid.dev/workflow-namespace";
/// The label that holds the uid of the pool.
pub const POOL_UID: &str = "braid.dev/pool-uid";
/// The label that says who made an object.
pub const MANAGED_BY: &str = "app.kubernetes.io/managed-by";
/// The value of [`MANAGED_BY`].
pub const BRAID: &str = "braid";

/// The labels of what a standing pool holds for a run of another namespace: by them the pool's pass finds it, and whose it is.
#[must_use]
pub fn lent(pool_uid: &str, namespace: &str, workflow: &str, uid: &str) -> BTreeMap<String, String> {
    let labels = [
        (MANAGED_BY, BRAID),
        (POOL_UID, pool_uid),
        (WORKFLOW_NAMESPACE, namespace),
        (WORKFLOW, workflow),
        (WORKFLOW_UID, uid),
    ];
    let labels = labels
        .into_iter()
        .map(|(name, value)| (name.to_owned(), value.to_owned()));
    labels.collect()
}
