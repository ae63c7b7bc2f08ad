//! Ends that a step's own results decide: `stopWhen` within a round, `repeat` between rounds.
//!
//! Both look at folded results only, in the pass that folds them, and what they decide is in the same write. A round ends as a step
//! does: all sealed, all folded, closed. The next begins, in a write of its own, once that is stored and no shard of the step is on any
//! desk: then whatever still comes of the old round is of an old round.

use braid_crds::{
    status::{Phase, RepeatStatus, StepStatus},
    worker::Fatal,
    workflow::{Repeat, Step},
};
use braid_engine::{
    expr::{ExprError, Scope},
    protocol::{close, wire::WireError},
    repeat::{self, After, EXHAUSTED, Wait},
};

use super::{Pass, cut, finish, start};
use crate::workflow::{is_cancelled, programs::scope_of, rests, stamp};

impl Pass<'_> {
    /// Whether a condition over a step's own results holds. What no partition has given yet holds nothing.
    pub(super) fn holds(&mut self, text: &str, step: &StepStatus) -> Result<bool, String> {
        let told = |error: ExprError| error.to_string();
        let expression = self.compiled.get(text).map_err(told)?;
        let (workflow, status) = (self.view.workflow, &self.advance.status);
        let scope: Scope = scope_of(workflow, status, |name| expression.reads(name))?.within(step);
        match expression.holds(&scope) {
            Err(ExprError::NotYet { .. }) => Ok(false),
            answer => answer.map_err(told),
        }
    }

    /// Looks whether what is folded now is enough.
    pub(super) fn stop_when(&mut self, spec: &Step, step: &mut StepStatus) {
        let Some(text) = spec.stop_when.as_ref().filter(|_| !step.satisfied) else {
            return;
        };
        match self.holds(text, step) {
            Ok(true) => {
                step.satisfied = true;
                self.advance.urgent = true;
            }
            Ok(false) => {}
            Err(message) => {
                step.stopping.get_or_insert_with(|| bad("stopWhen", &message));
            }
        }
    }

    /// A round has succeeded: it was the last, or the next is waited for.
    pub(super) fn end_round(&mut self, spec: &Step, repeat: &Repeat, step: &mut StepStatus) {
        let now = self.view.now;
        let holds = match self.holds(&repeat.until, step) {
            Ok(holds) => holds,
            Err(message) => {
                step.stopping = Some(bad("until", &message));
                finish(step, Phase::Failed, now);
                return;
            }
        };
        match repeat::after_round(repeat, step.repeat.as_ref(), holds, now.as_millisecond()) {
            After::Done(rounds) => {
                step.repeat = Some(rounds);
                finish(step, Phase::Succeeded, now);
            }
            After::Exhausted(rounds) => {
                step.stopping = Some(Fatal {
                    reason: EXHAUSTED.into(),
                    message: cut(&format!(
                        "after {} rounds, which is the most, this is still false: {}",
                        rounds.rounds, repeat.until
                    )),
                });
                step.repeat = Some(rounds);
                finish(step, Phase::Failed, now);
            }
            After::Again(rounds) => {
                step.repeat = Some(rounds);
                step.closed = true;
                step.deferred.clear();
                step.suspects.clear();
                step.phase = if rests(self.view.workflow, spec) {
                    Phase::Suspended
                } else {
                    Phase::Waiting
                };
                self.advance.urgent = true;
            }
        }
    }

    /// Begins the next round when its time has come.
    pub(super) fn between_rounds(&mut self, spec: &Step, step: &mut StepStatus) -> Result<(), WireError> {
        let (Some(repeat), Some(known)) = (&spec.repeat, &step.repeat) else {
            return Ok(());
        };
        let Some(next_at) = known.next_at else { return Ok(()) };
        let workflow = self.view.workflow;
        if step.stopping.is_some() || step.renewal.is_some() || is_cancelled(workflow, spec) || rests(workflow, spec) {
            return Ok(());
        }
        let rounds = known.rounds;
        match repeat::wait(repeat, next_at, self.view.now.as_millisecond()) {
            Wait::Left(_) => {}
            Wait::Anew(at) => {
                if let Some(known) = &mut step.repeat {
                    known.next_at = Some(at);
                }
                self.advance.urgent = true;
            }
            Wait::Due if self.view.desks.any(&self.uid, &step.name) => {}
            Wait::Due => {
                let mut record = self.record(spec, step)?;
                if close::renew(&mut record, self.view.desks.protocol().map(|(_, desk)| desk)).is_err() {
                    return Ok(());
                }
                *step = StepStatus {
                    name: step.name.clone(),
                    round: record.round,
                    repeat: Some(RepeatStatus {
                        rounds,
                        next_at: None,
                        started_at: Some(stamp(self.view.now)),
                    }),
                    retried: step.retried,
                    started_at: step.started_at.clone(),
                    ..StepStatus::default()
                };
                start(spec, step, self.view.now);
                self.advance.urgent = true;
            }
        }
        Ok(())
    }
}

pub(super) fn bad(field: &str, message: &str) -> Fatal {
    Fatal {
        reason: "BadCondition".into(),
        message: cut(&format!("{field}: {message}")),
    }
}
