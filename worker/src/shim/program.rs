//! Programs: how a command is made for each attempt, and started.

use std::env;
use std::ffi::{OsStr, OsString};
use std::fs;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use nix::errno::Errno;

use super::MARK;
use super::expand::expand;
use super::outlet::Tag;
use super::side::SideFiles;
use crate::frames::{Outcome, ProgramFrame, StartFrame};

/// Names that begin like this are ours: those of the shim's own environment are not handed down.
const OURS: &str = "BRAID_";

/// Why an attempt could not be started, in the terms in which it is reported.
#[derive(Debug)]
pub(super) struct NotStarted {
    pub(super) outcome: Outcome,
    pub(super) message: String,
}

impl NotStarted {
    pub(super) fn not_set_up(what: &str, error: &io::Error) -> Self {
        Self {
            outcome: Outcome::NotSetUp,
            message: format!("{what}: {error}"),
        }
    }

    fn not_executable(message: String) -> Self {
        Self {
            outcome: Outcome::NotExecutable,
            message,
        }
    }
}

/// A program that attempts can be started of.
pub(super) struct Program {
    frame: ProgramFrame,
    run: Arc<str>,
    step: Arc<str>,
    /// The script's file, once it has been written.
    script: Option<PathBuf>,
    /// Directories of files for all attempts.
    pub(super) sides: SideFiles,
    inherited: Vec<(OsString, OsString)>,
    /// Where the command was found last.
    found: Option<(String, PathBuf)>,
}

/// What an attempt gets beside its program.
pub(super) struct Surroundings<'a> {
    /// What stands in `BRAID_INPUT`.
    pub(super) input: Option<&'a Path>,
    /// What stands in `BRAID_RESULTS`.
    pub(super) results: Option<&'a Path>,
    /// What stands in `BRAID_OUT`.
    pub(super) outputs: Option<&'a Path>,
    /// What stands in `BRAID_CHECKPOINT`.
    pub(super) checkpoint: Option<&'a Path>,
    /// Standard input.
    pub(super) stdin: Stdio,
}

impl Program {
    pub(super) fn new(frame: ProgramFrame, script: Option<PathBuf>) -> Self {
        let inherited = env::vars_os()
            .filter(|(name, _)| name == MARK || !name.as_bytes().starts_with(OURS.as_bytes()))
            .collect();
        Self {
            run: Arc::from(frame.run.as_str()),
            step: Arc::from(frame.step.as_str()),
            sides: SideFiles::new(!frame.sides),
            frame,
            script,
            inherited,
            found: None,
        }
    }

    /// What the lines of an attempt are of.
    pub(super) fn tag(&self, attempt: &StartFrame) -> Tag {
        Tag {
            run: Arc::clone(&self.run),
            step: Arc::clone(&self.step),
            partition: attempt.partition,
            number: attempt.number,
        }
    }

    pub(super) fn concurrency(&self) -> usize {
        usize::from(self.frame.concurrency).max(1)
    }

    pub(super) fn grace(&self) -> Duration {
        Duration::from_millis(self.frame.grace_millis)
    }

    pub(super) fn results_limit(&self) -> Option<u32> {
        self.frame.results_limit
    }

    /// The names of the data that attempts write.
    pub(super) fn outputs(&self) -> &[String] {
        &self.frame.outputs
    }

    /// Where what attempts save is kept, and how many bytes of a partition.
    pub(super) fn checkpoint(&self) -> Option<(&str, u64)> {
        let (key, bytes) = self.frame.checkpoint.as_ref()?;
        Some((key, *bytes))
    }

    pub(super) fn script(&self) -> Option<&Path> {
        self.script.as_deref()
    }

    /// Starts an attempt in a process group of its own, its output piped.
    pub(super) fn start(&mut self, attempt: &StartFrame, around: Surroundings<'_>) -> Result<Child, NotStarted> {
        if let Some(why) = self.sides.failure() {
            return Err(NotStarted {
                outcome: Outcome::NotSetUp,
                message: why.to_owned(),
            });
        }
        let input = around.input.map(Path::to_string_lossy);
        let results = around.results.map(Path::to_string_lossy);
        let outputs = around.outputs.map(Path::to_string_lossy);
        let checkpoint = around.checkpoint.map(Path::to_string_lossy);
        let lookup = |name: &str| match name {
            "BRAID_INPUT" => input.as_deref(),
            "BRAID_RESULTS" => results.as_deref(),
            "BRAID_OUT" => outputs.as_deref(),
            "BRAID_CHECKPOINT" => checkpoint.as_deref(),
            _ => value(&attempt.env, name)
                .or_else(|| self.sides.value(name))
                .or_else(|| value(&self.frame.env, name)),
        };
        let expanded = |text| expand(text, lookup).into_owned();
        let mut command: Vec<String> = self.frame.command.iter().map(String::as_str).map(expanded).collect();
        let args: Vec<String> = self.frame.args.iter().map(String::as_str).map(expanded).collect();
        if command.is_empty() && self.script.is_some() {
            command.push("sh".to_owned());
        }
        let mut words = command.into_iter();
        let Some(name) = words.next().filter(|name| !name.is_empty()) else {
            return Err(NotStarted::not_executable(
                "there is neither a command nor a script".to_owned(),
            ));
        };
        let path = value(&attempt.env, "PATH")
            .or_else(|| value(&self.frame.env, "PATH"))
            .map(OsString::from);
        let program = match self.found.take() {
            Some((known, place)) if known == name => place,
            _ => find(&name, path.or_else(|| self.inherited("PATH")).as_deref())?,
        };

        let mut command = Command::new(&program);
        command.arg0(&name).args(words).args(self.script.as_deref()).args(args);
        command
            .env_clear()
            .envs(self.inherited.iter().map(|(name, value)| (name, value)));
        for (name, value) in self.frame.env.iter().chain(&attempt.env) {
            command.env(name, value);
        }
        command.envs(self.sides.variables());
        if let Some(path) = around.input {
            command.env("BRAID_INPUT", path);
        }
        if let Some(path) = around.results {
            command.env("BRAID_RESULTS", path);
        }
        if let Some(path) = around.outputs {
            command.env("BRAID_OUT", path);
        }
        if let Some(path) = around.checkpoint {
            command.env("BRAID_CHECKPOINT", path);
        }
        command
            .stdin(around.stdin)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .process_group(0);
        let child = command.spawn().map_err(|error| why(&name, &error))?;
        self.found = Some((name, program));
        Ok(child)
    }

    fn inherited(&self, name: &str) -> Option<OsString> {
        self.inherited
            .iter()
            .find(|(known, _)| known == name)
            .map(|(_, value)| value.clone())
    }
}

fn value<'v>(env: &'v [(String, String)], name: &str) -> Option<&'v str> {
    env.iter()
        .rev()
        .find(|(known, _)| known == name)
        .map(|(_, value)| value.as_str())
}

/// Finds a command as `execvp` does. Done here, once per program: a path lets the library start it without a fork.
fn find(name: &str, path: Option<&OsStr>) -> Result<PathBuf, NotStarted> {
    if name.contains('/') {
        return Ok(PathBuf::from(name));
    }
    let path = path.unwrap_or(OsStr::new("/usr/local/bin:/usr/bin:/bin"));
    let mut denied = None;
    for directory in env::split_paths(path) {
        let place = if directory.as_os_str().is_empty() {
            Path::new(".").join(name)
        } else {
            directory.join(name)
        };
        match fs::metadata(&place) {
            Ok(meta) if meta.is_file() && meta.permissions().mode() & 0o111 != 0 => return Ok(place),
            Ok(_) => denied = Some(place),
            Err(_) => {}
        }
    }
    Err(match denied {
        Some(place) => NotStarted::not_executable(format!("{} is not an executable file", place.display())),
        None => NotStarted {
            outcome: Outcome::CommandNotFound,
            message: format!("command `{name}` not found in PATH {}", path.to_string_lossy()),
        },
    })
}

/// Tells a command that can never be started from a machine that cannot start one now.
fn why(name: &str, error: &io::Error) -> NotStarted {
    if error.kind() == io::ErrorKind::InvalidInput {
        return NotStarted::not_executable(format!("command `{name}`: an argument or a variable has a NUL byte"));
    }
    let outcome = match error.raw_os_error().map(Errno::from_raw) {
        Some(Errno::ENOENT | Errno::ENOTDIR) => Outcome::CommandNotFound,
        Some(
            Errno::EACCES
            | Errno::EPERM
            | Errno::ENOEXEC
            | Errno::EISDIR
            | Errno::ELOOP
            | Errno::EINVAL
            | Errno::ENAMETOOLONG
            | Errno::E2BIG
            | Errno::ELIBBAD,
        ) => Outcome::NotExecutable,
        _ => Outcome::NotSetUp,
    };
    NotStarted {
        outcome,
        message: format!("command `{name}` cannot be started: {error}"),
    }
}
