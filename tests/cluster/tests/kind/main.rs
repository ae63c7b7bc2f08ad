//! A cluster of two nodes from nothing to nothing: made, given an image that we wrote, used, removed without a trace.
#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use braid_cluster::image::{Image, Layer};
use braid_cluster::kind::{self, Cluster, Name};
use braid_cluster::{Engine, Steps};
use k8s_openapi::api::core::v1::{Node, Pod};
use kube::api::{ListParams, LogParams, PostParams};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Api, Client, Config};
use serde_json::json;

const IMAGE: &str = "braid.local/asks-the-server:1";
/// For a pod to be done, on a slow machine.
const DONE: Duration = Duration::from_mins(2);
/// Where pods find their service account.
const ACCOUNT: &str = "/var/run/secrets/kubernetes.io/serviceaccount";

#[expect(clippy::print_stderr, reason = "of a test that takes minutes")]
fn say(what: &str) {
    eprintln!("{what}");
}

/// Removes the cluster of a test that failed.
struct Removed(Name);

impl Drop for Removed {
    fn drop(&mut self) {
        if std::thread::panicking()
            && let Err(error) = kind::down(&self.0, &say)
        {
            say(&format!("{} stays: {error}", self.0));
        }
    }
}

fn docker(engine: &Engine, arguments: &[&str]) -> String {
    let mut command = Command::new("docker");
    command
        .args(arguments)
        .envs(engine.host().map(|host| ("DOCKER_HOST", host)));
    let output = command.output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

fn lines(engine: &Engine, arguments: &[&str]) -> BTreeSet<String> {
    docker(engine, arguments).lines().map(str::to_owned).collect()
}

/// Whether kind's network is there.
fn has_network(engine: &Engine) -> bool {
    lines(engine, &["network", "ls", "--format={{.Name}}"]).contains("kind")
}

/// Containers of one cluster, or of any.
fn containers(engine: &Engine, cluster: Option<&Name>) -> BTreeSet<String> {
    let label = match cluster {
        Some(name) => format!("label=io.x-k8s.kind.cluster={name}"),
        None => "label=io.x-k8s.kind.cluster".to_owned(),
    };
    lines(engine, &["ps", "--all", "--quiet", "--filter", &label])
}

/// The volumes that nodes have.
fn volumes(engine: &Engine, nodes: &[String]) -> BTreeSet<String> {
    let format = "--format={{range .Mounts}}{{println .Name}}{{end}}";
    let of = |node: &String| lines(engine, &["inspect", format, node]);
    nodes.iter().flat_map(of).filter(|name| !name.is_empty()).collect()
}

/// A process, so that another one with the same number is not taken for it.
fn process(pid: &str) -> Option<(String, String)> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name may hold anything; after it, the 20th word is the time of the start.
    let begun = status.rsplit_once(')')?.1.split_whitespace().nth(19)?;
    Some((pid.to_owned(), begun.to_owned()))
}

/// All processes of the nodes.
fn processes(engine: &Engine, nodes: &[String]) -> Vec<(String, String)> {
    let of = |node: &String| docker(engine, &["top", node, "-eo", "pid"]);
    let pids: Vec<String> = nodes.iter().map(of).collect();
    pids.iter()
        .flat_map(|text| text.lines().skip(1))
        .filter_map(|pid| process(pid.trim()))
        .collect()
}

/// An image of one program and what it needs to know: it asks the server by its name in the cluster who the server is.
fn write_image(cluster: &Cluster, file: &Path) {
    let kubeconfig = json!({
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "here", "cluster": {
            "server": "https://kubernetes.default.svc.cluster.local",
            "certificate-authority": format!("{ACCOUNT}/ca.crt"),
        }}],
        "users": [{"name": "pod", "user": {"tokenFile": format!("{ACCOUNT}/token")}}],
        "contexts": [{"name": "here", "context": {"cluster": "here", "user": "pod"}}],
        "current-context": "here",
    });
    Image::new(IMAGE)
        .entrypoint(["/kubectl"])
        .env("KUBECONFIG", "/etc/kubeconfig")
        .user(65532, 65532)
        .layer(Layer::default().file("kubectl", &cluster.kubectl, 0o755))
        .layer(Layer::default().bytes("etc/kubeconfig", kubeconfig.to_string(), 0o644))
        .write(file)
        .unwrap();
}

async fn client(cluster: &Cluster) -> Client {
    let kubeconfig = Kubeconfig::read_from(&cluster.kubeconfig).unwrap();
    let config = Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await;
    Client::try_from(config.unwrap()).unwrap()
}

fn pod(name: &str, node: &str) -> Pod {
    serde_json::from_value(json!({
        "metadata": {"name": name},
        "spec": {
            "nodeName": node,
            "restartPolicy": "Never",
            "securityContext": {"runAsNonRoot": true, "seccompProfile": {"type": "RuntimeDefault"}},
            "containers": [{
                "name": "main",
                "image": IMAGE,
                // Of restricted namespaces; and it has nowhere to write.
                "securityContext": {
                    "allowPrivilegeEscalation": false,
                    "readOnlyRootFilesystem": true,
                    "capabilities": {"drop": ["ALL"]},
                },
                "args": ["get", "--raw", "/version", "--request-timeout=60s"],
            }],
        },
    }))
    .unwrap()
}

/// What the pod printed when it was done.
async fn run(pods: &Api<Pod>, pod: &Pod) -> String {
    let name = pod.metadata.name.as_deref().unwrap();
    pods.create(&PostParams::default(), pod).await.unwrap();
    let begun = Instant::now();
    loop {
        let status = pods.get(name).await.unwrap().status.unwrap_or_default();
        let phase = status.phase.as_deref().unwrap_or_default();
        if phase == "Succeeded" || phase == "Failed" {
            let logs = pods.logs(name, &LogParams::default()).await.unwrap();
            assert_eq!("Succeeded", phase, "{name}: {logs}");
            return logs;
        }
        assert!(begun.elapsed() < DONE, "{name} is not done: {status:?}");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

async fn use_cluster(cluster: &Cluster) -> Vec<String> {
    let client = client(cluster).await;
    let nodes = Api::<Node>::all(client.clone())
        .list(&ListParams::default())
        .await
        .unwrap();
    let nodes: Vec<String> = nodes
        .items
        .into_iter()
        .map(|node| node.metadata.name.unwrap())
        .collect();
    assert_eq!(2, nodes.len(), "{nodes:?}");
    let pods: Api<Pod> = Api::namespaced(client, "default");
    for (number, node) in nodes.iter().enumerate() {
        // By name, by Service, with its own token: also from the node that runs neither DNS nor the server.
        let logs = run(&pods, &pod(&format!("asks-{number}"), node)).await;
        let version: serde_json::Value = serde_json::from_str(&logs).unwrap_or_else(|_| panic!("{logs}"));
        assert_eq!(
            "1.34",
            format!(
                "{}.{}",
                version["major"].as_str().unwrap(),
                version["minor"].as_str().unwrap()
            )
        );
    }
    nodes
}

#[test]
fn a_cluster_comes_runs_our_image_and_goes_without_a_trace() {
    let name: Name = format!("braid-test-{}", std::process::id()).parse().unwrap();
    let before = Engine::running().ok();
    let had_network = before.as_ref().is_some_and(has_network);
    let mut steps = Steps::default();
    let cluster = kind::up(&name, 2, &mut steps, &say).unwrap_or_else(|error| panic!("{error}"));
    let _removed = Removed(name.clone());
    say(&steps.to_string());
    let again = kind::up(&name, 1, &mut steps, &say);
    assert!(matches!(again, Err(kind::KindError::Exists(_))), "{again:?}");

    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("image.tar");
    write_image(&cluster, &file);
    kind::load(&name, &file, &say).unwrap();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let nodes = runtime.block_on(use_cluster(&cluster));

    let running = processes(&cluster.engine, &nodes);
    assert!(running.len() > 10, "the nodes' processes are not seen: {running:?}");
    let kept = volumes(&cluster.engine, &nodes);
    assert!(kept.len() >= nodes.len(), "every node has a volume: {kept:?}");
    assert_eq!(nodes.len(), containers(&cluster.engine, Some(&name)).len());
    assert!(kind::down(&name, &say).unwrap());
    assert!(!kind::down(&name, &say).unwrap(), "it goes only once");
    let left: Vec<_> = running
        .into_iter()
        .filter(|(pid, begun)| process(pid).is_some_and(|it| it.1 == *begun))
        .collect();
    assert!(left.is_empty(), "processes that stayed: {left:?}");
    let directory = cluster.kubeconfig.parent().unwrap();
    assert!(!directory.exists(), "{}", directory.display());
    let engine = &cluster.engine;
    assert_eq!(BTreeSet::new(), containers(engine, Some(&name)));
    let there = lines(engine, &["volume", "ls", "--format={{.Name}}"]);
    assert_eq!(Vec::<&String>::new(), kept.intersection(&there).collect::<Vec<_>>());
    // Somebody else may have a cluster on the same engine.
    if containers(engine, None).is_empty() {
        assert!(had_network || !has_network(engine));
        if before.is_none() && engine.is_private() {
            assert!(kind::stop_engine(&say).unwrap());
            assert!(Engine::running().is_err());
        }
    }
}
