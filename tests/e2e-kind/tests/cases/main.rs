//! The examples in pods: what they come to is what they come to on this machine, byte for byte.
#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]

mod code;
mod drains;
mod files;
mod pods;
mod security;
mod standing;

use std::fs;

use braid_e2e::{Home, root};
use braid_e2e_kind::{Space, TALLY, told};
use serde_json::json;

/// Runs an example here and there.
#[track_caller]
fn the_same_as_here(name: &str) {
    let space = Space::restricted(&format!("example-{name}"));
    let file = root().join(format!("examples/{name}.yaml"));
    space.apply_text(&fs::read_to_string(&file).unwrap());
    let here = Home::default().run(&file, &[]).exits(0);
    let there = space.finished(name);
    assert_eq!(told(&here.workflow), told(&there));
    assert_eq!("Succeeded", there["status"]["phase"]);
}

#[test]
fn squares() {
    the_same_as_here("squares");
}

#[test]
fn retry() {
    the_same_as_here("retry");
}

#[test]
fn matrix() {
    the_same_as_here("matrix");
}

#[test]
fn diamond() {
    the_same_as_here("diamond");
}

#[test]
fn an_image_of_one_static_program() {
    let space = Space::restricted("scratch");
    space.run(
        "tally",
        &json!({
            "steps": [{
                "name": "add",
                "over": {"range": {"end": 200}},
                "run": {"image": TALLY, "command": ["/braid-tally"], "concurrency": 4},
                "results": [{"name": "sum", "reduce": "Sum"}],
            }],
            "outputs": [{"name": "sum", "value": "steps.add.results.sum"}],
        }),
    );
    let ended = space.finished("tally");
    assert_eq!(json!({"sum": 199 * 200 / 2}), ended["status"]["outputs"]);
    let counts = &ended["status"]["steps"][0]["partitions"];
    assert_eq!(
        (json!(200), json!(200)),
        (counts["total"].clone(), counts["succeeded"].clone())
    );
}
