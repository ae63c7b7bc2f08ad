//! The shim as the entry point of a container: it connects, is known again, and ends as a container should.

use std::io::{Read, Write};
use std::os::unix::fs::MetadataExt;
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use braid_worker::frames::{FromShim, LinkKey, VERSION, encode};
use braid_worker::runner::{Ending, Failure, Limits, Link, Runner};
use bytes::BytesMut;
use nix::sys::signal::Signal;
use nix::unistd::Pid;

use crate::harness::*;

const DONE: Ending = Ending::Succeeded { results: None };

/// The directories of a pod: one that only the worker can write, one that only it can see.
struct Pod {
    dir: tempfile::TempDir,
}

/// A shim that was started as a container's entry point; killed when dropped.
struct Main(Child);

impl Pod {
    fn new() -> Self {
        Self {
            dir: tempfile::tempdir().unwrap(),
        }
    }

    fn socket(&self) -> PathBuf {
        self.dir.path().join("worker.sock")
    }

    fn key(&self) -> PathBuf {
        self.dir.path().join("key")
    }

    /// What a start of the worker's container makes.
    fn worker(&self, limits: Limits) -> Bench {
        Bench::with(Link::new(self.socket(), self.key()), limits)
    }

    fn shim(&self, patience: &str) -> Main {
        let command = self.command(patience).spawn();
        Main(command.unwrap())
    }

    fn command(&self, patience: &str) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_braid-shim"));
        command
            .arg("--connect")
            .arg(self.socket())
            .args(["--patience", patience])
            .stderr(Stdio::null());
        command
    }
}

impl Main {
    fn pid(&self) -> Pid {
        Pid::from_raw(self.0.id().try_into().unwrap())
    }

    async fn code(&mut self) -> i32 {
        soon(async {
            loop {
                if let Some(status) = self.0.try_wait().unwrap() {
                    return status.code().expect("an exit code, not a signal");
                }
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
        })
        .await
    }
}

impl Drop for Main {
    fn drop(&mut self) {
        // It may have ended.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Says this to the worker's socket and waits for the end of the connection; gives what was answered.
fn say(path: &Path, frames: &[FromShim]) -> std::thread::JoinHandle<Vec<u8>> {
    let mut wire = BytesMut::new();
    for frame in frames {
        encode(frame, &mut wire).unwrap();
    }
    let mut socket = UnixStream::connect(path).unwrap();
    socket.set_read_timeout(Some(HANGS)).unwrap();
    std::thread::spawn(move || {
        // The other side may have closed it already.
        let _ = socket.write_all(&wire);
        let mut answer = Vec::new();
        let _ = socket.read_to_end(&mut answer);
        answer
    })
}

async fn listens(bench: &mut Bench, pod: &Pod) {
    let waited = tokio::time::timeout(Duration::from_millis(50), bench.runner.connected()).await;
    assert!(waited.is_err(), "somebody has connected: {waited:?}");
    assert!(pod.socket().exists());
}

/// Whether a process has a handler for this signal.
fn catches(pid: Pid, signal: Signal) -> bool {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let caught = status.lines().find_map(|line| line.strip_prefix("SigCgt:")).unwrap();
    u64::from_str_radix(caught.trim(), 16).unwrap() & (1 << (signal as u64 - 1)) != 0
}

fn ready() -> FromShim {
    FromShim::Ready { version: VERSION }
}

#[tokio::test]
async fn it_does_not_matter_who_is_there_first() {
    let pod = Pod::new();
    let _early = pod.shim("30");
    let mut bench = pod.worker(patient());
    bench.prepare(sh("echo $COLOUR")).await;
    assert_eq!(bench.run(|_| ()).await.ending, DONE);
    assert_eq!(bench.texts(), ["green"]);
    // While the shim is there nobody can connect.
    assert!(!pod.socket().exists());

    let pod = Pod::new();
    let mut bench = pod.worker(patient());
    listens(&mut bench, &pod).await;
    let _late = pod.shim("30");
    bench.prepare(sh("exit 4")).await;
    assert_eq!(failure(&bench.run(|_| ()).await.ending), &Failure::Exit(4));
}

#[tokio::test]
async fn a_worker_that_restarts_finds_its_shim_again_and_nothing_of_what_ran() {
    let pod = Pod::new();
    let mut shim = pod.shim("30");
    let mut bench = pod.worker(patient());
    bench
        .prepare(sh(
            "setsid sh -c 'echo $$ > $DIR/b; sleep 1000' & echo $$ > $DIR/a; sleep 1000",
        ))
        .await;
    let attempt = bench.attempt();
    bench.start(attempt).await;
    let pids = [bench.file("a").await, bench.file("b").await];
    assert!(pids.iter().all(|pid| lives(pid)));
    // As a crash: without a goodbye.
    drop(bench.runner);

    let mut again = pod.worker(patient());
    soon(again.runner.connected()).await.unwrap();
    // It connects only when nothing is left.
    assert!(pids.iter().all(|pid| !lives(pid)));
    again.prepare(sh("echo again")).await;
    assert_eq!(again.run(|_| ()).await.ending, DONE);
    assert!(shim.0.try_wait().unwrap().is_none());
}

#[tokio::test]
async fn a_worker_that_ends_waits_until_nothing_runs() {
    let pod = Pod::new();
    let _shim = pod.shim("30");
    let mut bench = pod.worker(patient());
    bench.prepare(sh("echo $$ > $DIR/a; sleep 1000")).await;
    let attempt = bench.attempt();
    bench.start(attempt).await;
    let pid = bench.file("a").await;
    soon(bench.runner.shutdown()).await;
    assert!(!lives(&pid));
}

#[tokio::test]
async fn who_does_not_know_the_key_is_not_taken_for_the_shim() {
    let pod = Pod::new();
    let mut shim = pod.shim("30");
    let mut bench = pod.worker(patient());
    soon(bench.runner.connected()).await.unwrap();
    drop(bench.runner);
    // The shim cannot connect while it is stopped, but user code could.
    send(shim.pid(), Signal::SIGSTOP);

    let mut bench = pod.worker(patient());
    listens(&mut bench, &pod).await;
    let wrong = FromShim::Key { key: LinkKey::random() };
    let hostile = [
        say(&pod.socket(), &[ready()]),
        say(&pod.socket(), &[wrong, ready()]),
        say(&pod.socket(), &[FromShim::Draining]),
        say(&pod.socket(), &[]),
    ];
    bench.prepare(sh("echo me")).await;
    send(shim.pid(), Signal::SIGCONT);
    assert_eq!(bench.run(|_| ()).await.ending, DONE);
    assert_eq!(bench.texts(), ["me"]);
    for answer in hostile {
        assert_eq!(answer.join().unwrap(), b"", "a stranger was told something");
    }
    assert!(shim.0.try_wait().unwrap().is_none());
}

#[tokio::test]
async fn a_shim_that_is_lost_ends_its_attempts_when_it_is_back() {
    let pod = Pod::new();
    let shim = pod.shim("30");
    let mut bench = pod.worker(hasty());
    bench.prepare(sh("echo $$ >> $DIR/a; sleep 1000")).await;
    let attempt = bench.attempt();
    let id = bench.start(attempt).await;
    let pid = bench.file("a").await;
    send(shim.pid(), Signal::SIGSTOP);
    // It does not answer, is given up, and the attempt is open until it is known to be dead.
    let waited = tokio::time::timeout(Duration::from_secs(1), bench.runner.next()).await;
    assert!(waited.is_err(), "{waited:?}");
    assert!(lives(&pid));
    send(shim.pid(), Signal::SIGCONT);
    let ended = bench.ended(1).await.remove(0);
    assert_eq!((ended.id, failure(&ended.ending)), (id, &Failure::ShimDied));
    assert!(!lives(&pid));
}

#[tokio::test]
async fn a_shim_that_does_not_come_back_ends_the_runner() {
    let pod = Pod::new();
    let shim = pod.shim("30");
    let mut bench = pod.worker(Limits {
        absence: Duration::from_millis(50),
        ..hasty()
    });
    bench.prepare(sh("echo $$ > $DIR/a; sleep 1000")).await;
    let attempt = bench.attempt();
    bench.start(attempt).await;
    let pid = bench.file("a").await;
    send(shim.pid(), Signal::SIGKILL);
    assert_eq!(failure(&bench.ended(1).await[0].ending), &Failure::ShimDied);
    assert!(bench.runner.is_draining());
    // In a pod it would have died with its container.
    send(Pid::from_raw(pid.parse().unwrap()), Signal::SIGKILL);
}

#[tokio::test]
async fn it_never_ends_with_success() {
    // Told to end while there is no worker.
    let pod = Pod::new();
    let mut shim = pod.shim("30");
    soon(async {
        while !catches(shim.pid(), Signal::SIGTERM) {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    })
    .await;
    send(shim.pid(), Signal::SIGTERM);
    assert_eq!(shim.code().await, 143);

    // No worker at all.
    assert_eq!(pod.shim("0").code().await, 3);

    // A drain: the attempt that runs is let end.
    let mut shim = pod.shim("30");
    let mut bench = pod.worker(patient());
    bench
        .prepare(sh("echo up > $DIR/a; while ! [ -e $DIR/go ]; do sleep 0.01; done"))
        .await;
    let attempt = bench.attempt();
    bench.start(attempt).await;
    bench.file("a").await;
    send(shim.pid(), Signal::SIGTERM);
    while !bench.runner.is_draining() {
        assert_eq!(soon(bench.runner.next()).await.unwrap(), []);
    }
    std::fs::write(bench.dir.path().join("go"), "").unwrap();
    assert_eq!(bench.ended(1).await[0].ending, DONE);
    bench.runner.extend(Duration::ZERO).await.unwrap();
    let drained = tokio::spawn(async move { while bench.runner.next().await.is_ok() {} });
    assert_eq!(shim.code().await, 143);
    drained.abort();
}

#[tokio::test]
async fn its_memory_is_not_its_users() {
    let pod = Pod::new();
    std::fs::set_permissions(pod.dir.path(), std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    let mut command = pod.command("30");
    let root = nix::unistd::geteuid().is_root();
    if root {
        command.uid(65534).gid(65534);
    }
    let shim = Main(command.spawn().unwrap());
    let mut bench = pod.worker(patient());
    soon(bench.runner.connected()).await.unwrap();
    // The kernel gives what belongs to a protected process to root; user code of the same user gets a refusal.
    let owner = std::fs::metadata(format!("/proc/{}/mem", shim.pid())).unwrap().uid();
    assert_eq!(owner, 0);
    let script = "cat /proc/$PPID/environ /proc/$PPID/maps || ls /proc/$PPID/fd || echo refused";
    bench.prepare(sh(script)).await;
    assert_eq!(bench.run(|_| ()).await.ending, DONE);
    let texts = bench.texts();
    // The order of lines of two streams is not known.
    assert!(texts.iter().any(|text| text == "refused"), "{texts:?}");
}
