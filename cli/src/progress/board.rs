//! What progress shows: the steps of a run, how far they are, how fast they go. Pure; time is an argument.

use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};

use braid_crds::{
    Workflow,
    status::{Phase, StepStatus},
};
use braid_engine::dag;
use jiff::Timestamp;

use crate::{
    summary::{colour, in_order, progressing, sign},
    text::{Colour, Tint, clean, clock, count, rate, value, width},
};

/// Speed is that of so long ago until now.
const WINDOW: Duration = Duration::from_secs(15);
/// Why nothing goes on is told after so long: workers need a moment to start.
const PATIENCE: Duration = Duration::from_secs(3);
/// Characters of a result's value.
const VALUE: usize = 30;
/// Of a running step, what turns.
const SPINNER: [&str; 10] = ["⠋", "⠙", "⠹", "⠸", "⠼", "⠴", "⠦", "⠧", "⠇", "⠏"];
/// Eighths of a cell.
const EIGHTHS: [&str; 8] = ["", "▏", "▎", "▍", "▌", "▋", "▊", "▉"];

/// How lines are drawn.
#[derive(Clone, Copy, Debug)]
pub struct Canvas {
    /// Columns.
    pub columns: usize,
    /// Lines.
    pub rows: usize,
    /// Colours.
    pub tint: Tint,
    /// Counts the drawings.
    pub frame: usize,
}

/// The steps of a run.
#[derive(Debug, Default)]
pub struct Board {
    phase: Phase,
    message: String,
    /// Since when nothing goes on, if nothing does.
    stalled_since: Option<Timestamp>,
    rows: Vec<Row>,
}

#[derive(Debug)]
struct Row {
    name: String,
    after: Vec<String>,
    /// Results that are maps by key: too much for a line.
    keyed: Vec<String>,
    step: StepStatus,
    speed: Speed,
}

#[derive(Debug, Default)]
struct Speed(VecDeque<(Instant, u64)>);

impl Speed {
    fn seen(&mut self, settled: u64, now: Instant) {
        if self.0.back().is_none_or(|(_, before)| *before != settled) {
            self.0.push_back((now, settled));
        }
        while self.0.len() > 2
            && self
                .0
                .front()
                .is_some_and(|(at, _)| now.saturating_duration_since(*at) > WINDOW)
        {
            self.0.pop_front();
        }
    }

    /// Partitions per second, when there is something to tell.
    #[expect(clippy::cast_precision_loss, reason = "for people")]
    fn per_second(&self, now: Instant) -> Option<f64> {
        let ((since, first), (_, last)) = (self.0.front()?, self.0.back()?);
        let seconds = now.saturating_duration_since(*since).as_secs_f64();
        (last > first && seconds >= 0.2).then(|| (last - first) as f64 / seconds)
    }
}

impl Row {
    fn settled(&self) -> u64 {
        let counts = &self.step.partitions;
        counts.succeeded.saturating_add(counts.failed)
    }

    fn is_active(&self) -> bool {
        matches!(
            self.step.phase,
            Phase::Running | Phase::Waiting | Phase::Paused | Phase::Suspended
        )
    }

    /// `61,234/100,000  2,031/s  failed 12  19s left`
    fn pace(&self, now: Instant, tint: Tint) -> Vec<String> {
        let (settled, total) = (self.settled(), self.step.partitions.total);
        let mut parts = vec![format!("{}/{}", count(settled), count(total))];
        if let Some(repeat) = &self.step.repeat {
            parts.insert(0, format!("round {}", repeat.rounds.saturating_add(1)));
        }
        let speed = self.speed.per_second(now).filter(|_| self.step.phase == Phase::Running);
        parts.extend(speed.map(rate));
        if self.step.partitions.failed > 0 {
            let failed = format!("failed {}", count(self.step.partitions.failed));
            parts.push(tint.paint(Colour::Red, &failed));
        }
        if !self.step.deferred.is_empty() {
            let retried = format!("to retry {}", count(self.step.deferred.len() as u64));
            parts.push(tint.paint(Colour::Yellow, &retried));
        }
        parts.extend(speed.and_then(|speed| left(total.saturating_sub(settled), speed)));
        parts
    }

    /// `round 3 is over, the next in 12s`
    fn between(&self, wall: Timestamp) -> String {
        let Some(repeat) = &self.step.repeat else {
            return String::new();
        };
        let left = repeat.next_at.unwrap_or_default().saturating_sub(wall.as_millisecond());
        let mut line = format!(
            "round {} is over, the next in {}s",
            repeat.rounds,
            left.max(0).unsigned_abs().div_ceil(1_000)
        );
        if let Some(results) = self.results() {
            line.push_str("   ");
            line.push_str(&results);
        }
        line
    }

    /// The newest values of plain results.
    fn results(&self) -> Option<String> {
        let shown: Vec<String> = self
            .step
            .results
            .iter()
            .filter(|result| !self.keyed.contains(&result.name))
            .filter_map(|result| {
                let about = if result.approximate { "≈" } else { "" };
                Some(format!(
                    "{} {about}{}",
                    result.name,
                    value(result.value.as_ref()?, VALUE)
                ))
            })
            .collect();
        (!shown.is_empty()).then(|| shown.join("   "))
    }

    fn waits_for(&self, rows: &[Row]) -> String {
        let open = |name: &&String| {
            rows.iter()
                .any(|row| row.name == **name && !row.step.phase.is_terminal())
        };
        let names: Vec<&str> = self.after.iter().filter(open).map(String::as_str).collect();
        if names.is_empty() {
            "begins".to_owned()
        } else {
            format!("waits for {}", names.join(", "))
        }
    }
}

#[expect(clippy::cast_precision_loss, reason = "for people")]
fn left(partitions: u64, per_second: f64) -> Option<String> {
    let time = Duration::try_from_secs_f64(partitions as f64 / per_second).ok()?;
    (partitions > 0).then(|| {
        format!(
            "{} left",
            clock(Duration::from_secs(time.as_secs().max(1))).replace(".0s", "s")
        )
    })
}

/// How much of the whole, in thousandths.
fn share(settled: u64, total: u64) -> usize {
    let share = u128::from(settled) * 1000 / u128::from(total.max(1));
    usize::try_from(share.min(1000)).unwrap_or(1000)
}

fn bar(share: usize, cells: usize) -> String {
    let eighths = share * cells * 8 / 1000;
    let part = EIGHTHS.get(eighths % 8).copied().unwrap_or_default();
    let mut bar = "█".repeat(eighths / 8);
    bar.push_str(part);
    let rest = cells.saturating_sub(width(&bar));
    bar.push_str(&" ".repeat(rest));
    bar
}

impl Board {
    /// Takes over what is known now.
    pub fn update(&mut self, workflow: &Workflow, now: Instant) {
        let status = workflow.status.clone().unwrap_or_default();
        self.phase = status.phase;
        self.message = status
            .summary
            .as_ref()
            .map_or_else(String::new, |summary| summary.message.clone());
        let stalled = progressing(&status).filter(|condition| condition.status == "False");
        self.stalled_since = stalled.map(|condition| condition.last_transition_time.0);
        let mut before = std::mem::take(&mut self.rows);
        for ((name, step), spec) in in_order(workflow, &status).zip(&workflow.spec.steps) {
            let known = before.iter_mut().find(|row| row.name == name);
            let mut row = Row {
                speed: known.map(|row| std::mem::take(&mut row.speed)).unwrap_or_default(),
                after: (dag::before(&workflow.spec.steps, spec).into_iter())
                    .map(str::to_owned)
                    .collect(),
                keyed: (spec.results.iter())
                    .filter(|result| result.keyed)
                    .map(|result| result.name.clone())
                    .collect(),
                name,
                step,
            };
            if row.is_active() {
                let settled = row.settled();
                row.speed.seen(settled, now);
            }
            self.rows.push(row);
        }
    }

    /// The live view.
    pub fn draw(&self, canvas: Canvas, now: Instant, wall: Timestamp) -> Vec<String> {
        let room = canvas.rows.saturating_sub(2).max(4);
        let names = self.rows.iter().map(|row| width(&row.name)).max().unwrap_or(0);
        let mut lines = Vec::new();
        // A tall run: what has ended and what has not begun take a line each.
        let tall = self.rows.len() * 2 > room;
        let (mut done, mut pending) = (0_usize, 0_usize);
        for row in &self.rows {
            match row.step.phase {
                Phase::Succeeded if tall => done += 1,
                Phase::Pending if tall => pending += 1,
                _ => lines.extend(self.row(row, names, canvas, now, wall)),
            }
        }
        if done > 0 {
            let sign = canvas.tint.paint(Colour::Green, "✔");
            lines.insert(0, format!(" {sign} done: {done} of {} steps", self.rows.len()));
        }
        if pending > 0 {
            let text = format!(" · to come: {pending} of {} steps", self.rows.len());
            lines.push(canvas.tint.paint(Colour::Dim, &text));
        }
        lines.truncate(room);
        if let Some(why) = self.why_idle(wall) {
            lines.push(canvas.tint.paint(Colour::Yellow, &format!("   {why}")));
        }
        lines
            .iter()
            .map(|line| console::truncate_str(line, canvas.columns, "…").into_owned())
            .collect()
    }

    /// Why nothing goes on, if nothing does.
    fn why_idle(&self, wall: Timestamp) -> Option<String> {
        if self.phase.is_terminal() || self.message.is_empty() {
            return None;
        }
        let runs = matches!(self.phase, Phase::Running | Phase::Planning);
        let stalled = self.stalled_since.is_some_and(|since| {
            let for_so_long = Duration::try_from(wall.duration_since(since)).unwrap_or_default();
            for_so_long >= PATIENCE
        });
        (!runs || stalled).then(|| clean(&self.message, 300))
    }

    fn row(&self, row: &Row, names: usize, canvas: Canvas, now: Instant, wall: Timestamp) -> Vec<String> {
        let tint = canvas.tint;
        let phase = row.step.phase;
        let sign = match phase {
            Phase::Running | Phase::Planning => SPINNER.get(canvas.frame % SPINNER.len()).copied().unwrap_or_default(),
            other => sign(other),
        };
        let sign = tint.paint(colour(phase), sign);
        let pad = " ".repeat(names.saturating_sub(width(&row.name)));
        let head = format!(" {sign} {}{pad}  ", row.name);
        let dim = |text: &str| tint.paint(Colour::Dim, text);
        match phase {
            Phase::Pending => vec![head + &dim(&row.waits_for(&self.rows))],
            Phase::Planning => vec![head + "lists the data"],
            Phase::Skipped => {
                let room = canvas.columns.saturating_sub(names + 18);
                let why = clean(&row.step.message, room);
                vec![head + &dim(format!("skipped  {why}").trim_end())]
            }
            _ if row.step.is_between_rounds() => vec![head + &row.between(wall)],
            Phase::Running | Phase::Waiting | Phase::Paused | Phase::Suspended => {
                let share = share(row.settled(), row.step.partitions.total);
                let cells = canvas.columns.saturating_sub(names + 62).clamp(8, 28);
                let drawn = tint.paint(colour(phase), &bar(share, cells));
                let pace = row.pace(now, tint).join("  ");
                let mut lines = vec![format!("{head}{drawn} {:>3}%  {pace}", share / 10)];
                if let Some(results) = row.results() {
                    let indent = " ".repeat(names + 5);
                    lines.push(format!("{indent}{results}   {}", dim("(so far)")));
                }
                lines
            }
            Phase::Succeeded | Phase::Failed | Phase::Cancelled | Phase::Stopped => {
                let counts = &row.step.partitions;
                let noun = if counts.total == 1 { "partition" } else { "partitions" };
                let mut line = format!("{head}{} {noun}", count(row.settled()));
                if counts.failed > 0 {
                    let failed = format!("  failed {}", count(counts.failed));
                    line.push_str(&tint.paint(Colour::Red, &failed));
                }
                if counts.stopped > 0 {
                    line.push_str(&tint.paint(Colour::Yellow, &format!("  left {}", count(counts.stopped))));
                }
                if let Some(repeat) = row.step.repeat.as_ref().filter(|repeat| repeat.rounds > 0) {
                    line.push_str(&dim(&format!("  rounds {}", repeat.rounds)));
                }
                if let Some(started) = &row.step.started_at {
                    let ended = row.step.finished_at.as_ref().map_or(wall, |time| time.0);
                    let took = Duration::try_from(ended.duration_since(started.0)).unwrap_or_default();
                    line.push_str(&dim(&format!("  {}", clock(took))));
                }
                vec![line]
            }
        }
    }

    /// A line for each step whose phase is not as it was told.
    pub fn changes(&self, told: &mut Vec<(String, Phase)>) -> Vec<String> {
        let mut lines = Vec::new();
        for row in &self.rows {
            let phase = row.step.phase;
            let known = told.iter_mut().find(|(name, _)| *name == row.name);
            let changed = if let Some((_, before)) = known {
                std::mem::replace(before, phase) != phase
            } else {
                told.push((row.name.clone(), phase));
                phase != Phase::Pending
            };
            if changed {
                let total = row.step.partitions.total;
                let detail = if row.step.plan.is_some() {
                    format!(", {} of {} partitions", count(row.settled()), count(total))
                } else {
                    String::new()
                };
                let failed = match row.step.partitions.failed {
                    0 => String::new(),
                    failed => format!(", {} failed", count(failed)),
                };
                let left = match row.step.partitions.stopped {
                    0 => String::new(),
                    left => format!(", {} left", count(left)),
                };
                let why = match phase {
                    Phase::Skipped => format!(": {}", clean(&row.step.message, 200)),
                    _ => String::new(),
                };
                lines.push(format!("{}: {phase:?}{detail}{failed}{left}{why}", row.name));
            }
        }
        lines
    }

    /// A line for each step at work, and why nothing goes on, if nothing does.
    pub fn working(&self, now: Instant, wall: Timestamp) -> Vec<String> {
        let active = self.rows.iter().filter(|row| row.is_active());
        let lines = active.map(|row| {
            let share = share(row.settled(), row.step.partitions.total);
            let mut parts = vec![format!("{}: {}%", row.name, share / 10)];
            parts.extend(row.pace(now, Tint(false)));
            parts.extend(row.results());
            parts.join("  ")
        });
        lines.chain(self.why_idle(wall)).collect()
    }
}

#[cfg(test)]
mod tests;
