#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]
//! Jobs as they are made and resized, and pods as they are seen; without a server.

use braid_crds::PodClass;
use kube::runtime::watcher::Event;
use serde_json::{Value, json};

use super::*;
use crate::pods::{Death, PodState};

fn options() -> PodOptions {
    PodOptions {
        worker_image: "braid/worker:1".into(),
        pull_policy: Some("IfNotPresent".into()),
        pull_secrets: vec!["registry".into()],
        worker_resources: serde_json::from_value(json!({"requests": {"cpu": "10m", "memory": "32Mi"}})).unwrap(),
        default_image: None,
        worker_role: "braid-worker".into(),
        tracing: None,
    }
}

fn pool(class: &Value) -> PoolRef {
    PoolRef {
        name: "wordcount-12345678".into(),
        namespace: "team".into(),
        uid: "pool-uid".into(),
        labels: [("braid.dev/workflow".to_owned(), "wordcount".to_owned())].into(),
        class: serde_json::from_value::<PodClass>(class.clone()).unwrap(),
        ..PoolRef::default()
    }
}

#[test]
fn the_least_that_a_step_says_is_an_image() {
    let job = job_for(&pool(&json!({"image": "acme/count:4"})), 3, &options()).unwrap();
    insta::assert_yaml_snapshot!("least", job);
}

/// Other pods are another Job, and the same pods the same; a change of the operator's own part of them counts, too.
#[test]
fn a_standing_pool_has_a_job_for_each_template() {
    let standing = |class: &Value| PoolRef {
        standing: true,
        ..pool(class)
    };
    let name = |pool: &PoolRef, options: &PodOptions| job_for(pool, 3, options).unwrap().metadata.name.unwrap();
    let one = standing(&json!({"image": "a", "resources": {"limits": {"cpu": 1, "memory": "1Gi"}}}));
    let same = standing(&json!({"resources": {"limits": {"memory": "1Gi", "cpu": 1}}, "image": "a"}));
    let other = standing(&json!({"image": "b", "resources": {"limits": {"cpu": 1, "memory": "1Gi"}}}));
    assert_eq!(name(&one, &options()), name(&same, &options()));
    assert_ne!(name(&one, &options()), name(&other, &options()));
    let newer = PodOptions {
        worker_image: "braid/worker:2".into(),
        ..options()
    };
    assert_ne!(name(&one, &options()), name(&one, &newer));
    assert!(name(&one, &options()).starts_with("wordcount-12345678-"));
    let labels = |pool: &PoolRef| {
        let job = job_for(pool, 3, &options()).unwrap();
        job.spec.unwrap().template.metadata.unwrap().labels.unwrap()
    };
    assert_eq!(labels(&one)[names::POD_CLASS], names::class(&one.class));
    assert_eq!(labels(&pool(&json!({"image": "a"}))).get(names::POD_CLASS), None);
    // An account of its own for each, since a binding cannot be changed.
    let bound = |class: &Value| {
        let pool = standing(class);
        let job = job_for(&pool, 1, &options()).unwrap();
        rights::binding(&pool, &job, "braid-worker").metadata.name.unwrap()
    };
    let etl = json!({"image": "a", "template": {"spec": {"serviceAccountName": "etl"}}});
    assert_ne!(bound(&json!({"image": "a"})), bound(&etl));
    assert_eq!(bound(&json!({"image": "a"})), bound(&json!({"image": "b"})));
}

/// The pods' own account gets the workers' rights in the pool's namespace, for as long as there is the pool.
#[test]
fn the_account_of_the_pods_is_bound_to_the_role() {
    let table = [
        (json!({"image": "a"}), "default"),
        (
            json!({"image": "a", "template": {"spec": {"serviceAccountName": "etl"}}}),
            "etl",
        ),
    ];
    for (class, account) in table {
        let pool = pool(&class);
        let job = job_for(&pool, 1, &options()).unwrap();
        let binding = rights::binding(&pool, &job, "braid-worker");
        assert_eq!(binding.role_ref.name, "braid-worker");
        let subject = &binding.subjects.unwrap()[0];
        assert_eq!(
            (subject.name.as_str(), subject.namespace.as_deref()),
            (account, Some("team"))
        );
        assert_eq!(binding.metadata.owner_references.unwrap()[0].uid, pool.uid);
    }
}

/// A pod that has one claim as two volumes never starts: all data on a claim have one, a template's own if it has the claim.
#[test]
fn a_claim_is_one_volume_of_a_pod() {
    let claim = |name: &str| json!({"persistentVolumeClaim": {"claimName": name}});
    let class = |template: Value| {
        json!({
            "image": "a", "template": {"spec": {"volumes": template}},
            "data": [
                {"name": "sales", "volume": claim("lake")},
                {"name": "shops", "volume": claim("lake"), "writable": true},
                {"name": "texts", "volume": claim("books")},
                {"name": "words", "volume": {"configMap": {"name": "words"}}},
                {"name": "more", "volume": {"configMap": {"name": "words"}}},
            ],
        })
    };
    let parts = |template: Value| {
        let job = job_for(&pool(&class(template)), 1, &options()).unwrap();
        let pod = job.spec.unwrap().template.spec.unwrap();
        let worker = &pod.init_containers.unwrap()[1];
        let of_data = |mount: &&k8s_openapi::api::core::v1::VolumeMount| mount.mount_path.starts_with("/data/");
        let mounts = worker.volume_mounts.iter().flatten().filter(of_data);
        let mounts: Vec<_> = mounts
            .map(|mount| (mount.name.clone(), mount.mount_path.clone(), mount.read_only))
            .collect();
        let volumes: Vec<String> = pod.volumes.unwrap().into_iter().map(|volume| volume.name).collect();
        (mounts, volumes)
    };
    let mount = |volume: &str, data: &str, read_only| (volume.to_owned(), format!("/data/{data}"), read_only);
    let rest = [
        mount("braid-data-texts", "texts", Some(true)),
        mount("braid-data-words", "words", Some(true)),
        mount("braid-data-more", "more", Some(true)),
    ];
    let (mounts, volumes) = parts(json!([]));
    let lake = [
        mount("braid-data-sales", "sales", Some(true)),
        mount("braid-data-sales", "shops", Some(false)),
    ];
    assert_eq!([&lake[..], &rest].concat(), mounts);
    let data = ["sales", "texts", "words", "more"].map(|name| format!("braid-data-{name}"));
    assert_eq!(data, volumes[5..]);

    let (mounts, volumes) = parts(json!([{"name": "mine", "persistentVolumeClaim": {"claimName": "lake"}}]));
    let lake = [mount("mine", "sales", Some(true)), mount("mine", "shops", Some(false))];
    assert_eq!([&lake[..], &rest].concat(), mounts);
    assert_eq!(data[1..], volumes[6..]);

    let fixed = json!([{"name": "mine", "persistentVolumeClaim": {"claimName": "lake", "readOnly": true}}]);
    let refused = job_for(&pool(&class(fixed)), 1, &options()).unwrap_err().to_string();
    assert_eq!(
        "template.spec.volumes[mine].persistentVolumeClaim.readOnly cannot be set: a step writes data on this claim",
        refused
    );
}

#[test]
fn a_template_is_kept_and_ours_is_added() {
    let class = json!({
        "image": "acme/train:9",
        "resources": {"limits": {"nvidia.com/gpu": 1}},
        "env": [{"name": "TOKEN", "valueFrom": {"secretKeyRef": {"name": "crm", "key": "token"}}}],
        "envFrom": [{"configMapRef": {"name": "settings"}}],
        "volumeMounts": [{"name": "models", "mountPath": "/models"}],
        "securityContext": {"runAsUser": 1000},
        "data": [{"name": "texts", "volume": {"persistentVolumeClaim": {"claimName": "lake"}}}],
        "template": {
            "metadata": {"labels": {"team": "data", "braid.dev/pool-uid": "forged"}, "annotations": {"a": "b"}},
            "spec": {
                "serviceAccountName": "etl",
                "nodeSelector": {"accelerator": "h200"},
                "terminationGracePeriodSeconds": 60,
                "imagePullSecrets": [{"name": "own"}],
                "initContainers": [{"name": "fetch", "image": "acme/fetch:1"}],
                "containers": [{"name": "main", "env": [{"name": "A", "value": "1"}]}, {"name": "proxy", "image": "acme/proxy:1"}],
                "volumes": [{"name": "models", "emptyDir": {}}],
            }
        }
    });
    insta::assert_yaml_snapshot!("template", job_for(&pool(&class), 1, &options()).unwrap());
}

#[test]
fn the_code_of_functions_is_seen_by_main_alone() {
    let pool = pool(&json!({"image": "python", "code": {"name": "braid-code-0a1b"}}));
    let job = serde_json::to_value(job_for(&pool, 1, &options()).unwrap()).unwrap();
    let spec = &job["spec"]["template"]["spec"];
    let volume = json!({"name": "braid-code", "configMap": {"name": "braid-code-0a1b"}});
    assert!(spec["volumes"].as_array().unwrap().contains(&volume), "{spec}");
    let mounted = |list: &str, at: usize| {
        let mounts = spec[list][at]["volumeMounts"].as_array().unwrap();
        mounts.iter().find(|mount| mount["name"] == "braid-code").cloned()
    };
    let mount = json!({"name": "braid-code", "mountPath": "/braid/code", "readOnly": true});
    assert_eq!(mounted("containers", 0), Some(mount));
    assert_eq!(
        (mounted("initContainers", 0), mounted("initContainers", 1)),
        (None, None)
    );
}

#[test]
fn without_an_image_there_is_the_operators_or_none() {
    let pool = pool(&json!({}));
    assert_eq!(job_for(&pool, 1, &options()), Err(TemplateError::NoImage));
    let options = PodOptions {
        default_image: Some("python:3".into()),
        ..options()
    };
    let pod = job_for(&pool, 1, &options)
        .unwrap()
        .spec
        .unwrap()
        .template
        .spec
        .unwrap();
    assert_eq!(pod.containers[0].image.as_deref(), Some("python:3"));
}

/// Where spans go is for the worker alone, and said only if they go anywhere.
#[test]
fn workers_are_told_where_spans_go() {
    let said = |options: &PodOptions| -> Vec<(String, String, String)> {
        let job = job_for(&pool(&json!({"image": "a"})), 1, options).unwrap();
        let pod = job.spec.unwrap().template.spec.unwrap();
        let containers = pod.containers.into_iter().chain(pod.init_containers.unwrap());
        let env = containers.flat_map(|container| {
            let env = container.env.unwrap_or_default();
            env.into_iter().map(move |variable| (container.name.clone(), variable))
        });
        env.filter(|(_, variable)| variable.name.starts_with("BRAID_OTLP"))
            .map(|(container, variable)| (container, variable.name, variable.value.unwrap()))
            .collect()
    };
    assert_eq!(said(&options()), []);
    let options = PodOptions {
        tracing: Some(WorkerTracing {
            endpoint: "http://collector:4318/v1/traces".into(),
            ratio: "0.5".into(),
        }),
        ..options()
    };
    let of_worker = |name: &str, value: &str| ("worker".to_owned(), name.to_owned(), value.to_owned());
    assert_eq!(
        said(&options),
        [
            of_worker("BRAID_OTLP_ENDPOINT", "http://collector:4318/v1/traces"),
            of_worker("BRAID_OTLP_RATIO", "0.5"),
        ]
    );
}

/// What would let user code come near the worker is refused by its path; so is what no pod has.
#[test]
fn what_cannot_be_is_refused() {
    let spec = |spec: Value| json!({"image": "a", "template": {"spec": spec}});
    let main = |more: Value| {
        let mut container = json!({"name": "main"});
        container
            .as_object_mut()
            .unwrap()
            .extend(more.as_object().unwrap().clone());
        spec(json!({"containers": [container]}))
    };
    let table = [
        (spec(json!({"shareProcessNamespace": true})), "shareProcessNamespace"),
        (spec(json!({"hostPID": true})), "hostPID"),
        (
            spec(json!({"automountServiceAccountToken": true})),
            "automountServiceAccountToken",
        ),
        (spec(json!({"restartPolicy": "OnFailure"})), "restartPolicy"),
        (spec(json!({"activeDeadlineSeconds": 5})), "activeDeadlineSeconds"),
        (
            spec(json!({"volumes": [{"name": "braid-token", "emptyDir": {}}]})),
            "volumes[braid-token]",
        ),
        (
            spec(
                json!({"volumes": [{"name": "t", "projected": {"sources": [{"serviceAccountToken": {"path": "t"}}]}}]}),
            ),
            "volumes[t]",
        ),
        (spec(json!({"containers": [{"name": "worker"}]})), "containers[worker]"),
        (
            spec(json!({"initContainers": [{"name": "main"}]})),
            "initContainers[main]",
        ),
        (
            spec(json!({"containers": [{"name": "x", "volumeMounts": [{"name": "braid-token", "mountPath": "/t"}]}]})),
            "containers[x].volumeMounts[braid-token]",
        ),
        (
            spec(
                json!({"initContainers": [{"name": "x", "volumeMounts": [{"name": "v", "mountPath": "/braid/link"}]}]}),
            ),
            "initContainers[x].volumeMounts[v]",
        ),
        (main(json!({"command": ["sh"]})), "containers[main].command"),
        (main(json!({"args": ["x"]})), "containers[main].command"),
        (
            main(json!({"lifecycle": {"postStart": {"exec": {"command": ["x"]}}}})),
            "containers[main].lifecycle",
        ),
        (
            main(json!({"restartPolicy": "Always"})),
            "containers[main].restartPolicy",
        ),
        (
            json!({"image": "a", "volumeMounts": [{"name": "braid-worker", "mountPath": "/x"}]}),
            "run.volumeMounts[braid-worker]",
        ),
        (spec(json!({"nodeSelektor": {"a": "b"}})), "template.spec.nodeSelektor"),
        (
            json!({"image": "a", "resources": {"limit": {"cpu": 1}}}),
            "resources.limit",
        ),
        (
            json!({"image": "a", "envFrom": [{"secretRef": {"nam": "x"}}]}),
            "envFrom.secretRef.nam",
        ),
        (spec(json!({"nodeSelector": 7})), "template"),
    ];
    for (class, place) in table {
        let error = job_for(&pool(&class), 1, &options()).expect_err(place).to_string();
        assert!(error.contains(place), "{place}: {error}");
    }
}

#[test]
fn user_code_has_no_way_to_the_token() {
    let job = job_for(&pool(&json!({"image": "a"})), 1, &options()).unwrap();
    let pod = job.spec.unwrap().template.spec.unwrap();
    assert_eq!(pod.automount_service_account_token, Some(false));
    let main = &pod.containers[0];
    let mounts: Vec<(&str, Option<bool>)> = main
        .volume_mounts
        .iter()
        .flatten()
        .map(|mount| (mount.name.as_str(), mount.read_only))
        .collect();
    // What `main` may write is its scratch and nothing that the worker opens.
    assert_eq!(
        mounts,
        [
            ("braid-bin", Some(true)),
            ("braid-link", Some(true)),
            ("braid-scratch", None)
        ]
    );
}

fn job(spec: &Value, status: &Value) -> Job {
    let owner = json!([{"apiVersion": "braid.dev/v1alpha1", "kind": "WorkerPool", "name": "p", "uid": "pool-uid"}]);
    serde_json::from_value(json!({
        "metadata": {"name": "p", "resourceVersion": "7", "ownerReferences": owner},
        "spec": spec, "status": status,
    }))
    .unwrap()
}

#[test]
fn a_job_is_resized_without_ever_completing() {
    let of = |parallelism, completions| {
        job(
            &json!({"parallelism": parallelism, "completions": completions, "template": {}}),
            &json!({}),
        )
    };
    let to = |job: &Job, wanted| resized(job, wanted).map(|change| change["spec"].clone());
    assert_eq!(to(&of(3, 3), 3), None);
    assert_eq!(to(&of(3, 3), 5), Some(json!({"parallelism": 5, "completions": 5})));
    assert_eq!(to(&of(3, 3), 0), Some(json!({"parallelism": 0})));
    assert_eq!(to(&of(0, 3), 0), None);
    assert_eq!(to(&of(0, 3), 3), Some(json!({"parallelism": 3, "completions": 3})));
    assert_eq!(to(&of(0, 3), 1), Some(json!({"parallelism": 1, "completions": 1})));
    // At the version that was read, and never a word about suspension.
    let change = resized(&of(3, 3), 1).unwrap();
    assert_eq!(change["metadata"], json!({"resourceVersion": "7"}));
    assert!(change["spec"].get("suspend").is_none());
}

#[test]
fn a_job_has_ended_when_it_says_so() {
    let with = |kind, status| {
        job(
            &json!({"template": {}}),
            &json!({"conditions": [{"type": kind, "status": status, "reason": "R"}]}),
        )
    };
    assert_eq!(ended(&with("Complete", "True")).as_deref(), Some("R"));
    assert_eq!(ended(&with("Failed", "True")).as_deref(), Some("R"));
    assert_eq!(ended(&with("Failed", "False")), None);
    assert_eq!(ended(&with("Suspended", "True")), None);
}

fn pod(name: &str, status: &Value) -> Pod {
    serde_json::from_value(json!({
        "metadata": {"name": name, "namespace": "team", "uid": format!("uid-{name}"), "labels": {"braid.dev/pool-uid": "pool-uid"}},
        "status": status,
    }))
    .unwrap()
}

#[test]
fn pods_are_told_apart_by_their_job_and_by_whether_they_are_ready() {
    let of = |name: &str, job: &str, status: Value| {
        let mut pod = pod(name, &status);
        pod.labels_mut()
            .insert("batch.kubernetes.io/job-name".into(), job.into());
        pod
    };
    let ready = json!({"phase": "Running", "conditions": [{"type": "Ready", "status": "True"}]});
    let mut index = PodIndex::new(1);
    index.take(0, Event::Apply(of("a", "old", ready.clone())));
    index.take(0, Event::Apply(of("b", "new", ready)));
    index.take(0, Event::Apply(of("c", "new", json!({"phase": "Pending"}))));
    index.take(0, Event::Apply(of("d", "new", json!({"phase": "Failed"}))));
    let crew = |job: &str| {
        let crew = index.jobs()[&("pool-uid".to_owned(), job.to_owned())];
        (crew.pods, crew.ready)
    };
    assert_eq!((crew("old"), crew("new")), ((1, 1), (2, 1)));
}

fn seen(pod: Pod) -> PodState {
    let mut index = PodIndex::new(1);
    index.take(0, Event::Apply(pod));
    index.pods().pods[0].state
}

#[test]
fn how_a_pod_is() {
    let main = |state: Value| json!([{"name": "worker", "state": {"running": {}}}, {"name": "main", "state": state}]);
    let ended = |code: i32, reason: &str| main(json!({"terminated": {"exitCode": code, "reason": reason}}));
    let disrupted = json!([{"type": "DisruptionTarget", "status": "True", "reason": "EvictionByEvictionAPI"}]);
    let table = [
        (json!({}), PodState::Alive),
        (json!({"phase": "Pending"}), PodState::Alive),
        (
            json!({"phase": "Running", "containerStatuses": main(json!({"running": {}}))}),
            PodState::Alive,
        ),
        // Its main has ended, and the sidecar has not been stopped yet.
        (
            json!({"phase": "Running", "containerStatuses": ended(137, "OOMKilled")}),
            PodState::Died(Death::OutOfMemory),
        ),
        (
            json!({"phase": "Running", "containerStatuses": ended(2, "Error")}),
            PodState::Died(Death::Unknown),
        ),
        (
            json!({"phase": "Failed", "containerStatuses": ended(137, "Error")}),
            PodState::Died(Death::Unknown),
        ),
        (
            json!({"phase": "Failed", "containerStatuses": ended(143, "Error")}),
            PodState::Stopped,
        ),
        (json!({"phase": "Failed"}), PodState::Died(Death::Unknown)),
        (json!({"phase": "Failed", "reason": "Evicted"}), PodState::Stopped),
        (json!({"phase": "Succeeded"}), PodState::Stopped),
        (json!({"phase": "Running", "conditions": disrupted}), PodState::Ending),
        (
            json!({"phase": "Failed", "conditions": disrupted, "containerStatuses": ended(137, "Error")}),
            PodState::Stopped,
        ),
        (
            json!({"phase": "Failed", "conditions": disrupted, "containerStatuses": ended(137, "OOMKilled")}),
            PodState::Died(Death::OutOfMemory),
        ),
    ];
    for (status, state) in table {
        assert_eq!(seen(pod("a", &status)), state, "{status}");
    }
    let mut deleted = pod(
        "a",
        &json!({"phase": "Running", "containerStatuses": main(json!({"running": {}}))}),
    );
    deleted.metadata.deletion_timestamp = Some(serde_json::from_value(json!("2026-01-01T00:00:00Z")).unwrap());
    assert_eq!(seen(deleted), PodState::Ending);
}

#[test]
fn why_a_pod_does_not_start() {
    let trouble = |status: Value| {
        let mut index = PodIndex::new(1);
        index.take(0, Event::Apply(pod("a", &status)));
        index.troubles().pop().map(|(_, words)| words)
    };
    let waiting = |reason: &str| json!({"containerStatuses": [{"name": "main", "state": {"waiting": {"reason": reason, "message": "no such image"}}}]});
    assert_eq!(
        trouble(waiting("ImagePullBackOff")).as_deref(),
        Some("ImagePullBackOff: a, main: no such image")
    );
    assert_eq!(trouble(waiting("ContainerCreating")), None);
    let unscheduled = json!({"conditions": [{"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": "0/3 nodes are available"}]});
    assert_eq!(
        trouble(unscheduled).as_deref(),
        Some("Unschedulable: a: 0/3 nodes are available")
    );
    let long = json!({"containerStatuses": [{"name": "main", "state": {"waiting": {"reason": "X", "message": "\u{e4}".repeat(1000)}}}]});
    assert!(trouble(long).unwrap().len() <= 300);
}

/// A pod that is missing in a new list is gone; nothing is concluded before a list is complete, nor from another watch's list.
#[test]
fn lists_take_the_place_of_what_was_known() {
    let mut index = PodIndex::new(2);
    let names = |index: &PodIndex| {
        let pods = index.pods();
        (
            pods.synced,
            pods.pods.into_iter().map(|pod| pod.name).collect::<Vec<_>>(),
        )
    };
    let a = || pod("a", &json!({}));
    index.take(0, Event::Init);
    index.take(0, Event::InitApply(a()));
    index.take(0, Event::InitDone);
    assert_eq!(names(&index), (false, vec!["a".to_owned()]));
    index.take(1, Event::Init);
    index.take(1, Event::InitApply(pod("b", &json!({}))));
    index.take(1, Event::InitDone);
    assert_eq!(names(&index), (true, vec!["a".to_owned(), "b".to_owned()]));
    // The watch starts again; until its list is complete what was known stands.
    index.take(0, Event::Init);
    assert_eq!(names(&index), (true, vec!["a".to_owned(), "b".to_owned()]));
    index.take(0, Event::InitApply(pod("c", &json!({}))));
    index.take(0, Event::InitDone);
    assert_eq!(names(&index), (true, vec!["b".to_owned(), "c".to_owned()]));
    index.take(1, Event::Delete(pod("b", &json!({}))));
    assert_eq!(names(&index), (true, vec!["c".to_owned()]));
}
