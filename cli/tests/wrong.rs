//! One wrong manifest for each rule, each refused at its place with its message; and no rule without one.
//!
//! A file of `tests/manifests/wrong` begins with two comments: `# expect: LINE:COLUMN TEXT`, what `braid lint` must say (TEXT is part
//! of the message and its help), and `# rule: KEY`, which rule it breaks. The keys of the schema and of the CEL rules are made from
//! the definitions, those of the engine from its list of rules, and must be the same as those of the files: a rule
//! that is taken out, or one that comes without a wrong manifest, fails.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use braid_cli::lint::{Linter, Problem};
use braid_engine::validate::Rule;
use serde_json::Value;

struct Wrong {
    file: PathBuf,
    line: usize,
    column: usize,
    text: String,
    rule: String,
}

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/manifests/wrong")
}

fn all() -> Vec<Wrong> {
    let mut files: Vec<PathBuf> = fs::read_dir(folder())
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    files.sort();
    files.into_iter().map(read).collect()
}

fn read(file: PathBuf) -> Wrong {
    let text = fs::read_to_string(&file).unwrap();
    let mut lines = text.lines();
    let (expect, rule) = (lines.next().unwrap_or_default(), lines.next().unwrap_or_default());
    let expect = expect
        .strip_prefix("# expect: ")
        .unwrap_or_else(|| panic!("{}: no `# expect:`", file.display()));
    let rule = rule
        .strip_prefix("# rule: ")
        .unwrap_or_else(|| panic!("{}: no `# rule:`", file.display()));
    let (place, text) = expect.split_once(' ').unwrap();
    let (line, column) = place.split_once(':').unwrap();
    Wrong {
        line: line.parse().unwrap(),
        column: column.parse().unwrap(),
        text: text.to_owned(),
        rule: rule.to_owned(),
        file,
    }
}

fn says(problem: &Problem) -> String {
    format!("{}; {}", problem.message, problem.help)
}

#[test]
fn each_is_refused_at_its_place() {
    let linter = Linter::new().unwrap();
    for wrong in all() {
        let problems = linter.file(&wrong.file).expect_err(&wrong.file.display().to_string());
        let found = problems.iter().any(|problem| {
            (problem.line, problem.column) == (wrong.line, wrong.column) && says(problem).contains(&wrong.text)
        });
        let told: Vec<String> = problems.iter().map(ToString::to_string).collect();
        assert!(
            found,
            "expected {}:{} {}, found\n{}",
            wrong.line,
            wrong.column,
            wrong.text,
            told.join("\n")
        );
    }
}

/// The command itself: exit code 2, and a line for each problem.
#[test]
fn the_command_exits_with_2() {
    for wrong in all().iter().step_by(12) {
        let output = Command::new(env!("CARGO_BIN_EXE_braid"))
            .arg("lint")
            .arg(&wrong.file)
            .output()
            .unwrap();
        assert_eq!(Some(2), output.status.code(), "{}", wrong.file.display());
        let start = format!("{}:{}:{}", wrong.file.display(), wrong.line, wrong.column);
        let text = String::from_utf8(output.stdout).unwrap();
        assert!(text.lines().any(|line| line.starts_with(&start)), "{start}: {text}");
    }
}

#[test]
fn examples_are_right() {
    let examples = Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples");
    let linter = Linter::new().unwrap();
    let mut count = 0;
    for entry in fs::read_dir(examples).unwrap() {
        let file = entry.unwrap().path();
        if file.extension().is_some_and(|extension| extension == "yaml") {
            let workflows = linter.file(&file).unwrap_or_else(|problems| panic!("{problems:?}"));
            count += workflows.len();
        }
    }
    assert!(count >= 4, "{count}");
}

#[test]
fn every_rule_has_a_wrong_manifest() {
    let mut rules: BTreeSet<String> = Rule::all().map(|rule| format!("engine {rule:?}")).collect();
    for definition in braid_crds::definitions() {
        let definition = serde_json::to_value(&definition).unwrap();
        let schema = &definition["spec"]["versions"][0]["schema"]["openAPIV3Schema"];
        cel_rules(schema, &mut rules);
        if definition["spec"]["names"]["kind"] == "Workflow" {
            schema_rules(&schema["properties"]["spec"], "spec", &mut rules);
        }
    }
    let files = all().into_iter().map(|wrong| wrong.rule);
    let kinds = ["schema ", "cel ", "engine "];
    let covered: BTreeSet<String> = files
        .filter(|rule| kinds.iter().any(|kind| rule.starts_with(kind)))
        .collect();
    let missing: Vec<&String> = rules.difference(&covered).collect();
    let gone: Vec<&String> = covered.difference(&rules).collect();
    assert!(
        missing.is_empty() && gone.is_empty(),
        "without a wrong manifest: {missing:#?}\nno longer a rule: {gone:#?}"
    );
}

/// The rules that hold on creation; transition rules have nothing to compare with in a file.
fn cel_rules(node: &Value, rules: &mut BTreeSet<String>) {
    for rule in node["x-kubernetes-validations"].as_array().into_iter().flatten() {
        let text = rule["rule"].as_str().unwrap();
        if text.starts_with("oldSelf.hasValue() || ") || !text.contains("oldSelf") {
            rules.insert(format!("cel {}", rule["message"].as_str().unwrap()));
        }
    }
    for child in node["properties"].as_object().into_iter().flatten() {
        cel_rules(child.1, rules);
    }
    if node["items"].is_object() {
        cel_rules(&node["items"], rules);
    }
}

fn schema_rules(node: &Value, path: &str, rules: &mut BTreeSet<String>) {
    let keywords = [
        "type",
        "pattern",
        "minLength",
        "maxLength",
        "minItems",
        "maxItems",
        "minimum",
        "maximum",
        "enum",
        "format",
        "anyOf",
        "oneOf",
    ];
    let mut add = |keyword: &str| rules.insert(format!("schema {path} {keyword}"));
    for keyword in keywords {
        if !node[keyword].is_null() {
            add(keyword);
        }
    }
    if node["x-kubernetes-int-or-string"] == true {
        add("type");
    }
    if ["map", "set"]
        .iter()
        .any(|kind| node["x-kubernetes-list-type"] == *kind)
    {
        add("unique");
    }
    for required in node["required"].as_array().into_iter().flatten() {
        add(&format!("required {}", required.as_str().unwrap()));
    }
    // A keyword that is not in the list above would go untested.
    let known = [
        "description",
        "default",
        "nullable",
        "properties",
        "items",
        "required",
        "additionalProperties",
    ];
    for (keyword, _) in node.as_object().unwrap() {
        let ours = keyword.starts_with("x-kubernetes-") || keywords.contains(&keyword.as_str());
        assert!(
            ours || known.contains(&keyword.as_str()),
            "{path}: no test knows {keyword}"
        );
    }
    for (name, child) in node["properties"].as_object().into_iter().flatten() {
        schema_rules(child, &format!("{path}.{name}"), rules);
    }
    if node["items"].is_object() {
        schema_rules(&node["items"], &format!("{path}[]"), rules);
    }
}
