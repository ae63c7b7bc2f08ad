//! Who speaks to a server, as a kubeconfig: for clients of this process and for other programs.

use std::collections::BTreeMap;

use base64::Engine as _;
use serde_json::{Value, json};

use crate::certificates::Pair;

/// Somebody whom an administrator speaks as, by impersonation.
#[derive(Clone, Debug, Default)]
pub struct Person {
    /// The user's name, as in `system:serviceaccount:team:etl`.
    pub user: String,
    /// Groups.
    pub groups: Vec<String>,
    /// What tokens carry besides, as in `authentication.kubernetes.io/pod-uid`.
    pub extra: BTreeMap<String, Vec<String>>,
}

impl Person {
    /// The service account of a pod, as its bound token says it.
    pub fn pod(namespace: &str, account: &str, pod: &str, uid: &str) -> Self {
        let extra = [("pod-name", pod), ("pod-uid", uid)]
            .map(|(key, value)| (format!("authentication.kubernetes.io/{key}"), vec![value.to_owned()]));
        Self {
            user: format!("system:serviceaccount:{namespace}:{account}"),
            groups: vec![
                "system:serviceaccounts".to_owned(),
                format!("system:serviceaccounts:{namespace}"),
                "system:authenticated".to_owned(),
            ],
            extra: extra.into(),
        }
    }
}

/// A kubeconfig as JSON, which is YAML.
pub(crate) fn text(server: &str, authority: &str, pair: &Pair, namespace: &str, person: Option<&Person>) -> String {
    let mut user = json!({
        "client-certificate-data": base64(&pair.certificate),
        "client-key-data": base64(&pair.key),
    });
    if let (Some(person), Value::Object(fields)) = (person, &mut user) {
        fields.insert("as".to_owned(), json!(person.user));
        fields.insert("as-groups".to_owned(), json!(person.groups));
        fields.insert("as-user-extra".to_owned(), json!(person.extra));
    }
    json!({
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "real", "cluster": {"server": server, "certificate-authority-data": base64(authority)}}],
        "users": [{"name": "real", "user": user}],
        "contexts": [{"name": "real", "context": {"cluster": "real", "user": "real", "namespace": namespace}}],
        "current-context": "real",
    })
    .to_string()
}

fn base64(text: &str) -> String {
    base64::engine::general_purpose::STANDARD.encode(text)
}
