//! Each rule once, in its shortest trace.

use super::{object::Object, *};

/// A worker and its object. Requests are answered at once unless a test says otherwise.
struct Bench {
    object: Object,
    machine: Machine<Small>,
    now: u64,
    killed: Vec<Task>,
    broken: Vec<ShardId>,
    replaced: bool,
    flushed: Vec<(ShardId, PartitionRange)>,
    /// Requests that are not answered by themselves.
    held: Option<Vec<Command<Small>>>,
    puts: usize,
}

impl Bench {
    fn new() -> Self {
        Self::with(Bounds::default())
    }

    fn with(bounds: Bounds) -> Self {
        let mut bench = Self {
            object: Object::new(),
            machine: Machine::new(ME, bounds),
            now: 0,
            killed: Vec::new(),
            broken: Vec::new(),
            replaced: false,
            flushed: Vec::new(),
            held: None,
            puts: 0,
        };
        bench.watch();
        assert_eq!(bench.object.desk.start, Some(ME), "the desk is claimed");
        bench
    }

    fn event(&mut self, event: Event<Small>) {
        let commands = self.machine.handle(event, self.now);
        self.carry_out(commands);
    }

    fn carry_out(&mut self, commands: Vec<Command<Small>>) {
        for command in commands {
            match command {
                Command::Kill(task) => self.killed.push(task),
                Command::Broken(shard) => self.broken.push(shard),
                Command::Replaced => self.replaced = true,
                request if self.held.is_some() => self.held.as_mut().unwrap().push(request),
                Command::Flush(shards) => {
                    self.flushed.extend(shards);
                    self.event(Event::Flushed);
                }
                Command::Put(version, sheet) => {
                    self.puts += 1;
                    let answer = if self.object.put(version, &sheet) {
                        Event::Stored(self.object.version, self.object.desk.clone())
                    } else {
                        Event::Doubtful
                    };
                    self.event(answer);
                }
                Command::Read => self.event(Event::Read(self.object.version, self.object.desk.clone())),
            }
        }
    }

    /// From now on requests are kept.
    fn hold(&mut self) {
        self.held.get_or_insert_default();
    }

    /// The kept requests; from now on they are answered again.
    fn release(&mut self) -> Vec<Command<Small>> {
        self.held.take().unwrap_or_default()
    }

    fn watch(&mut self) {
        self.event(Event::Seen(self.object.version, self.object.desk.clone()));
    }

    fn assign(&mut self, shards: impl IntoIterator<Item = Shard<Small>>) {
        self.edit(|desk| desk.shards.extend(shards));
    }

    fn edit(&mut self, edit: impl FnOnce(&mut Desk<Small>)) {
        self.object.edit(edit);
        self.watch();
    }

    fn begin(&mut self, room: u64) -> Option<(i64, u64, u64)> {
        let Begin { shard, range } = self.machine.begin(room, self.now)?;
        Some((shard.0, range.start(), range.end()))
    }

    fn settle(&mut self, shard: i64, partition: u64) {
        let commands = self
            .machine
            .settle(task(shard, partition), self.now, |content| {
                content.times.insert(partition, 1);
                Ok::<(), ()>(())
            })
            .unwrap();
        self.carry_out(commands);
    }

    fn wait(&mut self, millis: u64) {
        self.now += millis;
        self.event(Event::Tick);
    }

    fn commit(&self, id: i64) -> Option<(u64, bool, usize)> {
        let commit = self.object.desk.commit(ShardId(id))?;
        Some((commit.cursor.0, commit.sealed, commit.content.times.len()))
    }
}

#[test]
fn claims_the_desk_and_runs_only_its_own_shards() {
    let mut bench = Bench::new();
    let mut other = shard(1, 0, 2);
    other.start_id = 9;
    bench.assign([other, shard(2, 2, 4)]);
    assert_eq!(bench.begin(9), Some((2, 2, 4)));
    assert_eq!(bench.begin(9), None);
}

#[test]
fn commits_once_at_the_end_whatever_the_order_of_completion() {
    let mut bench = Bench::new();
    bench.assign([shard(1, 0, 3)]);
    bench.begin(3);
    let before = bench.puts;
    for partition in [2, 0, 1] {
        assert_eq!(bench.commit(1), None);
        bench.settle(1, partition);
    }
    assert_eq!(bench.commit(1), Some((3, true, 3)));
    assert_eq!(bench.puts, before + 1);
    assert_eq!(
        bench.flushed,
        [(ShardId(1), PartitionRange::new(0, 3))],
        "durable before the commit"
    );
}

#[test]
fn a_report_that_comes_twice_counts_once() {
    let mut bench = Bench::new();
    bench.assign([shard(1, 0, 3)]);
    bench.begin(3);
    for partition in [1, 1, 0, 0, 1, 2, 2] {
        bench.settle(1, partition);
    }
    assert_eq!(bench.commit(1), Some((3, true, 3)));
}

#[test]
fn begins_the_next_shard_while_the_last_partitions_of_one_run() {
    let mut bench = Bench::new();
    bench.assign([shard(1, 0, 3), shard(2, 3, 9)]);
    assert_eq!(bench.begin(2), Some((1, 0, 2)));
    assert_eq!(bench.begin(2), Some((1, 2, 3)));
    assert_eq!(bench.begin(2), Some((2, 3, 5)));
}

#[test]
fn outputs_are_durable_before_the_put() {
    let mut bench = Bench::new();
    bench.assign([shard(1, 0, 1)]);
    bench.begin(1);
    bench.hold();
    bench.settle(1, 0);
    assert_eq!(
        bench.release(),
        [Command::Flush(vec![(ShardId(1), PartitionRange::new(0, 1))])]
    );
    bench.event(Event::Flushed);
    assert_eq!(bench.commit(1), Some((1, true, 1)));
}

#[test]
fn the_budget_ends_with_a_seal_when_what_runs_has_ended() {
    let mut bench = Bench::new();
    bench.assign([shard(1, 0, 9)]);
    assert_eq!(bench.begin(2), Some((1, 0, 2)));
    assert_eq!(bench.machine.wake_at(), Some(1_000));
    bench.wait(1_000);
    assert_eq!(bench.begin(2), None, "nothing is begun any more");
    bench.settle(1, 0);
    assert_eq!(bench.commit(1), None);
    bench.settle(1, 1);
    assert_eq!(bench.commit(1), Some((2, true, 2)));
}

#[test]
fn a_budget_that_is_over_twice_waits_for_nothing_but_the_first() {
    let mut bench = Bench::new();
    bench.assign([shard(1, 0, 9)]);
    bench.begin(2);
    bench.settle(1, 1);
    bench.wait(5_000);
    assert_eq!(bench.commit(1), None, "nothing is settled in order yet");
    bench.settle(1, 0);
    assert_eq!(bench.commit(1), Some((2, true, 2)));
    assert_eq!(
        bench.object.desk.commit(ShardId(1)).unwrap().begun,
        0,
        "nothing else was begun"
    );
}

#[test]
fn a_budget_of_zero_seals_at_once_and_loses_nothing_that_is_in_order() {
    let mut bench = Bench::new();
    bench.assign([shard(1, 0, 9)]);
    bench.begin(3);
    bench.settle(1, 0);
    bench.edit(|desk| desk.shards[0].budget_millis = 0);
    assert_eq!(bench.commit(1), Some((1, true, 1)));
    assert_eq!(bench.machine.in_flight(), 2, "the rest runs on, for an adopter");
    assert_eq!(
        bench.object.desk.commit(ShardId(1)).unwrap().begun,
        2,
        "and the commit says so"
    );
}

#[test]
fn a_shard_with_no_budget_settles_one_partition() {
    let mut bench = Bench::new();
    let mut cut = shard(1, 0, 9);
    cut.budget_millis = 0;
    bench.assign([cut]);
    assert_eq!(bench.begin(4), Some((1, 0, 1)));
    assert_eq!(bench.begin(4), None);
    bench.settle(1, 0);
    assert_eq!(bench.commit(1), Some((1, true, 1)));
}

#[test]
fn a_lost_answer_is_not_counted_twice() {
    let mut bench = Bench::with(Bounds {
        bytes: 1,
        ..Bounds::default()
    });
    bench.assign([Shard {
        mode: Mode::Suspect,
        ..shard(1, 0, 2)
    }]);
    bench.begin(1);
    bench.hold();
    bench.settle(1, 0);
    bench.event(Event::Flushed);
    let requests = bench.release();
    let Some(Command::Put(version, sheet)) = requests.last() else {
        panic!("{requests:?}")
    };
    assert!(bench.object.put(*version, sheet));
    bench.event(Event::Doubtful);
    assert_eq!(bench.commit(1), Some((1, false, 1)));
    bench.begin(1);
    bench.settle(1, 1);
    assert_eq!(bench.commit(1), Some((2, true, 2)));
}

#[test]
fn a_put_that_arrives_after_its_time_out_is_not_counted_twice() {
    let mut bench = Bench::new();
    bench.assign([shard(1, 0, 1), shard(2, 1, 2)]);
    bench.begin(1);
    bench.begin(1);
    bench.hold();
    bench.settle(1, 0);
    bench.event(Event::Flushed);
    let mut requests = bench.release();
    let Some(Command::Put(version, late)) = requests.pop() else {
        panic!("{requests:?}")
    };
    // The read shows the object unchanged. The same is sent again, with what has come since; the late one wins.
    bench.hold();
    bench.event(Event::Doubtful);
    bench.settle(2, 1);
    bench.event(Event::Read(bench.object.version, bench.object.desk.clone()));
    bench.event(Event::Flushed);
    assert!(bench.object.put(version, &late));
    let requests = bench.release();
    let Some(Command::Put(version, again)) = requests.last() else {
        panic!("{requests:?}")
    };
    assert!(!bench.object.put(*version, again));
    bench.event(Event::Doubtful);
    assert_eq!(bench.commit(1), Some((1, true, 1)));
    assert_eq!(bench.commit(2), Some((2, true, 1)));
}

#[test]
fn a_conflict_that_stored_nothing_loses_nothing() {
    let mut bench = Bench::new();
    bench.assign([shard(1, 0, 2)]);
    bench.begin(2);
    bench.settle(1, 0);
    bench.object.edit(|desk| desk.next_id = ShardId(7));
    bench.settle(1, 1);
    assert_eq!(bench.commit(1), Some((2, true, 2)));
}

#[test]
fn an_entry_that_was_never_sent_is_sealed_as_it_is() {
    let mut bench = Bench::new();
    bench.assign([shard(1, 0, 9)]);
    bench.begin(3);
    bench.settle(1, 0);
    bench.edit(|desk| {
        desk.commits.push(Commit {
            id: ShardId(1),
            start_id: 9,
            cursor: Cursor(2),
            sealed: false,
            begun: 0,
            deferred: Vec::new(),
            content: Counts {
                times: [(0, 1), (1, 1)].into(),
                fatal: false,
            },
        });
    });
    let commit = bench.object.desk.commit(ShardId(1)).unwrap();
    assert_eq!((commit.start_id, commit.cursor, commit.sealed), (9, Cursor(2), true));
    assert_eq!(bench.killed, [task(1, 1), task(1, 2)]);
    assert_eq!(bench.begin(9), None);
}

#[test]
fn the_entries_of_an_older_start_are_sealed_with_the_claim() {
    let mut object = Object::new();
    object.edit(|desk| {
        desk.start = Some(9);
        desk.shards.push(Shard {
            start_id: 9,
            ..shard(1, 0, 9)
        });
        desk.commits.push(Commit {
            id: ShardId(1),
            start_id: 9,
            cursor: Cursor(1),
            sealed: false,
            begun: 0,
            deferred: Vec::new(),
            content: Counts::of(0),
        });
    });
    let mut machine = Machine::<Small>::new(ME, Bounds::default());
    let commands = machine.handle(Event::Seen(object.version, object.desk.clone()), 0);
    let [Command::Put(version, sheet)] = &commands[..] else {
        panic!("{commands:?}")
    };
    assert!(object.put(*version, sheet));
    let commit = object.desk.commit(ShardId(1)).unwrap();
    assert_eq!((commit.start_id, commit.cursor, commit.sealed), (9, Cursor(1), true));
    assert_eq!(object.desk.start, Some(ME));
}

#[test]
fn another_start_ends_this_one() {
    let mut bench = Bench::new();
    bench.assign([shard(1, 0, 9)]);
    bench.begin(1);
    bench.edit(|desk| desk.start = Some(2));
    assert!(bench.replaced && bench.machine.is_replaced());
    assert_eq!(bench.killed, [task(1, 0)]);
    bench.settle(1, 0);
    bench.event(Event::Halt);
    assert_eq!(bench.commit(1), None);
}

#[test]
fn the_operators_seal_stops_commits_and_the_first_partition_is_adopted() {
    let mut bench = Bench::new();
    bench.assign([shard(1, 0, 9)]);
    bench.begin(2);
    bench.settle(1, 1);
    bench.edit(|desk| desk.shards[0].seal = true);
    assert_eq!(bench.machine.in_flight(), 1);
    bench.edit(|desk| {
        desk.shards = vec![
            Shard {
                adopts: Some(ShardId(1)),
                ..shard(2, 0, 1)
            },
            Shard {
                adopts: Some(ShardId(1)),
                ..shard(3, 1, 2)
            },
        ];
    });
    assert_eq!(bench.commit(3), Some((2, true, 1)), "it had ended already");
    assert_eq!(bench.begin(4), None, "it runs already");
    bench.settle(1, 0);
    assert_eq!(bench.commit(2), Some((1, true, 1)));
    assert_eq!(bench.killed, []);
    assert_eq!(bench.commit(1), None);
}

#[test]
fn a_single_partition_that_ended_before_the_seal_was_seen_is_adopted() {
    let mut bench = Bench::new();
    bench.assign([shard(1, 0, 9)]);
    bench.begin(2);
    bench.settle(1, 0);
    bench.edit(|desk| {
        desk.shards[0].seal = true;
        desk.shards.push(Shard {
            adopts: Some(ShardId(1)),
            ..shard(2, 0, 1)
        });
    });
    assert_eq!(bench.commit(2), Some((1, true, 1)));
}

#[test]
fn leftovers_die_with_their_shard_if_nobody_adopts_them() {
    let mut bench = Bench::new();
    bench.assign([shard(1, 0, 9)]);
    bench.begin(2);
    bench.edit(|desk| desk.shards[0].seal = true);
    assert_eq!(bench.killed, []);
    bench.edit(|desk| desk.shards.clear());
    assert_eq!(bench.killed, [task(1, 0), task(1, 1)]);
    assert!(bench.machine.is_idle());
}

#[test]
fn the_adopted_may_be_adopted_again() {
    let mut bench = Bench::new();
    bench.assign([shard(1, 0, 9)]);
    bench.begin(1);
    for id in [2, 3] {
        bench.edit(|desk| desk.shards[0].seal = true);
        bench.edit(|desk| {
            desk.shards = vec![Shard {
                adopts: Some(ShardId(id - 1)),
                ..shard(id, 0, 1)
            }];
        });
    }
    bench.settle(1, 0);
    assert_eq!(bench.commit(3), Some((1, true, 1)));
    assert_eq!(bench.killed, []);
}

#[test]
fn suspects_run_alone_and_are_committed_one_by_one() {
    let mut bench = Bench::new();
    let suspect = Shard {
        mode: Mode::Suspect,
        ..shard(2, 1, 3)
    };
    bench.assign([shard(1, 0, 1), suspect, shard(3, 3, 5)]);
    bench.begin(4);
    assert_eq!(bench.begin(4), None, "not beside others");
    bench.settle(1, 0);
    assert_eq!(bench.begin(4), Some((2, 1, 2)));
    assert_eq!(bench.begin(4), None, "nothing beside it");
    bench.hold();
    bench.settle(2, 1);
    assert_eq!(bench.begin(4), None, "not before the commit");
    let requests = bench.release();
    bench.carry_out(requests);
    assert_eq!(bench.commit(2), Some((2, false, 1)));
    assert_eq!(bench.begin(4), Some((2, 2, 3)));
    bench.settle(2, 2);
    assert_eq!(bench.commit(2), Some((3, true, 2)));
    assert_eq!(bench.begin(4), Some((3, 3, 5)));
}

#[test]
fn the_lost_run_again_alone() {
    let mut bench = Bench::new();
    bench.assign([shard(1, 0, 9)]);
    bench.begin(2);
    bench.event(Event::Lost(vec![task(1, 0), task(1, 1)]));
    assert_eq!(bench.begin(4), Some((1, 0, 1)));
    assert_eq!(bench.begin(4), None);
    bench.event(Event::Lost(vec![task(1, 0)]));
    assert_eq!(bench.begin(4), Some((1, 0, 1)));
    bench.settle(1, 0);
    assert_eq!(bench.begin(4), Some((1, 1, 2)));
    bench.settle(1, 1);
    assert_eq!(bench.begin(4), Some((1, 2, 6)));
}

#[test]
fn the_deferred_are_named_and_too_many_seal() {
    let mut bench = Bench::with(Bounds {
        deferred: 1,
        ..Bounds::default()
    });
    bench.assign([shard(1, 0, 9)]);
    bench.begin(3);
    bench.event(Event::Deferred(task(1, 0), deferred(0)));
    bench.settle(1, 1);
    assert_eq!(bench.commit(1), None);
    bench.event(Event::Deferred(task(1, 2), deferred(2)));
    assert_eq!(bench.commit(1), Some((2, true, 1)));
    assert_eq!(bench.object.desk.commits[0].deferred, [deferred(0)]);
}

#[test]
fn too_much_out_of_order_waits_and_too_much_in_order_is_committed() {
    let mut bench = Bench::with(Bounds {
        results: 2,
        ..Bounds::default()
    });
    bench.assign([shard(1, 0, 9)]);
    bench.begin(3);
    bench.settle(1, 1);
    bench.settle(1, 2);
    assert_eq!(bench.begin(1), None);
    bench.settle(1, 0);
    assert_eq!(bench.begin(1), Some((1, 3, 4)));

    let mut bench = Bench::with(Bounds {
        bytes: 600,
        ..Bounds::default()
    });
    bench.assign([shard(1, 0, 3_000)]);
    bench.begin(3_000);
    for partition in 0..1_024 {
        bench.settle(1, partition);
    }
    assert_eq!(bench.commit(1), Some((1_024, false, 1_024)));
}

#[test]
fn a_commit_that_is_full_is_sealed_and_what_did_not_fit_is_adopted() {
    for told in [false, true] {
        let mut bench = Bench::new();
        bench.assign([shard(1, 775, 790)]);
        bench.begin(4);
        bench.settle(1, 775);
        if told {
            bench.event(Event::Full(ShardId(1)));
            bench.settle(1, 776);
            assert_eq!(bench.commit(1), Some((776, true, 1)));
            continue;
        }
        bench.event(Event::Settled(task(1, 777), Counts::of(777)));
        bench.settle(1, 776);
        assert_eq!(bench.commit(1), Some((777, true, 2)));
        bench.edit(|desk| {
            desk.shards = vec![Shard {
                adopts: Some(ShardId(1)),
                ..shard(2, 777, 778)
            }];
        });
        assert_eq!(bench.commit(2), Some((778, true, 1)));
    }
}

#[test]
fn contents_that_do_not_fit_break_their_shard_only() {
    let mut bench = Bench::new();
    bench.assign([shard(1, 665, 668), shard(2, 0, 1)]);
    bench.begin(2);
    bench.event(Event::Settled(task(1, 666), Counts::of(666)));
    bench.event(Event::Settled(task(1, 665), Counts::of(665)));
    assert_eq!(bench.broken, [ShardId(1)]);
    assert_eq!(bench.commit(1), None);
    bench.event(Event::Fatal(ShardId(1), Counts::fatal()));
    let commit = bench.object.desk.commit(ShardId(1)).unwrap();
    assert!(commit.sealed && commit.content.fatal && commit.cursor == Cursor(665));
    assert_eq!(bench.begin(1), Some((2, 0, 1)));
}

#[test]
fn a_refused_commit_becomes_fatal() {
    let mut bench = Bench::new();
    bench.assign([shard(1, 0, 1)]);
    bench.begin(1);
    bench.hold();
    bench.settle(1, 0);
    bench.event(Event::Flushed);
    bench.release();
    bench.event(Event::Refused);
    assert_eq!(bench.broken, [ShardId(1)]);
    bench.event(Event::Fatal(ShardId(1), Counts::fatal()));
    assert_eq!(bench.commit(1), Some((0, true, 0)));
}

#[test]
fn settled_shards_leave_with_the_next_write() {
    let mut bench = Bench::new();
    bench.assign([shard(1, 0, 1)]);
    bench.begin(1);
    bench.settle(1, 0);
    let puts = bench.puts;
    bench.edit(|desk| desk.shards = vec![shard(2, 1, 2)]);
    assert_eq!(bench.puts, puts, "no write for this alone");
    bench.begin(1);
    bench.settle(2, 1);
    assert_eq!(bench.commit(1), None);
    assert_eq!(bench.commit(2), Some((2, true, 1)));
}

#[test]
fn stopping_seals_what_is_idle_and_halting_the_rest() {
    let mut bench = Bench::new();
    bench.assign([shard(1, 0, 9), shard(2, 9, 12)]);
    bench.begin(2);
    bench.event(Event::Stop);
    assert_eq!(bench.commit(2), Some((9, true, 0)), "given back");
    assert_eq!(bench.begin(2), None);
    bench.settle(1, 0);
    assert_eq!(bench.commit(1), None);
    bench.event(Event::Halt);
    assert_eq!(bench.killed, [task(1, 1)]);
    assert_eq!(bench.commit(1), Some((1, true, 1)));
    assert!(bench.machine.is_idle());
}

/// What a shard leaves running is for the same worker, and one that stops gets nothing more.
#[test]
fn whoever_stops_waits_for_what_runs_when_the_budget_is_over() {
    let mut bench = Bench::new();
    bench.assign([shard(1, 0, 9)]);
    bench.begin(2);
    bench.event(Event::Stop);
    bench.settle(1, 0);
    bench.wait(10_000);
    bench.edit(|desk| desk.shards[0].budget_millis = 0);
    assert_eq!(bench.commit(1), None, "partition 1 runs");
    bench.settle(1, 1);
    assert_eq!(bench.commit(1), Some((2, true, 2)));
}

#[test]
fn an_old_state_of_the_object_says_nothing() {
    let mut bench = Bench::new();
    let (version, old) = (bench.object.version, bench.object.desk.clone());
    bench.assign([shard(1, 0, 9)]);
    bench.begin(1);
    bench.event(Event::Seen(version, old));
    assert_eq!(bench.killed, []);
    assert_eq!(bench.machine.in_flight(), 1);
}
