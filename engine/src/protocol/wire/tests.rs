#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use braid_crds::{
    Cursor, PartitionRange, PlanDigest, Round,
    status::PlanRef,
    worker::{Card, CardResult, Fatal, History},
    workflow::Reduce,
};
use proptest::prelude::*;

use super::*;
use crate::{
    protocol::{fold, handout},
    reduce::{self, Fold, RawResults},
    retry::Reason,
};

fn specs() -> Vec<ResultSpec> {
    vec![ResultSpec {
        name: "n".into(),
        reduce: Reduce::Sum,
        ..ResultSpec::default()
    }]
}

fn declared() -> Vec<CardResult> {
    reduce::declared(&specs())
}

fn run() -> RunKey {
    RunKey {
        uid: "uid".into(),
        workflow: "w".into(),
        step: "s".into(),
        plan: "sha256:p".into(),
        card: "sha256:c".into(),
        beside: false,
    }
}

fn waiting() -> impl Strategy<Value = DeferredPartition> {
    (0..1_000_u64, 1..5, 0..3, any::<i64>(), "[ä\n]{0,3}").prop_map(
        |(partition, attempts, deaths, not_before, message)| DeferredPartition {
            partition,
            attempts,
            deaths,
            not_before,
            reason: "Exit1".into(),
            message,
        },
    )
}

/// What partitions of a range gave: succeeded, failed, deferred by turns.
fn done(range: PartitionRange, waiting: &DeferredPartition, seed: u64) -> (Settlement, Vec<DeferredPartition>) {
    let empty = Fold::new(&declared());
    let (mut content, mut deferred) = (Settlement::default(), Vec::new());
    for partition in range.start()..range.end() {
        match (partition ^ seed) % 4 {
            0 => assert!(content.fail(partition, Reason::Timeout, 2, "slow")),
            1 => deferred.push(DeferredPartition {
                partition,
                ..waiting.clone()
            }),
            _ => content.succeed(&empty, partition, &RawResults(b"1.5")).unwrap(),
        }
    }
    (content, deferred)
}

fn shard_and_commit() -> impl Strategy<Value = (Shard<Braid>, Option<Commit<Braid>>)> {
    let numbers = (0..1_000_u64, 1..20_u64, 0..20_u64, any::<u64>(), 0..4_i32);
    let flags = (any::<bool>(), any::<bool>(), any::<bool>(), any::<bool>());
    (numbers, flags, waiting()).prop_map(
        |((start, length, run_length, seed, round), (seal, sealed, committed, planning), waiting)| {
            let range = PartitionRange::new(start, start + length);
            let cursor = Cursor(start + run_length.min(length));
            let shard = Shard {
                id: ShardId(0),
                start_id: StartId::from("start"),
                run: RunKey {
                    beside: planning,
                    ..run()
                },
                round: Round(round),
                range,
                mode: if planning { Mode::Plan } else { Mode::Suspect },
                budget_millis: seed,
                seal,
                adopts: sealed.then_some(ShardId(7)),
                history: seal.then_some(History { attempts: 2, deaths: 1 }),
            };
            let (mut content, deferred) = done(range.below(cursor), &waiting, seed);
            if planning {
                content.planned(PlanRef {
                    partitions: 9,
                    ..PlanRef::default()
                });
            }
            if sealed {
                content.stop(&Fatal {
                    reason: "NoFiles".into(),
                    message: "none".into(),
                });
            }
            let commit = committed.then(|| Commit {
                id: shard.id,
                start_id: StartId::from("start"),
                cursor,
                sealed,
                begun: if sealed { shard.range.end() - cursor.0 } else { 0 },
                deferred,
                content,
            });
            (shard, commit)
        },
    )
}

fn desk_strategy() -> impl Strategy<Value = Desk<Braid>> {
    prop::collection::vec(shard_and_commit(), 0..5).prop_map(|shards| {
        let mut desk = Desk {
            start: Some(StartId::from("start")),
            next_id: ShardId(10),
            shards: Vec::new(),
            commits: Vec::new(),
        };
        for (number, (mut shard, commit)) in (0..).zip(shards) {
            shard.id = ShardId(number);
            desk.commits
                .extend(commit.map(|commit| Commit { id: shard.id, ..commit }));
            desk.shards.push(shard);
        }
        desk
    })
}

fn worker(desk: &Desk<Braid>) -> Worker {
    let mut spec = WorkerSpec {
        cards: vec![Card {
            digest: run().card,
            results: declared(),
            ..Card::default()
        }],
        ..WorkerSpec::default()
    };
    write_spec(desk, &mut spec);
    let mut status = WorkerStatus::default();
    write_status(desk.start.as_ref(), &desk.commits, &mut status);
    let mut worker = Worker::new("worker", spec);
    worker.status = Some(status);
    // Through JSON, as on the wire.
    serde_json::from_value(serde_json::to_value(worker).unwrap()).unwrap()
}

proptest! {
    #[test]
    fn desks_read_back(written in desk_strategy()) {
        prop_assert_eq!(desk(&worker(&written)).unwrap(), written);
    }

    #[test]
    fn a_commit_is_not_longer_than_was_said(written in desk_strategy()) {
        for commit in &written.commits {
            let length = serde_json::to_string(&shard_status(commit)).unwrap().len();
            prop_assert!(length <= commit_len(commit), "{length} > {}", commit_len(commit));
        }
    }

    #[test]
    fn records_read_back(seed: u64, length in 0..30_u64, waiting in waiting(), closed: bool) {
        let range = PartitionRange::new(0, length);
        let (content, deferred) = done(range, &waiting, seed);
        let mut ledger: Intervals = [range].into_iter().collect();
        for deferred in &deferred {
            ledger.remove(PartitionRange::new(deferred.partition, deferred.partition + 1));
        }
        let written = Record::<Braid> { run: run(), round: Round(3), ledger, content, deferred, closed };
        let mut status = StepStatus {
            name: "s".into(),
            plan: Some(PlanRef { digest: run().plan, ..PlanRef::default() }),
            card: Some(run().card),
            ..StepStatus::default()
        };
        write_record(&written, &specs(), &mut status);
        prop_assert_eq!(status.partitions.failed + status.partitions.succeeded, written.ledger.len());
        let status: StepStatus = serde_json::from_value(serde_json::to_value(status).unwrap()).unwrap();
        prop_assert_eq!(record("w", "uid", &specs(), &status).unwrap(), written);
    }
}

/// A desk with one shard [10, 20), of which [10, 15) is committed: 12 has failed, 13 waits.
fn edited(edit: impl Fn(&mut Worker)) -> Result<Desk<Braid>, WireError> {
    let mut content = Settlement::default();
    content.fail(12, Reason::Exit(1), 3, "no");
    let waiting = DeferredPartition {
        partition: 13,
        attempts: 1,
        deaths: 0,
        not_before: 5,
        reason: "Exit1".into(),
        message: String::new(),
    };
    let shard = Shard {
        id: ShardId(3),
        start_id: StartId::from("start"),
        run: run(),
        round: Round(0),
        range: PartitionRange::new(10, 20),
        mode: Mode::Normal,
        budget_millis: 1,
        seal: false,
        adopts: None,
        history: None,
    };
    let commit = Commit {
        id: shard.id,
        start_id: StartId::from("start"),
        cursor: Cursor(15),
        sealed: true,
        begun: 2,
        deferred: vec![waiting],
        content,
    };
    let mut worker = worker(&Desk {
        start: None,
        next_id: ShardId(4),
        shards: vec![shard],
        commits: vec![commit],
    });
    edit(&mut worker);
    desk(&worker)
}

#[test]
fn edited_objects_are_errors() {
    type Edit = fn(&mut WorkerSpec, &mut WorkerStatus);
    let edits: [(Edit, &str); 12] = [
        (
            |spec, _| spec.shards.push(spec.shards[0].clone()),
            "shard 3: its number is used twice",
        ),
        (
            |_, status| status.shards.push(status.shards[0].clone()),
            "shard 3: its number is used twice",
        ),
        (
            |spec, _| spec.next_shard_id = ShardId(3),
            "shard 3: its number is not below nextShardId",
        ),
        (
            |spec, _| spec.shards[0].end = 10,
            "shard 3: its range is empty or beyond the largest partition",
        ),
        (
            |spec, _| spec.shards[0].end = u64::MAX,
            "shard 3: its range is empty or beyond the largest partition",
        ),
        (
            |spec, _| spec.cards.clear(),
            "shard 3: its card is not among the worker's cards",
        ),
        (
            |_, status| status.shards[0].cursor = Cursor(21),
            "shard 3: its cursor is outside of its range",
        ),
        (
            |_, status| status.shards[0].cursor = Cursor(9),
            "shard 3: its cursor is outside of its range",
        ),
        (
            |_, status| status.shards[0].cursor = Cursor(12),
            "shard 3: a failed partition is not among the settled",
        ),
        (
            |_, status| status.shards[0].cursor = Cursor(13),
            "shard 3: a deferred partition is listed twice, is settled, or is outside of what was run",
        ),
        (
            |_, status| status.shards[0].deferred[0].partition = 12,
            "shard 3: a deferred partition is listed twice, is settled, or is outside of what was run",
        ),
        (
            |_, status| status.shards[0].failures.clear(),
            "shard 3: the causes of failure do not fit the failed partitions",
        ),
    ];
    edited(|_| {}).unwrap();
    for (index, (edit, message)) in edits.into_iter().enumerate() {
        let error = edited(|worker| edit(&mut worker.spec, worker.status.as_mut().unwrap())).unwrap_err();
        assert_eq!(error.to_string(), message, "edit {index}");
    }
    let unassigned = edited(|worker| worker.spec.shards.clear()).unwrap();
    assert_eq!((unassigned.shards, unassigned.commits), (Vec::new(), Vec::new()));
}

#[test]
fn edited_records_are_errors() {
    let status = |edit: fn(&mut StepStatus)| {
        let mut status = StepStatus {
            name: "s".into(),
            ledger: "0-9".parse().unwrap(),
            ..StepStatus::default()
        };
        edit(&mut status);
        record("w", "uid", &specs(), &status)
    };
    status(|_| {}).unwrap();
    let failed = status(|status| status.failed = "10".parse().unwrap()).unwrap_err();
    assert_eq!(
        failed.to_string(),
        "step s: a failed partition is not among the settled"
    );
    let foreign = status(|status| {
        status.results = vec![braid_crds::status::StepResult {
            name: "m".into(),
            count: 1,
            state: "AQ==".into(),
            ..Default::default()
        }];
    });
    assert!(foreign.unwrap_err().to_string().contains("not declared alike"));
}

#[test]
fn a_shard_that_plans_is_never_folded_nor_live() {
    let mut planning = edited(|_| {}).unwrap();
    planning.shards[0].run = RunKey {
        beside: true,
        plan: PlanDigest::default(),
        ..run()
    };
    let mut record = Record::<Braid> {
        run: RunKey {
            plan: PlanDigest::default(),
            ..run()
        },
        round: Round(0),
        ledger: Intervals::new(),
        content: Settlement::default(),
        deferred: Vec::new(),
        closed: false,
    };
    assert_eq!(fold::fold(&mut record, [((), &planning)]), Ok(Vec::new()));
    assert_eq!(handout::live(&record, [&planning]), Intervals::new());
}
