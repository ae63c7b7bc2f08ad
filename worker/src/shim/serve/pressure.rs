//! Watching memory while attempts run, and ending one before the kernel would.

use nix::unistd::Pid;

use super::Server;
use crate::shim::clock::Moment;
use crate::shim::family;
use crate::shim::memory::{Cgroup, LONGEST, Level};
use crate::shim::running::{Cause, Running};

/// A cgroup with a limit. Where there is none, there is nothing to watch and it costs nothing.
pub(super) struct Pressure {
    cgroup: Cgroup,
    next: Option<Moment>,
    /// When it was looked at last, and what was taken.
    last: Option<(Moment, u64)>,
}

impl Pressure {
    pub(super) fn watch(cgroup: Option<&Cgroup>) -> Option<Self> {
        let cgroup = cgroup.filter(|cgroup| cgroup.is_limited())?.clone();
        Some(Self {
            cgroup,
            next: None,
            last: None,
        })
    }

    /// Looks, and says when to look again: the sooner, the faster it fills.
    fn look(&mut self, now: Moment) -> Option<Level> {
        let level = self.cgroup.level();
        let pause = level.zip(self.last).map_or(LONGEST, |(level, (then, before))| {
            level.look_after(level.used.saturating_sub(before), now.since(then))
        });
        self.next = Some(now.after(pause));
        self.last = level.map(|level| (now, level.used));
        level
    }
}

impl Server {
    /// When memory is to be looked at; only while something runs.
    pub(super) fn next_look(&self, now: Moment) -> Option<Moment> {
        let pressure = self.pressure.as_ref()?;
        let runs = self.running.iter().any(|running| !running.has_exited());
        // One that is overdue is made at whatever happens next.
        runs.then(|| pressure.next.filter(|next| *next > now).unwrap_or(now.after(LONGEST)))
    }

    /// Looks, if it is time, and ends the attempt that holds most if little is left. One at a time: what it held is free
    /// only when it has ended.
    pub(super) fn relieve(&mut self, now: Moment) {
        let Some(pressure) = &mut self.pressure else { return };
        let runs = self.running.iter().any(|running| !running.has_exited());
        if !runs || pressure.next.is_some_and(|next| next > now) {
            return;
        }
        let level = pressure.look(now);
        if self.running.iter().any(Running::is_dying) {
            return;
        }
        let Some(level) = level.filter(|level| level.is_high()) else {
            return;
        };
        let living: Vec<&mut Running> = self
            .running
            .iter_mut()
            .filter(|running| !running.has_exited())
            .collect();
        let leaders: Vec<Pid> = living.iter().map(|running| running.leader).collect();
        let held = family::bytes_held(&leaders);
        if let Some(largest) = level.blames(&held).and_then(|index| living.into_iter().nth(index)) {
            largest.why = Some(format!(
                "ended because memory ran out: {} of {} bytes were taken",
                level.used, level.limit
            ));
            largest.end_at_once(Cause::OutOfMemory);
        }
    }
}
