//! The runner that gives attempts to a shim process.

mod connecting;
mod convert;
mod files;
mod hearing;
mod limits;
mod services;
mod watch;

use std::collections::HashMap;
use std::io;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, sleep_until};

use super::connection::{Connection, Place};
use super::environment;
use super::filing::Filing;
use super::logs::{LogLine, LogSink};
use super::outbox::{Outbox, Sent};
use super::placing::Placer;
use super::served::Service;
use super::{Attempt, AttemptId, Ending, Failure, Finished, Outlet, Program, ProgramId, Runner, RunnerError};
use crate::frames::{FrameError, MAX_HELD, PROGRAM_SLOTS, ToShim};
use crate::shim::Places;
use convert::{check, frame};
pub use limits::Limits;

/// How much work the shim should have ahead: enough that it never waits for this side.
const AHEAD: Duration = Duration::from_millis(10);

/// At most so many attempts are sent ahead.
const MAX_AHEAD: usize = 32;

/// After so much, what has been read is looked at before more is.
const READS: usize = 8;

/// An attempt that has not ended.
struct Flight {
    program: Arc<Program>,
    partition: u64,
    attempt: u32,
    timeout: Option<Duration>,
    /// The shim may have begun it.
    sent: bool,
    /// Why it cannot have its input.
    input_failed: Option<(Failure, String)>,
    /// Where the files go that it writes.
    outlet: Option<Outlet>,
    /// How many it has written.
    files: usize,
    /// It succeeded, with this, and its files are being stored.
    ended: Option<(Option<Bytes>, Duration)>,
}

struct Slot {
    program: Arc<Program>,
    /// Of a program that lives on.
    service: Option<Service>,
    in_flight: usize,
    last_used: u64,
    /// Why its attempts cannot have the files that all of them read.
    broken: Option<String>,
}

impl Slot {
    /// Whether another program can have its place.
    fn is_free(&self) -> bool {
        let served = self.service.as_ref();
        self.in_flight == 0 && served.is_none_or(|service| !service.is_busy() && !service.is_live())
    }
}

/// Runs attempts in a shim, which it starts or waits for when needed, watches, and replaces when it dies.
pub struct ShimRunner {
    place: Place,
    limits: Limits,
    sink: Arc<dyn LogSink>,
    slots: Vec<Slot>,
    uses: u64,
    flights: HashMap<AttemptId, Flight>,
    outbox: Outbox,
    filing: Filing,
    connection: Option<Connection>,
    /// A dead shim is being buried; then its attempts end with this message.
    burial: Option<(JoinHandle<()>, String)>,
    /// A shim of another container is away since then; when it is back, its attempts end with this message.
    absent: Option<(Instant, String)>,
    finished: Vec<Finished>,
    lines: Vec<LogLine>,
    lines_since: Option<Instant>,
    greeted: bool,
    draining: bool,
    /// The caller knows about the draining.
    draining_told: bool,
    /// How many shims in a row have ended without an attempt.
    failures: u32,
    not_before: Option<Instant>,
    heard: Instant,
    asked: Option<Instant>,
    progress: Instant,
    /// Up to when attempts may go on, if there is a limit.
    lease: Option<Instant>,
    /// This side may have slept itself, so a shim is given a second chance from here.
    suspected: Option<Instant>,
    /// How long an attempt takes, in seconds: a moving average.
    pace: Option<f64>,
}

impl ShimRunner {
    /// A runner that has its shims from there and gives log lines to this sink.
    pub fn new(place: impl Into<Place>, limits: Limits, sink: Arc<dyn LogSink>) -> Self {
        let (now, place) = (Instant::now(), place.into());
        let placer = match place {
            Place::Here(_) => Some(Placer::new(Places::default())),
            Place::Beside(_) => None,
        };
        Self {
            outbox: Outbox::new(placer),
            place,
            limits,
            sink,
            slots: Vec::new(),
            uses: 0,
            flights: HashMap::new(),
            filing: Filing::default(),
            connection: None,
            burial: None,
            absent: None,
            finished: Vec::new(),
            lines: Vec::new(),
            lines_since: None,
            greeted: false,
            draining: false,
            draining_told: false,
            failures: 0,
            not_before: None,
            heard: now,
            asked: None,
            progress: now,
            lease: None,
            suspected: None,
            pace: None,
        }
    }

    /// The process id of the shim, while there is one that was started here.
    pub fn shim_pid(&self) -> Option<u32> {
        self.connection.as_ref().and_then(Connection::pid)
    }

    /// Waits until there is a shim. May be dropped at any await.
    ///
    /// # Errors
    /// As of [`Runner::next`]; may be called again.
    pub async fn connected(&mut self) -> Result<(), RunnerError> {
        while self.connection.is_none() {
            self.connect().await?;
            // At once: a shim that was let in and has not got its key could not come again.
            if let Err(why) = self.exchange() {
                self.lose(why);
            }
        }
        Ok(())
    }

    fn slot_of(&self, program: ProgramId) -> Option<(u8, &Slot)> {
        let at = self.slots.iter().position(|slot| slot.program.id == program)?;
        Some((u8::try_from(at).ok()?, self.slots.get(at)?))
    }

    fn prepare_now(&mut self, program: Arc<Program>) -> Result<(), RunnerError> {
        self.uses += 1;
        let uses = self.uses;
        if let Some(slot) = self.slots.iter_mut().find(|slot| slot.program.id == program.id) {
            slot.last_used = uses;
            return if slot.program == program {
                Ok(())
            } else {
                Err(RunnerError::ProgramChanged(program.id))
            };
        }
        check(&program)?;
        let at = if self.slots.len() < usize::from(PROGRAM_SLOTS) {
            self.slots.len()
        } else {
            let idle = self.slots.iter().enumerate().filter(|(_, slot)| slot.is_free());
            let idle = idle.min_by_key(|(_, slot)| slot.last_used).map(|(at, _)| at);
            if idle.is_none() {
                // One that only lives on makes room when it has ended.
                self.retire_services();
            }
            idle.ok_or(RunnerError::TooManyPrograms)?
        };
        let number = u8::try_from(at).map_err(|_| RunnerError::TooManyPrograms)?;
        self.outbox.forget_sides(number);
        self.outbox
            .program(frame(number, &program), program.sides.get())
            .map_err(|source| RunnerError::TooLarge {
                what: format!(
                    "the command, arguments, script and variables of step `{}`",
                    program.step
                ),
                source,
            })?;
        let served = program.serve.is_some();
        let slot = Slot {
            service: served.then(|| self.service(&program, number)),
            program,
            in_flight: 0,
            last_used: uses,
            broken: None,
        };
        match self.slots.get_mut(at) {
            Some(place) => *place = slot,
            None => self.slots.push(slot),
        }
        Ok(())
    }

    fn start_now(&mut self, attempt: Attempt) -> Result<(), RunnerError> {
        let Some((number, slot)) = self.slot_of(attempt.program) else {
            return Err(RunnerError::UnknownProgram(attempt.program));
        };
        if let Some(why) = &slot.broken {
            return Err(RunnerError::Side(why.clone()));
        }
        if self.flights.contains_key(&attempt.id) || self.services().any(|service| service.holds(attempt.id)) {
            return Err(RunnerError::DuplicateAttempt(attempt.id));
        }
        if slot.service.is_some() {
            return self.serve(number, attempt);
        }
        // One more than is asked for may wait.
        let concurrency = usize::from(slot.program.concurrency.max(1));
        let held = self.flights.len();
        if self.draining || (self.capacity(attempt.program) == 0 && held > concurrency.min(MAX_HELD - 1)) {
            return Err(RunnerError::Full);
        }
        let program = Arc::clone(&slot.program);
        let env = environment::of(&attempt, &program);
        let flight = Flight {
            program,
            partition: attempt.partition,
            attempt: attempt.attempt,
            timeout: attempt.timeout,
            sent: false,
            input_failed: None,
            outlet: attempt.outlet.clone(),
            files: 0,
            ended: None,
        };
        let (id, partition) = (attempt.id, attempt.partition);
        self.outbox
            .start(attempt, number, env)
            .map_err(|source| RunnerError::TooLarge {
                what: format!(
                    "the variables of partition {partition} of step `{}`",
                    flight.program.step
                ),
                source,
            })?;
        if self.flights.is_empty() {
            self.progress = Instant::now();
            self.heard = self.progress;
        }
        self.flights.insert(id, flight);
        self.uses += 1;
        if let Some(slot) = self.slots.get_mut(usize::from(number)) {
            slot.in_flight += 1;
            slot.last_used = self.uses;
        }
        Ok(())
    }

    /// Takes an attempt out of flight and reports it.
    fn end(&mut self, id: AttemptId, took: Duration, ending: impl FnOnce(&Flight) -> Ending) -> bool {
        let Some(flight) = self.flights.remove(&id) else {
            return false;
        };
        self.outbox.ended(id);
        if let Some(slot) = self.slots.iter_mut().find(|slot| slot.program.id == flight.program.id) {
            slot.in_flight = slot.in_flight.saturating_sub(1);
        }
        let (partition, attempt) = (flight.partition, flight.attempt);
        let ending = ending(&flight);
        self.finished.push(Finished {
            id,
            partition,
            attempt,
            wrote: flight.files > 0 && matches!(ending, Ending::Succeeded { .. }),
            ending,
            took,
        });
        true
    }

    /// Writes and reads what can be without waiting. An error is the shim's.
    fn exchange(&mut self) -> Result<(), String> {
        if self.connection.is_none() {
            // What is to be sent stays as it is until there is a shim.
            return Ok(());
        }
        self.write()?;
        if !self.lines.is_empty() {
            // Not reading is our choice, so the shim is not silent.
            self.heard = Instant::now();
            return Ok(());
        }
        for _ in 0..READS {
            if !self.filing.has_room() {
                // Nor is it when the disk holds it up.
                self.heard = Instant::now();
                return Ok(());
            }
            let Some(connection) = &mut self.connection else {
                return Ok(());
            };
            match connection.receive() {
                Ok(None) => break,
                Ok(Some(0)) => return Err("it closed its socket".to_owned()),
                Ok(Some(_)) => {}
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(format!("its socket failed: {error}")),
            }
            self.heard = Instant::now();
            (self.asked, self.suspected) = (None, None);
            while let Some(connection) = &mut self.connection
                && let Some(frame) = connection
                    .next()
                    .map_err(|error| format!("it sent a bad frame: {error}"))?
            {
                self.hear(frame)?;
            }
            self.filing.pass_on();
        }
        // What was heard may be followed by something to say.
        self.write()
    }

    /// Writes what there is, as far as that can be done without waiting.
    fn write(&mut self) -> Result<(), String> {
        self.pump().map_err(|error| error.to_string())?;
        loop {
            let sent = self.outbox.fill().map_err(|error| error.to_string())?;
            self.note(sent);
            let Some(connection) = &mut self.connection else {
                return Ok(());
            };
            if self.outbox.wire().is_empty() {
                break;
            }
            match connection.socket.try_write(self.outbox.wire()) {
                Ok(count) => {
                    self.outbox.written(count);
                    self.progress = Instant::now();
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                // What it has said before its end is still to be read; then the end is seen there.
                Err(error) if error.kind() == io::ErrorKind::BrokenPipe => break,
                Err(error) => return Err(format!("its socket failed: {error}")),
            }
        }
        Ok(())
    }

    fn note(&mut self, sent: impl IntoIterator<Item = Sent>) {
        for event in sent {
            match event {
                Sent::Start(id) => {
                    if let Some(flight) = self.flights.get_mut(&id) {
                        flight.sent = true;
                    } else {
                        self.services_mut().for_each(|service| service.begun(id));
                    }
                }
                Sent::SideFailed(slot, error) => self.side_failed(slot, &error),
                Sent::InputFailed(id, error) => {
                    if let Some(flight) = self.flights.get_mut(&id) {
                        flight.input_failed = Some((error.failure(), error.to_string()));
                    } else {
                        self.unmade(id, &error);
                    }
                }
            }
        }
    }

    /// Files that all attempts of a program read cannot be read: none of these can go on, and none is taken any more.
    fn side_failed(&mut self, number: u8, error: &io::Error) {
        let why = format!("what all partitions read cannot be read: {error}");
        let Some(slot) = self.slots.get_mut(usize::from(number)) else {
            return;
        };
        slot.broken = Some(why.clone());
        let program = slot.program.id;
        self.break_service_off(number, &why);
        let ids: Vec<AttemptId> = (self.flights.iter())
            .filter(|(_, flight)| flight.program.id == program)
            .map(|(id, _)| *id)
            .collect();
        for id in ids {
            self.outbox.forget(id);
            let sent = self.flights.get_mut(&id).is_some_and(|flight| {
                flight.input_failed = Some((Failure::InputUnreadable, why.clone()));
                flight.sent
            });
            if !sent {
                self.end(id, Duration::ZERO, |_| Ending::Failed {
                    failure: Failure::InputUnreadable,
                    message: why.clone(),
                });
            } else if self.outbox.control(&ToShim::Kill { attempt: id.0 }).is_err() {
                // A frame of nine bytes is never too long.
                tracing::error!(?id, "a kill could not be put in line");
            }
        }
    }

    /// Gives the lines to the sink. While it is full they are kept, for a limited time.
    fn pass_lines_on(&mut self) {
        if self.lines.is_empty() {
            return;
        }
        let lines = std::mem::take(&mut self.lines);
        let Err(back) = self.sink.append(lines) else {
            self.lines_since = None;
            return;
        };
        let since = *self.lines_since.get_or_insert_with(Instant::now);
        if since.elapsed() > self.limits.log_patience {
            tracing::warn!(lines = back.len(), "the log is full for too long: lines are dropped");
            self.sink.lost(back.len() as u64);
            self.lines_since = None;
        } else {
            self.lines = back;
        }
    }

    /// Waits until there is something to do.
    async fn wait(&mut self) {
        let look = self.next_look().into_iter().chain(self.services_due()).min();
        let Some(connection) = &self.connection else { return };
        let (socket, lines) = (&connection.socket, self.lines.is_empty());
        let reads_on = lines && self.filing.has_room();
        let writes = !self.outbox.wire().is_empty();
        let reads = self.outbox.is_reading();
        let mut called = None;
        let slots = &mut self.slots;
        let filing = &mut self.filing;
        let mut filed = None;
        let mut timer = pin!(async {
            match look {
                Some(moment) => sleep_until(moment).await,
                None => std::future::pending().await,
            }
        });
        let chunk = tokio::select! {
            // Errors of the two show again when the socket is used.
            _ = socket.readable(), if reads_on => None,
            _ = socket.writable(), if writes => None,
            chunk = self.outbox.read(), if reads => Some(chunk),
            reply = services::replied(slots) => { called = Some(reply); None },
            stored = filing.turn() => {
                filed = stored;
                None
            }
            () = &mut timer => None,
            () = sleep(Duration::from_millis(5)), if !lines => None,
        };
        match chunk {
            Some(Ok(sent)) => {
                // A large input is put into a file without a word to the shim.
                self.progress = Instant::now();
                self.note(sent);
            }
            Some(Err(error)) => self.lose(error.to_string()),
            None => {}
        }
        if let Some((slot, reply)) = called {
            self.called(slot, reply);
        }
        if let Some((id, stored)) = filed {
            self.filed(id, stored);
        }
        self.filing.pass_on();
    }
}

fn too_large(what: &'static str) -> impl Fn(FrameError) -> RunnerError {
    move |source| RunnerError::TooLarge {
        what: what.to_owned(),
        source,
    }
}

impl Runner for ShimRunner {
    async fn prepare(&mut self, program: Arc<Program>) -> Result<(), RunnerError> {
        self.prepare_now(program)
    }

    async fn start(&mut self, attempt: Attempt) -> Result<(), RunnerError> {
        self.start_now(attempt)
    }

    fn capacity(&self, program: ProgramId) -> usize {
        let Some((_, slot)) = self.slot_of(program) else {
            return 0;
        };
        if self.draining {
            return 0;
        }
        if let Some(service) = &slot.service {
            return service.capacity();
        }
        let concurrency = usize::from(slot.program.concurrency.max(1));
        let pace = self.pace.unwrap_or(1.0).max(1e-6);
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            clippy::cast_precision_loss,
            reason = "the product is small and positive"
        )]
        let ahead = (AHEAD.as_secs_f64() / pace * concurrency as f64) as usize;
        // None ahead of what takes long: what is ahead when a shard ends would begin and be run again.
        let most = (concurrency + ahead.min(MAX_AHEAD)).min(MAX_HELD);
        most.saturating_sub(self.flights.len())
    }

    async fn next(&mut self) -> Result<Vec<Finished>, RunnerError> {
        loop {
            if self.connection.is_none() {
                self.connect().await?;
            }
            if let Err(why) = self.exchange().and_then(|()| self.look()) {
                self.lose(why);
            }
            self.pass_lines_on();
            if !self.finished.is_empty() {
                return Ok(std::mem::take(&mut self.finished));
            }
            if self.draining && !self.draining_told {
                self.draining_told = true;
                return Ok(Vec::new());
            }
            self.wait().await;
        }
    }

    async fn kill(&mut self, attempt: AttemptId) -> Result<(), RunnerError> {
        let Some(flight) = self.flights.get(&attempt) else {
            return self.kill_served(attempt).map_err(too_large("a kill"));
        };
        let sent = flight.sent;
        self.outbox.forget(attempt);
        if sent {
            let kill = ToShim::Kill { attempt: attempt.0 };
            self.outbox.control(&kill).map_err(too_large("a kill"))?;
        } else {
            let message = "killed before it started".to_owned();
            self.end(attempt, Duration::ZERO, |_| Ending::Failed {
                failure: Failure::Killed,
                message,
            });
        }
        Ok(())
    }

    fn discard(&mut self, program: ProgramId, partition: u64) {
        let checkpoint = self
            .slot_of(program)
            .and_then(|(_, slot)| slot.program.checkpoint.as_ref());
        let Some(key) = checkpoint.map(|checkpoint| checkpoint.key.clone()) else {
            return;
        };
        if let Err(error) = self.outbox.control(&ToShim::Discard { key, partition }) {
            tracing::debug!(partition, %error, "what a failed partition has saved stays for now");
        }
    }

    async fn extend(&mut self, lease: Duration) -> Result<(), RunnerError> {
        self.lease = Instant::now().checked_add(lease);
        self.send_lease(lease)
    }

    fn is_draining(&self) -> bool {
        self.draining
    }

    async fn shutdown(mut self) {
        self.say_goodbye().await;
        self.pass_lines_on();
        let goodbye = self.limits.goodbye;
        if let Some(connection) = self.connection.take() {
            let remains = connection.close();
            // A panic in there leaves nothing to be done here.
            let _ = tokio::task::spawn_blocking(move || remains.bury(goodbye)).await;
        }
        if let Some((burial, _)) = self.burial.take() {
            let _ = burial.await;
        }
    }
}

impl Drop for ShimRunner {
    /// A worker that is aborted cannot wait: the shim sees the end of its socket at once, a thread waits for its end.
    fn drop(&mut self) {
        if let Some(connection) = self.connection.take() {
            let (remains, goodbye) = (connection.close(), self.limits.goodbye);
            let buried = std::thread::Builder::new()
                .name("shim-burial".to_owned())
                .spawn(move || remains.bury(goodbye));
            if let Err(error) = buried {
                tracing::warn!(%error, "no thread to wait for a shim's end");
            }
        }
    }
}
