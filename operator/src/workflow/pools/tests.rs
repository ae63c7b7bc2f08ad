#![allow(clippy::unwrap_used)]
//! How long a step waits for its first worker, and in what kind of pod its code is.

use braid_crds::PartitionRange;

use super::{super::stamp, *};

fn pool(message: &str, since: Option<i64>) -> WorkerPool {
    let mut pool = WorkerPool::new("warm", WorkerPoolSpec::default());
    pool.status = Some(braid_crds::WorkerPoolStatus {
        message: message.into(),
        starting_since: since.map(|second| stamp(at(second))),
        ..braid_crds::WorkerPoolStatus::default()
    });
    pool
}

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(1_800_000_000 + second).unwrap()
}

fn step(phase: Phase, started: i64) -> StepStatus {
    StepStatus {
        name: "count".into(),
        phase,
        started_at: Some(stamp(at(started))),
        ..StepStatus::default()
    }
}

fn told(pool: &WorkerPool, step: &StepStatus, now: i64) -> Option<String> {
    let fatal = overdue(pool, step, &Duration::from_mins(1), at(now))?;
    Some(format!("{} / {}", fatal.reason, fatal.message))
}

#[test]
fn a_step_without_a_first_worker_fails_with_the_cause() {
    let absent = pool("ErrImagePull: warm-0, main: not found", Some(0));
    let running = step(Phase::Running, 0);
    assert_eq!(told(&absent, &running, 60), None);
    let expected = "ErrImagePull / no worker was ready within 60s: ErrImagePull: warm-0, main: not found";
    assert_eq!(told(&absent, &running, 61).as_deref(), Some(expected));
    // It has not waited for longer than it is there.
    assert_eq!(told(&absent, &step(Phase::Planning, 30), 90), None);
    assert!(told(&absent, &step(Phase::Planning, 30), 91).is_some());
    // Words that are no reason, or none at all.
    let quota = pool("pods \"x\" is forbidden: exceeded quota", Some(0));
    assert!(told(&quota, &running, 61).unwrap().starts_with("NoWorkers / "));
    let silent = told(&pool("", Some(0)), &running, 61).unwrap();
    assert!(silent.ends_with("nothing tells why"), "{silent}");
}

#[test]
fn what_has_begun_or_is_not_under_way_waits() {
    let absent = pool("ErrImagePull: x", Some(0));
    let mut begun = step(Phase::Running, 0);
    begun.ledger.insert(PartitionRange::new(0, 1));
    assert_eq!(told(&absent, &begun, 1_000), None);
    for phase in [Phase::Pending, Phase::Suspended, Phase::Waiting, Phase::Succeeded] {
        assert_eq!(told(&absent, &step(phase, 0), 1_000), None, "{phase:?}");
    }
    // A worker was there, or they are queued.
    assert_eq!(told(&pool("", None), &step(Phase::Running, 0), 1_000), None);
}

#[test]
fn the_deadline_is_said_by_who_owns_the_pool() {
    let workflow: Workflow = serde_json::from_value(json!({
        "apiVersion": "braid.dev/v1alpha1", "kind": "Workflow", "metadata": {"name": "x"},
        "spec": {
            "pools": [{"name": "own", "startDeadline": "3m"}, {"name": "warm", "workerPoolRef": {"name": "warm"}}],
            "steps": [
                {"name": "a", "pool": "own", "run": {"command": ["true"]}},
                {"name": "b", "pool": "warm", "run": {"command": ["true"]}},
                {"name": "c", "run": {"command": ["true"]}},
            ],
        },
    }))
    .unwrap();
    let mut standing = pool("", None);
    standing.spec.start_deadline = Some("2m".parse().unwrap());
    let limits: Vec<Duration> = workflow
        .spec
        .steps
        .iter()
        .map(|step| start_deadline(&workflow, step, &standing))
        .collect();
    assert_eq!(limits, [3, 2, 10].map(Duration::from_mins));
}

fn with_code(code: &serde_json::Value) -> Workflow {
    let steps =
        json!([{"name": "one", "run": {"script": "a"}}, {"name": "two", "run": {"function": "a:f", "code": code}}]);
    serde_json::from_value(json!({
        "apiVersion": "braid.dev/v1alpha1", "kind": "Workflow", "metadata": {"name": "a"}, "spec": {"steps": steps},
    }))
    .unwrap()
}

#[test]
fn code_is_part_of_the_kind_of_pod() {
    let run = with_code(&json!({"configMapRef": {"name": "code-1"}}));
    assert_eq!(only_on_a_laptop(&run), None);
    let classes: Vec<PodClass> = run.spec.steps.iter().map(|step| class_of(&run, step)).collect();
    assert_eq!(classes[0], PodClass::default());
    assert_eq!(classes[1].code.as_ref().unwrap().name, "code-1");
    let other = with_code(&json!({"configMapRef": {"name": "code-2"}}));
    let name = |run: &Workflow| name_of(run, &class_of(run, &run.spec.steps[1]));
    assert_ne!(name(&run), name(&other));
}

#[test]
fn what_a_step_is_shuffled_through_can_be_written() {
    let run = |keys: &serde_json::Value| -> Workflow {
        let data = |name: &str| json!({"name": name, "files": {"url": name, "format": "CSV", "volume": {"hostPath": {"path": "/x"}}}});
        serde_json::from_value(json!({
            "apiVersion": "braid.dev/v1alpha1", "kind": "Workflow", "metadata": {"name": "run"},
            "spec": {
                "data": [data("sales"), data("scratch")],
                "steps": [{"name": "a", "over": {"data": "sales", "split": {"keys": keys}}, "run": {"command": ["true"]}}],
            },
        }))
        .unwrap()
    };
    let volumes = |keys| -> Vec<(String, bool)> {
        let run = run(keys);
        let class = class_of(&run, &run.spec.steps[0]);
        class.data.into_iter().map(|data| (data.name, data.writable)).collect()
    };
    let beside = json!({"by": "k", "into": 3});
    let through = json!({"by": "k", "into": 3, "through": "scratch"});
    assert_eq!(volumes(&beside), [("sales".to_owned(), true)]);
    assert_eq!(
        volumes(&through),
        [("sales".to_owned(), false), ("scratch".to_owned(), true)]
    );
}

#[test]
fn a_directory_of_a_laptop_is_not_for_pods() {
    let problem = only_on_a_laptop(&with_code(&json!({"path": "./src"}))).unwrap();
    assert!(
        problem.starts_with("spec.steps[1].run.code.path: \"./src\""),
        "{problem}"
    );
}
