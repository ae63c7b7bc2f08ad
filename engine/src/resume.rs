//! `resumeFrom`: a run that begins with what another one has counted.
//!
//! The other run is read once, ended. From that copy follow the new run's spec, the records that its steps begin with, and whether it can
//! be at all. Nothing is looked at again later, so whatever becomes of the other run changes nothing.

use braid_crds::{
    Round, STATUS_FORMAT, Workflow, WorkflowSpec, limits,
    status::{Phase, ResumedFrom, StepStatus, WorkflowStatus},
    workflow::Step,
};

use crate::{
    card,
    dag::{self, Dag},
    protocol::{
        Desk, close,
        wire::{self, Braid},
    },
    repeat::EXHAUSTED,
};

/// What a status takes beside its steps, at most: conditions, outputs that are not computed yet.
const BESIDE_STEPS: usize = 16 * 1024;

/// Why a run cannot take over from another. Each is final: the other run does not become what it would have to be.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// It is not there.
    #[error("there is no run {0:?} in this namespace: it was never there, or has been deleted, perhaps by its ttl")]
    Missing(String),
    /// It goes.
    #[error("the run {0:?} is being deleted")]
    Deleted(String),
    /// It has counted nothing.
    #[error("the run {0:?} has counted nothing: it has not begun, or was not accepted")]
    NotBegun(String),
    /// It may count more.
    #[error(
        "the run {name:?} has not ended: it is {phase:?}; wait for its end, cancel it, or let it try again itself what failed (retryFailed)"
    )]
    NotEnded {
        /// Which.
        name: String,
        /// Where it is.
        phase: Phase,
    },
    /// Somebody wants it to go on.
    #[error("the run {0:?} is about to try again itself what failed")]
    Retried(String),
    /// Nothing is left to be done.
    #[error("nothing of the run {0:?} has failed or was left")]
    NothingFailed(String),
    /// Its status is of a newer operator.
    #[error(
        "the run {name:?} is of a newer operator (status.format is {found}, this one knows {STATUS_FORMAT}): upgrade the operator"
    )]
    Newer {
        /// Which.
        name: String,
        /// The format found.
        found: i32,
    },
    /// Its record makes no sense.
    #[error("what the run {name:?} has counted cannot be read: {problem}")]
    Unreadable {
        /// Which.
        name: String,
        /// Why.
        problem: String,
    },
    /// The new run is to do something else.
    #[error(
        "{what} differ from those of the run {name:?}: what another program or other data have given cannot be gone on with; leave them out"
    )]
    Differs {
        /// Which.
        name: String,
        /// The first part that differs.
        what: String,
    },
    /// Files that cannot be written a second time.
    #[error(
        "step {step:?} has written files that the run {name:?} has counted, and another run can neither count nor replace them: let that run try again itself what failed (retryFailed), or start one that writes elsewhere"
    )]
    FilesWritten {
        /// Which.
        name: String,
        /// Whose files.
        step: String,
    },
    /// Files that are to be read and belong to the other run.
    #[error(
        "step {reader:?} reads the files that step {step:?} has written in the run {name:?}, and another run does not know them: let that run try again itself what failed (retryFailed), or start one from the beginning"
    )]
    FilesRead {
        /// Which.
        name: String,
        /// Whose files.
        step: String,
        /// Who reads them.
        reader: String,
    },
    /// The list of its partitions is gone.
    #[error("the plan of step {step:?} of the run {name:?} is gone or not whole: perhaps that run is being deleted")]
    PlanMissing {
        /// Which.
        name: String,
        /// Whose plan.
        step: String,
    },
    /// Its record has no room.
    #[error("what the run {name:?} has counted takes {bytes} bytes, which is more than a new run has room for")]
    TooLarge {
        /// Which.
        name: String,
        /// How many.
        bytes: usize,
    },
}

impl Refusal {
    /// In CamelCase, for conditions.
    #[must_use]
    pub fn reason(&self) -> &'static str {
        match self {
            Self::Missing(_) | Self::Deleted(_) => "SourceMissing",
            Self::NotBegun(_) => "SourceNotBegun",
            Self::NotEnded { .. } | Self::Retried(_) => "SourceNotEnded",
            Self::NothingFailed(_) => "NothingFailed",
            Self::Newer { .. } => "SourceNewer",
            Self::Unreadable { .. } => "SourceUnreadable",
            Self::Differs { .. } => "SourceDiffers",
            Self::FilesWritten { .. } | Self::FilesRead { .. } => "FilesWritten",
            Self::PlanMissing { .. } => "PlanMissing",
            Self::TooLarge { .. } => "StatusTooLarge",
        }
    }
}

/// What a run begins with that takes over from another.
#[derive(Clone, Debug, PartialEq)]
pub struct Taken {
    /// The records of its steps. Times of beginning are the caller's: those of steps that go on are absent.
    pub steps: Vec<StepStatus>,
    /// From which.
    pub from: ResumedFrom,
    /// The steps that keep what succeeded and run the rest, in order.
    pub rest: Vec<String>,
    /// The steps that are run from their beginning.
    pub anew: Vec<String>,
}

/// The spec of a run that takes over: what is done is the other's, how it is gone about is its own.
#[must_use]
pub fn spec(own: &WorkflowSpec, source: &WorkflowSpec) -> WorkflowSpec {
    // Without `..`: of each new field somebody has to say whose it is.
    WorkflowSpec {
        params: source.params.clone(),
        data: source.data.clone(),
        pools: source.pools.clone(),
        step_defaults: source.step_defaults.clone(),
        parallelism: source.parallelism.clone(),
        steps: source.steps.clone(),
        outputs: source.outputs.clone(),
        timeout: source.timeout.clone(),
        suspend: own.suspend,
        cancel: own.cancel,
        resume: own.resume,
        retry_failed: own.retry_failed,
        resume_from: own.resume_from.clone(),
        ttl: own.ttl.clone(),
    }
}

/// The first part of what is done in which two specs differ, for a sentence: `the params`. What may change while a run goes on may differ.
#[must_use]
pub fn difference(own: &WorkflowSpec, source: &WorkflowSpec) -> Option<String> {
    let (own, source) = (fixed(own), fixed(source));
    let parts = [
        ("the params", own.params == source.params),
        ("the data", own.data == source.data),
        ("the pools", own.pools == source.pools),
        ("stepDefaults", own.step_defaults == source.step_defaults),
        ("the outputs", own.outputs == source.outputs),
        ("the timeouts", own.timeout == source.timeout),
    ];
    if let Some((what, _)) = parts.into_iter().find(|(_, same)| !same) {
        return Some(what.to_owned());
    }
    if own.steps == source.steps {
        return None;
    }
    let differs = |step: &&Step| source.steps.iter().all(|other| other != *step);
    let step = own.steps.iter().find(differs);
    Some(step.map_or_else(
        || "the steps".to_owned(),
        |step| format!("the steps (as {:?})", step.name),
    ))
}

/// A spec without what may change while its run goes on. The order of named things means nothing.
fn fixed(spec: &WorkflowSpec) -> WorkflowSpec {
    let mut spec = spec.clone();
    for step in &mut spec.steps {
        step.max_failed_partitions = None;
        step.parallelism = None;
    }
    for pool in &mut spec.pools {
        pool.workers = None;
        pool.start_deadline = None;
    }
    spec.params.sort_by(|one, other| one.name.cmp(&other.name));
    spec.data.sort_by(|one, other| one.name.cmp(&other.name));
    spec.pools.sort_by(|one, other| one.name.cmp(&other.name));
    spec.outputs.sort_by(|one, other| one.name.cmp(&other.name));
    spec.steps.sort_by(|one, other| one.name.cmp(&other.name));
    spec
}

/// What a new run begins with that takes over from `source`, as it is now, in milliseconds since the epoch.
///
/// What `retryFailed` does within a run is done here from one run to another: steps with failures keep what succeeded, steps behind them
/// begin anew, the others stay as they ended. All is of round 0: rounds grow within one object.
pub fn take_over(source: &Workflow, now: i64) -> Result<Taken, Refusal> {
    let name = source.metadata.name.clone().unwrap_or_default();
    if source.metadata.deletion_timestamp.is_some() {
        return Err(Refusal::Deleted(name));
    }
    let status = source.status.as_ref().ok_or_else(|| Refusal::NotBegun(name.clone()))?;
    may_be_taken(source, status, &name)?;
    let dag = Dag::new(&source.spec.steps).map_err(|error| Refusal::Unreadable {
        name: name.clone(),
        problem: error.to_string(),
    })?;
    let known = |step: &Step| {
        let known = status.steps.iter().find(|known| known.name == step.name);
        known.cloned().unwrap_or_else(|| fresh(step))
    };
    let left: Vec<&str> = (source.spec.steps.iter())
        .filter(|step| is_left(&known(step)))
        .map(|step| step.name.as_str())
        .collect();
    if left.is_empty() {
        return Err(Refusal::NothingFailed(name));
    }
    let uid = source.metadata.uid.clone().unwrap_or_default();
    let mut taken = Taken {
        steps: Vec::with_capacity(source.spec.steps.len()),
        from: ResumedFrom {
            first_uid: (status.resumed_from.as_ref()).map_or_else(|| uid.clone(), |from| from.first_uid.clone()),
            name: name.clone(),
            uid: uid.clone(),
            kept: 0,
        },
        rest: Vec::new(),
        anew: Vec::new(),
    };
    for step in &source.spec.steps {
        let record = known(step);
        let upstream = dag.upstream(&step.name);
        let behind = left.iter().any(|name| upstream.contains(name));
        let is_left = left.contains(&step.name.as_str());
        if (behind || is_left) && has_written(step, &record) {
            return Err(Refusal::FilesWritten {
                name,
                step: step.name.clone(),
            });
        }
        taken.steps.push(if behind || (is_left && begins_anew(step, &record)) {
            taken.anew.push(step.name.clone());
            fresh(step)
        } else if is_left {
            taken.rest.push(step.name.clone());
            rest(&name, &uid, step, record, now).map_err(|problem| Refusal::Unreadable {
                name: name.clone(),
                problem,
            })?
        } else {
            StepStatus {
                round: Round::default(),
                ..record
            }
        });
    }
    knows_its_files(&source.spec, &taken, &name)?;
    taken.from.kept = taken.steps.iter().map(|step| step.partitions.succeeded).sum();
    let bytes = serde_json::to_vec(&taken.steps).map_or(usize::MAX, |json| json.len());
    if bytes.saturating_add(BESIDE_STEPS) > limits::STATUS_BYTES {
        return Err(Refusal::TooLarge { name, bytes });
    }
    Ok(taken)
}

/// Whether a run has ended for good, as far as that can be known, and is one that we know how to read.
fn may_be_taken(source: &Workflow, status: &WorkflowStatus, name: &str) -> Result<(), Refusal> {
    let name = name.to_owned();
    if status.format > STATUS_FORMAT {
        let found = status.format;
        return Err(Refusal::Newer { name, found });
    }
    if status.started_at.is_none() {
        return Err(Refusal::NotBegun(name));
    }
    if source.wants_retry() || status.steps.iter().any(|step| step.renewal.is_some()) {
        return Err(Refusal::Retried(name));
    }
    let ended = |step: &StepStatus| step.phase.is_terminal() && step.closed;
    if !status.phase.is_terminal() || !status.steps.iter().all(ended) {
        let phase = status.phase;
        return Err(Refusal::NotEnded { name, phase });
    }
    Ok(())
}

/// Whether files of a step are there that another run cannot replace: those of counted partitions, or its results.
fn has_written(step: &Step, record: &StepStatus) -> bool {
    // Results are written when nothing can go wrong any more, by a worker that is ordered to sweep.
    let emitted = step.emit.is_some() && record.phase == Phase::Succeeded && record.sweep.is_some();
    emitted || (!step.writes.is_empty() && !record.ledger.is_empty())
}

/// Whether a step of an ended run has something left to be done.
fn is_left(record: &StepStatus) -> bool {
    matches!(record.phase, Phase::Failed | Phase::Cancelled) || !record.failed.is_empty()
}

/// Whether nothing of a step that has something left can be kept.
fn begins_anew(step: &Step, record: &StepStatus) -> bool {
    let exhausted = record.stopping.as_ref().is_some_and(|fatal| fatal.reason == EXHAUSTED);
    // The parts of a shuffle belong to the run that made them, which may remove them at any time.
    let shuffled = card::shuffled_through(step).is_some();
    !has_begun(record) || exhausted || shuffled
}

/// Whether a step has come to its program: who has none yet may lack a part of its plan, too.
#[must_use]
pub fn has_begun(record: &StepStatus) -> bool {
    record.started_at.is_some() && record.plan.is_some() && record.card.is_some()
}

/// A step before it has begun.
fn fresh(step: &Step) -> StepStatus {
    StepStatus {
        name: step.name.clone(),
        ..StepStatus::default()
    }
}

/// The record of a step that keeps what succeeded and goes on with the rest.
fn rest(workflow: &str, uid: &str, step: &Step, mut record: StepStatus, now: i64) -> Result<StepStatus, String> {
    let between_rounds = record.phase == Phase::Cancelled && record.is_complete() && record.repeat.is_some();
    record.started_at = None;
    if let Some(repeat) = &mut record.repeat {
        repeat.started_at = None;
    }
    if between_rounds {
        // The round that it has ended is counted among its rounds: what follows is the next.
        record.phase = Phase::Waiting;
        record.finished_at = None;
        record.message.clear();
        if let Some(repeat) = &mut record.repeat {
            repeat.next_at = Some(now);
        }
    } else {
        let mut counted = wire::record(workflow, uid, &step.results, &record).map_err(|error| error.to_string())?;
        let nobody: [&Desk<Braid>; 0] = [];
        close::reopen(&mut counted, nobody).map_err(|blocker| format!("{}: {blocker:?}", step.name))?;
        wire::write_record(&counted, &step.results, &mut record);
        go_on(&mut record);
    }
    record.round = Round::default();
    Ok(record)
}

/// Lets a step that had ended, and whose record is open again, run.
pub fn go_on(step: &mut StepStatus) {
    step.phase = Phase::Running;
    step.card = None;
    step.stopping = None;
    step.paused = None;
    step.accepted = 0;
    step.satisfied = false;
    step.partitions.stopped = 0;
    step.message.clear();
    step.finished_at = None;
    step.renewal = None;
    step.sweep = None;
}

/// Who is planned in the new run and reads what a step has written gets what that step has written in the new run: nothing.
fn knows_its_files(spec: &WorkflowSpec, taken: &Taken, name: &str) -> Result<(), Refusal> {
    for step in spec.steps.iter().filter(|step| taken.anew.contains(&step.name)) {
        for data in dag::inputs(step) {
            let Some(writer) = card::writer(spec, data) else {
                continue;
            };
            let kept = |record: &&StepStatus| record.name == writer.name && !record.ledger.is_empty();
            if taken.steps.iter().any(|record| kept(&record)) {
                return Err(Refusal::FilesRead {
                    name: name.to_owned(),
                    step: writer.name.clone(),
                    reader: step.name.clone(),
                });
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
