//! Whether the API server has the definitions that this operator was built with.
//!
//! An operator that knows fields which the server would drop, or that would drop fields which it does not know, must not touch
//! anything: it waits until somebody brings the two together.

use std::{sync::Arc, time::Duration};

use braid_crds::DEFINITIONS;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::{Api, Client, ResourceExt as _};
use tokio_util::sync::CancellationToken;

use crate::{
    api::{ApiError, call},
    service::Readiness,
};

/// Between two looks.
const PAUSE: Duration = Duration::from_secs(5);

/// Waits until the definitions fit; says meanwhile why they do not. `false`: told to stop before.
pub async fn wait(client: &Client, ready: &Arc<Readiness>, stop: &CancellationToken) -> bool {
    loop {
        let looked = stop.run_until_cancelled(look(client)).await;
        let Some(found) = looked else { return false };
        let Err(problem) = found else {
            ready.now();
            return true;
        };
        tracing::warn!(problem, "waiting: nothing is touched until the definitions fit");
        ready.not(problem);
        if stop.run_until_cancelled(tokio::time::sleep(PAUSE)).await.is_none() {
            return false;
        }
    }
}

/// Looks once.
///
/// # Errors
/// What is wrong with the definitions, and what to do.
pub async fn look(client: &Client) -> Result<(), String> {
    let api: Api<CustomResourceDefinition> = Api::all(client.clone());
    for ours in braid_crds::definitions() {
        let name = ours.name_any();
        let stored = match call("read a definition", api.get(&name)).await {
            Ok(stored) => stored,
            Err(ApiError::NotFound { .. }) => {
                return Err(format!("the definition {name} is missing: install the CRDs"));
            }
            Err(error) => return Err(error.to_string()),
        };
        judge(&stored)?;
    }
    Ok(())
}

/// Whether a stored definition is of this operator's version, and served.
fn judge(stored: &CustomResourceDefinition) -> Result<(), String> {
    let name = stored.name_any();
    let version = stored.annotations().get(braid_crds::DEFINITIONS_ANNOTATION);
    let version = version.and_then(|version| version.parse::<i32>().ok());
    match version {
        Some(version) if version == DEFINITIONS => {}
        Some(version) if version > DEFINITIONS => {
            return Err(format!(
                "the definition {name} is newer than this operator ({version}, mine is {DEFINITIONS}): upgrade the operator"
            ));
        }
        _ => {
            return Err(format!(
                "the definition {name} is older than this operator or not Braid's: install the CRDs of version {DEFINITIONS}"
            ));
        }
    }
    let established = stored
        .status
        .iter()
        .flat_map(|status| status.conditions.iter().flatten())
        .any(|condition| condition.type_ == "Established" && condition.status == "True");
    if established {
        Ok(())
    } else {
        Err(format!("the definition {name} is not served yet"))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

    use braid_crds::{DEFINITIONS, DEFINITIONS_ANNOTATION};
    use kube::ResourceExt as _;
    use serde_json::json;

    use super::judge;

    fn stored() -> super::CustomResourceDefinition {
        let mut definition = braid_crds::definitions().remove(0);
        definition.status = serde_json::from_value(json!({
            "acceptedNames": {"kind": "Workflow", "plural": "workflows"},
            "conditions": [{"type": "Established", "status": "True"}], "storedVersions": [],
        }))
        .unwrap();
        definition
    }

    #[test]
    fn only_the_own_version_fits() {
        assert_eq!(judge(&stored()), Ok(()));
        let with = |version: &str| {
            let mut definition = stored();
            definition
                .annotations_mut()
                .insert(DEFINITIONS_ANNOTATION.into(), version.into());
            judge(&definition).unwrap_err()
        };
        assert!(with(&(DEFINITIONS + 1).to_string()).contains("upgrade the operator"));
        assert!(with(&(DEFINITIONS - 1).to_string()).contains("older"));
        assert!(with("x").contains("install the CRDs"));
        let mut without = stored();
        without.annotations_mut().clear();
        assert!(judge(&without).unwrap_err().contains("older"));
    }

    #[test]
    fn what_is_not_served_does_not_fit() {
        let mut definition = stored();
        definition.status = None;
        assert!(judge(&definition).unwrap_err().contains("not served"));
    }
}
