//! The production machine as an actor.

use braid_crds::{PartitionRange, ShardId};
use braid_engine::protocol::{
    Commit, Content as _,
    publish::Outputs as _,
    worker::{Begin, Bounds, Command, Event as Told, Machine, Task, Version},
};

use crate::{
    actor::{Actor, Answer, Effect, End, Event, deferred},
    apply::BUDGET,
    mutation::Mutation,
    state::Config,
    tiny::{Output, Tiny},
};

/// A production machine, and what its owner has to keep for it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Production {
    machine: Machine<Tiny>,
    concurrency: u64,
    /// What was made durable, of shards that are on the desk.
    flushed: Vec<(ShardId, PartitionRange)>,
    /// How often the end of the budget was told.
    over: u8,
    /// The shard that was last said to be full.
    full: Option<ShardId>,
    /// The time. Stands still in the exhaustive model.
    pub clock: u64,
    /// What is stored and not believed. Only with [`Mutation::NoRebase`].
    disbelieved: Vec<Commit<Tiny>>,
}

impl Production {
    /// The machine.
    #[must_use]
    pub fn machine(&self) -> &Machine<Tiny> {
        &self.machine
    }

    /// Tells the machine what happened at a time, carries its commands over, and begins what it would begin.
    pub fn tell(&mut self, told: Told<Tiny>, now_millis: u64, effects: &mut Vec<Effect>) {
        let mut told = vec![told];
        while let Some(event) = told.pop() {
            for command in self.machine.handle(event, now_millis) {
                match command {
                    Command::Flush(ranges) => {
                        self.flushed.extend(ranges);
                        told.push(Told::Flushed);
                    }
                    Command::Put(Version(version), sheet) => {
                        let named = sheet.commits.iter().flat_map(|commit| {
                            let outputs = commit.content.outputs();
                            outputs.into_iter().map(move |output| (commit.id, output))
                        });
                        let own = named.filter(|(_, output)| output.start == sheet.start);
                        let unwritten = own.filter(|(id, output)| !self.is_flushed(*id, output));
                        let unwritten = unwritten.map(|(_, output)| output).collect();
                        effects.push(Effect::Put {
                            version,
                            start: sheet.start,
                            commits: sheet.commits,
                            unwritten,
                        });
                    }
                    Command::Read => effects.push(Effect::Get),
                    Command::Kill(task) => effects.push(Effect::Kill(task.shard, task.partition)),
                    Command::Broken(shard) => effects.push(Effect::Broken(shard)),
                    Command::Replaced => effects.push(Effect::Leave),
                }
            }
        }
        while let Some(room) = self.concurrency.checked_sub(self.machine.in_flight()) {
            let Some(Begin { shard, range }) = self.machine.begin(room, now_millis) else {
                break;
            };
            effects.extend((range.start()..range.end()).map(|partition| Effect::Start(shard, partition)));
        }
    }

    /// After a doubtful write: shows the machine its open shards as they were before it.
    fn disbelieve(&mut self, event: &mut Event) {
        let Event::Desk { desk, asked: true, .. } = event else {
            return;
        };
        let before = self.machine.desk().map(|(_, desk)| desk.commits.clone());
        let before = before.unwrap_or_default();
        self.disbelieved.clear();
        for commit in desk.commits.iter_mut().filter(|commit| !commit.sealed) {
            if let Some(before) = before
                .iter()
                .find(|before| before.id == commit.id && before.cursor < commit.cursor)
            {
                self.disbelieved.push(std::mem::replace(commit, before.clone()));
            }
        }
    }

    /// Adds what the machine holds to what is stored, whatever its cursor.
    fn add_again(&self, effects: &mut [Effect]) {
        for effect in effects {
            let Effect::Put { commits, .. } = effect else { continue };
            for stored in &self.disbelieved {
                if let Some(commit) = commits.iter_mut().find(|commit| commit.id == stored.id) {
                    commit
                        .content
                        .merge(&stored.content)
                        .unwrap_or_else(|never| match never {});
                    commit.cursor = commit.cursor.max(stored.cursor);
                }
            }
        }
    }

    fn is_flushed(&self, id: ShardId, output: &Output) -> bool {
        let mut flushed = self.flushed.iter();
        flushed.any(|(shard, range)| *shard == id && range.contains(u64::from(output.partition)))
    }
}

impl Actor for Production {
    fn new(start: u16, config: &Config) -> Self {
        let bounds = Bounds {
            results: 2 * config.concurrency as usize,
            bytes: config.held,
            deferred: 2,
        };
        Self {
            machine: Machine::new(start, bounds),
            concurrency: config.concurrency,
            flushed: Vec::new(),
            over: 0,
            full: None,
            clock: 0,
            disbelieved: Vec::new(),
        }
    }

    fn on(&mut self, mut event: Event, mutation: Option<Mutation>) -> Vec<Effect> {
        let mut now_millis = self.clock;
        if mutation == Some(Mutation::NoRebase) {
            self.disbelieve(&mut event);
        }
        let task = |shard, partition| Task { shard, partition };
        let told = match event {
            Event::Desk { version, desk, asked } => {
                self.flushed.retain(|(id, _)| desk.shard(*id).is_some());
                if desk.shards.iter().all(|shard| desk.is_sealed(shard)) {
                    self.over = 0;
                }
                if asked {
                    Told::Read(Version(version), desk)
                } else {
                    Told::Seen(Version(version), desk)
                }
            }
            Event::Answer(Answer::Stored(version, desk)) => Told::Stored(Version(version), desk),
            Event::Answer(Answer::Conflict | Answer::Unknown) => Told::Doubtful,
            Event::Answer(Answer::Refused) => Told::Refused,
            Event::Ended(shard, partition, End::Settled(content)) => Told::Settled(task(shard, partition), content),
            Event::Ended(shard, partition, End::Deferred) => {
                Told::Deferred(task(shard, partition), deferred(partition))
            }
            Event::Lost(tasks) => Told::Lost(
                tasks
                    .into_iter()
                    .map(|(shard, partition)| task(shard, partition))
                    .collect(),
            ),
            Event::BudgetOver => {
                self.over += 1;
                now_millis += u64::from(self.over) * BUDGET;
                Told::Tick
            }
            Event::Full => match self.machine.progress().next() {
                Some((shard, _)) => {
                    self.full = Some(shard);
                    Told::Full(shard)
                }
                None => Told::Tick,
            },
            Event::Tick => Told::Tick,
        };
        let mut effects = Vec::new();
        self.tell(told, now_millis, &mut effects);
        if mutation == Some(Mutation::NoRebase) {
            self.add_again(&mut effects);
        }
        effects
    }

    fn version(&self) -> Option<u64> {
        self.machine.desk().map(|(Version(version), _)| version)
    }

    fn heeds(&self, event: &Event) -> bool {
        match event {
            Event::BudgetOver => self.over < 2 && self.machine.wake_at().is_some(),
            Event::Full => {
                let mut progress = self.machine.progress();
                progress.next().is_some_and(|(shard, _)| self.full != Some(shard))
            }
            _ => false,
        }
    }
}
