//! What becomes of a run, as it happens: from a watch in a cluster, by looking again and again on this machine.

use std::{path::PathBuf, time::Duration};

use braid_crds::Workflow;
use futures::{Stream, StreamExt as _, future, stream, stream::BoxStream};
use kube::{
    ResourceExt as _,
    runtime::{WatchStreamExt as _, watcher},
};

use crate::{
    cluster::{self, ClusterError},
    exit::Failure,
    place::Remote,
    runs::{Run, RunError},
};

/// How often a run on this machine is looked at.
const LOOK: Duration = Duration::from_millis(200);

/// What is seen of a run.
#[derive(Debug)]
pub enum Sight {
    /// How it is now.
    Run(Box<Workflow>),
    /// How it is, and that no process runs it.
    Idle(Box<Workflow>),
    /// It cannot be seen now, and is looked for again.
    Trouble(String),
    /// It is there no more.
    Gone,
}

/// What is seen of a run. It does not end by itself; an error is final.
pub type Feed = BoxStream<'static, Result<Sight, Failure>>;

/// A run in a cluster, this object and no later one of its name. Lost connections and forgotten versions are no end.
pub fn there(remote: &Remote, uid: String) -> Feed {
    let config = watcher::Config::default()
        .fields(&format!("metadata.name={}", remote.name))
        .timeout(u32::try_from(cluster::WATCH.as_secs()).unwrap_or(60));
    let cluster = remote.cluster.clone();
    objects(watcher(remote.api(), config).default_backoff(), uid)
        .filter_map(move |seen| {
            let told = match seen {
                Ok(Some(workflow)) => Some(Ok(Sight::Run(workflow))),
                Ok(None) => Some(Ok(Sight::Gone)),
                Err(error) => trouble(&error, &cluster),
            };
            future::ready(told)
        })
        .boxed()
}

/// The object of this uid whenever it changes; `None` when it is gone.
fn objects(
    events: impl Stream<Item = watcher::Result<watcher::Event<Workflow>>> + Send + 'static,
    uid: String,
) -> impl Stream<Item = watcher::Result<Option<Box<Workflow>>>> + Send + 'static {
    let mut listed = false;
    events.filter_map(move |event| {
        let same = |workflow: &Workflow| workflow.uid().as_ref() == Some(&uid);
        let seen = match event {
            Ok(watcher::Event::Init) => {
                listed = false;
                None
            }
            Ok(watcher::Event::InitApply(workflow) | watcher::Event::Apply(workflow)) => {
                listed = same(&workflow);
                Some(Ok(listed.then(|| Box::new(workflow))))
            }
            Ok(watcher::Event::Delete(workflow)) => same(&workflow).then_some(Ok(None)),
            Ok(watcher::Event::InitDone) => (!listed).then_some(Ok(None)),
            Err(error) => Some(Err(error)),
        };
        future::ready(seen)
    })
}

/// What an error of a watch means; nothing, if the watch is merely begun anew.
fn trouble(error: &watcher::Error, cluster: &cluster::Cluster) -> Option<Result<Sight, Failure>> {
    let error = match error {
        watcher::Error::InitialListFailed(error)
        | watcher::Error::WatchStartFailed(error)
        | watcher::Error::WatchFailed(error) => {
            if matches!(error, kube::Error::Api(status) if status.code == 410) {
                return None;
            }
            cluster.explain(error)
        }
        watcher::Error::WatchError(status) if status.code == 410 => return None,
        watcher::Error::WatchError(status) => cluster.explain(&kube::Error::Api(status.clone())),
        other @ watcher::Error::NoResourceVersion => return Some(Ok(Sight::Trouble(other.to_string()))),
    };
    // A server that starts may not know our kinds yet.
    Some(if error.is_final() && !matches!(error, ClusterError::NotInstalled(_)) {
        Err(error.into())
    } else {
        Ok(Sight::Trouble(error.to_string()))
    })
}

/// The run on this machine whose state is in this directory.
pub fn here(directory: PathBuf) -> Feed {
    stream::unfold((directory, true), |(directory, first)| async move {
        if !first {
            tokio::time::sleep(LOOK).await;
        }
        let seen = match look(&directory).await {
            Ok(seen) => Ok(seen),
            Err(error @ RunError::Busy { .. }) => Ok(Sight::Trouble(error.to_string())),
            Err(RunError::NoState(_)) => Ok(Sight::Gone),
            Err(error) => Err(error.into()),
        };
        Some((seen, (directory, false)))
    })
    .boxed()
}

async fn look(directory: &std::path::Path) -> Result<Sight, RunError> {
    let run = Run::open(directory).await?;
    let running = run.is_running();
    let found = run.workflow().await;
    run.close().await?;
    match found {
        Ok(workflow) => Ok(if running {
            Sight::Run(Box::new(workflow))
        } else {
            Sight::Idle(Box::new(workflow))
        }),
        // It ended while it was asked: the next look reads what it left.
        Err(RunError::Api(error)) if running => Ok(Sight::Trouble(error.to_string())),
        Err(error) => Err(error),
    }
}
