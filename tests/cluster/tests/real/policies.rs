//! Who may write what: the role of workers and the admission policies, tried with the identities that tokens have.

use std::time::{Duration, Instant};

use braid_cluster::{Person, RealApiServer};
use http::Request;
use kube::Client;
use serde_json::{Value, json};

use crate::fixture::repository;

const NAMESPACE: &str = "policies";
/// New policies and roles are in force a moment after they are stored.
const PATIENCE: Duration = Duration::from_secs(30);

fn kubectl(server: &RealApiServer, arguments: &[&str]) -> String {
    let output = server.kubectl(NAMESPACE).unwrap().args(arguments).output().unwrap();
    assert!(
        output.status.success(),
        "{arguments:?}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8(output.stdout).unwrap()
}

/// The answer's code, and its message if it is a refusal.
async fn send(client: &Client, method: &str, path: &str, body: &Value) -> (u16, String) {
    let request = Request::builder()
        .method(method)
        .uri(path)
        .header("content-type", "application/json")
        .body(body.to_string().into_bytes())
        .unwrap();
    match client.request::<Value>(request).await {
        Ok(_) => (200, String::new()),
        Err(kube::Error::Api(status)) => (status.code, status.message),
        Err(error) => panic!("{method} {path}: {error}"),
    }
}

fn worker(name: &str) -> String {
    format!("/apis/braid.dev/v1alpha1/namespaces/{NAMESPACE}/workers/{name}")
}

fn lease(name: &str) -> String {
    format!("/apis/coordination.k8s.io/v1/namespaces/{NAMESPACE}/leases/{name}")
}

async fn get(admin: &Client, path: &str) -> Value {
    admin
        .request(Request::get(path).body(Vec::new()).unwrap())
        .await
        .unwrap()
}

/// The object at `path`, changed; without a version, as it may change meanwhile.
async fn changed(admin: &Client, path: &str, change: impl FnOnce(&mut Value)) -> Value {
    let mut object = get(admin, path).await;
    change(&mut object);
    object
}

async fn write_status(admin: &Client, who: &Client, name: &str) -> (u16, String) {
    let object = changed(admin, &worker(name), |object| {
        object["status"] = json!({"protocol": {"min": 1, "max": 1}});
    })
    .await;
    send(who, "PUT", &format!("{}/status", worker(name)), &object).await
}

async fn renew(admin: &Client, who: &Client, name: &str) -> (u16, String) {
    let object = changed(admin, &lease(name), |object| {
        object["spec"]["holderIdentity"] = json!("me");
    })
    .await;
    send(who, "PUT", &lease(name), &object).await
}

/// Two workers, their Leases and one of somebody else's.
async fn set_up(server: &RealApiServer, admin: &Client) {
    server.create_namespace(NAMESPACE).await.unwrap();
    server.create_namespace("braid-system").await.unwrap();
    // What the chart renders: another test compares the file with the chart.
    let rendered = repository("tests/cluster/tests/chart/golden/default.yaml");
    kubectl(
        server,
        &[
            "apply",
            "--validate=strict",
            "--warnings-as-errors",
            "-f",
            rendered.to_str().unwrap(),
        ],
    );
    kubectl(
        server,
        &[
            "create",
            "rolebinding",
            "etl",
            "--clusterrole=braid-worker",
            "--serviceaccount=policies:etl",
        ],
    );
    kubectl(
        server,
        &[
            "create",
            "clusterrolebinding",
            "operator",
            "--clusterrole=cluster-admin",
            "--serviceaccount=braid-system:braid-operator",
        ],
    );
    for (name, uid) in [("w1", "uid-1"), ("w2", "uid-2")] {
        let object = json!({
            "apiVersion": "braid.dev/v1alpha1", "kind": "Worker", "metadata": {"name": name},
            "spec": {"podUID": uid, "pool": "p"},
        });
        assert_eq!(
            send(admin, "POST", worker("").trim_end_matches('/'), &object).await,
            (200, String::new())
        );
    }
    for name in ["w1", "w2", "leader"] {
        let object =
            json!({"apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": {"name": name}, "spec": {}});
        assert_eq!(
            send(admin, "POST", lease("").trim_end_matches('/'), &object).await,
            (200, String::new())
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_writes_its_own_status_and_lease_and_nothing_else() {
    // A server of its own: policies hold for everybody.
    let server = RealApiServer::builder()
        .crds(braid_crds::definitions())
        .start()
        .await
        .unwrap();
    let admin = server.client(NAMESPACE).await.unwrap();
    set_up(&server, &admin).await;
    let one = Person::pod(NAMESPACE, "etl", "w1", "uid-1");
    let unbound = Person {
        extra: std::collections::BTreeMap::new(),
        ..one.clone()
    };
    // A pod that took a dead one's name.
    let heir = Person::pod(NAMESPACE, "etl", "w1", "uid-9");
    let operator = Person::pod("braid-system", "braid-operator", "operator-0", "uid-0");
    let stranger = Person::pod(NAMESPACE, "default", "w1", "uid-1");
    let [one, unbound, heir, operator, stranger] = futures::future::try_join_all(
        [one, unbound, heir, operator, stranger]
            .iter()
            .map(|who| server.client_as(NAMESPACE, who)),
    )
    .await
    .unwrap()
    .try_into()
    .unwrap_or_else(|_| panic!("five clients"));

    let begun = Instant::now();
    loop {
        let (status, lease) = (
            write_status(&admin, &one, "w2").await,
            renew(&admin, &one, "leader").await,
        );
        let by_policy = |answer: &(u16, String)| answer.0 == 403 && answer.1.contains("ValidatingAdmissionPolicy");
        if by_policy(&status) && by_policy(&lease) {
            break;
        }
        assert!(begun.elapsed() < PATIENCE, "not in force: {status:?} {lease:?}");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }

    let by_policy = |what: &str, answer: (u16, String), because: &str| {
        assert!(answer.0 == 403 && answer.1.contains(because), "{what}: {answer:?}");
    };
    let mine = "only the pod of a Worker may write its status";
    assert_eq!(write_status(&admin, &one, "w1").await, (200, String::new()));
    by_policy("another's status", write_status(&admin, &one, "w2").await, mine);
    by_policy(
        "with a token of no pod",
        write_status(&admin, &unbound, "w1").await,
        mine,
    );
    by_policy(
        "as a later pod of the name",
        write_status(&admin, &heir, "w1").await,
        mine,
    );
    by_policy("as an administrator", write_status(&admin, &admin, "w1").await, mine);
    assert_eq!(write_status(&admin, &operator, "w2").await, (200, String::new()));

    let own = "a worker may update the Lease of its own name only";
    assert_eq!(renew(&admin, &one, "w1").await, (200, String::new()));
    by_policy("another's Lease", renew(&admin, &one, "w2").await, own);
    by_policy("somebody's Lease", renew(&admin, &one, "leader").await, own);
    let adopted = changed(&admin, &lease("w1"), |object| {
        object["metadata"]["ownerReferences"] =
            json!([{"apiVersion": "v1", "kind": "ConfigMap", "name": "a", "uid": "b"}]);
    })
    .await;
    by_policy(
        "other owners",
        send(&one, "PUT", &lease("w1"), &adopted).await,
        "may not change the owners",
    );
    for who in [&operator, &admin] {
        assert_eq!(renew(&admin, who, "leader").await, (200, String::new()));
    }

    // What the role does not give, no policy needs to refuse.
    let by_role = "is forbidden: User";
    let object = changed(&admin, &worker("w1"), |object| object["spec"]["drain"] = json!(true)).await;
    by_policy("a spec", send(&one, "PUT", &worker("w1"), &object).await, by_role);
    by_policy(
        "a deletion",
        send(&one, "DELETE", &worker("w1"), &Value::Null).await,
        by_role,
    );
    by_policy(
        "a Lease's deletion",
        send(&one, "DELETE", &lease("w1"), &Value::Null).await,
        by_role,
    );
    let secrets = format!("/api/v1/namespaces/{NAMESPACE}/secrets");
    by_policy("secrets", send(&one, "GET", &secrets, &Value::Null).await, by_role);
    by_policy(
        "an account without the role",
        write_status(&admin, &stranger, "w1").await,
        by_role,
    );
    are_well_typed(&server).await;
    server.stop().await;
}

/// The server checks the expressions against the kinds' schemas, some time after they are stored.
async fn are_well_typed(server: &RealApiServer) {
    let begun = Instant::now();
    for name in ["braid-worker-status", "braid-worker-lease"] {
        let status = loop {
            let text = kubectl(server, &["get", "validatingadmissionpolicy", name, "-o", "json"]);
            let policy: Value = serde_json::from_str(&text).unwrap();
            if policy["status"]["observedGeneration"] == policy["metadata"]["generation"] {
                break policy["status"].clone();
            }
            assert!(begun.elapsed() < PATIENCE, "{name} is not checked: {policy}");
            tokio::time::sleep(Duration::from_millis(100)).await;
        };
        assert!(
            status["typeChecking"]["expressionWarnings"].is_null(),
            "{name}: {status}"
        );
    }
}
