//! The installation that all tests of a process share.

use std::env;
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};
use std::sync::OnceLock;

use braid_cluster::kind::{self, Cluster, Name};
use braid_cluster::programs::{self, Program};
use serde_json::Value;

use crate::USERLAND;
use crate::processes::Process;

/// Of the release and of its namespace.
const RELEASE: &str = "braid";
/// The shortest that is allowed: a test waits for it to be over.
const LEASE_SECONDS: &str = "5";

/// A cluster with Braid in it.
pub struct Suite {
    pub(crate) cluster: Cluster,
    helm: PathBuf,
}

/// The cluster of this process, with Braid installed when it is asked for first.
pub fn suite() -> &'static Suite {
    static SUITE: OnceLock<Suite> = OnceLock::new();
    SUITE.get_or_init(|| {
        let suite = Suite::find();
        suite.load();
        suite.install(&[]);
        suite
    })
}

#[expect(clippy::print_stderr, reason = "of tests that take minutes")]
fn say(what: &str) {
    eprintln!("{what}");
}

/// Of the environment that `cargo xtask test --only e2e-kind` gives.
fn given(name: &str) -> String {
    env::var(name).unwrap_or_else(|_| panic!("{name} is not set: run cargo xtask test --only e2e-kind"))
}

impl Suite {
    fn find() -> Self {
        let name: Name = given("BRAID_CLUSTER").parse().unwrap();
        let cluster = kind::find_cluster(&name, &say).unwrap_or_else(|error| panic!("{error}"));
        let helm = programs::obtain(&[Program::Helm], &say).unwrap_or_else(|error| panic!("{error}"));
        let helm = helm.path(Program::Helm).unwrap().to_owned();
        Self { cluster, helm }
    }

    fn load(&self) {
        for file in env::split_paths(&given("BRAID_IMAGES")) {
            say(&format!("loading {}", file.display()));
            kind::load(&self.cluster.name, &file, &say).unwrap_or_else(|error| panic!("{error}"));
        }
    }

    /// Installs the chart, or brings what is installed up to it, and waits until all operators are ready.
    pub fn install(&self, values: &[&str]) {
        say("installing the chart");
        let mut helm = self.helm();
        helm.args(["upgrade", "--install", RELEASE])
            .arg(braid_e2e::root().join("charts/braid"))
            .args(["--namespace", RELEASE, "--create-namespace"])
            .args(["--wait", "--timeout=90s"])
            .args(["--set", &format!("worker.defaultImage={USERLAND}")])
            .args(["--set", &format!("worker.leaseSeconds={LEASE_SECONDS}")])
            .args(["--set", &format!("leaderElection.leaseSeconds={LEASE_SECONDS}")])
            .args(values.iter().flat_map(|value| ["--set", value]));
        let output = output(&mut helm);
        if !output.status.success() {
            say(&self.operators());
            panic!("helm: {}", text(&output));
        }
    }

    /// Removes the release; the definitions and what people made of them stay.
    pub fn uninstall(&self) {
        let output = output(
            self.helm()
                .args(["uninstall", RELEASE, "--namespace", RELEASE, "--wait"]),
        );
        assert!(output.status.success(), "helm: {}", text(&output));
    }

    fn helm(&self) -> Command {
        let mut helm = Command::new(&self.helm);
        helm.env("KUBECONFIG", &self.cluster.kubeconfig);
        helm
    }

    /// `kubectl` with these words; what it prints. It must succeed.
    #[track_caller]
    pub fn kubectl(&self, words: &[&str]) -> String {
        let output = self.try_kubectl(words, None);
        assert!(output.status.success(), "kubectl {words:?}: {}", text(&output));
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    /// The same, for what may take minutes.
    #[track_caller]
    pub fn kubectl_patiently(&self, words: &[&str]) -> String {
        let words: Vec<&str> = words.iter().copied().chain(["--request-timeout=0"]).collect();
        self.kubectl(&words)
    }

    /// The same, which may fail, with text on its standard input.
    pub fn try_kubectl(&self, words: &[&str], input: Option<&str>) -> Output {
        let mut kubectl = Command::new(&self.cluster.kubectl);
        kubectl
            .arg("--kubeconfig")
            .arg(&self.cluster.kubeconfig)
            .arg("--request-timeout=60s")
            .args(words);
        match input {
            None => output(&mut kubectl),
            Some(input) => with_input(&mut kubectl, input),
        }
    }

    /// An answer of kubectl as JSON.
    #[track_caller]
    pub fn json(&self, words: &[&str]) -> Value {
        let words: Vec<&str> = words.iter().copied().chain(["--output=json"]).collect();
        let text = self.kubectl(&words);
        serde_json::from_str(&text).unwrap_or_else(|error| panic!("kubectl {words:?}: {error}: {text}"))
    }

    /// `docker` with these words, on the engine of the cluster; it must succeed.
    #[track_caller]
    pub fn docker(&self, words: &[&str]) -> String {
        let mut docker = Command::new("docker");
        docker
            .args(words)
            .envs(self.cluster.engine.host().map(|host| ("DOCKER_HOST", host)));
        let output = output(&mut docker);
        assert!(output.status.success(), "docker {words:?}: {}", text(&output));
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    /// The names of the nodes, which are those of their containers.
    pub fn nodes(&self) -> Vec<String> {
        let label = format!("label=io.x-k8s.kind.cluster={}", self.cluster.name);
        let names = self.docker(&["ps", "--filter", &label, "--format={{.Names}}"]);
        let mut names: Vec<String> = names.lines().map(str::to_owned).collect();
        names.sort();
        names
    }

    /// Starts a node that was stopped; it is ready then.
    pub fn start_node(&self, node: &str) {
        self.docker(&["start", node]);
        self.kubectl(&[
            "wait",
            "--for=condition=Ready",
            &format!("node/{node}"),
            "--timeout=60s",
        ]);
        // A node that starts has forgotten where the pods of the others are.
        self.cluster.connect().unwrap_or_else(|error| panic!("{error}"));
    }

    /// The pod that leads, by the Lease of the operators.
    pub fn leader(&self) -> String {
        let leases = self.json(&["get", "leases", "--namespace", RELEASE]);
        let holder = leases["items"]
            .as_array()
            .unwrap()
            .iter()
            .find_map(|lease| lease["spec"]["holderIdentity"].as_str());
        holder.unwrap_or_else(|| panic!("nobody leads: {leases}")).to_owned()
    }

    /// Its process.
    pub fn leader_process(&self) -> Process {
        let name = self.leader();
        let pods = self.pods(RELEASE);
        let node = pods.iter().find(|pod| pod.0 == name).map(|pod| pod.1.clone());
        let node = node.unwrap_or_else(|| panic!("{name}: {pods:?}"));
        let processes = self.processes(&node);
        let is_it = |process: &&Process| process.is_of(&name) && process.words.starts_with("/braid-operator");
        let found = processes.iter().find(is_it);
        found.unwrap_or_else(|| panic!("{name}: {processes:#?}")).clone()
    }

    /// The namespace of the operators.
    pub fn namespace(&self) -> &'static str {
        RELEASE
    }

    /// What the cluster knows of the operators.
    pub fn operators(&self) -> String {
        self.ask(&[
            &["get", "pods", "--namespace", RELEASE, "--output=wide"],
            &["describe", "pods", "--namespace", RELEASE],
            &[
                "logs",
                "--namespace",
                RELEASE,
                "--selector=app.kubernetes.io/component=operator",
                "--tail=80",
                "--prefix",
                "--ignore-errors",
            ],
        ])
    }

    /// Answers of kubectl, whatever they are.
    pub(crate) fn ask(&self, questions: &[&[&str]]) -> String {
        let answer = |words: &&[&str]| {
            let output = self.try_kubectl(words, None);
            format!("--- kubectl {}\n{}", words.join(" "), text(&output))
        };
        questions.iter().map(answer).collect::<Vec<_>>().join("\n")
    }
}

fn output(command: &mut Command) -> Output {
    command
        .stdin(Stdio::null())
        .output()
        .unwrap_or_else(|error| panic!("{command:?}: {error}"))
}

fn with_input(command: &mut Command, input: &str) -> Output {
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let mut pipe = child.stdin.take().unwrap();
    // One that ends before it has read all says why by itself.
    let _ = std::io::Write::write_all(&mut pipe, input.as_bytes());
    drop(pipe);
    child.wait_with_output().unwrap()
}

fn text(output: &Output) -> String {
    format!(
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    )
}
