//! What a change of an object says that was not known before. Pure.

use std::collections::HashMap;

use braid_crds::{Worker, WorkflowStatus, status::Phase};
use kube::ResourceExt as _;

use super::What;

/// How long a step's progress is left unsaid while its phase stays, in milliseconds.
const PAUSE_MILLIS: i64 = 250;

/// What is known so far.
#[derive(Debug, Default)]
pub struct Seen {
    /// The uid of the run, once its status has been seen; shards of others are not told.
    uid: Option<String>,
    workers: HashMap<String, Known>,
    steps: HashMap<String, (i64, Phase, u64, u64)>,
}

#[derive(Debug, Default)]
struct Known {
    name: String,
    /// Shards on the desk, and whether they are sealed.
    shards: HashMap<i64, bool>,
}

impl Seen {
    /// For the shards of this run.
    pub fn of(uid: String) -> Self {
        Self {
            uid: Some(uid),
            ..Self::default()
        }
    }

    /// A worker's object as it is now.
    pub fn worker(&mut self, worker: &Worker) -> Vec<What> {
        let (uid, mut name) = (worker.uid().unwrap_or_default(), worker.name_any());
        let mine: Vec<_> = worker
            .spec
            .shards
            .iter()
            .filter(|shard| self.uid.as_ref().is_none_or(|uid| *uid == shard.run.uid))
            .collect();
        // Of a pool of another namespace: there may be one of the same name here.
        if mine.iter().any(|shard| shard.run.namespace.is_some()) {
            name = format!("{}/{name}", worker.namespace().unwrap_or_default());
        }
        let known_before = self.workers.contains_key(&uid);
        // A worker that others share is of no interest before it has something of this run.
        if mine.is_empty() && !known_before {
            return Vec::new();
        }
        let mut told = Vec::new();
        let known = self.workers.entry(uid).or_default();
        if !known_before {
            known.name.clone_from(&name);
            told.push(What::Came { worker: name.clone() });
        }
        let commits = worker.status.as_ref().map_or(&[][..], |status| &status.shards);
        known
            .shards
            .retain(|id, _| worker.spec.shards.iter().any(|shard| shard.id.0 == *id));
        for shard in mine {
            let sealed = known.shards.entry(shard.id.0).or_insert_with(|| {
                told.push(What::Assigned {
                    worker: name.clone(),
                    shard: shard.id.0,
                    step: shard.run.step.clone(),
                    round: shard.run.round.0,
                    start: shard.start,
                    end: shard.end,
                    mode: shard.mode,
                });
                false
            });
            let commit = commits.iter().find(|commit| commit.id == shard.id);
            if !*sealed && (shard.seal || commit.is_some_and(|commit| commit.sealed)) {
                *sealed = true;
                told.push(What::Sealed {
                    worker: name.clone(),
                    shard: shard.id.0,
                    cursor: commit.map_or(shard.start, |commit| commit.cursor.0),
                    failed: commit.map_or(0, |commit| commit.failed.len()),
                    taken: shard.seal,
                });
            }
        }
        told
    }

    /// A worker's object is gone.
    pub fn gone(&mut self, worker: &Worker) -> Vec<What> {
        let known = self.workers.remove(&worker.uid().unwrap_or_default());
        known
            .map(|known| What::Went { worker: known.name })
            .into_iter()
            .collect()
    }

    /// The run's status as it is now.
    pub fn status(&mut self, status: &WorkflowStatus, now_millis: i64) -> Vec<What> {
        let mut told = Vec::new();
        for step in &status.steps {
            let counts = &step.partitions;
            let known = self.steps.get(&step.name);
            let due = known.is_none_or(|(at, phase, succeeded, failed)| {
                *phase != step.phase
                    || (*at + PAUSE_MILLIS <= now_millis && (*succeeded, *failed) != (counts.succeeded, counts.failed))
            });
            if !due || (known.is_none() && step.phase == Phase::Pending) {
                continue;
            }
            self.steps.insert(
                step.name.clone(),
                (now_millis, step.phase, counts.succeeded, counts.failed),
            );
            told.push(What::Step {
                step: step.name.clone(),
                phase: step.phase,
                succeeded: counts.succeeded,
                failed: counts.failed,
                total: counts.total,
            });
        }
        told
    }
}

#[cfg(test)]
mod tests {
    use braid_crds::{
        Cursor, Round, ShardId, StartId, WorkerSpec, WorkerStatus,
        status::{PartitionCounts, StepStatus},
        worker::{RunRef, ShardSpec, ShardStatus},
    };

    use super::*;

    fn worker(shards: Vec<ShardSpec>, commits: Vec<ShardStatus>) -> Worker {
        let mut worker = Worker::new(
            "w-0",
            WorkerSpec {
                shards,
                ..WorkerSpec::default()
            },
        );
        worker.metadata.uid = Some("u".into());
        worker.status = Some(WorkerStatus {
            shards: commits,
            ..WorkerStatus::default()
        });
        worker
    }

    fn shard(id: i64, run: &str) -> ShardSpec {
        ShardSpec {
            id: ShardId(id),
            start_id: StartId("s".into()),
            run: RunRef {
                uid: run.into(),
                step: "a".into(),
                round: Round(0),
                ..RunRef::default()
            },
            start: 10,
            end: 20,
            ..ShardSpec::default()
        }
    }

    fn commit(id: i64, cursor: u64, sealed: bool) -> ShardStatus {
        ShardStatus {
            id: ShardId(id),
            cursor: Cursor(cursor),
            sealed,
            ..ShardStatus::default()
        }
    }

    #[test]
    fn each_thing_is_told_once() {
        let mut seen = Seen::of("run".into());
        let first = seen.worker(&worker(vec![shard(1, "run")], vec![]));
        assert!(matches!(
            first.as_slice(),
            [
                What::Came { .. },
                What::Assigned {
                    shard: 1,
                    start: 10,
                    end: 20,
                    ..
                }
            ]
        ));
        assert!(
            seen.worker(&worker(vec![shard(1, "run")], vec![commit(1, 12, false)]))
                .is_empty()
        );
        let sealed = seen.worker(&worker(
            vec![shard(1, "run"), shard(2, "run")],
            vec![commit(1, 20, true)],
        ));
        assert!(
            matches!(
                sealed.as_slice(),
                [
                    What::Sealed {
                        shard: 1,
                        cursor: 20,
                        taken: false,
                        ..
                    },
                    What::Assigned { shard: 2, .. }
                ]
            ),
            "{sealed:?}"
        );
        let mut taken = shard(2, "run");
        taken.seal = true;
        let taken = seen.worker(&worker(vec![taken], vec![commit(1, 20, true)]));
        assert!(matches!(
            taken.as_slice(),
            [What::Sealed {
                shard: 2,
                cursor: 10,
                taken: true,
                ..
            }]
        ));
        assert_eq!(1, seen.gone(&worker(vec![], vec![])).len());
        assert!(seen.gone(&worker(vec![], vec![])).is_empty());
    }

    #[test]
    fn others_are_not_told() {
        let mut seen = Seen::of("run".into());
        assert!(seen.worker(&worker(vec![shard(1, "other")], vec![])).is_empty());
        assert_eq!(
            2,
            seen.worker(&worker(vec![shard(1, "other"), shard(2, "run")], vec![]))
                .len()
        );
    }

    #[test]
    fn progress_is_told_now_and_then_and_phases_at_once() {
        let status = |phase, succeeded| WorkflowStatus {
            steps: vec![StepStatus {
                name: "a".into(),
                phase,
                partitions: PartitionCounts {
                    total: 9,
                    succeeded,
                    ..PartitionCounts::default()
                },
                ..StepStatus::default()
            }],
            ..WorkflowStatus::default()
        };
        let mut seen = Seen::default();
        assert!(seen.status(&status(Phase::Pending, 0), 0).is_empty());
        assert_eq!(1, seen.status(&status(Phase::Running, 0), 0).len());
        assert!(seen.status(&status(Phase::Running, 3), 100).is_empty());
        assert_eq!(1, seen.status(&status(Phase::Running, 3), 300).len());
        assert!(seen.status(&status(Phase::Running, 3), 900).is_empty());
        assert_eq!(1, seen.status(&status(Phase::Succeeded, 9), 901).len());
    }
}
