//! Shuffles: where their parts are.

use braid_crds::{
    WorkflowSpec,
    workflow::{Data, Keys, Step},
};

use super::{Problems, Rule, steps, writes};

/// Whether the parts of a shuffle can be where they are to be.
pub(super) fn check(spec: &WorkflowSpec, step: &Step, over: &Data, keys: &Keys, path: &str, problems: &mut Problems) {
    let Some(name) = &keys.through else {
        if writes::is_config(over) {
            problems.add(
                Rule::WriteVolume,
                path,
                format!(
                    "the parts of the step {:?} are written beside the data {:?}, and nothing can be written to a ConfigMap",
                    step.name, over.name
                ),
                "declare data of a directory that can be written, and name it: through: NAME",
            );
        }
        return;
    };
    let path = format!("{path}.through");
    let Some((at, through)) = spec.data.iter().enumerate().find(|(_, data)| data.name == *name) else {
        steps::unknown_data(spec, name, path, problems);
        return;
    };
    if writes::is_pattern(through) {
        problems.add(
            Rule::WritePattern,
            format!("spec.data[{at}].files.url"),
            format!(
                "the parts of the step {:?} are written to this data, so its url is a directory and has no wildcards",
                step.name
            ),
            "name the directory",
        );
    }
    if writes::is_config(through) {
        problems.add(
            Rule::WriteVolume,
            path,
            format!(
                "the parts of the step {:?} are written to the data {name:?}, and nothing can be written to a ConfigMap",
                step.name
            ),
            "use persistentVolumeClaim or hostPath",
        );
    }
}
