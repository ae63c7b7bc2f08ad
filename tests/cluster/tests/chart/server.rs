//! What a real API server says of the rendered objects.

use std::io::Write as _;
use std::process::Stdio;

use braid_cluster::RealApiServer;
use serde_json::Value;

use crate::helm::{NAMESPACE, RENDERS, kind, name, render, told};

/// Kinds that a cluster has only with the Prometheus operator.
const MONITORING: &str = "monitoring.coreos.com/v1";

/// All objects at once, strictly, without leaving anything.
fn dry_run(server: &RealApiServer, objects: &[Value]) -> Result<String, String> {
    let mut child = server
        .kubectl(NAMESPACE)
        .unwrap()
        .args([
            "create",
            "--dry-run=server",
            "--validate=strict",
            "--warnings-as-errors",
        ])
        .args(["--output=name", "--filename=-"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let list = serde_json::json!({"apiVersion": "v1", "kind": "List", "items": objects});
    child
        .stdin
        .take()
        .unwrap()
        .write_all(list.to_string().as_bytes())
        .unwrap();
    let output = child.wait_with_output().unwrap();
    if output.status.success() {
        Ok(told(&output))
    } else {
        Err(told(&output))
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_object_is_taken_strictly_and_fits_restricted_namespaces() {
    let server = RealApiServer::builder().start().await.unwrap();
    for namespace in [NAMESPACE, "team-a", "team-b"] {
        server.create_namespace(namespace).await.unwrap();
    }
    // A pod template that does not fit gets a warning, and warnings are errors here.
    let mut label = server.kubectl(NAMESPACE).unwrap();
    label.args([
        "label",
        "namespace",
        NAMESPACE,
        "pod-security.kubernetes.io/warn=restricted",
    ]);
    assert!(label.output().unwrap().status.success());
    for render_name in RENDERS {
        let mut objects = render(render_name);
        objects.retain(|object| object["apiVersion"] != MONITORING);
        // A pod's account must be there, and nothing that is tried here stays.
        for pod in objects.iter_mut().filter(|object| kind(object) == "Pod") {
            pod["spec"]["serviceAccountName"] = "default".into();
        }
        let taken = dry_run(&server, &objects).unwrap_or_else(|refused| panic!("{render_name}: {refused}"));
        assert_eq!(objects.len(), taken.lines().count(), "{render_name}: {taken}");
        for object in &objects {
            assert!(
                taken.contains(&format!("/{}", name(object))),
                "{} {}: {taken}",
                kind(object),
                name(object)
            );
        }

        // It would say so.
        let deployment = objects.iter().find(|object| kind(object) == "Deployment").unwrap();
        let mut misspelt = deployment.clone();
        misspelt["spec"]["template"]["spec"]["containers"][0]["livenesProbe"] = serde_json::json!({});
        assert!(dry_run(&server, &[misspelt]).unwrap_err().contains("livenesProbe"));
        let mut privileged = deployment.clone();
        privileged["spec"]["template"]["spec"]["containers"][0]["securityContext"] = Value::Null;
        assert!(dry_run(&server, &[privileged]).unwrap_err().contains("PodSecurity"));
    }
    server.stop().await;
}
