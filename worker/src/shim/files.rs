//! The files that an attempt leaves in `$BRAID_OUT`: a directory for each data, sent to the worker when the program has succeeded.

use std::collections::VecDeque;
use std::fs::{self, File};
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

use bytes::Bytes;

use super::results;
use super::scratch::{self, Scratch};
use crate::frames::{CHUNK, FromShim, MAX_FILES, MAX_PATH, Outcome};

/// The deepest directory below that of a data.
const DEPTH: usize = 64;

/// The directory of an attempt.
#[derive(Debug)]
pub(super) struct Leavings {
    root: PathBuf,
}

/// A file that is to be sent.
#[derive(Debug)]
struct Found {
    data: u8,
    /// Below the directory of the data.
    path: String,
    file: PathBuf,
}

impl Leavings {
    /// Makes the directories.
    pub(super) fn new(attempt: u64, data: &[String], scratch: &mut Scratch) -> io::Result<Self> {
        // Nobody knows how much it will be.
        let root = scratch.sized(u64::MAX)?.join(format!("out-{attempt}"));
        fs::create_dir(&root)?;
        for name in data {
            fs::create_dir(root.join(name))?;
        }
        Ok(Self { root })
    }

    /// What `BRAID_OUT` says.
    pub(super) fn path(&self) -> &Path {
        &self.root
    }

    /// What is in it, in order; or what of it cannot be taken.
    fn find(&self, data: &[String]) -> Result<VecDeque<Found>, String> {
        let mut found = VecDeque::new();
        for entry in entries(&self.root)? {
            if !data.iter().any(|name| entry == name.as_str()) {
                let names: Vec<String> = data.iter().map(|name| format!("$BRAID_OUT/{name}/")).collect();
                return Err(format!(
                    "$BRAID_OUT/{} is in no directory of data; write below {}",
                    entry.to_string_lossy(),
                    names.join(", ")
                ));
            }
        }
        for (number, name) in (0_u8..).zip(data) {
            gather(&self.root.join(name), number, name, "", DEPTH, &mut found)?;
        }
        Ok(found)
    }

    pub(super) fn remove(self) {
        // What cannot be removed now goes with the private directory; the name is never used again.
        let _ = scratch::remove_tree(&self.root);
    }
}

fn entries(directory: &Path) -> Result<Vec<std::ffi::OsString>, String> {
    let listed = fs::read_dir(directory).and_then(|entries| {
        let mut names = entries
            .map(|entry| Ok(entry?.file_name()))
            .collect::<io::Result<Vec<_>>>()?;
        names.sort_unstable();
        Ok(names)
    });
    listed.map_err(|error| format!("a directory of $BRAID_OUT cannot be listed: {error}"))
}

fn gather(
    directory: &Path,
    data: u8,
    shown: &str,
    below: &str,
    depth: usize,
    found: &mut VecDeque<Found>,
) -> Result<(), String> {
    for name in entries(directory)? {
        let file = directory.join(&name);
        let Some(name) = name.to_str() else {
            return Err(format!(
                "$BRAID_OUT/{shown}/{below}{} has a name that is not UTF-8",
                name.to_string_lossy()
            ));
        };
        let path = format!("{below}{name}");
        let refused = |why: &str| Err(format!("$BRAID_OUT/{shown}/{path} {why}"));
        let kind = match fs::symlink_metadata(&file) {
            Ok(meta) => meta.file_type(),
            Err(error) => return refused(&format!("cannot be looked at: {error}")),
        };
        if kind.is_dir() {
            match depth.checked_sub(1) {
                None => return refused("is too deep"),
                Some(depth) => gather(&file, data, shown, &format!("{path}/"), depth, found)?,
            }
            continue;
        }
        if !kind.is_file() {
            return refused("is no regular file; links and devices cannot be data");
        }
        if path.len() > MAX_PATH {
            return refused(&format!("has a path of more than {MAX_PATH} bytes"));
        }
        if found.len() >= MAX_FILES {
            return Err(format!(
                "$BRAID_OUT has more than {MAX_FILES} files, the most of one partition; make partitions smaller, or pack them"
            ));
        }
        found.push_back(Found { data, path, file });
    }
    Ok(())
}

/// An attempt that has ended, on its way to the worker with its files.
pub(super) struct Delivery {
    pub(super) attempt: u64,
    pub(super) slot: u8,
    leavings: Leavings,
    files: VecDeque<Found>,
    open: Option<(String, File)>,
    /// What is said when all files are sent.
    end: FromShim,
}

impl Delivery {
    /// Of a program that has succeeded; `end` is what is said of it then.
    pub(super) fn new(attempt: u64, slot: u8, leavings: Leavings, data: &[String], end: FromShim) -> Self {
        let mut delivery = Self {
            attempt,
            slot,
            files: VecDeque::new(),
            leavings,
            open: None,
            end,
        };
        match delivery.leavings.find(data) {
            Ok(files) => delivery.files = files,
            Err(why) => delivery.fail(Outcome::BadOutput, why),
        }
        delivery
    }

    /// What is to be said next; `None`: that was all, and the last of it is [`Self::end`].
    pub(super) fn next(&mut self) -> Option<FromShim> {
        if let Some((path, file)) = &mut self.open {
            let mut chunk = vec![0; CHUNK];
            let path = path.clone();
            match read(file, &mut chunk) {
                Ok(0) => self.open = None,
                Ok(count) => {
                    chunk.truncate(count);
                    return Some(FromShim::OutData {
                        attempt: self.attempt,
                        data: Bytes::from(chunk),
                    });
                }
                Err(error) => self.fail(
                    Outcome::BadOutput,
                    format!("$BRAID_OUT: {path} cannot be read: {error}"),
                ),
            }
        }
        let found = self.files.pop_front()?;
        match open(&found.file) {
            Ok(file) => {
                self.open = Some((found.path.clone(), file));
                Some(FromShim::OutFile {
                    attempt: self.attempt,
                    data: found.data,
                    path: found.path,
                })
            }
            Err(error) => {
                let why = format!("$BRAID_OUT: {} cannot be read: {error}", found.path);
                self.fail(Outcome::BadOutput, why);
                None
            }
        }
    }

    /// Nothing more is sent but that it failed.
    pub(super) fn fail(&mut self, outcome: Outcome, why: String) {
        self.files.clear();
        self.open = None;
        if let FromShim::Finished {
            outcome: known,
            results,
            message,
            ..
        } = &mut self.end
        {
            (*known, *results, *message) = (outcome, None, why);
        }
    }

    /// Removes the files, and says how the attempt ended.
    pub(super) fn end(self) -> FromShim {
        self.leavings.remove();
        self.end
    }
}

fn read(file: &mut File, chunk: &mut [u8]) -> io::Result<usize> {
    loop {
        match file.read(chunk) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            read => return read,
        }
    }
}

/// Opens a regular file, and nothing that took its place meanwhile.
fn open(path: &Path) -> io::Result<File> {
    let file = results::open(path)?;
    if file.metadata()?.is_file() {
        return Ok(file);
    }
    Err(io::Error::new(io::ErrorKind::InvalidData, "it is no regular file"))
}
