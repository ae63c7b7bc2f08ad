//! The parts of a shuffle: files that who plans a step writes, and the partitions of the step read.
//!
//! In the directory of the data, or of the data that it goes through, there is one of Braid's own:
//!
//! ```text
//! .braid/shuffle/UID/STEP/ROUND/START.SHARD/PART.ENDING    what one planner made: that shard of that start of a worker
//! ```
//!
//! No two planners have the same name, so one that dies leaves its files to nobody; only those that a plan names are read. All of them
//! are removed when the step ends.
//!
//! However many parts there are, [`BUFFERS`] bytes and [`OPEN`] open files are the most that are held.

use std::{
    fs::File,
    io::{self, Write as _},
    path::PathBuf,
};

use braid_crds::{
    Round,
    worker::{Card, RunRef},
};
use braid_engine::shuffle;

use super::{OWN, folder::Folder};
use crate::{ground::Ground, planner::Pattern};

const SHUFFLE: &str = "shuffle";
/// So many bytes wait in memory to be written, in all parts together.
const BUFFERS: usize = 64 << 20;
/// The most that wait in one part.
const BUFFER: usize = 1 << 20;
/// So many parts stay open. Of more, each is opened when bytes are written to it: a process may have a thousand files open.
const OPEN: usize = 256;

/// Where the parts of a step are.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Place {
    ground: Ground,
    /// The directory of the data; why there is none.
    directory: Result<PathBuf, String>,
    uid: String,
    step: String,
    round: Round,
}

impl Place {
    /// What a card says; `None`: its step is not shuffled.
    pub(crate) fn new(ground: &Ground, run: &RunRef, card: &Card) -> Option<Self> {
        let files = card.source.files.as_ref()?;
        let directory = match &files.keys.as_ref()?.through {
            Some(through) => Pattern::directory(through),
            None if files.written_by.is_some() => Pattern::directory(&files.url),
            None => Pattern::new(&files.url).map(|pattern| pattern.root().to_path_buf()),
        };
        Some(Self {
            ground: ground.clone(),
            directory: directory.map_err(|error| error.to_string()),
            uid: run.uid.clone(),
            step: run.step.clone(),
            round: run.round,
        })
    }

    /// The directory, for people.
    pub(crate) fn shown(&self) -> String {
        match &self.directory {
            Ok(directory) if directory.as_os_str().is_empty() => self.ground.base().display().to_string(),
            Ok(directory) => directory.display().to_string(),
            Err(_) => String::new(),
        }
    }

    fn root(&self) -> io::Result<(Folder, PathBuf)> {
        let wrong = |why: &String| io::Error::new(io::ErrorKind::InvalidInput, why.clone());
        let directory = self.directory.as_ref().map_err(wrong)?;
        Ok((Folder::root(&self.ground, directory)?, directory.clone()))
    }

    /// Begins so many parts, whose names end so, for a planner of that name. What it made before goes. Blocks, as all here does.
    pub(crate) fn begin(&self, planner: &str, parts: u32, ending: &'static str) -> io::Result<PartFiles> {
        let (root, directory) = self.root()?;
        let round = self.round.to_string();
        let names = [OWN, SHUFFLE, &self.uid, &self.step, &round];
        let above = root.walk(names, true)?;
        above.remove(planner)?;
        let count = usize::try_from(parts).unwrap_or(usize::MAX);
        Ok(PartFiles {
            folder: above.make(planner)?,
            above,
            planner: planner.to_owned(),
            path: names.iter().fold(directory, |path, name| path.join(name)).join(planner),
            ending,
            parts: (0..parts).map(|_| Part::default()).collect(),
            header: Vec::new(),
            buffer: BUFFER.min(BUFFERS / count.max(1)),
            stays_open: count <= OPEN,
            is_whole: false,
        })
    }

    /// Removes all parts of the step, of this round and those before, and the directories that are empty then.
    pub(crate) fn sweep(&self) -> io::Result<()> {
        let (root, _) = self.root()?;
        let names = [OWN, SHUFFLE, &self.uid, &self.step];
        let rounds = match root.walk(names, false) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            rounds => rounds?,
        };
        for (name, _) in rounds.entries()? {
            // Whoever sweeps late must not take what a later round reads.
            if name.parse().is_ok_and(|round| Round(round) <= self.round) {
                rounds.remove(&name)?;
            }
        }
        root.prune(&names)
    }
}

/// The parts that one planner makes. Dropped before they are whole, they are removed.
#[derive(Debug)]
pub(crate) struct PartFiles {
    above: Folder,
    folder: Folder,
    planner: String,
    /// The directory, as a plan names it.
    path: PathBuf,
    ending: &'static str,
    parts: Vec<Part>,
    /// What each part begins with.
    header: Vec<u8>,
    /// So many bytes wait in a part.
    buffer: usize,
    stays_open: bool,
    is_whole: bool,
}

#[derive(Debug, Default)]
struct Part {
    /// The header is in it.
    begun: bool,
    waiting: Vec<u8>,
    /// The file is there.
    made: bool,
    file: Option<File>,
}

impl PartFiles {
    fn name(&self, part: usize) -> String {
        format!("{part:04}.{}", self.ending)
    }

    fn put(&mut self, part: usize, bytes: &[u8]) -> io::Result<()> {
        if self.parts.get(part).is_some_and(|part| !part.begun) {
            if let Some(part) = self.parts.get_mut(part) {
                part.begun = true;
            }
            let header = std::mem::take(&mut self.header);
            let put = self.add(part, &header);
            self.header = header;
            put?;
        }
        self.add(part, bytes)
    }

    /// More bytes of a part: they wait, or those that waited go.
    fn add(&mut self, at: usize, bytes: &[u8]) -> io::Result<()> {
        let buffer = self.buffer;
        let Some(part) = self.parts.get_mut(at) else {
            return Err(io::Error::other("there is no such part"));
        };
        if part.waiting.len() + bytes.len() <= buffer {
            if part.waiting.capacity() == 0 {
                part.waiting.reserve_exact(buffer);
            }
            part.waiting.extend_from_slice(bytes);
            return Ok(());
        }
        let mut waiting = std::mem::take(&mut part.waiting);
        self.write(at, &waiting)?;
        waiting.clear();
        if bytes.len() > buffer {
            self.write(at, bytes)?;
        } else {
            waiting.extend_from_slice(bytes);
        }
        if let Some(part) = self.parts.get_mut(at) {
            part.waiting = waiting;
        }
        Ok(())
    }

    fn write(&mut self, at: usize, bytes: &[u8]) -> io::Result<()> {
        let name = self.name(at);
        let Some(part) = self.parts.get_mut(at) else {
            return Ok(());
        };
        let mut file = match part.file.take() {
            Some(file) => file,
            None if part.made => self.folder.append(&name)?,
            None => self.folder.create(&name)?,
        };
        part.made = true;
        file.write_all(bytes)?;
        part.file = self.stays_open.then_some(file);
        Ok(())
    }

    /// Writes what waits, and makes all of it durable. Gives the paths of the parts, in their order.
    pub(crate) fn finish(mut self) -> io::Result<Vec<PathBuf>> {
        for at in 0..self.parts.len() {
            self.put(at, &[])?;
            let waiting = self
                .parts
                .get_mut(at)
                .map(|part| std::mem::take(&mut part.waiting))
                .unwrap_or_default();
            self.write(at, &waiting)?;
            if let Some(part) = self.parts.get_mut(at) {
                part.file = None;
            }
        }
        self.folder.sync()?;
        self.is_whole = true;
        Ok((0..self.parts.len()).map(|at| self.path.join(self.name(at))).collect())
    }
}

impl shuffle::Parts for PartFiles {
    type Error = io::Error;

    fn header(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.header = bytes.to_vec();
        Ok(())
    }

    fn record(&mut self, part: u32, bytes: &[u8]) -> io::Result<()> {
        self.put(usize::try_from(part).unwrap_or(usize::MAX), bytes)
    }
}

impl Drop for PartFiles {
    fn drop(&mut self) {
        if self.is_whole {
            return;
        }
        self.parts.clear();
        if let Err(error) = self.above.remove(&self.planner) {
            // It takes room until the step ends, and nothing else.
            tracing::warn!(directory = %self.path.display(), %error, "parts that are not needed cannot be removed");
        }
    }
}
