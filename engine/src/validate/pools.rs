//! Pools and what steps say of their pods.

use braid_crds::{WorkflowSpec, limits, workflow::Step};
use serde_json::Value;

use super::{Problems, Rule, suggest};

/// The pool that need not be declared.
const DEFAULT: &str = "default";

pub(super) fn check(spec: &WorkflowSpec, problems: &mut Problems) {
    let names = || spec.pools.iter().map(|pool| pool.name.as_str());
    problems.duplicates("spec.pools", "pools", names());
    for (index, step) in spec.steps.iter().enumerate() {
        let path = format!("spec.steps[{index}]");
        let name = step.pool.as_deref().unwrap_or(DEFAULT);
        let pool = spec.pools.iter().find(|pool| pool.name == name);
        if pool.is_none() && name != DEFAULT {
            problems.add(
                Rule::UnknownPool,
                format!("{path}.pool"),
                format!("there is no pool {name:?}"),
                suggest(name, "pools", names()),
            );
        }
        let template = pool.and_then(|pool| pool.template.as_ref());
        let bytes = template.map_or(0, bytes) + of_step(step);
        if bytes > limits::POD_CLASS_BYTES {
            problems.add(
                Rule::PodClassTooLarge,
                format!("{path}.run"),
                format!(
                    "the pool's template and what the step says of its pods have {bytes} bytes, and {} is the most",
                    limits::POD_CLASS_BYTES
                ),
                "put what is long into a ConfigMap",
            );
        }
    }
}

fn of_step(step: &Step) -> usize {
    let run = &step.run;
    let parts = run.resources.iter().chain(&run.security_context);
    let lists = run.env_from.iter().chain(&run.volume_mounts);
    let env = run.env.iter().filter_map(|variable| variable.value_from.as_ref());
    parts.chain(lists).chain(env).map(bytes).sum()
}

fn bytes(value: &Value) -> usize {
    value.to_string().len()
}
