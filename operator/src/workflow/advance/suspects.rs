//! Partitions that may have killed what ran them: told apart one by one, and set aside when they have done so often enough.

use braid_crds::{
    PartitionRange, limits,
    status::{StepStatus, Suspect},
    worker::{Fatal, Mode},
    workflow::{RetryAction, Step},
};
use braid_engine::{
    assign::Fitness,
    defaults,
    protocol::{Record, handout, wire::Braid},
    retry::{self, FAIL_STEP, Reason},
};

use super::Pass;
use crate::{pods::Death, workflow::settle::condemned};

/// How far beyond the stored cursor a dead worker may have been: no worker holds more results than this uncommitted.
const SUSPECT_WINDOW: u64 = 4_096;

impl Pass<'_> {
    /// What a worker ran when it died by itself is run one partition at a time from now on.
    pub(super) fn blame(&mut self, step: &mut StepStatus) {
        for view in self.view.desks.0.iter().filter(|view| view.fitness == Fitness::Lost) {
            let (Some(death), Some(shard)) = (view.to_blame, view.current()) else {
                continue;
            };
            if shard.run.uid != self.uid || shard.run.step != step.name || shard.run.round != step.round {
                continue;
            }
            let cursor = view.commit(shard.id).map_or(shard.start, |commit| commit.cursor.0);
            if cursor >= shard.end || matches!(shard.mode, Mode::Plan | Mode::Publish) {
                continue;
            }
            let window = if shard.mode == Mode::Suspect { 1 } else { SUSPECT_WINDOW };
            let range = PartitionRange::new(cursor, shard.end.min(cursor.saturating_add(window)));
            let witness = format!("{}/{}", view.uid, shard.id.0);
            // Looked at again before its desk could be sealed: counted already.
            if step.suspects.iter().any(|suspect| suspect.witnesses.contains(&witness)) {
                continue;
            }
            step.suspects = accuse(&step.suspects, range, shard.mode == Mode::Suspect, witness, death);
            self.advance.urgent = true;
        }
    }

    /// A partition that killed its worker again and again is set aside, once nobody can settle it otherwise.
    pub(super) fn settle_poison(&mut self, spec: &Step, step: &StepStatus, total: u64, record: &mut Record<Braid>) {
        let rules = defaults::retry(&self.view.workflow.spec, spec).map_or(&[][..], |retry| &retry.rules);
        let free = handout::unassigned(record, total, self.view.desks.protocol().map(|(_, desk)| desk));
        for suspect in condemned(&self.view.workflow.spec, spec, step) {
            let range = suspect.range();
            if !free.contains(range.start()) {
                continue;
            }
            let reason = suspect.reason.as_deref().map_or(Reason::WorkerDied, Reason::from);
            let how = match reason {
                Reason::OutOfMemory => {
                    "the container was killed for want of memory, with all that ran in it: its worker"
                }
                _ => "its worker",
            };
            let message = format!(
                "{how} died {} while it ran this partition",
                retry::times(suspect.deaths)
            );
            if record.content.fail(range.start(), reason, suspect.deaths, &message) {
                record.ledger.insert(range);
                if retry::action(rules, reason) == Some(RetryAction::FailStep) {
                    record.content.stop(&Fatal {
                        reason: FAIL_STEP.into(),
                        message: format!(
                            "partition {}: {reason}, which by a rule of retry ends the step",
                            range.start()
                        ),
                    });
                }
            }
        }
    }
}

/// Adds a death to `range`. A culprit that is known by name is told apart from the suspects around it.
fn accuse(suspects: &[Suspect], range: PartitionRange, by_name: bool, witness: String, death: Death) -> Vec<Suspect> {
    let mut next = Vec::new();
    let mut deaths = 1;
    let mut witnesses = Vec::new();
    for suspect in suspects {
        let held = suspect.range();
        let common = held.intersect(range);
        if common.is_empty() {
            next.push(suspect.clone());
            continue;
        }
        if by_name && held == range {
            deaths = suspect.deaths.saturating_add(1);
            witnesses.clone_from(&suspect.witnesses);
        }
        for rest in [
            PartitionRange::new(held.start(), common.start()),
            PartitionRange::new(common.end(), held.end()),
        ] {
            if !rest.is_empty() {
                next.push(Suspect {
                    start: rest.start(),
                    end: rest.end(),
                    ..suspect.clone()
                });
            }
        }
    }
    witnesses.push(witness);
    let forgotten = witnesses.len().saturating_sub(limits::WITNESSES);
    witnesses.drain(..forgotten);
    next.push(Suspect {
        start: range.start(),
        end: range.end(),
        deaths,
        witnesses,
        reason: match death {
            Death::Unknown => None,
            Death::OutOfMemory => Some(Reason::OutOfMemory.to_string()),
        },
    });
    next.sort_by_key(|suspect| suspect.start);
    next.truncate(limits::SUSPECTS);
    next
}

/// The suspects that are not settled yet.
pub(super) fn unsettled(suspects: &[Suspect], record: &Record<Braid>) -> Vec<Suspect> {
    suspects
        .iter()
        .flat_map(|suspect| {
            let gaps = record.ledger.gaps(suspect.range());
            gaps.ranges()
                .map(|gap| Suspect {
                    start: gap.start(),
                    end: gap.end(),
                    ..suspect.clone()
                })
                .collect::<Vec<_>>()
        })
        .take(limits::SUSPECTS)
        .collect()
}
