//! What steps write: data that are directories, each of one step.

use braid_crds::{
    WorkflowSpec,
    workflow::{Data, Step},
};

use super::{Problems, Rule, steps};
use crate::{card, dag};

/// Characters that a url of data to be read may have, and that of a directory to write to may not.
const WILDCARDS: [char; 5] = ['*', '?', '[', '{', '\\'];

/// Whether the url of data has wildcards.
pub(super) fn is_pattern(data: &Data) -> bool {
    // What an expression gives is seen when the step starts.
    data.files.url.contains(WILDCARDS) && !data.files.url.contains("$(")
}

/// Whether data are of a ConfigMap.
pub(super) fn is_config(data: &Data) -> bool {
    let volume = data.files.volume.as_ref();
    volume.is_some_and(|volume| volume.config_map.is_some())
}

/// Whether what a step writes and reads leaves the order of steps well defined.
pub(super) fn check(spec: &WorkflowSpec, step: &Step, path: &str, problems: &mut Problems) -> bool {
    let mut ordered = true;
    for (at, name) in card::written(step).enumerate() {
        let is_results = at == step.writes.len();
        let path = if is_results {
            format!("{path}.emit.to")
        } else {
            format!("{path}.writes[{at}].data")
        };
        let Some(data) = spec.data.iter().find(|data| data.name == name) else {
            steps::unknown_data(spec, name, path, problems);
            continue;
        };
        if card::written(step).take(at).any(|other| other == name) {
            let (message, help) = if is_results {
                (
                    format!("the partitions of the step write the data {name:?}, too"),
                    "declare data of another url for its results",
                )
            } else {
                (format!("data {name:?} is written twice"), "take one out")
            };
            problems.add(Rule::Duplicate, path, message, help);
            continue;
        }
        if dag::inputs(step).any(|input| input == name) {
            ordered = false;
            problems.add(
                Rule::WritesInput,
                path,
                format!("the step reads the data {name:?} that it writes"),
                "declare data of another url for what it writes",
            );
            continue;
        }
        if let Some(first) = card::writer(spec, name).filter(|first| first.name != step.name) {
            problems.add(
                Rule::WrittenTwice,
                path,
                format!("the step {:?} writes the data {name:?}, too", first.name),
                "declare data of another url for each step that writes",
            );
            continue;
        }
        let at = spec
            .data
            .iter()
            .position(|other| other.name == data.name)
            .unwrap_or_default();
        if is_pattern(data) {
            problems.add(
                Rule::WritePattern,
                format!("spec.data[{at}].files.url"),
                format!(
                    "the step {:?} writes this data, so its url is a directory and has no wildcards",
                    step.name
                ),
                "name the directory; steps that read the data get all files that were written",
            );
        }
        if is_config(data) {
            problems.add(
                Rule::WriteVolume,
                format!("spec.data[{at}].files.volume"),
                format!(
                    "the step {:?} writes this data, and nothing can be written to a ConfigMap",
                    step.name
                ),
                "use persistentVolumeClaim or hostPath",
            );
        }
    }
    if step.finally {
        return ordered;
    }
    for data in dag::inputs(step) {
        let Some(writer) = card::writer(spec, data).filter(|writer| writer.finally) else {
            continue;
        };
        ordered = false;
        problems.add(
            Rule::AfterFinally,
            path,
            format!(
                "step {:?} writes {data:?} and is finally: it runs after all steps that are not",
                writer.name
            ),
            "make this step finally too, or let an ordinary step write the data",
        );
    }
    ordered
}
