//! How attempts end: exit codes, signals, timeouts, results, commands that cannot run.

use std::os::unix::fs::PermissionsExt;
use std::time::Duration;

use braid_worker::frames::MAX_LINE;
use braid_worker::runner::logs::Stream;
use braid_worker::runner::{Ending, Failure, Program};

use crate::harness::*;

#[tokio::test]
async fn exit_codes_and_signals_are_told_apart() {
    assert_eq!(once(sh("exit 0")).await.0, Ending::Succeeded { results: None });
    assert_eq!(failure(&once(sh("exit 3")).await.0), &Failure::Exit(3));
    assert_eq!(failure(&once(sh("exit 137")).await.0), &Failure::Exit(137));
    assert_eq!(failure(&once(sh("kill -9 $$")).await.0), &Failure::Signal(9));
    assert_eq!(failure(&once(sh("kill -TERM $$")).await.0), &Failure::Signal(15));
    // A real-time signal, which has no name.
    assert_eq!(failure(&once(sh("kill -40 $$")).await.0), &Failure::Signal(40));
}

#[tokio::test]
async fn the_last_line_of_standard_error_is_the_message() {
    let (ending, _) = once(sh("echo first >&2; echo out; echo 'bad date' >&2; echo >&2; exit 65")).await;
    assert_eq!(message(&ending), "bad date");
    assert_eq!(failure(&ending), &Failure::Exit(65));
    let (ending, _) = once(sh("head -c 100000 /dev/zero | tr '\\0' x >&2; exit 1")).await;
    assert!(message(&ending).len() <= 1024);
}

#[tokio::test]
async fn a_timeout_is_term_first() {
    let program = sh("trap 'echo asked; exit 0' TERM; echo up; while :; do sleep 0.01; done");
    let (ending, bench) = once_with(program, |attempt| attempt.timeout = Some(Duration::from_millis(200))).await;
    assert_eq!(failure(&ending), &Failure::Timeout(Duration::from_millis(200)));
    // The shell itself may say of its `sleep` that it was terminated.
    assert!(bench.texts().contains(&"asked".to_owned()), "{:?}", bench.texts());
}

#[tokio::test]
async fn a_timeout_is_kill_for_those_who_ignore_term() {
    let program = sh("trap '' TERM; echo $$ > $DIR/pid; (trap '' TERM; sleep 1000) & echo $! > $DIR/sub; sleep 1000");
    let mut bench = Bench::new(patient());
    bench.prepare(program).await;
    let ended = bench
        .run(|attempt| attempt.timeout = Some(Duration::from_millis(300)))
        .await;
    assert_eq!(failure(&ended.ending), &Failure::Timeout(Duration::from_millis(300)));
    // Timeout and grace. The upper bound is far away: a deadline that only the next event would bring up exceeds it.
    assert!((600..4000).contains(&ended.took.as_millis()), "{:?}", ended.took);
    assert!(!lives(&bench.file("pid").await));
    assert!(!lives(&bench.file("sub").await));
}

#[tokio::test]
async fn an_attempt_can_be_killed_while_it_runs_and_while_it_waits() {
    use braid_worker::runner::Runner;
    let mut bench = Bench::new(patient());
    bench.prepare(sh("echo $$ > $DIR/pid; sleep 1000")).await;
    let attempt = bench.attempt();
    let first = bench.start(attempt).await;
    let attempt = bench.attempt();
    let second = bench.start(attempt).await;
    let pid = bench.file("pid").await;
    bench.runner.kill(second).await.unwrap();
    let ended = bench.ended(1).await.remove(0);
    assert_eq!((ended.id, failure(&ended.ending)), (second, &Failure::Killed));
    assert!(lives(&pid));
    bench.runner.kill(first).await.unwrap();
    let ended = bench.ended(1).await.remove(0);
    assert_eq!((ended.id, failure(&ended.ending)), (first, &Failure::Killed));
    assert!(!lives(&pid));
}

#[tokio::test]
async fn without_extension_the_shim_ends_what_runs() {
    use braid_worker::runner::Runner;
    let mut bench = Bench::new(patient());
    bench.prepare(sh("sleep 1000")).await;
    bench.runner.extend(Duration::from_millis(300)).await.unwrap();
    assert_eq!(failure(&bench.run(|_| ()).await.ending), &Failure::Killed);
    bench.runner.extend(Duration::from_mins(1)).await.unwrap();
    let ended = bench
        .run(|attempt| attempt.timeout = Some(Duration::from_millis(100)))
        .await;
    assert_eq!(failure(&ended.ending), &Failure::Timeout(Duration::from_millis(100)));
}

#[tokio::test]
async fn results_are_the_bytes_of_the_file() {
    assert_eq!(
        once(sh(r#"echo -n '{"n": 1}' > $BRAID_RESULTS"#)).await.0,
        results(r#"{"n": 1}"#)
    );
    assert_eq!(once(sh(": > $BRAID_RESULTS")).await.0, results(""));
    let undeclared = Program {
        results_limit: None,
        ..sh("test -z \"${BRAID_RESULTS+x}\"")
    };
    assert_eq!(once(undeclared).await.0, Ending::Succeeded { results: None });
    assert_eq!(
        failure(&once(sh("echo 1 > $BRAID_RESULTS; exit 4")).await.0),
        &Failure::Exit(4)
    );
}

#[tokio::test]
async fn a_results_file_that_is_none_is_refused() {
    let refused = [
        "echo secret > $DIR/s; ln -s $DIR/s $BRAID_RESULTS",
        "ln -s /nowhere $BRAID_RESULTS",
        "mkfifo $BRAID_RESULTS",
        "mkdir -p $BRAID_RESULTS/below; : > $BRAID_RESULTS/below/file",
        "ln -s /dev/zero $BRAID_RESULTS",
    ];
    for script in refused {
        let (ending, _) = once(sh(script)).await;
        assert_eq!(failure(&ending), &Failure::ResultUnreadable, "{script}");
        assert!(message(&ending).contains("BRAID_RESULTS"), "{ending:?}");
    }
    let (ending, _) = once(sh("head -c 1025 /dev/zero > $BRAID_RESULTS")).await;
    assert_eq!(
        failure(&ending),
        &Failure::ResultTooLarge {
            size: 1025,
            limit: 1024
        }
    );
    let (ending, _) = once(sh("truncate -s 1T $BRAID_RESULTS")).await;
    assert_eq!(
        failure(&ending),
        &Failure::ResultTooLarge {
            size: 1 << 40,
            limit: 1024
        }
    );
    let (ending, _) = once(sh("head -c 1024 /dev/zero > $BRAID_RESULTS")).await;
    assert!(matches!(ending, Ending::Succeeded { results: Some(bytes) } if bytes.len() == 1024));
}

#[tokio::test]
async fn commands_that_cannot_run_say_why_and_need_no_retry() {
    let (ending, _) = once(command(&["no-such-command", "x"])).await;
    assert_eq!(failure(&ending), &Failure::CommandNotFound);
    assert!(message(&ending).contains("no-such-command"), "{ending:?}");
    assert_eq!(
        failure(&once(command(&["/no/such/command"])).await.0),
        &Failure::CommandNotFound
    );

    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str, mode: u32, content: &[u8]| {
        let path = dir.path().join(name);
        std::fs::write(&path, content).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
        path.to_str().unwrap().to_owned()
    };
    for plain in [
        path("plain", 0o644, b"x"),
        path("junk", 0o755, b"\x7fELFjunk"),
        path("empty", 0o755, b""),
    ] {
        let (ending, _) = once(command(&[&plain])).await;
        assert_eq!(failure(&ending), &Failure::NotExecutable, "{plain}");
        assert!(message(&ending).contains(&plain), "{ending:?}");
        assert!(!failure(&ending).may_be_retried());
    }
    assert_eq!(
        failure(&once(command(&[dir.path().to_str().unwrap()])).await.0),
        &Failure::NotExecutable
    );
    let mut program = command(&["plain"]);
    program
        .env
        .push(("PATH".to_owned(), dir.path().to_str().unwrap().to_owned()));
    assert_eq!(failure(&once(program).await.0), &Failure::NotExecutable);
    let huge = "x".repeat(200 << 10);
    assert_eq!(
        failure(&once(command(&["true", &huge])).await.0),
        &Failure::NotExecutable
    );
}

#[tokio::test]
async fn lines_are_tagged_with_their_stream_and_partition() {
    let mut bench = Bench::new(patient());
    bench
        .prepare(sh("echo out $BRAID_PARTITION; echo err >&2; printf 'no end'"))
        .await;
    let one = bench.run(|_| ()).await;
    let two = bench.run(|attempt| attempt.attempt = 7).await;
    let logged = bench.logged();
    let of = |partition, stream| {
        let lines = logged
            .iter()
            .filter(|line| line.partition == partition && line.stream == stream);
        lines
            .map(|line| String::from_utf8_lossy(&line.line).into_owned())
            .collect::<Vec<_>>()
    };
    for ended in [&one, &two] {
        let out = format!("out {}", ended.partition);
        assert_eq!(of(ended.partition, Stream::Stdout), [out.as_str(), "no end"]);
        assert_eq!(of(ended.partition, Stream::Stderr), ["err"]);
    }
    assert!(logged.iter().all(|line| &*line.step == "count" && !line.cut));
    assert!(
        logged
            .iter()
            .all(|line| (line.attempt == 7) == (line.partition == two.partition))
    );
}

#[tokio::test]
async fn floods_of_output_are_bounded_and_complete() {
    let (ending, bench) = once(sh("head -c 10000000 /dev/zero | tr '\\0' x")).await;
    assert_eq!(ending, Ending::Succeeded { results: None });
    let logged = bench.logged();
    assert_eq!(
        logged
            .iter()
            .map(|line| (line.line.len(), line.cut))
            .collect::<Vec<_>>(),
        [(MAX_LINE, true)]
    );

    let (_, bench) = once(sh("i=0; while [ $i -lt 20000 ]; do echo $i; i=$((i+1)); done")).await;
    assert_eq!(bench.texts(), (0..20000).map(|n| n.to_string()).collect::<Vec<_>>());

    let (_, bench) = once(sh("head -c 200000 /dev/urandom; printf '\\0\\377\\nend\\n'")).await;
    assert_eq!(bench.texts().last().unwrap(), "end");
}
