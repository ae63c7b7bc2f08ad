//! Memory: an attempt is ended before the kernel would choose somebody. The kernel's files are the test's own.

use std::{
    fs,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
};

use braid_worker::runner::{Ending, Failure, Runner as _, ShimCommand};
use nix::{sys::signal::Signal, unistd::Pid};

use crate::harness::*;

/// So little that a shell alone holds a good part of it.
const LIMIT: u64 = 500_000;

/// Says how much is taken. The file is replaced, so that nobody reads half of it.
fn take(cgroup: &Path, bytes: u64) {
    let new = cgroup.join("new");
    // Whatever page cache there is: it does not count.
    fs::write(&new, format!("anon {bytes}\nfile 99999999\nshmem 0\n")).unwrap();
    fs::rename(new, cgroup.join("memory.stat")).unwrap();
}

/// A bench whose shim believes to live in a cgroup.
fn limited(cgroup: &Path) -> Bench {
    take(cgroup, 1000);
    fs::write(cgroup.join("memory.max"), format!("{LIMIT}\n")).unwrap();
    let command = ShimCommand {
        args: vec!["--cgroup".into(), cgroup.into()],
        ..shim()
    };
    Bench::with(command, patient())
}

const WAITS: &str =
    "case $BRAID_PARTITION in 101) echo $$ > $DIR/pid; while :; do sleep 1000; done;; *) echo next;; esac";

#[tokio::test]
async fn an_attempt_that_takes_nearly_all_is_ended_and_the_shim_goes_on() {
    let cgroup = tempfile::tempdir().unwrap();
    let mut bench = limited(cgroup.path());
    // Asked to end, it would only go on to allocate.
    bench.prepare(sh(&format!("trap '' TERM; {WAITS}"))).await;
    let attempt = bench.attempt();
    bench.start(attempt).await;
    let pid = bench.file("pid").await;
    let shim = bench.shim();
    take(cgroup.path(), LIMIT / 100 * 95);
    let ending = bench.ended(1).await.remove(0).ending;
    assert_eq!(failure(&ending), &Failure::OutOfMemory);
    assert!(message(&ending).contains("475000 of 500000 bytes"), "{ending:?}");
    dies(&pid).await;
    take(cgroup.path(), 1000);
    assert_eq!(bench.run(|_| ()).await.ending, Ending::Succeeded { results: None });
    assert_eq!(bench.shim(), shim, "nobody but the attempt has died");
}

#[tokio::test]
async fn of_several_the_largest_is_ended() {
    let cgroup = tempfile::tempdir().unwrap();
    let mut bench = limited(cgroup.path());
    // 64 MB, in a child of the attempt's first process. A system() of awk waits and keeps them.
    let large = "awk 'BEGIN { s = \"x\"; for (i = 0; i < 26; i++) s = s s; print \"up\" > (ENVIRON[\"DIR\"] \"/up-102\"); \
                 close(ENVIRON[\"DIR\"] \"/up-102\"); system(\"sleep 1000\"); print length(s) }'";
    let mut program = sh(&format!(
        "case $BRAID_PARTITION in 102) {large};; *) echo up > $DIR/up-$BRAID_PARTITION; sleep 1000;; esac"
    ));
    program.concurrency = 3;
    bench.prepare(program).await;
    for _ in 0..3 {
        let attempt = bench.attempt();
        bench.start(attempt).await;
    }
    for name in ["up-101", "up-102", "up-103"] {
        bench.file(name).await;
    }
    take(cgroup.path(), LIMIT);
    let first = soon(bench.runner.next()).await.unwrap().remove(0);
    assert_eq!(first.partition, 102);
    assert_eq!(failure(&first.ending), &Failure::OutOfMemory);
}

/// Says how many the kernel has killed here, in the file of either version.
fn kernel_has_killed(cgroup: &Path, count: u64) {
    for file in ["memory.events", "memory.oom_control"] {
        fs::write(cgroup.join(file), format!("under_oom 0\noom_kill {count}\n")).unwrap();
    }
}

#[tokio::test]
async fn whom_the_kernel_has_killed_was_out_of_memory() {
    for version_one in [false, true] {
        let cgroup = tempfile::tempdir().unwrap();
        if version_one {
            fs::write(cgroup.path().join("memory.limit_in_bytes"), "100000\n").unwrap();
        }
        kernel_has_killed(cgroup.path(), 7);
        let mut bench = limited(cgroup.path());
        // A shell passes on how its command was killed as its own exit code.
        let script = "echo $$ > $DIR/pid-$BRAID_PARTITION; case $BRAID_PARTITION in \
                      103|104) until [ -e $DIR/go-$BRAID_PARTITION ]; do sleep 0.01; done; \
                      perl -e 'kill 9, $$'; exit $?;; esac; sleep 1000";
        bench.prepare(sh(script)).await;
        let mut rises = 7;
        for (partition, kernel) in [(101, false), (102, true), (103, false), (104, true)] {
            let attempt = bench.attempt();
            bench.start(attempt).await;
            let pid: i32 = bench.file(&format!("pid-{partition}")).await.parse().unwrap();
            if kernel {
                // Before it kills, as the kernel does.
                rises += 1;
                kernel_has_killed(cgroup.path(), rises);
            }
            if partition < 103 {
                send(Pid::from_raw(pid), Signal::SIGKILL);
            } else {
                fs::write(bench.dir.path().join(format!("go-{partition}")), "").unwrap();
            }
            let ending = bench.ended(1).await.remove(0).ending;
            let expected = match (kernel, partition) {
                (true, _) => Failure::OutOfMemory,
                (false, 101) => Failure::Signal(9),
                (false, _) => Failure::Exit(137),
            };
            assert_eq!(failure(&ending), &expected, "{partition}, version one: {version_one}");
            assert!(
                !kernel || message(&ending).contains("the kernel killed it"),
                "{ending:?}"
            );
        }
    }
}

/// A real cgroup with a limit, below this process's own; removed when dropped.
struct Limited(PathBuf);

impl Limited {
    /// `None`: this machine, or this user, cannot make one.
    fn make(name: &str, bytes: u64) -> Option<Self> {
        let own = fs::read_to_string("/proc/self/cgroup").ok()?;
        let path = |controller: &str| {
            let mut lines = own.lines().filter_map(|line| line.split_once(':')?.1.split_once(':'));
            lines
                .find(|(names, _)| names.split(',').any(|name| name == controller))
                .map(|(_, path)| path)
        };
        let (mount, path, limit) = match (path("memory"), path("")) {
            (Some(path), _) => ("/sys/fs/cgroup/memory", path, "memory.limit_in_bytes"),
            (None, Some(path)) => ("/sys/fs/cgroup", path, "memory.max"),
            (None, None) => return None,
        };
        let parent = Path::new(mount).join(path.trim_start_matches('/'));
        let made = Self(parent.join(format!("braid-{name}-{}", std::process::id())));
        fs::create_dir(&made.0).ok()?;
        // Version 2 has no limit where its parent has processes of its own.
        fs::write(made.0.join(limit), bytes.to_string()).ok()?;
        Some(made)
    }

    /// A shim that lives in it.
    fn shim(&self, more: &str) -> ShimCommand {
        let script = format!(
            "echo $$ > {}/cgroup.procs && exec {} {more}",
            self.0.display(),
            env!("CARGO_BIN_EXE_braid-shim"),
        );
        ShimCommand {
            program: "sh".into(),
            args: vec!["-c".into(), script.into()],
        }
    }
}

impl Drop for Limited {
    fn drop(&mut self) {
        // A process that has just ended keeps it for a moment. One that is left over costs nothing.
        for _ in 0..1000 {
            if fs::remove_dir(&self.0).is_ok() {
                return;
            }
            std::thread::sleep(std::time::Duration::from_millis(2));
        }
    }
}

/// Takes memory as fast as it can.
const GREEDY: &str = "exec perl -e 'my @x; push @x, \"x\" x (1 << 20) while 1'";

/// The kernel itself kills: the shim believes that nothing is taken, but counts the kernel's kills.
#[tokio::test]
async fn the_kernel_is_quicker_than_the_shim() {
    let Some(real) = Limited::make("kernel", 64 << 20) else {
        eprintln!("no cgroup can be made here");
        return;
    };
    let believed = tempfile::tempdir().unwrap();
    for file in ["memory.events", "memory.oom_control"] {
        if real.0.join(file).exists() {
            symlink(real.0.join(file), believed.path().join(file)).unwrap();
        }
    }
    if real.0.join("memory.oom_control").exists() {
        fs::write(believed.path().join("memory.limit_in_bytes"), format!("{LIMIT}\n")).unwrap();
    }
    fs::write(believed.path().join("memory.max"), format!("{LIMIT}\n")).unwrap();
    fs::write(
        believed.path().join("memory.stat"),
        "anon 1\nshmem 0\ntotal_rss 1\ntotal_shmem 0\n",
    )
    .unwrap();
    let mut bench = Bench::with(real.shim(&format!("--cgroup {}", believed.path().display())), patient());
    bench.prepare(sh(GREEDY)).await;
    let ending = bench.run(|_| ()).await.ending;
    assert_eq!(failure(&ending), &Failure::OutOfMemory, "{ending:?}");
    assert!(message(&ending).contains("the kernel killed it"), "{ending:?}");
    bench.runner.shutdown().await;
}

/// Whoever is quicker: fast and slow growth end the same way, and the shim goes on.
#[tokio::test]
async fn whoever_ends_it_it_was_out_of_memory() {
    let Some(real) = Limited::make("either", 64 << 20) else {
        eprintln!("no cgroup can be made here");
        return;
    };
    let mut bench = Bench::with(real.shim(""), patient());
    let slow = "exec perl -e 'my @x; while (1) { push @x, \"x\" x (1 << 18); select(undef, undef, undef, 0.004) }'";
    bench
        .prepare(sh(&format!("[ $BRAID_PARTITION = 103 ] && {{ {slow}; }}; {GREEDY}")))
        .await;
    for _ in 0..3 {
        let ending = bench.run(|_| ()).await.ending;
        eprintln!("{ending:?}");
        assert_eq!(failure(&ending), &Failure::OutOfMemory, "{ending:?}");
    }
    bench.runner.shutdown().await;
}
