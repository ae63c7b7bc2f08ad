//! A worker's sign of life: its Lease, changed every so often.
//!
//! The Lease is made by the operator; the worker may only update it. Its first write takes the Lease for this start,
//! whoever held it; from then on it is only renewed while it is still this start's. Finding another holder means that a
//! newer start of the same pod has begun: the heartbeat ends and says so.
//!
//! A commit is a sign of life too, so no renewal is sent while commits go out: tell the [`Pulse`] of each.
//!
//! A heartbeat that fails goes on trying. It never stops the worker: one that cannot renew has lost nothing but time.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use jiff::Timestamp;
use k8s_openapi::{
    api::coordination::v1::{Lease, LeaseSpec},
    apimachinery::pkg::apis::meta::v1::MicroTime,
};
use kube::{Api, api::PostParams};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::{CallError, Clock, Moment, call::within, clock::jittered};

/// How often a worker shows that it lives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rhythm {
    /// The distance of renewals.
    pub renew_every: Duration,
    /// How long a call may take.
    pub call_deadline: Duration,
}

impl Rhythm {
    /// The rhythm of each of so many workers: together they renew at most 20 times a second.
    #[must_use]
    pub fn of_workers(workers: u32) -> Self {
        Self::every(
            Duration::from_millis(u64::from(workers) * 50).clamp(Duration::from_secs(5), Duration::from_mins(1)),
        )
    }

    /// Renewals at that distance.
    #[must_use]
    pub fn every(renew_every: Duration) -> Self {
        Self {
            renew_every,
            call_deadline: (renew_every / 2).min(Duration::from_secs(10)),
        }
    }

    /// How long a silence means anything: three renewals, any of which may be late. An observer's period should be
    /// this or more.
    #[must_use]
    pub fn period(&self) -> Duration {
        self.renew_every * 3
    }
}

/// Is told of commits. Cheap to clone and to call.
#[derive(Clone, Debug)]
pub struct Pulse {
    clock: Clock,
    /// Milliseconds since the clock's origin, plus one; 0: never.
    latest: Arc<AtomicU64>,
}

impl Pulse {
    /// A commit has just been stored.
    pub fn committed(&self) {
        let millis = self.clock.now().since(Moment::default()).as_millis();
        self.latest.store(
            u64::try_from(millis).unwrap_or(u64::MAX).saturating_add(1),
            Ordering::Relaxed,
        );
    }

    fn latest(&self) -> Option<Moment> {
        let millis = self.latest.load(Ordering::Relaxed).checked_sub(1)?;
        Some(Moment::at(Duration::from_millis(millis)))
    }
}

/// How the heartbeat fares.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Health {
    /// Renewals that were stored.
    pub renewals: u64,
    /// Renewals in a row that were not.
    pub failures: u32,
    /// Why the latest one was not; empty if it was.
    pub trouble: String,
}

/// Why a heartbeat ended by itself.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HeartbeatError {
    /// Another start holds the Lease: what counts is which start the Worker object names.
    #[error("the Lease {name} is held by {by}")]
    Superseded {
        /// The Lease.
        name: String,
        /// Who holds it.
        by: String,
    },
}

/// The renewals of one Lease.
pub struct Heartbeat {
    api: Api<Lease>,
    name: String,
    holder: String,
    rhythm: Rhythm,
    clock: Clock,
    pulse: Pulse,
    health: watch::Sender<Health>,
    /// The Lease as last read or written.
    stored: Option<Lease>,
    /// A write of this start was stored.
    taken: bool,
}

impl Heartbeat {
    /// Of the Lease `name`, for one start of the pod with that uid.
    #[must_use]
    pub fn new(api: Api<Lease>, name: &str, pod_uid: &str, start_id: &str, rhythm: Rhythm) -> Self {
        let clock = Clock::start();
        Self {
            api,
            name: name.to_owned(),
            holder: identity(pod_uid, start_id),
            rhythm,
            clock,
            pulse: Pulse {
                clock,
                latest: Arc::default(),
            },
            health: watch::Sender::default(),
            stored: None,
            taken: false,
        }
    }

    /// What to tell of commits.
    pub fn pulse(&self) -> Pulse {
        self.pulse.clone()
    }

    /// Follows how it fares.
    pub fn health(&self) -> watch::Receiver<Health> {
        self.health.subscribe()
    }

    /// Renews until `stop` is cancelled. May be dropped at any time: a renewal under way may then be stored or not.
    ///
    /// # Errors
    /// The Lease has become another's.
    pub async fn run(self, stop: CancellationToken) -> Result<(), HeartbeatError> {
        stop.run_until_cancelled(self.beat()).await.unwrap_or(Ok(()))
    }

    async fn beat(mut self) -> Result<(), HeartbeatError> {
        let mut due = self.clock.now();
        loop {
            self.clock.sleep_until(due).await;
            let now = self.clock.now();
            let committed = self.pulse.latest().map(|at| at.after(self.rhythm.renew_every));
            if let Some(later) = committed.filter(|later| self.taken && *later > now) {
                due = later;
                continue;
            }
            let wait = match self.renew().await? {
                Ok(()) => {
                    self.health.send_modify(|health| {
                        health.renewals += 1;
                        health.failures = 0;
                        health.trouble.clear();
                    });
                    self.rhythm.renew_every
                }
                Err(error) => {
                    self.stored = None;
                    self.fail(&error);
                    self.rhythm.renew_every / 4
                }
            };
            due = self.clock.now().after(jittered(wait));
        }
    }

    /// One renewal; the outer error ends the heartbeat.
    async fn renew(&mut self) -> Result<Result<(), CallError>, HeartbeatError> {
        let answer = self.try_to_renew().await?;
        // A conflict is read again once: somebody else has touched the Lease, or our own earlier write was stored
        // after all.
        if matches!(answer, Err(CallError::Conflict(_))) {
            return self.try_to_renew().await;
        }
        Ok(answer)
    }

    async fn try_to_renew(&mut self) -> Result<Result<(), CallError>, HeartbeatError> {
        let lease = match self.stored.take() {
            Some(lease) => lease,
            None => match within(self.rhythm.call_deadline, self.api.get(&self.name)).await {
                Ok(lease) => lease,
                Err(error) => return Ok(Err(error)),
            },
        };
        let by = lease.spec.as_ref().and_then(|spec| spec.holder_identity.clone());
        if let Some(by) = by.filter(|by| self.taken && *by != self.holder) {
            return Err(HeartbeatError::Superseded {
                name: self.name.clone(),
                by,
            });
        }
        let renewed = self.renewed(lease);
        let params = PostParams::default();
        let call = self.api.replace(&self.name, &params, &renewed);
        Ok(within(self.rhythm.call_deadline, call).await.map(|lease| {
            self.taken = true;
            self.stored = Some(lease);
        }))
    }

    fn renewed(&self, mut lease: Lease) -> Lease {
        lease.metadata.managed_fields = None;
        let now = MicroTime(Timestamp::now());
        let spec = lease.spec.get_or_insert_with(LeaseSpec::default);
        if spec.holder_identity.as_deref() != Some(&self.holder) {
            spec.holder_identity = Some(self.holder.clone());
            spec.acquire_time = Some(now.clone());
        }
        let period = self.rhythm.period();
        let seconds = period.as_secs() + u64::from(period.subsec_nanos() > 0);
        spec.lease_duration_seconds = Some(i32::try_from(seconds).unwrap_or(i32::MAX).max(1));
        spec.renew_time = Some(now);
        lease
    }

    fn fail(&self, error: &CallError) {
        let before = self.health.borrow().failures;
        // The operator makes the Lease after the worker's object: at first there is none yet.
        let expected = matches!(error, CallError::NotFound) && before < 3;
        let told = before > 0 && !(before == 3 && matches!(error, CallError::NotFound));
        if !expected && !told {
            tracing::warn!(lease = %self.name, %error, "the Lease was not renewed; trying on");
        } else {
            tracing::debug!(lease = %self.name, %error, failures = before, "the Lease was not renewed");
        }
        self.health.send_modify(|health| {
            health.failures = health.failures.saturating_add(1);
            health.trouble = error.to_string();
        });
    }
}

/// Who holds a worker's Lease: one start of one pod.
#[must_use]
pub fn identity(pod_uid: &str, start_id: &str) -> String {
    format!("{pod_uid}/{start_id}")
}
