//! The state of a worker between two turns of its loop.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::Arc,
    time::Duration,
};

use braid_crds::{PlanDigest, ShardId, StartId, Worker, status::PlanRef, worker::Fatal};
use braid_engine::{
    plan::Plan,
    protocol::{
        wire::Braid,
        worker::{Command, Event, Machine, Task, Version},
    },
    settlement::Settlement,
};
use braid_sync::heartbeat::Pulse;
use bytes::Bytes;
use kube::Client;
use tokio::{
    task::{AbortHandle, JoinSet},
    time::Instant,
};

pub(super) use self::requests::Answer;
use self::{requests::Request, traces::ShardSpans};
use super::{
    Exit, Options, WorkerError, WorkerIdentity,
    attempts::{Attempts, Flight, Prepared},
    runs::{Run, Runs},
    tally::Tally,
};
use crate::{
    desk::DeskApi,
    planner::PlanningError,
    reader::{
        InputError, Reader,
        plans::{FetchError, Plans},
    },
    runner::{AttemptId, Input, Item, ProgramId, Side},
};

mod publishing;
mod requests;
mod starting;
mod traces;

/// What has been done beside the loop.
#[derive(Debug)]
pub(super) enum Job {
    /// The input of an attempt.
    Opened(Flight, Result<Input, InputError>),
    /// The files of an attempt that has succeeded with these results were looked at again.
    Rechecked(AttemptId, Option<Bytes>, Result<(), InputError>),
    /// The files that all attempts of a program read, for the run that needed them first.
    Sides(Arc<Run>, Result<Vec<Side>, InputError>),
    /// A plan, for the shard that needed it first.
    Fetched(PlanDigest, Result<Arc<Plan>, FetchError>),
    /// A plan was made.
    Planned(Task, Result<PlanRef, PlanningError>),
    /// What attempts of shards wrote is durable.
    Flushed,
    /// What was counted is published, or never will be.
    Published(Task, Result<(), Fatal>),
    /// Its task was cut short.
    Nothing,
}

/// Tasks beside the loop. They end with it.
#[derive(Debug, Default)]
pub(super) struct Jobs(JoinSet<Job>);

impl Jobs {
    /// The next that is done. Cancel-safe.
    pub(super) async fn next(&mut self) -> Job {
        match self.0.join_next().await {
            Some(Ok(job)) => job,
            Some(Err(error)) => {
                if error.is_panic() {
                    tracing::error!(%error, "a task of the worker broke");
                }
                Job::Nothing
            }
            None => std::future::pending().await,
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// Milliseconds since an origin of one's own.
#[derive(Clone, Copy, Debug)]
pub(super) struct Clock(Instant);

impl Clock {
    pub(super) fn now(&self) -> u64 {
        u64::try_from(self.0.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    fn at(&self, millis: u64) -> Instant {
        // Budgets are as long as an operator writes; a century is never.
        self.0 + Duration::from_millis(millis.min(100 * 366 * 86_400_000))
    }
}

/// See the module.
pub(super) struct Session {
    client: Client,
    identity: WorkerIdentity,
    desk: DeskApi,
    start: StartId,
    options: Options,
    pulse: Pulse,
    pub(super) clock: Clock,
    pub(super) machine: Machine<Braid>,
    /// The newest state of the object that was understood.
    newest: Option<(Version, Worker)>,
    /// The object's uid, once it is known to be ours.
    uid: Option<String>,
    gone: bool,
    runner_ended: bool,
    pub(super) tally: Tally,
    runs: Runs,
    spans: ShardSpans,
    pub(super) attempts: Attempts,
    reader: Reader,
    plans: Plans,
    /// Plans that are being read, and those that cannot be.
    fetching: Vec<PlanDigest>,
    /// Programs whose files that all attempts read are being opened.
    siding: Vec<ProgramId>,
    pub(super) jobs: Jobs,
    /// Inputs that are being opened.
    opening: usize,
    /// Plans that are being made, and files that are being published.
    planning: BTreeMap<Task, AbortHandle>,
    /// What the machine has asked for.
    pub(super) request: Request,
    /// A read that it has not asked for.
    pub(super) probe: Request,
    /// Writes in a row that were in doubt.
    doubts: u32,
    /// Shards whose refusal was answered with a reason; a second refusal is the end.
    refused: Option<String>,
    kills: Vec<AttemptId>,
    /// Partitions that have failed for good, and what their attempts have saved is not wanted any more.
    pub(super) discards: Vec<(ProgramId, u64)>,
    /// The runner takes no more before this.
    no_room: Option<Instant>,
    halt_at: Option<Instant>,
    end_at: Option<Instant>,
}

impl Session {
    pub(super) fn new(
        client: Client,
        identity: WorkerIdentity,
        desk: DeskApi,
        start: StartId,
        options: Options,
        pulse: Pulse,
    ) -> Self {
        Self {
            client,
            identity,
            desk,
            pulse,
            clock: Clock(Instant::now()),
            machine: Machine::new(start.clone(), options.bounds.clone()),
            start,
            reader: Reader::new(options.ground.clone()),
            options,
            newest: None,
            uid: None,
            gone: false,
            runner_ended: false,
            tally: Tally::new(Instant::now()),
            runs: Runs::default(),
            spans: ShardSpans::default(),
            attempts: Attempts::default(),
            plans: Plans::default(),
            fetching: Vec::new(),
            siding: Vec::new(),
            jobs: Jobs::default(),
            opening: 0,
            planning: BTreeMap::new(),
            request: Request::default(),
            probe: Request::default(),
            doubts: 0,
            refused: None,
            kills: Vec::new(),
            discards: Vec::new(),
            no_room: None,
            halt_at: None,
            end_at: None,
        }
    }

    /// Why the loop ends now, if it does.
    pub(super) fn exit(&self, stopped: bool) -> Option<Result<Exit, WorkerError>> {
        if self.gone {
            return Some(Ok(Exit::Gone));
        }
        if self.machine.is_replaced() {
            return Some(Ok(Exit::Replaced));
        }
        let late = self.end_at.is_some_and(|at| Instant::now() >= at);
        if self.halt_at.is_some() && (late || self.machine.is_idle()) {
            let exit = if stopped { Exit::Cancelled } else { Exit::RunnerEnded };
            return Some(Ok(exit));
        }
        let drained = self
            .newest
            .as_ref()
            .is_some_and(|(_, worker)| worker.spec.drain && worker.spec.shards.is_empty() && self.machine.is_idle());
        drained.then_some(Ok(Exit::Drained))
    }

    /// Ends what runs beside the loop.
    pub(super) async fn close(&mut self) {
        (self.request, self.probe) = (Request::default(), Request::default());
        self.jobs.0.shutdown().await;
    }

    /// When [`Session::tick`] is wanted.
    pub(super) fn wake_at(&self) -> Option<Instant> {
        let budget = self.machine.wake_at().map(|millis| self.clock.at(millis));
        let stop = if self.machine_is_halted() {
            self.end_at
        } else {
            self.halt_at
        };
        // While the runner has no room, nothing that waits can be started.
        let waiting = match (self.attempts.wake_at(), self.no_room) {
            (Some(waiting), Some(room)) => Some(waiting.max(room)),
            (waiting, _) => waiting,
        };
        [budget, waiting, stop, self.no_room].into_iter().flatten().min()
    }

    fn machine_is_halted(&self) -> bool {
        self.halt_at.is_some_and(|at| Instant::now() >= at)
    }

    pub(super) fn tick(&mut self) {
        let halt = self.machine_is_halted() && self.machine.in_flight() > 0;
        self.event(if halt { Event::Halt } else { Event::Tick });
    }

    /// Nothing new is begun; what runs has the grace to end.
    pub(super) fn stop(&mut self) {
        let halt_at = Instant::now() + self.options.grace;
        self.halt_at.get_or_insert(halt_at);
        self.end_at.get_or_insert(halt_at + self.options.last_commit);
        self.event(Event::Stop);
    }

    /// The place where user code runs is being shut down.
    pub(super) fn runner_drains(&mut self) {
        if !self.runner_ended {
            self.runner_ended = true;
            self.stop();
        }
    }

    pub(super) fn event(&mut self, event: Event<Braid>) {
        let commands = self.machine.handle(event, self.clock.now());
        self.obey(commands);
    }

    /// Carries out what the machine asks for.
    pub(super) fn obey(&mut self, commands: Vec<Command<Braid>>) {
        let mut left: VecDeque<_> = commands.into();
        while let Some(command) = left.pop_front() {
            let event = match command {
                Command::Flush(ranges) => {
                    self.flush(&ranges);
                    continue;
                }
                Command::Put(version, sheet) => {
                    self.put(version, &sheet);
                    continue;
                }
                Command::Read => {
                    self.request = self.read_after(Duration::ZERO);
                    continue;
                }
                Command::Kill(task) => {
                    let killed = self.attempts.forget(task);
                    self.kills.extend(killed);
                    if let Some(planning) = self.planning.remove(&task) {
                        planning.abort();
                    }
                    continue;
                }
                Command::Broken(shard) => {
                    let why = self
                        .refused
                        .as_deref()
                        .unwrap_or("the results of its partitions do not fit into one commit");
                    Event::Fatal(shard, stopped("ResultTooLarge", why))
                }
                Command::Replaced => {
                    tracing::warn!(worker = %self.identity.name, "another start of this pod has taken the desk");
                    continue;
                }
            };
            left.extend(self.machine.handle(event, self.clock.now()));
        }
    }

    /// The step cannot go on, because of this shard.
    pub(super) fn fatal(&mut self, shard: ShardId, reason: &str, message: &str) {
        tracing::warn!(%shard, reason, message, "the step cannot go on");
        self.event(Event::Fatal(shard, stopped(reason, message)));
    }

    /// Something beside the loop is done.
    pub(super) fn done(&mut self, job: Job) {
        match job {
            Job::Nothing => {}
            Job::Opened(flight, input) => {
                self.opening = self.opening.saturating_sub(1);
                if self.machine.owner(flight.task).is_none() && !self.machine.running().any(|task| task == flight.task)
                {
                    return;
                }
                match input {
                    Ok(input) => self.attempts.ready.push_back(Prepared {
                        flight,
                        item: Item::None,
                        input,
                    }),
                    Err(error) => self.failed(flight, error.reason(), &error.to_string()),
                }
            }
            Job::Rechecked(id, results, input) => self.rechecked(id, results.as_deref(), input),
            Job::Sides(run, sides) => {
                self.siding.retain(|siding| *siding != run.program.id);
                match sides {
                    Ok(sides) => run.program.sides.set(sides),
                    Err(error) => {
                        let shards: Vec<ShardId> = self.runs.shards_of(run.program.id).collect();
                        for shard in shards {
                            self.fatal(shard, &error.reason().to_string(), &error.to_string());
                        }
                    }
                }
            }
            Job::Fetched(digest, Ok(plan)) => {
                self.fetching.retain(|fetching| *fetching != digest);
                self.plans.keep(digest, plan);
            }
            Job::Fetched(digest, Err(error)) => {
                self.fetching.retain(|fetching| *fetching != digest);
                let shards: Vec<ShardId> = (self.machine.progress().map(|(shard, _)| shard))
                    .filter(|shard| self.runs.get(*shard).is_some_and(|run| run.reference.plan == digest))
                    .collect();
                for shard in shards {
                    self.fatal(shard, "UnreadableInput", &error.to_string());
                }
            }
            Job::Flushed => self.event(Event::Flushed),
            Job::Published(task, published) => {
                self.planning.remove(&task);
                let Some(shard) = self.machine.owner(task) else { return };
                match published {
                    Ok(()) => self.event(Event::Settled(task, Settlement::default())),
                    Err(Fatal { reason, message }) => self.fatal(shard, &reason, &message),
                }
            }
            Job::Planned(task, planned) => {
                self.planning.remove(&task);
                let Some(shard) = self.machine.owner(task) else { return };
                match planned {
                    Ok(plan) => {
                        let mut settlement = Settlement::default();
                        settlement.planned(plan);
                        self.event(Event::Settled(task, settlement));
                    }
                    Err(error) => {
                        let Fatal { reason, message } = error.to_fatal();
                        self.fatal(shard, &reason, &message);
                    }
                }
            }
        }
    }
}

/// The content that says why a step cannot go on.
fn stopped(reason: &str, message: &str) -> Settlement {
    let mut settlement = Settlement::default();
    settlement.stop(&Fatal {
        reason: reason.to_owned(),
        message: message.to_owned(),
    });
    settlement
}
