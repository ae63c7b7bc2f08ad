//! Inputs that are put into files by the worker itself, for a shim that was started here and so sees the same files.
//!
//! Bytes that go through a socket are copied four times and wake two processes for each chunk. Here the kernel copies them once,
//! from the file of the data to the private file that user code gets. The worker makes the files, in a directory of its own, and
//! removes them when the attempt has ended; the shim only names them. In a pod the other container sees none of the worker's
//! files, so there bytes go through the socket.

use std::collections::{HashMap, VecDeque};
use std::fs::{self, File};
use std::io::{self, ErrorKind, Read as _, Write as _};
use std::os::unix::fs::FileExt as _;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::fs::sendfile;
use rustix::io::Errno;

use super::{AttemptId, Data, Failure, Input, MadeBytes};
use crate::frames::{CHUNK, InputShape};
use crate::shim::{Places, Scratch, create_below, file_name, remove};

/// Inputs up to this length go through the socket: they fit into one frame.
const SMALL: u64 = CHUNK as u64;

/// A step ends with so many bytes: between two steps an attempt can be killed, and the shim be asked.
const STEP: u64 = 8 << 20;

/// And after so long, where they come slowly.
const STEP_TIME: Duration = Duration::from_millis(50);

/// So many bytes are copied at once.
const PIECE: usize = 1 << 20;

/// Why an attempt's input is not where it should be.
#[derive(Debug, thiserror::Error)]
pub(super) enum InputFailure {
    /// Its bytes cannot be read.
    #[error("the input could not be read: {0}")]
    Unreadable(#[source] io::Error),
    /// They cannot be written.
    #[error("the input could not be stored: {0}")]
    NotStored(#[source] io::Error),
}

impl InputFailure {
    /// What becomes of the attempt.
    pub(super) fn failure(&self) -> Failure {
        match self {
            Self::Unreadable(_) => Failure::InputUnreadable,
            Self::NotStored(_) => Failure::NotSetUp,
        }
    }

    /// What the system said.
    pub(super) fn into_source(self) -> io::Error {
        let (Self::Unreadable(error) | Self::NotStored(error)) = self;
        error
    }

    /// Of a call that reads and writes.
    fn of_copy(errno: Errno) -> Self {
        match errno {
            Errno::NOSPC | Errno::DQUOT | Errno::FBIG => Self::NotStored(errno.into()),
            other => Self::Unreadable(other.into()),
        }
    }
}

/// A file or directory for one attempt. It is removed when nobody has it any more: a step that is under way when its attempt is
/// killed leaves nothing behind.
#[derive(Debug)]
pub(super) struct Placed(PathBuf);

impl Drop for Placed {
    fn drop(&mut self) {
        // What cannot be removed now goes with the private directory.
        let _ = remove(&self.0);
    }
}

/// Makes inputs, and keeps them until their attempts have ended.
#[derive(Debug)]
pub(super) struct Placer {
    scratch: Scratch,
    placed: HashMap<AttemptId, Arc<Placed>>,
}

impl Placer {
    pub(super) fn new(places: Places) -> Self {
        Self {
            scratch: Scratch::new(places),
            placed: HashMap::new(),
        }
    }

    /// Finds a place for an input. `None`: it is small, or there is no place, so it goes through the socket.
    pub(super) fn place(&mut self, attempt: AttemptId, input: &Input) -> Option<(InputShape, Placing)> {
        let (name, length) = match input {
            Input::None => return None,
            Input::One { name, data } => (name.as_deref(), data.length()),
            Input::Many(files) => {
                let all = files.iter().map(|file| file.data.length());
                (None, all.fold(0, u64::saturating_add))
            }
        };
        if length <= SMALL {
            return None;
        }
        let path = self.scratch.sized(length).ok()?.join(file_name(attempt.0, name));
        let text = path.to_str()?.to_owned();
        let placed = Arc::new(Placed(path));
        self.placed.insert(attempt, placed.clone());
        let (shape, parts) = match input {
            Input::None => return None,
            Input::One { data, .. } => (
                InputShape::Placed { path: text },
                VecDeque::from([Part::File(None), Part::Data(data.clone())]),
            ),
            Input::Many(files) => {
                let each = files.iter().flat_map(|file| {
                    let path = Some((*file.path).to_owned());
                    [Part::File(path), Part::Data(file.data.clone())]
                });
                let parts = [Part::Directory].into_iter().chain(each).collect();
                (InputShape::PlacedMany { path: text }, parts)
            }
        };
        let placing = Placing {
            placed,
            parts,
            open: None,
        };
        Some((shape, placing))
    }

    /// An attempt has ended: what it had is removed, somewhere else if that is possible, since it takes milliseconds.
    pub(super) fn forget(&mut self, attempt: AttemptId) {
        let Some(placed) = self.placed.remove(&attempt) else {
            return;
        };
        match tokio::runtime::Handle::try_current() {
            Ok(runtime) => drop(runtime.spawn_blocking(move || drop(placed))),
            Err(_) => drop(placed),
        }
    }
}

/// An input that is being made.
#[derive(Debug)]
pub(super) struct Placing {
    placed: Arc<Placed>,
    parts: VecDeque<Part>,
    /// What is written to.
    open: Option<File>,
}

enum Part {
    /// The directory of several files.
    Directory,
    /// The only file begins, or the next of several.
    File(Option<String>),
    Data(Data),
    /// The rest of bytes that are being made.
    Making(MadeBytes),
}

impl std::fmt::Debug for Part {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Directory => "Directory",
            Self::File(_) => "File",
            Self::Data(_) => "Data",
            Self::Making(_) => "Making",
        })
    }
}

impl Placing {
    /// Makes some more of it, and gives what is left to do. Blocks.
    pub(super) fn step(mut self) -> Result<Option<Self>, InputFailure> {
        let (mut room, begun) = (STEP, Instant::now());
        while room > 0 && begun.elapsed() < STEP_TIME {
            let Some(part) = self.parts.pop_front() else {
                return Ok(None);
            };
            match part {
                Part::Directory => fs::create_dir(&self.placed.0).map_err(InputFailure::NotStored)?,
                Part::File(below) => self.open = Some(self.begin(below.as_deref()).map_err(InputFailure::NotStored)?),
                Part::Data(Data::Joined(parts)) => {
                    parts
                        .into_iter()
                        .rev()
                        .for_each(|part| self.parts.push_front(Part::Data(part)));
                }
                Part::Data(Data::Bytes(bytes)) => {
                    room = room.saturating_sub(bytes.len() as u64);
                    self.file()?.write_all(&bytes).map_err(InputFailure::NotStored)?;
                }
                Part::Data(Data::File { file, offset, length }) => {
                    let now = length.min(PIECE as u64);
                    copy(&file, offset, now, self.file()?)?;
                    room = room.saturating_sub(now);
                    if length > now {
                        let (offset, length) = (offset.saturating_add(now), length - now);
                        self.parts.push_front(Part::Data(Data::File { file, offset, length }));
                    }
                }
                Part::Data(Data::Made(made)) => {
                    let made = made.open().map_err(InputFailure::Unreadable)?;
                    self.parts.push_front(Part::Making(made));
                }
                Part::Making(mut made) => {
                    let mut chunk = Vec::with_capacity(CHUNK);
                    let read = (&mut made).take(CHUNK as u64).read_to_end(&mut chunk);
                    let read = read.map_err(InputFailure::Unreadable)?;
                    self.file()?.write_all(&chunk).map_err(InputFailure::NotStored)?;
                    room = room.saturating_sub(read as u64);
                    if read == CHUNK {
                        self.parts.push_front(Part::Making(made));
                    }
                }
            }
        }
        Ok(Some(self))
    }

    fn begin(&self, below: Option<&str>) -> io::Result<File> {
        match below {
            None => File::create_new(&self.placed.0),
            Some(path) => Ok(create_below(&self.placed.0, path)?.1),
        }
    }

    fn file(&mut self) -> Result<&mut File, InputFailure> {
        let none = || InputFailure::NotStored(io::Error::other("no file has begun"));
        self.open.as_mut().ok_or_else(none)
    }
}

/// Copies a range of a file to the end of another: within the kernel, or through memory where it cannot.
fn copy(from: &File, offset: u64, length: u64, to: &mut File) -> Result<(), InputFailure> {
    let (mut at, end) = (offset, offset.saturating_add(length));
    while at < end {
        let left = usize::try_from(end - at).unwrap_or(PIECE).min(PIECE);
        match sendfile(&*to, from, Some(&mut at), left) {
            Ok(0) => return Err(InputFailure::Unreadable(ErrorKind::UnexpectedEof.into())),
            Ok(_) | Err(Errno::INTR) => {}
            Err(Errno::INVAL | Errno::NOSYS | Errno::OPNOTSUPP) => return through_memory(from, at, end, to),
            Err(errno) => return Err(InputFailure::of_copy(errno)),
        }
    }
    Ok(())
}

fn through_memory(from: &File, mut at: u64, end: u64, to: &mut File) -> Result<(), InputFailure> {
    let mut buffer = vec![0; PIECE];
    while at < end {
        let most = usize::try_from(end - at).unwrap_or(PIECE).min(PIECE);
        let part = buffer.get_mut(..most).unwrap_or_default();
        from.read_exact_at(part, at).map_err(InputFailure::Unreadable)?;
        to.write_all(part).map_err(InputFailure::NotStored)?;
        at = at.saturating_add(most as u64);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]

    use std::io::Seek as _;

    use super::*;

    type Way = fn(&File, u64, u64, &mut File) -> Result<(), InputFailure>;

    fn filled(bytes: &[u8]) -> File {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(bytes).unwrap();
        file
    }

    #[test]
    fn a_disk_that_is_full_is_not_the_data_s_fault() {
        let from = filled(&vec![7; 300_000]);
        let mut full = File::options().write(true).open("/dev/full").unwrap();
        for copied in [
            copy(&from, 0, 300_000, &mut full),
            through_memory(&from, 0, 300_000, &mut full),
        ] {
            let Err(error) = copied else {
                panic!("a full disk has room")
            };
            assert!(matches!(error, InputFailure::NotStored(_)), "{error}");
            assert_eq!(error.failure(), Failure::NotSetUp);
        }
    }

    #[test]
    fn both_ways_copy_the_same_range() {
        let bytes: Vec<u8> = (0..3_000_000_usize).map(|at| at.to_le_bytes()[at % 3]).collect();
        let from = filled(&bytes);
        for (offset, length) in [(0, 0), (1, 1), (5, 2_500_000), (2_999_999, 1)] {
            let ways: [Way; 2] = [copy, |from, offset, length, to| {
                through_memory(from, offset, offset + length, to)
            }];
            for way in ways {
                let mut to = filled(b"head");
                way(&from, offset, length, &mut to).unwrap();
                let mut found = Vec::new();
                to.rewind().unwrap();
                to.read_to_end(&mut found).unwrap();
                let range = usize::try_from(offset).unwrap()..usize::try_from(offset + length).unwrap();
                assert!(
                    found == [b"head", bytes.get(range).unwrap()].concat(),
                    "{offset} {length}"
                );
            }
        }
        for way in [
            copy(&from, 2_999_999, 2, &mut filled(b"")),
            through_memory(&from, 2_999_999, 3_000_001, &mut filled(b"")),
        ] {
            assert!(matches!(way, Err(InputFailure::Unreadable(_))));
        }
    }

    #[test]
    fn without_a_place_an_input_is_sent() {
        let nowhere = || PathBuf::from("/no/such/directory");
        let mut placer = Placer::new(Places {
            memory: vec![nowhere()],
            disk: nowhere(),
        });
        let input = Input::One {
            name: None,
            data: Data::Bytes(vec![0; 1 << 20].into()),
        };
        assert!(placer.place(AttemptId(1), &input).is_none());
    }
}
