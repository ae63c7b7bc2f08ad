//! What breaks of one run while its shards are in flight: the numbers stay exact.
//!
//! Every test is a cell of the table "what is broken, and how". A run with four workers goes on, one of them has a shard that is not
//! sealed; then something breaks, really: a process gets a signal, a pod is deleted. The run must end by itself, with every partition
//! counted once.
#![allow(missing_docs, clippy::unwrap_used)]

use braid_e2e_kind::{Part, Signal, Victim, cell, stand_still, suite};

/// Slow partitions that may be run twice where nothing breaks: as many as are in flight at the end, on four workers.
const TWINS: u64 = 16;

#[test]
fn nothing_breaks() {
    let victim = Victim::start("nothing");
    victim.in_flight();
    let ledger = victim.exact();
    // Near its end a step runs a partition a second time that takes much longer than others: on a busy machine some do.
    assert!(
        ledger.again() <= TWINS,
        "{} programs were started again, and nothing broke",
        ledger.again()
    );
}

#[test]
fn worker_killed() {
    cell("worker-killed", |run, pod| {
        run.signal(pod, Part::Worker, Signal::Kill);
    });
}

#[test]
fn worker_silent() {
    cell("worker-silent", |run, pod| {
        stand_still(&run.signal(pod, Part::Worker, Signal::Stop));
    });
}

#[test]
fn shim_killed() {
    cell("shim-killed", |run, pod| {
        run.signal(pod, Part::Shim, Signal::Kill);
    });
}

#[test]
fn shim_silent() {
    cell("shim-silent", |run, pod| {
        stand_still(&run.signal(pod, Part::Shim, Signal::Stop));
    });
}

#[test]
fn program_killed() {
    cell("program-killed", |run, pod| {
        run.signal(pod, Part::Program, Signal::Kill);
    });
}

#[test]
fn program_silent() {
    cell("program-silent", |run, pod| {
        stand_still(&run.signal(pod, Part::Program, Signal::Stop));
    });
}

#[test]
fn pod_deleted() {
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
fn pod_deleted_at_once() {
    cell("pod-deleted-at-once", |run, pod| {
        let at_once = ["--force", "--grace-period=0", "--wait=false"];
        let words = ["delete", "pod", &pod.0, "--namespace", run.space().name()];
        suite().kubectl(&[&words[..], &at_once[..]].concat());
    });
}
