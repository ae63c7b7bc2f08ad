//! What breaks while shards are in flight: the numbers stay exact.
//!
//! Every test is a cell of the table "what is broken, and how". A run with four workers goes on, one of them has a shard that is not
//! sealed; then something breaks, really: a process gets a signal, a pod is deleted, a node stops. The run must end by itself, with
//! every partition counted once.
#![allow(missing_docs, clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]

use std::thread;
use std::time::{Duration, Instant};

use braid_e2e_kind::{Part, Process, Signal, Victim, suite};

/// Longer than workers and leaders may be silent.
const SILENCE: Duration = Duration::from_secs(9);

type Pod = (String, String);

/// A run with a fault in its midst.
#[expect(clippy::print_stderr, reason = "the table of what was hit")]
#[track_caller]
fn cell(name: &str, fault: impl FnOnce(&Victim, &Pod)) {
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

fn stopped(process: &Process) {
    thread::sleep(SILENCE);
    // One that was killed meanwhile, for it did not answer, needs no more.
    suite().signal(process, Signal::Continue);
}

#[test]
fn a_nothing_breaks() {
    let victim = Victim::start("nothing");
    victim.in_flight();
    let ledger = victim.exact();
    assert_eq!(0, ledger.again(), "without a fault every program runs once");
}

#[test]
fn b_worker_killed() {
    cell("worker-killed", |run, pod| {
        run.signal(pod, Part::Worker, Signal::Kill);
    });
}

#[test]
fn b_worker_silent() {
    cell("worker-silent", |run, pod| {
        stopped(&run.signal(pod, Part::Worker, Signal::Stop));
    });
}

#[test]
fn b_shim_killed() {
    cell("shim-killed", |run, pod| {
        run.signal(pod, Part::Shim, Signal::Kill);
    });
}

#[test]
fn b_shim_silent() {
    cell("shim-silent", |run, pod| {
        stopped(&run.signal(pod, Part::Shim, Signal::Stop));
    });
}

#[test]
fn b_program_killed() {
    cell("program-killed", |run, pod| {
        run.signal(pod, Part::Program, Signal::Kill);
    });
}

#[test]
fn b_program_silent() {
    cell("program-silent", |run, pod| {
        stopped(&run.signal(pod, Part::Program, Signal::Stop));
    });
}

#[test]
fn c_pod_deleted() {
    cell("pod-deleted", |run, pod| {
        suite().kubectl(&[
            "delete",
            "pod",
            &pod.0,
            "--namespace",
            run.space().name(),
            "--wait=false",
        ]);
    });
}

#[test]
fn c_pod_deleted_at_once() {
    cell("pod-deleted-at-once", |run, pod| {
        let at_once = ["--force", "--grace-period=0", "--wait=false"];
        let words = ["delete", "pod", &pod.0, "--namespace", run.space().name()];
        suite().kubectl(&[&words[..], &at_once[..]].concat());
    });
}

/// The leading operator's process.
fn leader() -> Process {
    let suite = suite();
    let name = suite.leader();
    let pods = suite.pods(suite.namespace());
    let (_, node) = pods
        .iter()
        .find(|pod| pod.0 == name)
        .unwrap_or_else(|| panic!("{name}: {pods:?}"));
    let processes = suite.processes(node);
    let found = processes
        .iter()
        .find(|process| process.is_of(&name) && process.words.starts_with("/braid-operator"));
    found.unwrap_or_else(|| panic!("{name}: {processes:#?}")).clone()
}

#[test]
fn d_operator_killed() {
    cell("operator-killed", |_, _| {
        assert!(suite().signal(&leader(), Signal::Kill))
    });
}

#[test]
fn d_operator_silent() {
    cell("operator-silent", |_, _| {
        let leader = leader();
        assert!(suite().signal(&leader, Signal::Stop));
        stopped(&leader);
    });
}

#[test]
fn d_operator_deleted() {
    cell("operator-deleted", |_, _| {
        let leader = suite().leader();
        suite().kubectl(&[
            "delete",
            "pod",
            &leader,
            "--namespace",
            suite().namespace(),
            "--wait=false",
        ]);
    });
}

/// The API server's process.
fn server() -> Process {
    let nodes = suite().nodes();
    let mut all = nodes.iter().flat_map(|node| suite().processes(node));
    all.find(|process| process.words.starts_with("kube-apiserver "))
        .unwrap()
}

#[test]
fn e_server_silent() {
    cell("server-silent", |_, _| {
        let server = server();
        assert!(suite().signal(&server, Signal::Stop));
        stopped(&server);
    });
}

#[test]
fn e_server_killed() {
    cell("server-killed", |_, _| assert!(suite().signal(&server(), Signal::Kill)));
}
