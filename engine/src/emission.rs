//! The folded results of a step as a file of lines: what `emit` writes.

use std::collections::BTreeMap;

use braid_crds::{
    status::StepResult,
    worker::{CardResult, Emission},
};
use serde::Serialize;
use serde_json::Value;

use crate::card;

/// A line of the file.
#[derive(Serialize)]
struct Row<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    key: Option<&'a str>,
    results: BTreeMap<&'a str, Value>,
}

/// What a step's results are, for a worker to write.
#[must_use]
pub fn of(results: &[StepResult]) -> Emission {
    let given = results.iter().filter_map(|result| {
        let value = result.value.clone()?;
        Some((result.name.clone(), value))
    });
    Emission {
        results: given.collect(),
    }
}

/// The name of the file.
#[must_use]
pub fn file_name(step: &str) -> String {
    format!("{step}.jsonl")
}

/// The lines of the file: one with the results that are not keyed, if there are such, then one for each key, in the order of the keys'
/// bytes, with the results that have it. Equal results give equal bytes.
#[must_use]
pub fn lines(emission: &Emission, declared: &[CardResult]) -> String {
    let keyed = |name: &str| declared.iter().any(|result| result.name == name && result.keyed);
    let mut plain = BTreeMap::new();
    let mut keys: BTreeMap<&str, BTreeMap<&str, Value>> = BTreeMap::new();
    for (name, value) in &emission.results {
        match value {
            Value::Object(values) if keyed(name) => {
                for (key, value) in values {
                    keys.entry(key).or_default().insert(name, card::sorted(value.clone()));
                }
            }
            value => drop(plain.insert(name.as_str(), card::sorted(value.clone()))),
        }
    }
    let whole = (!plain.is_empty()).then_some(Row {
        key: None,
        results: plain,
    });
    let rows = keys.into_iter().map(|(key, results)| Row {
        key: Some(key),
        results,
    });
    let mut lines = String::new();
    for row in whole.into_iter().chain(rows) {
        // Texts and values of JSON are always JSON again.
        lines.push_str(&serde_json::to_string(&row).unwrap_or_default());
        lines.push('\n');
    }
    lines
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use serde_json::json;

    use super::*;

    fn declared(name: &str, keyed: bool) -> CardResult {
        CardResult {
            name: name.to_owned(),
            keyed,
            ..CardResult::default()
        }
    }

    fn result(name: &str, value: Option<Value>) -> StepResult {
        StepResult {
            name: name.to_owned(),
            value,
            ..StepResult::default()
        }
    }

    #[test]
    fn there_is_a_line_for_each_key_and_one_for_what_has_none() {
        let results = [
            result("revenue", Some(json!({"s2": "1.50", "s1": "9.90"}))),
            result("orders", Some(json!({"s1": 1}))),
            result("rows", Some(json!(3))),
            result("worst", Some(json!({"value": 9, "carry": {"flight": "AA1"}}))),
            result("never", None),
        ];
        let card = [
            declared("revenue", true),
            declared("orders", true),
            declared("rows", false),
            declared("worst", false),
            declared("never", false),
        ];
        let expected = [
            r#"{"results":{"rows":3,"worst":{"carry":{"flight":"AA1"},"value":9}}}"#,
            r#"{"key":"s1","results":{"orders":1,"revenue":"9.90"}}"#,
            r#"{"key":"s2","results":{"revenue":"1.50"}}"#,
        ];
        let lines = lines(&of(&results), &card);
        assert_eq!(expected.to_vec(), lines.lines().collect::<Vec<_>>());
        assert!(lines.ends_with('\n'));
    }

    #[test]
    fn results_that_nobody_has_given_are_no_lines() {
        assert_eq!("", lines(&of(&[result("rows", None)]), &[declared("rows", false)]));
    }
}
