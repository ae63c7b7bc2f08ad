//! How many workers each kind of pod of a pool is given: elastic between a minimum and a maximum that all kinds share.
//!
//! * As many as there is something to do for, and no more.
//! * Where kinds want more than the maximum, each gets an even share, and what one does not need goes to the others.
//! * Workers that are there stay for a while though there is less to do for them, since pods take seconds to start; but they give way at once
//!   where another kind wants their place.
//! * Nobody is started for what those that are there will have done before.

/// How long a pod takes to start, roughly, in milliseconds: work that is done sooner is not worth one.
const START_MILLIS: u64 = 5_000;

/// What a pool may have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    /// Workers that are always there while the run goes on.
    pub min: u64,
    /// Workers of all kinds together.
    pub max: u64,
    /// For how long workers stay that have less to do than they could, in milliseconds.
    pub idle_millis: u64,
}

/// What is left of a step for its workers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Load {
    /// Partitions that can be run now or soon.
    pub partitions: u64,
    /// Partitions that may be in flight, over all workers.
    pub most: u64,
    /// Partitions that one worker runs at once.
    pub concurrency: u64,
    /// How long a partition takes in one of these places, in microseconds; `None`: not known yet.
    pub mean_micros: Option<u64>,
}

/// One kind of pod.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Kind {
    /// Workers that there is something to do for.
    pub demand: u64,
    /// Workers that were wanted until now.
    pub now: u64,
    /// Since when fewer than those would do, in milliseconds.
    pub idle_millis: u64,
}

/// Workers that all could be used at once, without regard to how long pods take to start: those of a pool are there.
#[must_use]
pub fn places(loads: &[Load]) -> u64 {
    let of = |load: &Load| load.partitions.min(load.most).div_ceil(load.concurrency.max(1));
    loads.iter().map(of).fold(0, u64::saturating_add)
}

/// How many pods there shall be while those of an old template give way to those of a new one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Turn {
    /// Of the new template.
    pub new: u64,
    /// Of old ones.
    pub old: u64,
}

/// The next turn from old pods to new ones, with `ready` new ones at work and `old` old ones there. At most a quarter more than wanted
/// are there at once, and of those at work at most a quarter is missing, as in a Deployment. Old ones stay for as long as new
/// ones do not start.
#[must_use]
pub fn turn(wanted: u64, ready: u64, old: u64) -> Turn {
    let quarter = wanted / 4;
    let needed = wanted.saturating_sub(ready).saturating_sub(quarter);
    Turn {
        new: wanted.min((wanted + wanted.div_ceil(4)).saturating_sub(old)),
        old: old.min(needed),
    }
}

/// Workers that there is something to do for, where so many are wanted until now.
#[must_use]
pub fn demand(loads: &[Load], now: u64) -> u64 {
    let of = |load: &Load| {
        let concurrency = load.concurrency.max(1);
        let places = load.partitions.min(load.most).div_ceil(concurrency);
        let Some(mean) = load.mean_micros else { return places };
        let there = now.max(1).saturating_mul(concurrency);
        let rest_millis = load.partitions.saturating_mul(mean) / 1_000 / there;
        if rest_millis < START_MILLIS {
            places.min(now.max(1))
        } else {
            places
        }
    };
    loads.iter().map(of).fold(0, u64::saturating_add)
}

/// How many workers each kind is given, in the order of `kinds`.
#[must_use]
pub fn workers(bounds: Bounds, kinds: &[Kind]) -> Vec<u64> {
    let mut given = even_shares(bounds.max, kinds);
    let mut spare = bounds.max.saturating_sub(given.iter().sum());
    for (kind, given) in kinds.iter().zip(&mut given) {
        if kind.idle_millis < bounds.idle_millis {
            let kept = kind.now.saturating_sub(*given).min(spare);
            *given += kept;
            spare -= kept;
        }
    }
    let missing = bounds.min.min(bounds.max).saturating_sub(given.iter().sum());
    let busiest = (0..kinds.len())
        .rev()
        .max_by_key(|index| kinds.get(*index).map(|kind| kind.demand));
    if let Some(given) = busiest.and_then(|index| given.get_mut(index)) {
        *given += missing;
    }
    given
}

/// What everybody wants, cut evenly where it is too much: who wants little gets it, and the others share the rest.
fn even_shares(max: u64, kinds: &[Kind]) -> Vec<u64> {
    let mut order: Vec<(usize, u64)> = kinds.iter().map(|kind| kind.demand).enumerate().collect();
    order.sort_by_key(|(_, demand)| *demand);
    let mut given = vec![0; kinds.len()];
    let mut rest = max;
    let mut left = order.len() as u64;
    for (index, demand) in order {
        // The last ones get what the division left over.
        let share = demand.min(rest.checked_div(left).unwrap_or(0).max(u64::from(rest > 0)));
        if let Some(given) = given.get_mut(index) {
            *given = share;
        }
        rest -= share;
        left -= 1;
    }
    given
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const BOUNDS: Bounds = Bounds {
        min: 0,
        max: 10,
        idle_millis: 30_000,
    };

    fn kind(demand: u64, now: u64, idle_millis: u64) -> Kind {
        Kind {
            demand,
            now,
            idle_millis,
        }
    }

    fn load(partitions: u64, concurrency: u64, mean_micros: Option<u64>) -> Load {
        Load {
            partitions,
            most: u64::MAX,
            concurrency,
            mean_micros,
        }
    }

    #[test]
    fn tables() {
        let cases: [(&str, Bounds, Vec<Kind>, Vec<u64>); 9] = [
            ("nothing to do", BOUNDS, vec![kind(0, 0, 0)], vec![0]),
            ("as many as there is work", BOUNDS, vec![kind(3, 0, 0)], vec![3]),
            ("never more than the most", BOUNDS, vec![kind(1_000, 0, 0)], vec![10]),
            (
                "even shares",
                BOUNDS,
                vec![kind(1_000, 0, 0), kind(1_000, 0, 0)],
                vec![5, 5],
            ),
            (
                "who wants little gets it",
                BOUNDS,
                vec![kind(1_000, 0, 0), kind(2, 0, 0)],
                vec![8, 2],
            ),
            (
                "who was here stays for a while",
                BOUNDS,
                vec![kind(0, 4, 29_999)],
                vec![4],
            ),
            ("and goes then", BOUNDS, vec![kind(0, 4, 30_000)], vec![0]),
            ("or gives way", BOUNDS, vec![kind(0, 4, 10), kind(9, 0, 0)], vec![1, 9]),
            (
                "the least is kept, by who has most to do",
                Bounds { min: 2, ..BOUNDS },
                vec![kind(0, 0, 0), kind(1, 0, 0)],
                vec![0, 2],
            ),
        ];
        for (what, bounds, kinds, expected) in cases {
            assert_eq!(workers(bounds, &kinds), expected, "{what}");
        }
    }

    #[test]
    fn demands() {
        assert_eq!(demand(&[load(100, 1, None)], 0), 100);
        assert_eq!(demand(&[load(100, 8, None), load(1, 8, None)], 0), 14);
        // 100 partitions of 10 ms are done by two workers before a third is there.
        assert_eq!(demand(&[load(100, 1, Some(10_000))], 2), 2);
        assert_eq!(demand(&[load(100_000, 1, Some(10_000))], 2), 100_000);
        // No worker beyond what may be in flight.
        let limited = Load {
            most: 20,
            ..load(100_000, 8, Some(10_000))
        };
        assert_eq!(demand(&[limited], 2), 3);
        // What is left is not for all that are there.
        assert_eq!(demand(&[load(1, 1, Some(10_000))], 2), 1);
    }

    proptest! {
        /// Pods come and go by turns: never too many, never too few, and in the end only new ones.
        #[test]
        fn a_turn_comes_to_its_end(wanted in 0_u64..60, old in 0_u64..60) {
            let old_at_first = old.min(wanted);
            let (mut old, mut ready) = (old_at_first, 0);
            for _ in 0..200 {
                let next = turn(wanted, ready, old);
                prop_assert!(next.new <= wanted && next.old <= old);
                prop_assert!(next.new + old <= wanted + wanted.div_ceil(4));
                prop_assert!(next.old + ready + wanted / 4 >= old_at_first.min(wanted));
                old = next.old;
                // New ones start one by one.
                ready = (ready + 1).min(next.new);
            }
            prop_assert_eq!((old, ready), (0, wanted));
        }

        #[test]
        fn no_worker_beyond_the_bounds_and_none_unused(
            (min, max, idle_millis) in (0_u64..20, 1_u64..20, 0_u64..100),
            kinds in prop::collection::vec((0_u64..40, 0_u64..40, 0_u64..200), 1..6),
        ) {
            let bounds = Bounds { min, max, idle_millis };
            let kinds: Vec<Kind> = kinds.into_iter().map(|(demand, now, idle)| kind(demand, now, idle)).collect();
            let given = workers(bounds, &kinds);
            let sum: u64 = given.iter().sum();
            prop_assert!(sum <= max);
            prop_assert!(sum >= min.min(max));
            let wanted: u64 = kinds.iter().map(|kind| kind.demand).sum();
            // Whatever is wanted and can be had is had.
            prop_assert!(sum >= wanted.min(max));
            for (kind, has) in kinds.iter().zip(&given) {
                // Nobody goes without while there are workers with nothing to do.
                if kind.demand > 0 && *has == 0 {
                    prop_assert!(sum == max);
                    let idle = kinds.iter().zip(&given).filter(|(other, has)| other.demand == 0 && **has > 0);
                    prop_assert_eq!(idle.count(), 0);
                }
            }
        }
    }
}
