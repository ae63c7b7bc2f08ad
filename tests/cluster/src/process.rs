//! Programs that end with their owner.

use std::fs::File;
use std::io::{self, BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

/// Runs a program until its end, or until standard input closes: an owner that is killed closes it, too. Says the program's
/// process id first.
const GUARD: &str = r#"
exec 3<&0
"$@" </dev/null >&2 3<&- &
program=$!
echo "$program"
exec >/dev/null
{ cat <&3; kill -KILL "$program"; } 2>/dev/null &
exec 3<&-
wait "$program"
"#;

/// Lines of a log that an error shows.
const TOLD: usize = 20;

/// A process did not do what it should.
#[derive(Debug, thiserror::Error)]
pub enum ProcessError {
    /// It was not started.
    #[error("{program} was not started: {source}")]
    Start {
        /// Which.
        program: String,
        /// Why.
        source: io::Error,
    },
    /// It ended by itself.
    #[error("{program} ended by itself ({status}); the end of {}:\n{tail}", log.display())]
    Ended {
        /// Which.
        program: String,
        /// How.
        status: String,
        /// All that it said.
        log: PathBuf,
        /// The end of that.
        tail: String,
    },
    /// It lives, but was not ready in time.
    #[error("{program} was not ready after {} s: {last}; the end of {}:\n{tail}", waited.as_secs(), log.display())]
    NotReady {
        /// Which.
        program: String,
        /// How long it had.
        waited: Duration,
        /// What was seen last.
        last: String,
        /// All that it said.
        log: PathBuf,
        /// The end of that.
        tail: String,
    },
    /// It did not take a signal.
    #[error("a signal for {program}: {source}")]
    Signal {
        /// Which.
        program: String,
        /// Why.
        source: nix::Error,
    },
}

/// A running program. Dropped, it is killed.
pub(crate) struct Process {
    name: &'static str,
    guard: Child,
    /// Closing it kills the program.
    hold: Option<ChildStdin>,
    pid: Pid,
    log: PathBuf,
}

impl Process {
    /// Starts a program whose output goes to `<directory>/<name>.log`.
    pub(crate) fn start(
        name: &'static str,
        program: &Path,
        arguments: &[String],
        directory: &Path,
    ) -> Result<Self, ProcessError> {
        let failed = |source| ProcessError::Start {
            program: name.to_owned(),
            source,
        };
        let log = directory.join(format!("{name}.log"));
        let output = File::create(&log).map_err(failed)?;
        let mut guard = Command::new("sh")
            .args(["-c", GUARD, "sh"])
            .arg(program)
            .args(arguments)
            .current_dir(directory)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(output)
            .spawn()
            .map_err(failed)?;
        let hold = guard.stdin.take();
        let mut line = String::new();
        if let Some(told) = guard.stdout.take() {
            BufReader::new(told).read_line(&mut line).map_err(failed)?;
        }
        let pid = line.trim().parse().map(Pid::from_raw);
        let pid = pid.map_err(|_| failed(io::Error::other(format!("no process id: {line:?}"))))?;
        Ok(Self {
            name,
            guard,
            hold,
            pid,
            log,
        })
    }

    /// An error if the program has ended.
    pub(crate) fn lives(&mut self) -> Result<(), ProcessError> {
        let status = match self.guard.try_wait() {
            Ok(None) => return Ok(()),
            Ok(Some(status)) => status.to_string(),
            Err(error) => error.to_string(),
        };
        Err(ProcessError::Ended {
            program: self.name.to_owned(),
            status,
            log: self.log.clone(),
            tail: self.tail(),
        })
    }

    /// The error of a program that was not ready in time.
    pub(crate) fn late(&self, waited: Duration, last: String) -> ProcessError {
        ProcessError::NotReady {
            program: self.name.to_owned(),
            waited,
            last,
            log: self.log.clone(),
            tail: self.tail(),
        }
    }

    /// The end of what it has said.
    pub(crate) fn tail(&self) -> String {
        let bytes = std::fs::read(&self.log).unwrap_or_default();
        let text = String::from_utf8_lossy(&bytes);
        let lines: Vec<&str> = text.lines().collect();
        let from = lines.len().saturating_sub(TOLD);
        lines.get(from..).unwrap_or_default().join("\n")
    }

    pub(crate) fn pid(&self) -> i32 {
        self.pid.as_raw()
    }

    pub(crate) fn signal(&self, signal: Signal) -> Result<(), ProcessError> {
        kill(self.pid, signal).map_err(|source| ProcessError::Signal {
            program: self.name.to_owned(),
            source,
        })
    }

    /// Asks the program to end, and kills it when it has not after `patience`.
    pub(crate) async fn stop(mut self, patience: Duration) {
        // One that has ended already cannot be asked.
        if self.signal(Signal::SIGTERM).is_ok() {
            let deadline = Instant::now() + patience;
            while Instant::now() < deadline && matches!(self.guard.try_wait(), Ok(None)) {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        drop(self.hold.take());
        // The guard kills at once. There is nobody to tell if it cannot be waited for.
        let _ = self.guard.wait();
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::panic)]
    use super::*;

    fn start(script: &str) -> (tempfile::TempDir, Process) {
        let directory = tempfile::tempdir().unwrap();
        let arguments = ["-c".to_owned(), script.to_owned()];
        let process = Process::start("script", Path::new("/bin/sh"), &arguments, directory.path()).unwrap();
        (directory, process)
    }

    fn exists(pid: Pid) -> bool {
        kill(pid, None).is_ok()
    }

    fn until(what: &str, done: impl Fn() -> bool) {
        let deadline = Instant::now() + Duration::from_secs(20);
        while !done() {
            assert!(Instant::now() < deadline, "{what}");
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    #[test]
    fn it_dies_with_its_owner() {
        let (_directory, mut process) = start("exec sleep 1000");
        process.lives().unwrap();
        let pid = process.pid;
        drop(process);
        until("the program is gone", || !exists(pid));
    }

    #[test]
    fn its_own_end_is_told_with_its_last_words() {
        let (_directory, mut process) = start("echo first; echo last words >&2; exit 3");
        let ended = std::cell::RefCell::new(None);
        let process = std::cell::RefCell::new(&mut process);
        until("it ends", || {
            *ended.borrow_mut() = process.borrow_mut().lives().err();
            ended.borrow().is_some()
        });
        let text = ended.into_inner().unwrap().to_string();
        assert!(text.contains("exit status: 3") && text.contains("last words"), "{text}");
    }

    #[tokio::test]
    async fn it_is_asked_before_it_is_killed() {
        let (directory, process) =
            start("trap 'echo asked >&2; exit 0' TERM; echo ready >&2; while :; do sleep 0.01; done");
        until("it listens", || process.tail().contains("ready"));
        process.stop(Duration::from_secs(20)).await;
        let log = std::fs::read_to_string(directory.path().join("script.log")).unwrap();
        assert!(log.contains("asked"), "{log}");
        let (_directory, deaf) = start("trap '' TERM; echo ready >&2; while :; do sleep 0.01; done");
        until("it listens", || deaf.tail().contains("ready"));
        let pid = deaf.pid;
        deaf.stop(Duration::from_millis(50)).await;
        until("the deaf one is gone", || !exists(pid));
    }
}
