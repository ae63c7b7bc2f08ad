//! Helm, and the charts with the values that tests render them with.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::OnceLock;

use braid_cluster::Program;
use braid_cluster::programs;
use serde_json::Value;
use tempfile::TempDir;

/// The release's name in all renders.
pub const RELEASE: &str = "braid";
/// The release's namespace in all renders.
pub const NAMESPACE: &str = "braid-system";

/// The renders that are kept: a name, which is that of a file of values if there is one.
pub const RENDERS: [&str; 3] = ["default", "namespaced", "full"];

/// A path below the root of the repository.
pub fn repository(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").join(path)
}

/// A path below this test's directory.
pub fn here(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/chart").join(path)
}

/// Helm with a home of its own: nobody's settings, plugins or caches.
pub fn helm() -> Command {
    static HELM: OnceLock<(PathBuf, TempDir)> = OnceLock::new();
    let (program, home) = HELM.get_or_init(|| {
        #[expect(clippy::print_stderr, reason = "of a build that takes minutes")]
        let obtained = programs::obtain(&[Program::Helm], &|what| eprintln!("{what}")).unwrap();
        let program = obtained.path(Program::Helm).unwrap().to_owned();
        (program, TempDir::new().unwrap())
    });
    let mut command = Command::new(program);
    command.env("HOME", home.path());
    for kind in ["CACHE", "CONFIG", "DATA"] {
        command.env(format!("HELM_{kind}_HOME"), home.path().join(kind));
    }
    command.env("KUBECONFIG", home.path().join("none"));
    command
}

/// What the program printed; it must have done what it was told to.
pub fn printed(command: &mut Command) -> String {
    let output = command.output().unwrap();
    assert!(output.status.success(), "{command:?}: {}", told(&output));
    String::from_utf8(output.stdout).unwrap()
}

/// All that a program said, for messages.
pub fn told(output: &Output) -> String {
    let text = [&output.stdout[..], &output.stderr[..]].concat();
    String::from_utf8_lossy(&text).into_owned()
}

/// `helm template` of the chart `braid`, to which a test adds its own.
pub fn template() -> Command {
    let mut command = helm();
    command
        .args(["template", RELEASE])
        .arg(repository("charts/braid"))
        .args(["--namespace", NAMESPACE])
        .args(["--kube-version", "1.34.4", "--api-versions", "monitoring.coreos.com/v1"]);
    command
}

/// The objects of one of [`RENDERS`].
pub fn render(name: &str) -> Vec<Value> {
    objects(&printed(template().args(values(name))))
}

/// The arguments that name a render's values.
pub fn values(name: &str) -> Vec<PathBuf> {
    let file = here(&format!("values/{name}.yaml"));
    if file.exists() {
        vec!["--values".into(), file]
    } else {
        assert_eq!("default", name, "no {}", file.display());
        Vec::new()
    }
}

/// The objects of a stream of documents.
pub fn objects(text: &str) -> Vec<Value> {
    text.split("\n---\n")
        .map(|document| document.trim_start_matches("---\n"))
        .filter(|document| document.lines().any(|line| !line.is_empty() && !line.starts_with('#')))
        .map(|document| serde_saphyr::from_str(document).unwrap_or_else(|error| panic!("{error}: {document}")))
        .collect()
}

/// What `Chart.yaml` of the chart `braid` tells the Artifact Hub under a name: YAML in a text.
pub fn told_to_the_hub(what: &str) -> Vec<Value> {
    let text = std::fs::read_to_string(repository("charts/braid/Chart.yaml")).unwrap();
    let chart: Value = serde_saphyr::from_str(&text).unwrap();
    let told = chart["annotations"][format!("artifacthub.io/{what}")].as_str().unwrap();
    serde_saphyr::from_str(told).unwrap()
}

pub fn kind(object: &Value) -> &str {
    object["kind"].as_str().unwrap()
}

pub fn name(object: &Value) -> &str {
    object["metadata"]["name"].as_str().unwrap()
}
