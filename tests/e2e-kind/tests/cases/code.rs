//! Programs that live on, and what people do about a run, in pods: the same as on this machine.

use std::fs;
use std::process::Command;

use braid_e2e::{Home, braid, root};
use braid_e2e_kind::{Space, USERLAND, suite, told};
use serde_json::{Value, json};

/// `braid` with these words, on the cluster, from the directory of the examples; what it ends with, and all that it says.
fn braid_there(space: &Space, words: &[&str]) -> (Option<i32>, String) {
    let output = Command::new(braid())
        .args(words)
        .args(["--namespace", space.name()])
        .current_dir(root().join("examples"))
        .env("KUBECONFIG", suite().kubeconfig())
        .output()
        .unwrap();
    let said = [output.stdout, output.stderr].concat();
    (output.status.code(), String::from_utf8_lossy(&said).into_owned())
}

#[track_caller]
fn submit(space: &Space, file: &str) {
    let (code, said) = braid_there(space, &["submit", file]);
    assert_eq!(Some(0), code, "{said}");
}

/// A ConfigMap of one file.
fn config_map(space: &Space, name: &str, file: &str, text: &str) {
    space.apply(&json!({
        "apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": {file: text},
    }));
}

/// An example for pods, with the images that there are.
fn example(name: &str) -> String {
    let text = fs::read_to_string(root().join(format!("examples/kubernetes/{name}.yaml"))).unwrap();
    text.replace("python:3.13-slim", USERLAND)
}

/// A directory of code goes along as a ConfigMap, and both go with the run when its time is over.
#[test]
fn a_function_is_the_same_as_here_and_goes_when_its_time_is_over() {
    let space = Space::restricted("function");
    let home = Home::default();
    home.write(
        "src/double.py",
        fs::read(root().join("examples/src/double.py")).unwrap(),
    );
    let text = fs::read_to_string(root().join("examples/double.yaml")).unwrap();
    let file = home.write(
        "double.yaml",
        text.replace("\nspec:\n", "\nspec:\n  ttl: {afterSuccess: 20s}\n"),
    );
    submit(&space, &file.display().to_string());
    let there = space.finished("double");
    let codes = |space: &Space| {
        let maps = space.list("configmaps");
        maps.iter()
            .filter(|map| map["metadata"]["name"] != "kube-root-ca.crt")
            .count()
    };
    assert_eq!(1, codes(&space));
    let here = home.run(&root().join("examples/double.yaml"), &[]).exits(0);
    assert_eq!(told(&here.workflow), told(&there));
    assert_eq!(json!(100_000_u64 * 99_999), there["status"]["outputs"]["sum"]);
    space.until("nothing of the run", || {
        let kinds = [
            "workflows.braid.dev",
            "workerpools.braid.dev",
            "plans.braid.dev",
            "jobs",
            "pods",
        ];
        let gone = kinds.iter().all(|kind| space.list(kind).is_empty());
        (gone && codes(&space) == 0).then_some(())
    });
}

/// A server of HTTP that says "not now" and "there is none".
#[test]
fn a_server_is_the_same_as_here() {
    let space = Space::restricted("server");
    let server = fs::read_to_string(root().join("examples/enrich/server.py")).unwrap();
    config_map(&space, "enrich", "server.py", &server);
    space.apply_text(&example("enrich"));
    let home = Home::default();
    home.write("server.py", &server);
    let here = home.run(&root().join("examples/enrich/enrich.yaml"), &[]).exits(0);
    let there = space.finished("enrich");
    // Which of them is the sample of a cause depends on which failed first.
    let told = |workflow: &Value| {
        let step = &workflow["status"]["steps"][0];
        let causes = step["failures"].as_array().unwrap();
        let causes: Vec<_> = causes.iter().map(|cause| (&cause["reason"], &cause["count"])).collect();
        json!([
            workflow["status"]["outputs"],
            step["partitions"],
            step["results"],
            causes
        ])
    };
    assert_eq!(told(&here.workflow), told(&there));
    assert_eq!(json!(396), there["status"]["outputs"]["found"]);
}

/// A run that pauses has no pods; people mend what is mounted into them, and only what failed is run again.
#[test]
fn a_paused_run_goes_on_once_people_have_mended_it() {
    let space = Space::restricted("paused");
    config_map(&space, "rates", "rates.txt", "USD 2\n");
    let home = Home::default();
    let at_least = "    - name: default\n      workers: {min: 2, max: 2}\n";
    let example = example("pause-and-resume").replace("    - name: default\n", at_least);
    assert!(example.contains(at_least));
    submit(&space, &home.write("there.yaml", example).display().to_string());
    let paused = space.until("it pauses", || {
        let run = space.workflow("pause-and-resume");
        (run["status"]["phase"] == "Paused").then_some(run)
    });
    let step = &paused["status"]["steps"][0];
    let failed = step["partitions"]["failed"].as_u64().unwrap();
    assert!(failed > 5, "{step:#}");
    let (code, said) = braid_there(&space, &["partitions", "pause-and-resume", "--failed"]);
    assert_eq!(Some(0), code, "{said}");
    assert!(said.contains("Exit65") && said.contains("no rate of XAU"), "{said}");
    space.until("no pods", || space.list("pods").is_empty().then_some(()));

    config_map(&space, "rates", "rates.txt", "USD 2\nXAU 3\n");
    let (code, said) = braid_there(&space, &["retry", "pause-and-resume", "--failed"]);
    assert_eq!(Some(0), code, "{said}");
    let ended = space.finished("pause-and-resume");
    home.write("rates.txt", "USD 2\nXAU 3\n");
    let clean = home.run(&root().join("examples/pause-and-resume.yaml"), &[]).exits(0);
    let step = &ended["status"]["steps"][0];
    assert_eq!(clean.workflow["status"]["outputs"], ended["status"]["outputs"]);
    assert_eq!(
        clean.step("convert")["results"],
        step["results"],
        "as if nothing had been broken"
    );
    assert_eq!(json!({"total": 300, "succeeded": 300, "failed": 0}), step["partitions"]);
}

/// What an attempt has saved is there for the next one in the same pod, though the worker beside it has begun anew.
#[test]
fn an_attempt_goes_on_from_what_the_one_before_it_has_saved() {
    let space = Space::restricted("checkpoint");
    let script = r#"
        at=$(cat "$BRAID_CHECKPOINT/at" 2>/dev/null || echo 0)
        from=$at
        while [ "$at" -lt 4 ]; do
          sleep 0.21
          at=$((at + 1))
          echo "$at" > "$BRAID_CHECKPOINT/next" && mv "$BRAID_CHECKPOINT/next" "$BRAID_CHECKPOINT/at"
          [ "$at" -ne 2 ] || kill -9 $$
        done
        printf '{"from": {"%d": 1}, "steps": %d}' "$from" "$at" > "$BRAID_RESULTS""#;
    space.run(
        "saving",
        &json!({
            "pools": [{"name": "default", "workers": {"min": 1, "max": 1}}],
            "steps": [{
                "name": "save",
                "over": {"range": {"end": 12}},
                "run": {"image": USERLAND, "script": script, "checkpoint": {}},
                "retry": {"attempts": 3, "backoff": {"initial": "100ms"}},
                "results": [
                    {"name": "from", "reduce": "Sum", "keyed": true, "maxKeys": 10},
                    {"name": "steps", "reduce": "Sum"},
                ],
            }],
        }),
    );
    space.until("a program", || suite().find_processes("sleep 0.21").pop());
    // Programs run before the node says that their pod does.
    let worker = space.until("its worker", || {
        let pods = suite().pods(space.name());
        let workers = suite().find_processes("/braid-worker");
        workers.into_iter().find(|it| pods.iter().any(|pod| it.is_of(&pod.0)))
    });
    suite().end(&worker);
    let ended = space.finished("saving");
    let step = &ended["status"]["steps"][0];
    let value = |name: &str| {
        let results = step["results"].as_array().unwrap();
        results.iter().find(|result| result["name"] == name).unwrap()["value"].clone()
    };
    // Each was killed at 2; who was killed with the worker later on went on from 3.
    let from = value("from");
    let gone_on = |at: &str| from[at].as_u64().unwrap_or(0);
    assert_eq!(
        (12, json!(48)),
        (gone_on("2") + gone_on("3"), value("steps")),
        "{step:#}"
    );
}
