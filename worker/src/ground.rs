//! Where data lie, and how far their paths may lead.
//!
//! On a laptop a run reads what its person may read. In a pod the worker holds a token and a key that user code must not see, so there
//! nothing outside the mounted data is opened: not by `..`, not by an absolute path, and not by a symbolic link that user code
//! has planted on a volume that both can see. The kernel decides (openat2 with `RESOLVE_BENEATH`), in the same call that opens,
//! so there is no moment between a look and a use.

use std::{
    fs::{File, Metadata},
    io,
    path::{Path, PathBuf},
};

use nix::fcntl::{OFlag, OpenHow, ResolveFlag, openat2};

/// A directory with data.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ground {
    /// What relative paths are relative to; others lead anywhere.
    Open(PathBuf),
    /// No path leads out of it.
    Confined(PathBuf),
}

impl Ground {
    /// The directory.
    pub(crate) fn base(&self) -> &Path {
        let (Self::Open(base) | Self::Confined(base)) = self;
        base
    }

    /// Opens a file for reading. Never waits for the other end of a pipe.
    ///
    /// # Errors
    /// The system's; `CrossesDevices` for a path that leads out of a confined ground.
    pub(crate) fn open(&self, path: &Path) -> io::Result<File> {
        match self {
            Self::Open(base) => File::open(base.join(path)),
            Self::Confined(base) => beneath(base, path, OFlag::O_RDONLY | OFlag::O_NONBLOCK),
        }
    }

    /// Looks at what a path leads to, without opening it.
    ///
    /// # Errors
    /// As of [`Self::open`].
    pub(crate) fn metadata(&self, path: &Path) -> io::Result<Metadata> {
        match self {
            Self::Open(base) => std::fs::metadata(base.join(path)),
            Self::Confined(base) => beneath(base, path, OFlag::O_PATH)?.metadata(),
        }
    }
}

fn beneath(base: &Path, path: &Path, flags: OFlag) -> io::Result<File> {
    let directory = File::open(base)?;
    let resolve = ResolveFlag::RESOLVE_BENEATH | ResolveFlag::RESOLVE_NO_MAGICLINKS;
    let how = OpenHow::new().flags(flags | OFlag::O_CLOEXEC).resolve(resolve);
    Ok(File::from(openat2(directory, path, how)?))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

    use std::{fs, io::Read as _, os::unix::fs::symlink};

    use super::*;

    #[test]
    fn nothing_leads_out_of_a_confined_ground() {
        let folder = tempfile::tempdir().unwrap();
        let base = folder.path().join("data");
        fs::create_dir_all(base.join("in")).unwrap();
        fs::write(folder.path().join("token"), "secret").unwrap();
        fs::write(base.join("in/a.txt"), "a").unwrap();
        symlink("a.txt", base.join("in/inner")).unwrap();
        symlink("../../token", base.join("in/outer")).unwrap();
        symlink(folder.path(), base.join("in/up")).unwrap();
        symlink("/proc/self/root", base.join("in/magic")).unwrap();
        let ground = Ground::Confined(base.clone());

        for path in ["in/a.txt", "in/inner", "in/../in/a.txt"] {
            let mut text = String::new();
            ground.open(Path::new(path)).unwrap().read_to_string(&mut text).unwrap();
            assert_eq!(text, "a", "{path}");
            assert_eq!(ground.metadata(Path::new(path)).unwrap().len(), 1, "{path}");
        }
        let token = folder.path().join("token");
        for path in [
            Path::new("in/outer"),
            Path::new("in/up/token"),
            Path::new("in/magic/etc/hostname"),
            Path::new("../token"),
            token.as_path(),
        ] {
            assert!(ground.open(path).is_err(), "{}", path.display());
            assert!(ground.metadata(path).is_err(), "{}", path.display());
            let open = Ground::Open(base.clone()).open(path);
            assert!(open.is_ok() || path.starts_with("in/magic"), "{}", path.display());
        }
    }
}
