//! `WorkerPool`: as many workers as wanted, and a desk for each.
//!
//! A run's own pool has as many as its run's pass writes into it. How many a standing one has is decided here, by what all runs on it have to do,
//! unless somebody else decides (`replicas`).
//!
//! A pod gets a `Worker` object with its uid and a Lease when it is seen alive. The object outlives its pod: it is deleted,
//! with uid and version, only once nothing is assigned on it, so nothing that was committed can go with it. Sealing what a
//! lost worker held is the business of the workflow's pass.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use braid_crds::{Worker, WorkerPool, WorkerPoolStatus, WorkerSpec};
use jiff::Timestamp;
use k8s_openapi::{
    api::coordination::v1::{Lease, LeaseSpec},
    apimachinery::pkg::apis::meta::v1::Time,
};
use kube::{
    Api, ResourceExt as _,
    api::{DeleteParams, ObjectMeta, PostParams, Preconditions},
    runtime::controller::Action,
};

use braid_engine::settlement::cut;

use crate::{
    Context,
    api::{ApiError, call},
    counters::Kind,
    names,
    pods::{PodError, PodState, PodView, PoolRef},
    stages::Stage,
    standing,
    workflow::desks,
};

mod sweep;

/// What passes of this module are over.
const KIND: Kind = Kind::WorkerPool;
/// A pool is looked at again after this long even if nothing is heard.
const RESYNC: Duration = Duration::from_secs(30);
/// A standing pool with work, after this long: how much there is changes without a word to the pool.
const TICK: Duration = Duration::from_secs(2);
/// How the message of a pool begins that somebody queues.
pub const QUEUED: &str = "Queued";

/// Why a pass over a pool ended early.
#[derive(Debug, thiserror::Error)]
pub enum PoolError {
    /// An API call failed.
    #[error(transparent)]
    Api(#[from] ApiError),
    /// No pods.
    #[error(transparent)]
    Pods(#[from] PodError),
    /// The object cannot be worked with.
    #[error("the pool has no {0}")]
    Malformed(&'static str),
}

/// One pass over one pool.
pub async fn reconcile(pool: Arc<WorkerPool>, context: Arc<Context>) -> Result<Action, PoolError> {
    let namespace = pool.namespace().ok_or(PoolError::Malformed("namespace"))?;
    let uid = pool.uid().ok_or(PoolError::Malformed("uid"))?;
    if pool.metadata.deletion_timestamp.is_some() {
        return Ok(Action::await_change());
    }
    let workers: Api<Worker> = Api::namespaced(context.client.clone(), &namespace);
    let pods = context.pods.watch().borrow().clone();
    let mine: Vec<&PodView> = pods.pods.iter().filter(|pod| pod.pool_uid == uid).collect();
    let desks = context.desks_of_pool(&uid);

    for pod in mine.iter().filter(|pod| pod.state == PodState::Alive) {
        if !desks.iter().any(|desk| desk.spec.pod_uid == pod.uid) {
            let opening = async {
                let desk = open_desk(&workers, &pool, pod).await?;
                context.leases.open(&context.client, &namespace, &desk).await?;
                Ok::<_, PoolError>(desk)
            };
            let desk = context.stage(KIND, Stage::Open, opening).await?;
            context.fresh_workers.wrote(Arc::new(desk));
        }
    }

    let mut forget = Vec::new();
    for pod in mine.iter().filter(|pod| has_ended(pod.state)) {
        if !desks.iter().any(|desk| desk.spec.pod_uid == pod.uid) {
            forget.push(pod.uid.clone());
        }
    }
    let is_gone = |desk: &Worker| {
        pods.synced
            && !mine
                .iter()
                .any(|pod| pod.uid == desk.spec.pod_uid && !has_ended(pod.state))
    };
    for desk in desks.iter().filter(|desk| is_gone(desk) && desk.spec.shards.is_empty()) {
        context.stage(KIND, Stage::Close, close_desk(&workers, desk)).await?;
        context.fresh_workers.forget(&names::uid(desk.as_ref()));
        forget.push(desk.spec.pod_uid.clone());
    }

    let standing = !standing::is_of_a_run(&pool);
    let tenants = if standing {
        sweep::sweep(&context, &namespace, &desks).await?;
        sweep::sweep_plans(&context, &pool).await?;
        context.tenants(&pool, Timestamp::now())
    } else {
        Vec::new()
    };
    let wanted = context.wanted(&pool, &tenants);
    let reference = PoolRef {
        name: pool.name_any(),
        namespace: namespace.clone(),
        uid,
        labels: own_labels(&pool),
        class: pool.spec.pods.clone(),
        standing,
        keeps_pods: desks.iter().any(|desk| is_of_use(desk)),
    };
    let count = usize::try_from(wanted).unwrap_or(0);
    let scaling = context.pods.scale(&reference, count, &forget);
    let scaled = context.stage(KIND, Stage::Pods, scaling).await;
    let alive = mine.iter().filter(|pod| pod.state == PodState::Alive).count();
    let ready = desks.iter().filter(|desk| !is_gone(desk) && started(desk)).count();
    let mut message = cut(&scaled.as_ref().map_or_else(ToString::to_string, Clone::clone));
    if message.is_empty() && standing && pool.spec.replicas == Some(0) {
        "none is wanted: replicas is 0".clone_into(&mut message);
    }
    let starts = wanted > 0 && ready == 0 && !message.starts_with(QUEUED);
    let known_since = pool.status.as_ref().and_then(|status| status.starting_since.clone());
    let runs = tenants.iter().filter(|tenant| !tenant.loads.is_empty()).count();
    let status = WorkerPoolStatus {
        selector: format!("{}={}", names::POOL_UID, reference.uid),
        observed_generation: pool.metadata.generation,
        wanted,
        runs: standing.then(|| i32::try_from(runs).unwrap_or(i32::MAX)),
        starting_since: starts.then(|| known_since.unwrap_or_else(now)),
        workers: i32::try_from(alive).unwrap_or(i32::MAX),
        ready: i32::try_from(ready).unwrap_or(i32::MAX),
        message,
    };
    if pool.status.as_ref() != Some(&status) {
        let mut next = (*pool).clone();
        next.status = Some(status);
        let api: Api<WorkerPool> = Api::namespaced(context.client.clone(), &namespace);
        let (name, params) = (next.name_any(), PostParams::default());
        let written = call("write the pool's status", api.replace_status(&name, &params, &next));
        context.stage(KIND, Stage::Status, written).await?;
    }
    scaled?;
    let moves = standing && (runs > 0 || alive != count);
    Ok(Action::requeue(if moves { TICK } else { RESYNC }))
}

/// The time as the API keeps it, in whole seconds.
fn now() -> Time {
    let now = Timestamp::now();
    Time(Timestamp::from_second(now.as_second()).unwrap_or(now))
}

/// The labels of a pool that are Braid's: those that its pods and desks have, too.
fn own_labels(pool: &WorkerPool) -> BTreeMap<String, String> {
    let ours = pool.labels().iter().filter(|(name, _)| name.starts_with("braid.dev/"));
    ours.map(|(name, value)| (name.clone(), value.clone())).collect()
}

fn has_ended(state: PodState) -> bool {
    matches!(state, PodState::Died(_) | PodState::Stopped)
}

/// Whether a worker has begun and can be given work, or has some that it will finish.
fn is_of_use(desk: &Worker) -> bool {
    started(desk) && (desks::is_understood(desk) || !desk.spec.shards.is_empty())
}

fn started(desk: &Worker) -> bool {
    desk.status.as_ref().is_some_and(|status| status.start_id.is_some())
}

async fn open_desk(workers: &Api<Worker>, pool: &WorkerPool, pod: &PodView) -> Result<Worker, PoolError> {
    let mut labels = own_labels(pool);
    if !pod.class.is_empty() {
        labels.insert(names::POD_CLASS.into(), pod.class.clone());
    }
    labels.insert(names::POOL_UID.into(), names::uid(pool));
    labels.insert(names::MANAGED_BY.into(), names::BRAID.into());
    let desk = Worker {
        metadata: ObjectMeta {
            name: Some(pod.name.clone()),
            labels: Some(labels),
            owner_references: names::owner(pool).map(|owner| vec![owner]),
            ..ObjectMeta::default()
        },
        spec: WorkerSpec {
            pod_uid: pod.uid.clone(),
            pool: pool.name_any(),
            ..WorkerSpec::default()
        },
        status: None,
    };
    match call("create a worker's desk", workers.create(&PostParams::default(), &desk)).await {
        // An earlier pass did it, or an older pod's desk of the same name still stands: both show in the next watch.
        Err(ApiError::Conflict { what }) => match call(what, workers.get(&pod.name)).await? {
            found if found.spec.pod_uid == pod.uid => Ok(found),
            _ => Err(ApiError::Conflict { what }.into()),
        },
        answer => Ok(answer?),
    }
}

async fn close_desk(workers: &Api<Worker>, desk: &Worker) -> Result<(), ApiError> {
    let preconditions = Preconditions {
        uid: desk.uid(),
        resource_version: desk.resource_version(),
    };
    let params = DeleteParams {
        preconditions: Some(preconditions),
        ..DeleteParams::default()
    };
    match call("delete an empty desk", workers.delete(&desk.name_any(), &params)).await {
        Ok(_) | Err(ApiError::NotFound { .. }) => Ok(()),
        Err(error) => Err(error),
    }
}

/// The Lease of a worker: same name, owned by its desk, renewed by the worker.
pub fn lease(desk: &Worker, duration: Duration) -> Lease {
    Lease {
        metadata: ObjectMeta {
            name: Some(desk.name_any()),
            labels: Some(desk.labels().clone()),
            owner_references: names::owner(desk).map(|owner| vec![owner]),
            ..ObjectMeta::default()
        },
        spec: Some(LeaseSpec {
            lease_duration_seconds: i32::try_from(duration.as_secs()).ok(),
            ..LeaseSpec::default()
        }),
    }
}

#[cfg(test)]
mod tests {
    use braid_crds::{PROTOCOL, StartId, WorkerStatus, worker::ProtocolRange, worker::ShardSpec};

    use super::*;

    /// Pods of an older version are given up when they have finished what they had, and not before.
    #[test]
    fn workers_are_of_use_while_they_are_understood_or_have_something() {
        let desk = |begun: bool, protocol: i32, shards: usize| Worker {
            metadata: ObjectMeta::default(),
            spec: WorkerSpec {
                shards: vec![ShardSpec::default(); shards],
                ..WorkerSpec::default()
            },
            status: Some(WorkerStatus {
                start_id: begun.then(StartId::default),
                protocol: ProtocolRange {
                    min: protocol,
                    max: protocol,
                },
                ..WorkerStatus::default()
            }),
        };
        let (now, before) = (PROTOCOL.1, PROTOCOL.0 - 1);
        assert!(is_of_use(&desk(true, now, 0)));
        assert!(is_of_use(&desk(true, before, 1)));
        assert!(!is_of_use(&desk(true, before, 0)));
        assert!(!is_of_use(&desk(false, now, 0)));
    }
}
