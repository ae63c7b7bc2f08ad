#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]

use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;

fn workflow(change: impl Fn(&mut Value)) -> Workflow {
    let mut value = json!({
        "apiVersion": "braid.dev/v1alpha1",
        "kind": "Workflow",
        "metadata": {"name": "w"},
        "spec": {
            "params": [{"name": "year", "type": "Integer", "default": 2013, "enum": [2013, 2014]}],
            "data": [{"name": "flights", "files": {"url": "flights/$(params.year)/*.csv"}}],
            "steps": [
                {"name": "clean", "over": {"data": "flights", "split": {"files": 1}}, "run": {"command": ["clean", "$(BRAID_PARAM_YEAR)"]},
                 "results": [{"name": "rows", "reduce": "Sum"}]},
                {"name": "sign-off", "after": ["clean"], "run": {
                    "script": "echo $(date) $ROWS",
                    "env": [{"name": "ROWS", "value": "$(steps.clean.results.rows) of $(params.year)"}]
                }}
            ],
            "outputs": [{"name": "rows", "value": "steps.clean.results.rows + steps.sign_off.failed"}]
        }
    });
    change(&mut value["spec"]);
    serde_json::from_value(value).unwrap()
}

/// The only problem, as `rule path:column message; help`.
fn only(change: impl Fn(&mut Value)) -> String {
    let problems = validate(&workflow(change));
    assert_eq!(1, problems.len(), "{problems:#?}");
    format!("{:?} {} @{}", problems[0].rule, problems[0], problems[0].column)
}

#[test]
fn nothing_is_wrong_with_a_right_one() {
    assert_eq!(Vec::<Problem>::new(), validate(&workflow(|_| {})));
    // An empty range has no partitions, and that is fine.
    let empty = workflow(|spec| spec["steps"][0]["over"] = json!({"range": {"start": 3, "end": 3}}));
    assert_eq!(Vec::<Problem>::new(), validate(&empty));
}

#[test]
fn steps_and_data() {
    let found = only(|spec| spec["steps"][1]["after"] = json!(["clean", "clen"]));
    assert_eq!(
        "UnknownStep spec.steps[1].after[1]: there is no step \"clen\"; did you mean \"clean\"? @0",
        found
    );
    let found = only(|spec| spec["steps"][1]["after"] = json!(["clean", "sign-off"]));
    assert!(found.starts_with("AfterItself spec.steps[1].after[1]: "), "{found}");
    let found = only(|spec| spec["steps"][0]["after"] = json!(["sign-off"]));
    assert!(
        found.contains("sign-off -> clean -> sign-off") || found.contains("clean -> sign-off -> clean"),
        "{found}"
    );
    let found = only(|spec| spec["steps"][0]["over"]["data"] = json!("fligths"));
    assert!(
        found.contains("UnknownData spec.steps[0].over.data: ") && found.contains("\"flights\"?"),
        "{found}"
    );
    let found = only(|spec| spec["data"] = json!([spec["data"][0], spec["data"][0]]));
    assert!(found.starts_with("Duplicate spec.data[1].name: "), "{found}");
    let found = only(|spec| spec["steps"][0]["over"] = json!({"items": vec!["x".repeat(60_000); 10]}));
    assert!(found.starts_with("ItemsTooLarge spec.steps[0].over.items: "), "{found}");
}

#[test]
fn params() {
    let found = only(|spec| spec["params"][0]["default"] = json!("2013"));
    assert!(
        found.starts_with("ParamValue spec.params[0].default: ") && found.contains("is a string"),
        "{found}"
    );
    let found = only(|spec| spec["params"][0]["value"] = json!(2015));
    assert!(found.contains("must be one of 2013, 2014, not 2015"), "{found}");
    let found = only(|spec| spec["params"] = json!([spec["params"][0], {"name": "YEAR", "value": 1}]));
    assert!(found.starts_with("ParamEnv spec.params[1].name: "), "{found}");
    let found = only(|spec| spec["params"] = json!([spec["params"][0], {"name": "x"}]));
    assert!(found.contains("give one with -p x=..."), "{found}");
}

#[test]
fn expressions() {
    let env = |text: &'static str| move |spec: &mut Value| spec["steps"][1]["run"]["env"][0]["value"] = json!(text);
    let found = only(env("a $(params.yaer)"));
    assert!(
        found.starts_with("Expression(UnknownParam) spec.steps[1].run.env[0].value: ") && found.ends_with("@5"),
        "{found}"
    );
    let found = only(env("$(steps.sign_off.failed)"));
    assert!(found.contains("a step cannot read itself"), "{found}");
    let found = only(env("$(1 / (params.year - 2013))"));
    assert!(found.starts_with("NoValue spec.steps[1].run.env[0].value: "), "{found}");
    let found = only(|spec| spec["data"][0]["files"]["url"] = json!("$(steps.sign_off.phase)"));
    assert!(
        found.contains("when step \"clean\" starts: add \"sign-off\" to its after"),
        "{found}"
    );
    let found = only(|spec| spec["outputs"][0]["value"] = json!("steps.sign-off.failed"));
    assert!(
        found.contains("steps.sign-off is a subtraction; write steps.sign_off"),
        "{found}"
    );
}

#[test]
fn programs() {
    let found = only(|spec| spec["steps"][0]["run"]["command"][1] = json!("--year=$(params.year)"));
    assert_eq!(
        "NoExpressionHere spec.steps[0].run.command[1]: $(params.year) is not evaluated here; write $(BRAID_PARAM_YEAR) @8",
        found
    );
    let found = only(|spec| spec["steps"][1]["run"]["script"] = json!("echo $(steps.clean.phase)"));
    assert!(
        found.contains("set it in env") && found.contains("\"$NAME\""),
        "{found}"
    );
    for fine in ["$$(params.year)", "$(paramsx.y)", "$(BRAID_ITEM)", "$(params", "x$"] {
        let problems = validate(&workflow(|spec| spec["steps"][0]["run"]["command"][1] = json!(fine)));
        assert_eq!(Vec::<Problem>::new(), problems, "{fine}");
    }
    let found = only(|spec| spec["steps"][0]["run"]["args"] = json!(["a\u{0}b"]));
    assert!(found.starts_with("Nul spec.steps[0].run.args[0]: "), "{found}");
    let found = only(|spec| spec["steps"][0]["run"]["command"] = json!([""]));
    assert!(found.starts_with("EmptyCommand"), "{found}");
    let found = only(|spec| spec["steps"][0]["run"]["args"] = json!(vec!["x".repeat(8_000); 5]));
    assert!(found.starts_with("CardTooLarge spec.steps[0].run: "), "{found}");
}

#[test]
fn waits() {
    let found = only(|spec| spec["steps"][0]["retry"] = json!({"backoff": {"initial": "5m"}}));
    assert!(found.contains("than the longest, 1m where max is absent"), "{found}");
    let found = only(|spec| spec["steps"][0]["partitionTimeout"] = json!("0s"));
    assert!(
        found.starts_with("ZeroTimeout spec.steps[0].partitionTimeout: "),
        "{found}"
    );
    let found = only(|spec| spec["timeout"] = json!("0ms"));
    assert!(found.starts_with("ZeroTimeout spec.timeout: "), "{found}");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    /// Whatever the texts are, there is an answer.
    #[test]
    fn total(name in "\\PC{0,12}", after in "\\PC{0,12}", text in "\\PC{0,30}", items in prop::collection::vec("\\PC{0,9}", 0..4)) {
        let workflow = workflow(|spec| {
            spec["steps"][0]["name"] = json!(name);
            spec["steps"][1]["after"] = json!([after, name]);
            spec["steps"][1]["run"]["args"] = json!([text]);
            spec["steps"][1]["run"]["env"][0]["value"] = json!(text);
            spec["data"][0]["files"]["url"] = json!(text);
            spec["params"][0]["name"] = json!(after);
            spec["steps"][1]["over"] = json!({"items": items});
        });
        let _ = validate(&workflow);
    }
}
