//! The state of a worker between two turns of its loop.

use std::{collections::BTreeMap, collections::VecDeque, sync::Arc, time::Duration};

use braid_crds::{Plan as PlanObject, PlanDigest, ShardId, StartId, Worker, status::PlanRef, worker::Fatal};
use braid_engine::{
    plan::{Partition, Plan},
    protocol::{
        wire::{self, Braid},
        worker::{Command, Event, Machine, Sheet, Task, Version},
    },
    retry::Reason,
    settlement::Settlement,
};
use braid_sync::heartbeat::Pulse;
use futures::{FutureExt as _, future::BoxFuture};
use kube::{Api, Client};
use tokio::{
    task::{AbortHandle, JoinSet},
    time::Instant,
};

use super::{
    Exit, Options, WorkerError, WorkerIdentity,
    attempts::{Attempts, Flight, Prepared},
    runs::{Run, Runs, Source},
};
use crate::{
    desk::{DeskApi, Written, pause, status_of, version_of},
    planner::{self, PlanningError},
    reader::{
        self, InputError,
        plans::{self, FetchError, Plans},
    },
    runner::{Attempt, AttemptId, Input, Item, Runner, RunnerError},
};

/// So many inputs are opened ahead of the runner at most.
const PREPARED: usize = 64;
/// How long a runner that takes no more is left alone.
const NO_ROOM: Duration = Duration::from_millis(5);

/// The answer to a request.
#[derive(Debug)]
pub(super) enum Answer {
    Written(Written),
    Read(Option<Box<Worker>>),
}

/// How a state of the object came to be known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Sight {
    Watched,
    Stored,
    Read,
}

/// A request under way, if there is one.
#[derive(Default)]
pub(super) struct Request(Option<BoxFuture<'static, Answer>>);

impl Request {
    fn new(request: impl Future<Output = Answer> + Send + 'static) -> Self {
        Self(Some(request.boxed()))
    }

    /// Its answer; never, if there is none. Cancel-safe.
    pub(super) async fn answer(&mut self) -> Answer {
        match &mut self.0 {
            Some(request) => {
                let answer = request.await;
                self.0 = None;
                answer
            }
            None => std::future::pending().await,
        }
    }
}

/// What has been done beside the loop.
#[derive(Debug)]
pub(super) enum Job {
    /// The input of an attempt.
    Opened(Flight, Result<Input, InputError>),
    /// A plan, for the shard that needed it first.
    Fetched(PlanDigest, Result<Arc<Plan>, FetchError>),
    /// A plan was made.
    Planned(Task, Result<PlanRef, PlanningError>),
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
    runs: Runs,
    pub(super) attempts: Attempts,
    plans: Plans,
    /// Plans that are being read, and those that cannot be.
    fetching: Vec<PlanDigest>,
    pub(super) jobs: Jobs,
    /// Inputs that are being opened.
    opening: usize,
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
            machine: Machine::new(start, options.bounds.clone()),
            options,
            newest: None,
            uid: None,
            gone: false,
            runner_ended: false,
            runs: Runs::default(),
            attempts: Attempts::default(),
            plans: Plans::default(),
            fetching: Vec::new(),
            jobs: Jobs::default(),
            opening: 0,
            planning: BTreeMap::new(),
            request: Request::default(),
            probe: Request::default(),
            doubts: 0,
            refused: None,
            kills: Vec::new(),
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
        [budget, self.attempts.wake_at(), stop, self.no_room]
            .into_iter()
            .flatten()
            .min()
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
                // Contents of this version name no outputs.
                Command::Flush(_) => Event::Flushed,
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

    fn put(&mut self, version: Version, sheet: &Sheet<Braid>) {
        let (Some((stored, worker)), Some((_, desk))) = (&self.newest, self.machine.desk()) else {
            return;
        };
        debug_assert_eq!(*stored, version, "the machine and the session know the same object");
        let mut worker = worker.clone();
        worker.status = Some(status_of(sheet, &worker, desk));
        worker.metadata.managed_fields = None;
        let (desk, wait) = (self.desk.clone(), pause(self.doubts));
        self.request = Request::new(async move {
            tokio::time::sleep(wait).await;
            Answer::Written(desk.put(worker).await)
        });
    }

    pub(super) fn answered(&mut self, answer: Answer) -> Result<(), WorkerError> {
        match answer {
            Answer::Read(None) => self.gone = true,
            Answer::Read(Some(worker)) => self.observe(*worker, Sight::Read),
            Answer::Written(Written::Stored(worker)) => {
                self.doubts = 0;
                self.refused = None;
                self.pulse.committed();
                self.observe(*worker, Sight::Stored);
            }
            Answer::Written(Written::Doubtful) => {
                self.doubts = self.doubts.saturating_add(1);
                self.event(Event::Doubtful);
            }
            Answer::Written(Written::Refused(message)) => {
                tracing::error!(worker = %self.identity.name, message, "a commit was refused");
                let sends = self.machine.progress().next().is_some();
                if self.refused.is_some() || !sends {
                    return Err(WorkerError::Refused {
                        name: self.identity.name.clone(),
                        message,
                    });
                }
                self.refused = Some(message);
                self.event(Event::Refused);
            }
        }
        Ok(())
    }

    /// A watch shows a state of the object.
    pub(super) fn seen(&mut self, worker: Option<Worker>) {
        match worker {
            Some(worker) => self.observe(worker, Sight::Watched),
            // A list may be older than what is known: ask, if there was an object.
            None if self.uid.is_some() => self.probe = self.read_after(Duration::ZERO),
            None => {}
        }
    }

    fn observe(&mut self, worker: Worker, sight: Sight) {
        if worker.spec.pod_uid != self.identity.pod_uid {
            // Of a pod of this name that was before us: the operator replaces it.
            self.gone = self.uid.is_some();
            return;
        }
        let uid = worker.metadata.uid.clone().unwrap_or_default();
        if self.uid.as_ref().is_some_and(|known| *known != uid) {
            self.gone = true;
            return;
        }
        let Some(version) = version_of(&worker) else {
            tracing::error!(worker = %self.identity.name, "the object's resourceVersion is not a number");
            return;
        };
        let desk = match wire::desk(&worker) {
            Ok(desk) => desk,
            Err(error) => {
                tracing::error!(worker = %self.identity.name, %error, "the Worker object does not read; waiting for a better one");
                return self.unreadable(sight);
            }
        };
        self.uid = Some(uid);
        if self.newest.as_ref().is_none_or(|(known, _)| *known < version) {
            self.runs.update(&worker.spec, self.options.kill_grace);
            let spec = &worker.spec;
            self.attempts
                .keep_shards(|id| spec.shards.iter().any(|shard| shard.id == id));
            self.newest = Some((version, worker));
        }
        self.event(match sight {
            Sight::Watched => Event::Seen(version, desk),
            Sight::Stored => Event::Stored(version, desk),
            Sight::Read => Event::Read(version, desk),
        });
    }

    /// An answer that cannot be understood is no answer: the object is read again, later.
    fn unreadable(&mut self, sight: Sight) {
        self.doubts = self.doubts.saturating_add(1);
        match sight {
            Sight::Watched => {}
            Sight::Stored => self.event(Event::Doubtful),
            Sight::Read => self.request = self.read_after(pause(self.doubts)),
        }
    }

    fn read_after(&self, wait: Duration) -> Request {
        let desk = self.desk.clone();
        Request::new(async move {
            tokio::time::sleep(wait).await;
            Answer::Read(desk.read().await.map(Box::new))
        })
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

    /// Starts what there is room for, and kills what is to be killed.
    pub(super) async fn start_what_can<R: Runner>(&mut self, runner: &mut R) {
        for id in std::mem::take(&mut self.kills) {
            if let Err(error) = runner.kill(id).await {
                tracing::debug!(?id, %error, "an attempt was over before it was killed");
            }
        }
        let now = Instant::now();
        if self.no_room.is_some_and(|at| now < at) {
            return;
        }
        self.no_room = None;
        while let Some(flight) = self.attempts.awake(now) {
            self.prepare(flight);
        }
        while let Some(prepared) = self.attempts.ready.pop_front() {
            if !self.start(runner, prepared).await {
                return;
            }
        }
        while let Some(ready) = self.machine.ready() {
            let Some(run) = self.runs.get(ready.shard).cloned() else {
                self.fatal(ready.shard, "NoCard", "the operator gave the shard without its program");
                continue;
            };
            if let Some(error) = &run.impossible {
                let Fatal { reason, message } = error.to_fatal();
                self.fatal(ready.shard, &reason, &message);
                continue;
            }
            if let Source::Planning(source) = &run.source {
                self.begin_planning(&run, source.clone());
                continue;
            }
            if !self.has_plan(&run) {
                return;
            }
            match runner.prepare(run.program.clone()).await {
                Ok(()) => {}
                Err(RunnerError::TooManyPrograms) => return self.rest(),
                Err(error) => {
                    self.fatal(ready.shard, "NotRunnable", &error.to_string());
                    continue;
                }
            }
            let ahead = self.opening + self.attempts.ready.len();
            let mut room = runner.capacity(run.program.id).saturating_sub(ahead);
            if matches!(run.source, Source::Files { .. }) {
                room = room.min(PREPARED.saturating_sub(ahead));
            }
            let Some(begun) = self.machine.begin(room as u64, self.clock.now()) else {
                if self.machine.in_flight() == 0 {
                    // Nothing that ends will tell that there is room again.
                    self.rest();
                }
                return;
            };
            for partition in begun.range.start()..begun.range.end() {
                let flight = self.flight(&run, begun.shard, partition);
                match &run.source {
                    Source::None | Source::Range(_) => {
                        let prepared = numbered(flight);
                        if !self.start(runner, prepared).await {
                            // Those that are left are begun for the machine: they wait like this one.
                            for partition in partition + 1..begun.range.end() {
                                let flight = self.flight(&run, begun.shard, partition);
                                self.attempts.ready.push_back(numbered(flight));
                            }
                            return;
                        }
                    }
                    _ => self.prepare(flight),
                }
            }
            while let Some(prepared) = self.attempts.ready.pop_front() {
                if !self.start(runner, prepared).await {
                    return;
                }
            }
        }
    }

    /// Gives an attempt to the runner. False: there is no room, and the attempt waits.
    async fn start<R: Runner>(&mut self, runner: &mut R, prepared: Prepared) -> bool {
        let Prepared { flight, item, input } = prepared;
        let program = flight.run.program.clone();
        if runner.capacity(program.id) == 0
            && runner.prepare(program.clone()).await.is_ok()
            && runner.capacity(program.id) == 0
        {
            self.attempts.ready.push_front(Prepared { flight, item, input });
            self.rest();
            return false;
        }
        let (partition, attempt, timeout) = (flight.task.partition, flight.attempt, flight.run.timeout);
        let id = self.attempts.launch(flight);
        let started = runner
            .start(Attempt {
                id,
                program: program.id,
                partition,
                attempt,
                item,
                input,
                timeout,
            })
            .await;
        let Err(error) = started else { return true };
        let Some(flight) = self.attempts.land(id) else {
            return true;
        };
        match error {
            RunnerError::Full
            | RunnerError::UnknownProgram(_)
            | RunnerError::TooManyPrograms
            | RunnerError::Spawn { .. } => {
                // Its input is made again: this is rare.
                let at = Instant::now() + NO_ROOM;
                self.attempts.wait(flight, at);
                self.rest();
                false
            }
            error => {
                self.failed(flight, Reason::NotRunnable, &error.to_string());
                true
            }
        }
    }

    /// Leaves the runner alone for a moment; its next ending comes first, as a rule.
    fn rest(&mut self) {
        self.no_room = Some(Instant::now() + NO_ROOM);
    }

    /// Makes the input of an attempt.
    fn prepare(&mut self, flight: Flight) {
        let run = flight.run.clone();
        let partition = flight.task.partition;
        let plan = self.plans.get(&run.reference.plan);
        match (&run.source, plan) {
            (Source::Items { .. }, Some(plan)) => {
                let Some(Partition::Item(item)) = plan.partition(partition) else {
                    let error = InputError::NoPartition(partition);
                    return self.failed(flight, error.reason(), &error.to_string());
                };
                let item = Item::Json(Arc::new(item.clone()));
                let input = Input::None;
                self.attempts.ready.push_back(Prepared { flight, item, input });
            }
            (Source::Files { root, many, .. }, Some(plan)) => {
                self.opening += 1;
                let (root, many, base_dir) = (root.clone(), *many, self.options.base_dir.clone());
                self.jobs.0.spawn_blocking(move || {
                    let input = reader::open(&plan, partition, &base_dir, &root, many);
                    Job::Opened(flight, input)
                });
            }
            (Source::Items { .. } | Source::Files { .. }, None) => {
                // The plan was forgotten for newer ones; it is fetched, and the attempt made then.
                self.has_plan(&run);
                let at = Instant::now() + NO_ROOM * 4;
                self.attempts.wait(flight, at);
            }
            _ => self.attempts.ready.push_back(numbered(flight)),
        }
    }

    /// Whether the plan of a run is at hand; else it is fetched.
    fn has_plan(&mut self, run: &Run) -> bool {
        let (Source::Items { chunks } | Source::Files { chunks, .. }) = run.source else {
            return true;
        };
        let digest = &run.reference.plan;
        if self.plans.get(digest).is_some() {
            return true;
        }
        if !self.fetching.contains(digest) {
            self.fetching.push(digest.clone());
            let (reference, digest) = (run.reference.clone(), digest.clone());
            let (api, deadline) = (self.plan_api(), self.options.call_deadline);
            self.jobs.0.spawn(async move {
                let plan = plans::fetch(api, reference, chunks, deadline).await;
                Job::Fetched(digest, plan)
            });
        }
        false
    }

    fn begin_planning(&mut self, run: &Run, source: braid_crds::worker::FilesSource) {
        let Some(begun) = self.machine.begin(1, self.clock.now()) else {
            return;
        };
        let task = Task {
            shard: begun.shard,
            partition: begun.range.start(),
        };
        let (reference, base_dir) = (run.reference.clone(), self.options.base_dir.clone());
        let (api, deadline) = (self.plan_api(), self.options.call_deadline);
        let planning = self.jobs.0.spawn(async move {
            let planned = planner::plan(api, reference, source, base_dir, deadline).await;
            Job::Planned(task, planned)
        });
        self.planning.insert(task, planning);
    }

    fn plan_api(&self) -> Api<PlanObject> {
        Api::namespaced(self.client.clone(), &self.identity.namespace)
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

/// An attempt that needs no input but its number.
fn numbered(flight: Flight) -> Prepared {
    let item = match &flight.run.source {
        Source::Range(range) => {
            let offset = i64::try_from(flight.task.partition)
                .unwrap_or(i64::MAX)
                .saturating_mul(range.step);
            Item::Number(range.start.saturating_add(offset))
        }
        _ => Item::None,
    };
    Prepared {
        flight,
        item,
        input: Input::None,
    }
}
