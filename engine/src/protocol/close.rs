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

/// Opens the whole of a closed record anew, as the next round: nothing is settled, and nothing of the round before is left but what
/// its caller keeps. The guard is that of [`reopen`], and so is the reason: a shard of an older round that turns up late is of an old
/// round, and is dropped.
pub fn renew<'a, W: World>(
    record: &mut Record<W>,
    desks: impl IntoIterator<Item = &'a Desk<W>>,
) -> Result<(), Blocker> {
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
    record.ledger = Intervals::new();
    record.content = W::Content::default();
    record.deferred.clear();
    record.round = Round(record.round.0.saturating_add(1));
    record.closed = false;
    Ok(())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing)]
    use braid_crds::{Cursor, ShardId, worker::Mode};
    use proptest::prelude::*;

    use super::{
        super::{Commit, DeferredPartition, Shard},
        *,
    };

    #[derive(Clone, Debug, PartialEq, Eq, Hash)]
    struct Small;

    /// Which partitions it is of.
    #[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
    struct Of(Intervals);

    impl Content for Of {
        type Error = ();

        fn merge(&mut self, other: &Self) -> Result<(), ()> {
            self.0 = self.0.union(&other.0);
            Ok(())
        }
    }

    impl World for Small {
        type Start = u8;
        type Run = u8;
        type Content = Of;
    }

    fn record(run: u8, round: i32, closed: bool) -> Record<Small> {
        let settled = Intervals::from_iter([PartitionRange::new(0, 9)]);
        Record {
            run,
            round: Round(round),
            ledger: settled.clone(),
            content: Of(settled),
            deferred: vec![DeferredPartition {
                partition: 9,
                attempts: 1,
                deaths: 0,
                not_before: 0,
                reason: String::new(),
                message: String::new(),
            }],
            closed,
        }
    }

    fn desk(run: u8, round: i32, start: u64, cursor: u64, seal: bool) -> Desk<Small> {
        let range = PartitionRange::new(start, start + 4);
        let shard = Shard {
            id: ShardId(1),
            start_id: 1,
            run,
            round: Round(round),
            range,
            mode: Mode::Normal,
            budget_millis: 1,
            seal,
            adopts: None,
            history: None,
        };
        let commit = Commit {
            id: ShardId(1),
            start_id: 1,
            cursor: Cursor(start + cursor),
            sealed: seal,
            begun: 0,
            deferred: Vec::new(),
            content: Of(Intervals::from_iter([PartitionRange::new(start, start + cursor)])),
        };
        Desk {
            start: Some(1),
            next_id: ShardId(2),
            shards: vec![shard],
            commits: vec![commit],
        }
    }

    proptest! {
        /// Nothing of a round is in the next: it opens only once the record is closed and its shards have left their desks, and a shard
        /// of the old one that a stale desk still shows is never folded into it.
        #[test]
        fn a_new_round_begins_with_nothing_and_takes_nothing_of_the_old(
            run in 0_u8..2,
            round in 0_i32..3,
            of in 0_i32..3,
            start in 0_u64..20,
            cursor in 0_u64..5,
            (seal, closed) in any::<(bool, bool)>(),
        ) {
            let mut record = record(1, round, closed);
            let desks = [desk(run, of.min(round), start, cursor, seal)];
            let before = record.clone();
            match renew(&mut record, &desks) {
                Err(Blocker::NotClosed) => prop_assert!(!closed),
                Err(Blocker::OnDesk) => prop_assert!(closed && run == 1),
                Err(other) => prop_assert!(false, "{other:?}"),
                Ok(()) => prop_assert!(closed && run != 1),
            }
            if record == before {
                record.closed = true;
                renew(&mut record, &[]).unwrap();
            }
            prop_assert_eq!(Round(before.round.0 + 1), record.round);
            prop_assert!(record.ledger.is_empty() && record.content == Of::default());
            prop_assert!(record.deferred.is_empty() && !record.closed);
            let opened = record.clone();
            fold::fold(&mut record, desks.iter().enumerate()).unwrap();
            prop_assert_eq!(opened, record);
        }
    }
}
