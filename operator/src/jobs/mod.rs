//! Pods of a cluster: an Indexed Job for each `WorkerPool`.
//!
//! The Job of a run's pool has the pool's name, that of a standing one is named after its pods, so that other pods are another Job (`turn`);
//! the pool owns it. It never completes: workers do not end with 0, and as many completions are asked
//! for as there are workers. Fewer workers are the lower indexes; none at all is parallelism 0 with completions unchanged,
//! because 0 completions would complete the Job. `suspend` is somebody else's (a queue's, or a person's) and never written.
//!
//! A run's pods stay as they were made, though the operator's options (its images, say) change in the midst of it. They are made anew if
//! none of its workers has begun, for what keeps them from starting may be what was changed, and if all that have are of a version that
//! this operator does not speak and have finished what they had.
//!
//! Failure modes: a Job that ended all the same is deleted and made anew; a Job of the same name that is not the pool's is left
//! alone and told. What keeps pods from starting is told as the pool's message, and so in the run's conditions.

use std::{
    collections::{BTreeMap, BTreeSet},
    future::Future,
    sync::Arc,
};

use futures::{StreamExt as _, future::BoxFuture, stream::SelectAll};
use k8s_openapi::api::{
    batch::v1::Job,
    core::v1::{Event, Pod},
};
use kube::{
    Api, Client, ResourceExt as _,
    api::{DeleteParams, ListParams, Patch, PatchParams, PostParams, Preconditions, PropagationPolicy},
    runtime::{WatchStreamExt as _, watcher},
};
use serde_json::json;
use tokio::sync::watch;

use crate::{
    api::{ApiError, call},
    names,
    pods::{PodError, PodSource, Pods, PoolRef},
    pool::QUEUED,
};

mod index;
mod rights;
mod template;
mod turn;

pub use index::PodIndex;
pub use template::{MAIN, PodOptions, TemplateError, WORKER, WorkerTracing, job_for};

/// Pods that Jobs make.
pub struct JobPods {
    client: Client,
    options: PodOptions,
    views: watch::Sender<Pods>,
    troubles: watch::Sender<Arc<Vec<(String, String)>>>,
    crews: watch::Sender<Arc<Crews>>,
}

/// The pods of each Job, by the pool's uid and the Job's name.
type Crews = BTreeMap<(String, String), index::Crew>;

impl JobPods {
    /// For pods made with these options. Until [`Self::watch_pods`] runs, none is known.
    #[must_use]
    pub fn new(client: Client, options: PodOptions) -> Self {
        Self {
            client,
            options,
            views: watch::Sender::default(),
            troubles: watch::Sender::default(),
            crews: watch::Sender::default(),
        }
    }

    /// Watches the pods of all pools in these namespaces, or in all if none is named, for as long as it is polled.
    pub fn watch_pods(self: Arc<Self>, namespaces: &BTreeSet<String>) -> impl Future<Output = ()> + Send + 'static {
        let apis: Vec<Api<Pod>> = if namespaces.is_empty() {
            vec![Api::all(self.client.clone())]
        } else {
            let named = |namespace: &String| Api::namespaced(self.client.clone(), namespace);
            namespaces.iter().map(named).collect()
        };
        let config = watcher::Config::default().labels(names::POOL_UID);
        let mut index = PodIndex::new(apis.len());
        let streams = apis.into_iter().enumerate().map(|(source, api)| {
            let stream = watcher(api, config.clone()).default_backoff();
            stream.map(move |event| (source, event)).boxed()
        });
        let mut events: SelectAll<_> = streams.collect();
        async move {
            while let Some((source, event)) = events.next().await {
                match event {
                    Ok(event) => self.take(&mut index, source, event),
                    // The list as it was stays: nobody is taken for dead because the server is away.
                    Err(error) => tracing::warn!(%error, "the watch of pods was interrupted"),
                }
            }
        }
    }

    /// Takes an event of a watch, and tells what has changed.
    fn take(&self, index: &mut PodIndex, source: usize, event: watcher::Event<Pod>) {
        index.take(source, event);
        let now = index.pods();
        let troubles = index.troubles();
        self.troubles.send_if_modified(|known| {
            let changed = **known != troubles;
            if changed {
                *known = Arc::new(troubles);
            }
            changed
        });
        let crews = index.jobs();
        let moved = self.crews.send_if_modified(|known| {
            let changed = **known != crews;
            if changed {
                *known = Arc::new(crews);
            }
            changed
        });
        self.views.send_if_modified(|known| {
            let changed = *known != now;
            if changed {
                *known = now;
            }
            // That pods have become ready moves a turn from old ones to new ones.
            changed || moved
        });
    }

    async fn bring_to(&self, pool: &PoolRef, wanted: usize, forget: &[String]) -> Result<String, PodError> {
        let failed = |error: ApiError| PodError {
            pool: pool.name.clone(),
            reason: error.to_string(),
        };
        self.remove_ended(pool, forget).await.map_err(failed)?;
        let jobs: Api<Job> = Api::namespaced(self.client.clone(), &pool.namespace);
        if pool.standing {
            return turn::bring_to(self, &jobs, pool, wanted).await;
        }
        let wanted = i32::try_from(wanted).unwrap_or(i32::MAX);
        let known = call("read the pool's Job", jobs.get_opt(&pool.name))
            .await
            .map_err(failed)?;
        if known.is_none() && wanted == 0 {
            return Ok(String::new());
        }
        let Some(job) = known else {
            let job = self.job(pool, wanted)?;
            return self.make(&jobs, pool, &job).await.map_err(failed);
        };
        if !is_own(&job, pool) {
            return Err(PodError {
                pool: pool.name.clone(),
                reason: format!("the Job {} is not the pool's own: delete or rename it", pool.name),
            });
        }
        if wanted > 0 && !pool.keeps_pods && self.is_outdated(pool, &job) {
            delete(&jobs, &job).await.map_err(failed)?;
            return Ok(format!(
                "the Job {} was made with other options of the operator, no worker of it can be given work, and it is made anew",
                pool.name
            ));
        }
        self.keep(&jobs, pool, &job, wanted).await.map_err(failed)
    }

    /// Whether the pods of a run's Job would be others if it were made now. A Job that does not say what its pods were made as is an older
    /// operator's. Where none can be made now, those that are there are better than none.
    fn is_outdated(&self, pool: &PoolRef, job: &Job) -> bool {
        let template = |job: &Job| job.annotations().get(names::POD_TEMPLATE).cloned();
        let now = job_for(pool, 0, &self.options);
        job.metadata.deletion_timestamp.is_none() && now.is_ok_and(|now| template(&now) != template(job))
    }

    fn job(&self, pool: &PoolRef, wanted: i32) -> Result<Job, PodError> {
        job_for(pool, wanted, &self.options).map_err(|error| PodError {
            pool: pool.name.clone(),
            reason: error.to_string(),
        })
    }

    /// Makes a Job, and the rights of its pods before it.
    async fn make(&self, jobs: &Api<Job>, pool: &PoolRef, job: &Job) -> Result<String, ApiError> {
        let binding = rights::binding(pool, job, &self.options.worker_role);
        rights::bind(&self.client, &binding).await?;
        match call("create the pool's Job", jobs.create(&PostParams::default(), job)).await {
            // An earlier pass did it; the next one reads it.
            Ok(_) | Err(ApiError::Conflict { .. }) => Ok(String::new()),
            Err(error) => Err(error),
        }
    }

    /// Gives a Job that is there so many workers; why there are fewer.
    async fn keep(&self, jobs: &Api<Job>, pool: &PoolRef, job: &Job, wanted: i32) -> Result<String, ApiError> {
        let name = job.name_any();
        if job.metadata.deletion_timestamp.is_some() {
            return Ok(format!("the Job {name} is being deleted"));
        }
        if let Some(why) = ended(job) {
            delete(jobs, job).await?;
            return Ok(format!("the Job {name} had ended ({why}), and is made anew"));
        }
        if let Some(change) = resized(job, wanted) {
            let patch = Patch::Merge(change);
            call(
                "resize the pool's Job",
                jobs.patch(&name, &PatchParams::default(), &patch),
            )
            .await?;
        }
        if wanted > 0 && job.spec.as_ref().and_then(|spec| spec.suspend) == Some(true) {
            return Ok(format!("{QUEUED}: the Job {name} is suspended"));
        }
        self.why_not(pool, job, wanted).await
    }

    /// Deletes pods that have ended and whose desks are closed.
    async fn remove_ended(&self, pool: &PoolRef, forget: &[String]) -> Result<(), ApiError> {
        let api: Api<Pod> = Api::namespaced(self.client.clone(), &pool.namespace);
        let known = self.views.borrow().clone();
        for pod in known.pods.iter().filter(|pod| forget.contains(&pod.uid)) {
            let params = DeleteParams {
                preconditions: Some(Preconditions {
                    uid: Some(pod.uid.clone()),
                    resource_version: None,
                }),
                ..DeleteParams::default()
            };
            match call("delete a pod that has ended", api.delete(&pod.name, &params)).await {
                // A conflict: another pod has the name by now.
                Ok(_) | Err(ApiError::NotFound { .. } | ApiError::Conflict { .. }) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Why there are fewer pods than wanted, or why they do not start; empty: nothing speaks against it.
    async fn why_not(&self, pool: &PoolRef, job: &Job, wanted: i32) -> Result<String, ApiError> {
        let troubles = self.troubles.borrow().clone();
        if let Some((_, trouble)) = troubles.iter().find(|(uid, _)| *uid == pool.uid) {
            return Ok(trouble.clone());
        }
        let active = job.status.as_ref().and_then(|status| status.active).unwrap_or(0);
        if active >= wanted {
            return Ok(String::new());
        }
        // Quotas and admission refuse the pods themselves: only the Job's events tell.
        let events: Api<Event> = Api::namespaced(self.client.clone(), &pool.namespace);
        let selected = format!(
            "involvedObject.uid={},reason=FailedCreate",
            job.uid().unwrap_or_default()
        );
        let found = call(
            "read the Job's events",
            events.list(&ListParams::default().fields(&selected).limit(50)),
        )
        .await?;
        let newest = found.items.into_iter().max_by_key(|event| {
            let last = event.last_timestamp.as_ref().map(|time| time.0);
            last.or(event.event_time.as_ref().map(|time| time.0))
        });
        Ok(newest.and_then(|event| event.message).unwrap_or_default())
    }
}

impl PodSource for JobPods {
    fn scale<'a>(
        &'a self,
        pool: &'a PoolRef,
        wanted: usize,
        forget: &'a [String],
    ) -> BoxFuture<'a, Result<String, PodError>> {
        Box::pin(self.bring_to(pool, wanted, forget))
    }

    fn watch(&self) -> watch::Receiver<Pods> {
        self.views.subscribe()
    }
}

fn is_own(job: &Job, pool: &PoolRef) -> bool {
    job.owner_references().iter().any(|owner| owner.uid == pool.uid)
}

/// Why a Job has ended, if it has.
fn ended(job: &Job) -> Option<String> {
    let conditions = job.status.iter().flat_map(|status| status.conditions.iter().flatten());
    let mut ends = conditions.filter(|condition| {
        condition.status == "True" && matches!(condition.type_.as_str(), "Complete" | "Failed" | "FailureTarget")
    });
    ends.next()
        .map(|condition| condition.reason.clone().unwrap_or_else(|| condition.type_.clone()))
}

/// The change that gives a Job so many workers, if it has not.
fn resized(job: &Job, wanted: i32) -> Option<serde_json::Value> {
    let spec = job.spec.as_ref();
    let parallelism = spec.and_then(|spec| spec.parallelism).unwrap_or(1);
    let completions = spec.and_then(|spec| spec.completions);
    if parallelism == wanted && (wanted == 0 || completions == Some(wanted)) {
        return None;
    }
    let version = job.resource_version();
    Some(if wanted == 0 {
        json!({"metadata": {"resourceVersion": version}, "spec": {"parallelism": 0}})
    } else {
        json!({"metadata": {"resourceVersion": version}, "spec": {"parallelism": wanted, "completions": wanted}})
    })
}

async fn delete(jobs: &Api<Job>, job: &Job) -> Result<(), ApiError> {
    let params = DeleteParams {
        preconditions: Some(Preconditions {
            uid: job.uid(),
            resource_version: None,
        }),
        propagation_policy: Some(PropagationPolicy::Background),
        ..DeleteParams::default()
    };
    match call("delete a Job of the pool", jobs.delete(&job.name_any(), &params)).await {
        Ok(_) | Err(ApiError::NotFound { .. }) => Ok(()),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests;
