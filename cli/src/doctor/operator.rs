//! The operators: whether they are there and ready, who leads, and whether they look at the namespace.

use jiff::Timestamp;
use k8s_openapi::api::{
    apps::v1::Deployment,
    coordination::v1::Lease,
    core::v1::{Container, Pod},
};
use kube::{Api, ResourceExt as _, api::ListParams};

use super::{Finding, State};
use crate::cluster::{Cluster, ClusterError};

const ABOUT: &str = "operator";
/// What the chart's Deployment is known by.
const LABELS: &str = "app.kubernetes.io/name=braid,app.kubernetes.io/component=operator";
/// The variables of the operator's container that say what it looks at, and where its leader is written.
const WATCHED: &str = "BRAID_WATCH_NAMESPACES";
const LEASE: &str = "BRAID_LEASE_NAME";
/// How far the clocks of this machine and of the cluster may be apart, in seconds.
const SKEW: i64 = 30;

/// All operators that there are, or those of a namespace if only they may be looked at.
pub async fn operators(cluster: &Cluster, namespace: &str, all: bool) -> Vec<Finding> {
    let params = ListParams::default().labels(LABELS);
    let everywhere: Api<Deployment> = Api::all(cluster.client());
    let found = match cluster.call(everywhere.list(&params)).await {
        Err(ClusterError::Forbidden(_)) => {
            let there: Api<Deployment> = Api::namespaced(cluster.client(), namespace);
            cluster.call(there.list(&params)).await
        }
        other => other,
    };
    let deployments = match found {
        Ok(found) => found.items,
        Err(error) => {
            return vec![Finding::of(ABOUT, &error).help("an administrator can look; so can --operator-namespace")];
        }
    };
    if deployments.is_empty() {
        return vec![
            Finding::new(ABOUT, State::Problem, "there is none (no Deployment of the chart)")
                .help("install Braid with its Helm chart; without an operator nothing becomes of a Workflow"),
        ];
    }
    let mut findings = Vec::new();
    for deployment in &deployments {
        findings.push(ready(cluster, deployment).await);
        findings.push(lead(cluster, deployment).await);
    }
    let watched: Vec<Option<String>> = deployments.iter().map(|it| variable(it, WATCHED)).collect();
    if !all && !watched.iter().any(|list| looks_at(list.as_deref(), &cluster.namespace)) {
        let told = format!("no operator looks at the namespace {}", cluster.namespace);
        findings.push(
            Finding::new(ABOUT, State::Problem, told)
                .help("add it to the chart's watchNamespaces, or work in one that is there"),
        );
    }
    findings
}

fn looks_at(list: Option<&str>, namespace: &str) -> bool {
    let list = list.unwrap_or_default();
    list.is_empty() || list.split(',').any(|watched| watched == namespace)
}

fn told(deployment: &Deployment) -> String {
    format!(
        "{}/{}",
        deployment.namespace().unwrap_or_default(),
        deployment.name_any()
    )
}

fn variable(deployment: &Deployment, name: &str) -> Option<String> {
    let containers: &[Container] = deployment
        .spec
        .as_ref()
        .and_then(|spec| spec.template.spec.as_ref())
        .map(|spec| spec.containers.as_slice())
        .unwrap_or_default();
    let variables = containers.iter().flat_map(|container| container.env.iter().flatten());
    variables.into_iter().find(|it| it.name == name)?.value.clone()
}

async fn ready(cluster: &Cluster, deployment: &Deployment) -> Finding {
    let name = told(deployment);
    let version = deployment.labels().get("app.kubernetes.io/version");
    let version = version
        .map(|version| format!(", version {version}"))
        .unwrap_or_default();
    let status = deployment.status.clone().unwrap_or_default();
    let (ready, wanted) = (status.ready_replicas.unwrap_or(0), status.replicas.unwrap_or(0));
    let message = format!("{name}: {ready} of {wanted} pods are ready{version}");
    if ready > 0 {
        return Finding::new(ABOUT, State::Fine, message);
    }
    let why = why(cluster, deployment).await;
    let namespace = deployment.namespace().unwrap_or_default();
    Finding::new(ABOUT, State::Problem, format!("{message}{why}"))
        .help(format!("kubectl -n {namespace} describe pods -l {LABELS}"))
}

/// Why no pod of an operator is ready, as far as the pods say.
async fn why(cluster: &Cluster, deployment: &Deployment) -> String {
    let pods: Api<Pod> = Api::namespaced(cluster.client(), &deployment.namespace().unwrap_or_default());
    let Ok(pods) = cluster
        .call(pods.list(&ListParams::default().labels(LABELS).limit(10)))
        .await
    else {
        return String::new();
    };
    let statuses = pods.items.iter().filter_map(|pod| pod.status.as_ref());
    let mut reasons = statuses
        .flat_map(|status| status.container_statuses.iter().flatten())
        .filter_map(|container| container.state.as_ref())
        .filter_map(|state| {
            let waiting = state.waiting.as_ref();
            waiting.map(|waiting| {
                let message = waiting.message.as_deref().unwrap_or_default();
                format!(": {} {message}", waiting.reason.as_deref().unwrap_or_default())
            })
        });
    reasons.next().unwrap_or_default()
}

/// Who leads, if anybody does.
async fn lead(cluster: &Cluster, deployment: &Deployment) -> Finding {
    let namespace = deployment.namespace().unwrap_or_default();
    let name = variable(deployment, LEASE).unwrap_or_else(|| deployment.name_any());
    let leases: Api<Lease> = Api::namespaced(cluster.client(), &namespace);
    match cluster.call(leases.get_opt(&name)).await {
        Ok(lease) => judge(lease.as_ref(), &namespace, Timestamp::now()),
        Err(error) => Finding::of("leader", &error),
    }
}

fn judge(lease: Option<&Lease>, namespace: &str, now: Timestamp) -> Finding {
    let about = "leader";
    let help = format!("kubectl -n {namespace} logs -l {LABELS} --tail=50");
    let spec = lease.and_then(|lease| lease.spec.as_ref());
    let holder = spec
        .and_then(|spec| spec.holder_identity.as_deref())
        .unwrap_or_default();
    if holder.is_empty() {
        return Finding::new(about, State::Problem, "no operator leads").help(help);
    }
    let lasts = i64::from(spec.and_then(|spec| spec.lease_duration_seconds).unwrap_or_default());
    let renewed = spec.and_then(|spec| spec.renew_time.as_ref());
    let silent = renewed.map_or(i64::MAX, |time| now.duration_since(time.0).as_secs());
    if silent > lasts.saturating_add(SKEW) {
        let told = match renewed {
            Some(_) => format!("{holder} has been silent for {silent}s, and nobody has taken over"),
            None => format!("{holder} has never renewed its lead"),
        };
        return Finding::new(about, State::Problem, told).help(help);
    }
    Finding::new(about, State::Fine, format!("{holder} leads"))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use serde_json::json;

    use super::*;

    fn judged(spec: &serde_json::Value) -> State {
        let lease: Lease = serde_json::from_value(json!({"metadata": {"name": "l"}, "spec": spec})).unwrap();
        judge(Some(&lease), "ns", "2026-01-01T00:01:00Z".parse().unwrap()).state
    }

    #[test]
    fn a_leader_is_one_that_renews() {
        let held = |renewed: &str| json!({"holderIdentity": "a", "leaseDurationSeconds": 15, "renewTime": renewed});
        assert_eq!(State::Fine, judged(&held("2026-01-01T00:00:50.000000Z")));
        // Clocks differ.
        assert_eq!(State::Fine, judged(&held("2026-01-01T00:00:20.000000Z")));
        assert_eq!(State::Fine, judged(&held("2026-01-01T00:02:00.000000Z")));
        assert_eq!(State::Problem, judged(&held("2026-01-01T00:00:01.000000Z")));
        assert_eq!(State::Problem, judged(&json!({"holderIdentity": ""})));
        assert_eq!(State::Problem, judged(&json!({"holderIdentity": "a"})));
        assert_eq!(State::Problem, judge(None, "ns", Timestamp::UNIX_EPOCH).state);
    }

    #[test]
    fn an_empty_list_of_namespaces_is_all() {
        assert!(looks_at(None, "team"));
        assert!(looks_at(Some(""), "team"));
        assert!(looks_at(Some("a,team"), "team"));
        assert!(!looks_at(Some("a,teams"), "team"));
    }
}
