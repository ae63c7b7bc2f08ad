//! Servers that go away, forget, refuse, or never answer.

use braid_apiserver::{Fault, Target, Times, Verb};
use serde_json::json;

use crate::{
    cases::submit,
    embedded::{Embedded, TEAM},
};

#[test]
fn a_watch_outlives_lost_connections_and_forgotten_versions() {
    let embedded = Embedded::new();
    let site = &embedded.site;
    submit(site, "tough");
    let watching = site.start(&["watch", "tough", "--progress", "plain", "-o", "json"]);
    site.running("tough", 1);
    let watching = watching.until("work: Running, 1 of 10 partitions");
    // The next watch is told that the version is too old.
    let target = || Target::any().plural("workflows");
    embedded
        .server
        .faults()
        .inject(target().verb(Verb::Watch), Fault::Gone, Times::Count(1));
    embedded.server.drop_watches(&target());
    site.say("tough", &crate::site::status("Waiting", "BackingOff", 2, "later"));
    let watching = watching.until("work: Waiting, 2 of 10 partitions");
    // Nobody answers for a while, and what happened meanwhile is seen.
    embedded.server.faults().set_outage(true);
    embedded.server.drop_watches(&target());
    let watching = watching.until("trying again");
    embedded.server.faults().set_outage(false);
    site.ended("tough", "Succeeded", "all steps are done");
    let said = watching.wait().exits(0);
    assert!(said.err.contains("the run is seen again"), "{}", said.err);
    assert!(!said.err.contains("ERROR"), "{}", said.err);
    assert_eq!(json!("Succeeded"), said.json()["phase"]);
}

#[test]
fn a_later_run_of_the_same_name_is_another_one() {
    let embedded = Embedded::new();
    let site = &embedded.site;
    submit(site, "again");
    let watching = site.start(&["watch", "again", "--progress", "plain"]);
    site.running("again", 1);
    let watching = watching.until("work: Running");
    embedded.server.faults().set_outage(true);
    embedded.server.drop_watches(&Target::any().plural("workflows"));
    let watching = watching.until("trying again");
    embedded.server.faults().set_outage(false);
    site.ask(
        site.workflows(TEAM)
            .delete("again", &kube::api::DeleteParams::default()),
    );
    let said = watching.wait().exits(6);
    assert!(said.err.contains("the run was deleted"), "{}", said.err);
}

#[test]
fn a_server_that_never_answers_is_given_up() {
    let embedded = Embedded::new();
    let site = &embedded.site;
    submit(site, "silent");
    embedded
        .server
        .faults()
        .inject(Target::any().plural("workflows"), Fault::Hang, Times::Always);
    for words in [
        vec!["get", "silent", "--request-timeout", "300ms"],
        vec!["ls", "--request-timeout", "300ms"],
        vec!["cancel", "silent", "--request-timeout", "300ms"],
    ] {
        let said = site.braid(&words).exits(6);
        assert!(said.err.contains("has not answered"), "{words:?}: {}", said.err);
    }
}

#[test]
fn an_unanswered_submission_is_made_once_and_may_have_been_done() {
    let embedded = Embedded::new();
    let site = &embedded.site;
    let file = site.home.numbers("once", 3, crate::harness::NUMBER);
    embedded.server.faults().inject(
        Target::any().plural("workflows").verb(Verb::Create),
        Fault::LateTimeout,
        Times::Count(1),
    );
    let said = site
        .braid(&["submit", file.to_str().unwrap(), "--generate-name"])
        .exits(6);
    assert!(said.err.contains("may have been created"), "{}", said.err);
    assert_eq!(1, site.names(TEAM).len());
}

#[test]
fn refusals_say_what_to_do() {
    let embedded = Embedded::new();
    let site = &embedded.site;
    let path = "/apis/braid.dev/v1alpha1/namespaces/team/workflows/x";
    let status = |code: u16, reason: &str, message: &str| json!({"kind": "Status", "apiVersion": "v1", "status": "Failure", "code": code, "reason": reason, "message": message});
    embedded.answers(
        &format!("GET {path}"),
        403,
        &status(403, "Forbidden", "workflows.braid.dev \"x\" is forbidden: \u{1b}[2Jno"),
    );
    let said = site.braid(&["get", "x"]).exits(6);
    assert!(said.err.contains("is forbidden: \u{fffd}[2Jno"), "{}", said.err);
    assert!(said.err.contains("braid doctor"), "{}", said.err);
    embedded.answers(
        &format!("GET {path}"),
        401,
        &status(401, "Unauthorized", "Unauthorized"),
    );
    let said = site.braid(&["get", "x"]).exits(6);
    assert!(said.err.contains("log in again"), "{}", said.err);
    embedded.answers(&format!("GET {path}"), 404, &"404 page not found\n");
    let said = site.braid(&["get", "x"]).exits(6);
    assert!(
        said.err.contains("does not have the kinds of braid.dev"),
        "{}",
        said.err
    );
    let later = json!({
        "apiVersion": "braid.dev/v1alpha1", "kind": "Workflow", "metadata": {"name": "x", "namespace": TEAM},
        "spec": {"steps": []}, "status": {"phase": "Dreaming"},
    });
    embedded.answers(&format!("GET {path}"), 200, &later);
    let said = site.braid(&["get", "x"]).exits(6);
    assert!(
        said.err.contains("Dreaming") && said.err.contains("another version"),
        "{}",
        said.err
    );
    embedded.answers(&format!("GET {path}"), 503, &"upstream is away");
    let said = site.command(&["get", "x", "--request-timeout", "1s"]).output().unwrap();
    assert_eq!(Some(6), said.status.code());
}

#[test]
fn an_interrupt_leaves_the_run_alone() {
    let embedded = Embedded::new();
    let site = &embedded.site;
    submit(site, "left");
    let watching = site.start(&["watch", "left", "--progress", "plain"]);
    site.running("left", 1);
    let watching = watching.until("work: Running");
    watching.signal(nix::sys::signal::Signal::SIGINT);
    let said = watching.wait().exits(130);
    assert!(
        said.err.contains("the run goes on: braid watch -n team left"),
        "{}",
        said.err
    );
    assert!(!site.get(TEAM, "left").spec.suspend);
}
