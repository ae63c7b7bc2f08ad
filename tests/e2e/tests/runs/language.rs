//! What a manifest can say, seen from user code and in the outcome.

use braid_e2e::Home;
use serde_json::json;

#[test]
fn nothing_to_do_succeeds() {
    let home = Home::default();
    home.write("empty/a.txt", "");
    let spec = json!({
        "data": [{"name": "one", "files": {"url": "empty/*.txt", "format": "Text"}}],
        "steps": [
            {"name": "range", "over": {"range": {"end": 0}}, "run": {"script": "exit 1"}, "results": [{"name": "n", "reduce": "Sum"}]},
            {"name": "files", "over": {"data": "one", "split": {"bytes": "1Ki"}}, "run": {"script": "exit 1"}},
            {"name": "then", "after": ["range", "files"], "run": {"script": "echo 1 > $BRAID_RESULTS"}, "results": [{"name": "n", "reduce": "Sum"}]},
        ],
    });
    let ended = home.run_spec("empty", &spec).exits(0);
    assert_eq!((0, 0, 0), ended.counts("range"));
    assert_eq!((0, 0, 0), ended.counts("files"));
    assert_eq!(json!(1), ended.results("then")["n"]);
}

#[test]
fn data_that_is_not_there_is_a_mistake_and_says_so() {
    let home = Home::default();
    let spec = json!({
        "data": [{"name": "none", "files": {"url": "nowhere/*.txt"}}],
        "steps": [{"name": "work", "over": {"data": "none", "split": {"files": 1}}, "run": {"script": ":"}}],
    });
    let ended = home.run_spec("nowhere", &spec).exits(1);
    let stopping = &ended.step("work")["stopping"];
    assert_eq!("NoFiles", stopping["reason"]);
    assert!(
        stopping["message"].as_str().unwrap().contains("nowhere/*.txt"),
        "{stopping}"
    );
}

#[test]
fn items_reach_user_code_as_they_are() {
    let home = Home::default();
    std::fs::create_dir(home.path("seen")).unwrap();
    let items = json!([
        7, -1.5, "text with 'quotes' $(date) `date`", true, null, ["a", 1],
        {"lr": 0.1, "deep-er": {"x": [1]}, "name": "plain text"},
    ]);
    let script = r#"
        printf %s "$BRAID_ITEM" > "$SEEN/$BRAID_PARTITION"
        [ "$BRAID_PARTITION" -ne 6 ] || printf '%s|%s|%s' "$BRAID_ITEM_LR" "$BRAID_ITEM_DEEP_ER" "$BRAID_ITEM_NAME" > "$SEEN/keys"
        printf '%s %s %s %s\n' "$BRAID_STEP" "$BRAID_WORKFLOW" "$BRAID_ATTEMPT" "$BRAID_UID" > "$SEEN/ids-$BRAID_PARTITION""#;
    let spec = json!({"steps": [{
        "name": "each",
        "over": {"items": items},
        "run": {"script": script, "env": [{"name": "SEEN", "value": home.path("seen")}]},
    }]});
    let ended = home.run_spec("items", &spec).exits(0);
    assert_eq!((7, 7, 0), ended.counts("each"));
    let seen = |name: &str| std::fs::read_to_string(home.path("seen").join(name)).unwrap();
    for (number, item) in items.as_array().unwrap().iter().enumerate() {
        let text = seen(&number.to_string());
        assert_eq!(
            *item,
            serde_json::from_str::<serde_json::Value>(&text).unwrap(),
            "{text}"
        );
    }
    assert_eq!(r#"0.1|{"x":[1]}|plain text"#, seen("keys"));
    let uid = ended.workflow["metadata"]["uid"].as_str().unwrap();
    assert_eq!(format!("each items 1 {uid}/each/4\n"), seen("ids-4"));
}

#[test]
fn params_reach_programs_and_expressions() {
    let home = Home::default();
    let spec = json!({
        "params": [
            {"name": "factor", "type": "Integer", "default": 2},
            {"name": "words", "type": "List", "default": ["a b", "c"]},
            {"name": "name", "type": "String", "default": "it's"},
        ],
        "steps": [
            {
                "name": "times",
                "over": {"range": {"start": -3, "end": 4}},
                "run": {
                    "command": ["sh", "-c", "[ \"$1\" = \"it's\" ] && [ \"$2\" = '$(LITERAL)' ] && [ \"$BRAID_PARAM_WORDS\" = '[\"a b\",\"c\"]' ] \
                        && echo \"{\\\"sum\\\": $((BRAID_ITEM * F))}\" > $BRAID_RESULTS", "sh"],
                    "args": ["$(BRAID_PARAM_NAME)", "$$(LITERAL)"],
                    "env": [{"name": "F", "value": "$(params.factor + 1)"}],
                },
                "results": [{"name": "sum", "reduce": "Sum"}, {"name": "low", "from": "sum", "reduce": "Min"}],
            },
        ],
        "outputs": [{"name": "size", "value": "size(params.words) + params.factor"}],
    });
    let manifest = home.workflow("params", &spec);
    let ended = home.run(&manifest, &["-p", "factor=9"]).exits(0);
    assert_eq!(json!(0), ended.results("times")["sum"]);
    let low = &ended.results("times")["low"];
    assert_eq!(json!(-30), *low.get("value").unwrap_or(low));
    assert_eq!(json!(11), ended.document["outputs"]["size"]);
}

#[test]
fn keyed_results_show_their_largest_exactly() {
    let home = Home::default();
    // Key k comes from every partition that k divides.
    let script = r#"
        awk -v n="$BRAID_ITEM" 'BEGIN {
            printf "{\"by\": {"
            for (k = 1; k <= 40; k++) if (n % k == 0) { printf "%s\"k%d\": %d", comma, k, n; comma = ", " }
            print "}}"
        }' > "$BRAID_RESULTS""#;
    let spec = json!({"steps": [{
        "name": "keys",
        "over": {"range": {"start": 1, "end": 121}},
        "run": {"script": script, "concurrency": 3},
        "results": [
            {"name": "top", "from": "by", "reduce": "Sum", "keyed": true, "top": 3},
            {"name": "count", "from": "by", "reduce": "Count", "keyed": true, "top": 3},
            {"name": "all", "from": "by", "reduce": "Max", "keyed": true},
        ],
    }]});
    let ended = home.run_spec("keys", &spec).exits(0);
    let sum = |k: u64| -> u64 { (1..=120).filter(|n| n % k == 0).sum() };
    assert_eq!(
        json!({"k1": sum(1), "k2": sum(2), "k3": sum(3)}),
        ended.results("keys")["top"]
    );
    assert_eq!(json!({"k1": 120, "k2": 60, "k3": 40}), ended.results("keys")["count"]);
    assert_eq!(40, ended.results("keys")["all"].as_object().unwrap().len());
}

#[test]
fn steps_wait_for_each_other_and_run_beside_each_other() {
    let home = Home::default();
    std::fs::create_dir(home.path("log")).unwrap();
    // Left and right meet: each waits until the other has begun, so they can only end if they run at the same time.
    let meet = |mine: &str, other: &str| {
        format!(
            "echo $BRAID_STEP >> $LOG/order; touch $LOG/{mine}; while [ ! -e $LOG/{other} ]; do sleep 0.02; done; \
             echo $BEFORE > $BRAID_RESULTS"
        )
    };
    let env =
        json!([{"name": "LOG", "value": home.path("log")}, {"name": "BEFORE", "value": "$(steps.first.results.n)"}]);
    let results = json!([{"name": "n", "reduce": "Sum"}]);
    let spec = json!({
        "steps": [
            {
                "name": "last", "after": ["left", "right"], "results": results,
                "run": {
                    "script": "echo $BRAID_STEP >> $LOG/order; echo $((L + R)) > $BRAID_RESULTS",
                    "env": [
                        {"name": "LOG", "value": home.path("log")},
                        {"name": "L", "value": "$(steps.left.results.n)"},
                        {"name": "R", "value": "$(steps.right.results.n)"},
                    ],
                },
            },
            {"name": "left", "after": ["first"], "run": {"script": meet("left", "right"), "env": env}, "results": results},
            {"name": "right", "after": ["first"], "run": {"script": meet("right", "left"), "env": env}, "results": results},
            {
                "name": "first", "over": {"range": {"end": 10}}, "results": results,
                "run": {"script": "echo 4 > $BRAID_RESULTS"},
            },
        ],
        "outputs": [{"name": "n", "value": "steps.last.results.n"}],
    });
    let ended = home.run_spec("dag", &spec).exits(0);
    assert_eq!(json!({"n": 80}), ended.document["outputs"]);
    let order = std::fs::read_to_string(home.path("log/order")).unwrap();
    let order: Vec<&str> = order.lines().collect();
    assert_eq!((3, Some(&"last")), (order.len(), order.last()), "{order:?}");
}

#[test]
fn a_partition_of_several_files_has_them_all() {
    let home = Home::default();
    for n in 0..23 {
        home.write(&format!("in/{}/f{n}.txt", n % 3), format!("{n}\n"));
    }
    let script = r#"
        [ -z "$BRAID_NAME" ] || [ ! -d "$BRAID_INPUT" ] || exit 1
        sum() { awk '{ s += $1 } END { print s + 0 }'; }
        if [ -d "$BRAID_INPUT" ]; then files=$(find -L "$BRAID_INPUT" -type f | wc -l); else files=1; fi
        echo "{\"files\": $files, \"numbers\": $(sum)}" > "$BRAID_RESULTS""#;
    let spec = json!({
        "data": [{"name": "in", "files": {"url": "in/**/*.txt"}}],
        "steps": [{
            "name": "work",
            "over": {"data": "in", "split": {"files": 5}},
            "run": {"script": script},
            "results": [{"name": "files", "reduce": "Sum"}, {"name": "numbers", "reduce": "Sum"}],
        }],
    });
    let ended = home.run_spec("several", &spec).exits(0);
    assert_eq!((5, 5, 0), ended.counts("work"));
    assert_eq!(json!({"files": 23, "numbers": 22 * 23 / 2}), *ended.results("work"));
}

#[test]
fn enough_is_enough() {
    let home = Home::default();
    let spec = json!({
        "steps": [
            {
                "name": "find", "over": {"range": {"end": 100_000}}, "stopWhen": "results.found >= 25",
                "run": {"script": "echo '{\"found\": 1}' > $BRAID_RESULTS"},
                "results": [{"name": "found", "reduce": "Sum"}],
            },
            {"name": "then", "after": ["find"], "run": {"script": ":"}},
        ],
    });
    let ended = home.run_spec("enough", &spec).exits(0);
    let counts = &ended.document["steps"]["find"]["partitions"];
    let count = |name: &str| counts[name].as_u64().unwrap();
    assert!(count("succeeded") >= 25, "{counts}");
    assert_eq!(json!(count("succeeded")), ended.results("find")["found"]);
    assert_eq!(100_000, count("succeeded") + count("stopped"), "{counts}");
    assert!(count("stopped") > 0, "{counts}");
    assert_eq!(json!("Succeeded"), ended.document["steps"]["then"]["phase"]);
}

#[test]
fn rounds_go_on_until_the_results_are_as_wanted() {
    let home = Home::default();
    std::fs::create_dir(home.path("log")).unwrap();
    // Each round leaves one file more; each partition of a round tells how many it saw.
    let script = "ls $LOG | wc -l > $BRAID_RESULTS; mkdir -p $LOG/$BRAID_PARTITION-$(ls $LOG | wc -l)";
    let spec = json!({
        "steps": [{
            "name": "poll", "repeat": {"until": "results.seen >= 3", "max": 10, "every": "1s"},
            "run": {"script": script, "env": [{"name": "LOG", "value": home.path("log")}]},
            "results": [{"name": "seen", "reduce": "Sum"}],
        }],
    });
    let ended = home.run_spec("rounds", &spec).exits(0);
    assert_eq!(json!(3), ended.results("poll")["seen"]);
    assert_eq!(json!(4), ended.document["steps"]["poll"]["rounds"]);
    let spec = json!({
        "steps": [{
            "name": "poll", "repeat": {"until": "results.seen > 9", "max": 2}, "run": {"script": "echo 1 > $BRAID_RESULTS"},
            "results": [{"name": "seen", "reduce": "Sum"}],
        }],
    });
    let ended = home.run_spec("in-vain", &spec).exits(1);
    assert_eq!("RepeatExhausted", ended.step("poll")["stopping"]["reason"]);
}

#[test]
fn finally_runs_when_the_run_fails_and_when_it_is_cancelled() {
    let home = Home::default();
    let spec = |script: &str| {
        json!({
            "steps": [
                {"name": "work", "run": {"script": script}},
                {
                    "name": "hook", "finally": true, "when": "workflow.phase != 'Succeeded'",
                    "run": {"script": "echo \"$WHY\" > $SEEN", "env": [
                        {"name": "WHY", "value": "$(workflow.phase): $(workflow.message)"},
                        {"name": "SEEN", "value": home.path("seen")},
                    ]},
                },
            ],
        })
    };
    let seen = || std::fs::read_to_string(home.path("seen")).unwrap();
    home.run_spec("fails", &spec("exit 3")).exits(1);
    assert!(
        seen().starts_with("Failed: work: TooManyFailedPartitions"),
        "{}",
        seen()
    );
    let mut running = home.start(&home.workflow("stops", &spec("sleep 60")), &[]);
    running.until(|stored| stored["status"]["phase"] == "Running");
    running.change("cancel");
    let ended = running.wait().exits(3);
    assert_eq!("Cancelled: the run was cancelled\n", seen());
    assert_eq!("Succeeded", ended.step("hook")["phase"]);
    std::fs::remove_file(home.path("seen")).unwrap();
    let ended = home.run_spec("works", &spec(":")).exits(0);
    assert_eq!("Skipped", ended.step("hook")["phase"]);
    assert!(!home.path("seen").exists());
}

#[test]
fn parallelism_is_never_exceeded() {
    let home = Home::default();
    std::fs::create_dir(home.path("in")).unwrap();
    // Each partition tells how many are in at that moment, itself among them.
    let script = "mkdir $IN/$BRAID_PARTITION; ls $IN | wc -l > $BRAID_RESULTS; sleep 0.05; rmdir $IN/$BRAID_PARTITION";
    for (limit, concurrency, most) in [(json!("$(params.n)"), 1, 1), (json!(3), 4, 3), (json!(4), 4, 4)] {
        let spec = json!({
            "params": [{"name": "n", "value": 1}],
            "steps": [{
                "name": "work", "over": {"range": {"end": 24}}, "parallelism": limit,
                "run": {"script": script, "concurrency": concurrency, "env": [{"name": "IN", "value": home.path("in")}]},
                "results": [{"name": "seen", "reduce": "Max"}],
            }],
        });
        let ended = home.run_spec(&format!("most-{most}"), &spec).exits(0);
        let seen = &ended.results("work")["seen"];
        let seen = seen.get("value").unwrap_or(seen).as_u64().unwrap();
        assert!(seen <= most, "{seen} at once, {most} may");
        assert_eq!((24, 24, 0), ended.counts("work"));
    }
}
