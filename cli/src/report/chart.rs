//! How fast the steps went over time. Pure.

use std::{collections::BTreeMap, fmt::Write as _};

use super::{html::text, lanes::scaled};
use crate::{
    text::{clock, rate},
    timeline::{Timeline, What},
};

const HEIGHT: f64 = 150.0;
const LABEL: i64 = 170;
const WIDTH: i64 = 900;
const BINS: i64 = 90;
/// The shortest bin: what is seen at all is seen at most so often.
const BIN_MILLIS: i64 = 500;

/// The picture: partitions per second of each step.
pub fn speeds(timeline: &Timeline, span: Option<(i64, i64)>, steps: &[String]) -> Option<String> {
    let (first, last) = span?;
    let all = last.saturating_sub(first).max(1);
    let bin = (all / BINS).max(BIN_MILLIS);
    let mut settled: BTreeMap<usize, Vec<(i64, u64)>> = BTreeMap::new();
    for entry in &timeline.entries {
        if let What::Step {
            step,
            succeeded,
            failed,
            ..
        } = &entry.what
            && let Some(place) = steps.iter().position(|known| known == step)
        {
            let count = succeeded.saturating_add(*failed);
            settled.entry(place).or_default().push((entry.at, count));
        }
    }
    let series: Vec<(usize, Vec<f64>)> = settled
        .into_iter()
        .map(|(step, seen)| (step, speed(&seen, first, all, bin)))
        .filter(|(_, speeds)| speeds.iter().any(|speed| *speed > 0.0))
        .collect();
    let top = series
        .iter()
        .flat_map(|(_, speeds)| speeds)
        .copied()
        .fold(0.0, f64::max);
    if top <= 0.0 {
        return None;
    }
    // Writing to a string cannot fail, here and below.
    let mut svg = String::new();
    let _ = writeln!(
        svg,
        "<svg class=\"chart\" role=\"img\" aria-label=\"Partitions per second over time\" viewBox=\"0 0 {} {}\">",
        LABEL + WIDTH,
        HEIGHT + 24.0
    );
    for part in [0.0, 0.5, 1.0] {
        let y = HEIGHT - (HEIGHT - 8.0) * part;
        let _ = writeln!(
            svg,
            "<line class=\"grid\" x1=\"{LABEL}\" x2=\"{}\" y1=\"{y:.1}\" y2=\"{y:.1}\"/><text class=\"tick\" text-anchor=\"end\" x=\"{}\" y=\"{:.1}\">{}</text>",
            LABEL + WIDTH,
            LABEL - 8,
            y + 4.0,
            rate(top * part),
        );
    }
    for (step, speeds) in &series {
        let mut points = String::new();
        let mut at = 0_i64;
        for speed in speeds {
            let y = HEIGHT - (HEIGHT - 8.0) * speed / top;
            let (from, to) = (LABEL + scaled(at, all), LABEL + scaled(at.saturating_add(bin), all));
            let _ = write!(points, "{from},{y:.1} {to},{y:.1} ");
            at = at.saturating_add(bin);
        }
        let name = steps.get(*step).map_or("", String::as_str);
        let _ = writeln!(
            svg,
            "<polyline class=\"s{}\" points=\"{points}\"><title>{}</title></polyline>",
            step % 8,
            text(name, 40)
        );
    }
    let whole = std::time::Duration::from_millis(u64::try_from(all).unwrap_or(0));
    let _ = writeln!(
        svg,
        "<text class=\"tick\" x=\"{LABEL}\" y=\"{0}\">0s</text><text class=\"tick\" text-anchor=\"end\" x=\"{1}\" y=\"{0}\">{2}</text></svg>",
        HEIGHT + 16.0,
        LABEL + WIDTH,
        clock(whole)
    );
    Some(svg)
}

/// Partitions per second in each bin: between two sights partitions are taken to have settled evenly.
#[expect(clippy::cast_precision_loss, reason = "for a picture")]
fn speed(seen: &[(i64, u64)], first: i64, all: i64, bin: i64) -> Vec<f64> {
    let bins = usize::try_from(all / bin + 1).unwrap_or(1);
    let mut counts = vec![0.0; bins];
    for pair in seen.windows(2) {
        let [(from, before), (to, after)] = pair else { continue };
        // A retry opens partitions again; that is no speed.
        let gained = after.saturating_sub(*before) as f64;
        let (from, to) = (from.saturating_sub(first).max(0), to.saturating_sub(first).max(0));
        let length = (to - from).max(1) as f64;
        for (place, count) in counts.iter_mut().enumerate() {
            let start = i64::try_from(place).unwrap_or(i64::MAX).saturating_mul(bin);
            let end = start.saturating_add(bin);
            let overlap = end.min(to.max(from + 1)).saturating_sub(start.max(from)).max(0);
            *count += gained * overlap as f64 / length;
        }
    }
    counts.into_iter().map(|count| count * 1_000.0 / bin as f64).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_settles_is_somewhere_in_the_bins() {
        let seen = [(1_000, 0), (2_000, 100), (2_000, 100), (4_500, 600), (4_600, 10)];
        let speeds = speed(&seen, 1_000, 4_000, 500);
        assert_eq!(9, speeds.len());
        let sum: f64 = speeds.iter().map(|speed| speed * 0.5).sum();
        assert!((sum - 600.0).abs() < 1e-6, "{sum}");
        assert!(speeds.first().is_some_and(|speed| (speed - 100.0).abs() < 1e-6));
    }
}
