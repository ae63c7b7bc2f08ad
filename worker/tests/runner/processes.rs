//! Processes: what is left behind, what dies, what hangs.

use std::time::Duration;

use braid_worker::runner::{Ending, Failure, Runner};
use nix::sys::signal::Signal;

use crate::harness::*;

const DONE: Ending = Ending::Succeeded { results: None };

#[tokio::test]
async fn what_an_attempt_leaves_in_the_background_is_killed() {
    let mut bench = Bench::new(patient());
    bench.prepare(sh("sleep 1000 & echo $! > $DIR/pid; exit 0")).await;
    assert_eq!(bench.run(|_| ()).await.ending, DONE);
    dies(&bench.file("pid").await).await;
}

#[tokio::test]
async fn a_daemon_that_holds_standard_output_hangs_nobody_and_is_killed() {
    let mut bench = Bench::new(patient());
    bench
        .prepare(sh(
            "setsid sh -c 'echo $$ > $DIR/pid; sleep 1000' & while ! [ -s $DIR/pid ]; do :; done; echo up",
        ))
        .await;
    assert_eq!(bench.run(|_| ()).await.ending, DONE);
    assert_eq!(bench.texts(), ["up"]);
    dies(&bench.file("pid").await).await;
    bench.prepare_other(sh("echo next")).await;
    assert_eq!(bench.run(other).await.ending, DONE);
}

#[tokio::test]
async fn with_several_at_once_a_daemon_dies_when_all_are_over_that_could_have_made_it() {
    let mut bench = Bench::new(patient());
    let daemon =
        "setsid sh -c 'echo $$ > $DIR/pid; exec sleep 1000' >/dev/null 2>&1 & while ! [ -s $DIR/pid ]; do :; done";
    let mut program = sh(&format!(
        "case $BRAID_PARTITION in 101) {daemon};; *) echo $$ > $DIR/other; sleep 0.3;; esac"
    ));
    program.concurrency = 2;
    bench.prepare(program).await;
    for _ in 0..2 {
        let attempt = bench.attempt();
        bench.start(attempt).await;
    }
    assert!(bench.ended(2).await.iter().all(|ended| ended.ending == DONE));
    dies(&bench.file("pid").await).await;
}

#[tokio::test]
async fn several_run_at_once_and_no_more_than_that() {
    let mut bench = Bench::new(patient());
    let script = "mkdir $DIR/$BRAID_PARTITION; sleep 0.2; ls $DIR | wc -l; rmdir $DIR/$BRAID_PARTITION";
    let mut program = sh(script);
    program.concurrency = 3;
    bench.prepare(program).await;
    let mut ended = 0;
    let mut started = 0;
    while ended < 9 {
        while started < 9 && bench.runner.capacity(braid_worker::runner::ProgramId(1)) > 0 {
            let attempt = bench.attempt();
            bench.start(attempt).await;
            started += 1;
        }
        ended += soon(bench.runner.next()).await.unwrap().len();
    }
    let most = bench
        .texts()
        .iter()
        .map(|count| count.trim().parse::<usize>().unwrap())
        .max()
        .unwrap();
    assert!((2..=3).contains(&most), "{most} at once");
}

#[tokio::test]
async fn a_killed_shim_ends_its_attempts_leaves_nobody_and_is_replaced() {
    let mut bench = Bench::new(hasty());
    let script = "echo $$ > $DIR/a; sleep 1000 & echo $! > $DIR/b; \
                  setsid sh -c 'echo $$ > $DIR/c; sleep 1000' & env -i sleep 1000 & echo $! > $DIR/d; wait";
    bench.prepare(sh(script)).await;
    let attempt = bench.attempt();
    let first = bench.start(attempt).await;
    let attempt = bench.attempt();
    let second = bench.start(attempt).await;
    let mut pids = Vec::new();
    for name in ["a", "b", "c", "d"] {
        pids.push(bench.file(name).await);
    }
    assert!(pids.iter().all(|pid| lives(pid)));
    let shim = bench.shim();
    send(shim, Signal::SIGKILL);
    let mut ended = bench.ended(2).await;
    ended.sort_by_key(|ended| ended.id);
    for (ended, id) in ended.iter().zip([first, second]) {
        assert_eq!((ended.id, failure(&ended.ending)), (id, &Failure::ShimDied));
    }
    // When it is reported, nothing runs any more.
    assert_eq!(pids.iter().filter(|pid| lives(pid)).collect::<Vec<_>>(), [""; 0]);
    assert!(
        !std::path::Path::new(&format!("/proc/{shim}")).exists(),
        "a zombie is left"
    );

    bench.prepare_other(sh("echo again")).await;
    assert_eq!(bench.run(other).await.ending, DONE);
    assert_eq!(bench.texts(), ["again"]);
    assert_ne!(bench.shim(), shim);
}

#[tokio::test]
async fn a_stopped_shim_is_killed() {
    for timeout in [None, Some(Duration::from_hours(1))] {
        let mut bench = Bench::new(hasty());
        bench.prepare(sh("echo $$ > $DIR/pid; sleep 1000")).await;
        let mut attempt = bench.attempt();
        attempt.timeout = timeout;
        bench.start(attempt).await;
        let pid = bench.file("pid").await;
        send(bench.shim(), Signal::SIGSTOP);
        let ended = bench.ended(1).await.remove(0);
        assert_eq!(failure(&ended.ending), &Failure::ShimDied);
        assert!(!lives(&pid));
    }
}

#[tokio::test]
async fn a_stopped_shim_is_killed_at_the_deadline_of_an_attempt_even_if_silence_is_allowed() {
    let limits = braid_worker::runner::Limits {
        silence: Duration::from_hours(1),
        ..hasty()
    };
    let mut bench = Bench::new(limits);
    bench.prepare(sh("echo $$ > $DIR/pid; sleep 1000")).await;
    let mut attempt = bench.attempt();
    attempt.timeout = Some(Duration::from_millis(500));
    bench.start(attempt).await;
    bench.file("pid").await;
    send(bench.shim(), Signal::SIGSTOP);
    assert_eq!(failure(&bench.ended(1).await.remove(0).ending), &Failure::ShimDied);
}

#[tokio::test]
async fn stopped_user_code_still_times_out() {
    let mut bench = Bench::new(hasty());
    bench.prepare(sh("kill -STOP $$")).await;
    let ended = bench
        .run(|attempt| attempt.timeout = Some(Duration::from_millis(200)))
        .await;
    assert_eq!(failure(&ended.ending), &Failure::Timeout(Duration::from_millis(200)));
}

#[tokio::test]
async fn the_end_of_the_runner_is_the_end_of_everything() {
    for orderly in [true, false] {
        let mut bench = Bench::new(patient());
        let script = "echo $$ > $DIR/a; setsid sh -c 'trap \"\" TERM; echo $$ > $DIR/b; sleep 1000' & sleep 1000";
        bench.prepare(sh(script)).await;
        let attempt = bench.attempt();
        bench.start(attempt).await;
        let (a, b) = (bench.file("a").await, bench.file("b").await);
        let shim = bench.shim();
        let Bench { runner, dir, .. } = bench;
        if orderly {
            soon(runner.shutdown()).await;
            assert!(!lives(&a) && !lives(&b));
            assert!(
                !std::path::Path::new(&format!("/proc/{shim}")).exists(),
                "a zombie is left"
            );
        } else {
            drop(runner);
            for pid in [a, b, shim.to_string()] {
                dies(&pid).await;
            }
        }
        drop(dir);
    }
}

#[tokio::test]
async fn term_to_the_shim_is_a_drain_that_the_worker_decides_about() {
    let mut bench = Bench::new(hasty());
    bench.prepare(sh("echo $$ > $DIR/pid; sleep 0.4; echo done")).await;
    let attempt = bench.attempt();
    bench.start(attempt).await;
    bench.file("pid").await;
    send(bench.shim(), Signal::SIGTERM);
    assert_eq!(soon(bench.runner.next()).await.unwrap(), []);
    assert!(bench.runner.is_draining());
    assert_eq!(bench.runner.capacity(braid_worker::runner::ProgramId(1)), 0);
    assert_eq!(bench.ended(1).await.remove(0).ending, DONE);
    assert_eq!(bench.texts(), ["done"]);
}

#[tokio::test]
async fn a_shim_that_cannot_be_started_is_an_error_each_time() {
    let command = braid_worker::runner::ShimCommand {
        program: "/no/such/shim".into(),
        args: Vec::new(),
    };
    let mut bench = Bench::with(command, hasty());
    bench.prepare(sh("true")).await;
    for _ in 0..3 {
        let error = soon(bench.runner.next()).await.unwrap_err();
        assert!(error.to_string().contains("/no/such/shim"), "{error}");
    }
}

#[tokio::test]
async fn nothing_is_left_in_the_private_directories() {
    let mut bench = Bench::new(patient());
    bench
        .prepare(sh(
            "echo $BRAID_INPUT > $DIR/in; echo x > $BRAID_RESULTS; cat >/dev/null",
        ))
        .await;
    let data = braid_worker::runner::Data::Bytes(bytes::Bytes::from_static(b"x"));
    bench
        .run(|attempt| attempt.input = braid_worker::runner::Input::One { name: None, data })
        .await;
    let input = std::path::PathBuf::from(bench.file("in").await);
    let private = input.parent().unwrap().to_owned();
    assert_eq!(
        std::fs::read_dir(&private).unwrap().count(),
        0,
        "files of an attempt that is over"
    );
    soon(bench.runner.shutdown()).await;
    assert!(!private.exists());
}

fn other(attempt: &mut braid_worker::runner::Attempt) {
    attempt.program = braid_worker::runner::ProgramId(2);
}

impl Bench {
    async fn prepare_other(&mut self, mut program: braid_worker::runner::Program) {
        program.id = braid_worker::runner::ProgramId(2);
        self.prepare(program).await;
    }
}
