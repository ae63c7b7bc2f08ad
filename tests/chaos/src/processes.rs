//! The processes of a run, as the kernel lists them: shims are this process's children, user code is what is below them.

use std::{collections::BTreeMap, fs};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};

/// The parents of all processes; those that end meanwhile are left out.
fn parents() -> BTreeMap<i32, i32> {
    let Ok(entries) = fs::read_dir("/proc") else {
        return BTreeMap::new();
    };
    entries
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
        .filter_map(|pid: i32| {
            let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
            // The name is in parentheses and may hold anything.
            let mut fields = stat.get(stat.rfind(')')? + 1..)?.split_whitespace();
            let state = fields.next()?;
            (state != "Z").then_some(())?;
            Some((pid, fields.next()?.parse().ok()?))
        })
        .collect()
}

fn below(roots: &[i32], parents: &BTreeMap<i32, i32>) -> Vec<i32> {
    let mut found: Vec<i32> = Vec::new();
    let mut level = roots.to_vec();
    while !level.is_empty() {
        level = parents
            .iter()
            .filter(|(_, parent)| level.contains(parent))
            .map(|(pid, _)| *pid)
            .collect();
        found.extend(&level);
    }
    found
}

/// The shims of a process.
pub fn shims(of: u32) -> Vec<i32> {
    let of = of.cast_signed();
    let parents = parents();
    parents
        .iter()
        .filter(|(_, parent)| **parent == of)
        .map(|(pid, _)| *pid)
        .collect()
}

/// What runs below some processes.
pub fn user_code(shims: &[i32]) -> Vec<i32> {
    below(shims, &parents())
}

/// Sends a signal; false: it is gone.
pub fn signal(pid: i32, signal: Signal) -> bool {
    kill(Pid::from_raw(pid), signal).is_ok()
}
