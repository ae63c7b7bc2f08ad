//! A runner with a real shim, and what tests ask of it.

use std::fs;
use std::future::Future;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use braid_worker::runner::logs::{LogLine, LogSink};
use braid_worker::runner::{
    Attempt, AttemptId, Ending, Failure, Finished, Input, Item, Limits, Place, Program, ProgramId, Runner, ShimCommand,
    ShimRunner,
};
use bytes::Bytes;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

/// Nothing in these tests takes as long; if it does, it hangs.
pub(crate) const HANGS: Duration = Duration::from_secs(30);

#[derive(Default)]
pub(crate) struct Lines(Mutex<Vec<LogLine>>);

impl LogSink for Lines {
    fn append(&self, lines: Vec<LogLine>) -> Result<(), Vec<LogLine>> {
        self.0.lock().unwrap().extend(lines);
        Ok(())
    }

    fn lost(&self, lines: u64) {
        panic!("{lines} lines lost");
    }
}

pub(crate) struct Bench {
    pub(crate) runner: ShimRunner,
    pub(crate) lines: Arc<Lines>,
    pub(crate) dir: tempfile::TempDir,
    next: u64,
}

pub(crate) fn program() -> Program {
    Program {
        id: ProgramId(1),
        step: Arc::from("count"),
        command: Vec::new(),
        script: None,
        args: Vec::new(),
        env: vec![("COLOUR".to_owned(), "green".to_owned())],
        concurrency: 1,
        grace: Duration::from_millis(300),
        results_limit: Some(1024),
        sides: braid_worker::runner::Sides::default(),
        serve: None,
        outputs: Vec::new(),
        checkpoint: None,
        uid: Arc::from("u1/count"),
        run: Arc::from("u1/count"),
    }
}

pub(crate) fn command(words: &[&str]) -> Program {
    Program {
        command: words.iter().map(|&word| word.to_owned()).collect(),
        ..program()
    }
}

/// The expansion of core/v1 makes one dollar of two, in a command as well.
pub(crate) fn sh(script: &str) -> Program {
    command(&["sh", "-c", &script.replace("$$", "$$$$")])
}

pub(crate) fn patient() -> Limits {
    Limits::default()
}

pub(crate) fn hasty() -> Limits {
    Limits {
        ask_after: Duration::from_millis(100),
        silence: Duration::from_millis(300),
        slack: Duration::from_millis(300),
        first_pause: Duration::from_millis(10),
        ..Limits::default()
    }
}

pub(crate) fn shim() -> ShimCommand {
    ShimCommand {
        program: env!("CARGO_BIN_EXE_braid-shim").into(),
        args: Vec::new(),
    }
}

pub(crate) async fn soon<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(HANGS, future).await.expect("it hangs")
}

impl Bench {
    pub(crate) fn new(limits: Limits) -> Self {
        Self::with(shim(), limits)
    }

    pub(crate) fn with(place: impl Into<Place>, limits: Limits) -> Self {
        let lines = Arc::new(Lines::default());
        let runner = ShimRunner::new(place, limits, Arc::clone(&lines) as Arc<dyn LogSink>);
        Self {
            runner,
            lines,
            dir: tempfile::tempdir().unwrap(),
            next: 0,
        }
    }

    pub(crate) async fn prepare(&mut self, mut program: Program) {
        program
            .env
            .push(("DIR".to_owned(), self.dir.path().to_str().unwrap().to_owned()));
        self.runner.prepare(Arc::new(program)).await.unwrap();
    }

    pub(crate) fn attempt(&mut self) -> Attempt {
        self.next += 1;
        Attempt {
            id: AttemptId(self.next),
            program: ProgramId(1),
            partition: self.next + 100,
            attempt: 1,
            item: Item::None,
            input: Input::None,
            outlet: None,
            timeout: Some(HANGS),
        }
    }

    pub(crate) async fn start(&mut self, attempt: Attempt) -> AttemptId {
        let id = attempt.id;
        self.runner.start(attempt).await.unwrap();
        id
    }

    /// Waits until so many have ended.
    pub(crate) async fn ended(&mut self, count: usize) -> Vec<Finished> {
        let mut all = Vec::new();
        while all.len() < count {
            all.extend(soon(self.runner.next()).await.unwrap());
        }
        assert_eq!(all.len(), count);
        all
    }

    /// Runs one attempt.
    pub(crate) async fn run(&mut self, change: impl FnOnce(&mut Attempt)) -> Finished {
        let mut attempt = self.attempt();
        change(&mut attempt);
        let id = self.start(attempt).await;
        let ended = self.ended(1).await.remove(0);
        assert_eq!(ended.id, id);
        ended
    }

    /// Goes on moving bytes until a file is there, and gives what is in it.
    pub(crate) async fn file(&mut self, name: &str) -> String {
        let path = self.dir.path().join(name);
        soon(async {
            loop {
                let text = fs::read_to_string(&path).unwrap_or_default();
                if text.ends_with('\n') {
                    return text.trim().to_owned();
                }
                let ended = tokio::time::timeout(Duration::from_millis(10), self.runner.next()).await;
                assert!(ended.is_err(), "ended before it wrote {name}: {ended:?}");
            }
        })
        .await
    }

    pub(crate) fn shim(&self) -> Pid {
        Pid::from_raw(self.runner.shim_pid().unwrap().try_into().unwrap())
    }

    /// What was written: (partition, stream, cut, line).
    pub(crate) fn logged(&self) -> Vec<LogLine> {
        self.lines.0.lock().unwrap().clone()
    }

    pub(crate) fn texts(&self) -> Vec<String> {
        self.logged()
            .iter()
            .map(|line| String::from_utf8_lossy(&line.line).into_owned())
            .collect()
    }
}

/// Runs one attempt of a program in a bench of its own.
pub(crate) async fn once(program: Program) -> (Ending, Bench) {
    once_with(program, |_| ()).await
}

pub(crate) async fn once_with(program: Program, change: impl FnOnce(&mut Attempt)) -> (Ending, Bench) {
    let mut bench = Bench::new(patient());
    bench.prepare(program).await;
    let ending = bench.run(change).await.ending;
    (ending, bench)
}

pub(crate) fn results(text: &'static str) -> Ending {
    Ending::Succeeded {
        results: Some(Bytes::from_static(text.as_bytes())),
    }
}

#[track_caller]
pub(crate) fn failure(ending: &Ending) -> &Failure {
    match ending {
        Ending::Failed { failure, .. } => failure,
        Ending::Succeeded { .. } => panic!("succeeded"),
    }
}

#[track_caller]
pub(crate) fn message(ending: &Ending) -> &str {
    match ending {
        Ending::Failed { message, .. } => message,
        Ending::Succeeded { .. } => panic!("succeeded"),
    }
}

/// Whether a process runs; a zombie does not.
pub(crate) fn lives(pid: &str) -> bool {
    let pid = pid.trim();
    assert!(pid.parse::<u32>().is_ok(), "{pid:?} is no pid");
    match fs::read_to_string(format!("/proc/{pid}/stat")) {
        Ok(stat) => !matches!(
            stat.rsplit_once(')').unwrap().1.split_ascii_whitespace().next(),
            Some("Z" | "X")
        ),
        Err(_) => false,
    }
}

pub(crate) async fn dies(pid: &str) {
    soon(async {
        while lives(pid) {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    })
    .await;
}

pub(crate) fn send(pid: Pid, signal: Signal) {
    kill(pid, signal).unwrap();
}
