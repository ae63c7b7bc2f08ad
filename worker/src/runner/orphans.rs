//! Finding and killing what a dead shim has left behind.
//!
//! A shim that ends by itself leaves nothing. One that was killed by SIGKILL cannot clean up, and its children become
//! somebody else's. They are found by the shim's mark in their environment, which all descendants inherit; with them go
//! their process groups and their descendants, marked or not. What wiped its environment, left its group and lost all
//! of its marked parents is not found.

use std::collections::{HashMap, HashSet};
use std::fs;
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::{Pid, getpgid};

use crate::shim::MARK;
use crate::shim::family::parent_in;

/// After so long the rest is left: it cannot be killed (it hangs in the kernel).
const LIMIT: Duration = Duration::from_secs(5);

/// Kills all that carries this mark, until a look finds nothing. Blocks.
pub(super) fn kill_marked(mark: &str) {
    let entry = format!("{MARK}={mark}").into_bytes();
    let started = Instant::now();
    loop {
        let found = marked(&entry);
        if found.is_empty() {
            return;
        }
        if started.elapsed() > LIMIT {
            tracing::warn!(processes = ?found, "processes of a dead shim do not end");
            return;
        }
        for pid in found {
            // ESRCH: it has just ended.
            let _ = kill(pid, Signal::SIGKILL);
        }
        thread::sleep(Duration::from_millis(2));
    }
}

/// The living processes with this entry in their environment, the members of their groups, and their descendants.
fn marked(entry: &[u8]) -> Vec<Pid> {
    let me = Pid::this();
    let processes: HashMap<Pid, Process> = all().collect();
    let mut found: HashSet<Pid> = HashSet::new();
    for pid in processes.keys() {
        // Of processes of other users it cannot be read: they are not ours.
        if fs::read(format!("/proc/{pid}/environ")).is_ok_and(|env| env.split(|byte| *byte == 0).any(|e| e == entry)) {
            found.insert(*pid);
        }
    }
    // Only groups that a marked process leads, or whose leader is dead: never the group of whoever started the shim.
    let mine = getpgid(None).ok();
    let groups: HashSet<Pid> = found
        .iter()
        .filter_map(|pid| processes.get(pid).map(|process| process.group))
        .collect();
    for (pid, process) in &processes {
        let group = process.group;
        let lost = found.contains(&group) || !processes.contains_key(&group);
        if groups.contains(&group) && Some(group) != mine && lost {
            found.insert(*pid);
        }
    }
    loop {
        let more: Vec<Pid> = processes
            .iter()
            .filter(|(pid, process)| !found.contains(pid) && found.contains(&process.parent))
            .map(|(pid, _)| *pid)
            .collect();
        if more.is_empty() {
            break;
        }
        found.extend(more);
    }
    found.remove(&me);
    found.into_iter().collect()
}

struct Process {
    parent: Pid,
    group: Pid,
}

/// All processes that are not zombies.
fn all() -> impl Iterator<Item = (Pid, Process)> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    entries.filter_map(|entry| {
        let pid: i32 = entry.file_name().to_str()?.parse().ok()?;
        let stat = fs::read_to_string(entry.path().join("stat")).ok()?;
        let parent = parent_in(&stat)?;
        let mut fields = stat.rsplit_once(')')?.1.split_ascii_whitespace();
        let state = fields.next()?;
        let group: i32 = fields.nth(1)?.parse().ok()?;
        let process = Process {
            parent: Pid::from_raw(parent),
            group: Pid::from_raw(group),
        };
        (!matches!(state, "Z" | "X")).then_some((Pid::from_raw(pid), process))
    })
}
