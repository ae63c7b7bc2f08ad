//! Files that pyarrow 26 and DuckDB 2.0 have written, taken apart.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic)]

use proptest::prelude::*;

use super::{thrift::Field, *};

const FILES: [(&str, &[u8], u32); 10] = [
    ("none", include_bytes!("files/none.parquet"), 3),
    ("snappy", include_bytes!("files/snappy.parquet"), 3),
    ("gzip", include_bytes!("files/gzip.parquet"), 3),
    ("zstd", include_bytes!("files/zstd.parquet"), 3),
    ("lz4", include_bytes!("files/lz4.parquet"), 3),
    ("brotli", include_bytes!("files/brotli.parquet"), 3),
    ("duckdb", include_bytes!("files/duckdb.parquet"), 3),
    ("empty groups", include_bytes!("files/empty-groups.parquet"), 3),
    ("no rows", include_bytes!("files/no-rows.parquet"), 1),
    ("no groups", include_bytes!("files/no-groups.parquet"), 0),
];

fn open(file: &[u8]) -> Result<Footer, ParquetError> {
    let size = file.len() as u64;
    let tail = file.last_chunk().ok_or(ParquetError::NoParquet)?;
    let length = usize::try_from(footer_length(*tail, size)?).unwrap();
    let end = file.len() - 8;
    Footer::new(file[end - length..end].to_vec(), size)
}

fn build(file: &[u8], selection: &Selection) -> Vec<u8> {
    let mut built = selection.head.to_vec();
    for copy in &selection.copies {
        built.extend_from_slice(&file[usize::try_from(copy.start).unwrap()..usize::try_from(copy.end).unwrap()]);
    }
    built.extend_from_slice(&selection.tail);
    built
}

/// Of each chunk of a row group: what the footer says of it beside offsets, and its bytes.
type Chunk = (Vec<(i16, Vec<u8>)>, Vec<u8>);

fn chunks(file: &[u8], footer: &Footer, group: usize) -> (i64, Vec<Chunk>) {
    let at = footer.groups[group].start;
    let fields = Cursor::new(&footer.bytes, at).fields().unwrap();
    let rows = footer.integer(find(&fields, 3, I64, "").unwrap()).unwrap();
    let mut cursor = Cursor::new(&footer.bytes, find(&fields, 1, LIST, "").unwrap().value.start);
    let (_, count) = cursor.list().unwrap();
    let chunks = (0..count)
        .map(|_| {
            let chunk = cursor.fields().unwrap();
            let inner = find(&chunk, 3, STRUCT, "").unwrap();
            let inner: Vec<Field> = Cursor::new(&footer.bytes, inner.value.start).fields().unwrap();
            let number = |id| {
                inner
                    .iter()
                    .find(|field| field.id == id)
                    .map(|field| footer.integer(field).unwrap())
            };
            let starts = [number(11), number(9)].into_iter().flatten().filter(|at| *at > 0);
            let from = usize::try_from(starts.min().unwrap_or(4)).unwrap();
            let bytes = file[from..from + usize::try_from(number(7).unwrap()).unwrap()].to_vec();
            let said = inner.iter().filter(|field| ![9, 10, 11, 14, 15].contains(&field.id));
            let said = said.map(|field| (field.id, footer.bytes[field.value.clone()].to_vec()));
            (said.collect(), bytes)
        })
        .collect();
    (rows, chunks)
}

#[test]
fn row_groups_stay_what_they_are() {
    for (name, file, count) in FILES {
        let footer = open(file).unwrap();
        assert_eq!(footer.groups(), count, "{name}");
        for first in 0..count {
            for last in first + 1..=count {
                let selection = footer.select(first..last, &[]).unwrap();
                let built = build(file, &selection);
                assert!(built.len() <= file.len() + 64, "{name}");
                let part = open(&built).unwrap();
                assert_eq!(part.groups(), last - first, "{name}");
                let mut rows = 0;
                for group in first..last {
                    let (old, new) = (group as usize, (group - first) as usize);
                    assert_eq!(chunks(file, &footer, old), chunks(&built, &part, new), "{name} {group}");
                    rows += chunks(file, &footer, old).0;
                }
                assert_eq!(selection.rows, rows);
                // The same again is the same.
                let again = part.select(0..last - first, &[]).unwrap();
                assert_eq!(build(&built, &again), built, "{name}");
            }
        }
        assert_eq!(footer.select(count..count + 1, &[]), Err(ParquetError::NoGroup(count)));
    }
}

fn names(names: &[&str]) -> Vec<String> {
    names.iter().map(|name| (*name).to_owned()).collect()
}

/// The columns of a file, as it tells them when it is asked for another.
fn there(footer: &Footer) -> String {
    match footer.select(0..0, &names(&["no such"])) {
        Err(ParquetError::NoColumn { there, .. }) => there,
        other => panic!("{other:?}"),
    }
}

/// A column is all that is in it: a list, or a structure of others. The rest is not copied.
#[test]
fn columns_are_taken_whole() {
    let (pyarrow, duckdb) = (0..6, 6..7);
    let cases: [(std::ops::Range<usize>, &[&str], &[usize]); 5] = [
        (pyarrow.clone(), &["id"], &[0]),
        (pyarrow.clone(), &["point"], &[3, 4]),
        // In the order of the file, however they are asked for.
        (pyarrow.clone(), &["price", "tags", "price"], &[2, 6]),
        (
            pyarrow,
            &["id", "name", "tags", "point", "when", "price"],
            &[0, 1, 2, 3, 4, 5, 6],
        ),
        (duckdb, &["l"], &[2]),
    ];
    for (files, columns, leaves) in cases {
        for (name, file, count) in &FILES[files] {
            let footer = open(file).unwrap();
            let selection = footer.select(1..*count, &names(columns)).unwrap();
            let built = build(file, &selection);
            let part = open(&built).unwrap();
            for group in 1..*count {
                let (rows, all) = chunks(file, &footer, group as usize);
                let (same, taken) = chunks(&built, &part, group as usize - 1);
                let wanted: Vec<Chunk> = leaves.iter().map(|leaf| all[*leaf].clone()).collect();
                assert_eq!((rows, wanted), (same, taken), "{name} {columns:?} {group}");
            }
            let copied: u64 = selection.copies.iter().map(|copy| copy.end - copy.start).sum();
            let bytes = |chunks: Vec<Chunk>| chunks.iter().map(|chunk| chunk.1.len() as u64).sum::<u64>();
            let taken = (0..*count as usize - 1)
                .map(|group| bytes(chunks(&built, &part, group).1))
                .sum::<u64>();
            assert_eq!(copied, taken, "{name} {columns:?}");
            let kept: Vec<&str> = there_of(&footer).filter(|name| columns.contains(name)).collect();
            assert_eq!(there(&part), kept.join(", "), "{name}");
            let again = part.select(0..*count - 1, &names(columns)).unwrap();
            assert_eq!(build(&built, &again), built, "{name}");
        }
    }
}

fn there_of(footer: &Footer) -> impl Iterator<Item = &'static str> {
    let all: &'static str = there(footer).leak();
    all.split(", ")
}

#[test]
fn a_column_that_is_not_there_is_told_with_those_that_are() {
    let footer = open(FILES[0].1).unwrap();
    let error = footer.select(0..1, &names(&["id", "x"])).unwrap_err().to_string();
    assert_eq!(
        error,
        r#"it has no column "x"; it has id, name, tags, point, when, price"#
    );
}

#[test]
fn what_is_no_parquet_is_refused() {
    assert_eq!(footer_length(*b"\0\0\0\0ABCD", 100), Err(ParquetError::NoParquet));
    assert_eq!(footer_length(*b"\0\0\0\0PARE", 100), Err(ParquetError::Encrypted));
    assert_eq!(footer_length(*b"\x59\0\0\0PAR1", 100), Err(ParquetError::Length(0x59)));
    assert_eq!(
        footer_length(*b"\xff\xff\xff\xffPAR1", u64::MAX),
        Err(ParquetError::Length(u64::from(u32::MAX)))
    );
    assert!(matches!(Footer::new(Vec::new(), 12), Err(ParquetError::Footer(0))));
    // A list that says it has two billion elements.
    let endless = b"\x29\xfc\xff\xff\xff\xff\x07".to_vec();
    assert!(matches!(Footer::new(endless, 100), Err(ParquetError::Footer(_))));
    // Structures in structures.
    assert!(matches!(
        Footer::new(vec![0x1c; 100_000], 1 << 20),
        Err(ParquetError::Footer(_))
    ));
}

/// A number in the footer that leads out of the file, or lets every column be the whole file.
#[test]
fn chunks_must_lie_in_the_file() {
    let file = FILES[0].1;
    let mut footer = open(file).unwrap();
    footer.body /= 2;
    assert!(matches!(footer.select(0..3, &[]), Err(ParquetError::Chunk(_))));
    footer.body = 3;
    assert!(matches!(footer.select(0..1, &[]), Err(ParquetError::Chunk(0))));
}

proptest! {
    #[test]
    fn garbage_never_panics(which in 0..FILES.len(), at: prop::sample::Index, with in prop::collection::vec(any::<u8>(), 1..9)) {
        let file = FILES[which].1;
        let footer = open(file).unwrap();
        let mut bytes = footer.bytes.clone();
        let at = at.index(bytes.len());
        let end = bytes.len().min(at + with.len());
        bytes.splice(at..end, with);
        if let Ok(footer) = Footer::new(bytes, file.len() as u64) {
            let count = footer.groups();
            for columns in [names(&[]), names(&["id"]), names(&["point", "l"])] {
                let Ok(selection) = footer.select(0..count, &columns) else { continue };
                let copied: u64 = selection.copies.iter().map(|copy| copy.end - copy.start).sum();
                prop_assert!(copied <= file.len() as u64);
            }
        }
    }
}
