//! Retiring a desk: when the object of a pod that is gone may be deleted.
//!
//! A desk outlives its pod, for what was committed on it is counted by the fold and by nothing else. First every shard
//! is sealed; then each is folded or found to be droppable; then the object is deleted, with the uid and the version
//! at which it was judged. Its name may come back, its uid and with it its shards' ids never do.

use super::{Desk, Record, World, fold};

/// What is known of the step that a shard is part of.
#[derive(Clone, Copy, Debug)]
pub enum Known<'a, W: World> {
    /// Its record.
    Record(&'a Record<W>),
    /// It exists no more, by a read that was not from a cache.
    Gone,
    /// Nothing: it may be younger than the copy that was looked at.
    Unknown,
}

/// Whether nothing on `desk` can count any more.
pub fn may_delete<'a, W: World>(desk: &Desk<W>, known: impl Fn(&W::Run) -> Known<'a, W>) -> bool {
    desk.shards.iter().all(|shard| match known(&shard.run) {
        Known::Record(record) => fold::judge(record, shard, desk.commit(shard.id)).drops(),
        Known::Gone => true,
        Known::Unknown => false,
    })
}
