//! Processes that descend from the shim, and their end.
//!
//! The shim is a subreaper (or PID 1): whoever loses its parent below it becomes its child. So "no child is left" proves
//! that nothing of an attempt runs any more, whatever it did with sessions and groups.

use std::fs;

use nix::sys::signal::{Signal, kill, killpg};
use nix::unistd::{Pid, getpgid};

/// Sends a signal to an attempt: its process group and, should it have changed its group, its first process.
pub(super) fn signal(leader: Pid, signal: Signal) {
    // ESRCH means that it has just ended, which is what was wanted.
    if killpg(leader, signal).is_err() || getpgid(Some(leader)).is_ok_and(|group| group != leader) {
        let _ = kill(leader, signal);
    }
}

/// Children of the shim that are nobody's first process: descendants that were orphaned. Each is remembered with the
/// number of the newest attempt that could have made it, so it can be ended once all of those have.
#[derive(Debug, Default)]
pub(super) struct Strays {
    seen: Vec<(Pid, u64)>,
}

impl Strays {
    /// Whether there were any at the last look.
    pub(super) fn any(&self) -> bool {
        !self.seen.is_empty()
    }

    /// Looks at the shim's children. `leaders` are the first processes of the running attempts, `newest` is the number
    /// of the newest attempt started, `oldest` that of the oldest one running. Kills those whose attempts have ended.
    pub(super) fn look(&mut self, leaders: &[Pid], newest: u64, oldest: Option<u64>) {
        let children = children();
        self.seen.retain(|(pid, _)| children.contains(pid));
        for pid in children {
            let group = getpgid(Some(pid)).ok();
            if leaders.iter().any(|leader| *leader == pid || group == Some(*leader)) {
                continue;
            }
            let number = self
                .seen
                .iter()
                .find(|(seen, _)| *seen == pid)
                .map(|(_, number)| *number);
            let number = number.unwrap_or_else(|| {
                self.seen.push((pid, newest));
                newest
            });
            if oldest.is_none_or(|oldest| oldest > number) {
                let _ = kill(pid, Signal::SIGKILL);
            }
        }
    }
}

/// The processes whose parent is the shim.
pub(super) fn children() -> Vec<Pid> {
    let me = Pid::this();
    match fs::read_to_string(format!("/proc/self/task/{me}/children")) {
        Ok(list) => list
            .split_ascii_whitespace()
            .filter_map(|pid| pid.parse().ok())
            .map(Pid::from_raw)
            .collect(),
        Err(_) => children_by_scan(me),
    }
}

/// The same for a kernel without that file.
fn children_by_scan(parent: Pid) -> Vec<Pid> {
    let Ok(entries) = fs::read_dir("/proc") else {
        return Vec::new();
    };
    let pids = entries
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok());
    pids.filter(|pid| {
        fs::read_to_string(format!("/proc/{pid}/stat")).is_ok_and(|stat| parent_in(&stat) == Some(parent.as_raw()))
    })
    .map(Pid::from_raw)
    .collect()
}

/// The parent in a line of `/proc/PID/stat`; the name in parentheses may hold anything.
pub(crate) fn parent_in(stat: &str) -> Option<i32> {
    stat.rsplit_once(')')?.1.split_ascii_whitespace().nth(1)?.parse().ok()
}
