#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use std::{fs, io::Write as _, path::Path};

use braid_crds::workflow::Format;
use braid_engine::{
    cover::{LineCover, Split},
    plan::{FilePlan, Plan, PlannedFile},
    retry::Reason,
};
use proptest::prelude::*;

use super::{InputError, Reader, lines, modified_nanos, recheck};
use crate::{
    ground::Ground,
    runner::{Data, Input},
};

fn planned(dir: &Path, path: &str, bytes: &[u8]) -> PlannedFile {
    let full = dir.join(path);
    fs::create_dir_all(full.parent().unwrap()).unwrap();
    fs::write(&full, bytes).unwrap();
    let metadata = fs::metadata(&full).unwrap();
    PlannedFile {
        path: path.into(),
        size: metadata.len(),
        modified_nanos: modified_nanos(&metadata),
    }
}

fn plan(files: Vec<PlannedFile>, split: Split) -> Plan {
    let format = matches!(split, Split::Bytes(_)).then_some(Format::Text);
    FilePlan::new(files, format, split).unwrap().into()
}

fn open(plan: &Plan, partition: u64, ground: &Ground, root: &Path, many: bool) -> Result<Input, InputError> {
    Reader::new(ground.clone()).open(plan, partition, root, many)
}

#[test]
fn one_file_keeps_its_name_below_the_pattern() {
    let dir = tempfile::tempdir().unwrap();
    let plan = plan(vec![planned(dir.path(), "books/en/a.txt", b"hello")], Split::Files(1));
    let Input::One { name, data } = open(
        &plan,
        0,
        &Ground::Open(dir.path().to_path_buf()),
        Path::new("books"),
        false,
    )
    .unwrap() else {
        panic!()
    };
    assert_eq!(name.as_deref(), Some("en/a.txt"));
    assert_eq!(data.length(), 5);
}

#[test]
fn many_files_come_in_order_and_small_ones_are_read_at_once() {
    let dir = tempfile::tempdir().unwrap();
    let files = (0..3).map(|n| planned(dir.path(), &format!("f{n}"), &[n; 3])).collect();
    let Input::Many(all) = open(
        &plan(files, Split::Files(9)),
        0,
        &Ground::Open(dir.path().to_path_buf()),
        Path::new(""),
        true,
    )
    .unwrap() else {
        panic!()
    };
    let names: Vec<&str> = all.iter().map(|file| &*file.path).collect();
    assert_eq!(names, ["f0", "f1", "f2"]);
    assert!(matches!(&all[2].data, Data::Bytes(bytes) if bytes[..] == [2, 2, 2]));
}

#[test]
fn a_file_that_is_not_the_planned_one_is_told_apart() {
    let dir = tempfile::tempdir().unwrap();
    let mut file = planned(dir.path(), "a", b"hello");
    let open_it = |file: &PlannedFile| {
        open(
            &plan(vec![file.clone()], Split::Files(1)),
            0,
            &Ground::Open(dir.path().to_path_buf()),
            Path::new(""),
            false,
        )
    };
    assert!(open_it(&file).is_ok());
    file.modified_nanos += 1;
    let error = open_it(&file).unwrap_err();
    assert_eq!(error.reason(), Reason::InputChanged);
    fs::OpenOptions::new()
        .append(true)
        .open(dir.path().join("a"))
        .unwrap()
        .write_all(b"!")
        .unwrap();
    let error = open_it(&file).unwrap_err();
    assert!(error.to_string().contains("6 bytes instead of 5"), "{error}");
    fs::remove_file(dir.path().join("a")).unwrap();
    assert_eq!(open_it(&file).unwrap_err().reason(), Reason::InputChanged);
    fs::create_dir(dir.path().join("a")).unwrap();
    assert!(matches!(open_it(&file), Err(InputError::Changed { .. })));
}

#[test]
fn every_file_of_a_partition_is_looked_at_again() {
    let dir = tempfile::tempdir().unwrap();
    let files = ["a", "b"].map(|name| planned(dir.path(), name, b"hello\n"));
    let joined = plan(files.to_vec(), Split::Files(2));
    let cut = plan(files.to_vec(), Split::Bytes(3));
    let reasons = |plan: &Plan| -> Vec<Option<Reason>> {
        (0..plan.partitions())
            .map(|partition| {
                recheck(plan, partition, &Ground::Open(dir.path().to_path_buf()))
                    .err()
                    .map(|error| error.reason())
            })
            .collect()
    };
    assert_eq!(reasons(&joined), [None]);
    assert_eq!(reasons(&cut), [None; 4]);
    // The same size, another time.
    let other = fs::FileTimes::new().set_modified(std::time::UNIX_EPOCH);
    fs::File::options()
        .write(true)
        .open(dir.path().join("b"))
        .unwrap()
        .set_times(other)
        .unwrap();
    let changed = Some(Reason::InputChanged);
    assert_eq!(reasons(&joined), [changed]);
    assert_eq!(reasons(&cut), [None, None, changed, changed]);
    fs::remove_file(dir.path().join("a")).unwrap();
    assert_eq!(reasons(&cut), [changed; 4]);
}

/// The bytes that the reference gives for a range.
fn by_cover(bytes: &[u8], start: u64, end: u64) -> Vec<u8> {
    let mut cover = LineCover::new(start, end);
    let from = usize::try_from(cover.read_from()).unwrap();
    cover.feed(&bytes[from..]).to_vec()
}

proptest! {
    #[test]
    fn the_borders_give_the_bytes_of_the_line_cover(
        lines in prop::collection::vec("[ab]{0,6}", 0..12),
        ended in any::<bool>(),
        unit in 1..9_u64,
    ) {
        let mut text = lines.join("\n");
        if ended {
            text.push('\n');
        }
        let bytes = text.as_bytes();
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(bytes).unwrap();
        let size = bytes.len() as u64;
        let mut whole = Vec::new();
        for start in (0..size).step_by(usize::try_from(unit).unwrap()) {
            let end = (start + unit).min(size);
            let range = lines::of_range(&file, start, end, size).unwrap();
            let given = &bytes[usize::try_from(range.start).unwrap()..usize::try_from(range.end).unwrap()];
            prop_assert_eq!(given, by_cover(bytes, start, end));
            whole.extend_from_slice(given);
        }
        prop_assert_eq!(whole, bytes);
    }
}
