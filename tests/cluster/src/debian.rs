//! What a Debian machine lacks is installed, where we may.

use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::command::{Call, CallError};
use crate::steps::{Phase, Steps};

/// For apt-get, which may wait for another one.
const INSTALL: Duration = Duration::from_mins(15);

/// Programs and the packages that have them.
const PACKAGES: [(&str, &str); 7] = [
    ("dockerd", "docker.io"),
    ("docker", "docker.io"),
    ("containerd", "containerd"),
    ("runc", "runc"),
    ("debootstrap", "debootstrap"),
    ("iptables", "iptables"),
    ("zstd", "zstd"),
];

/// A program of this machine, also where only administrators look.
fn find(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let places = std::env::split_paths(&path).chain(["/usr/sbin", "/sbin"].map(PathBuf::from));
    places.map(|place| place.join(program)).find(|file| file.is_file())
}

/// Whether this is a Debian whose packages we may install.
pub(crate) fn may_install() -> bool {
    nix::unistd::geteuid().is_root() && Path::new("/etc/debian_version").is_file() && find("apt-get").is_some()
}

/// Installs the packages of those programs that are not there.
pub(crate) fn install(programs: &[&str], steps: &mut Steps, say: &dyn Fn(&str)) -> Result<(), CallError> {
    let absent = |program: &str| programs.contains(&program) && find(program).is_none();
    let mut packages: Vec<&str> = PACKAGES.iter().filter(|it| absent(it.0)).map(|it| it.1).collect();
    packages.dedup();
    if packages.is_empty() {
        return Ok(());
    }
    let name = format!("install {}", packages.join(", "));
    let apt = || {
        Call::new("apt-get")
            .args(["--quiet", "--yes", "-o", "DPkg::Lock::Timeout=300"])
            .env("DEBIAN_FRONTEND", "noninteractive")
            .within(INSTALL)
    };
    steps.run(Phase::Download, &name, say, || {
        apt().arg("update").run()?;
        apt().args(["install", "--no-install-recommends"]).args(packages).run()
    })?;
    Ok(())
}
