//! Rounds of a step that repeats: whether another follows, and when.
//!
//! The wait is a time on the wall clock in the status, so that it survives an operator. Clocks may be set: a wait that is longer than
//! it can be is begun anew, so that no step waits for a clock that was wrong.

use std::time::Duration;

use braid_crds::{status::RepeatStatus, workflow::Repeat};

/// The reason of a step that has repeated as often as it may: of its last round nothing is to be tried again.
pub const EXHAUSTED: &str = "RepeatExhausted";

/// What follows a round that has succeeded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum After {
    /// Its results are as wanted.
    Done(RepeatStatus),
    /// Another round.
    Again(RepeatStatus),
    /// No round is left.
    Exhausted(RepeatStatus),
}

/// What follows the round that ends now, the step's `known` rounds being before it.
#[must_use]
pub fn after_round(repeat: &Repeat, known: Option<&RepeatStatus>, holds: bool, now_millis: i64) -> After {
    let rounds = known.map_or(0, |known| known.rounds).saturating_add(1);
    let status = |next_at| RepeatStatus {
        rounds,
        next_at,
        started_at: None,
    };
    if holds {
        After::Done(status(None))
    } else if rounds >= repeat.max {
        After::Exhausted(status(None))
    } else {
        After::Again(status(Some(now_millis.saturating_add(every_millis(repeat)))))
    }
}

/// How a wait stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wait {
    /// The next round begins.
    Due,
    /// So long still.
    Left(Duration),
    /// It is longer than it can be, because the clock was set: it ends at this time instead, in milliseconds.
    Anew(i64),
}

/// How the wait until `next_at` stands.
#[must_use]
pub fn wait(repeat: &Repeat, next_at: i64, now_millis: i64) -> Wait {
    let left = next_at.saturating_sub(now_millis);
    let every = every_millis(repeat);
    if left <= 0 {
        Wait::Due
    } else if left > every {
        Wait::Anew(now_millis.saturating_add(every))
    } else {
        Wait::Left(Duration::from_millis(left.unsigned_abs()))
    }
}

fn every_millis(repeat: &Repeat) -> i64 {
    let every = repeat.every.as_ref().map_or(Duration::ZERO, braid_crds::Duration::get);
    i64::try_from(every.as_millis()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::panic)]
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn repeat(max: i32, every: Option<&str>) -> Repeat {
        serde_json::from_value(json!({"until": "true", "max": max, "every": every})).unwrap()
    }

    #[test]
    fn counts_to_its_maximum() {
        let repeat = repeat(3, Some("1m"));
        let mut known: Option<RepeatStatus> = None;
        for round in 1..3 {
            let After::Again(next) = after_round(&repeat, known.as_ref(), false, 1_000) else {
                panic!("round {round}")
            };
            assert_eq!((round, Some(61_000)), (next.rounds, next.next_at));
            known = Some(next);
        }
        let last = RepeatStatus {
            rounds: 3,
            ..RepeatStatus::default()
        };
        assert_eq!(
            After::Exhausted(last.clone()),
            after_round(&repeat, known.as_ref(), false, 0)
        );
        assert_eq!(After::Done(last), after_round(&repeat, known.as_ref(), true, 0));
    }

    #[test]
    fn without_a_wait_the_next_round_is_due_at_once() {
        let repeat = repeat(3, None);
        let After::Again(next) = after_round(&repeat, None, false, 5) else {
            panic!()
        };
        assert_eq!(Wait::Due, wait(&repeat, next.next_at.unwrap(), 5));
    }

    proptest! {
        /// Whatever the clock does, nobody waits longer than `every` from when he looks, and a wait ends when its time has come.
        #[test]
        fn no_clock_makes_a_wait_longer(next_at in any::<i64>(), now in any::<i64>(), seconds in 1_u32..100_000) {
            let repeat = repeat(2, Some(&format!("{seconds}s")));
            let every = i64::from(seconds) * 1_000;
            match wait(&repeat, next_at, now) {
                Wait::Due => prop_assert!(next_at <= now),
                Wait::Left(left) => {
                    prop_assert!(next_at > now);
                    prop_assert!(left.as_millis() <= every.unsigned_abs().into());
                }
                Wait::Anew(at) => {
                    prop_assert!(next_at > now);
                    prop_assert!(matches!(wait(&repeat, at, now), Wait::Left(_)) || at == i64::MAX);
                }
            }
        }
    }
}
