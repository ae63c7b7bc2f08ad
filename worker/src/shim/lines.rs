//! Cutting a child's output into lines of bounded length.

use bytes::{Bytes, BytesMut};

use crate::frames::MAX_LINE;

/// Collects the bytes of one stream and gives lines. Holds at most [`MAX_LINE`] bytes.
#[derive(Debug, Default)]
pub(super) struct Lines {
    partial: BytesMut,
    /// The line that is being read is over its limit: its rest is dropped.
    cut: bool,
}

impl Lines {
    /// Takes bytes as they were read and calls `emit(line, cut)` for each line that they complete.
    pub(super) fn push(&mut self, mut bytes: &[u8], mut emit: impl FnMut(Bytes, bool)) {
        while let Some(end) = bytes.iter().position(|byte| *byte == b'\n') {
            let (line, rest) = bytes.split_at(end);
            self.collect(line);
            emit(self.partial.split().freeze(), std::mem::take(&mut self.cut));
            bytes = rest.get(1..).unwrap_or_default();
        }
        self.collect(bytes);
    }

    /// Gives the last line if the stream ended without a line end.
    pub(super) fn finish(&mut self, emit: impl FnOnce(Bytes, bool)) {
        if !self.partial.is_empty() {
            emit(self.partial.split().freeze(), std::mem::take(&mut self.cut));
        }
    }

    fn collect(&mut self, bytes: &[u8]) {
        let room = MAX_LINE - self.partial.len();
        let (kept, lost) = bytes.split_at(bytes.len().min(room));
        self.partial.extend_from_slice(kept);
        self.cut |= !lost.is_empty();
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use bytes::Bytes;
    use proptest::prelude::*;

    use super::Lines;
    use crate::frames::MAX_LINE;

    fn split(text: &[u8], step: usize) -> Vec<(Bytes, bool)> {
        let mut seen = Vec::new();
        let mut lines = Lines::default();
        for piece in text.chunks(step) {
            lines.push(piece, |line, cut| seen.push((line, cut)));
        }
        lines.finish(|line, cut| seen.push((line, cut)));
        seen
    }

    proptest! {
        #[test]
        fn lines_do_not_depend_on_the_reads(text in "[ab\n]{0,80}", step in 1_usize..20) {
            let mut wanted: Vec<&str> = text.split('\n').collect();
            if wanted.last() == Some(&"") {
                wanted.pop();
            }
            let seen = split(text.as_bytes(), step);
            prop_assert!(seen.iter().all(|(_, cut)| !cut));
            prop_assert_eq!(seen.iter().map(|(line, _)| std::str::from_utf8(line).unwrap()).collect::<Vec<_>>(), wanted);
        }
    }

    #[test]
    fn a_line_of_just_the_limit_is_whole_and_one_byte_more_is_cut() {
        for (length, cut) in [(MAX_LINE, false), (MAX_LINE + 1, true), (10 * MAX_LINE, true)] {
            let mut text = vec![b'x'; length];
            text.extend_from_slice(b"\nnext");
            let seen = split(&text, 1000);
            assert_eq!(seen.len(), 2);
            let first = seen.first().unwrap();
            assert_eq!((first.0.len(), first.1), (MAX_LINE, cut));
            assert_eq!(seen.last().unwrap(), &(Bytes::from_static(b"next"), false));
        }
    }
}
