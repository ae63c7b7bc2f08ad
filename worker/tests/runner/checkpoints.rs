//! What attempts save for the next attempt of their partition.

use std::path::Path;
use std::time::Duration;

use braid_worker::runner::{Checkpoint, Ending, Failure, Program, Runner as _, ShimCommand};
use nix::sys::signal::Signal;

use crate::harness::*;

fn saving(key: &str, script: &str) -> Program {
    Program {
        checkpoint: Some(Checkpoint {
            key: key.to_owned(),
            bytes: 1 << 20,
        }),
        ..sh(script)
    }
}

fn keeping(root: &Path) -> ShimCommand {
    let mut command = shim();
    command.args = vec!["--checkpoints".into(), root.into()];
    command
}

/// What is kept of one partition.
fn kept(root: &Path, key: &str) -> bool {
    root.join(key).join("7").exists()
}

/// Adds one to what is there; ends well when it is three.
const STEPS: &str = r#"
    at=$(cat "$BRAID_CHECKPOINT/at" 2>/dev/null || echo 0)
    echo "at $at"
    echo $((at + 1)) > "$BRAID_CHECKPOINT/at"
    [ "$at" -ge 2 ]"#;

#[tokio::test]
async fn an_attempt_goes_on_where_the_one_before_it_has_failed() {
    let root = tempfile::tempdir().unwrap();
    let mut bench = Bench::with(keeping(root.path()), patient());
    bench.prepare(saving("a", STEPS)).await;
    for number in 1..=3 {
        let ended = bench
            .run(|attempt| (attempt.partition, attempt.attempt) = (7, number))
            .await;
        assert_eq!(matches!(ended.ending, Ending::Succeeded { .. }), number == 3);
        assert_eq!(number < 3, kept(root.path(), "a"));
    }
    // What has succeeded is begun anew.
    bench.run(|attempt| attempt.partition = 7).await;
    assert_eq!(bench.texts(), ["at 0", "at 1", "at 2", "at 0"]);
    // It has failed for good.
    bench.runner.discard(braid_worker::runner::ProgramId(1), 7);
    bench.run(|attempt| attempt.partition = 8).await;
    assert!(!kept(root.path(), "a"));
}

#[tokio::test]
async fn one_that_was_timed_out_or_lost_its_shim_has_saved_what_it_has() {
    let root = tempfile::tempdir().unwrap();
    let mut bench = Bench::with(keeping(root.path()), hasty());
    let script = r#"echo "was $(cat "$BRAID_CHECKPOINT/at" 2>/dev/null)"; echo "$BRAID_ATTEMPT" > "$BRAID_CHECKPOINT/at"; echo up > $DIR/up$BRAID_ATTEMPT; exec sleep 1000"#;
    bench.prepare(saving("a", script)).await;
    let timed_out = bench
        .run(|attempt| {
            attempt.partition = 7;
            attempt.timeout = Some(Duration::from_millis(300));
        })
        .await;
    assert!(
        matches!(failure(&timed_out.ending), Failure::Timeout(_)),
        "{timed_out:?}"
    );
    let mut attempt = bench.attempt();
    (attempt.partition, attempt.attempt) = (7, 2);
    bench.start(attempt).await;
    bench.file("up2").await;
    send(bench.shim(), Signal::SIGKILL);
    assert_eq!(failure(&bench.ended(1).await.remove(0).ending), &Failure::ShimDied);
    bench
        .run(|attempt| {
            (attempt.partition, attempt.attempt) = (7, 3);
            attempt.timeout = Some(Duration::from_millis(300));
        })
        .await;
    assert_eq!(bench.texts(), ["was ", "was 1", "was 2"]);
}

#[tokio::test]
async fn an_attempt_beside_another_finds_nothing_and_leaves_nothing() {
    let root = tempfile::tempdir().unwrap();
    let (mut one, mut other) = (
        Bench::with(keeping(root.path()), patient()),
        Bench::with(keeping(root.path()), patient()),
    );
    let script = r#"echo x > "$BRAID_CHECKPOINT/at"; echo up > $DIR/up; exec sleep 1000"#;
    one.prepare(saving("a", script)).await;
    let mut attempt = one.attempt();
    attempt.partition = 7;
    let id = one.start(attempt).await;
    one.file("up").await;
    let look = r#"ls "$BRAID_CHECKPOINT"; echo y > "$BRAID_CHECKPOINT/mine"; exit 1"#;
    other.prepare(saving("a", look)).await;
    other.run(|attempt| attempt.partition = 7).await;
    assert_eq!(other.texts(), [""; 0]);
    one.runner.kill(id).await.unwrap();
    one.ended(1).await;
    other.run(|attempt| attempt.partition = 7).await;
    assert_eq!(other.texts(), ["at"]);
    // Other programs have other directories, and who does not ask for one has none.
    let (mut third, mut fourth) = (Bench::with(keeping(root.path()), patient()), Bench::new(patient()));
    third.prepare(saving("b", look)).await;
    third.run(|attempt| attempt.partition = 7).await;
    assert_eq!(third.texts(), [""; 0]);
    fourth.prepare(sh(r#"echo "${BRAID_CHECKPOINT-none}""#)).await;
    fourth.run(|_| ()).await;
    assert_eq!(fourth.texts(), ["none"]);
}

#[tokio::test]
async fn what_is_too_large_to_be_kept_is_said_in_the_log() {
    let (ending, bench) = once(saving(
        "a",
        r#"head -c 1048577 /dev/zero > "$BRAID_CHECKPOINT/big"; echo last words >&2; exit 3"#,
    ))
    .await;
    assert_eq!(failure(&ending), &Failure::Exit(3));
    assert_eq!(message(&ending), "last words");
    let texts = bench.texts();
    assert!(texts.last().unwrap().contains("more than 1048576 bytes"), "{texts:?}");
}
