//! Environments of Python below `target`, for what others have made and we compare with. They need a package index.

use std::{
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, bail};

/// The Python of an environment that has what a file names, one `NAME==VERSION` a line; made if it is not there.
///
/// # Errors
/// There is no Python with its module venv, or no index of packages.
pub fn environment(directory: &Path, needed: &Path) -> anyhow::Result<PathBuf> {
    let python = directory.join("venv/bin/python");
    let installed = directory.join("installed.txt");
    let wanted = std::fs::read_to_string(needed).with_context(|| needed.display().to_string())?;
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
        .arg(needed);
    succeed(
        &mut install,
        "the packages could not be installed: this needs a Python package index (nothing was compared)",
    )?;
    std::fs::write(&installed, wanted).with_context(|| installed.display().to_string())?;
    Ok(python)
}

/// Runs it; `otherwise` says what is so if it fails.
///
/// # Errors
/// It cannot be run, or fails.
pub fn succeed(command: &mut Command, otherwise: &str) -> anyhow::Result<()> {
    let ended = command.status().with_context(|| format!("{otherwise}: {command:?}"))?;
    if !ended.success() {
        bail!("{otherwise} ({ended}: {command:?})");
    }
    Ok(())
}
