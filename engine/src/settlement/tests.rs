#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use braid_crds::{status::FailureCause, workflow::Reduce};
use proptest::prelude::*;

use super::*;

fn specs() -> Vec<ResultSpec> {
    vec![ResultSpec {
        name: "n".into(),
        reduce: Reduce::Sum,
        ..ResultSpec::default()
    }]
}

fn declared() -> Fold {
    Fold::new(&reduce::declared(&specs()))
}

/// How a partition ends.
#[derive(Clone, Debug)]
enum End {
    Succeeds(String),
    Fails(Reason, i32, String),
}

fn end(reasons: u8) -> impl Strategy<Value = End> {
    let given = prop_oneof![
        (0..1_000_u32).prop_map(|n| format!("{{\"n\": {n}}}")),
        (0..1_000_u32).prop_map(|n| format!("{n}.1")),
        Just(String::new()),
    ];
    prop_oneof![
        given.prop_map(End::Succeeds),
        (0..reasons, 1..4, "[äx\n]{0,3}").prop_map(|(code, attempts, message)| End::Fails(
            Reason::Exit(code),
            attempts,
            message
        )),
    ]
}

fn settle(settlement: &mut Settlement, partition: u64, end: &End) {
    match end {
        End::Succeeds(results) => settlement
            .succeed(&declared(), partition, &RawResults(results.as_bytes()))
            .unwrap(),
        End::Fails(reason, attempts, message) => {
            assert!(settlement.fail(partition, *reason, *attempts, message));
            settlement.retry(attempts.unsigned_abs().into());
        }
    }
}

/// As a commit and a status go: through the objects' fields.
fn through_wire(settlement: &Settlement) -> Settlement {
    let mut shard = ShardStatus::default();
    settlement.write_to_shard_status(&mut shard);
    let text = serde_json::to_string(&shard).unwrap();
    assert!(
        text.len() <= settlement.encoded_len(),
        "{} > {}",
        text.len(),
        settlement.encoded_len()
    );
    let shard =
        Settlement::from_shard_status(&reduce::declared(&specs()), &serde_json::from_str(&text).unwrap()).unwrap();
    let mut step = StepStatus::default();
    shard.write_to_step_status(&specs(), &mut step);
    let step: StepStatus = serde_json::from_value(serde_json::to_value(step).unwrap()).unwrap();
    Settlement::from_step_status(&specs(), &step).unwrap()
}

fn ends(reasons: u8) -> impl Strategy<Value = Vec<(u64, End, u32, usize)>> {
    prop::collection::vec((end(reasons), any::<u32>(), 0..4_usize), 0..40).prop_map(|ends| {
        (0..)
            .zip(ends)
            .map(|(partition, (end, place, part))| (partition, end, place, part))
            .collect()
    })
}

fn merged(parts: &[Settlement; 4], order: [usize; 4], written: bool) -> Settlement {
    let mut merged = Settlement::default();
    for part in order {
        merged.merge(&parts[part]).unwrap();
        if written {
            merged = through_wire(&merged);
        }
    }
    merged
}

fn split(ends: &[(u64, End, u32, usize)]) -> (Settlement, [Settlement; 4]) {
    let mut straight = Settlement::default();
    let mut shuffled: Vec<_> = ends.iter().collect();
    shuffled.sort_by_key(|(_, _, place, _)| *place);
    let mut parts: [Settlement; 4] = Default::default();
    for (partition, end, ..) in ends {
        settle(&mut straight, *partition, end);
    }
    for (partition, end, _, part) in shuffled {
        settle(&mut parts[*part], *partition, end);
    }
    (straight, parts)
}

proptest! {
    #[test]
    fn no_set_is_longer_than_was_said(start in 0..1_u64 << 39, steps in prop::collection::vec((1..4_u64, 1..9_u64), 0..1_600), wide in prop_oneof![Just(1_u64), Just(1_000)]) {
        let mut at = start;
        let failed: Intervals = steps
            .into_iter()
            .map(|(length, gap)| {
                let range = PartitionRange::new(at, at + length);
                at = range.end() + gap * wide;
                range
            })
            .collect();
        let (length, at_most) = (failed.to_string().len(), intervals_len_at_most(&failed));
        prop_assert!(length <= at_most, "{length} > {at_most}");
    }

    #[test]
    fn any_split_and_order_are_equal(ends in ends(10), order in Just([0, 1, 2, 3]).prop_shuffle(), written: bool) {
        let (straight, parts) = split(&ends);
        prop_assert_eq!(&merged(&parts, order, written), &straight);
        prop_assert_eq!(&through_wire(&straight), &straight);
    }

    #[test]
    fn with_more_reasons_than_a_status_names_the_total_stays(ends in ends(40), order in Just([0, 1, 2, 3]).prop_shuffle()) {
        let (straight, parts) = split(&ends);
        let merged = merged(&parts, order, true);
        prop_assert_eq!(merged.causes().total(), straight.failed().len());
        prop_assert_eq!((merged.failed(), merged.fold(), merged.retried()), (straight.failed(), straight.fold(), straight.retried()));
        prop_assert!(merged.causes().commonest().len() <= limits::FAILURE_CAUSES);
    }

    #[test]
    fn messages_fit_a_status(message in ".{0,700}") {
        let mut settlement = Settlement::default();
        settlement.fail(3, Reason::Timeout, 1, &message);
        let kept = &settlement.causes().commonest()[0].message;
        prop_assert!(kept.len() <= limits::MESSAGE_BYTES && message.starts_with(kept.as_str()));
        prop_assert!(kept.len() + 4 > message.len().min(limits::MESSAGE_BYTES));
    }
}

#[test]
fn the_lowest_partition_is_the_sample() {
    let mut settlement = Settlement::default();
    settlement.fail(7, Reason::Exit(1), 3, "seven");
    settlement.fail(4, Reason::Exit(1), 2, "four");
    settlement.fail(9, Reason::Exit(1), 1, "nine");
    settlement.fail(1, Reason::Timeout, 1, "one");
    assert!(
        !settlement.fail(1, Reason::Timeout, 1, "again"),
        "a partition fails once"
    );
    let cause = |reason: &str, partitions: &str, count, sample, attempts, message: &str| FailureCause {
        reason: reason.into(),
        count,
        partitions: partitions.parse().unwrap(),
        sample,
        attempts,
        message: message.into(),
    };
    assert_eq!(
        settlement.causes().commonest(),
        [
            cause("Exit1", "4,7,9", 3, 4, 2, "four"),
            cause("Timeout", "1", 1, 1, 1, "one")
        ]
    );
}

#[test]
fn of_each_cause_the_lowest_partitions_are_known_in_whatever_order_they_fail() {
    let failing = |partitions: &mut dyn Iterator<Item = u64>| {
        let mut settlement = Settlement::default();
        for partition in partitions {
            settlement.fail(partition, Reason::Exit(1), 1, "");
        }
        settlement
    };
    let merged = |parts: &[Settlement]| {
        let mut merged = Settlement::default();
        for part in parts {
            merged = through_wire(&merged);
            merged.merge(part).unwrap();
        }
        merged
    };
    let parts: Vec<Settlement> = (0..5)
        .map(|part| failing(&mut (0..400).map(|n| (n * 5 + part) * 3)))
        .collect();
    let mut backwards = parts.clone();
    backwards.reverse();
    let causes = merged(&parts).causes().commonest();
    assert_eq!(causes, merged(&backwards).causes().commonest());
    let lowest: Vec<u64> = (0..1_000).map(|n| n * 3).collect();
    assert_eq!(
        (2_000, lowest),
        (causes[0].count, causes[0].partitions.partitions().collect())
    );
}

#[test]
fn an_edited_status_is_not_believed() {
    let mut settlement = Settlement::default();
    settlement.fail(7, Reason::Exit(1), 3, "seven");
    let mut status = ShardStatus::default();
    settlement.write_to_shard_status(&mut status);
    let edits: [fn(&mut ShardStatus); 6] = [
        |status| status.failures[0].count = 2,
        |status| status.failures[0].sample = 8,
        |status| status.failures[0].partitions = "8".parse().unwrap(),
        |status| status.failures[0].partitions = "7-8".parse().unwrap(),
        |status| status.failures.clear(),
        |status| status.failed = "7-8".parse().unwrap(),
    ];
    for edit in edits {
        let mut edited = status.clone();
        edit(&mut edited);
        assert_eq!(
            Settlement::from_shard_status(&[], &edited),
            Err(SettlementError::Causes)
        );
    }
    let mut twice = settlement.clone();
    assert_eq!(twice.merge(&settlement), Err(SettlementError::Overlap));
}

#[test]
fn a_full_commit_is_known_before_it_is_written() {
    let mut settlement = Settlement::default();
    let mut failed = 0;
    while settlement.fits(0).is_ok() {
        // Far apart: each is an interval of its own, and a bitmap would be longer.
        settlement.fail(failed * 1_000, Reason::Exit(1), 1, "");
        failed += 1;
    }
    let mut status = ShardStatus::default();
    settlement.write_to_shard_status(&mut status);
    let length = serde_json::to_string(&status).unwrap().len();
    assert!(
        (limits::SHARD_BYTES * 8 / 10..=limits::SHARD_BYTES).contains(&length),
        "{length} after {failed}"
    );
}

#[test]
fn reasons_to_stop_do_not_depend_on_the_order() {
    let fatal = |reason: &str| Fatal {
        reason: reason.into(),
        message: String::new(),
    };
    let mut stops = [Settlement::default(), Settlement::default(), Settlement::default()];
    stops[1].stop(&fatal("ResultTooLarge"));
    stops[2].stop(&fatal("NoFiles"));
    for order in [[0, 1, 2], [2, 1, 0], [1, 2, 0]] {
        let mut merged = Settlement::default();
        for stop in order {
            merged.merge(&stops[stop]).unwrap();
        }
        assert_eq!(merged.fatal(), Some(&fatal("NoFiles")));
    }
}
