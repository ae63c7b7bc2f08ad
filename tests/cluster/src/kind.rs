//! Clusters in containers: [`up`], [`load`] and [`down`].
//!
//! A cluster is made by kind, on the engine that answers or on one that is started for it, from an image that is pulled or made:
//! whoever uses it sees no difference. What is kept of it, its kubeconfig, lies below the cache in a directory that only its owner
//! may read. A cluster outlives us; what is up is found again by its name.

use std::fmt;
use std::fs;
use std::io;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::cache;
use crate::command::{Call, CallError};
use crate::engine::{Engine, EngineError};
use crate::node::{self, NodeError, NodeImage};
use crate::programs::{BuildError, Obtained, Program};
use crate::steps::{Phase, Steps};

/// For kind to make a cluster.
const CREATE: Duration = Duration::from_mins(10);
/// For nodes and the cluster's names to be ready afterwards.
const READY: Duration = Duration::from_mins(3);
/// For loading an image.
const LOAD: Duration = Duration::from_mins(5);
const LOOK: Duration = Duration::from_millis(200);
/// More than anybody needs on one machine.
const MOST_NODES: u8 = 9;
/// The network of the engine that kind puts nodes into.
const NETWORK: &str = "kind";
/// Says that the network was not there before.
const OUR_NETWORK: &str = "network";

/// A cluster is not as it should be.
#[derive(Debug, thiserror::Error)]
pub enum KindError {
    /// No engine.
    #[error(transparent)]
    Engine(#[from] EngineError),
    /// No node image.
    #[error(transparent)]
    Node(#[from] NodeError),
    /// No programs, or no cache.
    #[error(transparent)]
    Build(#[from] BuildError),
    /// A program failed.
    #[error(transparent)]
    Call(#[from] CallError),
    /// A file could not be read or written.
    #[error("{}: {source}", path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// The name cannot be one of a cluster.
    #[error("{0:?} is no name of a cluster: up to 40 of a-z, 0-9 and `-`, with a letter or digit at both ends")]
    Name(String),
    /// That many nodes are not made.
    #[error("a cluster has 1 to {MOST_NODES} nodes, not {0}")]
    Nodes(u8),
    /// It is there already.
    #[error("the cluster {0} is there already; remove it first: cargo xtask cluster down --name {0}")]
    Exists(Name),
    /// It is not there.
    #[error("there is no cluster {0}; make it: cargo xtask cluster up --name {0}")]
    Absent(Name),
    /// The engine cannot stop under clusters.
    #[error("the engine still has clusters: {0}; remove them first: cargo xtask cluster down --name ..")]
    Occupied(String),
    /// Nodes did not get their networks.
    #[error("after {seconds} s nodes have no range of addresses for pods: {0}", seconds = READY.as_secs())]
    NoRange(String),
}

/// A cluster's name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Name(String);

impl FromStr for Name {
    type Err = KindError;

    fn from_str(text: &str) -> Result<Self, KindError> {
        let inner = |it: char| it.is_ascii_lowercase() || it.is_ascii_digit() || it == '-';
        let at_ends = !text.starts_with('-') && !text.ends_with('-');
        if (1..=40).contains(&text.len()) && text.chars().all(inner) && at_ends {
            Ok(Self(text.to_owned()))
        } else {
            Err(KindError::Name(text.to_owned()))
        }
    }
}

impl fmt::Display for Name {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.0)
    }
}

/// A cluster that is up.
#[derive(Clone, Debug)]
pub struct Cluster {
    /// Its name.
    pub name: Name,
    /// How to reach it, as an administrator. It holds a key.
    pub kubeconfig: PathBuf,
    /// `kubectl` of its version.
    pub kubectl: PathBuf,
    /// Where it runs.
    pub engine: Engine,
}

/// Where a cluster's files lie.
fn directory(name: &Name) -> Result<PathBuf, BuildError> {
    Ok(cache::directory("clusters")?.join(&name.0))
}

fn failed(path: &Path) -> impl FnOnce(io::Error) -> KindError {
    let path = path.to_owned();
    move |source| KindError::File { path, source }
}

/// Makes a cluster. Ready are: all nodes, and names in the cluster. A cluster that does not get so far is removed. Blocks for
/// seconds, the first time for many minutes; `say` hears of every step.
pub fn up(name: &Name, nodes: u8, steps: &mut Steps, say: &(dyn Fn(&str) + Sync)) -> Result<Cluster, KindError> {
    if !(1..=MOST_NODES).contains(&nodes) {
        return Err(KindError::Nodes(nodes));
    }
    let programs = node::obtain(&Program::CLUSTER, steps, say)?;
    let engine = Engine::obtain(steps, say)?;
    let kind = Kind::new(&engine, &programs)?;
    if kind.clusters()?.contains(&name.0) {
        return Err(KindError::Exists(name.clone()));
    }
    let image = NodeImage::obtain(&engine, steps, say)?;
    let directory = directory(name)?;
    // What an earlier cluster left that did not end in order.
    if directory.is_dir() {
        fs::remove_dir_all(&directory).map_err(failed(&directory))?;
    }
    let mut builder = fs::DirBuilder::new();
    builder.mode(0o700).create(&directory).map_err(failed(&directory))?;
    if !has_network(&engine)? {
        let note = directory.join(OUR_NETWORK);
        fs::write(&note, NETWORK).map_err(failed(&note))?;
    }
    let cluster = Cluster {
        name: name.clone(),
        kubeconfig: directory.join("kubeconfig"),
        kubectl: node::path(&programs, Program::Kubectl)?.to_owned(),
        engine: engine.clone(),
    };
    let made = create(&kind, &cluster, &image, nodes, steps, say);
    if made.is_err() {
        say(&format!("removing what there is of {name}"));
        if let Err(error) = kind.delete(&cluster.name, &directory) {
            say(&format!("{name} could not be removed: {error}"));
        }
    }
    made.map(|()| cluster)
}

fn create(
    kind: &Kind,
    cluster: &Cluster,
    image: &NodeImage,
    nodes: u8,
    steps: &mut Steps,
    say: &(dyn Fn(&str) + Sync),
) -> Result<(), KindError> {
    let file = cluster.kubeconfig.with_file_name("kind.json");
    fs::write(&file, config(image, nodes).to_string()).map_err(failed(&file))?;
    steps.run(Phase::Create, "kind create cluster", say, || {
        kind.call()
            .args(["create", "cluster", "--name", &cluster.name.0])
            .args(["--image", image.name(), "--wait=120s", "--config"])
            .arg(&file)
            .arg("--kubeconfig")
            .arg(&cluster.kubeconfig)
            .within(CREATE)
            .run()
    })?;
    if nodes > 1 && *image != NodeImage::Pinned {
        steps.run(Phase::Create, "routes between nodes", say, || cluster.connect())?;
    }
    steps.run(Phase::Create, "nodes ready", say, || {
        cluster.wait(&["--for=condition=Ready", "nodes", "--all"])
    })?;
    steps.run(Phase::Create, "names in the cluster", say, || {
        cluster.wait(&[
            "--namespace=kube-system",
            "--for=condition=Available",
            "deployment/coredns",
        ])
    })
}

/// What kind is told.
fn config(image: &NodeImage, nodes: u8) -> Value {
    let role = |number| if number == 0 { "control-plane" } else { "worker" };
    let nodes: Vec<Value> = (0..nodes).map(|number| json!({"role": role(number)})).collect();
    // A node of ours has a network for its pods itself.
    let network = json!({"disableDefaultCNI": *image != NodeImage::Pinned});
    json!({"kind": "Cluster", "apiVersion": "kind.x-k8s.io/v1alpha4", "networking": network, "nodes": nodes})
}

impl Cluster {
    /// A call of kubectl, as an administrator.
    pub(crate) fn kubectl(&self) -> Call {
        Call::new(&self.kubectl).arg("--kubeconfig").arg(&self.kubeconfig)
    }

    /// Tells every node where the pods of the others are: once, and again after a node was started anew.
    pub fn connect(&self) -> Result<(), KindError> {
        connect(self)
    }

    fn wait(&self, arguments: &[&str]) -> Result<(), KindError> {
        let timeout = format!("--timeout={}s", READY.as_secs());
        let call = self.kubectl().arg("wait").args(arguments).arg(timeout);
        call.within(READY + READY).run()?;
        Ok(())
    }
}

/// A node as its neighbours must know it.
#[derive(Debug, PartialEq, Eq)]
struct Neighbour {
    name: String,
    /// Its own address.
    address: String,
    /// The addresses of its pods.
    range: String,
}

/// The nodes; those that have no range yet have an empty one.
fn neighbours(list: &Value) -> Vec<Neighbour> {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let items = list.pointer("/items").and_then(Value::as_array);
    let neighbour = |node: &Value| {
        let at = |path: &str| node.pointer(path).map(text).unwrap_or_default();
        let addresses = node.pointer("/status/addresses").and_then(Value::as_array);
        let address = addresses
            .into_iter()
            .flatten()
            .find(|address| address.get("type").is_some_and(|kind| kind == "InternalIP"));
        Neighbour {
            name: at("/metadata/name"),
            address: address.and_then(|it| it.get("address")).map(text).unwrap_or_default(),
            range: at("/spec/podCIDR"),
        }
    };
    items.into_iter().flatten().map(neighbour).collect()
}

fn connect(cluster: &Cluster) -> Result<(), KindError> {
    let begun = Instant::now();
    let nodes = loop {
        let answer = cluster.kubectl().args(["get", "nodes", "--output=json"]).run()?;
        // An answer that is no JSON is one of no nodes.
        let nodes = neighbours(&serde_json::from_str(&answer).unwrap_or_default());
        let lacking = |node: &&Neighbour| node.range.is_empty() || node.address.is_empty();
        let without: Vec<&str> = nodes.iter().filter(lacking).map(|node| node.name.as_str()).collect();
        if !nodes.is_empty() && without.is_empty() {
            break nodes;
        }
        if begun.elapsed() > READY {
            return Err(KindError::NoRange(without.join(", ")));
        }
        std::thread::sleep(LOOK);
    };
    for node in &nodes {
        for other in nodes.iter().filter(|other| other.name != node.name) {
            let call = cluster.engine.docker().args(["exec", &node.name]);
            let route = ["ip", "route", "replace", &other.range, "via", &other.address];
            call.args(route).run()?;
        }
    }
    Ok(())
}

/// Loads an image, a tar of one, into all nodes of a cluster.
pub fn load(name: &Name, file: &Path, say: &dyn Fn(&str)) -> Result<(), KindError> {
    let (kind, _) = find(name, say)?;
    let call = kind.call().args(["load", "image-archive", "--name", &name.0]);
    call.arg(file).within(LOAD).run()?;
    Ok(())
}

/// Removes a cluster and all that came with it, but for the engine. False: there was none.
pub fn down(name: &Name, say: &dyn Fn(&str)) -> Result<bool, KindError> {
    match find(name, say) {
        Ok((kind, _)) => {
            kind.delete(name, &directory(name)?)?;
            Ok(true)
        }
        Err(KindError::Absent(_) | KindError::Engine(EngineError::Absent(_))) => Ok(false),
        Err(error) => Err(error),
    }
}

/// Stops the engine that was started for clusters. False: there is none of our own.
pub fn stop_engine(say: &dyn Fn(&str)) -> Result<bool, KindError> {
    let engine = match Engine::running() {
        Ok(engine) if engine.is_private() => engine,
        Ok(_) | Err(EngineError::Absent(_)) => return Ok(false),
        Err(error) => return Err(error.into()),
    };
    let programs = crate::programs::obtain(&Program::CLUSTER, say)?;
    let clusters = Kind::new(&engine, &programs)?.clusters()?;
    if !clusters.is_empty() {
        return Err(KindError::Occupied(clusters.join(", ")));
    }
    Ok(Engine::stop()?)
}

/// A cluster that is up.
pub fn find_cluster(name: &Name, say: &dyn Fn(&str)) -> Result<Cluster, KindError> {
    find(name, say).map(|(_, cluster)| cluster)
}

fn find(name: &Name, say: &dyn Fn(&str)) -> Result<(Kind, Cluster), KindError> {
    let engine = Engine::running()?;
    let programs = crate::programs::obtain(&Program::CLUSTER, say)?;
    let kind = Kind::new(&engine, &programs)?;
    if !kind.clusters()?.contains(&name.0) {
        return Err(KindError::Absent(name.clone()));
    }
    let cluster = Cluster {
        name: name.clone(),
        kubeconfig: directory(name)?.join("kubeconfig"),
        kubectl: node::path(&programs, Program::Kubectl)?.to_owned(),
        engine,
    };
    Ok((kind, cluster))
}

fn has_network(engine: &Engine) -> Result<bool, KindError> {
    let names = engine.docker().args(["network", "ls", "--format={{.Name}}"]).run()?;
    Ok(names.lines().any(|name| name == NETWORK))
}

/// kind, on an engine.
struct Kind {
    program: PathBuf,
    engine: Engine,
}

impl Kind {
    fn new(engine: &Engine, programs: &Obtained) -> Result<Self, KindError> {
        Ok(Self {
            program: node::path(programs, Program::Kind)?.to_owned(),
            engine: engine.clone(),
        })
    }

    fn call(&self) -> Call {
        let call = Call::new(&self.program).env("KIND_EXPERIMENTAL_PROVIDER", "docker");
        self.engine.on(call)
    }

    fn clusters(&self) -> Result<Vec<String>, KindError> {
        let names = self.call().args(["get", "clusters"]).run()?;
        Ok(names.lines().map(str::to_owned).collect())
    }

    fn delete(&self, name: &Name, directory: &Path) -> Result<(), KindError> {
        let kubeconfig = directory.join("kubeconfig");
        let call = self
            .call()
            .args(["delete", "cluster", "--name", &name.0, "--kubeconfig"]);
        call.arg(&kubeconfig).within(LOAD).run()?;
        let made_network = directory.join(OUR_NETWORK).is_file();
        if made_network || self.engine.is_private() {
            // It stays if another cluster is in it; that is no failure.
            let _ = self.engine.docker().args(["network", "rm", NETWORK]).run();
        }
        if directory.is_dir() {
            fs::remove_dir_all(directory).map_err(failed(directory))?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn names_are_those_of_containers() {
        let long = "a".repeat(41);
        for (text, good) in [
            ("braid", true),
            ("b-1", true),
            ("", false),
            ("-b", false),
            ("b-", false),
            ("B", false),
            ("a/../b", false),
            (long.as_str(), false),
        ] {
            assert_eq!(good, text.parse::<Name>().is_ok(), "{text}");
        }
    }

    #[test]
    fn only_our_own_image_goes_without_the_default_network() {
        let pinned = config(&NodeImage::Pinned, 2);
        assert_eq!(json!([{"role": "control-plane"}, {"role": "worker"}]), pinned["nodes"]);
        assert_eq!(json!({"disableDefaultCNI": false}), pinned["networking"]);
        let made = config(&NodeImage::Made("x:1".to_owned()), 1);
        assert_eq!(json!({"disableDefaultCNI": true}), made["networking"]);
    }

    #[test]
    fn neighbours_are_read_from_nodes() {
        let list = json!({"items": [
            {"metadata": {"name": "a"}, "spec": {"podCIDR": "10.244.0.0/24"}, "status": {"addresses": [
                {"type": "Hostname", "address": "a"}, {"type": "InternalIP", "address": "172.18.0.2"}]}},
            {"metadata": {"name": "b"}, "spec": {}},
        ]});
        let node = |name: &str, address: &str, range: &str| Neighbour {
            name: name.to_owned(),
            address: address.to_owned(),
            range: range.to_owned(),
        };
        let wanted = vec![node("a", "172.18.0.2", "10.244.0.0/24"), node("b", "", "")];
        assert_eq!(wanted, neighbours(&list));
        assert_eq!(Vec::<Neighbour>::new(), neighbours(&Value::Null));
    }
}
