//! Where built programs lie: outside the work tree, so that clones and `cargo clean` do not build them again.
//!
//! `<cache>/braid/programs/<module>-<version>-<key>/<program>`. The key is a digest of the pins and the recipe. A program is written
//! beside its place and renamed: what is there is whole. Directories of older keys stay until somebody removes them.

use std::fmt::Write as _;
use std::fs::{self, File, TryLockError};
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use sha2::{Digest as _, Sha256};

use crate::programs::{BuildError, Program};
use crate::toolchain::RECIPE;

/// The cache's directory: below `XDG_CACHE_HOME`, or `~/.cache`.
pub(crate) fn root() -> Result<PathBuf, BuildError> {
    root_of(std::env::var_os("XDG_CACHE_HOME"), std::env::var_os("HOME"))
}

fn root_of(cache: Option<std::ffi::OsString>, home: Option<std::ffi::OsString>) -> Result<PathBuf, BuildError> {
    let absolute = |path: std::ffi::OsString| Some(PathBuf::from(path)).filter(|path| path.is_absolute());
    let base = cache
        .and_then(absolute)
        .or_else(|| Some(home.and_then(absolute)?.join(".cache")))
        .ok_or(BuildError::NoCache)?;
    Ok(base.join("braid/programs"))
}

/// The place of something else that is kept, beside the programs; made if need be.
pub(crate) fn directory(name: &str) -> Result<PathBuf, BuildError> {
    let directory = root()?.with_file_name(name);
    fs::create_dir_all(&directory).map_err(failed(&directory))?;
    Ok(directory)
}

/// Waits until no other process has the directory. The lock ends with its holder, however that ends.
pub(crate) fn lock(directory: &Path, busy: &dyn Fn()) -> Result<File, BuildError> {
    fs::create_dir_all(directory).map_err(failed(directory))?;
    let path = directory.join(".lock");
    let lock = File::create(&path).map_err(failed(&path))?;
    match lock.try_lock() {
        Ok(()) => return Ok(lock),
        Err(TryLockError::WouldBlock) => busy(),
        Err(TryLockError::Error(source)) => return Err(BuildError::Cache { path, source }),
    }
    lock.lock().map_err(failed(&path))?;
    Ok(lock)
}

/// A short digest of all that goes into something that is kept.
pub(crate) fn key(parts: impl IntoIterator<Item = impl AsRef<[u8]>>) -> String {
    let mut digest = Sha256::new();
    for part in parts {
        digest.update(part);
        digest.update([0]);
    }
    let mut key = hex(&digest.finalize());
    key.truncate(16);
    key
}

/// Bytes as digits.
pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        // Writing to a String cannot fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

fn failed(path: &Path) -> impl FnOnce(io::Error) -> BuildError {
    let path = path.to_owned();
    move |source| BuildError::Cache { path, source }
}

/// The place of one program.
pub(crate) struct Slot {
    directory: PathBuf,
    file: PathBuf,
}

impl Slot {
    pub(crate) fn new(root: &Path, program: Program) -> Result<Self, BuildError> {
        let module = program.module();
        let mut parts = Vec::new();
        for input in ["go.mod", "go.sum"].iter().chain(module.sources) {
            let file = module.directory().join(input);
            parts.push(fs::read(&file).map_err(failed(&file))?);
        }
        let platform = [module.ldflags, std::env::consts::OS, std::env::consts::ARCH];
        parts.extend(platform.iter().chain(&RECIPE).map(|part| part.as_bytes().to_vec()));
        let key = key(parts);
        let directory = root.join(format!("{}-{}-{key}", module.name, module.version));
        let file = directory.join(program.name());
        Ok(Self { directory, file })
    }

    /// The program, if it was built.
    pub(crate) fn find(&self) -> Option<PathBuf> {
        self.file.is_file().then(|| self.file.clone())
    }

    /// Waits until no other process builds from the same module. The lock ends with its holder, however that ends.
    pub(crate) fn lock(&self, say: &dyn Fn(&str)) -> Result<File, BuildError> {
        lock(&self.directory, &|| say("another process builds it; waiting"))
    }

    /// Tells modules apart that have different pins or are built in another way.
    pub(crate) fn key(&self) -> String {
        let module = self.directory.file_name().unwrap_or_default();
        module.to_string_lossy().into_owned()
    }

    /// Lets `build` write a file and puts it into place.
    pub(crate) fn fill(
        &self,
        build: impl FnOnce(&Path) -> Result<(), BuildError>,
    ) -> Result<(PathBuf, Duration), BuildError> {
        let begun = Instant::now();
        let scratch = tempfile::Builder::new()
            .prefix(".new-")
            .tempdir_in(&self.directory)
            .map_err(failed(&self.directory))?;
        let new = scratch.path().join("program");
        build(&new)?;
        fs::rename(&new, &self.file).map_err(failed(&self.file))?;
        Ok((self.file.clone(), begun.elapsed()))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::panic)]
    use super::*;

    #[test]
    fn the_cache_is_where_caches_are() {
        let at = |cache: Option<&str>, home: Option<&str>| root_of(cache.map(Into::into), home.map(Into::into)).ok();
        assert_eq!(at(Some("/c"), Some("/h")), Some("/c/braid/programs".into()));
        assert_eq!(at(None, Some("/h")), Some("/h/.cache/braid/programs".into()));
        assert_eq!(
            at(Some("relative"), Some("/h")),
            Some("/h/.cache/braid/programs".into())
        );
        assert_eq!(at(None, None), None);
    }

    #[test]
    fn programs_of_one_module_share_a_directory() {
        let slot = |program| Slot::new(Path::new("/cache"), program).unwrap();
        let (server, kubectl) = (slot(Program::KubeApiserver), slot(Program::Kubectl));
        assert_eq!(server.directory, kubectl.directory);
        assert_ne!(server.file, kubectl.file);
        assert_ne!(server.directory, slot(Program::Etcd).directory);
    }

    #[test]
    fn a_failed_build_leaves_nothing() {
        let root = tempfile::tempdir().unwrap();
        let slot = Slot::new(root.path(), Program::Etcd).unwrap();
        let _lock = slot.lock(&|what| panic!("{what}")).unwrap();
        let fails = slot.fill(|file| {
            fs::write(file, "half").unwrap();
            Err(BuildError::NoCache)
        });
        assert!(fails.is_err());
        assert_eq!(None, slot.find());
        assert_eq!(1, fs::read_dir(&slot.directory).unwrap().count(), "the lock alone");
        slot.fill(|file| {
            fs::write(file, "whole").unwrap();
            Ok(())
        })
        .unwrap();
        assert_eq!("whole", fs::read_to_string(slot.find().unwrap()).unwrap());
    }

    #[test]
    fn builders_wait_for_each_other() {
        let root = tempfile::tempdir().unwrap();
        let slot = Slot::new(root.path(), Program::Etcd).unwrap();
        let lock = slot.lock(&|what| panic!("{what}")).unwrap();
        let (told, tell) = std::sync::mpsc::channel();
        std::thread::scope(|scope| {
            let second = scope.spawn(|| slot.lock(&|what| told.send(what.to_owned()).unwrap()).is_ok());
            assert!(tell.recv().unwrap().contains("another process"));
            drop(lock);
            assert!(second.join().unwrap());
        });
    }
}
