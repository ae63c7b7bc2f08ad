//! `braid plan`: what the partitions of each step would be, found as a worker would find it, and nothing run.

use std::{collections::BTreeMap, env, path::Path};

use braid_cli::manifest;
use braid_crds::{Workflow, worker::Card, workflow::Step};
use braid_engine::{card, expr::Scope, items, params};
use braid_worker::{ground::Ground, survey};
use serde::Serialize;

use crate::{
    args::{PlanArgs, RunOutput},
    exit::{Exit, Failure},
    out, progress, run, text,
};

/// What a step would run over.
#[derive(Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
struct Planned {
    step: String,
    /// How it is cut, in words.
    cut: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    partitions: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    files: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    bytes: Option<u64>,
    /// In how many objects the plan is written down.
    #[serde(skip_serializing_if = "Option::is_none")]
    objects: Option<i32>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    first: Vec<String>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    reads: BTreeMap<String, Side>,
    /// What is read beside and does not exist yet, and which step writes it.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    reads_later: BTreeMap<String, String>,
    /// What is written, and where.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    writes: BTreeMap<String, String>,
    /// Why it cannot be planned.
    #[serde(skip_serializing_if = "Option::is_none")]
    problem: Option<String>,
    /// It depends on what other steps give: only a run can tell.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    later: bool,
}

/// What is read beside.
#[derive(Debug, Serialize)]
struct Side {
    files: u64,
    bytes: u64,
}

/// Plans a workflow and prints what would be.
pub fn plan(args: &PlanArgs) -> Result<Exit, Failure> {
    let mut workflow = match run::read(&args.file, &args.params)? {
        Ok(workflow) => workflow,
        Err(problems) => {
            for problem in &problems {
                progress::say(&problem.to_string());
            }
            return Ok(Exit::Usage);
        }
    };
    run::bring_home(&mut workflow, &args.file)?;
    manifest::override_params(&mut workflow, args.params.iter().map(String::as_str)).map_err(Failure::usage)?;
    let directory = env::current_dir().map_err(|error| Failure::unreachable(error).doing("the working directory"))?;
    let steps = planned(&workflow, &directory, usize::from(args.first)).map_err(Failure::usage)?;
    match args.output {
        RunOutput::Json => drop(out::json(&steps)?),
        RunOutput::Table => drop(out::lines(&steps.iter().flat_map(lines).collect::<Vec<_>>())?),
    }
    let wrong = steps.iter().any(|step| step.problem.is_some());
    Ok(if wrong { Exit::Failed } else { Exit::Succeeded })
}

fn planned(workflow: &Workflow, directory: &Path, first: usize) -> Result<Vec<Planned>, params::ParamError> {
    let scope = Scope {
        params: params::resolve(&workflow.spec.params)?,
        ..Scope::default()
    };
    let ground = Ground::Open(directory.to_path_buf());
    let steps = &workflow.spec.steps;
    Ok(steps
        .iter()
        .map(|step| of_step(workflow, step, &scope, &ground, first))
        .collect())
}

fn of_step(workflow: &Workflow, step: &Step, scope: &Scope, ground: &Ground, first: usize) -> Planned {
    let mut planned = Planned {
        step: step.name.clone(),
        cut: cut(step),
        ..Planned::default()
    };
    // Variables do not matter for what the partitions are, and may need what other steps give.
    let mut bare = step.clone();
    bare.run.env.clear();
    let card: Card = match card::build(&workflow.spec, &bare, None, scope) {
        Ok(card) => card,
        Err(error) => {
            planned.later = true;
            planned.problem = None;
            planned.first = vec![error.to_string()];
            return planned;
        }
    };
    let over = step.over.as_ref();
    if let Some(by) = card.source.files.as_ref().and_then(|source| source.written_by.as_ref()) {
        planned.later = true;
        planned.first = vec![format!(
            "it reads what step {} has written to {} by then",
            by.step, by.data
        )];
    } else if let Some(source) = &card.source.files {
        match survey::partitions(source, ground, first) {
            Ok(found) => {
                planned.partitions = Some(found.partitions);
                planned.files = Some(found.files);
                planned.bytes = Some(found.bytes);
                planned.objects = Some(found.objects);
                planned.first = found.first;
            }
            Err(error) => planned.problem = Some(error.to_string()),
        }
    } else if over.is_some_and(|over| over.items_from.is_some()) {
        planned.later = true;
    } else if let Some(items) = over.and_then(|over| items::of(over, Scope::default)) {
        match items {
            Ok(items) => {
                planned.partitions = Some(items.len() as u64);
                planned.first = items.iter().take(first).map(ToString::to_string).collect();
            }
            Err(error) => planned.problem = Some(error.to_string()),
        }
    } else if let Some(range) = over.and_then(|over| over.range.as_ref()) {
        let span = u64::try_from(range.end.saturating_sub(range.start)).unwrap_or(0);
        planned.partitions = Some(span.div_ceil(range.step.unsigned_abs().max(1)));
    } else {
        planned.partitions = Some(1);
    }
    planned.writes = (card.writes.iter())
        .chain(&card.emit)
        .map(|write| (write.data.clone(), write.url.clone()))
        .collect();
    for read in card.reads.iter().flat_map(|reads| &reads.data) {
        if let Some(by) = &read.written_by {
            planned.reads_later.insert(read.data.clone(), by.step.clone());
            continue;
        }
        match survey::read(read, ground) {
            Ok((files, bytes)) => drop(planned.reads.insert(read.data.clone(), Side { files, bytes })),
            Err(error) => {
                planned
                    .problem
                    .get_or_insert_with(|| format!("reads {}: {error}", read.data));
            }
        }
    }
    planned
}

/// How a step is cut, in words.
fn cut(step: &Step) -> String {
    let Some(over) = &step.over else {
        return "one partition".into();
    };
    let Some(data) = &over.data else {
        return match (&over.items, &over.items_from, &over.matrix) {
            (Some(_), ..) => "items",
            (_, Some(_), _) => "what itemsFrom gives",
            (.., Some(_)) => "a matrix",
            (None, None, None) => "a range",
        }
        .into();
    };
    let split = over.split.clone().unwrap_or_default();
    let by = [
        split.files.map(|n| format!("files: {n}")),
        split.bytes.map(|n| format!("bytes: {n}")),
        split.rows.map(|n| format!("rows: {n}")),
        split.row_groups.map(|n| match split.columns.as_slice() {
            [] => format!("rowGroups: {n}"),
            columns => format!("rowGroups: {n} of {}", text::printable(&columns.join(", "))),
        }),
        split
            .keys
            .map(|keys| format!("the key {} into {}", text::printable(&keys.by), keys.into)),
    ];
    format!("{data} by {}", by.into_iter().flatten().collect::<Vec<_>>().join(", "))
}

fn many(number: u64, what: &str) -> String {
    format!("{} {what}{}", text::count(number), if number == 1 { "" } else { "s" })
}

fn lines(planned: &Planned) -> Vec<String> {
    let name = &planned.step;
    let mut head = format!("{name}: {}", planned.cut);
    if let Some(partitions) = planned.partitions {
        let partitions = many(partitions, "partition");
        head = match (planned.files, planned.bytes) {
            (Some(files), Some(bytes)) => {
                format!("{head}: {}, {}, {partitions}", many(files, "file"), many(bytes, "byte"))
            }
            _ if planned.cut == "one partition" => head,
            _ => format!("{head}: {partitions}"),
        };
    }
    let mut lines = vec![head];
    if let Some(problem) = &planned.problem {
        lines.push(format!("  cannot be planned: {}", text::printable(problem)));
    }
    if planned.later {
        let colon = if planned.first.is_empty() { "" } else { ":" };
        lines.push(format!("  known only when it starts{colon}"));
    }
    let some = planned.first.iter().enumerate();
    lines.extend(some.map(|(number, what)| {
        let what = text::clean(what, 160);
        if planned.later {
            format!("  {what}")
        } else {
            format!("  {number}  {what}")
        }
    }));
    let more = planned
        .partitions
        .unwrap_or(0)
        .saturating_sub(planned.first.len() as u64);
    if more > 0 && !planned.first.is_empty() {
        lines.push(format!("  and {} more", text::count(more)));
    }
    for (data, side) in &planned.reads {
        lines.push(format!(
            "  every worker gets {data}: {}, {}",
            many(side.files, "file"),
            many(side.bytes, "byte")
        ));
    }
    for (data, step) in &planned.reads_later {
        lines.push(format!("  every worker gets {data}, which step {step} writes"));
    }
    for (data, url) in &planned.writes {
        lines.push(format!("  writes {data}: files in {}", text::printable(url)));
    }
    lines
}
