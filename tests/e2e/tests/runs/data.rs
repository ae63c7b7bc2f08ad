//! Formats, cuts and side inputs, seen from programs.

use std::fs;

use braid_e2e::{Home, root};
use serde_json::json;

fn seen(home: &Home, step: &str) -> Vec<String> {
    let mut all: Vec<(u64, String)> = fs::read_dir(home.path("seen"))
        .unwrap()
        .filter_map(|entry| {
            let entry = entry.unwrap();
            let name = entry.file_name().into_string().unwrap();
            let number = name.strip_prefix(&format!("{step}-"))?.parse().ok()?;
            Some((number, fs::read_to_string(entry.path()).unwrap()))
        })
        .collect();
    all.sort();
    all.into_iter().map(|(_, text)| text).collect()
}

#[test]
fn csv_comes_with_its_header_and_packed_files_as_they_were() {
    let home = Home::default();
    fs::create_dir(home.path("seen")).unwrap();
    home.write("in/a.csv", "id,text\r\n1,\"one\nline\"\r\n2,two\r\n3,three");
    home.write("in/b.csv", "id,text\n4,four\n");
    home.shell("printf 'x\\ny\\n' | gzip > in/c.txt.gz; printf 'z\\n' | gzip >> in/c.txt.gz");
    let keep = r#"
        got="$SEEN/stdin-$BRAID_STEP-$BRAID_PARTITION"
        cat > "$got"
        cmp "$got" "$BRAID_INPUT" || exit 9
        { printf '%s|' "$BRAID_NAME"; cat "$got"; } > "$SEEN/$BRAID_STEP-$BRAID_PARTITION""#;
    let joined = r#"cat > "$SEEN/$BRAID_STEP-$BRAID_PARTITION"; ls "$BRAID_INPUT" > "$SEEN/names""#;
    let run = |script: &str| json!({"script": script, "env": [{"name": "SEEN", "value": home.path("seen")}]});
    let spec = json!({
        "data": [
            {"name": "csv", "files": {"url": "in/*.csv", "format": "CSV"}},
            {"name": "packed", "files": {"url": "in/*.gz", "format": "Text"}},
        ],
        "steps": [
            {"name": "rows", "over": {"data": "csv", "split": {"rows": 2}}, "run": run(keep)},
            {"name": "bytes", "over": {"data": "csv", "split": {"bytes": 1}}, "run": run(keep)},
            {"name": "joined", "over": {"data": "csv", "split": {"files": 5}}, "run": run(joined)},
            {"name": "packed", "over": {"data": "packed", "split": {"files": 1}}, "run": run(keep)},
        ],
    });
    home.run_spec("csv", &spec).exits(0);
    let header = "id,text\r\n";
    assert_eq!(
        seen(&home, "rows"),
        [
            format!("a.csv|{header}1,\"one\nline\"\r\n2,two\r\n"),
            format!("a.csv|{header}3,three"),
            "b.csv|id,text\n4,four\n".to_owned(),
        ]
    );
    assert_eq!(seen(&home, "bytes").len(), 4);
    assert_eq!(
        seen(&home, "joined"),
        [format!("{header}1,\"one\nline\"\r\n2,two\r\n3,three\n4,four\n")]
    );
    assert_eq!(fs::read_to_string(home.path("seen/names")).unwrap(), "a.csv\nb.csv\n");
    assert_eq!(seen(&home, "packed"), ["c.txt|x\ny\nz\n"]);
}

#[test]
fn what_cannot_be_read_fails_with_a_reason_that_names_it() {
    let home = Home::default();
    home.write("in/open.csv", "a\n\"1\n");
    home.write("in/cut.txt.gz", b"\x1f\x8b\x08\0\0\0\0\0\0\x03\x01\x02");
    let spec = json!({
        "data": [
            {"name": "csv", "files": {"url": "in/*.csv", "format": "CSV"}},
            {"name": "packed", "files": {"url": "in/*.gz", "format": "Text"}},
        ],
        "steps": [
            {"name": "rows", "over": {"data": "csv", "split": {"rows": 2}}, "run": {"script": ":"}},
            {"name": "packed", "over": {"data": "packed", "split": {"files": 1}}, "run": {"script": ":"}},
        ],
    });
    let ended = home.run_spec("broken", &spec).exits(1);
    let stopping = &ended.step("rows")["stopping"];
    assert_eq!("UnreadableInput", stopping["reason"], "{stopping}");
    let message = stopping["message"].as_str().unwrap();
    assert!(message.contains("in/open.csv: the quote at byte 2"), "{message}");
    let cause = &ended.step("packed")["failures"][0];
    assert_eq!("UnreadableInput", cause["reason"], "{cause}");
    assert!(cause["message"].as_str().unwrap().contains("in/cut.txt.gz"), "{cause}");
}

#[test]
fn side_inputs_are_there_for_every_kind_of_partition_and_sent_once() {
    let home = Home::default();
    fs::create_dir(home.path("seen")).unwrap();
    home.write("ref/shops.json", "{}");
    home.write("ref/deep/x.txt", "deep");
    home.shell("printf 'unpacked' | gzip > ref/deep/y.txt.gz");
    home.write("in/lines.txt", "1\n2\n3\n4\n5\n6\n7\n8\n");
    // Equal for all partitions of a worker: the directory is not made anew.
    let script = r#"
        [ "$(cat "$BRAID_IN_THE_SHOPS/shops.json")" = '{}' ] || exit 3
        [ "$(cat "$BRAID_IN_THE_SHOPS/deep/x.txt" "$BRAID_IN_THE_SHOPS/deep/y.txt")" = deepunpacked ] || exit 4
        [ "$1" = "$BRAID_IN_THE_SHOPS" ] || exit 5
        [ -w "$BRAID_IN_THE_SHOPS/shops.json" ] && [ "$(id -u)" -ne 0 ] && exit 6
        ls -di "$BRAID_IN_THE_SHOPS" >> "$SEEN/$BRAID_STEP"
        echo 1 > "$BRAID_RESULTS""#;
    let step = |name: &str, over: serde_json::Value| {
        json!({
            "name": name, "over": over, "reads": [{"data": "the-shops"}],
            "run": {
                "script": script, "args": ["$(BRAID_IN_THE_SHOPS)"],
                "env": [{"name": "SEEN", "value": home.path("seen")}],
            },
            "results": [{"name": "n", "reduce": "Sum"}],
        })
    };
    let mut alone = step("alone", json!(null));
    alone.as_object_mut().unwrap().remove("over");
    let spec = json!({
        "data": [
            {"name": "the-shops", "files": {"url": "ref/**", "format": "Text"}},
            {"name": "lines", "files": {"url": "in/*.txt", "format": "Text"}},
        ],
        "steps": [
            step("lines", json!({"data": "lines", "split": {"rows": 1}})),
            step("items", json!({"items": [1, 2, 3]})),
            step("range", json!({"range": {"end": 40}})),
            step("none", json!({"range": {"end": 0}})),
            alone,
        ],
    });
    let ended = home.run_spec("reads", &spec).exits(0);
    for (step, partitions) in [("lines", 8), ("items", 3), ("range", 40), ("none", 0), ("alone", 1)] {
        assert_eq!((partitions, partitions, 0), ended.counts(step), "{step}");
    }
    let range = fs::read_to_string(home.path("seen/range")).unwrap();
    let mut directories: Vec<&str> = range.lines().collect();
    // On a busy machine one may run twice.
    assert!(directories.len() >= 40, "{}", directories.len());
    directories.sort_unstable();
    directories.dedup();
    // One for each of the two workers.
    assert!(directories.len() <= 2, "{directories:?}");
}

/// A param that has neither a value nor a default is one that has to be given.
#[test]
fn what_is_given_counts_before_the_file_is_checked() {
    let home = Home::default();
    let file = root().join("examples/matrix.yaml");
    let (code, out) = home.braid(&["plan", file.to_str().unwrap()]);
    assert!(code == 0 && out.contains("areas: a matrix: 10 partitions"), "{out}");
    assert!(
        out.contains("halves: what itemsFrom gives\n  known only when it starts"),
        "{out}"
    );
    let spec = json!({
        "params": [{"name": "least", "type": "Integer"}],
        "steps": [{
            "name": "one",
            "run": {"script": r#"echo "$BRAID_PARAM_LEAST" > "$BRAID_RESULTS""#},
            "results": [{"name": "n", "reduce": "Sum"}],
        }],
    });
    let file = home.workflow("asks", &spec);
    let ended = home.run(&file, &["-p", "least=7"]).exits(0);
    assert_eq!(&json!(7), &ended.results("one")["n"]);
    let ended = home.run(&file, &[]).exits(2);
    assert!(ended.err.contains("give one with -p least=..."), "{}", ended.err);
}

#[test]
fn plan_shows_what_a_run_would_do() {
    let home = Home::default();
    home.write("in/a.csv", "h\n1\n2\n3\n");
    home.write("in/packed.csv.gz", "no matter");
    let workflow = |url: &str| {
        json!({
            "apiVersion": "braid.dev/v1alpha1", "kind": "Workflow", "metadata": {"name": "p"},
            "spec": {
                "data": [{"name": "csv", "files": {"url": url, "format": "CSV"}}],
                "steps": [{
                    "name": "rows", "over": {"data": "csv", "split": {"rows": 2}}, "run": {"script": ":"},
                    "reads": [{"data": "csv"}],
                }],
            },
        })
        .to_string()
    };
    home.write("good.yaml", workflow("in/a.csv"));
    home.write("bad.yaml", workflow("in/*"));
    let (code, out) = home.braid(&["plan", "good.yaml"]);
    assert_eq!(
        (code, out.as_str()),
        (
            0,
            "rows: csv by rows: 2: 1 file, 8 bytes, 2 partitions\n  0  in/a.csv, bytes 2-6 behind the header of 2\n  1  \
             in/a.csv, bytes 6-8 behind the header of 2\n  every worker gets csv: 1 file, 8 bytes\n"
        )
    );
    let (code, out) = home.braid(&["plan", "bad.yaml"]);
    assert_eq!(code, 1, "{out}");
    assert!(
        out.contains("cannot be planned: BadSplit: in/packed.csv.gz is packed with gzip"),
        "{out}"
    );
}
