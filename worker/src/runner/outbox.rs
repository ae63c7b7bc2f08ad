//! What is to be sent to the shim, in order. Only a bounded part of it is ever in the form of the wire.

use std::collections::VecDeque;
use std::io;
use std::os::unix::fs::FileExt;

use bytes::{Buf, Bytes, BytesMut};
use tokio::task::JoinHandle;

use super::{Attempt, AttemptId, Data, Input};
use crate::frames::{CHUNK, FrameError, InputShape, ProgramFrame, StartFrame, ToShim, VERSION, encode};

/// Above so many bytes nothing more is put into the form of the wire.
const HIGH_WATER: usize = 256 << 10;

#[derive(Debug)]
enum Entry {
    /// Ready for the wire, of no attempt.
    Control(BytesMut),
    /// A program; sent anew to each new shim.
    Program(BytesMut),
    /// The start of an attempt, or a part of its input that is small.
    Part {
        attempt: AttemptId,
        bytes: BytesMut,
        start: bool,
    },
    /// The bytes of a file of its input, or for a long-lived program.
    Data { attempt: AttemptId, data: Data },
}

impl Entry {
    fn attempt(&self) -> Option<AttemptId> {
        match self {
            Self::Control(_) | Self::Program(_) => None,
            Self::Part { attempt, .. } | Self::Data { attempt, .. } => Some(*attempt),
        }
    }
}

/// Something about an attempt that has happened on the way out.
#[derive(Debug)]
pub(super) enum Sent {
    /// The shim may run it from now on.
    Start(AttemptId),
    /// Its input cannot be read; the shim is told to forget it.
    InputFailed(AttemptId, io::Error),
}

#[derive(Debug, Default)]
pub(super) struct Outbox {
    entries: VecDeque<Entry>,
    wire: BytesMut,
    /// The next chunk of a file is being read, for this attempt.
    reading: Option<(AttemptId, JoinHandle<io::Result<Bytes>>)>,
}

impl Outbox {
    /// For a new shim: greeting and programs first, then the attempts that were never sent, as they are.
    pub(super) fn restart(&mut self, programs: impl Iterator<Item = ProgramFrame>) -> Result<(), FrameError> {
        self.wire.clear();
        self.reading = None;
        self.entries
            .retain(|entry| matches!(entry, Entry::Part { .. } | Entry::Data { .. }));
        encode(&ToShim::Hello { version: VERSION }, &mut self.wire)?;
        for program in programs {
            encode(&ToShim::Program(program), &mut self.wire)?;
        }
        Ok(())
    }

    pub(super) fn program(&mut self, frame: ProgramFrame) -> Result<(), FrameError> {
        self.entries
            .push_back(Entry::Program(encoded(&ToShim::Program(frame))?));
        Ok(())
    }

    pub(super) fn control(&mut self, frame: &ToShim) -> Result<(), FrameError> {
        self.entries.push_front(Entry::Control(encoded(frame)?));
        Ok(())
    }

    /// Puts an attempt with its input in line. On an error nothing has been.
    pub(super) fn start(&mut self, attempt: Attempt, slot: u8, env: Vec<(String, String)>) -> Result<(), FrameError> {
        let id = attempt.id;
        let part = |bytes, start| Entry::Part {
            attempt: id,
            bytes,
            start,
        };
        let shape = shape(&attempt.input);
        let timeout_millis = attempt
            .timeout
            .map(|timeout| u64::try_from(timeout.as_millis()).unwrap_or(u64::MAX));
        let start = StartFrame {
            attempt: id.0,
            slot,
            timeout_millis,
            env,
            input: shape,
        };
        let mut entries = vec![part(encoded(&ToShim::Start(start))?, true)];
        input_of(id, attempt.input, &mut entries)?;
        self.entries.extend(entries);
        Ok(())
    }

    /// Puts the start of a long-lived program in line.
    pub(super) fn begin(&mut self, start: &StartFrame) -> Result<(), FrameError> {
        self.entries.push_back(Entry::Part {
            attempt: AttemptId(start.attempt),
            bytes: encoded(&ToShim::Start(start.clone()))?,
            start: true,
        });
        Ok(())
    }

    /// Puts bytes for a long-lived program in line.
    pub(super) fn stream(&mut self, process: AttemptId, bytes: Bytes) {
        let data = Data::Bytes(bytes);
        self.entries.push_back(Entry::Data { attempt: process, data });
    }

    /// Behind what is in line for it, a long-lived program's standard input ends.
    pub(super) fn stream_end(&mut self, process: AttemptId) -> Result<(), FrameError> {
        let bytes = encoded(&ToShim::InputEnd { attempt: process.0 })?;
        self.entries.push_back(Entry::Part {
            attempt: process,
            bytes,
            start: false,
        });
        Ok(())
    }

    /// Before everything that is in line.
    pub(super) fn kill(&mut self, attempt: AttemptId) -> Result<(), FrameError> {
        self.control(&ToShim::Kill { attempt: attempt.0 })
    }

    /// Puts an input in line that the shim is to keep in files.
    pub(super) fn store(&mut self, attempt: AttemptId, input: Input) -> Result<(), FrameError> {
        let frame = ToShim::Store {
            attempt: attempt.0,
            input: shape(&input),
        };
        let mut entries = vec![Entry::Part {
            attempt,
            bytes: encoded(&frame)?,
            start: false,
        }];
        input_of(attempt, input, &mut entries)?;
        self.entries.extend(entries);
        Ok(())
    }

    /// The shim need not keep an attempt's files any more.
    pub(super) fn forget_file(&mut self, attempt: AttemptId) -> Result<(), FrameError> {
        self.control(&ToShim::Forget { attempt: attempt.0 })
    }

    /// Drops what has not been sent of an attempt.
    pub(super) fn forget(&mut self, attempt: AttemptId) {
        self.entries.retain(|entry| entry.attempt() != Some(attempt));
        self.reading.take_if(|(reading, _)| *reading == attempt);
    }

    /// What is ready to be written.
    pub(super) fn wire(&self) -> &[u8] {
        &self.wire
    }

    /// So many bytes of it have been.
    pub(super) fn written(&mut self, count: usize) {
        self.wire.advance(count);
    }

    /// Whether [`Self::read`] has something to wait for.
    pub(super) fn is_reading(&self) -> bool {
        self.reading.is_some()
    }

    /// Makes more ready for the wire, without waiting. Begins to read a file when it is its turn.
    pub(super) fn fill(&mut self) -> Result<Vec<Sent>, FrameError> {
        let mut sent = Vec::new();
        while self.wire.len() < HIGH_WATER
            && self.reading.is_none()
            && let Some(entry) = self.entries.pop_front()
        {
            match entry {
                Entry::Control(bytes) | Entry::Program(bytes) => self.wire.extend_from_slice(&bytes),
                Entry::Part { attempt, bytes, start } => {
                    self.wire.extend_from_slice(&bytes);
                    if start {
                        sent.push(Sent::Start(attempt));
                    }
                }
                Entry::Data {
                    attempt,
                    data: Data::Bytes(mut data),
                } => {
                    let chunk = data.split_to(data.len().min(CHUNK));
                    self.chunk(attempt, chunk)?;
                    if !data.is_empty() {
                        self.entries.push_front(Entry::Data {
                            attempt,
                            data: Data::Bytes(data),
                        });
                    }
                }
                Entry::Data {
                    attempt,
                    data: Data::File { file, offset, length },
                } => {
                    let now = length.min(CHUNK as u64);
                    let size = usize::try_from(now).unwrap_or(CHUNK);
                    if size == 0 {
                        continue;
                    }
                    let source = std::sync::Arc::clone(&file);
                    let read = tokio::task::spawn_blocking(move || {
                        let mut chunk = vec![0; size];
                        source.read_exact_at(&mut chunk, offset)?;
                        Ok(Bytes::from(chunk))
                    });
                    self.reading = Some((attempt, read));
                    let data = Data::File {
                        file,
                        offset: offset.saturating_add(now),
                        length: length - now,
                    };
                    self.entries.push_front(Entry::Data { attempt, data });
                }
            }
        }
        Ok(sent)
    }

    /// Waits for the chunk of a file that is being read. Cancel-safe.
    pub(super) async fn read(&mut self) -> Result<Option<Sent>, FrameError> {
        let Some((attempt, reading)) = &mut self.reading else {
            return Ok(None);
        };
        let attempt = *attempt;
        let chunk = reading.await.unwrap_or_else(|error| Err(io::Error::other(error)));
        self.reading = None;
        match chunk {
            Ok(chunk) => {
                self.chunk(attempt, chunk)?;
                Ok(None)
            }
            Err(error) => {
                self.forget(attempt);
                self.control(&ToShim::Kill { attempt: attempt.0 })?;
                Ok(Some(Sent::InputFailed(attempt, error)))
            }
        }
    }

    fn chunk(&mut self, attempt: AttemptId, data: Bytes) -> Result<(), FrameError> {
        if data.is_empty() {
            return Ok(());
        }
        encode(
            &ToShim::InputData {
                attempt: attempt.0,
                data,
            },
            &mut self.wire,
        )
    }
}

fn shape(input: &Input) -> InputShape {
    match input {
        Input::None => InputShape::None,
        Input::One { name, data } => InputShape::One {
            name: name.as_deref().map(str::to_owned),
            length: data.length(),
        },
        Input::Many(files) => InputShape::Many {
            length: files.iter().fold(0, |sum, (_, data)| sum.saturating_add(data.length())),
        },
    }
}

/// The bytes of an input, file after file.
fn input_of(attempt: AttemptId, input: Input, entries: &mut Vec<Entry>) -> Result<(), FrameError> {
    let part = |frame: &ToShim| {
        Ok(Entry::Part {
            attempt,
            bytes: encoded(frame)?,
            start: false,
        })
    };
    match input {
        Input::None => return Ok(()),
        Input::One { data, .. } => entries.push(Entry::Data { attempt, data }),
        Input::Many(files) => {
            for (path, data) in files {
                entries.push(part(&ToShim::InputFile {
                    attempt: attempt.0,
                    path: (*path).to_owned(),
                })?);
                entries.push(Entry::Data { attempt, data });
            }
        }
    }
    entries.push(part(&ToShim::InputEnd { attempt: attempt.0 })?);
    Ok(())
}

fn encoded(frame: &ToShim) -> Result<BytesMut, FrameError> {
    let mut bytes = BytesMut::new();
    encode(frame, &mut bytes)?;
    Ok(bytes)
}
