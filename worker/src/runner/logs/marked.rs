//! Lines of programs that live on which say themselves what they are of. Of several partitions at once nobody else knows.
//!
//! `\x1e4711/1\x1etext`: partition 4711, its first attempt. The host of functions writes so, and others may. Whoever lies does so in
//! the log of his own step.

use bytes::Bytes;

/// Before and behind the mark: the record separator of ASCII.
const EDGE: u8 = 0x1e;
/// Two numbers and what is between them.
const LONGEST: usize = 20 + 1 + 10;

/// Such a line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MarkedLine {
    /// The partition.
    pub partition: u64,
    /// Which attempt at it, from 1.
    pub attempt: u32,
    /// The line without its mark.
    pub line: Bytes,
}

impl MarkedLine {
    /// Reads a line; `None`: it is not marked.
    #[must_use]
    pub fn read(line: &Bytes) -> Option<Self> {
        let rest = line.strip_prefix(&[EDGE])?;
        let end = rest.iter().take(LONGEST + 1).position(|byte| *byte == EDGE)?;
        let mark = std::str::from_utf8(rest.get(..end)?).ok()?;
        let (partition, attempt) = mark.split_once('/')?;
        Some(Self {
            partition: partition.parse().ok()?,
            attempt: attempt.parse().ok()?,
            line: line.slice_ref(rest.get(end + 1..)?),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn marks_are_read_and_all_else_is_text() {
        let read = |text: &'static str| MarkedLine::read(&Bytes::from_static(text.as_bytes()));
        let marked = |partition, attempt, line: &'static str| MarkedLine {
            partition,
            attempt,
            line: Bytes::from_static(line.as_bytes()),
        };
        assert_eq!(read("\x1e4711/2\x1eabout it"), Some(marked(4711, 2, "about it")));
        assert_eq!(read("\x1e0/1\x1e"), Some(marked(0, 1, "")));
        let most = format!("\x1e{}/{}\x1e\x1e", u64::MAX, u32::MAX);
        let found = MarkedLine::read(&Bytes::from(most));
        assert_eq!(found, Some(marked(u64::MAX, u32::MAX, "\x1e")));
        for text in [
            "",
            "text",
            "\x1e",
            "\x1e1/1",
            "\x1e1\x1e",
            "\x1e/\x1e",
            "\x1e-1/1\x1e",
            "\x1e1/4294967296\x1e",
            "x\x1e1/1\x1e",
        ] {
            assert_eq!(read(text), None, "{text:?}");
        }
    }
}
