//! What people see with kubectl of runs, workers and pools, and what it explains: shapes and columns.

use braid_cluster::RealApiServer;
use kube::api::{Api, ApiResource, DynamicObject, PostParams};
use serde_json::{Value, json};

use braid_crds::{Worker, WorkerPool, Workflow};

use crate::fixture;

const NAMESPACE: &str = "people";

fn kubectl(server: &RealApiServer, words: &[&str]) -> String {
    let output = server.kubectl(NAMESPACE).unwrap().args(words).output().unwrap();
    let told = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && told.is_empty(), "kubectl {words:?}: {told}");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// The lines of a table with one space between its columns, ages left out: they differ.
fn table(text: &str) -> Vec<String> {
    let is_age = |word: &str| {
        word.len() > 1 && word.starts_with(|c: char| c.is_ascii_digit()) && {
            word.trim_start_matches(|c: char| c.is_ascii_digit())
                .starts_with(['s', 'm', 'h', 'd', 'y'])
        }
    };
    let line = |line: &str| {
        let words = line.split_whitespace();
        words
            .map(|word| if is_age(word) { "AGO" } else { word })
            .collect::<Vec<_>>()
            .join(" ")
    };
    text.lines().map(line).collect()
}

async fn make(api: &Api<DynamicObject>, object: &Value) {
    let given: DynamicObject = serde_json::from_value(object.clone()).unwrap();
    let mut made = api.create(&PostParams::default(), &given).await.unwrap();
    if let Some(status) = object.get("status") {
        made.data["status"] = status.clone();
        let name = object["metadata"]["name"].as_str().unwrap();
        api.replace_status(name, &PostParams::default(), &made).await.unwrap();
    }
}

/// A run that goes on, with a worker that works, one that is new, and a pool.
async fn furnish(server: &RealApiServer) {
    server.create_namespace(NAMESPACE).await.unwrap();
    let client = server.client(NAMESPACE).await.unwrap();
    let api = |resource: ApiResource| Api::<DynamicObject>::namespaced_with(client.clone(), NAMESPACE, &resource);
    let workflows = api(ApiResource::erase::<Workflow>(&()));
    let workers = api(ApiResource::erase::<Worker>(&()));
    let pools = api(ApiResource::erase::<WorkerPool>(&()));
    let kind = |kind: &str, name: &str, rest: Value| {
        let mut object = json!({"apiVersion": "braid.dev/v1alpha1", "kind": kind, "metadata": {"name": name}});
        object
            .as_object_mut()
            .unwrap()
            .extend(rest.as_object().unwrap().clone());
        object
    };
    let run = json!({
        "spec": {"steps": [
            {"name": "clean", "over": {"range": {"end": 100_000}}, "run": {"command": ["true"]},
             "results": [{"name": "rows", "reduce": "Sum"}]},
            {"name": "report", "after": ["clean"], "run": {"command": ["true"]}},
        ]},
        "status": {
            "phase": "Running", "startedAt": "2026-01-01T00:00:00Z",
            "summary": {"steps": "0/2", "partitions": "61234/100000", "failed": "12", "workers": "2",
                        "message": "clean: 2,031/s, about 19 s left"},
            "conditions": [{"type": "Accepted", "status": "True", "reason": "Accepted", "message": "",
                            "lastTransitionTime": "2026-01-01T00:00:00Z"}],
            "steps": [{"name": "clean", "phase": "Running",
                       "partitions": {"total": 100_000, "succeeded": 61_222, "failed": 12},
                       "results": [{"name": "rows", "value": 4711, "count": 61_222}]}],
        },
    });
    make(&workflows, &kind("Workflow", "delays", run)).await;
    let shard = |id: u64, start: u64, end: u64| {
        json!({"id": id, "for": "s1", "start": start, "end": end, "budgetMillis": 2000, "run": {
            "workflow": "delays", "uid": "u1", "step": "clean", "round": 0, "plan": "", "card": "sha256:1"}})
    };
    let busy = json!({
        "spec": {"podUID": "p1", "pool": "delays-u1", "nextShardId": 8,
                 "shards": [shard(6, 40_000, 41_000), shard(7, 41_000, 43_000)]},
        "status": {"startId": "s1", "protocol": {"min": 1, "max": 1}, "summary": {"done": 4711, "speed": "510/s"},
                   "shards": [{"id": 6, "startId": "s1", "cursor": 40_500, "sealed": false}]},
    });
    make(&workers, &kind("Worker", "delays-u1-0-x7b2c", busy)).await;
    let fresh = json!({"spec": {"podUID": "p2", "pool": "delays-u1", "drain": true}});
    make(&workers, &kind("Worker", "delays-u1-1-9wq4z", fresh)).await;
    let pool = json!({
        "spec": {"workers": {"min": 1, "max": 3}}, "status": {"wanted": 3, "workers": 2, "ready": 1, "message": "unschedulable"},
    });
    make(&pools, &kind("WorkerPool", "delays-u1", pool)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn kubectl_shows_runs_and_workers() {
    let server = fixture::server().await;
    furnish(&server).await;
    let get = |words: &[&str]| table(&kubectl(&server, &[&["get"], words].concat()));
    assert_eq!(
        get(&["bwf"]),
        [
            "NAME PHASE STEPS PARTITIONS FAILED WORKERS MESSAGE STARTED",
            "delays Running 0/2 61234/100000 12 2 clean: 2,031/s, about 19 s left AGO",
        ]
    );
    assert_eq!(
        get(&["workers.braid.dev"]),
        [
            "NAME WORKFLOW STEP FROM TO DONE SPEED AGE",
            "delays-u1-0-x7b2c delays clean 41000 43000 4711 510/s AGO",
            "delays-u1-1-9wq4z AGO",
        ]
    );
    assert_eq!(
        get(&["workers", "--output=wide"])[1..],
        [
            "delays-u1-0-x7b2c delays clean 41000 43000 4711 510/s delays-u1 AGO",
            "delays-u1-1-9wq4z true delays-u1 AGO",
        ]
    );
    assert_eq!(
        get(&["workerpools"]),
        [
            "NAME WANTED WORKERS READY RUNS MESSAGE AGE",
            "delays-u1 3 2 1 unschedulable AGO",
        ]
    );
    // Several kinds at once, and all of them.
    let both = get(&["bwf,workers"]);
    let all = get(&["braid"]);
    for name in ["workflow.braid.dev/delays", "worker.braid.dev/delays-u1-0-x7b2c"] {
        for text in [&both, &all] {
            assert!(
                text.iter().any(|line| line.starts_with(&format!("{name} "))),
                "{text:#?}"
            );
        }
    }
    assert!(
        all.iter()
            .any(|line| line.starts_with("workerpool.braid.dev/delays-u1 ")),
        "{all:#?}"
    );
    let described = kubectl(&server, &["describe", "bwf", "delays"]);
    let mut rest = described.as_str();
    for line in [
        "Name:         delays",
        "Namespace:    people",
        "Kind:         Workflow",
        "Spec:",
        "  Steps:",
        "    Name:  clean",
        "Status:",
        "  Conditions:",
        "    Type:                  Accepted",
        "  Phase:                   Running",
        "      Name:   rows",
        "      Value:  4711",
        "  Summary:",
        "    Message:     clean: 2,031/s, about 19 s left",
        "    Partitions:  61234/100000",
        "Events:          <none>",
    ] {
        let at = rest.find(&format!("{line}\n"));
        let at = at.unwrap_or_else(|| panic!("no {line:?} behind what is before it in\n{described}"));
        rest = &rest[at + line.len()..];
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn kubectl_explains_every_step_of_the_way() {
    let server = fixture::server().await;
    let output = |path: &str| {
        let output = server
            .kubectl("default")
            .unwrap()
            .args(["explain", path])
            .output()
            .unwrap();
        let told = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success(), "{path}: {told}");
        String::from_utf8_lossy(&output.stdout).into_owned()
    };
    for (path, parts) in [
        (
            "bwf",
            &["GROUP:      braid.dev", "KIND:       Workflow", "VERSION:    v1alpha1"][..],
        ),
        (
            "workflow.spec.steps",
            &[
                "FIELD: steps <[]Object>",
                "after\t<[]string>",
                "name\t<string> -required-",
                "run\t<Object>",
            ],
        ),
        (
            "workflow.spec.steps.run",
            &["command\t<[]string>", "script\t<string>", "image\t<string>"],
        ),
        ("worker.status.summary", &["done\t<integer>", "speed\t<string>"]),
    ] {
        let text = output(path);
        for part in parts {
            assert!(text.contains(part), "{path}: no {part:?} in\n{text}");
        }
        // A field without a word about it explains nothing.
        assert!(
            !text.contains("<no description>") && text.contains("DESCRIPTION:"),
            "{path}:\n{text}"
        );
    }
}
