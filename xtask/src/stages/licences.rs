//! What the project depends on: licences, sources, doubles, and known vulnerabilities. The rules are in `deny.toml`.

use std::{
    ffi::OsString,
    path::PathBuf,
    process::{Command, Stdio},
};

use anyhow::{Context as _, bail};

use crate::{cargo, root};

/// The release of cargo-deny that is used, built below `target/tools`.
const DENY: &str = "0.20.2";

/// Licences, banned and doubled crates, sources; and known vulnerabilities if asked.
pub fn deny(advisories: bool) -> anyhow::Result<()> {
    let binary = installed_deny()?;
    let mut command = Command::new(binary);
    command
        .current_dir(root()?)
        .stdin(Stdio::null())
        .args(["--workspace", "--all-features", "--locked"])
        .args(["check", "--hide-inclusion-graph", "licenses", "bans", "sources"]);
    if advisories {
        command.arg("advisories");
    }
    if !command.status().context("cargo-deny")?.success() {
        bail!("see above; the rules are in deny.toml");
    }
    Ok(())
}

/// Built once, without optimisations (about a minute on two cores; with them several), and kept below `target/`.
fn installed_deny() -> anyhow::Result<PathBuf> {
    let tools = root()?.join("target/tools");
    let binary = tools
        .join("bin")
        .join(format!("cargo-deny{}", std::env::consts::EXE_SUFFIX));
    let is_right = Command::new(&binary)
        .arg("--version")
        .output()
        .is_ok_and(|output| String::from_utf8_lossy(&output.stdout).trim() == format!("cargo-deny {DENY}"));
    if is_right {
        return Ok(binary);
    }
    println!("building cargo-deny {DENY} into {}", tools.display());
    let arguments: [OsString; 10] = [
        "install".into(),
        "--locked".into(),
        "--force".into(),
        "--debug".into(),
        "--root".into(),
        tools.clone().into(),
        "--target-dir".into(),
        tools.join("build").into(),
        "--version".into(),
        DENY.into(),
    ];
    let status = cargo()
        .env("CARGO_PROFILE_DEV_DEBUG", "0")
        .stdin(Stdio::null())
        .args(arguments)
        .arg("cargo-deny")
        .status()
        .context("cargo install cargo-deny")?;
    if !status.success() {
        bail!("cargo-deny {DENY} could not be built; without it: cargo xtask test --quick");
    }
    Ok(binary)
}
