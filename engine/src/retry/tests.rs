#![allow(clippy::unwrap_used)]
use proptest::prelude::*;

use super::*;

const POLICY: Policy = Policy {
    attempts: 5,
    initial_millis: 1_000,
    max_millis: 5_000,
    rules: Vec::new(),
    deaths: 3,
};

/// `POLICY` with rules.
fn ruled(rules: &serde_json::Value) -> Policy {
    Policy {
        rules: serde_json::from_value(rules.clone()).unwrap(),
        ..POLICY
    }
}

#[test]
fn the_first_rule_that_names_a_failure_decides() {
    let policy = ruled(&serde_json::json!([
        {"exitCodes": [64, 65], "reasons": ["Timeout"], "action": "FailPartition"},
        {"exitCodes": [66], "reasons": ["Signal"], "action": "FailStep"},
        {"exitCodes": [64], "reasons": ["BadResult", "OutOfMemory", "HTTP"], "action": "Retry"},
    ]));
    let after = |made, reason| policy.after(made, reason, 0, 0);
    for reason in [Reason::Exit(64), Reason::Exit(65), Reason::Timeout] {
        assert_eq!(Decision::Fail, after(1, reason), "{reason}");
    }
    for reason in [Reason::Exit(66), Reason::Signal(11)] {
        assert_eq!(Decision::FailStep, after(1, reason), "{reason}");
    }
    for reason in [
        Reason::BadResult,
        Reason::OutOfMemory,
        Reason::Http(404),
        Reason::Exit(1),
        Reason::UnreadableInput,
    ] {
        assert!(matches!(after(1, reason), Decision::Defer { .. }), "{reason}");
        assert_eq!(
            Decision::Fail,
            after(5, reason),
            "attempts are a limit all the same: {reason}"
        );
    }
    // Named by none: as without rules.
    assert_eq!(Decision::Fail, after(1, Reason::InputChanged));
    assert_eq!(Decision::Fail, after(1, Reason::WorkerDied));
}

#[test]
fn statuses_are_told_apart() {
    let policy = ruled(&serde_json::json!([
        {"httpStatuses": [404, 410], "action": "Retry"},
        {"httpStatuses": [501], "exitCodes": [4], "action": "FailStep"},
        {"reasons": ["HTTP"], "action": "FailPartition"},
    ]));
    let after = |status| policy.after(1, Reason::Http(status), 0, 0);
    for status in [404, 410] {
        assert!(matches!(after(status), Decision::Defer { .. }), "{status}");
    }
    assert_eq!(Decision::FailStep, after(501));
    assert_eq!([Decision::Fail, Decision::Fail], [after(400), after(500)]);
    // The numbers of codes are no statuses, and the other way round.
    assert!(matches!(
        policy.after(1, Reason::Exit(44), 0, 0),
        Decision::Defer { .. }
    ));
}

#[test]
fn the_wait_doubles_up_to_the_longest() {
    for (made, longest) in [(1, 1_000), (2, 2_000), (3, 4_000), (4, 5_000), (400, 5_000)] {
        for seed in 0..200 {
            let wait = POLICY.wait_millis(made, seed);
            assert!(wait <= longest && wait >= longest - longest / 4, "{made} {seed} {wait}");
        }
    }
}

#[test]
fn partitions_that_fail_together_do_not_return_together() {
    let waits: std::collections::BTreeSet<u64> = (0..100).map(|seed| POLICY.wait_millis(1, seed)).collect();
    assert!(waits.len() > 50, "{} different waits of 100", waits.len());
}

#[test]
fn the_last_attempt_is_the_last() {
    assert!(matches!(POLICY.after(4, Reason::Exit(1), 0, 0), Decision::Defer { .. }));
    assert_eq!(POLICY.after(5, Reason::Exit(1), 0, 0), Decision::Fail);
    assert_eq!(POLICY.after(1, Reason::BadResult, 0, 0), Decision::Fail);
    assert_eq!(POLICY.after(1, Reason::InputChanged, 0, 0), Decision::Fail);
    assert_eq!(POLICY.after(1, Reason::Http(404), 0, 0), Decision::Fail);
    assert_eq!(POLICY.after(1, Reason::Refused, 0, 0), Decision::Fail);
    for again in [Reason::Http(500), Reason::Http(429), Reason::Error, Reason::BadAnswer] {
        assert!(matches!(POLICY.after(1, again, 0, 0), Decision::Defer { .. }));
    }
}

#[test]
fn a_short_wait_stays_with_the_worker() {
    let policy = Policy {
        initial_millis: 50,
        ..POLICY
    };
    assert!(matches!(
        policy.after(1, Reason::Timeout, 7, 3),
        Decision::Again { after_millis: 38..=50 }
    ));
    let at = |millis| POLICY.after(1, Reason::Timeout, millis, 3);
    let Decision::Defer { not_before } = at(0) else {
        unreachable!("a second is long")
    };
    assert_eq!(
        at(50),
        Decision::Defer {
            not_before: not_before + 50
        }
    );
}

proptest! {
    #[test]
    fn no_numbers_panic(attempts: i32, initial: u64, max: u64, made: i32, now: i64, seed: u64) {
        let policy = Policy { attempts, initial_millis: initial, max_millis: max, rules: Vec::new(), deaths: 3 };
        prop_assert!(policy.wait_millis(made, seed) <= max);
        let decision = policy.after(made, Reason::Signal(9), now, seed);
        prop_assert_eq!(decision, policy.after(made, Reason::Signal(9), now, seed));
        prop_assert_eq!(decision == Decision::Fail, made >= attempts);
    }

    #[test]
    fn reasons_read_back(number: u8, name in "[A-Za-z0-9]{0,12}") {
        for reason in [Reason::Exit(number), Reason::Signal(number), Reason::Timeout, Reason::Other, Reason::WorkerDied,
            Reason::Error, Reason::Refused, Reason::BadAnswer, Reason::Http(u16::from(number) + 400)] {
            prop_assert_eq!(Reason::from(reason.to_string().as_str()), reason);
        }
        let _ = Reason::from(name.as_str());
    }
}
