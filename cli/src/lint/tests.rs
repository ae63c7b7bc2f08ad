#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]

use super::*;

const RIGHT: &str = "apiVersion: braid.dev/v1alpha1
kind: Workflow
metadata: {name: w}
spec:
  steps:
    - name: one
      run: {command: [\"true\"]}
    - name: two
      after: [one]
      run:
        script: |
          echo first
          echo second
";

fn lint(text: &str) -> Vec<String> {
    match Linter::new().unwrap().text("wf.yaml", text) {
        Ok(_) => Vec::new(),
        Err(problems) => problems.iter().map(ToString::to_string).collect(),
    }
}

#[test]
fn gives_the_workflows() {
    let workflows = Linter::new()
        .unwrap()
        .text("wf.yaml", &format!("{RIGHT}---\n{RIGHT}"))
        .unwrap();
    assert_eq!(2, workflows.len());
    assert_eq!("two", workflows[1].spec.steps[1].name);
}

#[test]
fn tells_place_fault_and_mend() {
    for (from, to, expected) in [
        (
            "[one]",
            "[oen]",
            "wf.yaml:9:15 spec.steps[1].after[0]: there is no step \"oen\"; did you mean \"one\"?",
        ),
        (
            "after:",
            "aftr:",
            "wf.yaml:9:7 spec.steps[1].aftr: there is no field \"aftr\"; did you mean after?",
        ),
        (
            "echo second",
            "echo $(params.x)",
            "wf.yaml:13:16 spec.steps[1].run.script: $(params.x) is not evaluated here; write \"$BRAID_PARAM_X\"",
        ),
        (
            "name: two",
            "name: Two",
            "wf.yaml:8:13 spec.steps[1].name: \"Two\" is no DNS label; use lower case letters, digits and -, begin with a letter and do not end with -",
        ),
        (
            "kind: Workflow",
            "kind: Workfow",
            "wf.yaml:2:7 kind: \"Workfow\" is not known; did you mean Workflow?",
        ),
        (
            "kind: Workflow\n",
            "",
            "wf.yaml:1:1 kind: is missing; a workflow has apiVersion: braid.dev/v1alpha1 and kind: Workflow",
        ),
        (
            "after: [one]",
            "timeout: 7d",
            "wf.yaml:9:16 spec.steps[1].timeout: \"7d\" is not a duration: days are not a unit; write hours, for example 168h for seven days",
        ),
        (
            "after: [one]",
            "timeout: 99999999h",
            "wf.yaml:9:16 spec.steps[1].timeout: \"99999999h\" is too long: at most 87600h (ten years)",
        ),
        (
            "name: w",
            "name: w, name: v",
            "wf.yaml:3:21: \"name\" is there twice: take one out",
        ),
    ] {
        let text = RIGHT.replacen(from, to, 1);
        assert_ne!(RIGHT, text);
        assert_eq!(vec![expected.to_owned()], lint(&text), "{to}");
    }
}

#[test]
fn nothing_in_it() {
    assert_eq!(1, lint("").len());
    assert_eq!(1, lint("# only a comment\n").len());
    assert_eq!(1, lint("- a list\n").len());
    assert_eq!(1, lint("just text\n").len());
}

#[test]
fn many_problems_are_cut() {
    let steps: Vec<String> = (0..60)
        .map(|n| format!("    - {{name: A{n}, foo: 1, bar: 2, run: {{}}}}\n"))
        .collect();
    let steps = steps.concat();
    let problems = lint(&format!(
        "apiVersion: braid.dev/v1alpha1\nkind: Workflow\nmetadata: {{name: w}}\nspec:\n  steps:\n{steps}"
    ));
    assert_eq!(MOST + 1, problems.len());
    assert!(problems[MOST].contains("more problems"), "{}", problems[MOST]);
}

/// What kubectl would take for something else is told, wherever it stands; what it would not is left alone.
#[test]
fn what_older_readers_take_for_something_else() {
    let items = |items: &str| RIGHT.replace("after: [one]", &format!("over:\n        items: {items}"));
    for (word, meant) in [
        ("y", "true"),
        ("Off", "false"),
        ("010", "8"),
        ("-0777", "-511"),
        ("0x_1f", "31"),
        ("1_0.5", "10.5"),
        ("0_10", "8"),
    ] {
        let expected = format!(
            "wf.yaml:10:20 spec.steps[1].over.items[1]: {word} is {meant} to kubectl, which reads YAML 1.1, and not here; put it in quotes, or write {meant}"
        );
        assert_eq!([expected], *lint(&items(&format!("[é, {word}]"))), "{word}");
    }
    let key = items("[{y: 1}]");
    assert!(
        lint(&key)[0].starts_with("wf.yaml:10:18 spec.steps[1].over.items[0].y: y is true"),
        "{key}"
    );
    let pool = "apiVersion: braid.dev/v1alpha1\nkind: WorkerPool\nmetadata: {name: p, labels: {tier: no}}\nspec: {replicas: 0, pods: {}}\n";
    assert!(
        lint(pool)[0].starts_with("wf.yaml:3:36 metadata.labels.tier: no is false"),
        "{:?}",
        lint(pool)
    );
    let block = items("\n          - y");
    assert!(lint(&block)[0].contains(": y is true"), "{block}");
    for right in [
        "[\"y\", 'no', \"010\"]",
        "[yes-men, none, a_b, x_1, _1, 2026_01_01, 1.2.3, 0, 00, 07, 08, 0.5, 1e3, 0x1F, 0o17, -1, a_1]",
        "[{\"y\": 1, 'no': 2}, &a \"y\", *a]",
        "\n          - |-\n            y",
        "\n          - {a: b} # y",
    ] {
        assert_eq!(Vec::<String>::new(), lint(&items(right)), "{right}");
    }
}

/// A whole double is what an API server makes of it.
#[test]
fn whole_doubles_have_no_point() {
    let text = RIGHT.replace("after: [one]", "over: {items: [1.0, 1e3, 2.5, -3.0, 1e20]}");
    let workflows = Linter::new().unwrap().text("wf.yaml", &text).unwrap();
    let items = serde_json::to_string(&workflows[0].spec.steps[1].over.as_ref().unwrap().items).unwrap();
    assert_eq!("[1,1000,2.5,-3,1e20]", items.replace("1e+20", "1e20"));
}
