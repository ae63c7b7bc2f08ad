//! The model's guards are the rules of the generated `Worker` definition: a server that has those rules and the guards
//! must say the same of every write, refusals with their reason included.
//!
//! Desks are walked at random through the two writes that there are, the operator's of the spec and the worker's of the
//! status, in a domain so small that every rule is met often. The seeds are fixed.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    missing_docs
)]

use std::collections::BTreeMap;

use braid_apiserver::ApiServer;
use braid_crds::{
    CardDigest, Cursor, PartitionRange, Round, ShardId, StartId, Worker, WorkerSpec, WorkerStatus,
    status::Deferred,
    worker::{History, Mode, Partial, RunRef, ShardSpec, ShardStatus},
};
use braid_engine::protocol::{Commit, DeferredPartition, Desk, Shard};
use braid_model::{
    guards::{self, Refusal},
    sim::rng::Rng,
    tiny::{Provenance, Settlement, Tiny},
};
use kube::{Api, api::PostParams};

/// Walks, and proposals in each.
const WALKS: u64 = 12;
const STEPS: u64 = 80;

/// Every refusal, and what the server says of it: any of these.
const SAID: [(Refusal, &[&str]); 11] = [
    (
        Refusal::AddedForNoShard,
        &["a commit may be added only for a shard that is assigned"],
    ),
    (
        Refusal::RemovedWhileAssigned,
        &["the commit of a shard that is assigned may not be removed"],
    ),
    (
        Refusal::ChangedAfterDrop,
        &["the commit of a shard that is no longer assigned may not be changed"],
    ),
    (
        Refusal::ChangedAfterSeal,
        &["the commit of a shard that the operator sealed may not be changed"],
    ),
    (Refusal::CursorOutside, &["a cursor must lie within its shard"]),
    (Refusal::ChangedWhenSealed, &["a sealed commit is immutable"]),
    (Refusal::CursorFell, &["a cursor never falls"]),
    (
        Refusal::OtherStart,
        &["a commit belongs to the start that made it first"],
    ),
    (
        Refusal::ShardChanged,
        &[
            "a shard is immutable but for its budget and its seal",
            "a seal is for ever",
            "a budget may only shrink",
        ],
    ),
    (Refusal::EmptyShard, &["a shard has at least one partition"]),
    (Refusal::NextIdFell, &["nextShardId never falls"]),
];

type TinyDesk = Desk<Tiny>;

/// The object that a desk of the model stands for. Contents become opaque text, as they are to the server.
fn object(desk: &TinyDesk) -> Worker {
    let start = |start: u16| StartId(format!("start-{start}"));
    let shards = desk.shards.iter().map(|shard| ShardSpec {
        id: shard.id,
        start_id: start(shard.start_id),
        run: RunRef {
            workflow: "flow".into(),
            uid: "uid".into(),
            step: "step".into(),
            round: shard.round,
            plan: "sha256:plan".into(),
            card: CardDigest(format!("sha256:{}", shard.run)),
            ..RunRef::default()
        },
        start: shard.range.start(),
        end: shard.range.end(),
        budget_millis: shard.budget_millis,
        mode: shard.mode,
        seal: shard.seal,
        adopts: shard.adopts,
        history: shard.history,
        publish: None,
    });
    let spec = WorkerSpec {
        pod_uid: "pod".into(),
        pool: "pool".into(),
        next_shard_id: desk.next_id,
        shards: shards.collect(),
        ..WorkerSpec::default()
    };
    let commits = desk.commits.iter().map(|commit| ShardStatus {
        id: commit.id,
        start_id: start(commit.start_id),
        cursor: commit.cursor,
        sealed: commit.sealed,
        begun: commit.begun,
        partials: vec![Partial {
            name: "content".into(),
            state: format!("{:?}", commit.content),
        }],
        deferred: (commit.deferred.iter())
            .map(|deferred| Deferred {
                partition: deferred.partition,
                attempts: deferred.attempts,
                deaths: deferred.deaths,
                reason: deferred.reason.clone(),
                message: deferred.message.clone(),
                not_before: deferred.not_before,
            })
            .collect(),
        ..ShardStatus::default()
    });
    let status = WorkerStatus {
        start_id: desk.start.map(start),
        shards: commits.collect(),
        ..WorkerStatus::default()
    };
    let mut worker = Worker::new("w", spec);
    worker.status = Some(status);
    worker
}

/// A place in a list, the end included.
fn place(rng: &mut Rng, length: usize) -> usize {
    usize::try_from(rng.between(0, length as u64 + 1)).unwrap()
}

fn id(rng: &mut Rng) -> ShardId {
    ShardId(i64::try_from(rng.between(0, 3)).unwrap())
}

fn shard(rng: &mut Rng) -> Shard<Tiny> {
    let start = rng.between(0, 3);
    Shard {
        id: id(rng),
        start_id: 1,
        run: 0,
        round: Round(0),
        range: PartitionRange::new(start, start + rng.between(1, 4)),
        mode: Mode::Normal,
        budget_millis: rng.between(0, 3),
        seal: rng.happens(200),
        adopts: None,
        history: None,
    }
}

fn commit(rng: &mut Rng, id: ShardId) -> Commit<Tiny> {
    Commit {
        id,
        start_id: 1,
        cursor: Cursor(rng.between(0, 6)),
        sealed: rng.happens(300),
        begun: 0,
        deferred: Vec::new(),
        content: Provenance::default(),
    }
}

/// What an operator might write: a change of one thing, or the next number.
fn other_spec(rng: &mut Rng, desk: &mut TinyDesk) {
    let index = place(rng, desk.shards.len());
    let Some(known) = desk.shards.get_mut(index) else {
        if rng.happens(200) {
            desk.next_id = ShardId(i64::try_from(rng.between(0, 8)).unwrap());
        } else {
            let shard = shard(rng);
            desk.shards.retain(|known| known.id != shard.id);
            desk.shards.push(shard);
        }
        return;
    };
    match rng.between(0, 12) {
        0 => known.start_id ^= 1,
        1 => known.run ^= 1,
        2 => known.round = Round(known.round.0 ^ 1),
        3 => known.range = PartitionRange::new(known.range.start(), rng.between(0, 6)),
        4 => known.range = PartitionRange::new(rng.between(0, 4), known.range.end()),
        5 => {
            known.mode = if known.mode == Mode::Normal {
                Mode::Suspect
            } else {
                Mode::Normal
            }
        }
        6 => known.budget_millis = rng.between(0, 4),
        7 => known.seal = !known.seal,
        8 => known.adopts = rng.pick(&[None, Some(ShardId(7)), Some(ShardId(8))]),
        9 => {
            known.history = rng.pick(&[
                None,
                Some(History { attempts: 1, deaths: 0 }),
                Some(History { attempts: 1, deaths: 1 }),
            ]);
        }
        _ => {
            desk.shards.remove(index);
        }
    }
}

/// What a worker, or something that speaks for it, might write.
fn other_status(rng: &mut Rng, desk: &mut TinyDesk) {
    let index = place(rng, desk.commits.len());
    let Some(known) = desk.commits.get_mut(index) else {
        // Mostly for shards that are there: else a walk has hardly a commit.
        let assigned: Vec<ShardId> = desk.shards.iter().map(|shard| shard.id).collect();
        let id = if assigned.is_empty() || rng.happens(200) {
            id(rng)
        } else {
            rng.pick(&assigned)
        };
        let commit = commit(rng, id);
        desk.commits.retain(|known| known.id != commit.id);
        desk.commits.push(commit);
        return;
    };
    match rng.between(0, 10) {
        0 => known.start_id ^= 1,
        1 | 2 => known.cursor = Cursor(rng.between(0, 6)),
        3 => known.sealed = !known.sealed,
        4 => {
            let settlement = Settlement {
                partition: 0,
                desk: 0,
                shard: 0,
                start: 1,
                generation: 0,
                ok: rng.happens(500),
            };
            known.content = Provenance(vec![settlement]);
        }
        5 => {
            known.deferred = vec![DeferredPartition {
                partition: rng.between(0, 2),
                attempts: 1,
                deaths: 0,
                not_before: 0,
                reason: "Exit1".into(),
                message: String::new(),
            }];
        }
        6 => known.begun ^= 1,
        7 => desk.start = rng.pick(&[None, Some(1), Some(2)]),
        _ => {
            desk.commits.remove(index);
        }
    }
}

/// The rules that the server finds broken; none: it has written.
async fn write(workers: &Api<Worker>, desk: &TinyDesk, of_status: bool) -> Result<(), String> {
    let mut worker = object(desk);
    worker.metadata.resource_version = workers.get("w").await.unwrap().metadata.resource_version;
    let params = PostParams::default();
    let written = if of_status {
        workers.replace_status("w", &params, &worker).await
    } else {
        workers.replace("w", &params, &worker).await
    };
    match written {
        Ok(_) => Ok(()),
        Err(kube::Error::Api(status)) if status.code == 422 => Err(status.message),
        Err(error) => panic!("{error}"),
    }
}

#[tokio::test]
async fn the_server_and_the_guards_say_the_same_of_every_write() {
    let mut seen: BTreeMap<String, u64> = BTreeMap::new();
    for walk in 0..WALKS {
        let server = ApiServer::builder()
            .crds(braid_crds::definitions())
            .build()
            .await
            .unwrap();
        let workers: Api<Worker> = Api::namespaced(server.client("default"), "default");
        let mut desk = TinyDesk {
            start: None,
            next_id: ShardId(3),
            shards: Vec::new(),
            commits: Vec::new(),
        };
        workers.create(&PostParams::default(), &object(&desk)).await.unwrap();
        let mut rng = Rng::new(walk);
        for _ in 0..STEPS {
            let (mut next, of_status) = (desk.clone(), rng.happens(500));
            // Two changes in one write are no rarity.
            for _ in 0..rng.between(1, 3) {
                if of_status {
                    other_status(&mut rng, &mut next);
                } else {
                    other_spec(&mut rng, &mut next);
                }
            }
            let (guarded, served) = (guards::check(&desk, &next), write(&workers, &next, of_status).await);
            let agree = match (guarded, &served) {
                (Ok(()), Ok(())) => true,
                (Err(refusal), Err(said)) => {
                    let (_, words) = SAID.iter().find(|(known, _)| *known == refusal).unwrap();
                    words.iter().any(|words| said.contains(words))
                }
                _ => false,
            };
            assert!(
                agree,
                "walk {walk}: the guards say {guarded:?}, the server {served:?}\nof {desk:#?}\nto {next:#?}"
            );
            *seen.entry(format!("{guarded:?}")).or_default() += 1;
            if served.is_ok() {
                desk = next;
            }
        }
        server.shutdown().await.unwrap();
    }
    for (refusal, _) in SAID {
        assert!(
            seen.contains_key(&format!("{:?}", Err::<(), _>(refusal))),
            "never met: {refusal:?} in {seen:?}"
        );
    }
    assert!(
        seen["Ok(())"] > WALKS * STEPS / 5,
        "hardly anything was written: {seen:?}"
    );
}
