#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use std::{collections::BTreeMap, fs, path::Path, thread};

use braid_crds::{
    PartitionRange, Round,
    worker::{CardResult, CardWrite, Emission, Outputs, Publication, Written, WrittenBy},
};

use super::*;

const UID: &str = "run-1";

fn store(ground: &Ground, start: &str, data: &[(&str, &str)]) -> Arc<Store> {
    let run = RunRef {
        uid: UID.into(),
        step: "make".into(),
        ..RunRef::default()
    };
    let write = |(data, url): &(&str, &str)| CardWrite {
        data: (*data).into(),
        url: (*url).into(),
    };
    let card = Card {
        writes: data.iter().map(write).collect(),
        ..Card::default()
    };
    Store::new(ground, &run, &card, &start.into()).unwrap()
}

fn attempt(store: &Arc<Store>, shard: i64, partition: u64, files: &[(usize, &str, &str)]) -> Result<(), Refusal> {
    let mut receiving = Receiving::begin(&store.outlet(ShardId(shard), partition).unwrap())?;
    for (data, path, text) in files {
        receiving.file(*data, path)?;
        receiving.bytes(text.as_bytes())?;
    }
    Ok(())
}

fn entry(start: &str, shard: i64, outputs: &[(i64, u64, u64)]) -> Written {
    let outputs = outputs.iter().map(|(shard, start, end)| Outputs {
        shard: ShardId(*shard),
        partitions: [PartitionRange::new(*start, *end)].into_iter().collect(),
    });
    Written {
        worker: "worker-1".into(),
        shard: ShardId(shard),
        start_id: start.into(),
        outputs: outputs.collect(),
    }
}

fn order(entries: &[Written], sweep: bool) -> Publication {
    Publication {
        entries: entries.to_vec(),
        sweep,
        ..Publication::default()
    }
}

/// All files that people see, with their texts.
fn seen(directory: &Path) -> BTreeMap<String, String> {
    let entries = walkdir::WalkDir::new(directory).into_iter().map(Result::unwrap);
    let files = entries.filter(|entry| entry.file_type().is_file());
    let named = files.map(|entry| {
        (
            entry
                .path()
                .strip_prefix(directory)
                .unwrap()
                .to_str()
                .unwrap()
                .to_owned(),
            entry,
        )
    });
    named
        .filter(|(name, _)| !name.starts_with(".braid"))
        .map(|(name, entry)| (name, fs::read_to_string(entry.path()).unwrap()))
        .collect()
}

fn texts(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
    pairs
        .iter()
        .map(|(name, text)| ((*name).into(), (*text).into()))
        .collect()
}

fn listed(ground: &Ground, url: &str, data: &str) -> Vec<(String, u64)> {
    let by = WrittenBy {
        step: "make".into(),
        data: data.into(),
        published: false,
    };
    let files = list(ground, url, UID, &by).unwrap();
    files.into_iter().map(|file| (file.path.into(), file.size)).collect()
}

#[test]
fn only_what_was_counted_is_seen_however_often_it_is_published() {
    let folder = tempfile::tempdir().unwrap();
    let ground = Ground::Open(folder.path().into());
    let store = store(&ground, "s1", &[("a", "out/a"), ("b", "out/b")]);
    attempt(
        &store,
        3,
        0,
        &[(0, "x.txt", "zero"), (0, "deep/er/y.txt", "deep"), (1, "x.txt", "b")],
    )
    .unwrap();
    // Once more, with other files: what was there goes.
    attempt(&store, 3, 1, &[(0, "gone.txt", "first")]).unwrap();
    attempt(&store, 3, 1, &[(0, "one.txt", "second")]).unwrap();
    // Never counted, and one that was started for a shard before.
    attempt(&store, 3, 2, &[(0, "two.txt", "lost")]).unwrap();
    attempt(&store, 2, 7, &[(1, "seven", "adopted")]).unwrap();
    store.flush().unwrap();
    let (a, b) = (folder.path().join("out/a"), folder.path().join("out/b"));
    assert!(seen(&a).is_empty() && seen(&b).is_empty());

    let entries = [entry("s1", 3, &[(3, 0, 2), (2, 7, 8)])];
    for round in 0..3 {
        store.publish(&order(&entries, round == 1)).unwrap();
        assert_eq!(
            seen(&a),
            texts(&[("deep/er/y.txt", "deep"), ("one.txt", "second"), ("x.txt", "zero")])
        );
        assert_eq!(seen(&b), texts(&[("seven", "adopted"), ("x.txt", "b")]));
        assert_eq!(a.join(".braid/attempts").exists(), round == 0);
    }
    // A publisher that wakes up late does not bring back what somebody has taken away.
    fs::remove_file(a.join("one.txt")).unwrap();
    store.publish(&order(&entries, false)).unwrap();
    assert!(!a.join("one.txt").exists());
    fs::write(a.join("one.txt"), "second").unwrap();
    // Not listed: it was there before, or is of somebody else.
    fs::write(a.join("other.txt"), "").unwrap();
    let names = ["out/a/deep/er/y.txt", "out/a/one.txt", "out/a/x.txt"];
    assert_eq!(
        listed(&ground, "out/a", "a"),
        [(names[0].into(), 4), (names[1].into(), 6), (names[2].into(), 4)]
    );
    assert_eq!(listed(&ground, "out/a", "c"), []);
    // Who only looks makes nothing.
    assert_eq!(listed(&ground, "out/never", "a"), []);
    assert!(!folder.path().join("out/never").exists());
    let elsewhere = WrittenBy {
        step: "make".into(),
        data: "a".into(),
        published: true,
    };
    let error = list(&ground, "out/never", UID, &elsewhere).unwrap_err().to_string();
    assert!(error.contains("all nodes must see the same volume"), "{error}");
    fs::write(a.join("one.txt"), "longer than it was").unwrap();
    let by = WrittenBy {
        step: "make".into(),
        data: "a".into(),
        published: true,
    };
    assert!(
        list(&ground, "out/a", UID, &by)
            .unwrap_err()
            .to_string()
            .contains("one.txt")
    );
}

#[test]
fn publishers_that_meet_do_not_disturb_each_other() {
    let folder = tempfile::tempdir().unwrap();
    let ground = Ground::Open(folder.path().into());
    let store = store(&ground, "s1", &[("a", "out")]);
    let mut expected = BTreeMap::new();
    let mut entries = Vec::new();
    for shard in 0..20_i64 {
        let first = shard.unsigned_abs() * 5;
        for partition in first..first + 5 {
            let (name, text) = (format!("d{}/f{partition}", partition % 3), format!("text {partition}"));
            attempt(&store, shard, partition, &[(0, &name, &text)]).unwrap();
            expected.insert(name, text);
        }
        entries.push(entry("s1", shard, &[(shard, first, first + 5)]));
    }
    thread::scope(|scope| {
        for publisher in 0..4 {
            let (store, mut entries) = (store.clone(), entries.clone());
            entries.rotate_left(publisher * 5);
            scope.spawn(move || store.publish(&order(&entries, false)).unwrap());
        }
    });
    assert_eq!(seen(&folder.path().join("out")), expected);
    assert_eq!(listed(&ground, "out", "a").len(), 100);
}

#[test]
fn files_are_never_replaced() {
    let folder = tempfile::tempdir().unwrap();
    let ground = Ground::Open(folder.path().into());
    let store = store(&ground, "s1", &[("a", "out")]);
    let out = folder.path().join("out");
    fs::create_dir_all(&out).unwrap();
    fs::write(out.join("old"), "old").unwrap();
    let error = attempt(&store, 1, 0, &[(0, "old", "new")]).unwrap_err();
    assert!(
        matches!(&error, Refusal::Exists { data, path } if data == "a" && path == "old"),
        "{error}"
    );
    for path in [
        "../up",
        "/root",
        "a//b",
        ".",
        "",
        ".braid/x",
        "a/../b",
        &"x".repeat(2000),
    ] {
        let error = attempt(&store, 1, 0, &[(0, path, "")]).unwrap_err();
        assert!(matches!(error, Refusal::Path { .. }), "{path}: {error}");
    }
    // At the same time: only at the publishing can it be seen. What does not collide is published.
    attempt(&store, 1, 0, &[(0, "same", "zero"), (0, "zero", "zero")]).unwrap();
    attempt(&store, 2, 1, &[(0, "same", "one"), (0, "one", "one")]).unwrap();
    let entries = [entry("s1", 1, &[(1, 0, 1)]), entry("s1", 2, &[(2, 1, 2)])];
    // Said again by whoever publishes again.
    for _ in 0..2 {
        match store.publish(&order(&entries, false)).unwrap_err() {
            PublishError::Never(why) => {
                assert_eq!(why.reason, "OutputExists");
                assert!(why.message.contains("a/same"), "{}", why.message);
            }
            PublishError::Again { source, .. } => panic!("{source}"),
        }
    }
    assert_eq!(
        seen(&out),
        texts(&[("old", "old"), ("one", "one"), ("same", "zero"), ("zero", "zero")])
    );
}

#[test]
fn what_was_counted_and_is_gone_is_an_error() {
    let folder = tempfile::tempdir().unwrap();
    let store = store(&Ground::Open(folder.path().into()), "s1", &[("a", "out")]);
    attempt(&store, 1, 0, &[(0, "zero", "zero")]).unwrap();
    let entries = [entry("s1", 1, &[(1, 0, 2)])];
    match store.publish(&order(&entries, true)).unwrap_err() {
        PublishError::Never(why) => assert_eq!(why.reason, "NotPublished"),
        PublishError::Again { source, .. } => panic!("{source}"),
    }
    assert!(
        folder.path().join("out/.braid/attempts").exists(),
        "nothing is removed before all is published"
    );
}

#[test]
fn in_a_pod_nothing_is_written_outside_a_volume() {
    use std::os::unix::fs::symlink;

    let folder = tempfile::tempdir().unwrap();
    let base = folder.path().join("data");
    fs::create_dir_all(base.join("volume")).unwrap();
    let ground = Ground::Confined(base.clone());
    let inside = store(&ground, "s1", &[("a", "volume/out/here")]);
    attempt(&inside, 1, 0, &[(0, "x", "x")]).unwrap();
    inside.publish(&order(&[entry("s1", 1, &[(1, 0, 1)])], true)).unwrap();
    assert_eq!(seen(&base.join("volume/out/here")), texts(&[("x", "x")]));
    assert_eq!(
        listed(&ground, "volume/out/here", "a"),
        [("volume/out/here/x".into(), 1)]
    );

    symlink(folder.path(), base.join("volume/up")).unwrap();
    for url in ["none/out", "../out", "volume/../../out", "volume/up/out", "/tmp/out"] {
        let outside = store(&ground, "s1", &[("a", url)]);
        assert!(
            matches!(
                attempt(&outside, 1, 0, &[(0, "x", "x")]),
                Err(Refusal::NotStored { .. })
            ),
            "{url}"
        );
    }
    // Nor through a link that user code has put where files are published.
    symlink(folder.path(), base.join("volume/out/here/dir")).unwrap();
    attempt(&inside, 2, 1, &[(0, "dir/y", "y")]).unwrap_err();
    assert!(!folder.path().join("y").exists() && !folder.path().join("out").exists());
}

/// A step of that round whose results are written.
fn emitting(ground: &Ground, round: i32) -> Arc<Store> {
    let run = RunRef {
        uid: UID.into(),
        step: "make".into(),
        round: Round(round),
        ..RunRef::default()
    };
    let card = Card {
        emit: Some(CardWrite {
            data: "sums".into(),
            url: "out/sums".into(),
        }),
        results: vec![CardResult {
            name: "sums".into(),
            keyed: true,
            ..CardResult::default()
        }],
        ..Card::default()
    };
    Store::new(ground, &run, &card, &"s1".into()).unwrap()
}

fn emission(sums: &serde_json::Value) -> Publication {
    let results = [("sums".to_owned(), sums.clone())];
    Publication {
        sweep: true,
        emit: Some(Emission {
            results: results.into_iter().collect(),
        }),
        ..Publication::default()
    }
}

#[test]
fn results_are_one_file_however_many_write_them() {
    let folder = tempfile::tempdir().unwrap();
    let ground = Ground::Open(folder.path().into());
    let order = emission(&serde_json::json!({"b": 2, "a": "1.50"}));
    for _ in 0..2 {
        thread::scope(|scope| {
            for _ in 0..4 {
                let (store, order) = (emitting(&ground, 0), order.clone());
                scope.spawn(move || store.publish(&order).unwrap());
            }
        });
        let out = folder.path().join("out/sums");
        let lines = "{\"key\":\"a\",\"results\":{\"sums\":\"1.50\"}}\n{\"key\":\"b\",\"results\":{\"sums\":2}}\n";
        assert_eq!(seen(&out), texts(&[("make.jsonl", lines)]));
        assert_eq!(
            listed(&ground, "out/sums", "sums"),
            [("out/sums/make.jsonl".into(), lines.len() as u64)]
        );
    }
    // It has no partitions that write.
    assert!(emitting(&ground, 0).outlet(ShardId(1), 0).is_none());
}

#[test]
fn results_never_replace_a_file_and_those_of_another_round_are_not_taken_for_them() {
    let folder = tempfile::tempdir().unwrap();
    let ground = Ground::Open(folder.path().into());
    let taken = |store: &Store, order: &Publication| match store.publish(order).unwrap_err() {
        PublishError::Never(why) => assert!(
            why.reason == "OutputExists" && why.message.contains("sums/make.jsonl"),
            "{}",
            why.message
        ),
        PublishError::Again { source, .. } => panic!("{source}"),
    };
    emitting(&ground, 0)
        .publish(&emission(&serde_json::json!({"a": 1})))
        .unwrap();
    taken(&emitting(&ground, 1), &emission(&serde_json::json!({"a": 2})));
    let out = folder.path().join("out/sums");
    let first = "{\"key\":\"a\",\"results\":{\"sums\":1}}\n";
    assert_eq!(seen(&out), texts(&[("make.jsonl", first)]));
}
