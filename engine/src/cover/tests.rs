#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

use proptest::prelude::*;

use super::*;

/// Reads one range of a file in chunks of the given sizes, as a worker does.
fn read(file: &[u8], start: u64, end: u64, mut chunk: usize) -> (Vec<u8>, usize) {
    let mut lines = LineCover::new(start, end);
    let mut at = usize::try_from(lines.read_from()).unwrap();
    let (mut given, mut fed) = (Vec::new(), 0);
    while !lines.is_done() && at < file.len() {
        let next = &file[at..file.len().min(at + chunk)];
        given.extend_from_slice(lines.feed(next));
        at += next.len();
        fed += next.len();
        chunk = chunk % 7 + 1;
    }
    (given, fed)
}

/// What a range owns, said the slow way: whole lines by their first byte.
fn owned(file: &[u8], start: u64, end: u64) -> Vec<u8> {
    let mut offset = 0_u64;
    let mut lines = Vec::new();
    for line in file.split_inclusive(|byte| *byte == b'\n') {
        if (start..end).contains(&offset) {
            lines.extend_from_slice(line);
        }
        offset += line.len() as u64;
    }
    lines
}

fn text() -> impl Strategy<Value = Vec<u8>> {
    let part = prop_oneof![
        Just("\n".to_owned()),
        Just("\r\n".to_owned()),
        Just("ä€😀".to_owned()),
        "[a-c]{0,9}",
        "x{30,60}",
    ];
    prop::collection::vec(part, 0..30).prop_map(|parts| parts.concat().into_bytes())
}

proptest! {
    #[test]
    fn the_partitions_of_bytes_are_the_file(file in text(), unit in 1..40_u64, chunk in 1..50_usize) {
        let size = file.len() as u64;
        let cover = Cover::new(Split::Bytes(unit), [size]).unwrap();
        prop_assert_eq!(cover.partitions(), size.div_ceil(unit));
        let mut whole = Vec::new();
        for partition in 0..cover.partitions() {
            let Some(Piece::Bytes { start, end, .. }) = cover.piece(partition) else { panic!("no piece {partition}") };
            let (given, _) = read(&file, start, end, chunk);
            prop_assert_eq!(&given, &owned(&file, start, end));
            whole.extend(given);
        }
        prop_assert_eq!(whole, file);
        prop_assert_eq!(cover.piece(cover.partitions()), None);
    }

    #[test]
    fn pieces_follow_one_another(sizes in prop::collection::vec(0..100_u64, 0..20), unit in 1..40_u64) {
        let cover = Cover::new(Split::Bytes(unit), sizes.iter().copied()).unwrap();
        let mut pieces = (0..cover.partitions()).map(|partition| cover.piece(partition).unwrap());
        for (index, expected) in sizes.iter().enumerate() {
            let mut from = 0;
            while from < *expected {
                let Some(Piece::Bytes { file, start, end, size }) = pieces.next() else { panic!("too few pieces") };
                prop_assert_eq!((file, start, size), (index, from, *expected));
                prop_assert!(start < end && end <= size && end - start <= unit);
                from = end;
            }
        }
        prop_assert_eq!(pieces.next(), None);

        let cover = Cover::new(Split::Files(unit), sizes.iter().copied()).unwrap();
        let files: Vec<usize> = (0..cover.partitions())
            .flat_map(|partition| match cover.piece(partition) {
                Some(Piece::Files(files)) => files,
                other => panic!("{other:?}"),
            })
            .collect();
        prop_assert_eq!(files, (0..sizes.len()).collect::<Vec<_>>());
    }
}

#[test]
fn a_giant_line_is_read_by_its_owner_alone() {
    let mut file = vec![b'x'; 1_000];
    file.push(b'\n');
    file.extend_from_slice(b"next\n");
    let (given, fed) = read(&file, 0, 100, 64);
    assert_eq!((given.len(), fed >= 1_001), (1_001, true));
    let (given, fed) = read(&file, 100, 200, 64);
    assert!(given.is_empty() && fed < 200, "{fed} bytes were read for nothing");
}

#[test]
fn too_many_partitions_are_refused() {
    assert_eq!(Cover::new(Split::Bytes(1), [1 << 40]), Err(CoverError::TooMany));
    assert_eq!(
        Cover::new(Split::Bytes(1), [u64::MAX, u64::MAX]),
        Err(CoverError::TooMany)
    );
    assert_eq!(Cover::new(Split::Files(0), [1]), Err(CoverError::NoSplit));
}
