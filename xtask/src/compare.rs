//! `compare`: the reducers beside an independent implementation, on real data.
//!
//! The data and pandas come from a Python package index into an environment below `target/compare`, so this is a command of its
//! own and no stage of the tests.

use std::process::Command;

use crate::{
    cargo,
    python::{environment, succeed},
    root,
};

/// Runs it. An error says what is missing or what was not equal.
pub fn run() -> anyhow::Result<()> {
    let root = root()?;
    let directory = root.join("target/compare");
    let here = root.join("tests/compare");
    let python = environment(&directory, &here.join("requirements.txt"))?;
    let mut build = cargo();
    build
        .current_dir(&root)
        .args(["build", "--release", "--locked", "--package", "braid", "--bin", "braid"]);
    succeed(&mut build, "the program is not built")?;
    let mut compare = Command::new(python);
    compare
        .current_dir(&root)
        .arg(here.join("flights.py"))
        .arg(root.join("target/release/braid"))
        .arg(&directory);
    succeed(&mut compare, "the results are not those of pandas")
}
