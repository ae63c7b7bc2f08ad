//! The cases of commands on a real API server, over TLS and with its own words.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use braid_cluster::{Person, RealApiServer};

#[path = "../cluster/cases.rs"]
mod cases;
#[path = "../commands/harness.rs"]
#[allow(dead_code)]
mod harness;
#[path = "../cluster/site.rs"]
#[allow(dead_code)]
mod site;

use harness::Said;
use site::Site;

#[test]
fn all_cases_hold_on_a_real_server() {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .unwrap();
    let server = runtime
        .block_on(RealApiServer::builder().crds(braid_crds::definitions()).start())
        .unwrap();
    let site = |namespace: &str, person: Option<&Person>| {
        runtime.block_on(server.create_namespace(namespace)).unwrap();
        let client = runtime.block_on(server.client(namespace)).unwrap();
        let kubeconfig = server.kubeconfig(namespace, person);
        Site::new(runtime.handle().clone(), client, namespace, &kubeconfig)
    };
    for (at, (name, case)) in cases::ALL.into_iter().enumerate() {
        println!("{name}");
        case(&site(&format!("case-{at}"), None));
    }

    // Nobody's rights, as the server judges them, and what it says of an administrator's.
    let nobody = Person {
        user: "nobody".to_owned(),
        groups: vec!["system:authenticated".to_owned()],
        ..Person::default()
    };
    let site_of_nobody = site("nobody", Some(&nobody));
    let said = site_of_nobody.braid(&["get", "x", "-n", "nobody"]).exits(6);
    assert!(said.err.contains("cannot get resource \"workflows\""), "{}", said.err);
    let said = site_of_nobody.braid(&["doctor"]).exits(1);
    assert!(
        said.out
            .contains("in nobody you may not create workflows.braid.dev (for submit)"),
        "{}",
        said.out
    );
    assert!(
        said.out.contains("? definitions braid.dev/v1alpha1 is served"),
        "{}",
        said.out
    );
    let site = site("admin", None);
    let said = site.braid(&["doctor"]).exits(1);
    assert!(said.out.contains("✔ definitions 4 kinds"), "{}", said.out);
    assert!(said.out.contains("✔ rights"), "{}", said.out);
    assert!(said.out.contains("✘ operator    there is none"), "{}", said.out);
    let said = site.braid(&["doctor", "--as", "nobody"]).exits(1);
    assert!(said.out.contains("✘ rights"), "{}", said.out);
    // More than the server gives at once.
    let workflow: braid_crds::Workflow = serde_json::from_value(serde_json::json!({
        "apiVersion": "braid.dev/v1alpha1", "kind": "Workflow", "metadata": {"generateName": "many-"},
        "spec": {"steps": [{"name": "work", "run": {"command": ["true"]}}]},
    }))
    .unwrap();
    let api = site.workflows("admin");
    site.ask(async {
        let params = kube::api::PostParams::default();
        let made = (0..230).map(|_| api.create(&params, &workflow));
        futures::future::try_join_all(made).await
    });
    let listed = site.braid(&["ls", "-o", "name"]).exits(0);
    assert_eq!(230, listed.out.lines().count());
    // As kubectl finds and calls it.
    let plugins = site.home.path("plugins");
    std::fs::create_dir(&plugins).unwrap();
    std::os::unix::fs::symlink(env!("CARGO_BIN_EXE_braid"), plugins.join("kubectl-braid")).unwrap();
    let mut kubectl = server.kubectl("admin").unwrap();
    kubectl.env("PATH", &plugins).args(["braid", "ls", "-o", "name"]);
    let said = Said::from(kubectl.output().unwrap()).exits(0);
    assert_eq!(230, said.out.lines().count());
    let mut kubectl = server.kubectl("admin").unwrap();
    kubectl.env("PATH", &plugins).args(["braid", "get", "x"]);
    let said = Said::from(kubectl.output().unwrap()).exits(2);
    assert!(said.err.contains("`kubectl braid ls -n admin`"), "{}", said.err);

    let said = site.braid(&["logs", "x"]).exits(2);
    assert!(said.err.contains("no run of \"x\""), "{}", said.err);
    runtime.block_on(server.stop());
}
