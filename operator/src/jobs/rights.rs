//! The rights of a pool's workers: a RoleBinding for the ServiceAccount of its pods, owned by the pool and gone with it.
//!
//! What workers may do stands in one ClusterRole, which the installation brings. Which Worker and which Lease is theirs says
//! an admission policy.

use k8s_openapi::api::{
    batch::v1::Job,
    rbac::v1::{RoleBinding, RoleRef, Subject},
};
use kube::{
    Api, Client,
    api::{ObjectMeta, PostParams},
};

use super::template::{job_labels, owner};
use crate::{
    api::{ApiError, call},
    names,
    pods::PoolRef,
};

/// The ServiceAccount of pods that name none.
const DEFAULT: &str = "default";
const RBAC: &str = "rbac.authorization.k8s.io";

/// The RoleBinding that the pods of a Job need.
pub(super) fn binding(pool: &PoolRef, job: &Job, role: &str) -> RoleBinding {
    let spec = job.spec.as_ref().and_then(|spec| spec.template.spec.as_ref());
    let account = spec.and_then(|spec| spec.service_account_name.clone());
    let account = account.unwrap_or_else(|| DEFAULT.into());
    // The account of a standing pool may change with its pods; a binding cannot.
    let name = if pool.standing {
        format!("{}-{}", pool.name, names::digest(&account, 3))
    } else {
        pool.name.clone()
    };
    RoleBinding {
        metadata: ObjectMeta {
            name: Some(name),
            namespace: Some(pool.namespace.clone()),
            labels: Some(job_labels(pool)),
            owner_references: Some(vec![owner(pool)]),
            ..ObjectMeta::default()
        },
        role_ref: RoleRef {
            api_group: RBAC.into(),
            kind: "ClusterRole".into(),
            name: role.into(),
        },
        subjects: Some(vec![Subject {
            kind: "ServiceAccount".into(),
            name: account,
            namespace: Some(pool.namespace.clone()),
            api_group: None,
        }]),
    }
}

/// Sees to it that the binding is there. A binding of that name which says something else is left alone and told.
pub(super) async fn bind(client: &Client, wanted: &RoleBinding) -> Result<(), ApiError> {
    let namespace = wanted.metadata.namespace.as_deref().unwrap_or_default();
    let name = wanted.metadata.name.as_deref().unwrap_or_default();
    let api: Api<RoleBinding> = Api::namespaced(client.clone(), namespace);
    match call("bind the workers' role", api.create(&PostParams::default(), wanted)).await {
        Ok(_) => Ok(()),
        Err(ApiError::Conflict { what }) => {
            let found = call(what, api.get(name)).await?;
            if found.role_ref == wanted.role_ref && found.subjects == wanted.subjects {
                Ok(())
            } else {
                Err(ApiError::Refused {
                    what,
                    message: format!("there is another RoleBinding {name}: delete or rename it"),
                })
            }
        }
        Err(error) => Err(error),
    }
}
