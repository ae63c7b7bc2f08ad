#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic)]
use braid_crds::{Cursor, Round as StepRound};
use proptest::prelude::*;

use super::*;
use crate::protocol::{Commit, Content, DeferredPartition};

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Small;

#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
struct Nothing;

impl Content for Nothing {
    type Error = ();

    fn merge(&mut self, _: &Self) -> Result<(), ()> {
        Ok(())
    }
}

impl World for Small {
    type Start = u8;
    type Run = ();
    type Content = Nothing;
}

fn record() -> Record<Small> {
    Record {
        run: (),
        round: StepRound(0),
        ledger: Intervals::new(),
        content: Nothing,
        deferred: Vec::new(),
        closed: false,
    }
}

fn shard(id: i64, start: u64, end: u64) -> Shard<Small> {
    Shard {
        id: ShardId(id),
        start_id: 1,
        run: (),
        round: StepRound(0),
        range: PartitionRange::new(start, end),
        mode: Mode::Normal,
        budget_millis: 2_000,
        seal: false,
        adopts: None,
        history: None,
    }
}

fn commit(id: i64, cursor: u64, sealed: bool) -> Commit<Small> {
    Commit {
        id: ShardId(id),
        start_id: 1,
        cursor: Cursor(cursor),
        sealed,
        begun: 0,
        deferred: Vec::new(),
        content: Nothing,
    }
}

/// Sealed by its worker, with so many partitions under way.
fn left(id: i64, cursor: u64, begun: u64) -> Commit<Small> {
    Commit {
        begun,
        ..commit(id, cursor, true)
    }
}

fn desk(shards: Vec<Shard<Small>>, commits: Vec<Commit<Small>>) -> Desk<Small> {
    Desk {
        start: Some(1),
        next_id: ShardId(100),
        shards,
        commits,
    }
}

fn situation(total: u64) -> Situation<'static> {
    Situation {
        now_millis: 0,
        total,
        concurrency: 1,
        suspects: &[],
        mean_micros: None,
        cuts: 10,
        places: None,
        stop: None,
    }
}

fn seats(desks: &[Desk<Small>], watched: Watched) -> Vec<Seat<'_, Small, usize>> {
    desks
        .iter()
        .enumerate()
        .map(|(key, desk)| Seat {
            key,
            desk,
            stored: desk,
            fitness: Fitness::Working,
            watched,
        })
        .collect()
}

fn assigned(orders: &[Order<usize>]) -> Vec<(usize, PartitionRange, Mode, Option<ShardId>)> {
    orders
        .iter()
        .filter_map(|order| match order {
            Order::Assign {
                seat,
                range,
                mode,
                adopts,
                ..
            } => Some((*seat, *range, *mode, *adopts)),
            _ => None,
        })
        .collect()
}

#[test]
fn everybody_gets_one_that_runs_and_one_ahead() {
    let desks = [desk(vec![], vec![]), desk(vec![], vec![])];
    let orders = orders(&record(), &situation(1_000), &seats(&desks, Watched::default()));
    let given = assigned(&orders);
    assert_eq!(4, given.len());
    assert_eq!([0, 1, 0, 1], [given[0].0, given[1].0, given[2].0, given[3].0]);
    assert!(
        given
            .iter()
            .map(|(_, range, ..)| range.len())
            .is_sorted_by(|before, after| before >= after)
    );
}

#[test]
fn one_partition_goes_to_one_worker() {
    let desks = [desk(vec![], vec![]), desk(vec![], vec![])];
    let orders = orders(&record(), &situation(1), &seats(&desks, Watched::default()));
    assert_eq!(1, assigned(&orders).len());
}

#[test]
fn a_worker_that_has_not_said_who_it_is_gets_nothing() {
    let mut silent = desk(vec![], vec![]);
    silent.start = None;
    let desks = [silent];
    assert!(orders(&record(), &situation(9), &seats(&desks, Watched::default())).is_empty());
}

#[test]
fn what_the_lost_hold_is_sealed_and_then_handed_out() {
    let mut desks = [
        desk(vec![shard(0, 0, 10)], vec![commit(0, 4, false)]),
        desk(vec![], vec![]),
    ];
    let mut all = seats(&desks, Watched::default());
    all[0].fitness = Fitness::Lost;
    let first = orders(&record(), &situation(10), &all);
    assert!(first.contains(&Order::Seal {
        seat: 0,
        shard: ShardId(0)
    }));
    assert!(
        assigned(&first).is_empty(),
        "its range is its own until the seal is written"
    );

    desks[0].shards[0].seal = true;
    let mut all = seats(&desks, Watched::default());
    all[0].fitness = Fitness::Lost;
    let given = assigned(&orders(&record(), &situation(10), &all));
    assert_eq!(4, given[0].1.start());
    assert!(given.iter().all(|(seat, ..)| *seat == 1));
}

#[test]
fn a_shard_of_an_older_start_is_sealed() {
    let mut restarted = desk(vec![shard(0, 0, 10)], vec![]);
    restarted.start = Some(2);
    let desks = [restarted];
    let orders = orders(&record(), &situation(10), &seats(&desks, Watched::default()));
    assert_eq!(
        vec![Order::Seal {
            seat: 0,
            shard: ShardId(0)
        }],
        orders
    );
}

#[test]
fn what_runs_when_its_shard_ends_is_adopted_by_the_same_worker() {
    let desks = [desk(vec![shard(0, 0, 10)], vec![left(0, 4, 1)]), desk(vec![], vec![])];
    let given = assigned(&orders(&record(), &situation(10), &seats(&desks, Watched::default())));
    assert_eq!((0, PartitionRange::new(4, 5), Mode::Normal, Some(ShardId(0))), given[0]);
    assert!(given[1..].iter().all(|(.., adopts)| adopts.is_none()));
}

#[test]
fn nothing_is_adopted_where_nothing_was_begun() {
    let desks = [desk(vec![shard(0, 0, 10)], vec![commit(0, 4, true)])];
    let given = assigned(&orders(&record(), &situation(10), &seats(&desks, Watched::default())));
    assert!(!given.is_empty());
    assert!(given.iter().all(|(.., adopts)| adopts.is_none()), "{given:?}");
}

#[test]
fn all_that_was_begun_is_adopted_at_once_and_told_apart_the_next_time() {
    let mut situation = situation(10);
    situation.concurrency = 2;
    let desks = [desk(vec![shard(0, 0, 10)], vec![left(0, 4, 5)])];
    let given = assigned(&orders(&record(), &situation, &seats(&desks, Watched::default())));
    assert_eq!((0, PartitionRange::new(4, 9), Mode::Normal, Some(ShardId(0))), given[0]);

    let adopter = Shard {
        adopts: Some(ShardId(0)),
        ..shard(1, 4, 9)
    };
    let desks = [desk(vec![adopter], vec![left(1, 5, 4)])];
    let given = assigned(&orders(&record(), &situation, &seats(&desks, Watched::default())));
    assert_eq!(
        [PartitionRange::new(5, 6), PartitionRange::new(6, 7)],
        [given[0].1, given[1].1]
    );
    assert_eq!(2, given.iter().filter(|(.., adopts)| adopts.is_some()).count());
}

#[test]
fn where_shards_last_long_every_other_one_costs_a_write() {
    let mut situation = situation(100_000);
    situation.mean_micros = Some(10_000);
    let one_left = [desk(vec![shard(0, 0, 10)], vec![])];
    let given = orders(&record(), &situation, &seats(&one_left, Watched::default()));
    assert_eq!(2, assigned(&given).len());
    let two_left = [desk(vec![shard(0, 0, 10), shard(1, 10, 20)], vec![])];
    assert_eq!(
        Vec::<Order<usize>>::new(),
        orders(&record(), &situation, &seats(&two_left, Watched::default()))
    );
    // Near the end it is one ahead, at once.
    situation.total = 1_000;
    let given = orders(&record(), &situation, &seats(&one_left, Watched::default()));
    assert_eq!(1, assigned(&given).len());
}

#[test]
fn what_a_shard_left_running_is_adopted_in_the_write_that_takes_it_off() {
    let stored = [desk(vec![shard(1, 0, 10)], vec![left(1, 4, 1)])];
    let cleared = [desk(Vec::new(), Vec::new())];
    let mut record = record();
    record.ledger.insert(PartitionRange::new(0, 4));
    let mut seats = seats(&cleared, Watched::default());
    seats[0].stored = &stored[0];
    let given = assigned(&orders(&record, &situation(10), &seats));
    assert_eq!((0, PartitionRange::new(4, 5), Mode::Normal, Some(ShardId(1))), given[0]);
    assert_eq!(
        1,
        given.iter().filter(|(.., adopts)| adopts.is_some()).count(),
        "{given:?}"
    );
}

#[test]
fn a_suspended_step_does_not_begin_what_was_ahead() {
    let ahead = Shard {
        seal: true,
        ..shard(2, 4, 10)
    };
    let cut = Shard {
        budget_millis: 0,
        ..shard(1, 0, 4)
    };
    let desks = [desk(vec![cut, ahead], vec![left(1, 2, 1)])];
    let mut situation = situation(10);
    situation.stop = Some(Stop::Suspend);
    let given = assigned(&orders(&record(), &situation, &seats(&desks, Watched::default())));
    // Only the partition that may still run.
    assert_eq!(
        vec![(0, PartitionRange::new(2, 3), Mode::Normal, Some(ShardId(1)))],
        given
    );
}

#[test]
fn what_was_only_ahead_is_not_adopted() {
    let mut ahead = shard(1, 10, 20);
    ahead.seal = true;
    let desks = [desk(vec![shard(0, 0, 10), ahead], vec![]), desk(vec![], vec![])];
    let given = assigned(&orders(&record(), &situation(20), &seats(&desks, Watched::default())));
    assert!(given.iter().all(|(.., adopts)| adopts.is_none()), "{given:?}");
}

#[test]
fn the_idle_are_fed_first_from_what_is_ahead_then_by_a_cut_then_by_a_seal() {
    let rests = Watched {
        running_millis: 10_000,
        cut_millis: None,
    };
    let desks = [
        desk(vec![shard(0, 0, 10), shard(1, 10, 20)], vec![]),
        desk(vec![], vec![]),
    ];
    let first = orders(&record(), &situation(20), &seats(&desks, rests));
    assert_eq!(
        vec![Order::Seal {
            seat: 0,
            shard: ShardId(1)
        }],
        first
    );

    let desks = [desk(vec![shard(0, 0, 20)], vec![]), desk(vec![], vec![])];
    let second = orders(&record(), &situation(20), &seats(&desks, rests));
    assert_eq!(
        vec![Order::Cut {
            seat: 0,
            shard: ShardId(0)
        }],
        second
    );

    let mut told = shard(0, 0, 20);
    told.budget_millis = 0;
    let desks = [desk(vec![told], vec![]), desk(vec![], vec![])];
    let stuck = Watched {
        running_millis: 10_000,
        cut_millis: Some(STUCK_MILLIS),
    };
    let third = orders(&record(), &situation(20), &seats(&desks, stuck));
    assert_eq!(
        vec![Order::Seal {
            seat: 0,
            shard: ShardId(0)
        }],
        third
    );
}

#[test]
fn nothing_is_cut_without_leave() {
    let rests = Watched {
        running_millis: 10_000,
        cut_millis: None,
    };
    let desks = [desk(vec![shard(0, 0, 20)], vec![]), desk(vec![], vec![])];
    let situation = Situation {
        cuts: 0,
        places: None,
        ..situation(20)
    };
    assert!(orders(&record(), &situation, &seats(&desks, rests)).is_empty());
}

#[test]
fn a_straggler_gets_one_twin_with_its_range() {
    let rests = Watched {
        running_millis: 10_000,
        cut_millis: None,
    };
    let mut desks = vec![
        desk(vec![shard(0, 7, 8)], vec![]),
        desk(vec![], vec![]),
        desk(vec![], vec![]),
    ];
    let mut record = record();
    record.ledger = [PartitionRange::new(0, 7)].into_iter().collect();
    let given = assigned(&orders(&record, &situation(8), &seats(&desks, rests)));
    assert_eq!(1, given.len());
    assert_eq!((PartitionRange::new(7, 8), Mode::Twin), (given[0].1, given[0].2));

    let mut twin = shard(0, 7, 8);
    twin.mode = Mode::Twin;
    desks[given[0].0].shards.push(twin);
    assert!(orders(&record, &situation(8), &seats(&desks, rests)).is_empty());
}

#[test]
fn a_straggler_that_is_as_slow_as_all_has_no_twin() {
    let rests = Watched {
        running_millis: 10_000,
        cut_millis: None,
    };
    let desks = [desk(vec![shard(0, 0, 1)], vec![]), desk(vec![], vec![])];
    let situation = Situation {
        mean_micros: Some(9_000_000),
        ..situation(1)
    };
    assert!(orders(&record(), &situation, &seats(&desks, rests)).is_empty());
}

#[test]
fn deferred_partitions_wait_for_their_time_and_carry_their_history() {
    let desks = [desk(vec![], vec![])];
    let mut record = record();
    record.deferred = vec![DeferredPartition {
        partition: 3,
        attempts: 2,
        deaths: 0,
        not_before: 500,
        reason: String::new(),
        message: String::new(),
    }];
    record.ledger = [PartitionRange::new(0, 3)].into_iter().collect();
    let early = Situation {
        now_millis: 499,
        ..situation(4)
    };
    assert!(orders(&record, &early, &seats(&desks, Watched::default())).is_empty());
    let due = Situation {
        now_millis: 500,
        ..situation(4)
    };
    let given = orders(&record, &due, &seats(&desks, Watched::default()));
    let Order::Assign { range, history, .. } = &given[0] else {
        panic!("{given:?}")
    };
    assert_eq!(PartitionRange::new(3, 4), *range);
    assert_eq!(Some(History { attempts: 2, deaths: 0 }), *history);

    let desks = [desk(vec![shard(0, 3, 4)], vec![])];
    assert!(
        orders(&record, &due, &seats(&desks, Watched::default())).is_empty(),
        "it is live already"
    );
}

#[test]
fn suspects_are_run_apart() {
    let desks = [desk(vec![], vec![])];
    let suspects = [PartitionRange::new(3, 5)];
    let situation = Situation {
        suspects: &suspects,
        ..situation(8)
    };
    for (_, range, mode, _) in assigned(&orders(&record(), &situation, &seats(&desks, Watched::default()))) {
        let inside = suspects[0].intersect(range) == range;
        assert_eq!(inside, mode == Mode::Suspect, "{range}");
        assert!(inside || suspects[0].intersect(range).is_empty(), "{range}");
    }
}

#[test]
fn a_suspended_step_finishes_what_runs() {
    let desks = [desk(vec![shard(0, 0, 10), shard(1, 10, 20)], vec![])];
    let situation = Situation {
        stop: Some(Stop::Suspend),
        ..situation(20)
    };
    let told = orders(&record(), &situation, &seats(&desks, Watched::default()));
    assert_eq!(
        vec![
            Order::Cut {
                seat: 0,
                shard: ShardId(0)
            },
            Order::Seal {
                seat: 0,
                shard: ShardId(1)
            }
        ],
        told
    );

    let desks = [desk(vec![shard(0, 0, 10)], vec![left(0, 4, 1)])];
    let given = assigned(&orders(&record(), &situation, &seats(&desks, Watched::default())));
    assert_eq!(
        vec![(0, PartitionRange::new(4, 5), Mode::Normal, Some(ShardId(0)))],
        given
    );
}

#[test]
fn a_cancelled_step_finishes_nothing() {
    let desks = [desk(vec![shard(0, 0, 10)], vec![commit(0, 4, true)])];
    let situation = Situation {
        stop: Some(Stop::Cancel),
        ..situation(20)
    };
    assert!(orders(&record(), &situation, &seats(&desks, Watched::default())).is_empty());
}

#[test]
fn budgets_grow_with_the_cluster() {
    assert_eq!(
        [2_000, 2_000, 10_000, 100_000, 120_000],
        [1, 20, 100, 1_000, 5_000].map(budget_millis)
    );
}

proptest! {
    /// Whatever the desks hold: what is assigned was free, no partition is assigned twice, and an idle worker stays
    /// idle only if nothing is free.
    #[test]
    fn hands_out_what_is_free_and_nothing_twice(
        total in 1_u64..60,
        held in prop::collection::vec((0_usize..3, 0_u64..60, 1_u64..10, 0_u64..10, any::<bool>(), any::<bool>()), 0..6),
        lost in prop::collection::vec(any::<bool>(), 3),
    ) {
        let mut desks = vec![desk(vec![], vec![]); 3];
        for (id, (seat, start, len, done, sealed, seal)) in held.into_iter().enumerate() {
            let end = (start + len).min(total);
            if start >= end {
                continue;
            }
            let id = i64::try_from(id).unwrap();
            let mut shard = shard(id, start, end);
            shard.seal = seal;
            desks[seat].shards.push(shard);
            desks[seat].commits.push(commit(id, (start + done).min(end), sealed));
        }
        let record = record();
        let mut all = seats(&desks, Watched::default());
        for (seat, lost) in all.iter_mut().zip(lost) {
            seat.fitness = if lost { Fitness::Lost } else { Fitness::Working };
        }
        let free = handout::unassigned(&record, total, &desks);
        let mut given = Intervals::new();
        let orders = orders(&record, &situation(total), &all);
        for (seat, range, _, _) in assigned(&orders) {
            prop_assert!(free.covers(range));
            prop_assert!(!given.overlaps(range));
            prop_assert_eq!(all[seat].fitness, Fitness::Working);
            given.insert(range);
        }
        let rest = free.len() - given.len();
        for seat in all.iter().filter(|seat| seat.fitness == Fitness::Working && open(seat.desk).count() == 0) {
            let got = assigned(&orders).iter().any(|(key, ..)| *key == seat.key);
            prop_assert!(got || rest == 0);
        }
    }
}

/// A worker that is another's now goes on with what it runs, and with nothing else; the others go on as before.
#[test]
fn a_yielding_worker_ends_with_what_it_runs() {
    let yielding = |desks: &[Desk<Small>]| {
        let mut seats = seats(desks, Watched::default());
        seats[0].fitness = Fitness::Yielding;
        orders(&record(), &situation(100), &seats)
    };
    // What runs is cut, what is ahead is taken back, and nothing comes.
    let both = desk(vec![shard(1, 0, 10), shard(2, 10, 20)], Vec::new());
    let told = yielding(&[both, desk(Vec::new(), Vec::new())]);
    assert!(
        told.contains(&Order::Cut {
            seat: 0,
            shard: ShardId(1)
        }),
        "{told:?}"
    );
    assert!(
        told.contains(&Order::Seal {
            seat: 0,
            shard: ShardId(2)
        }),
        "{told:?}"
    );
    assert!(assigned(&told).iter().all(|(seat, ..)| *seat == 1), "{told:?}");
    assert!(!assigned(&told).is_empty(), "the other one has work");
    // What ran when it sealed is its own still, and nobody else's.
    let mut cut = shard(1, 0, 10);
    cut.budget_millis = 0;
    let told = yielding(&[desk(vec![cut], vec![left(1, 4, 1)]), desk(Vec::new(), Vec::new())]);
    let running = assigned(&told)
        .into_iter()
        .filter(|(_, range, ..)| range.contains(4))
        .collect::<Vec<_>>();
    assert_eq!(
        running,
        [(0, PartitionRange::new(4, 5), Mode::Normal, Some(ShardId(1)))],
        "{told:?}"
    );
    assert_eq!(
        assigned(&told).iter().filter(|(seat, ..)| *seat == 0).count(),
        1,
        "{told:?}"
    );
    // And that is left to its end.
    let mut adopted = shard(3, 4, 5);
    adopted.adopts = Some(ShardId(1));
    assert_eq!(yielding(&[desk(vec![adopted], Vec::new())]), []);
}

/// How many seats have an open shard once these orders are carried out.
fn used(desks: &[Desk<Small>], orders: &[Order<usize>]) -> usize {
    (0..desks.len())
        .filter(|index| {
            let held = open(&desks[*index]).count() > 0;
            let given = assigned(orders).iter().any(|(seat, ..)| seat == index);
            held || given
        })
        .count()
}

#[test]
fn parallelism_is_kept_by_whole_workers() {
    for (places, concurrency, seats_at_once) in [(1, 1, 1), (3, 1, 3), (20, 8, 2), (8, 8, 1), (100, 1, 5)] {
        let desks: Vec<_> = (0..5).map(|_| desk(vec![], vec![])).collect();
        let situation = Situation {
            places: Some(places),
            concurrency,
            ..situation(1_000)
        };
        let orders = orders(&record(), &situation, &seats(&desks, Watched::default()));
        assert_eq!(seats_at_once, used(&desks, &orders), "{places} {concurrency}");
    }
}

#[test]
fn parallelism_below_the_places_of_one_worker_is_kept_by_small_shards() {
    let desks = vec![desk(vec![], vec![]), desk(vec![], vec![])];
    let situation = Situation {
        places: Some(3),
        concurrency: 8,
        ..situation(1_000)
    };
    let given = assigned(&orders(&record(), &situation, &seats(&desks, Watched::default())));
    assert_eq!(vec![(0, PartitionRange::new(0, 3), Mode::Normal, None)], given);
    let desks = vec![desk(vec![shard(1, 0, 3)], vec![]), desk(vec![], vec![])];
    assert_eq!(
        Vec::<Order<usize>>::new(),
        orders(&record(), &situation, &seats(&desks, Watched::default()))
    );
}

#[test]
fn parallelism_that_was_lowered_takes_work_back_politely() {
    let desks = vec![
        desk(vec![shard(1, 0, 10), shard(2, 10, 20)], vec![]),
        desk(vec![shard(1, 20, 30), shard(2, 30, 40)], vec![]),
        desk(vec![], vec![]),
    ];
    let situation = Situation {
        places: Some(1),
        ..situation(100)
    };
    let orders = orders(&record(), &situation, &seats(&desks, Watched::default()));
    let (seat, second) = (1, ShardId(2));
    assert_eq!(
        vec![
            Order::Cut {
                seat,
                shard: ShardId(1)
            },
            Order::Seal { seat, shard: second }
        ],
        orders
    );
    let none = Situation {
        places: Some(0),
        ..situation
    };
    let desks = vec![desk(vec![], vec![])];
    assert_eq!(
        Vec::<Order<usize>>::new(),
        super::orders(&record(), &none, &seats(&desks, Watched::default()))
    );
}

proptest! {
    /// Whatever is on the desks and however often orders are made: no more workers than may be, but those that had work already.
    #[test]
    fn parallelism_is_never_exceeded(
        places in 0_u64..12,
        concurrency in 1_u64..5,
        held in prop::collection::vec(0_u64..3, 1..8),
    ) {
        let mut next = 0;
        let desks: Vec<_> = held
            .iter()
            .map(|count| {
                let shards = (0..*count).map(|id| {
                    next += 10;
                    shard(i64::try_from(id).unwrap(), next - 10, next)
                });
                desk(shards.collect(), vec![])
            })
            .collect();
        let situation = Situation { places: Some(places), concurrency, ..situation(1_000) };
        let orders = orders(&record(), &situation, &seats(&desks, Watched::default()));
        let limit = if places == 0 { 0 } else { (places / concurrency).max(1) };
        let before = held.iter().filter(|count| **count > 0).count();
        prop_assert!(used(&desks, &orders) <= before.max(usize::try_from(limit).unwrap()));
        let limit = usize::try_from(limit).unwrap();
        if before > limit {
            for (seat, ..) in assigned(&orders) {
                let busier = held.iter().take(seat).filter(|count| **count > 0).count();
                prop_assert!(busier < limit);
            }
        }
    }
}
