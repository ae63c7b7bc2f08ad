//! What breaks of one run while its shards are in flight: the numbers stay exact.
//!
//! Every test is a cell of the table "what is broken, and how". A run with four workers goes on, one of them has a shard that is not
//! sealed; then something breaks, really: a process gets a signal, a pod is deleted. The run must end by itself, with every partition
//! counted once.
#![allow(missing_docs, clippy::print_stderr)]

use braid_e2e_kind::{OF_A_RUN, TWINS, Victim};

/// Breaks what the test's name says.
#[track_caller]
fn cell(name: &str) {
    eprintln!("{}", braid_e2e_kind::cell(name));
}

#[test]
fn nothing_breaks() {
    let victim = Victim::start("nothing");
    victim.in_flight();
    let ledger = victim.exact();
    // Near its end a step runs a partition a second time that takes much longer than others: on a busy machine some do.
    assert!(
        ledger.again() <= TWINS,
        "{} programs were started again, and nobody died",
        ledger.again()
    );
}

macro_rules! cells {
    ($($test:ident: $name:literal),* $(,)?) => {
        $(#[test]
        fn $test() {
            cell($name);
        })*

        #[test]
        fn every_cell_is_a_test() {
            let all: Vec<&str> = OF_A_RUN.iter().map(|cell| cell.0).collect();
            assert_eq!([$($name),*].to_vec(), all);
        }
    };
}

cells! {
    worker_killed: "worker-killed",
    worker_silent: "worker-silent",
    shim_killed: "shim-killed",
    shim_silent: "shim-silent",
    program_killed: "program-killed",
    program_silent: "program-silent",
    pod_deleted: "pod-deleted",
    pod_deleted_at_once: "pod-deleted-at-once",
    pod_evicted: "pod-evicted",
}
