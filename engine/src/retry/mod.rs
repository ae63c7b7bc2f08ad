//! What follows a failed attempt of a partition: again, later, or never.
//!
//! Decided from the policy, the attempts that are recorded, the reason, the time and a seed, all of them arguments: the
//! same arguments give the same decision, whoever takes it.

use braid_crds::{
    limits,
    worker::Card,
    workflow::{RetryAction, RetryReason, RetryRule},
};

mod reason;

pub use reason::Reason;

/// Up to this wait a worker tries again itself; a longer one would hold up the partitions behind.
pub const LOCAL_WAIT_MILLIS: u64 = 100;

/// The reason of a step that one of its rules has ended (`FailStep`).
pub const FAIL_STEP: &str = "FailStep";

/// How often a partition is tried, how long it waits in between, and what is not tried again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Policy {
    /// Attempts in all, at least 1.
    pub attempts: i32,
    /// The wait before the second attempt, in milliseconds.
    pub initial_millis: u64,
    /// The longest wait, in milliseconds.
    pub max_millis: u64,
    /// What failures mean; the first that names one decides.
    pub rules: Vec<RetryRule>,
    /// Deaths of what runs a partition alone after which it is set aside, at least 1.
    pub deaths: i32,
}

/// What follows a failed attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decision {
    /// The same worker tries again, after so many milliseconds (at most [`LOCAL_WAIT_MILLIS`]).
    Again {
        /// The wait.
        after_millis: u64,
    },
    /// It waits outside of its shard and is handed out again.
    Defer {
        /// Not before this time, in milliseconds since the epoch.
        not_before: i64,
    },
    /// It has failed for good.
    Fail,
    /// It has failed for good, and its step with it.
    FailStep,
}

impl From<&Card> for Policy {
    fn from(card: &Card) -> Self {
        Self {
            attempts: card.attempts.max(1),
            initial_millis: card.backoff_initial_millis,
            max_millis: card.backoff_max_millis,
            rules: card.rules.clone(),
            deaths: deaths(card.worker_deaths),
        }
    }
}

impl Policy {
    /// What follows when attempt number `made` (from 1) has failed for `reason`.
    ///
    /// `seed` spreads partitions that fail together; give each partition its own.
    #[must_use]
    pub fn after(&self, made: i32, reason: Reason, now_millis: i64, seed: u64) -> Decision {
        let again = match action(&self.rules, reason) {
            Some(RetryAction::FailStep) => return Decision::FailStep,
            Some(RetryAction::FailPartition) => return Decision::Fail,
            Some(RetryAction::Retry) => true,
            None => reason.is_retried(),
        };
        if !again || made >= self.attempts {
            return Decision::Fail;
        }
        match self.wait_millis(made, seed) {
            after_millis @ 0..=LOCAL_WAIT_MILLIS => Decision::Again { after_millis },
            wait => Decision::Defer {
                not_before: now_millis.saturating_add_unsigned(wait),
            },
        }
    }

    /// The wait after attempt number `made`: the initial one, doubled with each further attempt up to the longest, less
    /// up to a quarter by `seed`. So it is never longer than was written.
    #[must_use]
    pub fn wait_millis(&self, made: i32, seed: u64) -> u64 {
        let doublings = u32::try_from(made.saturating_sub(1)).unwrap_or(0);
        let factor = 1_u64.checked_shl(doublings).unwrap_or(u64::MAX);
        let wait = self.initial_millis.saturating_mul(factor).min(self.max_millis);
        let spread = wait / 4;
        wait - mix(seed ^ u64::from(doublings)) % spread.saturating_add(1)
    }
}

/// What the first rule says that names this failure; `None`: none names it.
#[must_use]
pub fn action(rules: &[RetryRule], reason: Reason) -> Option<RetryAction> {
    rules.iter().find(|rule| names(rule, reason)).map(|rule| rule.action)
}

fn names(rule: &RetryRule, reason: Reason) -> bool {
    let named = match reason {
        Reason::Exit(code) => return rule.exit_codes.contains(&i32::from(code)),
        Reason::Signal(_) => RetryReason::Signal,
        Reason::Timeout => RetryReason::Timeout,
        Reason::OutOfMemory => RetryReason::OutOfMemory,
        Reason::NotRunnable => RetryReason::NotRunnable,
        Reason::BadResult => RetryReason::BadResult,
        Reason::ResultTooLarge => RetryReason::ResultTooLarge,
        Reason::InputChanged => RetryReason::InputChanged,
        Reason::UnreadableInput => RetryReason::UnreadableInput,
        Reason::Error => RetryReason::Error,
        Reason::Refused => RetryReason::Refused,
        Reason::Http(status) if rule.http_statuses.contains(&i32::from(status)) => return true,
        Reason::Http(_) => RetryReason::Http,
        Reason::BadAnswer => RetryReason::BadAnswer,
        Reason::OutputExists => RetryReason::OutputExists,
        Reason::BadOutput => RetryReason::BadOutput,
        Reason::OutputNotStored => RetryReason::OutputNotStored,
        Reason::WorkerDied | Reason::Other => return false,
    };
    rule.reasons.contains(&named)
}

/// How often a worker or a shim may die with a partition that it runs alone before the partition is set aside as poison: what its
/// step says, if it says anything.
#[must_use]
pub fn deaths(said: Option<i32>) -> i32 {
    said.unwrap_or(limits::POISON_DEATHS).max(1)
}

/// So many times, for people.
#[must_use]
pub fn times(count: i32) -> String {
    if count == 1 {
        "once".into()
    } else {
        format!("{count} times")
    }
}

/// Spreads the bits of a number over all of its bits: the finaliser of SplitMix64 (Steele, Lea, Flood 2014).
fn mix(seed: u64) -> u64 {
    let mut z = seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests;
