//! A run that is to be broken: what user code did is counted on the nodes, past everything that Braid knows.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::install::suite;
use crate::processes::{Process, Signal};
use crate::space::Space;

/// Partitions of the run.
pub const PARTITIONS: u64 = 400;
/// On every node: a directory for each namespace, in it a file for each pod.
const LEDGER: &str = "/var/braid-ledger";
/// Partitions of a run in whose midst many things break.
const MANY: u64 = 1_600;
/// Says in the ledger what it begins and what it has done. An appended line is whole.
const SCRIPT: &str = r#"echo "begun $BRAID_ITEM" >> "/ledger/$HOSTNAME"
sleep "$(cat /ledger/.pace)"
echo "{\"sum\": $BRAID_ITEM}" > "$BRAID_RESULTS"
echo "done $BRAID_ITEM" >> "/ledger/$HOSTNAME""#;

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
    partitions: u64,
}

impl Victim {
    /// Starts a run with four workers, in which one thing is to break.
    pub fn start(name: &str) -> Self {
        Self::of(name, PARTITIONS, "0.4")
    }

    /// Starts one that goes on until it is told to [`Self::hurry`]: there is time for many things to break.
    pub fn start_slowly(name: &str) -> Self {
        Self::of(name, MANY, "1")
    }

    fn of(name: &str, partitions: u64, pace: &str) -> Self {
        let space = Space::privileged(name);
        let directory = format!("{LEDGER}/{}", space.name());
        for node in suite().nodes() {
            suite().on_node(&node, &format!("mkdir -p {directory} && chmod 777 {directory}"));
        }
        let victim = Self { space, partitions };
        victim.pace(pace);
        let space = &victim.space;
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
                    "over": {"range": {"end": partitions}},
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
        victim
    }

    /// What a partition that begins from now on takes, in seconds.
    fn pace(&self, seconds: &str) {
        let directory = format!("{LEDGER}/{}", self.space.name());
        let script = format!("echo {seconds} >{directory}/.new && mv {directory}/.new {directory}/.pace");
        for node in suite().nodes() {
            suite().on_node(&node, &script);
        }
    }

    /// Lets what is left take no time.
    pub fn hurry(&self) {
        self.pace("0");
    }

    /// Whether there is time for so many seconds of trouble.
    pub fn lasts(&self, seconds: u64) -> bool {
        // Sixteen at once, a second each.
        self.ledger().partitions() + 16 * seconds < self.partitions
    }

    /// A pod that has a shard which is not sealed, and its node, once some of the work is done and most is not.
    pub fn in_flight(&self) -> (String, String) {
        self.space.until("shards are in flight", || {
            let settled = self.settled();
            assert!(settled < self.partitions / 2, "it was too fast: {settled}");
            if self.ledger().partitions() < 20 {
                return None;
            }
            self.busy_pod()
        })
    }

    /// A pod that has a shard of the run which is not sealed, and its node.
    pub fn busy_pod(&self) -> Option<(String, String)> {
        let pods = suite().pods(self.space.name());
        let busy = open_shards(self.space.name(), Some("run"));
        pods.into_iter().find(|pod| busy.contains_key(&pod.0))
    }

    /// The start of every worker that there is, by its name.
    pub fn starts(&self) -> BTreeMap<String, String> {
        let desks = self.space.list("workers.braid.dev").into_iter();
        let start = |desk: &Value| desk["status"]["startId"].as_str().map(str::to_owned);
        let name = |desk: &Value| desk["metadata"]["name"].as_str().map(str::to_owned);
        desks.filter_map(|desk| Some((name(&desk)?, start(&desk)?))).collect()
    }

    /// The namespace.
    pub fn space(&self) -> &Space {
        &self.space
    }

    /// Partitions that count by now, as Braid says.
    pub fn settled(&self) -> u64 {
        let workflow = self.space.workflow("run");
        workflow["status"]["steps"][0]["partitions"]["succeeded"]
            .as_u64()
            .unwrap_or(0)
    }

    /// What the programs wrote on all nodes that are up.
    pub fn ledger(&self) -> Ledger {
        ledger(self.space.name())
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
        let all = self.partitions;
        let counts = ["total", "succeeded", "failed"].map(|name| step["partitions"][name].as_u64().unwrap_or(0));
        assert_eq!([all, all, 0], counts, "{status:#}");
        let result = |name: &str| {
            let results = step["results"].as_array().cloned().unwrap_or_default();
            let found = results.iter().find(|result| result["name"] == name).cloned();
            found.unwrap_or_default()["value"].as_u64()
        };
        assert_eq!(Some(all * (all - 1) / 2), result("sum"), "{status:#}");
        assert_eq!(Some(all), result("how_many"), "{status:#}");
        let ledger = self.ledger();
        assert_eq!(all, ledger.partitions(), "partitions that count and were never done");
        ledger
    }
}

fn ledger(namespace: &str) -> Ledger {
    let script = format!("cat {LEDGER}/{namespace}/* 2>/dev/null || true");
    let of = |node: &String| suite().on_node(node, &script);
    Ledger::read(&suite().nodes().iter().map(of).collect::<String>())
}

/// Shards of a run, or of all, that are handed out and not sealed, counted by worker; workers with none are left out.
pub fn open_shards(namespace: &str, run: Option<&str>) -> BTreeMap<String, usize> {
    let list = suite().json(&["get", "workers.braid.dev", "--namespace", namespace]);
    let open = |worker: &Value| {
        let sealed = |id: &Value| {
            let mut commits = worker["status"]["shards"].as_array().into_iter().flatten();
            commits.any(|commit| commit["id"] == *id && commit["sealed"] == json!(true))
        };
        let shards = worker["spec"]["shards"].as_array().into_iter().flatten();
        let ours = shards.filter(|shard| run.is_none_or(|run| shard["run"]["workflow"] == run));
        ours.filter(|shard| !sealed(&shard["id"])).count()
    };
    let workers = list["items"].as_array().cloned().unwrap_or_default();
    let counted = workers.iter().filter_map(|worker| {
        let name = worker["metadata"]["name"].as_str()?;
        Some((name.to_owned(), open(worker)))
    });
    counted.filter(|(_, open)| *open > 0).collect()
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
