//! What the API server refuses: the transition rules of the `Worker` type, on the protocol's own types.
//!
//! They mirror the CEL rules in `crds/src/worker.rs` one for one: a test writes at random and asks both.

use braid_engine::protocol::Desk;

use crate::tiny::Tiny;

/// A rule that a write broke.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Refusal {
    /// A commit may be added only for a shard that is assigned.
    AddedForNoShard,
    /// The commit of a shard that is assigned may not be removed.
    RemovedWhileAssigned,
    /// The commit of a shard that is no longer assigned may not be changed.
    ChangedAfterDrop,
    /// The commit of a shard that the operator sealed may not be changed.
    ChangedAfterSeal,
    /// A cursor must lie within its shard.
    CursorOutside,
    /// A sealed commit is immutable.
    ChangedWhenSealed,
    /// A cursor never falls.
    CursorFell,
    /// A commit belongs to the start that made it first.
    OtherStart,
    /// A shard is immutable but for its budget, which may only shrink, and its seal, which is for ever.
    ShardChanged,
    /// A shard has at least one partition.
    EmptyShard,
    /// The number of the next shard never falls.
    NextIdFell,
}

/// Whether `new` may take the place of `old`.
pub fn check(old: &Desk<Tiny>, new: &Desk<Tiny>) -> Result<(), Refusal> {
    if new.next_id < old.next_id {
        return Err(Refusal::NextIdFell);
    }
    for shard in &new.shards {
        if shard.range.is_empty() {
            return Err(Refusal::EmptyShard);
        }
        if let Some(before) = old.shard(shard.id) {
            let mut same = shard.clone();
            same.budget_millis = before.budget_millis;
            same.seal = before.seal;
            let undone = before.seal && !shard.seal;
            if same != *before || undone || shard.budget_millis > before.budget_millis {
                return Err(Refusal::ShardChanged);
            }
        }
    }
    for commit in &new.commits {
        if old.commit(commit.id).is_none() && new.shard(commit.id).is_none() {
            return Err(Refusal::AddedForNoShard);
        }
        let within = new
            .shard(commit.id)
            .is_none_or(|shard| shard.range.start() <= commit.cursor.0 && commit.cursor.0 <= shard.range.end());
        if !within {
            return Err(Refusal::CursorOutside);
        }
    }
    for before in &old.commits {
        let assigned = new.shard(before.id).is_some();
        let Some(after) = new.commit(before.id) else {
            if assigned {
                return Err(Refusal::RemovedWhileAssigned);
            }
            continue;
        };
        if after == before {
            continue;
        }
        if !assigned {
            return Err(Refusal::ChangedAfterDrop);
        }
        if old.shard(before.id).is_some_and(|shard| shard.seal) {
            return Err(Refusal::ChangedAfterSeal);
        }
        if before.sealed {
            return Err(Refusal::ChangedWhenSealed);
        }
        if after.cursor < before.cursor {
            return Err(Refusal::CursorFell);
        }
        if after.start_id != before.start_id {
            return Err(Refusal::OtherStart);
        }
    }
    Ok(())
}
