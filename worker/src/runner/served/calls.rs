//! A service's side of HTTP: which requests are on their way, and what follows from their replies.

use std::collections::HashMap;
use std::io;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::task::{Id, JoinError, JoinSet};
use tokio::time::Instant;

use super::held::{Cause, Stage};
use super::http::{Reply, Target, free_port};
use super::{Io, Service};
use crate::frames::FrameError;
use crate::runner::{Attempt, AttemptId, Ending, Failure, Http, Program};

/// The longest wait that a reply can ask for; a longer one is cut.
const LONGEST_WAIT: Duration = Duration::from_mins(5);
/// The wait if a reply does not say how long; it doubles with each.
const FIRST_WAIT: Duration = Duration::from_secs(1);
/// An attempt that has waited for so long in all has failed.
const WAITED: Duration = Duration::from_hours(1);
/// After a connection broke, the end of the process is waited for so long: it says more.
const LINGER: Duration = Duration::from_secs(1);

/// What a task has found.
#[derive(Debug)]
pub(in crate::runner) enum Called {
    /// Whether the process became ready.
    Ready(Result<(), String>),
    /// What a request came to.
    Reply(AttemptId, Reply),
}

/// The requests to a program.
#[derive(Debug)]
pub(super) struct Calls {
    http: Http,
    /// The program's port is its own.
    alone: bool,
    target: Option<Arc<Target>>,
    ready: bool,
    /// Whether anybody waits for it to be ready.
    asked: bool,
    tasks: JoinSet<Called>,
    /// The attempts of tasks.
    asks: HashMap<Id, AttemptId>,
    /// Nothing is asked before.
    rest_until: Option<Instant>,
}

impl Calls {
    pub(super) fn new(http: Http, alone: bool) -> Self {
        Self {
            http,
            alone,
            target: None,
            ready: false,
            asked: false,
            tasks: JoinSet::new(),
            asks: HashMap::new(),
            rest_until: None,
        }
    }

    /// Chooses the port of the next process.
    pub(super) fn listen(&mut self) -> io::Result<u16> {
        let port = match self.http.port {
            Some(port) if self.alone => port,
            _ => free_port()?,
        };
        self.target = Some(Arc::new(Target::new(self.http.clone(), port)));
        Ok(port)
    }

    /// Lets go of a process that has ended. Whether it had been ready.
    pub(super) fn close(&mut self) -> bool {
        self.target = None;
        self.asked = false;
        // Dropped, which ends its tasks; they wait for nothing but the process.
        self.tasks = JoinSet::new();
        self.asks.clear();
        std::mem::take(&mut self.ready)
    }

    pub(super) fn ask(&mut self, id: AttemptId, attempt: &Arc<Attempt>, program: &Arc<Program>) {
        let Some(target) = self.target.clone() else { return };
        let (attempt, program) = (Arc::clone(attempt), Arc::clone(program));
        let task = self
            .tasks
            .spawn(async move { Called::Reply(id, target.call(&attempt, &program).await) });
        self.asks.insert(task.id(), id);
    }

    fn wait_until_ready(&mut self) {
        let Some(target) = self.target.clone().filter(|_| !self.asked) else {
            return;
        };
        self.asked = true;
        self.tasks.spawn(async move { Called::Ready(target.ready().await) });
    }

    /// The attempt, and what became of its task.
    fn told(&mut self, done: Result<(Id, Called), JoinError>) -> Option<Called> {
        match done {
            Ok((task, called)) => {
                self.asks.remove(&task);
                Some(called)
            }
            Err(error) => {
                let id = self.asks.remove(&error.id())?;
                tracing::error!(%error, "a request broke");
                Some(Called::Reply(id, Reply::Broken("the request broke".to_owned())))
            }
        }
    }
}

impl Service {
    /// Waits for the next reply. Nothing is lost if this is not called again.
    pub(in crate::runner) fn poll_reply(&mut self, context: &mut Context<'_>) -> Poll<Called> {
        let Some(calls) = &mut self.calls else {
            return Poll::Pending;
        };
        match calls.tasks.poll_join_next_with_id(context) {
            Poll::Ready(Some(done)) => calls.told(done).map_or(Poll::Pending, Poll::Ready),
            Poll::Ready(None) | Poll::Pending => Poll::Pending,
        }
    }

    /// Takes what has come.
    pub(super) fn collect(&mut self, io: &mut Io<'_>) -> Result<(), FrameError> {
        while let Some(calls) = &mut self.calls
            && let Some(done) = calls.tasks.try_join_next_with_id()
        {
            if let Some(called) = calls.told(done) {
                self.called(called, io)?;
            }
        }
        Ok(())
    }

    /// Whether the process can be asked now; sees to it that it will be.
    pub(super) fn may_be_asked(&mut self, now: Instant) -> bool {
        let begun = self.live.as_ref().is_some_and(|live| live.begun);
        let Some(calls) = &mut self.calls else { return true };
        if begun {
            calls.wait_until_ready();
        }
        calls.ready && calls.rest_until.is_none_or(|until| until <= now)
    }

    /// When something is due about calls.
    pub(super) fn calls_due(&self) -> Option<Instant> {
        let calls = self.calls.as_ref()?;
        if !calls.asked && self.live.as_ref().is_some_and(|live| live.begun) {
            return Some(self.busy);
        }
        let rest = calls
            .rest_until
            .filter(|_| !self.queue.is_empty() || !self.alone.is_empty());
        let broken = self.sent.iter().filter_map(|id| self.held.get(id)?.broken.as_ref());
        broken.map(|(until, _)| *until).chain(rest).min()
    }

    /// Takes one reply.
    pub(in crate::runner) fn called(&mut self, called: Called, io: &mut Io<'_>) -> Result<(), FrameError> {
        let (id, reply) = match called {
            Called::Ready(Ok(())) => {
                if let Some(calls) = &mut self.calls {
                    calls.ready = true;
                }
                return Ok(());
            }
            Called::Ready(Err(why)) => return self.end(Cause::NotReady(why), io),
            Called::Reply(id, reply) => (id, reply),
        };
        if let Reply::Broken(why) = reply {
            if let Some(held) = self.held.get_mut(&id) {
                held.broken = Some((io.now + LINGER, why));
            }
            return Ok(());
        }
        if !self.land(id, io.now) {
            return Ok(());
        }
        self.progressed(1, io.now);
        match reply {
            Reply::Done(body) => {
                let results = (!body.is_empty() && self.program.results_limit.is_some()).then_some(body);
                self.finish(id, Ending::Succeeded { results }, io)
            }
            Reply::Wait { status, after } => self.wait(id, status, after, io),
            Reply::Status(status, text) => {
                let message = if text.is_empty() {
                    format!("HTTP {status}")
                } else {
                    format!("HTTP {status}: {text}")
                };
                self.fail(id, Failure::Http(status), message, io)
            }
            Reply::TooLarge(limit) => {
                let size = u64::from(limit) + 1;
                let message = format!("the answer has more than the {limit} bytes allowed");
                self.fail(id, Failure::ResultTooLarge { size, limit }, message, io)
            }
            Reply::Unreadable(message) => self.fail(id, Failure::InputUnreadable, message, io),
            Reply::Broken(_) => Ok(()),
        }
    }

    /// The program asks to be left alone for a while: nothing is asked until then, and the attempt comes first after that.
    fn wait(&mut self, id: AttemptId, status: u16, after: Option<Duration>, io: &mut Io<'_>) -> Result<(), FrameError> {
        let (Some(held), Some(calls)) = (self.held.get_mut(&id), &mut self.calls) else {
            return Ok(());
        };
        let doubled = FIRST_WAIT.saturating_mul(1 << held.waits.min(16));
        let wait = after.unwrap_or(doubled).min(LONGEST_WAIT);
        held.waits = held.waits.saturating_add(1);
        held.waited = held.waited.saturating_add(wait);
        if held.waited > WAITED || held.killed.is_some() {
            let message = format!(
                "HTTP {status} again after {} waits of {:?} in all",
                held.waits, held.waited
            );
            return self.fail(id, Failure::Http(status), message, io);
        }
        let until = io.now + wait;
        calls.rest_until = Some(calls.rest_until.map_or(until, |known| known.max(until)));
        tracing::debug!(
            step = %self.program.step, partition = held.partition, waits = held.waits, ?wait,
            "the program answers {status} and is left alone for a while"
        );
        if let Stage::Sent(work, _) = &held.stage {
            held.stage = Stage::Ready(work.clone());
        }
        self.queue.push_front(id);
        Ok(())
    }

    /// Ends attempts whose connection broke though the process goes on.
    pub(super) fn give_up_broken(&mut self, io: &mut Io<'_>) -> Result<(), FrameError> {
        if self.calls.is_none() {
            return Ok(());
        }
        let due = |held: &super::Held| held.broken.as_ref().is_some_and(|(until, _)| *until <= io.now);
        let over: Vec<AttemptId> = self
            .sent
            .iter()
            .copied()
            .filter(|id| self.held.get(id).is_some_and(due))
            .collect();
        for id in over {
            self.land(id, io.now);
            let why = self.held.get_mut(&id).and_then(|held| held.broken.take());
            let why = why.map(|(_, why)| why).unwrap_or_default();
            self.fail(id, Failure::BadAnswer, why, io)?;
        }
        Ok(())
    }
}
