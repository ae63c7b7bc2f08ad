//! What an attempt has left when nothing of it runs any more: how it ended, its results, its files.

use nix::sys::signal::Signal;

use super::{Queued, Server};
use crate::frames::{FromShim, Outcome};
use crate::shim::ShimError;
use crate::shim::clock::Moment;
use crate::shim::files::Delivery;
use crate::shim::input::Input;
use crate::shim::results::{self, Found};
use crate::shim::running::Running;

/// What shells add to the number of a signal that has ended a command, to make it their own exit code.
const SHELL_SIGNAL: i32 = 128;

impl Server {
    pub(super) fn never_ran(&mut self, mut queued: Queued, outcome: Outcome, message: String) -> Result<(), ShimError> {
        remove_input(&mut queued.input);
        let attempt = queued.frame.attempt;
        self.link.send(&FromShim::Finished {
            attempt,
            outcome,
            results: None,
            message,
            micros: 0,
        })
    }

    pub(super) fn finish(&mut self, mut running: Running, now: Moment) -> Result<(), ShimError> {
        running.close(&mut self.membership.outlet(&mut self.link))?;
        let mut outcome = running.outcome();
        let (mut found, mut message) = (None, String::new());
        // One that the shim has ended for its memory may have been the kernel's choice in the same moment.
        let killed = is_killed(outcome) || outcome == Outcome::OutOfMemory;
        if killed && self.oom.answers(running.kills_before) && outcome != Outcome::OutOfMemory {
            outcome = Outcome::OutOfMemory;
            running.why = Some("the kernel killed it because memory ran out".to_owned());
        }
        if outcome != Outcome::Exit(0) {
            let ours = matches!(outcome, Outcome::OutOfMemory | Outcome::Killed);
            let why = running.why.take().filter(|_| ours);
            message = why.unwrap_or_else(|| running.last_error());
        }
        if let Some((path, limit)) = &running.results {
            let mut there = true;
            if outcome == Outcome::Exit(0) {
                match results::read(path, *limit) {
                    Found::Nothing => there = false,
                    Found::Results(bytes) => found = Some(bytes),
                    Found::Refused(refusal, why) => (outcome, message) = (refusal, why),
                }
            }
            if there {
                // What cannot be removed now goes with the directory; its name is never used again.
                let _ = results::remove(path);
            }
        }
        if let Some(checkpoint) = running.checkpoint.take() {
            let succeeded = outcome == Outcome::Exit(0);
            if let Some(why) = self.checkpoints.end(checkpoint, succeeded, &mut self.scratch) {
                running.say(&mut self.membership.outlet(&mut self.link), why)?;
            }
        }
        remove_input(&mut running.input);
        let micros = u64::try_from(running.took(now).as_micros()).unwrap_or(u64::MAX);
        let attempt = running.attempt;
        let end = FromShim::Finished {
            attempt,
            outcome,
            results: found,
            message,
            micros,
        };
        let program = self.programs.get(usize::from(running.slot)).and_then(Option::as_ref);
        match (running.leavings.take(), program) {
            (Some(leavings), Some(program)) if outcome == Outcome::Exit(0) => {
                let delivery = Delivery::new(attempt, running.slot, leavings, program.outputs(), end);
                self.deliveries.push_back(delivery);
                Ok(())
            }
            (leavings, _) => {
                if let Some(leavings) = leavings {
                    leavings.remove();
                }
                self.link.send(&end)
            }
        }
    }

    /// Sends files that attempts wrote, as much as the worker takes, one attempt after the other.
    pub(super) fn deliver(&mut self) -> Result<(), ShimError> {
        while self.link.has_room()
            && let Some(delivery) = self.deliveries.front_mut()
        {
            let frame = match delivery.next() {
                Some(frame) => frame,
                None => match self.deliveries.pop_front() {
                    Some(delivery) => delivery.end(),
                    None => return Ok(()),
                },
            };
            self.link.send(&frame)?;
        }
        Ok(())
    }
}

/// What cannot be removed now goes with the private directory.
pub(super) fn remove_input(input: &mut Input) {
    let _ = input.remove();
}

/// Whether SIGKILL has ended its first process, or one whose end a shell passes on as its own.
fn is_killed(outcome: Outcome) -> bool {
    let kill = Signal::SIGKILL as i32;
    outcome == Outcome::Signal(kill) || outcome == Outcome::Exit(SHELL_SIGNAL + kill)
}
