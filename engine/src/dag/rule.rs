//! What a step's `afterRule` makes of how the steps before it ended.

use braid_crds::{
    status::{Phase, SkipCause},
    workflow::AfterRule,
};

use super::{At, Readiness};

/// How a step ended, as far as the steps after it are concerned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ending {
    Succeeded,
    /// Or was cancelled, or was skipped because of such a one.
    Failed,
    /// Was skipped, and not because something failed.
    Passed,
}

fn ending(at: At) -> Option<Ending> {
    match at.phase {
        Phase::Succeeded | Phase::Stopped => Some(Ending::Succeeded),
        Phase::Failed | Phase::Cancelled => Some(Ending::Failed),
        Phase::Skipped => match at.skipped {
            Some(SkipCause::When | SkipCause::Rule) => Some(Ending::Passed),
            Some(SkipCause::Failure) | None => Some(Ending::Failed),
        },
        _ => None,
    }
}

/// Whether a step of that rule may start behind these steps, which are named. It is judged when all have ended; before that only if
/// nothing that the others can still do makes a difference, not even to the cause.
pub(super) fn judge(rule: AfterRule, before: &[(&str, At)]) -> Readiness {
    let endings: Vec<Option<Ending>> = before.iter().map(|(_, at)| ending(*at)).collect();
    let any = |wanted| endings.contains(&Some(wanted));
    let all = |wanted| endings.iter().all(|ending| *ending == Some(wanted));
    let ended = endings.iter().all(Option::is_some);
    let wants_success = matches!(
        rule,
        AfterRule::AllSucceeded | AfterRule::NoneSkipped | AfterRule::AnySucceeded
    );
    let lost = match rule {
        AfterRule::AllSucceeded | AfterRule::NoneSkipped => any(Ending::Failed),
        AfterRule::AllFailed => any(Ending::Succeeded) || any(Ending::Passed),
        AfterRule::AnySucceeded | AfterRule::AnyFailed | AfterRule::AllDone => false,
    };
    if !ended && !lost {
        return Readiness::Wait;
    }
    let met = match rule {
        AfterRule::AllSucceeded => !any(Ending::Failed),
        AfterRule::NoneSkipped => all(Ending::Succeeded),
        AfterRule::AnySucceeded => any(Ending::Succeeded),
        AfterRule::AnyFailed => any(Ending::Failed),
        AfterRule::AllFailed => all(Ending::Failed),
        AfterRule::AllDone => true,
    };
    if met {
        return Readiness::Start;
    }
    let failed = before.iter().find(|(_, at)| ending(*at) == Some(Ending::Failed));
    match failed.filter(|_| wants_success) {
        Some((name, at)) => Readiness::Skip {
            cause: SkipCause::Failure,
            because: format!("step {name} is {:?}", at.phase),
        },
        None => Readiness::Skip {
            cause: SkipCause::Rule,
            because: format!("afterRule {rule:?} is not met: {}", told(before)),
        },
    }
}

/// How a few steps stand, for people.
fn told(before: &[(&str, At)]) -> String {
    let told: Vec<String> = before
        .iter()
        .map(|(name, at)| format!("step {name} is {:?}", at.phase))
        .collect();
    told.join(", ")
}
