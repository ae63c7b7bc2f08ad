//! What is known of pods: events of their watches in, how they are out. No client, no clock.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{ContainerStatus, Pod};
use kube::{ResourceExt as _, runtime::watcher::Event};

use super::template::{MAIN, WORKER};
use crate::{
    names,
    pods::{PodState, PodView, Pods},
};

/// The label that names the Job of a pod.
const JOB: &str = "batch.kubernetes.io/job-name";
/// The exit code of a shim that was asked to end: that of a process that TERM has ended.
const ENDED: i32 = 143;

/// Reasons in a pod's status that are nobody's fault: it was in the way, or its node went.
const STOPPED: [&str; 7] = [
    "Evicted",
    "Preempting",
    "NodeLost",
    "NodeShutdown",
    "Shutdown",
    "Terminated",
    "NodeAffinity",
];

/// Bytes of the words of a node or a registry that are passed on.
const WORDS: usize = 300;

/// All pods of all pools, from one or several watches.
#[derive(Debug)]
pub struct PodIndex {
    pods: BTreeMap<String, Known>,
    sources: Vec<Source>,
}

#[derive(Debug)]
struct Known {
    view: PodView,
    /// The name of its Job.
    job: String,
    ready: bool,
    trouble: Option<String>,
    source: usize,
    /// In which of its watch's lists it was last seen.
    list: u64,
}

#[derive(Debug, Default)]
struct Source {
    synced: bool,
    list: u64,
}

impl PodIndex {
    /// Of so many watches, none of which has said anything.
    #[must_use]
    pub fn new(sources: usize) -> Self {
        Self {
            pods: BTreeMap::new(),
            sources: (0..sources).map(|_| Source::default()).collect(),
        }
    }

    /// Takes an event of a watch.
    pub fn take(&mut self, source: usize, event: Event<Pod>) {
        match event {
            Event::Init => {
                if let Some(source) = self.sources.get_mut(source) {
                    source.list += 1;
                }
            }
            Event::InitApply(pod) | Event::Apply(pod) => self.apply(source, &pod),
            Event::InitDone => {
                if let Some(known) = self.sources.get_mut(source) {
                    known.synced = true;
                    let list = known.list;
                    self.pods.retain(|_, pod| pod.source != source || pod.list == list);
                }
            }
            Event::Delete(pod) => {
                self.pods.remove(&names::uid(&pod));
            }
        }
    }

    fn apply(&mut self, source: usize, pod: &Pod) {
        let (Some(uid), Some(pool_uid)) = (pod.uid(), pod.labels().get(names::POOL_UID)) else {
            return;
        };
        let view = PodView {
            name: pod.name_any(),
            namespace: pod.namespace().unwrap_or_default(),
            uid: uid.clone(),
            pool_uid: pool_uid.clone(),
            class: pod.labels().get(names::POD_CLASS).cloned().unwrap_or_default(),
            state: state(pod),
        };
        let job = pod.labels().get(JOB).cloned().unwrap_or_default();
        let list = self.sources.get(source).map_or(0, |source| source.list);
        let trouble = (view.state == PodState::Alive).then(|| trouble(pod)).flatten();
        self.pods.insert(
            uid,
            Known {
                view,
                job,
                ready: is_ready(pod),
                trouble,
                source,
                list,
            },
        );
    }

    /// How all pods are.
    #[must_use]
    pub fn pods(&self) -> Pods {
        Pods {
            synced: self.sources.iter().all(|source| source.synced),
            pods: self.pods.values().map(|known| known.view.clone()).collect(),
        }
    }

    /// For each Job how many pods it has, and how many of them are ready: by the pool's uid and the Job's name.
    #[must_use]
    pub fn jobs(&self) -> BTreeMap<(String, String), Crew> {
        let mut jobs: BTreeMap<(String, String), Crew> = BTreeMap::new();
        for known in self.pods.values().filter(|known| known.view.state == PodState::Alive) {
            let crew = jobs
                .entry((known.view.pool_uid.clone(), known.job.clone()))
                .or_default();
            crew.pods += 1;
            crew.ready += u64::from(known.ready);
        }
        jobs
    }

    /// Why pods do not start: a pool's uid and the words.
    #[must_use]
    pub fn troubles(&self) -> Vec<(String, String)> {
        let troubles = self.pods.values();
        troubles
            .filter_map(|known| Some((known.view.pool_uid.clone(), known.trouble.clone()?)))
            .collect()
    }
}

/// The pods of a Job that are not ending.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Crew {
    /// All.
    pub pods: u64,
    /// Those whose containers run.
    pub ready: u64,
}

fn is_ready(pod: &Pod) -> bool {
    let conditions = pod.status.iter().flat_map(|status| status.conditions.iter().flatten());
    conditions
        .into_iter()
        .any(|condition| condition.type_ == "Ready" && condition.status == "True")
}

/// How a pod is, by what its node and the control plane say of it.
fn state(pod: &Pod) -> PodState {
    let status = pod.status.as_ref();
    let disrupted = status
        .and_then(|status| status.conditions.as_ref())
        .is_some_and(|conditions| {
            conditions
                .iter()
                .any(|condition| condition.type_ == "DisruptionTarget" && condition.status == "True")
        });
    let reason = status.and_then(|status| status.reason.as_deref()).unwrap_or_default();
    let ending = disrupted || pod.metadata.deletion_timestamp.is_some() || STOPPED.contains(&reason);
    let main = container(pod, MAIN).and_then(|main| main.state.as_ref()?.terminated.clone());
    let phase = status.and_then(|status| status.phase.as_deref()).unwrap_or_default();
    match (main, phase) {
        // What the container ended with counts more than why the pod goes: it may have been killed for its memory first.
        (Some(main), _) if main.reason.as_deref() == Some("OOMKilled") => PodState::Died,
        (Some(main), _) if !ending && main.exit_code != ENDED => PodState::Died,
        (Some(_), _) | (None, "Succeeded") => PodState::Stopped,
        (None, "Failed") if ending => PodState::Stopped,
        (None, "Failed") => PodState::Died,
        (None, _) if ending => PodState::Ending,
        (None, _) => PodState::Alive,
    }
}

fn container<'a>(pod: &'a Pod, name: &str) -> Option<&'a ContainerStatus> {
    let status = pod.status.as_ref()?;
    let all = status.init_container_statuses.iter().flatten();
    all.chain(status.container_statuses.iter().flatten())
        .find(|container| container.name == name)
}

/// Why a pod does not start, in the words of the scheduler or of its node.
fn trouble(pod: &Pod) -> Option<String> {
    let status = pod.status.as_ref()?;
    let name = pod.name_any();
    let unscheduled = status
        .conditions
        .iter()
        .flatten()
        .find(|condition| condition.type_ == "PodScheduled" && condition.status == "False");
    if let Some(condition) = unscheduled {
        let reason = condition.reason.as_deref().unwrap_or("Unscheduled");
        let words = condition.message.as_deref().unwrap_or_default();
        return Some(cut(format!("{reason}: {name}: {words}")));
    }
    let init = status.init_container_statuses.iter().flatten();
    let mut all = init.chain(status.container_statuses.iter().flatten());
    all.find_map(|container| {
        let waiting = container.state.as_ref()?.waiting.as_ref()?;
        let reason = waiting.reason.as_deref()?;
        // On their way.
        if matches!(reason, "PodInitializing" | "ContainerCreating") {
            return None;
        }
        let what = match container.name.as_str() {
            MAIN | WORKER => container.name.clone(),
            other => format!("container {other}"),
        };
        let words = waiting.message.as_deref().unwrap_or_default();
        Some(cut(format!("{reason}: {name}, {what}: {words}")))
    })
}

fn cut(mut words: String) -> String {
    let end = (0..=WORDS).rev().find(|at| words.is_char_boundary(*at)).unwrap_or(0);
    if words.len() > end {
        words.truncate(end);
    }
    words.trim_end_matches([':', ' ']).to_owned()
}
