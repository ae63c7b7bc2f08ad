//! What breaks for all runs at once while shards are in flight: the operator, the API server, a node. The numbers stay exact.
//!
//! These are cells of the same table as the faults of a single run. One after the other, for they break what others stand on.
#![allow(missing_docs, clippy::unwrap_used, clippy::panic)]

use braid_e2e_kind::{Process, Signal, cell, stand_still, suite};

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
fn operator_killed() {
    cell("operator-killed", |_, _| {
        assert!(suite().signal(&leader(), Signal::Kill));
    });
}

#[test]
fn operator_silent() {
    cell("operator-silent", |_, _| {
        let leader = leader();
        assert!(suite().signal(&leader, Signal::Stop));
        stand_still(&leader);
    });
}

#[test]
fn operator_deleted() {
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
fn server_silent() {
    cell("server-silent", |_, _| {
        let server = server();
        assert!(suite().signal(&server, Signal::Stop));
        stand_still(&server);
    });
}

#[test]
fn server_killed() {
    cell("server-killed", |_, _| {
        assert!(suite().signal(&server(), Signal::Kill));
    });
}

/// The run goes on without the node and ends before the node is there again.
#[test]
fn z_node_lost() {
    cell("node-lost", |run, pod| {
        suite().docker(&["stop", "--time=1", &pod.1]);
        run.space().finished("run");
        suite().start_node(&pod.1);
    });
}
