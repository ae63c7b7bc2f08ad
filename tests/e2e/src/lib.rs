//! Whole runs as people make them: `braid run FILE -o json` as a process, its document, its stored status.
//!
//! Everything here panics with what was seen: it is for tests.

// Tests: a wrong document is a failed test.
#![allow(
    clippy::indexing_slicing,
    clippy::must_use_candidate,
    clippy::return_self_not_must_use
)]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::missing_panics_doc)]

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::OnceLock,
    thread,
    time::{Duration, Instant},
};

use serde_json::{Value, json};
use tempfile::TempDir;

/// A run that takes longer hangs.
const HANG: Duration = Duration::from_secs(150);

/// The program under test, built from what is there: tests of a package do not build programs of others.
pub fn braid() -> &'static Path {
    static BUILT: OnceLock<PathBuf> = OnceLock::new();
    BUILT.get_or_init(|| {
        // target/PROFILE/deps/this
        let test = env::current_exe().unwrap();
        let directory = test.ancestors().nth(2).unwrap();
        let profile = match directory.file_name().and_then(|name| name.to_str()) {
            Some("debug") | None => "dev",
            Some(profile) => profile,
        };
        let mut build = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
        // Builds of dependencies look at some of the variables of the test's own package: they would be done again.
        for (name, _) in env::vars_os() {
            let name = name.to_string_lossy();
            if name.starts_with("CARGO_PKG_") || name.starts_with("CARGO_MANIFEST_") {
                build.env_remove(&*name);
            }
        }
        let built = build
            .current_dir(root())
            .args(["build", "--locked", "--quiet", "--workspace", "--bin", "braid"])
            .args(["--profile", profile])
            .arg("--target-dir")
            .arg(directory.parent().unwrap())
            .status()
            .unwrap();
        assert!(built.success(), "braid was not built");
        directory.join("braid")
    })
}

/// The root of the repository.
pub fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .ancestors()
        .nth(2)
        .unwrap()
        .to_owned()
}

/// A directory for manifests, data and state.
pub struct Home(TempDir);

impl Default for Home {
    fn default() -> Self {
        Self(tempfile::tempdir().unwrap())
    }
}

impl Home {
    /// A path in it.
    pub fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// Writes a file in it, with the directories that it needs.
    pub fn write(&self, name: &str, text: impl AsRef<[u8]>) -> PathBuf {
        let path = self.path(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, text).unwrap();
        path
    }

    /// Writes a workflow of that spec.
    pub fn workflow(&self, name: &str, spec: &Value) -> PathBuf {
        let workflow = json!({
            "apiVersion": "braid.dev/v1alpha1", "kind": "Workflow", "metadata": {"name": name}, "spec": spec,
        });
        self.write(&format!("{name}.json"), workflow.to_string())
    }

    /// What `braid` with these arguments ends with, and writes to standard output.
    pub fn braid(&self, args: &[&str]) -> (i32, String) {
        let output = Command::new(braid())
            .args(args)
            .current_dir(self.0.path())
            .output()
            .unwrap();
        let code = output.status.code().unwrap();
        (code, String::from_utf8(output.stdout).unwrap())
    }

    /// Starts `braid run` on a manifest, with two workers if nothing else is said.
    pub fn start(&self, manifest: &Path, more: &[&str]) -> Running {
        self.start_logged(manifest, more, None)
    }

    /// The same, with a log of that much on standard error.
    pub fn start_logged(&self, manifest: &Path, more: &[&str], log: Option<&str>) -> Running {
        let state = self.path(&format!("state-{}", manifest.file_stem().unwrap().display()));
        let workers: &[&str] = if more.contains(&"--workers") {
            &[]
        } else {
            &["--workers", "2"]
        };
        let child = Command::new(braid())
            .arg("run")
            .arg(manifest)
            .arg("--state")
            .arg(&state)
            .args(["-o", "json"])
            .args(workers)
            .args(more)
            .envs(log.map(|log| ("BRAID_LOG", log)))
            .current_dir(self.0.path())
            .stdin(Stdio::null())
            .stdout(fs::File::create(self.path("stdout")).unwrap())
            .stderr(fs::File::create(self.path("stderr")).unwrap())
            .spawn()
            .unwrap();
        Running {
            child,
            state,
            out: self.path("stdout"),
            err: self.path("stderr"),
        }
    }

    /// Runs a manifest to its end.
    pub fn run(&self, manifest: &Path, more: &[&str]) -> Ended {
        self.start(manifest, more).wait()
    }

    /// Runs a workflow of that spec to its end.
    pub fn run_spec(&self, name: &str, spec: &Value) -> Ended {
        self.run(&self.workflow(name, spec), &[])
    }

    /// Another command on the run of a manifest, which prints one document: `braid retry --failed`.
    pub fn again(&self, manifest: &Path, words: &[&str]) -> Ended {
        let state = self.path(&format!("state-{}", manifest.file_stem().unwrap().display()));
        let output = Command::new(braid())
            .args(words)
            .arg("--state")
            .arg(&state)
            .current_dir(self.0.path())
            .stdin(Stdio::null())
            .output()
            .unwrap();
        let out = String::from_utf8(output.stdout).unwrap();
        Ended {
            code: output.status.code(),
            document: serde_json::from_str(&out).unwrap_or(Value::Null),
            workflow: stored(&state).unwrap_or(Value::Null),
            out,
            err: String::from_utf8(output.stderr).unwrap(),
        }
    }

    /// What a shell says, run in this directory: the independent way to a number.
    pub fn shell(&self, script: &str) -> String {
        let output = Command::new("sh")
            .args(["-euc", script])
            .env("LC_ALL", "C")
            .current_dir(self.0.path())
            .output()
            .unwrap();
        assert!(output.status.success(), "{script}: {output:?}");
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    }
}

/// A `braid run` that goes on; killed if the test forgets it.
pub struct Running {
    child: Child,
    state: PathBuf,
    out: PathBuf,
    err: PathBuf,
}

impl Running {
    /// The stored object, once it is as wanted.
    pub fn until(&mut self, wanted: impl Fn(&Value) -> bool) -> Value {
        let since = Instant::now();
        loop {
            // Before, there is nobody to ask, and asking takes the directory's lock.
            if self.state.join("control.sock").exists()
                && let Some(stored) = stored(&self.state)
                && wanted(&stored)
            {
                return stored;
            }
            assert!(
                since.elapsed() < HANG,
                "{:?} {}",
                stored(&self.state),
                fs::read_to_string(&self.err).unwrap()
            );
            thread::sleep(Duration::from_millis(30));
        }
    }

    /// `braid VERB` on this run.
    pub fn change(&self, verb: &str) {
        let status = Command::new(braid())
            .arg(verb)
            .arg("--state")
            .arg(&self.state)
            .stdout(Stdio::null())
            .status();
        assert!(status.unwrap().success(), "braid {verb}");
    }

    /// Whether it has ended.
    pub fn is_over(&mut self) -> bool {
        self.child.try_wait().unwrap().is_some()
    }

    /// Waits for its end.
    pub fn wait(mut self) -> Ended {
        let since = Instant::now();
        let status = loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                break status;
            }
            if since.elapsed() > HANG {
                let stored = stored(&self.state);
                panic!("it hangs: {stored:?} {}", fs::read_to_string(&self.err).unwrap());
            }
            thread::sleep(Duration::from_millis(10));
        };
        let (out, err) = (
            fs::read_to_string(&self.out).unwrap(),
            fs::read_to_string(&self.err).unwrap(),
        );
        Ended {
            code: status.code(),
            document: serde_json::from_str(&out).unwrap_or(Value::Null),
            workflow: stored(&self.state).unwrap_or(Value::Null),
            out,
            err,
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// `braid get -o json`: the whole object.
fn stored(state: &Path) -> Option<Value> {
    let output = Command::new(braid())
        .args(["get", "-o", "json", "--state"])
        .arg(state)
        .output()
        .unwrap();
    serde_json::from_slice(&output.stdout).ok()
}

/// A run that has ended.
#[derive(Debug)]
pub struct Ended {
    /// Its exit code.
    pub code: Option<i32>,
    /// The one document that it printed; `Null` if it is none.
    pub document: Value,
    /// The stored object.
    pub workflow: Value,
    /// Standard output.
    pub out: String,
    /// Standard error.
    pub err: String,
}

impl Ended {
    /// Checks how it ended.
    #[track_caller]
    pub fn exits(self, code: i32) -> Self {
        assert_eq!(Some(code), self.code, "{self:#?}");
        self
    }

    /// Results of a step, as printed.
    pub fn results(&self, step: &str) -> &Value {
        &self.document["steps"][step]["results"]
    }

    /// Counts of a step, as printed: total, succeeded, failed.
    pub fn counts(&self, step: &str) -> (u64, u64, u64) {
        let counts = &self.document["steps"][step]["partitions"];
        let count = |name: &str| counts[name].as_u64().unwrap_or(u64::MAX);
        (count("total"), count("succeeded"), count("failed"))
    }

    /// The record of a step, as stored.
    pub fn step(&self, name: &str) -> &Value {
        let steps = self.workflow["status"]["steps"]
            .as_array()
            .map_or(&[][..], Vec::as_slice);
        steps.iter().find(|step| step["name"] == name).unwrap_or(&Value::Null)
    }
}
