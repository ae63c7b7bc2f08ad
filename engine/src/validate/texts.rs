//! Expressions and texts with expressions: their syntax, and that what they name exists and has run before.

use std::collections::BTreeSet;

use braid_crds::WorkflowSpec;

use super::Problems;
use crate::{
    dag::Dag,
    expr::{self, Finding, Names, Template},
};

pub(super) fn check(spec: &WorkflowSpec, dag: Option<&Dag>, problems: &mut Problems) {
    let names = Names::of(spec);
    for (index, data) in spec.data.iter().enumerate() {
        let users: Vec<&str> = spec
            .steps
            .iter()
            .filter(|step| {
                step.reads.iter().any(|read| read.data == data.name)
                    || (step.over.as_ref()).is_some_and(|over| over.data.as_ref() == Some(&data.name))
            })
            .map(|step| step.name.as_str())
            .collect();
        let names = seen_by(&names, dag, &users);
        template(
            &format!("spec.data[{index}].files.url"),
            &data.files.url,
            &names,
            problems,
        );
    }
    for (index, step) in spec.steps.iter().enumerate() {
        let names = seen_by(&names, dag, &[&step.name]);
        for (at, variable) in step.run.env.iter().enumerate() {
            let path = format!("spec.steps[{index}].run.env[{at}].value");
            template(&path, &variable.value, &names, problems);
        }
    }
    for (index, output) in spec.outputs.iter().enumerate() {
        problems.expression(
            &format!("spec.outputs[{index}].value"),
            expr::check(&output.value, &names),
        );
    }
}

fn template(path: &str, text: &str, names: &Names, problems: &mut Problems) {
    let findings = match Template::parse(text) {
        Ok(template) => template.check(names),
        Err(error) => vec![Finding::of(&error)],
    };
    problems.expression(path, findings);
}

/// The names at a place that is evaluated when one of `steps` starts: only what has ended before all of them can be read.
fn seen_by(names: &Names, dag: Option<&Dag>, steps: &[&str]) -> Names {
    let mut names = names.clone();
    let Some(dag) = dag else { return names };
    let before: Vec<(&str, BTreeSet<&str>)> = steps.iter().map(|step| (*step, dag.upstream(step))).collect();
    for (name, known) in &mut names.steps {
        let late = before.iter().find(|(_, upstream)| !upstream.contains(name.as_str()));
        known.hidden = late.map(|(step, _)| {
            if step == name {
                "a step cannot read itself".to_owned()
            } else {
                format!("it need not have run when step {step:?} starts: add {name:?} to its after")
            }
        });
    }
    names
}
