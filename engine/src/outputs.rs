//! Outputs: what a run says at its end.

use std::collections::BTreeMap;

use braid_crds::workflow::Output;
use serde_json::Value;

use crate::expr::{self, ExprError, Scope};

/// An output that has no value.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("output {name}: {error}")]
pub struct OutputError {
    /// The output.
    pub name: String,
    /// Why.
    pub error: ExprError,
}

/// The values of all outputs; the first that has none is the error, and there are no values then.
pub fn evaluate(outputs: &[Output], scope: &Scope) -> Result<BTreeMap<String, Value>, OutputError> {
    outputs
        .iter()
        .map(|output| match expr::evaluate(&output.value, scope) {
            Ok(value) => Ok((output.name.clone(), value)),
            Err(error) => Err(OutputError {
                name: output.name.clone(),
                error,
            }),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use braid_crds::status::{Phase, StepResult, StepStatus, WorkflowStatus};
    use serde_json::json;

    use super::*;

    fn outputs(values: &[(&str, &str)]) -> Vec<Output> {
        values
            .iter()
            .map(|(name, value)| Output {
                name: (*name).into(),
                value: (*value).into(),
            })
            .collect()
    }

    fn scope() -> Scope {
        let result = |name: &str, value| StepResult {
            name: name.into(),
            value,
            count: 1,
            ..StepResult::default()
        };
        let step = StepStatus {
            name: "count".into(),
            phase: Phase::Succeeded,
            results: vec![result("words", Some(json!(7))), result("none", None)],
            ..StepStatus::default()
        };
        let status = WorkflowStatus {
            steps: vec![step],
            ..WorkflowStatus::default()
        };
        Scope::of(
            BTreeMap::from([("year".into(), json!(2013))]),
            &status,
            "w",
            "u-1",
            |_| true,
        )
    }

    #[test]
    fn are_values() {
        let values = outputs(&[
            ("words", "steps.count.results.words"),
            ("twice", "steps.count.results.words * 2"),
            ("run", "workflow.name + '/' + workflow.uid + '/' + string(params.year)"),
            ("ok", "steps.count.phase == 'Succeeded' && steps.count.failed == 0"),
        ]);
        let expected = json!({"ok": true, "run": "w/u-1/2013", "twice": 14, "words": 7});
        assert_eq!(expected, json!(evaluate(&values, &scope()).unwrap()));
    }

    #[test]
    fn name_what_is_missing() {
        let error = evaluate(&outputs(&[("a", "1"), ("b", "steps.count.results.none + 1")]), &scope()).unwrap_err();
        let message = error.to_string();
        assert!(
            message.starts_with("output b: step count gave no result none"),
            "{message}"
        );
    }
}
