//! A run that is to be broken: what user code did is counted on the nodes, past everything that Braid knows.

use std::collections::BTreeMap;
use std::thread;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::install::suite;
use crate::processes::{Process, Signal};
use crate::space::Space;

/// Partitions of the run.
pub const PARTITIONS: u64 = 400;
/// On every node: a directory for each namespace, in it a file for each pod.
const LEDGER: &str = "/var/braid-ledger";
/// Says in the ledger what it begins and what it has done. An appended line is whole.
const SCRIPT: &str = r#"echo "begun $BRAID_ITEM" >> "/ledger/$HOSTNAME"
sleep 0.4
echo "{\"sum\": $BRAID_ITEM}" > "$BRAID_RESULTS"
echo "done $BRAID_ITEM" >> "/ledger/$HOSTNAME""#;

/// Longer than workers and leaders may be silent.
const SILENCE: Duration = Duration::from_secs(9);

/// A cell of the table of faults: a run with a fault in its midst, which is given a pod that has a shard in flight, and its node.
#[expect(clippy::print_stderr, reason = "the table of what was hit")]
#[track_caller]
pub fn cell(name: &str, fault: impl FnOnce(&Victim, &(String, String))) {
    let victim = Victim::start(name);
    let pod = victim.in_flight();
    let before = victim.ledger().partitions();
    let begun = Instant::now();
    fault(&victim, &pod);
    let ledger = victim.exact();
    eprintln!(
        "cell {name}: hit after {before} partitions, {:.1} s to the end, {} programs started again",
        begun.elapsed().as_secs_f64(),
        ledger.again()
    );
}

/// Lets a process that was stopped go on, when all others have taken it for lost.
pub fn stand_still(process: &Process) {
    thread::sleep(SILENCE);
    // One that was killed meanwhile, for it did not answer, needs no more.
    suite().signal(process, Signal::Continue);
}

/// Something of a worker's pod that can be broken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// The worker itself.
    Worker,
    /// The first process of user code's container.
    Shim,
    /// A program of a partition.
    Program,
}

/// How often partitions were begun and done, by what the programs themselves wrote.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ledger {
    begun: BTreeMap<u64, u64>,
    done: BTreeMap<u64, u64>,
}

impl Ledger {
    fn read(text: &str) -> Self {
        let mut ledger = Self::default();
        for line in text.lines() {
            let (what, partition) = line.split_once(' ').unwrap_or_else(|| panic!("{line:?}"));
            let partition = partition.parse().unwrap_or_else(|_| panic!("{line:?}"));
            let counts = if what == "begun" {
                &mut ledger.begun
            } else {
                &mut ledger.done
            };
            *counts.entry(partition).or_insert(0) += 1;
        }
        ledger
    }

    /// Partitions that were done at least once.
    pub fn partitions(&self) -> u64 {
        self.done.len() as u64
    }

    /// Programs that were started on top of one for each partition.
    pub fn again(&self) -> u64 {
        self.begun.values().sum::<u64>() - self.begun.len() as u64
    }
}

/// A run that goes on, in a namespace of its own.
pub struct Victim {
    space: Space,
}

impl Victim {
    /// Starts a run with four workers.
    pub fn start(name: &str) -> Self {
        let space = Space::privileged(name);
        for node in suite().nodes() {
            let directory = format!("{LEDGER}/{}", space.name());
            suite().docker(&[
                "exec",
                &node,
                "sh",
                "-c",
                &format!("mkdir -p {directory} && chmod 777 {directory}"),
            ]);
        }
        let volume =
            json!({"name": "ledger", "hostPath": {"path": format!("{LEDGER}/{}", space.name()), "type": "Directory"}});
        space.run(
            "run",
            &json!({
                "pools": [{
                    "name": "default",
                    "workers": {"min": 4, "max": 4},
                    "template": {"spec": {"volumes": [volume], "terminationGracePeriodSeconds": 5}},
                }],
                "steps": [{
                    "name": "work",
                    "over": {"range": {"end": PARTITIONS}},
                    "run": {
                        "script": SCRIPT,
                        "concurrency": 4,
                        "volumeMounts": [{"name": "ledger", "mountPath": "/ledger"}],
                    },
                    // A program that is killed has failed once.
                    "retry": {"attempts": 5, "backoff": {"initial": "100ms"}},
                    "results": [{"name": "sum", "reduce": "Sum"}, {"name": "how_many", "from": "sum", "reduce": "Count"}],
                }],
            }),
        );
        Self { space }
    }

    /// A pod that has a shard which is not sealed, and its node, once some of the work is done and most is not.
    pub fn in_flight(&self) -> (String, String) {
        self.space.until("shards are in flight", || {
            let settled = self.settled();
            assert!(settled < PARTITIONS / 2, "it was too fast: {settled}");
            if self.ledger().partitions() < PARTITIONS / 20 {
                return None;
            }
            let pods = suite().pods(self.space.name());
            let busy = self.space.list("workers.braid.dev").into_iter().find(|worker| {
                let sealed = |id: &Value| {
                    let commits = worker["status"]["shards"].as_array().into_iter().flatten();
                    commits
                        .into_iter()
                        .any(|commit| commit["id"] == *id && commit["sealed"] == json!(true))
                };
                let shards = worker["spec"]["shards"].as_array().cloned().unwrap_or_default();
                shards.iter().any(|shard| !sealed(&shard["id"]))
            })?;
            let name = busy["metadata"]["name"].as_str()?;
            pods.into_iter().find(|pod| pod.0 == name)
        })
    }

    /// The namespace.
    pub fn space(&self) -> &Space {
        &self.space
    }

    fn settled(&self) -> u64 {
        let workflow = self.space.workflow("run");
        workflow["status"]["steps"][0]["partitions"]["succeeded"]
            .as_u64()
            .unwrap_or(0)
    }

    /// What the programs wrote on all nodes that are up.
    pub fn ledger(&self) -> Ledger {
        let script = format!("cat {LEDGER}/{}/* 2>/dev/null || true", self.space.name());
        let of = |node: &String| suite().docker(&["exec", node, "sh", "-c", &script]);
        Ledger::read(&suite().nodes().iter().map(of).collect::<String>())
    }

    /// Sends a signal to a part of a pod, which must be there.
    #[track_caller]
    pub fn signal(&self, pod: &(String, String), part: Part, signal: Signal) -> Process {
        let first = match part {
            Part::Worker => "/braid-worker run",
            Part::Shim | Part::Program => "/braid/bin/braid-shim",
        };
        let processes = suite().processes(&pod.1);
        let own = |process: &&Process| process.is_of(&pod.0) && process.words.starts_with(first);
        let found = processes.iter().find(own);
        let found = found.unwrap_or_else(|| panic!("no {part:?} in {pod:?}: {processes:#?}"));
        let hit = match part {
            Part::Program => suite().signal_child(found, signal),
            Part::Worker | Part::Shim => suite().signal(found, signal).then(|| found.clone()),
        };
        hit.unwrap_or_else(|| panic!("{part:?} of {pod:?} is gone"))
    }

    /// Waits for the end and checks that every partition counts once: by what Braid says, and by what was written.
    pub fn exact(self) -> Ledger {
        let ended = self.space.finished("run");
        let status = &ended["status"];
        let step = &status["steps"][0];
        assert_eq!("Succeeded", status["phase"], "{status:#}");
        let counts = ["total", "succeeded", "failed"].map(|name| step["partitions"][name].as_u64().unwrap_or(0));
        assert_eq!([PARTITIONS, PARTITIONS, 0], counts, "{status:#}");
        let result = |name: &str| {
            let results = step["results"].as_array().cloned().unwrap_or_default();
            let found = results.iter().find(|result| result["name"] == name).cloned();
            found.unwrap_or_default()["value"].as_u64()
        };
        assert_eq!(Some(PARTITIONS * (PARTITIONS - 1) / 2), result("sum"), "{status:#}");
        assert_eq!(Some(PARTITIONS), result("how_many"), "{status:#}");
        let ledger = self.ledger();
        assert_eq!(
            PARTITIONS,
            ledger.partitions(),
            "partitions that count and were never done"
        );
        ledger
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ledgers_are_counted() {
        let ledger = Ledger::read("begun 1\nbegun 2\ndone 1\nbegun 1\ndone 1\n");
        assert_eq!((1, 1), (ledger.partitions(), ledger.again()));
        assert_eq!((0, 0), (Ledger::read("").partitions(), Ledger::read("").again()));
    }
}
