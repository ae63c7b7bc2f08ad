//! The programs of a real cluster: what they are built from and how.
//!
//! The one place that knows modules, packages and linker flags. A program is found in the cache or built into it; the cache is
//! keyed by everything that goes into a build, so a changed pin is a new build and never a stale program.

use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::cache;
use crate::toolchain::{self, ToolchainError};

/// Version of Kubernetes: the one of `go/kubernetes/go.mod`.
pub const KUBERNETES: &str = "v1.34.4";
/// Version of etcd: the one of `go/etcd/go.mod`.
pub const ETCD: &str = "v3.6.16";
/// Version of kind: the one of `go/kind/go.mod`.
pub const KIND: &str = "v0.32.0";
/// Version of CoreDNS: the one of `go/coredns/go.mod`, and the one that kubeadm of [`KUBERNETES`] asks for.
pub const COREDNS: &str = "v1.12.1";
/// Version of Helm: the one of `go/helm/go.mod`.
pub const HELM: &str = "v4.3.1";
/// Version of the container runtime interface that the programs of `go/node` speak.
pub const CRI: &str = "v0.34.4";

/// A program that tests can run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Program {
    /// The store of an API server.
    Etcd,
    /// The API server.
    KubeApiserver,
    /// Controllers; of them the tests run garbage collection, namespaces and service accounts.
    KubeControllerManager,
    /// The command-line client.
    Kubectl,
    /// Finds nodes for pods.
    KubeScheduler,
    /// Services on a node.
    KubeProxy,
    /// Pods on a node.
    Kubelet,
    /// Makes nodes of machines.
    Kubeadm,
    /// Names in a cluster.
    Coredns,
    /// Clusters in containers.
    Kind,
    /// Installs charts.
    Helm,
    /// What kind asks of `crictl`; our own.
    Crictl,
    /// Holds a pod's namespaces; our own.
    Pause,
}

/// A Go module of this crate, below `go/`, whose `go.mod` and `go.sum` pin what programs are built from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Module {
    /// Its directory below `go/`.
    pub(crate) name: &'static str,
    /// The version of what is built.
    pub(crate) version: &'static str,
    /// For the linker: versions that programs report.
    pub(crate) ldflags: &'static str,
    /// Sources that lie in the directory itself.
    pub(crate) sources: &'static [&'static str],
}

const KUBERNETES_MODULE: Module = Module {
    name: "kubernetes",
    version: KUBERNETES,
    ldflags: "-s -w -X k8s.io/component-base/version.gitVersion=v1.34.4 -X k8s.io/component-base/version.gitMajor=1 -X \
              k8s.io/component-base/version.gitMinor=34",
    sources: &[],
};
const ETCD_MODULE: Module = Module {
    name: "etcd",
    version: ETCD,
    ldflags: "-s -w",
    sources: &[],
};
const KIND_MODULE: Module = Module {
    name: "kind",
    version: KIND,
    ldflags: "-s -w",
    sources: &[],
};
const COREDNS_MODULE: Module = Module {
    name: "coredns",
    version: COREDNS,
    ldflags: "-s -w",
    sources: &[],
};
const HELM_MODULE: Module = Module {
    name: "helm",
    version: HELM,
    ldflags: "-s -w",
    sources: &[],
};
const NODE_MODULE: Module = Module {
    name: "node",
    version: CRI,
    ldflags: "-s -w",
    sources: &["crictl/main.go", "pause/main.go"],
};

impl Program {
    /// What [`crate::RealApiServer`] runs.
    pub const SERVER: [Self; 3] = [Self::Etcd, Self::KubeApiserver, Self::KubeControllerManager];
    /// The same, and the client.
    pub const SERVER_AND_CLIENT: [Self; 4] = [
        Self::Etcd,
        Self::KubeApiserver,
        Self::KubeControllerManager,
        Self::Kubectl,
    ];
    /// What works with a cluster, however its nodes came to be.
    pub const CLUSTER: [Self; 2] = [Self::Kind, Self::Kubectl];
    /// What a node is made of.
    pub const NODE: [Self; 11] = [
        Self::Etcd,
        Self::KubeApiserver,
        Self::KubeControllerManager,
        Self::Kubectl,
        Self::KubeScheduler,
        Self::KubeProxy,
        Self::Kubelet,
        Self::Kubeadm,
        Self::Coredns,
        Self::Crictl,
        Self::Pause,
    ];
    /// All of them.
    pub const ALL: [Self; 13] = [
        Self::Etcd,
        Self::KubeApiserver,
        Self::KubeControllerManager,
        Self::Kubectl,
        Self::KubeScheduler,
        Self::KubeProxy,
        Self::Kubelet,
        Self::Kubeadm,
        Self::Coredns,
        Self::Kind,
        Self::Helm,
        Self::Crictl,
        Self::Pause,
    ];

    /// The name of its file.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Etcd => "etcd",
            Self::KubeApiserver => "kube-apiserver",
            Self::KubeControllerManager => "kube-controller-manager",
            Self::Kubectl => "kubectl",
            Self::KubeScheduler => "kube-scheduler",
            Self::KubeProxy => "kube-proxy",
            Self::Kubelet => "kubelet",
            Self::Kubeadm => "kubeadm",
            Self::Coredns => "coredns",
            Self::Kind => "kind",
            Self::Helm => "helm",
            Self::Crictl => "crictl",
            Self::Pause => "pause",
        }
    }

    /// The Go package of its `main`.
    pub(crate) const fn package(self) -> &'static str {
        match self {
            Self::Etcd => "go.etcd.io/etcd/server/v3",
            Self::KubeApiserver => "k8s.io/kubernetes/cmd/kube-apiserver",
            Self::KubeControllerManager => "k8s.io/kubernetes/cmd/kube-controller-manager",
            Self::Kubectl => "k8s.io/kubernetes/cmd/kubectl",
            Self::KubeScheduler => "k8s.io/kubernetes/cmd/kube-scheduler",
            Self::KubeProxy => "k8s.io/kubernetes/cmd/kube-proxy",
            Self::Kubelet => "k8s.io/kubernetes/cmd/kubelet",
            Self::Kubeadm => "k8s.io/kubernetes/cmd/kubeadm",
            Self::Coredns => "github.com/coredns/coredns",
            Self::Kind => "sigs.k8s.io/kind",
            Self::Helm => "helm.sh/helm/v4/cmd/helm",
            Self::Crictl => "braid.dev/tests/cluster/node/crictl",
            Self::Pause => "braid.dev/tests/cluster/node/pause",
        }
    }

    /// What it is built from.
    pub(crate) const fn module(self) -> Module {
        match self {
            Self::Etcd => ETCD_MODULE,
            Self::KubeApiserver
            | Self::KubeControllerManager
            | Self::Kubectl
            | Self::KubeScheduler
            | Self::KubeProxy
            | Self::Kubelet
            | Self::Kubeadm => KUBERNETES_MODULE,
            Self::Coredns => COREDNS_MODULE,
            Self::Kind => KIND_MODULE,
            Self::Helm => HELM_MODULE,
            Self::Crictl | Self::Pause => NODE_MODULE,
        }
    }
}

impl Module {
    /// Where its `go.mod` lies.
    pub(crate) fn directory(self) -> PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("go").join(self.name)
    }
}

/// Why programs are not there.
#[derive(Debug, thiserror::Error)]
pub enum BuildError {
    /// No usable Go.
    #[error(transparent)]
    Toolchain(#[from] ToolchainError),
    /// The cache could not be read or written.
    #[error("{}: {source}", path.display())]
    Cache {
        /// What was read or written.
        path: PathBuf,
        /// Why not.
        source: std::io::Error,
    },
    /// Neither `XDG_CACHE_HOME` nor `HOME` says where caches are.
    #[error("there is no place for the cache: set XDG_CACHE_HOME or HOME to an absolute path")]
    NoCache,
    /// Go failed; its own messages went to stderr.
    #[error("{command} in {} failed: {reason}", directory.display())]
    Go {
        /// What was called.
        command: String,
        /// Where.
        directory: PathBuf,
        /// How it ended.
        reason: String,
    },
}

/// A program that is there.
#[derive(Clone, Debug)]
pub struct Built {
    /// Which.
    pub program: Program,
    /// Its file.
    pub path: PathBuf,
    /// How long it took; `None`: it was in the cache.
    pub took: Option<Duration>,
}

/// What [`obtain`] did.
#[derive(Clone, Debug, Default)]
pub struct Obtained {
    /// The programs, in the order in which they were asked for.
    pub programs: Vec<Built>,
    /// Time spent fetching sources.
    pub downloads: Duration,
}

impl Obtained {
    /// Time spent building.
    pub fn builds(&self) -> Duration {
        self.programs.iter().filter_map(|built| built.took).sum()
    }

    /// The file of a program that was asked for.
    pub fn path(&self, program: Program) -> Option<&Path> {
        let found = self.programs.iter().find(|built| built.program == program);
        found.map(|built| built.path.as_path())
    }
}

/// Finds programs in the cache and builds those that are not there, which needs Go and takes minutes. Two builders at the same
/// time wait for each other. Blocks; `say` hears what begins.
pub fn obtain(wanted: &[Program], say: &dyn Fn(&str)) -> Result<Obtained, BuildError> {
    let mut obtained = Obtained::default();
    let root = cache::root()?;
    for program in wanted {
        let slot = cache::Slot::new(&root, *program)?;
        if let Some(path) = slot.find() {
            obtained.programs.push(Built {
                program: *program,
                path,
                took: None,
            });
            continue;
        }
        toolchain::check()?;
        let _lock = slot.lock(say)?;
        // Another builder may have made it meanwhile.
        let path = slot.find();
        let (path, took) = if let Some(path) = path {
            (path, None)
        } else {
            let sources = toolchain::download(*program, say)?;
            obtained.downloads += sources;
            let (path, took) = slot.fill(|file| toolchain::build(*program, file, say))?;
            (path, Some(took))
        };
        obtained.programs.push(Built {
            program: *program,
            path,
            took,
        });
    }
    Ok(obtained)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::panic)]
    use super::*;

    #[test]
    fn versions_are_those_of_the_modules() {
        for program in Program::ALL {
            let module = program.module();
            let file = module.directory().join("go.mod");
            let pins = std::fs::read_to_string(&file).unwrap();
            // `go.etcd.io/etcd/server/v3` is a module and a package, `k8s.io/kubernetes/cmd/kubectl` is a package of a module.
            // Our own programs take their version from the interface that they speak.
            let package = if module.sources.is_empty() {
                program.package()
            } else {
                "k8s.io/cri-api"
            };
            let found = pins.lines().any(|line| {
                let line = line.trim().trim_start_matches("require ");
                line.split_once(' ')
                    .is_some_and(|(path, version)| version == module.version && package.starts_with(path))
            });
            assert!(found, "{}: no {} {}", file.display(), program.package(), module.version);
        }
        assert!(KUBERNETES_MODULE.ldflags.contains(&format!("gitVersion={KUBERNETES} ")));
    }

    #[test]
    fn programs_are_pinned_by_imports() {
        for program in Program::ALL {
            if let [_, ..] = program.module().sources {
                let main = format!("{}/main.go", program.name());
                assert!(program.module().sources.contains(&main.as_str()), "{main}");
                continue;
            }
            let file = program.module().directory().join("tools.go");
            let imports = std::fs::read_to_string(&file).unwrap();
            let line = format!("_ \"{}\"", program.package());
            assert!(imports.contains(&line), "{}: no {line}", file.display());
        }
    }
}
