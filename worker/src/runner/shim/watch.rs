//! Judging a shim: it is asked when it is silent, and given up when it does not answer or does not end an attempt.

use std::time::Duration;

use tokio::time::Instant;

use super::ShimRunner;
use crate::frames::ToShim;
use crate::runner::served::Service;

impl ShimRunner {
    /// When the shim is to be asked or given up, unless it is heard before.
    pub(super) fn next_look(&self) -> Option<Instant> {
        if self.flights.is_empty() && !self.services().any(Service::is_live) {
            return None;
        }
        if let Some(suspected) = self.suspected {
            return Some(suspected + self.second_chance());
        }
        let silence = match self.asked {
            Some(asked) => asked + self.limits.silence,
            None => self.heard + self.limits.ask_after,
        };
        Some(self.stuck_at().map_or(silence, |stuck| stuck.min(silence)))
    }

    /// When an attempt must have ended, if all have a time-out.
    fn stuck_at(&self) -> Option<Instant> {
        if self.flights.is_empty() {
            // Of long-lived programs this side keeps the time.
            return None;
        }
        let mut longest = Duration::ZERO;
        for flight in self.flights.values() {
            longest = longest.max(flight.timeout?.saturating_add(flight.program.grace));
        }
        self.progress.checked_add(longest.saturating_add(self.limits.slack))
    }

    fn second_chance(&self) -> Duration {
        self.limits.ask_after.min(Duration::from_secs(1))
    }

    /// Judges a shim when it is time to. What it has sent has been read before.
    pub(super) fn look(&mut self) -> Result<(), String> {
        let now = Instant::now();
        if self.connection.is_none() || self.next_look().is_none_or(|moment| moment > now) {
            return Ok(());
        }
        let stuck = self.stuck_at().is_some_and(|moment| moment <= now);
        let silent = self.asked.is_some_and(|asked| asked + self.limits.silence <= now);
        if !stuck && !silent {
            self.suspected = None;
            if self.asked.is_none() {
                self.asked = Some(now);
                self.outbox
                    .control(&ToShim::Ping { nonce: 0 })
                    .map_err(|error| error.to_string())?;
            }
            return Ok(());
        }
        match self.suspected {
            None => {
                self.suspected = Some(now);
                Ok(())
            }
            Some(_) if stuck => Err("it did not end an attempt in time".to_owned()),
            Some(_) => Err("it does not answer".to_owned()),
        }
    }
}
