#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use braid_crds::{PlanDigest, PlanSpec, Round};
use proptest::prelude::*;
use serde_json::json;

use super::*;

fn file(path: &str, size: u64, modified_nanos: i64) -> PlannedFile {
    PlannedFile {
        path: path.into(),
        size,
        modified_nanos,
    }
}

fn files() -> impl Strategy<Value = Vec<PlannedFile>> {
    let path = prop_oneof!["/data/[a-c]{1,3}/[ä€😀x]{0,3}", ".{0,12}"];
    prop::collection::btree_map(path, (0..1_u64 << 50, any::<i64>()), 0..30).prop_map(|files| {
        files
            .iter()
            .map(|(path, (size, modified))| file(path, *size, *modified))
            .collect()
    })
}

fn plan() -> impl Strategy<Value = Plan> {
    let split = prop_oneof![
        (1..100_000_u64).prop_map(Split::Files),
        (1_u64 << 20..1 << 40).prop_map(Split::Bytes),
    ];
    let item = prop_oneof![
        any::<i64>().prop_map(|n| json!(n)),
        ".{0,9}".prop_map(|t| json!({"b": t, "a": [t]}))
    ];
    prop_oneof![
        (files(), split).prop_map(|(files, split)| Plan::Files(FilePlan::new(files, split).unwrap())),
        prop::collection::vec(item, 0..20).prop_map(|items| Plan::items(items).unwrap()),
    ]
}

fn specs(plan: &Plan) -> (PlanDigest, Vec<PlanSpec>) {
    let encoded = plan.encode().unwrap();
    let objects = encoded.objects("w", "0123", "step", Round(2));
    (
        encoded.reference().digest.clone(),
        objects.map(|(_, spec)| spec).collect(),
    )
}

/// Objects whose digest is right, whatever their bytes.
fn sealed(canonical: &[u8]) -> (PlanDigest, PlanSpec) {
    chunks::sealed_for_tests(canonical)
}

proptest! {
    #[test]
    fn plans_read_back(plan in plan()) {
        let (digest, specs) = specs(&plan);
        prop_assert_eq!(Plan::decode(&digest, &specs).unwrap(), plan.clone());
        prop_assert_eq!(plan.encode().unwrap().reference().partitions, plan.partitions());
    }

    #[test]
    fn a_changed_byte_is_noticed(plan in plan(), at: prop::sample::Index, byte in "[A-Za-z0-9+/]") {
        let (digest, mut specs) = specs(&plan);
        let at = at.index(specs[0].data.len());
        prop_assume!(specs[0].data[at..=at] != byte);
        specs[0].data.replace_range(at..=at, &byte);
        prop_assert!(Plan::decode(&digest, &specs).is_err());
    }

    #[test]
    fn garbage_with_a_right_digest_never_panics(plan in plan(), at: prop::sample::Index, with in prop::collection::vec(any::<u8>(), 0..12)) {
        let mut canonical = bytes::encode(&plan).unwrap();
        let at = at.index(canonical.len());
        let end = canonical.len().min(at + with.len());
        canonical.splice(at..end, with);
        let (digest, spec) = sealed(&canonical);
        if let Ok(read) = Plan::decode(&digest, [&spec]) {
            prop_assert!(read.encode().is_ok());
        }
    }
}

#[test]
fn partitions_are_what_was_planned() {
    let list = vec![file("a", 10, 1), file("b", 0, 2), file("c", 5, 3)];
    let by_bytes = Plan::Files(FilePlan::new(list.clone(), Split::Bytes(4)).unwrap());
    assert_eq!(by_bytes.partitions(), 5);
    let (c, a) = (&list[2], &list[0]);
    assert_eq!(
        by_bytes.partition(2),
        Some(Partition::Bytes {
            file: a,
            start: 8,
            end: 10
        })
    );
    assert_eq!(
        by_bytes.partition(3),
        Some(Partition::Bytes {
            file: c,
            start: 0,
            end: 4
        })
    );
    assert_eq!(by_bytes.partition(5), None);
    let by_files = Plan::Files(FilePlan::new(list.clone(), Split::Files(2)).unwrap());
    assert_eq!(by_files.partition(0), Some(Partition::Files(&list[..2])));
    assert_eq!(by_files.partition(1), Some(Partition::Files(&list[2..])));
    assert_eq!(by_files.partition(2), None);
    let reference = by_files.encode().unwrap().reference().clone();
    assert_eq!(
        (reference.partitions, reference.files, reference.bytes, reference.chunks),
        (2, 3, 15, 1)
    );
    let items = Plan::items(vec![json!(1), json!({"b": 1, "a": 2})]).unwrap();
    assert_eq!(items.partition(1), Some(Partition::Item(&json!({"b": 1, "a": 2}))));
    assert_eq!(items.partition(2), None);
}

#[test]
fn lists_out_of_order_are_refused() {
    for paths in [["b", "a"], ["a", "a"]] {
        let files = paths.map(|path| file(path, 1, 1)).to_vec();
        assert_eq!(
            FilePlan::new(files, Split::Files(1)),
            Err(PlanError::Order(paths[1].into()))
        );
    }
    let long = "x".repeat(PATH_BYTES + 1);
    assert!(matches!(
        FilePlan::new(vec![file(&long, 1, 1)], Split::Files(1)),
        Err(PlanError::Path(_))
    ));
    assert!(matches!(
        Plan::items(vec![json!(1); limits::ITEMS + 1]),
        Err(PlanError::TooLarge { .. })
    ));
    let heavy = Plan::items(vec![json!("x".repeat(ITEMS_BYTES))]).unwrap();
    assert!(matches!(heavy.encode(), Err(PlanError::TooLarge { .. })));
}

#[test]
fn large_plans_take_several_objects() {
    // Names that do not deflate.
    let mut state = 1_u64;
    let mut word = || {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        state
    };
    let mut list: Vec<_> = (0..60_000)
        .map(|_| file(&format!("{:016x}{:016x}", word(), word()), word() >> 20, 0))
        .collect();
    list.sort_by(|left, right| left.path.cmp(&right.path));
    let plan = Plan::Files(FilePlan::new(list, Split::Files(1)).unwrap());
    let (digest, mut specs) = specs(&plan);
    assert!((2..=8).contains(&specs.len()), "{} objects", specs.len());
    specs.reverse();
    assert_eq!(Plan::decode(&digest, &specs).unwrap(), plan);
    let missing = &specs[1..];
    assert!(matches!(Plan::decode(&digest, missing), Err(PlanError::Chunks(_))));
    assert!(matches!(Plan::decode(&digest, &[]), Err(PlanError::Chunks(_))));
    let other = PlanDigest("sha256:0".into());
    assert!(matches!(Plan::decode(&other, &specs), Err(PlanError::Chunks(_))));
}

#[test]
fn what_inflates_without_end_is_cut_off() {
    let deflated = chunks::deflate(&[0; 10_001]).unwrap();
    assert_eq!(chunks::inflate(&deflated, 10_000), None);
    assert_eq!(chunks::inflate(&deflated, 10_001), Some(vec![0; 10_001]));
    assert_eq!(chunks::inflate(&deflated[..deflated.len() - 1], 10_001), None);
}

#[test]
fn short_entries_of_long_paths_are_cut_off() {
    // Each entry is a few bytes and stands for a path of 4 kB.
    let mut canonical = b"BRAIDPLAN\x01\x01\x01".to_vec();
    let count = 300_usize;
    crate::varint::put(&mut canonical, count as u128);
    for index in 0..count {
        let (shared, rest) = if index == 0 {
            (0, "x".repeat(PATH_BYTES - 20))
        } else {
            (PATH_BYTES - 20, format!("{index:08}"))
        };
        crate::varint::put(&mut canonical, shared as u128);
        crate::varint::put_text(&mut canonical, &rest);
        canonical.extend_from_slice(&[0, 0]);
    }
    assert!(canonical.len() < 20 << 10);
    let refused = bytes::decode_within(&canonical, 1 << 20);
    assert_eq!(refused, Err(PlanError::Malformed(crate::varint::ReadError::Number)));
}

#[test]
fn the_same_files_have_the_same_names() {
    let plan = |modified| Plan::Files(FilePlan::new(vec![file("a", 1, modified)], Split::Files(1)).unwrap());
    let names = |modified, step| -> Vec<String> {
        let encoded = plan(modified).encode().unwrap();
        encoded
            .objects("a-workflow-with.a.long-.-name", "0F3b-21c4-77", step, Round(0))
            .map(|(name, _)| name)
            .collect()
    };
    assert_eq!(names(1, "s"), names(1, "s"));
    assert_ne!(names(1, "s"), names(2, "s"));
    assert_ne!(names(1, "s"), names(1, "t"));
    let name = &names(1, "s")[0];
    assert!(
        name.starts_with("a-workflow-with.a.long-0f3b21c4-") && name.ends_with("-0"),
        "{name}"
    );
    let (_, ours) = specs(&plan(1));
    let mut there = ours[0].clone();
    there.round = Round(0);
    assert!(holds_same(&there, &ours[0]));
    there.data.push('=');
    assert!(!holds_same(&there, &ours[0]));
}
