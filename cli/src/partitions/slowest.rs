//! `braid partitions --slowest`: which partitions took longest.

use std::time::Duration;

use braid_crds::{Workflow, status::SlowPartition};
use jiff::Timestamp;
use serde_json::json;

use super::standing;
use crate::{
    args::{PartitionsArgs, RunOutput},
    exit::{Exit, Failure},
    out, summary,
    text::{Align, Colour, Table, Tint, clock},
};

/// Lists them, the slowest of each step first. A status has ten of a step.
pub(super) fn slowest(workflow: &Workflow, args: &PartitionsArgs, most: usize) -> Result<Exit, Failure> {
    let status = workflow.status.clone().unwrap_or_default();
    let now = Timestamp::now();
    let mut rows = Vec::new();
    for (name, step) in summary::in_order(workflow, &status) {
        if args.step.as_ref().is_some_and(|wanted| *wanted != name) {
            continue;
        }
        for SlowPartition { partition, millis } in step.slowest.iter().take(most) {
            let state = standing(&name, &step, *partition, now).map_or("", |row| row.state);
            rows.push((name.clone(), *partition, *millis, state));
        }
    }
    if args.output == RunOutput::Json {
        let row = |(step, partition, millis, state): &(String, u64, u64, &str)| json!({"step": step, "partition": partition, "millis": millis, "state": state});
        out::json(&rows.iter().map(row).collect::<Vec<_>>())?;
        return Ok(Exit::Succeeded);
    }
    if rows.is_empty() {
        out::lines(&["no partition that is settled took a second or more".to_owned()])?;
        return Ok(Exit::Succeeded);
    }
    let tint = Tint::of(&std::io::stdout());
    let mut table = Table::new(&[Align::Left, Align::Right, Align::Right, Align::Left]);
    table.row(["STEP", "PARTITION", "TIME", "STATE"].map(|head| tint.paint(Colour::Dim, head)));
    for (step, partition, millis, state) in rows {
        let took = clock(Duration::from_millis(millis));
        table.row([step, partition.to_string(), took, state.to_owned()]);
    }
    out::lines(&table.lines(""))?;
    Ok(Exit::Succeeded)
}
