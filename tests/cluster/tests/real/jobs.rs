//! The Jobs of pools on a server that keeps them: which stay, and which are made anew.

use braid_crds::WorkerPool;
use braid_operator::{
    jobs::{JobPods, PodOptions},
    pods::{PodSource as _, PoolRef},
};
use k8s_openapi::api::{batch::v1::Job, core::v1::ResourceRequirements};
use kube::{Api, Client, ResourceExt as _, api::PostParams};
use serde_json::json;

use crate::fixture::server;

const NAMESPACE: &str = "jobs";

/// An operator that gives pods this image where their steps name none.
fn operator(client: &Client, default_image: Option<&str>) -> JobPods {
    let options = PodOptions {
        worker_image: "braid/worker:1".into(),
        pull_policy: None,
        pull_secrets: Vec::new(),
        worker_resources: ResourceRequirements::default(),
        default_image: default_image.map(str::to_owned),
        worker_role: "braid-worker".into(),
        tracing: None,
    };
    JobPods::new(client.clone(), options)
}

/// The image of user code and the uid, if there is the Job.
async fn job(jobs: &Api<Job>, name: &str) -> Option<(String, String)> {
    let job = jobs.get_opt(name).await.unwrap()?;
    let pod = job.spec.as_ref().unwrap().template.spec.clone().unwrap();
    let main = pod
        .containers
        .iter()
        .find(|container| container.name == "main")
        .unwrap();
    Some((main.image.clone().unwrap(), job.uid().unwrap()))
}

/// A pool, as the server keeps it.
async fn pool(client: &Client, name: &str) -> PoolRef {
    let pool = json!({
        "apiVersion": "braid.dev/v1alpha1", "kind": "WorkerPool", "metadata": {"name": name},
        "spec": {"replicas": 0, "pods": {}},
    });
    let pool: WorkerPool = serde_json::from_value(pool).unwrap();
    let pools: Api<WorkerPool> = Api::namespaced(client.clone(), NAMESPACE);
    let made = pools.create(&PostParams::default(), &pool).await.unwrap();
    PoolRef {
        name: name.into(),
        namespace: NAMESPACE.into(),
        uid: made.uid().unwrap(),
        class: made.spec.pods,
        ..PoolRef::default()
    }
}

/// Somebody mends a wrong image of the operator's: a run that waits for pods gets others, one whose workers have begun keeps its own.
#[tokio::test]
async fn pods_of_which_none_has_begun_are_made_as_the_operator_makes_them_now() {
    let server = server().await;
    server.create_namespace(NAMESPACE).await.unwrap();
    let client = server.client(NAMESPACE).await.unwrap();
    let jobs: Api<Job> = Api::namespaced(client.clone(), NAMESPACE);
    let (waits, works) = (pool(&client, "waits").await, pool(&client, "works").await);
    let before = operator(&client, Some("acme/wrong:1"));
    for pool in [&waits, &works] {
        assert_eq!("", before.scale(pool, 2, &[]).await.unwrap());
    }
    let first = job(&jobs, "waits").await.unwrap();
    assert_eq!("acme/wrong:1", first.0);
    // The same options make the same pods.
    let same = operator(&client, Some("acme/wrong:1"));
    assert_eq!("", same.scale(&waits, 2, &[]).await.unwrap());
    assert_eq!(Some(first.clone()), job(&jobs, "waits").await);
    // Options that make no pods leave those that there are.
    let none = operator(&client, None);
    none.scale(&waits, 2, &[]).await.unwrap();
    assert_eq!(Some(first.clone()), job(&jobs, "waits").await);

    let mended = operator(&client, Some("acme/right:1"));
    // Who wants no workers has nothing made anew for them.
    mended.scale(&waits, 0, &[]).await.unwrap();
    assert_eq!(first, job(&jobs, "waits").await.unwrap());
    let told = mended.scale(&waits, 2, &[]).await.unwrap();
    assert!(told.contains("is made anew"), "{told}");
    assert_eq!(None, job(&jobs, "waits").await);
    mended.scale(&waits, 2, &[]).await.unwrap();
    let second = job(&jobs, "waits").await.unwrap();
    assert_eq!("acme/right:1", second.0);
    assert_ne!(first.1, second.1);

    let kept = job(&jobs, "works").await;
    let works = PoolRef {
        keeps_pods: true,
        ..works
    };
    mended.scale(&works, 3, &[]).await.unwrap();
    assert_eq!(kept, job(&jobs, "works").await);
    assert_eq!("acme/wrong:1", kept.unwrap().0);
}
