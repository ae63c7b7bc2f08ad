//! What breaks for all runs at once while shards are in flight: the operator, the API server, a node, the network. The numbers stay exact.
//!
//! These are cells of the same table as the faults of a single run. One after the other, for they break what others stand on.
#![allow(missing_docs, clippy::print_stderr)]

use braid_e2e_kind::edges::{Cell, cells_of};
use braid_e2e_kind::proxy::{Moment, Verb, Who};
use braid_e2e_kind::{Detour, OF_ALL, Row, Victim, campaign, suite, two_leaders};

/// Breaks what the test's name says.
#[track_caller]
fn cell(name: &str) {
    eprintln!("{}", braid_e2e_kind::cell(name));
}

macro_rules! cells {
    ($($test:ident: $name:literal),* $(,)?) => {
        $(#[test]
        fn $test() {
            cell($name);
        })*

        #[test]
        fn every_cell_is_a_test() {
            let all: Vec<&str> = OF_ALL.iter().map(|cell| cell.0).collect();
            assert_eq!([$($name),*].to_vec(), all);
        }
    };
}

cells! {
    operator_killed: "operator-killed",
    operator_silent: "operator-silent",
    operator_deleted: "operator-deleted",
    server_silent: "server-silent",
    server_killed: "server-killed",
    store_slow: "store-slow",
    release_upgraded: "release-upgraded",
    release_uninstalled: "release-uninstalled",
    // The last one: a node that has come back needs a while for everything on it.
    z_node_lost: "node-lost",
}

/// The cells of requests that are tried each time; `cargo xtask chaos --cluster` tries all.
#[test]
fn requests_broken() {
    let of = |who, verb, resource, moments: &[Moment]| -> Vec<Cell> {
        let all = cells_of(who, verb, resource).into_iter();
        all.filter(|cell| moments.contains(&cell.moment)).collect()
    };
    let all = [Moment::Before, Moment::After, Moment::Lost, Moment::Late];
    let chosen = [
        of(Who::Operator, Verb::Update, "workflows/status", &all),
        of(Who::Operator, Verb::Update, "workers", &[Moment::After, Moment::Late]),
        of(
            Who::Worker,
            Verb::Update,
            "workers/status",
            &[Moment::Lost, Moment::Late],
        ),
        of(Who::Operator, Verb::Create, "jobs", &[Moment::After]),
        of(Who::Operator, Verb::Watch, "workers", &[Moment::Stalled]),
    ]
    .concat();
    let detour = Detour::open();
    eprintln!("{}", Row::head());
    let hit = campaign(&detour, &chosen, |row| eprintln!("{row}"));
    eprintln!("{}", two_leaders(&detour));
    let missed = hit.err().unwrap_or_default();
    assert!(missed.is_empty(), "never hit: {missed:?}");
}

/// The chart's own test, as people run it after an installation.
#[test]
fn helm_test() {
    suite().test();
}

/// No finalizer holds a namespace up, with a run in its midst.
#[test]
fn namespace_deleted() {
    let victim = Victim::start("namespace-deleted");
    victim.in_flight();
    let name = victim.space().name();
    suite().kubectl(&["delete", "namespace", name, "--wait=true", "--timeout=90s"]);
}
