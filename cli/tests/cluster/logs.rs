//! What user code printed, from the containers of pods. A server without kubelets has no logs: the test gives them.

use kube::api::PostParams;
use serde_json::{Value, json};

use crate::{
    cases::submit,
    embedded::{Embedded, TEAM},
    site::Site,
};

fn pod(site: &Site, name: &str, workflow_uid: &str, lines: Option<&str>) {
    let pod: k8s_openapi::api::core::v1::Pod = serde_json::from_value(json!({
        "metadata": {
            "name": name, "namespace": TEAM, "labels": {"braid.dev/workflow-uid": workflow_uid},
            "annotations": lines.map(|container| json!({"braid.dev/lines": container})),
        },
        "spec": {"containers": [{"name": "main"}]},
    }))
    .unwrap();
    let api = kube::Api::namespaced(site.client.clone(), TEAM);
    site.ask(api.create(&PostParams::default(), &pod));
}

fn line(step: &str, partition: u64, stream: &str, text: &str) -> Value {
    json!({"step": step, "partition": partition, "attempt": 1, "stream": stream, "cut": false, "line": text})
}

fn log(pod: &str) -> String {
    format!("GET /api/v1/namespaces/{TEAM}/pods/{pod}/log")
}

#[test]
fn lines_are_tagged_and_chosen() {
    let embedded = Embedded::new();
    let site = &embedded.site;
    submit(site, "talks");
    let uid = site.get(TEAM, "talks").metadata.uid.unwrap();
    let said = site.braid(&["logs", "talks"]).exits(0);
    assert!(said.err.contains("no pods now"), "{}", said.err);
    // The second is of an older operator: its worker prints.
    pod(site, "talks-0", &uid, Some("main"));
    pod(site, "talks-1", &uid, None);
    pod(site, "of-another", "other-uid", None);
    let own = json!({"level": "INFO", "fields": {"message": "the shim is there"}});
    let first = [
        own,
        line("work", 3, "stdout", "on 3"),
        line("work", 3, "stderr", "bad item"),
    ];
    embedded.answers(&log("talks-0"), 200, &first.map(|line| line.to_string()).join("\n"));
    embedded.answers(
        &log("talks-1"),
        200,
        &format!("{}\n{}\n", json!({"lost": 9}), line("work", 4, "stdout", "on 4")),
    );
    let all = site.braid(&["logs", "talks"]).exits(0);
    assert_eq!("work 3 1 | on 3\nwork 3 1 | bad item\nwork 4 1 | on 4\n", all.out);
    assert!(all.err.contains("talks-1: 9 lines are missing"), "{}", all.err);
    let one = site.braid(&["logs", "talks", "work", "--partition", "4"]).exits(0);
    assert_eq!("work 4 1 | on 4\n", one.out);
    let errors = site.braid(&["logs", "talks", "--stderr"]).exits(0);
    assert_eq!("work 3 1 | bad item\n", errors.out);
    let said = site.braid(&["logs", "talks", "wrok"]).exits(2);
    assert!(said.err.contains("did you mean \"work\"?"), "{}", said.err);
    for (pod, container) in [("talks-0", "main"), ("talks-1", "worker")] {
        let of_pod = |line: &&String| line.contains(&format!("/{pod}/log"));
        let asked = embedded.asked();
        let mut lines = asked.iter().filter(of_pod).peekable();
        assert!(lines.peek().is_some(), "{asked:?}");
        assert!(
            lines.all(|line| line.contains(&format!("container={container}"))),
            "{asked:?}"
        );
    }

    let waiting = json!({"kind": "Status", "apiVersion": "v1", "status": "Failure", "code": 400, "reason": "BadRequest",
        "message": "container \"main\" in pod \"talks-0\" is waiting to start: ImagePullBackOff"});
    embedded.answers(&log("talks-0"), 400, &waiting);
    let said = site.braid(&["logs", "talks"]).exits(0);
    assert_eq!("work 4 1 | on 4\n", said.out);
    assert!(said.err.contains("ImagePullBackOff"), "{}", said.err);
}

#[test]
fn what_comes_is_followed_until_the_run_ends_and_nothing_twice() {
    let embedded = Embedded::new();
    let site = &embedded.site;
    submit(site, "talks");
    site.running("talks", 1);
    let uid = site.get(TEAM, "talks").metadata.uid.unwrap();
    let stamped = |second: u32, partition: u64| {
        let line = line("work", partition, "stdout", &format!("on {partition}"));
        format!("2026-01-01T00:00:{second:02}.123456789Z {line}\n")
    };
    pod(site, "talks-0", &uid, Some("main"));
    embedded.answers(&log("talks-0"), 200, &stamped(1, 1));
    let following = site.start(&["logs", "talks", "-f"]);
    let following = following.hears("on 1");
    // The stream has ended and is taken up again; what was there is there still.
    embedded.answers(&log("talks-0"), 200, &format!("{}{}", stamped(1, 1), stamped(2, 2)));
    let following = following.hears("on 2");
    pod(site, "talks-1", &uid, Some("main"));
    embedded.answers(&log("talks-1"), 200, &stamped(3, 3));
    let following = following.hears("on 3");
    site.ended("talks", "Succeeded", "all steps are done");
    let said = following.wait().exits(0);
    let mut lines: Vec<&str> = said.out.lines().collect();
    lines.sort_unstable();
    assert_eq!(vec!["work 1 1 | on 1", "work 2 1 | on 2", "work 3 1 | on 3"], lines);
}
