//! The fold: which sealed shards count, and what becomes of the others.
//!
//! A shard is folded only if it is sealed, of this run and round, of a step that is not closed, and settles nothing that
//! the ledger holds already. It may be dropped without folding only if the ledger holds all of it, it settles nothing,
//! its round is older than the record's, or its step is closed. In every other case it stays where it is.

use braid_crds::ShardId;

use super::{Commit, Content as _, DeferredPartition, Desk, Record, Shard, World};

/// Why a content could not be folded in.
pub type ContentError<W> = <<W as World>::Content as super::Content>::Error;

/// What a record says of a shard.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Verdict {
    /// It counts.
    Fold,
    /// Not sealed: it may still grow.
    Open,
    /// The ledger holds all that it settles.
    Held,
    /// The ledger holds a part of what it settles. It is dropped, and the rest is run again. Unreachable with one operator.
    HeldInPart,
    /// It settles nothing.
    Empty,
    /// Its round is over.
    OldRound,
    /// Its step is over.
    Closed,
    /// Its round is newer than the record's: the record is an old copy, and says nothing.
    NewerThanRecord,
    /// It is part of something else.
    Foreign,
}

impl Verdict {
    /// Whether the shard may leave its desk without having been counted.
    #[must_use]
    pub fn drops(self) -> bool {
        matches!(
            self,
            Self::Held | Self::HeldInPart | Self::Empty | Self::OldRound | Self::Closed
        )
    }
}

/// What `record` says of `shard` with the stored `commit`.
pub fn judge<W: World>(record: &Record<W>, shard: &Shard<W>, commit: Option<&Commit<W>>) -> Verdict {
    if shard.run != record.run {
        return Verdict::Foreign;
    }
    if shard.round > record.round {
        return Verdict::NewerThanRecord;
    }
    if !(shard.seal || commit.is_some_and(|commit| commit.sealed)) {
        return Verdict::Open;
    }
    if shard.round < record.round {
        return Verdict::OldRound;
    }
    if record.closed {
        return Verdict::Closed;
    }
    let Some(commit) = commit else { return Verdict::Empty };
    let settled = commit.settles(shard);
    if settled.is_empty() {
        let waits = commit.deferred.iter().any(|deferred| record.awaits(deferred));
        return if waits { Verdict::Fold } else { Verdict::Empty };
    }
    if settled.ranges().all(|range| record.ledger.covers(range)) {
        Verdict::Held
    } else if settled.ranges().any(|range| record.ledger.overlaps(range)) {
        Verdict::HeldInPart
    } else {
        Verdict::Fold
    }
}

impl<W: World> Record<W> {
    /// Whether an account of a deferred partition is news: it is not settled, and no later attempt is known.
    fn awaits(&self, deferred: &DeferredPartition) -> bool {
        !self.ledger.contains(deferred.partition)
            && !self.deferred.iter().any(|known| {
                known.partition == deferred.partition
                    && (known.attempts, known.deaths) >= (deferred.attempts, deferred.deaths)
            })
    }

    /// Counts one shard that was judged [`Verdict::Fold`].
    fn count(&mut self, shard: &Shard<W>, commit: &Commit<W>) -> Result<(), ContentError<W>> {
        let settled = commit.settles(shard);
        if !settled.is_empty() {
            self.content.merge(&commit.content)?;
            self.ledger = self.ledger.union(&settled);
        }
        for deferred in &commit.deferred {
            if self.awaits(deferred) {
                self.deferred.retain(|known| known.partition != deferred.partition);
                self.deferred.push(deferred.clone());
            }
        }
        self.deferred
            .retain(|deferred| !self.ledger.contains(deferred.partition));
        self.deferred.sort_by_key(|deferred| deferred.partition);
        Ok(())
    }
}

/// Folds what can be folded of the desks' shards into `record`, one by one: each is judged against what the ones
/// before it left. Returns what became of every shard that is not foreign.
///
/// The caller writes the record with the version it was read at, and drops shards only once that write is known to have
/// succeeded, by judging them again against the written record.
pub fn fold<'a, W: World, K: Copy>(
    record: &mut Record<W>,
    desks: impl IntoIterator<Item = (K, &'a Desk<W>)>,
) -> Result<Vec<(K, ShardId, Verdict)>, ContentError<W>> {
    let mut verdicts = Vec::new();
    for (key, desk) in desks {
        for shard in &desk.shards {
            let commit = desk.commit(shard.id);
            let verdict = judge(record, shard, commit);
            match (verdict, commit) {
                (Verdict::Foreign, _) => continue,
                (Verdict::Fold, Some(commit)) => record.count(shard, commit)?,
                _ => {}
            }
            verdicts.push((key, shard.id, verdict));
        }
    }
    Ok(verdicts)
}
