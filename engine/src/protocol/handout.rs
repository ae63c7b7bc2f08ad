//! What of a step may be assigned: all partitions but the settled, the waiting, and those of live shards.
//!
//! Recomputed from what exists, never kept. A stale copy can only make it too large, and a range that is handed out twice
//! is folded once.

use braid_crds::{Intervals, PartitionRange};

use super::{Desk, Record, World};

/// The partitions of `[0, total)` that no live shard of this run and round may still settle and that are not settled:
/// for an open shard its whole range is live, for a sealed one what it committed, until it leaves its desk.
/// Deferred partitions are left out: they are handed out one by one when their time has come.
pub fn unassigned<'a, W: World>(
    record: &Record<W>,
    total: u64,
    desks: impl IntoIterator<Item = &'a Desk<W>>,
) -> Intervals {
    let mut taken = record.ledger.union(&live(record, desks));
    for deferred in &record.deferred {
        taken.insert(PartitionRange::new(
            deferred.partition,
            deferred.partition.saturating_add(1),
        ));
    }
    taken.gaps(PartitionRange::new(0, total))
}

/// The partitions that live shards of this run and round have, or may still, settle.
pub fn live<'a, W: World>(record: &Record<W>, desks: impl IntoIterator<Item = &'a Desk<W>>) -> Intervals {
    desks
        .into_iter()
        .flat_map(|desk| {
            desk.shards
                .iter()
                .filter(|shard| shard.run == record.run && shard.round == record.round)
                .map(|shard| {
                    if desk.is_sealed(shard) {
                        shard.range.below(desk.cursor(shard))
                    } else {
                        shard.range
                    }
                })
        })
        .collect()
}
