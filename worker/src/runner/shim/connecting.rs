//! The coming and going of shims: how one is started or waited for, greeted, given up, and what becomes of what it ran.
//!
//! A shim that is this process's child is buried, with all that it has started, before the next is started. One of another container
//! says by connecting again that nothing is left of what it ran; if it does not come back within `Limits::absence`, this worker
//! drains.

use std::time::Duration;

use tokio::time::{Instant, sleep_until, timeout_at};

use super::convert::frame;
use super::{ShimRunner, too_large};
use crate::frames::{LinkKey, ToShim};
use crate::runner::connection::{Connection, Place};
use crate::runner::filing::Piece;
use crate::runner::link::Accepted;
use crate::runner::{AttemptId, Ending, Failure, RunnerError};

impl ShimRunner {
    /// Sees to it that there is a shim, or waits for the time to start one.
    pub(super) async fn connect(&mut self) -> Result<(), RunnerError> {
        if let Some((burial, _)) = &mut self.burial {
            // A panic in there is none of the caller's business: the shim is as dead as it can be made.
            let _ = burial.await;
            if let Some((_, why)) = self.burial.take() {
                self.end_all_sent(&why);
            }
            return Ok(());
        }
        if let Some(moment) = self.not_before {
            sleep_until(moment).await;
            self.not_before = None;
        }
        let (connection, key) = match &mut self.place {
            Place::Here(command) => match Connection::open(command) {
                Ok(connection) => (connection, None),
                Err(source) => {
                    let command = command.program.display().to_string();
                    self.pause();
                    return Err(RunnerError::Spawn { command, source });
                }
            },
            Place::Beside(_) if self.draining && self.absent.is_some() => {
                self.mourn();
                return Ok(());
            }
            Place::Beside(link) => {
                let patience = self.absent.as_ref().map(|(since, _)| *since + self.limits.absence);
                let accepted = match patience.filter(|_| !self.draining) {
                    None => link.accept().await?,
                    Some(until) => {
                        let Ok(accepted) = timeout_at(until, link.accept()).await else {
                            tracing::warn!("the shim did not come back: nothing more is started here");
                            self.draining = true;
                            self.mourn();
                            return Ok(());
                        };
                        accepted?
                    }
                };
                // It connects only when nothing is left of what it ran.
                self.mourn();
                let Accepted { connection, key } = accepted;
                (connection, key)
            }
        };
        self.greet(connection, key)
    }

    /// Begins to talk with a new shim.
    fn greet(&mut self, connection: Connection, key: Option<LinkKey>) -> Result<(), RunnerError> {
        let programs = self
            .slots
            .iter()
            .zip(0_u8..)
            .map(|(slot, number)| (frame(number, &slot.program), slot.program.sides.get()));
        self.outbox.restart(programs).map_err(too_large("a program"))?;
        if let Some(key) = key {
            self.outbox.control(&ToShim::Key { key }).map_err(too_large("a key"))?;
        }
        tracing::debug!(pid = connection.pid(), "there is a shim");
        self.connection = Some(connection);
        let now = Instant::now();
        (self.heard, self.progress, self.asked, self.suspected) = (now, now, None, None);
        self.greeted = false;
        match self.lease {
            Some(lease) => self.send_lease(lease.saturating_duration_since(now)),
            None => Ok(()),
        }
    }

    /// Reports the attempts of a shim of another container.
    fn mourn(&mut self) {
        if let Some((_, why)) = self.absent.take() {
            self.end_all_sent(&why);
        }
    }

    pub(super) fn send_lease(&mut self, lease: Duration) -> Result<(), RunnerError> {
        let extend = ToShim::Extend {
            millis: u64::try_from(lease.as_millis()).unwrap_or(u64::MAX),
        };
        self.outbox.control(&extend).map_err(too_large("a lease"))
    }

    fn pause(&mut self) {
        let pause = self.limits.first_pause.saturating_mul(1 << self.failures.min(16));
        self.not_before = Some(Instant::now() + pause.min(self.limits.longest_pause));
        self.failures = self.failures.saturating_add(1);
    }

    /// Gives up a shim: kills it and all that it has started, then reports its attempts.
    pub(super) fn lose(&mut self, why: String) {
        let Some(connection) = self.connection.take() else {
            return;
        };
        self.services_lost();
        tracing::warn!(
            pid = connection.pid(),
            attempts = self.flights.len(),
            "the shim is lost: {why}"
        );
        match &self.place {
            Place::Here(_) => {
                let remains = connection.close();
                // No patience: its socket is closed or it cannot be trusted.
                self.burial = Some((tokio::task::spawn_blocking(move || remains.bury(Duration::ZERO)), why));
                self.pause();
            }
            // Dropped, which tells it to kill everything and to connect again.
            Place::Beside(_) => self.absent = Some((Instant::now(), why)),
        }
    }

    pub(super) fn end_all_sent(&mut self, why: &str) {
        let mut lost: Vec<AttemptId> = self
            .flights
            .iter()
            // What has ended with all its files is not lost.
            .filter(|(_, flight)| flight.sent && flight.ended.is_none())
            .map(|(id, _)| *id)
            .collect();
        lost.sort_unstable();
        for id in lost {
            self.outbox.forget(id);
            self.filing.take(id, Piece::Drop);
            self.end(id, Duration::ZERO, |_| Ending::Failed {
                failure: Failure::ShimDied,
                message: why.to_owned(),
            });
        }
        self.mourn_services(why);
    }
}
