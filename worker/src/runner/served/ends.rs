//! Ends: of the process, of an attempt, and what of the one follows for the other.

use std::time::Duration;

use tokio::time::Instant;

use super::calls::Calls;
use super::held::{Cause, Stage, failure, told, with_words};
use super::{IDLE, Io, Service};
use crate::frames::{FrameError, Outcome};
use crate::runner::outbox::Outbox;
use crate::runner::{AttemptId, Ending, Failure, Finished};

impl Service {
    /// The process has ended: nothing of it runs any more.
    pub(in crate::runner) fn ended(
        &mut self,
        outcome: Outcome,
        message: &str,
        io: &mut Io<'_>,
    ) -> Result<(), FrameError> {
        // What has been answered before counts.
        self.collect(io)?;
        let Some(live) = self.live.take() else {
            return Ok(());
        };
        let was_ready = self.calls.as_mut().is_none_or(Calls::close);
        if live.answered {
            self.failures = 0;
        } else if !matches!(live.ending, Some(Cause::Idle)) {
            let (first, longest) = self.pauses;
            let pause = first.saturating_mul(1 << self.failures.min(16));
            self.not_before = io.now.checked_add(pause.min(longest));
            self.failures = self.failures.saturating_add(1);
        }
        self.lonely = false;
        self.sent_bytes = 0;
        let mut flying: Vec<AttemptId> = std::mem::take(&mut self.sent).into();
        flying.retain(|id| self.held.contains_key(id));
        for id in &flying {
            if let Some(held) = self.held.get_mut(id)
                && let Stage::Sent(work, _) = &held.stage
            {
                held.stage = Stage::Ready(work.clone());
                held.broken = None;
            }
        }
        let killed: Vec<AttemptId> = flying
            .extract_if(.., |id| self.held.get(id).is_some_and(|held| held.killed.is_some()))
            .collect();
        self.killed = 0;
        for id in killed {
            self.fail(id, Failure::Killed, String::new(), io)?;
        }
        if matches!(
            outcome,
            Outcome::CommandNotFound | Outcome::NotExecutable | Outcome::NotSetUp
        ) {
            let failure = failure(outcome);
            let all: Vec<AttemptId> = self.held.keys().copied().collect();
            for id in all {
                self.fail(id, failure.clone(), message.to_owned(), io)?;
            }
            return Ok(());
        }
        let (failure, message) = match live.ending {
            Some(Cause::Idle | Cause::Killed) => {
                // None of these had anything to do with it.
                flying.into_iter().rev().for_each(|id| self.queue.push_front(id));
                return Ok(());
            }
            Some(Cause::TimedOut(late)) => {
                let timeout = self.held.get(&late).and_then(|held| held.timeout).unwrap_or_default();
                // With more sent ahead the oldest may have been done, and its answer not written yet.
                if !self.ahead || flying.len() == 1 {
                    flying.retain(|id| *id != late);
                    self.fail(late, Failure::Timeout(timeout), message.to_owned(), io)?;
                    flying.into_iter().rev().for_each(|id| self.queue.push_front(id));
                    return Ok(());
                }
                (Failure::Timeout(timeout), message.to_owned())
            }
            // Not the fault of what is in flight; but a process that has said nothing else must be somebody's.
            Some(Cause::Broke { foreign: true, .. }) if live.answered => {
                flying.into_iter().rev().for_each(|id| self.alone.push_front(id));
                return Ok(());
            }
            Some(Cause::Broke { why, .. } | Cause::NotReady(why)) => (Failure::BadAnswer, with_words(why, message)),
            None if outcome == Outcome::Killed => {
                // The shim's own doing: its time is over.
                for id in flying {
                    self.fail(id, Failure::Killed, message.to_owned(), io)?;
                }
                return Ok(());
            }
            None => (failure(outcome), told(outcome, message, live.answered)),
        };
        if !was_ready && flying.is_empty() {
            // Somebody must say it, or the run would wait for ever.
            flying.extend(self.alone.pop_front().or_else(|| self.queue.pop_front()));
        }
        match flying.as_slice() {
            [only] => self.fail(*only, failure, message, io)?,
            several => {
                if !several.is_empty() {
                    tracing::info!(
                        step = %self.program.step,
                        attempts = several.len(),
                        "the program ended with several partitions in flight, which are tried one at a time: {failure}: {message}"
                    );
                }
                several.iter().rev().for_each(|id| self.alone.push_front(*id));
            }
        }
        Ok(())
    }

    /// What all its partitions read cannot be read: none can go on.
    pub(in crate::runner) fn break_off(&mut self, why: &str, io: &mut Io<'_>) -> Result<(), FrameError> {
        let all: Vec<AttemptId> = self.held.keys().copied().collect();
        (self.queue, self.alone, self.sent) = Default::default();
        for id in all {
            self.fail(id, Failure::InputUnreadable, why.to_owned(), io)?;
        }
        if self.live.as_ref().is_some_and(|live| live.ending.is_none()) {
            self.end(Cause::Killed, io)?;
        }
        Ok(())
    }

    /// The shim is lost, and the process with it.
    pub(in crate::runner) fn shim_lost(&mut self, outbox: &mut Outbox) {
        if let Some(live) = self.live.take() {
            outbox.forget(AttemptId(live.id));
        }
        if let Some(calls) = &mut self.calls {
            calls.close();
        }
        (self.lonely, self.killed, self.sent_bytes) = (false, 0, 0);
        self.lost.extend(std::mem::take(&mut self.sent));
        // Files are lost, too, also those that were on their way.
        let stored = self.held.iter().filter(|(_, held)| held.stored).map(|(id, _)| *id);
        self.lost.extend(stored);
        self.lost.sort_unstable();
        self.lost.dedup();
        for id in &self.lost {
            outbox.forget(*id);
        }
        self.queue.retain(|id| !self.lost.contains(id));
        self.alone.retain(|id| !self.lost.contains(id));
    }

    /// Nothing of what the shim ran is left.
    pub(in crate::runner) fn mourn(&mut self, why: &str, io: &mut Io<'_>) -> Result<(), FrameError> {
        for id in std::mem::take(&mut self.lost) {
            self.fail(id, Failure::ShimDied, why.to_owned(), io)?;
        }
        Ok(())
    }

    /// Ends an attempt: at once if it has not been sent. Else the process may answer within its grace; then it is ended. If
    /// nothing else is in flight it is ended now.
    pub(in crate::runner) fn kill(&mut self, id: AttemptId, io: &mut Io<'_>) -> Result<(), FrameError> {
        let grace = self.program.grace;
        let Some(held) = self.held.get_mut(&id).filter(|held| held.killed.is_none()) else {
            return Ok(());
        };
        if !matches!(held.stage, Stage::Sent(..)) {
            self.queue.retain(|queued| *queued != id);
            self.alone.retain(|queued| *queued != id);
            return self.fail(id, Failure::Killed, "killed before it started".to_owned(), io);
        }
        held.killed = Some(io.now + grace);
        self.killed += 1;
        if self.killed == self.sent.len() {
            return self.end(Cause::Killed, io);
        }
        Ok(())
    }

    /// Ends the process when its time has come.
    pub(super) fn judge(&mut self, io: &mut Io<'_>) -> Result<(), FrameError> {
        let Some(live) = &mut self.live else { return Ok(()) };
        if let Some(cause) = &live.ending {
            if live.kill_at.is_some_and(|moment| moment <= io.now) {
                live.kill_at = None;
                tracing::debug!(step = %self.program.step, ?cause, "the program does not end by itself");
                return io.outbox.kill(AttemptId(live.id));
            }
            return Ok(());
        }
        if self.held.is_empty() {
            if self.busy + IDLE <= io.now {
                return self.end(Cause::Idle, io);
            }
            return Ok(());
        }
        self.give_up_broken(io)?;
        if let Some(due) = self.late_at()
            && due <= io.now
            && let Some(oldest) = self.sent.front()
        {
            return self.end(Cause::TimedOut(*oldest), io);
        }
        if self.killed > 0 && self.kill_due().is_some_and(|due| due <= io.now) {
            return self.end(Cause::Killed, io);
        }
        Ok(())
    }

    /// When the oldest in flight is late.
    pub(super) fn late_at(&self) -> Option<Instant> {
        let held = self.held.get(self.sent.front()?)?;
        let Stage::Sent(_, sent) = &held.stage else { return None };
        // What was sent ahead begins when what was before it is done.
        let begun = if self.ahead {
            self.oldest_since.max(*sent)
        } else {
            *sent
        };
        begun.checked_add(held.timeout?)
    }

    pub(super) fn kill_due(&self) -> Option<Instant> {
        self.sent.iter().filter_map(|id| self.held.get(id)?.killed).min()
    }

    /// When something is due.
    pub(in crate::runner) fn next_due(&self) -> Option<Instant> {
        let Some(live) = &self.live else {
            let waits = !self.queue.is_empty() || !self.alone.is_empty();
            return self.not_before.filter(|_| waits);
        };
        if live.ending.is_some() {
            return live.kill_at;
        }
        let idle = self.held.is_empty().then_some(self.busy + IDLE);
        let kill = (self.killed > 0).then(|| self.kill_due()).flatten();
        let calls = self.calls_due();
        idle.into_iter().chain(self.late_at()).chain(kill).chain(calls).min()
    }

    /// Ends the process: one that has nothing to do by the end of its standard input, others by a signal.
    pub(super) fn end(&mut self, cause: Cause, io: &mut Io<'_>) -> Result<(), FrameError> {
        let grace = self.program.grace;
        let Some(live) = &mut self.live else { return Ok(()) };
        let id = AttemptId(live.id);
        // Standard input tells nothing to one that is asked by HTTP.
        let gently = matches!(cause, Cause::Idle) && self.calls.is_none();
        if !matches!(cause, Cause::Idle) {
            tracing::debug!(step = %self.program.step, ?cause, "the program is ended");
        }
        live.ending = Some(cause);
        if !live.begun {
            io.outbox.forget(id);
            self.ended(Outcome::Killed, "", io)
        } else if gently {
            live.kill_at = io.now.checked_add(grace);
            io.outbox.stream_end(id)
        } else {
            io.outbox.forget(id);
            io.outbox.kill(id)
        }
    }

    /// Lets go of the process, because its place is needed or this worker ends.
    pub(in crate::runner) fn retire(&mut self, io: &mut Io<'_>) -> Result<(), FrameError> {
        match &self.live {
            Some(live) if live.ending.is_none() && self.held.is_empty() => self.end(Cause::Idle, io),
            _ => Ok(()),
        }
    }

    pub(in crate::runner) fn fail(
        &mut self,
        id: AttemptId,
        failure: Failure,
        message: String,
        io: &mut Io<'_>,
    ) -> Result<(), FrameError> {
        self.finish(id, Ending::Failed { failure, message }, io)
    }

    pub(super) fn finish(&mut self, id: AttemptId, ending: Ending, io: &mut Io<'_>) -> Result<(), FrameError> {
        let Some(held) = self.held.remove(&id) else {
            return Ok(());
        };
        if held.stored {
            io.outbox.forget(id);
            io.outbox.forget_file(id)?;
        }
        let took = match &held.stage {
            Stage::Sent(work, since) => {
                self.sent_bytes = self.sent_bytes.saturating_sub(work.length());
                self.killed -= usize::from(held.killed.is_some() && self.killed > 0);
                io.now.saturating_duration_since(*since)
            }
            Stage::Arriving(..) | Stage::Ready(_) => Duration::ZERO,
        };
        self.speaks_for = (held.partition, held.attempt);
        if self.held.is_empty() {
            self.busy = io.now;
        }
        io.finished.push(Finished {
            id,
            partition: held.partition,
            attempt: held.attempt,
            ending,
            // Programs that live on have no directory for each partition.
            wrote: false,
            took,
        });
        Ok(())
    }
}
