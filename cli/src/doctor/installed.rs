//! The server, the definitions of our kinds, the policies.

use braid_crds::{DEFINITIONS, DEFINITIONS_ANNOTATION, GROUP, VERSION};
use k8s_openapi::{
    api::admissionregistration::v1::{ValidatingAdmissionPolicy, ValidatingAdmissionPolicyBinding},
    apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition,
};
use kube::{Api, ResourceExt as _, api::ListParams};

use super::{Finding, State};
use crate::{
    cluster::{Cluster, ClusterError},
    exit::Failure,
};

/// The oldest minor version of Kubernetes 1 that has all that Braid uses.
const OLDEST: u32 = 33;
/// What brings an installation to this program's version.
const INSTALL: &str = "install or upgrade Braid there with the Helm chart of this version";

/// The server; whoever does not reach it need not look further.
pub async fn server(cluster: &Cluster) -> Result<Finding, Failure> {
    let about = "server";
    let place = format!("{} at {}", cluster.told, cluster.server);
    match cluster.call(cluster.client().apiserver_version()).await {
        Ok(info) => {
            let minor: String = info.minor.chars().take_while(char::is_ascii_digit).collect();
            let told = format!("{place}: {}", info.git_version);
            Ok(
                if info.major == "1" && minor.parse().is_ok_and(|minor: u32| minor < OLDEST) {
                    Finding::new(about, State::Problem, told)
                        .help(format!("Braid needs Kubernetes 1.{OLDEST} or newer"))
                } else {
                    Finding::new(about, State::Fine, told)
                },
            )
        }
        Err(error @ ClusterError::Forbidden(_)) => Ok(Finding::of(about, &error)),
        Err(error) => Err(error.into()),
    }
}

/// Whether our kinds are there, in this program's version.
pub async fn definitions(cluster: &Cluster) -> Finding {
    let about = "definitions";
    let api: Api<CustomResourceDefinition> = Api::all(cluster.client());
    let expected = braid_crds::definitions();
    let mut wrong = Vec::new();
    for definition in &expected {
        let name = definition.name_any();
        match cluster.call(api.get_opt(&name)).await {
            Ok(Some(stored)) => wrong.extend(judge(&stored)),
            Ok(None) => wrong.push(format!("{name} is missing")),
            Err(ClusterError::Forbidden(_)) => return served(cluster).await,
            Err(error) => return Finding::of(about, &error),
        }
    }
    if wrong.is_empty() {
        let told = format!(
            "{} kinds of {GROUP}/{VERSION}, definitions {DEFINITIONS}",
            expected.len()
        );
        Finding::new(about, State::Fine, told)
    } else {
        Finding::new(about, State::Problem, wrong.join("; ")).help(INSTALL)
    }
}

/// What is wrong with a definition.
fn judge(stored: &CustomResourceDefinition) -> Option<String> {
    let name = stored.name_any();
    let version = stored.annotations().get(DEFINITIONS_ANNOTATION);
    match version.and_then(|version| version.parse::<i32>().ok()) {
        Some(version) if version == DEFINITIONS => {}
        Some(version) => return Some(format!("{name} is of version {version}, this program of {DEFINITIONS}")),
        None => {
            return Some(format!(
                "{name} has no version: it is older than this program, or not Braid's"
            ));
        }
    }
    let served = stored
        .status
        .iter()
        .flat_map(|status| status.conditions.iter().flatten())
        .any(|condition| condition.type_ == "Established" && condition.status == "True");
    (!served).then(|| format!("{name} is not served"))
}

/// For those who may not read definitions: whether the kinds are there at all.
async fn served(cluster: &Cluster) -> Finding {
    let about = "definitions";
    let client = cluster.client();
    let group = format!("{GROUP}/{VERSION}");
    match cluster.call(client.list_api_group_resources(&group)).await {
        Ok(found) if found.resources.iter().any(|resource| resource.name == "workflows") => Finding::new(
            about,
            State::Unknown,
            format!("{group} is served; you may not read which version it is of"),
        ),
        Ok(_) | Err(ClusterError::NotInstalled(_) | ClusterError::NotFound(_)) => {
            Finding::new(about, State::Problem, format!("{group} is not served")).help(INSTALL)
        }
        Err(error) => Finding::of(about, &error),
    }
}

/// Whether workers are held to their own objects.
pub async fn policies(cluster: &Cluster) -> Finding {
    let about = "policies";
    let policies: Api<ValidatingAdmissionPolicy> = Api::all(cluster.client());
    let bindings: Api<ValidatingAdmissionPolicyBinding> = Api::all(cluster.client());
    let every = ListParams::default();
    let found = async {
        let policies = cluster.call(policies.list(&every)).await?;
        let bindings = cluster.call(bindings.list(&every)).await?;
        Ok::<_, ClusterError>((policies.items, bindings.items))
    };
    let (policies, bindings) = match found.await {
        Ok(found) => found,
        Err(error) => return Finding::of(about, &error),
    };
    let denies = |policy: &&ValidatingAdmissionPolicy| {
        let name = policy.name_any();
        bindings.iter().filter_map(|binding| binding.spec.as_ref()).any(|spec| {
            let actions = spec.validation_actions.iter().flatten();
            spec.policy_name.as_deref() == Some(&name) && actions.clone().any(|action| action == "Deny")
        })
    };
    let missing: Vec<&str> = [
        ("workers/status", "the status of other Workers"),
        ("leases", "Leases that are not theirs"),
    ]
    .into_iter()
    .filter(|(resource, _)| !policies.iter().filter(denies).any(|policy| guards(policy, resource)))
    .map(|(_, what)| what)
    .collect();
    if missing.is_empty() {
        Finding::new(about, State::Fine, "workers can write to their own objects only")
    } else {
        Finding::new(
            about,
            State::Note,
            format!("no policy keeps workers from writing {}", missing.join(" and ")),
        )
        .help("the chart makes them: admissionPolicies.create=true")
    }
}

/// Whether a policy is one of ours and looks at this resource.
fn guards(policy: &ValidatingAdmissionPolicy, resource: &str) -> bool {
    let Some(spec) = &policy.spec else { return false };
    let rules = spec
        .match_constraints
        .iter()
        .flat_map(|constraints| constraints.resource_rules.iter().flatten());
    let looks = rules
        .flat_map(|rule| rule.resources.iter().flatten())
        .any(|known| known == resource);
    // Others have policies for Leases, too.
    let ours = resource != "leases"
        || spec
            .match_conditions
            .iter()
            .flatten()
            .any(|condition| condition.expression.contains(GROUP));
    looks && ours
}
