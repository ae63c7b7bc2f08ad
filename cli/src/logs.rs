//! `braid logs`: what user code printed, from the run's state directory, also while it runs.

use std::{io::IsTerminal as _, path::Path, time::Duration};

use braid_crds::Workflow;
use braid_engine::suggest::nearest;
use braid_worker::runner::logs::{Filter, LogReader, LogRecord, Stream};

use crate::{
    args::{LogsArgs, Side},
    exit::{Exit, Failure},
    out::{self, Reader},
    runs::{self, Run, RunError},
    text::{Colour, Tint, clean},
};

/// How often a follower looks for more.
const FOLLOW: Duration = Duration::from_millis(200);
/// A line has at most so many characters; the log keeps fewer.
const LINE: usize = 1 << 20;

/// Prints logs: first what is there, then with `-f` what comes, until the run ends.
pub async fn logs(args: &LogsArgs) -> Result<Exit, Failure> {
    if args.target.place.side() == Side::There {
        return Err(Failure::usage("logs are read on this machine only")
            .help("in a cluster: kubectl logs -l braid.dev/workflow=NAME -c worker"));
    }
    let run = runs::find(args.target.name.as_deref(), args.target.place.state.as_deref()).await?;
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
    tint: Tint,
    terminal: bool,
}

impl Printer {
    fn new(args: &LogsArgs, workflow: &Workflow, logs: &Path) -> Result<Self, Failure> {
        let names = || workflow.spec.steps.iter().map(|step| step.name.as_str());
        let steps: Vec<&str> = match &args.step {
            None => names().collect(),
            Some(step) if names().any(|name| name == step) => vec![step],
            Some(step) => {
                let failure = Failure::usage(format!("the run has no step {step:?}"));
                return Err(match nearest(step, names()) {
                    Some(meant) => failure.help(format!("did you mean {meant:?}?")),
                    None => failure.help(format!("it has {}", names().collect::<Vec<_>>().join(", "))),
                });
            }
        };
        let filter = Filter {
            partition: args.partition,
            attempt: args.attempt,
            stream: args.stderr.then_some(Stream::Stderr),
        };
        let readers = steps
            .into_iter()
            .map(|step| (step.to_owned(), LogReader::new(logs, step, filter)))
            .collect();
        let stdout = std::io::stdout();
        Ok(Self {
            readers,
            tint: Tint::of(&stdout),
            terminal: stdout.is_terminal(),
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
            let lines: Vec<String> = records
                .iter()
                .map(|record| line(step, record, self.tint, self.terminal))
                .collect();
            if out::lines(&lines)? == Reader::Gone {
                return Ok(Printed::Gone);
            }
            printed = Printed::Some;
        }
        Ok(printed)
    }
}

/// `step partition attempt | line`.
fn line(step: &str, record: &LogRecord, tint: Tint, terminal: bool) -> String {
    let tag = format!("{step} {} {} |", record.partition, record.attempt);
    let tag = tint.paint(
        match record.stream {
            Stream::Stderr => Colour::Yellow,
            Stream::Stdout => Colour::Dim,
        },
        &tag,
    );
    // On a terminal user code could do anything with it.
    let text = if terminal {
        clean(&record.line.replace('\t', "    "), LINE)
    } else {
        record.line.clone()
    };
    let cut = if record.cut { " [cut]" } else { "" };
    format!("{tag} {text}{cut}")
}
