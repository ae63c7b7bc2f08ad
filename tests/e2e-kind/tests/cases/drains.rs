//! Pods that are asked to go while programs run: what runs is finished, counted, and not run again.
//!
//! Programs write into a ledger on their node what they begin and what they have done, and in which pod, past everything that Braid
//! knows.

use std::collections::BTreeMap;

use braid_e2e_kind::{Space, USERLAND, suite};
use serde_json::{Value, json};

const PARTITIONS: u64 = 16;
const LEDGER: &str = "/var/braid-drains";
/// Long enough to be met in its midst, and no longer than the grace period of a pod.
const SCRIPT: &str = r#"echo "begun $BRAID_ITEM $POD" >> /ledger/lines
sleep 4
echo "{\"sum\": $BRAID_ITEM}" > "$BRAID_RESULTS"
echo "done $BRAID_ITEM $POD" >> /ledger/lines"#;

/// A partition's pods: where it was begun, and where it was done.
type Ledger = BTreeMap<u64, (Vec<String>, Vec<String>)>;

struct Run {
    space: Space,
}

impl Run {
    fn start(name: &str) -> Self {
        let space = Space::privileged(name);
        let directory = format!("{LEDGER}/{}", space.name());
        for node in suite().nodes() {
            suite().docker(&[
                "exec",
                &node,
                "sh",
                "-c",
                &format!("mkdir -p {directory} && chmod 777 {directory}"),
            ]);
        }
        let volume = json!({"name": "ledger", "hostPath": {"path": directory, "type": "Directory"}});
        space.run(
            "run",
            &json!({
                "pools": [{
                    "name": "default", "workers": {"min": 2, "max": 2}, "template": {"spec": {"volumes": [volume]}},
                }],
                "steps": [{
                    "name": "work",
                    "over": {"range": {"end": PARTITIONS}},
                    "run": {
                        "image": USERLAND, "script": SCRIPT, "concurrency": 2,
                        "env": [{"name": "POD", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}}],
                        "volumeMounts": [{"name": "ledger", "mountPath": "/ledger"}],
                    },
                    "results": [{"name": "sum", "reduce": "Sum"}, {"name": "how_many", "from": "sum", "reduce": "Count"}],
                }],
            }),
        );
        Self { space }
    }

    fn ledger(&self) -> Ledger {
        let script = format!("cat {LEDGER}/{}/lines 2>/dev/null || true", self.space.name());
        let mut ledger = Ledger::new();
        for node in suite().nodes() {
            for line in suite().docker(&["exec", &node, "sh", "-c", &script]).lines() {
                let words: Vec<&str> = line.split(' ').collect();
                let entry = ledger.entry(words[1].parse().unwrap()).or_default();
                let list = if words[0] == "begun" {
                    &mut entry.0
                } else {
                    &mut entry.1
                };
                list.push(words[2].to_owned());
            }
        }
        ledger
    }

    /// A pod in which programs run, its node, and what runs there.
    fn busy(&self) -> (String, String, Vec<u64>) {
        self.space.until("programs run", || {
            let ledger = self.ledger();
            suite().pods(self.space.name()).into_iter().find_map(|(pod, node)| {
                let runs = |(pods, done): &(Vec<String>, Vec<String>)| pods.contains(&pod) && done.is_empty();
                let running: Vec<u64> = ledger
                    .iter()
                    .filter(|entry| runs(entry.1))
                    .map(|entry| *entry.0)
                    .collect();
                (running.len() == 2).then_some((pod, node, running))
            })
        })
    }

    /// Waits for the end: everything is counted once, and what ran in the pod that went was finished there and run nowhere else.
    #[track_caller]
    fn finished_what_ran(&self, pod: &str, running: &[u64]) {
        let ended = self.space.finished("run");
        let step = &ended["status"]["steps"][0];
        let value = |at: usize| step["results"][at]["value"].clone();
        assert_eq!("Succeeded", ended["status"]["phase"], "{step:#}");
        assert_eq!(
            (json!(PARTITIONS * (PARTITIONS - 1) / 2), json!(PARTITIONS)),
            (value(0), value(1)),
            "{step:#}"
        );
        let ledger = self.ledger();
        for partition in running {
            let here = (vec![pod.to_owned()], vec![pod.to_owned()]);
            assert_eq!(ledger[partition], here, "partition {partition} of {ledger:#?}");
        }
        // Nobody is to blame.
        assert_eq!(json!(null), step["suspects"], "{step:#}");
        let pods: Vec<Value> = self.space.list("pods");
        assert!(
            pods.iter().all(|other| other["metadata"]["name"] != *pod),
            "{pod} is still there"
        );
    }
}

#[test]
fn a_deleted_pod_finishes_what_it_runs() {
    let run = Run::start("drain-deleted");
    let (pod, _, running) = run.busy();
    suite().kubectl(&["delete", "pod", &pod, "--namespace", run.space.name(), "--wait=false"]);
    run.finished_what_ran(&pod, &running);
}

#[test]
fn an_evicted_pod_finishes_what_it_runs() {
    let run = Run::start("drain-evicted");
    let (pod, _, running) = run.busy();
    let namespace = run.space.name();
    let eviction = json!({
        "apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": pod, "namespace": namespace},
    });
    let path = format!("/api/v1/namespaces/{namespace}/pods/{pod}/eviction");
    let output = suite().try_kubectl(&["create", "--raw", &path, "--filename=-"], Some(&eviction.to_string()));
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    run.finished_what_ran(&pod, &running);
}

/// Lets a node have pods again, whatever becomes of the test.
struct Cordoned(String);

impl Drop for Cordoned {
    fn drop(&mut self) {
        suite().try_kubectl(&["uncordon", &self.0], None);
    }
}

#[test]
fn a_drained_node_finishes_what_it_runs() {
    let run = Run::start("drain-node");
    let (pod, node, running) = run.busy();
    let cordoned = Cordoned(node);
    // Of this run alone: others have tests of their own on the node.
    let uid = run.space.workflow("run")["metadata"]["uid"]
        .as_str()
        .unwrap()
        .to_owned();
    suite().kubectl_patiently(&[
        "drain",
        &cordoned.0,
        "--ignore-daemonsets",
        "--delete-emptydir-data",
        &format!("--pod-selector=braid.dev/workflow-uid={uid}"),
        "--timeout=90s",
    ]);
    run.finished_what_ran(&pod, &running);
}
