//! What breaks for all runs at once while shards are in flight: the operator, the API server, a node. The numbers stay exact.
//!
//! These are cells of the same table as the faults of a single run. One after the other, for they break what others stand on.
#![allow(missing_docs, clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]

use std::thread;
use std::time::Duration;

use braid_e2e_kind::{Process, Signal, Victim, cell, stand_still, suite};

#[test]
fn operator_killed() {
    cell("operator-killed", |_, _| {
        assert!(suite().signal(&suite().leader_process(), Signal::Kill));
    });
}

#[test]
fn operator_silent() {
    cell("operator-silent", |_, _| {
        let leader = suite().leader_process();
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

/// The store answers, but each answer takes long.
#[test]
fn store_slow() {
    cell("store-slow", |_, _| {
        let nodes = suite().nodes();
        let mut all = nodes.iter().flat_map(|node| suite().processes(node));
        let store = all.find(|process| process.words.starts_with("etcd ")).unwrap();
        for _ in 0..20 {
            assert!(suite().signal(&store, Signal::Stop));
            thread::sleep(Duration::from_millis(500));
            assert!(suite().signal(&store, Signal::Continue));
        }
    });
}

/// Operators are replaced one by one, as by a new version.
#[test]
fn release_upgraded() {
    cell("release-upgraded", |_, _| {
        let before = suite().leader();
        suite().install(&["podAnnotations.rolled=once"]);
        assert_ne!(before, suite().leader());
    });
}

/// Without its release a run stands still and loses nothing; with it, it goes on.
#[test]
fn release_uninstalled() {
    cell("release-uninstalled", |run, _| {
        suite().uninstall();
        let kept = run.space().workflow("run");
        assert_eq!("Running", kept["status"]["phase"]);
        // Longer than workers may be silent: nobody is there to hold it against them.
        thread::sleep(Duration::from_secs(9));
        suite().install(&[]);
        assert_eq!(kept["metadata"]["uid"], run.space().workflow("run")["metadata"]["uid"]);
    });
}

/// No finalizer holds a namespace up, with a run in its midst.
#[test]
fn namespace_deleted() {
    let victim = Victim::start("namespace-deleted");
    victim.in_flight();
    let name = victim.space().name();
    suite().kubectl(&["delete", "namespace", name, "--wait=true", "--timeout=90s"]);
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
