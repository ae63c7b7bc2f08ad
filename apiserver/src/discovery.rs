//! What a client can ask about the server itself: version, groups, kinds and the definitions.

use serde_json::{Value, json};

use crate::resource::Resource;
use crate::verbs::Api;

/// Answers a GET of a path outside of the objects; `None` if there is nothing there.
pub(crate) fn answer(api: &Api, path: &[&str]) -> Option<Value> {
    match path {
        ["healthz" | "livez" | "readyz"] => Some(json!("ok")),
        ["version"] => Some(json!({
            "major": "1", "minor": "33", "gitVersion": concat!("v1.33.0+braid-", env!("CARGO_PKG_VERSION")),
            "gitCommit": "", "gitTreeState": "", "buildDate": "", "goVersion": "", "compiler": "rustc",
            "platform": std::env::consts::OS,
        })),
        ["api"] => Some(json!({"kind": "APIVersions", "versions": ["v1"], "serverAddressByClientCIDRs": []})),
        ["api", "v1"] => resources(api, "", "v1"),
        ["apis"] => Some(json!({"kind": "APIGroupList", "apiVersion": "v1", "groups": groups(api)})),
        ["apis", "apiextensions.k8s.io", "v1", "customresourcedefinitions"] => Some(json!({
            "kind": "CustomResourceDefinitionList", "apiVersion": "apiextensions.k8s.io/v1",
            "metadata": {"resourceVersion": "1"}, "items": api.registry.crds(),
        })),
        ["apis", "apiextensions.k8s.io", "v1", "customresourcedefinitions", name] => api
            .registry
            .crds()
            .iter()
            .find(|crd| crate::object::name(crd) == *name)
            .cloned(),
        ["apis", group] => groups(api)
            .into_iter()
            .find(|g| g.get("name").and_then(Value::as_str) == Some(group)),
        ["apis", group, version] => resources(api, group, version),
        _ => None,
    }
}

fn groups(api: &Api) -> Vec<Value> {
    let mut seen: Vec<(&str, &str)> = Vec::new();
    for resource in api.registry.iter().filter(|r| !r.group.is_empty()) {
        let entry = (resource.group.as_str(), resource.version.as_str());
        if !seen.contains(&entry) {
            seen.push(entry);
        }
    }
    seen.into_iter()
        .map(|(group, version)| {
            let version = json!({"groupVersion": format!("{group}/{version}"), "version": version});
            json!({"kind": "APIGroup", "apiVersion": "v1", "name": group, "versions": [version], "preferredVersion": version})
        })
        .collect()
}

fn resources(api: &Api, group: &str, version: &str) -> Option<Value> {
    let mut list = Vec::new();
    for resource in api.registry.iter().filter(|r| r.group == group && r.version == version) {
        list.push(described(resource, ""));
        if resource.status {
            list.push(described(resource, "/status"));
        }
    }
    if list.is_empty() {
        return None;
    }
    let group_version = if group.is_empty() {
        version.to_owned()
    } else {
        format!("{group}/{version}")
    };
    Some(json!({"kind": "APIResourceList", "apiVersion": "v1", "groupVersion": group_version, "resources": list}))
}

fn described(resource: &Resource, suffix: &str) -> Value {
    let verbs = if suffix.is_empty() {
        json!([
            "create",
            "delete",
            "deletecollection",
            "get",
            "list",
            "patch",
            "update",
            "watch"
        ])
    } else {
        json!(["get", "patch", "update"])
    };
    json!({
        "name": format!("{}{suffix}", resource.plural), "singularName": if suffix.is_empty() { &resource.singular } else { "" },
        "namespaced": resource.namespaced, "kind": resource.kind, "verbs": verbs, "shortNames": resource.short_names,
    })
}
