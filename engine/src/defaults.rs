//! What holds for a step: its own field, or the whole of the same field of `stepDefaults`.

use braid_crds::{
    Duration, WorkflowSpec,
    workflow::{Retry, Step, StepDefaults},
};

/// The longest that a step may take.
#[must_use]
pub fn timeout<'a>(spec: &'a WorkflowSpec, step: &'a Step) -> Option<&'a Duration> {
    step.timeout.as_ref().or_else(|| of(spec)?.timeout.as_ref())
}

/// The longest that an attempt of a partition may take.
#[must_use]
pub fn partition_timeout<'a>(spec: &'a WorkflowSpec, step: &'a Step) -> Option<&'a Duration> {
    let own = step.partition_timeout.as_ref();
    own.or_else(|| of(spec)?.partition_timeout.as_ref())
}

/// What happens to a partition that fails.
#[must_use]
pub fn retry<'a>(spec: &'a WorkflowSpec, step: &'a Step) -> Option<&'a Retry> {
    step.retry.as_ref().or_else(|| of(spec)?.retry.as_ref())
}

fn of(spec: &WorkflowSpec) -> Option<&StepDefaults> {
    spec.step_defaults.as_ref()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing)]
    use serde_json::json;

    use super::*;

    #[test]
    fn a_field_of_a_step_replaces_the_whole_default() {
        let spec: WorkflowSpec = serde_json::from_value(json!({
            "stepDefaults": {"timeout": "6h", "partitionTimeout": "30s", "retry": {"attempts": 3, "backoff": {"max": "1m"}}},
            "steps": [
                {"name": "plain", "run": {"command": ["true"]}},
                {"name": "own", "timeout": "1h", "retry": {"attempts": 5}, "run": {"command": ["true"]}},
            ],
        }))
        .unwrap();
        let (plain, own) = (&spec.steps[0], &spec.steps[1]);
        let text = |duration: Option<&Duration>| duration.map(|duration| duration.as_str().to_owned());
        assert_eq!(Some("6h".to_owned()), text(timeout(&spec, plain)));
        assert_eq!(Some("1h".to_owned()), text(timeout(&spec, own)));
        assert_eq!(Some("30s".to_owned()), text(partition_timeout(&spec, own)));
        assert_eq!(Some(3), retry(&spec, plain).unwrap().attempts);
        assert_eq!((Some(5), None), {
            let own = retry(&spec, own).unwrap();
            (own.attempts, own.backoff.clone())
        });
        let bare = WorkflowSpec::default();
        assert_eq!(None, timeout(&bare, plain));
    }
}
