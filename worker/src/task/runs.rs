//! What the partitions of a shard have in common: program, source, results, policy.

use std::{path::PathBuf, sync::Arc, time::Duration};

use braid_crds::{
    CardDigest, Round, ShardId, StartId,
    worker::{Card, Fatal, Mode, Publication, RangeSource, ReadSource, RunRef, ShardSpec, WorkerSpec, WrittenBy},
};
use braid_engine::{reduce::Fold, retry::Policy};

use super::programs;
use crate::{
    ground::Ground,
    planner::{Order, Pattern, PlanningError, Shuffle},
    runner::{Checkpoint, MAX_RESULTS, Program, ProgramId, Sides},
    store::{Place, Store},
};

/// A plain result cannot outgrow a commit if each partition gives no more than this, in bytes.
pub(super) const PLAIN_RESULTS: usize = 1024;

/// So many digits of a card's digest tell the programs of one step and round apart.
const CARD_DIGITS: usize = 16;

/// What a shard's partitions are made of.
#[derive(Clone, Debug)]
pub(super) enum Source {
    /// Nothing: there is one.
    None,
    /// Numbers.
    Range(RangeSource),
    /// Items of the plan.
    Items {
        /// In how many pieces the plan is.
        chunks: i32,
    },
    /// Pieces of the plan's files.
    Files {
        /// In how many pieces the plan is.
        chunks: i32,
        /// What names are relative to.
        root: PathBuf,
        /// Whether a partition is of several files.
        many: bool,
    },
    /// The plan itself is to be made.
    Planning(Box<Order>),
    /// Files that were counted are to be published.
    Publishing(Publication),
}

/// What all partitions read beside.
#[derive(Clone, Debug)]
pub(super) struct Reads {
    /// In how many pieces the plan is.
    pub(super) chunks: i32,
    /// By data: what names are relative to.
    pub(super) roots: Vec<(String, PathBuf)>,
}

impl Run {
    /// In how many pieces the plan is, if there is one.
    pub(super) fn chunks(&self) -> Option<i32> {
        match (&self.source, &self.reads) {
            (Source::Items { chunks } | Source::Files { chunks, .. }, _) => Some(*chunks),
            (_, Some(reads)) => Some(reads.chunks),
            (_, None) => None,
        }
    }
}

/// What a shard's partitions have in common.
#[derive(Debug)]
pub(super) struct Run {
    pub(super) shard: ShardId,
    pub(super) reference: RunRef,
    pub(super) program: Arc<Program>,
    pub(super) source: Source,
    /// What all partitions read beside; and in how many pieces the plan is that lists it.
    pub(super) reads: Option<Reads>,
    /// Where the files go that partitions write.
    pub(super) store: Option<Arc<Store>>,
    /// Where the parts are that the data are shuffled into.
    pub(super) parts: Option<Place>,
    /// The empty fold of the card's results; `None`: there are none.
    pub(super) declared: Option<Fold>,
    /// No result can outgrow a commit as long as partitions give little.
    pub(super) plain: bool,
    pub(super) policy: Policy,
    pub(super) timeout: Option<Duration>,
    /// Attempts and deaths before.
    pub(super) attempts: u32,
    pub(super) deaths: i32,
    /// The card says what this version cannot do.
    pub(super) impossible: Option<Fatal>,
}

/// Programs are the same for shards of one card, step and round.
type Key = (CardDigest, String, String, Round);

/// The runs of the shards in a spec.
#[derive(Debug, Default)]
pub(super) struct Runs {
    runs: Vec<Arc<Run>>,
    programs: Vec<(Key, Arc<Program>)>,
    next_program: u64,
}

impl Runs {
    /// The run of a shard.
    pub(super) fn get(&self, shard: ShardId) -> Option<&Arc<Run>> {
        self.runs.iter().find(|run| run.shard == shard)
    }

    /// The shards that run a program.
    pub(super) fn shards_of(&self, program: ProgramId) -> impl Iterator<Item = ShardId> {
        (self.runs.iter())
            .filter(move |run| run.program.id == program)
            .map(|run| run.shard)
    }

    /// Takes note of the shards of a spec, and forgets those that have left.
    pub(super) fn update(&mut self, spec: &WorkerSpec, kill_grace: Duration, ground: &Ground, start: &StartId) {
        self.runs
            .retain(|run| spec.shards.iter().any(|shard| shard.id == run.shard));
        for shard in &spec.shards {
            if self.get(shard.id).is_some() {
                continue;
            }
            let Some(card) = spec.cards.iter().find(|card| card.digest == shard.run.card) else {
                tracing::error!(shard = %shard.id, card = %shard.run.card, "the shard's card is not on the desk");
                continue;
            };
            let program = self.program(shard, card, kill_grace, ground);
            let store = Store::new(ground, &shard.run, card, start);
            self.runs.push(Arc::new(run(shard, card, program, ground, store)));
        }
        let runs = &self.runs;
        self.programs
            .retain(|(_, program)| runs.iter().any(|run| run.program.id == program.id));
    }

    fn program(&mut self, shard: &ShardSpec, card: &Card, kill_grace: Duration, ground: &Ground) -> Arc<Program> {
        let run = &shard.run;
        let key = (card.digest.clone(), run.uid.clone(), run.step.clone(), run.round);
        if let Some((_, program)) = self.programs.iter().find(|(known, _)| *known == key) {
            return program.clone();
        }
        self.next_program += 1;
        let mut env: Vec<(String, String)> = (card.env.iter())
            .map(|variable| (variable.name.clone(), variable.value.clone()))
            .collect();
        env.push(("BRAID_STEP".into(), run.step.clone()));
        env.push(("BRAID_WORKFLOW".into(), run.workflow.clone()));
        let mut program = Program {
            id: ProgramId(self.next_program),
            step: run.step.as_str().into(),
            command: card.command.clone(),
            script: card.script.clone(),
            args: card.args.clone(),
            env,
            concurrency: u16::try_from(card.concurrency.max(1)).unwrap_or(u16::MAX),
            grace: kill_grace,
            results_limit: (!card.results.is_empty()).then_some(MAX_RESULTS),
            sides: Sides::default(),
            serve: programs::serve(card),
            checkpoint: card.checkpoint.map(|bytes| Checkpoint {
                key: checkpoint_key(run),
                bytes,
            }),
            outputs: card.writes.iter().map(|write| write.data.clone()).collect(),
            uid: format!("{}/{}", card.first_uid.as_ref().unwrap_or(&run.uid), run.step).into(),
            run: format!("{}/{}", run.uid, run.step).into(),
        };
        programs::host_function(&mut program, card, ground);
        let program = Arc::new(program);
        self.programs.push((key, program.clone()));
        program
    }
}

/// Names what attempts save: of this run, step, round and program only. All of these are names of directories.
fn checkpoint_key(run: &RunRef) -> String {
    let digest = run.card.0.rsplit(':').next().unwrap_or_default();
    let digest: String = digest.chars().take(CARD_DIGITS).collect();
    format!("{}.{}.{}.{digest}", run.uid, run.step, run.round)
}

/// What names of a data are relative to.
fn root(url: &str, written_by: Option<&WrittenBy>) -> Result<PathBuf, PlanningError> {
    match written_by {
        Some(_) => Pattern::directory(url),
        None => Ok(Pattern::new(url)?.root().to_path_buf()),
    }
}

fn run(shard: &ShardSpec, card: &Card, program: Arc<Program>, ground: &Ground, store: Option<Arc<Store>>) -> Run {
    let history = shard.history.unwrap_or_default();
    let mut impossible = programs::refuse(card, ground);
    let parts = Place::new(ground, &shard.run, card);
    let source = match (&card.source.range, &card.source.items, &card.source.files) {
        _ if shard.mode == Mode::Plan => Source::Planning(Box::new(Order {
            files: card.source.files.clone(),
            shuffle: parts.clone().map(|place| Shuffle {
                place,
                planner: format!("{}.{}", shard.start_id, shard.id),
            }),
            items: card.source.items.as_ref().map_or(0, |items| items.chunks),
            reads: card.reads.clone(),
        })),
        _ if shard.mode == Mode::Publish => Source::Publishing(shard.publish.clone().unwrap_or_default()),
        (Some(range), _, _) => Source::Range(range.clone()),
        (_, Some(items), _) => Source::Items { chunks: items.chunks },
        (_, _, Some(files)) => {
            let root = match root(&files.url, files.written_by.as_ref()) {
                Ok(root) => root,
                Err(error) => {
                    impossible = Some(error.to_fatal());
                    PathBuf::new()
                }
            };
            Source::Files {
                chunks: files.chunks,
                root,
                many: files.files > 1,
            }
        }
        (None, None, None) => Source::None,
    };
    let reads = card
        .reads
        .as_ref()
        .filter(|_| !matches!(shard.mode, Mode::Plan | Mode::Publish))
        .map(|reads| Reads {
            chunks: reads.chunks,
            roots: (reads.data.iter())
                .map(|read: &ReadSource| match root(&read.url, read.written_by.as_ref()) {
                    Ok(root) => (read.data.clone(), root),
                    Err(error) => {
                        impossible = Some(error.to_fatal());
                        (read.data.clone(), PathBuf::new())
                    }
                })
                .collect(),
        });
    Run {
        shard: shard.id,
        reference: shard.run.clone(),
        program,
        source,
        reads,
        store,
        parts,
        plain: Fold::new(&card.results).is_small(),
        declared: (!card.results.is_empty()).then(|| Fold::new(&card.results)),
        policy: Policy::from(card),
        timeout: (card.partition_timeout_millis > 0).then(|| Duration::from_millis(card.partition_timeout_millis)),
        attempts: u32::try_from(history.attempts).unwrap_or(0),
        deaths: history.deaths.max(0),
        impossible,
    }
}
