//! A shuffle: every record to the part that its key says, while the bytes of the files go by once, in chunks of any size.
//!
//! The part follows from the key alone, so all records of one key are in one part, whatever file they come from; within a part they
//! stay in the order of the input. At most one record is held, and the header.

use braid_crds::workflow::Format;
use memchr::memchr;

use crate::cover::{CoverError, RecordScan, ScanError, bare_header, check_keys};

mod csv;
mod json;
mod key;

pub use key::part_of;

use csv::Column;

/// The longest record that is taken, in bytes: it is held until its key is known.
pub const RECORD_BYTES: usize = 16 << 20;

/// What is wrong with a file.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ShuffleError {
    /// Its records cannot be found.
    #[error(transparent)]
    Scan(#[from] ScanError),
    /// The header has no such column, or more than one.
    #[error("{count} columns of the header are called {by:?}, and one is needed to split by; {help}")]
    Column {
        /// What is looked for.
        by: String,
        /// `no`, or how many there are.
        count: String,
        /// What there is.
        help: String,
    },
    /// Files of several headers.
    #[error(
        "it has not the header of {first}, and records of both come to the same parts; make them alike, or declare them as data of their own"
    )]
    Headers {
        /// The first file that has a header.
        first: String,
    },
    /// A record that is too long.
    #[error("the record at byte {at} is longer than {RECORD_BYTES} bytes, the most that can be split by keys")]
    LongRecord {
        /// Where it begins.
        at: u64,
    },
    /// A value that is no object.
    #[error("the value at byte {at} is {what}; to split by keys each value has to be an object")]
    NoObject {
        /// Where the record begins.
        at: u64,
        /// What it is.
        what: String,
    },
    /// A value that is no JSON.
    #[error("the value at byte {at} is not JSON: {problem}")]
    NoJson {
        /// Where the record begins.
        at: u64,
        /// What is wrong.
        problem: String,
    },
    /// A key that is a list or a map.
    #[error("the field {by:?} of the value at byte {at} is {what}; a key is a text, a number, a boolean or null")]
    NoKey {
        /// The field.
        by: String,
        /// Where the record begins.
        at: u64,
        /// What it is.
        what: String,
    },
}

/// Why records do not come to their parts.
#[derive(Debug, PartialEq, Eq)]
pub enum RouteError<E> {
    /// What is wrong with the file.
    Wrong(ShuffleError),
    /// They are not taken.
    Taker(E),
}

impl<E> From<ShuffleError> for RouteError<E> {
    fn from(error: ShuffleError) -> Self {
        Self::Wrong(error)
    }
}

impl<E> From<ScanError> for RouteError<E> {
    fn from(error: ScanError) -> Self {
        Self::Wrong(error.into())
    }
}

/// Who takes what comes to the parts. All lines are ended.
pub trait Parts {
    /// Why something cannot be taken.
    type Error;

    /// The header that each part begins with; once, before all records, and not at all where there is none.
    ///
    /// # Errors
    /// What the taker says.
    fn header(&mut self, bytes: &[u8]) -> Result<(), Self::Error>;

    /// The next record of a part.
    ///
    /// # Errors
    /// What the taker says.
    fn record(&mut self, part: u32, bytes: &[u8]) -> Result<(), Self::Error>;
}

/// Sends the records of some files to their parts: [`Self::begin`] each file in order, then [`Self::feed`] its bytes, then
/// [`Self::end`] it.
#[derive(Clone, Debug)]
pub struct Router {
    format: Format,
    by: String,
    into: u32,
    header: Option<Header>,
    file: File,
}

/// The first header, which all files must have.
#[derive(Clone, Debug)]
struct Header {
    file: String,
    bare: Vec<u8>,
    column: Column,
}

/// The file that is going by.
#[derive(Clone, Debug)]
struct File {
    path: String,
    scan: RecordScan,
    /// What went by and is not sent yet: the beginning of a record.
    held: Vec<u8>,
    /// Where that begins.
    from: u64,
    /// The header has gone by, or there is none.
    past_header: bool,
}

impl File {
    fn new(path: &str, format: Format) -> Result<Self, ScanError> {
        Ok(Self {
            path: path.to_owned(),
            scan: RecordScan::each(format)?,
            held: Vec::new(),
            from: 0,
            past_header: format != Format::Csv,
        })
    }
}

impl Router {
    /// For data of that format, by that field.
    ///
    /// # Errors
    /// For formats whose records have no fields, and for no parts.
    pub fn new(format: Option<Format>, by: &str, into: u32) -> Result<Self, CoverError> {
        check_keys(format)?;
        let (Some(format), 1..) = (format, into) else {
            return Err(CoverError::NoSplit);
        };
        Ok(Self {
            format,
            by: by.to_owned(),
            into,
            header: None,
            file: File::new("", format).map_err(|_| CoverError::NoSplit)?,
        })
    }

    /// The next file.
    ///
    /// # Errors
    /// See [`ShuffleError`].
    pub fn begin(&mut self, path: &str) -> Result<(), ShuffleError> {
        self.file = File::new(path, self.format)?;
        Ok(())
    }

    /// The next bytes of the file.
    ///
    /// # Errors
    /// See [`RouteError`].
    pub fn feed<P: Parts>(&mut self, chunk: &[u8], parts: &mut P) -> Result<(), RouteError<P::Error>> {
        self.file.scan.feed(chunk)?;
        self.send(chunk, parts)
    }

    /// The file has ended.
    ///
    /// # Errors
    /// See [`RouteError`].
    pub fn end<P: Parts>(&mut self, parts: &mut P) -> Result<(), RouteError<P::Error>> {
        self.file.scan.close()?;
        self.send(&[], parts)
    }

    /// Sends what has ended, and holds the rest.
    fn send<P: Parts>(&mut self, chunk: &[u8], parts: &mut P) -> Result<(), RouteError<P::Error>> {
        let held = std::mem::take(&mut self.file.held);
        let mut ends = Vec::new();
        if !self.file.past_header
            && let Some(header) = self.file.scan.header()
        {
            ends.push(header);
        }
        ends.extend(self.file.scan.take_ends());
        // What is held lies before the chunk, so only the first of them may need both.
        let (mut pending, mut chunk) = (held, chunk);
        for end in ends {
            let length = usize::try_from(end - self.file.from).unwrap_or(usize::MAX);
            let of_chunk = length.saturating_sub(pending.len());
            let (taken, rest) = chunk.split_at_checked(of_chunk).unwrap_or((chunk, &[]));
            chunk = rest;
            if pending.is_empty() {
                self.record(taken, parts)?;
            } else {
                pending.extend_from_slice(taken);
                self.record(&pending, parts)?;
                pending.clear();
            }
            self.file.from = end;
        }
        pending.extend_from_slice(chunk);
        if self.file.past_header && pending.len() > RECORD_BYTES {
            return Err(ShuffleError::LongRecord { at: self.file.from }.into());
        }
        self.file.held = pending;
        Ok(())
    }

    /// One record, or the header, with the empty lines around it.
    fn record<P: Parts>(&mut self, bytes: &[u8], parts: &mut P) -> Result<(), RouteError<P::Error>> {
        let line = Line::of(bytes);
        if !self.file.past_header {
            self.file.past_header = true;
            if self.is_first_header(line.content)? {
                line.ended(|line| parts.header(line)).map_err(RouteError::Taker)?;
            }
            return Ok(());
        }
        let at = self.file.from + line.skipped as u64;
        if line.content.len() > RECORD_BYTES {
            return Err(ShuffleError::LongRecord { at }.into());
        }
        let key = match &self.header {
            Some(header) => header.column.key(line.content),
            None => json::key(line.content, &self.by, at)?,
        };
        let part = part_of(key.as_deref(), self.into);
        line.ended(|line| parts.record(part, line)).map_err(RouteError::Taker)
    }

    /// Whether a header is the first; if not, it has to be like that.
    fn is_first_header(&mut self, content: &[u8]) -> Result<bool, ShuffleError> {
        let bare = bare_header(content);
        match &self.header {
            Some(first) if first.bare == bare => Ok(false),
            Some(first) => Err(ShuffleError::Headers {
                first: first.file.clone(),
            }),
            None => {
                self.header = Some(Header {
                    file: self.file.path.clone(),
                    bare: bare.to_vec(),
                    column: Column::find(bare, &self.by)?,
                });
                Ok(true)
            }
        }
    }
}

/// A line that may have empty ones around it.
#[derive(Clone, Copy, Debug)]
struct Line<'a> {
    /// Bytes of empty lines before it.
    skipped: usize,
    /// Without its end.
    content: &'a [u8],
    /// With its end, if it has one.
    whole: &'a [u8],
}

impl<'a> Line<'a> {
    fn of(bytes: &'a [u8]) -> Self {
        let mut rest = bytes;
        while let Some(behind) = rest.strip_prefix(b"\n").or_else(|| rest.strip_prefix(b"\r\n")) {
            rest = behind;
        }
        let ends = |byte: &u8| matches!(byte, b'\r' | b'\n');
        let length = rest.iter().rposition(|byte| !ends(byte)).map_or(0, |last| last + 1);
        let (content, end) = rest.split_at_checked(length).unwrap_or((rest, &[]));
        let end = memchr(b'\n', end).map_or(end.len(), |feed| feed + 1);
        Self {
            skipped: bytes.len() - rest.len(),
            content,
            whole: rest.get(..length + end).unwrap_or(rest),
        }
    }

    /// The line with an end: its own, or a line feed.
    fn ended<T>(self, give: impl FnOnce(&[u8]) -> T) -> T {
        if self.whole.ends_with(b"\n") {
            give(self.whole)
        } else {
            give(&[self.whole, b"\n"].concat())
        }
    }
}

#[cfg(test)]
mod tests;
