//! Attending to a run until something happens to it.

use std::{pin::pin, time::Duration};

use braid_crds::{Workflow, status::Phase};
use futures::StreamExt as _;

use crate::{
    args::Event,
    exit::{Exit, Failure},
    progress::{self, FRAME, Progress},
    run::Signals,
};

mod feed;

pub use feed::{Feed, Sight, here, there};

/// What is waited for.
#[derive(Clone, Copy, Debug)]
pub struct Wanted {
    /// What.
    pub event: Event,
    /// For how long at most.
    pub timeout: Option<Duration>,
    /// A run that waits for a person is not waited for.
    pub not_for_people: bool,
}

/// How attending ended.
#[derive(Debug)]
pub enum Ended {
    /// It has happened.
    Reached(Box<Workflow>),
    /// The run has ended, so it will not happen.
    Over(Box<Workflow>),
    /// The run goes on only if somebody resumes or starts it.
    NeedsPerson(Box<Workflow>),
    /// It has not happened in time.
    TimedOut,
    /// This process was told to end.
    Interrupted,
    /// The run was deleted.
    Gone,
}

impl Ended {
    /// The run as it was seen last, where that is known.
    pub fn into_workflow(self) -> Option<Box<Workflow>> {
        match self {
            Self::Reached(workflow) | Self::Over(workflow) | Self::NeedsPerson(workflow) => Some(workflow),
            Self::TimedOut | Self::Interrupted | Self::Gone => None,
        }
    }
}

/// Attends to a run. What is in the way is told once on standard error, and when it has gone.
pub async fn attend(
    mut feed: Feed,
    wanted: Wanted,
    mut signals: Signals,
    mut progress: Option<&mut Progress>,
) -> Result<Ended, Failure> {
    let mut frames = tokio::time::interval(FRAME);
    frames.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Skip);
    let limit = async {
        match wanted.timeout {
            Some(limit) => tokio::time::sleep(limit).await,
            None => std::future::pending().await,
        }
    };
    let mut limit = pin!(limit);
    let mut troubled = false;
    loop {
        let seen = tokio::select! {
            // What is there is looked at first: a limit of nothing is one look.
            biased;
            seen = feed.next() => seen,
            _ = signals.next() => return Ok(Ended::Interrupted),
            () = &mut limit => return Ok(Ended::TimedOut),
            _ = frames.tick(), if progress.is_some() => {
                if let Some(progress) = progress.as_deref_mut() {
                    progress.tick();
                }
                continue;
            }
        };
        let Some(seen) = seen else {
            return Err(Failure::new(Exit::Internal, "nothing more is heard of the run"));
        };
        let (workflow, idle) = match seen? {
            Sight::Run(workflow) => (workflow, false),
            Sight::Idle(workflow) => (workflow, true),
            Sight::Gone => return Ok(Ended::Gone),
            Sight::Trouble(text) => {
                if !troubled {
                    tell(progress.as_deref(), &format!("{text}; trying again"));
                }
                troubled = true;
                continue;
            }
        };
        if troubled {
            tell(progress.as_deref(), "the run is seen again");
            troubled = false;
        }
        if let Some(progress) = progress.as_deref_mut() {
            progress.update(&workflow);
        }
        if happened(&workflow, wanted.event) {
            return Ok(Ended::Reached(workflow));
        }
        if has_finished(&workflow) && wanted.event != Event::Deleted {
            return Ok(Ended::Over(workflow));
        }
        let stands = matches!(phase(&workflow), Phase::Paused | Phase::Suspended) && !workflow.wants_retry();
        if idle || (wanted.not_for_people && stands) {
            return Ok(Ended::NeedsPerson(workflow));
        }
    }
}

fn tell(progress: Option<&Progress>, text: &str) {
    match progress {
        Some(progress) => progress.note(text),
        None => progress::say(&format!("braid: {}", crate::text::clean(text, 500))),
    }
}

fn phase(workflow: &Workflow) -> Phase {
    workflow.status.as_ref().map(|status| status.phase).unwrap_or_default()
}

/// Whether a condition holds.
fn holds(workflow: &Workflow, kind: &str) -> bool {
    let conditions = workflow.status.iter().flat_map(|status| &status.conditions);
    conditions
        .filter(|condition| condition.type_ == kind)
        .any(|condition| condition.status == "True")
}

/// Whether a run has ended: what machines read is the condition.
pub fn has_finished(workflow: &Workflow) -> bool {
    holds(workflow, "Finished") && !workflow.wants_retry()
}

fn happened(workflow: &Workflow, event: Event) -> bool {
    let status = workflow.status.as_ref();
    match event {
        Event::Accepted => holds(workflow, "Accepted"),
        Event::Started => status.is_some_and(|status| status.steps.iter().any(|step| step.started_at.is_some())),
        // Of the spec as it is: an earlier suspension may have been taken back.
        Event::Suspended => {
            phase(workflow) == Phase::Suspended
                && status.and_then(|status| status.observed_generation) == workflow.metadata.generation
        }
        Event::Finished => has_finished(workflow),
        Event::Deleted => false,
    }
}

#[cfg(test)]
mod tests;
