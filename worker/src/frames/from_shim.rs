//! What a shim says to its worker.

use bytes::{BufMut, Bytes, BytesMut};

use super::LinkKey;
use super::wire::{Fields, Frame, FrameError, put_bytes, put_optional};

/// A frame from the shim.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FromShim {
    /// The first frame.
    Ready {
        /// [`super::VERSION`] of the shim.
        version: u16,
    },
    /// One line that user code wrote.
    Log {
        /// The attempt.
        attempt: u64,
        /// Where it was written.
        stream: Stream,
        /// Whether the line was longer than [`super::MAX_LINE`] and its rest is lost.
        cut: bool,
        /// The line without its end; any bytes.
        line: Bytes,
    },
    /// The next file that an attempt wrote begins. Files come when nothing of the attempt runs any more.
    OutFile {
        /// The attempt.
        attempt: u64,
        /// Of which data: its place in the program's list.
        data: u8,
        /// Its path below the directory of that data: at most [`super::MAX_PATH`] bytes.
        path: String,
    },
    /// The next bytes of that file.
    OutData {
        /// The attempt.
        attempt: u64,
        /// At most [`super::CHUNK`] bytes.
        data: Bytes,
    },
    /// An attempt has ended and nothing of it runs any more. The last frame about this attempt.
    Finished {
        /// The attempt.
        attempt: u64,
        /// How.
        outcome: Outcome,
        /// The bytes of the results file; only with [`Outcome::Exit`] 0.
        results: Option<Bytes>,
        /// Of a failure: what the shim knows, or the last line of standard error.
        message: String,
        /// From start to end, in microseconds; 0 if it never ran.
        micros: u64,
    },
    /// The shim was asked to end by a signal. It goes on until [`super::ToShim::Extend`] runs out.
    Draining,
    /// Before the first frame, of a shim in a container that its worker has given a key: it is the same shim.
    Key {
        /// What [`super::ToShim::Key`] gave.
        key: LinkKey,
    },
    /// Bytes of the standard output of an attempt whose input is a [`super::InputShape::Stream`].
    Output {
        /// The attempt.
        attempt: u64,
        /// At most [`super::CHUNK`] bytes.
        data: Bytes,
    },
    /// What [`super::ToShim::Store`] asked for is whole.
    Stored {
        /// The attempt.
        attempt: u64,
        /// Where the file, or the directory of several, is; or why it is not.
        place: Result<String, String>,
    },
    /// The answer to [`super::ToShim::Ping`].
    Pong {
        /// As it was in the question.
        nonce: u64,
    },
}

/// Where user code wrote a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Stream {
    /// Standard output.
    Stdout,
    /// Standard error.
    Stderr,
}

/// How an attempt ended, as the shim saw it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// By itself, with this code.
    Exit(i32),
    /// By this signal, which the shim did not send.
    Signal(i32),
    /// By the shim, because its time was over.
    TimedOut,
    /// For want of memory: by the kernel, or by the shim before the kernel would.
    OutOfMemory,
    /// By the shim, because the worker said so or went silent.
    Killed,
    /// There is no such command (a shell's 127). Trying again cannot help.
    CommandNotFound,
    /// The command is there, but cannot be executed (a shell's 126). Trying again cannot help.
    NotExecutable,
    /// The shim could not make what the attempt needs: its files, a process.
    NotSetUp,
    /// The results file has this many bytes or more, and that is above the limit.
    ResultTooLarge(u64),
    /// The results file is not a regular file, or cannot be read.
    ResultUnreadable,
    /// What the attempt wrote as data cannot be taken.
    BadOutput,
}

impl Outcome {
    fn put(self, out: &mut BytesMut) {
        match self {
            Self::Exit(code) => {
                out.put_u8(0);
                out.put_i32_le(code);
            }
            Self::Signal(signal) => {
                out.put_u8(1);
                out.put_i32_le(signal);
            }
            Self::TimedOut => out.put_u8(2),
            Self::OutOfMemory => out.put_u8(3),
            Self::Killed => out.put_u8(4),
            Self::CommandNotFound => out.put_u8(5),
            Self::NotExecutable => out.put_u8(6),
            Self::NotSetUp => out.put_u8(7),
            Self::ResultTooLarge(size) => {
                out.put_u8(8);
                out.put_u64_le(size);
            }
            Self::ResultUnreadable => out.put_u8(9),
            Self::BadOutput => out.put_u8(10),
        }
    }

    fn take(body: &mut Fields) -> Result<Self, FrameError> {
        Ok(match body.u8("outcome")? {
            0 => Self::Exit(body.i32("code")?),
            1 => Self::Signal(body.i32("signal")?),
            2 => Self::TimedOut,
            3 => Self::OutOfMemory,
            4 => Self::Killed,
            5 => Self::CommandNotFound,
            6 => Self::NotExecutable,
            7 => Self::NotSetUp,
            8 => Self::ResultTooLarge(body.u64("size")?),
            9 => Self::ResultUnreadable,
            10 => Self::BadOutput,
            _ => return Err(FrameError::BadValue("outcome")),
        })
    }
}

impl Frame for FromShim {
    fn put(&self, out: &mut BytesMut) {
        match self {
            Self::Ready { version } => {
                out.put_u8(1);
                out.put_u16_le(*version);
            }
            Self::Log {
                attempt,
                stream,
                cut,
                line,
            } => {
                out.put_u8(2);
                out.put_u64_le(*attempt);
                out.put_u8(match stream {
                    Stream::Stdout => 1,
                    Stream::Stderr => 2,
                });
                out.put_u8(u8::from(*cut));
                put_bytes(out, line);
            }
            Self::Finished {
                attempt,
                outcome,
                results,
                message,
                micros,
            } => {
                out.put_u8(3);
                out.put_u64_le(*attempt);
                outcome.put(out);
                put_optional(out, results.as_ref(), |out, bytes| put_bytes(out, bytes));
                put_bytes(out, message.as_bytes());
                out.put_u64_le(*micros);
            }
            Self::Draining => out.put_u8(4),
            Self::Pong { nonce } => {
                out.put_u8(5);
                out.put_u64_le(*nonce);
            }
            Self::Key { key } => {
                out.put_u8(6);
                put_bytes(out, key.bytes());
            }
            Self::Output { attempt, data } => {
                out.put_u8(7);
                out.put_u64_le(*attempt);
                put_bytes(out, data);
            }
            Self::Stored { attempt, place } => {
                out.put_u8(8);
                out.put_u64_le(*attempt);
                out.put_u8(u8::from(place.is_ok()));
                let (Ok(text) | Err(text)) = place;
                put_bytes(out, text.as_bytes());
            }
            Self::OutFile { attempt, data, path } => {
                out.put_u8(9);
                out.put_u64_le(*attempt);
                out.put_u8(*data);
                put_bytes(out, path.as_bytes());
            }
            Self::OutData { attempt, data } => {
                out.put_u8(10);
                out.put_u64_le(*attempt);
                put_bytes(out, data);
            }
        }
    }

    fn take(kind: u8, body: &mut Fields) -> Result<Self, FrameError> {
        Ok(match kind {
            1 => Self::Ready {
                version: body.u16("version")?,
            },
            2 => Self::Log {
                attempt: body.u64("attempt")?,
                stream: match body.u8("stream")? {
                    1 => Stream::Stdout,
                    2 => Stream::Stderr,
                    _ => return Err(FrameError::BadValue("stream")),
                },
                cut: body.bool("cut")?,
                line: body.bytes("line")?,
            },
            3 => Self::Finished {
                attempt: body.u64("attempt")?,
                outcome: Outcome::take(body)?,
                results: body.optional("results", Fields::bytes)?,
                message: body.text("message")?,
                micros: body.u64("micros")?,
            },
            4 => Self::Draining,
            5 => Self::Pong {
                nonce: body.u64("nonce")?,
            },
            6 => Self::Key { key: body.key("key")? },
            7 => Self::Output {
                attempt: body.u64("attempt")?,
                data: body.bytes("data")?,
            },
            8 => Self::Stored {
                attempt: body.u64("attempt")?,
                place: if body.bool("place")? {
                    Ok(body.text("path")?)
                } else {
                    Err(body.text("error")?)
                },
            },
            9 => Self::OutFile {
                attempt: body.u64("attempt")?,
                data: body.u8("data")?,
                path: body.text("path")?,
            },
            10 => Self::OutData {
                attempt: body.u64("attempt")?,
                data: body.bytes("data")?,
            },
            other => return Err(FrameError::UnknownKind(other)),
        })
    }
}
