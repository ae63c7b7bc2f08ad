//! The end of processes: those that ended are waited for, those that must not be left are killed.

use std::os::fd::AsFd;
use std::time::Duration;

use nix::poll::{PollFd, PollFlags, poll};
use nix::sys::signal::Signal;
use rustix::io::Errno;
use rustix::process::{Pid, WaitId, WaitIdOptions, WaitOptions, wait, waitid, waitpid};

use super::Server;
use crate::shim::clock::Moment;
use crate::shim::family;
use crate::shim::running::Running;
use crate::shim::{ShimError, now};

/// How long the end of killed processes is waited for.
const LAST_WAIT: Duration = Duration::from_secs(2);

impl Server {
    pub(super) fn signalled(&mut self) -> Result<(), ShimError> {
        self.signals.drain();
        self.reap()
    }

    /// Waits for all that have ended.
    fn reap(&mut self) -> Result<(), ShimError> {
        let now = now()?;
        let mut ended = false;
        for running in self.running.iter_mut().filter(|running| !running.has_exited()) {
            let Some(leader) = Pid::from_raw(running.leader.as_raw()) else {
                continue;
            };
            let peek = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
            if waitid(WaitId::Pid(leader), peek).map_err(failed)?.is_none() {
                continue;
            }
            // Its group is killed while it is still a zombie: so its number cannot be somebody else's by now.
            family::signal(running.leader, Signal::SIGKILL);
            if let Some((_, status)) = waitpid(Some(leader), WaitOptions::NOHANG).map_err(failed)? {
                running.exited(status, now.after(self.drain));
                ended = true;
            }
        }
        let alone = self.reap_strays(now, &mut ended)?;
        self.quiet_by = None;
        if !alone {
            let leaders: Vec<_> = self
                .running
                .iter()
                .filter(|running| !running.has_exited())
                .map(|running| running.leader)
                .collect();
            if ended || leaders.is_empty() || self.strays.any() {
                let oldest = self
                    .running
                    .iter()
                    .filter(|running| !running.has_exited())
                    .map(|running| running.number);
                self.strays.look(&leaders, self.started, oldest.min());
            }
            if leaders.is_empty() {
                self.quiet_by = Some(now.after(self.drain));
            }
        }
        Ok(())
    }

    /// Waits for the others. Says whether no child is left.
    fn reap_strays(&mut self, now: Moment, ended: &mut bool) -> Result<bool, ShimError> {
        loop {
            match wait(WaitOptions::NOHANG) {
                Ok(None) => return Ok(false),
                Err(Errno::CHILD) => return Ok(true),
                Err(Errno::INTR) => {}
                Err(error) => return Err(failed(error)),
                Ok(Some((pid, status))) => {
                    // One of ours, if it has ended since it was looked at. No other process can have its group's number
                    // so soon: numbers are given out in a circle.
                    let raw = pid.as_raw_nonzero().get();
                    let ours = |running: &&mut Running| running.leader.as_raw() == raw && !running.has_exited();
                    if let Some(running) = self.running.iter_mut().find(ours) {
                        family::signal(running.leader, Signal::SIGKILL);
                        running.exited(status, now.after(self.drain));
                        *ended = true;
                    }
                }
            }
        }
    }

    /// Kills all that descends from this process and waits until no child is left, within limits: what hangs in the kernel
    /// stays, and is an error.
    pub(super) fn end_everything(&mut self) -> Result<(), ShimError> {
        let by = now()?.after(LAST_WAIT);
        for running in &self.running {
            if !running.has_exited() {
                family::signal(running.leader, Signal::SIGKILL);
            }
        }
        while now()? < by {
            match wait(WaitOptions::NOHANG) {
                Err(Errno::CHILD) => return Ok(()),
                Ok(None) => {
                    for child in family::children() {
                        // ESRCH: it has just ended.
                        let _ = nix::sys::signal::kill(child, Signal::SIGKILL);
                    }
                    let mut fds = [PollFd::new(self.signals.as_fd(), PollFlags::POLLIN)];
                    // A wake-up of any kind: the loop looks again.
                    let _ = poll(&mut fds, 5_u8);
                    self.signals.drain();
                }
                _ => {}
            }
        }
        Err(ShimError::Left)
    }
}

fn failed(error: Errno) -> ShimError {
    ShimError::System("wait for processes", error.into())
}
