//! Where the records of a file are, found while its bytes go by once, in chunks of any size and in bounded memory.
//!
//! A line feed ends a record and belongs to it; what follows the last one is a record too. A carriage return before it is left
//! where it is. In CSV, a line feed in a quoted field ends nothing. A quote opens a quoted field only where a field begins: at
//! the beginning of a record, or behind a comma, semicolon, tab or bar; in a quoted field, two quotes are one. Files that keep to
//! RFC 4180 have quotes nowhere else; for others this is how most readers of CSV take them. The first record of CSV is the
//! header, and a byte order mark before it is part of it.
//!
//! Empty lines are records of text; of CSV and JSON lines they are not, and go with the records beside them.

use braid_crds::workflow::Format;
use memchr::{memchr, memchr_iter, memrchr};

/// The longest header of a CSV file, in bytes.
pub const HEADER_BYTES: u64 = 1 << 20;
/// The most partitions that may be found by looking into the files of one plan.
pub const CUTS: usize = 8_000_000;

/// What parts the fields of CSV: the first is that of RFC 4180.
pub const DELIMITERS: [u8; 4] = *b",;\t|";

/// Lines are counted in blocks of so many bytes.
const BLOCK: usize = 32 << 10;
const MARK: [u8; 3] = [0xef, 0xbb, 0xbf];

/// When a partition is full.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    /// With so many records.
    Rows(u64),
    /// With the record that brings it to so many bytes.
    Bytes(u64),
}

/// The partitions of one file: each ends where the next begins, the last at the end of the file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Records {
    /// How long the header is that each partition begins with.
    pub header: u64,
    /// Where the partitions begin: strictly ascending, the first at the header's end.
    pub starts: Vec<u64>,
}

/// What is wrong with the bytes.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ScanError {
    /// A quote that opens a field and has no partner.
    #[error("the quote at byte {0} opens a field that does not end before the file does; close it, or take it out")]
    UnclosedQuote(u64),
    /// No end of the header.
    #[error(
        "the header does not end within {HEADER_BYTES} bytes; is it CSV? Its first quote, if it has one, is at byte {0:?}"
    )]
    LongHeader(Option<u64>),
    /// Too many partitions.
    #[error("the files give more than {CUTS} partitions; choose a larger split")]
    TooMany,
    /// Parquet has no lines.
    #[error("Parquet has no lines: use split: {{rowGroups: 1}}")]
    NoLines,
}

/// Finds the partitions of a file.
#[derive(Clone, Debug)]
pub struct RecordScan {
    rule: Rule,
    unit: Unit,
    /// How many bytes have gone by.
    position: u64,
    /// Of the line that is going by, from its last line feed outside quotes.
    line: Line,
    header: Option<u64>,
    /// Where the next partition begins, or the one that is open has begun.
    start: u64,
    /// Records in the open partition; 0: there is none.
    rows: u64,
    total_rows: u64,
    starts: Vec<u64>,
    /// Where records have ended, if somebody wants to know.
    ends: Option<Vec<u64>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Rule {
    Text,
    Json,
    Csv { state: State, mark: usize },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// Where a field begins.
    Field,
    /// In a field without quotes, or behind a quoted one.
    Plain,
    /// In a quoted field that was opened there.
    Quoted(u64),
    /// Behind a quote in such a field.
    Quote(u64),
}

/// As much of a line as tells whether it is empty.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Line {
    length: u64,
    /// Its only byte is a carriage return.
    cr: bool,
}

impl Line {
    fn extend(&mut self, bytes: &[u8]) {
        if !bytes.is_empty() {
            self.cr = self.length == 0 && bytes == b"\r";
            self.length += bytes.len() as u64;
        }
    }

    fn is_empty(self) -> bool {
        self.length == 0 || (self.length == 1 && self.cr)
    }
}

impl RecordScan {
    /// For a file of that format.
    ///
    /// # Errors
    /// For Parquet.
    pub fn new(format: Format, unit: Unit) -> Result<Self, ScanError> {
        let rule = match format {
            Format::Text => Rule::Text,
            Format::JsonLines => Rule::Json,
            Format::Csv => Rule::Csv {
                state: State::Field,
                mark: 0,
            },
            Format::Parquet => return Err(ScanError::NoLines),
        };
        Ok(Self {
            header: (!matches!(rule, Rule::Csv { .. })).then_some(0),
            rule,
            unit,
            position: 0,
            line: Line::default(),
            start: 0,
            rows: 0,
            total_rows: 0,
            starts: Vec::new(),
            ends: None,
        })
    }

    /// For a file whose records are wanted one by one: [`Self::take_ends`] tells where they are.
    ///
    /// # Errors
    /// For Parquet.
    pub fn each(format: Format) -> Result<Self, ScanError> {
        Ok(Self {
            ends: Some(Vec::new()),
            ..Self::new(format, Unit::Rows(u64::MAX))?
        })
    }

    /// Where records have ended since this was asked last, in order. Empty lines go with what is behind them. Nothing of text, and of
    /// scans that are not by [`Self::each`].
    pub fn take_ends(&mut self) -> Vec<u64> {
        self.ends.as_mut().map(std::mem::take).unwrap_or_default()
    }

    /// Takes the next bytes of the file.
    ///
    /// # Errors
    /// See [`ScanError`].
    pub fn feed(&mut self, chunk: &[u8]) -> Result<(), ScanError> {
        match (self.rule, self.unit) {
            (Rule::Text, Unit::Rows(rows)) => self.count(chunk, rows)?,
            (Rule::Text | Rule::Json, _) => self.lines(chunk)?,
            (Rule::Csv { state, mark }, _) => self.csv(chunk, state, mark)?,
        }
        Ok(())
    }

    /// The length of the header, once it has gone by.
    #[must_use]
    pub fn header(&self) -> Option<u64> {
        self.header
    }

    /// How many records have ended.
    #[must_use]
    pub fn total_rows(&self) -> u64 {
        self.total_rows
    }

    /// What was found, at the end of the file.
    ///
    /// # Errors
    /// See [`ScanError`].
    pub fn finish(mut self) -> Result<Records, ScanError> {
        self.close()?;
        Ok(Records {
            header: self.header.unwrap_or(self.position),
            starts: self.starts,
        })
    }

    /// Ends the last record, at the end of the file.
    ///
    /// # Errors
    /// See [`ScanError`].
    pub fn close(&mut self) -> Result<(), ScanError> {
        if let Rule::Csv {
            state: State::Quoted(at),
            ..
        } = self.rule
        {
            return Err(ScanError::UnclosedQuote(at));
        }
        if !self.line.is_empty() || (matches!(self.rule, Rule::Text) && self.line.length > 0) {
            self.end_of_record(self.position)?;
        }
        Ok(())
    }

    /// Text by rows: whole blocks are counted, only the one in which a partition ends is looked through.
    fn count(&mut self, chunk: &[u8], rows: u64) -> Result<(), ScanError> {
        let mut rest = chunk;
        while !rest.is_empty() {
            let block = rest.get(..BLOCK).unwrap_or(rest);
            let wanted = rows - self.rows;
            let found = memchr_iter(b'\n', block).count() as u64;
            let taken = if found < wanted {
                if found > 0 {
                    self.open()?;
                    self.rows += found;
                    self.total_rows += found;
                }
                let behind = memrchr(b'\n', block).map_or(0, |last| last + 1);
                if behind > 0 {
                    self.line = Line::default();
                }
                self.line.extend(block.get(behind..).unwrap_or_default());
                block.len()
            } else {
                let nth = usize::try_from(wanted - 1).unwrap_or(usize::MAX);
                let last = memchr_iter(b'\n', block).nth(nth).unwrap_or(block.len() - 1) + 1;
                self.open()?;
                self.rows = 0;
                self.total_rows += wanted;
                self.start = self.position + last as u64;
                self.line = Line::default();
                last
            };
            self.position += taken as u64;
            rest = rest.get(taken..).unwrap_or_default();
        }
        Ok(())
    }

    fn lines(&mut self, chunk: &[u8]) -> Result<(), ScanError> {
        for block in chunk.chunks(BLOCK) {
            self.unquoted(block, self.position)?;
            self.position += block.len() as u64;
        }
        Ok(())
    }

    /// Bytes in which every line feed ends a line; they begin at that position. If they fill no partition, the line feeds are only counted.
    fn unquoted(&mut self, bytes: &[u8], begin: u64) -> Result<(), ScanError> {
        if let Some(last) = self.fills_nothing(bytes, begin) {
            let records = memchr_iter(b'\n', bytes).count() as u64;
            self.open()?;
            self.rows += records;
            self.total_rows += records;
            self.line = Line::default();
            self.line.extend(bytes.get(last..).unwrap_or_default());
            return Ok(());
        }
        let mut from = 0;
        for at in memchr_iter(b'\n', bytes) {
            self.line.extend(bytes.get(from..at).unwrap_or_default());
            from = at + 1;
            self.end_of_line(begin + from as u64)?;
        }
        self.line.extend(bytes.get(from..).unwrap_or_default());
        Ok(())
    }

    /// Where the last line begins, if there are others before it, all of them are records behind the header, and the open partition
    /// is not full with them.
    fn fills_nothing(&self, bytes: &[u8], begin: u64) -> Option<usize> {
        if self.header.is_none() || self.ends.is_some() {
            return None;
        }
        let first = memchr(b'\n', bytes)?;
        let last = memrchr(b'\n', bytes)? + 1;
        let full = match self.unit {
            // No more line feeds than bytes.
            Unit::Rows(rows) if rows - self.rows > bytes.len() as u64 => false,
            Unit::Rows(rows) => memchr_iter(b'\n', bytes).count() as u64 >= rows - self.rows,
            Unit::Bytes(unit) => begin + last as u64 - self.start >= unit,
        };
        let mut line = self.line;
        line.extend(bytes.get(..first).unwrap_or_default());
        let all_count = matches!(self.rule, Rule::Text)
            || !(line.is_empty() || has_empty_line(bytes.get(first..last).unwrap_or_default()));
        (!full && all_count).then_some(last)
    }

    fn csv(&mut self, chunk: &[u8], mut state: State, mut mark: usize) -> Result<(), ScanError> {
        // The line goes on from here; and here is looked on.
        let (mut from, mut at) = (0, 0);
        let begun = |mark: usize, at: usize| self.position + at as u64 == mark as u64;
        while mark < MARK.len() && begun(mark, at) && chunk.get(at) == MARK.get(mark) {
            (mark, at) = (mark + 1, at + 1);
            from = at;
        }
        if (1..MARK.len()).contains(&mark) && begun(mark, at) && at < chunk.len() {
            state = State::Plain;
        }
        while at < chunk.len() {
            let rest = chunk.get(at..).unwrap_or_default();
            match state {
                State::Field | State::Plain => {
                    let block = rest.get(..BLOCK).unwrap_or(rest);
                    let quote = memchr(b'"', block);
                    let plain = block.get(..quote.unwrap_or(block.len())).unwrap_or_default();
                    self.line.extend(chunk.get(from..at).unwrap_or_default());
                    self.unquoted(plain, self.position + at as u64)?;
                    at += plain.len();
                    from = at;
                    let begins = plain
                        .last()
                        .map_or(state == State::Field, |byte| *byte == b'\n' || parts(*byte));
                    state = match quote {
                        Some(_) if begins => State::Quoted(self.position + at as u64),
                        None if begins => State::Field,
                        _ => State::Plain,
                    };
                    at += usize::from(quote.is_some());
                }
                State::Quoted(opened) => {
                    let Some(found) = memchr(b'"', rest) else { break };
                    (state, at) = (State::Quote(opened), at + found + 1);
                }
                State::Quote(opened) => {
                    if rest.first() == Some(&b'"') {
                        (state, at) = (State::Quoted(opened), at + 1);
                    } else {
                        state = State::Plain;
                    }
                }
            }
        }
        self.line.extend(chunk.get(from..).unwrap_or_default());
        self.position += chunk.len() as u64;
        self.rule = Rule::Csv { state, mark };
        if self.header.is_none() && self.position > HEADER_BYTES {
            let quote = match state {
                State::Quoted(at) | State::Quote(at) => Some(at),
                _ => None,
            };
            return Err(ScanError::LongHeader(quote));
        }
        Ok(())
    }

    fn end_of_line(&mut self, end: u64) -> Result<(), ScanError> {
        let line = std::mem::take(&mut self.line);
        if line.is_empty() && !matches!(self.rule, Rule::Text) {
            return Ok(());
        }
        self.end_of_record(end)
    }

    fn end_of_record(&mut self, end: u64) -> Result<(), ScanError> {
        if self.header.is_none() {
            (self.header, self.start) = (Some(end), end);
            return Ok(());
        }
        if let Some(ends) = &mut self.ends {
            ends.push(end);
        }
        self.open()?;
        self.rows += 1;
        self.total_rows += 1;
        let full = match self.unit {
            Unit::Rows(rows) => self.rows >= rows,
            Unit::Bytes(bytes) => end - self.start >= bytes,
        };
        if full {
            (self.start, self.rows) = (end, 0);
        }
        Ok(())
    }

    /// Notes where a partition begins, with its first record.
    fn open(&mut self) -> Result<(), ScanError> {
        if self.rows == 0 {
            if self.starts.len() >= CUTS {
                return Err(ScanError::TooMany);
            }
            self.starts.push(self.start);
        }
        Ok(())
    }
}

/// Whether there is an empty line behind another one: two line feeds with nothing, or one carriage return, between them.
fn has_empty_line(bytes: &[u8]) -> bool {
    let (second, third) = (bytes.get(1..).unwrap_or_default(), bytes.get(2..).unwrap_or_default());
    let is = |byte: &u8, wanted: u8| u8::from(*byte == wanted);
    // Without a way out, so that many bytes are compared at once.
    let found = bytes
        .iter()
        .zip(second)
        .zip(third)
        .fold(0, |found, ((one, two), three)| {
            found | (is(one, b'\n') & (is(two, b'\n') | (is(two, b'\r') & is(three, b'\n'))))
        });
    found != 0 || bytes.ends_with(b"\n\n")
}

/// Whether a field may begin behind this byte.
fn parts(byte: u8) -> bool {
    DELIMITERS.contains(&byte)
}

/// A header without what does not matter when headers are compared: a byte order mark, and the kind of line end.
#[must_use]
pub fn bare_header(header: &[u8]) -> &[u8] {
    header.strip_prefix(&MARK).unwrap_or(header).trim_ascii_end()
}

#[cfg(test)]
mod tests;
