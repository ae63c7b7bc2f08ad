//! Commands on runs that a real operator and real workers bring forward: what they write is what the commands read.

use std::sync::Arc;

use braid_local::{Hands, LocalCluster, NAMESPACE, Settings};
use braid_worker::runner::ShimCommand;
use serde_json::json;

use crate::{
    embedded::{kubeconfig, open},
    harness::{NUMBER, gated},
    site::Site,
};

#[test]
fn what_the_operator_says_is_what_commands_wait_for() {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .unwrap();
    let shim = ShimCommand {
        program: env!("CARGO_BIN_EXE_braid").into(),
        args: vec!["shim".into()],
    };
    let data = tempfile::tempdir().unwrap();
    let mut settings = Settings::new(data.path().to_owned(), Hands::Shim(shim));
    settings.workers = 2;
    let cluster = runtime.block_on(LocalCluster::start(settings)).unwrap();
    let url = open(&runtime, cluster.server().service(), Arc::default(), Arc::default());
    let kubeconfig = kubeconfig(&url, NAMESPACE).to_string();
    let client = {
        let _entered = runtime.enter();
        cluster.client()
    };
    let site = Site::new(runtime.handle().clone(), client, NAMESPACE, &kubeconfig);

    let gate = site.home.path("gate");
    let file = site.home.numbers("watched", 20, &gated(&gate));
    let watching = site.start(&["submit", file.to_str().unwrap(), "--watch", "--progress", "plain"]);
    let watching = watching.until("work: Running, 0 of 20 partitions");
    std::fs::write(&gate, "").unwrap();
    let said = watching.wait().exits(0);
    assert!(said.out.contains("watched  Succeeded in"), "{}", said.out);
    assert!(said.out.contains("190"), "{}", said.out);

    std::fs::remove_file(&gate).unwrap();
    let file = site.home.numbers("held", 20, &gated(&gate));
    site.braid(&["submit", file.to_str().unwrap(), "-p", "factor=2"])
        .exits(0);
    site.braid(&["wait", "held", "--for", "accepted"]).exits(0);
    site.braid(&["wait", "held", "--for", "started"]).exits(0);
    site.braid(&["suspend", "held"]).exits(0);
    std::fs::write(&gate, "").unwrap();
    let said = site.braid(&["wait", "held", "--for", "suspended"]).exits(0);
    assert!(said.out.starts_with("held: Suspended"), "{}", said.out);
    site.braid(&["wait", "held", "--no-wait-human"]).exits(5);
    site.braid(&["resume", "held"]).exits(0);
    site.braid(&["wait", "held"]).exits(0);
    let held = site.braid(&["get", "held", "-o", "json"]).exits(0).json();
    assert_eq!(json!({"total": 380}), held["status"]["outputs"]);

    let file = site.home.numbers("broken", 3, "exit 7");
    let said = site
        .braid(&["submit", file.to_str().unwrap(), "--watch", "--progress", "none"])
        .exits(1);
    assert!(
        said.out.contains("broken  Failed") && said.out.contains("Exit7"),
        "{}",
        said.out
    );

    std::fs::remove_file(&gate).unwrap();
    let file = site.home.numbers("dropped", 3, &format!("{}\n{NUMBER}", gated(&gate)));
    site.braid(&["submit", file.to_str().unwrap()]).exits(0);
    site.braid(&["wait", "dropped", "--for", "started"]).exits(0);
    site.braid(&["cancel", "dropped"]).exits(0);
    site.braid(&["wait", "dropped"]).exits(3);
    let listed = site.braid(&["ls"]).exits(0).out;
    for (name, phase) in [("watched", "Succeeded"), ("broken", "Failed"), ("dropped", "Cancelled")] {
        assert!(
            listed.lines().any(|line| line.contains(name) && line.contains(phase)),
            "{listed}"
        );
    }
    runtime.block_on(cluster.stop()).unwrap();
}
