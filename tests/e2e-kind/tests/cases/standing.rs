//! Standing pools in pods: shared by runs, changed under them, scaled by hand, never started.

use std::{collections::BTreeSet, time::Instant};

use braid_e2e_kind::{Space, USERLAND, suite};
use serde_json::{Value, json};

fn pool(space: &Space, name: &str, spec: &Value) {
    space.apply(&json!({
        "apiVersion": "braid.dev/v1alpha1", "kind": "WorkerPool", "metadata": {"name": name}, "spec": spec,
    }));
}

fn run(space: &Space, name: &str, pool: &str, partitions: u64, program: &Value) {
    space.run(
        name,
        &json!({
            "pools": [{"name": "default", "workerPoolRef": {"name": pool}}],
            "steps": [{
                "name": "count", "over": {"range": {"end": partitions}}, "run": program,
                "results": [{"name": "n", "reduce": "Sum"}],
            }],
        }),
    );
}

fn counting(pause: &str) -> Value {
    json!({"script": format!(r#"sleep {pause}; echo '{{"n": 1}}' >"$BRAID_RESULTS""#)})
}

#[track_caller]
fn exact(space: &Space, name: &str, partitions: u64) {
    let ended = space.finished(name);
    assert_eq!("Succeeded", ended["status"]["phase"], "{ended:#}");
    assert_eq!(
        json!(partitions),
        ended["status"]["steps"][0]["results"][0]["value"],
        "{ended:#}"
    );
}

fn ready(space: &Space, name: &str, count: u64) {
    space.until(&format!("{count} workers of {name}"), || {
        let pool = suite().json(&["get", "workerpools.braid.dev", name, "--namespace", space.name()]);
        let status = &pool["status"];
        (status["ready"] == json!(count) && status["workers"] == json!(count)).then_some(())
    });
}

fn pods(space: &Space) -> BTreeSet<String> {
    suite().pods(space.name()).into_iter().map(|(name, _)| name).collect()
}

fn patch(space: &Space, name: &str, change: &Value) {
    let change = change.to_string();
    let object = format!("workerpools.braid.dev/{name}");
    let words = [
        "patch",
        &object,
        "--namespace",
        space.name(),
        "--type=merge",
        "--patch",
        &change,
    ];
    suite().kubectl(&words);
}

/// For how many runs workers have something on their desks.
fn at_work(space: &Space) -> usize {
    let workers = space.list("workers.braid.dev");
    let shards = workers
        .iter()
        .flat_map(|worker| worker["spec"]["shards"].as_array().cloned().unwrap_or_default());
    shards
        .map(|shard| shard["run"]["uid"].to_string())
        .collect::<BTreeSet<_>>()
        .len()
}

/// Two runs at once on warm workers: no pod is started for them, and when the pool's template changes under a third, nothing is lost.
#[test]
fn runs_share_warm_workers_and_survive_a_change_of_the_template() {
    let space = Space::restricted("standing");
    pool(
        &space,
        "warm",
        &json!({"workers": {"min": 3, "max": 3}, "pods": {"image": USERLAND}}),
    );
    ready(&space, "warm", 3);
    // Workers say who they are before the node says that their pods run.
    let warm = space.until("three pods", || Some(pods(&space)).filter(|pods| pods.len() == 3));

    let begun = Instant::now();
    run(&space, "short", "warm", 1, &json!({"command": ["true"]}));
    space.until("its end", || {
        let phase = space.workflow("short")["status"]["phase"].clone();
        (phase == "Succeeded").then_some(())
    });
    println!(
        "a run of one partition on warm workers, by kubectl: {} ms",
        begun.elapsed().as_millis()
    );

    run(&space, "first", "warm", 120, &counting("0.3"));
    run(&space, "second", "warm", 120, &counting("0.3"));
    space.until("both at work", || (at_work(&space) == 2).then_some(()));
    exact(&space, "first", 120);
    exact(&space, "second", 120);
    assert_eq!(warm, pods(&space), "no pod was started or ended for them");

    run(&space, "third", "warm", 150, &counting("0.3"));
    space.until("it at work", || (at_work(&space) == 1).then_some(()));
    let marked = json!({"spec": {"pods": {"template": {"metadata": {"labels": {"edition": "two"}}}}}});
    patch(&space, "warm", &marked);
    space.until("three other pods", || {
        let now = pods(&space);
        (now.len() == 3 && now.is_disjoint(&warm)).then_some(())
    });
    exact(&space, "third", 150);
    assert_eq!(1, space.list("jobs.batch").len(), "the Job before is gone");
}

/// Who wants what the pool's pods are not is refused, with the difference.
#[test]
fn what_does_not_fit_is_refused() {
    let space = Space::restricted("unfit");
    pool(&space, "warm", &json!({"replicas": 0, "pods": {"image": USERLAND}}));
    run(
        &space,
        "run",
        "warm",
        1,
        &json!({"image": "braid.local/other:1", "command": ["true"]}),
    );
    let ended = space.finished("run");
    let accepted = ended["status"]["conditions"]
        .as_array()
        .unwrap()
        .iter()
        .find(|condition| condition["type"] == "Accepted");
    let accepted = accepted.unwrap();
    assert_eq!(
        ("False", "PoolDoesNotFit"),
        (
            accepted["status"].as_str().unwrap(),
            accepted["reason"].as_str().unwrap()
        )
    );
    assert!(
        accepted["message"].as_str().unwrap().contains("braid.local/other:1"),
        "{accepted}"
    );
}

/// People scale a pool of a fixed count, and cannot scale one whose count is the operator's.
#[test]
fn a_fixed_count_is_anybodys_and_bounds_are_the_operators() {
    let space = Space::restricted("scaled");
    pool(&space, "fixed", &json!({"replicas": 0, "pods": {"image": USERLAND}}));
    pool(
        &space,
        "elastic",
        &json!({"workers": {"max": 2}, "pods": {"image": USERLAND}}),
    );
    let scale = |name: &str| {
        let object = format!("workerpools.braid.dev/{name}");
        suite().try_kubectl(&["scale", &object, "--replicas=1", "--namespace", space.name()], None)
    };
    assert!(scale("fixed").status.success());
    ready(&space, "fixed", 1);
    let refused = scale("elastic");
    assert!(!refused.status.success());
    let told = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(told.contains("either workers"), "{told}");
}

/// A pool that never starts fails the step, in the words of the node.
#[test]
fn a_step_does_not_wait_for_ever_for_an_image() {
    let space = Space::restricted("never");
    let spec = json!({"workers": {"max": 1}, "pods": {"image": "braid.local/absent:1"}, "startDeadline": "25s"});
    pool(&space, "never", &spec);
    run(&space, "run", "never", 1, &json!({"command": ["true"]}));
    let ended = space.finished("run");
    assert_eq!("Failed", ended["status"]["phase"], "{ended:#}");
    let failed = ended["status"]["conditions"]
        .as_array()
        .unwrap()
        .iter()
        .find(|condition| condition["type"] == "Failed");
    let reason = failed.unwrap()["reason"].as_str().unwrap().to_owned();
    assert!(
        ["ErrImagePull", "ImagePullBackOff"].contains(&reason.as_str()),
        "{ended:#}"
    );
}
