//! An operator that contends for a Lease of its own, so that it leads beside the one that leads already.

use serde_json::{Value, json};

use crate::install::suite;
use crate::space::until;

const NAME: &str = "second-operator";

/// A second leader; gone when dropped.
pub struct SecondOperator {
    pod: &'static str,
}

impl SecondOperator {
    /// Starts it, with everything else as the release's operators have it; on return it runs.
    pub fn start() -> Self {
        let home = suite().namespace();
        let deployments = suite().json(&["get", "deployments", "--namespace", home]);
        let template = &deployments["items"][0]["spec"]["template"]["spec"];
        let account = template["serviceAccountName"].clone();
        let mut spec = template.clone();
        let environment = spec["containers"][0]["env"].as_array_mut();
        let environment = environment.unwrap_or_else(|| panic!("the operator has no environment: {template}"));
        environment.retain(|variable| variable["name"] != "BRAID_LEASE_NAME");
        environment.push(json!({"name": "BRAID_LEASE_NAME", "value": NAME}));
        let named =
            |kind: &str, version: &str| json!({"apiVersion": version, "kind": kind, "metadata": {"name": NAME}});
        let with = |mut object: Value, fields: &Value| {
            let fields = fields.as_object().cloned().unwrap_or_default();
            if let Some(object) = object.as_object_mut() {
                object.extend(fields);
            }
            object
        };
        let rights = "rbac.authorization.k8s.io";
        let version = format!("{rights}/v1");
        let rules = json!({"rules": [
            {"apiGroups": ["coordination.k8s.io"], "resources": ["leases"], "resourceNames": [NAME], "verbs": ["get", "update"]},
        ]});
        let binding = json!({
            "roleRef": {"apiGroup": rights, "kind": "Role", "name": NAME},
            "subjects": [{"kind": "ServiceAccount", "name": account, "namespace": home}],
        });
        for object in [
            with(named("Role", &version), &rules),
            with(named("RoleBinding", &version), &binding),
            with(named("Pod", "v1"), &json!({"spec": spec})),
        ] {
            let words = ["create", "--filename=-", "--namespace", home];
            let made = suite().try_kubectl(&words, Some(&object.to_string()));
            assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        }
        let second = Self { pod: NAME };
        until("the second operator runs", || {
            let pod = suite().json(&["get", "pod", NAME, "--namespace", home]);
            let ready = pod["status"]["containerStatuses"][0]["ready"].as_bool();
            (ready == Some(true)).then_some(())
        });
        second
    }

    /// Its pod.
    pub fn pod(&self) -> &'static str {
        self.pod
    }
}

impl Drop for SecondOperator {
    fn drop(&mut self) {
        let home = ["--namespace", suite().namespace(), "--ignore-not-found"];
        let mut what = vec!["delete", "--grace-period=1"];
        let objects = ["pod", "role", "rolebinding", "lease"].map(|kind| format!("{kind}/{NAME}"));
        what.extend(objects.iter().map(String::as_str));
        suite().try_kubectl(&[&what[..], &home].concat(), None);
    }
}
