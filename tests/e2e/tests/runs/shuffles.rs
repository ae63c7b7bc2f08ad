//! Steps that are split by keys, counted from outside.

use std::{fmt::Write as _, fs, thread, time::Duration};

use braid_e2e::Home;
use serde_json::{Value, json};

/// Orders of some shops in several files, packed and not.
fn orders(home: &Home, count: usize) {
    let mut texts = [const { String::new() }; 4];
    for n in 0..count {
        let text = &mut texts[n % 4];
        writeln!(text, "{n},\"shop, {}\",{}", n * n % 211, n % 1_000).unwrap();
    }
    for (number, text) in texts.iter().enumerate() {
        home.write(&format!("in/{number}.csv"), format!("id,shop,cents\n{text}"));
    }
    home.shell("gzip in/1.csv");
}

/// A step whose partitions say what they have of each shop.
fn by_shop(more: &Value) -> Value {
    let script = r#"
        awk -F'"' 'NR == 1 { if ($0 != "id,shop,cents") exit 9; next }
          { sub(/^,/, "", $3); n[$2] += 1; sum[$2] += $3 }
          END {
            printf "{\"shops\": %d, \"n\": {", length(n)
            for (shop in n) { printf "%s\"%s\": %d", comma, shop, n[shop]; comma = ", " }
            printf "}, \"sum\": {"; comma = ""
            for (shop in sum) { printf "%s\"%s\": %d", comma, shop, sum[shop]; comma = ", " }
            print "}}"
          }' > "$BRAID_RESULTS"
        [ "$BRAID_NAME" = "$(printf %04d "$BRAID_PARTITION").csv" ]"#;
    let mut step = json!({
        "name": "by-shop", "over": {"data": "orders", "split": {"keys": {"by": "shop", "into": 7}}},
        "run": {"script": script},
        "results": [
            {"name": "shops", "reduce": "Sum"},
            {"name": "n", "reduce": "Sum", "keyed": true, "maxKeys": 300},
            {"name": "sum", "reduce": "Sum", "keyed": true, "maxKeys": 300},
        ],
    });
    for (key, value) in more.as_object().unwrap() {
        step[key] = value.clone();
    }
    step
}

fn data() -> Value {
    json!([
        {"name": "orders", "files": {"url": "in/*.csv*", "format": "CSV"}},
        {"name": "scratch", "files": {"url": "scratch"}},
    ])
}

#[test]
fn groups_are_whole_and_nothing_is_left_of_the_parts() {
    let home = Home::default();
    orders(&home, 20_000);
    let before = home.shell("find in | sort");
    let (mut shops, mut counts, mut sums) = (0, [0_u64; 211], [0_u64; 211]);
    for n in 0..20_000 {
        shops += u64::from(counts[n * n % 211] == 0);
        counts[n * n % 211] += 1;
        sums[n * n % 211] += n as u64 % 1_000;
    }
    let keyed = |values: &[u64]| -> Value {
        let known = values.iter().enumerate().filter(|(shop, _)| counts[*shop] > 0);
        known
            .map(|(shop, value)| (format!("shop, {shop}"), json!(value)))
            .collect::<serde_json::Map<_, _>>()
            .into()
    };
    // Each shop is counted by one partition only, or there would be more of them.
    let expected = json!({"shops": shops, "n": keyed(&counts), "sum": keyed(&sums)});
    for (name, through) in [("beside", json!({})), ("through", json!({"through": "scratch"}))] {
        let mut step = by_shop(&json!({}));
        for (key, value) in through.as_object().unwrap() {
            step["over"]["split"]["keys"][key] = value.clone();
        }
        let spec = json!({"data": data(), "steps": [step]});
        if name == "beside" {
            let manifest = home.workflow("planned", &spec);
            let (code, out) = home.braid(&["plan", manifest.to_str().unwrap()]);
            assert_eq!(code, 0, "{out}");
            assert!(
                out.starts_with("by-shop: orders by the key shop into 7: 4 files, "),
                "{out}"
            );
            assert!(
                out.contains(
                    ", 7 partitions\n  0  the records of about one in 7 of the values of shop; sizes are known"
                ),
                "{out}"
            );
            assert_eq!(before, home.shell("find in | sort"), "planning writes nothing");
        }
        let ended = home.run_spec(name, &spec).exits(0);
        assert_eq!(&expected, ended.results("by-shop"));
        assert_eq!((7, 7, 0), ended.counts("by-shop"));
        assert_eq!(before, home.shell("find in | sort"), "{name}");
    }
    assert_eq!("scratch", home.shell("find scratch"));
}

/// The whole of it is killed while it shuffles; what the dead one wrote is not read, and in the end it is gone.
#[test]
fn whoever_is_killed_while_it_shuffles_leaves_nothing() {
    let home = Home::default();
    orders(&home, 400_000);
    let before = home.shell("find in | sort");
    let spec = json!({"data": data(), "steps": [by_shop(&json!({"retry": {"attempts": 100}}))]});
    let manifest = home.workflow("kills", &spec);
    let planners = || {
        home.shell("{ find in/.braid -name '*.csv' 2> /dev/null || true; } | sed 's,/[^/]*$,,' | sort -u | wc -l")
            .parse::<u32>()
            .unwrap()
    };
    for life in 1..=3 {
        let running = home.start(&manifest, &[]);
        for _ in 0..1_000 {
            if planners() >= life {
                break;
            }
            thread::sleep(Duration::from_millis(10));
        }
        // Killed when it is dropped.
        drop(running);
    }
    assert!(planners() >= 1, "no run was killed while it had parts");
    let ended = home.run(&manifest, &[]).exits(0);
    let total: u64 = ended.results("by-shop")["n"]
        .as_object()
        .unwrap()
        .values()
        .map(|n| n.as_u64().unwrap())
        .sum();
    assert_eq!(400_000, total);
    assert_eq!((7, 7, 0), ended.counts("by-shop"));
    assert_eq!(before, home.shell("find in | sort"));
}

/// What failed is tried again with the parts that there were.
#[test]
fn parts_stay_for_what_failed_until_it_is_tried_again() {
    let home = Home::default();
    home.write("in/a.jsonl", "{\"k\":1}\n{\"k\":2}\n{\"k\":\"1\"}\n{}\n");
    let step = json!({
        "name": "a", "over": {"data": "d", "split": {"keys": {"by": "k", "into": 3}}},
        "run": {"script": "[ -e ../go ] || [ $BRAID_PARTITION -ne 1 ] || exit 3\nwc -l > \"$BRAID_RESULTS\"".replace("../go", home.path("go").to_str().unwrap())},
        "results": [{"name": "n", "reduce": "Sum"}],
        "maxFailedPartitions": 1,
    });
    let spec = json!({"data": [{"name": "d", "files": {"url": "in/*.jsonl", "format": "JSONLines"}}], "steps": [step]});
    let manifest = home.workflow("again", &spec);
    let ended = home.run(&manifest, &[]).exits(0);
    assert_eq!((3, 2, 1), ended.counts("a"));
    let parts = home.shell("find in/.braid -type f | wc -l");
    assert_eq!("3", parts);
    home.write("go", "");
    // The input may have changed since: the parts are what was planned.
    fs::remove_file(home.path("in/a.jsonl")).unwrap();
    let ended = home.again(&manifest, &["retry", "--failed", "-o", "json", "--workers", "2"]);
    assert_eq!((3, 3, 0), ended.counts("a"), "{ended:?}");
    assert_eq!(json!(4), ended.results("a")["n"]);
    assert_eq!("in", home.shell("find in"));
}
