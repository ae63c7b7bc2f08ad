//! Memory: an attempt is ended before the kernel would choose somebody. The kernel's files are the test's own.

use std::{fs, path::Path};

use braid_worker::runner::{Ending, Failure, Runner as _, ShimCommand};

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
