//! Braid's own definitions on the server: every schema and rule compiles, and wrong ones are refused. What the rules promise is in the
//! table of conformance cases.
#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]

use braid_apiserver::ApiServer;

#[tokio::test]
async fn every_definition_compiles() {
    ApiServer::builder()
        .crds(braid_crds::definitions())
        .build()
        .await
        .unwrap();
}

#[tokio::test]
async fn a_definition_with_a_wrong_rule_is_refused_at_build() {
    for rule in [
        "self.spec.nothing > 1",
        "self.spec.",
        "other == 1",
        "self.metadata.labels.size() > 0",
    ] {
        let mut crd = braid_crds::definitions().remove(0);
        let schema = crd.spec.versions[0]
            .schema
            .as_mut()
            .unwrap()
            .open_api_v3_schema
            .as_mut()
            .unwrap();
        schema.x_kubernetes_validations.get_or_insert_default()[0].rule = rule.into();
        let error = ApiServer::builder()
            .crds([crd])
            .build()
            .await
            .expect_err(rule)
            .to_string();
        assert!(
            error.contains("does not compile") && error.contains("workflows.braid.dev"),
            "{error}"
        );
    }
}

/// As on a real server, a field of any JSON does not exist for rules; nor does a list of such values.
#[tokio::test]
async fn rules_cannot_see_fields_without_a_type() {
    for property in [
        r#"{"x-kubernetes-preserve-unknown-fields": true}"#,
        r#"{"type": "array", "items": {"x-kubernetes-preserve-unknown-fields": true}}"#,
    ] {
        let mut crd = braid_crds::definitions().remove(0);
        let schema = crd.spec.versions[0]
            .schema
            .as_mut()
            .unwrap()
            .open_api_v3_schema
            .as_mut()
            .unwrap();
        let spec = schema.properties.as_mut().unwrap().get_mut("spec").unwrap();
        let property = serde_json::from_str(property).unwrap();
        spec.properties.as_mut().unwrap().insert("any".to_owned(), property);
        spec.x_kubernetes_validations.get_or_insert_default()[0].rule = "has(self.any)".to_owned();
        let error = ApiServer::builder()
            .crds([crd])
            .build()
            .await
            .expect_err("refused")
            .to_string();
        assert!(error.contains("undefined field 'any'"), "{error}");
    }
}
