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

/// How many bytes of anonymous and shared memory the process groups of these leaders hold. What has left its attempt's group is
/// not counted for the attempt.
pub(super) fn bytes_held(leaders: &[Pid]) -> Vec<u64> {
    let mut held = vec![0_u64; leaders.len()];
    for entry in fs::read_dir("/proc").into_iter().flatten().flatten() {
        // A process that ends meanwhile holds nothing.
        let Ok(stat) = fs::read_to_string(entry.path().join("stat")) else {
            continue;
        };
        let group = group_in(&stat);
        let place = leaders.iter().position(|leader| group == Some(leader.as_raw()));
        if let Some(bytes) = place.and_then(|place| held.get_mut(place)) {
            let status = fs::read_to_string(entry.path().join("status")).unwrap_or_default();
            *bytes = bytes.saturating_add(bytes_in(&status));
        }
    }
    held
}

/// The process group in a line of `/proc/PID/stat`.
fn group_in(stat: &str) -> Option<i32> {
    stat.rsplit_once(')')?.1.split_ascii_whitespace().nth(2)?.parse().ok()
}

/// What `/proc/PID/status` tells of anonymous and shared memory, in kB there.
fn bytes_in(status: &str) -> u64 {
    let fields = status.lines().filter_map(|line| line.split_once(':'));
    fields
        .filter(|(name, _)| matches!(*name, "RssAnon" | "RssShmem"))
        .filter_map(|(_, value)| value.trim().strip_suffix(" kB")?.parse::<u64>().ok())
        .fold(0, |sum, kilobytes| sum.saturating_add(kilobytes.saturating_mul(1024)))
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

#[cfg(test)]
mod tests {
    use super::{bytes_in, group_in, parent_in};

    #[test]
    fn a_name_may_hold_anything() {
        let stat = "77 (a) b (c)) S 12 34 56 0 -1 4194304";
        assert_eq!((parent_in(stat), group_in(stat)), (Some(12), Some(34)));
        assert_eq!(group_in("77 (sh"), None);
    }

    #[test]
    fn files_in_memory_are_not_held() {
        let status =
            "Name:\tsh\nVmRSS:\t    9000 kB\nRssAnon:\t     100 kB\nRssFile:\t    8000 kB\nRssShmem:\t       2 kB\n";
        assert_eq!(bytes_in(status), 102 * 1024);
        // A zombie has none.
        assert_eq!(bytes_in("Name:\tsh\n"), 0);
    }
}
