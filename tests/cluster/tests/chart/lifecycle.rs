//! Installing, upgrading, uninstalling: what stays and what goes, on a real API server.

use std::process::Command;

use braid_cluster::RealApiServer;
use kube::Client;
use serde_json::{Value, json};

use crate::api::{find, helm_on, refused, send, until, until_gone};
use crate::helm::{NAMESPACE, RELEASE, printed, repository, told_to_the_hub};

const TEAM: &str = "team";
const DEFINITIONS: &str = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions";
/// What the server takes of a Secret, in which Helm keeps a release.
const SECRET: usize = 1024 * 1024;

fn workflows() -> String {
    format!("/apis/braid.dev/v1alpha1/namespaces/{TEAM}/workflows")
}

fn workflow() -> Value {
    json!({
        "apiVersion": "braid.dev/v1alpha1", "kind": "Workflow", "metadata": {"name": "w"},
        "spec": {"steps": [{"name": "s", "over": {"range": {"start": 0, "end": 10}}, "run": {"image": "a", "command": ["true"]}}]},
    })
}

fn install(server: &RealApiServer, release: &str, namespace: &str, more: &[&str]) -> Command {
    let mut command = helm_on(server);
    command
        .args(["upgrade", "--install", release])
        .arg(repository("charts/braid"))
        .args(["--namespace", namespace, "--create-namespace"])
        .args(more);
    command
}

fn uninstall(server: &RealApiServer, release: &str, namespace: &str) -> String {
    printed(helm_on(server).args(["uninstall", release, "--namespace", namespace]))
}

async fn are_there(admin: &Client) -> bool {
    let mut found = Vec::new();
    for definition in braid_crds::definitions() {
        let name = definition.metadata.name.unwrap();
        found.push(find(admin, &format!("{DEFINITIONS}/{name}")).await.is_some());
    }
    assert!(
        found.iter().all(|it| *it == found[0]),
        "some of the definitions: {found:?}"
    );
    found[0]
}

#[tokio::test(flavor = "multi_thread")]
async fn releases_come_and_go_and_runs_stay() {
    let server = RealApiServer::builder().start().await.unwrap();
    let admin = server.client("default").await.unwrap();
    server.create_namespace(TEAM).await.unwrap();
    let told = printed(&mut install(&server, RELEASE, NAMESPACE, &[]));
    assert!(
        told.contains("It looks at all namespaces") && told.contains("leaves the definitions"),
        "{told}"
    );
    until(&admin, "POST", &workflows(), &workflow(), |answer| answer.0 == 200).await;
    let run = format!("{}/w", workflows());
    // What the hub shows as an example is one.
    for example in told_to_the_hub("crdsExamples") {
        let path = format!("{}?dryRun=All&fieldValidation=Strict", workflows());
        assert_eq!(send(&admin, "POST", &path, &example).await, (200, String::new()));
    }
    let before = find(&admin, &run).await.unwrap();

    // The release with all definitions in it has to fit into a Secret.
    let secrets = find(&admin, &format!("/api/v1/namespaces/{NAMESPACE}/secrets"))
        .await
        .unwrap();
    let size = secrets["items"]
        .as_array()
        .unwrap()
        .iter()
        .map(|secret| secret.to_string().len())
        .max()
        .unwrap();
    println!("the release takes {size} of {SECRET} bytes");
    assert!(size > 10_000 && size < SECRET, "{size}");

    printed(&mut install(&server, RELEASE, NAMESPACE, &["--set", "replicas=3"]));
    let deployment = format!("/apis/apps/v1/namespaces/{NAMESPACE}/deployments/braid-operator");
    assert_eq!(find(&admin, &deployment).await.unwrap()["spec"]["replicas"], 3);
    assert_eq!(before, find(&admin, &run).await.unwrap(), "an upgrade changes no run");

    let told = uninstall(&server, RELEASE, NAMESPACE);
    assert!(told.contains("kept due to the resource policy"), "{told}");
    assert!(are_there(&admin).await);
    assert_eq!(before, find(&admin, &run).await.unwrap(), "uninstalling changes no run");
    until_gone(&admin, &deployment).await;

    // The same release takes back what it has left; another one has to be told to.
    printed(&mut install(&server, RELEASE, NAMESPACE, &[]));
    uninstall(&server, RELEASE, NAMESPACE);
    let told = refused(&mut install(&server, "other", NAMESPACE, &[]));
    assert!(told.contains("invalid ownership metadata"), "{told}");
    printed(&mut install(&server, "other", NAMESPACE, &["--take-ownership"]));
    assert_eq!(
        before["metadata"]["uid"],
        find(&admin, &run).await.unwrap()["metadata"]["uid"]
    );

    // Nobody is there to take a finalizer away: there must be none.
    let namespace = format!("/api/v1/namespaces/{TEAM}");
    assert_eq!(200, send(&admin, "DELETE", &namespace, &Value::Null).await.0);
    until_gone(&admin, &namespace).await;

    printed(&mut install(&server, "other", NAMESPACE, &["--set", "crds.keep=false"]));
    uninstall(&server, "other", NAMESPACE);
    until_gone(&admin, &format!("{DEFINITIONS}/workflows.braid.dev")).await;
    until_gone(&admin, &format!("{DEFINITIONS}/workers.braid.dev")).await;
    until_gone(&admin, &format!("{DEFINITIONS}/workerpools.braid.dev")).await;
    until_gone(&admin, &format!("{DEFINITIONS}/plans.braid.dev")).await;
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn definitions_can_be_a_release_of_their_own() {
    let server = RealApiServer::builder().start().await.unwrap();
    let admin = server.client("default").await.unwrap();
    let crds = |more: &[&str]| {
        let mut command = helm_on(&server);
        command
            .args(["upgrade", "--install", "braid-crds"])
            .arg(repository("charts/braid-crds"))
            .args(["--namespace", NAMESPACE, "--create-namespace"])
            .args(more);
        command
    };
    printed(&mut crds(&[]));
    let told = printed(&mut install(
        &server,
        RELEASE,
        NAMESPACE,
        &["--set", "crds.install=false"],
    ));
    assert!(told.contains("not a part of this release"), "{told}");
    // Two releases cannot both have them.
    let told = refused(&mut install(
        &server,
        RELEASE,
        NAMESPACE,
        &["--set", "crds.install=true"],
    ));
    assert!(told.contains("invalid ownership metadata"), "{told}");
    uninstall(&server, RELEASE, NAMESPACE);
    assert!(are_there(&admin).await);
    uninstall(&server, "braid-crds", NAMESPACE);
    assert!(are_there(&admin).await, "they are kept");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn two_operators_do_not_look_at_the_same_namespaces() {
    let server = RealApiServer::builder().start().await.unwrap();
    let admin = server.client("default").await.unwrap();
    for namespace in ["a", "b", "c"] {
        server.create_namespace(namespace).await.unwrap();
    }
    let watching = |release: &str, namespace: &str, watched: &str| {
        let crds = format!("crds.install={}", release == "one");
        let watched = format!("watchNamespaces={watched}");
        install(&server, release, namespace, &["--set", &crds, "--set-json", &watched])
    };
    printed(&mut watching("one", "one", r#"["a","b"]"#));
    let told = refused(&mut watching("two", "two", r#"["b","c"]"#));
    assert!(told.contains("the release one looks at the namespace b, too"), "{told}");
    let told = refused(&mut watching("two", "two", "[]"));
    assert!(
        told.contains("the release one looks at a,b, this one at all namespaces"),
        "{told}"
    );
    printed(&mut watching("two", "two", r#"["c"]"#));
    // It is not in its own way; and two may share a namespace, for each has a Lease of its own.
    printed(&mut watching("two", "two", r#"["c"]"#));
    uninstall(&server, "two", "two");
    printed(&mut watching("two", "one", r#"["c"]"#));
    uninstall(&server, "two", "one");
    uninstall(&server, "one", "one");
    printed(&mut watching("one", "one", "[]"));
    let told = refused(&mut watching("two", "two", r#"["c"]"#));
    assert!(
        told.contains("the release one looks at all namespaces, this one at c"),
        "{told}"
    );
    assert!(are_there(&admin).await);
    server.stop().await;
}
