//! Who may do what with an installed release, tried on a real API server: the operator, people, workers.
//!
//! Whoever may do something to an object that is not there is told so; whoever may not hears nothing of objects.

use std::time::{Duration, Instant};

use braid_cluster::{Person, RealApiServer};
use kube::Client;
use serde_json::{Value, json};

use crate::api::{PATIENCE, find, helm_on, send, until};
use crate::helm::{NAMESPACE, printed, repository};

/// What the operator does, as its code does it.
const OPERATES: [(&str, &str); 32] = [
    ("GET", "/apis/braid.dev/v1alpha1/namespaces/NS/workflows"),
    ("GET", "/apis/braid.dev/v1alpha1/namespaces/NS/workflows/x"),
    ("DELETE", "/apis/braid.dev/v1alpha1/namespaces/NS/workflows/x"),
    ("PUT", "/apis/braid.dev/v1alpha1/namespaces/NS/workflows/x/status"),
    // A run that takes over from another is given its spec.
    ("PUT", "/apis/braid.dev/v1alpha1/namespaces/NS/workflows/x"),
    ("GET", "/apis/braid.dev/v1alpha1/namespaces/NS/workerpools"),
    ("GET", "/apis/braid.dev/v1alpha1/namespaces/NS/workerpools/x"),
    ("POST", "/apis/braid.dev/v1alpha1/namespaces/NS/workerpools"),
    ("PUT", "/apis/braid.dev/v1alpha1/namespaces/NS/workerpools/x"),
    ("PUT", "/apis/braid.dev/v1alpha1/namespaces/NS/workerpools/x/status"),
    ("GET", "/apis/braid.dev/v1alpha1/namespaces/NS/workers"),
    ("GET", "/apis/braid.dev/v1alpha1/namespaces/NS/workers/x"),
    ("POST", "/apis/braid.dev/v1alpha1/namespaces/NS/workers"),
    ("PUT", "/apis/braid.dev/v1alpha1/namespaces/NS/workers/x"),
    ("DELETE", "/apis/braid.dev/v1alpha1/namespaces/NS/workers/x"),
    ("GET", "/apis/braid.dev/v1alpha1/namespaces/NS/plans/x"),
    ("POST", "/apis/braid.dev/v1alpha1/namespaces/NS/plans"),
    // Those that a standing pool holds for runs elsewhere go with the runs.
    ("GET", "/apis/braid.dev/v1alpha1/namespaces/NS/plans"),
    ("DELETE", "/apis/braid.dev/v1alpha1/namespaces/NS/plans/x"),
    ("GET", "/apis/coordination.k8s.io/v1/namespaces/NS/leases"),
    ("POST", "/apis/coordination.k8s.io/v1/namespaces/NS/leases"),
    ("GET", "/apis/batch/v1/namespaces/NS/jobs"),
    ("GET", "/apis/batch/v1/namespaces/NS/jobs/x"),
    ("POST", "/apis/batch/v1/namespaces/NS/jobs"),
    ("PATCH", "/apis/batch/v1/namespaces/NS/jobs/x"),
    ("DELETE", "/apis/batch/v1/namespaces/NS/jobs/x"),
    ("GET", "/api/v1/namespaces/NS/pods"),
    ("DELETE", "/api/v1/namespaces/NS/pods/x"),
    ("GET", "/api/v1/namespaces/NS/events"),
    ("POST", "/apis/events.k8s.io/v1/namespaces/NS/events"),
    ("PATCH", "/apis/events.k8s.io/v1/namespaces/NS/events/x"),
    ("GET", "/apis/rbac.authorization.k8s.io/v1/namespaces/NS/rolebindings/x"),
];

/// What nobody has to give it.
const DOES_NOT: [(&str, &str); 15] = [
    ("PATCH", "/apis/braid.dev/v1alpha1/namespaces/NS/workflows/x"),
    ("PUT", "/apis/braid.dev/v1alpha1/namespaces/NS/workers/x/status"),
    ("PUT", "/apis/braid.dev/v1alpha1/namespaces/NS/plans/x"),
    ("PUT", "/apis/coordination.k8s.io/v1/namespaces/NS/leases/x"),
    ("DELETE", "/apis/coordination.k8s.io/v1/namespaces/NS/leases/x"),
    ("POST", "/api/v1/namespaces/NS/pods"),
    ("GET", "/api/v1/namespaces/NS/pods/x/log"),
    ("POST", "/api/v1/namespaces/NS/pods/x/exec"),
    ("GET", "/api/v1/namespaces/NS/secrets"),
    ("GET", "/api/v1/namespaces/NS/configmaps"),
    ("POST", "/api/v1/namespaces/NS/serviceaccounts/default/token"),
    (
        "DELETE",
        "/apis/rbac.authorization.k8s.io/v1/namespaces/NS/rolebindings/x",
    ),
    ("POST", "/apis/rbac.authorization.k8s.io/v1/namespaces/NS/roles"),
    (
        "DELETE",
        "/apis/apiextensions.k8s.io/v1/customresourcedefinitions/workflows.braid.dev",
    ),
    ("GET", "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"),
];

/// What people with a part in `edit` may do to Braid's kinds, and what they may not.
const PEOPLE: [(bool, &str, &str); 13] = [
    (true, "POST", "/apis/braid.dev/v1alpha1/namespaces/NS/workflows"),
    (true, "PATCH", "/apis/braid.dev/v1alpha1/namespaces/NS/workflows/x"),
    (true, "DELETE", "/apis/braid.dev/v1alpha1/namespaces/NS/workflows/x"),
    (true, "POST", "/apis/braid.dev/v1alpha1/namespaces/NS/workerpools"),
    (true, "DELETE", "/apis/braid.dev/v1alpha1/namespaces/NS/workerpools/x"),
    (
        true,
        "PATCH",
        "/apis/braid.dev/v1alpha1/namespaces/NS/workerpools/x/scale",
    ),
    (true, "GET", "/apis/braid.dev/v1alpha1/namespaces/NS/workers"),
    (
        false,
        "PUT",
        "/apis/braid.dev/v1alpha1/namespaces/NS/workflows/x/status",
    ),
    (
        false,
        "PATCH",
        "/apis/braid.dev/v1alpha1/namespaces/NS/workerpools/x/status",
    ),
    (false, "PUT", "/apis/braid.dev/v1alpha1/namespaces/NS/workers/x"),
    (false, "PUT", "/apis/braid.dev/v1alpha1/namespaces/NS/workers/x/status"),
    (false, "DELETE", "/apis/braid.dev/v1alpha1/namespaces/NS/workers/x"),
    (false, "POST", "/apis/braid.dev/v1alpha1/namespaces/NS/plans"),
];

/// Whether the server lets somebody do it, if only there were something to do it to.
async fn may(who: &Client, method: &str, path: &str) -> bool {
    // A body that no kind takes: what is allowed fails a moment later.
    let (code, message) = send(who, method, path, &json!({"spec": 1})).await;
    if code == 403 {
        assert!(message.contains("is forbidden: User"), "{method} {path}: {message}");
    }
    code != 403
}

fn binding(name: &str, role: &str, namespace: &str, subject: &str) -> Value {
    let (kind, who) = subject.split_once(' ').unwrap();
    let group = if kind == "User" {
        json!("rbac.authorization.k8s.io")
    } else {
        Value::Null
    };
    json!({
        "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "RoleBinding",
        "metadata": {"name": name, "namespace": namespace},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": role},
        "subjects": [{"kind": kind, "name": who, "apiGroup": group, "namespace": if kind == "User" { Value::Null } else { json!(namespace) }}],
    })
}

fn bindings(namespace: &str) -> String {
    format!("/apis/rbac.authorization.k8s.io/v1/namespaces/{namespace}/rolebindings")
}

/// Takes a Lease as it is and writes another holder.
async fn renew(admin: &Client, who: &Client, path: &str) -> (u16, String) {
    let mut lease = find(admin, path).await.unwrap();
    lease["spec"]["holderIdentity"] = json!("me");
    send(who, "PUT", path, &lease).await
}

async fn operates_in(operator: &Client, namespace: &str) {
    for (method, path) in OPERATES {
        assert!(
            may(operator, method, &path.replace("NS", namespace)).await,
            "{method} {path} in {namespace}"
        );
    }
    for (method, path) in DOES_NOT {
        assert!(
            !may(operator, method, &path.replace("NS", namespace)).await,
            "{method} {path} in {namespace}"
        );
    }
    // It gives the workers' role, and no other.
    let path = format!("{}?dryRun=All", bindings(namespace));
    let worker = binding("dry", "braid-worker", namespace, "ServiceAccount default");
    assert_eq!(
        send(operator, "POST", &path, &worker).await,
        (200, String::new()),
        "in {namespace}"
    );
    for role in ["cluster-admin", "system:aggregate-to-edit", "braid-edit"] {
        let answer = send(
            operator,
            "POST",
            &path,
            &binding("dry", role, namespace, "ServiceAccount default"),
        )
        .await;
        assert!(
            answer.0 == 403 && answer.1.contains("is attempting to grant RBAC permissions"),
            "{role}: {answer:?}"
        );
    }
}

fn set_up(server: &RealApiServer, values: &[&str]) {
    let mut command = helm_on(server);
    command
        .args(["upgrade", "--install", "braid"])
        .arg(repository("charts/braid"))
        .args(["--namespace", NAMESPACE, "--create-namespace"])
        .args(values);
    printed(&mut command);
}

#[tokio::test(flavor = "multi_thread")]
async fn everybody_may_do_what_they_do_and_nothing_else() {
    let server = RealApiServer::builder().start().await.unwrap();
    let admin = server.client("default").await.unwrap();
    for namespace in ["team-a", "team-b", "outside"] {
        server.create_namespace(namespace).await.unwrap();
    }
    let operator = Person::pod(NAMESPACE, "braid-operator", "operator-0", "uid-0");
    let operator = server.client_as(NAMESPACE, &operator).await.unwrap();
    let definition = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions/workflows.braid.dev";
    let lease =
        |namespace: &str, name: &str| format!("/apis/coordination.k8s.io/v1/namespaces/{namespace}/leases/{name}");

    // For some namespaces: there as in the whole cluster, elsewhere nothing.
    set_up(&server, &["--set", "watchNamespaces={team-a,team-b}"]);
    until(&operator, "GET", definition, &Value::Null, |answer| answer.0 == 200).await;
    until(
        &admin,
        "GET",
        "/apis/braid.dev/v1alpha1/workers",
        &Value::Null,
        |answer| answer.0 == 200,
    )
    .await;
    operates_in(&operator, "team-a").await;
    operates_in(&operator, "team-b").await;
    for (method, path) in OPERATES {
        for namespace in ["outside", "kube-system"] {
            assert!(
                !may(&operator, method, &path.replace("NS", namespace)).await,
                "{method} {path} in {namespace}"
            );
        }
    }
    // Its own Lease, and no other in its namespace.
    assert!(may(&operator, "PUT", &lease(NAMESPACE, "braid-operator")).await);
    assert!(!may(&operator, "PUT", &lease(NAMESPACE, "another")).await);
    assert!(!may(&operator, "GET", &format!("/api/v1/namespaces/{NAMESPACE}/secrets")).await);

    // Policies hold in these namespaces, whoever is bound; elsewhere they are nobody's business.
    let worker = Person::pod("team-a", "default", "w1", "uid-1");
    let worker = server.client_as("team-a", &worker).await.unwrap();
    let another =
        json!({"apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": {"name": "w2"}, "spec": {}});
    for namespace in ["team-a", "outside"] {
        let mut bound = binding("x", "braid-worker", namespace, "ServiceAccount default");
        bound["subjects"][0]["namespace"] = json!("team-a");
        assert_eq!(send(&admin, "POST", &bindings(namespace), &bound).await.0, 200);
        let leases = lease(namespace, "");
        assert_eq!(
            send(&admin, "POST", leases.trim_end_matches('/'), &another).await.0,
            200
        );
    }
    let begun = Instant::now();
    loop {
        let (code, message) = renew(&admin, &worker, &lease("team-a", "w2")).await;
        if code == 403 && message.contains("a worker may update the Lease of its own name only") {
            break;
        }
        assert!(begun.elapsed() < PATIENCE, "not in force: {code} {message}");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    assert_eq!(
        renew(&admin, &worker, &lease("outside", "w2")).await,
        (200, String::new())
    );

    // People: by the roles that the cluster's own ones take up.
    let person = Person {
        user: "ann".to_owned(),
        groups: vec!["system:authenticated".to_owned()],
        ..Person::default()
    };
    let person = server.client_as("team-b", &person).await.unwrap();
    for role in ["braid-view", "braid-edit", "braid-admin"] {
        let bound = binding("x", role, "team-b", "User ann");
        assert_eq!(send(&admin, "POST", &bindings("team-b"), &bound).await.0, 200);
        let workers = "/apis/braid.dev/v1alpha1/namespaces/team-b/workers";
        until(&person, "GET", workers, &Value::Null, |answer| answer.0 == 200).await;
        for (allowed, method, path) in PEOPLE {
            let allowed = allowed && (role != "braid-view" || method == "GET");
            let path = path.replace("NS", "team-b");
            assert_eq!(allowed, may(&person, method, &path).await, "{role}: {method} {path}");
        }
        assert_eq!(
            send(&admin, "DELETE", &format!("{}/x", bindings("team-b")), &Value::Null)
                .await
                .0,
            200
        );
        until(&person, "GET", workers, &Value::Null, |answer| answer.0 == 403).await;
    }

    // For all namespaces.
    set_up(&server, &["--set-json", "watchNamespaces=[]"]);
    until(
        &operator,
        "GET",
        "/apis/braid.dev/v1alpha1/workers",
        &Value::Null,
        |answer| answer.0 == 200,
    )
    .await;
    for namespace in ["team-a", "outside"] {
        operates_in(&operator, namespace).await;
    }
    for kind in ["workflows", "workerpools", "workers"] {
        assert!(may(&operator, "GET", &format!("/apis/braid.dev/v1alpha1/{kind}")).await);
    }
    assert!(
        may(&operator, "GET", "/api/v1/pods").await
            && may(&operator, "GET", "/apis/coordination.k8s.io/v1/leases").await
    );
    server.stop().await;
}
