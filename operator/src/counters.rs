//! What an operator has done, as plain counts.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// Counts since the start of the process.
#[derive(Debug, Default)]
pub struct Counters {
    passes: AtomicU64,
    failed_passes: AtomicU64,
    panicked_passes: AtomicU64,
    folded: AtomicU64,
    held_in_part: AtomicU64,
    conflicts: AtomicU64,
}

/// A reading of [`Counters`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Passes over runs and pools.
    pub passes: u64,
    /// Those that ended with an error.
    pub failed_passes: u64,
    /// Those that panicked.
    pub panicked_passes: u64,
    /// Shards counted.
    pub folded: u64,
    /// Shards dropped although a part of them was new: 0 wherever there is one operator.
    pub held_in_part: u64,
    /// Desk writes that met a change by the worker.
    pub conflicts: u64,
}

impl Counters {
    /// The counts now.
    #[must_use]
    pub fn read(&self) -> Counts {
        Counts {
            passes: self.passes.load(Relaxed),
            failed_passes: self.failed_passes.load(Relaxed),
            panicked_passes: self.panicked_passes.load(Relaxed),
            folded: self.folded.load(Relaxed),
            held_in_part: self.held_in_part.load(Relaxed),
            conflicts: self.conflicts.load(Relaxed),
        }
    }

    pub(crate) fn pass(&self, failed: bool) {
        self.passes.fetch_add(1, Relaxed);
        self.failed_passes.fetch_add(u64::from(failed), Relaxed);
    }

    pub(crate) fn panicked(&self) {
        self.panicked_passes.fetch_add(1, Relaxed);
    }

    pub(crate) fn folded(&self, count: usize) {
        self.folded.fetch_add(count as u64, Relaxed);
    }

    pub(crate) fn held_in_part(&self, count: usize) {
        self.held_in_part.fetch_add(count as u64, Relaxed);
    }

    pub(crate) fn conflict(&self) {
        self.conflicts.fetch_add(1, Relaxed);
    }
}
