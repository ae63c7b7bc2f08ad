//! Long-lived programs: what a worker holds of one, and what follows when it answers, hangs or ends.
//!
//! A [`Service`] is one program in this worker. It asks the shim to start the process when there is something to do, sends
//! it attempts up to its concurrency, and ends it when nothing has come for a while.
//!
//! Contract
//! - Each attempt that was taken ends exactly once, unless the runner ends before.
//! - An attempt is blamed for the end of the process only if it was the only one in flight. If there were several, nobody is:
//!   they are sent again one at a time, so that the next death has one suspect. That costs no attempt.
//! - An attempt that takes too long is the process's end; the others in flight are sent again.
//! - The process is started again at once if it has answered anything, else later each time.

mod body;
mod calls;
mod ends;
mod held;
mod http;
mod lines;

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use tokio::time::Instant;

pub(crate) use self::body::input_bytes;
pub(super) use self::calls::Called;
use self::calls::Calls;
use self::held::{Cause, Held, Live, Stage, Work};
use self::lines::{Answers, Names, Said};
use super::outbox::Outbox;
use super::{Attempt, AttemptId, Ending, Failure, Finished, Input, Limits, Program, Serve};
use crate::frames::{FrameError, InputShape, MAX_HELD, MAX_STREAM, StartFrame};

/// Ids from here on are those of processes, not of attempts.
const PROCESSES: u64 = 1 << 63;

/// A process that has nothing to do is ended after this.
const IDLE: Duration = Duration::from_secs(10);

/// How much work should be sent ahead where that is possible.
const AHEAD: Duration = Duration::from_millis(20);

/// At most so many attempts are held beyond those in flight.
const MAX_AHEAD: usize = 512;

/// So many bytes are sent at most that are not answered. A single line may be longer.
const UNANSWERED: usize = MAX_STREAM / 4;

/// What a service needs of its runner.
pub(super) struct Io<'a> {
    pub(super) outbox: &'a mut Outbox,
    pub(super) finished: &'a mut Vec<Finished>,
    pub(super) now: Instant,
}

/// A long-lived program in this worker.
#[derive(Debug)]
pub(super) struct Service {
    program: Arc<Program>,
    slot: u8,
    ahead: bool,
    /// The first and the longest pause before a process is started again.
    pauses: (Duration, Duration),
    held: HashMap<AttemptId, Held>,
    /// Ready, in the order in which they are sent.
    queue: VecDeque<AttemptId>,
    /// Ready, and under suspicion: sent before the others, one at a time.
    alone: VecDeque<AttemptId>,
    /// In flight, the oldest first.
    sent: VecDeque<AttemptId>,
    sent_bytes: usize,
    /// The one in flight is to stay the only one.
    lonely: bool,
    /// How many that are in flight were killed.
    killed: usize,
    /// Were with a shim that is lost.
    lost: Vec<AttemptId>,
    live: Option<Live>,
    answers: Answers,
    /// Of one that is asked by HTTP.
    calls: Option<Calls>,
    processes: u64,
    /// How many processes in a row have answered nothing.
    failures: u32,
    not_before: Option<Instant>,
    /// Since when the oldest in flight has been that.
    oldest_since: Instant,
    /// When it last had something to do.
    busy: Instant,
    /// How long an attempt takes while there are more, in seconds: a moving average.
    pace: Option<f64>,
    heard: Instant,
    /// The partition and the attempt to which lines of the process's log belong while none is in flight.
    speaks_for: (u64, u32),
    /// The same as the shim knows it, if it is the shim that prints them.
    told: Option<(u64, u32)>,
    prints: bool,
}

impl Service {
    /// The service of a program. `alone`: no other worker is on this machine, so that its port is its own, and the shim prints what
    /// it says.
    pub(super) fn new(program: Arc<Program>, slot: u8, limits: &Limits, alone: bool, now: Instant) -> Self {
        let calls = match &program.serve {
            Some(Serve::Http(http)) => Some(Calls::new((**http).clone(), alone)),
            _ => None,
        };
        let ahead = matches!(program.serve, Some(Serve::Lines { ahead: true }));
        Self {
            ahead: ahead && program.concurrency <= 1,
            program,
            slot,
            pauses: (limits.first_pause, limits.longest_pause),
            held: HashMap::new(),
            queue: VecDeque::new(),
            alone: VecDeque::new(),
            sent: VecDeque::new(),
            sent_bytes: 0,
            lonely: false,
            killed: 0,
            lost: Vec::new(),
            live: None,
            answers: Answers::default(),
            calls,
            processes: 0,
            failures: 0,
            not_before: None,
            oldest_since: now,
            busy: now,
            pace: None,
            heard: now,
            speaks_for: (0, 1),
            told: None,
            prints: alone,
        }
    }

    /// Whether it holds attempts.
    pub(super) fn is_busy(&self) -> bool {
        !self.held.is_empty()
    }

    /// Whether there is a process, or one is asked for.
    pub(super) fn is_live(&self) -> bool {
        self.live.is_some()
    }

    /// Whether a process has been asked to end by itself.
    pub(super) fn is_leaving(&self) -> bool {
        matches!(
            &self.live,
            Some(Live {
                ending: Some(Cause::Idle),
                ..
            })
        )
    }

    /// Whether this is the process.
    pub(super) fn is(&self, id: u64) -> bool {
        self.live.as_ref().is_some_and(|live| live.id == id)
    }

    /// The shim may start the process from now on.
    pub(super) fn begun(&mut self, id: AttemptId) {
        if let Some(live) = self.live.as_mut().filter(|live| live.id == id.0) {
            live.begun = true;
        }
    }

    /// Whether it holds this attempt.
    pub(super) fn holds(&self, id: AttemptId) -> bool {
        self.held.contains_key(&id)
    }

    /// To whose log a line of the process belongs: to the oldest attempt in flight, which is exact where there is one.
    pub(super) fn speaks_for(&self) -> (u64, u32) {
        let oldest = self.sent.front().and_then(|id| self.held.get(id));
        oldest.map_or(self.speaks_for, |held| (held.partition, held.attempt))
    }

    /// How many may be in flight.
    fn window(&self) -> usize {
        let concurrency = usize::from(self.program.concurrency.max(1));
        if self.ahead {
            concurrency + self.more()
        } else {
            concurrency
        }
    }

    /// How many more than are in flight are worth having.
    fn more(&self) -> usize {
        let Some(pace) = self.pace else { return 0 };
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "the quotient is positive, and large ones are cut"
        )]
        let more = (AHEAD.as_secs_f64() / pace.max(1e-6)) as usize;
        more.min(MAX_AHEAD)
    }

    /// How many more attempts are taken now.
    pub(super) fn capacity(&self) -> usize {
        let concurrency = usize::from(self.program.concurrency.max(1));
        (concurrency + self.more())
            .min(MAX_HELD - 1)
            .saturating_sub(self.held.len())
    }

    /// Whether one more may be held, whatever [`Self::capacity`] says.
    pub(super) fn has_room(&self) -> bool {
        let concurrency = usize::from(self.program.concurrency.max(1));
        self.capacity() > 0 || self.held.len() <= concurrency.min(MAX_HELD - 2)
    }

    /// Takes an attempt.
    pub(super) fn take(&mut self, mut attempt: Attempt, io: &mut Io<'_>) -> Result<(), FrameError> {
        let id = attempt.id;
        let mut held = Held {
            partition: attempt.partition,
            attempt: attempt.attempt,
            timeout: attempt.timeout,
            stage: Stage::Ready(Work::Line(Bytes::new())),
            stored: false,
            killed: None,
            broken: None,
            waits: 0,
            waited: Duration::ZERO,
        };
        match std::mem::take(&mut attempt.input) {
            input if self.calls.is_some() => {
                attempt.input = input;
                held.stage = Stage::Ready(Work::Post(Arc::new(attempt)));
                self.queue.push_back(id);
            }
            Input::None => {
                held.stage = Stage::Ready(Work::Line(lines::request(&attempt, &self.program, None)));
                self.queue.push_back(id);
            }
            input => {
                let names = Names::of(&input);
                io.outbox.store(id, input)?;
                held.stored = true;
                held.stage = Stage::Arriving(Box::new(attempt), names);
            }
        }
        if self.held.is_empty() {
            self.speaks_for = (held.partition, held.attempt);
        }
        self.held.insert(id, held);
        Ok(())
    }

    /// The shim has the input of an attempt in a file, or has not.
    pub(super) fn stored(
        &mut self,
        id: AttemptId,
        place: Result<String, String>,
        io: &mut Io<'_>,
    ) -> Result<(), FrameError> {
        let Some(held) = self.held.get_mut(&id) else {
            return Ok(());
        };
        let Stage::Arriving(attempt, names) = &held.stage else {
            return Ok(());
        };
        match place {
            Ok(path) => {
                let input = Some((path.as_str(), names));
                held.stage = Stage::Ready(Work::Line(lines::request(attempt, &self.program, input)));
                self.queue.push_back(id);
                Ok(())
            }
            Err(message) => self.fail(id, Failure::NotSetUp, message, io),
        }
    }

    /// Does what is due: starts the process, sends, ends.
    pub(super) fn pump(&mut self, io: &mut Io<'_>) -> Result<(), FrameError> {
        self.collect(io)?;
        self.judge(io)?;
        if self.live.is_none() {
            let waits = self.not_before.is_some_and(|moment| moment > io.now);
            if waits || (self.queue.is_empty() && self.alone.is_empty()) {
                return Ok(());
            }
            self.launch(io)?;
        }
        let Some(live) = self.live.as_ref().filter(|live| live.ending.is_none()) else {
            return Ok(());
        };
        let (id, was_idle) = (live.id, self.sent.is_empty());
        if !self.may_be_asked(io.now) {
            return Ok(());
        }
        let mut wire = BytesMut::new();
        while let Some(next) = self.next_to_send() {
            let Some(held) = self.held.get_mut(&next) else { continue };
            let Stage::Ready(work) = &held.stage else { continue };
            let work = work.clone();
            self.sent_bytes += work.length();
            match (&work, &mut self.calls) {
                (Work::Line(line), _) => wire.extend_from_slice(line),
                (Work::Post(attempt), Some(calls)) => calls.ask(next, attempt, &self.program),
                (Work::Post(_), None) => {}
            }
            held.stage = Stage::Sent(work, io.now);
            self.sent.push_back(next);
        }
        if was_idle && !self.sent.is_empty() {
            (self.oldest_since, self.heard) = (io.now, io.now);
        }
        // Before what it works on: so a line of one that works on one at a time is never another's.
        self.tell(id, io)?;
        if !wire.is_empty() {
            io.outbox.stream(AttemptId(id), wire.freeze());
        }
        Ok(())
    }

    /// Tells a shim that prints whose the lines of the process are.
    fn tell(&mut self, process: u64, io: &mut Io<'_>) -> Result<(), FrameError> {
        let now = self.speaks_for();
        if !self.prints || self.told == Some(now) {
            return Ok(());
        }
        self.told = Some(now);
        io.outbox.about(AttemptId(process), now.0, now.1)
    }

    fn next_to_send(&mut self) -> Option<AttemptId> {
        if self.lonely {
            return None;
        }
        if !self.alone.is_empty() {
            self.lonely = self.sent.is_empty();
            return if self.lonely { self.alone.pop_front() } else { None };
        }
        if self.sent.len() >= self.window() || (self.sent_bytes > UNANSWERED && !self.sent.is_empty()) {
            return None;
        }
        self.queue.pop_front()
    }

    fn launch(&mut self, io: &mut Io<'_>) -> Result<(), FrameError> {
        let env = match &mut self.calls {
            None => Vec::new(),
            Some(calls) => match calls.listen() {
                Ok(port) => vec![("BRAID_PORT".to_owned(), port.to_string())],
                Err(error) => {
                    tracing::warn!(step = %self.program.step, %error, "there is no free port for the program");
                    self.not_before = io.now.checked_add(self.pauses.1);
                    return Ok(());
                }
            },
        };
        self.processes += 1;
        let id = PROCESSES | (u64::from(self.slot) << 48) | self.processes;
        // What it says before it is asked anything is told to who waits first.
        let first = self.alone.front().or(self.queue.front());
        if let Some(held) = first.and_then(|id| self.held.get(id)) {
            self.speaks_for = (held.partition, held.attempt);
        }
        let (partition, number) = self.speaks_for;
        self.told = Some(self.speaks_for);
        let start = StartFrame {
            attempt: id,
            slot: self.slot,
            partition,
            number,
            timeout_millis: None,
            env,
            input: if self.calls.is_some() {
                InputShape::Beside
            } else {
                InputShape::Stream
            },
        };
        io.outbox.begin(&start)?;
        self.answers = Answers::default();
        self.not_before = None;
        self.live = Some(Live {
            id,
            begun: false,
            answered: false,
            ending: None,
            kill_at: None,
        });
        Ok(())
    }

    /// Takes what the process wrote.
    pub(super) fn output(&mut self, data: &[u8], io: &mut Io<'_>) -> Result<(), FrameError> {
        if self.live.as_ref().is_none_or(|live| live.ending.is_some()) {
            return Ok(());
        }
        self.answers.push(data);
        let mut count = 0_u32;
        loop {
            let broken = match self.answers.next() {
                Ok(None) => break,
                Ok(Some(answer)) => {
                    count += 1;
                    self.answered(answer, io)?.map(|why| (why, true))
                }
                Err(why) => Some((why, false)),
            };
            if let Some((why, foreign)) = broken {
                self.progressed(count.saturating_sub(u32::from(foreign)), io.now);
                return self.end(Cause::Broke { why, foreign }, io);
            }
        }
        self.progressed(count, io.now);
        Ok(())
    }

    /// So many have been answered since it was heard last.
    fn progressed(&mut self, count: u32, now: Instant) {
        if count == 0 {
            return;
        }
        if let Some(live) = &mut self.live {
            live.answered = true;
        }
        self.failures = 0;
        let took = now.saturating_duration_since(self.heard).as_secs_f64() / f64::from(count);
        let before = self.pace.unwrap_or(took);
        self.pace = Some(before + (took - before) / 8.0);
        (self.heard, self.busy) = (now, now);
    }

    /// Takes an attempt out of flight. `false`: it is not in flight.
    fn land(&mut self, id: AttemptId, now: Instant) -> bool {
        // As a rule it is the oldest.
        let Some(at) = self.sent.iter().position(|sent| *sent == id) else {
            return false;
        };
        self.sent.remove(at);
        if at == 0 {
            self.oldest_since = now;
        }
        self.lonely = false;
        true
    }

    /// Gives what is wrong with an answer.
    fn answered(&mut self, answer: lines::Answer, io: &mut Io<'_>) -> Result<Option<String>, FrameError> {
        let id = AttemptId(answer.id);
        if !self.land(id, io.now) {
            return Ok(Some(format!(
                "it answered the id {}, which it was not sent, or has answered before",
                answer.id
            )));
        }
        match answer.said {
            Said::Results(results) => {
                let limit = self.program.results_limit;
                match (results, limit) {
                    (Some(results), Some(limit)) if results.len() as u64 > u64::from(limit) => {
                        let size = results.len() as u64;
                        let message = format!("the results have {size} bytes, more than the {limit} allowed");
                        self.fail(id, Failure::ResultTooLarge { size, limit }, message, io)?;
                    }
                    (results, limit) => {
                        let results = results.filter(|_| limit.is_some());
                        self.finish(id, Ending::Succeeded { results }, io)?;
                    }
                }
            }
            Said::Error { message, retry } => self.fail(id, Failure::Said { retry }, message, io)?,
        }
        Ok(None)
    }
}
