//! What tests and measurements of whole runs share: making workflows, waiting for them, and being one's own shim.
//!
//! Everything goes through `kube::Client`, as a user's tools would.

use std::{io, process::ExitCode, time::Duration};

use braid_crds::{
    Workflow, WorkflowSpec,
    status::{Phase, StepStatus},
};
use braid_worker::{runner::ShimCommand, shim};
use kube::{Api, Client, ResourceExt as _, api::PostParams, runtime::wait};
use serde_json::Value;

/// The pause before a watch that failed is begun again.
const AGAIN: Duration = Duration::from_millis(50);

/// Why a run was not seen through.
#[derive(Debug, thiserror::Error)]
pub enum KitError {
    /// The spec is not one.
    #[error("the workflow {name} cannot be read: {source}")]
    Spec {
        /// Which.
        name: String,
        /// Why.
        source: serde_json::Error,
    },
    /// The API server.
    #[error(transparent)]
    Api(#[from] kube::Error),
    /// It did not come to what was waited for.
    #[error("{name} did not get there within {patience:?}; its status: {status}")]
    Late {
        /// Which.
        name: String,
        /// For how long it was waited.
        patience: Duration,
        /// Where it is.
        status: String,
    },
    /// The object is gone.
    #[error("{0} is gone")]
    Gone(String),
    /// The status has no such step.
    #[error("{workflow} has no step {step} in its status")]
    NoStep {
        /// Of which run.
        workflow: String,
        /// Which.
        step: String,
    },
}

/// A workflow of that name and spec.
pub fn workflow(name: &str, spec: Value) -> Result<Workflow, KitError> {
    let spec: WorkflowSpec = serde_json::from_value(spec).map_err(|source| KitError::Spec {
        name: name.to_owned(),
        source,
    })?;
    Ok(Workflow::new(name, spec))
}

/// Creates a workflow of that name and spec.
pub async fn submit(client: &Client, name: &str, spec: Value) -> Result<Workflow, KitError> {
    let api: Api<Workflow> = Api::default_namespaced(client.clone());
    Ok(api.create(&PostParams::default(), &workflow(name, spec)?).await?)
}

/// Waits until `holds` of the run, and returns it as it was then. An API server that refuses or is away is asked again.
pub async fn until(
    client: &Client,
    name: &str,
    patience: Duration,
    holds: impl Fn(&Workflow) -> bool,
) -> Result<Workflow, KitError> {
    let api: Api<Workflow> = Api::default_namespaced(client.clone());
    let waiting = async {
        loop {
            let condition = |seen: Option<&Workflow>| seen.is_some_and(&holds);
            match wait::await_condition(api.clone(), name, condition).await {
                Ok(seen) => return seen,
                Err(_) => tokio::time::sleep(AGAIN).await,
            }
        }
    };
    match tokio::time::timeout(patience, waiting).await {
        Ok(seen) => seen.ok_or_else(|| KitError::Gone(name.to_owned())),
        Err(_) => Err(KitError::Late {
            name: name.to_owned(),
            patience,
            status: serde_json::to_string(&api.get(name).await?.status).unwrap_or_default(),
        }),
    }
}

/// Waits until the run has ended, however.
pub async fn ended(client: &Client, name: &str, patience: Duration) -> Result<Workflow, KitError> {
    until(client, name, patience, |seen| phase(seen).is_terminal()).await
}

/// Where a run is.
pub fn phase(workflow: &Workflow) -> Phase {
    workflow.status.as_ref().map(|status| status.phase).unwrap_or_default()
}

/// The record of a step.
pub fn step<'a>(workflow: &'a Workflow, name: &str) -> Result<&'a StepStatus, KitError> {
    let mut steps = workflow.status.iter().flat_map(|status| &status.steps);
    steps.find(|step| step.name == name).ok_or_else(|| KitError::NoStep {
        workflow: workflow.name_any(),
        step: name.to_owned(),
    })
}

/// The folded value of a result; `Null` where nothing was given.
pub fn value(step: &StepStatus, result: &str) -> Value {
    let found = step.results.iter().find(|found| found.name == result);
    found.and_then(|found| found.value.clone()).unwrap_or_default()
}

/// How the running program starts itself as a shim: see [`as_shim`].
pub fn own_shim() -> io::Result<ShimCommand> {
    Ok(ShimCommand {
        program: std::env::current_exe()?,
        args: vec!["shim".into()],
    })
}

/// To be called first in `main`: if this process was started by [`own_shim`], it is one, until its end.
pub fn as_shim() -> Option<ExitCode> {
    if std::env::args_os().nth(1).is_none_or(|first| first != "shim") {
        return None;
    }
    Some(shim::Config::from_stdin().map_or(ExitCode::from(2), shim::main))
}
