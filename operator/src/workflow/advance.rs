//! A pass's decision: from a run's spec, its status and its workers to the status that follows. Pure.
//!
//! The order within a pass is the order of the invariants: fold what is sealed, settle what is poison, end what can
//! end, start what follows (in the same status, so in the same write), then say what people need to know.

use braid_crds::{
    ShardId, Workflow, WorkflowStatus, limits,
    status::{Phase, PlanRef, SkipCause, StepStatus},
    worker::{Fatal, Mode},
    workflow::Step,
};
use braid_engine::{
    dag::{At, Dag, Readiness},
    defaults, expr,
    protocol::{
        Record, close,
        fold::{self, Verdict},
        wire::{self, Braid, WireError},
    },
    reduce::Fold,
    retry::FAIL_STEP,
};
use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::ResourceExt as _;

use super::{desks::Desks, is_cancelled, memory::Compiled, rests, stamp};

mod pausing;
mod published;
mod retrying;
mod rounds;
mod suspects;

pub(super) use published::{is_read_through, is_same};
use suspects::unsettled;

/// What a pass decided.
#[derive(Clone, Debug)]
pub struct Advance {
    /// The status that follows.
    pub status: WorkflowStatus,
    /// Whether it must be written at once: a step or the run begins, ends, or changes its mind.
    pub urgent: bool,
    /// Shards that this pass counts, by desk position.
    pub folded: Vec<(usize, ShardId)>,
    /// Shards that were found held in part: 0 wherever there is one operator.
    pub held_in_part: usize,
    /// A shard is of a newer round than this copy of the status: it must be read anew.
    pub outdated: bool,
}

/// A run as a pass sees it.
#[derive(Clone, Copy, Debug)]
pub struct View<'a> {
    /// The object, with the status that was last written.
    pub workflow: &'a Workflow,
    /// Its workers.
    pub desks: &'a Desks,
    /// The wall clock.
    pub now: Timestamp,
}

impl View<'_> {
    fn uid(&self) -> String {
        self.workflow.uid().unwrap_or_default()
    }
}

/// Decides what follows from `status`.
pub fn advance(
    view: View<'_>,
    dag: &Dag,
    status: &WorkflowStatus,
    compiled: &mut Compiled,
) -> Result<Advance, WireError> {
    let mut pass = Pass {
        view,
        compiled,
        uid: view.uid(),
        advance: Advance {
            status: status.clone(),
            urgent: false,
            folded: Vec::new(),
            held_in_part: 0,
            outdated: false,
        },
    };
    pass.resume();
    pass.retry_failed(dag)?;
    for step in &view.workflow.spec.steps {
        let Some(mut record) = pass
            .advance
            .status
            .steps
            .iter()
            .find(|known| known.name == step.name)
            .cloned()
        else {
            continue;
        };
        match record.phase {
            _ if record.is_between_rounds() => pass.between_rounds(step, &mut record)?,
            // It is about to be opened again.
            _ if record.closed => {}
            Phase::Planning => pass.pin_plan(&mut record),
            Phase::Running | Phase::Waiting | Phase::Suspended | Phase::Paused => pass.run(step, &mut record)?,
            _ => {}
        }
        pausing::too_many(step, &mut record);
        pass.stop_if_due(step, &mut record);
        pass.end(step, &mut record)?;
        pass.close_for_renewal(step, &mut record)?;
        pass.put(record);
    }
    pass.follow(dag);
    Ok(pass.advance)
}

/// The most partitions of a step that may fail for good.
pub fn tolerated(step: &Step, total: u64) -> u64 {
    step.max_failed_partitions.as_ref().map_or(0, |limit| limit.of(total))
}

struct Pass<'a> {
    view: View<'a>,
    compiled: &'a mut Compiled,
    uid: String,
    advance: Advance,
}

impl Pass<'_> {
    fn record(&self, spec: &Step, step: &StepStatus) -> Result<Record<Braid>, WireError> {
        wire::record(&self.view.workflow.name_any(), &self.uid, &spec.results, step)
    }

    fn put(&mut self, record: StepStatus) {
        if let Some(known) = self
            .advance
            .status
            .steps
            .iter_mut()
            .find(|known| known.name == record.name)
        {
            self.advance.urgent |= known.phase != record.phase
                || known.stopping != record.stopping
                || known.paused.is_some() != record.paused.is_some();
            *known = record;
        }
    }

    /// A plan that a worker has made becomes the plan: the first that is seen.
    fn pin_plan(&mut self, step: &mut StepStatus) {
        for view in &self.view.desks.0 {
            for (shard, commit) in view.shards_of(Mode::Plan, &self.uid, &step.name, step.round) {
                let Some(commit) = commit.filter(|_| view.is_sealed(shard)) else {
                    continue;
                };
                if let Some(plan) = &commit.plan {
                    // Numbers need no list: a worker's plan for them says only what they read.
                    let partitions = step.plan.as_ref().map_or(plan.partitions, |known| known.partitions);
                    step.plan = Some(PlanRef {
                        partitions,
                        ..plan.clone()
                    });
                    step.partitions.total = partitions;
                    step.phase = Phase::Running;
                    return;
                }
                if let Some(fatal) = &commit.fatal {
                    step.stopping = Some(fatal.clone());
                    return;
                }
            }
        }
    }

    fn run(&mut self, spec: &Step, step: &mut StepStatus) -> Result<(), WireError> {
        self.published(step);
        if step.sweep.is_some() {
            // Nothing is counted any more: its files may be gone.
            return Ok(());
        }
        let total = step.plan.as_ref().map_or(0, |plan| plan.partitions);
        let mut record = self.record(spec, step)?;
        let before = record.clone();
        match fold::fold(&mut record, self.view.desks.protocol()) {
            Ok(verdicts) => {
                self.advance.outdated |= verdicts
                    .iter()
                    .any(|(_, _, verdict)| *verdict == Verdict::NewerThanRecord);
                self.advance.held_in_part += verdicts
                    .iter()
                    .filter(|(_, _, verdict)| *verdict == Verdict::HeldInPart)
                    .count();
                self.advance.folded.extend(
                    verdicts
                        .iter()
                        .filter(|(_, _, verdict)| *verdict == Verdict::Fold)
                        .map(|(desk, id, _)| (*desk, *id)),
                );
                self.note_outputs(&verdicts, step);
            }
            Err(error) => {
                record = before;
                step.stopping.get_or_insert_with(|| Fatal {
                    reason: "ResultTooLarge".into(),
                    message: cut(&error.to_string()),
                });
            }
        }
        self.blame(step);
        self.settle_poison(spec, step, total, &mut record);
        for view in &self.view.desks.0 {
            for commit in view.worker.status.iter().flat_map(|status| &status.shards) {
                let of_step = view.worker.spec.shards.iter().any(|shard| {
                    shard.id == commit.id
                        && shard.run.uid == self.uid
                        && shard.run.step == spec.name
                        && shard.run.round == step.round
                });
                // What a rule has ended is settled with the partition that ended it.
                let fatal = commit.fatal.as_ref().filter(|fatal| fatal.reason != FAIL_STEP);
                if let (true, Some(fatal)) = (of_step, fatal) {
                    step.stopping.get_or_insert_with(|| fatal.clone());
                }
            }
        }
        let news = step.ledger != record.ledger;
        wire::write_record(&record, &spec.results, step);
        if news {
            self.stop_when(spec, step);
        }
        step.suspects = unsettled(&step.suspects, &record);
        step.partitions.total = total;
        step.partitions.failed = step.failed.len();
        step.partitions.succeeded = step.ledger.len().saturating_sub(step.partitions.failed);
        Ok(())
    }

    fn stop_if_due(&self, spec: &Step, step: &mut StepStatus) {
        let running = matches!(
            step.phase,
            Phase::Planning | Phase::Running | Phase::Waiting | Phase::Suspended
        );
        if !running || step.stopping.is_some() || step.sweep.is_some() {
            return;
        }
        // What `stopWhen` has ended is no longer late.
        let ends = step.satisfied && !step.is_between_rounds();
        let timeout = defaults::timeout(&self.view.workflow.spec, spec);
        // While people look for the fault no time passes, and what they resume has all of it.
        if step.paused.is_some() || step.renewal.is_some() {
            return;
        }
        let resumed = self.advance.status.resumed_at.as_ref();
        let overdue = |began: Option<&Time>, limit: Option<&braid_crds::Duration>| {
            overdue(
                began.map(|began| resumed.map_or(began, |resumed| began.max(resumed))),
                limit,
                self.view.now,
            )
        };
        let whole = self.view.workflow.spec.timeout.as_ref();
        let text =
            |limit: Option<&braid_crds::Duration>| limit.map_or(String::new(), |limit| limit.as_str().to_owned());
        if !ends && overdue(step.started_at.as_ref(), timeout) {
            step.stopping = Some(Fatal {
                reason: "StepTimeout".into(),
                message: format!("the step took longer than {}", text(timeout)),
            });
        } else if !ends && !spec.finally && overdue(self.advance.status.started_at.as_ref(), whole) {
            step.stopping = Some(Fatal {
                reason: "WorkflowTimeout".into(),
                message: format!("the run took longer than {}", text(whole)),
            });
        }
    }

    /// Ends a step that has nothing more to do: all sealed, all folded, all published.
    fn end(&mut self, spec: &Step, step: &mut StepStatus) -> Result<(), WireError> {
        let cancelled = is_cancelled(self.view.workflow, spec);
        let stopped = step.stopping.is_some() || step.satisfied || cancelled;
        // A paused one stays so also when all of it is settled: people may want to try again what failed.
        if step.renewal.is_some() || (step.paused.is_some() && !stopped) {
            return Ok(());
        }
        if step.phase == Phase::Planning && stopped {
            if !self.view.desks.any_open(&self.uid, &step.name) {
                finish(
                    step,
                    if cancelled { Phase::Cancelled } else { Phase::Failed },
                    self.view.now,
                );
            }
            return Ok(());
        }
        if !matches!(
            step.phase,
            Phase::Running | Phase::Waiting | Phase::Suspended | Phase::Paused
        ) {
            return Ok(());
        }
        let total = step.plan.as_ref().map_or(0, |plan| plan.partitions);
        let mut record = self.record(spec, step)?;
        let closed = close::close(
            &mut record,
            total,
            stopped,
            step.unpublished.len(),
            self.view.desks.protocol().map(|(_, desk)| desk),
        );
        let counted = matches!(closed, Ok(()) | Err(close::Blocker::Unpublished));
        if !(counted && self.is_swept(spec, step) && closed.is_ok()) {
            return Ok(());
        }
        let complete = step.ledger.len() >= total;
        let phase = match &step.stopping {
            Some(_) => Phase::Failed,
            None if step.is_between_rounds() && !cancelled => return Ok(()),
            None if step.is_between_rounds() => Phase::Cancelled,
            None if step.satisfied || complete => Phase::Succeeded,
            None => Phase::Cancelled,
        };
        step.partitions.stopped = if step.satisfied {
            total.saturating_sub(step.ledger.len())
        } else {
            0
        };
        if step.partitions.stopped > 0 && phase == Phase::Succeeded {
            let when = spec.stop_when.as_deref().unwrap_or_default();
            step.message = cut(&format!("stopped: {when}"));
        }
        match (&spec.repeat, phase) {
            (Some(repeat), Phase::Succeeded) => self.end_round(spec, repeat, step),
            _ => finish(step, phase, self.view.now),
        }
        Ok(())
    }

    /// A step that has ended without having worked has the defaults of its results: skipped, or of no partitions.
    fn defaults(&mut self) {
        for declared in &self.view.workflow.spec.steps {
            let steps = &mut self.advance.status.steps;
            let Some(step) = steps.iter_mut().find(|step| step.name == declared.name) else {
                continue;
            };
            if step.results.is_empty() && matches!(step.phase, Phase::Skipped | Phase::Succeeded | Phase::Stopped) {
                let mut results = Fold::default().results(&declared.results);
                results.retain(|result| result.value.is_some());
                if step.phase == Phase::Skipped {
                    // No work is not nothing found: what reducers make of nothing is not known of it.
                    let given = |name: &str| {
                        let spec = declared.results.iter().find(|spec| spec.name == name);
                        spec.is_some_and(|spec| spec.default.is_some())
                    };
                    results.retain(|result| given(&result.name));
                }
                step.results = results;
            }
        }
    }

    /// Starts or skips the steps that were waiting, until nothing changes.
    fn follow(&mut self, dag: &Dag) {
        let spec = &self.view.workflow.spec;
        // What is before them is about to be opened again.
        if self.advance.status.steps.iter().any(|step| step.renewal.is_some()) {
            return;
        }
        loop {
            // Conditions of the steps that follow may read them.
            self.defaults();
            let known = &self.advance.status.steps;
            let at = |name: &str| {
                known
                    .iter()
                    .find(|step| step.name == name)
                    .map_or_else(At::default, |step| At {
                        phase: step.phase,
                        skipped: step.skipped,
                    })
            };
            let ready: Vec<(String, Readiness)> = dag
                .readiness(at)
                .into_iter()
                .filter(|(_, readiness)| *readiness != Readiness::Wait)
                .map(|(name, readiness)| (name.to_owned(), readiness))
                .collect();
            let mut changed = false;
            for (name, readiness) in ready {
                let Some(declared) = spec.steps.iter().find(|step| step.name == name) else {
                    continue;
                };
                let cancelled = is_cancelled(self.view.workflow, declared);
                let begins = readiness == Readiness::Start && !cancelled && !rests(self.view.workflow, declared);
                let condition = begins.then(|| condition(self.view.workflow, declared, &self.advance.status));
                let Some(step) = self.advance.status.steps.iter_mut().find(|step| step.name == name) else {
                    continue;
                };
                match readiness {
                    _ if cancelled => {
                        "the run was cancelled before it began".clone_into(&mut step.message);
                        finish(step, Phase::Cancelled, self.view.now);
                    }
                    Readiness::Start => match condition {
                        None => continue,
                        Some(Ok(true)) => start(declared, step, self.view.now),
                        Some(Ok(false)) => {
                            let when = declared.when.as_deref().unwrap_or_default();
                            skip(step, SkipCause::When, &format!("when is false: {when}"), self.view.now);
                        }
                        Some(Err(message)) => {
                            step.stopping = Some(Fatal {
                                reason: "BadCondition".into(),
                                message: cut(&format!("when: {message}")),
                            });
                            finish(step, Phase::Failed, self.view.now);
                        }
                    },
                    Readiness::Skip { cause, because } => skip(step, cause, &because, self.view.now),
                    Readiness::Wait => continue,
                }
                changed = true;
                self.advance.urgent = true;
            }
            if !changed {
                return;
            }
        }
    }
}

/// Whether a step whose turn it is wants to begin. Everything that it can read has ended: the answer does not change.
fn condition(workflow: &Workflow, step: &Step, status: &WorkflowStatus) -> Result<bool, String> {
    let Some(when) = &step.when else { return Ok(true) };
    expr::holds(when, &super::programs::scope(workflow, status)?).map_err(|error| error.to_string())
}

fn skip(step: &mut StepStatus, cause: SkipCause, why: &str, now: Timestamp) {
    step.skipped = Some(cause);
    step.message = cut(why);
    finish(step, Phase::Skipped, now);
}

/// A step begins: its partitions are known at once, or have to be listed.
fn start(spec: &Step, step: &mut StepStatus, now: Timestamp) {
    // A later round is of the same step: its time runs on.
    step.started_at.get_or_insert(stamp(now));
    step.plan = match &spec.over {
        None => Some(PlanRef {
            partitions: 1,
            ..PlanRef::default()
        }),
        Some(over) => over.range.as_ref().map(|range| PlanRef {
            partitions: partitions(range),
            ..PlanRef::default()
        }),
    };
    step.phase = if step.plan.is_some() && spec.reads.is_empty() {
        Phase::Running
    } else {
        Phase::Planning
    };
    step.partitions.total = step.plan.as_ref().map_or(0, |plan| plan.partitions);
    // A round of nothing ends as others do.
    if step.plan.is_some() && step.partitions.total == 0 && spec.repeat.is_none() {
        finish(step, Phase::Succeeded, now);
    }
}

/// How many numbers a range has.
fn partitions(range: &braid_crds::workflow::Range) -> u64 {
    let span = u64::try_from(range.end.saturating_sub(range.start)).unwrap_or(0);
    span.div_ceil(range.step.unsigned_abs().max(1))
}

fn finish(step: &mut StepStatus, phase: Phase, now: Timestamp) {
    step.phase = phase;
    step.closed = true;
    step.deferred.clear();
    step.suspects.clear();
    step.paused = None;
    if let Some(repeat) = &mut step.repeat {
        repeat.next_at = None;
    }
    step.finished_at = Some(stamp(now));
    if let Some(stopping) = &step.stopping {
        step.message = cut(&format!("{}: {}", stopping.reason, stopping.message));
    }
}

fn overdue(since: Option<&Time>, limit: Option<&braid_crds::Duration>, now: Timestamp) -> bool {
    let (Some(since), Some(limit)) = (since, limit) else {
        return false;
    };
    now.duration_since(since.0).unsigned_abs() > limit.get() && now > since.0
}

/// A text that fits into a message of the status.
pub fn cut(text: &str) -> String {
    match text
        .char_indices()
        .find(|(index, c)| index + c.len_utf8() > limits::MESSAGE_BYTES - 3)
    {
        Some((end, _)) => format!("{}...", text.get(..end).unwrap_or_default()),
        None => text.to_owned(),
    }
}
