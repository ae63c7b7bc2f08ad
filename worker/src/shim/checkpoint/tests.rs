#![allow(clippy::unwrap_used)]
use std::fs::{self, File, FileTimes};
use std::path::Path;
use std::time::{Duration, SystemTime};

use tempfile::TempDir;

use super::*;
use crate::shim::Places;

const KEY: &str = "uid.step.0.abc";

struct Bench {
    root: TempDir,
    scratch: Scratch,
    checkpoints: Checkpoints,
    attempts: u64,
}

impl Bench {
    fn new() -> Self {
        let root = tempfile::tempdir().unwrap();
        Self {
            checkpoints: Checkpoints::new(Some(root.path().join("checkpoints"))),
            scratch: Scratch::new(Places {
                memory: Vec::new(),
                disk: root.path().to_owned(),
            }),
            root,
            attempts: 0,
        }
    }

    fn take(&mut self, partition: u64) -> Checkpoint {
        self.attempts += 1;
        let (program, attempt) = ((KEY, 100), (partition, self.attempts));
        self.checkpoints.take(program, attempt, &mut self.scratch).unwrap()
    }

    fn end(&mut self, checkpoint: Checkpoint, succeeded: bool) -> Option<String> {
        self.checkpoints.end(checkpoint, succeeded, &mut self.scratch)
    }

    /// What there is of all programs and partitions.
    fn kept(&self) -> Vec<String> {
        let root = self.root.path().join("checkpoints").join(KEY);
        let mut names: Vec<String> = (fs::read_dir(root).into_iter().flatten())
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }
}

fn save(checkpoint: &Checkpoint, text: &str) {
    fs::write(checkpoint.path().join("at"), text).unwrap();
}

fn saved(checkpoint: &Checkpoint) -> String {
    fs::read_to_string(checkpoint.path().join("at")).unwrap_or_default()
}

#[test]
fn the_next_attempt_finds_what_the_one_before_has_saved() {
    let mut bench = Bench::new();
    let first = bench.take(7);
    assert_eq!("", saved(&first));
    save(&first, "half");
    assert_eq!(None, bench.end(first, false));
    // Of another partition nothing.
    let other = bench.take(8);
    assert_eq!("", saved(&other));
    assert_eq!(None, bench.end(other, false));
    assert_eq!(["7"], *bench.kept());
    let second = bench.take(7);
    assert_eq!("half", saved(&second));
    assert_eq!(None, bench.end(second, true));
    assert!(bench.kept().is_empty());
}

/// Whoever dies without a word leaves the directory; the lock goes with the process.
#[test]
fn what_a_shim_that_died_has_left_is_found_by_the_next() {
    let mut bench = Bench::new();
    let first = bench.take(7);
    save(&first, "half");
    drop(first);
    bench.checkpoints = Checkpoints::new(bench.checkpoints.root.clone());
    assert_eq!("half", saved(&bench.take(7)));
}

#[test]
fn two_attempts_at_one_time_never_share_a_directory() {
    let mut bench = Bench::new();
    let first = bench.take(7);
    save(&first, "mine");
    let twin = bench.take(7);
    assert_ne!(first.path(), twin.path());
    assert_eq!("", saved(&twin));
    save(&twin, "lost");
    assert_eq!(None, bench.end(twin, false));
    assert_eq!(None, bench.end(first, false));
    assert_eq!("mine", saved(&bench.take(7)));
}

#[test]
fn what_is_too_large_is_not_kept_and_said() {
    let mut bench = Bench::new();
    let first = bench.take(7);
    save(&first, &"x".repeat(101));
    let why = bench.end(first, false).unwrap();
    assert!(why.contains("more than 100 bytes"), "{why}");
    assert!(bench.kept().is_empty());
    // Nobody has looked at what a dead shim leaves: the next attempt does.
    let second = bench.take(7);
    save(&second, &"x".repeat(101));
    drop(second);
    assert_eq!("", saved(&bench.take(7)));
}

#[test]
fn what_has_failed_for_good_is_removed_unless_an_attempt_runs() {
    let mut bench = Bench::new();
    let first = bench.take(7);
    save(&first, "half");
    bench.checkpoints.discard(KEY, 7, &mut bench.scratch);
    assert_eq!("half", saved(&first));
    assert_eq!(None, bench.end(first, false));
    bench.checkpoints.discard(KEY, 7, &mut bench.scratch);
    assert!(bench.kept().is_empty());
}

#[test]
fn what_is_old_and_what_is_too_much_is_swept() {
    let mut bench = Bench::new();
    let age = |checkpoint: &Path, days: u64| {
        let time = SystemTime::now() - Duration::from_hours(24 * days);
        let times = FileTimes::new().set_modified(time);
        File::open(checkpoint).unwrap().set_times(times).unwrap();
    };
    for partition in 0..KEPT as u64 + 10 {
        let checkpoint = bench.take(partition);
        save(&checkpoint, "half");
        let path = checkpoint.path().to_owned();
        assert_eq!(None, bench.end(checkpoint, false));
        age(&path, if partition == 200 { 8 } else { 1 });
    }
    let last = bench.take(9_999);
    save(&last, "half");
    assert_eq!(None, bench.end(last, false));
    let kept = bench.kept();
    assert!(
        kept.len() <= KEPT && kept.contains(&"9999".to_owned()) && !kept.contains(&"200".to_owned()),
        "{kept:?}"
    );
}

/// What stands where the directory should be is not followed and not deleted: the attempt fails to be set up.
#[test]
fn a_link_in_the_place_of_a_directory_is_not_followed() {
    let mut bench = Bench::new();
    let elsewhere = bench.root.path().join("elsewhere");
    fs::create_dir_all(&elsewhere).unwrap();
    let first = bench.take(7);
    let path = first.path().to_owned();
    assert_eq!(None, bench.end(first, true));
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::os::unix::fs::symlink(&elsewhere, &path).unwrap();
    let taken = bench.checkpoints.take((KEY, 100), (7, 99), &mut bench.scratch);
    assert!(taken.is_err(), "{taken:?}");
    assert!(elsewhere.exists());
}
