//! `braid suspend`, `resume`, `cancel`: one field of a run's spec.

use braid_crds::status::Phase;
use kube::ResourceExt as _;
use serde_json::{Value, json};

use crate::{
    args::Target,
    exit::{Exit, Failure},
    out,
    runs::{self, Run},
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
            Self::Cancel => json!({"spec": {"cancel": true}}),
        }
    }

    /// What happens now to a run that goes on, and later to one that does not.
    fn told(self) -> (&'static str, &'static str) {
        match self {
            Self::Suspend => (
                "suspended: what runs is being finished; `braid resume` goes on",
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
    let run = runs::find(target).await?;
    let done = apply(&run, change).await;
    run.close().await?;
    out::lines(&[done?])?;
    Ok(Exit::Succeeded)
}

async fn apply(run: &Run, change: Change) -> Result<String, Failure> {
    let workflow = run.workflow().await?;
    let name = workflow.name_any();
    let phase = workflow.status.as_ref().map(|status| status.phase).unwrap_or_default();
    if phase.is_terminal() {
        return Err(Failure::usage(format!("{name} has ended: {phase:?}")));
    }
    if workflow.spec.cancel && change != Change::Cancel && phase != Phase::Cancelled {
        return Err(Failure::usage(format!(
            "{name} is being cancelled, which cannot be taken back"
        )));
    }
    run.patch(&name, &change.patch()).await?;
    let (now, later) = change.told();
    Ok(if run.is_running() {
        format!("{name} {now}")
    } else {
        format!(
            "{name} is not running; it {later}: braid run FILE --state {}",
            run.state.path().display()
        )
    })
}
