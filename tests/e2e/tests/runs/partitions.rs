//! What people ask about single partitions.

use braid_e2e::Home;
use serde_json::{Value, json};

/// A run that has ended: `braid partitions RUN MORE` on it.
fn ask(home: &Home, run: &str, words: &[&str]) -> (i32, String) {
    let state = home.path(&format!("state-{run}"));
    let mut all = vec!["partitions", "--state", state.to_str().unwrap(), run];
    all.extend(words);
    home.braid(&all)
}

#[test]
fn a_partition_is_shown_with_its_input() {
    let home = Home::default();
    home.write("texts/a.csv", "name,n\none,1\ntwo,2\nthree,3\n");
    home.write("texts/b.csv", "name,n\nfour,4\n");
    home.shell("gzip -nk texts/b.csv && mv texts/b.csv.gz packed.csv.gz");
    let spec = json!({
        "data": [
            {"name": "texts", "files": {"url": "texts/*.csv", "format": "CSV"}},
            {"name": "packed", "files": {"url": "packed.csv.gz", "format": "CSV"}},
        ],
        "steps": [
            {"name": "rows", "over": {"data": "texts", "split": {"rows": 2}}, "run": {"script": "if grep -q three; then exit 1; fi"}, "maxFailedPartitions": 1},
            {"name": "both", "over": {"data": "texts", "split": {"files": 2}}, "run": {"script": "cat"}},
            {"name": "packed", "over": {"data": "packed", "split": {"files": 1}}, "run": {"script": "cat"}},
            {"name": "numbers", "over": {"range": {"start": 5, "end": 50, "step": 7}}, "run": {"command": ["true"]}},
            {"name": "items", "over": {"items": ["x", {"y": 1}]}, "run": {"command": ["true"]}},
            {"name": "one", "run": {"command": ["true"]}},
        ],
    });
    home.run_spec("shown", &spec).exits(0);
    let ask = |words: &[&str]| ask(&home, "shown", words);
    let input = |step: &str, partition: &str| ask(&[step, "--show", partition, "--input"]);
    for (step, partition, bytes) in [
        ("rows", "0", "name,n\none,1\ntwo,2\n"),
        ("rows", "1", "name,n\nthree,3\n"),
        ("both", "0", "name,n\none,1\ntwo,2\nthree,3\nfour,4\n"),
        ("packed", "0", "name,n\nfour,4\n"),
        ("numbers", "2", "19\n"),
        ("items", "1", "{\"y\":1}\n"),
    ] {
        assert_eq!((0, bytes.to_owned()), input(step, partition), "{step} {partition}");
    }
    let (code, shown) = ask(&["rows", "--show", "1"]);
    assert!(
        code == 0 && shown.contains("texts/a.csv") && shown.contains("Failed, Exit1"),
        "{shown}"
    );
    let (_, shown) = ask(&["items", "--show", "1", "-o", "json"]);
    let shown: Value = serde_json::from_str(&shown).unwrap();
    assert_eq!(
        json!({"step": "items", "state": "Succeeded", "partition": 1, "input": {"y": 1}}),
        shown
    );
    for wrong in [
        &["rows", "--show", "3"][..],
        &["--show", "0"],
        &["none", "--show", "0"],
        &["one", "--show", "0", "--input"],
        &["rows", "--input"],
    ] {
        assert_eq!(2, ask(wrong).0, "{wrong:?}");
    }
    // It is not what was planned any more.
    home.write("texts/a.csv", "name,n\nother,1\n");
    assert_eq!((1, String::new()), input("rows", "0"));
}

#[test]
fn the_slowest_partitions_are_named() {
    let home = Home::default();
    let script = "case $BRAID_ITEM in 3) sleep 1.6 ;; 7) sleep 1.1; exit 9 ;; esac";
    let spec = json!({
        "steps": [
            {"name": "slow", "over": {"range": {"end": 10}}, "run": {"script": script}, "maxFailedPartitions": 1},
            {"name": "quick", "over": {"range": {"end": 10}}, "run": {"command": ["true"]}},
        ],
    });
    home.run_spec("slowest", &spec).exits(0);
    let (code, told) = ask(&home, "slowest", &["--slowest", "-o", "json"]);
    let told: Value = serde_json::from_str(&told).unwrap();
    let rows: Vec<(u64, &str)> = (told.as_array().unwrap().iter())
        .map(|row| {
            assert_eq!("slow", row["step"]);
            assert!(row["millis"].as_u64().unwrap() >= 1_000, "{row}");
            (row["partition"].as_u64().unwrap(), row["state"].as_str().unwrap())
        })
        .collect();
    assert_eq!((0, vec![(3, "Succeeded"), (7, "Failed")]), (code, rows));
    let (_, table) = ask(&home, "slowest", &["slow", "--slowest", "1"]);
    assert!(table.lines().count() == 2 && table.contains(" 3 "), "{table}");
    let (_, none) = ask(&home, "slowest", &["quick", "--slowest"]);
    assert!(none.contains("took a second or more"), "{none}");
}
