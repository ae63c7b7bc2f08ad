//! Endings: when a step is over, and how what failed is opened again.
//!
//! A step ends in this order: every shard sealed, what counts folded, outputs published, then closed, in the same write
//! that starts what follows. A closed record never changes again but by a retry, which is a new round: every shard of
//! the old one has left its desk first, and one that turns up late is of an old round and is dropped.

use braid_crds::{Intervals, PartitionRange, Round};

use super::{
    Content, Desk, Record, World,
    fold::{self, Verdict},
};

/// A content that knows which of its partitions failed.
pub trait Failures: Content {
    /// The partitions that are settled as failed.
    fn failed(&self) -> Intervals;

    /// Forgets that they failed: they will be settled again.
    fn forget_failed(&mut self);
}

/// Why a step cannot end yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Blocker {
    /// Partitions are neither settled nor given up.
    Unsettled,
    /// A shard is not sealed.
    Open,
    /// A sealed shard counts and is not folded.
    Unfolded,
    /// A shard of the round that ends is still on its desk.
    OnDesk,
    /// A desk knows a newer round: the record is an old copy.
    OldRecord,
    /// Outputs that were counted are named by no manifest.
    Unpublished,
    /// It is not closed: there is nothing to open again.
    NotClosed,
}

/// Closes `record`, a step of `total` partitions of which `unpublished` counted shards still wait for their manifest.
/// A `stopped` step (cancelled, or failed beyond its tolerance) ends with what it has; its deferred partitions are
/// given up.
pub fn close<'a, W: World>(
    record: &mut Record<W>,
    total: u64,
    stopped: bool,
    unpublished: usize,
    desks: impl IntoIterator<Item = &'a Desk<W>>,
) -> Result<(), Blocker> {
    if !stopped && !record.ledger.covers(PartitionRange::new(0, total)) {
        return Err(Blocker::Unsettled);
    }
    for desk in desks {
        for shard in &desk.shards {
            match fold::judge(record, shard, desk.commit(shard.id)) {
                Verdict::Open => return Err(Blocker::Open),
                Verdict::Fold => return Err(Blocker::Unfolded),
                Verdict::NewerThanRecord => return Err(Blocker::OldRecord),
                verdict if verdict.drops() || verdict == Verdict::Foreign => {}
                _ => return Err(Blocker::OnDesk),
            }
        }
    }
    if unpublished > 0 {
        return Err(Blocker::Unpublished);
    }
    record.deferred.clear();
    record.closed = true;
    Ok(())
}

/// Opens what failed again, as the next round. Everything else that was settled stays settled.
pub fn reopen<'a, W>(record: &mut Record<W>, desks: impl IntoIterator<Item = &'a Desk<W>>) -> Result<Intervals, Blocker>
where
    W: World<Content: Failures>,
{
    if !record.closed {
        return Err(Blocker::NotClosed);
    }
    if desks
        .into_iter()
        .flat_map(|desk| &desk.shards)
        .any(|shard| shard.run == record.run)
    {
        return Err(Blocker::OnDesk);
    }
    let failed = record.content.failed();
    record.content.forget_failed();
    for range in failed.ranges() {
        record.ledger.remove(range);
    }
    record.round = Round(record.round.0.saturating_add(1));
    record.closed = false;
    Ok(failed)
}
