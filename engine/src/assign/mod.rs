//! Who runs what next: the policy above the protocol.
//!
//! Nothing here can make a result wrong: a range that is handed out twice is folded once, and a shard that is sealed too
//! early is handed out again. What it can do is waste time, so it decides by a few plain rules:
//!
//! * A shard is a range *and* a time budget. Ranges shrink with what is left, slow shards end themselves, so sizes need
//!   not be guessed.
//! * A worker holds one shard that runs and one ahead, so it never waits for a round trip. Where shards last their whole
//!   budget it is given two ahead, once it has none: half the writes.
//! * When a worker is idle and nothing is left, work is taken back: first what is ahead elsewhere (nobody has begun
//!   it), then what runs is cut politely, then what is stuck in its first partition is sealed; each frees a rest that
//!   the idle can run. A partition that runs alone for long is run a second time.
//! * What was running when its shard ended is adopted: its worker goes on with it under a new shard. A commit says how
//!   much that is; of a shard that the operator sealed it is not known, and is taken to be what one worker may run.

use std::cell::OnceCell;

use braid_crds::{
    Intervals, PartitionRange, ShardId, limits,
    worker::{History, Mode},
};

use crate::protocol::{Desk, Record, Shard, World, handout};

#[cfg(test)]
mod tests;

/// Open shards that a worker holds: one that runs, one ahead.
const OPEN: usize = 2;
/// Open shards that a worker holds where shards last long.
const OPEN_LONG: usize = 3;
/// Shards last long while every worker has at least so many budgets of work before it.
const LONG_BUDGETS: u64 = 8;
/// A shard that was told to end and has not settled anything for so long is stuck in its first partition.
const STUCK_MILLIS: u64 = 1_000;
/// A partition is run twice once it takes so many times the mean.
const TWIN_FACTOR: u64 = 3;
/// A suspended step's shards get so long to seal themselves.
const SUSPEND_GRACE_MILLIS: u64 = 5_000;
/// A cancelled step's shards get so long: enough to commit what is settled.
const CANCEL_GRACE_MILLIS: u64 = 1_000;

/// Whether a worker can be given work.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Fitness {
    /// It has said who it is, and nothing speaks against it.
    Working,
    /// It can work, and is another's now: it goes on with the partitions that it runs, and gets no new ones.
    Yielding,
    /// It may finish what it has.
    Draining,
    /// It is dead or silent: what it has is sealed.
    Lost,
}

/// For how long the operator has watched a shard. Kept in its memory: a new leader begins at zero.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Watched {
    /// Since it became the first open shard of its desk, in milliseconds.
    pub running_millis: u64,
    /// Since its budget was set to 0, in milliseconds.
    pub cut_millis: Option<u64>,
}

/// A worker as the policy sees it.
#[derive(Clone, Debug)]
pub struct Seat<'a, W: World, K> {
    /// How orders name it.
    pub key: K,
    /// Its object, as the write that carries the orders leaves it but for them.
    pub desk: &'a Desk<W>,
    /// Its object as it is stored: also with the shards that this write takes off. What they left running is adopted by
    /// the very write that takes them off, or never.
    pub stored: &'a Desk<W>,
    /// Whether it can work.
    pub fitness: Fitness,
    /// For its first open shard.
    pub watched: Watched,
}

/// Why a step gets no new work.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Stop {
    /// Running partitions are finished, then all rests.
    Suspend,
    /// Running partitions are terminated; what was settled counts.
    Cancel,
}

/// All that the policy knows of a step besides its record and its workers.
#[derive(Clone, Debug)]
pub struct Situation<'a> {
    /// The wall clock, in milliseconds since the epoch: for deferred partitions.
    pub now_millis: i64,
    /// How many partitions the step has.
    pub total: u64,
    /// Partitions that one worker runs at a time.
    pub concurrency: u64,
    /// Ranges that killed their worker.
    pub suspects: &'a [PartitionRange],
    /// What a partition takes on average, in microseconds; absent while nothing is settled.
    pub mean_micros: Option<u64>,
    /// How many shards may be cut or sealed to feed the idle.
    pub cuts: usize,
    /// Partitions that may be in flight over all workers; absent: as many as there are places.
    pub places: Option<u64>,
    /// Whether the step is being stopped.
    pub stop: Option<Stop>,
}

/// A change to one desk.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Order<K> {
    /// A new shard.
    Assign {
        /// Whose.
        seat: K,
        /// Its partitions.
        range: PartitionRange,
        /// How it is run.
        mode: Mode,
        /// Its time budget.
        budget_millis: u64,
        /// The shard whose running partitions go on.
        adopts: Option<ShardId>,
        /// What its only partition went through.
        history: Option<History>,
    },
    /// Budget 0: the worker seals as soon as it can.
    Cut {
        /// Whose.
        seat: K,
        /// Which.
        shard: ShardId,
    },
    /// The commit as stored is all that counts.
    Seal {
        /// Whose.
        seat: K,
        /// Which.
        shard: ShardId,
    },
}

/// The time budget of a shard with so many workers: long enough that a thousand workers cost the API server tens of
/// writes per second, short enough that a kill loses little.
#[must_use]
pub fn budget_millis(workers: usize) -> u64 {
    (workers as u64).saturating_mul(100).clamp(2_000, 120_000)
}

/// What to do next for one step. Deterministic: the same input gives the same orders.
pub fn orders<W: World, K: Copy + Ord>(
    record: &Record<W>,
    situation: &Situation<'_>,
    seats: &[Seat<'_, W, K>],
) -> Vec<Order<K>> {
    let mut round = Round::new(record, situation, seats);
    round.seal_the_lost();
    if let Some(stop) = situation.stop {
        round.stop(stop, |fitness| fitness != Fitness::Lost);
        if stop == Stop::Suspend {
            round.adopt();
        }
    } else {
        round.stop(Stop::Suspend, |fitness| fitness == Fitness::Yielding);
        round.adopt();
        round.shrink();
        round.retry_deferred();
        round.hand_out();
        round.feed_the_idle();
    }
    round.orders
}

/// One computation of orders: what is still free, and what each seat holds counting the orders so far.
struct Round<'a, W: World, K> {
    record: &'a Record<W>,
    situation: &'a Situation<'a>,
    seats: &'a [Seat<'a, W, K>],
    free: Intervals,
    /// Open shards and all shards of each seat.
    held: Vec<(usize, usize)>,
    /// Open shards of this step of each seat.
    mine: Vec<usize>,
    budget: u64,
    /// The same for all orders of a round, and looks at every seat: found once, when it is first asked for.
    near_the_end: OnceCell<bool>,
    orders: Vec<Order<K>>,
}

impl<'a, W: World, K: Copy + Ord> Round<'a, W, K> {
    fn new(record: &'a Record<W>, situation: &'a Situation<'a>, seats: &'a [Seat<'a, W, K>]) -> Self {
        let free = handout::unassigned(record, situation.total, seats.iter().map(|seat| seat.desk));
        let held = seats
            .iter()
            .map(|seat| (open(seat.desk).count(), seat.desk.shards.len()))
            .collect();
        let working = seats.iter().filter(|seat| seat.fitness == Fitness::Working).count();
        let mut round = Self {
            record,
            situation,
            seats,
            free,
            held,
            mine: Vec::new(),
            budget: budget_millis(working),
            near_the_end: OnceCell::new(),
            orders: Vec::new(),
        };
        let mine = |seat: &Seat<'a, W, K>| match seat.fitness {
            // Sealed by this very round.
            Fitness::Lost => 0,
            _ => round.mine(seat).count(),
        };
        round.mine = seats.iter().map(mine).collect();
        round
    }

    /// How many seats may work on this step at a time: a seat runs as many partitions as its worker has places, so the limit is kept by
    /// whole seats. The one seat that is left when the limit is below that gets so few partitions at a time instead.
    fn seats_at_once(&self) -> usize {
        let limit = self.situation.places.map(|places| {
            let whole = places / self.situation.concurrency.max(1);
            whole.max(u64::from(places > 0))
        });
        limit.map_or(usize::MAX, |limit| usize::try_from(limit).unwrap_or(usize::MAX))
    }

    /// Whether a seat may get (more of) this step.
    fn admits(&self, index: usize) -> bool {
        let limit = self.seats_at_once();
        if limit == usize::MAX {
            return true;
        }
        let has = |count: &usize| *count > 0;
        let used = self.mine.iter().filter(|count| has(count)).count();
        if self.mine.get(index).is_some_and(has) {
            // Of more than may be, the first stay.
            let before = self.mine.iter().take(index).filter(|count| has(count)).count();
            before < limit && self.most() == u64::MAX
        } else {
            used < limit
        }
    }

    /// The most partitions of one shard: below the places of a worker the limit is kept by small shards, one at a time.
    fn most(&self) -> u64 {
        let below = self
            .situation
            .places
            .filter(|places| *places < self.situation.concurrency);
        below.map_or(u64::MAX, |places| places.max(1))
    }

    /// Takes the work back from seats that are more than may work at a time, since the limit was lowered.
    fn shrink(&mut self) {
        let limit = self.seats_at_once();
        let used = (0..self.seats.len()).filter(|index| self.mine.get(*index).is_some_and(|count| *count > 0));
        for index in used.skip(limit).collect::<Vec<_>>() {
            let Some(seat) = self.seats.get(index) else { continue };
            let mut orders = Vec::new();
            for (at, shard) in self.mine(seat).enumerate() {
                let (seat, id) = (seat.key, shard.id);
                // What was running when its shard ended: it ends by itself.
                if shard.adopts.is_some() && shard.range.len() <= self.situation.concurrency {
                    continue;
                }
                if at > 0 {
                    orders.push(Order::Seal { seat, shard: id });
                } else if shard.budget_millis > 0 {
                    orders.push(Order::Cut { seat, shard: id });
                }
            }
            self.orders.extend(orders);
        }
    }

    fn mine<'s>(&self, seat: &'s Seat<'_, W, K>) -> impl Iterator<Item = &'s Shard<W>> + use<'s, 'a, W, K> {
        let (run, round) = (&self.record.run, self.record.round);
        open(seat.desk).filter(move |shard| shard.run == *run && shard.round == round)
    }

    fn seal_the_lost(&mut self) {
        for seat in self.seats {
            // A shard of an older start is lost even if its worker is not.
            let lost = |shard: &&Shard<W>| {
                seat.fitness == Fitness::Lost || seat.desk.start.as_ref().is_some_and(|start| *start != shard.start_id)
            };
            let seals: Vec<_> = self.mine(seat).filter(lost).map(|shard| shard.id).collect();
            self.orders
                .extend(seals.into_iter().map(|shard| Order::Seal { seat: seat.key, shard }));
        }
    }

    /// Takes what is ahead off the seats that are meant, and has what runs cut.
    fn stop(&mut self, stop: Stop, is_meant: impl Fn(Fitness) -> bool) {
        for seat in self.seats.iter().filter(|seat| is_meant(seat.fitness)) {
            let mut orders = Vec::new();
            for (index, shard) in self.mine(seat).enumerate() {
                let grace = match stop {
                    Stop::Suspend => SUSPEND_GRACE_MILLIS,
                    Stop::Cancel => CANCEL_GRACE_MILLIS,
                };
                let overdue = seat.watched.cut_millis.is_some_and(|millis| millis > grace);
                let single = shard.range.len() <= self.situation.concurrency && shard.adopts.is_some();
                match stop {
                    // Nobody has begun what is ahead, unless it was running when it was handed out.
                    _ if index > 0 && shard.adopts.is_none() => orders.push(Order::Seal {
                        seat: seat.key,
                        shard: shard.id,
                    }),
                    Stop::Suspend if single => {}
                    Stop::Suspend if overdue && shard.range.len() > 1 => {
                        orders.push(Order::Seal {
                            seat: seat.key,
                            shard: shard.id,
                        });
                    }
                    Stop::Cancel if overdue => orders.push(Order::Seal {
                        seat: seat.key,
                        shard: shard.id,
                    }),
                    _ if shard.budget_millis > 0 => orders.push(Order::Cut {
                        seat: seat.key,
                        shard: shard.id,
                    }),
                    _ => {}
                }
            }
            self.orders.extend(orders);
        }
    }

    /// Gives every partition that runs on under an ended shard back to the worker that runs it.
    fn adopt(&mut self) {
        for (index, seat) in self
            .seats
            .iter()
            .enumerate()
            .filter(|(_, seat)| matches!(seat.fitness, Fitness::Working | Fitness::Yielding))
        {
            let stopped = self.situation.stop.is_some() || seat.fitness == Fitness::Yielding;
            let mut all_before_ended = true;
            for shard in &seat.stored.shards {
                let ended = seat.stored.is_sealed(shard);
                let cursor = seat.stored.cursor(shard);
                // While a step is stopped, what was ahead is sealed as it is, and what ran is cut before it is sealed.
                let reached = all_before_ended && (!stopped || shard.budget_millis == 0);
                let ran = cursor.0 > shard.range.start() || reached;
                all_before_ended &= ended;
                let ours = shard.run == self.record.run && shard.round == self.record.round;
                let same_start = seat.stored.start.as_ref() == Some(&shard.start_id);
                let adopted = seat.desk.shards.iter().any(|other| other.adopts == Some(shard.id));
                if !(ended && ours && ran && same_start) || adopted || shard.mode == Mode::Plan {
                    continue;
                }
                let sealed = seat
                    .stored
                    .commit(shard.id)
                    .filter(|commit| commit.sealed && !shard.seal);
                let begun = sealed.map_or(self.situation.concurrency, |commit| commit.begun);
                let suspect = shard.mode == Mode::Suspect;
                let mode = if suspect { Mode::Suspect } else { Mode::Normal };
                // A few that were adopted together and are stuck again are told apart.
                let (begun, size) = if suspect || shard.adopts.is_some() {
                    (begun.min(self.situation.concurrency), 1)
                } else {
                    (begun, begun)
                };
                let running = PartitionRange::new(cursor.0, cursor.0.saturating_add(begun));
                let mut from = cursor.0;
                while let Some(range) = self.first_free(
                    PartitionRange::new(from, from + size)
                        .intersect(running)
                        .intersect(shard.range),
                ) {
                    self.assign(index, range, mode, Some(shard.id), shard.history);
                    from = range.end();
                    if suspect {
                        break;
                    }
                }
            }
        }
    }

    /// Hands out the deferred partitions whose time has come, one by one.
    fn retry_deferred(&mut self) {
        let live = handout::live(self.record, self.seats.iter().map(|seat| seat.desk));
        for deferred in &self.record.deferred {
            if deferred.not_before > self.situation.now_millis || live.contains(deferred.partition) {
                continue;
            }
            let Some(index) = self.least_loaded(|_| limits::SHARDS_PER_WORKER / 2) else {
                return;
            };
            let range = PartitionRange::new(deferred.partition, deferred.partition + 1);
            let mode = if deferred.deaths > 0 {
                Mode::Suspect
            } else {
                Mode::Normal
            };
            let history = History {
                attempts: deferred.attempts,
                deaths: deferred.deaths,
            };
            self.assign(index, range, mode, None, Some(history));
        }
    }

    fn hand_out(&mut self) {
        // Backing off as a whole: no more failures than can be remembered.
        if self.record.deferred.len() >= limits::DEFERRED {
            return;
        }
        let working = self
            .seats
            .iter()
            .filter(|seat| seat.fitness == Fitness::Working)
            .count()
            .min(self.seats_at_once()) as u64;
        // Half the writes: who has one open shard left is given two, and who has two is given none.
        let long = self
            .lasts_millis()
            .is_some_and(|millis| millis >= self.budget.saturating_mul(LONG_BUDGETS));
        let wanted: Vec<usize> = (self.held.iter())
            .map(|(open, _)| if long && *open < OPEN { OPEN_LONG } else { OPEN })
            .collect();
        let least = self.least_size();
        while let Some(gap) = self.free.first() {
            let limit = |index: usize| wanted.get(index).copied().unwrap_or(0);
            let Some(index) = self.least_loaded(limit) else { return };
            let size = (self.free.len() / (2 * working.max(1))).max(least).min(self.most());
            let (range, mode) =
                self.up_to_a_suspect(PartitionRange::new(gap.start(), gap.end().min(gap.start() + size)));
            self.assign(index, range, mode, None, None);
        }
    }

    fn feed_the_idle(&mut self) {
        let mut idle: Vec<usize> = (0..self.seats.len())
            .filter(|index| self.works(*index) && self.held.get(*index).is_some_and(|(open, _)| *open == 0))
            .collect();
        // Those that may not work on this step need not be fed with it.
        let used = self.mine.iter().filter(|count| **count > 0).count();
        idle.truncate(self.seats_at_once().saturating_sub(used));
        if idle.is_empty() || !self.free.is_empty() {
            return;
        }
        let mut freed = 0;
        // What is ahead elsewhere, the last first: nobody has begun it.
        for seat in self.seats.iter().filter(|seat| seat.fitness == Fitness::Working) {
            let ahead: Vec<ShardId> = self
                .mine(seat)
                .skip(1)
                .filter(|shard| shard.adopts.is_none())
                .map(|shard| shard.id)
                .collect();
            for shard in ahead.into_iter().rev() {
                if freed < idle.len() && freed < self.situation.cuts {
                    self.orders.push(Order::Seal { seat: seat.key, shard });
                    freed += 1;
                }
            }
        }
        // What runs: the one with the most left first.
        let mut running: Vec<(u64, usize, &Shard<W>)> = self
            .seats
            .iter()
            .enumerate()
            .filter(|(_, seat)| seat.fitness == Fitness::Working)
            .filter_map(|(index, seat)| self.mine(seat).next().map(|shard| (index, seat, shard)))
            .map(|(index, seat, shard)| (shard.range.from_cursor(seat.desk.cursor(shard)).len(), index, shard))
            .collect();
        running.sort_by_key(|(left, index, _)| (std::cmp::Reverse(*left), *index));
        for (left, index, shard) in running {
            let Some(seat) = self.seats.get(index) else { continue };
            if freed >= idle.len() || freed >= self.situation.cuts || shard.mode == Mode::Plan {
                break;
            }
            let watched = seat.watched;
            if left > self.situation.concurrency {
                if shard.budget_millis > 0 && watched.running_millis >= self.budget / 4 {
                    self.orders.push(Order::Cut {
                        seat: seat.key,
                        shard: shard.id,
                    });
                    freed += 1;
                } else if watched.cut_millis.is_some_and(|millis| millis >= STUCK_MILLIS) {
                    self.orders.push(Order::Seal {
                        seat: seat.key,
                        shard: shard.id,
                    });
                    freed += 1;
                }
            } else if left == 1 && shard.range.len() == 1 && shard.mode == Mode::Normal {
                let slow = self
                    .budget
                    .max((self.situation.mean_micros.unwrap_or(0) / 1_000).saturating_mul(TWIN_FACTOR));
                let single = self
                    .seats
                    .iter()
                    .flat_map(|seat| open(seat.desk))
                    .filter(|other| other.range == shard.range);
                if watched.running_millis >= slow
                    && single.count() == 1
                    && let Some(helper) = idle.pop()
                {
                    self.assign(helper, shard.range, Mode::Twin, None, shard.history);
                }
            } else if left > 1 && watched.running_millis >= self.budget {
                // A few in flight: told apart, each may be run twice.
                self.orders.push(Order::Seal {
                    seat: seat.key,
                    shard: shard.id,
                });
                freed += 1;
            }
        }
    }

    fn works(&self, index: usize) -> bool {
        self.seats
            .get(index)
            .is_some_and(|seat| seat.fitness == Fitness::Working && seat.desk.start.is_some())
    }

    /// For how long what is not settled keeps all workers busy, in milliseconds: open shards count, as they end by their
    /// budgets, not by their ranges. `None` while it is not known how long partitions take.
    fn lasts_millis(&self) -> Option<u64> {
        let working = (0..self.seats.len()).filter(|index| self.works(*index)).count() as u64;
        let hands = working.saturating_mul(self.situation.concurrency).max(1);
        Some((self.unsettled() / hands).saturating_mul(self.situation.mean_micros?) / 1_000)
    }

    /// The fewest partitions that are worth a write: what takes an eighth of a budget.
    fn least_size(&self) -> u64 {
        let micros = self
            .budget
            .saturating_mul(1_000 / 8)
            .saturating_mul(self.situation.concurrency);
        let mean = self.situation.mean_micros.unwrap_or(u64::MAX).max(1);
        (micros / mean).max(1)
    }

    fn unsettled(&self) -> u64 {
        self.situation.total.saturating_sub(self.record.ledger.len())
    }

    fn is_near_the_end(&self) -> bool {
        match self.lasts_millis() {
            Some(millis) => millis < self.budget.saturating_mul(2),
            None => self.unsettled() < self.situation.total / 8,
        }
    }

    /// The seat with the fewest open shards that has fewer than its limit and room for another.
    fn least_loaded(&self, limit: impl Fn(usize) -> usize) -> Option<usize> {
        let candidates = self.held.iter().enumerate().filter(|(index, (open, all))| {
            self.works(*index) && *open < limit(*index) && *all < limits::SHARDS_PER_WORKER - 1 && self.admits(*index)
        });
        candidates
            .min_by_key(|(index, (open, _))| (*open, *index))
            .map(|(index, _)| index)
    }

    fn first_free(&self, range: PartitionRange) -> Option<PartitionRange> {
        self.free
            .ranges()
            .map(|gap| gap.intersect(range))
            .find(|part| !part.is_empty())
    }

    /// Cuts a range so that it lies wholly within a suspect range or wholly outside all.
    fn up_to_a_suspect(&self, range: PartitionRange) -> (PartitionRange, Mode) {
        for suspect in self.situation.suspects {
            if suspect.contains(range.start()) {
                return (range.intersect(*suspect), Mode::Suspect);
            }
        }
        let next = self
            .situation
            .suspects
            .iter()
            .map(|suspect| suspect.start())
            .filter(|start| *start > range.start());
        (
            PartitionRange::new(range.start(), next.min().unwrap_or(u64::MAX).min(range.end())),
            Mode::Normal,
        )
    }

    fn assign(
        &mut self,
        index: usize,
        range: PartitionRange,
        mode: Mode,
        adopts: Option<ShardId>,
        history: Option<History>,
    ) {
        let Some(seat) = self.seats.get(index) else { return };
        self.free.remove(range);
        if let Some((open, all)) = self.held.get_mut(index) {
            *open += 1;
            *all += 1;
        }
        if let Some(mine) = self.mine.get_mut(index) {
            *mine += 1;
        }
        let near_the_end = *self.near_the_end.get_or_init(|| self.is_near_the_end());
        let budget_millis = if near_the_end { self.budget / 4 } else { self.budget };
        self.orders.push(Order::Assign {
            seat: seat.key,
            range,
            mode,
            budget_millis,
            adopts,
            history,
        });
    }
}

/// The open shards of a desk, in the order in which they are run.
fn open<W: World>(desk: &Desk<W>) -> impl Iterator<Item = &Shard<W>> {
    desk.shards.iter().filter(|shard| !desk.is_sealed(shard))
}
