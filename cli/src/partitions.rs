//! `braid partitions`: which partitions stand how, and of those that failed, why.

use braid_crds::{
    Intervals, PartitionRange, Workflow,
    status::{Deferred, StepStatus, Suspect},
};
use jiff::Timestamp;
use serde_json::{Value, json};

use crate::{
    args::{PartitionsArgs, RunOutput},
    exit::{Exit, Failure},
    out,
    place::{self, Found},
    summary,
    text::{Align, Colour, Table, Tint, clean, count},
};

mod show;
mod slowest;

/// Characters of partition numbers that a table shows.
const NUMBERS: usize = 48;
/// Characters of last words that a table shows.
const WORDS: usize = 80;

/// Partitions of a step that stand alike.
#[derive(Clone)]
struct Row {
    step: String,
    state: &'static str,
    partitions: Intervals,
    /// How many, where not all are named.
    count: u64,
    cause: String,
    attempts: Option<i32>,
    message: String,
}

/// Lists the partitions of a run.
pub async fn partitions(args: &PartitionsArgs) -> Result<Exit, Failure> {
    let target = &args.target;
    let found = place::find(target.name.as_deref(), &target.place).await?;
    if let Some(partition) = args.show {
        return show::show(args, partition, found).await;
    }
    let workflow = match found {
        Found::Here(run) => {
            let workflow = run.workflow().await;
            run.close().await?;
            workflow?
        }
        Found::There(remote) => remote.workflow().await?,
    };
    if let Some(step) = &args.step
        && workflow.spec.steps.iter().all(|declared| declared.name != *step)
    {
        return Err(Failure::usage(format!("there is no step {step:?}")));
    }
    if let Some(most) = args.slowest {
        return slowest::slowest(&workflow, args, usize::from(most));
    }
    let rows = rows(&workflow, args, Timestamp::now());
    match args.output {
        RunOutput::Json => out::json(&rows.iter().map(document).collect::<Vec<_>>())?,
        RunOutput::Table => out::lines(&lines(&rows, Tint::of(&std::io::stdout())))?,
    };
    Ok(Exit::Succeeded)
}

fn rows(workflow: &Workflow, args: &PartitionsArgs, now: Timestamp) -> Vec<Row> {
    let status = workflow.status.clone().unwrap_or_default();
    let mut rows = Vec::new();
    for (name, step) in summary::in_order(workflow, &status) {
        if args.step.as_ref().is_some_and(|wanted| *wanted != name) {
            continue;
        }
        failed(&name, &step, &mut rows);
        if !args.failed {
            others(&name, &step, now, &mut rows);
        }
    }
    rows
}

fn row(step: &str, state: &'static str, partitions: Intervals) -> Row {
    Row {
        step: step.to_owned(),
        state,
        count: partitions.len(),
        partitions,
        cause: String::new(),
        attempts: None,
        message: String::new(),
    }
}

/// What failed for good, by cause. A status names so many partitions of each cause; which cause the rest has, it does not say.
fn failed(name: &str, step: &StepStatus, rows: &mut Vec<Row>) {
    let mut unnamed = step.failed.clone();
    for cause in &step.failures {
        cause.partitions.ranges().for_each(|range| unnamed.remove(range));
        rows.push(Row {
            count: cause.count,
            cause: cause.reason.clone(),
            attempts: Some(cause.attempts),
            message: cause.message.clone(),
            ..row(name, "Failed", cause.partitions.clone())
        });
    }
    if !unnamed.is_empty() && !step.failures.is_empty() {
        rows.push(Row {
            cause: "one of these".to_owned(),
            count: 0,
            ..row(name, "Failed", unnamed)
        });
    }
}

fn others(name: &str, step: &StepStatus, now: Timestamp, rows: &mut Vec<Row>) {
    let single = |partition: u64| Intervals::from_iter([PartitionRange::new(partition, partition.saturating_add(1))]);
    let mut open = step.ledger.gaps(PartitionRange::new(0, step.partitions.total));
    for Deferred {
        partition,
        attempts,
        reason,
        message,
        not_before,
        ..
    } in &step.deferred
    {
        open.remove(PartitionRange::new(*partition, partition.saturating_add(1)));
        let seconds = not_before.saturating_sub(now.as_millisecond()).max(0) / 1000;
        rows.push(Row {
            cause: reason.clone(),
            attempts: Some(*attempts),
            message: format!("again in {seconds}s: {message}"),
            ..row(name, "Waiting", single(*partition))
        });
    }
    for suspect @ Suspect { deaths, reason, .. } in &step.suspects {
        open.remove(suspect.range());
        rows.push(Row {
            cause: reason.clone().unwrap_or_else(|| "WorkerDied".to_owned()),
            attempts: Some(*deaths),
            ..row(name, "Suspect", Intervals::from_iter([suspect.range()]))
        });
    }
    let mut succeeded = step.ledger.clone();
    step.failed.ranges().for_each(|range| succeeded.remove(range));
    for (state, partitions) in [("Succeeded", succeeded), ("Open", open)] {
        if !partitions.is_empty() {
            rows.push(row(name, state, partitions));
        }
    }
}

fn document(row: &Row) -> Value {
    let mut document = json!({
        "step": row.step,
        "state": row.state,
        "partitions": row.partitions.ranges().map(|range| json!([range.start(), range.end() - 1])).collect::<Vec<_>>(),
    });
    let mut add = |key: &str, value: Value| {
        if let Some(fields) = document.as_object_mut() {
            fields.insert(key.to_owned(), value);
        }
    };
    if row.count > 0 {
        add("count", row.count.into());
    }
    if !row.cause.is_empty() {
        add("cause", row.cause.clone().into());
    }
    if let Some(attempts) = row.attempts {
        add("attempts", attempts.into());
    }
    if !row.message.is_empty() {
        add("message", row.message.clone().into());
    }
    document
}

/// How one partition of a step stands.
fn standing(name: &str, step: &StepStatus, partition: u64, now: Timestamp) -> Option<Row> {
    let mut rows = Vec::new();
    failed(name, step, &mut rows);
    others(name, step, now, &mut rows);
    rows.into_iter().find(|row| row.partitions.contains(partition))
}

fn lines(rows: &[Row], tint: Tint) -> Vec<String> {
    use Align::{Left, Right};
    let mut table = Table::new(&[Left, Left, Right, Left, Left, Right, Left]);
    let heads = [
        "STEP",
        "STATE",
        "COUNT",
        "PARTITIONS",
        "CAUSE",
        "ATTEMPTS",
        "LAST WORDS",
    ];
    table.row(heads.map(|head| tint.paint(Colour::Dim, head)));
    for row in rows {
        let colour = match row.state {
            "Failed" => Colour::Red,
            "Succeeded" => Colour::Green,
            "Open" => Colour::Dim,
            _ => Colour::Yellow,
        };
        table.row([
            row.step.clone(),
            tint.paint(colour, row.state),
            if row.count > 0 { count(row.count) } else { String::new() },
            numbers(&row.partitions),
            clean(&row.cause, 64),
            row.attempts.map_or_else(String::new, |attempts| attempts.to_string()),
            clean(&row.message, WORDS),
        ]);
    }
    table.lines("")
}

/// As many ranges as there is room for.
fn numbers(partitions: &Intervals) -> String {
    let mut text = String::new();
    for range in partitions.ranges() {
        let next = if range.len() == 1 {
            range.start().to_string()
        } else {
            format!("{}-{}", range.start(), range.end() - 1)
        };
        if !text.is_empty() && text.len() + next.len() + 5 > NUMBERS {
            text.push_str(", ...");
            return text;
        }
        if !text.is_empty() {
            text.push_str(", ");
        }
        text.push_str(&next);
    }
    text
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing)]
    use super::*;

    #[test]
    fn every_partition_is_listed_once_by_how_it_stands() {
        let step: StepStatus = serde_json::from_value(json!({
            "name": "a", "phase": "Running", "ledger": "0-5,8", "failed": "1,3,5",
            "partitions": {"total": 12, "succeeded": 4, "failed": 3},
            "failures": [
                {"reason": "Exit3", "count": 2, "sample": 1, "attempts": 2, "message": "no", "partitions": "1"},
                {"reason": "Timeout", "count": 1, "sample": 5, "attempts": 1, "partitions": "5"},
            ],
            "deferred": [{"partition": 7, "attempts": 1, "reason": "Exit1", "message": "later", "notBefore": 61_000}],
            "suspects": [{"start": 9, "end": 11, "deaths": 1}],
        }))
        .unwrap();
        let mut rows = Vec::new();
        failed("a", &step, &mut rows);
        others("a", &step, Timestamp::from_millisecond(1_000).unwrap(), &mut rows);
        let told: Vec<String> = rows
            .iter()
            .map(|row| format!("{} {} {}", row.state, row.partitions, row.cause))
            .collect();
        let expected = [
            "Failed 1 Exit3",
            "Failed 5 Timeout",
            "Failed 3 one of these",
            "Waiting 7 Exit1",
            "Suspect 9-10 WorkerDied",
            "Succeeded 0,2,4,8 ",
            "Open 6,11 ",
        ];
        assert_eq!(expected.map(str::to_owned).to_vec(), told);
        assert_eq!("again in 60s: later", rows[3].message);
        assert_eq!(json!([[9, 10]]), document(&rows[4])["partitions"]);
        assert!(lines(&rows, Tint(false))[1].contains("Exit3"));
    }

    #[test]
    fn a_table_shows_the_first_of_many() {
        let many: Intervals = (0..100).map(|n| PartitionRange::new(n * 10, n * 10 + 1)).collect();
        let shown = numbers(&many);
        assert!(
            shown.starts_with("0, 10, 20") && shown.ends_with(", ...") && shown.len() <= NUMBERS,
            "{shown}"
        );
    }
}
