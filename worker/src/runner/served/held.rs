//! What a service holds of an attempt and of the process, and what an end of the process is called.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::time::Instant;

use super::lines::Names;
use crate::frames::{MAX_MESSAGE, Outcome};
use crate::runner::{Attempt, AttemptId, Failure};

/// One attempt.
#[derive(Debug)]
pub(super) struct Held {
    pub(super) partition: u64,
    pub(super) attempt: u32,
    pub(super) timeout: Option<Duration>,
    pub(super) stage: Stage,
    /// Whether the shim keeps its input in a file.
    pub(super) stored: bool,
    /// It was killed, and the process is, too, unless it answers until then.
    pub(super) killed: Option<Instant>,
    /// Its connection broke, for this reason; that the process has ended may be heard until then.
    pub(super) broken: Option<(Instant, String)>,
    /// How often, and how long in all, it was asked to wait.
    pub(super) waits: u32,
    pub(super) waited: Duration,
}

/// What the process is asked.
#[derive(Debug, Clone)]
pub(super) enum Work {
    /// A line for its standard input.
    Line(Bytes),
    /// What a request is made of.
    Post(Arc<Attempt>),
}

impl Work {
    /// Bytes that wait in pipes.
    pub(super) fn length(&self) -> usize {
        match self {
            Self::Line(line) => line.len(),
            Self::Post(_) => 0,
        }
    }
}

#[derive(Debug)]
pub(super) enum Stage {
    /// Its input is on its way into a file.
    Arriving(Box<Attempt>, Names),
    /// It waits for its turn with this.
    Ready(Work),
    /// It has been sent.
    Sent(Work, Instant),
}

/// The process, from the moment in which the shim is asked to start it.
#[derive(Debug)]
pub(super) struct Live {
    pub(super) id: u64,
    /// Whether the shim may know of it.
    pub(super) begun: bool,
    /// Whether it has answered anything.
    pub(super) answered: bool,
    /// Why this side ends it, once it does, and what is done if it has not ended until then.
    pub(super) ending: Option<Cause>,
    /// When it is killed if it goes on after its standard input has ended.
    pub(super) kill_at: Option<Instant>,
}

/// Why this side ends a process.
#[derive(Debug)]
pub(super) enum Cause {
    Idle,
    TimedOut(AttemptId),
    /// It broke what was agreed. `foreign`: about an attempt that is not in flight.
    Broke {
        why: String,
        foreign: bool,
    },
    /// It did not become ready.
    NotReady(String),
    /// What it works on was killed.
    Killed,
}

/// What the end of the process is for the one attempt that it had.
pub(super) fn failure(outcome: Outcome) -> Failure {
    match outcome {
        Outcome::Signal(signal) => Failure::Signal(signal),
        Outcome::OutOfMemory => Failure::OutOfMemory,
        Outcome::CommandNotFound => Failure::CommandNotFound,
        Outcome::NotExecutable => Failure::NotExecutable,
        Outcome::NotSetUp => Failure::NotSetUp,
        Outcome::Killed | Outcome::TimedOut => Failure::Killed,
        Outcome::Exit(0) | Outcome::ResultTooLarge(_) | Outcome::ResultUnreadable | Outcome::BadOutput => {
            Failure::BadAnswer
        }
        Outcome::Exit(code) => Failure::Exit(code),
    }
}

/// The end of the process in words.
pub(super) fn told(outcome: Outcome, last_words: &str, answered: bool) -> String {
    let how = match outcome {
        Outcome::Exit(code) => format!("the program ended (exit code {code})"),
        Outcome::Signal(signal) => format!("the program ended (signal {signal})"),
        Outcome::OutOfMemory => return last_words.to_owned(),
        _ => "the program ended".to_owned(),
    };
    let when = if answered {
        "and left this unanswered"
    } else {
        "before it had answered anything"
    };
    let text = if last_words.is_empty() {
        format!("{how} {when}")
    } else {
        format!("{how} {when}: {last_words}")
    };
    text.chars().take(MAX_MESSAGE / 4).collect()
}

/// What went wrong, and what the process wrote last.
pub(super) fn with_words(why: String, last_words: &str) -> String {
    let text = if last_words.is_empty() {
        why
    } else {
        format!("{why}; its last words: {last_words}")
    };
    text.chars().take(MAX_MESSAGE / 4).collect()
}
