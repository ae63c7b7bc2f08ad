//! Telling an end for want of memory from other ends by SIGKILL.

use std::fs;
use std::path::{Path, PathBuf};

/// Counts the processes that the kernel has killed for want of memory in the shim's cgroup (version 2).
pub(super) struct OomKills {
    events: Option<PathBuf>,
    seen: u64,
}

impl OomKills {
    /// Begins to count. Where there is no such cgroup, nothing is ever counted.
    pub(super) fn watch() -> Self {
        let events = fs::read_to_string("/proc/self/cgroup")
            .ok()
            .and_then(|text| events_file(&text));
        let mut this = Self { events, seen: 0 };
        this.rose();
        this
    }

    /// Whether there were any since the last time this was asked.
    pub(super) fn rose(&mut self) -> bool {
        let text = self.events.as_deref().and_then(|path| fs::read_to_string(path).ok());
        let now = text.as_deref().and_then(kills).unwrap_or(self.seen);
        let before = std::mem::replace(&mut self.seen, now);
        now > before
    }
}

fn events_file(cgroup: &str) -> Option<PathBuf> {
    let path = cgroup.lines().find_map(|line| line.strip_prefix("0::/"))?;
    Some(Path::new("/sys/fs/cgroup").join(path).join("memory.events"))
}

fn kills(events: &str) -> Option<u64> {
    events
        .lines()
        .find_map(|line| line.strip_prefix("oom_kill "))?
        .trim()
        .parse()
        .ok()
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::{events_file, kills};

    #[test]
    fn reads_what_the_kernel_writes() {
        assert_eq!(
            events_file("1:name=systemd:/x\n0::/kubepods/pod1/c\n"),
            Some(PathBuf::from("/sys/fs/cgroup/kubepods/pod1/c/memory.events"))
        );
        assert_eq!(events_file("3:memory:/only/v1\n"), None);
        assert_eq!(
            kills("low 0\nhigh 0\nmax 17\noom 2\noom_kill 3\noom_group_kill 0\n"),
            Some(3)
        );
        assert_eq!(kills("low 0\n"), None);
    }
}
