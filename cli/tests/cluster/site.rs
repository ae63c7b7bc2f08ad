//! A cluster for commands: a kubeconfig in a home, and a client for what the operator would do.

use std::{
    io::{BufRead as _, BufReader, Read, Write as _},
    process::{Child, Command, Stdio},
    sync::mpsc::{Receiver, channel},
    thread,
    time::{Duration, Instant},
};

use braid_crds::Workflow;
use kube::{
    Api, Client,
    api::{ListParams, Patch, PatchParams},
};
use serde_json::{Value, json};
use tokio::runtime::Handle;

use crate::harness::{Home, Said};

/// Longest time for one request of the tests.
const REQUEST: Duration = Duration::from_secs(30);
/// Longest time for a command to say what it must: it only ends a test that hangs.
const HANG: Duration = Duration::from_mins(1);

pub struct Site {
    pub home: Home,
    pub client: Client,
    pub runtime: Handle,
    /// The namespace of the kubeconfig's context.
    pub namespace: String,
}

impl Site {
    /// Commands in this home speak to the cluster of this kubeconfig.
    pub fn new(runtime: Handle, client: Client, namespace: &str, kubeconfig: &str) -> Self {
        let home = Home::new();
        home.write("kubeconfig", kubeconfig);
        Self {
            home,
            client,
            runtime,
            namespace: namespace.to_owned(),
        }
    }

    pub fn command(&self, words: &[&str]) -> Command {
        let mut command = self.home.command(words);
        command.env("KUBECONFIG", self.home.path("kubeconfig"));
        command
    }

    pub fn braid(&self, words: &[&str]) -> Said {
        Said::from(self.command(words).output().unwrap())
    }

    /// A command with this on its standard input.
    pub fn pipe(&self, words: &[&str], text: &str) -> Said {
        let mut command = self.command(words);
        command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        child.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
        Said::from(child.wait_with_output().unwrap())
    }

    pub fn start(&self, words: &[&str]) -> Watched {
        Watched::new(self.command(words))
    }

    pub fn workflows(&self, namespace: &str) -> Api<Workflow> {
        Api::namespaced(self.client.clone(), namespace)
    }

    /// Waits for an answer.
    pub fn ask<T>(&self, request: impl Future<Output = Result<T, kube::Error>>) -> T {
        self.runtime
            .block_on(async { tokio::time::timeout(REQUEST, request).await })
            .expect("an answer")
            .unwrap()
    }

    pub fn get(&self, namespace: &str, name: &str) -> Workflow {
        self.ask(self.workflows(namespace).get(name))
    }

    pub fn names(&self, namespace: &str) -> Vec<String> {
        let listed = self.ask(self.workflows(namespace).list(&ListParams::default()));
        listed.items.into_iter().filter_map(|it| it.metadata.name).collect()
    }

    /// What the operator would say of a run.
    pub fn say(&self, name: &str, status: &Value) {
        let change = json!({"status": status});
        let api = self.workflows(&self.namespace);
        self.ask(api.patch_status(name, &PatchParams::default(), &Patch::Merge(change)));
    }

    /// A run that goes on.
    pub fn running(&self, name: &str, settled: u64) {
        self.say(name, &status("Running", "Running", settled, "work: at it"));
    }

    /// A run that has ended.
    pub fn ended(&self, name: &str, phase: &str, message: &str) {
        let mut said = status(phase, phase, 10, message);
        said["finishedAt"] = json!("2026-01-01T00:00:05Z");
        said["steps"][0]["finishedAt"] = json!("2026-01-01T00:00:05Z");
        said["outputs"] = json!({"total": 45});
        self.say(name, &said);
    }
}

/// A command that goes on, and what it says meanwhile. Killed if the test forgets it.
pub struct Watched {
    child: Child,
    lines: Receiver<String>,
    heard: String,
    out: Receiver<String>,
    printed: String,
}

impl Watched {
    fn new(mut command: Command) -> Self {
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let lines = listen(child.stderr.take().unwrap());
        let out = listen(child.stdout.take().unwrap());
        Self {
            child,
            lines,
            heard: String::new(),
            out,
            printed: String::new(),
        }
    }

    /// Waits until it prints this.
    #[track_caller]
    pub fn hears(mut self, text: &str) -> Self {
        expect(&self.out, &mut self.printed, text);
        self
    }

    /// Waits until it says this on standard error.
    #[track_caller]
    pub fn until(mut self, text: &str) -> Self {
        expect(&self.lines, &mut self.heard, text);
        self
    }

    pub fn signal(&self, signal: nix::sys::signal::Signal) {
        let pid = nix::unistd::Pid::from_raw(i32::try_from(self.child.id()).unwrap());
        nix::sys::signal::kill(pid, signal).unwrap();
    }

    pub fn wait(mut self) -> Said {
        for (lines, text) in [(&self.lines, &mut self.heard), (&self.out, &mut self.printed)] {
            while let Ok(line) = lines.recv_timeout(HANG) {
                text.extend([line.as_str(), "\n"]);
            }
        }
        Said {
            code: self.child.wait().unwrap().code(),
            out: std::mem::take(&mut self.printed),
            err: std::mem::take(&mut self.heard),
        }
    }
}

/// The lines of a stream, as they come.
fn listen(stream: impl Read + Send + 'static) -> Receiver<String> {
    let (sender, lines) = channel();
    thread::spawn(move || {
        for line in BufReader::new(stream).lines() {
            // A test that has ended does not listen.
            let _ = sender.send(line.unwrap());
        }
    });
    lines
}

#[track_caller]
fn expect(lines: &Receiver<String>, before: &mut String, text: &str) {
    let begun = Instant::now();
    loop {
        let line = lines.recv_timeout(HANG.saturating_sub(begun.elapsed()));
        let line = line.unwrap_or_else(|error| panic!("{text:?} was not said ({error}): {before}"));
        before.extend([line.as_str(), "\n"]);
        if line.contains(text) {
            return;
        }
    }
}

impl Drop for Watched {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A status of a run of one step with ten partitions.
pub fn status(phase: &str, reason: &str, settled: u64, message: &str) -> Value {
    let ended = ["Succeeded", "Failed", "Cancelled"].contains(&phase);
    let condition = |kind: &str, holds: bool| {
        json!({
            "type": kind, "status": if holds { "True" } else { "False" }, "reason": reason, "message": message,
            "lastTransitionTime": "2026-01-01T00:00:00Z", "observedGeneration": 1,
        })
    };
    json!({
        "format": 1,
        "observedGeneration": 1,
        "phase": phase,
        "startedAt": "2026-01-01T00:00:00Z",
        "summary": {"steps": "0/1", "partitions": format!("{settled}/10"), "failed": "0", "workers": "2", "message": message},
        "conditions": [
            condition("Accepted", true), condition("Progressing", phase == "Running"),
            condition("Complete", phase == "Succeeded"), condition("Failed", ended && phase != "Succeeded"),
            condition("Finished", ended),
        ],
        "steps": [{
            "name": "work", "phase": phase, "round": 0, "startedAt": "2026-01-01T00:00:00Z",
            "plan": {"partitions": 10, "digest": "", "chunks": 0, "files": 0, "bytes": 0},
            "partitions": {"total": 10, "succeeded": settled, "failed": 0},
            "results": [{"name": "sum", "value": 45, "count": settled}],
        }],
    })
}
