//! `braid retry --new` with a real operator, real workers and real programs: a run that takes over from another.

use std::{fs, sync::Arc};

use braid_apiserver::{Fault, Target, Times, Verb};
use braid_crds::{Plan, Workflow};
use braid_local::{Hands, LocalCluster, NAMESPACE, Settings};
use braid_worker::runner::ShimCommand;
use kube::{
    Api, ResourceExt as _,
    api::{DeleteParams, ListParams, PostParams},
};
use serde_json::{Value, json};
use tokio::runtime::Runtime;

use crate::{
    embedded::{kubeconfig, open},
    site::Site,
};

/// What `work` prints of itself, and fails in two of three files, until somebody has mended it; then it waits for a gate.
const WORK: &str = r#"
echo "$BRAID_UID" >> "$DIR/uids"
if grep -q bad; then
  [ -e "$DIR/mended" ] || exit 65
  while [ ! -e "$DIR/gate" ]; do sleep 0.02; done
fi
echo "{\"lines\": $(wc -l < "$BRAID_INPUT"), \"size\": $(wc -c < "$BRAID_INPUT")}" > "$BRAID_RESULTS"
"#;

fn cluster(runtime: &Runtime, data: &std::path::Path) -> (LocalCluster, Site) {
    let shim = ShimCommand {
        program: env!("CARGO_BIN_EXE_braid").into(),
        args: vec!["shim".into()],
    };
    let mut settings = Settings::new(data.to_owned(), Hands::Shim(shim));
    settings.workers = 2;
    let cluster = runtime.block_on(LocalCluster::start(settings)).unwrap();
    let url = open(runtime, cluster.server().service(), Arc::default(), Arc::default());
    let kubeconfig = kubeconfig(&url, NAMESPACE).to_string();
    let client = {
        let _entered = runtime.enter();
        cluster.client()
    };
    let site = Site::new(runtime.handle().clone(), client, NAMESPACE, &kubeconfig);
    (cluster, site)
}

fn manifest(site: &Site, name: &str, directory: &std::path::Path) -> std::path::PathBuf {
    let workflow = json!({
        "apiVersion": "braid.dev/v1alpha1", "kind": "Workflow", "metadata": {"name": name},
        "spec": {
            "params": [{"name": "dir", "value": directory}],
            "data": [{"name": "texts", "files": {"url": "texts/*.txt", "format": "Text"}}],
            "steps": [
                {
                    "name": "work", "over": {"data": "texts", "split": {"files": 1}},
                    "run": {"script": WORK, "env": [{"name": "DIR", "value": "$(params.dir)"}]},
                    "results": [
                        {"name": "lines", "reduce": "Sum"},
                        {"name": "size", "reduce": "Quantiles", "at": ["p50"]},
                        {"name": "mean", "from": "size", "reduce": "Mean"},
                    ],
                    "onFailure": "Continue",
                },
                {
                    "name": "then", "after": ["work"],
                    "run": {"script": "echo $N > $BRAID_RESULTS", "env": [{"name": "N", "value": "$(steps.work.results.lines)"}]},
                    "results": [{"name": "n", "reduce": "Sum"}],
                },
            ],
            "outputs": [{"name": "n", "value": "steps.then.results.n"}],
        },
    });
    site.home.write(&format!("{name}.json"), &workflow.to_string())
}

fn refused(run: &Value, reason: &str) {
    let conditions = run["status"]["conditions"].as_array().unwrap();
    let accepted = conditions.iter().find(|one| one["type"] == "Accepted").unwrap();
    assert_eq!(
        (&json!("False"), &json!(reason)),
        (&accepted["status"], &accepted["reason"]),
        "{accepted}"
    );
}

/// What the steps have come to, with all that their results are folded from.
fn results(run: &Workflow) -> Value {
    let status = run.status.as_ref().unwrap();
    let steps: Vec<Value> = (status.steps.iter())
        .map(|step| {
            json!([
                step.name,
                step.phase,
                step.plan,
                step.ledger,
                step.failed,
                step.failures,
                step.results
            ])
        })
        .collect();
    json!([status.phase, status.outputs, steps])
}

#[test]
fn a_run_takes_over_what_another_has_counted_and_needs_nothing_of_it_any_more() {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .unwrap();
    let data = tempfile::tempdir().unwrap();
    fs::create_dir(data.path().join("texts")).unwrap();
    for file in 0..12 {
        let mut text = "a line\n".repeat(file + 1);
        if file % 3 > 0 {
            text.push_str("bad\n");
        }
        fs::write(data.path().join(format!("texts/{file:02}.txt")), text).unwrap();
    }
    let (cluster, site) = cluster(&runtime, data.path());
    let old = manifest(&site, "old", data.path());
    site.braid(&["submit", old.to_str().unwrap(), "--wait"]).exits(1);
    let source = site.get(NAMESPACE, "old");
    let first = source.uid().unwrap();
    assert_eq!(8, source.status.as_ref().unwrap().steps[0].partitions.failed);
    // Whatever a busy machine has run twice is known by then.
    let before = fs::read_to_string(data.path().join("uids")).unwrap();

    // Its writes are done and their answers lost, or somebody else is said to have been faster.
    let faults = cluster.server().faults();
    let writes = |verb, plural: &str| Target::any().verb(verb).plural(plural);
    faults.inject(
        writes(Verb::Update, "workflows").name("new").main(),
        Fault::Conflict,
        Times::Once,
    );
    faults.inject(
        writes(Verb::Update, "workflows").name("new").main(),
        Fault::LostAnswer,
        Times::Once,
    );
    faults.inject(writes(Verb::Create, "plans"), Fault::LostAnswer, Times::Once);
    faults.inject(
        writes(Verb::Update, "workflows").name("new").status(),
        Fault::LateTimeout,
        Times::Once,
    );
    fs::write(data.path().join("mended"), "").unwrap();
    let said = site.braid(&["retry", "old", "--new", "new"]).exits(0);
    assert!(
        said.out
            .contains("old: 4 partitions stay counted; run again: work (8 partitions); run from the beginning: then"),
        "{}",
        said.out
    );
    site.braid(&["wait", "new", "--for", "started"]).exits(0);

    // The old one goes, with all that belongs to it, while the new one is in its midst.
    site.ask(site.workflows(NAMESPACE).delete("old", &DeleteParams::default()));
    let plans: Api<Plan> = Api::namespaced(site.client.clone(), NAMESPACE);
    let of_old = |plan: &Plan| plan.spec.workflow_uid == first;
    while site.ask(plans.list(&ListParams::default())).items.iter().any(of_old) {
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    fs::write(data.path().join("gate"), "").unwrap();
    site.braid(&["wait", "new"]).exits(0);
    let shown = site.braid(&["get", "new"]).exits(0);
    assert!(
        shown.out.contains("took over from old: 4 partitions stay counted"),
        "{}",
        shown.out
    );

    let clean = manifest(&site, "clean", data.path());
    site.braid(&["submit", clean.to_str().unwrap(), "--wait"]).exits(0);
    let (new, clean) = (site.get(NAMESPACE, "new"), site.get(NAMESPACE, "clean"));
    assert_eq!(results(&clean), results(&new), "byte for byte");
    assert_eq!(clean.spec.steps, new.spec.steps);
    let from = new.status.as_ref().unwrap().resumed_from.clone().unwrap();
    assert_eq!((&first, &first, 4), (&from.uid, &from.first_uid, from.kept));

    // A partition has one key, whichever run it was that ran it; and what had succeeded was not run again.
    let uids = fs::read_to_string(data.path().join("uids")).unwrap();
    for partition in 0..12 {
        let key = format!("{first}/work/{partition}");
        let times = |uids: &str| uids.lines().filter(|line| **line == key).count();
        let (before, after) = (times(&before), times(&uids));
        assert!(before > 0 && (partition % 3 == 0) == (before == after), "{key}: {uids}");
    }

    // What cannot be taken over is told before anything is created, and by the operator whoever creates it.
    let said = site.braid(&["retry", "clean", "--new"]).exits(2);
    assert!(
        said.err.contains("nothing of the run \"clean\" has failed"),
        "{}",
        said.err
    );
    fs::remove_file(data.path().join("gate")).unwrap();
    let held = manifest(&site, "held", data.path());
    site.braid(&["submit", held.to_str().unwrap()]).exits(0);
    site.braid(&["wait", "held", "--for", "started"]).exits(0);
    let said = site.braid(&["retry", "held", "--new", "early"]).exits(2);
    assert!(
        said.err.contains("has not ended") && said.err.contains("--failed"),
        "{}",
        said.err
    );
    for (name, from, reason) in [
        ("one", "other", "SourceMissing"),
        ("other", "one", "SourceNotBegun"),
        ("gone", "old", "SourceMissing"),
        ("early", "held", "SourceNotEnded"),
        ("idle", "clean", "NothingFailed"),
    ] {
        let run: Workflow = serde_json::from_value(json!({
            "apiVersion": "braid.dev/v1alpha1", "kind": "Workflow", "metadata": {"name": name},
            "spec": {"resumeFrom": {"name": from}},
        }))
        .unwrap();
        site.ask(site.workflows(NAMESPACE).create(&PostParams::default(), &run));
        site.braid(&["wait", name]).exits(3);
        refused(&site.braid(&["get", name, "-o", "json"]).exits(0).json(), reason);
    }

    // A cancelled run cannot go on itself; another can. A manifest that says more than from whom has to say the same.
    site.braid(&["cancel", "held"]).exits(0);
    site.braid(&["wait", "held"]).exits(3);
    let mut other: Value = serde_json::from_str(&fs::read_to_string(&held).unwrap()).unwrap();
    other["spec"]["resumeFrom"] = json!({"name": "held"});
    for (name, value, code) in [("differs", "/elsewhere", 3), ("same", data.path().to_str().unwrap(), 0)] {
        other["metadata"]["name"] = json!(name);
        other["spec"]["params"][0]["value"] = json!(value);
        let file = site.home.write(&format!("{name}.json"), &other.to_string());
        fs::write(data.path().join("gate"), "").unwrap();
        site.braid(&["submit", file.to_str().unwrap(), "--wait"]).exits(code);
    }
    refused(
        &site.braid(&["get", "differs", "-o", "json"]).exits(0).json(),
        "SourceDiffers",
    );
    assert_eq!(results(&clean), results(&site.get(NAMESPACE, "same")), "byte for byte");
    runtime.block_on(cluster.stop()).unwrap();
}

#[test]
fn on_this_machine_a_run_is_told_to_try_again_itself() {
    let home = crate::harness::Home::new();
    let file = home.write(
        "next.yaml",
        "apiVersion: braid.dev/v1alpha1\nkind: Workflow\nmetadata: {name: next}\nspec: {resumeFrom: {name: old}}\n",
    );
    let file = file.to_str().unwrap();
    home.braid(&["lint", file]).exits(0);
    assert!(
        home.braid(&["graph", file])
            .exits(0)
            .out
            .contains("the steps are those of old")
    );
    for verb in ["run", "plan"] {
        let said = home.braid(&[verb, file]).exits(2);
        assert!(said.err.contains("retry old --failed"), "{}", said.err);
    }
    let broken = home.numbers("broken", 3, "[ $BRAID_ITEM -ne 1 ] || exit 7");
    let state = home.path("here");
    let state = state.to_str().unwrap();
    home.braid(&["run", broken.to_str().unwrap(), "--state", state, "--progress", "none"])
        .exits(1);
    let said = home.braid(&["retry", "--state", state, "--new", "next"]).exits(2);
    assert!(said.err.contains("retry broken --failed"), "{}", said.err);
}
