//! What the end of an attempt means for its partition: settled, tried again, or put off.

use std::time::Duration;

use braid_crds::{ShardId, limits, worker::Fatal};
use braid_engine::{
    protocol::{
        DeferredPartition,
        wire::Braid,
        worker::{Command, Event, Machine, Task},
    },
    reduce::{RawResults, ReduceError},
    retry::{Decision, FAIL_STEP, Reason, times},
    settlement::{SLOW_BYTES, Settlement, cut},
};
use tokio::time::Instant;

use super::{
    attempts::{Flight, Trouble},
    runs::{PLAIN_RESULTS, Run},
    session::Session,
};
use crate::{
    reader::InputError,
    runner::{AttemptId, Ending, Failure, Finished},
};

/// By so many bytes a commit grows at most with one partition that wrote files.
const OUTPUT_BYTES: usize = 128;

/// What takes less is not noted.
const SLOW: Duration = Duration::from_millis(limits::SLOW_MILLIS);

/// By so many bytes a commit grows at most with one failed partition.
const FAILURE_BYTES: usize = limits::MESSAGE_BYTES * 6 + 256;
/// By so many more if it ends its step.
const FATAL_BYTES: usize = limits::MESSAGE_BYTES * 6 + 120;

/// Why a partition's outcome was not taken.
enum NotTaken {
    /// The fault is in what it gave.
    Results(ReduceError),
    /// No commit holds it together with what is there.
    Full(String),
}

/// What a partition gave, on its way into a settlement.
enum Given<'a> {
    Results(&'a [u8]),
    Failure {
        reason: Reason,
        message: &'a str,
        /// Why the step ends with it, if it does.
        fatal: Option<Fatal>,
    },
}

impl Session {
    /// Takes note of attempts that have ended.
    pub(super) fn finished(&mut self, finished: Vec<Finished>) {
        let mut lost = Vec::new();
        for Finished {
            id,
            ending,
            wrote,
            took,
            ..
        } in finished
        {
            // Of most there is nothing to note.
            if wrote || took >= SLOW {
                self.attempts.ended(id, wrote, took);
            }
            if let Ending::Succeeded { results } = &ending
                && let Some((partition, plan)) = self.attempts.pinned(id)
            {
                // It stays in flight until its input is known to be what was planned.
                self.recheck(id, partition, plan, results.clone());
                continue;
            }
            let Some(flight) = self.attempts.land(id) else { continue };
            match ending {
                Ending::Succeeded { results } => {
                    self.settle(&flight, &Given::Results(results.as_deref().unwrap_or_default()));
                }
                Ending::Failed {
                    failure: Failure::ShimDied,
                    message,
                } => lost.push((flight, message)),
                Ending::Failed { failure, message } => {
                    let message = if message.is_empty() {
                        failure.to_string()
                    } else {
                        message
                    };
                    self.failed(flight, reason_of(&failure), &message);
                }
            }
        }
        self.lost(lost);
    }

    /// The program of an attempt has succeeded, and its files were looked at again.
    pub(super) fn rechecked(&mut self, id: AttemptId, results: Option<&[u8]>, input: Result<(), InputError>) {
        // Killed meanwhile: nobody asks for it any more.
        let Some(flight) = self.attempts.land(id) else { return };
        match input {
            Ok(()) => self.settle(&flight, &Given::Results(results.unwrap_or_default())),
            Err(error) => self.failed(flight, error.reason(), &error.to_string()),
        }
    }

    /// The shim has died with these. If it was one, that one is to blame.
    fn lost(&mut self, lost: Vec<(Flight, String)>) {
        let alone = lost.len() == 1;
        let mut again = Vec::new();
        for (flight, message) in lost {
            let deaths = flight.deaths + i32::from(alone);
            if alone && deaths >= flight.run.policy.deaths {
                tracing::warn!(
                    partition = flight.task.partition,
                    deaths,
                    "the partition is set aside: its shim dies with it"
                );
                let message = format!("what ran it died with it {}: {message}", times(deaths));
                let reason = Reason::WorkerDied;
                self.settle(
                    &flight,
                    &Given::Failure {
                        reason,
                        message: &message,
                        fatal: None,
                    },
                );
                continue;
            }
            if let Some(owner) = self.machine.owner(flight.task) {
                let attempt = flight.attempt;
                self.attempts
                    .remember(owner, flight.task.partition, Trouble { attempt, deaths });
            }
            again.push(flight.task);
        }
        if !again.is_empty() {
            self.event(Event::Lost(again));
        }
    }

    /// An attempt has failed: the partition is tried again here, later elsewhere, or has failed for good.
    pub(super) fn failed(&mut self, mut flight: Flight, reason: Reason, message: &str) {
        let Task { shard, partition } = flight.task;
        let made = i32::try_from(flight.attempt).unwrap_or(i32::MAX);
        let seed = partition ^ shard.0.unsigned_abs().rotate_left(32);
        let now = jiff::Timestamp::now().as_millisecond();
        match flight.run.policy.after(made, reason, now, seed) {
            Decision::Again { after_millis } => {
                flight.attempt = flight.attempt.saturating_add(1);
                (flight.wrote, flight.took) = (false, Duration::ZERO);
                let at = Instant::now() + Duration::from_millis(after_millis);
                self.attempts.wait(flight, at);
            }
            Decision::Defer { not_before } => {
                let deferred = DeferredPartition {
                    partition,
                    attempts: made,
                    deaths: flight.deaths,
                    not_before,
                    reason: reason.to_string(),
                    message: cut(message),
                };
                self.event(Event::Deferred(flight.task, deferred));
            }
            Decision::Fail => self.settle(
                &flight,
                &Given::Failure {
                    reason,
                    message,
                    fatal: None,
                },
            ),
            Decision::FailStep => {
                let owner = self.machine.owner(flight.task);
                let fatal = Fatal {
                    reason: FAIL_STEP.to_owned(),
                    message: format!(
                        "partition {partition} failed with {reason}, which by a rule of retry ends the step: {message}"
                    ),
                };
                tracing::warn!(partition, %reason, "a rule of retry ends the step");
                let fatal = Some(fatal);
                self.settle(&flight, &Given::Failure { reason, message, fatal });
                // Told at once: what is settled so far is committed with it.
                if let Some(owner) = owner {
                    self.event(Event::Full(owner));
                }
            }
        }
    }

    /// Settles a partition.
    fn settle(&mut self, flight: &Flight, given: &Given<'_>) {
        let program = &flight.run.program;
        if program.checkpoint.is_some() && matches!(given, Given::Failure { .. }) {
            self.discards.push((program.id, flight.task.partition));
        }
        match add_to(&mut self.machine, self.clock.now(), flight, given) {
            Ok(commands) => {
                self.tally.add();
                self.obey(commands);
            }
            Err(NotTaken::Results(error)) if error.is_of_partition() => {
                let reason = Reason::BadResult;
                self.failed(flight.clone(), reason, &error.to_string());
            }
            Err(NotTaken::Results(error)) => self.hopeless(flight, &error.to_string()),
            Err(NotTaken::Full(problem)) => self.full(flight, given, &problem),
        }
    }

    /// The commit has no room for the partition: it is sealed, and the partition kept for an adopter.
    fn full(&mut self, flight: &Flight, given: &Given<'_>, problem: &str) {
        let mut alone = Settlement::default();
        match add(&mut alone, None, flight, given) {
            Ok(()) => {
                self.tally.add();
                if let Some(owner) = self.machine.owner(flight.task) {
                    self.event(Event::Full(owner));
                }
                self.event(Event::Settled(flight.task, alone));
            }
            Err(_) => self.hopeless(flight, problem),
        }
    }

    /// What one partition gave fits into no commit, or into no step: trying again does not help.
    fn hopeless(&mut self, flight: &Flight, problem: &str) {
        let message = format!("partition {}: {problem}", flight.task.partition);
        match self.machine.owner(flight.task) {
            Some(owner) => self.fatal(owner, "ResultTooLarge", &message),
            None => self.event(Event::Lost(vec![flight.task])),
        }
    }

    /// What a partition that is begun now went through before.
    pub(super) fn flight(&self, run: &std::sync::Arc<Run>, shard: ShardId, partition: u64) -> Flight {
        let trouble = self.attempts.trouble(shard, partition).unwrap_or(Trouble {
            attempt: run.attempts.saturating_add(1),
            deaths: run.deaths,
        });
        Flight {
            task: Task { shard, partition },
            run: run.clone(),
            attempt: trouble.attempt,
            deaths: trouble.deaths,
            pinned: None,
            wrote: false,
            took: Duration::ZERO,
        }
    }
}

fn add_to(
    machine: &mut Machine<Braid>,
    now: u64,
    flight: &Flight,
    given: &Given<'_>,
) -> Result<Vec<Command<Braid>>, NotTaken> {
    // A shard that is committed more than once has a stored part, which its commit must hold, too.
    let base = machine.desk().and_then(|(_, desk)| {
        let committed = !desk.commits.is_empty();
        let owner = committed.then(|| machine.owner(flight.task)).flatten()?;
        desk.commit(owner).map(|commit| commit.content.clone())
    });
    machine.settle(flight.task, now, |content| add(content, base.as_ref(), flight, given))
}

/// Adds what a partition gave, or leaves `content` as it is.
fn add(
    content: &mut Settlement,
    base: Option<&Settlement>,
    flight: &Flight,
    given: &Given<'_>,
) -> Result<(), NotTaken> {
    let Flight { task, run, attempt, .. } = flight;
    let full = |error: &dyn std::fmt::Display| NotTaken::Full(error.to_string());
    let wrote = flight.wrote && matches!(given, Given::Results(_));
    if wrote {
        for settlement in std::iter::once(&*content).chain(base) {
            settlement.fits(OUTPUT_BYTES).map_err(|error| full(&error))?;
            if !settlement.has_room_for_outputs(task.shard) {
                return Err(NotTaken::Full("the commit names files of too many shards".to_owned()));
            }
        }
    }
    let slow = flight.took >= SLOW;
    if slow {
        for settlement in std::iter::once(&*content).chain(base) {
            settlement.fits(SLOW_BYTES).map_err(|error| full(&error))?;
        }
    }
    match (given, &run.declared) {
        (Given::Results(_), None) => {}
        (Given::Results(raw), Some(declared)) if run.plain && raw.len() <= PLAIN_RESULTS => {
            content
                .succeed(declared, task.partition, &RawResults(raw))
                .map_err(NotTaken::Results)?;
        }
        (Given::Results(raw), Some(declared)) => {
            let contribution = declared
                .read(task.partition, &RawResults(raw))
                .map_err(NotTaken::Results)?;
            for settlement in std::iter::once(&*content).chain(base) {
                let growth = settlement
                    .growth(declared, &contribution)
                    .map_err(|error| full(&error))?;
                settlement.fits(growth).map_err(|error| full(&error))?;
            }
            content
                .succeed_with(declared, contribution)
                .map_err(NotTaken::Results)?;
        }
        (Given::Failure { reason, message, fatal }, _) => {
            let bytes = FAILURE_BYTES + if fatal.is_some() { FATAL_BYTES } else { 0 };
            for settlement in std::iter::once(&*content).chain(base) {
                settlement.fits(bytes).map_err(|error| full(&error))?;
            }
            if let Some(fatal) = fatal {
                content.stop(fatal);
            }
            let made = i32::try_from(*attempt).unwrap_or(i32::MAX);
            content.fail(task.partition, *reason, made, message);
        }
    }
    if wrote {
        content.wrote(task.shard, task.partition);
    }
    if slow {
        let millis = u64::try_from(flight.took.as_millis()).unwrap_or(u64::MAX);
        content.took(task.partition, millis);
    }
    if *attempt > 1 {
        content.retry(u64::from(attempt - 1));
    }
    Ok(())
}

/// The cause of failure that an ending is counted as.
fn reason_of(failure: &Failure) -> Reason {
    match failure {
        Failure::Exit(code) => u8::try_from(*code).map_or(Reason::Other, Reason::Exit),
        Failure::Signal(signal) => u8::try_from(*signal).map_or(Reason::Other, Reason::Signal),
        Failure::Timeout(_) => Reason::Timeout,
        Failure::OutOfMemory => Reason::OutOfMemory,
        Failure::CommandNotFound | Failure::NotExecutable => Reason::NotRunnable,
        Failure::InputUnreadable => Reason::UnreadableInput,
        Failure::ResultTooLarge { .. } => Reason::ResultTooLarge,
        Failure::ResultUnreadable => Reason::BadResult,
        Failure::OutputExists => Reason::OutputExists,
        Failure::BadOutput => Reason::BadOutput,
        Failure::OutputNotStored => Reason::OutputNotStored,
        Failure::ShimDied => Reason::WorkerDied,
        Failure::Said { retry: true } => Reason::Error,
        Failure::Said { retry: false } => Reason::Refused,
        Failure::Http(status) => Reason::Http(*status),
        Failure::BadAnswer => Reason::BadAnswer,
        Failure::NotSetUp | Failure::Killed => Reason::Other,
    }
}
