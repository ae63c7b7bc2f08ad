//! Runs in whose midst one request after another is broken, and the table of what was.
//!
//! A run goes on slowly; a fault waits for a request of its edge while that run has shards in flight; if need be something makes such a
//! request come. When it has struck, more partitions must count before the next one is armed. In the end the run is let go, and its
//! numbers must be exact, as must those of the runs beside it, and nobody must have anything left.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::USERLAND;
use crate::detour::Detour;
use crate::edges::{Cause, Cell};
use crate::install::suite;
use crate::processes::{Process, Signal};
use crate::proxy::{Call, Edge, Hands, Hit, Moment, Who};
use crate::space::Space;
use crate::table::Row;
use crate::victim::{Part, Victim, open_shards};

/// For a request to come that something has been done for.
const COMES: Duration = Duration::from_secs(40);
/// Longer than any Lease of the tests.
const LONG: Duration = Duration::from_secs(9);
/// What a cell takes at most, in seconds, as far as can be foreseen.
const ROOM: u64 = 25;
/// Partitions of a run beside the run, and of one in which something has to happen before its end.
const BESIDE: u64 = 6;
const LONGER: u64 = 40;
/// The standing pool for runs of another namespace.
const GUESTS: &str = "guests";
/// Pods of a run that may end: a Job waits longer each time before it replaces one.
const ENDS: u32 = 2;
/// The programs of the pods that are killed.
const PROGRAMS: [(Who, &str); 2] = [
    (Who::Operator, "/braid-operator run"),
    (Who::Worker, "/braid-worker run"),
];

/// Breaks all of these, one after the other, and tells of each as it is hit. Writes of two leaders come last: before them, no shard may
/// be dropped of which a part is new.
///
/// # Errors
/// The cells that were not hit.
#[track_caller]
pub fn campaign(detour: &Detour, cells: &[Cell], mut tell: impl FnMut(&Row)) -> Result<Vec<Row>, Vec<Cell>> {
    let (mut rows, mut missed) = (Vec::new(), Vec::new());
    let mut stage: Option<Stage<'_>> = None;
    let mut cells: Vec<&Cell> = cells.iter().collect();
    cells.sort_by_key(|cell| cell.moment == Moment::Late);
    for cell in cells {
        let mut here = match stage.take() {
            Some(stage) if stage.has_room(cell) => stage,
            spent => {
                if let Some(spent) = spent {
                    spent.end();
                }
                Stage::open(detour)
            }
        };
        here.doubled |= cell.moment == Moment::Late;
        match here.strike(cell) {
            Some(row) => {
                tell(&row);
                rows.push(row);
            }
            None => missed.push(cell.clone()),
        }
        stage = Some(here);
    }
    if let Some(stage) = stage {
        stage.end();
    }
    if missed.is_empty() { Ok(rows) } else { Err(missed) }
}

/// What a run beside the run is.
struct Beside {
    partitions: u64,
    /// What each takes.
    seconds: f64,
    over_files: bool,
}

impl Beside {
    fn of(partitions: u64) -> Self {
        Self {
            partitions,
            seconds: 0.3,
            over_files: false,
        }
    }
}

/// A run and what is broken of it.
struct Stage<'a> {
    detour: &'a Detour,
    victim: Victim,
    /// Runs beside it, with how many partitions they have.
    beside: Vec<(String, u64)>,
    /// Runs beside it that have ended and are to be deleted.
    expiring: Vec<String>,
    /// How many runs beside it were cancelled, to be taken over from.
    cancelled: usize,
    /// Where runs are that use a pool of this namespace, and how many there were.
    guests: Option<Space>,
    guest_runs: usize,
    /// Pods that were ended.
    ends: u32,
    /// Whether two leaders could have written.
    doubled: bool,
    held: Arc<Mutex<BTreeMap<String, f64>>>,
}

/// Looks and kills while a request is held.
struct Butcher {
    namespace: String,
    /// Open shards at the latest look.
    open: Arc<AtomicUsize>,
    held: Arc<Mutex<BTreeMap<String, f64>>>,
    processes: Vec<(Who, Process)>,
}

impl Hands for Butcher {
    fn counts(&self, call: &Call) -> bool {
        let open = match (call.edge.who, call.edge.resource.as_str()) {
            // What it has itself, of whichever run.
            (Who::Worker, "workers/status" | "leases") => {
                let open = open_shards(&self.namespace, None);
                open.get(&call.pod).copied().unwrap_or(0)
            }
            // Others stand by and watch, too.
            (Who::Operator, _) if !call.edge.verb.writes() && suite().leader() != call.pod => 0,
            _ => open_shards(&self.namespace, Some("run")).values().sum(),
        };
        self.open.store(open, Ordering::SeqCst);
        open > 0
    }

    fn kill(&self, call: &Call) {
        if call.edge.who == Who::Operator {
            // Its counters die with it.
            note_held_in_part(&self.held, &call.pod);
        }
        let is_it = |(who, process): &&(Who, Process)| *who == call.edge.who && process.is_of(&call.pod);
        let known = self.processes.iter().find(is_it).map(|(_, process)| process.clone());
        if known.is_some_and(|process| suite().end(&process)) {
            return;
        }
        let begin = PROGRAMS
            .iter()
            .find(|(who, _)| *who == call.edge.who)
            .map_or("", |(_, begin)| begin);
        let found = suite().find_processes(begin);
        let ended = found
            .iter()
            .filter(|process| process.is_of(&call.pod))
            .any(|process| suite().end(process));
        assert!(ended, "{} has no process {begin}", call.pod);
    }
}

/// The metric that must be nothing with one operator.
fn note_held_in_part(held: &Mutex<BTreeMap<String, f64>>, pod: &str) {
    if let Some(count) = suite().metric(pod, "braid_operator_shards_held_in_part_total") {
        let mut held = held.lock().unwrap_or_else(PoisonError::into_inner);
        let known = held.entry(pod.to_owned()).or_default();
        *known = known.max(count);
    }
}

impl<'a> Stage<'a> {
    fn open(detour: &'a Detour) -> Self {
        static STAGES: AtomicUsize = AtomicUsize::new(0);
        suite().operators_ready();
        let name = format!("requests-{}", STAGES.fetch_add(1, Ordering::SeqCst));
        let victim = Victim::start_slowly(&name);
        victim.in_flight();
        Self {
            detour,
            victim,
            beside: Vec::new(),
            expiring: Vec::new(),
            cancelled: 0,
            guests: None,
            guest_runs: 0,
            ends: 0,
            doubled: false,
            held: Arc::default(),
        }
    }

    fn has_room(&self, cell: &Cell) -> bool {
        self.victim.lasts(ROOM) && (cell.cause != Cause::PodEnds || self.ends < ENDS)
    }

    /// One cell; `None`: no such request came.
    fn strike(&mut self, cell: &Cell) -> Option<Row> {
        let proxy = self.detour.proxy();
        let open = Arc::<AtomicUsize>::default();
        let prepared = self.prepare(cell);
        let butcher = Butcher {
            namespace: self.victim.space().name().to_owned(),
            open: open.clone(),
            held: self.held.clone(),
            processes: processes(cell.edge.who),
        };
        let long = if cell.moment == Moment::Late { COMES / 2 } else { LONG };
        let namespace = self.victim.space().name().to_owned();
        let armed = proxy.arm(&cell.edge, &namespace, cell.moment, long, Box::new(butcher));
        self.provoke(cell, prepared);
        let hit = armed.wait(COMES + long);
        proxy.disarm();
        let hit = hit?;
        let begun = Instant::now();
        let done = self.victim.ledger().partitions();
        let before = self.victim.settled();
        let space = self.victim.space();
        space.until("more partitions count", || {
            (self.victim.settled() > before).then_some(())
        });
        let on_after = begun.elapsed();
        if cell.edge.who == Who::Operator && !matches!(cell.moment, Moment::Lost | Moment::Stalled) {
            // A container that was killed is started again later each time; a pod is not.
            let words = ["delete", "pod", &hit.call.pod, "--namespace", suite().namespace()];
            // Until it is gone it writes, and is counted as ready: the next fault must not meet it.
            suite().try_kubectl(&[&words[..], &["--ignore-not-found", "--timeout=50s"]].concat(), None);
            suite().operators_ready();
        }
        Some(Row {
            what: cell.edge.to_string(),
            how: cell.moment.to_string(),
            done,
            open: open.load(Ordering::SeqCst),
            note: note(&hit),
            on_after,
        })
    }

    /// What has to be there before the fault is armed; the name of the run beside, if there is one.
    fn prepare(&mut self, cell: &Cell) -> Option<String> {
        let beside = self.next_beside();
        match cell.cause {
            // It has to be there and to have a Job before its Job is ended, or before it is suspended again.
            Cause::JobEnds | Cause::OtherRunSuspended => {
                self.run_long(&beside);
                let space = self.victim.space();
                if cell.cause == Cause::OtherRunSuspended {
                    self.suspend(&beside, true);
                    self.suspend(&beside, false);
                } else {
                    space.until("its Job", || self.job_of(&beside));
                }
                Some(beside)
            }
            // It is not there any more when the others are looked at.
            Cause::RunExpires => {
                self.run_beside(&beside, &Beside::of(BESIDE));
                self.ended_well(&beside, BESIDE);
                self.beside.pop();
                self.expiring.push(beside.clone());
                Some(beside)
            }
            Cause::GuestGoes => Some(self.run_guest()),
            // What it has counted is looked at in the run that takes over.
            Cause::RunTakesOver => {
                self.run_long(&beside);
                self.beside.pop();
                self.cancelled += 1;
                let space = self.victim.space();
                let change = r#"{"spec": {"cancel": true}}"#;
                let words = [
                    "patch",
                    "workflow.braid.dev",
                    &beside,
                    "--type=merge",
                    "--patch",
                    change,
                ];
                suite().kubectl(&[&words[..], &["--namespace", space.name()]].concat());
                let ended = space.finished(&beside);
                assert_eq!("Cancelled", ended["status"]["phase"], "{beside}: {ended:#}");
                Some(beside)
            }
            _ => None,
        }
    }

    fn provoke(&mut self, cell: &Cell, prepared: Option<String>) {
        let space = self.victim.space();
        match cell.cause {
            Cause::Itself => {}
            Cause::OtherRun | Cause::OtherRunOverFiles | Cause::OtherRunSlow => {
                let name = self.next_beside();
                let beside = match cell.cause {
                    Cause::OtherRunSlow => Beside {
                        partitions: 1,
                        seconds: 15.0,
                        over_files: false,
                    },
                    cause => Beside {
                        over_files: cause == Cause::OtherRunOverFiles,
                        ..Beside::of(BESIDE)
                    },
                };
                self.run_beside(&name, &beside);
            }
            Cause::OtherRunSuspended => {
                let name = prepared.unwrap_or_default();
                self.suspend(&name, true);
                self.suspend(&name, false);
            }
            Cause::PodEnds => {
                let pod = space.until("a pod is busy", || self.victim.busy_pod());
                self.victim.signal(&pod, Part::Shim, Signal::Kill);
                self.ends += 1;
            }
            Cause::JobEnds => {
                let job = self.job_of(&prepared.unwrap_or_default()).unwrap_or_default();
                let change = r#"{"spec": {"activeDeadlineSeconds": 1}}"#;
                let words = ["patch", "job", &job, "--type=merge", "--patch", change];
                suite().kubectl(&[&words[..], &["--namespace", space.name()]].concat());
            }
            Cause::RunExpires => {
                let name = prepared.unwrap_or_default();
                let change = r#"{"spec": {"ttl": {"afterSuccess": "1s"}}}"#;
                let words = ["patch", "workflow.braid.dev", &name, "--type=merge", "--patch", change];
                suite().kubectl(&[&words[..], &["--namespace", space.name()]].concat());
            }
            Cause::GuestGoes => {
                let name = prepared.unwrap_or_default();
                let guests = self.guests.as_ref().map_or("", Space::name);
                let words = [
                    "delete",
                    "workflow.braid.dev",
                    &name,
                    "--wait=false",
                    "--namespace",
                    guests,
                ];
                suite().kubectl(&words);
            }
            Cause::RunTakesOver => {
                let name = self.next_beside();
                space.run(&name, &json!({"resumeFrom": {"name": prepared.unwrap_or_default()}}));
                self.beside.push((name, LONGER));
            }
            Cause::LeaseDeleted => {
                let leases = suite().json(&["get", "leases", "--namespace", suite().namespace()]);
                let name = leases["items"][0]["metadata"]["name"].as_str().unwrap_or_default();
                suite().kubectl(&["delete", "lease", name, "--namespace", suite().namespace()]);
            }
        }
    }

    /// The name of the next run beside the run.
    fn next_beside(&self) -> String {
        format!("beside-{}", self.beside.len() + self.expiring.len() + self.cancelled)
    }

    /// A small run beside the run, with a pool of its own.
    fn run_beside(&mut self, name: &str, beside: &Beside) {
        let space = self.victim.space();
        let partitions = beside.partitions;
        let script = format!("sleep {}; echo '{{\"n\": 1}}' >\"$BRAID_RESULTS\"", beside.seconds);
        let (data, over) = if beside.over_files {
            let files: BTreeMap<String, &str> = (0..partitions).map(|file| (format!("{file}.txt"), "x")).collect();
            space.apply(&json!({
                "apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "texts"}, "data": files,
            }));
            let files = json!({"url": "*.txt", "volume": {"configMap": {"name": "texts"}}});
            (
                json!([{"name": "texts", "files": files}]),
                json!({"data": "texts", "split": {"files": 1}}),
            )
        } else {
            let items: Vec<u64> = (0..partitions).collect();
            (json!([]), json!({"items": items}))
        };
        space.run(
            name,
            &json!({
                "pools": [{"name": "default", "workers": {"max": 1}, "template": {"spec": {"terminationGracePeriodSeconds": 5}}}],
                "data": data,
                "steps": [{
                    "name": "beside", "over": over, "run": {"image": USERLAND, "script": script},
                    "results": [{"name": "n", "reduce": "Sum"}],
                }],
            }),
        );
        self.beside.push((name.to_owned(), partitions));
    }

    /// A run of another namespace on a standing pool of this one, in its midst.
    fn run_guest(&mut self) -> String {
        let space = self.victim.space();
        space.apply(&json!({
            "apiVersion": "braid.dev/v1alpha1", "kind": "WorkerPool", "metadata": {"name": GUESTS},
            "spec": {
                "workers": {"max": 1, "idle": "1s"}, "allowedRuns": {"namespaces": {"from": "All"}},
                "pods": {"image": USERLAND, "template": {"spec": {"terminationGracePeriodSeconds": 5}}},
            },
        }));
        let guests = self
            .guests
            .get_or_insert_with(|| Space::restricted(&format!("guests-{}", space.name())));
        let name = format!("guest-{}", self.guest_runs);
        self.guest_runs += 1;
        let items: Vec<u64> = (0..LONGER).collect();
        guests.run(
            &name,
            &json!({
                "pools": [{"name": "default", "workerPoolRef": {"name": GUESTS, "namespace": space.name()}}],
                "steps": [{
                    "name": "beside", "over": {"items": items},
                    "run": {"script": "sleep 1; echo '{\"n\": 1}' >\"$BRAID_RESULTS\""}, "results": [{"name": "n", "reduce": "Sum"}],
                }],
            }),
        );
        space.until("its plan is lent", || {
            let plans = space.list("plans.braid.dev");
            let is_of_it = |plan: &Value| plan["metadata"]["labels"]["braid.dev/workflow"] == name.as_str();
            plans.iter().any(is_of_it).then_some(())
        });
        name
    }

    /// A run beside the run, in its midst.
    fn run_long(&mut self, name: &str) {
        self.run_beside(name, &Beside::of(LONGER));
        let space = self.victim.space();
        space.until("the other run runs", || {
            let workflow = space.workflow(name);
            (workflow["status"]["steps"][0]["phase"] == "Running").then_some(())
        });
    }

    fn suspend(&self, run: &str, yes: bool) {
        let space = self.victim.space();
        let change = json!({"spec": {"suspend": yes}}).to_string();
        let words = ["patch", "workflow.braid.dev", run, "--type=merge", "--patch", &change];
        suite().kubectl(&[&words[..], &["--namespace", space.name()]].concat());
        space.until("the other run has heard it", || {
            let phase = space.workflow(run)["status"]["phase"].as_str()?.to_owned();
            ((phase == "Suspended") == yes).then_some(())
        });
    }

    /// Waits for the end of a run beside: every partition is counted.
    fn ended_well(&self, name: &str, partitions: u64) {
        let ended = self.victim.space().finished(name);
        let status = &ended["status"];
        assert_eq!("Succeeded", status["phase"], "{name}: {status:#}");
        assert_eq!(
            json!(partitions),
            status["steps"][0]["results"][0]["value"],
            "{name}: {status:#}"
        );
    }

    /// The Job of a run beside.
    fn job_of(&self, run: &str) -> Option<String> {
        let jobs = self.victim.space().list("jobs.batch");
        let mut names = jobs.iter().filter_map(|job| job["metadata"]["name"].as_str());
        names.find(|name| name.starts_with(run)).map(str::to_owned)
    }

    /// Lets the run go and checks everything.
    fn end(self) {
        self.victim.hurry();
        let space = self.victim.space();
        for (name, partitions) in &self.beside {
            self.ended_well(name, *partitions);
        }
        space.until("runs whose time is over are deleted", || {
            let runs = space.list("workflows.braid.dev");
            let is_there = |name: &String| runs.iter().any(|run| run["metadata"]["name"] == *name);
            (!self.expiring.iter().any(is_there)).then_some(())
        });
        space.finished("run");
        let words = [
            "delete",
            "workerpools.braid.dev",
            GUESTS,
            "--ignore-not-found",
            "--wait=false",
        ];
        suite().kubectl(&[&words[..], &["--namespace", space.name()]].concat());
        space.until("no plan of a run of another namespace is left", || {
            let plans = space.list("plans.braid.dev");
            let is_lent = |plan: &Value| plan["metadata"]["labels"]["braid.dev/workflow-namespace"].is_string();
            (!plans.iter().any(is_lent)).then_some(())
        });
        space.until("no worker and no pod is left", || {
            let left = ["workers.braid.dev", "pods"].map(|kind| space.list(kind).len());
            (left == [0, 0]).then_some(())
        });
        for pod in suite().operator_pods() {
            note_held_in_part(&self.held, &pod);
        }
        let held: f64 = self.held.lock().unwrap_or_else(PoisonError::into_inner).values().sum();
        assert!(
            self.doubled || held == 0.0,
            "{held} shards were dropped though a part of them was new, and no two operators wrote"
        );
        let unknown: Vec<String> = unknown(self.detour).iter().map(Edge::to_string).collect();
        assert!(
            unknown.is_empty(),
            "writes that are not in the table of faults: {unknown:?}"
        );
        self.victim.exact();
    }
}

/// Writes of Braid that were seen and are in no cell.
fn unknown(detour: &Detour) -> Vec<Edge> {
    let edges = detour.proxy().edges();
    let ours = edges
        .into_keys()
        .filter(|edge| edge.who != Who::Other && edge.verb.writes());
    ours.filter(|edge| !crate::edges::is_known(edge)).collect()
}

fn processes(who: Who) -> Vec<(Who, Process)> {
    let begin = PROGRAMS
        .iter()
        .find(|(of, _)| *of == who)
        .map_or("", |(_, begin)| begin);
    suite()
        .find_processes(begin)
        .into_iter()
        .map(|process| (who, process))
        .collect()
}

fn note(hit: &Hit) -> String {
    let mut note = match (hit.call.edge.verb.writes(), hit.status) {
        (true, Some(status)) => format!("the server said {status}"),
        (true, None) => "it never arrived".to_owned(),
        (false, _) => String::new(),
    };
    if hit.overtaken {
        note += ", behind its successor's";
    }
    note
}
