//! What user code printed in a cluster: from the logs of its containers, where the shim prints it, tagged.
//!
//! Logs go with their pods. With `-f` new pods are looked for, a lost stream is taken up at its last line, and the end of the run
//! is the end, after a moment for the last lines.

use std::{collections::BTreeSet, time::Duration};

use braid_crds::{WorkerPool, Workflow};
use braid_operator::{jobs::WORKER, names, standing};
use braid_worker::runner::logs::Filter;
use futures::StreamExt as _;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::Pod;
use kube::{
    Api, ResourceExt as _,
    api::{ListParams, LogParams},
};
use tokio::{
    sync::mpsc::{Receiver, Sender, channel},
    task::JoinSet,
    time::{Instant, interval, sleep},
};

use super::{
    Style, filter, steps,
    tagged::{Parsed, Tagged, is_wanted, next_line, parse, stamped},
};
use crate::{
    args::LogsArgs,
    attend::{self, Sight},
    cluster::{Cluster, ClusterError},
    exit::{Exit, Failure},
    out::{self, Reader},
    place::Remote,
    progress,
};

/// How often new pods are looked for.
const LOOK: Duration = Duration::from_secs(2);
/// Between two tries to take up a stream.
const AGAIN: Duration = Duration::from_secs(1);
/// How long last lines may take after the end of the run.
const LAST: Duration = Duration::from_secs(3);
/// Pods that are followed at once.
const STREAMS: usize = 200;
/// Lines that wait to be printed.
const LINES: usize = 1000;
/// Pods that the server gives at once.
const PAGE: u32 = 200;

/// What is asked for.
#[derive(Clone)]
struct Asked {
    run: String,
    /// The pods of a run's own pools and of the standing ones that it names.
    places: Vec<Place>,
    steps: Vec<String>,
    filter: Filter,
}

/// Where pods are.
#[derive(Clone)]
struct Place {
    namespace: String,
    /// As a selector of labels.
    selector: String,
}

/// Prints logs.
pub async fn logs(args: &LogsArgs, remote: &Remote) -> Result<Exit, Failure> {
    let workflow = remote.workflow().await?;
    let run = workflow.uid().unwrap_or_default();
    let asked = Asked {
        places: places(&remote.cluster, &workflow).await?,
        run,
        steps: steps(args, &workflow)?.into_iter().map(str::to_owned).collect(),
        filter: filter(args),
    };
    if args.follow && !attend::has_finished(&workflow) {
        Box::pin(follow(remote, &workflow, asked)).await
    } else {
        print_all(&remote.cluster, &asked).await
    }
}

/// Where a run has pods.
async fn places(cluster: &Cluster, workflow: &Workflow) -> Result<Vec<Place>, ClusterError> {
    let mut places = vec![Place {
        namespace: cluster.namespace.clone(),
        selector: format!("{}={}", names::WORKFLOW_UID, workflow.uid().unwrap_or_default()),
    }];
    for pool in standing::references(workflow) {
        let api: Api<WorkerPool> = cluster.api_in(&pool.namespace);
        match cluster.call(api.get(&pool.name)).await {
            Ok(found) => places.push(Place {
                selector: format!("{}={}", names::POOL_UID, found.uid().unwrap_or_default()),
                namespace: pool.namespace,
            }),
            Err(ClusterError::NotFound(_)) => {
                progress::say(&format!(
                    "braid: there is no WorkerPool {pool} now, nor logs of its pods"
                ));
            }
            // The run may have other workers, too.
            Err(ClusterError::Forbidden(why)) if pool.namespace != cluster.namespace => {
                progress::say(&format!("braid: {}", elsewhere(&pool.namespace, &why)));
            }
            Err(error) => return Err(error),
        }
    }
    Ok(places)
}

/// What a user has to be told who may not look into the namespace of a pool.
fn elsewhere(namespace: &str, why: &str) -> String {
    format!(
        "workers of this run are in the namespace {namespace}, and their logs need the rights there to get workerpools, list pods and get \
         pods/log: {}",
        crate::text::clean(why, 300)
    )
}

/// The pods of a run, and those of standing pools that it shares.
async fn pods(cluster: &Cluster, places: &[Place]) -> Result<Vec<Pod>, ClusterError> {
    let mut found = Vec::new();
    for Place { namespace, selector } in places {
        let api: Api<Pod> = cluster.api_in(namespace);
        let mut params = ListParams::default().labels(selector).limit(PAGE);
        loop {
            let page = match cluster.call(api.list(&params)).await {
                Err(ClusterError::Forbidden(why)) if *namespace != cluster.namespace => {
                    return Err(ClusterError::Forbidden(elsewhere(namespace, &why)));
                }
                page => page?,
            };
            found.extend(page.items);
            match page.metadata.continue_.filter(|token| !token.is_empty()) {
                Some(token) => params = params.continue_token(&token),
                None => break,
            }
        }
    }
    found.sort_by_key(Pod::name_any);
    Ok(found)
}

/// The pods of the namespace of one.
fn beside(cluster: &Cluster, pod: &Pod) -> Api<Pod> {
    cluster.api_in(pod.metadata.namespace.as_ref().unwrap_or(&cluster.namespace))
}

/// The container on whose output the lines are: of pods that do not say, as of an older operator, the worker's.
fn container(pod: &Pod) -> String {
    let named = pod.annotations().get(names::LINES);
    named.cloned().unwrap_or_else(|| WORKER.to_owned())
}

fn params(container: &str, follow: bool, since: Option<Timestamp>) -> LogParams {
    LogParams {
        container: Some(container.to_owned()),
        follow,
        timestamps: follow,
        since_time: since,
        ..LogParams::default()
    }
}

/// What is there now, one pod after the other.
async fn print_all(cluster: &Cluster, asked: &Asked) -> Result<Exit, Failure> {
    let style = Style::of_stdout();
    let pods_found = pods(cluster, &asked.places).await?;
    if pods_found.is_empty() {
        progress::say("braid: the run has no pods now; logs go with their pods");
    }
    for pod in &pods_found {
        let (api, name) = (beside(cluster, pod), pod.name_any());
        let mut reader = match cluster
            .call(api.log_stream(&name, &params(&container(pod), false, None)))
            .await
        {
            Ok(reader) => Box::pin(reader),
            Err(ClusterError::NotFound(_)) => continue,
            // It has not begun, as the server says in its own words.
            Err(ClusterError::Refused(why)) => {
                note(&name, &why);
                continue;
            }
            Err(error) => return Err(error.into()),
        };
        let mut lines = Vec::new();
        loop {
            let line = cluster.in_time(next_line(&mut reader)).await?;
            let done = line.is_none();
            match line.as_deref().map_or(Parsed::Other, parse) {
                Parsed::Line(tagged) if is_wanted(&tagged, &asked.run, &asked.steps, asked.filter) => {
                    lines.push(style.line(&tagged.step, &tagged.record));
                }
                Parsed::Lost(count) => note_lost(&name, count),
                Parsed::Line(_) | Parsed::Other => {}
            }
            if lines.len() >= LINES || (done && !lines.is_empty()) {
                if out::lines(&lines)? == Reader::Gone {
                    return Ok(Exit::Succeeded);
                }
                lines.clear();
            }
            if done {
                break;
            }
        }
    }
    Ok(Exit::Succeeded)
}

fn note(pod: &str, text: &str) {
    progress::say(&format!("braid: pod {pod}: {}", crate::text::clean(text, 300)));
}

fn note_lost(pod: &str, count: u64) {
    note(
        pod,
        &format!("{count} lines are missing here: they came faster than its log was read"),
    );
}

/// What is there and what comes, until the run ends.
async fn follow(remote: &Remote, workflow: &Workflow, asked: Asked) -> Result<Exit, Failure> {
    let uid = workflow.uid().unwrap_or_default();
    let mut feed = attend::there(remote, uid.clone());
    let (sender, mut lines) = channel(LINES);
    let style = Style::of_stdout();
    let mut readers = JoinSet::new();
    let mut known = BTreeSet::new();
    let mut looks = interval(LOOK);
    looks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut full = false;
    let mut end: Option<Instant> = None;
    loop {
        let over = async {
            match end {
                Some(end) => tokio::time::sleep_until(end).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            biased;
            Some(first) = lines.recv() => {
                if print(style, &first, &mut lines)? == Reader::Gone {
                    return Ok(Exit::Succeeded);
                }
            }
            () = over => return Ok(Exit::Succeeded),
            Some(_) = readers.join_next() => {
                if end.is_some() && readers.is_empty() {
                    end = Some(Instant::now());
                }
            }
            seen = feed.next(), if end.is_none() => match seen {
                Some(Ok(Sight::Run(workflow))) if !attend::has_finished(&workflow) => {}
                Some(Ok(Sight::Trouble(text))) => tracing::debug!(text, "the run cannot be seen"),
                Some(Err(error)) => return Err(error),
                // It has ended or is gone.
                _ => {
                    start(&remote.cluster, &mut known, &mut readers, &sender, &asked, &mut full).await?;
                    end = Some(Instant::now() + LAST);
                }
            },
            _ = looks.tick(), if end.is_none() => {
                let started = start(&remote.cluster, &mut known, &mut readers, &sender, &asked, &mut full).await;
                match started {
                    Err(error) if error.is_final() => return Err(error.into()),
                    Err(error) => tracing::debug!(%error, "the pods cannot be listed"),
                    Ok(()) => {}
                }
            }
        }
    }
}

/// Prints a line and those that wait behind it.
fn print(style: Style, first: &Tagged, waiting: &mut Receiver<Tagged>) -> Result<Reader, Failure> {
    let mut texts = vec![style.line(&first.step, &first.record)];
    while texts.len() < LINES
        && let Ok(tagged) = waiting.try_recv()
    {
        texts.push(style.line(&tagged.step, &tagged.record));
    }
    out::lines(&texts)
}

/// Begins to read the logs of pods that are new.
async fn start(
    cluster: &Cluster,
    known: &mut BTreeSet<String>,
    readers: &mut JoinSet<()>,
    lines: &Sender<Tagged>,
    asked: &Asked,
    full: &mut bool,
) -> Result<(), ClusterError> {
    for pod in pods(cluster, &asked.places).await? {
        let pod_uid = pod.uid().unwrap_or_default();
        if known.contains(&pod_uid) {
            continue;
        }
        if readers.len() >= STREAMS {
            if !*full {
                progress::say(&format!("braid: only {STREAMS} pods are followed at once"));
            }
            *full = true;
            break;
        }
        known.insert(pod_uid);
        readers.spawn(read(cluster.clone(), pod, lines.clone(), asked.clone()));
    }
    Ok(())
}

/// Reads the log of a pod until the pod has ended, taking it up again where it was lost.
async fn read(cluster: Cluster, pod: Pod, lines: Sender<Tagged>, asked: Asked) {
    let (api, uid, container) = (beside(&cluster, &pod), pod.uid(), container(&pod));
    let pod = pod.name_any();
    let mut last: Option<Timestamp> = None;
    loop {
        match cluster
            .call(api.log_stream(&pod, &params(&container, true, last)))
            .await
        {
            Ok(reader) => {
                let mut reader = Box::pin(reader);
                let before = last;
                // The connection's own limit ends a read that nothing comes of.
                while let Ok(Some(line)) = next_line(&mut reader).await {
                    let Some((time, text)) = stamped(&line) else { continue };
                    // The server knows whole seconds only.
                    if before.is_some_and(|before| time <= before) {
                        continue;
                    }
                    last = Some(time);
                    match parse(text) {
                        Parsed::Line(tagged) if is_wanted(&tagged, &asked.run, &asked.steps, asked.filter) => {
                            if lines.send(tagged).await.is_err() {
                                return;
                            }
                        }
                        Parsed::Lost(count) => note_lost(&pod, count),
                        Parsed::Line(_) | Parsed::Other => {}
                    }
                }
            }
            Err(ClusterError::NotFound(_)) => return,
            Err(ClusterError::Forbidden(why)) => {
                note(&pod, &why);
                return;
            }
            // Its container has not begun yet, or the server is away.
            Err(error) => tracing::debug!(%error, pod, "no log now"),
        }
        match cluster.call(api.get(&pod)).await {
            Err(ClusterError::NotFound(_)) => return,
            Ok(now) => {
                let phase = now.status.as_ref().and_then(|status| status.phase.as_deref());
                let ended = matches!(phase, Some("Succeeded" | "Failed"));
                if now.uid() != uid || (ended && last.is_some()) {
                    return;
                }
            }
            Err(error) => tracing::debug!(%error, pod, "it cannot be looked at"),
        }
        sleep(AGAIN).await;
    }
}
