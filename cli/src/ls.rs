//! `braid ls`: the runs on this machine.

use std::path::PathBuf;

use braid_crds::{Workflow, status::Phase};
use braid_local::StateDir;
use jiff::Timestamp;
use kube::ResourceExt as _;
use serde_json::{Value, json};

use crate::{
    args::{LsArgs, LsOutput},
    exit::{Exit, Failure},
    out,
    runs::{Run, RunError},
    summary::{colour, phase_text, time_of},
    text::{Align, Colour, Table, Tint, clean, clock, count},
};

/// A run, or why it cannot be read.
struct Listed {
    directory: PathBuf,
    read: Result<(Workflow, bool), RunError>,
}

/// Lists runs. One that cannot be read is listed with the reason.
pub async fn ls(args: &LsArgs) -> Result<Exit, Failure> {
    let mut directories: Vec<PathBuf> = StateDir::all()
        .map_err(Failure::unreachable)?
        .iter()
        .map(|state| state.path().to_owned())
        .collect();
    if let Some(directory) = &args.state {
        let directory = directory.canonicalize().unwrap_or_else(|_| directory.clone());
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
    let unread = runs.iter().any(|run| run.read.is_err());
    match args.output {
        LsOutput::Json => out::json(&runs.iter().map(document).collect::<Vec<_>>())?,
        LsOutput::Table => out::lines(&table(&runs, Tint::of(&std::io::stdout())))?,
    };
    Ok(if unread { Exit::Unreachable } else { Exit::Succeeded })
}

async fn read(directory: &std::path::Path) -> Result<(Workflow, bool), RunError> {
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

fn totals(workflow: &Workflow) -> Value {
    let (total, succeeded, failed) = sums(workflow);
    json!({"total": total, "succeeded": succeeded, "failed": failed})
}

fn sums(workflow: &Workflow) -> (u64, u64, u64) {
    let steps = workflow.status.iter().flat_map(|status| &status.steps);
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
        let (total, succeeded, failed) = sums(workflow);
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
