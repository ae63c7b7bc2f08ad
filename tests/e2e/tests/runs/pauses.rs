//! Failures beyond what may be: a pause, its end, and what failed tried again.

use braid_e2e::{Ended, Home, braid, root};
use serde_json::{Value, json};

/// The results of a step as they are stored, with all that they are folded from.
fn results(ended: &Ended, step: &str) -> Value {
    ended.step(step)["results"].clone()
}

#[test]
fn the_example_pauses_is_mended_and_ends_as_if_nothing_had_been_broken() {
    let home = Home::default();
    let manifest = root().join("examples/pause-and-resume.yaml");
    let paused = home.run(&manifest, &[]).exits(5);
    assert_eq!("Paused", paused.document["phase"]);
    let step = paused.step("convert");
    assert_eq!("TooManyFailedPartitions", step["paused"]["reason"], "{step:#}");
    assert_eq!("Exit65", step["failures"][0]["reason"]);
    assert_eq!(json!(0), step["retried"], "a rule says that trying again does not help");
    let failed = step["failed"].clone();

    let listed = home
        .again(&manifest, &["partitions", "--failed", "-o", "json"])
        .exits(0);
    assert_eq!(1, listed.document.as_array().unwrap().len(), "{}", listed.out);
    let row = &listed.document[0];
    assert_eq!((&json!("Exit65"), &json!("Failed")), (&row["cause"], &row["state"]));
    assert_eq!(step["partitions"]["failed"], row["count"]);
    assert!(row["message"].as_str().unwrap().contains("no rate of"), "{row}");
    let shown = home.again(&manifest, &["get"]).exits(0);
    for words in ["convert", "Paused", "Exit65", "no rate of", " --failed", "braid resume"] {
        assert!(shown.out.contains(words), "{words}: {}", shown.out);
    }

    // Started again as it is, it waits for people again.
    let again = home.run(&manifest, &[]).exits(5);
    assert_eq!(failed, again.step("convert")["failed"]);

    home.write("rates.txt", "USD 2\nXAU 3\n");
    let ended = home
        .again(&manifest, &["retry", "--failed", "-o", "json", "--workers", "2"])
        .exits(0);
    let total: u64 = (0..300)
        .map(|n| (n + 1) * if n % 10 == 3 { 3 } else { 1 + n % 2 })
        .sum();
    let outputs = &ended.document["outputs"];
    assert_eq!(json!(total), outputs["total"]);
    assert_eq!(json!({"EUR": 150, "USD": 120, "XAU": 30}), outputs["orders"]);
    assert_eq!((300, 300, 0), ended.counts("convert"));
    let clean = Home::default();
    clean.write("rates.txt", "USD 2\nXAU 3\n");
    let clean = clean.run(&manifest, &[]).exits(0);
    assert_eq!(results(&clean, "convert"), results(&ended, "convert"), "byte for byte");
    home.again(&manifest, &["retry", "--failed"]).exits(2);
}

#[test]
fn what_is_resumed_accepts_what_has_failed() {
    let home = Home::default();
    let script = r#"[ -e ok ] || [ $((BRAID_ITEM % 10)) -ne 3 ] || exit 7; echo 1 > "$BRAID_RESULTS""#;
    let spec = json!({"steps": [{
        "name": "work",
        "over": {"range": {"end": 200}},
        "run": {"script": script},
        "results": [{"name": "n", "reduce": "Sum"}],
        "maxFailedPartitions": 2,
        "onFailure": "Pause",
    }]});
    let paused = home.run_spec("resumed", &spec).exits(5);
    let failed = paused.counts("work").2;
    assert!(failed > 2, "{:?}", paused.counts("work"));
    home.write("ok", "");
    let manifest = home.path("resumed.json");
    let ended = home.again(&manifest, &["resume"]).exits(0);
    assert!(ended.out.contains("Succeeded"), "{}", ended.out);
    let step = ended.step("work");
    assert_eq!(
        (json!(failed), json!(failed)),
        (step["accepted"].clone(), step["partitions"]["failed"].clone())
    );
    assert_eq!(json!(200 - failed), step["results"][0]["value"]);
}

#[test]
fn a_failed_run_is_opened_again_with_what_is_behind() {
    let home = Home::default();
    let script = r#"[ -e ok ] || [ $((BRAID_ITEM % 50)) -ne 3 ] || exit 7; echo 1 > "$BRAID_RESULTS""#;
    let spec = json!({
        "steps": [
            {
                "name": "work",
                "over": {"range": {"end": 200}},
                "run": {"script": script},
                "results": [{"name": "n", "reduce": "Sum"}],
                "onFailure": "Continue",
            },
            {
                "name": "then",
                "after": ["work"],
                "run": {"script": "echo \"$N\" > \"$BRAID_RESULTS\"", "env": [{"name": "N", "value": "$(steps.work.results.n)"}]},
                "results": [{"name": "n", "reduce": "Sum"}],
            },
            {
                "name": "last",
                "finally": true,
                "run": {"script": "echo \"$PHASE\" >> phases", "env": [{"name": "PHASE", "value": "$(workflow.phase)"}]},
            },
        ],
        "outputs": [{"name": "n", "value": "steps.then.results.n"}],
    });
    let failed = home.run_spec("again", &spec).exits(1);
    assert_eq!((200, 196, 4), failed.counts("work"));
    assert_eq!("Skipped", failed.step("then")["phase"]);
    home.write("ok", "");
    let manifest = home.path("again.json");
    let ended = home.again(&manifest, &["retry", "--failed", "-o", "json"]).exits(0);
    assert!(ended.err.contains("work (4 partitions)"), "{}", ended.err);
    assert_eq!(json!(200), ended.document["outputs"]["n"]);
    assert_eq!((200, 200, 0), ended.counts("work"));
    assert_eq!("Failed Succeeded", home.shell("xargs < phases"));
}

/// A run below the default root is removed by the next one once its time is over, and not if it is to be kept.
#[test]
fn ended_runs_go_when_their_time_is_over() {
    let home = Home::default();
    let spec = |ttl: Value| json!({"ttl": ttl, "steps": [{"name": "a", "run": {"script": ":"}}]});
    for (name, ttl) in [
        ("short", json!({"afterSuccess": "10ms"})),
        ("long", json!({"afterSuccess": "1h"})),
        ("kept", json!({"afterFailure": "1s"})),
    ] {
        home.workflow(name, &spec(ttl));
    }
    let run = |name: &str| {
        let script = format!(
            "XDG_STATE_HOME=\"$PWD/state\" '{}' run {name}.json --progress plain 2>&1",
            braid().display()
        );
        home.shell(&script)
    };
    let there = || home.shell("ls state/braid | sed 's/-[0-9a-f]*$//' | sort | xargs");
    run("short");
    assert_eq!("short", there());
    run("long");
    run("kept");
    let told = run("kept");
    assert_eq!("kept kept long", there(), "{told}");
}

#[test]
fn a_rule_ends_a_step_at_its_first_failure_of_that_kind() {
    let home = Home::default();
    let script = r#"[ "$BRAID_ITEM" -ne 5 ] || exit 78; echo 1 > "$BRAID_RESULTS""#;
    let spec = json!({"steps": [{
        "name": "work",
        "over": {"range": {"end": 2000}},
        "run": {"script": script},
        "maxFailedPartitions": "50%",
        "retry": {"attempts": 9, "rules": [{"exitCodes": [78], "action": "FailStep"}]},
    }]});
    let ended = home.run_spec("rule", &spec).exits(1);
    let step = ended.step("work");
    assert_eq!("FailStep", step["stopping"]["reason"], "{step:#}");
    assert!(step["message"].as_str().unwrap().contains("partition 5"), "{step:#}");
    assert_eq!(
        ("Exit78", json!(1)),
        (
            step["failures"][0]["reason"].as_str().unwrap(),
            step["failures"][0]["attempts"].clone()
        )
    );
    assert!(ended.counts("work").1 < 1_999, "{:?}", ended.counts("work"));
}

/// One of a hundred partitions fails for good, by chance and in every way there is: it exits, kills its process, hangs, or has no
/// memory. The run pauses at its limit again and again until the fault is mended; in the end it is as if there had been none.
#[test]
fn every_way_to_fail_is_told_and_a_retry_gives_what_a_clean_run_gives() {
    let home = Home::default();
    // By the number's digest, so that it is the same at every attempt.
    let script = r#"
        if [ ! -e mended ]; then
          case $(printf %s "$BRAID_ITEM" | cksum) in
            *[05]00" "*) exit 3 ;;
            *[16]11" "*) kill -9 $$ ;;
            *[27]22" "*) sleep 60 ;;
            *[38]33" "*) ulimit -v 40000; awk 'BEGIN { s = "x"; while (1) s = s s }' || exit 137 ;;
          esac
        fi
        echo "{\"n\": 1, \"sum\": $BRAID_ITEM}" > "$BRAID_RESULTS""#;
    let spec = json!({"steps": [{
        "name": "work",
        "over": {"range": {"end": 2_000}},
        "run": {"script": script},
        "results": [{"name": "n", "reduce": "Sum"}, {"name": "sum", "reduce": "Sum"}],
        "partitionTimeout": "3s",
        "maxFailedPartitions": 5,
        "onFailure": "Pause",
    }]});
    let paused = home.run_spec("ways", &spec).exits(5);
    assert!(paused.counts("work").1 < 1_990, "{:?}", paused.counts("work"));
    let manifest = home.path("ways.json");
    // Who does not believe it yet goes on, to the end of the step: the limit is met again on the way.
    let mut ended = home.again(&manifest, &["resume"]);
    let mut pauses = 1;
    while ended.code == Some(5) {
        pauses += 1;
        ended = home.again(&manifest, &["resume"]);
    }
    let ended = ended.exits(0);
    let step = ended.step("work");
    let digits = home.shell("i=0; while [ $i -lt 2000 ]; do printf %s $i | cksum; i=$((i + 1)); done | cut -d' ' -f1");
    let ends = |tails: [&str; 2]| {
        digits
            .lines()
            .filter(|line| tails.iter().any(|tail| line.ends_with(tail)))
            .count() as u64
    };
    let mut expected = vec![
        ("Exit137", ends(["333", "833"])),
        ("Exit3", ends(["000", "500"])),
        ("Signal9", ends(["111", "611"])),
        ("Timeout", ends(["222", "722"])),
    ];
    expected.retain(|(_, count)| *count > 0);
    let failures = step["failures"].as_array().unwrap();
    let mut told: Vec<(&str, u64)> = (failures.iter())
        .map(|cause| (cause["reason"].as_str().unwrap(), cause["count"].as_u64().unwrap()))
        .collect();
    told.sort_unstable();
    assert_eq!(expected, told);
    let failed: u64 = expected.iter().map(|(_, count)| count).sum();
    assert!(failed > 5 && pauses > 1, "{failed} failed, {pauses} pauses");
    assert_eq!(json!(2_000 - failed), step["results"][0]["value"]);

    home.write("mended", "");
    let mended = home.again(&manifest, &["retry", "--failed", "-o", "json"]).exits(0);
    assert_eq!((2_000, 2_000, 0), mended.counts("work"));
    assert_eq!(json!({"n": 2_000, "sum": 1_999_000}), *mended.results("work"));
    let clean = home.run_spec("clean", &spec).exits(0);
    assert_eq!(results(&clean, "work"), results(&mended, "work"), "byte for byte");
}
