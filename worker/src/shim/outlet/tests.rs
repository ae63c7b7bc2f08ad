#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use std::io::Read as _;
use std::os::fd::OwnedFd;

use super::*;

fn pipe() -> (std::io::PipeReader, Printer) {
    let (reader, writer) = std::io::pipe().unwrap();
    (reader, Printer::new(OwnedFd::from(writer)))
}

fn tag() -> Tag {
    Tag {
        run: Arc::from("uid"),
        step: Arc::from("count"),
        partition: 7,
        number: 2,
    }
}

fn now() -> Moment {
    Moment::now().unwrap()
}

fn print(printer: &mut Printer, line: &[u8]) {
    printer.line(&tag(), Stream::Stderr, false, line);
}

#[test]
fn lines_are_json_with_what_they_are_of() {
    let (mut reader, mut printer) = pipe();
    print(&mut printer, b"a \"b\"\xff");
    printer.finish().unwrap();
    drop(printer);
    let mut text = String::new();
    reader.read_to_string(&mut text).unwrap();
    let wanted =
        r#"{"run":"uid","step":"count","partition":7,"attempt":2,"stream":"stderr","cut":false,"line":"a \"b\""#;
    assert_eq!(text, format!("{wanted}\u{fffd}\"}}\n"));
}

/// Nobody reads: it neither waits nor grows, and goes on when somebody does.
#[test]
fn a_reader_that_stands_still_costs_patience_once() {
    let (mut reader, mut printer) = pipe();
    let start = now();
    let line = vec![b'x'; 1000];
    let mut printed = 0_u64;
    while printer.has_room() {
        print(&mut printer, &line);
        printer.write(start);
        printed += 1;
    }
    assert_eq!(
        printer.next_due(),
        Some(start.after(PATIENCE)),
        "children wait now, but not for ever"
    );
    printer.write(start.after(PATIENCE));
    assert!(printer.has_room() && printer.next_due().is_none());
    for _ in 0..1000 {
        print(&mut printer, &line);
        printer.write(start.after(PATIENCE));
    }
    assert!(
        printer.waiting.len() < HIGH_WATER + 2 * line.len(),
        "{}",
        printer.waiting.len()
    );
    // It is read again: what was kept comes, then how much is missing, then what is new.
    let reading = std::thread::spawn(move || {
        let mut text = String::new();
        reader.read_to_string(&mut text).unwrap();
        text
    });
    while printer.is_waiting() {
        printer.write(now());
        std::thread::yield_now();
    }
    print(&mut printer, b"after");
    printer.finish().unwrap();
    drop(printer);
    let text = reading.join().unwrap();
    let lines: Vec<&str> = text.lines().collect();
    let lost = lines.iter().position(|line| line.starts_with("{\"lost\"")).unwrap();
    let missing: LostLines = serde_json::from_str(lines[lost]).unwrap();
    assert_eq!(printed + 1000, lost as u64 + missing.lost);
    assert_eq!(lines.len(), lost + 2);
    let last: TaggedLine<'_> = serde_json::from_str(lines[lost + 1]).unwrap();
    assert_eq!(last.line, "after");
}

#[test]
fn a_reader_that_is_gone_costs_nothing() {
    let (reader, mut printer) = pipe();
    drop(reader);
    for _ in 0..1000 {
        print(&mut printer, &[b'x'; 1000]);
        printer.write(now());
        assert!(printer.has_room() && !printer.is_waiting() && printer.next_due().is_none());
    }
}
