//! An operator, an object with its rules, a worker with its restarts and zombies, and every kind of trouble between
//! them, in any order. Afterwards the trouble ends, and the step must: with every partition counted once.

use proptest::prelude::*;

use super::{
    super::super::{
        fold::{Verdict, fold},
        handout::{live, unassigned},
    },
    object::Object,
    *,
};

const TOTAL: u64 = 16;

#[derive(Clone, Debug)]
struct Worker {
    machine: Machine<Small>,
    put: Option<(Version, Sheet<Small>)>,
    reads: bool,
    flushes: Option<Vec<(ShardId, PartitionRange)>>,
    flushed: Vec<(ShardId, PartitionRange)>,
    now: u64,
}

#[derive(Clone, Debug)]
struct Everything {
    object: Object,
    record: Record<Small>,
    workers: Vec<Worker>,
    /// Writes whose senders have given them up.
    late: Vec<(usize, Version, Sheet<Small>)>,
}

#[derive(Clone, Copy, Debug)]
enum Trouble {
    Assign { size: u64, mode: u8 },
    Seal { which: usize },
    Cut { which: usize },
    Fold { adopt: bool },
    Begin { worker: usize, room: u64 },
    Settle { worker: usize, which: usize },
    Defer { worker: usize, which: usize },
    Lose { worker: usize },
    Answer { worker: usize, how: u8 },
    Arrive { which: usize },
    Read { worker: usize },
    Flush { worker: usize },
    Watch { worker: usize, back: usize },
    Wait { worker: usize, millis: u64 },
    Restart,
}

fn trouble() -> impl Strategy<Value = Trouble> {
    let worker = 0..3_usize;
    prop_oneof![
        3 => (1..12_u64, 0..5_u8).prop_map(|(size, mode)| Trouble::Assign { size, mode }),
        1 => (0..4_usize).prop_map(|which| Trouble::Seal { which }),
        1 => (0..4_usize).prop_map(|which| Trouble::Cut { which }),
        2 => any::<bool>().prop_map(|adopt| Trouble::Fold { adopt }),
        6 => (worker.clone(), 1..4_u64).prop_map(|(worker, room)| Trouble::Begin { worker, room }),
        9 => (worker.clone(), 0..4_usize).prop_map(|(worker, which)| Trouble::Settle { worker, which }),
        1 => (worker.clone(), 0..4_usize).prop_map(|(worker, which)| Trouble::Defer { worker, which }),
        1 => worker.clone().prop_map(|worker| Trouble::Lose { worker }),
        6 => (worker.clone(), 0..4_u8).prop_map(|(worker, how)| Trouble::Answer { worker, how }),
        2 => (0..4_usize).prop_map(|which| Trouble::Arrive { which }),
        4 => worker.clone().prop_map(|worker| Trouble::Read { worker }),
        6 => worker.clone().prop_map(|worker| Trouble::Flush { worker }),
        4 => (worker.clone(), 0..3_usize).prop_map(|(worker, back)| Trouble::Watch { worker, back }),
        2 => (worker, 0..1_500_u64).prop_map(|(worker, millis)| Trouble::Wait { worker, millis }),
        1 => Just(Trouble::Restart),
    ]
}

impl Everything {
    fn new() -> Self {
        let record = Record {
            run: 0,
            round: Round(0),
            ledger: Intervals::new(),
            content: Counts::default(),
            deferred: Vec::new(),
            closed: false,
        };
        let mut all = Self {
            object: Object::new(),
            record,
            workers: Vec::new(),
            late: Vec::new(),
        };
        all.restart();
        all
    }

    fn restart(&mut self) {
        let start = ME + u8::try_from(self.workers.len()).unwrap();
        let bounds = Bounds {
            results: 3,
            bytes: 2,
            deferred: 2,
        };
        self.workers.push(Worker {
            machine: Machine::new(start, bounds),
            put: None,
            reads: false,
            flushes: None,
            flushed: Vec::new(),
            now: 0,
        });
        self.watch(self.workers.len() - 1, 0);
    }

    fn event(&mut self, worker: usize, event: Event<Small>) {
        let worker = &mut self.workers[worker];
        let commands = worker.machine.handle(event, worker.now);
        worker.take(commands);
    }

    fn put(&mut self, worker: usize, version: Version, sheet: &Sheet<Small>) -> bool {
        let stored = self.object.put(version, sheet);
        if stored {
            let flushed = &self.workers[worker].flushed;
            for commit in sheet.commits.iter().filter(|commit| commit.start_id == sheet.start) {
                for partition in commit.content.times.keys() {
                    assert!(
                        flushed
                            .iter()
                            .any(|(id, range)| *id == commit.id && range.contains(*partition)),
                        "{partition} is named before its outputs are durable"
                    );
                }
            }
        }
        stored
    }

    fn watch(&mut self, worker: usize, back: usize) {
        let history = &self.object.history;
        let (version, desk) = history[history.len().saturating_sub(1 + back)].clone();
        self.event(worker, Event::Seen(version, desk));
    }

    fn assign(&mut self, size: u64, mode: Mode) {
        let Some(start_id) = self.object.desk.start else { return };
        if self.object.desk.shards.len() >= 4 {
            return;
        }
        let waiting = self.record.deferred.first().map(|deferred| deferred.partition);
        let taken = live(&self.record, [&self.object.desk]);
        let range = match waiting.filter(|p| !taken.contains(*p)) {
            Some(partition) => PartitionRange::new(partition, partition + 1),
            None => match unassigned(&self.record, TOTAL, [&self.object.desk]).ranges().next() {
                Some(gap) => PartitionRange::new(gap.start(), gap.end().min(gap.start() + size)),
                None => return,
            },
        };
        self.object.edit(|desk| {
            desk.next_id = desk.next_id.next();
            desk.shards.push(Shard {
                start_id,
                mode,
                ..shard(desk.next_id.0, range.start(), range.end())
            });
        });
    }

    fn fold(&mut self, adopt: bool) {
        let verdicts = fold(&mut self.record, [((), &self.object.desk)]).unwrap();
        assert!(self.record.content.times.values().all(|times| *times == 1));
        let left: Vec<ShardId> = verdicts
            .iter()
            .filter(|((), _, verdict)| verdict.drops() || *verdict == Verdict::Fold)
            .map(|((), id, _)| *id)
            .collect();
        if left.is_empty() {
            return;
        }
        let (desk, record) = (self.object.desk.clone(), self.record.clone());
        self.object.edit(|edited| {
            edited.shards.retain(|shard| !left.contains(&shard.id));
            for id in left.iter().filter(|_| adopt && desk.start.is_some()) {
                let cut = desk.shard(*id).unwrap();
                let cursor = desk.cursor(cut).0;
                let taken = live(&record, [&*edited]);
                if cursor < cut.range.end() && Some(cut.start_id) == desk.start && !taken.contains(cursor) {
                    edited.next_id = edited.next_id.next();
                    edited.shards.push(Shard {
                        start_id: cut.start_id,
                        adopts: Some(*id),
                        ..shard(edited.next_id.0, cursor, cursor + 1)
                    });
                }
            }
        });
    }

    fn apply(&mut self, trouble: Trouble) {
        let last = self.workers.len() - 1;
        match trouble {
            Trouble::Assign { size, mode } => {
                self.assign(size, if mode == 0 { Mode::Suspect } else { Mode::Normal });
            }
            Trouble::Seal { which } => {
                if which < self.object.desk.shards.len() {
                    self.object.edit(|desk| desk.shards[which].seal = true);
                }
            }
            Trouble::Cut { which } => {
                if which < self.object.desk.shards.len() {
                    self.object.edit(|desk| desk.shards[which].budget_millis = 0);
                }
            }
            Trouble::Fold { adopt } => self.fold(adopt),
            Trouble::Begin { worker, room } => {
                let worker = &mut self.workers[worker.min(last)];
                let _ = worker.machine.begin(room, worker.now);
            }
            Trouble::Settle { worker, which } => {
                let worker = &mut self.workers[worker.min(last)];
                let Some(task) = worker.machine.running().nth(which) else {
                    return;
                };
                let settled: Result<_, ()> = worker.machine.settle(task, worker.now, |content| {
                    *content.times.entry(task.partition).or_default() += 1;
                    Ok(())
                });
                worker.take(settled.unwrap());
            }
            Trouble::Defer { worker, which } => {
                let task = self.workers[worker.min(last)].machine.running().nth(which);
                if let Some(task) = task {
                    self.event(worker.min(last), Event::Deferred(task, deferred(task.partition)));
                }
            }
            Trouble::Lose { worker } => {
                let tasks = self.workers[worker.min(last)].machine.running().collect();
                self.event(worker.min(last), Event::Lost(tasks));
            }
            Trouble::Answer { worker, how } => self.answer(worker.min(last), how),
            Trouble::Arrive { which } => {
                if which < self.late.len() {
                    let (worker, version, sheet) = self.late.remove(which);
                    self.put(worker, version, &sheet);
                }
            }
            Trouble::Read { worker } => {
                let worker = worker.min(last);
                if std::mem::take(&mut self.workers[worker].reads) {
                    self.event(worker, Event::Read(self.object.version, self.object.desk.clone()));
                }
            }
            Trouble::Flush { worker } => {
                let worker = worker.min(last);
                if let Some(flushed) = self.workers[worker].flushes.take() {
                    self.workers[worker].flushed.extend(flushed);
                    self.event(worker, Event::Flushed);
                }
            }
            Trouble::Watch { worker, back } => self.watch(worker.min(last), back),
            Trouble::Wait { worker, millis } => {
                self.workers[worker.min(last)].now += millis;
                self.event(worker.min(last), Event::Tick);
            }
            Trouble::Restart => {
                if self.workers.len() < 3 {
                    self.restart();
                }
            }
        }
    }

    fn answer(&mut self, worker: usize, how: u8) {
        let Some((version, sheet)) = self.workers[worker].put.take() else {
            return;
        };
        match how {
            // Never arrived, or arrives later.
            0 => self.late.push((worker, version, sheet)),
            // Carried out or not, the answer is lost.
            1 => {
                self.put(worker, version, &sheet);
            }
            _ => {
                if self.put(worker, version, &sheet) {
                    let event = Event::Stored(self.object.version, self.object.desk.clone());
                    return self.event(worker, event);
                }
            }
        }
        self.event(worker, Event::Doubtful);
    }

    /// No more trouble: the last worker and the operator do what they should until the step is complete.
    fn finish(&mut self) {
        self.restart();
        let last = self.workers.len() - 1;
        let me = ME + u8::try_from(last).unwrap();
        for _ in 0..200 {
            if self.record.ledger.covers(PartitionRange::new(0, TOTAL)) {
                assert_eq!(self.record.content.times.len() as u64, TOTAL);
                return;
            }
            self.watch(last, 0);
            // What another start was given is the operator's to seal.
            self.object.edit(|desk| {
                for shard in desk.shards.iter_mut().filter(|shard| shard.start_id != me) {
                    shard.seal = true;
                }
            });
            self.fold(true);
            self.assign(5, Mode::Normal);
            self.watch(last, 0);
            self.apply(Trouble::Begin { worker: last, room: 3 });
            for _ in 0..3 {
                self.apply(Trouble::Settle { worker: last, which: 0 });
                self.apply(Trouble::Flush { worker: last });
                self.apply(Trouble::Answer { worker: last, how: 2 });
                self.apply(Trouble::Read { worker: last });
            }
        }
        panic!("the step does not end: {self:#?}");
    }
}

impl Worker {
    fn take(&mut self, commands: Vec<Command<Small>>) {
        for command in commands {
            match command {
                Command::Put(version, sheet) => assert!(self.put.replace((version, sheet)).is_none()),
                Command::Read => self.reads = true,
                Command::Flush(shards) => self.flushes = Some(shards),
                Command::Broken(shard) => panic!("{shard} is broken"),
                Command::Kill(_) | Command::Replaced => {}
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, max_shrink_iters: 20_000, ..ProptestConfig::default() })]

    #[test]
    fn whatever_happens_every_partition_is_counted_once(troubles in prop::collection::vec(trouble(), 0..160)) {
        let mut all = Everything::new();
        for trouble in troubles {
            all.apply(trouble);
        }
        all.finish();
    }
}
