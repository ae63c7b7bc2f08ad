//! From the runner's own types to frames, and back.

use super::Flight;
use crate::frames::{FrameError, Outcome, ProgramFrame};
use crate::runner::{Ending, Failure, MAX_RESULTS, Program, RunnerError};

pub(super) fn frame(slot: u8, program: &Program) -> ProgramFrame {
    ProgramFrame {
        slot,
        // As in `LogLine::run`: the uid stands before the step.
        run: program.run.split_once('/').map_or("", |(uid, _)| uid).to_owned(),
        step: program.step.to_string(),
        concurrency: program.concurrency.max(1),
        command: program.command.clone(),
        script: program.script.clone(),
        args: program.args.clone(),
        env: program.env.clone(),
        grace_millis: u64::try_from(program.grace.as_millis()).unwrap_or(u64::MAX),
        results_limit: program.results_limit,
        sides: !program.sides.get().is_empty(),
        outputs: program.outputs.clone(),
        checkpoint: (program.checkpoint.as_ref()).map(|checkpoint| (checkpoint.key.clone(), checkpoint.bytes)),
    }
}

/// What no process could be given, or no frame can carry, is refused before anything is sent.
pub(super) fn check(program: &Program) -> Result<(), RunnerError> {
    let step = &program.step;
    if program.results_limit.is_some_and(|limit| limit > MAX_RESULTS) {
        let source = FrameError::TooLong(program.results_limit.unwrap_or_default() as usize);
        return Err(RunnerError::TooLarge {
            what: format!("the limit of results of step `{step}`"),
            source,
        });
    }
    if let Some((name, _)) = program
        .env
        .iter()
        .find(|(name, _)| name.is_empty() || name.contains(['=', '\0']))
    {
        return Err(RunnerError::Invalid(format!(
            "step `{step}`: `{name}` cannot be the name of a variable"
        )));
    }
    if program.command.is_empty() && program.script.is_none() {
        return Err(RunnerError::Invalid(format!(
            "step `{step}`: there is neither a command nor a script"
        )));
    }
    Ok(())
}

pub(super) fn failed(outcome: Outcome, message: String, flight: &Flight) -> Ending {
    let failure = match outcome {
        Outcome::Exit(code) => Failure::Exit(code),
        Outcome::Signal(signal) => Failure::Signal(signal),
        Outcome::TimedOut => Failure::Timeout(flight.timeout.unwrap_or_default()),
        Outcome::OutOfMemory => Failure::OutOfMemory,
        Outcome::Killed => {
            if let Some((failure, message)) = &flight.input_failed {
                return Ending::Failed {
                    failure: failure.clone(),
                    message: message.clone(),
                };
            }
            Failure::Killed
        }
        Outcome::CommandNotFound => Failure::CommandNotFound,
        Outcome::NotExecutable => Failure::NotExecutable,
        Outcome::NotSetUp => Failure::NotSetUp,
        Outcome::ResultTooLarge(size) => Failure::ResultTooLarge {
            size,
            limit: flight.program.results_limit.unwrap_or_default(),
        },
        Outcome::ResultUnreadable => Failure::ResultUnreadable,
        Outcome::BadOutput => Failure::BadOutput,
    };
    Ending::Failed { failure, message }
}
