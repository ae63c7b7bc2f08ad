//! A namespace of one test.

use std::thread;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::install::{Suite, suite};

/// A run that takes longer hangs.
const HANG: Duration = Duration::from_mins(2);
const LOOK: Duration = Duration::from_millis(200);

/// A namespace that goes with its test, and tells all that happened in it if the test fails.
pub struct Space {
    name: String,
}

impl Space {
    /// A namespace whose pods must hold to the level "restricted".
    pub fn restricted(name: &str) -> Self {
        Self::new(name, "restricted")
    }

    /// A namespace whose pods may have volumes of their nodes.
    pub fn privileged(name: &str) -> Self {
        Self::new(name, "privileged")
    }

    fn new(name: &str, level: &str) -> Self {
        // Before there is anything to be told of: telling needs it, too.
        suite();
        // Another run of the test on a cluster that was kept must not find what was.
        let name = format!("{name}-{}", std::process::id());
        let namespace = json!({
            "apiVersion": "v1", "kind": "Namespace",
            "metadata": {"name": name, "labels": {"pod-security.kubernetes.io/enforce": level}},
        });
        let space = Self { name };
        space.apply(&namespace);
        space
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// `kubectl apply` of an object.
    #[track_caller]
    pub fn apply(&self, object: &Value) {
        self.apply_text(&object.to_string());
    }

    /// `kubectl apply` of a manifest's text.
    #[track_caller]
    pub fn apply_text(&self, manifest: &str) {
        let mut words = vec!["apply", "--filename=-"];
        if !manifest.contains(r#""kind":"Namespace""#) {
            words.extend(["--namespace", &self.name]);
        }
        let output = suite().try_kubectl(&words, Some(manifest));
        assert!(
            output.status.success(),
            "kubectl apply: {}",
            String::from_utf8_lossy(&output.stderr)
        );
    }

    /// Creates a workflow of that spec.
    #[track_caller]
    pub fn run(&self, name: &str, spec: &Value) {
        self.apply(&json!({
            "apiVersion": "braid.dev/v1alpha1", "kind": "Workflow", "metadata": {"name": name}, "spec": spec,
        }));
    }

    /// A list of objects of this namespace.
    pub fn list(&self, kind: &str) -> Vec<Value> {
        let mut list = suite().json(&["get", kind, "--namespace", &self.name]);
        match list["items"].take() {
            Value::Array(items) => items,
            other => panic!("{kind}: {other}"),
        }
    }

    /// The workflow of that name.
    pub fn workflow(&self, name: &str) -> Value {
        suite().json(&["get", "workflows.braid.dev", name, "--namespace", &self.name])
    }

    /// Waits until `seen` gives something.
    #[track_caller]
    pub fn until<T>(&self, what: &str, seen: impl FnMut() -> Option<T>) -> T {
        until(what, seen)
    }

    /// The workflow once it has ended.
    #[track_caller]
    pub fn finished(&self, name: &str) -> Value {
        self.until(&format!("{name} ends"), || {
            let words = [
                "get",
                "workflows.braid.dev",
                name,
                "--namespace",
                &self.name,
                "--output=json",
            ];
            let output = suite().try_kubectl(&words, None);
            // The server may be away for a while: that is what some tests are about.
            let workflow: Value = serde_json::from_slice(&output.stdout).ok()?;
            let phase = workflow["status"]["phase"].as_str()?;
            matches!(phase, "Succeeded" | "Failed" | "Cancelled").then_some(workflow)
        })
    }

    /// What the cluster knows of this namespace.
    fn tell(&self) -> String {
        let of = |words: &[&'static str]| -> Vec<String> {
            let own = ["--namespace".to_owned(), self.name.clone()];
            words.iter().map(|word| (*word).to_owned()).chain(own).collect()
        };
        let questions = [
            of(&[
                "get",
                "workflows.braid.dev,workerpools.braid.dev,jobs,pods",
                "--output=wide",
            ]),
            of(&[
                "get",
                "workflows.braid.dev,workerpools.braid.dev,workers.braid.dev",
                "--output=yaml",
            ]),
            of(&["get", "events", "--sort-by=.lastTimestamp"]),
            of(&["describe", "pods"]),
            of(&[
                "logs",
                "--selector=app.kubernetes.io/name=braid-worker",
                "--all-containers",
                "--prefix",
                "--tail=20",
                "--ignore-errors",
            ]),
        ];
        let questions: Vec<Vec<&str>> = questions
            .iter()
            .map(|words| words.iter().map(String::as_str).collect())
            .collect();
        let questions: Vec<&[&str]> = questions.iter().map(Vec::as_slice).collect();
        suite().ask(&questions)
    }
}

impl Drop for Space {
    #[expect(clippy::print_stderr, reason = "of a test that fails")]
    fn drop(&mut self) {
        if thread::panicking() {
            eprintln!("{}\n{}", self.tell(), suite().operators());
            return;
        }
        // Nobody waits for it: the next test has a namespace of its own.
        suite().try_kubectl(&["delete", "namespace", &self.name, "--wait=false"], None);
    }
}

/// Waits until `seen` gives something.
#[track_caller]
pub fn until<T>(what: &str, mut seen: impl FnMut() -> Option<T>) -> T {
    let begun = Instant::now();
    loop {
        if let Some(it) = seen() {
            return it;
        }
        assert!(begun.elapsed() < HANG, "{what}: not within {} s", HANG.as_secs());
        thread::sleep(LOOK);
    }
}

/// What a run has come to, without what is of the place and the time: the same text on a laptop and in a cluster.
pub fn told(workflow: &Value) -> String {
    let status = &workflow["status"];
    let step = |step: &Value| {
        let keep = ["name", "phase", "partitions", "results", "failures"];
        Value::Object(keep.iter().map(|key| ((*key).to_owned(), step[*key].clone())).collect())
    };
    let steps: Vec<Value> = status["steps"].as_array().into_iter().flatten().map(step).collect();
    let told = json!({"phase": status["phase"], "outputs": status["outputs"], "steps": steps});
    serde_json::to_string_pretty(&told).unwrap_or_else(|error| panic!("{error}"))
}

impl Suite {
    /// The pods of a namespace that run, with their nodes.
    pub fn pods(&self, namespace: &str) -> Vec<(String, String)> {
        let list = self.json(&["get", "pods", "--namespace", namespace]);
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let items = list["items"].as_array().cloned().unwrap_or_default();
        items
            .iter()
            .filter(|pod| pod["status"]["phase"] == "Running")
            .map(|pod| (text(&pod["metadata"]["name"]), text(&pod["spec"]["nodeName"])))
            .collect()
    }
}
