//! The tables of a report. Pure.

use std::{fmt::Write as _, time::Duration};

use braid_crds::{Workflow, WorkflowStatus, worker::Mode};
use jiff::Timestamp;
use serde_json::Value;

use super::{
    html::{phase, row, table, text},
    shards::{End, Shard, Shards},
};
use crate::{
    program,
    summary::{Rank, entries, in_order},
    text::{clock, count, rate, value},
};

/// Rows of a table of shards or workers.
const ROWS: usize = 20;
/// Keys of a keyed result.
const KEYS: usize = 50;
/// Characters of a value.
const VALUE: usize = 200;

const N: bool = true;
const T: bool = false;

/// How each step ended.
pub fn steps(workflow: &Workflow, status: &WorkflowStatus, now: Timestamp) -> String {
    let mut rows = String::new();
    for (name, step) in in_order(workflow, status) {
        let counts = &step.partitions;
        let settled = counts.succeeded.saturating_add(counts.failed);
        let began = step.started_at.as_ref().map(|time| time.0);
        let took = began.map(|began| {
            let end = step.finished_at.as_ref().map_or(now, |time| time.0);
            Duration::try_from(end.duration_since(began)).unwrap_or_default()
        });
        let planned = step.plan.is_some();
        let number = |number: u64| if planned { count(number) } else { "–".to_owned() };
        rows.push_str(&row(&[
            (T, text(&name, 40)),
            (T, phase(step.phase)),
            (N, number(counts.total)),
            (N, number(counts.succeeded)),
            (N, number(counts.failed)),
            (N, number(step.retried)),
            (N, took.map_or_else(|| "–".to_owned(), clock)),
            (N, speed(settled, took)),
            (T, text(&step.message, 300)),
        ]));
    }
    let heads = [
        (T, "Step"),
        (T, "Phase"),
        (N, "Partitions"),
        (N, "Succeeded"),
        (N, "Failed"),
        (N, "Retried"),
        (N, "Time"),
        (N, "Speed"),
        (T, ""),
    ];
    table(&heads, &rows)
}

#[expect(clippy::cast_precision_loss, reason = "for people")]
fn speed(settled: u64, took: Option<Duration>) -> String {
    match took.map(|took| took.as_secs_f64()) {
        // Times of the API are in whole seconds: of less than one there is no speed.
        Some(seconds) if seconds >= 1.0 && settled > 0 => rate(settled as f64 / seconds),
        _ => "–".to_owned(),
    }
}

/// Why partitions failed, the commonest cause first, and how to see more.
pub fn failures(workflow: &Workflow, status: &WorkflowStatus) -> Option<String> {
    let mut rows = String::new();
    for (name, step) in in_order(workflow, status) {
        for cause in &step.failures {
            let command = format!(
                "{} logs {} {name} --partition {}",
                program::name(),
                kube::ResourceExt::name_any(workflow),
                cause.sample
            );
            rows.push_str(&row(&[
                (T, text(&name, 40)),
                (T, text(&cause.reason, 64)),
                (N, count(cause.count)),
                (T, text(&cause.message, 300)),
                (T, format!("<code>{}</code>", text(&command, 200))),
            ]));
        }
    }
    let heads = [
        (T, "Step"),
        (T, "Cause"),
        (N, "Partitions"),
        (T, "Last words"),
        (T, "Logs of the first"),
    ];
    (!rows.is_empty()).then(|| table(&heads, &rows))
}

/// Results of steps and outputs of the run.
pub fn results(workflow: &Workflow, status: &WorkflowStatus) -> Option<String> {
    let mut rows = String::new();
    let mut keyed = String::new();
    let mut add = |name: String, given: &Value, rank: Option<Rank>| match given {
        Value::Object(map) if map.len() > 3 => keyed.push_str(&keys(&name, map, rank)),
        given => rows.push_str(&row(&[(T, text(&name, VALUE)), (N, text(&value(given, VALUE), VALUE))])),
    };
    for ((name, step), spec) in in_order(workflow, status).zip(&workflow.spec.steps) {
        for result in &step.results {
            if let Some(given) = &result.value {
                let declared = spec.results.iter().find(|declared| declared.name == result.name);
                add(format!("{name}.{}", result.name), given, declared.and_then(Rank::of));
            }
        }
    }
    for (name, given) in &status.outputs {
        add(format!("outputs.{name}"), given, None);
    }
    if !rows.is_empty() {
        rows = table(&[(T, "Name"), (N, "Value")], &rows);
    }
    rows.push_str(&keyed);
    (!rows.is_empty()).then_some(rows)
}

/// The keys of a result, with a bar for those that are numbers.
fn keys(name: &str, map: &serde_json::Map<String, Value>, rank: Option<Rank>) -> String {
    let top = map.values().filter_map(Value::as_f64).fold(0.0, f64::max);
    let mut rows = String::new();
    for (key, given) in entries(map, rank).into_iter().take(KEYS) {
        let share = given
            .as_f64()
            .filter(|_| top > 0.0)
            .map(|given| (given / top * 100.0).clamp(0.0, 100.0));
        let bar = share.map_or_else(String::new, |share| {
            format!("<i class=\"bar\" style=\"width:{share:.1}%\"></i>")
        });
        rows.push_str(&row(&[
            (T, text(key, VALUE)),
            (N, text(&value(given, VALUE), VALUE)),
            (T, bar),
        ]));
    }
    let more = map.len().saturating_sub(KEYS);
    let more = if more > 0 {
        format!(
            "<p class=\"note\">{} more keys: <code>-o json</code> has all.</p>",
            count(more as u64)
        )
    } else {
        String::new()
    };
    format!(
        "<h3>{}</h3>{}{more}",
        text(name, VALUE),
        table(&[(T, "Key"), (N, "Value"), (T, "")], &rows)
    )
}

/// The shards that took longest for what they settled.
pub fn slowest(shards: &Shards) -> Option<String> {
    let mut all: Vec<(&Shard, i64)> = shards
        .shards
        .iter()
        .filter(|shard| {
            !matches!(shard.mode, Mode::Plan | Mode::Publish) && shard.end != End::Open && shard.settled() > 0
        })
        .map(|shard| {
            let each = shard.millis().saturating_mul(1_000) / i64::try_from(shard.settled()).unwrap_or(i64::MAX);
            (shard, each)
        })
        .collect();
    if all.len() < 4 {
        return None;
    }
    let mut of_step: std::collections::HashMap<&str, Vec<i64>> = std::collections::HashMap::new();
    for (shard, each) in &all {
        of_step.entry(&shard.step).or_default().push(*each);
    }
    let mut middle = std::collections::HashMap::new();
    for (step, mut each) in of_step {
        each.sort_unstable();
        middle.insert(step, each.get(each.len() / 2).copied().unwrap_or(0).max(1));
    }
    let slow = |(shard, each): &(&Shard, i64)| *each / middle.get(shard.step.as_str()).copied().unwrap_or(1);
    all.retain(|entry| slow(entry) >= 2);
    all.sort_by_key(|(_, each)| std::cmp::Reverse(*each));
    let mut rows = String::new();
    for (shard, each) in all.iter().take(ROWS) {
        let worker = shards.workers.get(shard.worker).map_or("", String::as_str);
        let micros = |micros: i64| clock_short(micros);
        rows.push_str(&row(&[
            (T, text(&shard.step, 40)),
            (T, text(worker, 100)),
            (
                N,
                format!("{}–{}", count(shard.start), count(shard.cursor.saturating_sub(1))),
            ),
            (
                N,
                clock(Duration::from_millis(u64::try_from(shard.millis()).unwrap_or(0))),
            ),
            (N, micros(*each)),
            (N, micros(middle.get(shard.step.as_str()).copied().unwrap_or(0))),
        ]));
    }
    let heads = [
        (T, "Step"),
        (T, "Worker"),
        (N, "Partitions"),
        (N, "Time"),
        (N, "Each"),
        (N, "Step's middle"),
    ];
    (!rows.is_empty()).then(|| table(&heads, &rows))
}

/// A time of microseconds.
fn clock_short(micros: i64) -> String {
    match u64::try_from(micros).unwrap_or(0) {
        micros @ 0..1_000 => format!("{micros} µs"),
        micros @ 1_000..1_000_000 => format!("{}.{} ms", micros / 1_000, micros % 1_000 / 100),
        micros => clock(Duration::from_micros(micros)),
    }
}

/// What each worker did.
pub fn workers(shards: &Shards) -> Option<String> {
    let (first, last) = shards.span.filter(|_| !shards.shards.is_empty())?;
    let span = last.saturating_sub(first).max(1);
    let mut all: Vec<(usize, u64, u64, i64, u64)> = (0..shards.workers.len()).map(|at| (at, 0, 0, 0, 0)).collect();
    for shard in &shards.shards {
        if let Some((_, count, settled, busy, taken)) = all.get_mut(shard.worker) {
            *count += 1;
            *settled = settled.saturating_add(shard.settled());
            *busy = busy.saturating_add(shard.millis());
            *taken += u64::from(shard.end == End::Taken);
        }
    }
    all.sort_by_key(|(_, _, settled, _, _)| std::cmp::Reverse(*settled));
    let mut rows = String::new();
    for (at, shards_of, settled, busy, taken) in all.iter().take(ROWS) {
        let share = (i128::from(*busy) * 100 / i128::from(span)).min(100);
        rows.push_str(&row(&[
            (T, text(shards.workers.get(*at).map_or("", String::as_str), 100)),
            (N, count(*shards_of)),
            (N, count(*settled)),
            (N, count(*taken)),
            (N, format!("{share} %")),
        ]));
    }
    let mut told = table(
        &[
            (T, "Worker"),
            (N, "Shards"),
            (N, "Partitions"),
            (N, "Taken back"),
            (N, "Busy"),
        ],
        &rows,
    );
    if let Some(more) = all.len().checked_sub(ROWS).filter(|more| *more > 0) {
        // Writing to a string cannot fail.
        let _ = write!(told, "<p class=\"note\">{} more workers.</p>", count(more as u64));
    }
    Some(told)
}
