//! Memory, as the kernel accounts for it: how near its limit is, and whether somebody was killed for it.
//!
//! The shim and all that it starts are one cgroup (in a container, the container's). When what cannot be given back
//! reaches [`HIGH_PERCENT`] of the limit, the shim ends the attempt that holds most: a failed attempt, where the kernel would
//! choose any process of the container, the shim included. Page cache is not counted: reading large files fills it, and the
//! kernel takes it back by itself. Shims that share a cgroup, as those of a local run do, each end one. Only the limit of the
//! shim's own cgroup is known, not one further up.
//!
//! An attempt that takes the rest between two looks is the kernel's. The kernel counts whom it kills, before it kills: an attempt that
//! a SIGKILL has ended, which the shim did not send, and since whose start that count has risen, was out of memory.

use std::fs::{self, File};
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// From so many hundredths of the limit on, an attempt is ended.
const HIGH_PERCENT: u64 = 95;

/// Attempts that together hold less than so many hundredths of the limit are not to blame.
const BLAME_PERCENT: u64 = 10;

/// Between two looks at most: while nothing grows.
pub(super) const LONGEST: Duration = Duration::from_millis(100);

/// Between two looks at least.
const SHORTEST: Duration = Duration::from_millis(4);

/// Memory that grows by so little between two looks is not hurried after.
const STEADY: u64 = 64 << 10;

/// No file that counts kills is as long.
const COUNTS: usize = 1024;

/// What version 1 says for "no limit" is the largest number of whole pages; nobody has half as much.
const NO_LIMIT: u64 = 1 << 62;

/// Where the kernel mounts cgroups.
const MOUNT: &str = "/sys/fs/cgroup";

/// The memory files of a cgroup.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Cgroup {
    directory: PathBuf,
    version: Version,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Version {
    One,
    Two,
}

/// How much of a limit is taken, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Level {
    pub(super) used: u64,
    pub(super) limit: u64,
}

impl Level {
    pub(super) fn is_high(self) -> bool {
        u128::from(self.used) * 100 >= u128::from(self.limit) * u128::from(HIGH_PERCENT)
    }

    /// After how long to look again, if so much was added in that time: in half the time in which it would be high at that pace,
    /// so that a pace that doubles meanwhile is still met.
    pub(super) fn look_after(self, grown: u64, during: Duration) -> Duration {
        if grown <= STEADY || self.is_high() {
            return LONGEST;
        }
        let high = u128::from(self.limit) * u128::from(HIGH_PERCENT) / 100;
        let left = high.saturating_sub(u128::from(self.used));
        let nanos = left.saturating_mul(during.as_nanos()) / u128::from(grown) / 2;
        Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX)).clamp(SHORTEST, LONGEST)
    }

    /// Which of the attempts that hold so many bytes is to be ended: the largest. None, if all of them hold next to nothing of
    /// the limit: then others in the cgroup have filled it, and ending attempts one after the other would not help.
    pub(super) fn blames(self, held: &[u64]) -> Option<usize> {
        let together: u128 = held.iter().copied().map(u128::from).sum();
        let (index, most) = held.iter().enumerate().max_by_key(|(_, bytes)| **bytes)?;
        let worth_it = *most > 0 && together * 100 >= u128::from(self.limit) * u128::from(BLAME_PERCENT);
        worth_it.then_some(index)
    }
}

impl Cgroup {
    /// The shim's own, or the one whose files are in `given`; `None`: nothing accounts for its memory.
    pub(super) fn find(given: Option<&Path>) -> Option<Self> {
        let places = match given {
            Some(directory) => vec![directory.to_owned()],
            None => places(&fs::read_to_string("/proc/self/cgroup").ok()?),
        };
        places
            .into_iter()
            .find(|directory| directory.join("memory.stat").exists())
            .map(|directory| {
                let version = if directory.join("memory.limit_in_bytes").exists() {
                    Version::One
                } else {
                    Version::Two
                };
                Self { directory, version }
            })
    }

    fn read(&self, file: &str) -> Option<String> {
        fs::read_to_string(self.directory.join(file)).ok()
    }

    fn limit(&self) -> Option<u64> {
        let file = match self.version {
            Version::One => "memory.limit_in_bytes",
            Version::Two => "memory.max",
        };
        limit(&self.read(file)?)
    }

    /// How much is taken now; `None`: there is no limit. Both are read each time: a limit may be changed at any time.
    pub(super) fn level(&self) -> Option<Level> {
        let limit = self.limit()?;
        let used = used(self.version, &self.read("memory.stat")?)?;
        Some(Level { used, limit })
    }

    /// Whether there is a limit to watch.
    pub(super) fn is_limited(&self) -> bool {
        self.limit().is_some()
    }

    /// The file in which the kernel counts whom it has killed here. That of version 2 counts for the cgroups below, too, and so holds
    /// all that `memory.events.local` does.
    fn kills(&self) -> Option<File> {
        let file = match self.version {
            Version::One => "memory.oom_control",
            Version::Two => "memory.events",
        };
        File::open(self.directory.join(file)).ok()
    }
}

/// Counts the processes that the kernel has killed for want of memory in the shim's cgroup.
pub(super) struct OomKills {
    /// Kept open: it is read at each attempt's start.
    counts: Option<File>,
    /// So many were answered for by an attempt, or are nobody's here.
    answered: u64,
}

impl OomKills {
    /// Begins to count. Where there is no such cgroup, or its kernel does not count, nothing is ever counted.
    pub(super) fn watch(cgroup: Option<&Cgroup>) -> Self {
        let mut this = Self {
            counts: cgroup.and_then(Cgroup::kills),
            answered: 0,
        };
        this.answered = this.count();
        this
    }

    /// How many there were up to now.
    pub(super) fn count(&self) -> u64 {
        let mut text = [0; COUNTS];
        let read = self.counts.as_ref().and_then(|file| file.read_at(&mut text, 0).ok());
        let text = text.get(..read.unwrap_or(0)).unwrap_or_default();
        let count = std::str::from_utf8(text).ok().and_then(|text| number(text, "oom_kill"));
        count.unwrap_or(self.answered)
    }

    /// Whether an attempt, at whose start there were so many, may have been killed by the kernel: then it answers for one, which no
    /// other attempt can any more.
    pub(super) fn answers(&mut self, at_start: u64) -> bool {
        let accounted = self.answered.max(at_start);
        let killed = self.count() > accounted;
        if killed {
            self.answered = accounted.saturating_add(1);
        }
        killed
    }
}

/// Where the memory files of a process may be, by its `/proc/PID/cgroup`. In a container that file may tell the path on the
/// host, while only the container's own part is mounted: so the mount itself comes last.
fn places(cgroup: &str) -> Vec<PathBuf> {
    let lines = || {
        cgroup
            .lines()
            .filter_map(|line| line.split_once(':')?.1.split_once(':'))
    };
    let one = lines().find(|(controllers, _)| controllers.split(',').any(|name| name == "memory"));
    let two = lines().find(|(controllers, _)| controllers.is_empty());
    let (mount, path) = match (one, two) {
        (Some((_, path)), _) => (Path::new(MOUNT).join("memory"), path),
        (None, Some((_, path))) => (PathBuf::from(MOUNT), path),
        (None, None) => return Vec::new(),
    };
    vec![mount.join(path.trim_start_matches('/')), mount]
}

fn limit(text: &str) -> Option<u64> {
    text.trim().parse().ok().filter(|limit| *limit < NO_LIMIT)
}

/// What cannot be given back: anonymous and shared memory.
fn used(version: Version, stat: &str) -> Option<u64> {
    let (anonymous, shared) = match version {
        Version::One => ("total_rss", "total_shmem"),
        Version::Two => ("anon", "shmem"),
    };
    let anonymous = number(stat, anonymous)?;
    Some(anonymous.saturating_add(number(stat, shared).unwrap_or(0)))
}

/// The number behind a word in a file of such lines.
fn number(text: &str, word: &str) -> Option<u64> {
    let mut lines = text.lines().filter_map(|line| line.split_once(' '));
    lines.find(|(name, _)| *name == word)?.1.trim().parse().ok()
}

#[cfg(test)]
mod tests;
