//! Files that partitions write: kept under the names of the attempts that wrote them until they are counted, published after that, each
//! once, and read by the manifests that say so.
//!
//! In the directory of the data there is one of Braid's own:
//!
//! ```text
//! .braid/attempts/UID/STEP/ROUND/DATA/START/SHARD/PARTITION/...   what an attempt wrote: of that start of a worker, under that shard
//! .braid/published/UID/STEP/DATA/WORKER.SHARD.json                the manifest of a counted shard
//! .braid/published/UID/STEP/DATA/results.ROUND.json               that of the folded results, which `emit` writes
//! ```
//!
//! Publishing gives a file a second name, where people look for it, and never replaces one that is there: a name that is taken by the same
//! file is the work of an earlier try, and everything else is a conflict. Then the manifest is put in its place, if that is empty, and
//! only then the attempt's names are removed. So it may be done any number of times, by any number of workers, at any time.

use std::{io, path::PathBuf, sync::Arc};

use braid_crds::{
    ShardId, StartId,
    worker::{Card, CardResult, RunRef},
};

use self::folder::Folder;
use crate::{ground::Ground, planner::Pattern};

mod emit;
mod folder;
mod manifest;
mod parts;
mod publish;
mod receive;
#[cfg(test)]
mod tests;

pub(crate) use manifest::list;
pub(crate) use parts::Place;
pub(crate) use publish::PublishError;
pub(crate) use receive::{Receiving, Refusal};

/// The directory of Braid's own in a directory of data.
pub(crate) const OWN: &str = ".braid";
const ATTEMPTS: &str = "attempts";
const PUBLISHED: &str = "published";

/// Where the partitions of a step put their files, for one start of a worker.
#[derive(Debug)]
pub(crate) struct Store {
    ground: Ground,
    uid: String,
    step: String,
    /// What a round left is removed when it ends, and by nobody later.
    round: String,
    start: StartId,
    targets: Vec<Target>,
    /// Where the folded results go, and what they are.
    emits: Option<(Target, Vec<CardResult>)>,
}

/// One data that is written.
#[derive(Clone, Debug)]
struct Target {
    data: String,
    /// Its directory; why there is none.
    directory: Result<PathBuf, String>,
}

/// Where one attempt puts its files.
#[derive(Clone, Debug)]
pub struct Outlet {
    store: Arc<Store>,
    shard: ShardId,
    partition: u64,
}

impl Store {
    /// What a card says; `None`: its step writes nothing.
    pub(crate) fn new(ground: &Ground, run: &RunRef, card: &Card, start: &StartId) -> Option<Arc<Self>> {
        if card.writes.is_empty() && card.emit.is_none() {
            return None;
        }
        let target = |write: &braid_crds::worker::CardWrite| Target {
            data: write.data.clone(),
            directory: Pattern::directory(&write.url).map_err(|error| error.to_string()),
        };
        Some(Arc::new(Self {
            ground: ground.clone(),
            uid: run.uid.clone(),
            step: run.step.clone(),
            round: run.round.to_string(),
            start: start.clone(),
            targets: card.writes.iter().map(target).collect(),
            emits: card.emit.as_ref().map(|emit| (target(emit), card.results.clone())),
        }))
    }

    /// Where an attempt of a partition that was started for that shard puts its files; `None`: partitions write none.
    pub(crate) fn outlet(self: &Arc<Self>, shard: ShardId, partition: u64) -> Option<Outlet> {
        (!self.targets.is_empty()).then(|| Outlet {
            store: self.clone(),
            shard,
            partition,
        })
    }

    fn root(&self, target: &Target) -> io::Result<Folder> {
        match &target.directory {
            Ok(directory) => Folder::root(&self.ground, directory),
            Err(why) => Err(io::Error::new(io::ErrorKind::InvalidInput, why.clone())),
        }
    }

    /// Makes everything durable that was written there. Blocks.
    pub(crate) fn flush(&self) -> io::Result<()> {
        for target in &self.targets {
            self.root(target)?.sync()?;
        }
        Ok(())
    }

    /// The names, below the directory of a data, of the attempts of a start.
    fn attempts<'a>(&'a self, target: &'a Target, start: &'a StartId) -> [&'a str; 7] {
        [
            OWN,
            ATTEMPTS,
            &self.uid,
            &self.step,
            &self.round,
            &target.data,
            &start.0,
        ]
    }
}
