//! What must hold: in every state, and at every step.

use std::{collections::BTreeSet, fmt};

use braid_crds::ShardId;
use braid_engine::protocol::{Commit, Desk, Shard, publish};

use crate::{
    actor::Actor,
    mutation::Mutation,
    state::{Config, Seat, State, within},
    tiny::{Output, Tiny},
};

/// A rule that was broken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Invariant {
    /// Every partition is counted at most once.
    CountedOnce,
    /// The ledger holds exactly the partitions whose results were folded.
    LedgerIsContent,
    /// No partition waits for another attempt and is settled.
    DeferredIsUnsettled,
    /// What is visible was counted.
    VisibleWasCounted,
    /// Every partition is visible at most once.
    VisibleOnce,
    /// What was counted is in the status or visible.
    CountedIsKept,
    /// What the status or a manifest names was written.
    NamedExists,
    /// A sealed commit never changes and stays while its shard is assigned.
    SealedNeverChanges,
    /// A cursor lies within its shard and never falls.
    CursorMoves,
    /// What is dropped is what was folded.
    DroppedAsFolded,
    /// What was committed is dropped only if it is folded, wholly held, of an old round (with several operators) or of a closed step.
    CommittedIsCounted,
    /// A shard that is held in part is never seen. With one operator and fresh copies.
    NeverHeldInPart,
    /// A partition is settled by the round that opened it, or by a later one.
    RoundOfSettlement,
    /// Nothing changes once the step is closed.
    ClosedNeverChanges,
    /// A step is closed only when everything that was counted is visible.
    ClosedIsPublished,
    /// No shard has a number that another had.
    NumbersAreNew,
    /// No rule of the server is in the way of what a worker writes to a version that it has seen.
    NeverRefused,
    /// Without further faults, the step ends complete and everything that was counted is visible.
    Completes,
}

impl fmt::Display for Invariant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}

/// What is visible: of the chain, and in a broken world of the desks.
pub fn visible<A: Actor>(config: &Config, state: &State<A>) -> Vec<Output> {
    let chain = publish::visible(&state.rest.chain);
    let mut outputs: Vec<Output> = chain.values().flat_map(|outputs| outputs.iter().copied()).collect();
    if config.mutation == Some(Mutation::VisibleAtCommit) {
        let commits = state.desks().flat_map(|(_, desk)| &desk.commits);
        outputs.extend(commits.flat_map(|commit| publish::Outputs::outputs(&commit.content)));
    }
    outputs
}

/// Checks a state.
pub fn check<A: Actor>(config: &Config, state: &State<A>) -> Result<(), Invariant> {
    let record = &state.workflow.record;
    let settlements = &record.content.0;
    if settlements
        .windows(2)
        .any(|pair| pair[0].partition == pair[1].partition)
    {
        return Err(Invariant::CountedOnce);
    }
    if record.content.partitions() != record.ledger {
        return Err(Invariant::LedgerIsContent);
    }
    let mut waiting = record.deferred.iter();
    if waiting.any(|deferred| record.ledger.contains(deferred.partition)) {
        return Err(Invariant::DeferredIsUnsettled);
    }
    for settlement in settlements {
        let opened = state.workflow.reopened.iter().rev();
        let opened = opened.filter(|(partition, _)| *partition == settlement.partition);
        let from = opened.map(|(_, generation)| *generation).max().unwrap_or(0);
        if !(from..=state.workflow.generation).contains(&settlement.generation) {
            return Err(Invariant::RoundOfSettlement);
        }
    }
    if !config.outputs {
        return Ok(());
    }
    let visible = visible(config, state);
    if visible.iter().any(|output| settlements.binary_search(output).is_err()) {
        return Err(Invariant::VisibleWasCounted);
    }
    let seen: BTreeSet<&Output> = visible.iter().collect();
    let mut partitions: Vec<u32> = visible.iter().map(|output| output.partition).collect();
    partitions.sort_unstable();
    if partitions.windows(2).any(|pair| pair[0] == pair[1]) {
        return Err(Invariant::VisibleOnce);
    }
    let listed = || state.workflow.entries.iter().flat_map(|entry| &entry.outputs);
    let waiting: BTreeSet<&Output> = listed().collect();
    for output in settlements.iter().filter(|settlement| settlement.ok) {
        let seen = seen.contains(output);
        if !seen && !waiting.contains(output) {
            return Err(Invariant::CountedIsKept);
        }
        if !seen && record.closed {
            return Err(Invariant::ClosedIsPublished);
        }
    }
    let missing = |output: &Output| state.rest.missing.contains(output);
    if visible.iter().any(missing) || listed().any(missing) {
        return Err(Invariant::NamedExists);
    }
    Ok(())
}

/// Checks what a write did to a desk.
pub fn check_desk(before: &Desk<Tiny>, after: &Desk<Tiny>) -> Result<(), Invariant> {
    for commit in &after.commits {
        if after
            .shard(commit.id)
            .is_some_and(|shard| !within(shard, commit.cursor))
        {
            return Err(Invariant::CursorMoves);
        }
    }
    for commit in &before.commits {
        let Some(shard) = before.shard(commit.id).filter(|_| after.shard(commit.id).is_some()) else {
            continue;
        };
        let now = after.commit(commit.id);
        if before.is_sealed(shard) && now != Some(commit) {
            return Err(Invariant::SealedNeverChanges);
        }
        if now.is_none_or(|now| now.cursor < commit.cursor) {
            return Err(Invariant::CursorMoves);
        }
    }
    for shard in before.shards.iter().filter(|shard| shard.seal) {
        let added = before.commit(shard.id).is_none() && after.commit(shard.id).is_some();
        if added && after.shard(shard.id).is_some() {
            return Err(Invariant::SealedNeverChanges);
        }
    }
    Ok(())
}

/// Checks a shard that leaves its desk, before it does.
pub fn check_drop<A: Actor>(
    config: &Config,
    state: &State<A>,
    seat: &Seat,
    shard: &Shard<Tiny>,
) -> Result<(), Invariant> {
    let Some(commit) = seat.desk.commit(shard.id) else {
        return Ok(());
    };
    if let Some(folded) = folded(state, seat, shard.id) {
        return if folded == commit {
            Ok(())
        } else {
            Err(Invariant::DroppedAsFolded)
        };
    }
    let settled = commit.settles(shard);
    let record = &state.workflow.record;
    let generation = seat.generations.get(shard.id.0 as usize).copied().unwrap_or_default();
    if settled.is_empty() {
        return Ok(());
    }
    // One operator opens a step again only when nothing of it is on any desk.
    if generation < state.workflow.generation && !config.split_brain {
        return Err(Invariant::CommittedIsCounted);
    }
    if generation < state.workflow.generation || record.closed {
        return Ok(());
    }
    if settled.ranges().all(|range| record.ledger.covers(range)) {
        return Ok(());
    }
    if settled.ranges().any(|range| record.ledger.overlaps(range)) {
        return if config.split_brain {
            Ok(())
        } else {
            Err(Invariant::NeverHeldInPart)
        };
    }
    Err(Invariant::CommittedIsCounted)
}

/// What was counted of a shard.
pub fn folded<'a, A>(state: &'a State<A>, seat: &Seat, id: ShardId) -> Option<&'a Commit<Tiny>> {
    let folded = state.workflow.folded.iter();
    folded
        .filter(|(uid, commit)| *uid == seat.uid && commit.id == id)
        .map(|(_, commit)| commit)
        .next()
}
