#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use std::{collections::BTreeMap, convert::Infallible};

use proptest::prelude::*;
use serde_json::json;

use super::*;

#[derive(Debug, Default, PartialEq)]
struct Taken {
    headers: Vec<String>,
    parts: BTreeMap<u32, Vec<String>>,
}

impl Parts for Taken {
    type Error = Infallible;

    fn header(&mut self, bytes: &[u8]) -> Result<(), Infallible> {
        self.headers.push(String::from_utf8(bytes.to_vec()).unwrap());
        Ok(())
    }

    fn record(&mut self, part: u32, bytes: &[u8]) -> Result<(), Infallible> {
        let record = String::from_utf8(bytes.to_vec()).unwrap();
        self.parts.entry(part).or_default().push(record);
        Ok(())
    }
}

fn route(format: Format, by: &str, into: u32, files: &[&str], chunk: usize) -> Result<Taken, ShuffleError> {
    let mut router = Router::new(Some(format), by, into).unwrap();
    let mut taken = Taken::default();
    let wrong = |error| match error {
        RouteError::Wrong(error) => error,
        RouteError::Taker(never) => match never {},
    };
    for (number, file) in files.iter().enumerate() {
        router.begin(&format!("file {number}"))?;
        for bytes in file.as_bytes().chunks(chunk) {
            router.feed(bytes, &mut taken).map_err(wrong)?;
        }
        router.end(&mut taken).map_err(wrong)?;
    }
    Ok(taken)
}

/// The parts of keys are part of what runs rely on, across versions and machines.
#[test]
fn parts_of_keys_never_change() {
    let keys = [
        None,
        Some(""),
        Some("7"),
        Some("north"),
        Some("né\n"),
        Some("null"),
        Some("none"),
    ];
    let parts = |into| keys.map(|key| part_of(key.map(str::as_bytes), into));
    assert_eq!(parts(1), [0; 7]);
    assert_eq!(parts(64), [22, 51, 0, 3, 12, 48, 55]);
    assert_eq!(parts(4096), [3414, 2739, 384, 3843, 2380, 2096, 4087]);
    assert_eq!(part_of(Some(b"\xff\xfe"), 1000), 615);
}

#[test]
fn json_and_csv_have_the_same_keys() {
    let csv = route(
        Format::Csv,
        "k",
        4096,
        &["k,v\n7,1\n\"x \"\"y\"\"\",1\n7,2\ntrue,2\n"],
        100,
    )
    .unwrap();
    let lines = "{\"k\": \"7\"}\n{\"v\":[{\"k\":1}],\"k\":\"x \\\"y\\\"\"}\n{\"k\":7}\n{\"k\":true}\n";
    let json = route(Format::JsonLines, "k", 4096, &[lines], 100).unwrap();
    let counts = |taken: &Taken| -> Vec<(u32, usize)> {
        (taken.parts.iter())
            .map(|(part, records)| (*part, records.len()))
            .collect()
    };
    assert_eq!(counts(&csv), counts(&json));
    assert_eq!(csv.parts.len(), 3);
    // None, null, and a record that ends before: one key, and not that of an empty text.
    let none = route(
        Format::JsonLines,
        "k",
        4096,
        &["{}\n{\"k\":null}\n{\"k\":\"\"}\n{\"k\":1,\"k\":null}"],
        9,
    )
    .unwrap();
    assert_eq!(none.parts[&part_of(None, 4096)].len(), 3);
    let short = route(Format::Csv, "k", 4096, &["v,k\n1,\n2\n"], 9).unwrap();
    assert_eq!(short.parts[&part_of(None, 4096)], ["2\n"]);
}

#[test]
fn what_is_wrong_says_where() {
    let csv = |files: &[&str]| route(Format::Csv, "k", 9, files, 3).unwrap_err();
    assert!(matches!(csv(&["a,b\n"]), ShuffleError::Column { .. }));
    let first = "file 1".to_owned();
    assert_eq!(
        csv(&["\n", "k,v\n1,2\n", "\u{feff}k,v\r\n", "v,k\n"]),
        ShuffleError::Headers { first }
    );
    assert_eq!(csv(&["k\n1\n\"2\n"]), ShuffleError::Scan(ScanError::UnclosedQuote(4)));
    let json = |text: &str| route(Format::JsonLines, "k", 9, &[text], 4).unwrap_err().to_string();
    for (text, says) in [
        ("{\"k\":1}\n\n[1]\n", "the value at byte 9 is a list"),
        ("{}\n{\"k\":1\n", "the value at byte 3 is not JSON: EOF"),
        ("{\"k\":{}}", "the field \"k\" of the value at byte 0 is a map"),
        ("7", "the value at byte 0 is the number 7"),
    ] {
        assert!(json(text).contains(says), "{text}: {}", json(text));
    }
    let long = format!("{{}}\n{{\"k\":\"{}\"}}\n", "x".repeat(RECORD_BYTES));
    for chunk in [1 << 20, usize::MAX] {
        let error = route(Format::JsonLines, "k", 9, &[&long], chunk).unwrap_err();
        assert_eq!(error, ShuffleError::LongRecord { at: 3 });
    }
    assert!(Router::new(Some(Format::Text), "k", 9).is_err() && Router::new(Some(Format::Csv), "k", 0).is_err());
}

/// A key and a record of it, as CSV without its end.
fn csv_record() -> impl Strategy<Value = (String, String)> {
    let key = prop::sample::select(&["", "a", "b b", "c,c", "d\"d", "e\ne", "7"]);
    (key, "[a-z]{0,3}", any::<bool>(), any::<u16>()).prop_map(|(key, before, quotes, number)| {
        let quoted = quotes || key.contains(['"', ',', '\n']);
        let field = if quoted {
            format!("\"{}\"", key.replace('"', "\"\""))
        } else {
            key.to_owned()
        };
        (key.to_owned(), format!("{before},{field},{number}"))
    })
}

fn json_record() -> impl Strategy<Value = (String, String)> {
    let key = prop::sample::select(&["", "a", "b\"b", "€", "7", "true"]);
    (key, any::<bool>(), any::<u16>()).prop_map(|(key, plain, number)| {
        let bare = plain && matches!(key, "7" | "true");
        let value = if bare { key.to_owned() } else { json!(key).to_string() };
        (key.to_owned(), format!("{{\"n\":{number}, \"k\": {value}}}"))
    })
}

/// How records become files: the number of each, and whether its last line is ended.
fn cuts() -> impl Strategy<Value = Vec<(usize, bool)>> {
    prop::collection::vec((0..9_usize, any::<bool>()), 0..5)
}

/// Files of these lines, each behind the header.
fn files(header: &str, lines: &[String], cuts: &[(usize, bool)], end: &str) -> Vec<String> {
    let mut left = lines;
    let mut files = Vec::new();
    let cuts = cuts.iter().copied().chain([(usize::MAX, true)]);
    for (count, ended) in cuts {
        let (taken, rest) = left.split_at(count.min(left.len()));
        left = rest;
        let mut text = format!(
            "{header}{}",
            taken.iter().flat_map(|line| [line.as_str(), end]).collect::<String>()
        );
        if !ended && !taken.is_empty() {
            text.truncate(text.len() - end.len());
        }
        files.push(text);
    }
    files
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    /// Each record is in the part of its key, once, in the order of the input, however files and chunks divide them.
    #[test]
    fn records_of_a_key_come_to_one_part_in_order(
        csv: bool,
        records in (prop::collection::vec(csv_record(), 0..30), prop::collection::vec(json_record(), 0..30)),
        grouping in cuts(),
        into in 1..7_u32,
        chunk in 1..60_usize,
        empty_lines: bool,
    ) {
        let (format, header, records) = if csv {
            (Format::Csv, "x,k,n\n", records.0)
        } else {
            (Format::JsonLines, "", records.1)
        };
        let lines: Vec<String> = records.iter().map(|(_, line)| line.clone()).collect();
        let end = if empty_lines { "\n\n" } else { "\n" };
        let files = files(header, &lines, &grouping, end);
        let files: Vec<&str> = files.iter().map(String::as_str).collect();
        let taken = route(format, "k", into, &files, chunk).unwrap();
        let mut expected: BTreeMap<u32, Vec<String>> = BTreeMap::new();
        for (key, line) in &records {
            expected.entry(part_of(Some(key.as_bytes()), into)).or_default().push(format!("{line}\n"));
        }
        prop_assert_eq!(&taken.parts, &expected);
        prop_assert_eq!(&taken.headers[..], if csv { &["x,k,n\n".to_owned()][..] } else { &[][..] });
    }
}
