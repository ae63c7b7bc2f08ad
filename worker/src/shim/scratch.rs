//! The private directories of a shim, or of a worker beside one: scripts, inputs and results files.
//!
//! Small files go to memory (`/dev/shm` or `$XDG_RUNTIME_DIR`) where that is usable, large ones to the directory for
//! temporary files; each directory is made when it is first needed. The directory is locked for as long as the shim
//! lives, so a later shim can tell what a killed one has left behind and remove it.

use std::env;
use std::fs::{self, File, Permissions};
use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use tempfile::TempDir;

/// Inputs above this length are not put into memory.
const SMALL: u64 = 4 << 20;

const PREFIX: &str = "braid-shim-";

/// Between making its directory and locking it a shim needs a moment.
const YOUNG: Duration = Duration::from_mins(1);

/// Where private files may be put.
#[derive(Debug, Clone)]
pub struct Places {
    /// Directories in memory, the best first; may be empty.
    pub memory: Vec<PathBuf>,
    /// The directory for what is large, and for everything if no other can be used.
    pub disk: PathBuf,
}

impl Default for Places {
    /// `$XDG_RUNTIME_DIR`, `/dev/shm`, and the directory for temporary files.
    fn default() -> Self {
        let runtime = env::var_os("XDG_RUNTIME_DIR")
            .map(PathBuf::from)
            .filter(|path| path.is_absolute());
        Self {
            memory: runtime.into_iter().chain([PathBuf::from("/dev/shm")]).collect(),
            disk: env::temp_dir(),
        }
    }
}

#[derive(Debug)]
struct Room {
    dir: TempDir,
    _lock: File,
}

impl Drop for Room {
    fn drop(&mut self) {
        // What is left over is removed by the next shim.
        let _ = remove_tree(self.dir.path());
    }
}

/// Removes a directory with all that is in it, also where directories were made read-only.
pub(super) fn remove_tree(root: &Path) -> io::Result<()> {
    match fs::remove_dir_all(root) {
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
            unlock(root)?;
            fs::remove_dir_all(root)
        }
        done => done,
    }
}

/// Lets directories be changed again. Follows no symbolic links.
fn unlock(directory: &Path) -> io::Result<()> {
    fs::set_permissions(directory, Permissions::from_mode(0o700))?;
    for entry in fs::read_dir(directory)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            unlock(&entry.path())?;
        }
    }
    Ok(())
}

#[derive(Debug)]
pub(crate) struct Scratch {
    places: Places,
    small: Option<Room>,
    large: Option<Room>,
}

impl Scratch {
    pub(crate) fn new(places: Places) -> Self {
        Self {
            places,
            small: None,
            large: None,
        }
    }

    /// The directory for a small file.
    pub(super) fn small(&mut self) -> io::Result<&Path> {
        let room = match self.small.take() {
            Some(room) => room,
            None => match self.places.memory.iter().find_map(|place| make(place).ok()) {
                Some(room) => room,
                None => make(&self.places.disk)?,
            },
        };
        Ok(self.small.insert(room).dir.path())
    }

    /// The directory for a file of this length.
    pub(crate) fn sized(&mut self, length: u64) -> io::Result<&Path> {
        if length <= SMALL {
            return self.small();
        }
        let room = match self.large.take() {
            Some(room) => room,
            None => make(&self.places.disk)?,
        };
        Ok(self.large.insert(room).dir.path())
    }
}

fn make(place: &Path) -> io::Result<Room> {
    sweep(place);
    let dir = tempfile::Builder::new().prefix(PREFIX).tempdir_in(place)?;
    let lock = File::open(dir.path())?;
    lock.try_lock().map_err(io::Error::from)?;
    Ok(Room { dir, _lock: lock })
}

/// Removes the directories of shims that were killed. What cannot be removed (it may be another user's) stays.
fn sweep(place: &Path) {
    let Ok(entries) = fs::read_dir(place) else { return };
    for entry in entries.flatten() {
        if entry.file_name().to_string_lossy().starts_with(PREFIX) && is_abandoned(&entry.path()) {
            // Another shim may sweep at the same time; either of them will do.
            let _ = remove_tree(&entry.path());
        }
    }
}

fn is_abandoned(path: &Path) -> bool {
    let Ok(meta) = fs::symlink_metadata(path) else {
        return false;
    };
    let old = meta
        .modified()
        .is_ok_and(|time| SystemTime::now().duration_since(time).is_ok_and(|age| age > YOUNG));
    meta.is_dir() && old && File::open(path).is_ok_and(|dir| dir.try_lock().is_ok())
}
