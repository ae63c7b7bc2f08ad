//! The input of an attempt: received once into private files, or put there by the worker, then both standard input and
//! `BRAID_INPUT`.

use std::collections::VecDeque;
use std::fs::{self, File};
use std::io::{self, ErrorKind, Read, Seek, SeekFrom, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Component, Path, PathBuf};
use std::process::ChildStdin;

use bytes::Bytes;
use nix::fcntl::{FcntlArg, OFlag, fcntl};

use super::results;
use super::scratch::Scratch;
use super::stream::Waiting;
use crate::frames::InputShape;

/// So many bytes are read at once to be written to a child.
const FEED: usize = 64 << 10;

/// An input that is arriving or has arrived.
#[derive(Debug)]
pub(super) struct Input {
    files: Files,
    open: Option<File>,
    /// The first thing that went wrong; what still arrives is dropped.
    failed: Option<io::Error>,
    whole: bool,
}

#[derive(Debug)]
enum Files {
    None,
    One(PathBuf),
    /// The worker makes it, and removes it.
    Placed(PathBuf),
    Many {
        root: PathBuf,
        files: VecDeque<Fed>,
        /// The worker makes them, and removes them.
        placed: bool,
    },
    /// No files: bytes for a program that goes on.
    Stream(Waiting),
}

/// A file as it is on standard input.
#[derive(Debug)]
pub(super) struct Fed {
    path: PathBuf,
    /// So many of its first bytes are left out.
    skip: u64,
    /// Its last line is ended, if it is not and more follows.
    lines: bool,
}

/// What becomes of an input at the start of its attempt.
pub(super) enum Stdin {
    /// There is none.
    Empty,
    /// The very file that `BRAID_INPUT` names.
    File(File),
    /// Files that are to be written, one after the other, to the child.
    Pipe(VecDeque<Fed>),
    /// Bytes that come as long as the child runs, and those that are there.
    Stream(Waiting),
}

impl Input {
    pub(super) fn new(shape: &InputShape, attempt: u64, scratch: &mut Scratch) -> Self {
        let mut input = Self {
            files: Files::None,
            open: None,
            failed: None,
            whole: false,
        };
        match input.prepare(shape, attempt, scratch) {
            Ok(()) => input.whole = matches!(input.files, Files::None | Files::Stream(_)),
            Err(error) => input.failed = Some(error),
        }
        input
    }

    fn prepare(&mut self, shape: &InputShape, attempt: u64, scratch: &mut Scratch) -> io::Result<()> {
        match shape {
            InputShape::None | InputShape::Beside => {}
            InputShape::Stream => self.files = Files::Stream(Waiting::default()),
            InputShape::One { name, length } => {
                let path = scratch.sized(*length)?.join(file_name(attempt, name.as_deref()));
                self.open = Some(File::create_new(&path)?);
                self.files = Files::One(path);
            }
            InputShape::Many { length } => {
                let root = scratch.sized(*length)?.join(file_name(attempt, None));
                fs::create_dir(&root)?;
                self.files = Files::Many {
                    root,
                    files: VecDeque::new(),
                    placed: false,
                };
            }
            InputShape::Placed { path } => self.files = Files::Placed(path.into()),
            InputShape::PlacedMany { path } => {
                self.files = Files::Many {
                    root: path.into(),
                    files: VecDeque::new(),
                    placed: true,
                };
            }
        }
        Ok(())
    }

    /// Whether all has arrived that must be there at the start.
    pub(super) fn is_whole(&self) -> bool {
        self.whole
    }

    /// Whether more may arrive.
    pub(super) fn is_open(&self) -> bool {
        !self.whole || matches!(self.files, Files::Stream(_))
    }

    /// Where the files are, once they are whole, or what went wrong.
    pub(super) fn stored(&mut self) -> Result<String, String> {
        match (self.failed.take(), self.path()) {
            (Some(error), _) => Err(format!("the input could not be stored: {error}")),
            (None, Some(path)) => Ok(path.to_string_lossy().into_owned()),
            (None, None) => Err("the input has no file".to_owned()),
        }
    }

    /// The next file of several begins. `false`: this input has no several files.
    pub(super) fn file(&mut self, path: &str, skip: u64, lines: bool) -> bool {
        if self.failed.is_some() {
            return true;
        }
        let Files::Many { root, files, placed } = &mut self.files else {
            return false;
        };
        let made = if *placed {
            below(root, path).map(|path| (path, None))
        } else {
            create_below(root, path).map(|(path, file)| (path, Some(file)))
        };
        match made {
            Ok((path, file)) => {
                files.push_back(Fed { path, skip, lines });
                self.open = file;
            }
            Err(error) => {
                self.failed = Some(io::Error::new(error.kind(), format!("input file `{path}`: {error}")));
            }
        }
        true
    }

    /// More bytes of the current file. `false`: there is no current file.
    pub(super) fn data(&mut self, data: Bytes) -> bool {
        if self.failed.is_some() {
            return true;
        }
        if let Files::Stream(waiting) = &mut self.files {
            return waiting.push(data);
        }
        let Some(file) = &mut self.open else { return false };
        self.failed = file.write_all(&data).err();
        true
    }

    /// Nothing more will arrive.
    pub(super) fn end(&mut self) {
        if let Files::Stream(waiting) = &mut self.files {
            waiting.end();
        }
        self.open = None;
        self.whole = true;
    }

    /// What `BRAID_INPUT` says.
    pub(super) fn path(&self) -> Option<&Path> {
        match &self.files {
            Files::None | Files::Stream(_) => None,
            Files::One(path) | Files::Placed(path) => Some(path),
            Files::Many { root, .. } => Some(root),
        }
    }

    /// Standard input for the child, or what went wrong on the way.
    pub(super) fn stdin(&mut self) -> io::Result<Stdin> {
        if let Some(error) = self.failed.take() {
            return Err(error);
        }
        Ok(match &mut self.files {
            Files::None => Stdin::Empty,
            Files::One(path) | Files::Placed(path) => Stdin::File(File::open(path)?),
            Files::Many { files, .. } => Stdin::Pipe(std::mem::take(files)),
            Files::Stream(waiting) => Stdin::Stream(std::mem::take(waiting)),
        })
    }

    /// Removes the files that were made here.
    pub(super) fn remove(&mut self) -> io::Result<()> {
        self.open = None;
        match std::mem::replace(&mut self.files, Files::None) {
            Files::None | Files::Stream(_) | Files::Placed(_) | Files::Many { placed: true, .. } => Ok(()),
            Files::One(path) | Files::Many { root: path, .. } => results::remove(&path),
        }
    }
}

/// Programs that go by a file's ending find the one that the data has.
pub(crate) fn file_name(attempt: u64, name: Option<&str>) -> String {
    let ending = name.and_then(|name| Path::new(name).extension()?.to_str());
    match ending {
        Some(ending) if ending.len() <= 16 && ending.bytes().all(|byte| byte.is_ascii_alphanumeric()) => {
            format!("in-{attempt}.{ending}")
        }
        _ => format!("in-{attempt}"),
    }
}

/// Makes a new file at a relative path below `root`. Refuses absolute paths, `..`, and a path that is there already.
pub(crate) fn create_below(root: &Path, path: &str) -> io::Result<(PathBuf, File)> {
    let full = below(root, path)?;
    if let Some(parent) = full.parent().filter(|parent| *parent != root) {
        fs::create_dir_all(parent)?;
    }
    let file = File::create_new(&full)?;
    Ok((full, file))
}

/// A relative path below `root`.
fn below(root: &Path, path: &str) -> io::Result<PathBuf> {
    let relative = Path::new(path);
    let plain = relative.components().all(|part| matches!(part, Component::Normal(_)));
    if path.is_empty() || !plain {
        return Err(io::Error::new(
            ErrorKind::InvalidInput,
            "the path must be relative and without `..`",
        ));
    }
    Ok(root.join(relative))
}

/// Writes several files to a child's standard input, as it takes them.
pub(super) struct Feed {
    pipe: OwnedFd,
    files: VecDeque<Fed>,
    open: Option<(File, bool)>,
    buffer: Vec<u8>,
    written: usize,
    /// The last line is to be ended before anything follows.
    unended: bool,
}

impl Feed {
    pub(super) fn new(pipe: ChildStdin, files: VecDeque<Fed>) -> io::Result<Self> {
        let pipe = OwnedFd::from(pipe);
        fcntl(&pipe, FcntlArg::F_SETFL(OFlag::O_NONBLOCK))?;
        Ok(Self {
            pipe,
            files,
            open: None,
            buffer: Vec::new(),
            written: 0,
            unended: false,
        })
    }

    /// Writes until the pipe is full. `false`: all is written, or the child has closed its end and wants no more.
    pub(super) fn write(&mut self) -> io::Result<bool> {
        loop {
            if self.written == self.buffer.len() && !self.refill()? {
                return Ok(false);
            }
            match nix::unistd::write(&self.pipe, self.buffer.get(self.written..).unwrap_or_default()) {
                Ok(count) => self.written += count,
                Err(nix::errno::Errno::EAGAIN) => return Ok(true),
                Err(nix::errno::Errno::EINTR) => {}
                Err(nix::errno::Errno::EPIPE) => return Ok(false),
                Err(error) => return Err(error.into()),
            }
        }
    }

    fn refill(&mut self) -> io::Result<bool> {
        loop {
            let (mut file, lines) = match self.open.take() {
                Some(open) => open,
                None => match self.files.pop_front() {
                    Some(fed) => {
                        let mut file = File::open(fed.path)?;
                        file.seek(SeekFrom::Start(fed.skip))?;
                        (file, fed.lines)
                    }
                    None => return Ok(false),
                },
            };
            self.buffer.clear();
            self.buffer.extend(self.unended.then_some(b'\n'));
            let begin = self.buffer.len();
            self.buffer.resize(FEED, 0);
            let count = file.read(self.buffer.get_mut(begin..).unwrap_or_default())?;
            self.written = 0;
            if count > 0 {
                self.buffer.truncate(begin + count);
                self.unended = false;
                // Only at the end of a file does it matter.
                if lines && self.buffer.last() != Some(&b'\n') && is_at_end(&mut file)? {
                    self.unended = true;
                } else {
                    self.open = Some((file, lines));
                }
                return Ok(true);
            }
            self.buffer.clear();
        }
    }
}

/// Whether nothing more can be read of a file that nobody writes.
fn is_at_end(file: &mut File) -> io::Result<bool> {
    Ok(file.stream_position()? >= file.metadata()?.len())
}

impl AsFd for Feed {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.pipe.as_fd()
    }
}
