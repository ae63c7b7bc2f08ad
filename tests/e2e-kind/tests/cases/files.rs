//! Files that steps write, and parts that they are shuffled into, on a volume that a run's pods share.

use std::fs;
use std::path::Path;

use braid_e2e::{Home, root};
use braid_e2e_kind::{Space, suite, told};
use serde_json::{Value, json};

/// A directory of one node, where all pods of a run are and what they share.
struct Shared {
    node: String,
    directory: String,
    /// The volume that it is, if it is one.
    volume: Option<String>,
}

impl Shared {
    fn new(space: &Space) -> Self {
        let node = suite().nodes().pop().unwrap();
        let directory = format!("/var/braid-files/{}", space.name());
        suite().on_node(&node, &format!("mkdir -p {directory} && chmod 777 {directory}"));
        Self {
            node,
            directory,
            volume: None,
        }
    }

    /// The same as the volume of a claim, which belongs to the administrator: pods write it by their group.
    fn claimed(space: &Space, claim: &str) -> Self {
        let node = suite().nodes().pop().unwrap();
        let directory = format!("/var/braid-claims/{}", space.name());
        suite().on_node(&node, &format!("mkdir -p {directory} && chmod 750 {directory}"));
        let here = json!({"key": "kubernetes.io/hostname", "operator": "In", "values": [node]});
        let shape = json!({"accessModes": ["ReadWriteMany"], "storageClassName": "", "volumeMode": "Filesystem"});
        let with_shape = |mut spec: Value| {
            spec.as_object_mut().unwrap().extend(shape.as_object().unwrap().clone());
            spec
        };
        space.apply_text(
            &json!({
                "apiVersion": "v1", "kind": "PersistentVolume", "metadata": {"name": space.name()},
                "spec": with_shape(json!({
                    "capacity": {"storage": "1Gi"}, "local": {"path": directory},
                    "nodeAffinity": {"required": {"nodeSelectorTerms": [{"matchExpressions": [here]}]}},
                    "claimRef": {"namespace": space.name(), "name": claim},
                    "persistentVolumeReclaimPolicy": "Retain",
                })),
            })
            .to_string(),
        );
        space.apply(&json!({
            "apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": {"name": claim},
            "spec": with_shape(json!({"volumeName": space.name(), "resources": {"requests": {"storage": "1Gi"}}})),
        }));
        Self {
            node,
            directory,
            volume: Some(space.name().to_owned()),
        }
    }

    /// A manifest whose files lie in the directory, and whose pods are where it is.
    fn manifest(&self, here: &str) -> String {
        let volume = json!({"hostPath": {"path": self.directory}});
        let home = json!({"spec": {"nodeSelector": {"kubernetes.io/hostname": self.node}}});
        let pools = json!([{"name": "default", "workers": {"min": 3, "max": 3}, "template": home}]);
        let there = here
            .replace("files: {url:", &format!("files: {{volume: {volume}, url:"))
            .replace("\nspec:\n", &format!("\nspec:\n  pools: {pools}\n"));
        assert_eq!(here.matches("files: {url").count(), there.matches("hostPath").count());
        there
    }

    /// What a script says there.
    fn shell(&self, script: &str) -> String {
        let said = suite().on_node(&self.node, &format!("cd {} && {script}", self.directory));
        said.trim().to_owned()
    }

    /// Sums of all files below, after which the directory is gone. Nothing may be left beside them but the list of them.
    fn files(self, below: &str) -> String {
        let files = self.shell(&sums(below));
        let parts = self.shell("find . -path '*/.braid/shuffle/*' -o -path '*/.braid/attempts/*'");
        assert_eq!("", parts, "left by who shuffled and wrote");
        suite().on_node(&self.node, &format!("rm -r {}", self.directory));
        if let Some(volume) = &self.volume {
            suite().try_kubectl(&["delete", "persistentvolume", volume, "--wait=false"], None);
        }
        files
    }
}

/// The script that tells the sums of all files.
fn sums(below: &str) -> String {
    format!("cd {below} && find . -name .braid -prune -o -type f -print | LC_ALL=C sort | xargs sha256sum")
}

fn text(file: &Path) -> String {
    fs::read_to_string(file).unwrap()
}

/// The example whose first step writes files, and whose second one gets them by key and writes others: it comes to what it comes to here,
/// to the byte of every file, though pods were killed.
#[test]
fn files_that_steps_write_are_the_same_as_here() {
    let space = Space::restricted("files");
    let shared = Shared::claimed(&space, "sales");
    let there = text(&root().join("examples/kubernetes/shuffle.yaml"));
    // Long enough that somebody can be killed in its midst.
    let slow = there
        .replace("          awk -v day", "          sleep 1\n          awk -v day")
        .replace(
            "      template:\n",
            "      workers: {min: 3, max: 3}\n      template:\n",
        );
    assert_eq!(
        (1, 1),
        (slow.matches("sleep 1").count(), slow.matches("min: 3").count())
    );
    space.apply_text(&slow);
    let pod = space.until("a pod", || suite().pods(space.name()).pop());
    let now = ["--grace-period=0", "--force", "--wait=false"];
    let words = ["delete", "pod", &pod.0, "--namespace", space.name()];
    suite().try_kubectl(&[&words[..], &now].concat(), None);
    let ended = space.finished("shuffle");
    assert_eq!("Succeeded", ended["status"]["phase"], "{ended:#}");

    let local = Home::default();
    let here = local.run(&root().join("examples/shuffle.yaml"), &[]).exits(0);
    // Who died may have run something twice: counted once all the same.
    assert_eq!(told(&here.workflow), told(&ended));
    let files = shared.files("sales");
    assert_eq!(local.shell(&sums("sales")), files);
    assert_eq!(8 + 16, files.lines().count(), "{files}");
}

/// Data for results, of which one stays empty.
const MORE: &str = r#"    - {name: report, files: {url: "$(params.into)/report"}}
    - {name: never, files: {url: "$(params.into)/never"}}
  steps:
"#;

/// A step of which nothing is emitted, and one that reads it.
const QUIET: &str = r#"    - name: quiet
      run: {script: 'echo 1 > "$BRAID_RESULTS"'}
      results: [{name: few, reduce: Sum}]
      emit: {to: never, when: results.few > 5}
    - name: after-quiet
      over: {data: never, split: {files: 1}}
      run: {script: ":"}
  outputs:
"#;

/// Pictures from one step through the next, and the results of that one as a file. What is not emitted is no file, and no error.
#[test]
fn pictures_and_emitted_results_are_the_same_as_here() {
    let space = Space::privileged("pictures");
    let shared = Shared::new(&space);
    let local = Home::default();
    let thumbs = text(&root().join("examples/thumbs.yaml"));
    let emits = "        - data: thumbs\n      emit: {to: report}\n";
    let file = thumbs
        .replace("  steps:\n", MORE)
        .replace("        - data: thumbs\n", emits)
        .replace("  outputs:\n", QUIET);
    assert_eq!(2, file.matches("emit:").count());
    space.apply_text(&shared.manifest(&file));
    let here = local.run(&local.write("thumbs.yaml", &file), &[]).exits(0);
    let ended = space.finished("thumbs");
    assert_eq!("Succeeded", ended["status"]["phase"], "{ended:#}");
    assert_eq!(told(&here.workflow), told(&ended));
    let emitted = shared.shell("cat album/report/shrink.jsonl");
    assert_eq!(text(&local.path("album/report/shrink.jsonl")).trim(), emitted);
    let files = shared.files("album");
    assert_eq!(local.shell(&sums("album")), files);
    assert_eq!(24 + 24 + 1, files.lines().count(), "{files}");
}
