//! A run as people and programs read it.

use std::{cmp::Ordering, time::Duration};

use braid_crds::{
    GROUP, Workflow, WorkflowSpec,
    status::{FailureCause, Phase, StepStatus, WorkflowStatus},
    workflow::{Reduce, ResultSpec},
};
use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::ResourceExt as _;
use serde_json::{Map, Value, json};

use crate::{
    program,
    text::{Align, Colour, Table, Tint, clean, clock, count, value},
};

/// Keys of a keyed result that are shown; the JSON document has all.
const KEYS: usize = 20;
/// Characters of a value that are shown.
const VALUE: usize = 100;

/// The document of `-o json`: what the run has come to. Names and shapes are kept.
pub fn document(workflow: &Workflow) -> Value {
    let status = workflow.status.clone().unwrap_or_default();
    let steps: Map<String, Value> = in_order(workflow, &status)
        .map(|(name, step)| {
            let results: Map<String, Value> = step
                .results
                .iter()
                .map(|result| (result.name.clone(), result.value.clone().unwrap_or_default()))
                .collect();
            let counts = &step.partitions;
            let mut partitions = Map::new();
            partitions.insert("total".into(), counts.total.into());
            partitions.insert("succeeded".into(), counts.succeeded.into());
            partitions.insert("failed".into(), counts.failed.into());
            let mut document = Map::new();
            document.insert("phase".into(), json!(step.phase));
            // Only of steps that have such a thing.
            if counts.stopped > 0 {
                partitions.insert("stopped".into(), counts.stopped.into());
            }
            if let Some(repeat) = &step.repeat {
                document.insert("rounds".into(), repeat.rounds.into());
            }
            document.insert("partitions".into(), partitions.into());
            document.insert("results".into(), results.into());
            (name, document.into())
        })
        .collect();
    json!({"phase": status.phase, "outputs": status.outputs, "steps": steps})
}

/// The steps in the order of the file; one that has no record yet is pending.
pub fn in_order<'a>(
    workflow: &'a Workflow,
    status: &'a WorkflowStatus,
) -> impl Iterator<Item = (String, StepStatus)> + 'a {
    workflow.spec.steps.iter().map(|spec| {
        let known = status.steps.iter().find(|step| step.name == spec.name);
        (spec.name.clone(), known.cloned().unwrap_or_default())
    })
}

/// The run as `kubectl` names it.
pub fn qualified(workflow: &Workflow) -> String {
    format!("workflow.{GROUP}/{}", workflow.name_any())
}

/// Where a run's object is and whether a process runs it.
#[derive(Clone, Copy, Debug)]
pub struct Place<'a> {
    /// Whether it goes on.
    pub running: bool,
    /// What commands about this run are given to name it.
    pub name: &'a str,
}

/// Since when, or how long.
pub fn time_of(status: &WorkflowStatus, now: Timestamp) -> Option<Duration> {
    between(
        status.started_at.as_ref().map(|time| time.0),
        status.finished_at.as_ref().map(|time| time.0),
        now,
    )
}

/// The condition that says whether a run goes on.
pub fn progressing(status: &WorkflowStatus) -> Option<&Condition> {
    status
        .conditions
        .iter()
        .find(|condition| condition.type_ == "Progressing")
}

/// Since when a run waits for people, if it does.
fn resting_since(status: &WorkflowStatus) -> Option<Timestamp> {
    let rests = matches!(status.phase, Phase::Paused | Phase::Suspended);
    progressing(status)
        .filter(|_| rests)
        .map(|condition| condition.last_transition_time.0)
}

fn between(start: Option<Timestamp>, end: Option<Timestamp>, now: Timestamp) -> Option<Duration> {
    start.map(|start| Duration::try_from(end.unwrap_or(now).duration_since(start)).unwrap_or_default())
}

/// The phase as it is told: a run that no process runs does not run, whatever was written last.
pub fn phase_text(phase: Phase, running: bool) -> String {
    if running || phase.is_terminal() || matches!(phase, Phase::Suspended | Phase::Paused) {
        format!("{phase:?}")
    } else {
        "Interrupted".to_owned()
    }
}

/// The colour of a phase.
pub fn colour(phase: Phase) -> Colour {
    match phase {
        Phase::Succeeded => Colour::Green,
        Phase::Failed => Colour::Red,
        Phase::Cancelled | Phase::Paused | Phase::Suspended | Phase::Stopped | Phase::Waiting => Colour::Yellow,
        Phase::Running | Phase::Planning => Colour::Cyan,
        Phase::Pending | Phase::Skipped => Colour::Dim,
    }
}

/// The sign of a phase.
pub fn sign(phase: Phase) -> &'static str {
    match phase {
        Phase::Succeeded => "✔",
        Phase::Failed => "✘",
        Phase::Cancelled | Phase::Stopped => "■",
        Phase::Paused | Phase::Suspended => "‖",
        Phase::Running | Phase::Planning => "▶",
        Phase::Waiting => "…",
        Phase::Pending | Phase::Skipped => "·",
    }
}

/// The summary: how it stands, a table of its steps, results, outputs, failures by cause.
pub fn lines(workflow: &Workflow, place: Place<'_>, now: Timestamp, tint: Tint) -> Vec<String> {
    let status = workflow.status.clone().unwrap_or_default();
    let mut lines = vec![headline(workflow, &status, place, now, tint)];
    if let Some(from) = &status.resumed_from {
        let told = format!(
            "  took over from {}: {} partitions stay counted",
            clean(&from.name, 60),
            count(from.kept)
        );
        lines.push(tint.paint(Colour::Dim, &told));
    }
    let message = status.summary.as_ref().map_or("", |summary| summary.message.as_str());
    if status.phase != Phase::Succeeded && !message.is_empty() {
        lines.push(format!("  {}", clean(message, 300)));
    }
    lines.push(String::new());
    lines.extend(steps(workflow, &status, now, tint));
    for (name, step) in in_order(workflow, &status) {
        if step.phase == Phase::Skipped && !step.message.is_empty() {
            let why = format!("  {name} was skipped: {}", clean(&step.message, 200));
            lines.push(tint.paint(Colour::Dim, &why));
        }
    }
    let mut results = Vec::new();
    for ((name, step), spec) in in_order(workflow, &status).zip(&workflow.spec.steps) {
        for result in &step.results {
            let Some(given) = &result.value else { continue };
            let declared = spec.results.iter().find(|declared| declared.name == result.name);
            results.push(Named {
                name: format!("{name}.{}", result.name),
                value: given.clone(),
                by_key: declared.is_none_or(|declared| declared.keyed),
                rank: declared.and_then(Rank::of),
                note: match (result.approximate, result.error.as_str()) {
                    (false, _) => String::new(),
                    (true, "") => "approximate".into(),
                    (true, error) => format!("± {}", clean(error, 40)),
                },
            });
        }
    }
    let so_far = if status.phase.is_terminal() { "" } else { " (so far)" };
    lines.extend(values(&format!("results{so_far}"), &results, tint));
    let not_given = not_given(workflow, &status);
    lines.extend(not_given.iter().map(|told| tint.paint(Colour::Dim, told)));
    let output = |(name, value)| Named {
        name,
        value,
        by_key: true,
        rank: None,
        note: String::new(),
    };
    let outputs: Vec<Named> = status.outputs.clone().into_iter().map(output).collect();
    lines.extend(values("outputs", &outputs, tint));
    let mut failed = Vec::new();
    for step in &status.steps {
        for cause in &step.failures {
            failed.extend(failure(step, cause, place, tint));
        }
    }
    if !failed.is_empty() {
        lines.extend([String::new(), tint.paint(Colour::Bold, "failures")]);
        lines.append(&mut failed);
    }
    lines.extend(next(&workflow.spec, &status, place, tint));
    lines
}

/// What people can do about failures.
fn next(spec: &WorkflowSpec, status: &WorkflowStatus, place: Place<'_>, tint: Tint) -> Vec<String> {
    let mut lines = Vec::new();
    let mut offer = |verb: &str, more: &str, told: &str| {
        let command = format!("  {} {verb} {}{more}  # {told}", program::name(), place.name);
        lines.push(tint.paint(Colour::Dim, &command));
    };
    let failed = status.steps.iter().any(|step| !step.failed.is_empty());
    let paused = status.phase == Phase::Paused;
    if failed && !spec.cancel && (paused || status.phase.is_terminal()) {
        offer("retry", " --failed", "tries what failed again");
    }
    if paused {
        offer("resume", "", "goes on; what has failed is accepted");
    }
    if !lines.is_empty() {
        lines.insert(0, String::new());
    }
    lines
}

/// Results that are declared, and that no partition of a step that has succeeded gave: a name may be wrong.
fn not_given(workflow: &Workflow, status: &WorkflowStatus) -> Vec<String> {
    let mut told = Vec::new();
    for ((name, step), spec) in in_order(workflow, status).zip(&workflow.spec.steps) {
        if step.phase != Phase::Succeeded || step.partitions.succeeded == 0 {
            continue;
        }
        let given = |name: &str| {
            step.results
                .iter()
                .any(|result| result.name == name && result.value.is_some())
        };
        told.extend(
            spec.results
                .iter()
                .filter(|declared| !given(&declared.name))
                .map(|declared| {
                    let from = declared.from.as_deref().unwrap_or(&declared.name);
                    format!(
                        "  {name}.{}: no partition gave it; programs give it as {from:?} in their results",
                        declared.name
                    )
                }),
        );
    }
    told
}

fn headline(workflow: &Workflow, status: &WorkflowStatus, place: Place<'_>, now: Timestamp, tint: Tint) -> String {
    let phase = phase_text(status.phase, place.running);
    let mut line = format!(
        "{} {}  {}",
        tint.paint(colour(status.phase), sign(status.phase)),
        tint.paint(Colour::Bold, &workflow.name_any()),
        tint.paint(colour(status.phase), &phase),
    );
    let time = resting_since(status).map_or_else(|| time_of(status, now), |since| between(Some(since), None, now));
    if let Some(took) = time.filter(|_| place.running || status.phase.is_terminal()) {
        let word = if status.phase.is_terminal() { "in" } else { "for" };
        line.extend([" ", word, " ", &clock(took)]);
    }
    let params: Vec<String> = workflow
        .spec
        .params
        .iter()
        .filter_map(|param| {
            let given = param.value.as_ref().or(param.default.as_ref())?;
            let text = match given {
                Value::String(text) => clean(text, 40),
                other => clean(&other.to_string(), 40),
            };
            Some(format!("{}={text}", param.name))
        })
        .collect();
    if !params.is_empty() {
        line.push_str(&tint.paint(Colour::Dim, &format!("   {}", params.join(" "))));
    }
    line
}

fn steps(workflow: &Workflow, status: &WorkflowStatus, now: Timestamp, tint: Tint) -> Vec<String> {
    use Align::{Left, Right};
    let mut table = Table::new(&[Left, Left, Right, Right, Right, Right]);
    let heads = ["STEP", "PHASE", "PARTITIONS", "FAILED", "RETRIED", "TIME"];
    table.row(heads.map(|head| tint.paint(Colour::Dim, head)));
    for (name, step) in in_order(workflow, status) {
        let counts = &step.partitions;
        let settled = counts.succeeded.saturating_add(counts.failed);
        let planned = step.plan.is_some();
        let mut phase = tint.paint(colour(step.phase), &format!("{:?}", step.phase));
        if counts.stopped > 0 {
            phase.push_str(&tint.paint(Colour::Dim, &format!(" ({} left)", count(counts.stopped))));
        }
        if let Some(repeat) = step.repeat.as_ref().filter(|repeat| repeat.rounds > 0) {
            let noun = if repeat.rounds == 1 { "round" } else { "rounds" };
            let rounds = format!(" ({} {noun})", repeat.rounds);
            phase.push_str(&tint.paint(Colour::Dim, &rounds));
        }
        let partitions = match (planned, settled == counts.total) {
            (false, _) => "-".to_owned(),
            (true, true) => count(settled),
            (true, false) => format!("{}/{}", count(settled), count(counts.total)),
        };
        let number = |number: u64, colour| match (planned, number) {
            (false, _) => "-".to_owned(),
            (true, 0) => "0".to_owned(),
            (true, number) => tint.paint(colour, &count(number)),
        };
        let took = between(
            step.started_at.as_ref().map(|time| time.0),
            step.finished_at.as_ref().map(|time| time.0),
            now,
        );
        table.row([
            name,
            phase,
            partitions,
            number(counts.failed, Colour::Red),
            number(step.retried, Colour::Yellow),
            took.map_or_else(|| "-".to_owned(), clock),
        ]);
    }
    table.lines("  ")
}

/// A value that is shown.
struct Named {
    name: String,
    value: Value,
    /// A map is one of keys, and not one value of several numbers.
    by_key: bool,
    /// In which order its keys are shown, if not in their own.
    rank: Option<Rank>,
    /// What is to be said of it.
    note: String,
}

impl Named {
    /// The entries, if they are shown one by one, in the order to show them in.
    fn entries(&self) -> Option<Vec<(&String, &Value)>> {
        let map = self.value.as_object().filter(|_| self.by_key)?;
        Some(entries(map, self.rank))
    }
}

/// The keys of a map, in the order to show them in.
pub fn entries(map: &Map<String, Value>, rank: Option<Rank>) -> Vec<(&String, &Value)> {
    let mut entries: Vec<_> = map.iter().collect();
    if let Some(rank) = rank {
        entries.sort_by(|(_, a), (_, b)| rank.compare(a, b));
    }
    entries
}

/// The order of a list of the top ones. API servers keep maps in the order of their keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rank {
    /// Of all but `Min`.
    LargestFirst,
    /// Of `Min`.
    SmallestFirst,
}

impl Rank {
    /// That of a result, if it is such a list.
    pub fn of(declared: &ResultSpec) -> Option<Self> {
        declared.top?;
        Some(match declared.reduce {
            Reduce::Min => Self::SmallestFirst,
            _ => Self::LargestFirst,
        })
    }

    fn compare(self, a: &Value, b: &Value) -> Ordering {
        let (a, b) = (magnitude(a), magnitude(b));
        match self {
            Self::LargestFirst => b.total_cmp(&a),
            Self::SmallestFirst => a.total_cmp(&b),
        }
    }
}

/// What a value ranks by: texts are decimals or large, and a chosen value comes with what it carries.
fn magnitude(value: &Value) -> f64 {
    let plain = |value: &Value| match value {
        Value::String(text) => text.parse().ok(),
        other => other.as_f64(),
    };
    plain(value)
        .or_else(|| value.get("value").and_then(plain))
        .unwrap_or(0.0)
}

/// Values by name: the plain ones side by side with their names, the keyed ones as a table below theirs.
fn values(title: &str, named: &[Named], tint: Tint) -> Vec<String> {
    if named.is_empty() {
        return Vec::new();
    }
    let mut lines = vec![String::new(), tint.paint(Colour::Bold, title)];
    let mut plain = Table::new(&[Align::Left, Align::Right, Align::Left]);
    for one in named.iter().filter(|one| one.entries().is_none()) {
        plain.row([
            clean(&one.name, VALUE),
            value(&one.value, VALUE),
            if one.note.is_empty() {
                String::new()
            } else {
                tint.paint(Colour::Dim, &one.note)
            },
        ]);
    }
    lines.extend(plain.lines("  "));
    for one in named {
        let Some(keyed) = one.entries() else { continue };
        let note = if one.note.is_empty() {
            String::new()
        } else {
            tint.paint(Colour::Dim, &format!("  {}", one.note))
        };
        lines.push(format!("  {}{note}", clean(&one.name, VALUE)));
        let mut table = Table::new(&[Align::Left, Align::Right]);
        for (key, given) in keyed.iter().take(KEYS).copied() {
            table.row([clean(key, VALUE), value(given, VALUE)]);
        }
        lines.extend(table.lines("    "));
        if let Some(more) = keyed.len().checked_sub(KEYS).filter(|more| *more > 0) {
            let more = format!("    {} more (-o json has all)", count(more as u64));
            lines.push(tint.paint(Colour::Dim, &more));
        }
    }
    lines
}

fn failure(step: &StepStatus, cause: &FailureCause, place: Place<'_>, tint: Tint) -> [String; 2] {
    let times = if cause.attempts == 1 { "attempt" } else { "attempts" };
    let message = match cause.message.as_str() {
        "" => String::new(),
        message => format!(" {:?}", clean(message, 200)),
    };
    [
        format!(
            "  {}: {} × {}{message}  (first: partition {}, {} {times})",
            step.name,
            count(cause.count),
            tint.paint(Colour::Red, &clean(&cause.reason, 64)),
            cause.sample,
            cause.attempts,
        ),
        tint.paint(
            Colour::Dim,
            &format!(
                "    {} logs {} {} --partition {}",
                program::name(),
                place.name,
                step.name,
                cause.sample
            ),
        ),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(reduce: Reduce, values: Value) -> Vec<String> {
        let declared = ResultSpec {
            reduce,
            top: Some(9),
            ..ResultSpec::default()
        };
        let named = Named {
            name: "x".into(),
            value: values,
            by_key: true,
            rank: Rank::of(&declared),
            note: String::new(),
        };
        let keys = named.entries().unwrap_or_default();
        keys.into_iter().map(|(key, _)| key.clone()).collect()
    }

    #[test]
    fn a_run_that_rests_tells_since_when() {
        let told = |phase: &str| {
            let workflow: Workflow = serde_json::from_value(json!({
                "apiVersion": "braid.dev/v1alpha1", "kind": "Workflow", "metadata": {"name": "x"}, "spec": {"steps": []},
                "status": {
                    "phase": phase,
                    "startedAt": "2026-01-01T00:00:00Z",
                    "conditions": [{
                        "type": "Progressing", "status": "False", "reason": "TooManyFailedPartitions", "message": "",
                        "lastTransitionTime": "2026-01-01T00:05:00Z",
                    }],
                },
            }))
            .unwrap();
            let now = "2026-01-01T00:07:00Z".parse().unwrap();
            let place = Place {
                name: "x",
                running: true,
            };
            lines(&workflow, place, now, Tint(false))[0].clone()
        };
        assert!(told("Paused").contains("Paused for 2m"), "{}", told("Paused"));
        assert!(told("Running").contains("Running for 7m"), "{}", told("Running"));
    }

    #[test]
    fn the_top_ones_are_in_their_order() {
        let numbers = json!({"a": 2, "b": "90071992547409930", "c": 2, "d": -1.5});
        assert_eq!(["b", "a", "c", "d"].to_vec(), shown(Reduce::Sum, numbers.clone()));
        assert_eq!(["d", "a", "c", "b"].to_vec(), shown(Reduce::Min, numbers));
        let carried = json!({"a": {"value": 1, "carry": {}}, "b": {"value": 3, "carry": {}}});
        assert_eq!(["b", "a"].to_vec(), shown(Reduce::Max, carried));
    }
}
