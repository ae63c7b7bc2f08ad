#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use std::collections::BTreeMap;

use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::resource::ResourceId;
use crate::store::{Key, Stored, Write};

const WINDOW: Window = Window {
    events: 64,
    bytes: 1 << 20,
};
const THINGS: ResourceId = ResourceId(0);

fn names() -> Vec<String> {
    vec!["things.test".into()]
}

fn thing(name: &str, payload: usize) -> Value {
    json!({"metadata": {"name": name, "uid": name}, "data": "x".repeat(payload)})
}

/// One write of a test: which object, and its size; `None` deletes.
type Step = (u8, Option<usize>);

fn record(payload: &mut Vec<u8>, version: u64, step: Step, model: &mut BTreeMap<String, u64>) {
    let name = format!("t{}", step.0);
    let key = Key::new("ns", &name);
    if let Some(size) = step.1 {
        let mut value = thing(&name, size);
        crate::object::set_version(&mut value, version);
        let raw = value.to_string();
        file::encode(payload, version, "things.test", &key, Some(raw.as_bytes()));
        model.insert(name, version);
    } else {
        file::encode(payload, version, "things.test", &key, None);
        model.remove(&name);
    }
}

fn found(replayed: &replay::Replayed) -> BTreeMap<String, u64> {
    replayed
        .objects
        .iter()
        .map(|(_, key, object)| (key.name.to_string(), object.version))
        .collect()
}

/// Writes frames and returns, per frame, where it ends, the state after it and its last version.
fn write_frames(path: &Path, frames: &[Vec<Step>]) -> Vec<(u64, BTreeMap<String, u64>, u64)> {
    let mut log = LogFile::create(path).unwrap();
    let mut model = BTreeMap::new();
    let mut version = 0;
    let mut ends = vec![(log.length(), model.clone(), 0)];
    for frame in frames {
        let mut payload = Vec::new();
        for step in frame {
            version += 1;
            record(&mut payload, version, *step, &mut model);
        }
        log.append(&payload).unwrap();
        ends.push((log.length(), model.clone(), version));
    }
    ends
}

fn frames() -> impl Strategy<Value = Vec<Vec<Step>>> {
    let step = (0_u8..6, prop::option::weighted(0.8, 0_usize..200));
    prop::collection::vec(prop::collection::vec(step, 1..5), 1..8)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    /// A kill may leave any number of bytes of what was not acknowledged.
    #[test]
    fn a_log_cut_anywhere_holds_every_whole_frame(frames in frames(), cut in 0.0_f64..1.0) {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("log");
        let ends = write_frames(&path, &frames);
        let whole = std::fs::read(&path).unwrap();
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, clippy::cast_precision_loss, reason = "a place in a small file")]
        let cut = (cut * (whole.len() + 1) as f64) as usize;
        std::fs::write(&path, &whole[..cut]).unwrap();
        let replayed = replay::replay(&path, &names()).unwrap();
        let kept = ends.iter().rev().find(|(end, ..)| *end <= cut as u64);
        let (model, highest) = kept.map_or((BTreeMap::new(), 0), |(_, model, version)| (model.clone(), *version));
        prop_assert_eq!(found(&replayed), model);
        prop_assert_eq!(replayed.highest, highest);
        // Opening cuts the torn end; the next frame then follows a whole one.
        let mut log = LogFile::open(&path, replayed.length).unwrap();
        let mut payload = Vec::new();
        let mut model = found(&replayed);
        record(&mut payload, highest + 1, (9, Some(1)), &mut model);
        log.append(&payload).unwrap();
        prop_assert_eq!(found(&replay::replay(&path, &names()).unwrap()), model);
    }

    /// Damage before the last frame is never taken for a torn end.
    #[test]
    fn damage_in_the_middle_is_found(frames in frames(), place in any::<prop::sample::Index>(), bit in 0_u8..8) {
        prop_assume!(frames.len() > 1);
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("log");
        let ends = write_frames(&path, &frames);
        let last_but_one = usize::try_from(ends[ends.len() - 2].0).unwrap();
        let mut bytes = std::fs::read(&path).unwrap();
        let at = place.index(last_but_one);
        bytes[at] ^= 1 << bit;
        std::fs::write(&path, &bytes).unwrap();
        let result = replay::replay(&path, &names());
        let found = matches!(result, Err(BuildError::Corrupt { offset, .. }) if offset <= at as u64);
        prop_assert!(found);
        prop_assert_eq!(std::fs::read(&path).unwrap(), bytes);
    }

    #[test]
    fn compaction_keeps_objects_and_the_counter(frames in frames()) {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("log");
        let (_, model, version) = write_frames(&path, &frames).pop().unwrap();
        let before = replay::replay(&path, &names()).unwrap();
        compact::compact(&path, &names(), version, &before.objects).unwrap();
        let after = replay::replay(&path, &names()).unwrap();
        prop_assert_eq!(found(&after), model);
        prop_assert_eq!(after.highest, version);
    }
}

#[test]
fn a_file_that_ends_in_zeros_is_torn_and_one_of_another_kind_is_not_touched() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("log");
    let ends = write_frames(&path, &[vec![(1, Some(3))]]);
    let mut bytes = std::fs::read(&path).unwrap();
    bytes.extend([0; 100]);
    std::fs::write(&path, &bytes).unwrap();
    assert_eq!(replay::replay(&path, &names()).unwrap().length, ends[1].0);
    std::fs::write(&path, b"these are not the bytes of a log at all").unwrap();
    assert!(matches!(
        replay::replay(&path, &names()),
        Err(BuildError::Corrupt { offset: 0, .. })
    ));
}

#[test]
fn objects_of_kinds_not_served_are_not_lost_silently() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("log");
    write_frames(&path, &[vec![(1, Some(3))]]);
    let error = replay::replay(&path, &["others.test".into()]).err().unwrap();
    assert!(matches!(error, BuildError::Unserved { .. }), "{error}");
}

async fn put(store: &Store, name: &str, payload: usize) -> Arc<Stored> {
    let key = Key::new("ns", name);
    let seen = store.head(THINGS, &key);
    store
        .commit(THINGS, &key, seen.as_ref(), Write::Put(thing(name, payload)))
        .await
        .unwrap()
}

#[tokio::test]
async fn acknowledged_writes_are_there_after_a_restart_and_versions_only_grow() {
    let directory = tempfile::tempdir().unwrap();
    let (store, journal) = open(directory.path().to_owned(), names(), WINDOW).await.unwrap();
    put(&store, "a", 10).await;
    let kept = put(&store, "a", 20).await;
    let gone = put(&store, "b", 10).await;
    store
        .commit(
            THINGS,
            &Key::new("ns", "b"),
            Some(&gone),
            Write::Delete(gone.value.clone()),
        )
        .await
        .unwrap();
    // What is on disk now is all there is, however the process ends.
    let copy = tempfile::tempdir().unwrap();
    std::fs::copy(directory.path().join("log"), copy.path().join("log")).unwrap();
    let (again, second) = open(copy.path().to_owned(), names(), WINDOW).await.unwrap();
    let found = again.get(THINGS, &Key::new("ns", "a")).await.unwrap().unwrap();
    assert_eq!((found.version, &found.raw), (kept.version, &kept.raw));
    assert!(again.get(THINGS, &Key::new("ns", "b")).await.unwrap().is_none());
    assert_eq!(
        put(&again, "c", 1).await.version,
        4 + RESTART_GAP + 1,
        "the deletion's version is not given out again"
    );
    for (store, journal) in [(store, journal), (again, second)] {
        store.close();
        journal.close().await.unwrap();
    }
}

#[tokio::test]
async fn a_directory_has_one_process() {
    let directory = tempfile::tempdir().unwrap();
    let (store, journal) = open(directory.path().to_owned(), names(), WINDOW).await.unwrap();
    let refused = open(directory.path().to_owned(), names(), WINDOW).await.err().unwrap();
    assert!(
        matches!(&refused, BuildError::Locked { holder, .. } if *holder == std::process::id().to_string()),
        "{refused}"
    );
    store.close();
    journal.close().await.unwrap();
    open(directory.path().to_owned(), names(), WINDOW).await.unwrap();
}

#[tokio::test]
async fn a_log_that_grows_is_rewritten() {
    let directory = tempfile::tempdir().unwrap();
    let (store, journal) = open(directory.path().to_owned(), names(), WINDOW).await.unwrap();
    for _ in 0..30 {
        put(&store, "a", 400_000).await;
    }
    store.close();
    journal.close().await.unwrap();
    let size = std::fs::metadata(directory.path().join("log")).unwrap().len();
    assert!(size < 8 * 1024 * 1024, "{size} bytes for one object of 400 kB");
    let (store, _journal) = open(directory.path().to_owned(), names(), WINDOW).await.unwrap();
    assert_eq!(
        store.get(THINGS, &Key::new("ns", "a")).await.unwrap().unwrap().version,
        30
    );
}

#[tokio::test]
async fn a_full_disk_refuses_writes_and_keeps_reads_true() {
    // A log that cannot be written: every write to /dev/full is refused with ENOSPC.
    let directory = tempfile::tempdir().unwrap();
    let (store, journal) = open(directory.path().to_owned(), names(), WINDOW).await.unwrap();
    let kept = put(&store, "a", 10).await;
    store.close();
    journal.close().await.unwrap();

    let store = Arc::new(Store::new(1, 0, WINDOW));
    store.restore(THINGS, &Key::new("ns", "a"), Arc::clone(&kept));
    let (sender, records) = mpsc::channel(4);
    store.attach_log(sender);
    let full = Path::new("/dev/full");
    let log = LogFile::for_tests(full, OpenOptions::new().write(true).open(full).unwrap());
    let writer = Writer {
        log,
        store: Arc::clone(&store),
        names: names(),
    };
    let thread = thread::spawn(move || writer.run(records));
    let key = Key::new("ns", "a");
    let refused = store
        .commit(THINGS, &key, Some(&kept), Write::Put(thing("a", 20)))
        .await
        .unwrap_err();
    assert!(format!("{refused:?}").contains("No space left"), "{refused:?}");
    let seen = store.get(THINGS, &key).await.unwrap().unwrap();
    assert_eq!(seen.version, kept.version, "what was not written is not shown");
    let later = store
        .commit(THINGS, &Key::new("ns", "b"), None, Write::Put(thing("b", 1)))
        .await
        .unwrap_err();
    assert!(format!("{later:?}").contains("no write is accepted"), "{later:?}");
    assert!(thread.join().unwrap().is_err());
}
