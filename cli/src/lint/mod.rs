//! What is wrong with manifests, before anything runs: where, what, and how to mend it.
//!
//! Five kinds of checks, in this order: the text (YAML, sizes), the schema and its rules (by the embedded API server's own code, as
//! strict as it is), what kubectl would read otherwise, what the types say that a schema cannot, and the engine's validation. So what passes
//! here is accepted by `braid run`, and what the server or the operator would refuse is refused here, all of it at once.

use std::{fmt, path::Path};

use braid_apiserver::{BuildError, Definitions};
use braid_crds::{Workflow, WorkflowSpec, workflow};
use braid_engine::{suggest::nearest, validate};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::Value;

use crate::manifest::{self, Kind, ManifestError, Node, Place};

mod older;
mod wording;

#[cfg(test)]
mod tests;

/// Problems told of one file; more would not be read.
const MOST: usize = 100;

/// Something wrong in a file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Problem {
    /// The file, as it was named.
    pub file: String,
    /// The line, from 1.
    pub line: usize,
    /// The column in characters, from 1.
    pub column: usize,
    /// The field, as in `spec.steps[2].after[0]`; empty: the text or the document as a whole.
    pub path: String,
    /// What is wrong.
    pub message: String,
    /// How to mend it; empty: the message says it.
    pub help: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:{}", self.file, self.line, self.column)?;
        if !self.path.is_empty() {
            write!(f, " {}", self.path)?;
        }
        write!(f, ": {}", self.message)?;
        if !self.help.is_empty() {
            write!(f, "; {}", self.help)?;
        }
        Ok(())
    }
}

/// A document without problems, or all of its problems.
type Checked<T> = Result<T, Vec<Problem>>;

/// Checks manifests. Building one compiles the definitions, so one is used for many files.
pub struct Linter {
    definitions: Definitions,
    given: Vec<String>,
}

impl Linter {
    /// Compiles the definitions of all kinds.
    pub fn new() -> Result<Self, BuildError> {
        let definitions = Definitions::new(&braid_crds::definitions())?;
        Ok(Self {
            definitions,
            given: Vec::new(),
        })
    }

    /// As if params had these values, `NAME=VALUE`: they need neither one nor a default in the file.
    #[must_use]
    pub fn giving(mut self, params: &[String]) -> Self {
        params.clone_into(&mut self.given);
        self
    }

    /// Reads and checks a file, or standard input if it is named `-`. Gives its workflows when nothing is wrong.
    pub fn file(&self, path: &Path) -> Checked<Vec<Workflow>> {
        Ok(self.counted(path)?.0)
    }

    /// The same, and how many documents there are, of any kind.
    pub fn counted(&self, path: &Path) -> Checked<(Vec<Workflow>, usize)> {
        let name = if path.as_os_str() == "-" {
            "<stdin>".to_owned()
        } else {
            path.display().to_string()
        };
        match manifest::read(path) {
            Ok(text) => self.documents(&name, &text),
            Err(error) => Err(vec![unreadable(&name, &error)]),
        }
    }

    /// Checks a text. `name` stands for the file in the problems.
    pub fn text(&self, name: &str, text: &str) -> Checked<Vec<Workflow>> {
        Ok(self.documents(name, text)?.0)
    }

    fn documents(&self, name: &str, text: &str) -> Checked<(Vec<Workflow>, usize)> {
        let documents = manifest::parse(text).map_err(|error| vec![unreadable(name, &error)])?;
        if documents.is_empty() {
            return Err(vec![Problem {
                file: name.to_owned(),
                line: 1,
                column: 1,
                path: String::new(),
                message: "there is no document in it".to_owned(),
                help: "a workflow begins with apiVersion: braid.dev/v1alpha1 and kind: Workflow".to_owned(),
            }]);
        }
        let mut workflows = Vec::new();
        let mut problems = Vec::new();
        for document in &documents {
            let mut sheet = Sheet {
                file: name,
                text,
                document,
                problems: Vec::new(),
            };
            workflows.extend(self.document(&mut sheet));
            problems.append(&mut sheet.problems);
        }
        if problems.is_empty() {
            return Ok((workflows, documents.len()));
        }
        problems.sort_by_key(|problem| (problem.line, problem.column));
        problems.dedup_by(|a, b| a == b);
        if problems.len() > MOST {
            let more = problems.len() - MOST;
            problems.truncate(MOST);
            if let Some(last) = problems.last().cloned() {
                problems.push(Problem {
                    path: String::new(),
                    message: format!("{more} more problems"),
                    help: "mend these first".to_owned(),
                    ..last
                });
            }
        }
        Err(problems)
    }

    fn document(&self, sheet: &mut Sheet<'_>) -> Option<Workflow> {
        let mut value = sheet.document.to_json();
        manifest::preset(&mut value, &self.given);
        if !value.is_object() {
            sheet.add("", "a manifest is a map with apiVersion, kind, metadata and spec", "");
            return None;
        }
        let Some(refusals) = self.definitions.check(&value) else {
            self.unknown_kind(sheet, &value);
            return None;
        };
        for refusal in refusals {
            let at = value_at(sheet.document, &refusal.path);
            let (message, help) = wording::of(&refusal, at.as_ref());
            match sheet
                .document
                .find(&refusal.path)
                .name
                .filter(|_| refusal.known_fields.is_some())
            {
                // It is the name that is wrong, not the value.
                Some(name) => sheet.push(name, &refusal.path, message, help),
                None => sheet.add(&refusal.path, message, help),
            }
        }
        older::tell(sheet);
        if value.get("kind").and_then(Value::as_str) != Some("Workflow") {
            return None;
        }
        let workflow = match serde_json::from_value::<Workflow>(value.clone()) {
            Ok(workflow) => workflow,
            Err(error) => {
                // What the schema has refused does not fit the types either, and has been told better.
                if sheet.problems.is_empty() {
                    let (path, message) = misfit(&value).unwrap_or_else(|| (String::new(), error.to_string()));
                    sheet.add(&path, message, "");
                }
                return None;
            }
        };
        for problem in validate::validate(&workflow) {
            sheet.found(problem);
        }
        sheet.problems.is_empty().then_some(workflow)
    }

    fn unknown_kind(&self, sheet: &mut Sheet<'_>, value: &Value) {
        let kinds: Vec<(String, &str)> = self.definitions.kinds().collect();
        for field in ["apiVersion", "kind"] {
            let known = || {
                kinds
                    .iter()
                    .map(|(version, kind)| if field == "kind" { *kind } else { version.as_str() })
            };
            match value.get(field) {
                None => sheet.add(
                    field,
                    "is missing",
                    "a workflow has apiVersion: braid.dev/v1alpha1 and kind: Workflow",
                ),
                Some(Value::String(text)) if known().any(|known| known == text) => {}
                Some(Value::String(text)) => {
                    let meant = nearest(text, known()).map(|known| format!("did you mean {known}?"));
                    let help = meant.unwrap_or_else(|| {
                        let mut all: Vec<&str> = known().collect();
                        all.dedup();
                        format!("known: {}", all.join(", "))
                    });
                    sheet.add(field, format!("{text:?} is not known"), help);
                }
                Some(_) => sheet.add(field, "must be a string", ""),
            }
        }
        if sheet.problems.is_empty() {
            sheet.add("kind", "this kind does not exist in this apiVersion", "");
        }
    }
}

fn unreadable(file: &str, error: &ManifestError) -> Problem {
    let Place { line, column } = error.place();
    Problem {
        file: file.to_owned(),
        line,
        column,
        path: String::new(),
        message: error.to_string(),
        help: String::new(),
    }
}

fn value_at(document: &Node, path: &str) -> Option<Value> {
    let found = document.find(path);
    found.whole.then(|| found.node.to_json())
}

/// One document while it is checked.
struct Sheet<'a> {
    file: &'a str,
    text: &'a str,
    document: &'a Node,
    problems: Vec<Problem>,
}

impl Sheet<'_> {
    fn add(&mut self, path: &str, message: impl Into<String>, help: impl Into<String>) {
        let found = self.document.find(path);
        let place = match (&found.node.kind, found.name, found.whole) {
            // A list or a map begins below its name, which is where people look.
            (Kind::List(_) | Kind::Map(_), Some(name), true) => name,
            _ => found.node.place,
        };
        self.push(place, path, message.into(), help.into());
    }

    fn push(&mut self, place: Place, path: &str, message: String, help: String) {
        self.problems.push(Problem {
            file: self.file.to_owned(),
            line: place.line,
            column: place.column,
            path: path.to_owned(),
            message,
            help,
        });
    }

    /// A problem of the engine. What the schema says of the same list entry is enough.
    fn found(&mut self, problem: validate::Problem) {
        let told = problem.rule == validate::Rule::Duplicate
            && self
                .problems
                .iter()
                .any(|other| problem.path.starts_with(&other.path) && other.message.contains("twice"));
        if told {
            return;
        }
        let found = self.document.find(&problem.path);
        if let (true, Kind::Scalar(Value::String(value))) = (found.whole && problem.column > 0, &found.node.kind)
            && let Some(place) = within(self.text, found.node.place, value, problem.column)
        {
            self.push(place, &problem.path, problem.message, problem.help);
        } else {
            self.add(&problem.path, problem.message, problem.help);
        }
    }
}

/// The place of a column of a string's value, if the text has the value as it is: plain, quoted without escapes, or as a block.
fn within(text: &str, place: Place, value: &str, column: usize) -> Option<Place> {
    let line_at = |nth: usize, from: usize| -> Option<String> {
        let line = text.lines().nth(place.line - 1 + nth)?;
        Some(line.chars().skip(from - 1).collect())
    };
    let first = line_at(0, place.column)?;
    let quote = usize::from(first.starts_with(['"', '\'']));
    let before: String = value.chars().take(column - 1).collect();
    // A block begins at its first line, and each further line is indented as far.
    let nth = before.matches('\n').count();
    let inside = before.rsplit('\n').next().map_or(0, |last| last.chars().count());
    let as_written = line_at(nth, place.column + quote)?;
    as_written.starts_with(value.lines().nth(nth)?).then_some(Place {
        line: place.line + nth,
        column: place.column + quote + inside,
    })
}

/// Why a value does not fit a type.
type ErrorOf = fn(&Value) -> Option<String>;

/// Which part of a workflow does not fit its type, and why: parts that the schema allows and the types do not.
fn misfit(value: &Value) -> Option<(String, String)> {
    let spec = value.get("spec")?;
    for (at, step) in spec
        .get("steps")
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
        .enumerate()
    {
        let path = format!("spec.steps[{at}]");
        let fields: [(&str, ErrorOf); 9] = [
            ("timeout", error_of::<braid_crds::Duration>),
            ("partitionTimeout", error_of::<braid_crds::Duration>),
            ("maxFailedPartitions", error_of::<braid_crds::CountOrPercent>),
            ("parallelism", error_of::<braid_crds::Parallelism>),
            ("retry", error_of::<workflow::Retry>),
            ("repeat", error_of::<workflow::Repeat>),
            ("over", error_of::<workflow::Over>),
            ("run", error_of::<workflow::Run>),
            ("results", error_of::<Vec<workflow::ResultSpec>>),
        ];
        for (field, error) in fields {
            if let Some(message) = step.get(field).and_then(error) {
                return Some((format!("{path}.{field}"), message));
            }
        }
        if let Some(message) = error_of::<workflow::Step>(step) {
            return Some((path, message));
        }
    }
    let fields: [(&str, ErrorOf); 3] = [
        ("timeout", error_of::<braid_crds::Duration>),
        ("parallelism", error_of::<braid_crds::Parallelism>),
        ("stepDefaults", error_of::<workflow::StepDefaults>),
    ];
    for (field, error) in fields {
        if let Some(message) = spec.get(field).and_then(error) {
            return Some((format!("spec.{field}"), message));
        }
    }
    error_of::<WorkflowSpec>(spec).map(|message| ("spec".to_owned(), message))
}

fn error_of<T: DeserializeOwned>(value: &Value) -> Option<String> {
    serde_json::from_value::<T>(value.clone())
        .err()
        .map(|error| error.to_string())
}

/// The problems of several files, in their order.
#[must_use]
pub fn files<'a>(linter: &Linter, files: impl IntoIterator<Item = &'a Path>) -> Vec<Problem> {
    files
        .into_iter()
        .filter_map(|file| linter.file(file).err())
        .flatten()
        .collect()
}
