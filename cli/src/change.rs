//! `braid suspend`, `resume`, `cancel`: one field of a run's spec.

use braid_crds::Workflow;
use kube::ResourceExt as _;
use serde_json::{Value, json};

use crate::{
    args::Target,
    exit::{Exit, Failure},
    out,
    place::{self, Found},
    program,
    run::{self, How},
    runs::Run,
};

/// What is asked of a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// Hand out no more work.
    Suspend,
    /// Go on.
    Resume,
    /// Stop for good.
    Cancel,
}

impl Change {
    fn patch(self, workflow: &Workflow) -> Value {
        // Who suspends a run by hand means it: the next start does not take it back.
        let annotations = json!({"annotations": {crate::run::INTERRUPTED: null}});
        match self {
            Self::Suspend => json!({"metadata": annotations, "spec": {"suspend": true}}),
            Self::Resume => {
                let mut spec = json!({"suspend": false});
                if let (Some(resume), Some(spec)) = (next_resume(workflow), spec.as_object_mut()) {
                    spec.insert("resume".to_owned(), resume.into());
                }
                json!({"metadata": annotations, "spec": spec})
            }
            Self::Cancel => json!({"metadata": {}, "spec": {"cancel": true}}),
        }
    }

    /// Whether the run is one that it can be asked of.
    fn fits(self, workflow: &Workflow) -> Result<(), Failure> {
        let name = workflow.name_any();
        let phase = workflow.status.as_ref().map(|status| status.phase).unwrap_or_default();
        if phase.is_terminal() {
            return Err(Failure::usage(format!("{name} has ended: {phase:?}")));
        }
        if workflow.spec.cancel && self != Self::Cancel {
            return Err(Failure::usage(format!(
                "{name} is being cancelled, which cannot be taken back"
            )));
        }
        Ok(())
    }

    /// What happens now to a run that goes on, and later to one that does not.
    fn told(self) -> (&'static str, &'static str) {
        match self {
            Self::Suspend => (
                "suspended: what runs is being finished; `resume` goes on",
                "will be suspended when it is started",
            ),
            Self::Resume => ("goes on", "will go on when it is started"),
            Self::Cancel => (
                "cancelled: what runs is being terminated, what was settled is counted",
                "will be cancelled when it is started",
            ),
        }
    }
}

/// The `spec.resume` that goes on with a run whose failures have paused it.
pub fn next_resume(workflow: &Workflow) -> Option<i32> {
    let status = workflow.status.as_ref()?;
    let paused = status.steps.iter().any(|step| step.paused.is_some());
    paused.then(|| workflow.spec.resume.unwrap_or(0).max(status.resumed).saturating_add(1))
}

/// Changes a run: at once if it goes on, else so that its next start sees it.
pub async fn change(target: &Target, change: Change) -> Result<Exit, Failure> {
    let told = match place::find(target.name.as_deref(), &target.place).await? {
        Found::Here(run) => {
            let workflow = run.workflow().await;
            let goes_on = change == Change::Resume && !run.is_running();
            let done = match workflow {
                // A pause ends the process that runs it: this one takes its place.
                Ok(workflow) if goes_on && next_resume(&workflow).is_some() => {
                    let state = run.state.clone();
                    run.close().await?;
                    change.fits(&workflow)?;
                    let how = How::named(target, &state, &workflow);
                    return run::go_on(&how, &state, &workflow, change.patch(&workflow)).await;
                }
                Ok(workflow) => here(&run, &workflow, change).await,
                Err(error) => Err(error.into()),
            };
            run.close().await?;
            done?
        }
        Found::There(remote) => {
            let workflow = remote.workflow().await?;
            change.fits(&workflow)?;
            // Of this object only: a later one of the same name is another run.
            let mut patch = change.patch(&workflow);
            if let (Some(uid), Some(metadata)) =
                (workflow.uid(), patch.get_mut("metadata").and_then(Value::as_object_mut))
            {
                metadata.insert("uid".to_owned(), uid.into());
            }
            remote.patch(&patch).await?;
            format!("{} {}", workflow.name_any(), change.told().0)
        }
    };
    out::lines(&[told])?;
    Ok(Exit::Succeeded)
}

async fn here(run: &Run, workflow: &Workflow, change: Change) -> Result<String, Failure> {
    change.fits(workflow)?;
    let name = workflow.name_any();
    run.patch(&name, &change.patch(workflow)).await?;
    let (now, later) = change.told();
    Ok(if run.is_running() {
        format!("{name} {now}")
    } else {
        format!(
            "{name} is not running; it {later}: {} run FILE --state {}",
            program::name(),
            run.state.path().display()
        )
    })
}
