//! Where local runs keep their state: a directory each.
//!
//! ```text
//! <root>/<workflow>-<id>/api/           the API server's log and lock
//!                       /logs/          what user code printed, by step
//!                       /timeline.ndjson  what workers did when, for people
//!                       /control.sock   the API, while the run goes on
//! ```

use std::{
    env, fs, io,
    os::unix::fs::DirBuilderExt as _,
    path::{Path, PathBuf},
};

/// Why there is no place for state.
#[derive(Debug, thiserror::Error)]
pub enum StateError {
    /// No home.
    #[error("neither XDG_STATE_HOME nor HOME is set: say where the run's state goes with --state DIR")]
    NoHome,
    /// The file system.
    #[error("{what} {}: {source}", path.display())]
    Io {
        /// What was tried.
        what: &'static str,
        /// Where.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
}

/// The state directory of one run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StateDir(PathBuf);

/// The directory of all runs that were given none: `$XDG_STATE_HOME/braid`, or `~/.local/state/braid`.
pub fn root() -> Result<PathBuf, StateError> {
    let set = |name: &str| env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let base = set("XDG_STATE_HOME").or_else(|| set("HOME").map(|home| home.join(".local/state")));
    base.map(|base| base.join("braid")).ok_or(StateError::NoHome)
}

impl StateDir {
    /// Uses `path`, made if it is not there, for its user only.
    pub fn at(path: &Path) -> Result<Self, StateError> {
        let fail = |what| {
            move |source| StateError::Io {
                what,
                path: path.to_owned(),
                source,
            }
        };
        for directory in [path.to_owned(), path.join("logs"), path.join("api")] {
            fs::DirBuilder::new()
                .recursive(true)
                .mode(0o700)
                .create(&directory)
                .map_err(fail("cannot make the state directory"))?;
        }
        path.canonicalize()
            .map(Self)
            .map_err(fail("cannot resolve the state directory"))
    }

    /// A new directory below the root.
    pub fn fresh(workflow: &str) -> Result<Self, StateError> {
        let id: u32 = rand::random();
        Self::at(&root()?.join(format!("{workflow}-{id:08x}")))
    }

    /// All directories below the root, the youngest first.
    pub fn all() -> Result<Vec<Self>, StateError> {
        let root = root()?;
        let fail = |source| StateError::Io {
            what: "cannot list the state directory",
            path: root.clone(),
            source,
        };
        let entries = match fs::read_dir(&root) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(fail(error)),
        };
        let mut found = Vec::new();
        for entry in entries {
            let path = entry.map_err(fail)?.path();
            // A directory that vanishes while it is listed is not there.
            if let Ok(made) = fs::metadata(path.join("api")).and_then(|data| data.modified()) {
                found.push((made, Self(path)));
            }
        }
        found.sort_by_key(|(made, _)| std::cmp::Reverse(*made));
        Ok(found.into_iter().map(|(_, state)| state).collect())
    }

    /// The directory.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.0
    }

    /// Where the API server's log is.
    #[must_use]
    pub fn api(&self) -> PathBuf {
        self.0.join("api")
    }

    /// Where what attempts save for the next is kept, while the run goes on.
    #[must_use]
    pub fn checkpoints(&self) -> PathBuf {
        self.0.join("checkpoints")
    }

    /// Where the logs of user code are.
    #[must_use]
    pub fn logs(&self) -> PathBuf {
        self.0.join("logs")
    }
}
