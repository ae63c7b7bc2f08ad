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
    fn patch(self) -> Value {
        // Who suspends a run by hand means it: the next start does not take it back.
        let annotations = json!({"annotations": {crate::run::INTERRUPTED: null}});
        match self {
            Self::Suspend => json!({"metadata": annotations, "spec": {"suspend": true}}),
            Self::Resume => json!({"metadata": annotations, "spec": {"suspend": false}}),
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

/// Changes a run: at once if it goes on, else so that its next start sees it.
pub async fn change(target: &Target, change: Change) -> Result<Exit, Failure> {
    let told = match place::find(target.name.as_deref(), &target.place).await? {
        Found::Here(run) => {
            let done = here(&run, change).await;
            run.close().await?;
            done?
        }
        Found::There(remote) => {
            let workflow = remote.workflow().await?;
            change.fits(&workflow)?;
            // Of this object only: a later one of the same name is another run.
            let mut patch = change.patch();
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

async fn here(run: &Run, change: Change) -> Result<String, Failure> {
    let workflow = run.workflow().await?;
    change.fits(&workflow)?;
    let name = workflow.name_any();
    run.patch(&name, &change.patch()).await?;
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
