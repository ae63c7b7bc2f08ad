//! The steps as a picture: columns by depth, an arrow from each step that another comes after. Pure.

use std::{collections::HashMap, fmt::Write as _};

use braid_crds::{Workflow, WorkflowStatus};

use braid_engine::dag::before;

use super::html::{class, text};
use crate::{summary::in_order, text::count};

const WIDTH: usize = 168;
const HEIGHT: usize = 50;
const ACROSS: usize = 64;
const DOWN: usize = 18;

/// The picture.
pub fn graph(workflow: &Workflow, status: &WorkflowStatus) -> String {
    let steps = &workflow.spec.steps;
    let waits: Vec<(&str, Vec<&str>)> = steps
        .iter()
        .map(|step| (step.name.as_str(), before(steps, step)))
        .collect();
    let depths = depths(&waits);
    let mut columns: Vec<Vec<&str>> = Vec::new();
    for step in steps {
        let depth = depths.get(step.name.as_str()).copied().unwrap_or(0);
        columns.resize_with(columns.len().max(depth + 1), Vec::new);
        if let Some(column) = columns.get_mut(depth) {
            column.push(&step.name);
        }
    }
    let tallest = columns.iter().map(Vec::len).max().unwrap_or(1);
    let height_of = |rows: usize| (rows * (HEIGHT + DOWN)).saturating_sub(DOWN);
    let (width, height) = (
        columns.len() * (WIDTH + ACROSS) - ACROSS.min(columns.len() * ACROSS),
        height_of(tallest),
    );
    let mut at: HashMap<&str, (usize, usize)> = HashMap::new();
    for (column, names) in columns.iter().enumerate() {
        let top = (height - height_of(names.len())) / 2;
        for (row, name) in names.iter().enumerate() {
            at.insert(name, (column * (WIDTH + ACROSS), top + row * (HEIGHT + DOWN)));
        }
    }
    // Writing to a string cannot fail, here and below.
    let mut svg = String::new();
    let _ = writeln!(
        svg,
        "<svg class=\"graph\" role=\"img\" aria-label=\"The steps and what each waits for\" viewBox=\"-2 -2 {} {}\" \
         style=\"max-width:{}px\">",
        width + 4,
        height + 4,
        width + 4
    );
    for step in steps {
        let Some((x, y)) = at.get(step.name.as_str()) else {
            continue;
        };
        for before in before(steps, step) {
            let Some((from_x, from_y)) = at.get(before) else {
                continue;
            };
            let (x0, y0, y1) = (from_x + WIDTH, from_y + HEIGHT / 2, y + HEIGHT / 2);
            let bend = x.saturating_sub(x0) / 2;
            let _ = writeln!(
                svg,
                "<path class=\"edge\" d=\"M{x0} {y0} C{} {y0} {} {y1} {} {y1}\"/><path class=\"head\" d=\"M{} {} l7 4 l-7 4 z\"/>",
                x0 + bend,
                x.saturating_sub(bend),
                x.saturating_sub(6),
                x.saturating_sub(7),
                y1.saturating_sub(4),
            );
        }
    }
    for (name, step) in in_order(workflow, status) {
        let Some((x, y)) = at.get(name.as_str()) else { continue };
        let counts = &step.partitions;
        let settled = counts.succeeded.saturating_add(counts.failed);
        let told = if step.plan.is_some() {
            format!("{} of {}", count(settled), count(counts.total))
        } else {
            format!("{:?}", step.phase)
        };
        let _ = writeln!(
            svg,
            "<g class=\"node {}\" transform=\"translate({x} {y})\"><title>{}: {:?}</title><rect width=\"{WIDTH}\" height=\"{HEIGHT}\" rx=\"8\"/>\
             <rect class=\"done\" width=\"{}\" height=\"4\" y=\"{}\" rx=\"2\"/>\
             <text x=\"12\" y=\"21\">{}</text><text class=\"sub\" x=\"12\" y=\"37\">{told}</text></g>",
            class(step.phase),
            text(&name, 40),
            step.phase,
            share(settled, counts.total),
            HEIGHT - 4,
            text(&name, 20),
        );
    }
    svg.push_str("</svg>\n");
    svg
}

/// How much of a box's width that is.
fn share(part: u64, whole: u64) -> u64 {
    let width = u128::from(part.min(whole)) * WIDTH as u128;
    u64::try_from(width.checked_div(u128::from(whole)).unwrap_or(0)).unwrap_or(0)
}

/// The longest way to each step. A step that waits for itself, which no server accepts, is not followed for ever.
fn depths<'a>(steps: &[(&'a str, Vec<&'a str>)]) -> HashMap<&'a str, usize> {
    let mut depths: HashMap<&str, usize> = steps.iter().map(|(name, _)| (*name, 0)).collect();
    for _ in 0..depths.len() {
        let mut changed = false;
        for (name, after) in steps {
            let least = after
                .iter()
                .filter_map(|before| depths.get(*before))
                .map(|depth| depth + 1)
                .max()
                .unwrap_or(0)
                .min(depths.len().saturating_sub(1));
            if let Some(depth) = depths.get_mut(*name).filter(|depth| **depth < least) {
                *depth = least;
                changed = true;
            }
        }
        if !changed {
            break;
        }
    }
    depths
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_step_is_behind_all_that_it_waits_for() {
        let steps = [
            ("d", vec!["b", "c"]),
            ("a", vec![]),
            ("c", vec!["b"]),
            ("b", vec!["a"]),
            ("x", vec!["x"]),
        ];
        let depths = depths(&steps);
        assert_eq!(
            [3, 0, 2, 1],
            ["d", "a", "c", "b"].map(|name| depths.get(name).copied().unwrap_or(99))
        );
        assert!(depths.get("x").is_some_and(|depth| *depth < 5));
    }

    #[test]
    fn shares_do_not_overflow() {
        assert_eq!(0, share(5, 0));
        assert_eq!(168, share(u64::MAX, u64::MAX));
        assert_eq!(84, share(1, 2));
    }
}
