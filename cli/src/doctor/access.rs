//! What this user may do, as the server itself judges.

use futures::future;
use k8s_openapi::api::authorization::v1::{ResourceAttributes, SelfSubjectAccessReview, SelfSubjectAccessReviewSpec};
use kube::{Api, api::PostParams};

use super::{Finding, State};
use crate::cluster::{Cluster, ClusterError};

const ABOUT: &str = "rights";

/// A right and what it is for.
struct Right {
    verb: &'static str,
    group: &'static str,
    resource: &'static str,
    subresource: Option<&'static str>,
    used: &'static str,
}

const fn right(verb: &'static str, resource: &'static str, used: &'static str) -> Right {
    Right {
        verb,
        group: braid_crds::GROUP,
        resource,
        subresource: None,
        used,
    }
}

/// What the commands need.
const NEEDED: [Right; 7] = [
    right("create", "workflows", "submit"),
    right("get", "workflows", "get"),
    right("list", "workflows", "ls, watch, wait"),
    right("watch", "workflows", "watch, wait"),
    right("patch", "workflows", "suspend, resume, cancel"),
    Right {
        group: "",
        ..right("list", "pods", "logs")
    },
    Right {
        group: "",
        subresource: Some("log"),
        ..right("get", "pods", "logs")
    },
];

impl Right {
    fn told(&self) -> String {
        let slash = self.subresource.map(|name| format!("/{name}")).unwrap_or_default();
        let dot = if self.group.is_empty() { "" } else { "." };
        format!(
            "{} {}{dot}{}{slash} (for {})",
            self.verb, self.resource, self.group, self.used
        )
    }
}

/// Which rights are missing in the namespace.
pub async fn rights(cluster: &Cluster) -> Vec<Finding> {
    let asked = NEEDED.iter().map(|right| ask(cluster, right));
    let mut missing = Vec::new();
    for (right, answer) in NEEDED.iter().zip(future::join_all(asked).await) {
        match answer {
            Ok(true) => {}
            Ok(false) => missing.push(right.told()),
            Err(error) => return vec![Finding::of(ABOUT, &error)],
        }
    }
    if missing.is_empty() {
        let told = format!("you may do all that the commands need in {}", cluster.namespace);
        return vec![Finding::new(ABOUT, State::Fine, told)];
    }
    let help = "ask for the role edit (or view, to look only) in the namespace: the chart gives both their part of Braid's kinds";
    let finding = |told: String| {
        Finding::new(
            ABOUT,
            State::Problem,
            format!("in {} you may not {told}", cluster.namespace),
        )
    };
    let mut findings: Vec<Finding> = missing.into_iter().map(finding).collect();
    if let Some(last) = findings.pop() {
        findings.push(last.help(help));
    }
    findings
}

async fn ask(cluster: &Cluster, right: &Right) -> Result<bool, ClusterError> {
    let review = SelfSubjectAccessReview {
        spec: SelfSubjectAccessReviewSpec {
            resource_attributes: Some(ResourceAttributes {
                namespace: Some(cluster.namespace.clone()),
                verb: Some(right.verb.to_owned()),
                group: Some(right.group.to_owned()),
                resource: Some(right.resource.to_owned()),
                subresource: right.subresource.map(str::to_owned),
                ..ResourceAttributes::default()
            }),
            ..SelfSubjectAccessReviewSpec::default()
        },
        ..SelfSubjectAccessReview::default()
    };
    let api: Api<SelfSubjectAccessReview> = Api::all(cluster.client());
    let answer = cluster.call(api.create(&PostParams::default(), &review)).await?;
    Ok(answer.status.is_some_and(|status| status.allowed))
}
