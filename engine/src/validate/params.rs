//! Params: values of their type, and environment variables of their own.

use braid_crds::WorkflowSpec;

use super::{Problems, Rule};
use crate::params::{self, ParamError};

pub(super) fn check(spec: &WorkflowSpec, problems: &mut Problems) {
    problems.duplicates(
        "spec.params",
        "params",
        spec.params.iter().map(|param| param.name.as_str()),
    );
    for (index, param) in spec.params.iter().enumerate() {
        let path = format!("spec.params[{index}]");
        if param.value.is_none() && param.default.is_none() {
            problems.add(
                Rule::ParamMissing,
                &path,
                ParamError::Missing(param.name.clone()).to_string(),
                "",
            );
        }
        for (field, value) in [("value", &param.value), ("default", &param.default)] {
            if let Some(value) = value
                && let Err(error) = params::check(param, value)
            {
                problems.add(Rule::ParamValue, format!("{path}.{field}"), error.to_string(), "");
            }
        }
        let mut untyped = param.clone();
        untyped.allowed.clear();
        for (at, value) in param.allowed.iter().enumerate() {
            if let Err(error) = params::check(&untyped, value) {
                problems.add(Rule::ParamValue, format!("{path}.enum[{at}]"), error.to_string(), "");
            }
        }
        let env = params::env_name(&param.name);
        let before = spec.params.iter().take(index);
        if let Some(other) = before
            .into_iter()
            .find(|other| other.name != param.name && params::env_name(&other.name) == env)
        {
            problems.add(
                Rule::ParamEnv,
                format!("{path}.name"),
                format!(
                    "params {:?} and {:?} are one environment variable, {env}",
                    other.name, param.name
                ),
                "give them names that differ in more than their case",
            );
        }
    }
}
