//! What a doctor finds. What the embedded server does not know is answered by the test.

use braid_crds::DEFINITIONS_ANNOTATION;
use k8s_openapi::api::coordination::v1::Lease;
use kube::{ResourceExt as _, api::PostParams};
use serde_json::{Value, json};

use crate::{cases::submit, embedded::Embedded, harness::Said};

const DEFINITIONS: &str = "GET /apis/apiextensions.k8s.io/v1/customresourcedefinitions";
const REVIEWS: &str = "POST /apis/authorization.k8s.io/v1/selfsubjectaccessreviews";
const POLICIES: &str = "GET /apis/admissionregistration.k8s.io/v1/validatingadmissionpolicies";
const BINDINGS: &str = "GET /apis/admissionregistration.k8s.io/v1/validatingadmissionpolicybindings";
const DEPLOYMENTS: &str = "GET /apis/apps/v1/deployments";

fn list(items: &Value) -> Value {
    json!({"kind": "List", "apiVersion": "v1", "metadata": {}, "items": items})
}

fn forbidden() -> Value {
    json!({"kind": "Status", "apiVersion": "v1", "status": "Failure", "code": 403, "reason": "Forbidden", "message": "you may not"})
}

fn deployment(ready: u32, watched: &str) -> Value {
    json!({
        "metadata": {"name": "braid-operator", "namespace": "braid-system", "labels": {"app.kubernetes.io/version": "0.1.0"}},
        "spec": {"selector": {}, "template": {"spec": {"containers": [{"name": "operator", "env": [
            {"name": "BRAID_WATCH_NAMESPACES", "value": watched}, {"name": "BRAID_LEASE_NAME", "value": "lead"},
        ]}]}}},
        "status": {"replicas": 2, "readyReplicas": ready},
    })
}

fn policy(name: &str, resource: &str) -> Value {
    json!({"metadata": {"name": name}, "spec": {
        "matchConstraints": {"resourceRules": [{"apiGroups": ["x"], "apiVersions": ["v1"], "operations": ["UPDATE"], "resources": [resource]}]},
        "matchConditions": [{"name": "c", "expression": "authorizer.group('braid.dev').resource('workers')"}],
    }})
}

/// A cluster in which all is well.
fn sound() -> Embedded {
    let embedded = Embedded::new();
    embedded.answers(
        "GET /version",
        200,
        &json!({
            "major": "1", "minor": "33+", "gitVersion": "v1.33.4", "gitCommit": "", "gitTreeState": "", "buildDate": "",
            "goVersion": "", "compiler": "", "platform": "",
        }),
    );
    for definition in braid_crds::definitions() {
        let mut stored = serde_json::to_value(&definition).unwrap();
        stored["status"] = json!({"conditions": [{"type": "Established", "status": "True"}]});
        embedded.answers(&format!("{DEFINITIONS}/{}", definition.name_any()), 200, &stored);
    }
    let review = |allowed: bool| json!({"kind": "SelfSubjectAccessReview", "apiVersion": "authorization.k8s.io/v1", "spec": {}, "status": {"allowed": allowed}});
    embedded.answers(REVIEWS, 201, &review(true));
    embedded.answers(DEPLOYMENTS, 200, &list(&json!([deployment(2, "")])));
    embedded.answers(
        POLICIES,
        200,
        &list(&json!([policy("a", "workers/status"), policy("b", "leases")])),
    );
    let bound =
        |name: &str| json!({"metadata": {"name": name}, "spec": {"policyName": name, "validationActions": ["Deny"]}});
    embedded.answers(BINDINGS, 200, &list(&json!([bound("a"), bound("b")])));
    let lease: Lease = serde_json::from_value(json!({
        "metadata": {"name": "lead", "namespace": "braid-system"},
        "spec": {"holderIdentity": "operator-x", "leaseDurationSeconds": 15, "renewTime": "2999-01-01T00:00:00.000000Z"},
    }))
    .unwrap();
    let site = &embedded.site;
    let api = kube::Api::namespaced(site.client.clone(), "braid-system");
    site.ask(api.create(&PostParams::default(), &lease));
    embedded
}

fn findings(said: &Said) -> Vec<(String, String)> {
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let found = said.json();
    let found = found.as_array().unwrap().iter();
    found.map(|it| (text(&it["about"]), text(&it["state"]))).collect()
}

#[test]
fn a_sound_cluster_is_fine() {
    let embedded = sound();
    let site = &embedded.site;
    submit(site, "goes");
    site.running("goes", 1);
    let said = site.braid(&["doctor"]).exits(0);
    for told in [
        "✔ server      context here at http://127.0.0.1:",
        "v1.33.4",
        "✔ definitions 4 kinds of braid.dev/v1alpha1",
        "✔ operator    braid-system/braid-operator: 2 of 2 pods are ready, version 0.1.0",
        "✔ leader      operator-x leads",
        "✔ policies",
        "✔ rights      you may do all that the commands need in team",
        "✔ run         1 goes on",
    ] {
        assert!(said.out.contains(told), "{told} is not in {}", said.out);
    }
}

#[test]
fn each_problem_is_found_and_says_what_to_do() {
    let review = json!({"kind": "SelfSubjectAccessReview", "apiVersion": "authorization.k8s.io/v1", "spec": {}, "status": {"allowed": false}});
    let mut old = serde_json::to_value(&braid_crds::definitions()[0]).unwrap();
    old["metadata"]["annotations"][DEFINITIONS_ANNOTATION] = json!("0");
    let name = old["metadata"]["name"].as_str().unwrap().to_owned();
    let of_definition = format!("{DEFINITIONS}/{name}");
    let cases: [(&str, u16, Value, &str); 6] = [
        (&of_definition, 200, old, "is of version 0, this program of"),
        (DEPLOYMENTS, 200, list(&json!([])), "there is none"),
        (
            DEPLOYMENTS,
            200,
            list(&json!([deployment(0, "")])),
            "0 of 2 pods are ready",
        ),
        (
            DEPLOYMENTS,
            200,
            list(&json!([deployment(2, "other,another")])),
            "no operator looks at the namespace team",
        ),
        (
            REVIEWS,
            201,
            review,
            "you may not create workflows.braid.dev (for submit)",
        ),
        (
            "GET /version",
            200,
            json!({
                "major": "1", "minor": "29", "gitVersion": "v1.29.0", "gitCommit": "", "gitTreeState": "", "buildDate": "",
                "goVersion": "", "compiler": "", "platform": "",
            }),
            "Braid needs Kubernetes 1.33",
        ),
    ];
    for (path, code, answer, told) in cases {
        let embedded = sound();
        embedded.answers(path, code, &answer);
        let said = embedded.site.braid(&["doctor"]).exits(1);
        assert!(said.out.contains(told), "{told} is not in {}", said.out);
        assert!(said.out.contains('✘'), "{}", said.out);
    }
}

#[test]
fn what_may_not_be_looked_at_is_unknown_and_no_problem() {
    let embedded = sound();
    for path in [
        POLICIES,
        DEPLOYMENTS,
        "GET /apis/apps/v1/namespaces/braid-system/deployments",
    ] {
        embedded.answers(path, 403, &forbidden());
    }
    for definition in braid_crds::definitions() {
        embedded.answers(&format!("{DEFINITIONS}/{}", definition.name_any()), 403, &forbidden());
    }
    let said = embedded.site.braid(&["doctor", "-o", "json"]).exits(0);
    let unknown: Vec<String> = findings(&said)
        .into_iter()
        .filter(|(_, state)| state == "Unknown")
        .map(|(about, _)| about)
        .collect();
    assert_eq!(vec!["definitions", "operator", "policies"], unknown);
}

#[test]
fn policies_that_do_not_deny_are_none() {
    let embedded = sound();
    let audited = json!([{"metadata": {"name": "a"}, "spec": {"policyName": "a", "validationActions": ["Audit"]}}]);
    embedded.answers(BINDINGS, 200, &list(&audited));
    let said = embedded.site.braid(&["doctor"]).exits(0);
    assert!(
        said.out
            .contains("no policy keeps workers from writing the status of other Workers and Leases"),
        "{}",
        said.out
    );
}

#[test]
fn a_server_that_is_not_there_ends_it() {
    let embedded = sound();
    let said = embedded.site.braid(&["doctor", "--context", "nobody"]).exits(6);
    assert!(said.err.contains("cannot be reached"), "{}", said.err);
}
