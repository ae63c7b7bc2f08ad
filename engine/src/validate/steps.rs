//! Steps: what they run after, what they run over, how long.

use braid_crds::{
    WorkflowSpec,
    workflow::{Files, Matrix, Retry, RetryReason, RetryRule, Split, Step},
};

use super::{Problems, Rule, keys, suggest, writes};
use crate::{
    card,
    cover::{self, CoverError},
    dag::{Dag, DagError},
    matrix::{self, MatrixError},
};

/// Bytes of all `items` of a step as JSON: they are part of an object that must stay far below what etcd takes.
pub(super) const ITEMS_BYTES: usize = 512 * 1024;

pub(super) fn check(spec: &WorkflowSpec, problems: &mut Problems) {
    let mut named_all = true;
    for (index, step) in spec.steps.iter().enumerate() {
        let path = format!("spec.steps[{index}]");
        named_all &= after(spec, step, &path, problems);
        over(spec, step, &path, problems);
        reads(spec, step, &path, problems);
        named_all &= writes::check(spec, step, &path, problems);
        let results = step.results.iter().map(|result| result.name.as_str());
        problems.duplicates(&format!("{path}.results"), "results", results);
        let env = step.run.env.iter().map(|variable| variable.name.as_str());
        problems.duplicates(&format!("{path}.run.env"), "environment variables", env);
        retry(step.retry.as_ref(), &path, problems);
        for (field, timeout) in [
            ("timeout", &step.timeout),
            ("partitionTimeout", &step.partition_timeout),
        ] {
            if timeout.as_ref().is_some_and(|timeout| timeout.get().is_zero()) {
                zero_timeout(problems, &format!("{path}.{field}"));
            }
        }
    }
    if named_all
        && let Err(DagError::Cycle(names)) = Dag::new(&spec.steps)
        && let Some(last) = names.last()
        && let Some(index) = spec.steps.iter().position(|step| step.name == *last)
    {
        problems.add(
            Rule::Cycle,
            if spec.steps.get(index).is_some_and(|step| step.after.is_empty()) {
                format!("spec.steps[{index}]")
            } else {
                format!("spec.steps[{index}].after")
            },
            format!("steps wait for each other in a circle: {}", names.join(" -> ")),
            "take one of them out of an after, or let it read other data",
        );
    }
}

/// Whether everything in `after` is another step of the workflow.
fn after(spec: &WorkflowSpec, step: &Step, path: &str, problems: &mut Problems) -> bool {
    let before = problems.0.len();
    for (at, name) in step.after.iter().enumerate() {
        let path = format!("{path}.after[{at}]");
        if *name == step.name {
            problems.add(
                Rule::AfterItself,
                path,
                format!("step {name:?} runs after itself"),
                "take it out",
            );
        } else if !spec.steps.iter().any(|other| other.name == *name) {
            let others = spec
                .steps
                .iter()
                .map(|other| other.name.as_str())
                .filter(|other| *other != step.name);
            let help = suggest(name, "other steps", others);
            problems.add(Rule::UnknownStep, path, format!("there is no step {name:?}"), help);
        } else if !step.finally && spec.steps.iter().any(|other| other.name == *name && other.finally) {
            problems.add(
                Rule::AfterFinally,
                path,
                format!("step {name:?} is finally: it runs after all steps that are not"),
                "make this step finally too, or take it out",
            );
        } else if step.after.iter().take(at).any(|other| other == name) {
            problems.add(
                Rule::Duplicate,
                path,
                format!("step {name:?} is named twice"),
                "take one out",
            );
        }
    }
    before == problems.0.len()
}

fn over(spec: &WorkflowSpec, step: &Step, path: &str, problems: &mut Problems) {
    let Some(over) = &step.over else { return };
    if let Some(name) = &over.data {
        match spec.data.iter().find(|data| data.name == *name) {
            None => unknown_data(spec, name, format!("{path}.over.data"), problems),
            Some(data) => {
                let (split, path) = (over.split.as_ref(), format!("{path}.over.split"));
                cut(&data.files, split, &path, problems);
                if let Some(keys) = split.and_then(|split| split.keys.as_ref()) {
                    keys::check(spec, step, data, keys, &format!("{path}.keys"), problems);
                }
            }
        }
    }
    if let Some(items) = &over.items {
        let bytes: usize = items.iter().map(|item| item.to_string().len() + 1).sum();
        if bytes > ITEMS_BYTES {
            problems.add(
                Rule::ItemsTooLarge,
                format!("{path}.over.items"),
                format!("the items have {bytes} bytes, and {ITEMS_BYTES} is the most"),
                "put them into a file, a line each, and split that by bytes",
            );
        }
    }
    if let Some(axes) = &over.matrix {
        matrix(axes, &format!("{path}.over.matrix"), problems);
    }
}

/// The size of a matrix, and that its names can be told apart.
fn matrix(matrix: &Matrix, path: &str, problems: &mut Problems) {
    let axes = || matrix.axes.iter().map(|axis| axis.name.as_str());
    problems.duplicates(&format!("{path}.axes"), "axes", axes());
    for (at, axis) in matrix.axes.iter().enumerate() {
        let upper = axis.name.to_ascii_uppercase();
        let first = axes()
            .take(at)
            .find(|other| *other != axis.name && other.to_ascii_uppercase() == upper);
        if let Some(first) = first {
            problems.add(
                Rule::AxisEnv,
                format!("{path}.axes[{at}].name"),
                format!("{first:?} and {:?} are both BRAID_ITEM_{upper} in a program", axis.name),
                "rename one of them",
            );
        }
    }
    for (at, entry) in matrix.exclude.iter().enumerate() {
        for name in entry.keys().filter(|name| axes().all(|axis| axis != name.as_str())) {
            problems.add(
                Rule::UnknownAxis,
                format!("{path}.exclude[{at}].{name}"),
                format!("there is no axis {name:?}"),
                suggest(name, "axes", axes().collect::<Vec<_>>().into_iter()),
            );
        }
    }
    match matrix::combinations(matrix) {
        // Told above, at its place.
        Ok(_) | Err(MatrixError::UnknownAxis(_)) => {}
        Err(error) => problems.add(Rule::MatrixTooLarge, path, error.to_string(), ""),
    }
}

/// What holds for all steps, by the rules of a step.
pub(super) fn defaults(spec: &WorkflowSpec, problems: &mut Problems) {
    let Some(defaults) = &spec.step_defaults else { return };
    let path = "spec.stepDefaults";
    retry(defaults.retry.as_ref(), path, problems);
    for (field, timeout) in [
        ("timeout", &defaults.timeout),
        ("partitionTimeout", &defaults.partition_timeout),
    ] {
        if timeout.as_ref().is_some_and(|timeout| timeout.get().is_zero()) {
            zero_timeout(problems, &format!("{path}.{field}"));
        }
    }
}

pub(super) fn unknown_data(spec: &WorkflowSpec, name: &str, path: String, problems: &mut Problems) {
    let help = suggest(name, "data", spec.data.iter().map(|data| data.name.as_str()));
    problems.add(Rule::UnknownData, path, format!("there is no data {name:?}"), help);
}

/// Whether the data can be cut so.
fn cut(files: &Files, split: Option<&Split>, path: &str, problems: &mut Problems) {
    let Some(split) = split else { return };
    // The units do not matter here; that there is exactly one is the schema's matter.
    let cut = match (split.files, &split.bytes, split.rows, split.row_groups, &split.keys) {
        (Some(_), None, None, None, None) => Some(cover::Split::Files(1)),
        (None, Some(_), None, None, None) => Some(cover::Split::Bytes(1)),
        (None, None, Some(_), None, None) => Some(cover::Split::Rows(1)),
        (None, None, None, Some(_), None) => Some(cover::Split::RowGroups(1)),
        (None, None, None, None, Some(_)) => None,
        _ => return,
    };
    let checked = match cut {
        Some(cut) => cover::check(files.format, cut),
        None => cover::check_keys(files.format),
    };
    match checked {
        Err(CoverError::Format { format, by, instead }) => problems.add(
            Rule::SplitFormat,
            format!("{path}.{by}"),
            match files.format {
                None => format!("data without a format cannot be split by {by}"),
                Some(_) => format!("data of format {format} cannot be split by {by}"),
            },
            instead,
        ),
        Err(_) => {}
        Ok(()) => {
            let packed = cover::packing(&files.url, files.format);
            // What is read from its beginning anyway may be packed.
            if let (Some((packing, _)), Some(cut)) = (packed, cut)
                && !matches!(cut, cover::Split::Files(_))
            {
                problems.add(
                    Rule::SplitPacked,
                    path,
                    format!(
                        "{} is packed with {}, which can only be read from its beginning",
                        files.url,
                        packing.as_str()
                    ),
                    "use split: {files: N} or {keys: ..}, or unpack the files",
                );
            }
        }
    }
}

fn reads(spec: &WorkflowSpec, step: &Step, path: &str, problems: &mut Problems) {
    for (at, read) in step.reads.iter().enumerate() {
        let path = format!("{path}.reads[{at}].data");
        if !spec.data.iter().any(|data| data.name == read.data) {
            unknown_data(spec, &read.data, path, problems);
        } else if step.reads.iter().take(at).any(|other| other.data == read.data) {
            let message = format!("data {:?} is read twice", read.data);
            problems.add(Rule::Duplicate, path, message, "take one out");
        }
    }
}

fn retry(retry: Option<&Retry>, path: &str, problems: &mut Problems) {
    let rules = retry.map(|retry| retry.rules.as_slice()).unwrap_or_default();
    for (at, rule) in rules.iter().enumerate() {
        taken(
            rules.get(..at).unwrap_or_default(),
            rule,
            &format!("{path}.retry.rules[{at}]"),
            problems,
        );
    }
    let Some(backoff) = retry.and_then(|retry| retry.backoff.as_ref()) else {
        return;
    };
    let (initial, max) = card::backoff(retry);
    if initial > max {
        let longest = backoff
            .max
            .as_ref()
            .map_or("1m where max is absent", |max| max.as_str());
        problems.add(
            Rule::Backoff,
            format!("{path}.retry.backoff.initial"),
            format!("the first wait is longer than the longest, {longest}"),
            "make max at least as long as initial",
        );
    }
}

/// What an earlier rule takes never comes to a later one.
fn taken(before: &[RetryRule], rule: &RetryRule, path: &str, problems: &mut Problems) {
    let mut taken = |field: String, what: String, by: usize| {
        let help = "the first rule that names a failure decides: take it out of one of them";
        problems.add(
            Rule::RetryRule,
            format!("{path}.{field}"),
            format!("{what} is taken by rules[{by}]"),
            help,
        );
    };
    for (index, code) in rule.exit_codes.iter().enumerate() {
        if let Some(by) = before.iter().position(|other| other.exit_codes.contains(code)) {
            taken(format!("exitCodes[{index}]"), format!("exit code {code}"), by);
        }
    }
    for (index, status) in rule.http_statuses.iter().enumerate() {
        let takes =
            |other: &RetryRule| other.http_statuses.contains(status) || other.reasons.contains(&RetryReason::Http);
        if let Some(by) = before.iter().position(takes) {
            taken(format!("httpStatuses[{index}]"), format!("HTTP {status}"), by);
        }
    }
    for (index, reason) in rule.reasons.iter().enumerate() {
        if let Some(by) = before.iter().position(|other| other.reasons.contains(reason)) {
            taken(format!("reasons[{index}]"), format!("{reason:?}"), by);
        }
    }
}

pub(super) fn zero_timeout(problems: &mut Problems, path: &str) {
    problems.add(
        Rule::ZeroTimeout,
        path,
        "a timeout of no time would fail everything",
        "leave it out for no limit, or write for example 30s",
    );
}
