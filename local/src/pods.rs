//! Pods as tasks of this process.
//!
//! What a pod does is the caller's [`Body`]: a future that runs until it is cancelled. Each pod is owned here: cancelled, given
//! time to drain, aborted if it does not end, and always joined. A body that ends without having been asked to is a pod that
//! died.

use std::{
    collections::BTreeMap,
    future::Future,
    pin::Pin,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll, Waker},
    time::Duration,
};

use braid_engine::scale;
use braid_operator::{
    names,
    pods::{PodError, PodSource, PodState, PodView, Pods, PoolRef},
};
use futures::future::BoxFuture;
use tokio::{runtime::Handle, sync::watch, task::AbortHandle};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

/// How long a stopped pod may drain before it is aborted.
const DRAIN: Duration = Duration::from_secs(20);

/// What a pod does until it is cancelled.
pub type Body = Arc<dyn Fn(PodView, CancellationToken) -> BoxFuture<'static, Result<(), String>> + Send + Sync>;

/// Pods of this process.
pub struct LocalPods {
    body: Body,
    pods: Arc<Mutex<BTreeMap<String, Pod>>>,
    views: watch::Sender<Pods>,
    tasks: TaskTracker,
    /// Where pods run: they outlive the operator that asked for them, which may have a runtime of its own.
    runtime: Handle,
    closed: AtomicBool,
}

struct Pod {
    view: PodView,
    stop: CancellationToken,
    task: Option<AbortHandle>,
    gate: Arc<Gate>,
}

impl LocalPods {
    /// No pods yet; they will run on the current runtime.
    ///
    /// # Panics
    /// Outside a runtime.
    pub fn new(body: Body) -> Self {
        Self {
            body,
            pods: Arc::default(),
            views: watch::Sender::new(Pods {
                synced: true,
                pods: Vec::new(),
            }),
            tasks: TaskTracker::new(),
            runtime: Handle::current(),
            closed: AtomicBool::new(false),
        }
    }

    /// The uids of the live pods.
    pub fn alive(&self) -> Vec<String> {
        let pods = self.pods.lock().unwrap_or_else(PoisonError::into_inner);
        pods.values()
            .filter(|pod| pod.view.state == PodState::Alive)
            .map(|pod| pod.view.uid.clone())
            .collect()
    }

    /// Aborts a pod at its next await, as a crash would end it.
    pub fn kill(&self, uid: &str) {
        let pods = self.pods.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(pod) = pods.get(uid) {
            pod.gate.set(false);
            if let Some(task) = &pod.task {
                task.abort();
            }
        }
    }

    /// Stops a pod from making any progress, as SIGSTOP would, or lets it go on.
    pub fn pause(&self, uid: &str, paused: bool) {
        let pods = self.pods.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(pod) = pods.get(uid) {
            pod.gate.set(paused);
        }
    }

    /// Ends all pods and waits for them. No pod is started any more.
    pub async fn shutdown(&self) {
        let stops: Vec<CancellationToken> = {
            let pods = self.pods.lock().unwrap_or_else(PoisonError::into_inner);
            self.closed.store(true, Ordering::SeqCst);
            pods.values()
                .map(|pod| (pod.gate.set(false), pod.stop.clone()).1)
                .collect()
        };
        stops.iter().for_each(CancellationToken::cancel);
        self.tasks.close();
        if tokio::time::timeout(DRAIN, self.tasks.wait()).await.is_err() {
            let pods = self.pods.lock().unwrap_or_else(PoisonError::into_inner);
            pods.values()
                .filter_map(|pod| pod.task.as_ref())
                .for_each(AbortHandle::abort);
        }
        self.tasks.wait().await;
    }

    fn start(&self, pool: &PoolRef) {
        let id: u32 = rand::random();
        let view = PodView {
            name: format!("{}-{:05x}", pool.name, id & 0xf_ffff),
            namespace: pool.namespace.clone(),
            uid: format!("{:032x}", rand::random::<u128>()),
            pool_uid: pool.uid.clone(),
            class: if pool.standing {
                names::class(&pool.class)
            } else {
                String::new()
            },
            state: PodState::Alive,
        };
        let (stop, gate) = (CancellationToken::new(), Arc::new(Gate::default()));
        let body = Gated {
            gate: gate.clone(),
            inner: (self.body)(view.clone(), stop.clone()),
        };
        let uid = view.uid.clone();
        let pod = Pod {
            view,
            stop: stop.clone(),
            task: None,
            gate,
        };
        let running = {
            let mut pods = self.pods.lock().unwrap_or_else(PoisonError::into_inner);
            if self.closed.load(Ordering::SeqCst) {
                return;
            }
            let running = self.tasks.spawn_on(body, &self.runtime);
            let task = Some(running.abort_handle());
            pods.insert(uid.clone(), Pod { task, ..pod });
            running
        };
        let (pods, views) = (self.pods.clone(), self.views.clone());
        let watching = async move {
            let state = match running.await {
                Ok(Ok(())) => PodState::Stopped,
                Ok(Err(error)) if stop.is_cancelled() => {
                    tracing::debug!(pod = uid, error, "a worker did not end cleanly");
                    PodState::Stopped
                }
                Ok(Err(error)) => {
                    tracing::warn!(pod = uid, error, "a worker ended by itself");
                    PodState::Died
                }
                Err(_) if stop.is_cancelled() => PodState::Stopped,
                Err(error) => {
                    tracing::warn!(pod = uid, %error, "a worker died");
                    PodState::Died
                }
            };
            if let Some(pod) = pods.lock().unwrap_or_else(PoisonError::into_inner).get_mut(&uid) {
                pod.view.state = state;
            }
            tell(&pods, &views);
        };
        self.tasks.spawn_on(watching, &self.runtime);
    }
}

fn tell(pods: &Mutex<BTreeMap<String, Pod>>, views: &watch::Sender<Pods>) {
    let pods = pods.lock().unwrap_or_else(PoisonError::into_inner);
    let now: Vec<PodView> = pods.values().map(|pod| pod.view.clone()).collect();
    // Under the lock, so that an older list never follows a newer one.
    views.send_if_modified(|known| {
        let changed = known.pods != now;
        if changed {
            known.pods = now;
        }
        changed
    });
}

impl PodSource for LocalPods {
    fn scale<'a>(
        &'a self,
        pool: &'a PoolRef,
        wanted: usize,
        forget: &'a [String],
    ) -> BoxFuture<'a, Result<String, PodError>> {
        let class = names::class(&pool.class);
        let (new, old): (Vec<String>, Vec<String>) = {
            let mut pods = self.pods.lock().unwrap_or_else(PoisonError::into_inner);
            pods.retain(|uid, pod| pod.view.state == PodState::Alive || !forget.contains(uid));
            let mine = pods.values().filter(|pod| {
                pod.view.pool_uid == pool.uid && pod.view.state == PodState::Alive && !pod.stop.is_cancelled()
            });
            let (new, old): (Vec<&Pod>, Vec<&Pod>) = mine.partition(|pod| !pool.standing || pod.view.class == class);
            let uids = |pods: Vec<&Pod>| pods.into_iter().map(|pod| pod.view.uid.clone()).collect();
            (uids(new), uids(old))
        };
        let turn = scale::turn(wanted as u64, new.len() as u64, old.len() as u64);
        let count = |count: u64| usize::try_from(count).unwrap_or(usize::MAX);
        let fresh = if old.is_empty() { wanted } else { count(turn.new) };
        for _ in new.len()..fresh {
            self.start(pool);
        }
        for uid in new.iter().skip(wanted).chain(old.iter().skip(count(turn.old))) {
            if let Some(pod) = self.pods.lock().unwrap_or_else(PoisonError::into_inner).get(uid) {
                pod.stop.cancel();
            }
        }
        tell(&self.pods, &self.views);
        Box::pin(std::future::ready(Ok(String::new())))
    }

    fn watch(&self) -> watch::Receiver<Pods> {
        self.views.subscribe()
    }
}

/// Whether a pod may make progress.
#[derive(Default)]
struct Gate {
    closed: AtomicBool,
    waiting: Mutex<Option<Waker>>,
}

impl Gate {
    fn set(&self, closed: bool) {
        self.closed.store(closed, Ordering::SeqCst);
        if !closed && let Some(waker) = self.waiting.lock().unwrap_or_else(PoisonError::into_inner).take() {
            waker.wake();
        }
    }
}

/// A future that is polled only while its gate is open.
struct Gated {
    gate: Arc<Gate>,
    inner: BoxFuture<'static, Result<(), String>>,
}

impl Future for Gated {
    type Output = Result<(), String>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        *self.gate.waiting.lock().unwrap_or_else(PoisonError::into_inner) = Some(context.waker().clone());
        if self.gate.closed.load(Ordering::SeqCst) {
            return Poll::Pending;
        }
        self.inner.as_mut().poll(context)
    }
}

#[cfg(test)]
mod tests;
