//! Leader election over a Lease.
//!
//! [`Elector::run`] calls the leader's work each time it has won, with a token that is cancelled when the lead is lost
//! or the process stops. The work is always ended (or, after a grace, dropped) before the elector tries again, and
//! before it releases the Lease. Losing the lead is noticed by the clock of this process alone, so a leader that
//! cannot reach the API server stops by itself before others may take over.
//!
//! Nothing that must be exact may rest on being the only leader: a process that was paused wakes up in the middle of
//! its work. That is why every write of the operator carries the version that it was computed from.

use std::{future::Future, pin::Pin, time::Duration};

use jiff::Timestamp;
use k8s_openapi::{
    api::coordination::v1::{Lease, LeaseSpec},
    apimachinery::pkg::apis::meta::v1::MicroTime,
};
use kube::{Api, api::PostParams};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::{
    CallError, Clock, Moment,
    call::within,
    clock::jittered,
    election::machine::{Claim, Machine, Next, Stored, Written},
};

pub mod machine;
#[cfg(test)]
mod machine_tests;

pub use machine::{Term, Times, TimesError};

/// The annotation that counts the grants of the Lease. (`leaseTransitions` does not count a new grant to the same
/// holder, and begins again when the Lease was deleted.)
pub const TERM_ANNOTATION: &str = "braid.dev/term";

/// Who leads, as this candidate knows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Leadership {
    /// This one.
    Leading {
        /// The grant.
        term: Term,
    },
    /// Another, or nobody yet.
    Following {
        /// Who, if known.
        holder: Option<String>,
    },
}

/// What the leader's work is given.
#[derive(Clone, Debug)]
pub struct Lead {
    /// The grant.
    pub term: Term,
    /// Cancelled when the lead is lost or the process stops: the work then has to end at once.
    pub lost: CancellationToken,
}

/// How an election ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// The caller asked for it.
    Stopped,
    /// The leader's work returned though nobody had asked it to.
    WorkEnded,
}

/// A candidate.
pub struct Elector {
    api: Api<Lease>,
    name: String,
    me: String,
    times: Times,
    drain: Duration,
    clock: Clock,
    leadership: watch::Sender<Leadership>,
    /// The Lease as last read or written: what others have put into it is kept.
    stored: Option<Lease>,
    /// The last failure was reported; the next ones are only debugged until a call succeeds.
    troubled: bool,
}

enum Answer {
    Read(Result<Option<Lease>, CallError>),
    Written(Moment, Claim, Result<Lease, CallError>),
    Waited,
}

type Work = Pin<Box<dyn Future<Output = ()> + Send>>;
type Call = Pin<Box<dyn Future<Output = Answer> + Send>>;

struct Reign {
    work: Work,
    lost: CancellationToken,
}

impl Elector {
    /// A candidate for the Lease `name`. `me` must differ between any two starts of any process.
    ///
    /// # Errors
    /// The times contradict each other.
    pub fn new(api: Api<Lease>, name: &str, me: &str, times: Times) -> Result<Self, TimesError> {
        Ok(Self {
            api,
            name: name.to_owned(),
            me: me.to_owned(),
            times: times.checked()?,
            drain: Duration::from_secs(30),
            clock: Clock::start(),
            leadership: watch::Sender::new(Leadership::Following { holder: None }),
            stored: None,
            troubled: false,
        })
    }

    /// How long the work may take to end at a stop, while the Lease is still renewed; 30 s unless set.
    #[must_use]
    pub fn drain(mut self, drain: Duration) -> Self {
        self.drain = drain;
        self
    }

    /// Follows who leads.
    pub fn leadership(&self) -> watch::Receiver<Leadership> {
        self.leadership.subscribe()
    }

    /// Takes part until `stop` is cancelled or the work returns by itself; calls `work` each time the lead is won.
    /// Releases the Lease at the end if it holds it. Dropping the future stops at once, without a release.
    pub async fn run<W, F>(mut self, stop: CancellationToken, mut work: W) -> Ended
    where
        W: FnMut(Lead) -> F,
        F: Future<Output = ()> + Send + 'static,
    {
        let mut machine = Machine::new(self.me.clone(), self.times, self.clock.now());
        let mut reign: Option<Reign> = None;
        let mut drained: Option<Moment> = None;
        let mut call: Option<Call> = None;
        let ended = loop {
            let now = self.clock.now();
            let next = machine.next(now);
            match (machine.leads(now), &reign) {
                (Some(term), None) => {
                    let lost = CancellationToken::new();
                    tracing::info!(lease = %self.name, term, "leading");
                    reign = Some(Reign {
                        work: Box::pin(work(Lead {
                            term,
                            lost: lost.clone(),
                        })),
                        lost,
                    });
                }
                (None, Some(_)) => {
                    call = None;
                    tracing::warn!(lease = %self.name, "lost the lead");
                    self.tell(&machine);
                    if let Some(lost) = reign.take() {
                        self.end(lost).await;
                    }
                    if stop.is_cancelled() {
                        break Ended::Stopped;
                    }
                    continue;
                }
                _ => {}
            }
            self.tell(&machine);
            if stop.is_cancelled() {
                match (&reign, drained) {
                    (None, _) => break Ended::Stopped,
                    (Some(reign), None) => {
                        reign.lost.cancel();
                        drained = Some(now.after(self.drain));
                    }
                    (Some(_), Some(at)) if now >= at => {
                        tracing::warn!(lease = %self.name, "the leader's work did not end in time and is dropped");
                        break Ended::Stopped;
                    }
                    _ => {}
                }
            }
            let running = call.get_or_insert_with(|| self.begin(&next));
            tokio::select! {
                biased;
                () = async { match reign.as_mut() { Some(reign) => reign.work.as_mut().await, None => std::future::pending().await } } => {
                    reign = None;
                    break if stop.is_cancelled() { Ended::Stopped } else { Ended::WorkEnded };
                }
                () = stop.cancelled(), if drained.is_none() => {}
                () = sleep_until(&self.clock, machine.leads_until()) => {}
                () = sleep_until(&self.clock, drained) => {}
                answer = running => {
                    call = None;
                    self.digest(&mut machine, answer);
                }
            }
        };
        drop(reign);
        drop(call);
        self.release(&mut machine).await;
        ended
    }

    /// Cancels the work of a lost lead and waits for its end, but not beyond the time in which nobody else leads.
    async fn end(&self, lost: Reign) {
        lost.lost.cancel();
        let grace = self.times.duration.saturating_sub(self.times.renew_deadline);
        if tokio::time::timeout(grace, lost.work).await.is_err() {
            tracing::warn!(lease = %self.name, "the leader's work did not end in time and is dropped");
        }
    }

    fn begin(&self, next: &Next) -> Call {
        let deadline = self.times.call_deadline;
        match next {
            Next::Wait(until) => {
                let wait = jittered(until.since(self.clock.now()));
                Box::pin(async move {
                    // Never later than told, and never a spin: the machine asks again for what is left.
                    tokio::time::sleep(wait.max(Duration::from_millis(1))).await;
                    Answer::Waited
                })
            }
            Next::Read => {
                let (api, name) = (self.api.clone(), self.name.clone());
                Box::pin(async move { Answer::Read(within(deadline, api.get_opt(&name)).await) })
            }
            Next::Write(claim) => {
                let (api, claim, lease) = (self.api.clone(), claim.clone(), self.lease(claim));
                let sent = self.clock.now();
                let name = self.name.clone();
                Box::pin(async move {
                    let written = write(&api, &name, &claim, &lease, deadline).await;
                    Answer::Written(sent, claim, written)
                })
            }
        }
    }

    fn digest(&mut self, machine: &mut Machine, answer: Answer) {
        let now = self.clock.now();
        match answer {
            Answer::Waited => {}
            Answer::Read(Ok(lease)) => {
                self.troubled = false;
                machine.read(now, lease.as_ref().map(stored));
                self.stored = lease;
            }
            Answer::Read(Err(error)) => {
                self.report("read", &error);
                machine.read_failed(now);
            }
            Answer::Written(sent, claim, Ok(lease)) => {
                self.troubled = false;
                let version = lease.metadata.resource_version.clone().unwrap_or_default();
                self.stored = Some(lease);
                machine.written(sent, now, &claim, Written::Done(version));
            }
            Answer::Written(sent, claim, Err(error)) => {
                let outcome = match &error {
                    CallError::Conflict(_) | CallError::NotFound => Written::Refused,
                    CallError::Refused(_) | CallError::Doubtful(_) | CallError::Late(_) => {
                        self.report("write", &error);
                        Written::Doubtful
                    }
                };
                machine.written(sent, now, &claim, outcome);
            }
        }
    }

    async fn release(&self, machine: &mut Machine) {
        let Some(claim) = machine.release(self.clock.now()) else {
            return;
        };
        let lease = self.lease(&claim);
        match write(&self.api, &self.name, &claim, &lease, self.times.call_deadline).await {
            Ok(_) => tracing::info!(lease = %self.name, term = claim.term, "released"),
            Err(error) => {
                tracing::info!(lease = %self.name, %error, "not released; others wait until it runs out");
            }
        }
        self.leadership.send_replace(Leadership::Following { holder: None });
    }

    /// The Lease with a claim written into it.
    fn lease(&self, claim: &Claim) -> Lease {
        let mut lease = match &claim.over {
            Some(_) => self.stored.clone().unwrap_or_default(),
            None => Lease::default(),
        };
        lease.metadata.name = Some(self.name.clone());
        lease.metadata.resource_version.clone_from(&claim.over);
        lease.metadata.managed_fields = None;
        lease
            .metadata
            .annotations
            .get_or_insert_default()
            .insert(TERM_ANNOTATION.to_owned(), claim.term.to_string());
        let now = MicroTime(Timestamp::now());
        let spec = lease.spec.get_or_insert_with(LeaseSpec::default);
        if claim.begins {
            spec.lease_transitions = Some(spec.lease_transitions.unwrap_or(-1).saturating_add(1));
            spec.acquire_time = Some(now.clone());
        }
        spec.holder_identity = Some(claim.holder.clone().unwrap_or_default());
        spec.lease_duration_seconds = Some(whole_seconds(self.times.duration));
        spec.renew_time = Some(now);
        lease
    }

    fn tell(&self, machine: &Machine) {
        let leadership = match machine.leads(self.clock.now()) {
            Some(term) => Leadership::Leading { term },
            None => Leadership::Following {
                holder: machine.holder().filter(|holder| *holder != self.me).map(str::to_owned),
            },
        };
        self.leadership.send_if_modified(|known| {
            let changed = *known != leadership;
            *known = leadership;
            changed
        });
    }

    fn report(&mut self, verb: &str, error: &CallError) {
        if self.troubled {
            tracing::debug!(lease = %self.name, verb, %error, "the election's Lease is out of reach");
        } else {
            self.troubled = true;
            tracing::warn!(lease = %self.name, verb, %error, "the election's Lease is out of reach; trying on");
        }
    }
}

async fn sleep_until(clock: &Clock, moment: Option<Moment>) {
    match moment {
        Some(moment) => clock.sleep_until(moment).await,
        None => std::future::pending().await,
    }
}

async fn write(
    api: &Api<Lease>,
    name: &str,
    claim: &Claim,
    lease: &Lease,
    deadline: Duration,
) -> Result<Lease, CallError> {
    let params = PostParams::default();
    if claim.over.is_some() {
        within(deadline, api.replace(name, &params, lease)).await
    } else {
        within(deadline, api.create(&params, lease)).await
    }
}

/// Rounded up: a Lease never promises less than its holder's own times. 0 and negative numbers are never written.
fn whole_seconds(duration: Duration) -> i32 {
    let seconds = duration.as_secs() + u64::from(duration.subsec_nanos() > 0);
    i32::try_from(seconds).unwrap_or(i32::MAX).max(1)
}

fn stored(lease: &Lease) -> Stored {
    let spec = lease.spec.as_ref();
    Stored {
        version: lease.metadata.resource_version.clone().unwrap_or_default(),
        holder: spec
            .and_then(|spec| spec.holder_identity.clone())
            .filter(|holder| !holder.is_empty()),
        term: lease
            .metadata
            .annotations
            .as_ref()
            .and_then(|annotations| annotations.get(TERM_ANNOTATION))
            .and_then(|term| term.parse().ok())
            .unwrap_or_default(),
        duration: spec
            .and_then(|spec| spec.lease_duration_seconds)
            .and_then(|seconds| u64::try_from(seconds).ok())
            .map_or(Duration::ZERO, Duration::from_secs),
    }
}
