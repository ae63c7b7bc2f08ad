//! Which lines belong to a range of a file's bytes: those whose first byte lies in it.
//!
//! A line feed ends a line and belongs to it; what follows the last one is a line too. Nothing else is looked at, so a
//! carriage return stays where it is and a character of several bytes is never cut: no byte of one is a line feed.

/// Finds the lines of the range `[start, end)` of a file while its bytes go by, in chunks of any size.
///
/// The caller reads the file from [`read_from`](Self::read_from) on, feeds each chunk and keeps what
/// [`feed`](Self::feed) gives back, until [`is_done`](Self::is_done) or the file ends.
#[derive(Clone, Debug)]
pub struct LineCover {
    /// Where the next chunk begins.
    position: u64,
    end: u64,
    state: State,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// Before the first line that begins in the range.
    Seeking,
    /// Among its lines.
    Within,
    Done,
}

impl LineCover {
    /// The lines that begin in `[start, end)`; `end` is at most the file's size.
    #[must_use]
    pub fn new(start: u64, end: u64) -> Self {
        let state = match start {
            _ if start >= end => State::Done,
            0 => State::Within,
            // A line begins at `start` if the byte before it ends one: so the reading begins there.
            _ => State::Seeking,
        };
        Self {
            position: start.saturating_sub(1),
            end,
            state,
        }
    }

    /// The offset of the first byte to feed.
    #[must_use]
    pub fn read_from(&self) -> u64 {
        self.position
    }

    /// Whether no further byte belongs to the range.
    #[must_use]
    pub fn is_done(&self) -> bool {
        self.state == State::Done
    }

    /// Takes the next bytes of the file and gives those that belong to the range.
    pub fn feed<'a>(&mut self, chunk: &'a [u8]) -> &'a [u8] {
        let mut rest = chunk;
        if self.state == State::Seeking {
            // The line feed must lie before `end - 1`, or the line behind it begins too late. So a line that goes across
            // the whole range is given up at its end, not read to its own.
            let limit = self.end - 1;
            let searched = self.up_to(limit, rest);
            let Some(index) = find_line_feed(searched) else {
                let searched = searched.len();
                self.skip(rest, searched);
                if self.position >= limit {
                    self.state = State::Done;
                }
                return &[];
            };
            self.state = State::Within;
            rest = self.skip(rest, index + 1);
        }
        if self.state == State::Done {
            return &[];
        }
        // Every byte belongs up to the line feed that ends the line of the byte `end - 1`.
        let sure = self.up_to(self.end - 1, rest).len();
        let last = rest.get(sure..).and_then(find_line_feed);
        let taken = match last {
            Some(index) => {
                self.state = State::Done;
                sure + index + 1
            }
            None => rest.len(),
        };
        let given = rest.get(..taken).unwrap_or_default();
        self.skip(rest, taken);
        given
    }

    /// The part of `bytes`, which begin at the position, that lies before `limit`.
    fn up_to<'a>(&self, limit: u64, bytes: &'a [u8]) -> &'a [u8] {
        let before = usize::try_from(limit.saturating_sub(self.position)).unwrap_or(usize::MAX);
        bytes.get(..before).unwrap_or(bytes)
    }

    fn skip<'a>(&mut self, bytes: &'a [u8], count: usize) -> &'a [u8] {
        self.position += count as u64;
        bytes.get(count..).unwrap_or_default()
    }
}

fn find_line_feed(bytes: &[u8]) -> Option<usize> {
    bytes.iter().position(|byte| *byte == b'\n')
}
