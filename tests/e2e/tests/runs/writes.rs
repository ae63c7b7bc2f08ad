//! Files that partitions write, counted from outside.

use std::{fs, path::Path, thread, time::Duration};

use braid_e2e::Home;
use serde_json::{Value, json};

fn files(url: &str) -> Value {
    json!({"name": url.rsplit('/').next(), "files": {"url": url, "format": "Text"}})
}

/// What a step over numbers is that writes a file for each.
fn make(partitions: u64, script: &str, more: &Value) -> Value {
    let mut step = json!({
        "name": "make", "over": {"range": {"end": partitions}}, "run": {"script": script, "concurrency": 2},
        "writes": [{"data": "made"}],
    });
    for (key, value) in more.as_object().unwrap() {
        step[key] = value.clone();
    }
    step
}

/// The names and first lines of all files, in order; Braid's own directory apart.
fn seen(home: &Home, directory: &str) -> Vec<String> {
    let list = format!(
        "mkdir -p {directory}; cd {directory}; find . -path ./.braid -prune -o -type f -print | sort | while read f; do echo \"$f $(head -n 1 $f)\"; done"
    );
    home.shell(&list).lines().map(str::to_owned).collect()
}

fn attempts(directory: &Path) -> bool {
    directory.join(".braid/attempts").exists()
}

#[test]
fn a_later_step_reads_what_an_earlier_one_published() {
    let home = Home::default();
    let script = r#"
        # Links are not taken, and empty directories are none.
        mkdir -p "$BRAID_OUT/made/tens/$((BRAID_ITEM / 10))" "$BRAID_OUT/made/empty"
        [ $((BRAID_ITEM % 7)) -eq 0 ] || seq "$BRAID_ITEM" > "$BRAID_OUT/made/tens/$((BRAID_ITEM / 10))/$BRAID_ITEM.txt""#;
    let add = r#"awk '{ sum += $1 } END { print sum }' > "$BRAID_RESULTS"; cp "$BRAID_RESULTS" "$BRAID_OUT/added/$(basename "$BRAID_NAME")""#;
    let all = r#"cat "$BRAID_IN_ADDED"/*.txt | awk '{ sum += $1 } END { print sum }' > "$BRAID_RESULTS""#;
    let results = json!([{"name": "sum", "reduce": "Sum"}]);
    let spec = json!({
        "data": [files("out/made"), files("out/added")],
        // The order in the file means nothing.
        "steps": [
            {"name": "all", "reads": [{"data": "added"}], "run": {"script": all}, "results": results},
            {"name": "add", "over": {"data": "made", "split": {"files": 1}}, "writes": [{"data": "added"}], "run": {"script": add}, "results": results},
            make(60, script, &json!({})),
        ],
    });
    // What was there before is not read.
    home.write("out/made/before.txt", "1000000\n");
    let ended = home.run_spec("chain", &spec).exits(0);
    let numbers: Vec<u64> = (0..60).filter(|number| number % 7 != 0).collect();
    let expected: u64 = numbers.iter().map(|number| number * (number + 1) / 2).sum();
    assert_eq!(json!(expected), ended.results("add")["sum"]);
    assert_eq!(json!(expected), ended.results("all")["sum"]);
    let count = numbers.len() as u64;
    assert_eq!((count, count, 0), ended.counts("add"));
    assert_eq!(seen(&home, "out/made").len() as u64, count + 1);
    assert_eq!(seen(&home, "out/added").len() as u64, count);
    assert!(!attempts(&home.path("out/made")) && !attempts(&home.path("out/added")));
    assert!(!home.path("out/made/empty").exists());
    for step in ["make", "add"] {
        assert_eq!(&Value::Null, &ended.step(step)["unpublished"], "{step}");
        assert_eq!("Done", ended.step(step)["sweep"], "{step}");
    }
}

/// The whole of it (operator, workers, shims, programs) is killed again and again, in the midst of running, writing, counting and
/// publishing. In the end each file is there once, and nothing else is.
#[test]
fn each_file_is_seen_once_whoever_is_killed() {
    let home = Home::default();
    let script = r#"
        for part in a b c; do echo "$BRAID_PARTITION $part" > "$BRAID_OUT/made/$BRAID_PARTITION.$part"; done
        sleep 0.02"#;
    let retry = json!({"retry": {"attempts": 1000, "backoff": {"initial": "10ms", "max": "50ms"}}});
    let partitions = 600;
    let spec = json!({"data": [files("out/made")], "steps": [make(partitions, script, &retry)]});
    let manifest = home.workflow("kills", &spec);
    let written = || {
        home.shell("{ find out -type f 2> /dev/null || true; } | wc -l")
            .parse::<u64>()
            .unwrap()
    };
    let mut met = 0;
    for life in 0..8 {
        let before = written();
        let mut running = home.start(&manifest, &[]);
        for _ in 0..600 {
            if written() > before + 3 || running.is_over() {
                break;
            }
            thread::sleep(Duration::from_millis(50));
        }
        thread::sleep(Duration::from_millis(life * 1_130 % 3_000));
        // Killed when it is dropped.
        drop(running);
        met += u32::from(attempts(&home.path("out/made")));
        let published = seen(&home, "out/made");
        assert!(published.iter().all(|line| is_right(line)), "{published:?}");
    }
    assert!(met > 3, "no run was killed while it wrote: {met}");
    let ended = home.run(&manifest, &[]).exits(0);
    assert_eq!((partitions, partitions, 0), ended.counts("make"));
    let mut expected: Vec<String> = (0..partitions)
        .flat_map(|partition| ["a", "b", "c"].map(|part| format!("./{partition}.{part} {partition} {part}")))
        .collect();
    expected.sort();
    let mut found = seen(&home, "out/made");
    found.sort();
    assert_eq!(expected, found);
    assert!(!attempts(&home.path("out/made")));
    // The manifests name each of them once.
    let named = home.shell("cat out/made/.braid/published/*/make/made/*.json | grep -o '\"path\":\"[^\"]*\"' | sort | uniq -c | awk '{ print $1 }' | sort -u");
    assert_eq!("1", named);
}

fn is_right(line: &str) -> bool {
    let mut words = line.split(' ');
    let (Some(name), Some(partition), Some(part), None) = (words.next(), words.next(), words.next(), words.next())
    else {
        return false;
    };
    name == format!("./{partition}.{part}")
}

#[test]
fn what_cannot_be_published_is_told() {
    let home = Home::default();
    home.write("out/made/2", "mine");
    let script = r#"
        case $BRAID_ITEM in
          0) echo zero > "$BRAID_OUT/made/0" ;;
          1) echo one > "$BRAID_OUT/elsewhere" ;;
          2) echo two > "$BRAID_OUT/made/2" ;;
          3) ln -s /etc/passwd "$BRAID_OUT/made/3" ;;
          4) echo four > "$BRAID_OUT/made/4"; exit 7 ;;
        esac"#;
    let step = make(5, script, &json!({"maxFailedPartitions": 4}));
    let ended = home
        .run_spec("told", &json!({"data": [files("out/made")], "steps": [step]}))
        .exits(0);
    assert_eq!((5, 1, 4), ended.counts("make"));
    let causes = ended.step("make")["failures"].as_array().unwrap().clone();
    let message = |reason: &str| {
        let cause = causes
            .iter()
            .find(|cause| cause["reason"] == reason)
            .unwrap_or_else(|| panic!("{causes:?}"));
        (
            cause["count"].as_u64().unwrap(),
            cause["message"].as_str().unwrap().to_owned(),
        )
    };
    assert_eq!(1, message("Exit7").0);
    assert_eq!(2, message("BadOutput").0);
    assert!(
        message("OutputExists").1.starts_with("made/2 is there already"),
        "{causes:?}"
    );
    assert_eq!(["./0 zero", "./2 mine"].as_slice(), seen(&home, "out/made"));

    // Two partitions that write one name at the same time: counted, and then it cannot be published.
    let same = make(2, r#"echo "$BRAID_ITEM" > "$BRAID_OUT/made/same"; sleep 1"#, &json!({}));
    let ended = home
        .run_spec("same", &json!({"data": [files("other/made")], "steps": [same]}))
        .exits(1);
    let stopping = &ended.step("make")["stopping"];
    assert_eq!("OutputExists", stopping["reason"], "{stopping}");
    assert!(
        stopping["message"].as_str().unwrap().contains("made/same"),
        "{stopping}"
    );
    assert_eq!(1, seen(&home, "other/made").len());
    assert!(!attempts(&home.path("other/made")));
}

#[test]
fn a_cancelled_run_has_published_what_it_counted() {
    let home = Home::default();
    let script = r#"echo "$BRAID_ITEM" > "$BRAID_OUT/made/$BRAID_ITEM"; sleep 0.02"#;
    let spec = json!({"data": [files("out/made")], "steps": [make(100_000, script, &json!({}))]});
    let mut running = home.start(&home.workflow("cancel", &spec), &[]);
    running.until(|run| {
        run["status"]["steps"][0]["partitions"]["succeeded"]
            .as_u64()
            .unwrap_or(0)
            > 50
    });
    running.change("cancel");
    let ended = running.wait();
    let (_, succeeded, _) = ended.counts("make");
    assert_eq!("Cancelled", ended.document["phase"], "{ended:?}");
    assert_eq!(succeeded, seen(&home, "out/made").len() as u64);
    assert!(!attempts(&home.path("out/made")));
    assert_eq!(
        0,
        fs::read_dir(home.path("out/made/.braid"))
            .unwrap()
            .filter(|entry| entry.as_ref().unwrap().file_name() == "attempts")
            .count()
    );
}
