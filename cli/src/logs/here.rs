//! What user code printed on this machine: from the run's state directory, also while it runs.

use std::{path::Path, time::Duration};

use braid_crds::Workflow;
use braid_worker::runner::logs::LogReader;

use super::{Style, filter, steps};
use crate::{
    args::LogsArgs,
    exit::{Exit, Failure},
    out::{self, Reader},
    runs::{Run, RunError},
};

/// How often a follower looks for more.
const FOLLOW: Duration = Duration::from_millis(200);

/// Prints logs: first what is there, then with `-f` what comes, until the run ends.
pub async fn logs(args: &LogsArgs, run: Run) -> Result<Exit, Failure> {
    let workflow = run.workflow().await;
    let (directory, mut alive) = (run.state.path().to_owned(), run.is_running());
    let logs = run.state.logs();
    // A run that is only stored is let go, so that it can be started meanwhile.
    run.close().await?;
    let mut printer = Printer::new(args, &workflow?, &logs)?;
    loop {
        // Asked before reading, so that what was written before the end is read after it.
        if args.follow && alive {
            alive = still_going(&directory).await?;
        }
        let printed = printer.print_all()?;
        match printed {
            Printed::Gone => return Ok(Exit::Succeeded),
            Printed::Nothing if !(args.follow && alive) => return Ok(Exit::Succeeded),
            Printed::Nothing => tokio::time::sleep(FOLLOW).await,
            Printed::Some => {}
        }
    }
}

/// Whether a process runs it and it has not ended.
async fn still_going(directory: &Path) -> Result<bool, Failure> {
    let run = match Run::open(directory).await {
        Ok(run) => run,
        // It is just ending: what it leaves is read.
        Err(RunError::Busy { .. }) => return Ok(true),
        Err(error) => return Err(error.into()),
    };
    let running = run.is_running();
    let ended = run.find_workflow().await.map(|found| {
        found
            .and_then(|workflow| workflow.status)
            .is_some_and(|status| status.phase.is_terminal())
    });
    run.close().await?;
    Ok(running && !ended.unwrap_or(true))
}

#[derive(PartialEq, Eq)]
enum Printed {
    Some,
    Nothing,
    Gone,
}

struct Printer {
    readers: Vec<(String, LogReader)>,
    style: Style,
}

impl Printer {
    fn new(args: &LogsArgs, workflow: &Workflow, logs: &Path) -> Result<Self, Failure> {
        let readers = steps(args, workflow)?
            .into_iter()
            .map(|step| (step.to_owned(), LogReader::new(logs, step, filter(args))))
            .collect();
        Ok(Self {
            readers,
            style: Style::of_stdout(),
        })
    }

    fn print_all(&mut self) -> Result<Printed, Failure> {
        let mut printed = Printed::Nothing;
        for (step, reader) in &mut self.readers {
            let records = reader
                .next_batch()
                .map_err(|error| Failure::unreachable(error).doing(format!("cannot read the log of {step}")))?;
            if records.is_empty() {
                continue;
            }
            let lines: Vec<String> = records.iter().map(|record| self.style.line(step, record)).collect();
            if out::lines(&lines)? == Reader::Gone {
                return Ok(Printed::Gone);
            }
            printed = Printed::Some;
        }
        Ok(printed)
    }
}
