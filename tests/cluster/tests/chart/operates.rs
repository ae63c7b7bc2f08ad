//! The operator and its workers at work on a real API server, each with the rights that the chart gives it: no request of theirs may
//! be forbidden. There are no nodes; pods and what becomes of them are made up here, and the workers' programs do nothing.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use braid_cluster::{Person, RealApiServer};
use braid_operator::jobs::{JobPods, PodOptions};
use braid_operator::service::Readiness;
use braid_operator::{Counters, Options, definitions};
use braid_worker::ground::Ground;
use braid_worker::runner::NoopRunner;
use braid_worker::task::{self, WorkerIdentity, WorkerTask};
use bytes::Bytes;
use futures::future::BoxFuture;
use http::{Request, Response, StatusCode};
use kube::client::{Body, ClientBuilder};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, Config};
use serde_json::{Value, json};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tower::Service;

use crate::api::{PATIENCE, find, helm_on, send, until_gone};
use crate::helm::{NAMESPACE, kind, objects, printed, repository};

const TEAM: &str = "team-a";
/// Whose run uses a pool of the other.
const GUEST: &str = "team-b";
const ITEMS: u64 = 500;

/// What was forbidden: who, method, path.
type Forbidden = Arc<Mutex<BTreeSet<String>>>;

/// Notes what is forbidden to a client.
#[derive(Clone)]
struct Noting<S> {
    inner: S,
    who: String,
    forbidden: Forbidden,
}

impl<S, B> Service<Request<Body>> for Noting<S>
where
    S: Service<Request<Body>, Response = Response<B>>,
    S::Future: Send + 'static,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = BoxFuture<'static, Result<S::Response, S::Error>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let what = format!("{}: {} {}", self.who, request.method(), request.uri());
        let forbidden = self.forbidden.clone();
        let answered = self.inner.call(request);
        Box::pin(async move {
            let answer = answered.await?;
            if answer.status() == StatusCode::FORBIDDEN {
                forbidden.lock().unwrap().insert(what);
            }
            Ok(answer)
        })
    }
}

/// A client of somebody, with notes.
async fn client(server: &RealApiServer, namespace: &str, who: &Person, forbidden: &Forbidden) -> Client {
    let kubeconfig = Kubeconfig::from_yaml(&server.kubeconfig(namespace, Some(who))).unwrap();
    let config = Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default())
        .await
        .unwrap();
    let who = who.user.clone();
    let forbidden = forbidden.clone();
    let noting = tower::layer::layer_fn(move |inner| Noting {
        inner,
        who: who.clone(),
        forbidden: forbidden.clone(),
    });
    ClientBuilder::try_from(config).unwrap().with_layer(&noting).build()
}

/// The literal environment of the rendered operator: what it is told by the chart.
fn environment(values: &[&str]) -> BTreeMap<String, String> {
    let mut command = crate::helm::helm();
    command
        .args(["template", "braid"])
        .arg(repository("charts/braid"))
        .args(["--namespace", NAMESPACE])
        .args(values);
    let rendered = objects(&printed(&mut command));
    let deployment = rendered.iter().find(|object| kind(object) == "Deployment").unwrap();
    let variables = deployment["spec"]["template"]["spec"]["containers"][0]["env"]
        .as_array()
        .unwrap();
    let text = |value: &Value| value.as_str().map(str::to_owned);
    let literal = variables
        .iter()
        .filter_map(|it| Some((text(&it["name"])?, text(&it["value"])?)));
    literal.collect()
}

/// What the program does with its environment.
async fn operate(
    client: Client,
    environment: BTreeMap<String, String>,
    counters: Arc<Counters>,
    stop: CancellationToken,
) {
    let readiness = Arc::new(Readiness::default());
    assert!(
        definitions::wait(&client, &readiness, &stop).await,
        "the definitions do not fit"
    );
    let watch: BTreeSet<String> = environment
        .get("BRAID_WATCH_NAMESPACES")
        .map(|names| names.split(',').map(str::to_owned).collect())
        .unwrap_or_default();
    let pods = Arc::new(JobPods::new(
        client.clone(),
        PodOptions {
            worker_image: environment["BRAID_WORKER_IMAGE"].clone(),
            pull_policy: None,
            pull_secrets: Vec::new(),
            worker_resources: serde_json::from_str(&environment["BRAID_WORKER_RESOURCES"]).unwrap(),
            default_image: None,
            worker_role: environment["BRAID_WORKER_ROLE"].clone(),
            tracing: None,
        },
    ));
    let options = Options {
        namespace: NAMESPACE.to_owned(),
        lease_name: environment["BRAID_LEASE_NAME"].clone(),
        watch: watch.clone(),
        events: true,
        pod_classes: true,
        sweep_interval: Duration::from_millis(100),
        ..Options::new("operator-0", environment["BRAID_WORKERS"].parse().unwrap())
    };
    let watching = pods.clone().watch_pods(&watch);
    tokio::select! {
        ended = braid_operator::run(client, options, pods, counters, stop) => ended.unwrap(),
        () = watching => panic!("the watch of pods ended"),
    }
}

/// Pods of Jobs, and a worker in each.
struct Nodes<'a> {
    server: &'a RealApiServer,
    admin: &'a Client,
    forbidden: &'a Forbidden,
    workers: JoinSet<()>,
    running: BTreeMap<String, CancellationToken>,
}

impl Nodes<'_> {
    /// As many pods as the Jobs ask for; those that are too many end.
    async fn turn(&mut self) {
        let jobs = find(self.admin, &format!("/apis/batch/v1/namespaces/{TEAM}/jobs"))
            .await
            .unwrap();
        for job in jobs["items"].as_array().unwrap() {
            let wanted = job["spec"]["parallelism"].as_u64().unwrap();
            let mut index = 0;
            loop {
                let name = format!("{}-{index}", job["metadata"]["name"].as_str().unwrap());
                let is_there = self.running.contains_key(&name);
                if index < wanted && !is_there {
                    self.start(job, &name).await;
                } else if index >= wanted && !is_there {
                    break;
                } else if index >= wanted {
                    self.end(&name).await;
                }
                index += 1;
            }
        }
    }

    /// The status of a run at its end.
    async fn until_finished(&mut self, run: &str) -> Value {
        let begun = Instant::now();
        loop {
            self.turn().await;
            let status = find(self.admin, run).await.unwrap()["status"].clone();
            let mut conditions = status["conditions"].as_array().into_iter().flatten();
            if conditions.any(|it| it["type"] == "Finished" && it["status"] == "True") {
                return status;
            }
            let noted = self.forbidden.lock().unwrap().clone();
            assert!(
                begun.elapsed() < PATIENCE && noted.is_empty(),
                "{run}: forbidden {noted:?}, {status}"
            );
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    async fn start(&mut self, job: &Value, name: &str) {
        let mut pod = job["spec"]["template"].clone();
        pod["apiVersion"] = json!("v1");
        pod["kind"] = json!("Pod");
        pod["metadata"]["name"] = json!(name);
        pod["metadata"]["ownerReferences"] = json!([{"apiVersion": "batch/v1", "kind": "Job", "name": job["metadata"]["name"], "uid": job["metadata"]["uid"]}]);
        let pods = format!("/api/v1/namespaces/{TEAM}/pods");
        assert_eq!(send(self.admin, "POST", &pods, &pod).await, (200, String::new()));
        let made = find(self.admin, &format!("{pods}/{name}")).await.unwrap();
        let uid = made["metadata"]["uid"].as_str().unwrap().to_owned();
        let account = made["spec"]["serviceAccountName"].as_str().unwrap();
        let person = Person::pod(TEAM, account, name, &uid);
        let client = client(self.server, TEAM, &person, self.forbidden).await;
        let identity = WorkerIdentity {
            namespace: TEAM.to_owned(),
            name: name.to_owned(),
            pod_uid: uid,
        };
        let stop = CancellationToken::new();
        self.running.insert(name.to_owned(), stop.clone());
        self.workers.spawn(async move {
            let runner = NoopRunner::new(Some(Bytes::from_static(b"{\"n\":1}")));
            let work = WorkerTask::run(
                client,
                identity,
                runner,
                task::Options::new(Ground::Open(".".into())),
                stop,
            );
            Box::pin(work).await.unwrap();
        });
    }

    /// As a node does it: the worker first, then the pod has ended; whoever wants it away deletes it.
    async fn end(&mut self, name: &str) {
        let Some(stop) = self.running.get(name) else { return };
        if stop.is_cancelled() {
            return;
        }
        stop.cancel();
        let ended = json!({"status": {
            "phase": "Failed",
            "containerStatuses": [{"name": "main", "image": "a", "imageID": "a", "ready": false, "restartCount": 0,
                "state": {"terminated": {"exitCode": 143, "reason": "Error"}}}],
        }});
        let path = format!("/api/v1/namespaces/{TEAM}/pods/{name}/status");
        assert_eq!(send(self.admin, "PATCH", &path, &ended).await, (200, String::new()));
    }
}

/// One run from its creation to its deletion; what was done for it.
async fn runs(server: &RealApiServer, values: &[&str]) -> String {
    let admin = server.client("default").await.unwrap();
    let mut install = helm_on(server);
    install
        .args(["upgrade", "--install", "braid"])
        .arg(repository("charts/braid"))
        .args(["--namespace", NAMESPACE, "--create-namespace"])
        .args(values);
    printed(&mut install);
    let forbidden = Forbidden::default();
    let stop = CancellationToken::new();
    let counters = Arc::new(Counters::default());
    let operator = Person::pod(NAMESPACE, "braid-operator", "operator-0", "uid-0");
    let operator = client(server, NAMESPACE, &operator, &forbidden).await;
    let operating = tokio::spawn(operate(operator, environment(values), counters.clone(), stop.clone()));

    let workflow = json!({
        "apiVersion": "braid.dev/v1alpha1", "kind": "Workflow", "metadata": {"name": "w"},
        "spec": {
            "pools": [{"name": "warm", "workerPoolRef": {"name": "warm"}}],
            "steps": [{
                "name": "s", "over": {"range": {"start": 0, "end": ITEMS}},
                "run": {"image": "a", "command": ["true"]}, "results": [{"name": "n", "reduce": "Sum"}],
            }, {
                "name": "t", "pool": "warm", "run": {"command": ["true"]}, "results": [{"name": "n", "reduce": "Sum"}],
            }],
            "outputs": [{"name": "n", "value": "steps.s.results.n"}],
        },
    });
    let of_guest = json!({
        "apiVersion": "braid.dev/v1alpha1", "kind": "Workflow", "metadata": {"name": "w"},
        "spec": {
            "pools": [{"name": "default", "workerPoolRef": {"name": "warm", "namespace": TEAM}}],
            "data": [{"name": "files", "files": {"url": "src/lib.rs"}}],
            "steps": [{
                "name": "s", "over": {"items": [1, 2, 3]}, "run": {"command": ["true"]}, "results": [{"name": "n", "reduce": "Sum"}],
            }, {
                "name": "t", "over": {"data": "files", "split": {"files": 1}}, "run": {"command": ["true"]},
            }],
            "outputs": [{"name": "n", "value": "steps.s.results.n"}],
        },
    });
    let standing = json!({
        "apiVersion": "braid.dev/v1alpha1", "kind": "WorkerPool", "metadata": {"name": "warm"},
        "spec": {
            "workers": {"max": 1, "idle": "10ms"}, "pods": {"image": "a"},
            "allowedRuns": {"namespaces": {"from": "Names", "names": [GUEST]}},
        },
    });
    let pools = format!("/apis/braid.dev/v1alpha1/namespaces/{TEAM}/workerpools");
    crate::api::until(&admin, "POST", &pools, &standing, |answer| answer.0 == 200).await;
    let runs = format!("/apis/braid.dev/v1alpha1/namespaces/{TEAM}/workflows");
    crate::api::until(&admin, "POST", &runs, &workflow, |answer| answer.0 == 200).await;
    let run = format!("{runs}/w");
    let runs = format!("/apis/braid.dev/v1alpha1/namespaces/{GUEST}/workflows");
    assert_eq!((200, String::new()), send(&admin, "POST", &runs, &of_guest).await);
    let guest = format!("{runs}/w");
    let mut nodes = Nodes {
        server,
        admin: &admin,
        forbidden: &forbidden,
        workers: JoinSet::new(),
        running: BTreeMap::new(),
    };
    let status = nodes.until_finished(&run).await;
    assert_eq!("Succeeded", status["phase"], "{status}");
    assert_eq!(json!(ITEMS), status["outputs"]["n"], "{status}");
    let status = nodes.until_finished(&guest).await;
    assert_eq!("Succeeded", status["phase"], "{status}");
    assert_eq!(json!(3), status["outputs"]["n"], "{status}");
    // Its plans, one made by the operator and one by a worker, are its own, and lent for as long as it runs.
    let plans = async |namespace: &str| {
        let path = format!("/apis/braid.dev/v1alpha1/namespaces/{namespace}/plans");
        let plans = find(&admin, &path).await.unwrap()["items"].clone();
        plans.as_array().unwrap().len()
    };
    assert_eq!(2, plans(GUEST).await);
    let begun = Instant::now();
    while plans(TEAM).await > 0 {
        nodes.turn().await;
        assert!(begun.elapsed() < PATIENCE, "{values:?}: plans stay: {forbidden:?}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert_eq!(200, send(&admin, "DELETE", &guest, &Value::Null).await.0);

    // What is not needed any more goes: workers, their desks, their pods.
    let gone = |kind: &str| format!("/apis/braid.dev/v1alpha1/namespaces/{TEAM}/{kind}");
    let begun = Instant::now();
    loop {
        nodes.turn().await;
        let desks = find(&admin, &gone("workers")).await.unwrap()["items"]
            .as_array()
            .unwrap()
            .len();
        let pods = find(&admin, &format!("/api/v1/namespaces/{TEAM}/pods")).await.unwrap();
        let pods = pods["items"].as_array().unwrap().len();
        if desks == 0 && pods == 0 {
            break;
        }
        assert!(
            begun.elapsed() < PATIENCE,
            "{values:?}: {desks} desks and {pods} pods stay: {forbidden:?}"
        );
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert_eq!(200, send(&admin, "DELETE", &run, &Value::Null).await.0);
    let job_of = |own: bool| {
        let mut pods = nodes.running.keys();
        let pod = pods.find(|name| name.starts_with("warm-") != own).unwrap();
        pod.rsplit_once('-').unwrap().0.to_owned()
    };
    let job = job_of(true);
    assert_eq!(
        200,
        send(&admin, "DELETE", &format!("{pools}/warm"), &Value::Null).await.0
    );
    until_gone(
        &admin,
        &format!("/apis/batch/v1/namespaces/{TEAM}/jobs/{}", job_of(false)),
    )
    .await;
    until_gone(&admin, &format!("/apis/batch/v1/namespaces/{TEAM}/jobs/{job}")).await;
    until_gone(
        &admin,
        &format!("/apis/rbac.authorization.k8s.io/v1/namespaces/{TEAM}/rolebindings/{job}"),
    )
    .await;

    while let Some(ended) = nodes.workers.join_next().await {
        ended.unwrap();
    }
    stop.cancel();
    operating.await.unwrap();
    assert_eq!(BTreeSet::new(), *forbidden.lock().unwrap(), "{values:?}");
    let counts = counters.read();
    assert!(
        counts.passes > 0 && counts.folded > 0 && counts.held_in_part == 0,
        "{counts:?}"
    );
    format!("{values:?}: {} workers, {counts:?}", nodes.running.len())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_needs_no_right_that_the_chart_does_not_give() {
    let server = RealApiServer::builder().start().await.unwrap();
    for namespace in [TEAM, GUEST] {
        server.create_namespace(namespace).await.unwrap();
    }
    for watched in ["watchNamespaces=[\"team-a\",\"team-b\"]", "watchNamespaces=[]"] {
        println!("{}", Box::pin(runs(&server, &["--set-json", watched])).await);
    }
    server.stop().await;
}

/// A variable that the program does not know would be accepted and ignored.
#[test]
fn the_operator_knows_all_that_the_chart_tells_it() {
    let source: String = ["operator/src/bin/braid-operator.rs", "telemetry/src/lib.rs"]
        .map(|file| std::fs::read_to_string(repository(file)).unwrap())
        .concat();
    let full = crate::helm::here("values/full.yaml");
    let told = environment(&[
        "--values",
        full.to_str().unwrap(),
        "--set-json",
        "watchNamespaces=[\"a\"]",
    ]);
    let told: Vec<&String> = told.keys().filter(|name| name.starts_with("BRAID_")).collect();
    assert!(told.len() > 10, "{told:?}");
    for name in told {
        assert!(
            source.contains(&format!("\"{name}\"")),
            "the operator does not read {name}"
        );
    }
}
