//! `compare`: the reducers beside an independent implementation, on real data.
//!
//! The data and pandas come from a Python package index into an environment below `target/compare`, so this is a command of its
//! own and no stage of the tests.

use std::{path::Path, process::Command};

use anyhow::{Context as _, bail};

use crate::{cargo, root};

/// Runs it. An error says what is missing or what was not equal.
pub fn run() -> anyhow::Result<()> {
    let root = root()?;
    let directory = root.join("target/compare");
    let here = root.join("tests/compare");
    let python = environment(&directory, &here)?;
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

/// The Python of an environment that has what is needed, made if it is not there.
fn environment(directory: &Path, here: &Path) -> anyhow::Result<std::path::PathBuf> {
    let python = directory.join("venv/bin/python");
    let needed = here.join("requirements.txt");
    let installed = directory.join("installed.txt");
    let wanted = std::fs::read_to_string(&needed).with_context(|| needed.display().to_string())?;
    if python.is_file() && std::fs::read_to_string(&installed).is_ok_and(|known| known == wanted) {
        return Ok(python);
    }
    std::fs::create_dir_all(directory).with_context(|| directory.display().to_string())?;
    let mut make = Command::new("python3");
    make.args(["-m", "venv"]).arg(directory.join("venv"));
    succeed(&mut make, "this needs python3 (3.11 or newer) with its module venv")?;
    let mut install = Command::new(&python);
    install
        .args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "-r"])
        .arg(&needed);
    succeed(
        &mut install,
        "the data and pandas could not be installed: this needs a Python package index (nothing was compared)",
    )?;
    std::fs::write(&installed, wanted).with_context(|| installed.display().to_string())?;
    Ok(python)
}

fn succeed(command: &mut Command, otherwise: &str) -> anyhow::Result<()> {
    let ended = command.status().with_context(|| format!("{otherwise}: {command:?}"))?;
    if !ended.success() {
        bail!("{otherwise} ({ended}: {command:?})");
    }
    Ok(())
}
