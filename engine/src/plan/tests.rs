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

/// Files with what could have been found in them.
fn file_plan() -> impl Strategy<Value = FilePlan> {
    let plain = |format: &'static [Option<Format>]| prop::sample::select(format);
    let split = |format: Option<Format>| match format {
        None => (1..100_000_u64).prop_map(Split::Files).boxed(),
        Some(Format::Parquet) => prop_oneof![
            (1..100_000_u64).prop_map(Split::Files),
            (1..9_u64).prop_map(Split::RowGroups)
        ]
        .boxed(),
        Some(_) => prop_oneof![
            (1..100_000_u64).prop_map(Split::Files),
            (1_u64 << 20..1 << 40).prop_map(Split::Bytes),
            (1..100_000_u64).prop_map(Split::Rows),
        ]
        .boxed(),
    };
    let formats = &[
        None,
        Some(Format::Text),
        Some(Format::Csv),
        Some(Format::JsonLines),
        Some(Format::Parquet),
    ];
    let format_and_split = plain(formats).prop_flat_map(move |format| (Just(format), split(format)));
    let looks = prop::collection::vec((any::<u32>(), prop::collection::btree_set(any::<u64>(), 0..9)), 30);
    (files(), format_and_split, looks).prop_map(|(files, (format, split), looks)| {
        let found = match FilePlan::needs(format, split) {
            Needs::Nothing => Found::Nothing,
            Needs::RowGroups => Found::RowGroups {
                groups: looks.iter().map(|(n, _)| n % 100).take(files.len()).collect(),
                columns: looks.iter().take(files.len() % 4).map(|(n, _)| n.to_string()).collect(),
            },
            Needs::Records => Found::Records(
                files
                    .iter()
                    .zip(&looks)
                    .map(|(file, (header, starts))| {
                        let header = u64::from(*header).min(file.size);
                        let inside: std::collections::BTreeSet<u64> = (starts.iter())
                            .filter(|_| header < file.size)
                            .map(|start| header + start % (file.size - header))
                            .collect();
                        Records {
                            header,
                            starts: inside.into_iter().collect(),
                        }
                    })
                    .collect(),
            ),
        };
        FilePlan::with(files, format, split, found).unwrap()
    })
}

fn reads() -> impl Strategy<Value = Vec<Read>> {
    let format = prop::sample::select(&[None, Some(Format::Csv), Some(Format::Parquet)]);
    let lists = prop::collection::btree_map("[a-z]{1,3}", (files(), format), 0..4);
    lists.prop_map(|lists| {
        lists
            .into_iter()
            .map(|(data, (files, format))| Read {
                data: data.into(),
                format,
                files,
            })
            .collect()
    })
}

fn plan() -> impl Strategy<Value = Plan> {
    let item = prop_oneof![
        any::<i64>().prop_map(|n| json!(n)),
        ".{0,9}".prop_map(|t| json!({"b": t, "a": [t]}))
    ];
    let body = prop_oneof![
        4 => file_plan().prop_map(Plan::from),
        2 => prop::collection::vec(item, 0..20).prop_map(|items| Plan::items(items).unwrap()),
        1 => Just(Plan::numbers()),
    ];
    (body, reads()).prop_map(|(plan, reads)| plan.reading(reads).unwrap())
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
    let by_bytes = Plan::from(FilePlan::new(list.clone(), Some(Format::Text), Split::Bytes(4)).unwrap());
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
    let by_files = Plan::from(FilePlan::new(list.clone(), None, Split::Files(2)).unwrap());
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
            FilePlan::new(files, None, Split::Files(1)),
            Err(PlanError::Order(paths[1].into()))
        );
    }
    let long = "x".repeat(PATH_BYTES + 1);
    assert!(matches!(
        FilePlan::new(vec![file(&long, 1, 1)], None, Split::Files(1)),
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
    let plan = Plan::from(FilePlan::new(list, None, Split::Files(1)).unwrap());
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
    let plan = |modified| Plan::from(FilePlan::new(vec![file("a", 1, modified)], None, Split::Files(1)).unwrap());
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

#[test]
fn what_was_found_must_go_with_the_files() {
    let csv = |header, starts: &[u64]| {
        let records = Records {
            header,
            starts: starts.to_vec(),
        };
        let found = Found::Records(vec![records]);
        FilePlan::with(vec![file("a", 10, 1)], Some(Format::Csv), Split::Rows(1), found)
    };
    let plan = Plan::from(csv(3, &[3, 7]).unwrap());
    let records = |start, end| {
        Partition::Records {
            file: &PlannedFile {
                path: "a".into(),
                size: 10,
                modified_nanos: 1,
            },
            header: 3,
            start,
            end,
        } == plan.partition(u64::from(start == 7)).unwrap()
    };
    assert!(records(3, 7) && records(7, 10) && plan.partition(2).is_none());
    for (header, starts) in [(11, &[][..]), (3, &[2]), (3, &[10]), (3, &[4, 4]), (3, &[5, 4])] {
        assert_eq!(csv(header, starts), Err(PlanError::Found), "{header} {starts:?}");
    }
    let none = FilePlan::new(vec![file("a", 10, 1)], Some(Format::Csv), Split::Rows(1));
    assert_eq!(none, Err(PlanError::Found));
    let groups = Found::RowGroups {
        groups: vec![5],
        columns: vec!["a".into()],
    };
    let plan = FilePlan::with(
        vec![file("a", 10, 1)],
        Some(Format::Parquet),
        Split::RowGroups(2),
        groups,
    );
    let plan = Plan::from(plan.unwrap());
    let last = match plan.partition(2) {
        Some(Partition::RowGroups { groups, .. }) => groups,
        other => panic!("{other:?}"),
    };
    assert_eq!((plan.partitions(), last), (3, 4..5));
}

#[test]
fn files_of_one_directory_keep_names_of_their_own() {
    let files = |paths: &[&str]| paths.iter().map(|path| file(path, 1, 1)).collect::<Vec<_>>();
    for (paths, name) in [
        (&["a.csv", "a.csv.gz"][..], "a.csv"),
        (&["b.csv.gz", "b.csv.zst"], "b.csv"),
    ] {
        let together = FilePlan::new(files(paths), Some(Format::Csv), Split::Files(2));
        assert_eq!(together, Err(PlanError::SameName(name.into())));
        assert!(FilePlan::new(files(paths), Some(Format::Csv), Split::Files(1)).is_ok());
        assert!(FilePlan::new(files(paths), None, Split::Files(2)).is_ok());
        let read = Read {
            data: "d".into(),
            format: Some(Format::Csv),
            files: files(paths),
        };
        assert_eq!(
            Plan::numbers().reading(vec![read]),
            Err(PlanError::SameName(name.into()))
        );
    }
}
