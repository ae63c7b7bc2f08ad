//! Workers and their shards over time: a lane for each worker, a bar for each shard. Pure.

use std::fmt::Write as _;

use braid_crds::worker::Mode;

use super::{
    html::text,
    shards::{End, Shard, Shards},
};
use crate::text::{clock, count};

const WIDTH: i64 = 900;
const LABEL: i64 = 170;
const LANE: i64 = 20;
const BAR: i64 = 14;
/// Lanes that are drawn; of more workers those that were busy longest.
const LANES: usize = 60;
/// Bars of one lane that are drawn apart; of more, neighbours of one step are drawn as one.
const BARS: usize = 300;

/// The picture, and a sentence about what it leaves out.
pub fn lanes(shards: &Shards, steps: &[String]) -> Option<(String, Option<String>)> {
    let (first, last) = shards.span.filter(|_| !shards.shards.is_empty())?;
    let span = last.saturating_sub(first).max(1);
    let mut of_worker: Vec<Vec<&Shard>> = vec![Vec::new(); shards.workers.len()];
    for shard in &shards.shards {
        if let Some(lane) = of_worker.get_mut(shard.worker) {
            lane.push(shard);
        }
    }
    let mut shown: Vec<usize> = (0..shards.workers.len()).collect();
    let busy = |worker: &usize| -> i64 {
        let lane = of_worker.get(*worker);
        lane.map_or(0, |lane| lane.iter().map(|shard| shard.millis()).sum())
    };
    shown.sort_by_key(|worker| std::cmp::Reverse(busy(worker)));
    shown.truncate(LANES);
    shown.sort_unstable();
    let left_out = (shards.workers.len() > shown.len()).then(|| {
        format!(
            "{} of {} workers: those that were busy longest.",
            shown.len(),
            count(shards.workers.len() as u64)
        )
    });
    let height = i64::try_from(shown.len()).unwrap_or(0) * LANE + 24;
    // Writing to a string cannot fail, here and below.
    let mut svg = String::new();
    let _ = writeln!(
        svg,
        "<svg class=\"lanes\" role=\"img\" aria-label=\"What each worker ran over time\" viewBox=\"0 0 {} {height}\">",
        LABEL + WIDTH
    );
    axis(&mut svg, span, height - 20);
    for (row, worker) in shown.iter().enumerate() {
        let y = i64::try_from(row).unwrap_or(0) * LANE;
        let name = shards.workers.get(*worker).map_or("", String::as_str);
        let _ = writeln!(
            svg,
            "<text class=\"lane\" x=\"{}\" y=\"{}\"><title>{}</title>{}</text>",
            LABEL - 8,
            y + BAR - 2,
            text(name, 100),
            text(&shortened(name), 26),
        );
        for bar in bars(of_worker.get(*worker).map_or(&[][..], Vec::as_slice)) {
            draw(&mut svg, &bar, steps, y, first, span);
        }
    }
    svg.push_str("</svg>\n");
    Some((svg, left_out))
}

/// The end of a long name: that is where names of one run differ.
fn shortened(name: &str) -> String {
    let letters = name.chars().count();
    if letters <= 24 {
        return name.to_owned();
    }
    let tail: String = name.chars().skip(letters - 23).collect();
    format!("…{tail}")
}

/// One or more shards that are drawn as one.
struct Bar {
    first: Shard,
    shards: usize,
    settled: u64,
    failed: u64,
    ended: i64,
}

fn bars(lane: &[&Shard]) -> Vec<Bar> {
    let merge = lane.len() > BARS;
    let mut bars: Vec<Bar> = Vec::new();
    for shard in lane {
        let plain = |shard: &Shard| shard.mode == Mode::Normal && shard.end == End::Sealed;
        match bars.last_mut() {
            Some(bar) if merge && plain(shard) && plain(&bar.first) && bar.first.step == shard.step => {
                bar.shards += 1;
                bar.settled = bar.settled.saturating_add(shard.settled());
                bar.failed = bar.failed.saturating_add(shard.failed);
                bar.ended = bar.ended.max(shard.ended);
            }
            _ => bars.push(Bar {
                first: (*shard).clone(),
                shards: 1,
                settled: shard.settled(),
                failed: shard.failed,
                ended: shard.ended,
            }),
        }
    }
    bars
}

fn draw(svg: &mut String, bar: &Bar, steps: &[String], y: i64, first: i64, span: i64) {
    let x = |at: i64| LABEL + scaled(at.saturating_sub(first), span);
    let (from, to) = (x(bar.first.began), x(bar.ended));
    let step = steps.iter().position(|step| *step == bar.first.step).unwrap_or(0) % 8;
    let mut classes = format!("s{step}");
    let mut told = String::new();
    match bar.first.mode {
        Mode::Normal => {}
        Mode::Suspect => {
            classes.push_str(" odd");
            told.push_str(", one partition at a time after a death");
        }
        Mode::Twin => {
            classes.push_str(" odd");
            told.push_str(", beside a slow one");
        }
        Mode::Plan => told.push_str(", listing the data"),
        Mode::Publish => told.push_str(", publishing files"),
    }
    match bar.first.end {
        End::Sealed => {}
        End::Taken => {
            classes.push_str(" taken");
            told.push_str(", taken back by the operator");
        }
        End::Open => {
            classes.push_str(" open");
            told.push_str(", not ended when last seen");
        }
    }
    let failed = if bar.failed > 0 {
        format!(", {} failed", count(bar.failed))
    } else {
        String::new()
    };
    let many = if bar.shards > 1 {
        format!("{} shards, ", count(bar.shards as u64))
    } else {
        String::new()
    };
    let took = u64::try_from(bar.ended.saturating_sub(bar.first.began)).unwrap_or(0);
    let _ = writeln!(
        svg,
        "<rect class=\"{classes}\" x=\"{from}\" y=\"{y}\" width=\"{}\" height=\"{BAR}\" rx=\"2\"><title>{}: {many}{} partitions from {} on in {}{failed}{told}</title></rect>",
        (to - from).max(1),
        text(&bar.first.step, 40),
        count(bar.settled),
        count(bar.first.start),
        clock(std::time::Duration::from_millis(took)),
    );
}

/// Where a time is on the axis.
pub fn scaled(millis: i64, span: i64) -> i64 {
    let place = i128::from(millis.clamp(0, span)) * i128::from(WIDTH);
    i64::try_from(place / i128::from(span.max(1))).unwrap_or(WIDTH)
}

/// Times below the lanes, in quarters.
fn axis(svg: &mut String, span: i64, bottom: i64) {
    for quarter in 0..=4 {
        let at = span / 4 * quarter;
        let x = LABEL + scaled(at, span);
        let anchor = match quarter {
            0 => "start",
            4 => "end",
            _ => "middle",
        };
        let time = std::time::Duration::from_millis(u64::try_from(at).unwrap_or(0));
        let _ = writeln!(
            svg,
            "<line class=\"grid\" x1=\"{x}\" x2=\"{x}\" y1=\"0\" y2=\"{bottom}\"/><text class=\"tick\" text-anchor=\"{anchor}\" x=\"{x}\" y=\"{}\">{}</text>",
            bottom + 14,
            clock(time),
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_stay_on_the_picture() {
        assert_eq!(0, scaled(-5, 10));
        assert_eq!(WIDTH, scaled(i64::MAX, 10));
        assert_eq!(WIDTH / 2 - 1, scaled(i64::MAX / 2, i64::MAX));
        assert_eq!(WIDTH / 2, scaled(5, 10));
    }

    #[test]
    fn many_shards_of_a_lane_are_few_bars() {
        let shard = |n: i64, step: &str| Shard {
            worker: 0,
            step: step.into(),
            start: 0,
            cursor: 2,
            failed: 1,
            began: n,
            ended: n + 1,
            mode: Mode::Normal,
            end: End::Sealed,
        };
        let all: Vec<Shard> = (0..1_000).map(|n| shard(n, if n < 600 { "a" } else { "b" })).collect();
        let refs: Vec<&Shard> = all.iter().collect();
        let told: Vec<_> = bars(&refs)
            .iter()
            .map(|bar| (bar.shards, bar.settled, bar.failed, bar.ended))
            .collect();
        assert_eq!(vec![(600, 1_200, 600, 600), (400, 800, 400, 1_000)], told);
        assert_eq!(3, bars(refs.get(..3).unwrap_or_default()).len());
    }
}
