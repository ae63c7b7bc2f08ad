//! What is to be sent to the shim, in order. Only a bounded part of it is ever in the form of the wire.

use std::collections::VecDeque;
use std::io::{self, Read as _};
use std::os::unix::fs::FileExt;

use bytes::{Buf, Bytes, BytesMut};
use tokio::task::JoinHandle;

use super::placing::{InputFailure, Placer, Placing};
use super::{Attempt, AttemptId, Data, Input, InputFile, Made, MadeBytes, Side};
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
    /// Of a program's directories: a part that is small.
    Side { slot: u8, bytes: BytesMut },
    /// The bytes of a file, or for a long-lived program.
    Data { owner: Owner, data: Data },
    /// The rest of bytes that are being made.
    Making { owner: Owner, made: Making },
    /// The rest of an input that is put into files here.
    Placing { attempt: AttemptId, rest: Placing },
}

/// Whose bytes they are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Owner {
    /// An attempt's input.
    Attempt(AttemptId),
    /// Those of the program in that slot.
    Slot(u8),
}

/// Bytes that are being made.
struct Making(MadeBytes);

impl std::fmt::Debug for Making {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Making")
    }
}

/// What was done in the background.
#[derive(Debug)]
enum Done {
    /// A chunk was read, and this is left to be made behind it.
    Chunk(Bytes, Option<Making>),
    /// Some of an input was put into files, and this is left.
    Placed(Option<Placing>),
}

type Reading = JoinHandle<Result<Done, InputFailure>>;

impl Entry {
    fn owner(&self) -> Option<Owner> {
        match self {
            Self::Control(_) | Self::Program(_) => None,
            Self::Part { attempt, .. } | Self::Placing { attempt, .. } => Some(Owner::Attempt(*attempt)),
            Self::Side { slot, .. } => Some(Owner::Slot(*slot)),
            Self::Data { owner, .. } | Self::Making { owner, .. } => Some(*owner),
        }
    }
}

/// Something about an attempt that has happened on the way out.
#[derive(Debug)]
pub(super) enum Sent {
    /// The shim may run it from now on.
    Start(AttemptId),
    /// It cannot have its input; the shim is told to forget it.
    InputFailed(AttemptId, InputFailure),
    /// A directory of the program in that slot cannot be read.
    SideFailed(u8, io::Error),
}

#[derive(Debug)]
pub(super) struct Outbox {
    entries: VecDeque<Entry>,
    wire: BytesMut,
    /// The next chunk of a file is being read, for this attempt.
    reading: Option<(Owner, Reading)>,
    /// Puts inputs into files, where the shim sees them.
    placer: Option<Placer>,
}

impl Outbox {
    pub(super) fn new(placer: Option<Placer>) -> Self {
        Self {
            entries: VecDeque::new(),
            wire: BytesMut::new(),
            reading: None,
            placer,
        }
    }

    /// For a new shim: greeting and programs first, then the attempts that were never sent, as they are.
    pub(super) fn restart<'a>(
        &mut self,
        programs: impl Iterator<Item = (ProgramFrame, &'a [Side])>,
    ) -> Result<(), FrameError> {
        self.wire.clear();
        self.reading = None;
        let attempts: Vec<Entry> = (std::mem::take(&mut self.entries).into_iter())
            .filter(|entry| matches!(entry.owner(), Some(Owner::Attempt(_))))
            .collect();
        encode(&ToShim::Hello { version: VERSION }, &mut self.wire)?;
        for (program, sides) in programs {
            self.program(program, sides)?;
        }
        self.entries.extend(attempts);
        Ok(())
    }

    /// Puts a program with its directories in line.
    pub(super) fn program(&mut self, frame: ProgramFrame, sides: &[Side]) -> Result<(), FrameError> {
        let slot = frame.slot;
        let mut entries = vec![Entry::Program(encoded(&ToShim::Program(frame))?)];
        let part = |frame: &ToShim| {
            Ok::<_, FrameError>(Entry::Side {
                slot,
                bytes: encoded(frame)?,
            })
        };
        for side in sides {
            let length = (side.files.iter()).fold(0_u64, |sum, file| sum.saturating_add(file.data.length()));
            entries.push(part(&ToShim::Side {
                slot,
                variable: side.variable.clone(),
                length,
            })?);
            for file in &side.files {
                let path = (*file.path).to_owned();
                entries.push(part(&ToShim::SideFile { slot, path })?);
                push(&mut entries, Owner::Slot(slot), file.data.clone());
            }
        }
        if !sides.is_empty() {
            entries.push(part(&ToShim::SideEnd { slot })?);
        }
        self.entries.extend(entries);
        Ok(())
    }

    pub(super) fn control(&mut self, frame: &ToShim) -> Result<(), FrameError> {
        self.entries.push_front(Entry::Control(encoded(frame)?));
        Ok(())
    }

    /// Puts an attempt with its input in line. On an error nothing has been.
    pub(super) fn start(&mut self, attempt: Attempt, slot: u8, env: Vec<(String, String)>) -> Result<(), FrameError> {
        let timeout_millis = attempt
            .timeout
            .map(|timeout| u64::try_from(timeout.as_millis()).unwrap_or(u64::MAX));
        let start = |input| {
            ToShim::Start(StartFrame {
                attempt: attempt.id.0,
                slot,
                partition: attempt.partition,
                number: attempt.attempt,
                timeout_millis,
                env,
                input,
            })
        };
        self.with_input(attempt.id, attempt.input, true, start)
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
        let (owner, data) = (Owner::Attempt(process), Data::Bytes(bytes));
        self.entries.push_back(Entry::Data { owner, data });
    }

    /// What a long-lived program prints once it has what is in line for it is about this partition.
    pub(super) fn about(&mut self, process: AttemptId, partition: u64, number: u32) -> Result<(), FrameError> {
        let bytes = encoded(&ToShim::About {
            attempt: process.0,
            partition,
            number,
        })?;
        self.entries.push_back(Entry::Part {
            attempt: process,
            bytes,
            start: false,
        });
        Ok(())
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
        let store = |input| ToShim::Store {
            attempt: attempt.0,
            input,
        };
        self.with_input(attempt, input, false, store)
    }

    /// The shim need not keep an attempt's files any more.
    pub(super) fn forget_file(&mut self, attempt: AttemptId) -> Result<(), FrameError> {
        self.ended(attempt);
        self.control(&ToShim::Forget { attempt: attempt.0 })
    }

    /// An attempt has ended: what was put into files for it is not needed any more.
    pub(super) fn ended(&mut self, attempt: AttemptId) {
        if let Some(placer) = &mut self.placer {
            placer.forget(attempt);
        }
    }

    /// Puts an input in line, behind the frame that begins it. On an error nothing has been.
    fn with_input(
        &mut self,
        attempt: AttemptId,
        input: Input,
        start: bool,
        begin: impl FnOnce(InputShape) -> ToShim,
    ) -> Result<(), FrameError> {
        let placed = self.placer.as_mut().and_then(|placer| placer.place(attempt, &input));
        let (shape, placing) = match placed {
            Some((shape, placing)) => (shape, Some(placing)),
            None => (shape(&input), None),
        };
        let mut entries = Vec::new();
        let put = encoded(&begin(shape)).and_then(|bytes| {
            entries.push(Entry::Part { attempt, bytes, start });
            input_of(attempt, input, placing, &mut entries)
        });
        match put {
            Ok(()) => self.entries.extend(entries),
            Err(_) => self.ended(attempt),
        }
        put
    }

    /// Drops what has not been sent of an attempt.
    pub(super) fn forget(&mut self, attempt: AttemptId) {
        self.drop_all(Owner::Attempt(attempt));
    }

    /// Drops what has not been sent of a program and its directories.
    pub(super) fn forget_sides(&mut self, slot: u8) {
        self.drop_all(Owner::Slot(slot));
    }

    fn drop_all(&mut self, owner: Owner) {
        self.entries.retain(|entry| entry.owner() != Some(owner));
        self.reading.take_if(|(reading, _)| *reading == owner);
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
                Entry::Control(bytes) | Entry::Program(bytes) | Entry::Side { bytes, .. } => {
                    self.wire.extend_from_slice(&bytes);
                }
                Entry::Part { attempt, bytes, start } => {
                    self.wire.extend_from_slice(&bytes);
                    if start {
                        sent.push(Sent::Start(attempt));
                    }
                }
                Entry::Data {
                    owner,
                    data: Data::Bytes(mut data),
                } => {
                    let chunk = data.split_to(data.len().min(CHUNK));
                    self.chunk(owner, chunk)?;
                    if !data.is_empty() {
                        self.entries.push_front(Entry::Data {
                            owner,
                            data: Data::Bytes(data),
                        });
                    }
                }
                Entry::Data {
                    owner,
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
                        let read = source.read_exact_at(&mut chunk, offset);
                        read.map_err(InputFailure::Unreadable)?;
                        Ok(Done::Chunk(Bytes::from(chunk), None))
                    });
                    self.reading = Some((owner, read));
                    let data = Data::File {
                        file,
                        offset: offset.saturating_add(now),
                        length: length - now,
                    };
                    self.entries.push_front(Entry::Data { owner, data });
                }
                Entry::Data {
                    owner,
                    data: Data::Made(made),
                } => {
                    let read = tokio::task::spawn_blocking(move || begin(made.as_ref()).and_then(make));
                    self.reading = Some((owner, read));
                }
                Entry::Making { owner, made } => {
                    let read = tokio::task::spawn_blocking(move || make(made));
                    self.reading = Some((owner, read));
                }
                Entry::Placing { attempt, rest } => {
                    let step = tokio::task::spawn_blocking(move || rest.step().map(Done::Placed));
                    self.reading = Some((Owner::Attempt(attempt), step));
                }
                Entry::Data {
                    owner,
                    data: Data::Joined(parts),
                } => {
                    for data in parts.into_iter().rev() {
                        self.entries.push_front(Entry::Data { owner, data });
                    }
                }
            }
        }
        Ok(sent)
    }

    /// Waits for the chunk of a file that is being read. Cancel-safe.
    pub(super) async fn read(&mut self) -> Result<Option<Sent>, FrameError> {
        let Some((owner, reading)) = &mut self.reading else {
            return Ok(None);
        };
        let owner = *owner;
        let cut = |error| Err(InputFailure::Unreadable(io::Error::other(error)));
        let done = reading.await.unwrap_or_else(cut);
        self.reading = None;
        match (done, owner) {
            (Ok(Done::Placed(rest)), Owner::Attempt(attempt)) => {
                if let Some(rest) = rest {
                    self.next(Entry::Placing { attempt, rest });
                }
                Ok(None)
            }
            // Directories of programs are sent.
            (Ok(Done::Placed(_)), Owner::Slot(_)) => Ok(None),
            (Ok(Done::Chunk(chunk, rest)), _) => {
                self.chunk(owner, chunk)?;
                if let Some(made) = rest {
                    self.next(Entry::Making { owner, made });
                }
                Ok(None)
            }
            (Err(error), Owner::Attempt(attempt)) => {
                self.forget(attempt);
                self.control(&ToShim::Kill { attempt: attempt.0 })?;
                Ok(Some(Sent::InputFailed(attempt, error)))
            }
            (Err(error), Owner::Slot(slot)) => {
                self.forget_sides(slot);
                Ok(Some(Sent::SideFailed(slot, error.into_source())))
            }
        }
    }

    /// Puts the rest of something in line, behind what was said meanwhile: what is made for long must not hold up questions and leases.
    fn next(&mut self, rest: Entry) {
        let said = self
            .entries
            .iter()
            .take_while(|entry| matches!(entry, Entry::Control(_)));
        let behind = said.count();
        self.entries.insert(behind, rest);
    }

    fn chunk(&mut self, owner: Owner, data: Bytes) -> Result<(), FrameError> {
        if data.is_empty() {
            return Ok(());
        }
        let frame = match owner {
            Owner::Attempt(attempt) => ToShim::InputData {
                attempt: attempt.0,
                data,
            },
            Owner::Slot(slot) => ToShim::SideData { slot, data },
        };
        encode(&frame, &mut self.wire)
    }
}

/// Puts bytes in line, those of a compound one by one.
fn push(entries: &mut Vec<Entry>, owner: Owner, data: Data) {
    match data {
        Data::Joined(parts) => parts.into_iter().for_each(|part| push(entries, owner, part)),
        data => entries.push(Entry::Data { owner, data }),
    }
}

/// Begins to make bytes. Blocks.
fn begin(made: &dyn Made) -> Result<Making, InputFailure> {
    made.open().map(Making).map_err(InputFailure::Unreadable)
}

/// Makes the next chunk. Blocks.
fn make(mut making: Making) -> Result<Done, InputFailure> {
    let mut chunk = Vec::with_capacity(CHUNK);
    let read = (&mut making.0).take(CHUNK as u64).read_to_end(&mut chunk);
    read.map_err(InputFailure::Unreadable)?;
    let rest = (chunk.len() == CHUNK).then_some(making);
    Ok(Done::Chunk(chunk.into(), rest))
}

fn shape(input: &Input) -> InputShape {
    match input {
        Input::None => InputShape::None,
        Input::One { name, data } => InputShape::One {
            name: name.as_deref().map(str::to_owned),
            length: data.length(),
        },
        Input::Many(files) => InputShape::Many {
            length: (files.iter()).fold(0, |sum, file| sum.saturating_add(file.data.length())),
        },
    }
}

/// The bytes of an input, file after file; or their names, and what is to be done to make them.
fn input_of(
    attempt: AttemptId,
    input: Input,
    placing: Option<Placing>,
    entries: &mut Vec<Entry>,
) -> Result<(), FrameError> {
    let part = |frame: &ToShim| {
        Ok(Entry::Part {
            attempt,
            bytes: encoded(frame)?,
            start: false,
        })
    };
    match input {
        Input::None => return Ok(()),
        Input::One { .. } if placing.is_some() => {}
        Input::One { data, .. } => push(entries, Owner::Attempt(attempt), data),
        Input::Many(files) => {
            for InputFile {
                path,
                data,
                skip,
                lines,
            } in files
            {
                entries.push(part(&ToShim::InputFile {
                    attempt: attempt.0,
                    path: (*path).to_owned(),
                    skip,
                    lines,
                })?);
                if placing.is_none() {
                    push(entries, Owner::Attempt(attempt), data);
                }
            }
        }
    }
    entries.extend(placing.map(|rest| Entry::Placing { attempt, rest }));
    entries.push(part(&ToShim::InputEnd { attempt: attempt.0 })?);
    Ok(())
}

fn encoded(frame: &ToShim) -> Result<BytesMut, FrameError> {
    let mut bytes = BytesMut::new();
    encode(frame, &mut bytes)?;
    Ok(bytes)
}
