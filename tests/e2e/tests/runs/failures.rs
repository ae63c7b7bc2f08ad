//! Failures told apart, retried, tolerated.

use braid_e2e::Home;
use serde_json::{Value, json};

/// A step of one partition per item whose script is the item.
fn each(scripts: &[&str], more: &Value) -> Value {
    let mut step = json!({
        "name": "each",
        "over": {"items": scripts},
        "run": {"command": ["sh", "-c", "eval \"$(printf %s \"$BRAID_ITEM\" | sed 's/^\"//; s/\"$//')\""]},
        "results": [{"name": "n", "reduce": "Sum"}],
        "maxFailedPartitions": "100%",
        "partitionTimeout": "1s",
    });
    for (key, value) in more.as_object().unwrap() {
        step[key] = value.clone();
    }
    json!({"steps": [step]})
}

fn causes(step: &Value) -> Vec<(String, u64)> {
    let mut causes: Vec<(String, u64)> = step["failures"]
        .as_array()
        .unwrap()
        .iter()
        .map(|cause| {
            (
                cause["reason"].as_str().unwrap().to_owned(),
                cause["count"].as_u64().unwrap(),
            )
        })
        .collect();
    causes.sort();
    causes
}

#[test]
fn every_cause_has_its_name() {
    let home = Home::default();
    let scripts = [
        "exit 3",
        "exit 3",
        "kill -9 $$",
        "kill -USR1 $$",
        "sleep 60",
        "echo no json > $BRAID_RESULTS",
        "echo '[1, 2]' > $BRAID_RESULTS",
        "seq 100000 > $BRAID_RESULTS",
        "echo 5 > $BRAID_RESULTS",
        ":",
    ];
    let ended = home.run_spec("causes", &each(&scripts, &json!({}))).exits(0);
    let step = ended.step("each");
    let expected = [
        ("BadResult", 2),
        ("Exit3", 2),
        ("ResultTooLarge", 1),
        ("Signal10", 1),
        ("Signal9", 1),
        ("Timeout", 1),
    ];
    let expected: Vec<(String, u64)> = expected
        .iter()
        .map(|(name, count)| ((*name).to_owned(), *count))
        .collect();
    assert_eq!(expected, causes(step), "{step:#}");
    assert_eq!((10, 2, 8), ended.counts("each"));
    assert_eq!(json!(5), ended.results("each")["n"]);
    assert_eq!("0-7", step["failed"]);
}

#[test]
fn a_program_that_is_not_there_says_so() {
    let home = Home::default();
    let spec = json!({"steps": [{"name": "a", "run": {"command": ["no-such-program-anywhere"]}}]});
    let ended = home.run_spec("nothing", &spec).exits(1);
    let cause = &ended.step("a")["failures"][0];
    assert_eq!("NotRunnable", cause["reason"], "{cause}");
    assert!(
        cause["message"].as_str().unwrap().contains("no-such-program-anywhere"),
        "{cause}"
    );
}

#[test]
fn more_failures_than_may_be_fail_the_step() {
    let home = Home::default();
    let script = "[ $((BRAID_ITEM % 10)) -ne 3 ] || exit 9; echo 1 > $BRAID_RESULTS";
    let spec = |tolerated: Value| {
        json!({"steps": [
            {
                "name": "work",
                "over": {"range": {"end": 50}},
                "run": {"script": script},
                "results": [{"name": "n", "reduce": "Sum"}],
                "maxFailedPartitions": tolerated,
            },
            {"name": "then", "after": ["work"], "run": {"script": ":"}},
        ]})
    };
    for tolerated in [json!(5), json!("10%")] {
        let name = format!("just-{}", tolerated.to_string().len());
        let ended = home.run_spec(&name, &spec(tolerated)).exits(0);
        assert_eq!((50, 45, 5), ended.counts("work"));
        assert_eq!(json!(45), ended.results("work")["n"]);
        assert_eq!("3,13,23,33,43", ended.step("work")["failed"]);
    }
    for tolerated in [json!(4), json!("9%"), json!(0)] {
        let name = format!("over-{}-{}", tolerated.to_string().len(), tolerated == json!(0));
        let ended = home.run_spec(&name, &spec(tolerated)).exits(1);
        assert_eq!("Failed", ended.document["phase"]);
        assert_eq!("Failed", ended.document["steps"]["work"]["phase"]);
        assert_eq!("Skipped", ended.document["steps"]["then"]["phase"]);
    }
}

#[test]
fn attempts_and_backoff() {
    let home = Home::default();
    // Every partition tells when it was tried; the third attempt succeeds.
    let script = r#"
        echo "$BRAID_ATTEMPT $(date +%s%3N)" >> "$DIR/$BRAID_PARTITION"
        [ "$BRAID_ATTEMPT" -eq 3 ] || exit 1
        echo "$BRAID_ATTEMPT" > "$BRAID_RESULTS""#;
    std::fs::create_dir(home.path("tries")).unwrap();
    let spec = json!({"steps": [{
        "name": "work",
        "over": {"range": {"end": 20}},
        "run": {"script": script, "env": [{"name": "DIR", "value": home.path("tries")}]},
        "retry": {"attempts": 3, "backoff": {"initial": "300ms", "max": "1s"}},
        "results": [{"name": "n", "reduce": "Sum"}],
    }]});
    let ended = home.run_spec("tries", &spec).exits(0);
    assert_eq!(json!(60), ended.results("work")["n"]);
    assert_eq!(json!(40), ended.step("work")["retried"]);
    for partition in 0..20 {
        let tries = std::fs::read_to_string(home.path(&format!("tries/{partition}"))).unwrap();
        // An attempt may be run twice, as any partition may; when each was first begun is what the waits are about.
        let begun = |attempt: u64| {
            let of = |line: &str| {
                let (number, at) = line.split_once(' ').unwrap();
                (number.parse::<u64>().unwrap() == attempt).then(|| at.parse::<u64>().unwrap())
            };
            tries.lines().filter_map(of).min().unwrap()
        };
        let tries = [begun(1), begun(2), begun(3)];
        // A wait is random between half and the whole of the nominal one, or longer if nobody is free: never shorter.
        assert!(
            tries[1] - tries[0] >= 150 && tries[2] - tries[1] >= 300,
            "{partition}: {tries:?}"
        );
    }
}

#[test]
fn a_file_that_changes_fails_its_partition() {
    let home = Home::default();
    for n in 100..200 {
        home.write(&format!("data/{n}.txt"), format!("{n}\n"));
    }
    // The first to run changes the last, which is far from being opened.
    let script = r#"
        sleep 0.02
        [ "$BRAID_NAME" != 100.txt ] || echo changed >> "$DATA/199.txt"
        wc -l < "$BRAID_INPUT" > "$BRAID_RESULTS""#;
    let spec = json!({
        "data": [{"name": "all", "files": {"url": "data/*.txt"}}],
        "steps": [{
            "name": "work",
            "over": {"data": "all", "split": {"files": 1}},
            "run": {"script": script, "env": [{"name": "DATA", "value": home.path("data")}]},
            "retry": {"attempts": 5},
            "results": [{"name": "lines", "reduce": "Sum"}],
            "maxFailedPartitions": 1,
        }],
    });
    let ended = home.run_spec("changes", &spec).exits(0);
    let step = ended.step("work");
    assert_eq!(vec![("InputChanged".to_owned(), 1)], causes(step), "{step:#}");
    assert_eq!(
        (json!(1), json!(99)),
        (
            step["failures"][0]["attempts"].clone(),
            step["failures"][0]["sample"].clone()
        )
    );
    assert_eq!(json!(99), ended.results("work")["lines"]);
}
