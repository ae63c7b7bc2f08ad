//! `braid partitions --show`: what one partition is, and its input.

use std::{
    io::{self, Read as _, Write as _},
    path::PathBuf,
};

use braid_crds::{
    Plan as PlanObject, Workflow,
    status::{PlanRef, StepStatus},
    workflow::{Over, Step},
};
use braid_engine::{
    items,
    plan::{Partition, Plan, plan_name},
};
use braid_worker::{ground::Ground, survey};
use jiff::Timestamp;
use kube::{Api, ResourceExt as _};
use serde_json::{Value, json};

use super::{document, standing};
use crate::{
    args::{PartitionsArgs, RunOutput},
    exit::{Exit, Failure},
    out,
    place::{Found, Remote},
    run,
    runs::{self, Run},
    text::clean,
};

/// Characters of an item that are shown.
const ITEM: usize = 2_000;

/// Bytes of input that are copied at once.
const CHUNK: usize = 128 << 10;

/// Prints what a partition is, or its input.
pub(super) async fn show(args: &PartitionsArgs, partition: u64, found: Found) -> Result<Exit, Failure> {
    match found {
        Found::Here(run) => {
            let told = here(args, partition, &run).await;
            run.close().await?;
            told
        }
        Found::There(remote) => {
            let workflow = remote.workflow().await?;
            let (step, status, plan) = planned(&workflow, args, partition)?;
            let pieces = match pieces(&workflow, step, status, plan) {
                None => None,
                Some(names) => Some(there(&remote, &names).await?),
            };
            tell(args, partition, (step, status, plan), pieces, None)
        }
    }
}

async fn here(args: &PartitionsArgs, partition: u64, run: &Run) -> Result<Exit, Failure> {
    let workflow = run.workflow().await?;
    let (step, status, plan) = planned(&workflow, args, partition)?;
    let pieces = match pieces(&workflow, step, status, plan) {
        None => None,
        Some(names) => {
            let api = run.plans();
            let mut pieces = Vec::with_capacity(names.len());
            for name in &names {
                pieces.push(runs::call(api.get(name)).await?);
            }
            Some(pieces)
        }
    };
    let directory = workflow.annotations().get(run::DIRECTORY).map(PathBuf::from);
    tell(args, partition, (step, status, plan), pieces, directory)
}

async fn there(remote: &Remote, names: &[String]) -> Result<Vec<PlanObject>, Failure> {
    let api: Api<PlanObject> = remote.cluster.api();
    let mut pieces = Vec::with_capacity(names.len());
    for name in names {
        pieces.push(remote.cluster.call(api.get(name)).await?);
    }
    Ok(pieces)
}

type Planned<'a> = (&'a Step, &'a StepStatus, &'a PlanRef);

/// The step that is meant, and its plan.
fn planned<'a>(workflow: &'a Workflow, args: &PartitionsArgs, partition: u64) -> Result<Planned<'a>, Failure> {
    let steps = &workflow.spec.steps;
    let step = match (&args.step, steps.as_slice()) {
        (Some(name), _) => {
            let step = steps.iter().find(|step| step.name == *name);
            step.ok_or_else(|| Failure::usage(format!("there is no step {name:?}")))?
        }
        (None, [step]) => step,
        (None, _) => {
            let names: Vec<&str> = steps.iter().map(|step| step.name.as_str()).collect();
            return Err(Failure::usage(format!(
                "the run has several steps: name one of {}",
                names.join(", ")
            )));
        }
    };
    let statuses = workflow.status.iter().flat_map(|status| &status.steps);
    let mut planned = statuses.filter(|status| status.name == step.name);
    let planned = planned.find_map(|status| Some((status, status.plan.as_ref()?)));
    let Some((status, plan)) = planned else {
        return Err(Failure::usage(format!(
            "the step {} has no partitions yet: it has not begun, or is being planned",
            step.name
        )));
    };
    if partition >= plan.partitions {
        let are = match plan.partitions {
            0 => "it has none".to_owned(),
            count => format!("its partitions are 0 to {}", count - 1),
        };
        return Err(Failure::usage(format!(
            "the step {} has no partition {partition}: {are}",
            step.name
        )));
    }
    Ok((step, status, plan))
}

/// The objects with the plan's bytes, if the partition is in them.
fn pieces(workflow: &Workflow, step: &Step, status: &StepStatus, plan: &PlanRef) -> Option<Vec<String>> {
    let over = step.over.as_ref()?;
    let uid = workflow.uid().unwrap_or_default();
    let is_in_plan = over.data.is_some() || items::are_of(over);
    let name = |chunk| plan_name(&workflow.name_any(), &uid, &status.name, &plan.digest, chunk);
    is_in_plan.then(|| (0..plan.chunks).map(name).collect())
}

fn tell(
    args: &PartitionsArgs,
    partition: u64,
    (step, status, plan): Planned<'_>,
    pieces: Option<Vec<PlanObject>>,
    directory: Option<PathBuf>,
) -> Result<Exit, Failure> {
    let plan = match pieces {
        None => None,
        Some(pieces) => {
            let pieces: Vec<_> = pieces.into_iter().map(|piece| piece.spec).collect();
            Some(Plan::decode(&plan.digest, &pieces).map_err(Failure::unreachable)?)
        }
    };
    let part = plan.as_ref().and_then(|plan| plan.partition(partition));
    let item = item(step.over.as_ref(), partition, part.as_ref());
    if args.input {
        return match (&plan, part, item) {
            (_, _, Some(item)) => Ok(out::write(&format!("{item}\n")).map(|_| Exit::Succeeded)?),
            (Some(plan), Some(_), None) => input(step, plan, partition, directory),
            _ => Err(Failure::usage(format!(
                "the partition of step {} has no input",
                step.name
            ))),
        };
    }
    let words = match (&part, &item) {
        (_, Some(item)) => clean(&item.to_string(), ITEM),
        (Some(part), None) => survey::words(part),
        (None, None) => "the only partition, without input".to_owned(),
    };
    let row = standing(&step.name, status, partition, Timestamp::now());
    let slow = status.slowest.iter().find(|slow| slow.partition == partition);
    if args.output == RunOutput::Json {
        let mut told = row.as_ref().map_or_else(|| json!({"step": step.name}), document);
        if let Some(fields) = told.as_object_mut() {
            // These are of all that stand alike.
            fields.remove("partitions");
            fields.remove("count");
            fields.insert("partition".to_owned(), json!(partition));
            fields.insert("input".to_owned(), item.unwrap_or_else(|| json!(words)));
            if let Some(slow) = slow {
                fields.insert("millis".to_owned(), json!(slow.millis));
            }
        }
        out::json(&told)?;
        return Ok(Exit::Succeeded);
    }
    let mut lines = vec![format!("{} {partition}: {words}", step.name)];
    if let Some(row) = row {
        let cause = if row.cause.is_empty() {
            String::new()
        } else {
            format!(", {}", row.cause)
        };
        let took = slow.map_or_else(String::new, |slow| {
            #[expect(clippy::cast_precision_loss, reason = "it is shown with one digit")]
            let seconds = slow.millis as f64 / 1000.0;
            format!(", took {seconds:.1}s")
        });
        lines.push(format!("{}{cause}{took}", row.state));
    }
    out::lines(&lines)?;
    Ok(Exit::Succeeded)
}

/// What a partition is that is not made of bytes.
fn item(over: Option<&Over>, partition: u64, part: Option<&Partition<'_>>) -> Option<Value> {
    if let Some(Partition::Item(item)) = part {
        return Some((*item).clone());
    }
    let range = over?.range.as_ref()?;
    let distance = i128::from(partition).checked_mul(i128::from(range.step))?;
    let number = i128::from(range.start).checked_add(distance)?;
    Some(json!(i64::try_from(number).ok()?))
}

/// Copies the input to standard output.
fn input(step: &Step, plan: &Plan, partition: u64, directory: Option<PathBuf>) -> Result<Exit, Failure> {
    let Some(directory) = directory else {
        return Err(Failure::usage(
            "the data of a run in a cluster are where its workers read them, and not on this machine",
        )
        .help("without --input it is told which part of which file the partition is"));
    };
    let split = step.over.as_ref().and_then(|over| over.split.as_ref());
    let many = split.and_then(|split| split.files).is_some_and(|files| files > 1);
    let unreadable = |why: String| Failure::new(Exit::Failed, why);
    let opened = survey::input(plan, partition, many, &Ground::Open(directory));
    let mut bytes = opened.map_err(|error| unreadable(error.to_string()))?;
    let mut chunk = vec![0; CHUNK];
    let mut out = io::stdout().lock();
    loop {
        let count = match bytes.read(&mut chunk) {
            Ok(0) => break,
            Ok(count) => count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(unreadable(format!("the input cannot be read: {error}"))),
        };
        match out.write_all(chunk.get(..count).unwrap_or_default()) {
            Ok(()) => {}
            // Who reads has had enough.
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => return Ok(Exit::Succeeded),
            Err(error) => return Err(Failure::unreachable(error).doing("cannot write to standard output")),
        }
    }
    match out.flush() {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            Err(Failure::unreachable(error).doing("cannot write to standard output"))
        }
        _ => Ok(Exit::Succeeded),
    }
}
