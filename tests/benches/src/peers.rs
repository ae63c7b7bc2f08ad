//! Programs of others that do the same work: scripts in `peers`, run with the Python that `PEER_PYTHON` names.
//!
//! `cargo xtask bench --peers` makes such a Python. Without the variable there are no rows of peers.

use std::{
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, ensure};
use serde_json::Value;

const PYTHON: &str = "PEER_PYTHON";

/// The Python that has the peers, where they are wanted.
pub fn python() -> Option<PathBuf> {
    std::env::var_os(PYTHON).map(PathBuf::from)
}

/// Where the scripts are.
pub fn scripts() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("peers")
}

/// Runs a script, and gives the JSON that its last line is.
pub fn told(python: &Path, script: &str, arguments: &[String]) -> anyhow::Result<Value> {
    let output = Command::new(python)
        .arg(scripts().join(script))
        .args(arguments)
        .output()
        .with_context(|| format!("{}", python.display()))?;
    let said = String::from_utf8_lossy(&output.stdout);
    ensure!(
        output.status.success(),
        "{script} ended with {}: {}",
        output.status,
        String::from_utf8_lossy(&output.stderr)
    );
    let last = said.lines().last().unwrap_or_default();
    serde_json::from_str(last).with_context(|| format!("{script} said {last:?}"))
}
