//! What the kernel says of this process and its threads.

use std::fs;

/// Resident memory of this process now, in MiB.
pub fn rss_mib() -> f64 {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kib = line.and_then(|text| text.split_whitespace().next()?.parse::<f64>().ok());
    kib.unwrap_or(f64::NAN) / 1024.0
}

/// Seconds of processor time of the threads whose names begin so: user and system, to the tick of 10 ms.
pub fn cpu_seconds(threads: &str) -> f64 {
    let Ok(tasks) = fs::read_dir("/proc/self/task") else {
        return f64::NAN;
    };
    let ticks = tasks.filter_map(|task| {
        let stat = fs::read_to_string(task.ok()?.path().join("stat")).ok()?;
        let (name, ticks) = name_and_ticks(&stat)?;
        name.starts_with(threads).then_some(ticks)
    });
    seconds(ticks.sum())
}

/// Seconds of processor time of a process with all its threads: user and system, to the tick of 10 ms.
pub fn cpu_seconds_of(process: i32) -> f64 {
    let stat = fs::read_to_string(format!("/proc/{process}/stat")).unwrap_or_default();
    name_and_ticks(&stat).map_or(f64::NAN, |(_, ticks)| seconds(ticks))
}

fn name_and_ticks(stat: &str) -> Option<(&str, u64)> {
    let (head, tail) = (stat.find('(')?, stat.rfind(')')?);
    let fields: Vec<&str> = stat.get(tail + 1..)?.split_whitespace().collect();
    let field = |index: usize| fields.get(index)?.parse::<u64>().ok();
    // Fields 14 and 15 of the whole line.
    Some((stat.get(head + 1..tail)?, field(11)? + field(12)?))
}

#[allow(clippy::cast_precision_loss)]
fn seconds(ticks: u64) -> f64 {
    ticks as f64 / 100.0
}
