//! Pods as a run has them: how many, why none, what their containers may use, where their data are.

use std::fs;

use braid_e2e::Home;
use braid_e2e_kind::{Space, USERLAND, suite, told};
use serde_json::{Value, json};

/// The words of the run's conditions.
fn conditions(space: &Space, name: &str) -> String {
    space.workflow(name)["status"]["conditions"].to_string()
}

fn step(name: &str, command: &Value) -> Value {
    json!({
        "name": name,
        "over": {"range": {"end": 60}},
        "run": {"image": USERLAND, "command": command},
    })
}

/// There are as many as may be while there is work, fewer at once when fewer may be, none when the run is over.
#[test]
fn workers_follow_the_work() {
    let space = Space::restricted("elastic");
    let pools = |max: u8| json!([{"name": "default", "workers": {"max": max}}]);
    space.run(
        "run",
        &json!({"pools": pools(3), "steps": [step("sleep", &json!(["sleep", "0.5"]))]}),
    );
    let running = || suite().pods(space.name()).len();
    space.until("three workers", || (running() == 3).then_some(()));
    let change = json!({"spec": {"pools": pools(1)}}).to_string();
    let patch = [
        "patch",
        "workflow.braid.dev/run",
        "--namespace",
        space.name(),
        "--type=merge",
        "--patch",
        &change,
    ];
    suite().kubectl(&patch);
    space.until("one worker", || (running() == 1).then_some(()));
    let ended = space.finished("run");
    assert_eq!("Succeeded", ended["status"]["phase"], "{ended:#}");
    assert_eq!(json!(60), ended["status"]["steps"][0]["partitions"]["succeeded"]);
    space.until("no worker", || space.list("pods").is_empty().then_some(()));
    assert_eq!(json!(0), space.list("workerpools.braid.dev")[0]["spec"]["workers"]);
    // The desks go when nothing is on them.
    space.until("no desk", || space.list("workers.braid.dev").is_empty().then_some(()));
}

/// An image that cannot be had is told, in the words of the node, and the run can be cancelled.
#[test]
fn an_absent_image_is_told() {
    let space = Space::restricted("absent");
    let mut step = step("never", &json!(["true"]));
    step["run"]["image"] = json!("braid.local/absent:1");
    space.run("run", &json!({"steps": [step]}));
    space.until("why there are no workers", || {
        let told = conditions(&space, "run");
        (told.contains("ErrImagePull") || told.contains("ImagePullBackOff")).then_some(())
    });
    suite().kubectl(&[
        "patch",
        "workflow.braid.dev/run",
        "--namespace",
        space.name(),
        "--type=merge",
        "--patch",
        r#"{"spec": {"cancel": true}}"#,
    ]);
    assert_eq!("Cancelled", space.finished("run")["status"]["phase"]);
    // For `kubectl describe`, each once.
    space.until("the events", || {
        let events = space.list("events.v1.events.k8s.io");
        let told = |reason: &str| {
            let of_run = |event: &&Value| event["regarding"]["kind"] == "Workflow" && event["reason"] == reason;
            events.iter().filter(of_run).count()
        };
        ([told("StepStarted"), told("NoWorkers"), told("Cancelled")] == [1, 1, 1]).then_some(())
    });
}

/// Who queues Jobs suspends them; the run says so, and goes on when it may.
#[test]
fn a_queue_may_hold_the_workers() {
    let space = Space::restricted("queued");
    space.run("run", &json!({"steps": [step("sleep", &json!(["sleep", "0.2"]))]}));
    let suspend = |job: &str, yes: bool| {
        let change = json!({"spec": {"suspend": yes}}).to_string();
        suite().kubectl(&[
            "patch",
            "job",
            job,
            "--namespace",
            space.name(),
            "--type=merge",
            "--patch",
            &change,
        ]);
    };
    let job = space.until("the Job", || {
        let jobs = space.list("jobs.batch");
        Some(jobs.first()?["metadata"]["name"].as_str()?.to_owned())
    });
    suspend(&job, true);
    space.until("that it is queued", || {
        conditions(&space, "run").contains("Queued").then_some(())
    });
    suspend(&job, false);
    let ended = space.finished("run");
    assert_eq!(
        json!(60),
        ended["status"]["steps"][0]["partitions"]["succeeded"],
        "{ended:#}"
    );
}

/// A program that takes more memory than there is fails alone; its container and the programs beside it live.
#[test]
fn memory_is_the_programs_own_fault() {
    let space = Space::restricted("memory");
    // A quarter of a mebibyte every fiftieth of a second, in a container of 256: a second from where the shim acts to where the
    // kernel would.
    let grow = r#"[ "$BRAID_ITEM" = 7 ] && exec perl -e 'my @x; while (1) { push @x, "x" x (1 << 18); select(undef, undef, undef, 0.02) }'
sleep 0.2; echo '{"n": 1}' >"$BRAID_RESULTS""#;
    space.run(
        "run",
        &json!({
            "pools": [{"name": "default", "workers": {"max": 1}}],
            "steps": [{
                "name": "grow",
                "over": {"range": {"end": 20}},
                "run": {
                    "image": USERLAND, "script": grow, "concurrency": 2,
                    "resources": {"limits": {"memory": "256Mi"}},
                },
                "maxFailedPartitions": 1,
                "results": [{"name": "n", "reduce": "Sum"}],
            }],
        }),
    );
    let pod = space.until("its pod", || suite().pods(space.name()).pop());
    let ended = space.finished("run");
    let step = &ended["status"]["steps"][0];
    assert_eq!("Succeeded", ended["status"]["phase"], "{step:#}");
    assert_eq!(json!(19), step["results"][0]["value"], "{step:#}");
    assert_eq!("OutOfMemory", step["failures"][0]["reason"], "{step:#}");
    assert_eq!(json!(7), step["failures"][0]["sample"], "{step:#}");
    // Nothing was replaced: the pod was the same to the end.
    assert!(
        space
            .list("pods")
            .iter()
            .all(|other| other["metadata"]["name"] == pod.0),
        "{pod:?}"
    );
}

/// Texts on a volume come to what the same texts in a directory come to.
#[test]
fn data_on_a_volume_are_the_same_as_here() {
    let space = Space::restricted("volume");
    let texts = [
        ("a.txt", "one two\nthree\n"),
        ("b.txt", "four\r\n\r\nfive six seven"),
        ("c.txt", ""),
    ];
    let map: serde_json::Map<String, Value> = texts
        .iter()
        .map(|(name, text)| ((*name).to_owned(), json!(text)))
        .collect();
    space.apply(&json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "texts"}, "data": map}));
    let script = r#"printf '{"words": %d, "bytes": %d}' "$(wc -w <"$BRAID_INPUT")" "$(wc -c <"$BRAID_INPUT")" >"$BRAID_RESULTS""#;
    let spec = |files: &Value| {
        json!({
            "data": [{"name": "texts", "files": files}],
            "steps": [{
                "name": "count",
                "over": {"data": "texts", "split": {"bytes": "8"}},
                "run": {"image": USERLAND, "script": script},
                "results": [{"name": "words", "reduce": "Sum"}, {"name": "bytes", "reduce": "Sum"}],
            }],
            "outputs": [{"name": "words", "value": "steps.count.results.words"}],
        })
    };
    space.run(
        "words",
        &spec(&json!({"url": "*.txt", "format": "Text", "volume": {"configMap": {"name": "texts"}}})),
    );

    let folder = std::env::temp_dir().join(space.name());
    fs::create_dir_all(&folder).unwrap();
    for (name, text) in texts {
        fs::write(folder.join(name), text).unwrap();
    }
    let file = folder.join("words.yaml");
    let here = json!({
        "apiVersion": "braid.dev/v1alpha1", "kind": "Workflow", "metadata": {"name": "words"},
        "spec": spec(&json!({"url": "*.txt", "format": "Text", "volume": {"hostPath": {"path": folder}}})),
    });
    fs::write(&file, here.to_string()).unwrap();
    let here = Home::default().run(&file, &[]).exits(0);
    fs::remove_dir_all(&folder).unwrap();
    let there = space.finished("words");
    assert_eq!(told(&here.workflow), told(&there));
    assert_eq!(json!({"words": 7}), there["status"]["outputs"]);
}
