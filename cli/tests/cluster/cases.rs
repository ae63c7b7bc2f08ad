//! What holds on any API server.

use k8s_openapi::api::core::v1::ConfigMap;
use kube::{Api, ResourceExt as _, api::ListParams};
use serde_json::json;
use tokio::runtime::Handle;

use crate::{
    harness::NUMBER,
    site::{Site, status},
};

/// A case: a claim about commands on a server, in a namespace of its own.
pub type Case = fn(&Site);

/// All of them.
pub const ALL: [(&str, Case); 8] = [
    (
        "a workflow is submitted, seen and waited for",
        a_workflow_is_submitted_seen_and_waited_for,
    ),
    ("the code of a function goes along", the_code_of_a_function_goes_along),
    ("names are made by the server", names_are_made_by_the_server),
    ("a run is watched to its end", a_run_is_watched_to_its_end),
    (
        "a submission can be watched and waited for",
        a_submission_can_be_watched_and_waited_for,
    ),
    ("waiting ends as the run does", waiting_ends_as_the_run_does),
    ("what is wrong is not created", what_is_wrong_is_not_created),
    (
        "a run is suspended, resumed and cancelled",
        a_run_is_suspended_resumed_and_cancelled,
    ),
];

fn the_code_of_a_function_goes_along(site: &Site) {
    let code = site.home.path("code");
    std::fs::create_dir_all(&code).unwrap();
    std::fs::write(code.join("work.py"), "def f(item): return item\n").unwrap();
    let step = json!({"name": "one", "run": {"function": "work:f", "code": {"path": code}}});
    let text = |name: &str, step: &serde_json::Value| {
        json!({
            "apiVersion": "braid.dev/v1alpha1", "kind": "Workflow", "metadata": {"name": name}, "spec": {"steps": [step]},
        })
        .to_string()
    };
    site.pipe(&["submit", "-"], &text("coded", &step)).exits(0);
    let created = site.get(&site.namespace, "coded");
    let code = created.spec.steps[0].run.code.clone().unwrap();
    assert_eq!(code.path, None);
    let maps: Api<ConfigMap> = Api::namespaced(site.client.clone(), &site.namespace);
    let listed = |runtime: &Handle| {
        let maps = runtime.block_on(maps.list(&ListParams::default())).unwrap().items;
        let ours = maps.into_iter().filter(|map| map.name_any().starts_with("braid-code-"));
        ours.collect::<Vec<_>>()
    };
    let made = listed(&site.runtime);
    assert_eq!(made.len(), 1, "{made:?}");
    let map = &made[0];
    assert_eq!(map.name_any(), code.config_map_ref.unwrap().name);
    assert_eq!(map.immutable, Some(true));
    assert!(map.binary_data.as_ref().unwrap()["code.tar.gz"].0.len() > 20);
    let owner = &map.metadata.owner_references.as_ref().unwrap()[0];
    assert_eq!(Some(&owner.uid), created.metadata.uid.as_ref());
    // There is such a run: this one's code does not stay.
    site.pipe(&["submit", "-"], &text("coded", &step)).exits(2);
    assert_eq!(listed(&site.runtime).len(), 1);

    // Who takes over has it, too, however long the first stays.
    let mut said = status("Failed", "StepFailed", 0, "m");
    said["steps"] = json!([{"name": "one", "phase": "Failed", "closed": true, "startedAt": said["startedAt"]}]);
    site.say("coded", &said);
    site.braid(&["retry", "coded", "--new", "again"]).exits(0);
    let again = site.get(&site.namespace, "again");
    let from = again.spec.resume_from.as_ref().unwrap();
    assert_eq!(("coded", 0), (from.name.as_str(), again.spec.steps.len()));
    let owners = listed(&site.runtime)[0].metadata.owner_references.clone().unwrap();
    let uids: Vec<Option<String>> = owners.into_iter().map(|owner| Some(owner.uid)).collect();
    assert_eq!(vec![created.metadata.uid, again.metadata.uid], uids);
    let made = site.braid(&["retry", "coded", "--new"]).exits(0).out;
    assert!(made.starts_with("workflow.braid.dev/coded-"), "{made}");
}

pub fn submit(site: &Site, name: &str) {
    let file = site.home.numbers(name, 10, NUMBER);
    site.braid(&["submit", file.to_str().unwrap()]).exits(0);
}

fn a_workflow_is_submitted_seen_and_waited_for(site: &Site) {
    let file = site.home.numbers("small", 10, NUMBER);
    let file = file.to_str().unwrap();
    let said = site
        .braid(&["submit", file, "-p", "factor=3", "--dry-run", "server", "-o", "name"])
        .exits(0);
    assert_eq!("workflow.braid.dev/small\n", said.out);
    assert!(site.names(&site.namespace).is_empty());

    let said = site.braid(&["submit", file, "-p", "factor=3"]).exits(0);
    assert_eq!("workflow.braid.dev/small created\n", said.out);
    assert!(
        said.err.contains(&format!("braid watch -n {} small", site.namespace)),
        "{}",
        said.err
    );
    let created = site.get(&site.namespace, "small");
    assert_eq!(Some(json!(3)), created.spec.params[0].value);

    let again = site.braid(&["submit", file]).exits(2);
    assert!(
        again.err.contains("already exists") && again.err.contains("--generate-name"),
        "{}",
        again.err
    );
    // Before the operator has looked at it.
    let shown = site.braid(&["get", "small"]).exits(0);
    assert!(shown.out.contains("small  Pending"), "{}", shown.out);
    assert!(
        shown
            .out
            .contains(&format!("in namespace {} of context ", site.namespace)),
        "{}",
        shown.out
    );

    site.ended("small", "Succeeded", "all steps are done");
    let waited = site.braid(&["wait", "small"]).exits(0);
    assert_eq!("small: Succeeded, all steps are done\n", waited.out);
    let shown = site.braid(&["get", "small"]).exits(0);
    assert!(shown.out.contains("total") && shown.out.contains("45"), "{}", shown.out);
    let object = site.braid(&["get", "small", "-o", "json"]).exits(0).json();
    assert_eq!(json!("small"), object["metadata"]["name"]);
    let yaml = site.braid(&["get", "small", "-o", "yaml"]).exits(0);
    assert!(yaml.out.contains("kind: Workflow"), "{}", yaml.out);

    for words in [
        vec!["ls"],
        vec!["get"],
        vec!["ls", "-n", &site.namespace],
        vec!["ls", "-A"],
    ] {
        let listed = site.braid(&words).exits(0);
        assert!(
            listed.out.contains("small") && listed.out.contains("Succeeded"),
            "{words:?}: {}",
            listed.out
        );
    }
    let listed = site.braid(&["ls", "-o", "json"]).exits(0).json();
    assert_eq!(
        (json!("small"), json!(site.namespace)),
        (listed[0]["name"].clone(), listed[0]["namespace"].clone())
    );
    assert_eq!(
        "workflow.braid.dev/small\n",
        site.braid(&["ls", "-o", "name"]).exits(0).out
    );
}

fn names_are_made_by_the_server(site: &Site) {
    let file = site.home.numbers("many", 10, NUMBER);
    let file = file.to_str().unwrap();
    for _ in 0..2 {
        let said = site.braid(&["submit", file, "--generate-name", "-o", "name"]).exits(0);
        assert!(said.out.starts_with("workflow.braid.dev/many-"), "{}", said.out);
    }
    let said = site.braid(&["submit", file, "--name", "other", "-o", "json"]).exits(0);
    assert_eq!(json!("other"), said.json()["metadata"]["name"]);
    assert_eq!(3, site.names(&site.namespace).len());
    let text = std::fs::read_to_string(file).unwrap();
    let generated = text.replace("{name: many}", "{generateName: plenty-}");
    let piped = site.pipe(&["submit", "-", "-o", "name"], &generated).exits(0);
    assert!(piped.out.starts_with("workflow.braid.dev/plenty-"), "{}", piped.out);
    let nameless = text.replace("metadata: {name: many}", "metadata: {}");
    let said = site.pipe(&["submit", "-"], &nameless).exits(2);
    assert!(said.err.contains("name"), "{}", said.err);
    let elsewhere = text.replace("{name: many}", "{name: many, namespace: other}");
    let said = site.pipe(&["submit", "-", "-n", &site.namespace], &elsewhere).exits(2);
    assert!(said.err.contains("namespace other"), "{}", said.err);
}

fn a_run_is_watched_to_its_end(site: &Site) {
    submit(site, "seen");
    let watching = site.start(&["watch", "seen", "--progress", "plain", "-o", "json"]);
    site.running("seen", 4);
    let watching = watching.until("work: Running, 4 of 10 partitions");
    site.ended("seen", "Succeeded", "all steps are done");
    let said = watching.wait().exits(0);
    assert!(
        said.err.contains("work: Succeeded, 10 of 10 partitions"),
        "{}",
        said.err
    );
    let document = said.json();
    assert_eq!(
        (json!("Succeeded"), json!({"total": 45})),
        (document["phase"].clone(), document["outputs"].clone())
    );
    // What has ended is told at once.
    let said = site.braid(&["watch", "seen"]).exits(0);
    assert!(said.out.contains("seen  Succeeded in"), "{}", said.out);
}

fn a_submission_can_be_watched_and_waited_for(site: &Site) {
    let file = site.home.numbers("followed", 10, NUMBER);
    let file = file.to_str().unwrap();
    let watching = site.start(&["submit", file, "--watch", "--progress", "plain"]);
    let watching = watching.until("created in namespace");
    site.running("followed", 4);
    let watching = watching.until("work: Running, 4 of 10 partitions");
    let mut failed = crate::site::status("Failed", "StepFailed", 9, "work: \u{1b}]0;too many failed");
    failed["steps"][0]["failures"] = json!([{
        "reason": "Exit7", "count": 1, "sample": 3, "attempts": 2, "message": "bad \u{1b}[2J item",
    }]);
    site.say("followed", &failed);
    let said = watching.wait().exits(1);
    assert!(said.out.contains("followed  Failed"), "{}", said.out);
    let logs = format!("braid logs -n {} followed work --partition 3", site.namespace);
    assert!(said.out.contains(&logs), "{}", said.out);
    assert!(!said.out.contains('\u{1b}') && !said.err.contains('\u{1b}'), "{said:?}");
    let yaml = site.braid(&["get", "followed", "-o", "yaml"]).exits(0);
    assert!(!yaml.out.contains('\u{1b}'), "{}", yaml.out);

    let waiting = site.start(&[
        "submit",
        file,
        "--name",
        "awaited",
        "--wait",
        "-o",
        "json",
        "--timeout",
        "2m",
    ]);
    let waiting = waiting.until("created in namespace");
    site.ended("awaited", "Succeeded", "all steps are done");
    let object = waiting.wait().exits(0).json();
    assert_eq!(
        (json!("awaited"), json!("Succeeded")),
        (object["metadata"]["name"].clone(), object["status"]["phase"].clone())
    );
    let said = site
        .braid(&["submit", file, "--name", "late", "--wait", "--timeout", "10ms"])
        .exits(4);
    assert!(said.err.contains("the run goes on"), "{}", said.err);
}

fn waiting_ends_as_the_run_does(site: &Site) {
    submit(site, "slow");
    let said = site.braid(&["wait", "slow", "--timeout", "10ms"]).exits(4);
    assert!(said.err.contains("the run goes on"), "{}", said.err);
    site.running("slow", 4);
    let said = site.braid(&["wait", "slow", "--for", "started"]).exits(0);
    assert!(said.out.starts_with("slow: Running"), "{}", said.out);
    site.say("slow", &crate::site::status("Suspended", "Suspended", 4, "suspended"));
    site.braid(&["wait", "slow", "--for", "suspended"]).exits(0);
    site.braid(&["wait", "slow", "--no-wait-human"]).exits(5);
    let waiting = site.start(&["wait", "slow"]);
    site.ended("slow", "Failed", "work: exit \u{1b}[31m7");
    let said = waiting.wait().exits(1);
    assert_eq!("slow: Failed, work: exit \u{fffd}[31m7\n", said.out);
    let said = site.braid(&["wait", "slow", "--for", "suspended"]).exits(1);
    assert!(said.err.contains("ended before"), "{}", said.err);
    site.ended("slow", "Cancelled", "cancelled");
    site.braid(&["wait", "slow"]).exits(3);
    let waiting = site.start(&["wait", "slow", "--for", "deleted"]);
    site.ask(
        site.workflows(&site.namespace)
            .delete("slow", &kube::api::DeleteParams::default()),
    );
    waiting.wait().exits(0);
    site.braid(&["wait", "slow", "--for", "deleted"]).exits(0);
    site.braid(&["wait", "slow"]).exits(2);
}

fn what_is_wrong_is_not_created(site: &Site) {
    let good = std::fs::read_to_string(site.home.numbers("wrong", 10, NUMBER)).unwrap();
    let said = site
        .pipe(&["submit", "-"], &good.replace("reduce: Sum", "reduce: Summe"))
        .exits(2);
    assert!(said.err.contains("<stdin>:12:"), "{}", said.err);
    let said = site.pipe(&["submit", "-", "-p", "factro=1"], &good).exits(2);
    assert!(said.err.contains("did you mean"), "{}", said.err);
    let pool = "apiVersion: braid.dev/v1alpha1\nkind: WorkerPool\nmetadata: {name: p}\nspec: {replicas: 1}\n";
    let said = site.pipe(&["submit", "-"], &format!("{good}---\n{pool}")).exits(2);
    assert!(said.err.contains("2 documents, and a run is of one"), "{}", said.err);
    let said = site.pipe(&["submit", "-", "--timeout", "5s"], &good).exits(2);
    assert!(said.err.contains("--watch or --wait"), "{}", said.err);
    let said = site.pipe(&["submit", "-", "--name", "UPPER"], &good).exits(2);
    assert!(said.err.contains("the workflow is refused"), "{}", said.err);
    assert!(site.names(&site.namespace).is_empty());
    let said = site.braid(&["get", "nobody", "-n", &site.namespace]).exits(2);
    assert!(
        said.err
            .contains(&format!("no run of \"nobody\" in namespace {}", site.namespace)),
        "{}",
        said.err
    );
    assert!(
        said.err.contains(&format!("braid ls -n {}", site.namespace)),
        "{}",
        said.err
    );
}

fn a_run_is_suspended_resumed_and_cancelled(site: &Site) {
    submit(site, "changed");
    let suspended = || site.get(&site.namespace, "changed").spec.suspend;
    site.braid(&["suspend", "changed"]).exits(0);
    assert!(suspended());
    site.braid(&["resume", "changed", "-n", &site.namespace]).exits(0);
    assert!(!suspended());
    site.braid(&["cancel", "changed"]).exits(0);
    assert!(site.get(&site.namespace, "changed").spec.cancel);
    let said = site.braid(&["resume", "changed"]).exits(2);
    assert!(said.err.contains("cannot be taken back"), "{}", said.err);
    site.ended("changed", "Cancelled", "cancelled");
    let said = site.braid(&["cancel", "changed"]).exits(2);
    assert!(said.err.contains("has ended: Cancelled"), "{}", said.err);
}
