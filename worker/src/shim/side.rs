//! Files for all attempts of a program: received once, kept as long as the program is, and made read-only.
//!
//! Read-only is a matter of permissions, so that no program changes by mistake what others read. One that runs as root, or
//! takes the permission back, can.

use std::fs::{self, File, Permissions};
use std::io::{self, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use super::input::create_below;
use super::scratch::{Scratch, remove_tree};

/// The directories of one program.
#[derive(Debug)]
pub(super) struct SideFiles {
    directories: Vec<(String, PathBuf)>,
    open: Option<File>,
    whole: bool,
    /// The first thing that went wrong; what still arrives is dropped.
    failure: Option<String>,
}

impl SideFiles {
    /// `whole`: none will arrive.
    pub(super) fn new(whole: bool) -> Self {
        Self {
            directories: Vec::new(),
            open: None,
            whole,
            failure: None,
        }
    }

    /// Whether all has arrived.
    pub(super) fn are_whole(&self) -> bool {
        self.whole
    }

    /// Why no attempt can have them.
    pub(super) fn failure(&self) -> Option<&str> {
        self.failure.as_deref()
    }

    /// What a variable says, if it names one of them.
    pub(super) fn value(&self, name: &str) -> Option<&str> {
        let (_, path) = self.directories.iter().find(|(variable, _)| variable == name)?;
        path.to_str()
    }

    /// All variables.
    pub(super) fn variables(&self) -> impl Iterator<Item = (&str, &Path)> {
        (self.directories.iter()).map(|(variable, path)| (variable.as_str(), path.as_path()))
    }

    /// A directory begins. `false`: nothing more is expected.
    pub(super) fn begin(&mut self, scratch: &mut Scratch, name: &str, variable: String, length: u64) -> bool {
        if self.whole {
            return false;
        }
        self.open = None;
        let made = scratch.sized(length).and_then(|room| {
            let path = room.join(name);
            fs::create_dir(&path).map(|()| path)
        });
        match made {
            Ok(path) => self.directories.push((variable, path)),
            Err(error) => self.fail("a directory", &error),
        }
        true
    }

    /// A file of it begins. `false`: there is no directory.
    pub(super) fn file(&mut self, path: &str) -> bool {
        self.open = None;
        if self.whole {
            return false;
        }
        if self.failure.is_some() {
            return true;
        }
        let Some((_, root)) = self.directories.last() else {
            return false;
        };
        match create_below(root, path) {
            Ok((_, file)) => self.open = Some(file),
            Err(error) => self.fail(path, &error),
        }
        true
    }

    /// More bytes of the file. `false`: there is none.
    pub(super) fn data(&mut self, data: &[u8]) -> bool {
        if self.failure.is_some() && !self.whole {
            return true;
        }
        let Some(file) = &mut self.open else { return false };
        if let Err(error) = file.write_all(data) {
            self.fail("a file", &error);
        }
        true
    }

    /// All has arrived. `false`: it had before.
    pub(super) fn end(&mut self) -> bool {
        self.open = None;
        if std::mem::replace(&mut self.whole, true) {
            return false;
        }
        let locked = self.directories.iter().try_for_each(|(_, path)| lock(path));
        if let Err(error) = locked {
            self.fail("permissions", &error);
        }
        true
    }

    /// Removes the directories.
    pub(super) fn remove(self) -> io::Result<()> {
        self.directories.iter().try_for_each(|(_, path)| remove_tree(path))
    }

    fn fail(&mut self, what: &str, error: &io::Error) {
        self.open = None;
        self.failure
            .get_or_insert_with(|| format!("what all partitions read could not be stored: {what}: {error}"));
    }
}

/// Makes a directory and all that is in it read-only.
fn lock(directory: &Path) -> io::Result<()> {
    for entry in fs::read_dir(directory)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            lock(&entry.path())?;
        } else {
            fs::set_permissions(entry.path(), Permissions::from_mode(0o444))?;
        }
    }
    fs::set_permissions(directory, Permissions::from_mode(0o555))
}
