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
        let (head, tail) = (stat.find('(')?, stat.rfind(')')?);
        let name = stat.get(head + 1..tail)?;
        if !name.starts_with(threads) {
            return None;
        }
        let fields: Vec<&str> = stat.get(tail + 1..)?.split_whitespace().collect();
        let field = |index: usize| fields.get(index)?.parse::<u64>().ok();
        // Fields 14 and 15 of the whole line.
        Some(field(11)? + field(12)?)
    });
    #[allow(clippy::cast_precision_loss)]
    let seconds = ticks.sum::<u64>() as f64 / 100.0;
    seconds
}
