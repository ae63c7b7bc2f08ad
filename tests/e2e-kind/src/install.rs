//! The installation that all tests of a process share.

use std::env;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::OnceLock;

use braid_cluster::kind::{self, Cluster, Name};
use braid_cluster::programs::{self, Program};
use serde_json::{Value, json};

use crate::USERLAND;
use crate::processes::Process;

/// Of the release and of its namespace.
const RELEASE: &str = "braid";
/// Chooses the operators.
const OPERATORS: &str = "--selector=app.kubernetes.io/component=operator";
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
        crate::detour::close_all(&suite);
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
        let mut kubectl = self.kubectl_program();
        kubectl.arg("--request-timeout=60s").args(words);
        match input {
            None => output(&mut kubectl),
            Some(input) => with_input(&mut kubectl, input),
        }
    }

    /// kubectl on the cluster, as an administrator.
    pub fn kubectl_program(&self) -> Command {
        let mut kubectl = Command::new(&self.cluster.kubectl);
        kubectl.arg("--kubeconfig").arg(&self.cluster.kubeconfig);
        kubectl
    }

    /// The file by which programs find the cluster, as an administrator.
    pub fn kubeconfig(&self) -> &Path {
        &self.cluster.kubeconfig
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
            // A second operator contends for one of its own.
            .filter(|lease| lease["metadata"]["name"] != "second-operator")
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

    /// Has all operators replaced; on return the new ones are ready.
    pub fn renew_operators(&self) {
        let home = ["--namespace", RELEASE];
        // Those that are not gone would be counted as ready.
        self.kubectl_patiently(&[&["delete", "pods", OPERATORS, "--timeout=60s"][..], &home].concat());
        self.operators_ready();
    }

    /// Waits until as many operators are ready as are wanted.
    pub fn operators_ready(&self) {
        let words = ["rollout", "status", "deployment", OPERATORS, "--timeout=60s"];
        self.kubectl_patiently(&[&words[..], &["--namespace", RELEASE]].concat());
    }

    /// The names of the operators that run.
    pub fn operator_pods(&self) -> Vec<String> {
        let list = self.json(&["get", "pods", "--namespace", RELEASE, OPERATORS]);
        let items = list["items"].as_array().cloned().unwrap_or_default();
        let runs = |pod: &&Value| pod["status"]["phase"] == "Running" && pod["metadata"]["deletionTimestamp"].is_null();
        let name = |pod: &Value| pod["metadata"]["name"].as_str().map(str::to_owned);
        items.iter().filter(runs).filter_map(name).collect()
    }

    /// The sum of a metric's series at an operator; `None`: it does not answer.
    pub fn metric(&self, pod: &str, name: &str) -> Option<f64> {
        let path = format!("/api/v1/namespaces/{RELEASE}/pods/{pod}:8080/proxy/metrics");
        let output = self.try_kubectl(&["get", "--raw", &path], None);
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        output.status.success().then(|| sum(&text, name, |_| true))
    }

    /// What the operators say, those whose container was started again included.
    pub fn operator_logs(&self) -> String {
        let words = ["logs", OPERATORS, "--tail=-1", "--prefix", "--ignore-errors"];
        self.kubectl(&[&words[..], &["--namespace", RELEASE]].concat())
    }

    /// Asks for a pod's eviction, as `kubectl drain` does.
    pub fn evict(&self, namespace: &str, pod: &str) {
        let eviction = json!({
            "apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": pod, "namespace": namespace},
        });
        let path = format!("/api/v1/namespaces/{namespace}/pods/{pod}/eviction");
        let words = ["create", "--raw", &path, "--filename=-"];
        let output = self.try_kubectl(&words, Some(&eviction.to_string()));
        assert!(output.status.success(), "{}", text(&output));
    }

    /// Runs the chart's own test.
    pub fn test(&self) {
        let output = output(
            self.helm()
                .args(["test", RELEASE, "--namespace", RELEASE, "--timeout=90s"]),
        );
        assert!(
            output.status.success(),
            "helm test: {}\n{}",
            text(&output),
            self.operators()
        );
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
                OPERATORS,
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

/// The sum of a metric's series of which the line is wanted, in the text that a server shows.
pub fn sum(metrics: &str, name: &str, wanted: impl Fn(&str) -> bool) -> f64 {
    let is_it = |line: &&str| {
        let rest = line.strip_prefix(name);
        rest.is_some_and(|rest| rest.starts_with(['{', ' '])) && wanted(line)
    };
    let values = metrics.lines().filter(is_it);
    values
        .filter_map(|line| line.rsplit_once(' ')?.1.parse::<f64>().ok())
        .sum()
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
