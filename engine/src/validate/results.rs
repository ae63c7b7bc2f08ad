//! Results: defaults that fit, and sketches that fit into what is committed.

use braid_crds::{
    WorkflowSpec, limits,
    workflow::{Reduce, ResultSpec, ResultType},
};
use serde_json::Value;

use super::{Problems, Rule};
use crate::reduce;

pub(super) fn check(spec: &WorkflowSpec, problems: &mut Problems) {
    let mut of_run = 0;
    for (index, step) in spec.steps.iter().enumerate() {
        let path = format!("spec.steps[{index}].results");
        let mut of_step = 0;
        for (at, result) in step.results.iter().enumerate() {
            if let Some(default) = &result.default
                && let Some(needed) = misfit(result, default)
            {
                problems.add(
                    Rule::ResultDefault,
                    format!("{path}[{at}].default"),
                    format!("the default of {:?} must be {needed}", result.name),
                    "it stands for the value where nothing was given",
                );
            }
            let room = reduce::room(result);
            of_step += room;
            of_run += room;
            if of_step > limits::SHARD_BYTES && of_step - room <= limits::SHARD_BYTES {
                problems.add(
                    Rule::ResultsTooLarge,
                    format!("{path}[{at}]"),
                    format!(
                        "the sketches of this step's results may take {of_step} bytes, and {} is the most that a commit holds",
                        limits::SHARD_BYTES
                    ),
                    "take some Quantiles or Distinct into another step, or lower maxKeys",
                );
            } else if of_run > limits::STATUS_BYTES && of_run - room <= limits::STATUS_BYTES {
                problems.add(
                    Rule::ResultsTooLarge,
                    format!("{path}[{at}]"),
                    format!(
                        "the sketches of all results may take {of_run} bytes, and {} is the most that a status holds",
                        limits::STATUS_BYTES
                    ),
                    "take some Quantiles or Distinct into another run, or lower maxKeys",
                );
            }
        }
    }
}

/// What a default must be, if it is not.
fn misfit(result: &ResultSpec, default: &Value) -> Option<&'static str> {
    let picked = |value: &Value| value.get("value").is_some() && value.get("carry").is_some_and(Value::is_object);
    let carries = !result.carry.is_empty();
    let one = |value: &Value, fits: &dyn Fn(&Value) -> bool| {
        if carries {
            picked(value) && value.get("value").is_some_and(fits)
        } else {
            fits(value)
        }
    };
    let (fits, needed): (&dyn Fn(&Value) -> bool, _) = match (result.reduce, result.kind) {
        (_, Some(ResultType::Decimal)) if carries => (
            &reduce::is_decimal,
            "a map of value, a decimal number as a text, and carry, a map",
        ),
        (_, Some(ResultType::Decimal)) => (&reduce::is_decimal, "a decimal number of at most 38 digits, as a text"),
        (Reduce::Min | Reduce::Max, None) if carries => {
            (&reduce::is_number, "a map of value, a number, and carry, a map")
        }
        (Reduce::Sum | Reduce::Mean | Reduce::Min | Reduce::Max, None) => (&reduce::is_number, "a number"),
        (Reduce::Count | Reduce::Distinct, None) => (&Value::is_u64, "a whole number, 0 or more"),
        (Reduce::Quantiles, None) => (&is_numbers, "a map of numbers, for example {p50: 0}"),
        (Reduce::Collect, None) => (&Value::is_array, "a list"),
        (Reduce::All | Reduce::Any, None) => (&Value::is_boolean, "true or false"),
        (Reduce::First | Reduce::Last, None) => (&|_| true, "a map of value and carry"),
    };
    let fitting = match (result.keyed, default) {
        (false, value) => one(value, fits),
        (true, Value::Object(map)) => map.values().all(|value| one(value, fits)),
        (true, _) => return Some("a map, since the result is keyed"),
    };
    (!fitting).then_some(needed)
}

fn is_numbers(value: &Value) -> bool {
    value.as_object().is_some_and(|map| map.values().all(reduce::is_number))
}
