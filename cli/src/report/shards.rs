//! The shards of a timeline: who ran what, from when to when. Pure.

use std::collections::HashMap;

use braid_crds::worker::Mode;

use crate::timeline::{Timeline, What};

/// A shard that was seen from its assignment on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shard {
    /// The place of its worker in [`Shards::workers`].
    pub worker: usize,
    /// The step.
    pub step: String,
    /// The first partition.
    pub start: u64,
    /// One past the last that it settled.
    pub cursor: u64,
    /// How many of them failed for good.
    pub failed: u64,
    /// When its worker can have begun it: when it was assigned, or when the one before it on that worker was sealed.
    pub began: i64,
    /// When it was sealed; of one that was not: when the timeline ends.
    pub ended: i64,
    /// How it was run.
    pub mode: Mode,
    /// How it ended.
    pub end: End,
}

/// How a shard ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// Its worker sealed it.
    Sealed,
    /// The operator did.
    Taken,
    /// It did not, as far as was seen.
    Open,
}

impl Shard {
    /// Partitions that it settled.
    pub fn settled(&self) -> u64 {
        self.cursor.saturating_sub(self.start)
    }

    /// How long it took, in milliseconds.
    pub fn millis(&self) -> i64 {
        self.ended.saturating_sub(self.began).max(0)
    }
}

/// All of them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Shards {
    /// Workers by name, in the order in which they came.
    pub workers: Vec<String>,
    /// In the order in which they ended.
    pub shards: Vec<Shard>,
    /// When the first and the last thing was seen.
    pub span: Option<(i64, i64)>,
    /// Whether the file was full before the run had ended.
    pub cut: bool,
}

/// Reads the shards out of a timeline. What does not fit together (a seal without its assignment) is left out.
pub fn shards(timeline: &Timeline) -> Shards {
    let mut all = Shards::default();
    let mut open: HashMap<(usize, i64), Shard> = HashMap::new();
    let mut free: HashMap<usize, i64> = HashMap::new();
    let mut places: HashMap<String, usize> = HashMap::new();
    for entry in &timeline.entries {
        let (first, last) = all.span.unwrap_or((entry.at, entry.at));
        all.span = Some((first.min(entry.at), last.max(entry.at)));
        let mut place = |name: &str| {
            *places.entry(name.to_owned()).or_insert_with(|| {
                all.workers.push(name.to_owned());
                all.workers.len() - 1
            })
        };
        match &entry.what {
            What::Came { worker } => {
                place(worker);
            }
            What::Assigned {
                worker,
                shard,
                step,
                start,
                mode,
                ..
            } => {
                let worker = place(worker);
                open.insert(
                    (worker, *shard),
                    Shard {
                        worker,
                        step: step.clone(),
                        start: *start,
                        cursor: *start,
                        failed: 0,
                        began: entry.at,
                        ended: entry.at,
                        mode: *mode,
                        end: End::Open,
                    },
                );
            }
            What::Sealed {
                worker,
                shard,
                cursor,
                failed,
                taken,
            } => {
                let worker = place(worker);
                let Some(mut known) = open.remove(&(worker, *shard)) else {
                    continue;
                };
                known.began = known
                    .began
                    .max(free.get(&worker).copied().unwrap_or(i64::MIN))
                    .min(entry.at);
                known.ended = entry.at;
                known.cursor = (*cursor).max(known.start);
                known.failed = *failed;
                known.end = if *taken { End::Taken } else { End::Sealed };
                free.insert(worker, entry.at);
                all.shards.push(known);
            }
            What::Full => all.cut = true,
            What::Went { .. } | What::Step { .. } => {}
        }
    }
    let last = all.span.map_or(0, |(_, last)| last);
    let mut left: Vec<Shard> = open.into_values().collect();
    for shard in &mut left {
        shard.began = shard.began.max(free.get(&shard.worker).copied().unwrap_or(i64::MIN));
        shard.ended = last;
    }
    left.sort_by_key(|shard| (shard.worker, shard.began, shard.start));
    all.shards.append(&mut left);
    all
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use crate::timeline::Entry;

    fn assigned(at: i64, worker: &str, shard: i64, start: u64, end: u64) -> Entry {
        let what = What::Assigned {
            worker: worker.into(),
            shard,
            step: "s".into(),
            round: 0,
            start,
            end,
            mode: Mode::Normal,
        };
        Entry { at, what }
    }

    fn sealed(at: i64, worker: &str, shard: i64, cursor: u64, taken: bool) -> Entry {
        let what = What::Sealed {
            worker: worker.into(),
            shard,
            cursor,
            failed: 0,
            taken,
        };
        Entry { at, what }
    }

    #[test]
    fn a_shard_ahead_begins_when_the_one_before_is_sealed() {
        let timeline = Timeline {
            entries: vec![
                assigned(0, "a", 1, 0, 10),
                assigned(0, "a", 2, 10, 20),
                sealed(50, "a", 1, 10, false),
                sealed(70, "a", 2, 15, true),
                sealed(71, "a", 9, 15, true),
                assigned(80, "b", 1, 15, 20),
                Entry {
                    at: 99,
                    what: What::Full,
                },
            ],
            unreadable: 0,
        };
        let read = shards(&timeline);
        assert_eq!(vec!["a", "b"], read.workers);
        assert!(read.cut);
        assert_eq!(Some((0, 99)), read.span);
        let told: Vec<_> = read
            .shards
            .iter()
            .map(|shard| (shard.began, shard.ended, shard.settled(), shard.end))
            .collect();
        assert_eq!(
            vec![
                (0, 50, 10, End::Sealed),
                (50, 70, 5, End::Taken),
                (80, 99, 0, End::Open)
            ],
            told
        );
    }
}
