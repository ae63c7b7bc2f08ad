//! The runs on this machine.

use std::path::{Path, PathBuf};

use braid_crds::{Workflow, WorkflowStatus, status::Phase};
use braid_local::StateDir;
use jiff::Timestamp;
use kube::ResourceExt as _;
use serde_json::{Value, json};

use crate::{
    exit::{Exit, Failure},
    runs::{Run, RunError},
    summary::{colour, phase_text, qualified, time_of},
    text::{Align, Colour, Table, Tint, clean, clock, count},
};

/// A run, or why it cannot be read.
struct Listed {
    directory: PathBuf,
    read: Result<(Workflow, bool), RunError>,
}

/// The runs on this machine.
pub struct Here(Vec<Listed>);

impl Here {
    /// Reads them; one in `state` is looked at, too.
    pub async fn read(state: Option<&Path>) -> Result<Self, Failure> {
        let mut directories: Vec<PathBuf> = StateDir::all()
            .map_err(Failure::unreachable)?
            .iter()
            .map(|state| state.path().to_owned())
            .collect();
        if let Some(directory) = state {
            let directory = directory.canonicalize().unwrap_or_else(|_| directory.to_owned());
            directories.retain(|known| *known != directory);
            directories.insert(0, directory);
        }
        let mut runs = Vec::new();
        for directory in directories {
            match read(&directory).await {
                // Begun and ended in between, or never begun: there is nothing to tell.
                Err(RunError::Empty(_)) => {}
                read => runs.push(Listed { directory, read }),
            }
        }
        Ok(Self(runs))
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// One that cannot be read is listed, and the list is not whole.
    pub fn exit(&self) -> Exit {
        if self.0.iter().any(|run| run.read.is_err()) {
            Exit::Unreachable
        } else {
            Exit::Succeeded
        }
    }

    /// For programs.
    pub fn documents(&self) -> Vec<Value> {
        self.0.iter().map(document).collect()
    }

    /// The names, as `kubectl` has them.
    pub fn names(&self) -> Vec<String> {
        let read = self.0.iter().filter_map(|run| run.read.as_ref().ok());
        read.map(|(workflow, _)| qualified(workflow)).collect()
    }

    /// For people.
    pub fn lines(&self, tint: Tint) -> Vec<String> {
        table(&self.0, tint)
    }
}

async fn read(directory: &Path) -> Result<(Workflow, bool), RunError> {
    let run = Run::open(directory).await?;
    let running = run.is_running();
    let workflow = run.workflow().await;
    run.close().await?;
    Ok((workflow?, running))
}

fn document(run: &Listed) -> Value {
    let directory = run.directory.to_string_lossy();
    match &run.read {
        Ok((workflow, running)) => {
            let status = workflow.status.clone().unwrap_or_default();
            json!({
                "name": workflow.name_any(),
                "phase": status.phase,
                "running": running,
                "partitions": totals(workflow),
                "startedAt": status.started_at,
                "finishedAt": status.finished_at,
                "state": directory,
            })
        }
        Err(error) => json!({"state": directory, "error": error.to_string()}),
    }
}

/// The partitions of a run.
pub fn totals(workflow: &Workflow) -> Value {
    let (total, succeeded, failed) = sums(workflow.status.as_ref());
    json!({"total": total, "succeeded": succeeded, "failed": failed})
}

/// All partitions of a run, those that succeeded, those that failed.
pub fn sums(status: Option<&WorkflowStatus>) -> (u64, u64, u64) {
    let steps = status.into_iter().flat_map(|status| &status.steps);
    steps.fold((0, 0, 0), |(total, succeeded, failed), step| {
        let counts = &step.partitions;
        (
            counts.total.saturating_add(total),
            counts.succeeded.saturating_add(succeeded),
            counts.failed.saturating_add(failed),
        )
    })
}

fn table(runs: &[Listed], tint: Tint) -> Vec<String> {
    if runs.is_empty() {
        return vec!["no runs on this machine yet: `braid run FILE` makes one".to_owned()];
    }
    let now = Timestamp::now();
    let mut table = Table::new(&[
        Align::Left,
        Align::Left,
        Align::Right,
        Align::Right,
        Align::Right,
        Align::Left,
    ]);
    let heads = ["NAME", "PHASE", "PARTITIONS", "FAILED", "STARTED", "STATE"];
    table.row(heads.map(|head| tint.paint(Colour::Dim, head)));
    let mut notes = Vec::new();
    for run in runs {
        let directory = clean(&run.directory.to_string_lossy(), 200);
        let (workflow, running) = match &run.read {
            Ok(read) => read,
            Err(error) => {
                let unread = tint.paint(Colour::Red, "Unreadable");
                table.row(["?", &unread, "-", "-", "-", &directory]);
                notes.push(format!("{directory}: {}", clean(&error.to_string(), 300)));
                continue;
            }
        };
        let status = workflow.status.clone().unwrap_or_default();
        let (total, succeeded, failed) = sums(workflow.status.as_ref());
        let phase = phase_text(status.phase, *running);
        let shade = if *running || status.phase.is_terminal() {
            colour(status.phase)
        } else {
            colour(Phase::Suspended)
        };
        let mut since = status.clone();
        since.finished_at = None;
        table.row([
            workflow.name_any(),
            tint.paint(shade, &phase),
            format!("{}/{}", count(succeeded.saturating_add(failed)), count(total)),
            count(failed),
            time_of(&since, now).map_or_else(|| "-".to_owned(), |time| format!("{} ago", clock(time))),
            directory,
        ]);
    }
    let mut lines = table.lines("");
    lines.extend(notes);
    lines
}
