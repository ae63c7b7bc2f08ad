//! Who may know whom: checked against the manifests, so that a door that was opened by accident fails a test.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::Path,
    process::Command,
};

use serde_json::Value;

/// Which crates of the workspace a crate may use. Absent: any. Tests and development tools may use whom they like.
const MAY_USE: [(&str, &[&str]); 8] = [
    ("braid-crds", &[]),
    ("braid-engine", &["braid-crds"]),
    ("braid-sync", &[]),
    ("braid-telemetry", &[]),
    ("braid-apiserver", &["braid-crds"]),
    (
        "braid-operator",
        &["braid-crds", "braid-engine", "braid-sync", "braid-telemetry"],
    ),
    (
        "braid-worker",
        &["braid-crds", "braid-engine", "braid-sync", "braid-telemetry"],
    ),
    (
        "braid-local",
        &[
            "braid-crds",
            "braid-engine",
            "braid-sync",
            "braid-apiserver",
            "braid-operator",
            "braid-worker",
        ],
    ),
];

/// What would let the engine read a clock, a file, a socket or chance.
const NOT_FOR_THE_ENGINE: [&str; 12] = [
    "kube",
    "tokio",
    "tokio-util",
    "futures",
    "tower",
    "rand",
    "nix",
    "tracing",
    "walkdir",
    "tempfile",
    "fs4",
    "http",
];

struct Package {
    in_tests: bool,
    uses: BTreeSet<String>,
}

fn root() -> std::path::PathBuf {
    crate::root().unwrap()
}

/// The workspace's packages with what they use outside their own tests.
fn packages() -> BTreeMap<String, Package> {
    let output = crate::cargo()
        .current_dir(root())
        .args(["metadata", "--format-version", "1", "--no-deps", "--offline"])
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let metadata: Value = serde_json::from_slice(&output.stdout).unwrap();
    let tests = root().join("tests");
    metadata["packages"]
        .as_array()
        .unwrap()
        .iter()
        .map(|package| {
            let uses = package["dependencies"]
                .as_array()
                .unwrap()
                .iter()
                .filter(|dependency| dependency["kind"].as_str() != Some("dev"))
                .map(|dependency| dependency["name"].as_str().unwrap().to_owned())
                .collect();
            let in_tests = Path::new(package["manifest_path"].as_str().unwrap()).starts_with(&tests);
            (package["name"].as_str().unwrap().to_owned(), Package { in_tests, uses })
        })
        .collect()
}

#[test]
fn crates_use_only_whom_they_may_know() {
    let packages = packages();
    for (name, allowed) in MAY_USE {
        let package = packages
            .get(name)
            .unwrap_or_else(|| panic!("{name} is not in the workspace"));
        for used in package.uses.iter().filter(|used| packages.contains_key(*used)) {
            assert!(
                allowed.contains(&used.as_str()),
                "{name} must not use {used}: see docs/architecture.md"
            );
        }
    }
}

#[test]
fn the_engine_has_no_world() {
    let packages = packages();
    let engine = &packages["braid-engine"];
    for forbidden in NOT_FOR_THE_ENGINE {
        assert!(
            !engine.uses.contains(forbidden),
            "the engine is pure: it must not use {forbidden}"
        );
    }
}

#[test]
fn nothing_that_ships_uses_tests() {
    let packages = packages();
    for (name, package) in packages
        .iter()
        .filter(|(name, package)| !package.in_tests && *name != "xtask")
    {
        for used in &package.uses {
            assert!(
                !packages.get(used).is_some_and(|used| used.in_tests),
                "{name} uses {used}, which is of the tests"
            );
        }
    }
}

#[test]
fn no_file_names_a_place_on_somebodys_machine() {
    let places = [["/wo", "rk/"], ["/ro", "ot/"], ["/ho", "me/"]].map(|parts| parts.concat());
    let output = Command::new("git")
        .current_dir(root())
        .args(["ls-files", "-z"])
        .output()
        .unwrap();
    if !output.status.success() {
        // A source archive has no list of files to go by.
        return;
    }
    let files = String::from_utf8(output.stdout).unwrap();
    let mut found = Vec::new();
    for file in files.split_terminator('\0') {
        let Ok(text) = fs::read_to_string(root().join(file)) else {
            continue;
        };
        for (number, line) in (1..).zip(text.lines()) {
            for place in &places {
                let names_it = line.match_indices(place.as_str()).any(|(at, _)| {
                    line[..at]
                        .chars()
                        .next_back()
                        .is_none_or(|before| !before.is_alphanumeric() && !"/._-}".contains(before))
                });
                if names_it {
                    found.push(format!("{file}:{number}: {}", line.trim()));
                }
            }
        }
    }
    assert!(found.is_empty(), "paths of one machine:\n{}", found.join("\n"));
}
