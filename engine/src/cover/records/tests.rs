#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic)]

use proptest::prelude::*;

use super::*;

fn scan(format: Format, unit: Unit, file: &[u8], mut chunk: usize) -> Result<(Records, u64), ScanError> {
    let mut scan = RecordScan::new(format, unit)?;
    let mut rest = file;
    while !rest.is_empty() {
        let (next, after) = rest.split_at(rest.len().min(chunk));
        scan.feed(next)?;
        rest = after;
        chunk = chunk % 9 + 1;
    }
    let rows = scan.total_rows();
    Ok((scan.finish()?, rows))
}

/// The records of CSV, said the slow way: a byte at a time, by the words of the RFC. Each with its line end; and the blanks
/// between them go with the next, those at the end with the last.
fn slow_csv(file: &[u8]) -> Vec<Vec<u8>> {
    let mark = if file.starts_with(&MARK) { MARK.len() } else { 0 };
    let (mut records, mut now, mut content) = (Vec::new(), file[..mark].to_vec(), Vec::new());
    let (mut quoted, mut field) = (false, true);
    let mut bytes = file[mark..].iter().copied().peekable();
    while let Some(byte) = bytes.next() {
        now.push(byte);
        content.push(byte);
        if quoted {
            if byte == b'"' {
                if bytes.peek() == Some(&b'"') {
                    now.extend(bytes.next());
                } else {
                    (quoted, field) = (false, false);
                }
            }
            continue;
        }
        match byte {
            b'"' if field => quoted = true,
            b',' | b';' | b'\t' | b'|' => field = true,
            b'\n' => {
                field = true;
                if ![&b"\n"[..], b"\r\n"].contains(&content.as_slice()) {
                    records.push(std::mem::take(&mut now));
                }
                content.clear();
            }
            _ => field = false,
        }
    }
    if !content.is_empty() && content != b"\r" {
        records.push(now);
    } else if let Some(last) = records.last_mut() {
        last.extend(now);
    } else if !now.is_empty() {
        records.push(now);
    }
    records
}

fn slow_lines(file: &[u8], format: Format) -> Vec<Vec<u8>> {
    let (mut records, mut now): (Vec<Vec<u8>>, Vec<u8>) = (Vec::new(), Vec::new());
    for line in file.split_inclusive(|byte| *byte == b'\n') {
        now.extend(line);
        let bare = line.strip_suffix(b"\n").unwrap_or(line);
        let empty = format == Format::JsonLines && (bare.is_empty() || bare == b"\r");
        if !empty {
            records.push(std::mem::take(&mut now));
        }
    }
    if let (false, Some(last)) = (now.is_empty(), records.last_mut()) {
        last.extend(now);
    }
    records
}

fn parts_of(file: &[u8], records: &Records) -> Vec<Vec<u8>> {
    let ends = records.starts.iter().skip(1).copied().chain([file.len() as u64]);
    let at = |place: u64| usize::try_from(place).unwrap();
    (records.starts.iter().zip(ends))
        .map(|(start, end)| file[at(*start)..at(end)].to_vec())
        .collect()
}

/// Records put into partitions of `rows`, or of at least `bytes`.
fn slow_parts(records: &[Vec<u8>], unit: Unit) -> Vec<Vec<u8>> {
    let mut parts: Vec<(Vec<u8>, u64)> = Vec::new();
    for record in records {
        match parts.last_mut() {
            Some((part, rows))
                if match unit {
                    Unit::Rows(most) => *rows < most,
                    Unit::Bytes(most) => (part.len() as u64) < most,
                } =>
            {
                part.extend(record);
                *rows += 1;
            }
            _ => parts.push((record.clone(), 1)),
        }
    }
    parts.into_iter().map(|(part, _)| part).collect()
}

fn csv() -> impl Strategy<Value = Vec<u8>> {
    let part = prop_oneof![
        3 => Just(","), 1 => Just(";"), 3 => Just("\n"), 2 => Just("\r\n"), 1 => Just("\r"),
        2 => Just("\"a\nb\""), 1 => Just("\"\""), 1 => Just("\"x\"\"\n\"\"y\""), 1 => Just("\"\r\n,\""),
        2 => Just("ä€😀"), 2 => Just("abc"), 1 => Just("5\" "), 1 => Just("\""),
        1 => Just("xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx"),
    ];
    let mark = prop::option::of(Just("\u{feff}"));
    (mark, prop::collection::vec(part, 0..40)).prop_map(|(mark, parts)| {
        let mut text = mark.unwrap_or_default().to_owned();
        text.extend(parts);
        text.into_bytes()
    })
}

fn unit() -> impl Strategy<Value = Unit> {
    prop_oneof![(1..6_u64).prop_map(Unit::Rows), (1..60_u64).prop_map(Unit::Bytes)]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn the_partitions_of_csv_are_its_records(file in csv(), unit in unit(), chunk in 1..60_usize) {
        let scanned = scan(Format::Csv, unit, &file, chunk);
        prop_assert_eq!(&scanned, &scan(Format::Csv, unit, &file, file.len().max(1)));
        let Ok((records, rows)) = scanned else { return Ok(()) };
        let mut slow = slow_csv(&file);
        let header = if slow.is_empty() { Vec::new() } else { slow.remove(0) };
        // Blanks behind the header go with the first record; without one they belong to nobody.
        let header_end = usize::try_from(records.header).unwrap();
        prop_assert_eq!(rows + u64::from(last_is_open(&file)), slow.len() as u64);
        if slow.is_empty() {
            prop_assert!(records.starts.is_empty());
        } else {
            prop_assert_eq!(&file[..header_end], header.as_slice());
            prop_assert_eq!(records.starts[0], records.header);
        }
        prop_assert_eq!(parts_of(&file, &records), slow_parts(&slow, unit));
    }

    #[test]
    fn the_partitions_of_lines_are_the_file(file in csv(), unit in unit(), chunk in 1..60_usize, json: bool) {
        let format = if json { Format::JsonLines } else { Format::Text };
        let (records, _) = scan(format, unit, &file, chunk).unwrap();
        prop_assert_eq!(&records, &scan(format, unit, &file, file.len().max(1)).unwrap().0);
        let slow = slow_lines(&file, format);
        let parts = parts_of(&file, &records);
        prop_assert_eq!(&parts, &slow_parts(&slow, unit));
        if !slow.is_empty() {
            prop_assert_eq!(parts.concat(), file);
        }
    }
}

/// Whether the last record has no line end, so that it is counted only at the end.
fn last_is_open(file: &[u8]) -> bool {
    let records = slow_csv(file);
    let mut whole = RecordScan::new(Format::Csv, Unit::Rows(1)).unwrap();
    whole.feed(file).unwrap();
    whole.total_rows() + 1 < records.len() as u64
}

#[test]
fn text_is_counted_across_blocks() {
    let mut file = Vec::new();
    for line in 0..40_000_u32 {
        file.extend(format!("{}\n", "x".repeat(line as usize % 23)).into_bytes());
    }
    file.extend(b"no end");
    let slow = slow_lines(&file, Format::Text);
    for rows in [1, 7, 10_000, 39_999, 40_000, 40_001, 99_999] {
        let mut scan = RecordScan::new(Format::Text, Unit::Rows(rows)).unwrap();
        for chunk in file.chunks(100_001) {
            scan.feed(chunk).unwrap();
        }
        let records = scan.finish().unwrap();
        assert_eq!(parts_of(&file, &records), slow_parts(&slow, Unit::Rows(rows)), "{rows}");
    }
}

#[test]
fn records_are_counted_across_blocks() {
    let mut file = b"h,i,j\n".to_vec();
    for number in 0..4_000_u32 {
        file.extend(format!("{number},{},z\n", "x".repeat(number as usize % 41)).into_bytes());
        match number % 700 {
            0 => file.extend(b"1,\"a\n\"\"b\",c\r\n\n2,\"\",\n"),
            1 => file.extend(b"\r\n"),
            2 => file.extend(b"\n\n"),
            _ => {}
        }
    }
    let mut csv = slow_csv(&file);
    csv.remove(0);
    let lines = slow_lines(&file, Format::JsonLines);
    for unit in [
        Unit::Rows(7),
        Unit::Rows(1_999),
        Unit::Rows(1 << 40),
        Unit::Bytes(1_000),
        Unit::Bytes(40_000),
    ] {
        for (format, records) in [(Format::Csv, &csv), (Format::JsonLines, &lines)] {
            for size in [7, BLOCK - 1, file.len()] {
                let mut scan = RecordScan::new(format, unit).unwrap();
                for chunk in file.chunks(size) {
                    scan.feed(chunk).unwrap();
                }
                assert_eq!(scan.total_rows(), records.len() as u64);
                let found = parts_of(&file, &scan.finish().unwrap());
                assert!(found == slow_parts(records, unit), "{format:?} {unit:?} {size}");
            }
        }
    }
}

#[test]
fn csv_that_cannot_be_cut_says_where() {
    let open = scan(Format::Csv, Unit::Rows(1), b"a,b\n1,\"2\n3,4\n", 5);
    assert_eq!(open, Err(ScanError::UnclosedQuote(6)));
    let long = vec![b'x'; 3 << 20];
    assert_eq!(
        scan(Format::Csv, Unit::Rows(1), &long, 1 << 16),
        Err(ScanError::LongHeader(None))
    );
    let mut quoted = b"a,\"".to_vec();
    quoted.extend(&long);
    assert_eq!(
        scan(Format::Csv, Unit::Rows(1), &quoted, 1 << 20),
        Err(ScanError::LongHeader(Some(2)))
    );
    assert_eq!(
        RecordScan::new(Format::Parquet, Unit::Rows(1)).err(),
        Some(ScanError::NoLines)
    );
    // A header is no record.
    for file in ["", "a,b", "a,b\n", "\n\na,b\r\n\r\n"] {
        let (records, rows) = scan(Format::Csv, Unit::Rows(1), file.as_bytes(), 3).unwrap();
        assert!(records.starts.is_empty() && rows == 0, "{file:?}");
    }
}
