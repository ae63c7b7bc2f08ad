//! The worker's object: what is asked of the API server, what it answers, and what a watch shows.

use std::time::Duration;

use braid_crds::Worker;
use braid_engine::protocol::{
    wire::{self, Braid},
    worker::{Event, Sheet, Version},
};
use futures::{FutureExt as _, future::BoxFuture};
use tokio::time::Instant;

use super::{super::WorkerError, Session};
use crate::desk::{Written, pause, status_of, version_of};

/// The answer to a request.
#[derive(Debug)]
pub(in crate::task) enum Answer {
    Written(Written),
    Read(Option<Box<Worker>>),
}

/// How a state of the object came to be known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Sight {
    Watched,
    Stored,
    Read,
}

/// A request under way, if there is one.
#[derive(Default)]
pub(in crate::task) struct Request(Option<BoxFuture<'static, Answer>>);

impl Request {
    fn new(request: impl Future<Output = Answer> + Send + 'static) -> Self {
        Self(Some(request.boxed()))
    }

    /// Its answer; never, if there is none. Cancel-safe.
    pub(in crate::task) async fn answer(&mut self) -> Answer {
        match &mut self.0 {
            Some(request) => {
                let answer = request.await;
                self.0 = None;
                answer
            }
            None => std::future::pending().await,
        }
    }
}

impl Session {
    /// Writes the status.
    pub(super) fn put(&mut self, version: Version, sheet: &Sheet<Braid>) {
        let (Some((stored, worker)), Some((_, desk))) = (&self.newest, self.machine.desk()) else {
            return;
        };
        debug_assert_eq!(*stored, version, "the machine and the session know the same object");
        let mut worker = worker.clone();
        worker.status = Some(status_of(sheet, &worker, desk, self.tally.tell(Instant::now())));
        worker.metadata.managed_fields = None;
        // The first time what is stored has just been read, which was a wait: most often the operator wrote first.
        let (desk, wait) = (self.desk.clone(), pause(self.doubts.saturating_sub(1)));
        self.request = Request::new(async move {
            tokio::time::sleep(wait).await;
            Answer::Written(desk.put(worker).await)
        });
    }

    /// Takes note of an answer.
    pub(in crate::task) fn answered(&mut self, answer: Answer) -> Result<(), WorkerError> {
        match answer {
            Answer::Read(None) => self.gone = true,
            Answer::Read(Some(worker)) => self.observe(*worker, Sight::Read),
            Answer::Written(Written::Stored(worker)) => {
                self.doubts = 0;
                self.refused = None;
                self.pulse.committed();
                self.observe(*worker, Sight::Stored);
            }
            Answer::Written(Written::Doubtful) => {
                self.doubts = self.doubts.saturating_add(1);
                self.event(Event::Doubtful);
            }
            Answer::Written(Written::Refused(message)) => {
                tracing::error!(worker = %self.identity.name, message, "a commit was refused");
                let sends = self.machine.progress().next().is_some();
                if self.refused.is_some() || !sends {
                    return Err(WorkerError::Refused {
                        name: self.identity.name.clone(),
                        message,
                    });
                }
                self.refused = Some(message);
                self.event(Event::Refused);
            }
        }
        Ok(())
    }

    /// A watch shows a state of the object.
    pub(in crate::task) fn seen(&mut self, worker: Option<Worker>) {
        match worker {
            Some(worker) => self.observe(worker, Sight::Watched),
            // A list may be older than what is known: ask, if there was an object.
            None if self.uid.is_some() => self.probe = self.read_after(Duration::ZERO),
            None => {}
        }
    }

    fn observe(&mut self, worker: Worker, sight: Sight) {
        if worker.spec.pod_uid != self.identity.pod_uid {
            // Of a pod of this name that was before us: the operator replaces it.
            self.gone = self.uid.is_some();
            return;
        }
        let uid = worker.metadata.uid.clone().unwrap_or_default();
        if self.uid.as_ref().is_some_and(|known| *known != uid) {
            self.gone = true;
            return;
        }
        let Some(version) = version_of(&worker) else {
            tracing::error!(worker = %self.identity.name, "the object's resourceVersion is not a number");
            return;
        };
        let desk = match wire::desk(&worker) {
            Ok(desk) => desk,
            Err(error) => {
                tracing::error!(worker = %self.identity.name, %error, "the Worker object does not read; waiting for a better one");
                return self.unreadable(sight);
            }
        };
        self.uid = Some(uid);
        if self.newest.as_ref().is_none_or(|(known, _)| *known < version) {
            self.runs
                .update(&worker.spec, self.options.kill_grace, &self.options.ground, &self.start);
            let spec = &worker.spec;
            self.attempts
                .keep_shards(|id| spec.shards.iter().any(|shard| shard.id == id));
            self.newest = Some((version, worker));
        }
        self.event(match sight {
            Sight::Watched => Event::Seen(version, desk),
            Sight::Stored => Event::Stored(version, desk),
            Sight::Read => Event::Read(version, desk),
        });
        self.spans
            .note(&self.runs, &self.identity.name, self.machine.progress());
    }

    /// An answer that cannot be understood is no answer: the object is read again, later.
    fn unreadable(&mut self, sight: Sight) {
        self.doubts = self.doubts.saturating_add(1);
        match sight {
            Sight::Watched => {}
            Sight::Stored => self.event(Event::Doubtful),
            Sight::Read => self.request = self.read_after(pause(self.doubts)),
        }
    }

    /// Reads the object, after a wait.
    pub(super) fn read_after(&self, wait: Duration) -> Request {
        let desk = self.desk.clone();
        Request::new(async move {
            tokio::time::sleep(wait).await;
            Answer::Read(desk.read().await.map(Box::new))
        })
    }
}
