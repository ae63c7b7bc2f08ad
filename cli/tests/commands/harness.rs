//! A home for runs, and child processes in it. Waits are for what can be seen; their limit only ends a test that hangs.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
    thread,
    time::{Duration, Instant},
};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use serde_json::Value;
use tempfile::TempDir;

const HANG: Duration = Duration::from_mins(2);

/// A directory with a state root and manifests.
pub struct Home(TempDir);

impl Home {
    pub fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    pub fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.path(name);
        fs::write(&path, text).unwrap();
        path
    }

    /// A workflow of one step over the numbers below `end`, which sums them; `script` runs in each.
    pub fn numbers(&self, name: &str, end: u32, script: &str) -> PathBuf {
        let script = script.replace('\n', "\n          ");
        let text = format!(
            "apiVersion: braid.dev/v1alpha1
kind: Workflow
metadata: {{name: {name}}}
spec:
  params: [{{name: factor, type: Integer, default: 1}}]
  steps:
    - name: work
      over: {{range: {{end: {end}}}}}
      run:
        script: |
          {script}
      results: [{{name: sum, reduce: Sum}}, {{name: runs, from: sum, reduce: Count}}]
  outputs: [{{name: total, value: steps.work.results.sum}}]
"
        );
        self.write(&format!("{name}.yaml"), &text)
    }

    pub fn command(&self, words: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_braid"));
        command
            .args(words)
            .current_dir(self.0.path())
            .env("XDG_STATE_HOME", self.path("state"))
            .env("HOME", self.path("home"))
            .env("NO_COLOR", "1")
            .env_remove("BRAID_LOG")
            .env_remove("KUBECONFIG")
            .env_remove("KUBERNETES_SERVICE_HOST")
            .stdin(Stdio::null());
        command
    }

    pub fn braid(&self, words: &[&str]) -> Said {
        Said::from(self.command(words).output().unwrap())
    }

    pub fn start(&self, words: &[&str]) -> Running {
        let mut command = self.command(words);
        Running(Some(
            command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap(),
        ))
    }

    /// `braid get RUN -o json`, again and again until it is as wanted.
    pub fn wait_for(&self, run: &[&str], wanted: impl Fn(&Value) -> bool) -> Value {
        let since = Instant::now();
        let words = [&["get", "-o", "json"], run].concat();
        loop {
            let said = self.braid(&words);
            if let Ok(found) = serde_json::from_str::<Value>(&said.out)
                && wanted(&found)
            {
                return found;
            }
            assert!(since.elapsed() < HANG, "{said:?}");
            thread::sleep(Duration::from_millis(30));
        }
    }
}

impl Home {
    /// Waits until a process runs the only run that there is.
    pub fn wait_running(&self) {
        let since = Instant::now();
        while self.braid(&["ls", "-o", "json"]).json()[0]["running"] != Value::Bool(true) {
            assert!(since.elapsed() < HANG, "no process runs it");
            thread::sleep(Duration::from_millis(30));
        }
    }
}

/// What a command said.
#[derive(Debug)]
pub struct Said {
    pub code: Option<i32>,
    pub out: String,
    pub err: String,
}

impl From<Output> for Said {
    fn from(output: Output) -> Self {
        Self {
            code: output.status.code(),
            out: String::from_utf8(output.stdout).unwrap(),
            err: String::from_utf8(output.stderr).unwrap(),
        }
    }
}

impl Said {
    #[track_caller]
    pub fn exits(self, code: i32) -> Self {
        assert_eq!(Some(code), self.code, "{self:#?}");
        self
    }

    /// Standard output as the one document that it is.
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.out).unwrap_or_else(|error| panic!("{error}: {self:#?}"))
    }
}

/// A command that runs. Killed if the test forgets it.
pub struct Running(Option<Child>);

impl Running {
    pub fn pid(&self) -> u32 {
        self.0.as_ref().unwrap().id()
    }

    pub fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(i32::try_from(self.pid()).unwrap()), signal).unwrap();
    }

    pub fn wait(mut self) -> Said {
        let child = self.0.take().unwrap();
        Said::from(child.wait_with_output().unwrap())
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if let Some(child) = &mut self.0 {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// A script that waits until the file is there, then gives its number.
pub fn gated(gate: &Path) -> String {
    format!("while [ ! -e '{}' ]; do sleep 0.02; done\n{}", gate.display(), NUMBER)
}

/// A script that gives its number.
pub const NUMBER: &str = r#"echo "{\"sum\": $((BRAID_ITEM * BRAID_PARAM_FACTOR))}" > "$BRAID_RESULTS""#;

pub fn phase(workflow: &Value) -> &str {
    workflow["status"]["phase"].as_str().unwrap_or_default()
}

pub fn settled(workflow: &Value) -> u64 {
    let counts = &workflow["status"]["steps"][0]["partitions"];
    counts["succeeded"].as_u64().unwrap_or(0)
}
