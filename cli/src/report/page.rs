//! The page as a whole. Pure.

use std::fmt::Write as _;

use braid_crds::{Workflow, WorkflowStatus};
use jiff::Timestamp;
use kube::ResourceExt as _;

use super::{
    chart, graph,
    html::{phase, text},
    lanes,
    shards::{self, Shards},
    tables,
};
use crate::{
    summary::time_of,
    text::{clock, count, value},
    timeline::Timeline,
};

/// The look: light and dark as the reader has it.
const STYLE: &str = include_str!("page.css");

/// The page.
pub fn page(workflow: &Workflow, timeline: &Timeline, now: Timestamp) -> String {
    let status = workflow.status.clone().unwrap_or_default();
    let names: Vec<String> = workflow.spec.steps.iter().map(|step| step.name.clone()).collect();
    let shards = shards::shards(timeline);
    let name = text(&workflow.name_any(), 100);
    let mut page = format!(
        "<!DOCTYPE html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><meta name=\"viewport\" content=\"width=device-width\">\
         <title>{name}</title><style>{STYLE}</style></head><body><main>\n"
    );
    head(&mut page, workflow, &status, now);
    tiles(&mut page, &status, &shards, now);
    section(
        &mut page,
        "Steps",
        &(graph::graph(workflow, &status) + &tables::steps(workflow, &status, now)),
    );
    if let Some(failures) = tables::failures(workflow, &status) {
        section(&mut page, "Failures by cause", &failures);
    }
    if let Some(results) = tables::results(workflow, &status) {
        section(
            &mut page,
            if status.phase.is_terminal() {
                "Results"
            } else {
                "Results so far"
            },
            &results,
        );
    }
    match lanes::lanes(&shards, &names) {
        Some((picture, left_out)) => {
            let mut body = legend(&names, &shards);
            body.push_str(&picture);
            if let Some(left_out) = left_out {
                let _ = write!(body, "<p class=\"note\">{}</p>", text(&left_out, 200));
            }
            section(&mut page, "Workers over time", &body);
        }
        None => section(
            &mut page,
            "Workers over time",
            "<p class=\"note\">No timeline was kept of this run. <code>braid run</code> keeps one by itself; in a cluster \
             <code>braid watch NAME --timeline FILE</code> does while the run goes on.</p>",
        ),
    }
    if let Some(speeds) = chart::speeds(timeline, shards.span, &names) {
        section(&mut page, "Partitions per second", &speeds);
    }
    if let Some(slowest) = tables::slowest(&shards) {
        section(&mut page, "Slow shards: at least twice their step's middle", &slowest);
    }
    if let Some(workers) = tables::workers(&shards) {
        section(&mut page, "Workers", &workers);
    }
    foot(&mut page, timeline, &shards, now);
    page.push_str("</main></body></html>\n");
    page
}

fn section(page: &mut String, title: &str, body: &str) {
    // Writing to a string cannot fail, here and below.
    let _ = writeln!(page, "<section><h2>{title}</h2>\n{body}</section>");
}

fn head(page: &mut String, workflow: &Workflow, status: &WorkflowStatus, now: Timestamp) {
    let _ = write!(
        page,
        "<header><h1>{}</h1>{}",
        text(&workflow.name_any(), 100),
        phase(status.phase)
    );
    let mut facts = Vec::new();
    if let Some(started) = &status.started_at {
        facts.push(format!("started {}", started.0));
    }
    if let Some(took) = time_of(status, now) {
        facts.push(format!(
            "{} {}",
            if status.phase.is_terminal() { "took" } else { "for" },
            clock(took)
        ));
    }
    for param in &workflow.spec.params {
        if let Some(given) = param.value.as_ref().or(param.default.as_ref()) {
            facts.push(format!("{} = {}", param.name, value(given, 60)));
        }
    }
    let facts: Vec<String> = facts.iter().map(|fact| text(fact, 200)).collect();
    let _ = write!(page, "<p class=\"facts\">{}</p>", facts.join(" · "));
    let message = status.summary.as_ref().map_or("", |summary| summary.message.as_str());
    if !message.is_empty() {
        let _ = write!(page, "<p class=\"message\">{}</p>", text(message, 600));
    }
    page.push_str("</header>\n");
}

fn tiles(page: &mut String, status: &WorkflowStatus, shards: &Shards, now: Timestamp) {
    let sum = |of: fn(&braid_crds::status::StepStatus) -> u64| {
        status
            .steps
            .iter()
            .fold(0_u64, |sum, step| sum.saturating_add(of(step)))
    };
    let settled = sum(|step| step.partitions.succeeded.saturating_add(step.partitions.failed));
    let total = sum(|step| step.partitions.total);
    let failed = sum(|step| step.partitions.failed);
    let mut all = vec![
        (
            "partitions",
            if settled == total {
                count(total)
            } else {
                format!("{} of {}", count(settled), count(total))
            },
        ),
        ("failed", count(failed)),
        ("tried again", count(sum(|step| step.retried))),
    ];
    if !shards.workers.is_empty() {
        all.push(("workers", count(shards.workers.len() as u64)));
        all.push(("shards", count(shards.shards.len() as u64)));
    }
    if let Some(took) = time_of(status, now) {
        all.push(("time", clock(took)));
    }
    page.push_str("<div class=\"tiles\">");
    for (what, number) in all {
        let bad = if what == "failed" && failed > 0 {
            " class=\"bad\""
        } else {
            ""
        };
        let _ = write!(page, "<div><b{bad}>{number}</b><span>{what}</span></div>");
    }
    page.push_str("</div>\n");
}

/// Which colour is which step, as far as it has shards.
fn legend(names: &[String], shards: &Shards) -> String {
    let mut legend = String::from("<p class=\"legend\">");
    for (place, name) in names.iter().enumerate() {
        if shards.shards.iter().any(|shard| shard.step == *name) {
            let _ = write!(
                legend,
                "<span><i class=\"s{}\"></i>{}</span>",
                place % 8,
                text(name, 40)
            );
        }
    }
    legend.push_str("<span><i class=\"key taken\"></i>taken back</span><span><i class=\"key odd\"></i>twin, or one by one</span></p>\n");
    legend
}

fn foot(page: &mut String, timeline: &Timeline, shards: &Shards, now: Timestamp) {
    let mut notes = vec![format!("Made at {now} by braid {}.", env!("CARGO_PKG_VERSION"))];
    if shards.cut {
        notes.push("The timeline was full before the run had ended: what came later is not in it.".to_owned());
    }
    if timeline.unreadable > 0 {
        notes.push(format!(
            "{} lines of the timeline could not be read.",
            count(timeline.unreadable as u64)
        ));
    }
    if !shards.shards.is_empty() {
        notes.push(
            "A bar begins when its worker can have begun the shard, and ends when the shard was sealed, both as seen by the watcher."
                .to_owned(),
        );
    }
    let _ = writeln!(page, "<footer>{}</footer>", text(&notes.join(" "), 1_000));
}

#[cfg(test)]
mod tests;
