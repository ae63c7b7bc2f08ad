//! Runs on this machine: found by name or directory, and opened.
//!
//! A run that goes on is reached over its control socket; any other is read from its state directory, by an API server of our
//! own that holds the directory for as long. Both are a `kube::Client`, so what is done with a run is the same code.

use std::{future::Future, path::Path, time::Duration};

use braid_apiserver::{ApiServer, BuildError};
use braid_crds::{Plan, Workflow};
use braid_engine::suggest::nearest;
use braid_local::{NAMESPACE, StateDir, StateError, control};
use kube::{
    Api, Client, ResourceExt as _,
    api::{ListParams, Patch, PatchParams},
};
use serde_json::Value;

use crate::exit::{Exit, Failure};

/// How long one request may take.
const CALL: Duration = Duration::from_secs(10);
/// How often, and how long apart, a directory is tried again that another command may be reading.
pub const TRIES: (u32, Duration) = (10, Duration::from_millis(100));

/// Why a run cannot be opened or asked.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// No such directory.
    #[error("there is no run in {0}")]
    NoState(std::path::PathBuf),
    /// A process holds the state and does not answer.
    #[error("process {holder} holds the state in {path} and does not answer: it is starting, ending or stopped")]
    Busy {
        /// The directory.
        path: std::path::PathBuf,
        /// The process.
        holder: String,
    },
    /// The state cannot be read.
    #[error(transparent)]
    State(#[from] BuildError),
    /// The directory.
    #[error(transparent)]
    Directory(#[from] StateError),
    /// The API.
    #[error("the run's API: {0}")]
    Api(#[from] kube::Error),
    /// The API does not answer.
    #[error("the run's API has not answered for {}s", CALL.as_secs())]
    Silent,
    /// No object.
    #[error("the state in {0} has no workflow: its run was stopped before it began")]
    Empty(std::path::PathBuf),
}

impl From<RunError> for Failure {
    fn from(error: RunError) -> Self {
        let exit = match &error {
            RunError::NoState(_) => Exit::Usage,
            _ => Exit::Unreachable,
        };
        Self::new(exit, error)
    }
}

/// Waits for an answer, for so long.
pub async fn call<T>(request: impl Future<Output = Result<T, kube::Error>>) -> Result<T, RunError> {
    match tokio::time::timeout(CALL, request).await {
        Ok(answer) => Ok(answer?),
        Err(_) => Err(RunError::Silent),
    }
}

/// An open run.
pub struct Run {
    /// Where its state is.
    pub state: StateDir,
    client: Client,
    stored: Option<ApiServer>,
}

impl Run {
    /// Opens the run whose state is in this directory, running or not.
    pub async fn open(directory: &Path) -> Result<Self, RunError> {
        let state = existing(directory)?;
        let mut tries = TRIES.0;
        loop {
            if let Some(client) = live(&state).await {
                return Ok(Self {
                    state,
                    client,
                    stored: None,
                });
            }
            match Self::stored(state.clone()).await {
                Err(RunError::State(BuildError::Locked { holder, path })) => {
                    tries -= 1;
                    if tries == 0 {
                        return Err(RunError::Busy { path, holder });
                    }
                    tokio::time::sleep(TRIES.1).await;
                }
                other => return other,
            }
        }
    }

    /// Opens the run in this directory if it is not running. Holds the directory until it is closed.
    pub async fn open_stored(directory: &Path) -> Result<Self, RunError> {
        let state = existing(directory)?;
        let mut tries = TRIES.0;
        loop {
            match Self::stored(state.clone()).await {
                Err(RunError::State(BuildError::Locked { .. })) if tries > 1 && live(&state).await.is_none() => {
                    tries -= 1;
                    tokio::time::sleep(TRIES.1).await;
                }
                other => return other,
            }
        }
    }

    async fn stored(state: StateDir) -> Result<Self, RunError> {
        let server = ApiServer::builder()
            .crds(braid_crds::definitions())
            .state_dir(Some(state.api()))
            .build()
            .await?;
        Ok(Self {
            state,
            client: server.client(NAMESPACE),
            stored: Some(server),
        })
    }

    /// Whether a process runs it.
    pub fn is_running(&self) -> bool {
        self.stored.is_none()
    }

    /// Its workflows.
    pub fn api(&self) -> Api<Workflow> {
        Api::namespaced(self.client.clone(), NAMESPACE)
    }

    /// The pieces of its plans.
    pub fn plans(&self) -> Api<Plan> {
        Api::namespaced(self.client.clone(), NAMESPACE)
    }

    /// Its workflow: there is one in a state directory, or none yet.
    pub async fn find_workflow(&self) -> Result<Option<Workflow>, RunError> {
        let api = self.api();
        let listed = call(api.list(&ListParams::default())).await?;
        Ok(listed.items.into_iter().next())
    }

    /// Its workflow.
    pub async fn workflow(&self) -> Result<Workflow, RunError> {
        let found = self.find_workflow().await?;
        found.ok_or_else(|| RunError::Empty(self.state.path().to_owned()))
    }

    /// Changes the workflow.
    pub async fn patch(&self, name: &str, change: &Value) -> Result<Workflow, RunError> {
        let api = self.api();
        call(api.patch(name, &PatchParams::default(), &Patch::Merge(change))).await
    }

    /// Lets the state go.
    pub async fn close(self) -> Result<(), RunError> {
        match self.stored {
            Some(server) => Ok(server.shutdown().await?),
            None => Ok(()),
        }
    }
}

async fn live(state: &StateDir) -> Option<Client> {
    match control::connect(state.path(), NAMESPACE).await {
        Ok(client) => Some(client),
        Err(error) => {
            tracing::debug!(%error, "not running");
            None
        }
    }
}

/// The state directory, if it is one: reading makes none.
fn existing(directory: &Path) -> Result<StateDir, RunError> {
    if directory.join("api").is_dir() {
        Ok(StateDir::at(directory)?)
    } else {
        Err(RunError::NoState(directory.to_owned()))
    }
}

/// The state directories of a workflow, the youngest first; or the one of that name.
pub fn of_workflow(name: &str) -> Result<Vec<StateDir>, StateError> {
    let mut all = StateDir::all()?;
    all.retain(|state| directory_name(state) == name || workflow_name(directory_name(state)) == Some(name));
    Ok(all)
}

fn directory_name(state: &StateDir) -> &str {
    let name = state.path().file_name().and_then(|name| name.to_str());
    name.unwrap_or_default()
}

/// The workflow in the name of a state directory.
fn workflow_name(directory: &str) -> Option<&str> {
    let (name, id) = directory.rsplit_once('-')?;
    let hex = id.len() == 8 && id.bytes().all(|byte| byte.is_ascii_hexdigit());
    hex.then_some(name)
}

/// The run that is meant: the one in the directory `state`, else the running one of that name, else the youngest.
pub async fn find(name: Option<&str>, state: Option<&Path>) -> Result<Run, Failure> {
    if let Some(directory) = state {
        let run = Run::open(directory).await?;
        if let Some(name) = name {
            let found = run.workflow().await?.name_any();
            if found != name {
                run.close().await?;
                return Err(Failure::usage(format!(
                    "the state in {} is of {found}, not of {name}",
                    directory.display()
                )));
            }
        }
        return Ok(run);
    }
    let name = name.unwrap_or_default();
    let found = of_workflow(name).map_err(Failure::unreachable)?;
    let mut chosen = None;
    for state in &found {
        if live(state).await.is_some() {
            chosen = Some(state);
            break;
        }
    }
    match chosen.or(found.first()) {
        Some(state) => Ok(Run::open(state.path()).await?),
        None => Err(unknown(name)),
    }
}

fn unknown(name: &str) -> Failure {
    let all = StateDir::all().unwrap_or_default();
    let names = all.iter().filter_map(|state| workflow_name(directory_name(state)));
    let failure = Failure::usage(format!("there is no run of {name:?} on this machine"));
    match nearest(name, names) {
        Some(meant) => failure.help(format!("did you mean {meant:?}?")),
        None => failure.help(
            "`braid ls --local` lists all runs here, one with --state DIR is found by --state DIR; a run in a cluster by -n NAMESPACE",
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn directories_are_named_after_their_workflow() {
        assert_eq!(Some("a-b"), workflow_name("a-b-0123abcd"));
        assert_eq!(None, workflow_name("a-b"));
        assert_eq!(None, workflow_name("plain"));
    }
}
