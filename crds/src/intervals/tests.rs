#![allow(clippy::unwrap_used)]
use std::collections::BTreeSet;

use proptest::prelude::*;

use super::*;

fn ranges() -> impl Strategy<Value = Vec<(u64, u64)>> {
    prop::collection::vec((0_u64..200, 0_u64..20), 0..30)
}

fn set(ranges: &[(u64, u64)]) -> (Intervals, BTreeSet<u64>) {
    let mut intervals = Intervals::new();
    let mut model = BTreeSet::new();
    for (start, len) in ranges {
        intervals.insert(PartitionRange::new(*start, start + len));
        model.extend(*start..start + len);
    }
    (intervals, model)
}

proptest! {
    #[test]
    fn is_a_set(a in ranges(), b in ranges(), (start, len) in (0_u64..200, 0_u64..40)) {
        let (mut left, mut left_model) = set(&a);
        let (right, right_model) = set(&b);
        prop_assert_eq!(left.partitions().collect::<BTreeSet<_>>(), left_model.clone());
        prop_assert_eq!(left.len(), left_model.len() as u64);
        let union: BTreeSet<u64> = left_model.union(&right_model).copied().collect();
        prop_assert_eq!(left.union(&right).partitions().collect::<BTreeSet<_>>(), union);

        let range = PartitionRange::new(start, start + len);
        let gaps: BTreeSet<u64> = (start..start + len).filter(|p| !left_model.contains(p)).collect();
        prop_assert_eq!(left.gaps(range).partitions().collect::<BTreeSet<_>>(), gaps.clone());
        prop_assert_eq!(left.covers(range), gaps.is_empty());
        prop_assert_eq!(left.overlaps(range), gaps.len() as u64 != range.len());

        left.remove(range);
        left_model.retain(|partition| !range.contains(*partition));
        prop_assert_eq!(left.partitions().collect::<BTreeSet<_>>(), left_model);
    }

    #[test]
    fn merged_ranges_never_touch(a in ranges()) {
        let (intervals, _) = set(&a);
        let ranges: Vec<_> = intervals.ranges().collect();
        prop_assert!(ranges.is_sorted_by(|before, after| before.end() < after.start()));
    }

    #[test]
    fn both_forms_read_back(a in ranges()) {
        let (intervals, _) = set(&a);
        prop_assert_eq!(&intervals.text().parse::<Intervals>().unwrap(), &intervals);
        if let Some(bitmap) = intervals.bitmap() {
            prop_assert_eq!(bitmap.parse::<Intervals>().unwrap(), intervals);
        }
    }

    #[test]
    fn no_text_panics(text in ".{0,60}", bitmap in "bitmap:[0-9]{1,20}:[A-Za-z0-9+/]{0,40}") {
        let _ = text.parse::<Intervals>();
        let _ = bitmap.parse::<Intervals>();
    }
}

#[test]
fn half_of_a_hundred_thousand_stays_small() {
    let odd: Intervals = (0..50_000).map(|i| PartitionRange::new(i * 2, i * 2 + 1)).collect();
    let text = odd.to_string();
    assert!(text.len() < 17_000, "{}", text.len());
    assert_eq!(odd, text.parse().unwrap());
}

#[test]
fn refuses_what_is_not_in_order() {
    for text in [
        "3-1",
        "5,4",
        "0-3,3",
        "0-3,4",
        "x",
        "1-",
        ",",
        "1-2-3",
        "18446744073709551615",
        "bitmap:x:",
        "bitmap:0",
    ] {
        assert!(text.parse::<Intervals>().is_err(), "{text}");
    }
}
