//! `ttl` on this machine: what ended says until when it is kept, and the next `braid run` removes what is over.
//!
//! Only runs below the default root are removed: a directory that somebody has chosen is theirs. Nobody is removed that a process
//! runs or that is to be tried again.

use std::{fs, io, path::PathBuf};

use braid_crds::Workflow;
use braid_local::StateDir;
use jiff::{SignedDuration, Timestamp};

use crate::{
    exit::Failure,
    progress::Progress,
    runs::{Run, RunError},
    text::clean,
};

/// In a state directory: the time after which it may be removed.
const FILE: &str = "expires";

/// The time until which an ended run is kept; `None`: until somebody removes it.
fn kept_until(workflow: &Workflow) -> Option<Timestamp> {
    let (ttl, status) = (workflow.spec.ttl.as_ref()?, workflow.status.as_ref()?);
    let limit = SignedDuration::try_from(ttl.of(status.phase)?).ok()?;
    status.finished_at.as_ref()?.0.checked_add(limit).ok()
}

/// Notes until when a run is kept that has ended, or that it goes on.
pub fn note(state: &StateDir, workflow: Option<&Workflow>) -> Result<(), Failure> {
    let path = state.path().join(FILE);
    let done = match workflow.and_then(kept_until) {
        Some(until) => fs::write(&path, format!("{until}\n")),
        None => match fs::remove_file(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            other => other,
        },
    };
    done.map_err(|error| Failure::unreachable(error).doing(format!("{}", path.display())))
}

/// Removes ended runs whose time is over. What cannot be removed is told, and in the way of nobody.
pub async fn sweep(now: Timestamp, progress: &Progress) {
    let Ok(all) = StateDir::all() else { return };
    for state in all {
        let noted = fs::read_to_string(state.path().join(FILE)).ok();
        let until: Option<Timestamp> = noted.and_then(|text| text.trim().parse().ok());
        if until.is_none_or(|until| until > now) {
            continue;
        }
        let path = state.path().display();
        match remove(&state).await {
            Ok(true) => progress.note(&format!("removed {path}: an ended run whose ttl is over")),
            Ok(false) => {}
            Err(error) => progress.note(&format!("cannot remove {path}: {}", clean(&error.to_string(), 300))),
        }
    }
}

/// Removes a state directory, unless its run goes on.
async fn remove(state: &StateDir) -> Result<bool, RemoveError> {
    let run = match Run::open_stored(state.path()).await {
        // A process holds it.
        Err(RunError::State(braid_apiserver::BuildError::Locked { .. })) => return Ok(false),
        opened => opened?,
    };
    let found = run.find_workflow().await;
    let over = found.as_ref().is_ok_and(|found| {
        let ended = |workflow: &Workflow| kept_until(workflow).is_some() && !workflow.wants_retry();
        found.as_ref().is_some_and(ended)
    });
    run.close().await?;
    found?;
    if !over {
        return Ok(false);
    }
    let path = state.path().to_owned();
    fs::remove_dir_all(&path).map_err(|source| RemoveError::Io { path, source })?;
    Ok(true)
}

/// Why an ended run cannot be removed.
#[derive(Debug, thiserror::Error)]
enum RemoveError {
    /// It cannot be read.
    #[error(transparent)]
    Run(#[from] RunError),
    /// The file system.
    #[error("{}: {source}", path.display())]
    Io {
        /// What.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
}
