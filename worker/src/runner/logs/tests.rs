#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use std::sync::Arc;

use bytes::Bytes;

use super::*;

fn line(partition: u64, text: impl Into<Bytes>) -> LogLine {
    let line = text.into();
    LogLine {
        run: "uid/step".into(),
        step: Arc::from("count"),
        partition,
        attempt: 1,
        stream: Stream::Stdout,
        cut: false,
        line,
    }
}

fn all(reader: &mut LogReader) -> Vec<LogRecord> {
    let mut records = Vec::new();
    loop {
        let more = reader.next_batch().unwrap();
        if more.is_empty() {
            return records;
        }
        records.extend(more);
    }
}

fn give(sink: &LogFiles, lines: Vec<LogLine>) {
    let mut lines = lines;
    while let Err(back) = sink.append(lines) {
        lines = back;
        std::thread::yield_now();
    }
}

#[test]
fn what_was_written_is_read_back_and_filtered() {
    let dir = tempfile::tempdir().unwrap();
    let sink = LogFiles::open(dir.path(), 1 << 20).unwrap();
    give(&sink, vec![line(1, "one"), line(2, &b"\xff\"two\"\t"[..]), line(1, "")]);
    drop(sink);
    let texts = |filter| {
        let records = all(&mut LogReader::new(dir.path(), "count", filter));
        records.into_iter().map(|record| record.line).collect::<Vec<_>>()
    };
    assert_eq!(texts(Filter::default()), ["one", "\u{fffd}\"two\"\t", ""]);
    assert_eq!(
        texts(Filter {
            partition: Some(1),
            ..Filter::default()
        }),
        ["one", ""]
    );
    assert_eq!(
        texts(Filter {
            stream: Some(Stream::Stderr),
            ..Filter::default()
        }),
        [""; 0]
    );
    assert!(all(&mut LogReader::new(dir.path(), "other", Filter::default())).is_empty());
}

#[test]
fn a_reader_follows_and_a_restarted_sink_appends() {
    let dir = tempfile::tempdir().unwrap();
    let mut reader = LogReader::new(dir.path(), "count", Filter::default());
    for round in 0..3 {
        let sink = LogFiles::open(dir.path(), 1 << 20).unwrap();
        give(&sink, vec![line(round, "x")]);
        drop(sink);
        assert_eq!(
            all(&mut reader)
                .iter()
                .map(|record| record.partition)
                .collect::<Vec<_>>(),
            [round]
        );
    }
}

#[test]
fn files_stay_below_their_cap_and_keep_the_last_lines() {
    let dir = tempfile::tempdir().unwrap();
    let cap = 20_000;
    let sink = LogFiles::open(dir.path(), cap).unwrap();
    for partition in 0..1000 {
        give(&sink, vec![line(partition, vec![b'x'; 100])]);
    }
    drop(sink);
    let (current, before) = paths(dir.path(), "count");
    assert!(current.metadata().unwrap().len() + before.metadata().unwrap().len() <= cap);
    let kept: Vec<u64> = all(&mut LogReader::new(dir.path(), "count", Filter::default()))
        .iter()
        .map(|record| record.partition)
        .collect();
    assert_eq!(kept.last(), Some(&999));
    assert!(
        kept.windows(2).all(|pair| pair[0] + 1 == pair[1]),
        "no hole inside what is kept"
    );
    assert!(kept.len() > 50);
}

#[test]
fn a_follower_sees_every_line_across_a_change_of_files() {
    let dir = tempfile::tempdir().unwrap();
    let mut reader = LogReader::new(dir.path(), "count", Filter::default());
    let mut seen = Vec::new();
    for chunk in 0..20_u64 {
        // Less than half of the cap at a time, so at most one change between two looks.
        let sink = LogFiles::open(dir.path(), 20_000).unwrap();
        give(&sink, (0..30).map(|n| line(chunk * 30 + n, vec![b'x'; 100])).collect());
        drop(sink);
        seen.extend(all(&mut reader).iter().map(|record| record.partition));
    }
    assert_eq!(seen, (0..600).collect::<Vec<_>>());
}

#[test]
fn no_name_of_a_step_leaves_the_directory() {
    let (current, before) = paths(Path::new("/logs"), "../a/b");
    assert_eq!(current, Path::new("/logs/%2e%2e%2fa%2fb.ndjson"));
    assert_eq!(before, Path::new("/logs/%2e%2e%2fa%2fb.1.ndjson"));
}
