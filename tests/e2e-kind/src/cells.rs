//! Cells of the table of faults that are about processes and the network: a run with one fault in its midst.

use std::thread;
use std::time::{Duration, Instant};

use crate::detour::Detour;
use crate::install::suite;
use crate::processes::{Process, Signal};
use crate::proxy::{Call, Edge, Verb, Who};
use crate::second::SecondOperator;
use crate::space::until;
use crate::table::Row;
use crate::victim::{Ledger, Part, Victim, open_shards};

/// Longer than workers and leaders may be silent.
const SILENCE: Duration = Duration::from_secs(9);
/// Longer than two of their Leases together.
const LONG_SILENCE: Duration = Duration::from_secs(12);
/// Slow partitions that may be run twice where nothing breaks: as many as are in flight at the end, on four workers.
pub const TWINS: u64 = 16;

/// A pod and its node.
type Pod = (String, String);

/// What is done to a run; it is given a pod that has a shard in flight, and its node.
type Fault = fn(&Victim, &Pod);

/// Faults of one run's own parts. They may be tried at the same time.
pub const OF_A_RUN: [(&str, Fault); 9] = [
    ("worker-killed", |run, pod| {
        run.signal(pod, Part::Worker, Signal::Kill);
    }),
    ("worker-silent", |run, pod| {
        stand_still(&run.signal(pod, Part::Worker, Signal::Stop), SILENCE);
    }),
    ("shim-killed", |run, pod| {
        run.signal(pod, Part::Shim, Signal::Kill);
    }),
    ("shim-silent", |run, pod| {
        stand_still(&run.signal(pod, Part::Shim, Signal::Stop), SILENCE);
    }),
    ("program-killed", |run, pod| {
        run.signal(pod, Part::Program, Signal::Kill);
    }),
    ("program-silent", |run, pod| {
        stand_still(&run.signal(pod, Part::Program, Signal::Stop), SILENCE);
    }),
    ("pod-deleted", |run, pod| {
        let words = [
            "delete",
            "pod",
            &pod.0,
            "--wait=false",
            "--namespace",
            run.space().name(),
        ];
        suite().kubectl(&words);
    }),
    ("pod-deleted-at-once", |run, pod| {
        let words = ["delete", "pod", &pod.0, "--namespace", run.space().name()];
        let at_once = ["--force", "--grace-period=0", "--wait=false"];
        suite().kubectl(&[&words[..], &at_once[..]].concat());
    }),
    // As by `kubectl drain`, or by whoever makes room.
    ("pod-evicted", |run, pod| {
        suite().evict(run.space().name(), &pod.0);
    }),
];

/// Faults of what all runs stand on: one at a time.
pub const OF_ALL: [(&str, Fault); 9] = [
    ("operator-killed", |_, _| {
        assert!(suite().signal(&suite().leader_process(), Signal::Kill));
    }),
    ("operator-silent", |_, _| {
        let leader = suite().leader_process();
        assert!(suite().signal(&leader, Signal::Stop));
        stand_still(&leader, SILENCE);
    }),
    ("operator-deleted", |_, _| {
        let words = ["delete", "pod", &suite().leader(), "--wait=false"];
        suite().kubectl(&[&words[..], &["--namespace", suite().namespace()]].concat());
    }),
    ("server-silent", |run, _| {
        nobody_is_given_up(run, || {
            let server = server();
            assert!(suite().signal(&server, Signal::Stop));
            stand_still(&server, LONG_SILENCE);
        });
    }),
    ("server-killed", |_, _| {
        assert!(suite().signal(&server(), Signal::Kill));
    }),
    // The store answers, but each answer takes long.
    ("store-slow", |_, _| {
        let store = suite().find_processes("etcd ");
        let store = store.first().unwrap_or_else(|| panic!("there is no etcd"));
        for _ in 0..20 {
            assert!(suite().signal(store, Signal::Stop));
            thread::sleep(Duration::from_millis(500));
            assert!(suite().signal(store, Signal::Continue));
        }
    }),
    // Operators are replaced one by one, as by a new version.
    ("release-upgraded", |_, _| {
        let before = suite().leader();
        suite().install(&["podAnnotations.rolled=once"]);
        assert_ne!(before, suite().leader());
    }),
    // Without its release a run stands still and loses nothing; with it, it goes on.
    ("release-uninstalled", |run, _| {
        suite().uninstall();
        let kept = run.space().workflow("run");
        assert_eq!("Running", kept["status"]["phase"]);
        // Longer than workers may be silent: nobody is there to hold it against them.
        thread::sleep(SILENCE);
        suite().install(&[]);
        assert_eq!(kept["metadata"]["uid"], run.space().workflow("run")["metadata"]["uid"]);
    }),
    // The run goes on without the node and ends before the node is there again.
    ("node-lost", |run, pod| {
        suite().docker(&["stop", "--time=1", &pod.1]);
        run.space().finished("run");
        suite().start_node(&pod.1);
    }),
];

/// The cell of that name. The numbers stay exact.
#[track_caller]
pub fn cell(name: &str) -> Row {
    let mut all = OF_A_RUN.iter().chain(&OF_ALL);
    let found = all.find(|cell| cell.0 == name);
    let (_, fault) = found.unwrap_or_else(|| panic!("there is no cell {name}"));
    let gentle = name == "server-silent";
    let (row, ledger) = hit(name, fault);
    assert!(
        !gentle || ledger.again() <= TWINS,
        "nobody died, but {} programs were started again",
        ledger.again()
    );
    row
}

/// A run with a fault in its midst.
#[track_caller]
fn hit(name: &str, fault: impl FnOnce(&Victim, &Pod)) -> (Row, Ledger) {
    let victim = Victim::start(name);
    let pod = victim.in_flight();
    let open = open_shards(victim.space().name(), Some("run")).values().sum();
    let before = victim.ledger().partitions();
    let begun = Instant::now();
    fault(&victim, &pod);
    let ledger = victim.exact();
    let (what, how) = name.split_once('-').unwrap_or((name, ""));
    let row = Row {
        what: what.to_owned(),
        how: how.replace('-', " "),
        done: before,
        open,
        note: format!("{} programs were started again", ledger.again()),
        on_after: begun.elapsed(),
    };
    (row, ledger)
}

/// Lets a process that was stopped go on, when all others have taken it for lost.
fn stand_still(process: &Process, silence: Duration) {
    thread::sleep(silence);
    // One that was killed meanwhile, for it did not answer, needs no more.
    suite().signal(process, Signal::Continue);
}

/// The API server's process.
fn server() -> Process {
    let found = suite().find_processes("kube-apiserver ");
    found
        .first()
        .unwrap_or_else(|| panic!("there is no API server"))
        .clone()
}

/// A time in which nothing can be read says nothing about workers: they go on as the same starts, and nobody calls them silent.
fn nobody_is_given_up(run: &Victim, fault: impl FnOnce()) {
    let before = run.starts();
    let given_up = || suite().operator_logs().matches("fell silent").count();
    let known = given_up();
    let settled = run.settled();
    fault();
    until("more partitions count", || {
        let words = ["get", "workflow.braid.dev", "run", "--namespace", run.space().name()];
        // The server may still be on its way back.
        let answers = suite().try_kubectl(&words, None).status.success();
        (answers && run.settled() > settled).then_some(())
    });
    assert_eq!(before, run.starts(), "workers have started anew");
    assert_eq!(
        known,
        given_up(),
        "a worker was given up for a time in which nothing could be read"
    );
}

/// Two operators lead at once over the same namespaces, each by a Lease of its own: work is done twice at worst, and counts once.
#[track_caller]
pub fn two_leaders(detour: &Detour) -> Row {
    let second = SecondOperator::start();
    let first = suite().leader();
    for pod in [first.as_str(), second.pod()] {
        until("both lead", || {
            (suite().metric(pod, "braid_operator_leading") == Some(1.0)).then_some(())
        });
    }
    let desks = Edge::new(Who::Operator, Verb::Update, "workers");
    let runs = Edge::new(Who::Operator, Verb::Update, "workflows/status");
    let writes = |pod: &str| [&desks, &runs].map(|edge| detour.proxy().count(edge, pod));
    let before = [writes(&first), writes(second.pod())];
    let (mut row, ledger) = hit("leaders-two", |_, _| {
        until("both write", || {
            let now = [writes(&first), writes(second.pod())];
            let mut pairs = now.iter().flatten().zip(before.iter().flatten());
            pairs.all(|(now, before)| now > before).then_some(())
        });
    });
    let wrote = [writes(&first), writes(second.pod())];
    let [one, other]: [u64; 2] =
        [0, 1].map(|who: usize| wrote[who].iter().sum::<u64>() - before[who].iter().sum::<u64>());
    let all = ledger.partitions();
    assert!(
        ledger.again() <= all + TWINS,
        "{all} partitions were begun {} times more than once each",
        ledger.again()
    );
    row.note = format!("{}; they tried {one} and {other} writes of desks and runs", row.note);
    row
}

/// Requests of one part do not arrive for longer than its Lease, while all others' do.
#[track_caller]
pub fn cut_off(detour: &Detour) -> Vec<Row> {
    let lease = |call: &Call| call.edge.resource == "leases/leader";
    let cut = |name: &str, of_worker: bool, which: fn(&Call) -> bool| {
        hit(name, |_, pod| {
            let whose = if of_worker { pod.0.clone() } else { suite().leader() };
            let barred = detour.proxy().bar(move |call| call.pod == whose && which(call));
            thread::sleep(SILENCE);
            drop(barred);
        })
        .0
    };
    vec![
        cut("leader-cut-off-its-lease", false, lease),
        cut("leader-cut-off", false, |_| true),
        cut("worker-cut-off", true, |_| true),
    ]
}
