//! The protocol's types in the API's objects, both ways.
//!
//! [`Braid`] is the world in which the operator and the workers run the protocol. What is read comes from objects that
//! anybody with the right may have edited: it gives an error ([`WireError`]) that names the object's part, never a panic.
//! What is written and read back is equal, with two exceptions that the protocol does not look at: the table of causes,
//! see [`crate::settlement::Causes`], and what a desk does not hold (cards, `settled`, `drain`).
//!
//! Shards of the modes `Plan` and `Publish` are on the desk like any other, so that a worker's loop is one; the plan that they made is in
//! their content. But their [`RunKey`] says `beside`, which no record's does. So nothing of them is ever folded, dropped
//! or counted as live: the operator looks at them by itself.

use braid_crds::{
    CardDigest, Intervals, PlanDigest, ShardId, StartId, Worker, limits,
    status::{Deferred, StepStatus},
    worker::{Mode, RunRef, ShardSpec, ShardStatus, WorkerSpec, WorkerStatus},
    workflow::ResultSpec,
};

use super::{Commit, DeferredPartition, Desk, Record, Shard, World};
use crate::settlement::{Settlement, SettlementError, cut};

/// The world of the operator and the workers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Braid {}

impl World for Braid {
    type Start = StartId;
    type Run = RunKey;
    type Content = Settlement;
}

/// What a shard is part of, without the round.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RunKey {
    /// The workflow's uid.
    pub uid: String,
    /// The workflow's name: for people, since the uid is unique.
    pub workflow: String,
    /// The step.
    pub step: String,
    /// The plan whose partitions are meant; empty for a range or a single partition.
    pub plan: PlanDigest,
    /// The program.
    pub card: CardDigest,
    /// The shard makes the plan, or publishes, and runs no partitions. No record is of such a run.
    pub beside: bool,
}

/// Why an object does not read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WireError {
    /// A shard's entry.
    #[error("shard {shard}: {problem}")]
    Shard {
        /// Its number.
        shard: ShardId,
        /// What is wrong.
        problem: Problem,
    },
    /// A step's status.
    #[error("step {step}: {problem}")]
    Step {
        /// Its name.
        step: String,
        /// What is wrong.
        problem: Problem,
    },
}

/// What is wrong with a part of an object.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Problem {
    /// The same number twice.
    #[error("its number is used twice")]
    Twice,
    /// A number that is still to be given out.
    #[error("its number is not below nextShardId")]
    Unborn,
    /// No partitions, or partitions that no step has.
    #[error("its range is empty or beyond the largest partition")]
    Range,
    /// The program is not on the desk.
    #[error("its card is not among the worker's cards")]
    NoCard,
    /// A cursor outside of the shard.
    #[error("its cursor is outside of its range")]
    Cursor,
    /// Failed partitions that are not settled.
    #[error("a failed partition is not among the settled")]
    Failed,
    /// A deferred partition that cannot be.
    #[error("a deferred partition is listed twice, is settled, or is outside of what was run")]
    Deferred,
    /// The results or the failures.
    #[error(transparent)]
    Settlement(#[from] SettlementError),
}

/// What a shard is part of. The round is apart.
#[must_use]
pub fn run_key(run: &RunRef, mode: Mode) -> RunKey {
    RunKey {
        uid: run.uid.clone(),
        workflow: run.workflow.clone(),
        step: run.step.clone(),
        plan: run.plan.clone(),
        card: run.card.clone(),
        beside: matches!(mode, Mode::Plan | Mode::Publish),
    }
}

/// What the shards of a step are part of, as its status says.
#[must_use]
pub fn record_key(workflow: &str, uid: &str, status: &StepStatus) -> RunKey {
    RunKey {
        uid: uid.to_owned(),
        workflow: workflow.to_owned(),
        step: status.name.clone(),
        plan: status.plan.as_ref().map(|plan| plan.digest.clone()).unwrap_or_default(),
        card: status.card.clone().unwrap_or_default(),
        beside: false,
    }
}

/// Reads a desk. Commits of shards that are no longer assigned are left out: their worker takes them out of its status
/// with its next write, and nobody else asks for them.
pub fn desk(worker: &Worker) -> Result<Desk<Braid>, WireError> {
    let none = WorkerStatus::default();
    desk_of(&worker.spec, worker.status.as_ref().unwrap_or(&none))
}

/// Reads a desk from its two halves, as [`desk`].
pub fn desk_of(spec: &WorkerSpec, status: &WorkerStatus) -> Result<Desk<Braid>, WireError> {
    let mut desk = Desk {
        start: status.start_id.clone(),
        next_id: spec.next_shard_id,
        shards: Vec::with_capacity(spec.shards.len()),
        commits: Vec::with_capacity(status.shards.len()),
    };
    for assigned in &spec.shards {
        let at = |problem| WireError::Shard {
            shard: assigned.id,
            problem,
        };
        if desk.shard(assigned.id).is_some() {
            return Err(at(Problem::Twice));
        }
        if assigned.id >= spec.next_shard_id {
            return Err(at(Problem::Unborn));
        }
        desk.shards.push(shard(assigned).map_err(at)?);
    }
    for stored in &status.shards {
        let at = |problem| WireError::Shard {
            shard: stored.id,
            problem,
        };
        let Some(assigned) = spec.shards.iter().find(|assigned| assigned.id == stored.id) else {
            continue;
        };
        if desk.commit(stored.id).is_some() {
            return Err(at(Problem::Twice));
        }
        desk.commits.push(commit(spec, assigned, stored).map_err(at)?);
    }
    Ok(desk)
}

/// Writes the worker's half of a desk: `startId` and `shards`.
pub fn write_status(start: Option<&StartId>, commits: &[Commit<Braid>], status: &mut WorkerStatus) {
    status.start_id = start.cloned();
    status.shards = commits.iter().map(shard_status).collect();
}

/// Writes the operator's half of a desk: `nextShardId` and `shards`.
pub fn write_spec(desk: &Desk<Braid>, spec: &mut WorkerSpec) {
    spec.next_shard_id = desk.next_id;
    spec.shards = desk.shards.iter().map(shard_spec).collect();
}

fn shard(assigned: &ShardSpec) -> Result<Shard<Braid>, Problem> {
    if assigned.start >= assigned.end || assigned.end > limits::PARTITIONS {
        return Err(Problem::Range);
    }
    Ok(Shard {
        id: assigned.id,
        start_id: assigned.start_id.clone(),
        run: run_key(&assigned.run, assigned.mode),
        round: assigned.run.round,
        range: assigned.range(),
        mode: assigned.mode,
        budget_millis: assigned.budget_millis,
        seal: assigned.seal,
        adopts: assigned.adopts,
        history: assigned.history,
    })
}

/// A shard as the operator assigns it.
#[must_use]
pub fn shard_spec(shard: &Shard<Braid>) -> ShardSpec {
    ShardSpec {
        id: shard.id,
        start_id: shard.start_id.clone(),
        run: RunRef {
            workflow: shard.run.workflow.clone(),
            // Not the protocol's matter: the uid is what counts.
            namespace: None,
            uid: shard.run.uid.clone(),
            step: shard.run.step.clone(),
            round: shard.round,
            plan: shard.run.plan.clone(),
            card: shard.run.card.clone(),
        },
        start: shard.range.start(),
        end: shard.range.end(),
        budget_millis: shard.budget_millis,
        mode: shard.mode,
        seal: shard.seal,
        adopts: shard.adopts,
        history: shard.history,
        // Not the protocol's matter: who writes a desk keeps it.
        publish: None,
    }
}

fn commit(spec: &WorkerSpec, assigned: &ShardSpec, stored: &ShardStatus) -> Result<Commit<Braid>, Problem> {
    if stored.cursor.0 < assigned.start || stored.cursor.0 > assigned.end {
        return Err(Problem::Cursor);
    }
    let card = (spec.cards.iter())
        .find(|card| card.digest == assigned.run.card)
        .ok_or(Problem::NoCard)?;
    let run = assigned.range().below(stored.cursor);
    let settled: Intervals = [run].into_iter().collect();
    if stored.failed.ranges().any(|failed| !settled.covers(failed)) {
        return Err(Problem::Failed);
    }
    let deferred = deferred(&stored.deferred, &stored.failed)?;
    if deferred.iter().any(|deferred| !run.contains(deferred.partition)) {
        return Err(Problem::Deferred);
    }
    Ok(Commit {
        id: stored.id,
        start_id: stored.start_id.clone(),
        cursor: stored.cursor,
        sealed: stored.sealed,
        begun: stored.begun.min(assigned.end - stored.cursor.0),
        deferred,
        content: Settlement::from_shard_status(&card.results, stored)?,
    })
}

/// A commit as its worker writes it.
#[must_use]
pub fn shard_status(commit: &Commit<Braid>) -> ShardStatus {
    let mut status = ShardStatus {
        id: commit.id,
        start_id: commit.start_id.clone(),
        cursor: commit.cursor,
        sealed: commit.sealed,
        begun: commit.begun,
        deferred: commit.deferred.iter().map(deferred_status).collect(),
        ..ShardStatus::default()
    };
    commit.content.write_to_shard_status(&mut status);
    status
}

/// At most so many bytes of a commit's entry; at most [`limits::SHARD_BYTES`] may be written.
#[must_use]
pub fn commit_len(commit: &Commit<Braid>) -> usize {
    // A control character may take six bytes in JSON.
    let deferred = commit.deferred.iter().map(|deferred| {
        let message = deferred.message.len().min(limits::MESSAGE_BYTES);
        160 + deferred.reason.len() + message * 6
    });
    commit.content.encoded_len() + deferred.sum::<usize>()
}

/// Reads the record of a step of the workflow of that name and uid.
pub fn record(
    workflow: &str,
    uid: &str,
    results: &[ResultSpec],
    status: &StepStatus,
) -> Result<Record<Braid>, WireError> {
    let at = |problem| WireError::Step {
        step: status.name.clone(),
        problem,
    };
    if status.failed.ranges().any(|failed| !status.ledger.covers(failed)) {
        return Err(at(Problem::Failed));
    }
    Ok(Record {
        run: record_key(workflow, uid, status),
        round: status.round,
        ledger: status.ledger.clone(),
        deferred: deferred(&status.deferred, &status.ledger).map_err(at)?,
        closed: status.closed,
        content: Settlement::from_step_status(results, status).map_err(|error| at(error.into()))?,
    })
}

/// Writes the record of a step: `ledger`, `deferred`, `results`, `failed`, `failures`, `retried`, `round`, `closed`,
/// and the counts of succeeded and failed partitions. Name, plan and card are the caller's.
pub fn write_record(record: &Record<Braid>, results: &[ResultSpec], status: &mut StepStatus) {
    status.ledger.clone_from(&record.ledger);
    status.deferred = record.deferred.iter().map(deferred_status).collect();
    status.round = record.round;
    status.closed = record.closed;
    record.content.write_to_step_status(results, status);
    status.partitions.failed = status.failed.len();
    status.partitions.succeeded = status.ledger.len().saturating_sub(status.failed.len());
}

/// Reads deferred partitions, none of which may be in `settled` or appear twice; in the order of partitions.
fn deferred(listed: &[Deferred], settled: &Intervals) -> Result<Vec<DeferredPartition>, Problem> {
    let mut read: Vec<DeferredPartition> = listed.iter().map(deferred_partition).collect();
    read.sort_by_key(|deferred| deferred.partition);
    let twice = read.windows(2).any(|pair| match pair {
        [left, right] => left.partition == right.partition,
        _ => false,
    });
    let wrong =
        |deferred: &DeferredPartition| deferred.partition >= limits::PARTITIONS || settled.contains(deferred.partition);
    if twice || read.len() > limits::DEFERRED || read.iter().any(wrong) {
        return Err(Problem::Deferred);
    }
    Ok(read)
}

fn deferred_partition(deferred: &Deferred) -> DeferredPartition {
    DeferredPartition {
        partition: deferred.partition,
        attempts: deferred.attempts.max(0),
        deaths: deferred.deaths.max(0),
        not_before: deferred.not_before,
        reason: deferred.reason.clone(),
        message: deferred.message.clone(),
    }
}

fn deferred_status(deferred: &DeferredPartition) -> Deferred {
    Deferred {
        partition: deferred.partition,
        attempts: deferred.attempts,
        deaths: deferred.deaths,
        reason: deferred.reason.chars().take(64).collect(),
        message: cut(&deferred.message),
        not_before: deferred.not_before,
    }
}

#[cfg(test)]
mod tests;
