//! `braid watch` and `braid wait`: a run, until it has ended or done what is waited for.

use std::{path::Path, time::Duration};

use braid_crds::Workflow;
use jiff::Timestamp;
use kube::ResourceExt as _;

use crate::{
    args::{Event, ProgressKind, RunOutput, Target, WaitArgs, WatchArgs},
    attend::{self, Ended, Feed, Wanted, attend},
    exit::{Exit, Failure},
    out,
    place::{self, Found, Remote},
    program,
    progress::{self, Progress},
    run::{Signals, exit_of, quoted},
    summary::{self, Place},
    text::{Tint, clean},
    timeline::Recorder,
};

/// A run to attend to.
pub struct Subject {
    /// How it is named in suggested commands.
    named: String,
    feed: Feed,
}

impl Subject {
    /// A run in a cluster as it was read, this object and no other.
    pub fn there(remote: &Remote, workflow: &Workflow) -> Self {
        Self {
            named: remote.named(),
            feed: attend::there(remote, workflow.uid().unwrap_or_default()),
        }
    }

    /// The run that was found.
    async fn of(found: Found, target: &Target) -> Result<Self, Failure> {
        match found {
            Found::Here(run) => {
                let directory = run.state.path().to_owned();
                let name = run.workflow().await.map(|workflow| workflow.name_any());
                run.close().await?;
                let named = match &target.place.state {
                    Some(given) => format!("--state {}", quoted(&given.to_string_lossy())),
                    None => name?,
                };
                Ok(Self {
                    named,
                    feed: attend::here(directory),
                })
            }
            Found::There(remote) => {
                let workflow = remote.workflow().await?;
                Ok(Self::there(&remote, &workflow))
            }
        }
    }

    /// Shows how it goes on until it ends, then prints what it has come to, if `output` says how.
    pub async fn watch(
        self,
        timeout: Option<Duration>,
        output: Option<RunOutput>,
        kind: ProgressKind,
        signals: Signals,
    ) -> Result<(Exit, Option<Box<Workflow>>), Failure> {
        let mut progress = Progress::new(kind);
        let wanted = Wanted {
            event: Event::Finished,
            timeout,
            not_for_people: false,
        };
        let ended = Box::pin(attend(self.feed, wanted, signals, Some(&mut progress))).await;
        let over = matches!(ended, Ok(Ended::Reached(_) | Ended::Over(_)));
        progress.finish(over && output == Some(RunOutput::Table));
        match ended? {
            Ended::Reached(workflow) | Ended::Over(workflow) => {
                match output {
                    None => {}
                    Some(RunOutput::Json) => drop(out::json(&summary::document(&workflow))?),
                    Some(RunOutput::Table) => {
                        let place = Place {
                            running: true,
                            name: &self.named,
                        };
                        let tint = Tint::of(&std::io::stdout());
                        out::lines(&summary::lines(&workflow, place, Timestamp::now(), tint))?;
                    }
                }
                Ok((exit_of(&workflow), Some(workflow)))
            }
            other => {
                let exit = unfinished(&other, &self.named, timeout);
                Ok((exit, other.into_workflow()))
            }
        }
    }

    /// Waits, and tells on one line what has become of it.
    pub async fn wait(self, wanted: Wanted, signals: Signals) -> Result<(Exit, Option<Box<Workflow>>), Failure> {
        match Box::pin(attend(self.feed, wanted, signals, None)).await? {
            Ended::Reached(workflow) if wanted.event == Event::Finished => Ok((exit_of(&workflow), Some(workflow))),
            Ended::Reached(workflow) => Ok((Exit::Succeeded, Some(workflow))),
            Ended::Over(workflow) => {
                let exit = match exit_of(&workflow) {
                    Exit::Succeeded => Exit::Failed,
                    other => other,
                };
                progress::say("braid: the run has ended before that");
                Ok((exit, Some(workflow)))
            }
            Ended::Gone if wanted.event == Event::Deleted => Ok((Exit::Succeeded, None)),
            other => {
                let exit = unfinished(&other, &self.named, wanted.timeout);
                Ok((exit, other.into_workflow()))
            }
        }
    }
}

/// Says why nothing more is waited for.
fn unfinished(ended: &Ended, named: &str, timeout: Option<Duration>) -> Exit {
    let name = program::name();
    let (exit, told) = match ended {
        Ended::NeedsPerson(_) => (
            Exit::NeedsPerson,
            format!("the run waits for somebody: {name} get {named}"),
        ),
        Ended::Interrupted => (Exit::Interrupted, format!("the run goes on: {name} watch {named}")),
        Ended::Gone => (Exit::Unreachable, "the run was deleted".to_owned()),
        // The others are not unfinished.
        Ended::TimedOut | Ended::Reached(_) | Ended::Over(_) => (
            Exit::TimedOut,
            format!(
                "not in {:?}; the run goes on: {name} watch {named}",
                timeout.unwrap_or_default()
            ),
        ),
    };
    progress::say(&format!("braid: {told}"));
    exit
}

/// `braid watch`.
pub async fn watch(args: &WatchArgs) -> Result<Exit, Failure> {
    let signals = Signals::new().map_err(Failure::unreachable)?;
    let found = place::find(args.target.name.as_deref(), &args.target.place).await?;
    let recorder = match &args.timeline {
        Some(path) => Some(recorder(&found, path).await?),
        None => None,
    };
    let subject = Subject::of(found, &args.target).await?;
    let timeout = args.timeout.as_ref().map(braid_crds::Duration::get);
    let watched = subject.watch(timeout, Some(args.output), args.progress, signals).await;
    if let Some(recorder) = recorder {
        let last = watched.as_ref().ok().and_then(|(_, workflow)| workflow.as_deref());
        if let Err(error) = recorder.finish(last).await {
            progress::say(&format!(
                "braid: the timeline has a hole: {}",
                clean(&error.to_string(), 300)
            ));
        }
    }
    Ok(watched?.0)
}

/// Notes what happens to a run in a cluster.
async fn recorder(found: &Found, path: &Path) -> Result<Recorder, Failure> {
    match found {
        Found::Here(run) => Err(
            Failure::usage("a run on this machine keeps its timeline itself").help(format!(
                "`braid report --state {}` shows it",
                quoted(&run.state.path().to_string_lossy())
            )),
        ),
        Found::There(remote) => {
            let workflow = remote.workflow().await?;
            Ok(Recorder::start(path.to_owned(), &remote.cluster.client(), &workflow))
        }
    }
}

/// `braid wait`.
pub async fn wait(args: &WaitArgs) -> Result<Exit, Failure> {
    let signals = Signals::new().map_err(Failure::unreachable)?;
    let wanted = Wanted {
        event: args.event,
        timeout: args.timeout.as_ref().map(braid_crds::Duration::get),
        not_for_people: args.no_wait_human,
    };
    let found = place::find(args.target.name.as_deref(), &args.target.place).await?;
    if let (Found::There(remote), Event::Deleted) = (&found, args.event)
        && remote.find_workflow().await?.is_none()
    {
        return Ok(Exit::Succeeded);
    }
    let subject = Subject::of(found, &args.target).await?;
    let (exit, workflow) = subject.wait(wanted, signals).await?;
    if let Some(workflow) = workflow {
        out::lines(&[line(&workflow)])?;
    }
    Ok(exit)
}

/// `NAME: Failed, work: exit 7`
pub fn line(workflow: &Workflow) -> String {
    let status = workflow.status.clone().unwrap_or_default();
    let mut line = format!("{}: {:?}", workflow.name_any(), status.phase);
    let message = status.summary.map(|summary| summary.message).unwrap_or_default();
    if !message.is_empty() {
        line.extend([", ", &clean(&message, 300)]);
    }
    line
}
