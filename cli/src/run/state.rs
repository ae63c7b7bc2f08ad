//! Which state directory a run has, and what of a stored run may be gone on with.

use std::path::Path;

use braid_crds::{Workflow, WorkflowSpec};
use braid_local::StateDir;
use kube::ResourceExt as _;
use serde_json::{Map, Value, json};

use super::INTERRUPTED;
use crate::{
    args::RunArgs,
    change::next_resume,
    exit::Failure,
    runs::{Run, RunError, of_workflow},
};

/// Where a run's state is, and what is there already.
#[derive(Debug)]
pub enum Chosen {
    /// Nothing.
    Fresh(StateDir),
    /// A run that has not ended.
    Unfinished(StateDir, Box<Workflow>),
    /// A run that has.
    Finished(StateDir, Box<Workflow>),
}

impl Chosen {
    /// The directory.
    pub fn state(&self) -> &StateDir {
        match self {
            Self::Fresh(state) | Self::Unfinished(state, _) | Self::Finished(state, _) => state,
        }
    }

    /// The run that is there.
    pub fn stored(&self) -> Option<&Workflow> {
        match self {
            Self::Fresh(_) => None,
            Self::Unfinished(_, stored) | Self::Finished(_, stored) => Some(stored),
        }
    }
}

/// Chooses: a new directory, the one that is named, or with `--resume` the youngest with an unfinished run.
pub async fn choose(args: &RunArgs, workflow: &Workflow) -> Result<Chosen, Failure> {
    let name = workflow.name_any();
    if args.resume {
        for state in of_workflow(&name).map_err(Failure::unreachable)? {
            match look(&state).await {
                Ok(Some(stored)) if !is_finished(&stored) => {
                    fits(&stored, workflow, state.path())?;
                    return Ok(Chosen::Unfinished(state, Box::new(stored)));
                }
                // It has ended, or goes on already in another process.
                Ok(_) | Err(RunError::State(braid_apiserver::BuildError::Locked { .. })) => {}
                Err(error) => return Err(error.into()),
            }
        }
        return Err(
            Failure::usage(format!("there is no unfinished run of {name} that could go on"))
                .help("`braid ls` lists all runs; a run with --state DIR goes on with --state DIR"),
        );
    }
    let Some(directory) = &args.state else {
        return Ok(Chosen::Fresh(StateDir::fresh(&name).map_err(Failure::unreachable)?));
    };
    let state = StateDir::at(directory).map_err(Failure::unreachable)?;
    match look(&state).await? {
        None => Ok(Chosen::Fresh(state)),
        Some(stored) => {
            fits(&stored, workflow, state.path())?;
            Ok(if is_finished(&stored) {
                Chosen::Finished(state, Box::new(stored))
            } else {
                Chosen::Unfinished(state, Box::new(stored))
            })
        }
    }
}

async fn look(state: &StateDir) -> Result<Option<Workflow>, RunError> {
    let run = Run::open_stored(state.path()).await?;
    let found = run.find_workflow().await;
    run.close().await?;
    found
}

fn is_finished(workflow: &Workflow) -> bool {
    workflow
        .status
        .as_ref()
        .is_some_and(|status| status.phase.is_terminal())
}

/// Refuses to go on with another workflow than was begun.
fn fits(stored: &Workflow, given: &Workflow, directory: &Path) -> Result<(), Failure> {
    let refuse = |what: String| {
        Err(Failure::usage(format!(
            "the state in {} is of another run: {what}",
            directory.display()
        ))
        .help("choose another --state DIR for this one, or give the file and params that it was begun with"))
    };
    let (there, here) = (stored.name_any(), given.name_any());
    if there != here {
        return refuse(format!("its workflow is {there}, not {here}"));
    }
    match difference(&stored.spec, &given.spec) {
        Some(difference) => refuse(difference),
        None => Ok(()),
    }
}

/// Where two specs differ, of what may not change.
fn difference(stored: &WorkflowSpec, given: &WorkflowSpec) -> Option<String> {
    for param in &given.params {
        let before = stored.params.iter().find(|before| before.name == param.name);
        if let Some(before) = before.filter(|before| before.value != param.value || before.default != param.default) {
            let text = |param: &braid_crds::workflow::Param| {
                let value = param.value.as_ref().or(param.default.as_ref());
                value.map(ToString::to_string).unwrap_or_default()
            };
            let (before, now) = (text(before), text(param));
            if before != now {
                return Some(format!("param {} was {before} and is {now}", param.name));
            }
        }
    }
    let part = |what: &str, same: bool| (!same).then(|| format!("its {what} differ"));
    part("params", stored.params == given.params)
        .or_else(|| part("data", stored.data == given.data))
        .or_else(|| part("outputs", stored.outputs == given.outputs))
        .or_else(|| part("time-outs", stored.timeout == given.timeout))
        .or_else(|| {
            let names = |spec: &WorkflowSpec| -> Vec<String> {
                let mut names: Vec<String> = spec.steps.iter().map(|step| step.name.clone()).collect();
                names.sort();
                names
            };
            part("steps", names(stored) == names(given))
        })
        .or_else(|| {
            given.steps.iter().find_map(|step| {
                let before = stored.steps.iter().find(|before| before.name == step.name)?;
                let mut before = before.clone();
                before.max_failed_partitions.clone_from(&step.max_failed_partitions);
                (before != *step).then(|| format!("its step {} differs", step.name))
            })
        })
}

/// The change that makes a stored run go on: an interrupt's suspend is taken back (with `force` any suspend), and what may change
/// of a spec becomes what is given.
pub fn renewal(stored: &Workflow, given: &Workflow, force: bool) -> Value {
    let mut steps = stored.spec.steps.clone();
    for step in &mut steps {
        if let Some(given) = given.spec.steps.iter().find(|given| given.name == step.name) {
            step.max_failed_partitions.clone_from(&given.max_failed_partitions);
        }
    }
    let (mut spec, mut metadata) = (Map::new(), Map::new());
    if let Some(resume) = next_resume(stored).filter(|_| force) {
        spec.insert("resume".to_owned(), json!(resume));
    }
    if steps != stored.spec.steps {
        spec.insert("steps".to_owned(), json!(steps));
    }
    if force || stored.annotations().contains_key(INTERRUPTED) {
        metadata.insert("annotations".to_owned(), json!({INTERRUPTED: null}));
        spec.insert("suspend".to_owned(), json!(given.spec.suspend));
    }
    json!({"metadata": metadata, "spec": spec})
}

#[cfg(test)]
mod tests;
