//! Shuffles: from files to parts, as a worker plans them, and what is left of them.

use std::{collections::BTreeMap, fs, path::Path, sync::atomic::AtomicBool};

use braid_crds::{
    Round,
    worker::{Card, CardFormat, FilesSource, KeysSource, RunRef, Source, WrittenBy},
};
use braid_engine::{plan::Plan, shuffle::part_of};

use super::formats::{Bench, gzip, zstd};
use crate::{
    planner::{PlanningError, Shuffle, files, survey},
    store::Place,
};

fn source(url: &str, format: CardFormat, into: i32) -> FilesSource {
    FilesSource {
        url: url.into(),
        format,
        keys: Some(KeysSource {
            by: "k".into(),
            into,
            through: None,
        }),
        ..FilesSource::default()
    }
}

fn place(bench: &Bench, source: &FilesSource, round: i32) -> Place {
    let run = RunRef {
        uid: "uid".into(),
        step: "step".into(),
        round: Round(round),
        ..RunRef::default()
    };
    let card = Card {
        source: Source {
            files: Some(source.clone()),
            ..Source::default()
        },
        ..Card::default()
    };
    Place::new(&bench.ground(), &run, &card).unwrap()
}

fn plan(bench: &Bench, source: &FilesSource, planner: &str, stop: bool) -> Result<Plan, PlanningError> {
    let shuffle = Shuffle {
        place: place(bench, source, 0),
        planner: planner.into(),
    };
    files(source, Some(&shuffle), "uid", &bench.ground(), &AtomicBool::new(stop)).map(Plan::from)
}

fn texts(bench: &Bench, plan: &Plan) -> Vec<String> {
    let parts = bench.parts(plan).into_iter();
    parts.map(|part| String::from_utf8(part).unwrap()).collect()
}

/// All names below a directory.
fn names(directory: &Path) -> Vec<String> {
    let walk = walkdir::WalkDir::new(directory).min_depth(1).sort_by_file_name();
    walk.into_iter()
        .map(|entry| {
            let path = entry.unwrap().into_path();
            path.strip_prefix(directory).unwrap().to_string_lossy().into_owned()
        })
        .collect()
}

#[test]
fn parts_are_the_same_however_the_records_lie_in_files() {
    // Some records are longer than what waits in memory for each of so many parts.
    let records: Vec<(String, String)> = (0..4_000)
        .map(|n: usize| {
            let key = (n * 7_919 % 701).to_string();
            let text = "x".repeat(if n % 500 == 3 { 70_000 } else { n % 90 });
            (key.clone(), format!("{n},\"{key}\",\"a\n{text}\"\n"))
        })
        .collect();
    let (left, right) = records.split_at(1_500);
    let csv = |records: &[(String, String)]| -> Vec<u8> {
        let lines: String = records.iter().map(|(_, line)| line.as_str()).collect();
        format!("n,k,text\n{lines}").into_bytes()
    };
    for into in [1, 3, 700, 4_096_i32] {
        let apart = Bench::new(&[
            ("a.csv.gz", &gzip(&csv(left))),
            ("b.csv", b""),
            ("c.csv.zst", &zstd(&csv(&right[..9]))),
            ("d.csv", &csv(&right[9..])),
        ]);
        let together = Bench::new(&[("x.csv", &csv(&records))]);
        let source = source("*.csv*", CardFormat::Csv, into);
        let of = |bench: &Bench| {
            let plan = plan(bench, &source, "start.1", false).unwrap();
            assert_eq!(plan.partitions(), u64::try_from(into).unwrap());
            texts(bench, &plan)
        };
        let found = of(&apart);
        assert!(found == of(&together), "{into}");
        let mut expected: BTreeMap<u32, String> = BTreeMap::new();
        for (key, line) in &records {
            let part = part_of(Some(key.as_bytes()), u32::try_from(into).unwrap());
            expected
                .entry(part)
                .or_insert_with(|| "n,k,text\n".into())
                .push_str(line);
        }
        for (part, text) in (0..).zip(&found) {
            let wanted = expected.get(&part).map_or("n,k,text\n", String::as_str);
            assert!(text == wanted, "{into}: {part}");
        }
    }
}

#[test]
fn values_of_json_lines_come_to_parts_and_those_without_a_key_to_one() {
    let bench = Bench::new(&[
        ("a.jsonl", b"{\"k\":1}\n\n{\"k\":null,\"v\":2}\n{}"),
        ("b.jsonl", b"{\"k\":\"1\"}\n"),
    ]);
    let plan = plan(&bench, &source("*.jsonl", CardFormat::JsonLines, 50), "start.1", false).unwrap();
    let found: Vec<String> = texts(&bench, &plan)
        .into_iter()
        .filter(|text| !text.is_empty())
        .collect();
    let mut expected = ["{\"k\":1}\n{\"k\":\"1\"}\n", "{\"k\":null,\"v\":2}\n{}\n"];
    expected.sort_by_key(|text| part_of((text.contains('1')).then_some(b"1"), 50));
    assert_eq!(found, expected);
}

#[test]
fn planners_do_not_meet_and_all_that_they_left_is_swept() {
    let bench = Bench::new(&[("a.csv", b"k\n1\n2\n3\n")]);
    fs::create_dir(bench.dir.path().join("out")).unwrap();
    let mut source = source("a.csv", CardFormat::Csv, 3);
    // One dies in the midst: nothing of it is taken back.
    let mut dead = place(&bench, &source, 0).begin("start.1", 3, "csv").unwrap();
    braid_engine::shuffle::Parts::record(&mut dead, 0, b"half").unwrap();
    std::mem::forget(dead);
    let one = plan(&bench, &source, "start.2", false).unwrap();
    let two = plan(&bench, &source, "other.1", false).unwrap();
    assert_eq!(texts(&bench, &one), texts(&bench, &two));
    assert_ne!(one, two);
    // Names that begin with a dot are listed by nobody.
    assert_eq!(super::list(bench.dir.path(), "**").unwrap(), ["a.csv"]);
    // One that is told to stop takes back what it has.
    assert!(matches!(
        plan(&bench, &source, "start.3", true),
        Err(PlanningError::Cut)
    ));
    let later = place(&bench, &source, 2).begin("start.9", 1, "csv").unwrap();
    assert_eq!(
        names(&bench.dir.path().join(".braid/shuffle/uid/step"))
            .into_iter()
            .filter(|name| !name.contains(".csv"))
            .collect::<Vec<_>>(),
        ["0", "0/other.1", "0/start.1", "0/start.2", "2", "2/start.9"]
    );
    // Whoever sweeps late leaves what a later round made.
    place(&bench, &source, 1).sweep().unwrap();
    assert_eq!(
        names(&bench.dir.path().join(".braid/shuffle/uid/step")),
        ["2", "2/start.9"]
    );
    later.finish().unwrap();
    for _ in 0..2 {
        place(&bench, &source, 2).sweep().unwrap();
        assert_eq!(names(bench.dir.path()), ["a.csv", "out"]);
    }
    // Through other data, and of data that a step has written: the directory is the url.
    source.keys.as_mut().unwrap().through = Some("out".into());
    let through = plan(&bench, &source, "start.2", false).unwrap();
    assert_eq!(
        texts(&bench, &through),
        texts_of(&bench, "out/.braid/shuffle/uid/step/0/start.2")
    );
    place(&bench, &source, 0).sweep().unwrap();
    assert_eq!(names(bench.dir.path()), ["a.csv", "out"]);
    let written = FilesSource {
        url: "out".into(),
        written_by: Some(WrittenBy::default()),
        keys: Some(KeysSource::default()),
        ..FilesSource::default()
    };
    assert_eq!(place(&bench, &written, 0).shown(), "out");
}

fn texts_of(bench: &Bench, directory: &str) -> Vec<String> {
    let directory = bench.dir.path().join(directory);
    let mut names = names(&directory);
    names.sort();
    names
        .iter()
        .map(|name| fs::read_to_string(directory.join(name)).unwrap())
        .collect()
}

#[test]
fn what_cannot_be_shuffled_says_which_file_and_leaves_nothing() {
    let bench = Bench::new(&[
        ("1.csv", b"k,v\n1,2\n"),
        ("2.csv", b"v,k\n1,2\n"),
        ("bad.jsonl", b"{}\n[]\n"),
        ("bad.jsonl.gz", &gzip(b"{\"k\":[]}")),
        ("cut.jsonl.gz", &gzip(b"{}\n")[..12]),
        ("x", b""),
    ]);
    let before = names(bench.dir.path());
    let lines = CardFormat::JsonLines;
    for (url, format, reason, says) in [
        (
            "*.csv",
            CardFormat::Csv,
            "UnreadableInput",
            "2.csv: it has not the header of 1.csv",
        ),
        ("x", CardFormat::Text, "BadSplit", "lines of text have no fields"),
        ("x", CardFormat::Whole, "BadSplit", "format: CSV or JSONLines"),
        (
            "bad.jsonl",
            lines,
            "UnreadableInput",
            "bad.jsonl: the value at byte 3 is a list",
        ),
        (
            "bad.jsonl.gz",
            lines,
            "UnreadableInput",
            "bad.jsonl.gz (unpacked): the field \"k\" of the value at byte 0",
        ),
        (
            "cut.jsonl.gz",
            lines,
            "UnreadableInput",
            "cut.jsonl.gz cannot be unpacked",
        ),
        ("none.csv", CardFormat::Csv, "NoFiles", "none.csv"),
    ] {
        let fatal = plan(&bench, &source(url, format, 9), "start.1", false)
            .unwrap_err()
            .to_fatal();
        assert_eq!(fatal.reason, reason, "{url}: {fatal:?}");
        assert!(fatal.message.contains(says), "{url}: {fatal:?}");
        let files = names(bench.dir.path())
            .into_iter()
            .filter(|name| !name.starts_with(".braid"));
        assert_eq!(files.collect::<Vec<_>>(), before);
        assert!(
            !names(bench.dir.path()).iter().any(|name| name.ends_with("start.1")),
            "{url}"
        );
    }
    let mut by = source("1.csv", CardFormat::Csv, 9);
    by.keys.as_mut().unwrap().by = "kk".into();
    let told = survey::partitions(&by, &bench.ground(), 3).unwrap_err().to_string();
    assert!(told.contains("BadSplit: 1.csv: no columns"), "{told}");
    // Of what comes later a survey knows nothing, and it writes nothing.
    let survey = survey::partitions(&source("*.csv", CardFormat::Csv, 9), &bench.ground(), 3).unwrap();
    assert_eq!((survey.files, survey.bytes, survey.partitions), (2, 16, 9));
    let fatal = plan(&bench, &by, "start.1", false).unwrap_err().to_fatal();
    assert_eq!(fatal.reason, "BadSplit");
    assert!(
        fatal
            .message
            .contains("1.csv: no columns of the header are called \"kk\""),
        "{fatal:?}"
    );
    let mut through = source("1.csv", CardFormat::Csv, 9);
    through.keys.as_mut().unwrap().through = Some("x".into());
    let fatal = plan(&bench, &through, "start.1", false).unwrap_err().to_fatal();
    assert_eq!(fatal.reason, "PartsNotWritten");
    assert!(
        fatal.message.contains("below x: ") && fatal.message.contains("through: DATA"),
        "{fatal:?}"
    );
}
