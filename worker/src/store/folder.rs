//! Directories below which no path leads out: every step is one name, opened without following a link.

use std::{
    fs::File,
    io,
    os::fd::{AsFd, OwnedFd},
    path::{Component, Path},
};

use nix::{
    dir::{Dir, Type},
    errno::Errno,
    fcntl::{AtFlags, OFlag, openat},
    sys::stat::{FileStat, Mode, SFlag, fstatat, mkdirat},
    unistd::{UnlinkatFlags, linkat, unlinkat},
};

use crate::ground::Ground;

/// How often a path is tried that others are clearing away.
const MEETINGS: usize = 16;

/// An open directory.
#[derive(Debug)]
pub(super) struct Folder(OwnedFd);

/// What a name in a directory is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Directory,
    File,
    Other,
}

/// Whether both names lead to one file.
pub(super) fn is_same(one: &FileStat, other: &FileStat) -> bool {
    (one.st_dev, one.st_ino) == (other.st_dev, other.st_ino)
}

/// The names of a path that stays below its beginning; `None`: it does not.
pub(super) fn names(path: &str) -> Option<Vec<&str>> {
    let names: Vec<&str> = path.split('/').collect();
    let plain = names.iter().all(|name| is_name(name));
    plain.then_some(names)
}

/// Whether a text is the name of one entry.
pub(super) fn is_name(name: &str) -> bool {
    !matches!(name, "" | "." | "..") && !name.contains(['/', '\0'])
}

impl Folder {
    /// Opens the directory of data; makes it if it is not there. In a pod its first name is that of a volume, which is there.
    pub(super) fn root(ground: &Ground, directory: &Path) -> io::Result<Self> {
        Self::open_root(ground, directory, true)
    }

    /// The same, of data that are only read: a directory that is not there is an error.
    pub(super) fn find(ground: &Ground, directory: &Path) -> io::Result<Self> {
        Self::open_root(ground, directory, false)
    }

    fn open_root(ground: &Ground, directory: &Path, make: bool) -> io::Result<Self> {
        match ground {
            Ground::Open(base) => {
                let whole = base.join(directory);
                if make {
                    std::fs::create_dir_all(&whole)?;
                }
                Ok(Self(OwnedFd::from(File::open(whole)?)))
            }
            Ground::Confined(_) => {
                let mut parts = directory.components();
                let (Some(Component::Normal(volume)), true) = (
                    parts.next(),
                    parts.clone().all(|part| matches!(part, Component::Normal(_))),
                ) else {
                    return Err(io::Error::new(
                        io::ErrorKind::InvalidInput,
                        "in a pod data can only be below a volume; name one under files.volume",
                    ));
                };
                let opened = ground.open(Path::new(volume)).map_err(|error| match error.kind() {
                    io::ErrorKind::NotFound => io::Error::new(
                        io::ErrorKind::InvalidInput,
                        "in a pod data can only be on a volume; name one under files.volume",
                    ),
                    _ => error,
                })?;
                let mut folder = Self(OwnedFd::from(opened));
                for part in parts {
                    let name = part.as_os_str().to_str().ok_or(io::ErrorKind::InvalidFilename)?;
                    folder = if make { folder.make(name)? } else { folder.below(name)? };
                }
                Ok(folder)
            }
        }
    }

    /// The directory of that name in it.
    pub(super) fn below(&self, name: &str) -> io::Result<Self> {
        let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
        Ok(Self(openat(&self.0, checked(name)?, flags, Mode::empty())?))
    }

    /// The same, made if it is not there.
    pub(super) fn make(&self, name: &str) -> io::Result<Self> {
        match self.below(name) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                match mkdirat(&self.0, checked(name)?, Mode::from_bits_truncate(0o777)) {
                    Ok(()) | Err(Errno::EEXIST) => self.below(name),
                    Err(error) => Err(error.into()),
                }
            }
            opened => opened,
        }
    }

    /// The directory at the end of some names; made, if that is wanted.
    pub(super) fn walk<'a>(
        &self,
        names: impl IntoIterator<Item = &'a str, IntoIter: Clone>,
        make: bool,
    ) -> io::Result<Self> {
        let names = names.into_iter();
        let once = || {
            let mut folder = self.same()?;
            for name in names.clone() {
                folder = if make { folder.make(name)? } else { folder.below(name)? };
            }
            Ok::<Self, io::Error>(folder)
        };
        for _ in 0..MEETINGS {
            match once() {
                // Somebody has just removed a directory that was empty, before the next was made in it.
                Err(error) if make && error.kind() == io::ErrorKind::NotFound => {}
                walked => return walked,
            }
        }
        once()
    }

    /// Removes the directories of a path that are empty, from its end to its beginning.
    pub(super) fn prune(&self, names: &[&str]) -> io::Result<()> {
        let mut left = names;
        while let Some((name, parents)) = left.split_last() {
            // Others may have theirs there: then a directory is not empty, and stays.
            if self.walk(parents.iter().copied(), false)?.remove_empty(name).is_err() {
                break;
            }
            left = parents;
        }
        Ok(())
    }

    pub(super) fn same(&self) -> io::Result<Self> {
        Ok(Self(self.0.try_clone()?))
    }

    /// A new file.
    pub(super) fn create(&self, name: &str) -> io::Result<File> {
        let flags = OFlag::O_WRONLY | OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
        let mode = Mode::from_bits_truncate(0o666);
        Ok(File::from(openat(&self.0, checked(name)?, flags, mode)?))
    }

    /// A file that is there, to write more to its end.
    pub(super) fn append(&self, name: &str) -> io::Result<File> {
        let flags = OFlag::O_WRONLY | OFlag::O_APPEND | OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK | OFlag::O_CLOEXEC;
        Ok(File::from(openat(&self.0, checked(name)?, flags, Mode::empty())?))
    }

    /// A regular file, for reading.
    pub(super) fn open(&self, name: &str) -> io::Result<File> {
        let flags = OFlag::O_RDONLY | OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK | OFlag::O_CLOEXEC;
        let file = File::from(openat(&self.0, checked(name)?, flags, Mode::empty())?);
        if file.metadata()?.is_file() {
            return Ok(file);
        }
        Err(io::Error::new(
            io::ErrorKind::InvalidData,
            format!("{name} is no regular file"),
        ))
    }

    /// What is at that name; `None`: nothing.
    pub(super) fn look(&self, name: &str) -> io::Result<Option<FileStat>> {
        match fstatat(&self.0, checked(name)?, AtFlags::AT_SYMLINK_NOFOLLOW) {
            Ok(found) => Ok(Some(found)),
            Err(Errno::ENOENT) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// Gives a file a second name in another directory. `AlreadyExists`: that name is taken.
    pub(super) fn link(&self, name: &str, to: &Self, as_name: &str) -> io::Result<()> {
        Ok(linkat(
            &self.0,
            checked(name)?,
            &to.0,
            checked(as_name)?,
            AtFlags::empty(),
        )?)
    }

    /// What is in it, in the order of the names.
    pub(super) fn entries(&self) -> io::Result<Vec<(String, Kind)>> {
        let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
        let mut directory = Dir::from_fd(openat(&self.0, ".", flags, Mode::empty())?)?;
        let mut entries = Vec::new();
        for entry in directory.iter() {
            let entry = entry?;
            let name = entry
                .file_name()
                .to_str()
                .map_err(|_| io::Error::new(io::ErrorKind::InvalidData, "a name that is not UTF-8"))?;
            if !is_name(name) {
                continue;
            }
            let kind = match entry.file_type() {
                Some(Type::Directory) => Kind::Directory,
                Some(Type::File) => Kind::File,
                Some(_) => Kind::Other,
                // Some file systems do not say.
                None => match self
                    .look(name)?
                    .map(|found| SFlag::from_bits_truncate(found.st_mode & SFlag::S_IFMT.bits()))
                {
                    Some(SFlag::S_IFDIR) => Kind::Directory,
                    Some(SFlag::S_IFREG) => Kind::File,
                    _ => Kind::Other,
                },
            };
            entries.push((name.to_owned(), kind));
        }
        entries.sort_unstable_by(|a, b| a.0.cmp(&b.0));
        Ok(entries)
    }

    /// Removes what is at that name, with all that is in it; nothing is fine.
    pub(super) fn remove(&self, name: &str) -> io::Result<()> {
        match unlinkat(&self.0, checked(name)?, UnlinkatFlags::NoRemoveDir) {
            Ok(()) | Err(Errno::ENOENT) => return Ok(()),
            Err(Errno::EISDIR | Errno::EPERM) => {}
            Err(error) => return Err(error.into()),
        }
        let folder = self.below(name)?;
        for (entry, _) in folder.entries()? {
            folder.remove(&entry)?;
        }
        self.remove_empty(name)
    }

    /// Removes an empty directory; nothing is fine.
    pub(super) fn remove_empty(&self, name: &str) -> io::Result<()> {
        match unlinkat(&self.0, checked(name)?, UnlinkatFlags::RemoveDir) {
            Ok(()) | Err(Errno::ENOENT) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    /// Makes all that was written on its file system durable.
    pub(super) fn sync(&self) -> io::Result<()> {
        Ok(nix::unistd::syncfs(self.0.as_fd())?)
    }
}

fn checked(name: &str) -> io::Result<&str> {
    if is_name(name) {
        Ok(name)
    } else {
        Err(io::ErrorKind::InvalidFilename.into())
    }
}
