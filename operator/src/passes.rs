//! Passes over objects of one kind: counted, their failures backed off per object, their panics caught.
//!
//! An object over which passes panic again and again is poison: a defect of the operator that this object brings out. It is put into
//! quarantine, so that it costs nothing, until its spec changes or some time is over, and an event says so. All other objects go on.

use std::{
    collections::HashMap,
    convert::Infallible,
    error::Error,
    marker::PhantomData,
    panic::AssertUnwindSafe,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use futures::FutureExt as _;
use kube::{Resource, ResourceExt as _, runtime::controller::Action};
use tracing::Instrument as _;

use crate::{
    Context,
    counters::{Kind, Outcome},
    events::Told,
    names,
    runtime::Chain,
};

/// The first wait after a failed pass; doubles up to [`BACKOFF_MAX`] per object.
const BACKOFF: Duration = Duration::from_millis(20);
/// The longest wait after a failed pass.
const BACKOFF_MAX: Duration = Duration::from_secs(30);
/// After so many failures in a row changes do not make a pass before its time, or one that fails and changes something would never rest.
const HOLDS: u32 = 5;
/// But no longer than this: what has changed may be what was wrong.
const HOLD_MAX: Duration = Duration::from_secs(1);
/// So many panics in a row make an object poison.
const PANICS: u32 = 5;
/// How long poison is left alone.
const QUARANTINE: Duration = Duration::from_mins(10);
/// Objects with troubles that are remembered before those of long ago are forgotten.
const REMEMBERED: usize = 1_024;

/// What went wrong with an object lately.
#[derive(Clone, Copy, Debug)]
struct Trouble {
    failures: u32,
    panics: u32,
    /// When the last of them was.
    last: Instant,
    /// Until when a change makes no pass, if its generation stays this one.
    held: Option<(Instant, Option<i64>)>,
    /// Until when it is left alone, if its generation stays this one.
    quarantine: Option<(Instant, Option<i64>)>,
}

impl Trouble {
    fn new(now: Instant) -> Self {
        Self {
            failures: 0,
            panics: 0,
            last: now,
            held: None,
            quarantine: None,
        }
    }

    /// How long the object is to be left alone still.
    fn rests(&self, now: Instant, generation: Option<i64>) -> Option<Duration> {
        let rest = |(until, of): (Instant, Option<i64>)| {
            let rest = until.saturating_duration_since(now);
            (of == generation && !rest.is_zero()).then_some(rest)
        };
        self.quarantine.and_then(rest).max(self.held.and_then(rest))
    }

    /// Counts a failure; the wait before the next pass.
    fn failed(&mut self, now: Instant, generation: Option<i64>) -> Duration {
        let wait = BACKOFF
            .saturating_mul(1_u32.checked_shl(self.failures).unwrap_or(u32::MAX))
            .min(BACKOFF_MAX);
        self.failures = self.failures.saturating_add(1).min(20);
        self.last = now;
        // The pass that is due may come a little before its time.
        self.held = (self.failures >= HOLDS).then(|| (now + wait.min(HOLD_MAX) / 2, generation));
        wait
    }

    /// Counts a panic; the wait before the next pass, and whether the object has just become poison.
    fn panicked(&mut self, now: Instant, generation: Option<i64>) -> (Duration, bool) {
        let wait = self.failed(now, generation);
        self.panics = self.panics.saturating_add(1);
        if self.panics < PANICS {
            return (wait, false);
        }
        self.quarantine = Some((now + QUARANTINE, generation));
        (QUARANTINE, self.panics == PANICS)
    }
}

/// Passes over objects of one kind.
pub(crate) struct Passes<K> {
    context: Arc<Context>,
    troubles: Mutex<HashMap<String, Trouble>>,
    of: Kind,
    kind: PhantomData<fn(K)>,
}

impl<K> Passes<K>
where
    K: Resource<DynamicType = ()> + Send + Sync + 'static,
{
    pub(crate) fn new(context: Arc<Context>, of: Kind) -> Self {
        Self {
            context,
            of,
            troubles: Mutex::default(),
            kind: PhantomData,
        }
    }

    /// One pass. Never an error: it says when the next one is due.
    pub(crate) async fn pass<F, E>(
        self: Arc<Self>,
        object: Arc<K>,
        reconcile: impl FnOnce(Arc<K>, Arc<Context>) -> F + Send,
    ) -> Result<Action, Infallible>
    where
        F: Future<Output = Result<Action, E>> + Send,
        E: Error + Send + 'static,
    {
        let (name, uid) = (object.name_any(), names::uid(object.as_ref()));
        let generation = object.meta().generation;
        if let Some(rest) = self.rests(&uid, generation) {
            return Ok(Action::requeue(rest));
        }
        self.context
            .waiting
            .begun(self.of, &object.namespace().unwrap_or_default(), &name);
        let started = Instant::now();
        let in_flight = self.context.counters.begun(self.of);
        // A pool that a run owns is a part of the run's trace.
        let span = tracing::debug_span!(
            "pass",
            trace.of = object.labels().get(names::WORKFLOW_UID).unwrap_or(&uid),
            trace.title = format!("pass over {:?} {name}", self.of),
            namespace = object.namespace(),
            name,
            error = tracing::field::Empty,
        );
        // The call itself is caught, too.
        let context = self.context.clone();
        let pass = async { reconcile(object.clone(), context).await };
        let outcome = AssertUnwindSafe(pass).catch_unwind().instrument(span.clone()).await;
        drop(in_flight);
        let ended = match &outcome {
            Ok(Ok(_)) => Outcome::Done,
            Ok(Err(_)) => Outcome::Failed,
            Err(_) => Outcome::Panicked,
        };
        self.context.counters.pass(self.of, ended, started.elapsed());
        let wait = match outcome {
            Ok(Ok(action)) => {
                self.lock().remove(&uid);
                return Ok(action);
            }
            Ok(Err(error)) => {
                span.record("error", "it failed");
                let wait = spread(self.trouble(uid, |trouble, now| trouble.failed(now, generation)));
                if wait >= Duration::from_secs(1) {
                    tracing::warn!(object = name, error = %Chain(&error), ?wait, "a pass failed, and will be tried again");
                } else {
                    tracing::debug!(object = name, error = %Chain(&error), ?wait, "a pass failed, and will be tried again");
                }
                wait
            }
            Err(_) => {
                span.record("error", "a panic");
                let (wait, poison) = self.trouble(uid, |trouble, now| trouble.panicked(now, generation));
                tracing::error!(
                    object = name,
                    ?wait,
                    poison,
                    "a pass panicked: a defect of the operator"
                );
                if poison {
                    let note = format!(
                        "{PANICS} passes in a row have panicked, which is a defect of the operator (its log has more); the object is \
                         left alone for {} minutes, or until its spec changes",
                        QUARANTINE.as_secs() / 60
                    );
                    let told = Told {
                        warning: true,
                        reason: "Quarantined".into(),
                        note,
                    };
                    self.context.events.tell(object.object_ref(&()), told);
                }
                wait
            }
        };
        Ok(Action::requeue(wait))
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<String, Trouble>> {
        self.troubles.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn rests(&self, uid: &str, generation: Option<i64>) -> Option<Duration> {
        self.lock().get(uid)?.rests(Instant::now(), generation)
    }

    fn trouble<T>(&self, uid: String, count: impl FnOnce(&mut Trouble, Instant) -> T) -> T {
        let now = Instant::now();
        let mut troubles = self.lock();
        if troubles.len() >= REMEMBERED {
            // Those of objects that are gone, most of them.
            troubles.retain(|_, trouble| now.saturating_duration_since(trouble.last) < QUARANTINE);
        }
        count(troubles.entry(uid).or_insert_with(|| Trouble::new(now)), now)
    }
}

/// A little less, by chance, so that what failed together is not tried again together.
fn spread(wait: Duration) -> Duration {
    wait.mul_f64(rand::random_range(0.5..=1.0))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

    use super::*;

    #[test]
    fn waits_double_up_to_the_longest() {
        let now = Instant::now();
        let mut trouble = Trouble::new(now);
        let waits: Vec<Duration> = (0..30).map(|_| trouble.failed(now, Some(1))).collect();
        assert_eq!(waits.first(), Some(&BACKOFF));
        assert_eq!(waits.get(3), Some(&(BACKOFF * 8)));
        assert_eq!(waits.last(), Some(&BACKOFF_MAX));
        assert!(waits.is_sorted());
    }

    #[test]
    fn changes_make_no_pass_before_its_time_once_many_have_failed() {
        let now = Instant::now();
        let mut trouble = Trouble::new(now);
        for failures in 1..HOLDS {
            trouble.failed(now, Some(1));
            assert_eq!(trouble.rests(now, Some(1)), None, "{failures}");
        }
        for failures in HOLDS..30 {
            let wait = trouble.failed(now, Some(1));
            let rest = trouble.rests(now, Some(1)).unwrap();
            // Chance makes waits up to half as long: the pass that is due finds nothing in its way.
            assert!(rest <= wait / 2 && rest <= HOLD_MAX, "{failures}");
            assert_eq!(trouble.rests(now + rest, Some(1)), None, "{failures}");
            assert_eq!(trouble.rests(now, Some(2)), None, "{failures}");
        }
    }

    #[test]
    fn poison_is_told_once_and_rests_until_its_spec_changes_or_time_is_over() {
        let now = Instant::now();
        let mut trouble = Trouble::new(now);
        let told: Vec<bool> = (0..7).map(|_| trouble.panicked(now, Some(3)).1).collect();
        assert_eq!(told, [false, false, false, false, true, false, false]);
        assert_eq!(trouble.rests(now, Some(3)), Some(QUARANTINE));
        assert_eq!(trouble.rests(now, Some(4)), None);
        assert_eq!(trouble.rests(now + QUARANTINE, Some(3)), None);
    }
}
