//! `braid logs`: what user code printed, each line with its step, partition and attempt.

use std::io::IsTerminal as _;

use braid_crds::Workflow;
use braid_engine::suggest::nearest;
use braid_worker::runner::logs::{Filter, LogRecord, Stream};

use crate::{
    args::LogsArgs,
    exit::{Exit, Failure},
    place::{self, Found},
    text::{Colour, Tint, clean},
};

mod here;
mod tagged;
mod there;

/// A line has at most so many characters; the log keeps fewer.
const LINE: usize = 1 << 20;

/// Prints logs: first what is there, then with `-f` what comes, until the run ends.
pub async fn logs(args: &LogsArgs) -> Result<Exit, Failure> {
    match place::find(args.target.name.as_deref(), &args.target.place).await? {
        Found::Here(run) => here::logs(args, *run).await,
        Found::There(remote) => there::logs(args, &remote).await,
    }
}

/// Which steps are meant.
fn steps<'a>(args: &'a LogsArgs, workflow: &'a Workflow) -> Result<Vec<&'a str>, Failure> {
    let names = || workflow.spec.steps.iter().map(|step| step.name.as_str());
    match args.step.as_deref() {
        None => Ok(names().collect()),
        Some(step) if names().any(|name| name == step) => Ok(vec![step]),
        Some(step) => {
            let failure = Failure::usage(format!("the run has no step {step:?}"));
            Err(match nearest(step, names()) {
                Some(meant) => failure.help(format!("did you mean {meant:?}?")),
                None => failure.help(format!("it has {}", names().collect::<Vec<_>>().join(", "))),
            })
        }
    }
}

fn filter(args: &LogsArgs) -> Filter {
    Filter {
        partition: args.partition,
        attempt: args.attempt,
        stream: args.stderr.then_some(Stream::Stderr),
    }
}

/// How lines are printed.
#[derive(Clone, Copy, Debug)]
struct Style {
    tint: Tint,
    terminal: bool,
}

impl Style {
    fn of_stdout() -> Self {
        let stdout = std::io::stdout();
        Self {
            tint: Tint::of(&stdout),
            terminal: stdout.is_terminal(),
        }
    }

    /// `step partition attempt | line`.
    fn line(self, step: &str, record: &LogRecord) -> String {
        let tag = format!("{step} {} {} |", record.partition, record.attempt);
        let tag = self.tint.paint(
            match record.stream {
                Stream::Stderr => Colour::Yellow,
                Stream::Stdout => Colour::Dim,
            },
            &tag,
        );
        // On a terminal user code could do anything with it.
        let text = if self.terminal {
            clean(&record.line.replace('\t', "    "), LINE)
        } else {
            record.line.clone()
        };
        let cut = if record.cut { " [cut]" } else { "" };
        format!("{tag} {text}{cut}")
    }
}
