//! Programs: what the operating system takes, what a card holds, and expressions where there are none.

use braid_crds::{WorkflowSpec, workflow::Step};

use super::{Problems, Rule};
use crate::{
    card::{self, CardError},
    expr::{Scope, Template},
    params,
};

pub(super) fn check(spec: &WorkflowSpec, problems: &mut Problems) {
    for (index, step) in spec.steps.iter().enumerate() {
        let path = format!("spec.steps[{index}].run");
        let run = &step.run;
        for (field, words) in [("command", &run.command), ("args", &run.args)] {
            for (at, word) in words.iter().enumerate() {
                let path = format!("{path}.{field}[{at}]");
                nul(&path, word, problems);
                no_expression(&path, word, Place::Word, problems);
            }
        }
        if run.command.first().is_some_and(String::is_empty) {
            let path = format!("{path}.command[0]");
            problems.add(
                Rule::EmptyCommand,
                path,
                "the program has no name",
                "name it, for example sh",
            );
        }
        if let Some(script) = &run.script {
            no_expression(&format!("{path}.script"), script, Place::Script, problems);
        }
        for (at, variable) in run.env.iter().enumerate() {
            nul(&format!("{path}.env[{at}].value"), &variable.value, problems);
        }
        card(spec, step, index, problems);
    }
}

fn nul(path: &str, text: &str, problems: &mut Problems) {
    if text.contains('\0') {
        problems.add(
            Rule::Nul,
            path,
            "there is a byte 0, which no argument and no environment variable can hold",
            "put such data into a file",
        );
    }
}

#[derive(Clone, Copy, PartialEq)]
enum Place {
    Word,
    Script,
}

/// `$(params.x)` looks as if it were evaluated; in a command it is expanded as an environment variable of that name, and in a script
/// it runs a program of that name.
fn no_expression(path: &str, text: &str, place: Place, problems: &mut Problems) {
    for (at, _) in text.match_indices("$(") {
        let escaped = place == Place::Word && text.get(..at).is_some_and(|before| before.ends_with('$'));
        let inner = text
            .get(at + 2..)
            .and_then(|rest| rest.split_once(')'))
            .map(|(inner, _)| inner.trim());
        let Some(inner) = inner.filter(|_| !escaped) else {
            continue;
        };
        let Some((root, rest)) = inner.split_once(['.', '[']) else {
            continue;
        };
        if !["params", "steps", "workflow"].contains(&root) {
            continue;
        }
        let plain = |name: &str| !name.is_empty() && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
        let variable = match root {
            "params" if plain(rest) => params::env_name(rest),
            _ => "NAME".to_owned(),
        };
        let written = match place {
            Place::Word => format!("$({variable})"),
            Place::Script => format!("\"${variable}\""),
        };
        let help = if variable == "NAME" {
            format!("set it in env, {{name: NAME, value: \"$({inner})\"}}, and write {written}")
        } else {
            format!("write {written}")
        };
        problems.0.push(super::Problem {
            rule: Rule::NoExpressionHere,
            path: path.to_owned(),
            column: text.get(..at).map_or(0, |before| before.chars().count() + 1),
            message: format!("$({inner}) is not evaluated here"),
            help,
        });
    }
}

/// Makes the card as far as that can be done before the run: with the params, and without what earlier steps will give.
fn card(spec: &WorkflowSpec, step: &Step, index: usize, problems: &mut Problems) {
    let Ok(params) = params::resolve(&spec.params) else {
        return;
    };
    let known = |text: &str| {
        let template = Template::parse(text).ok()?;
        let known = template
            .expressions()
            .flat_map(crate::expr::Expression::references)
            .all(|reference| reference.root == "params");
        Some(known && template.check(&crate::expr::Names::of(spec)).is_empty())
    };
    let mut spec = spec.clone();
    let mut step = step.clone();
    // What cannot be evaluated yet counts with the length of its text.
    for variable in &mut step.run.env {
        if known(&variable.value) != Some(true) {
            variable.value = variable.value.replace("$(", "$$(");
        }
    }
    for data in &mut spec.data {
        if known(&data.files.url) != Some(true) {
            data.files.url = data.files.url.replace("$(", "$$(");
        }
    }
    let scope = Scope {
        params,
        ..Scope::default()
    };
    let Err(error) = card::build(&spec, &step, None, &scope) else {
        return;
    };
    let env = |name: &str| {
        let own = step.run.env.iter().position(|variable| variable.name == name);
        let param = spec
            .params
            .iter()
            .position(|param| params::env_name(&param.name) == name);
        match (own, param) {
            (Some(at), _) => format!("spec.steps[{index}].run.env[{at}].value"),
            (None, Some(at)) => format!("spec.params[{at}]"),
            (None, None) => format!("spec.steps[{index}].run.env"),
        }
    };
    let url = |used: &str| {
        let at = spec.data.iter().position(|data| data.name == used).unwrap_or_default();
        format!("spec.data[{at}].files.url")
    };
    let (rule, path) = match &error {
        CardError::TooLarge { .. } => (Rule::CardTooLarge, format!("spec.steps[{index}].run")),
        CardError::EnvTooLong { name, .. } => (Rule::CardTooLarge, env(name)),
        CardError::Env { name, .. } => (Rule::NoValue, env(name)),
        CardError::Nul { name } => (Rule::Nul, env(name)),
        CardError::Url { name, .. } | CardError::BadUrl { name, .. } => (Rule::NoValue, url(name)),
        // Told at `over.data` or `reads`.
        CardError::UnknownData(_) => return,
    };
    if problems
        .0
        .iter()
        .any(|problem| problem.path == path && problem.rule == rule)
    {
        return;
    }
    problems.add(rule, path, error.to_string(), "");
}
