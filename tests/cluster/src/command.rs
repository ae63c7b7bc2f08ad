//! Programs that are called for their answer: with a deadline, and with what they said when they failed.

use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, Read as _, Seek as _, SeekFrom};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

/// How often a running program is looked at.
const LOOK: Duration = Duration::from_millis(10);
/// How much of what a program said is read, from the end.
const READ: u64 = 1 << 20;
/// Lines that an error shows.
const TOLD: usize = 15;
/// For what answers from memory or a small file.
const DEADLINE: Duration = Duration::from_secs(30);

/// A program did not do what it was called for.
#[derive(Debug, thiserror::Error)]
pub enum CallError {
    /// It could not be started or read.
    #[error("{what}: {source}")]
    Io {
        /// The command.
        what: String,
        /// Why.
        source: io::Error,
    },
    /// It said no.
    #[error("{what}: {status}{tail}")]
    Failed {
        /// The command.
        what: String,
        /// How it ended.
        status: ExitStatus,
        /// The end of what it said.
        tail: String,
    },
    /// It did not end in time and was killed.
    #[error("{what}: killed after {} s{tail}", deadline.as_secs())]
    Late {
        /// The command.
        what: String,
        /// How long it had.
        deadline: Duration,
        /// The end of what it said.
        tail: String,
    },
}

/// A call to be.
pub(crate) struct Call {
    command: Command,
    what: String,
    deadline: Duration,
    upstream: Option<Box<Call>>,
}

impl Call {
    pub(crate) fn new(program: impl AsRef<OsStr>) -> Self {
        let program = program.as_ref();
        let mut command = Command::new(program);
        command.stdin(Stdio::null());
        let what = std::path::Path::new(program).file_name().unwrap_or(program);
        Self {
            command,
            what: what.to_string_lossy().into_owned(),
            deadline: DEADLINE,
            upstream: None,
        }
    }

    pub(crate) fn arg(mut self, argument: impl AsRef<OsStr>) -> Self {
        let argument = argument.as_ref();
        self.what = format!("{} {}", self.what, argument.to_string_lossy());
        self.command.arg(argument);
        self
    }

    pub(crate) fn args<A: AsRef<OsStr>>(self, arguments: impl IntoIterator<Item = A>) -> Self {
        arguments.into_iter().fold(self, Self::arg)
    }

    pub(crate) fn env(mut self, name: &str, value: impl AsRef<OsStr>) -> Self {
        self.command.env(name, value);
        self
    }

    /// How long it may take.
    pub(crate) fn within(mut self, deadline: Duration) -> Self {
        self.deadline = deadline;
        self
    }

    /// Reads a file as its standard input.
    pub(crate) fn stdin(mut self, input: File) -> Self {
        self.command.stdin(input);
        self
    }

    /// Reads what another call writes.
    pub(crate) fn reading(mut self, upstream: Self) -> Self {
        self.what = format!("{} | {}", upstream.what, self.what);
        self.upstream = Some(Box::new(upstream));
        self
    }

    /// Runs it to its end; what it wrote to standard output, without the line's end.
    pub(crate) fn run(mut self) -> Result<String, CallError> {
        let what = std::mem::take(&mut self.what);
        let failed = |source| CallError::Io {
            what: what.clone(),
            source,
        };
        let mut said = tempfile::tempfile().map_err(failed)?;
        let mut answer = tempfile::tempfile().map_err(failed)?;
        let mut children = Vec::new();
        if let Some(mut upstream) = self.upstream.take() {
            let mut child = upstream
                .command
                .stdout(Stdio::piped())
                .stderr(said.try_clone().map_err(failed)?)
                .spawn()
                .map_err(failed)?;
            if let Some(output) = child.stdout.take() {
                self.command.stdin(output);
            }
            children.push(child);
        }
        self.command.stdout(answer.try_clone().map_err(failed)?);
        self.command.stderr(said.try_clone().map_err(failed)?);
        match self.command.spawn() {
            Ok(child) => children.push(child),
            Err(source) => {
                children.into_iter().for_each(end);
                return Err(failed(source));
            }
        }
        // Its own ends of pipes would keep the upstream waiting for a reader that is gone.
        drop(self.command);
        let deadline = Instant::now() + self.deadline;
        let mut failure = None;
        for mut child in children {
            match wait(&mut child, deadline).map_err(failed)? {
                Some(status) if status.success() => {}
                Some(status) => failure = failure.or(Some(Some(status))),
                None => {
                    end(child);
                    failure = Some(None);
                }
            }
        }
        let text = text_of(&mut answer).map_err(failed)?;
        let Some(failure) = failure else {
            return Ok(text.trim_end().to_owned());
        };
        let said = text_of(&mut said).map_err(failed)?;
        let tail = tail(if said.trim().is_empty() { &text } else { &said });
        Err(match failure {
            Some(status) => CallError::Failed { what, status, tail },
            None => CallError::Late {
                what,
                deadline: self.deadline,
                tail,
            },
        })
    }
}

/// `None`: it still runs at the deadline.
fn wait(child: &mut Child, deadline: Instant) -> io::Result<Option<ExitStatus>> {
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(Some(status));
        }
        if Instant::now() >= deadline {
            return Ok(None);
        }
        std::thread::sleep(LOOK);
    }
}

fn end(mut child: Child) {
    // One that cannot be killed has ended already; then it can be waited for.
    let _ = child.kill();
    let _ = child.wait();
}

fn text_of(file: &mut File) -> io::Result<String> {
    let length = file.seek(SeekFrom::End(0))?;
    file.seek(SeekFrom::Start(length.saturating_sub(READ)))?;
    let mut bytes = Vec::new();
    file.take(READ).read_to_end(&mut bytes)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

fn tail(text: &str) -> String {
    let lines: Vec<&str> = text.trim_end().lines().collect();
    let from = lines.len().saturating_sub(TOLD);
    let last = lines.get(from..).unwrap_or_default();
    last.iter().flat_map(|line| ["\n  ", line]).collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn sh(script: &str) -> Call {
        Call::new("sh").args(["-c", script])
    }

    #[test]
    fn answers_come_without_the_lines_end() {
        assert_eq!("a\nb", sh("echo a; echo b; echo noise >&2").run().unwrap());
    }

    #[test]
    fn failures_come_with_last_words() {
        let error = sh("echo out; echo why >&2; exit 3").run().unwrap_err().to_string();
        assert!(error.contains("exit status: 3") && error.contains("why"), "{error}");
        assert!(!error.contains("\n  out"), "{error}");
        let silent = sh("echo only out; exit 3").run().unwrap_err().to_string();
        assert!(silent.contains("only out"), "{silent}");
    }

    #[test]
    fn a_call_without_an_end_is_ended() {
        let error = sh("echo begun >&2; exec sleep 1000")
            .within(Duration::from_millis(300))
            .run();
        assert!(matches!(error, Err(CallError::Late { .. })), "{error:?}");
    }

    #[test]
    fn both_ends_of_a_pipe_must_succeed() {
        assert_eq!("A", sh("tr a-z A-Z").reading(sh("echo a")).run().unwrap());
        let error = sh("cat").reading(sh("echo half; echo broken >&2; exit 4")).run();
        assert!(error.unwrap_err().to_string().contains("broken"));
        let error = sh("exit 5").reading(sh("yes")).run();
        assert!(matches!(error, Err(CallError::Failed { .. })), "{error:?}");
    }

    #[test]
    fn a_program_that_is_not_there_is_named() {
        let error = Call::new("no-such-program").arg("x").run().unwrap_err().to_string();
        assert!(error.starts_with("no-such-program x: "), "{error}");
    }
}
