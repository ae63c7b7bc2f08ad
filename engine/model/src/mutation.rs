//! Ways to break the protocol. Each has to be caught by a named invariant, or the model is blind to it.
//!
//! They exist here only: the production code has no switch for any of them.

/// One broken rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Mutation {
    /// After a conflict or a lost answer the worker adds what it holds to the stored commit, whatever its cursor.
    NoRebase,
    /// A commit carries no version, and the API server has no rules.
    BlindCommit,
    /// The operator folds a shard that is not sealed.
    FoldUnsealed,
    /// The operator folds a shard of which the ledger holds a part.
    FoldPartlyNew,
    /// The results are written first, the ledger after.
    TwoWrites,
    /// An output is visible as soon as its worker's commit names it.
    VisibleAtCommit,
    /// A desk that is made anew has its predecessor's identity and counts its shards from 0 again.
    IdsReused,
    /// A retry opens what failed without a new round.
    RetryWithoutRound,
    /// A retry opens what failed while shards of its round are on desks, closed or not.
    RetryBeforeSealed,
    /// A desk is deleted as soon as its pod is gone.
    DeletedWithPod,
    /// Entries leave the status before a manifest names them.
    EntriesLeaveEarly,
    /// A step is closed while counted outputs wait for their manifest.
    ClosedBeforePublished,
    /// The worker writes its outputs after the commit that names them.
    OutputsAfterCommit,
    /// Several shards folded in one write are each judged against the ledger as it was before.
    FoldedAtOnce,
    /// A manifest whose place was taken is believed to have been written.
    TakenBelieved,
    /// A shard is dropped because of a copy of the record that is older than its round.
    DroppedByOldRound,
}

impl Mutation {
    /// All of them.
    pub const ALL: [Self; 16] = [
        Self::NoRebase,
        Self::BlindCommit,
        Self::FoldUnsealed,
        Self::FoldPartlyNew,
        Self::TwoWrites,
        Self::VisibleAtCommit,
        Self::IdsReused,
        Self::RetryWithoutRound,
        Self::RetryBeforeSealed,
        Self::DeletedWithPod,
        Self::EntriesLeaveEarly,
        Self::ClosedBeforePublished,
        Self::OutputsAfterCommit,
        Self::FoldedAtOnce,
        Self::TakenBelieved,
        Self::DroppedByOldRound,
    ];
}
