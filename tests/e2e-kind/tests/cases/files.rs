//! Files that steps write, and parts that they are shuffled into, on a volume that a run's pods share.

use std::fs;

use braid_e2e::{Home, root};
use braid_e2e_kind::{Space, suite, told};
use serde_json::json;

/// The example whose first step writes files, and whose second one gets them by key and writes others: it comes to what it comes to here,
/// to the byte of every file, though pods were killed. Nothing is left beside the files but the list of them.
#[test]
fn files_that_steps_write_are_the_same_as_here() {
    let space = Space::privileged("files");
    // A directory of one node is what all pods of a run share there.
    let node = suite().nodes().pop().unwrap();
    let directory = format!("/var/braid-files/{}", space.name());
    suite().on_node(&node, &format!("mkdir -p {directory} && chmod 777 {directory}"));

    let file = root().join("examples/shuffle.yaml");
    let example = fs::read_to_string(&file).unwrap();
    let volume = json!({"hostPath": {"path": directory}});
    let home = json!({"spec": {"nodeSelector": {"kubernetes.io/hostname": node}}});
    let pools = json!([{"name": "default", "workers": {"min": 3, "max": 3}, "template": home}]);
    let there = example
        .replace("files: {url:", &format!("files: {{volume: {volume}, url:"))
        // Long enough that somebody can be killed in its midst.
        .replace("          awk -v day", "          sleep 1\n          awk -v day")
        .replace("\nspec:\n", &format!("\nspec:\n  pools: {pools}\n"));
    assert_eq!(
        (2, 1),
        (there.matches("hostPath").count(), there.matches("sleep 1").count())
    );
    space.apply_text(&there);
    let pod = space.until("a pod", || suite().pods(space.name()).pop());
    let now = ["--grace-period=0", "--force", "--wait=false"];
    let words = ["delete", "pod", &pod.0, "--namespace", space.name()];
    suite().try_kubectl(&[&words[..], &now].concat(), None);
    let ended = space.finished("shuffle");
    assert_eq!("Succeeded", ended["status"]["phase"], "{ended:#}");

    let local = Home::default();
    let here = local.run(&file, &[]).exits(0);
    // Who died may have run something twice: counted once all the same.
    assert_eq!(told(&here.workflow), told(&ended));
    let sums = "cd sales && find . -name .braid -prune -o -type f -print | LC_ALL=C sort | xargs sha256sum";
    let files = suite().on_node(&node, &format!("cd {directory} && {sums}"));
    assert_eq!(local.shell(sums), files.trim());
    assert_eq!(8 + 16, files.lines().count(), "{files}");
    let parts = suite().on_node(
        &node,
        &format!("find {directory} -path '*/.braid/shuffle/*' -o -path '*/.braid/attempts/*'"),
    );
    assert_eq!("", parts.trim(), "left by who shuffled and wrote");
    suite().on_node(&node, &format!("rm -r {directory}"));
}
