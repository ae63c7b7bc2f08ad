//! Through the proxy an API server is as it is: the cases of conformance hold, watches included.
#![allow(missing_docs, clippy::unwrap_used, clippy::panic, clippy::print_stdout)]

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use braid_cluster::RealApiServer;
use braid_conformance::{Case, Context, cases};
use braid_e2e_kind::proxy::{Edge, Identity, Proxy, Verb, Who};
use futures::StreamExt as _;
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, Config};
use serde_json::json;

/// Longest time for one case.
const PATIENCE: Duration = Duration::from_mins(2);
/// Cases at a time.
const TOGETHER: usize = 4;
/// The namespace of the pod whose token all requests bear, which stands for that of operators.
const HOME: &str = "operators";

fn words(command: &mut Command, words: &[&str]) -> String {
    let output = command.args(words).output().unwrap();
    assert!(
        output.status.success(),
        "{words:?}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

/// The token of a pod that may do everything. The pod needs no node for that.
async fn token(server: &RealApiServer) -> String {
    server.create_namespace(HOME).await.unwrap();
    let kubectl = |arguments: &[&str]| words(&mut server.kubectl(HOME).unwrap(), arguments);
    kubectl(&[
        "create",
        "clusterrolebinding",
        "all",
        "--clusterrole=cluster-admin",
        "--serviceaccount=operators:default",
    ]);
    kubectl(&["run", "pod", "--image=none", "--restart=Never"]);
    kubectl(&[
        "create",
        "token",
        "default",
        "--bound-object-kind=Pod",
        "--bound-object-name=pod",
    ])
}

async fn client(proxy: &Proxy, authority: &str, token: &str, namespace: &str) -> Client {
    let kubeconfig = json!({
        "apiVersion": "v1", "kind": "Config", "current-context": "proxy",
        "clusters": [{"name": "proxy", "cluster": {
            "server": format!("https://{}", proxy.address()), "certificate-authority-data": base64(authority),
        }}],
        "users": [{"name": "pod", "user": {"token": token}}],
        "contexts": [{"name": "proxy", "context": {"cluster": "proxy", "user": "pod", "namespace": namespace}}],
    });
    let kubeconfig = Kubeconfig::from_yaml(&kubeconfig.to_string()).unwrap();
    let config = Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await;
    Client::try_from(config.unwrap()).unwrap()
}

fn base64(text: &str) -> String {
    use base64::Engine as _;
    base64::engine::general_purpose::STANDARD.encode(text)
}

/// What was wrong, if anything.
async fn run(server: Arc<RealApiServer>, client: Client, namespace: String, case: Case) -> Option<String> {
    server.create_namespace(&namespace).await.unwrap();
    let context = Context { client, namespace };
    match tokio::time::timeout(PATIENCE, (case.run)(context)).await {
        Ok(Ok(())) => None,
        Ok(Err(failure)) => Some(format!("{}: {failure}", case.name)),
        Err(_) => Some(format!("{}: it hangs", case.name)),
    }
}

#[test]
fn every_case_holds_through_the_proxy() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let started = runtime.block_on(RealApiServer::builder().crds(braid_conformance::definitions()).start());
    let server = Arc::new(started.unwrap_or_else(|error| panic!("{error}")));
    let [authority, certificate, key] = server.identity().unwrap();
    let address = server.url().trim_start_matches("https://").parse().unwrap();
    let identity = Identity {
        authority: authority.clone(),
        certificate,
        key,
    };
    let proxy = Proxy::start(IpAddr::V4(Ipv4Addr::LOCALHOST), address, &identity, HOME).unwrap();
    let token = runtime.block_on(token(&server));
    let all = cases();
    let count = all.len();
    let wrong: Vec<String> = runtime.block_on(async {
        let outcomes = futures::stream::iter(all.into_iter().enumerate()).map(|(index, case)| {
            let (server, namespace) = (server.clone(), format!("case-{index}"));
            let (proxy, authority, token) = (&proxy, &authority, &token);
            async move {
                let client = client(proxy, authority, token, &namespace).await;
                run(server, client, namespace, case).await
            }
        });
        outcomes
            .buffer_unordered(TOGETHER)
            .filter_map(std::future::ready)
            .collect()
            .await
    });
    println!("{} of {count} cases hold", count - wrong.len());
    assert!(
        wrong.is_empty(),
        "{} of {count} cases do not hold:\n{}",
        wrong.len(),
        wrong.join("\n")
    );
    // They did go this way, and were known for what they are.
    let seen: BTreeMap<Edge, u64> = proxy.edges();
    for (verb, resource) in [
        (Verb::Update, "workers/status"),
        (Verb::Watch, "things"),
        (Verb::Create, "workflows"),
    ] {
        let edge = Edge::new(Who::Operator, verb, resource);
        assert!(seen.contains_key(&edge), "{edge} was not seen: {seen:?}");
    }
}
