//! A candidate, as a pure state machine: moments and answers in, the next call out.
//!
//! A candidate leads from a write that was answered well until `renew_deadline` after that write was *sent*. It takes
//! a Lease of another over when it has seen no change of it for `duration` since it *received* it. As `renew_deadline <
//! duration`, no two lead at once while their clocks run at the same rate, whatever is lost, late or repeated: the
//! tests explore that exhaustively. A write whose answer is missing extends nothing; what is stored is read, and
//! written again.

use std::time::Duration;

use crate::Moment;

/// The times of an election. `call_deadline <= retry_period < renew_deadline < duration`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Times {
    /// How long others leave an unchanged Lease alone.
    pub duration: Duration,
    /// How long a leader goes on without a successful renewal.
    pub renew_deadline: Duration,
    /// How often a leader renews and a follower looks.
    pub retry_period: Duration,
    /// How long a call may take.
    pub call_deadline: Duration,
}

/// The times of an election contradict each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "the times of an election must satisfy 0 < callDeadline <= retryPeriod < renewDeadline < duration <= 1 h, but they are \
     {call_deadline:?}, {retry_period:?}, {renew_deadline:?}, {duration:?}",
    call_deadline = .0.call_deadline, retry_period = .0.retry_period,
    renew_deadline = .0.renew_deadline, duration = .0.duration
)]
pub struct TimesError(pub Times);

impl Default for Times {
    fn default() -> Self {
        Self::of(Duration::from_secs(15))
    }
}

impl Times {
    /// Good proportions for a Lease of that duration.
    #[must_use]
    pub fn of(duration: Duration) -> Self {
        Self {
            duration,
            renew_deadline: duration.mul_f64(2.0 / 3.0),
            retry_period: duration / 7,
            call_deadline: duration / 7,
        }
    }

    /// Themselves, if they are in order.
    ///
    /// # Errors
    /// They are not.
    pub fn checked(self) -> Result<Self, TimesError> {
        let in_order = !self.call_deadline.is_zero()
            && self.call_deadline <= self.retry_period
            && self.retry_period < self.renew_deadline
            && self.renew_deadline < self.duration
            && self.duration <= LONGEST;
        if in_order { Ok(self) } else { Err(TimesError(self)) }
    }
}

/// No Lease is respected for longer than this, whatever it says of itself.
const LONGEST: Duration = Duration::from_hours(1);

/// Counts the grants of a Lease: +1 each time somebody begins to lead. For logs and for what has to tell leaders apart.
pub type Term = u64;

/// A Lease as it was read.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Stored {
    /// Its resource version.
    pub version: String,
    /// Who leads; nobody after a release.
    pub holder: Option<String>,
    /// The latest grant.
    pub term: Term,
    /// How long it wants to be left alone.
    pub duration: Duration,
}

/// What to do next.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Next {
    /// Nothing before this moment.
    Wait(Moment),
    /// Read the Lease.
    Read,
    /// Write the Lease.
    Write(Claim),
}

/// A write of the Lease.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Claim {
    /// Replaces this version; absent: creates the Lease.
    pub over: Option<String>,
    /// Who leads from now on; absent: a release.
    pub holder: Option<String>,
    /// The grant.
    pub term: Term,
    /// Whether this begins a grant.
    pub begins: bool,
}

/// What became of a write.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Written {
    /// Stored, in this version.
    Done(String),
    /// Another write came first.
    Refused,
    /// Anything else: it may be stored, or be stored later.
    Doubtful,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Step {
    Read(Moment),
    Write(Moment),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Reign {
    term: Term,
    until: Moment,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Seen {
    stored: Stored,
    since: Moment,
}

/// A candidate. See the module's head.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Machine {
    me: String,
    times: Times,
    reign: Option<Reign>,
    seen: Option<Seen>,
    /// The latest read found no Lease.
    absent: bool,
    highest: Term,
    step: Step,
}

impl Machine {
    /// A candidate that knows nothing yet. `me` must be of this start of this process alone.
    #[must_use]
    pub fn new(me: String, times: Times, now: Moment) -> Self {
        Self {
            me,
            times,
            reign: None,
            seen: None,
            absent: false,
            highest: 0,
            step: Step::Read(now),
        }
    }

    /// The term in which this candidate leads at `now`.
    #[must_use]
    pub fn leads(&self, now: Moment) -> Option<Term> {
        self.reign.filter(|reign| now < reign.until).map(|reign| reign.term)
    }

    /// When its leading ends unless it renews.
    #[must_use]
    pub fn leads_until(&self) -> Option<Moment> {
        self.reign.map(|reign| reign.until)
    }

    /// Who leads, as far as this candidate knows.
    #[must_use]
    pub fn holder(&self) -> Option<&str> {
        self.seen.as_ref().and_then(|seen| seen.stored.holder.as_deref())
    }

    /// What to do at `now`. Demotes itself when its time is over.
    pub fn next(&mut self, now: Moment) -> Next {
        if self.reign.is_some() && self.leads(now).is_none() {
            self.reign = None;
            self.step = Step::Read(now);
        }
        match self.step {
            Step::Read(at) | Step::Write(at) if now < at => Next::Wait(at),
            Step::Read(_) => Next::Read,
            Step::Write(_) => match self.claim(now) {
                Some(claim) => Next::Write(claim),
                None => Next::Read,
            },
        }
    }

    /// A read was answered at `now`; `None`: there is no Lease.
    pub fn read(&mut self, now: Moment, answer: Option<Stored>) {
        if let Some(stored) = answer {
            self.learn(now, stored);
        } else {
            self.absent = true;
            self.reign = None;
        }
        if let Some(reign) = self.reign
            && !self.holds(reign.term)
        {
            self.reign = None;
        }
        self.step = if self.claim(now).is_some() {
            Step::Write(now)
        } else {
            Step::Read(now.after(self.times.retry_period))
        };
    }

    /// A read gave nothing.
    pub fn read_failed(&mut self, now: Moment) {
        self.step = Step::Read(now.after(self.times.retry_period));
    }

    /// A write that was sent at `sent` came to this at `now`.
    pub fn written(&mut self, sent: Moment, now: Moment, claim: &Claim, outcome: Written) {
        match outcome {
            // A renewal whose answer comes after the end: who has said that it leads no more begins anew.
            Written::Done(_) if self.reign.is_none() && !claim.begins => self.step = Step::Read(now),
            Written::Done(version) => {
                self.learn(
                    now,
                    Stored {
                        version,
                        holder: claim.holder.clone(),
                        term: claim.term,
                        duration: self.times.duration,
                    },
                );
                self.reign = Some(Reign {
                    term: claim.term,
                    until: sent.after(self.times.renew_deadline),
                });
                self.step = Step::Write(now.after(self.times.retry_period));
            }
            // Not at once: a server that refuses every write must not be asked without a pause.
            Written::Refused | Written::Doubtful => self.step = Step::Read(now.after(self.times.retry_period / 4)),
        }
    }

    /// Ends the candidate's leading; gives the write by which others need not wait. The work that needed the lead must
    /// have ended before.
    pub fn release(&mut self, now: Moment) -> Option<Claim> {
        let term = self.leads(now)?;
        self.reign = None;
        let seen = self.seen.as_ref()?;
        Some(Claim {
            over: Some(seen.stored.version.clone()),
            holder: None,
            term,
            begins: false,
        })
    }

    fn learn(&mut self, now: Moment, stored: Stored) {
        self.absent = false;
        self.highest = self.highest.max(stored.term);
        let known = self
            .seen
            .as_ref()
            .is_some_and(|seen| seen.stored.version == stored.version);
        if !known {
            self.seen = Some(Seen { stored, since: now });
        }
    }

    fn holds(&self, term: Term) -> bool {
        self.seen
            .as_ref()
            .is_some_and(|seen| seen.stored.term == term && seen.stored.holder.as_ref() == Some(&self.me))
    }

    /// The write that is right at `now`, if any.
    fn claim(&self, now: Moment) -> Option<Claim> {
        let over = match &self.seen {
            Some(seen) if !self.absent => Some(seen.stored.version.clone()),
            _ => None,
        };
        if let Some(reign) = self.reign {
            return Some(Claim {
                over,
                holder: Some(self.me.clone()),
                term: reign.term,
                begins: false,
            });
        }
        let free = match &self.seen {
            // A deleted Lease does not end the leading of whoever held it: who has seen it waits all the same.
            Some(seen) => match &seen.stored.holder {
                None => true,
                Some(holder) if *holder == self.me => true,
                Some(_) => now.since(seen.since) >= seen.stored.duration.clamp(self.times.duration, LONGEST),
            },
            None => self.absent,
        };
        free.then(|| Claim {
            over,
            holder: Some(self.me.clone()),
            term: self.highest.saturating_add(1),
            begins: true,
        })
    }
}
