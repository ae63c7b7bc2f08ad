//! Data: listed, pinned, cut, read; items; and what is wrong with them.

use std::{
    fs,
    sync::{Arc, Mutex},
};

use braid_crds::{
    Cursor, PlanSpec, Round,
    status::PlanRef,
    worker::{Card, FilesSource, ItemsSource, Mode, Source},
};
use braid_engine::plan::Plan;
use braid_worker::runner::{Input, Item};
use kube::api::PostParams;
use serde_json::json;

use crate::{
    bench::{Bench, card},
    script::{Act, Scripted, stdin},
};

fn files(url: &str, split: &FilesSource) -> Card {
    Card {
        source: Source {
            files: Some(FilesSource {
                url: url.into(),
                ..split.clone()
            }),
            ..Source::default()
        },
        ..card()
    }
}

async fn plan(bench: &Bench, card: &Card) -> PlanRef {
    let shard = bench.assign(card, 0, 1, |spec| spec.mode = Mode::Plan).await;
    let entry = bench.sealed(shard).await;
    assert_eq!((entry.cursor, entry.fatal), (Cursor(1), None));
    bench.edit(|worker| worker.spec.shards.clear()).await;
    entry.plan.unwrap()
}

#[tokio::test]
async fn files_are_planned_and_every_line_is_read_once() {
    let dir = tempfile::tempdir().unwrap();
    fs::create_dir_all(dir.path().join("in/deep")).unwrap();
    let line = |n: usize| format!("{}-{n}\n", "x".repeat(n % 17));
    let first: String = (0..300).map(line).collect();
    let second: String = (300..500).map(line).collect();
    fs::write(dir.path().join("in/b.txt"), &second).unwrap();
    fs::write(dir.path().join("in/deep/a.txt"), &first).unwrap();
    fs::write(dir.path().join("in/empty.txt"), "").unwrap();

    let mut bench = Bench::new().await.below(dir.path().into());
    let read = Arc::new(Mutex::new(Vec::new()));
    let keep = read.clone();
    let runner = Scripted::new(8, move |attempt| {
        let bytes = stdin(&attempt.input);
        let lines = bytes.split(|byte| *byte == b'\n').count().saturating_sub(1);
        let Input::One { name, .. } = &attempt.input else {
            panic!("{attempt:?}")
        };
        keep.lock()
            .unwrap()
            .push((name.clone().unwrap(), attempt.partition, bytes));
        Act::Give(lines.to_string())
    });
    bench.start(runner).await;
    let source = FilesSource {
        bytes: 100,
        ..FilesSource::default()
    };
    let mut card = files("in/**/*.txt", &source);
    let planned = plan(&bench, &card).await;
    assert_eq!((planned.files, planned.bytes), (3, (first.len() + second.len()) as u64));
    // Planning again finds the same objects.
    assert_eq!(plan(&bench, &card).await, planned);

    card.digest = "sha256:run".into();
    card.source.files.as_mut().unwrap().chunks = planned.chunks;
    let digest = planned.digest.clone();
    let shard = bench
        .assign(&card, 0, planned.partitions, move |spec| spec.run.plan = digest.clone())
        .await;
    assert_eq!(
        bench.total(shard).await,
        (Cursor(planned.partitions), 500, planned.partitions)
    );
    let mut read = read.lock().unwrap().clone();
    read.sort();
    for (name, whole) in [("deep/a.txt", &first), ("b.txt", &second)] {
        let bytes: Vec<u8> = (read.iter())
            .filter(|(of, ..)| &**of == name)
            .flat_map(|(.., bytes)| bytes.clone())
            .collect();
        assert_eq!(bytes, whole.as_bytes());
    }
}

#[tokio::test]
async fn a_file_that_changed_fails_its_partition_only() {
    let dir = tempfile::tempdir().unwrap();
    for name in ["a", "b", "c"] {
        fs::write(dir.path().join(name), name).unwrap();
    }
    let mut bench = Bench::new().await.below(dir.path().into());
    bench.start(Scripted::new(4, |_| Act::Give("1".into()))).await;
    let mut card = files(
        "*",
        &FilesSource {
            files: 1,
            ..FilesSource::default()
        },
    );
    card.attempts = 5;
    let planned = plan(&bench, &card).await;
    fs::write(dir.path().join("b"), "longer").unwrap();
    card.digest = "sha256:run".into();
    card.source.files.as_mut().unwrap().chunks = planned.chunks;
    let shard = bench
        .assign(&card, 0, 3, |spec| spec.run.plan = planned.digest.clone())
        .await;
    let entry = bench.sealed(shard).await;
    assert_eq!(entry.failed.to_string(), "1");
    assert_eq!(
        (&*entry.failures[0].reason, entry.failures[0].attempts),
        ("InputChanged", 1)
    );
    assert!(
        entry.failures[0].message.contains("6 bytes instead of 1"),
        "{:?}",
        entry.failures
    );
}

#[tokio::test]
async fn a_file_that_changes_under_its_program_does_not_count() {
    let dir = tempfile::tempdir().unwrap();
    for name in ["a", "b", "c"] {
        fs::write(dir.path().join(name), name).unwrap();
    }
    let mut bench = Bench::new().await.below(dir.path().into());
    let place = dir.path().join("b");
    let runner = Scripted::new(4, move |attempt| {
        if attempt.partition == 1 {
            fs::write(&place, "longer").unwrap();
        }
        Act::Give("1".into())
    });
    bench.start(runner.clone()).await;
    let mut card = files(
        "*",
        &FilesSource {
            files: 1,
            ..FilesSource::default()
        },
    );
    card.attempts = 5;
    let planned = plan(&bench, &card).await;
    card.digest = "sha256:run".into();
    card.source.files.as_mut().unwrap().chunks = planned.chunks;
    let shard = bench
        .assign(&card, 0, 3, |spec| spec.run.plan = planned.digest.clone())
        .await;
    assert_eq!(bench.total(shard).await, (Cursor(3), 2, 2));
    let entry = bench.sealed(shard).await;
    assert_eq!(entry.failed.to_string(), "1");
    let failure = &entry.failures[0];
    assert_eq!((&*failure.reason, failure.attempts), ("InputChanged", 1));
    assert!(failure.message.contains("b has changed"), "{failure:?}");
    let mut started = runner.started();
    started.sort_unstable();
    assert_eq!(started, [(0, 1), (1, 1), (2, 1)]);
}

#[tokio::test]
async fn no_files_stop_the_step_with_a_reason() {
    let dir = tempfile::tempdir().unwrap();
    let mut bench = Bench::new().await.below(dir.path().into());
    bench.start(Scripted::new(1, |_| Act::Hang)).await;
    let card = files(
        "nothing/*",
        &FilesSource {
            files: 1,
            ..FilesSource::default()
        },
    );
    let shard = bench.assign(&card, 0, 1, |spec| spec.mode = Mode::Plan).await;
    let entry = bench.sealed(shard).await;
    assert_eq!((entry.cursor, &*entry.fatal.unwrap().reason), (Cursor(0), "NoFiles"));
}

#[tokio::test]
async fn items_come_from_their_plan_and_a_missing_plan_stops_the_step() {
    let mut bench = Bench::new().await;
    let seen = Arc::new(Mutex::new(Vec::new()));
    let keep = seen.clone();
    let runner = Scripted::new(2, move |attempt| {
        if let Item::Json(item) = &attempt.item {
            keep.lock().unwrap().push((attempt.partition, (**item).clone()));
        }
        Act::Give("1".into())
    });
    bench.start(runner).await;
    let items = vec![json!({"lr": 0.1}), json!("two"), json!(3)];
    let encoded = Plan::items(items.clone()).unwrap().encode().unwrap();
    let objects: Vec<(String, PlanSpec)> = encoded.objects("flow", &bench.uid, "step", Round(0)).collect();
    for (name, spec) in objects {
        bench
            .plans()
            .create(&PostParams::default(), &braid_crds::Plan::new(&name, spec))
            .await
            .unwrap();
    }
    let card = Card {
        source: Source {
            items: Some(ItemsSource {
                chunks: encoded.reference().chunks,
            }),
            ..Source::default()
        },
        ..card()
    };
    let digest = encoded.reference().digest.clone();
    let shard = bench.assign(&card, 0, 3, |spec| spec.run.plan = digest.clone()).await;
    bench.sealed(shard).await;
    let mut seen = seen.lock().unwrap().clone();
    seen.sort_by_key(|(partition, _)| *partition);
    assert_eq!(seen.into_iter().map(|(_, item)| item).collect::<Vec<_>>(), items);

    let shard = bench
        .assign(&card, 0, 3, |spec| spec.run.plan = "sha256:nowhere".into())
        .await;
    let fatal = bench.sealed(shard).await.fatal.unwrap();
    assert!(fatal.message.contains("missing"), "{fatal:?}");
}
