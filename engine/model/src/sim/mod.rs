//! The simulator: larger runs of the same machine, the same fold and the same policy, with time.
//!
//! One thread, one queue of events in virtual time, one seeded source of chance: the same seed gives the same run, event
//! by event. Operators act on copies that the watch brings them; every arrow between two parts can go wrong in every way
//! that [`faults`] lists. After a while nothing goes wrong any more, and then the step has to end: complete, with exact
//! counts, every output visible once. The steps check the same invariants as the exhaustive model.

use std::{
    collections::{BTreeMap, BTreeSet},
    hash::{Hash, Hasher},
};

use braid_crds::{PartitionRange, ShardId, worker::Mode};
use braid_engine::protocol::Record;

use crate::{
    actor::Event as Told,
    invariants::{self, Invariant},
    machine::Production,
    mutation::Mutation,
    search::Quick,
    state::{Action, Budget, Config, State},
    tiny::Tiny,
};

pub mod faults;
mod operator;
mod process;
pub mod rng;

use self::{
    faults::{Arrow, Fault, Matrix},
    operator::{Operator, Write},
    rng::Rng,
};

/// A run that is not over by then is stuck.
const STUCK_AT: u64 = 1_200_000;
/// Silence after which a worker is taken for lost.
const LEASE_MILLIS: u64 = 7_000;

/// What can happen next.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Event {
    /// A worker sees its desk.
    Watch(usize),
    /// A worker's write arrives.
    Write(usize),
    /// A worker's write that was given up arrives.
    LateWrite,
    /// A worker's read is answered.
    Read(usize),
    /// A partition ends, if it is still that run of it.
    End(usize, ShardId, u64, u64),
    /// A worker's time is over.
    Wake(usize),
    /// A worker renews its lease.
    Renew(usize),
    /// A process starts at a desk whose process died.
    Restart(usize),
    /// A pod is there that has no desk.
    Pod,
    /// A process ends that nobody misses.
    Reap(usize),
    /// A worker looks for something to publish.
    Prepare(usize),
    /// A worker's manifest arrives.
    PutManifest(usize),
    /// A process ends in some way.
    Exit,
    /// An operator thinks, if it is still the same.
    Think(usize, u32),
    /// An operator's write arrives; nobody waits for the answer if it is given up.
    Arrive(usize, Option<u32>, Box<Write>),
    /// An operator sees a desk.
    SeeDesk(usize, u32, usize),
    /// An operator sees the workflow.
    SeeWorkflow(usize, u32),
    /// Somebody leads, if nobody does.
    Elect,
}

/// What a run was.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// Its seed.
    pub seed: u64,
    /// Of every event, in order.
    pub hash: u64,
    /// How many.
    pub events: u64,
    /// How long it took, in virtual time.
    pub millis: u64,
    /// Partitions of the step.
    pub partitions: u32,
    /// Workers at the start.
    pub workers: usize,
    /// Shards that were handed out.
    pub shards: usize,
    /// Writes of workers and operators that were refused.
    pub conflicts: u64,
    /// Folds that saw a shard held in part before there ever were two operators.
    pub held_in_part: u64,
    /// Whether two operators were at work at some time.
    pub split_brain: bool,
    /// What went wrong on purpose.
    pub matrix: Matrix,
    /// What went wrong.
    pub violation: Option<Invariant>,
    /// If something did: how everything stood.
    pub last: String,
}

/// What the simulator keeps of a process.
#[derive(Clone, Debug, Default)]
struct Side {
    writing: bool,
    reading: bool,
    watching: bool,
    /// The runs whose ends are under way, by shard and partition.
    ends: BTreeMap<(ShardId, u64), u64>,
    wake_at: Option<u64>,
    paused_until: u64,
    /// How much slower than the others.
    factor: u64,
}

/// A run.
struct Sim {
    config: Config,
    state: State<Production>,
    rng: Rng,
    now: u64,
    queue: BTreeMap<(u64, u64), Event>,
    sequence: u64,
    hash: Quick,
    matrix: Matrix,
    sides: Vec<Side>,
    /// The last renewal of each seat's lease, and the version that is known to be on its way to all.
    leases: Vec<u64>,
    announced: Vec<u64>,
    operators: [Operator; 2],
    workflow_version: u64,
    pods_waiting: u32,
    retries: u32,
    suspects: BTreeSet<PartitionRange>,
    /// The record as it was closed.
    closed: Option<Record<Tiny>>,
    mean_millis: u64,
    /// How often something goes wrong, and until when.
    per_mille: u64,
    quiet_at: u64,
    /// How long the operators' watches take at most.
    lag: u64,
    /// How many of a thousand partitions fail.
    failures: u64,
    conflicts: u64,
    held_in_part: u64,
    split_brain: bool,
}

/// Runs a seed.
#[must_use]
pub fn run(seed: u64, mutation: Option<Mutation>) -> Outcome {
    let mut sim = Sim::new(seed, mutation);
    let (events, violation) = sim.run();
    let hash = sim.hash.finish();
    Outcome {
        seed,
        hash,
        events,
        millis: sim.now,
        partitions: sim.config.partitions,
        workers: sim.config.desks,
        shards: sim.state.rest.issued.len(),
        conflicts: sim.conflicts,
        held_in_part: sim.held_in_part,
        split_brain: sim.split_brain,
        last: violation.map(|_| sim.describe()).unwrap_or_default(),
        matrix: sim.matrix,
        violation,
    }
}

impl Sim {
    fn new(seed: u64, mutation: Option<Mutation>) -> Self {
        let mut rng = Rng::new(seed);
        let endless = Budget {
            deaths: u8::MAX,
            pods: u8::MAX,
            zombies: u8::MAX,
            replacements: u8::MAX,
            lost: u8::MAX,
            late: u8::MAX,
            failures: u8::MAX,
            deferrals: u8::MAX,
            retries: u8::MAX,
            cancels: u8::MAX,
            cuts: u8::MAX,
            fulls: u8::MAX,
            seals: u8::MAX,
            shims: u8::MAX,
            shards: u8::MAX,
        };
        let config = Config {
            name: "simulated",
            partitions: rng.between(60, 900) as u32,
            desks: rng.between(2, 24) as usize,
            split_brain: true,
            twins: true,
            mode: Mode::Normal,
            concurrency: rng.pick(&[1, 1, 2, 4]),
            held: rng.pick(&[2, 5, 100, 100]),
            outputs: true,
            publishers: 2,
            budget: endless,
            mutation,
        };
        let state = State::initial(&config);
        let mut sim = Self {
            now: 0,
            queue: BTreeMap::new(),
            sequence: 0,
            hash: Quick::default(),
            matrix: Matrix::default(),
            sides: Vec::new(),
            leases: vec![0; config.desks],
            announced: vec![0; config.desks],
            operators: [Operator::new(0), Operator::new(1)],
            workflow_version: 1,
            pods_waiting: 0,
            retries: rng.pick(&[0, 1, 3]),
            suspects: BTreeSet::new(),
            closed: None,
            mean_millis: rng.pick(&[20, 100, 400]),
            per_mille: rng.pick(&[5, 20, 60]),
            quiet_at: rng.between(20_000, 200_000),
            lag: rng.pick(&[30, 30, 300, 3_000]),
            failures: rng.pick(&[5, 10, 150]),
            conflicts: 0,
            held_in_part: 0,
            split_brain: false,
            config,
            state,
            rng,
        };
        for process in 0..sim.state.processes.len() {
            sim.meet(process);
        }
        sim.lead(0);
        sim.after(1_000, Event::Exit);
        sim
    }

    /// Something happens later.
    fn after(&mut self, millis: u64, event: Event) {
        self.sequence += 1;
        self.queue.insert((self.now + millis, self.sequence), event);
    }

    /// Something happens after a round trip or half of one.
    fn soon(&mut self, event: Event) {
        let millis = self.rng.between(1, 30);
        self.after(millis, event);
    }

    fn run(&mut self) -> (u64, Option<Invariant>) {
        let mut events = 0;
        while let Some(((now, sequence), event)) = self.queue.pop_first() {
            self.now = now;
            if now > STUCK_AT {
                return (events, Some(Invariant::Completes));
            }
            events += 1;
            (now, sequence, &event).hash(&mut self.hash);
            let done = self.happen(event).and_then(|()| {
                self.announce();
                if events % 64 == 0 {
                    invariants::check(&self.config, &self.state)?;
                }
                Ok(())
            });
            if let Err(broken) = done {
                return (events, Some(broken));
            }
            if self.is_over() {
                return (events, self.check_end().err());
            }
        }
        (events, Some(Invariant::Completes))
    }

    /// How everything stands, for whoever looks for the reason.
    fn describe(&self) -> String {
        use std::fmt::Write as _;
        let record = &self.state.workflow.record;
        let free = record
            .ledger
            .gaps(PartitionRange::new(0, u64::from(self.config.partitions)));
        let mut text = format!(
            "at {} ms: round {}, closed {}, not settled: {free}, deferred: {:?}, unpublished: {}\n",
            self.now,
            record.round,
            record.closed,
            record
                .deferred
                .iter()
                .map(|deferred| deferred.partition)
                .collect::<Vec<_>>(),
            self.state.workflow.entries.len()
        );
        for (index, seat) in self.state.seats.iter().enumerate() {
            if seat.deleted || (seat.pod_gone && seat.desk.shards.is_empty()) {
                continue;
            }
            let alive: Vec<_> = self
                .state
                .processes
                .iter()
                .filter(|process| process.seat == index)
                .collect();
            let _ = writeln!(
                text,
                "seat {index}: start {:?}, pod gone {}",
                seat.desk.start, seat.pod_gone
            );
            for shard in &seat.desk.shards {
                let commit = seat.desk.commit(shard.id).map(|commit| (commit.cursor, commit.sealed));
                let _ = writeln!(text, "  {shard:?} {commit:?}");
            }
            for process in alive.iter().filter(|process| process.actor.is_some()) {
                let _ = writeln!(
                    text,
                    "  process {}: writes {}, reads {}, runs {:?}",
                    process.start,
                    process.put.is_some(),
                    process.reading,
                    process.running
                );
            }
        }
        text
    }

    fn is_over(&self) -> bool {
        let failed = self
            .state
            .workflow
            .record
            .content
            .0
            .iter()
            .any(|settlement| !settlement.ok);
        self.state.workflow.record.closed && (self.retries == 0 || !failed)
    }

    /// At the end all is counted, and what succeeded is visible.
    fn check_end(&self) -> Result<(), Invariant> {
        invariants::check(&self.config, &self.state)?;
        let record = &self.state.workflow.record;
        let total = PartitionRange::new(0, u64::from(self.config.partitions));
        let exact = record.content.0.len() as u64 == total.len() && record.ledger.covers(total);
        let visible = invariants::visible(&self.config, &self.state).len();
        let succeeded = record.content.0.iter().filter(|settlement| settlement.ok).count();
        if exact && visible == succeeded {
            Ok(())
        } else {
            Err(Invariant::Completes)
        }
    }

    fn happen(&mut self, event: Event) -> Result<(), Invariant> {
        match event {
            Event::Watch(_)
            | Event::Write(_)
            | Event::Read(_)
            | Event::End(..)
            | Event::Wake(_)
            | Event::Renew(_)
            | Event::Prepare(_)
            | Event::PutManifest(_) => self.of_process(event),
            Event::LateWrite => {
                if !self.state.rest.late.is_empty() {
                    self.act(&Action::LateWrite(0))?;
                }
                Ok(())
            }
            Event::Restart(seat) => self.restart(seat),
            Event::Pod => {
                self.pods_waiting += 1;
                Ok(())
            }
            Event::Reap(process) => {
                if self.state.processes[process].actor.is_some() {
                    self.act(&Action::Die(process))?;
                }
                Ok(())
            }
            Event::Exit => self.exit(),
            Event::Think(operator, life) => {
                self.think(operator, life);
                Ok(())
            }
            Event::Arrive(operator, life, write) => self.arrive(operator, life, *write),
            Event::SeeDesk(operator, life, seat) => {
                self.see_desk(operator, life, seat);
                Ok(())
            }
            Event::SeeWorkflow(operator, life) => {
                self.see_workflow(operator, life);
                Ok(())
            }
            Event::Elect => {
                if self.operators.iter().all(|operator| !operator.leads) {
                    let next = usize::from(self.rng.happens(500));
                    self.lead(next);
                }
                Ok(())
            }
        }
    }

    fn act(&mut self, action: &Action) -> Result<(), Invariant> {
        self.state.act(&self.config, action)
    }

    /// Whether a partition runs somewhere.
    fn in_flight(&self) -> bool {
        self.state.processes.iter().any(|process| !process.running.is_empty())
    }

    /// Counts something that went wrong.
    fn hit(&mut self, arrow: Arrow, fault: Fault) {
        if self.in_flight() {
            self.matrix.hit(arrow, fault);
        }
        fault.hash(&mut self.hash);
    }

    /// Whether something goes wrong now, and what. Those that are not made but happen are left out.
    fn fault(&mut self, arrow: Arrow, per_mille: u64) -> Option<Fault> {
        if self.now > self.quiet_at || !self.rng.happens(per_mille) {
            return None;
        }
        let mut faults = faults::possible(arrow).to_vec();
        let made = matches!(arrow, Arrow::WatchOperator | Arrow::WatchWorker);
        faults.retain(|fault| *fault != Fault::SplitBrain && (*fault != Fault::Stale || made));
        let fault = self.rng.pick(&faults);
        self.hit(arrow, fault);
        Some(fault)
    }

    /// Brings news of desks on their way to everybody.
    fn announce(&mut self) {
        for seat in 0..self.state.seats.len() {
            let version = self.state.seats[seat].version;
            if self.announced[seat] == version {
                continue;
            }
            self.announced[seat] = version;
            for operator in 0..2 {
                self.tell_operator_of(operator, seat, 0);
            }
            for process in 0..self.state.processes.len() {
                if self.state.processes[process].seat == seat {
                    self.tell_process(process);
                }
            }
        }
    }

    /// A process that is new.
    fn meet(&mut self, process: usize) {
        let factor = if self.rng.happens(150) { 6 } else { 1 };
        self.sides.resize_with(process + 1, Side::default);
        self.sides[process].factor = factor;
        let seat = self.state.processes[process].seat;
        while self.leases.len() <= seat {
            self.leases.push(self.now);
            self.announced.push(0);
        }
        self.leases[seat] = self.now;
        let first = self.rng.between(1, 2_000);
        self.after(first, Event::Renew(process));
        self.after(first + 100, Event::Prepare(process));
        self.tell_process(process);
    }

    fn tell_process(&mut self, process: usize) {
        if !self.sides[process].watching && self.state.processes[process].actor.is_some() {
            self.sides[process].watching = true;
            self.soon(Event::Watch(process));
        }
    }

    /// The time for a process' machine.
    fn set_clock(&mut self, process: usize) {
        let process = std::rc::Rc::make_mut(&mut self.state.processes[process]);
        if let Some(actor) = &mut process.actor {
            actor.clock = self.now;
        }
    }

    /// Has a process' timer ring.
    fn ring(&mut self, process: usize) -> Result<(), Invariant> {
        self.set_clock(process);
        self.state.tell(&self.config, process, Told::Tick)
    }
}
