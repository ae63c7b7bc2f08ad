//! From files to what user code reads: planned as a worker does it, opened as a worker does it.

use std::{
    fs,
    io::{self, Read as _, Write as _},
    os::unix::fs::FileExt as _,
    path::{Path, PathBuf},
    sync::atomic::AtomicBool,
};

use braid_crds::worker::{CardFormat, FilesSource};
use braid_engine::{cover::Packing, plan::Plan};
use flate2::{Compression, write::GzEncoder};
use proptest::prelude::*;
use ruzstd::encoding::{CompressionLevel, compress_to_vec};

use crate::{
    ground::Ground,
    planner::{PlanningError, files},
    reader::{Reader, unpack::Unpacked},
    runner::{Data, Input},
};

pub(super) struct Bench {
    pub(super) dir: tempfile::TempDir,
}

impl Bench {
    pub(super) fn new(files: &[(&str, &[u8])]) -> Self {
        let dir = tempfile::tempdir().unwrap();
        for (name, bytes) in files {
            fs::write(dir.path().join(name), bytes).unwrap();
        }
        Self { dir }
    }

    pub(super) fn ground(&self) -> Ground {
        Ground::Open(self.dir.path().to_path_buf())
    }

    fn plan(&self, url: &str, format: CardFormat, split: &FilesSource) -> Result<Plan, PlanningError> {
        let source = FilesSource {
            url: url.into(),
            format,
            ..split.clone()
        };
        files(&source, None, "", &self.ground(), &AtomicBool::new(false)).map(Plan::from)
    }

    fn input(&self, plan: &Plan, partition: u64, many: bool) -> Input {
        Reader::new(self.ground())
            .open(plan, partition, Path::new(""), many)
            .unwrap()
    }

    /// The bytes of every partition.
    pub(super) fn parts(&self, plan: &Plan) -> Vec<Vec<u8>> {
        (0..plan.partitions())
            .map(|partition| match self.input(plan, partition, false) {
                Input::One { data, .. } => bytes(&data).unwrap(),
                other => panic!("{other:?}"),
            })
            .collect()
    }
}

fn bytes(data: &Data) -> io::Result<Vec<u8>> {
    let mut all = Vec::new();
    match data {
        Data::Bytes(bytes) => all.extend_from_slice(bytes),
        Data::File { file, offset, length } => {
            all.resize(usize::try_from(*length).unwrap(), 0);
            file.read_exact_at(&mut all, *offset)?;
        }
        Data::Made(made) => {
            made.open()?.read_to_end(&mut all)?;
        }
        Data::Joined(parts) => {
            for part in parts {
                all.extend(bytes(part)?);
            }
        }
    }
    Ok(all)
}

fn rows(rows: u64) -> FilesSource {
    FilesSource {
        rows,
        ..FilesSource::default()
    }
}

fn by_bytes(bytes: u64) -> FilesSource {
    FilesSource {
        bytes,
        ..FilesSource::default()
    }
}

fn by_files(files: i32) -> FilesSource {
    FilesSource {
        files,
        ..FilesSource::default()
    }
}

pub(super) fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

pub(super) fn zstd(bytes: &[u8]) -> Vec<u8> {
    compress_to_vec(bytes, CompressionLevel::Fastest)
}

fn record() -> impl Strategy<Value = String> {
    let field = prop_oneof![
        "[a-zä€]{0,5}",
        Just("\"a\r\nb\"".to_owned()),
        Just("\"say \"\"hi\"\"\n\"".to_owned()),
        Just("\"\"".to_owned()),
        "x{40,60}",
    ];
    prop::collection::vec(field, 2..4).prop_map(|fields| fields.join(","))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Each partition is CSV with the header, and together they have each record once.
    #[test]
    fn csv_is_covered(
        files in prop::collection::vec(prop::collection::vec(record(), 0..12), 1..4),
        crlf: bool,
        ended: bool,
        mark: bool,
        split in prop_oneof![(1..5_u64).prop_map(rows), (1..80_u64).prop_map(by_bytes)],
    ) {
        let end = if crlf { "\r\n" } else { "\n" };
        let header = format!("{}\"h\n1\",h2{end}", if mark { "\u{feff}" } else { "" });
        let texts: Vec<String> = (files.iter())
            .map(|records| {
                let body = records.join(end);
                let last = if ended && !records.is_empty() { end } else { "" };
                format!("{header}{body}{last}")
            })
            .collect();
        let names: Vec<String> = (0..texts.len()).map(|n| format!("{n}.csv")).collect();
        let written: Vec<(&str, &[u8])> = names.iter().zip(&texts).map(|(name, text)| (&**name, text.as_bytes())).collect();
        let bench = Bench::new(&written);
        let plan = bench.plan("*.csv", CardFormat::Csv, &split).unwrap();
        let mut bodies = String::new();
        for part in bench.parts(&plan) {
            let part = String::from_utf8(part).unwrap();
            let body = part.strip_prefix(&header).unwrap();
            prop_assert!(!body.is_empty());
            bodies.push_str(body);
        }
        let wanted: String = texts.iter().map(|text| &text[header.len()..]).collect();
        prop_assert_eq!(bodies, wanted);
    }

    /// Lines of text and of JSON are covered by rows, too, and packed files give what was packed.
    #[test]
    fn lines_are_covered(
        lines in prop::collection::vec("[a-z€]{0,9}", 0..30),
        ended: bool,
        unit in 1..6_u64,
        cut in 1..40_usize,
    ) {
        let mut text = lines.join("\n");
        if ended {
            text.push('\n');
        }
        let (left, right) = text.as_bytes().split_at(cut.min(text.len()));
        let bench = Bench::new(&[
            ("a.txt", text.as_bytes()),
            ("b.txt.gz", &[gzip(left), gzip(right)].concat()),
            ("c.txt.zst", &[zstd(left), zstd(right)].concat()),
        ]);
        for format in [CardFormat::Text, CardFormat::JsonLines] {
            let parts = bench.parts(&bench.plan("a.txt", format, &rows(unit)).unwrap());
            if !parts.is_empty() {
                prop_assert_eq!(parts.concat(), text.as_bytes());
            }
            let full = parts.iter().rev().skip(1);
            for part in full {
                let records = part.split(|byte| *byte == b'\n').filter(|line| format == CardFormat::Text || !line.is_empty());
                let records = records.count() as u64 - u64::from(format == CardFormat::Text);
                prop_assert_eq!(records, unit);
            }
            let packed = bench.parts(&bench.plan("*.txt.*", format, &by_files(1)).unwrap());
            prop_assert_eq!(packed, vec![text.as_bytes().to_vec(); 2]);
        }
        // Without a format, bytes stay what they are.
        let raw = bench.parts(&bench.plan("b.txt.gz", CardFormat::Whole, &by_files(1)).unwrap());
        prop_assert_eq!(&raw[0], &fs::read(bench.dir.path().join("b.txt.gz")).unwrap());
    }
}

#[test]
fn several_csv_files_have_one_header_on_standard_input() {
    let bench = Bench::new(&[
        ("1.csv", b"a,b\n1,2"),
        ("2.csv", b""),
        ("3.csv.gz", &gzip(b"\xef\xbb\xbfa,b\r\n3,4\r\n")),
    ]);
    let plan = bench.plan("*.csv*", CardFormat::Csv, &by_files(9)).unwrap();
    let Input::Many(all) = bench.input(&plan, 0, true) else {
        panic!()
    };
    let seen: Vec<(&str, u64, bool)> = all.iter().map(|file| (&*file.path, file.skip, file.lines)).collect();
    assert_eq!(seen, [("1.csv", 0, true), ("2.csv", 0, true), ("3.csv", 8, true)]);
    assert_eq!(bytes(&all[2].data).unwrap(), b"\xef\xbb\xbfa,b\r\n3,4\r\n");

    fs::write(bench.dir.path().join("4.csv"), "b,a\n5,6\n").unwrap();
    let plan = bench.plan("*.csv*", CardFormat::Csv, &by_files(9)).unwrap();
    let other = Reader::new(bench.ground())
        .open(&plan, 0, Path::new(""), true)
        .unwrap_err();
    assert!(
        other.to_string().contains("4.csv has not the header of 1.csv"),
        "{other}"
    );
}

#[test]
fn what_cannot_be_cut_says_which_file_and_where() {
    let bench = Bench::new(&[
        ("good.csv", b"a\n1\n"),
        ("open.csv", b"a\n1\n\"2\n3\n"),
        ("x.csv.gz", &gzip(b"a\n1\n")),
        ("bad.parquet", b"PAR1 this is none PAR2"),
        ("long.parquet", b"PAR1....\xff\xff\xff\x7fPAR1"),
        ("tiny.parquet", b"PAR1"),
    ]);
    let groups = FilesSource {
        row_groups: 1,
        ..FilesSource::default()
    };
    for (url, format, split, says) in [
        ("*.csv", CardFormat::Csv, rows(1), "open.csv: the quote at byte 4"),
        ("*.csv", CardFormat::Csv, by_bytes(1), "open.csv: the quote at byte 4"),
        ("x.csv.gz", CardFormat::Csv, rows(1), "x.csv.gz is packed with gzip"),
        (
            "x.csv.gz",
            CardFormat::Text,
            by_bytes(1),
            "x.csv.gz is packed with gzip",
        ),
        (
            "bad.parquet",
            CardFormat::Parquet,
            groups.clone(),
            "bad.parquet cannot be read: it is no Parquet file",
        ),
        (
            "long.parquet",
            CardFormat::Parquet,
            groups.clone(),
            "long.parquet cannot be read: its footer should have",
        ),
        (
            "tiny.parquet",
            CardFormat::Parquet,
            groups,
            "tiny.parquet cannot be read: it is no Parquet file",
        ),
        (
            "good.csv",
            CardFormat::Parquet,
            rows(1),
            "format Parquet cannot be split by rows",
        ),
        (
            "good.csv",
            CardFormat::Whole,
            by_bytes(1),
            "format none cannot be split by bytes",
        ),
    ] {
        let error = bench.plan(url, format, &split).unwrap_err();
        assert!(error.to_string().contains(says), "{url}: {error}");
    }
}

/// What reading a packed file ends with.
fn unpacked(name: &str, packed: &[u8]) -> Result<usize, String> {
    let bench = Bench::new(&[(name, packed)]);
    let plan = bench.plan(name, CardFormat::Text, &by_files(1)).unwrap();
    let Input::One {
        data: Data::Made(made), ..
    } = bench.input(&plan, 0, false)
    else {
        panic!()
    };
    let mut reader = made.open().map_err(|error| error.to_string())?;
    let mut chunk = vec![0; 64 << 10];
    let mut all = 0;
    loop {
        match reader.read(&mut chunk).map_err(|error| error.to_string())? {
            0 => return Ok(all),
            count => all += count,
        }
    }
}

#[test]
fn packed_files_that_are_broken_say_where() {
    let text: Vec<u8> = (0..200_000_u32)
        .flat_map(|n| n.wrapping_mul(2_654_435_761).to_le_bytes())
        .collect();
    for (name, packed) in [("a.gz", gzip(&text)), ("a.zst", zstd(&text))] {
        assert_eq!(unpacked(name, &packed), Ok(text.len()), "{name}");
        let half = unpacked(name, &packed[..packed.len() / 2]).unwrap_err();
        assert!(
            half.starts_with(name) && half.contains("cut off") && half.contains("bytes"),
            "{half}"
        );
        let almost = unpacked(name, &packed[..packed.len() - 1]).unwrap_err();
        assert!(almost.contains(name), "{almost}");
        let mut flipped = packed.clone();
        let last = flipped.len() - 1;
        flipped[last] ^= 0x55;
        assert!(unpacked(name, &flipped).unwrap_err().contains(name));
        let trailing = unpacked(name, &[&packed[..], b"garbage behind it"].concat()).unwrap_err();
        assert!(
            trailing.contains(&format!("after {} bytes that it gave", text.len())),
            "{trailing}"
        );
        assert!(unpacked(name, b"no such thing").is_err());
        assert!(unpacked(name, b"").unwrap_err().contains("cut off"), "{name}");
    }
    // A frame of zstd that says nothing, and is skipped.
    let skipped = [b"\x50\x2a\x4d\x18\x03\0\0\0abc", &zstd(b"hello\n")[..]].concat();
    assert_eq!(unpacked("s.zst", &skipped), Ok(6));
}

#[test]
fn what_unpacks_without_end_is_cut_off() {
    let zeros = vec![0; 4 << 20];
    for (name, packed, packing) in [
        ("bomb.gz", gzip(&zeros), Packing::Gzip),
        ("bomb.zst", zstd(&zeros), Packing::Zstd),
    ] {
        let bench = Bench::new(&[(name, &packed)]);
        let open = |limit| {
            let file = fs::File::open(bench.dir.path().join(name)).unwrap();
            io::copy(&mut Unpacked::within(limit, file, name, packing), &mut io::sink())
        };
        assert_eq!(open(4 << 20).unwrap(), 4 << 20);
        let error = open((4 << 20) - 1).unwrap_err().to_string();
        assert!(
            error.starts_with(name) && error.contains("it gives more than 4194303 bytes"),
            "{error}"
        );
    }
}

#[test]
fn row_groups_come_as_files_of_their_own() {
    let files = Path::new(env!("CARGO_MANIFEST_DIR")).join("../engine/src/parquet/files");
    let read = |name: &str| fs::read(PathBuf::from(&files).join(name)).unwrap();
    let (zstd, empty) = (read("zstd.parquet"), read("empty-groups.parquet"));
    let bench = Bench::new(&[("a.parquet", &zstd), ("b.parquet", &empty)]);
    let split = FilesSource {
        row_groups: 2,
        ..FilesSource::default()
    };
    let plan = bench.plan("*.parquet", CardFormat::Parquet, &split).unwrap();
    let parts = bench.parts(&plan);
    // Three row groups each: two and one.
    assert_eq!(parts.len(), 4);
    for part in &parts {
        assert!(part.starts_with(b"PAR1") && part.ends_with(b"PAR1"));
    }
    // Planned again, each part has the row groups that it should.
    for (part, groups) in parts.iter().zip([2, 1, 2, 1]) {
        let bench = Bench::new(&[("p.parquet", part)]);
        let split = FilesSource {
            row_groups: 1,
            ..FilesSource::default()
        };
        let plan = bench.plan("p.parquet", CardFormat::Parquet, &split).unwrap();
        assert_eq!(plan.partitions(), groups);
    }
    // Of each a column: less, and asked for another one it says what it has.
    let columns = |name: &str| FilesSource {
        columns: vec![name.to_owned()],
        ..split.clone()
    };
    let plan = bench.plan("*.parquet", CardFormat::Parquet, &columns("id")).unwrap();
    for (part, all) in bench.parts(&plan).iter().zip(&parts) {
        assert!(part.len() < all.len(), "{} of {}", part.len(), all.len());
        let bench = Bench::new(&[("p.parquet", part)]);
        let error = bench
            .plan("p.parquet", CardFormat::Parquet, &columns("name"))
            .unwrap_err();
        assert!(error.to_string().contains(r#"no column "name"; it has id"#), "{error}");
    }
}
