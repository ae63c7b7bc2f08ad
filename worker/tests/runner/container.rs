//! The shim as the entry point of a container: it connects, is known again, and ends as a container should.

use std::fs::File;
use std::io::{Read, Write};
use std::os::unix::fs::MetadataExt;
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use braid_worker::frames::{FromShim, LinkKey, VERSION, encode};
use braid_worker::runner::logs::{Stream, TaggedLine};
use braid_worker::runner::{Checkpoint, Data, Ending, Failure, Input, Limits, Link, Program, Runner, Serve};
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
            .stdout(File::create(self.dir.path().join("printed")).unwrap())
            .stderr(Stdio::null());
        command
    }

    /// The log of the container: what the shim has printed.
    fn printed(&self) -> Vec<TaggedLine<'static>> {
        let text = std::fs::read_to_string(self.dir.path().join("printed")).unwrap();
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    /// The same, once it has so many lines.
    async fn texts(&self, count: usize) -> Vec<String> {
        soon(async {
            while self.printed().len() < count {
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
        })
        .await;
        self.printed().into_iter().map(|line| line.line.into_owned()).collect()
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
    assert_eq!(pod.texts(1).await, ["green"]);
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
async fn large_inputs_go_through_the_socket() {
    let pod = Pod::new();
    let _shim = pod.shim("30");
    let mut bench = pod.worker(patient());
    let bytes: Vec<u8> = (0..9_000_000_u32)
        .map(|at| at.to_le_bytes()[(at % 3) as usize])
        .collect();
    let wanted = pod.dir.path().join("wanted");
    std::fs::write(&wanted, &bytes).unwrap();
    let data = Data::Joined(vec![
        Data::Bytes(bytes[..3].to_vec().into()),
        Data::File {
            file: Arc::new(File::open(&wanted).unwrap()),
            offset: 3,
            length: bytes.len() as u64 - 3,
        },
    ]);
    let script = format!("cmp - {0} && cmp $BRAID_INPUT {0}", wanted.display());
    bench.prepare(sh(&script)).await;
    let ended = bench
        .run(|attempt| attempt.input = Input::One { name: None, data })
        .await;
    assert_eq!(ended.ending, DONE);
}

#[tokio::test]
async fn what_an_attempt_has_saved_is_there_for_a_worker_that_restarts() {
    let pod = Pod::new();
    let scratch = pod.dir.path().join("scratch");
    std::fs::create_dir(&scratch).unwrap();
    let _shim = Main(pod.command("30").arg("--scratch").arg(&scratch).spawn().unwrap());
    let program = || Program {
        checkpoint: Some(Checkpoint {
            key: "a".to_owned(),
            bytes: 100,
        }),
        ..sh(
            r#"cat "$BRAID_CHECKPOINT/at" 2>/dev/null; echo half > "$BRAID_CHECKPOINT/at"; echo up > $DIR/up; [ $BRAID_ATTEMPT = 2 ] || exec sleep 1000"#,
        )
    };
    let mut bench = pod.worker(patient());
    bench.prepare(program()).await;
    let mut attempt = bench.attempt();
    attempt.partition = 7;
    bench.start(attempt).await;
    bench.file("up").await;
    drop(bench);
    let mut bench = pod.worker(patient());
    bench.prepare(program()).await;
    let ended = bench.run(|attempt| (attempt.partition, attempt.attempt) = (7, 2)).await;
    assert_eq!(ended.ending, DONE);
    assert_eq!(pod.texts(1).await, ["half"]);
    assert!(!scratch.join("checkpoints/a/7").exists());
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
    assert_eq!(pod.texts(1).await, ["me"]);
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
    let texts = pod.texts(1).await;
    // The order of lines of two streams is not known.
    assert!(texts.iter().any(|text| text == "refused"), "{texts:?}");
}

#[tokio::test]
async fn what_user_code_prints_is_the_log_of_its_container() {
    let pod = Pod::new();
    let _shim = pod.shim("30");
    let mut bench = pod.worker(patient());
    let script = "echo out; echo 'bad \"luck\"' >&2; printf unended; exit 3";
    bench.prepare(sh(script)).await;
    let ended = bench.run(|attempt| attempt.attempt = 5).await;
    // What a failure is told with does not come from the log.
    assert_eq!(message(&ended.ending), "bad \"luck\"");
    pod.texts(3).await;
    let mut lines = pod.printed();
    lines.sort_by(|one, other| one.line.cmp(&other.line));
    let line = |stream, text: &'static str| TaggedLine {
        run: "u1".into(),
        step: "count".into(),
        partition: 101,
        attempt: 5,
        stream,
        cut: false,
        line: text.into(),
    };
    let wanted = [
        line(Stream::Stderr, "bad \"luck\""),
        line(Stream::Stdout, "out"),
        line(Stream::Stdout, "unended"),
    ];
    assert_eq!(lines, wanted);
    assert!(bench.logged().is_empty(), "the worker has none of it");
}

/// One process for all partitions, and each line is of the partition that it was at.
#[tokio::test]
async fn what_a_program_that_lives_on_prints_is_each_partition_s() {
    let pod = Pod::new();
    let _shim = pod.shim("30");
    let mut bench = pod.worker(patient());
    let text = r#"
import json, sys
print("begin", file=sys.stderr, flush=True)
for line in sys.stdin:
    r = json.loads(line)
    print("about", r["partition"], r["attempt"], file=sys.stderr, flush=True)
    print(json.dumps({"id": r["id"]}), flush=True)
"#;
    let mut program = command(&["python3", "-c", text]);
    program.serve = Some(Serve::Lines { ahead: false });
    bench.prepare(program).await;
    for attempt in 1..=40 {
        let ended = bench.run(|known| known.attempt = attempt).await;
        assert_eq!(ended.ending, DONE);
    }
    pod.texts(41).await;
    for (at, line) in pod.printed().iter().enumerate() {
        let about = format!("about {} {}", line.partition, line.attempt);
        assert_eq!(line.line, if at == 0 { "begin" } else { &about });
        assert_eq!((&*line.run, &*line.step), ("u1", "count"));
        assert_eq!(line.partition, 100 + u64::try_from(at.max(1)).unwrap());
    }
}

/// Several partitions at once: the lines say themselves which they are of.
#[tokio::test]
async fn what_a_program_says_of_its_lines_is_believed() {
    let pod = Pod::new();
    let _shim = pod.shim("30");
    let mut bench = pod.worker(patient());
    let text = r#"
import json, sys
for line in sys.stdin:
    r = json.loads(line)
    print("\x1e4711/3\x1eanother's", file=sys.stderr)
    print("own", file=sys.stderr, flush=True)
    sys.exit(1)
"#;
    let mut program = command(&["python3", "-c", text]);
    program.serve = Some(Serve::Lines { ahead: false });
    bench.prepare(program).await;
    let ended = bench.run(|_| ()).await;
    assert!(message(&ended.ending).ends_with(": own"), "{ended:?}");
    pod.texts(2).await;
    let told: Vec<_> = (pod.printed().iter())
        .map(|line| (line.partition, line.attempt, line.line.to_string()))
        .collect();
    assert_eq!(told, [(4711, 3, "another's".to_owned()), (101, 1, "own".to_owned())]);
}

/// Somebody reads the log so slowly that it stands still: attempts end all the same, and the shim answers.
#[tokio::test]
async fn a_log_that_nobody_reads_holds_nobody_up() {
    let pod = Pod::new();
    let mut command = pod.command("30");
    let mut shim = Main(command.stdout(Stdio::piped()).spawn().unwrap());
    let mut bench = pod.worker(patient());
    bench
        .prepare(sh(
            "i=0; while [ $i -lt 4 ]; do head -c 100000 /dev/zero | tr '\\0' '\\n'; i=$((i+1)); done",
        ))
        .await;
    for _ in 0..3 {
        assert_eq!(bench.run(|_| ()).await.ending, DONE);
    }
    // A million lines, each a hundred bytes where it is printed, were not kept.
    let status = std::fs::read_to_string(format!("/proc/{}/status", shim.pid())).unwrap();
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    let kilobytes: u64 = peak.trim().strip_suffix(" kB").unwrap().parse().unwrap();
    assert!(kilobytes < 64 << 10, "{peak}");
    drop(shim.0.stdout.take());
    assert_eq!(bench.run(|_| ()).await.ending, DONE);
}
