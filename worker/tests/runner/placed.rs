//! Large inputs: put into files by the worker for a shim that it has started, sent to one in another container.

use std::io::{self, Read, Write as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use braid_worker::runner::{Attempt, Data, Ending, Failure, Input, InputFile, Made, MadeBytes, Runner as _};
use bytes::Bytes;
use nix::sys::signal::Signal;
use proptest::prelude::*;
use serde_json::json;

use crate::harness::*;
use crate::served::{bench as served, lines};

const DONE: Ending = Ending::Succeeded { results: None };

/// More than is copied in one step.
const LARGE: usize = 9_000_000;

fn noise(length: usize) -> Vec<u8> {
    (0..length).map(|at| at.to_le_bytes()[at % 3]).collect()
}

fn file_of(bytes: &[u8]) -> Arc<std::fs::File> {
    let mut file = tempfile::tempfile().unwrap();
    file.write_all(bytes).unwrap();
    Arc::new(file)
}

fn part(file: &Arc<std::fs::File>, offset: usize, length: usize) -> Data {
    Data::File {
        file: Arc::clone(file),
        offset: offset as u64,
        length: length as u64,
    }
}

/// Bytes without an end, slowly.
#[derive(Debug)]
struct Endless;

impl Made for Endless {
    fn open(&self) -> io::Result<MadeBytes> {
        Ok(Box::new(Self))
    }

    fn length(&self) -> u64 {
        u64::MAX
    }
}

impl Read for Endless {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        std::thread::sleep(Duration::from_micros(100));
        Ok(buffer.len().min(1 << 16))
    }
}

/// The private directory in which an input was.
async fn place(bench: &mut Bench) -> PathBuf {
    let input = PathBuf::from(bench.file("in").await);
    input.parent().unwrap().to_owned()
}

async fn is_emptied(place: &Path) {
    soon(async {
        while std::fs::read_dir(place).is_ok_and(|entries| entries.count() > 0) {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    })
    .await;
}

/// Ways to say the same bytes, with what of them is skipped.
fn pieces() -> impl Strategy<Value = Vec<(usize, bool)>> {
    prop::collection::vec(
        (
            prop_oneof![Just(0), 1..200_usize, 100_000..400_000_usize],
            any::<bool>(),
        ),
        1..6,
    )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(12))]

    /// Headers, ranges and what is between them come as they are, whatever they are made of.
    #[test]
    fn every_byte_arrives_in_its_place(pieces in pieces()) {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        runtime.block_on(async {
            let whole = noise(pieces.iter().map(|(length, _)| length).sum());
            let file = file_of(&whole);
            let mut at = 0;
            let parts = pieces.iter().map(|(length, held)| {
                let data = if *held {
                    Data::Bytes(Bytes::copy_from_slice(&whole[at..at + length]))
                } else {
                    part(&file, at, *length)
                };
                at += length;
                data
            });
            let data = Data::Joined(parts.collect());
            let mut bench = Bench::new(patient());
            std::fs::write(bench.dir.path().join("wanted"), &whole).unwrap();
            bench.prepare(sh("cmp - $DIR/wanted && cmp $BRAID_INPUT $DIR/wanted")).await;
            let ended = bench.run(|attempt| attempt.input = Input::One { name: None, data }).await;
            assert_eq!(ended.ending, DONE, "{:?}", bench.texts());
        });
    }
}

#[tokio::test]
async fn several_large_files_are_a_directory_and_their_concatenation() {
    let bytes = noise(LARGE);
    let file = file_of(&bytes);
    let input = |path: &str, data, skip| InputFile {
        path: path.into(),
        data,
        skip,
        lines: true,
    };
    let files = vec![
        input("z/b.csv", Data::Bytes(Bytes::from_static(b"n\n1")), 0),
        input("empty", part(&file, 0, 0), 0),
        input("a.csv", part(&file, 0, LARGE), 7),
    ];
    let mut bench = Bench::new(patient());
    let mut wanted = b"n\n1\n".to_vec();
    wanted.extend(&bytes[7..]);
    std::fs::write(bench.dir.path().join("wanted"), &wanted).unwrap();
    std::fs::write(bench.dir.path().join("whole"), &bytes).unwrap();
    let script = "cmp - $DIR/wanted; cd $BRAID_INPUT && cmp a.csv $DIR/whole; cat z/b.csv; find . -type f | sort";
    bench.prepare(sh(script)).await;
    let ended = bench.run(|attempt| attempt.input = Input::Many(files)).await;
    assert_eq!(ended.ending, DONE);
    assert_eq!(bench.texts(), ["n", "1./a.csv", "./empty", "./z/b.csv"]);
}

#[tokio::test]
async fn large_files_whose_paths_leave_the_directory_are_refused() {
    for bad in ["../x", "/etc/x", "", "z"] {
        let data = Data::Bytes(noise(200_000).into());
        let files = ["z", bad].map(|path| (Arc::from(path), data.clone()).into()).to_vec();
        let (ending, bench) = once_with(sh("echo ran"), |attempt| attempt.input = Input::Many(files)).await;
        assert_eq!(failure(&ending), &Failure::NotSetUp, "{bad:?}: {}", message(&ending));
        assert!(bench.texts().is_empty());
    }
}

#[tokio::test]
async fn a_file_that_shrinks_while_it_is_copied_is_an_error() {
    let file = file_of(&noise(LARGE));
    let mut bench = Bench::new(patient());
    bench.prepare(sh("echo ran")).await;
    let data = Data::Joined(vec![part(&file, 0, LARGE), part(&file, LARGE - 10, 11)]);
    let ended = bench
        .run(|attempt| attempt.input = Input::One { name: None, data })
        .await;
    assert_eq!(failure(&ended.ending), &Failure::InputUnreadable);
    assert_eq!(bench.run(|_| ()).await.ending, DONE);
    assert_eq!(bench.texts(), ["ran"]);
}

fn large(attempt: &mut Attempt) {
    attempt.input = Input::One {
        name: Some("a/b.csv".into()),
        data: Data::Bytes(noise(LARGE).into()),
    };
}

#[tokio::test]
async fn nothing_is_left_of_a_large_input() {
    let mut bench = Bench::new(hasty());
    bench
        .prepare(sh(
            "case $BRAID_INPUT in *.csv) ;; *) exit 3; esac; echo $BRAID_INPUT > $DIR/in; exec sleep $BRAID_ITEM",
        ))
        .await;
    let quick = |attempt: &mut Attempt| {
        large(attempt);
        attempt.item = braid_worker::runner::Item::Number(0);
    };
    let slow = |attempt: &mut Attempt| {
        large(attempt);
        attempt.item = braid_worker::runner::Item::Number(1000);
    };
    assert_eq!(bench.run(quick).await.ending, DONE);
    let private = place(&mut bench).await;
    is_emptied(&private).await;

    // A shim that is killed takes nothing with it.
    std::fs::remove_file(bench.dir.path().join("in")).unwrap();
    let mut attempt = bench.attempt();
    slow(&mut attempt);
    bench.start(attempt).await;
    assert_eq!(place(&mut bench).await, private);
    assert_eq!(std::fs::read_dir(&private).unwrap().count(), 1);
    send(bench.shim(), Signal::SIGKILL);
    assert_eq!(failure(&bench.ended(1).await[0].ending), &Failure::ShimDied);
    is_emptied(&private).await;

    // Nor does the end of an attempt while its input is being made.
    let mut attempt = bench.attempt();
    let data = Data::Made(Arc::new(Endless));
    attempt.input = Input::One { name: None, data };
    let id = bench.start(attempt).await;
    soon(async {
        while std::fs::read_dir(&private).unwrap().count() == 0 {
            let ended = tokio::time::timeout(Duration::from_millis(5), bench.runner.next()).await;
            assert!(ended.is_err(), "{ended:?}");
        }
    })
    .await;
    bench.runner.kill(id).await.unwrap();
    assert_eq!(failure(&bench.ended(1).await[0].ending), &Failure::Killed);
    is_emptied(&private).await;

    // And the directory goes with the runner.
    assert_eq!(bench.run(quick).await.ending, DONE);
    soon(bench.runner.shutdown()).await;
    assert!(!private.exists());
}

#[tokio::test]
async fn an_input_that_takes_long_to_copy_is_no_hanging_attempt() {
    /// Comes for some seconds.
    #[derive(Debug)]
    struct Slow;
    const READS: u64 = 800;
    const READ: usize = 16 << 10;
    impl Made for Slow {
        fn open(&self) -> io::Result<MadeBytes> {
            Ok(Box::new(Self.take(self.length())))
        }
        fn length(&self) -> u64 {
            READS * READ as u64
        }
    }
    impl Read for Slow {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            std::thread::sleep(Duration::from_millis(4));
            Ok(buffer.len().min(READ))
        }
    }
    let mut bench = Bench::new(hasty());
    bench.prepare(sh("wc -c")).await;
    let ended = bench.run(|attempt| {
        // Of the program alone.
        attempt.timeout = Some(Duration::from_secs(1));
        let data = Data::Made(Arc::new(Slow));
        attempt.input = Input::One { name: None, data };
    });
    assert_eq!(ended.await.ending, DONE);
    assert_eq!(bench.texts(), [Slow.length().to_string()]);
}

#[tokio::test]
async fn a_program_that_lives_on_has_large_files_until_it_has_answered() {
    let text = "
import os
for r in lines():
    data = open(r['path'], 'rb').read()
    say(r, [len(data), sum(data[:1000]), r['path']])";
    let mut program = served(lines(1, text)).await;
    let Ending::Succeeded { results: Some(found) } = program.run(large).await.ending else {
        panic!("no results");
    };
    let found: serde_json::Value = serde_json::from_slice(&found).unwrap();
    let sum: u64 = noise(1000).iter().map(|byte| u64::from(*byte)).sum();
    assert_eq!([&found[0], &found[1]], [&json!(LARGE), &json!(sum)]);
    let place = PathBuf::from(found[2].as_str().unwrap());
    assert!(place.extension().is_some_and(|ending| ending == "csv"));
    is_emptied(place.parent().unwrap()).await;
}
