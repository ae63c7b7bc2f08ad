//! Long-lived programs of a runner: which service is meant, and what it needs.

use std::future::poll_fn;
use std::sync::Arc;
use std::task::Poll;

use bytes::Bytes;
use tokio::time::Instant;

use super::{ShimRunner, Slot};
use crate::frames::{FrameError, Outcome};
use crate::runner::connection::Place;
use crate::runner::logs::MarkedLine;
use crate::runner::placing::InputFailure;
use crate::runner::served::{Called, Io, Service};
use crate::runner::{Attempt, AttemptId, Program, RunnerError};

/// Waits for a reply to any service. May be dropped at any time; nothing is lost.
pub(super) async fn replied(slots: &mut [Slot]) -> (usize, Called) {
    poll_fn(|context| {
        for (at, slot) in slots.iter_mut().enumerate() {
            if let Some(service) = &mut slot.service
                && let Poll::Ready(called) = service.poll_reply(context)
            {
                return Poll::Ready((at, called));
            }
        }
        Poll::Pending
    })
    .await
}

impl ShimRunner {
    /// The service of a program that lives on.
    pub(super) fn service(&self, program: &Arc<Program>, slot: u8) -> Service {
        let alone = matches!(self.place, Place::Beside(_));
        Service::new(Arc::clone(program), slot, &self.limits, alone, Instant::now())
    }

    /// A service was answered.
    pub(super) fn called(&mut self, slot: usize, called: Called) {
        let mut io = Io {
            outbox: &mut self.outbox,
            finished: &mut self.finished,
            now: Instant::now(),
        };
        let service = self.slots.get_mut(slot).and_then(|slot| slot.service.as_mut());
        if let Some(Err(error)) = service.map(|service| service.called(called, &mut io)) {
            self.lose(error.to_string());
        }
    }

    pub(super) fn services(&self) -> impl Iterator<Item = &Service> {
        self.slots.iter().filter_map(|slot| slot.service.as_ref())
    }

    pub(super) fn services_mut(&mut self) -> impl Iterator<Item = &mut Service> {
        self.slots.iter_mut().filter_map(|slot| slot.service.as_mut())
    }

    /// Lets the first service that is meant do something, with what it needs. `None`: none is.
    fn with<T>(
        &mut self,
        meant: impl Fn(&Service) -> bool,
        act: impl FnOnce(&mut Service, &mut Io<'_>) -> T,
    ) -> Option<T> {
        let mut io = Io {
            outbox: &mut self.outbox,
            finished: &mut self.finished,
            now: Instant::now(),
        };
        let mut services = self.slots.iter_mut().filter_map(|slot| slot.service.as_mut());
        services
            .find(|service| meant(service))
            .map(|service| act(service, &mut io))
    }

    /// Lets all of them do something.
    fn with_all(
        &mut self,
        act: impl Fn(&mut Service, &mut Io<'_>) -> Result<(), FrameError>,
    ) -> Result<(), FrameError> {
        let mut io = Io {
            outbox: &mut self.outbox,
            finished: &mut self.finished,
            now: Instant::now(),
        };
        let mut services = self.slots.iter_mut().filter_map(|slot| slot.service.as_mut());
        services.try_for_each(|service| act(service, &mut io))
    }

    /// Takes an attempt for the service in this slot.
    pub(super) fn serve(&mut self, slot: u8, attempt: Attempt) -> Result<(), RunnerError> {
        self.uses += 1;
        let (uses, draining, partition) = (self.uses, self.draining, attempt.partition);
        let mut io = Io {
            outbox: &mut self.outbox,
            finished: &mut self.finished,
            now: Instant::now(),
        };
        let found = self.slots.get_mut(usize::from(slot));
        let Some(Slot {
            program,
            service: Some(service),
            last_used,
            ..
        }) = found
        else {
            return Err(RunnerError::UnknownProgram(attempt.program));
        };
        if draining || !service.has_room() {
            return Err(RunnerError::Full);
        }
        *last_used = uses;
        let step = Arc::clone(&program.step);
        service.take(attempt, &mut io).map_err(|source| RunnerError::TooLarge {
            what: format!("partition {partition} of step `{step}`"),
            source,
        })
    }

    /// What is due in services.
    pub(super) fn pump(&mut self) -> Result<(), FrameError> {
        if self.services().next().is_none() {
            return Ok(());
        }
        self.with_all(Service::pump)
    }

    /// When something is.
    pub(super) fn services_due(&self) -> Option<Instant> {
        self.services().filter_map(Service::next_due).min()
    }

    pub(super) fn output(&mut self, process: u64, data: &[u8]) -> Result<(), String> {
        let known = self.with(|service| service.is(process), |service, io| service.output(data, io));
        let known = known.ok_or_else(|| format!("it sent output of the unknown attempt {process}"))?;
        known.map_err(|error| error.to_string())
    }

    pub(super) fn stored(&mut self, attempt: AttemptId, place: Result<String, String>) -> Result<(), String> {
        // One that has been ended meanwhile is nobody's.
        let done = self.with(
            |service| service.holds(attempt),
            |service, io| service.stored(attempt, place, io),
        );
        done.unwrap_or(Ok(())).map_err(|error| error.to_string())
    }

    /// An attempt of a service cannot have its input.
    pub(super) fn unmade(&mut self, attempt: AttemptId, error: &InputFailure) {
        let (failure, message) = (error.failure(), error.to_string());
        let done = self.with(
            |service| service.holds(attempt),
            |service, io| service.fail(attempt, failure, message, io),
        );
        if let Some(Err(error)) = done {
            self.lose(error.to_string());
        }
    }

    pub(super) fn process_ended(&mut self, process: u64, outcome: Outcome, message: &str) -> Result<(), String> {
        self.outbox.forget(AttemptId(process));
        let known = self.with(
            |service| service.is(process),
            |service, io| service.ended(outcome, message, io),
        );
        let known = known.ok_or_else(|| format!("it ended the unknown attempt {process}"))?;
        known.map_err(|error| error.to_string())
    }

    pub(super) fn kill_served(&mut self, attempt: AttemptId) -> Result<(), FrameError> {
        let done = self.with(
            |service| service.holds(attempt),
            |service, io| service.kill(attempt, io),
        );
        done.unwrap_or(Ok(()))
    }

    /// The program, the partition and the attempt to which a line of a process belongs, and the line.
    pub(super) fn speaks_for(&self, process: u64, line: Bytes) -> Option<(&Arc<Program>, u64, u32, Bytes)> {
        let mut slots = self.slots.iter();
        let (program, service) = slots.find_map(|slot| {
            let service = slot.service.as_ref().filter(|service| service.is(process))?;
            Some((&slot.program, service))
        })?;
        if let Some(own) = MarkedLine::read(&line) {
            return Some((program, own.partition, own.attempt, own.line));
        }
        let (partition, attempt) = service.speaks_for();
        Some((program, partition, attempt, line))
    }

    /// What all partitions of the program in this slot read cannot be read.
    pub(super) fn break_service_off(&mut self, slot: u8, why: &str) {
        let mut io = Io {
            outbox: &mut self.outbox,
            finished: &mut self.finished,
            now: Instant::now(),
        };
        let service = self.slots.get_mut(usize::from(slot));
        let service = service.and_then(|slot| slot.service.as_mut());
        if let Some(Err(error)) = service.map(|service| service.break_off(why, &mut io)) {
            self.lose(error.to_string());
        }
    }

    /// Ends those that have nothing to do.
    pub(super) fn retire_services(&mut self) {
        if let Err(error) = self.with_all(Service::retire) {
            self.lose(error.to_string());
        }
    }

    pub(super) fn services_lost(&mut self) {
        let outbox = &mut self.outbox;
        let services = self.slots.iter_mut().filter_map(|slot| slot.service.as_mut());
        services.for_each(|service| service.shim_lost(outbox));
    }

    pub(super) fn mourn_services(&mut self, why: &str) {
        if let Err(error) = self.with_all(|service, io| service.mourn(why, io)) {
            tracing::warn!(%error, "an attempt's files cannot be forgotten");
        }
    }

    /// Gives long-lived programs that have nothing to do the time to end by themselves.
    pub(super) async fn say_goodbye(&mut self) {
        let until = Instant::now() + self.limits.goodbye;
        self.retire_services();
        while self.connection.is_some() && self.services().any(Service::is_leaving) {
            if let Err(why) = self.exchange() {
                self.lose(why);
            }
            self.pass_lines_on();
            if tokio::time::timeout_at(until, self.wait()).await.is_err() {
                return;
            }
        }
    }
}
