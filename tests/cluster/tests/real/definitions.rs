//! The definitions on a real server: established, without a warning, and small enough for `kubectl apply`.

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::Api;
use kube::api::ListParams;

use crate::fixture::{self, repository};

/// The annotations of an object together, which is what `kubectl apply` puts a whole copy into.
const ANNOTATIONS: usize = 256 * 1024;
/// A request to etcd.
const STORED: usize = 1024 * 1024;

/// A definition that is refused (a rule too expensive, a schema that is not structural) does not let the server start; these are the
/// conditions that are told and change nothing.
#[tokio::test(flavor = "multi_thread")]
async fn definitions_are_established_and_structural() {
    let server = fixture::server().await;
    let api: Api<CustomResourceDefinition> = Api::all(server.client("default").await.unwrap());
    let found = api.list(&ListParams::default()).await.unwrap();
    assert_eq!(found.items.len(), braid_conformance::definitions().len());
    for definition in found {
        let status = definition.status.unwrap();
        let conditions: Vec<(String, String)> = status
            .conditions
            .unwrap()
            .into_iter()
            .map(|it| (it.type_, it.status))
            .collect();
        println!("{}: {conditions:?}", definition.metadata.name.unwrap());
        let is = |kind: &str, is: &str| conditions.iter().any(|(type_, status)| type_ == kind && status == is);
        assert!(
            is("Established", "True") && is("NamesAccepted", "True"),
            "{conditions:?}"
        );
        assert!(!is("NonStructuralSchema", "True"), "{conditions:?}");
        assert_eq!(
            status.stored_versions,
            Some(vec![definition.spec.versions[0].name.clone()])
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn generated_files_are_taken_without_a_warning_and_fit_into_an_apply() {
    let server = fixture::server().await;
    let files = repository("crds/generated");
    // `replace` says what the server warns of, as `create` would: unknown formats, fields that are dropped, rules that are slow.
    let output = server
        .kubectl("default")
        .unwrap()
        .args([
            "replace",
            "--dry-run=server",
            "--validate=strict",
            "--warnings-as-errors",
            "-f",
        ])
        .arg(&files)
        .output()
        .unwrap();
    let told = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && told.trim().is_empty(), "{told}");
    // The same as people do it.
    let output = server
        .kubectl("default")
        .unwrap()
        .args(["apply", "-f"])
        .arg(repository("crds/generated"))
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let api: Api<CustomResourceDefinition> = Api::all(server.client("default").await.unwrap());
    for definition in braid_crds::definitions() {
        let name = definition.metadata.name.unwrap();
        let stored = api.get(&name).await.unwrap();
        let applied =
            stored.metadata.annotations.as_ref().unwrap()["kubectl.kubernetes.io/last-applied-configuration"].len();
        let whole = serde_json::to_vec(&stored).unwrap().len();
        println!("{name}: applied {applied} of {ANNOTATIONS} bytes, stored {whole} of {STORED}");
        assert!(
            applied < ANNOTATIONS,
            "{name} is too large for `kubectl apply`: {applied} bytes"
        );
        assert!(whole < STORED, "{name} is too large for etcd: {whole} bytes");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn kubectl_explains_fields() {
    let server = fixture::server().await;
    let output = server
        .kubectl("default")
        .unwrap()
        .args(["explain", "workflows.braid.dev.spec.steps.over"])
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    for part in ["KIND:       Workflow", "FIELD: over", "range\t<Object>"] {
        assert!(
            text.contains(part),
            "no {part:?} in\n{text}{}",
            String::from_utf8_lossy(&output.stderr)
        );
    }
}
