//! What is posted for a partition: the item's JSON, or the bytes that standard input would have.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::FileExt as _;
use std::sync::{Arc, OnceLock};

use bytes::{Buf as _, Bytes};
use futures::{StreamExt as _, stream};
use http_body_util::{BodyExt as _, Full, StreamBody, combinators::UnsyncBoxBody};
use hyper::body::Frame;

use crate::frames::CHUNK;
use crate::runner::{Attempt, Data, Input, InputFile, Item};

/// Bytes whose number is not known before they are made are made whole up to so many, and then have a length: simple servers
/// cannot do without one. All requests of a program together hold no more than [`ALL`] so, since a worker's memory is small.
const WHOLE: usize = 1 << 20;
const ALL: usize = 16 << 20;

pub(super) type Body = UnsyncBoxBody<Bytes, io::Error>;

/// A body and what is said of it.
pub(super) struct Posted {
    pub(super) body: Body,
    /// `None`: it comes in chunks.
    pub(super) length: Option<u64>,
    /// Its media type.
    pub(super) kind: &'static str,
}

/// A body that is there.
pub(super) fn whole(bytes: Bytes) -> Body {
    Full::new(bytes)
        .map_err(|never: Infallible| match never {})
        .boxed_unsync()
}

/// What is told of an input that cannot be read.
pub(super) fn unreadable(error: &io::Error) -> String {
    format!("the input could not be read: {error}")
}

/// The body of an attempt, one of so many at once. What goes wrong while it is sent is left in `problem`.
pub(super) async fn of(attempt: &Attempt, at_once: u16, problem: &Arc<OnceLock<String>>) -> io::Result<Posted> {
    let files = match &attempt.input {
        Input::None => {
            let text = match &attempt.item {
                Item::None => String::new(),
                Item::Number(number) => number.to_string(),
                Item::Json(item) => item.to_string(),
            };
            return Ok(Posted {
                length: Some(text.len() as u64),
                body: whole(text.into()),
                kind: "application/json",
            });
        }
        input => files(input),
    };
    let length = exact(&files);
    let input = Joined::new(files);
    let kind = "application/octet-stream";
    if length.is_some_and(|length| length > CHUNK as u64) {
        return Ok(Posted {
            body: streamed(Bytes::new(), input, problem),
            length,
            kind,
        });
    }
    // Also what is short: one wait, one write.
    let most = (ALL / usize::from(at_once.max(1))).clamp(CHUNK, WHOLE);
    let (start, rest) = blocking(input, most).await?;
    Ok(match rest {
        None => Posted {
            length: Some(start.len() as u64),
            body: whole(start),
            kind,
        },
        Some(rest) => Posted {
            body: streamed(start, rest, problem),
            length,
            kind,
        },
    })
}

fn files(input: &Input) -> VecDeque<InputFile> {
    match input {
        Input::None => VecDeque::new(),
        Input::One { data, .. } => VecDeque::from([InputFile::from((Arc::from(""), data.clone()))]),
        Input::Many(files) => files.iter().cloned().collect(),
    }
}

/// The bytes that a process has on its standard input. Blocks when it is read.
pub(crate) fn input_bytes(input: &Input) -> impl Read + Send + use<> {
    Joined::new(files(input))
}

/// How many bytes these will be, if that is certain.
fn exact(files: &VecDeque<InputFile>) -> Option<u64> {
    fn of(data: &Data) -> Option<u64> {
        match data {
            Data::Bytes(_) | Data::File { .. } => Some(data.length()),
            Data::Made(_) => None,
            Data::Joined(parts) => parts.iter().try_fold(0_u64, |sum, part| sum.checked_add(of(part)?)),
        }
    }
    let mut sum = 0_u64;
    for file in files {
        // Where lines are ended, there may be one byte more.
        if file.lines && files.len() > 1 {
            return None;
        }
        sum = sum.checked_add(of(&file.data)?.saturating_sub(file.skip))?;
    }
    Some(sum)
}

fn streamed(start: Bytes, rest: Joined, problem: &Arc<OnceLock<String>>) -> Body {
    let problem = Arc::clone(problem);
    let begin = (start, Some(rest));
    let chunks = stream::unfold(begin, |(start, rest)| async move {
        if !start.is_empty() {
            return Some((Ok(start), (Bytes::new(), rest)));
        }
        match blocking(rest?, CHUNK).await {
            Ok((chunk, _)) if chunk.is_empty() => None,
            Ok((chunk, rest)) => Some((Ok(chunk), (Bytes::new(), rest))),
            Err(error) => Some((Err(error), (Bytes::new(), None))),
        }
    });
    let frames = chunks.map(move |chunk: io::Result<Bytes>| match chunk {
        Ok(chunk) => Ok(Frame::data(chunk)),
        Err(error) => {
            // The first one is the one to tell.
            let _ = problem.set(unreadable(&error));
            Err(error)
        }
    });
    StreamBody::new(frames).boxed_unsync()
}

/// Up to so many bytes, and what is left behind them, if they are so many.
async fn blocking(mut input: Joined, most: usize) -> io::Result<(Bytes, Option<Joined>)> {
    let read = tokio::task::spawn_blocking(move || {
        let mut chunk = Vec::with_capacity(most.min(CHUNK));
        (&mut input).take(most as u64).read_to_end(&mut chunk)?;
        let rest = (chunk.len() == most).then_some(input);
        Ok((Bytes::from(chunk), rest))
    });
    read.await.unwrap_or_else(|error| Err(io::Error::other(error)))
}

/// Files as standard input has them: one after the other, without the headers that are left out, with the line ends that lack.
struct Joined {
    files: VecDeque<InputFile>,
    open: Option<(Box<dyn Read + Send>, bool)>,
    last: Option<u8>,
    /// The last line is to be ended before anything follows.
    unended: bool,
}

impl Joined {
    fn new(files: VecDeque<InputFile>) -> Self {
        Self {
            files,
            open: None,
            last: None,
            unended: false,
        }
    }
}

impl Read for Joined {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if buffer.is_empty() {
            return Ok(0);
        }
        loop {
            let (mut open, lines) = match self.open.take() {
                Some(open) => open,
                None => match self.files.pop_front() {
                    Some(file) => {
                        let mut open = opened(&file.data)?;
                        io::copy(&mut (&mut open).take(file.skip), &mut io::sink())?;
                        self.last = None;
                        (open, file.lines)
                    }
                    None => return Ok(0),
                },
            };
            if self.unended {
                // Its first byte tells whether anything follows.
                let mut first = [0];
                if open.read(&mut first)? == 0 {
                    continue;
                }
                self.unended = false;
                let first = Bytes::copy_from_slice(&first).reader();
                self.open = Some((Box::new(first.chain(open)), lines));
                if let Some(byte) = buffer.first_mut() {
                    *byte = b'\n';
                }
                return Ok(1);
            }
            let count = open.read(buffer)?;
            if let Some(last) = buffer.get(..count).and_then(<[u8]>::last) {
                self.last = Some(*last);
                self.open = Some((open, lines));
                return Ok(count);
            }
            self.unended = lines && self.last.is_some_and(|last| last != b'\n');
        }
    }
}

/// Part of a file. That it is shorter than it was is an error.
struct Part {
    file: Arc<File>,
    offset: u64,
    left: u64,
}

impl Read for Part {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let most = buffer.len().min(usize::try_from(self.left).unwrap_or(usize::MAX));
        let buffer = buffer.get_mut(..most).unwrap_or_default();
        if buffer.is_empty() {
            return Ok(0);
        }
        let count = self.file.read_at(buffer, self.offset)?;
        if count == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        self.offset = self.offset.saturating_add(count as u64);
        self.left = self.left.saturating_sub(count as u64);
        Ok(count)
    }
}

/// Several parts, each opened when it is its turn.
struct Parts {
    rest: VecDeque<Data>,
    open: Option<Box<dyn Read + Send>>,
}

impl Read for Parts {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if buffer.is_empty() {
            return Ok(0);
        }
        loop {
            if let Some(open) = &mut self.open {
                let count = open.read(buffer)?;
                if count > 0 {
                    return Ok(count);
                }
            }
            let Some(next) = self.rest.pop_front() else {
                return Ok(0);
            };
            self.open = Some(opened(&next)?);
        }
    }
}

fn opened(data: &Data) -> io::Result<Box<dyn Read + Send>> {
    Ok(match data {
        Data::Bytes(bytes) => Box::new(bytes.clone().reader()),
        Data::File { file, offset, length } => Box::new(Part {
            file: Arc::clone(file),
            offset: *offset,
            left: *length,
        }),
        Data::Made(made) => made.open()?,
        Data::Joined(parts) => Box::new(Parts {
            rest: parts.iter().cloned().collect(),
            open: None,
        }),
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::io::Write as _;

    use super::*;
    use crate::runner::{AttemptId, Made, MadeBytes, ProgramId};

    #[derive(Debug)]
    struct Packed(Vec<u8>);

    impl Made for Packed {
        fn open(&self) -> io::Result<MadeBytes> {
            Ok(Box::new(io::Cursor::new(self.0.clone())))
        }

        fn length(&self) -> u64 {
            7
        }
    }

    fn file(data: Data, skip: u64) -> InputFile {
        InputFile {
            path: "a".into(),
            data,
            skip,
            lines: true,
        }
    }

    fn bytes(text: &'static str) -> Data {
        Data::Bytes(Bytes::from_static(text.as_bytes()))
    }

    async fn posted(input: Input) -> (Option<u64>, Bytes) {
        let attempt = Attempt {
            id: AttemptId(1),
            program: ProgramId(1),
            partition: 0,
            attempt: 1,
            item: Item::None,
            input,
            outlet: None,
            timeout: None,
        };
        let posted = of(&attempt, 1, &Arc::default()).await.unwrap();
        (posted.length, posted.body.collect().await.unwrap().to_bytes())
    }

    #[tokio::test]
    async fn files_are_joined_as_standard_input_has_them() {
        let mut part = tempfile::tempfile().unwrap();
        part.write_all(b"xxc\n3yy").unwrap();
        let part = Data::File {
            file: Arc::new(part),
            offset: 2,
            length: 3,
        };
        let made = || Data::Made(Arc::new(Packed(b"c\n4\n".to_vec())));
        let input = Input::Many(vec![
            file(bytes("c\n1"), 0),
            file(bytes("c\n"), 2),
            file(Data::Joined(vec![bytes("c"), bytes("\n2\n")]), 2),
            file(part, 2),
            file(made(), 2),
        ]);
        let text = b"c\n1\n2\n3\n4\n";
        assert_eq!(posted(input).await, (Some(text.len() as u64), Bytes::from_static(text)));
        let one = Input::One {
            name: None,
            data: Data::Joined(vec![bytes("c\n"), made()]),
        };
        assert_eq!(posted(one).await, (Some(6), Bytes::from_static(b"c\nc\n4\n")));
    }

    #[tokio::test]
    async fn what_is_long_has_a_length_if_that_is_known() {
        let long: Vec<u8> = (0..3 * WHOLE + 5).map(|at| u8::try_from(at % 251).unwrap()).collect();
        let one = |data| Input::One { name: None, data };
        let known = one(Data::Bytes(long.clone().into()));
        assert_eq!(posted(known).await, (Some(long.len() as u64), long.clone().into()));
        let made = one(Data::Made(Arc::new(Packed(long.clone()))));
        assert_eq!(posted(made).await, (None, long.into()));
    }

    #[tokio::test]
    async fn a_file_that_became_shorter_is_unreadable() {
        let short = Data::File {
            file: Arc::new(tempfile::tempfile().unwrap()),
            offset: 0,
            length: 3,
        };
        let mut input = Joined::new([file(short, 0)].into());
        assert!(input.read_to_end(&mut Vec::new()).is_err());
    }
}
