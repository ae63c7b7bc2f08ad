//! Pods as a run has them: how many, why none, what their containers may use, where their data are.

use std::fs;

use braid_e2e::{Home, root};
use braid_e2e_kind::{Space, USERLAND, suite, told};
use serde_json::{Value, json};

/// The words of the run's conditions.
fn conditions(space: &Space, name: &str) -> String {
    space.workflow(name)["status"]["conditions"].to_string()
}

fn step(name: &str, command: &Value) -> Value {
    json!({
        "name": name,
        "over": {"range": {"end": 60}},
        "run": {"image": USERLAND, "command": command},
    })
}

/// There are as many as may be while there is work, fewer at once when fewer may be, none when the run is over.
#[test]
fn workers_follow_the_work() {
    let space = Space::restricted("elastic");
    let pools = |max: u8| json!([{"name": "default", "workers": {"max": max}}]);
    space.run(
        "run",
        &json!({"pools": pools(3), "steps": [step("sleep", &json!(["sleep", "0.5"]))]}),
    );
    let running = || suite().pods(space.name()).len();
    space.until("three workers", || (running() == 3).then_some(()));
    let change = json!({"spec": {"pools": pools(1)}}).to_string();
    let patch = [
        "patch",
        "workflow.braid.dev/run",
        "--namespace",
        space.name(),
        "--type=merge",
        "--patch",
        &change,
    ];
    suite().kubectl(&patch);
    space.until("one worker", || (running() == 1).then_some(()));
    let ended = space.finished("run");
    assert_eq!("Succeeded", ended["status"]["phase"], "{ended:#}");
    assert_eq!(json!(60), ended["status"]["steps"][0]["partitions"]["succeeded"]);
    space.until("no worker", || space.list("pods").is_empty().then_some(()));
    assert_eq!(json!(0), space.list("workerpools.braid.dev")[0]["spec"]["replicas"]);
    // The desks go when nothing is on them.
    space.until("no desk", || space.list("workers.braid.dev").is_empty().then_some(()));
}

/// An image that cannot be had is told, in the words of the node, and the run can be cancelled.
#[test]
fn an_absent_image_is_told() {
    let space = Space::restricted("absent");
    let mut step = step("never", &json!(["true"]));
    step["run"]["image"] = json!("braid.local/absent:1");
    space.run("run", &json!({"steps": [step]}));
    space.until("why there are no workers", || {
        let told = conditions(&space, "run");
        (told.contains("ErrImagePull") || told.contains("ImagePullBackOff")).then_some(())
    });
    suite().kubectl(&[
        "patch",
        "workflow.braid.dev/run",
        "--namespace",
        space.name(),
        "--type=merge",
        "--patch",
        r#"{"spec": {"cancel": true}}"#,
    ]);
    assert_eq!("Cancelled", space.finished("run")["status"]["phase"]);
    // For `kubectl describe`, each once.
    space.until("the events", || {
        let events = space.list("events.v1.events.k8s.io");
        let told = |reason: &str| {
            let of_run = |event: &&Value| event["regarding"]["kind"] == "Workflow" && event["reason"] == reason;
            events.iter().filter(of_run).count()
        };
        ([told("StepStarted"), told("NoWorkers"), told("Cancelled")] == [1, 1, 1]).then_some(())
    });
}

/// Who queues Jobs suspends them; the run says so, and goes on when it may.
#[test]
fn a_queue_may_hold_the_workers() {
    let space = Space::restricted("queued");
    space.run("run", &json!({"steps": [step("sleep", &json!(["sleep", "0.2"]))]}));
    let suspend = |job: &str, yes: bool| {
        let change = json!({"spec": {"suspend": yes}}).to_string();
        suite().kubectl(&[
            "patch",
            "job",
            job,
            "--namespace",
            space.name(),
            "--type=merge",
            "--patch",
            &change,
        ]);
    };
    let job = space.until("the Job", || {
        let jobs = space.list("jobs.batch");
        Some(jobs.first()?["metadata"]["name"].as_str()?.to_owned())
    });
    suspend(&job, true);
    space.until("that it is queued", || {
        conditions(&space, "run").contains("Queued").then_some(())
    });
    suspend(&job, false);
    let ended = space.finished("run");
    assert_eq!(
        json!(60),
        ended["status"]["steps"][0]["partitions"]["succeeded"],
        "{ended:#}"
    );
}

/// Programs that take more memory than there is fail alone, however fast they take it; their container and the programs beside them
/// live, where the kernel does not end containers as a whole.
#[test]
fn memory_is_the_programs_own_fault() {
    let space = Space::restricted("memory");
    // In a container of 256 MiB: the slow one takes a quarter of a mebibyte every fiftieth of a second, so the shim ends it before the
    // kernel would; the fast one takes all at once, and whoever is first ends it.
    let grow = r#"case "$BRAID_ITEM" in
7) exec perl -e 'my @x; while (1) { push @x, "x" x (1 << 18); select(undef, undef, undef, 0.02) }';;
13) perl -e 'my @x; push @x, "x" x (1 << 24) while 1'; exit $?;;
esac
sleep 0.2; echo '{"n": 1}' >"$BRAID_RESULTS""#;
    space.run(
        "run",
        &json!({
            "pools": [{"name": "default", "workers": {"max": 1}}],
            "steps": [{
                "name": "grow",
                "over": {"range": {"end": 20}},
                "run": {
                    "image": USERLAND, "script": grow, "concurrency": 2,
                    "resources": {"limits": {"memory": "256Mi"}},
                },
                "maxFailedPartitions": 2,
                "results": [{"name": "n", "reduce": "Sum"}],
            }],
        }),
    );
    let pod = space.until("its pod", || suite().pods(space.name()).pop());
    let ended = space.finished("run");
    let step = &ended["status"]["steps"][0];
    assert_eq!("Succeeded", ended["status"]["phase"], "{step:#}");
    assert_eq!(json!(18), step["results"][0]["value"], "{step:#}");
    assert_eq!(json!("7,13"), step["failed"], "{step:#}");
    let failures = step["failures"].as_array().unwrap();
    assert!(
        failures.iter().all(|cause| cause["reason"] == "OutOfMemory"),
        "{step:#}"
    );
    // Nothing was replaced: the pod was the same to the end. With version 2 of cgroups a kubelet lets the kernel end all of a
    // container at once.
    let version_one = "test -e /sys/fs/cgroup/memory/memory.limit_in_bytes && echo one || true";
    if suite()
        .docker(&["exec", &pod.1, "sh", "-c", version_one])
        .contains("one")
    {
        let pods = space.list("pods");
        assert!(pods.iter().all(|other| other["metadata"]["name"] == pod.0), "{pod:?}");
    }
}

/// What user code prints is the log of its pod: tagged, on the container that people see first.
#[test]
fn what_programs_print_is_the_log_of_the_pod() {
    let space = Space::restricted("lines");
    let script = r#"echo "on $BRAID_ITEM"; echo "beside $BRAID_ITEM" >&2; [ "$BRAID_ITEM" != 3 ] || sleep 4"#;
    space.run(
        "run",
        &json!({
            "pools": [{"name": "default", "workers": {"max": 1, "idle": "60s"}}],
            "steps": [{"name": "say", "over": {"range": {"end": 5}}, "run": {"image": USERLAND, "script": script}}],
        }),
    );
    let pod = space.until("its pod", || suite().pods(space.name()).pop());
    // As people ask: of no container by name.
    let lines = space.until("what it printed", || {
        let text = suite().kubectl(&["logs", &pod.0, "--namespace", space.name()]);
        let lines: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        (lines.len() >= 8).then_some(lines)
    });
    let uid = &space.workflow("run")["metadata"]["uid"];
    let said = json!({"run": uid, "step": "say", "partition": 1, "attempt": 1, "stream": "stderr", "cut": false, "line": "beside 1"});
    assert!(lines.contains(&said), "{lines:#?}");
    let worker = suite().kubectl(&["logs", &pod.0, "--container=worker", "--namespace", space.name()]);
    assert!(!worker.contains("beside 1"), "{worker}");
    space.finished("run");
}

/// A directory on all nodes as a claim of a namespace.
fn claim(space: &Space, name: &str, tree: &std::path::Path) {
    let directory = format!("/var/braid-data/{}", space.name());
    for node in suite().nodes() {
        suite().docker(&["exec", &node, "mkdir", "-p", &directory]);
        suite().docker(&["cp", &format!("{}/.", tree.display()), &format!("{node}:{directory}")]);
    }
    let shape = json!({
        "accessModes": ["ReadOnlyMany"], "storageClassName": "", "volumeMode": "Filesystem",
    });
    let mut volume = json!({
        "apiVersion": "v1", "kind": "PersistentVolume", "metadata": {"name": space.name()},
        "spec": {
            "capacity": {"storage": "1Gi"}, "hostPath": {"path": directory, "type": "Directory"},
            "claimRef": {"namespace": space.name(), "name": name},
        },
    });
    let mut claim = json!({
        "apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": {"name": name},
        "spec": {"volumeName": space.name(), "resources": {"requests": {"storage": "1Gi"}}},
    });
    for object in [&mut volume, &mut claim] {
        object["spec"]
            .as_object_mut()
            .unwrap()
            .extend(shape.as_object().unwrap().clone());
    }
    let output = suite().try_kubectl(&["apply", "--filename=-"], Some(&volume.to_string()));
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    space.apply(&claim);
}

/// Some of what cargo has fetched onto this machine, as large as a test may be: at its places below a registry.
fn some_sources(into: &std::path::Path) {
    let home = std::env::var_os("CARGO_HOME").map_or_else(
        || std::path::Path::new(&std::env::var_os("HOME").unwrap()).join(".cargo"),
        Into::into,
    );
    let names = |directory: &std::path::Path| {
        let entries = fs::read_dir(directory).unwrap_or_else(|error| panic!("{}: {error}", directory.display()));
        let mut paths: Vec<_> = entries
            .map(|entry| entry.unwrap().path())
            .filter(|path| path.is_dir())
            .collect();
        paths.sort();
        paths
    };
    let registry = names(&home.join("registry/src"))
        .into_iter()
        .next()
        .expect("a registry");
    let target = into.join("registry");
    fs::create_dir_all(&target).unwrap();
    for source in names(&registry).into_iter().step_by(8).take(40) {
        let copied = std::process::Command::new("cp")
            .arg("-rL")
            .arg(&source)
            .arg(&target)
            .status()
            .unwrap();
        assert!(copied.success(), "{}", source.display());
    }
    let readable = std::process::Command::new("chmod")
        .args(["-R", "a+rX"])
        .arg(into)
        .status()
        .unwrap();
    assert!(readable.success());
}

/// The examples that read what cargo has fetched: the same tree here and on a claim there, the same bytes.
#[test]
fn examples_over_a_volume_are_the_same_as_here() {
    let space = Space::restricted("sources");
    let home = Home::default();
    let tree = home.path("tree");
    some_sources(&tree);
    claim(&space, "sources", &tree);
    let examples = [
        ("census", format!("root={}", tree.display())),
        ("wordcount", format!("texts={}/*/*/*.md", tree.display())),
    ];
    for (name, _) in &examples {
        let file = root().join(format!("examples/kubernetes/{name}.yaml"));
        space.apply_text(&fs::read_to_string(file).unwrap());
    }
    for (name, parameter) in &examples {
        let file = root().join(format!("examples/{name}.yaml"));
        let here = home.run(&file, &["-p", parameter]).exits(0);
        let there = space.finished(name);
        assert_eq!(told(&here.workflow), told(&there), "{name}");
        assert_eq!("Succeeded", there["status"]["phase"]);
    }
    let check = root().join("examples/census.check.sh");
    let counted = home.shell(&format!("'{}' '{}'", check.display(), tree.display()));
    let counted: Value = serde_json::from_str(&counted).unwrap();
    assert_eq!(counted, space.workflow("census")["status"]["outputs"]);
    suite().try_kubectl(&["delete", "persistentvolume", space.name(), "--wait=false"], None);
}

/// Texts on a volume come to what the same texts in a directory come to.
#[test]
fn data_on_a_volume_are_the_same_as_here() {
    let space = Space::restricted("volume");
    let texts = [
        ("a.txt", "one two\nthree\n"),
        ("b.txt", "four\r\n\r\nfive six seven"),
        ("c.txt", ""),
    ];
    let map: serde_json::Map<String, Value> = texts
        .iter()
        .map(|(name, text)| ((*name).to_owned(), json!(text)))
        .collect();
    space.apply(&json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "texts"}, "data": map}));
    let script = r#"printf '{"words": %d, "bytes": %d}' "$(wc -w <"$BRAID_INPUT")" "$(wc -c <"$BRAID_INPUT")" >"$BRAID_RESULTS""#;
    let spec = |files: &Value| {
        json!({
            "data": [{"name": "texts", "files": files}],
            "steps": [{
                "name": "count",
                "over": {"data": "texts", "split": {"bytes": "8"}},
                "run": {"image": USERLAND, "script": script},
                "results": [{"name": "words", "reduce": "Sum"}, {"name": "bytes", "reduce": "Sum"}],
            }],
            "outputs": [{"name": "words", "value": "steps.count.results.words"}],
        })
    };
    space.run(
        "words",
        &spec(&json!({"url": "*.txt", "format": "Text", "volume": {"configMap": {"name": "texts"}}})),
    );

    let folder = std::env::temp_dir().join(space.name());
    fs::create_dir_all(&folder).unwrap();
    for (name, text) in texts {
        fs::write(folder.join(name), text).unwrap();
    }
    let file = folder.join("words.yaml");
    let here = json!({
        "apiVersion": "braid.dev/v1alpha1", "kind": "Workflow", "metadata": {"name": "words"},
        "spec": spec(&json!({"url": "*.txt", "format": "Text", "volume": {"hostPath": {"path": folder}}})),
    });
    fs::write(&file, here.to_string()).unwrap();
    let here = Home::default().run(&file, &[]).exits(0);
    fs::remove_dir_all(&folder).unwrap();
    let there = space.finished("words");
    assert_eq!(told(&here.workflow), told(&there));
    assert_eq!(json!({"words": 7}), there["status"]["outputs"]);
}
