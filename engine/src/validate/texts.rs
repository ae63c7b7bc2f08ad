//! Expressions and texts with expressions: their syntax, and that what they name exists and has run before.

use std::collections::BTreeSet;

use braid_crds::{Parallelism, WorkflowSpec};

use super::{Problems, Rule};
use crate::{
    dag::Dag,
    expr::{self, Expression, Finding, Names, Scope, Template, Wanted},
    parallelism, params,
};

pub(super) fn check(spec: &WorkflowSpec, dag: Option<&Dag>, problems: &mut Problems) {
    let names = Names::of(spec);
    let mut of_the_run = names.clone();
    for step in of_the_run.steps.values_mut() {
        step.hidden = Some("what holds for the whole run cannot depend on one of its steps: use params".to_owned());
    }
    limit(
        spec,
        "spec.parallelism",
        spec.parallelism.as_ref(),
        &of_the_run,
        problems,
    );
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
        if let Some(when) = &step.when {
            let findings = expr::check(when, &names, Wanted::Condition);
            problems.expression(&format!("spec.steps[{index}].when"), findings);
        }
        if let Some(items) = step.over.as_ref().and_then(|over| over.items_from.as_ref()) {
            let findings = expr::check(items, &names, Wanted::Items);
            problems.expression(&format!("spec.steps[{index}].over.itemsFrom"), findings);
        }
        let path = format!("spec.steps[{index}]");
        limit(
            spec,
            &format!("{path}.parallelism"),
            step.parallelism.as_ref(),
            &names,
            problems,
        );
        let mut own = names.clone();
        own.own = Some(step.results.iter().map(|result| result.name.clone()).collect());
        let until = step.repeat.as_ref().map(|repeat| &repeat.until);
        let emits = step.emit.as_ref().and_then(|emit| emit.when.as_ref());
        for (field, text) in [
            ("stopWhen", step.stop_when.as_ref()),
            ("repeat.until", until),
            ("emit.when", emits),
        ] {
            if let Some(text) = text {
                let findings = expr::check(text, &own, Wanted::Condition);
                problems.expression(&format!("{path}.{field}"), findings);
            }
        }
        for (at, variable) in step.run.env.iter().enumerate() {
            let path = format!("spec.steps[{index}].run.env[{at}].value");
            template(&path, &variable.value, &names, problems);
        }
    }
    for (index, output) in spec.outputs.iter().enumerate() {
        problems.expression(
            &format!("spec.outputs[{index}].value"),
            expr::check(&output.value, &names, Wanted::Anything),
        );
    }
}

/// A limit that is a text: its expressions, and if they are of params alone, that it gives a number.
fn limit(spec: &WorkflowSpec, path: &str, limit: Option<&Parallelism>, names: &Names, problems: &mut Problems) {
    let Some(limit @ Parallelism::Text(text)) = limit else {
        return;
    };
    let before = problems.0.len();
    template(path, text, names, problems);
    let of_params = |template: &Template| {
        let mut references = template.expressions().flat_map(Expression::references);
        references.all(|reference| reference.root == "params")
    };
    if problems.0.len() > before || !Template::parse(text).is_ok_and(|template| of_params(&template)) {
        return;
    }
    let Ok(params) = params::resolve(&spec.params) else {
        return;
    };
    let scope = Scope {
        params,
        ..Scope::default()
    };
    if let Err(error) = parallelism::resolve(limit, &scope) {
        problems.add(Rule::NoValue, path, error.to_string(), "");
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
