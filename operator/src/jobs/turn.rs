//! From the pods of one template to those of the next.
//!
//! Pods of a Job cannot change, so a standing pool whose template changes has two Jobs for a while: the new one grows as the old one
//! shrinks, a quarter at a time. Pods that go finish what they run and commit it, within their grace period, and what they had not begun is
//! given to others. While new pods do not start, most of the old ones stay.

use braid_engine::scale;
use k8s_openapi::api::batch::v1::Job;
use kube::{Api, ResourceExt as _, api::ListParams};

use super::{JobPods, delete, ended, is_own, resized};
use crate::{
    api::{ApiError, call},
    names,
    pods::{PodError, PoolRef},
};

/// Brings a standing pool to so many pods of its present template.
pub(super) async fn bring_to(
    pods: &JobPods,
    jobs: &Api<Job>,
    pool: &PoolRef,
    wanted: usize,
) -> Result<String, PodError> {
    let failed = |error: ApiError| PodError {
        pool: pool.name.clone(),
        reason: error.to_string(),
    };
    // A template that makes no pods leaves those that are there at work.
    let new = pods.job(pool, 0)?;
    let selected = ListParams::default().labels(&format!("{}={}", names::POOL_UID, pool.uid));
    let known = call("list the pool's Jobs", jobs.list(&selected))
        .await
        .map_err(failed)?;
    let own = known.items.into_iter().filter(|job| is_own(job, pool));
    let (current, old): (Vec<Job>, Vec<Job>) = own.partition(|job| job.name_any() == new.name_any());
    let crews = pods.crews.borrow().clone();
    let name_of_new = new.name_any();
    let (mut ready, mut leaving) = (0, 0);
    for ((_, job), crew) in crews.iter().filter(|((uid, _), _)| *uid == pool.uid) {
        if *job == name_of_new {
            ready = crew.ready;
        } else {
            leaving += crew.pods;
        }
    }
    let turn = scale::turn(wanted as u64, ready, leaving);
    shrink(jobs, old, turn.old).await.map_err(failed)?;
    let count = i32::try_from(if leaving == 0 { wanted as u64 } else { turn.new }).unwrap_or(i32::MAX);
    let told = match current.first() {
        Some(job) => pods.keep(jobs, pool, job, count).await.map_err(failed)?,
        None if count == 0 => String::new(),
        None => {
            let job = pods.job(pool, count)?;
            pods.make(jobs, pool, &job).await.map_err(failed)?
        }
    };
    Ok(match (told.is_empty(), leaving) {
        (true, 1..) => format!("{leaving} pods of the template before are still there"),
        _ => told,
    })
}

/// Leaves so many pods of old Jobs, the lower indexes of each, and deletes Jobs that have none left.
async fn shrink(jobs: &Api<Job>, old: Vec<Job>, mut left: u64) -> Result<(), ApiError> {
    for job in old.into_iter().filter(|job| job.metadata.deletion_timestamp.is_none()) {
        let now = job.spec.as_ref().and_then(|spec| spec.parallelism).unwrap_or(0);
        let keeps = u64::try_from(now).unwrap_or(0).min(left);
        left -= keeps;
        if keeps == 0 || ended(&job).is_some() {
            delete(jobs, &job).await?;
            continue;
        }
        let keeps = i32::try_from(keeps).unwrap_or(i32::MAX);
        if let Some(change) = resized(&job, keeps) {
            let patch = kube::api::Patch::Merge(change);
            call(
                "shrink an old Job of the pool",
                jobs.patch(&job.name_any(), &kube::api::PatchParams::default(), &patch),
            )
            .await?;
        }
    }
    Ok(())
}
