//! Publishing: how outputs that were counted become visible, each once.
//!
//! A shard's commit names the outputs of its settled, successful partitions, which were durable before the commit was
//! written. The fold moves those names into the workflow's status, in the same write that counts the shard. There they
//! wait, whatever becomes of the worker and of its desk, until a manifest in the store names them; only then may they
//! leave the status. Manifests form a chain, each put only if its place is empty, so any number of workers may publish
//! the same entries at any time. A reader takes the union of the chain by shard.

use std::{collections::BTreeMap, fmt::Debug, hash::Hash};

use braid_crds::ShardId;

use super::{Content, Desk, World, fold::Verdict};

/// A content whose partitions wrote outputs besides their results.
pub trait Outputs: Content {
    /// Names one output, durable in the store under its attempt's own name.
    type Output: Clone + Debug + Eq + Hash;

    /// The outputs of the partitions that succeeded, in partition order. Those of a failed partition are never named.
    fn outputs(&self) -> Vec<Self::Output>;
}

/// The outputs of one counted shard.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Entry<K, O> {
    /// The desk on which the shard was; with `shard` it is unique for ever.
    pub desk: K,
    /// The shard.
    pub shard: ShardId,
    /// What becomes visible.
    pub outputs: Vec<O>,
}

/// One link of the chain: entries that became visible together.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Manifest<K, O> {
    /// What it names.
    pub entries: Vec<Entry<K, O>>,
}

/// The entries of the shards that a fold has just counted, for the very write that carries the folded record.
/// Shards without outputs need none.
pub fn counted<'a, W, K>(
    verdicts: &[(K, ShardId, Verdict)],
    desks: impl IntoIterator<Item = (K, &'a Desk<W>)>,
) -> Vec<Entry<K, <W::Content as Outputs>::Output>>
where
    W: World<Content: Outputs>,
    K: Copy + Eq,
{
    let mut entries = Vec::new();
    for (key, desk) in desks {
        let folded = |id: ShardId| verdicts.contains(&(key, id, Verdict::Fold));
        for commit in desk.commits.iter().filter(|commit| folded(commit.id)) {
            let outputs = commit.content.outputs();
            if !outputs.is_empty() {
                entries.push(Entry {
                    desk: key,
                    shard: commit.id,
                    outputs,
                });
            }
        }
    }
    entries
}

/// The manifest to put at the end of `chain`, if `entries` holds something that no manifest names. If that place turns
/// out to be taken, whoever took it (an earlier try of ours with a lost answer, or another worker) is read back, and
/// this is asked again with the longer chain.
pub fn next_manifest<K, O>(chain: &[Manifest<K, O>], entries: &[Entry<K, O>]) -> Option<Manifest<K, O>>
where
    K: Clone + Eq,
    O: Clone,
{
    let entries = unnamed(chain, entries);
    (!entries.is_empty()).then_some(Manifest { entries })
}

/// Those of `entries` that no manifest names: they have to stay in the status.
pub fn unnamed<K, O>(chain: &[Manifest<K, O>], entries: &[Entry<K, O>]) -> Vec<Entry<K, O>>
where
    K: Clone + Eq,
    O: Clone,
{
    let named = |entry: &&Entry<K, O>| {
        chain
            .iter()
            .flat_map(|manifest| &manifest.entries)
            .any(|other| other.desk == entry.desk && other.shard == entry.shard)
    };
    entries.iter().filter(|entry| !named(entry)).cloned().collect()
}

/// What a reader of the chain sees: the union by shard. A shard that two manifests name is seen once.
pub fn visible<'a, K, O>(chain: &'a [Manifest<K, O>]) -> BTreeMap<(K, ShardId), &'a [O]>
where
    K: Clone + Ord,
{
    let mut seen: BTreeMap<(K, ShardId), &'a [O]> = BTreeMap::new();
    for entry in chain.iter().flat_map(|manifest| &manifest.entries) {
        seen.entry((entry.desk.clone(), entry.shard)).or_insert(&entry.outputs);
    }
    seen
}
