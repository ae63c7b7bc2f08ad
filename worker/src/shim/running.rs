//! One running attempt: its process, its pipes, its deadlines.

use std::io;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::process::Child;
use std::time::Duration;

use bytes::Bytes;
use nix::errno::Errno;
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::sys::signal::Signal;
use nix::unistd::Pid;
use rustix::process::WaitStatus;

use super::ShimError;
use super::checkpoint::Checkpoint;
use super::clock::Moment;
use super::family;
use super::files::Leavings;
use super::input::{Feed, Input};
use super::lines::Lines;
use super::link::Link;
use super::outlet::{Outlet, Tag};
use super::stream::Stream as Incoming;
use crate::frames::{MAX_MESSAGE, Outcome, Stream};
use crate::runner::logs::MarkedLine;

/// So many reads of one pipe in one turn: nobody else waits while one attempt floods.
const READS: usize = 4;

/// Why the shim ended an attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Cause {
    TimedOut,
    Killed,
    OutOfMemory,
}

/// How far an attempt is.
#[derive(Debug, Clone, Copy)]
enum Phase {
    Runs,
    /// TERM was sent; KILL follows at this moment.
    Ending(Cause, Moment),
    /// KILL was sent.
    Killed(Cause),
}

pub(super) struct Running {
    pub(super) attempt: u64,
    tag: Tag,
    pub(super) slot: u8,
    pub(super) leader: Pid,
    pub(super) input: Input,
    pub(super) results: Option<(PathBuf, u32)>,
    pub(super) leavings: Option<Leavings>,
    pub(super) checkpoint: Option<Checkpoint>,
    /// Counts the attempts of this shim.
    pub(super) number: u64,
    /// How many the kernel had killed for want of memory when it started.
    pub(super) kills_before: u64,
    pub(super) feed: Option<Feed>,
    /// Of a long-lived program: what it is sent while it runs.
    pub(super) stream: Option<Incoming>,
    /// It is a long-lived program, which concurrency does not count.
    pub(super) served: bool,
    pub(super) stdout: Output,
    pub(super) stderr: Output,
    /// Why the shim ended it, where that says more than its own last words.
    pub(super) why: Option<String>,
    grace: Duration,
    started: Moment,
    deadline: Option<Moment>,
    phase: Phase,
    exit: Option<WaitStatus>,
    /// When what is still in the pipes is given up; set at the exit.
    drained_by: Option<Moment>,
    last_error: Bytes,
}

/// One of the two output pipes.
pub(super) struct Output {
    pub(super) pipe: Option<OwnedFd>,
    lines: Lines,
    stream: Stream,
    /// It goes to the worker as it is: it is no log.
    raw: bool,
}

impl Output {
    fn new(pipe: Option<OwnedFd>, stream: Stream, raw: bool) -> io::Result<Self> {
        if let Some(pipe) = &pipe {
            fcntl(pipe, FcntlArg::F_SETFL(OFlag::O_NONBLOCK))?;
        }
        Ok(Self {
            pipe,
            lines: Lines::default(),
            stream,
            raw,
        })
    }

    /// What is in the pipe, as it is.
    fn take(&mut self, link: &Link, buffer: &mut [u8]) -> Result<Vec<Bytes>, ShimError> {
        let mut taken = Vec::new();
        // As many reads in one turn as of a log.
        while taken.len() < READS
            && link.has_room()
            && let Some(pipe) = &self.pipe
        {
            match nix::unistd::read(pipe, buffer) {
                Ok(0) => self.pipe = None,
                Ok(count) => taken.push(Bytes::copy_from_slice(buffer.get(..count).unwrap_or_default())),
                Err(Errno::EAGAIN) => break,
                Err(Errno::EINTR) => {}
                Err(error) => return Err(ShimError::Pipe(error)),
            }
        }
        Ok(taken)
    }
}

/// What goes into a child's standard input.
pub(super) enum Stdin {
    /// Nothing, or a file that it has already.
    None,
    /// Files, one after the other.
    Files(Feed),
    /// What the worker sends while it runs.
    Stream(Incoming),
}

/// What a `Running` is made of.
pub(super) struct Parts {
    pub(super) attempt: u64,
    pub(super) tag: Tag,
    pub(super) slot: u8,
    pub(super) number: u64,
    pub(super) kills_before: u64,
    pub(super) input: Input,
    pub(super) results: Option<(PathBuf, u32)>,
    pub(super) leavings: Option<Leavings>,
    pub(super) checkpoint: Option<Checkpoint>,
    pub(super) grace: Duration,
    pub(super) timeout: Option<Duration>,
    pub(super) served: bool,
    pub(super) now: Moment,
}

impl Running {
    /// Takes over a child. Its pid is signalled and waited for by the shim alone, so a `Child` is not kept.
    pub(super) fn new(child: Child, stdin: Stdin, parts: Parts) -> io::Result<Self> {
        let raw = matches!(stdin, Stdin::Stream(_));
        let (feed, stream) = match stdin {
            Stdin::None => (None, None),
            Stdin::Files(feed) => (Some(feed), None),
            Stdin::Stream(stream) => (None, Some(stream)),
        };
        let leader = Pid::from_raw(i32::try_from(child.id()).map_err(io::Error::other)?);
        Ok(Self {
            attempt: parts.attempt,
            tag: parts.tag,
            slot: parts.slot,
            leader,
            input: parts.input,
            results: parts.results,
            leavings: parts.leavings,
            checkpoint: parts.checkpoint,
            number: parts.number,
            kills_before: parts.kills_before,
            feed,
            stream,
            served: parts.served,
            stdout: Output::new(child.stdout.map(OwnedFd::from), Stream::Stdout, raw)?,
            stderr: Output::new(child.stderr.map(OwnedFd::from), Stream::Stderr, false)?,
            why: None,
            grace: parts.grace,
            started: parts.now,
            deadline: parts.timeout.map(|timeout| parts.now.after(timeout)),
            phase: Phase::Runs,
            exit: None,
            drained_by: None,
            last_error: Bytes::new(),
        })
    }

    /// Begins to end it: TERM now, KILL after the grace. Once begun, or after its exit, this does nothing.
    pub(super) fn end(&mut self, cause: Cause, now: Moment) {
        if self.exit.is_none() && matches!(self.phase, Phase::Runs) {
            family::signal(self.leader, Signal::SIGTERM);
            self.phase = Phase::Ending(cause, now.after(self.grace));
        }
    }

    /// Ends it without a grace. What was begun to end before keeps its cause.
    pub(super) fn end_at_once(&mut self, cause: Cause) {
        let cause = match self.phase {
            Phase::Runs => cause,
            Phase::Ending(before, _) => before,
            Phase::Killed(_) => return,
        };
        if self.exit.is_none() {
            family::signal(self.leader, Signal::SIGKILL);
            self.phase = Phase::Killed(cause);
        }
    }

    /// Whether KILL was sent and its first process is still there.
    pub(super) fn is_dying(&self) -> bool {
        self.exit.is_none() && matches!(self.phase, Phase::Killed(_))
    }

    /// Does what is due.
    pub(super) fn tick(&mut self, now: Moment) {
        if self.exit.is_some() {
            return;
        }
        if let (Phase::Runs, Some(deadline)) = (self.phase, self.deadline)
            && deadline <= now
        {
            self.end(Cause::TimedOut, now);
        }
        if let Phase::Ending(cause, kill_at) = self.phase
            && kill_at <= now
        {
            family::signal(self.leader, Signal::SIGKILL);
            self.phase = Phase::Killed(cause);
        }
    }

    /// When the next thing will be due.
    pub(super) fn next_due(&self) -> Option<Moment> {
        match self.phase {
            _ if self.exit.is_some() => self.drained_by,
            Phase::Runs => self.deadline,
            Phase::Ending(_, kill_at) => Some(kill_at),
            Phase::Killed(_) => None,
        }
    }

    pub(super) fn has_exited(&self) -> bool {
        self.exit.is_some()
    }

    /// Its first process was waited for.
    pub(super) fn exited(&mut self, status: WaitStatus, drained_by: Moment) {
        self.exit = Some(status);
        self.drained_by = Some(drained_by);
        (self.feed, self.stream) = (None, None);
    }

    /// Whether all of its output has been read.
    pub(super) fn is_closed(&self) -> bool {
        self.stdout.pipe.is_none() && self.stderr.pipe.is_none()
    }

    /// Whether its pipes have been held open by somebody for too long after its exit.
    pub(super) fn is_overdue(&self, now: Moment) -> bool {
        self.drained_by.is_some_and(|moment| moment <= now)
    }

    pub(super) fn took(&self, now: Moment) -> Duration {
        now.since(self.started)
    }

    /// How it ended; only after the exit. What the shim did to it says more than the status does.
    pub(super) fn outcome(&self) -> Outcome {
        match self.phase {
            Phase::Ending(Cause::TimedOut, _) | Phase::Killed(Cause::TimedOut) => Outcome::TimedOut,
            Phase::Ending(Cause::Killed, _) | Phase::Killed(Cause::Killed) => Outcome::Killed,
            Phase::Ending(Cause::OutOfMemory, _) | Phase::Killed(Cause::OutOfMemory) => Outcome::OutOfMemory,
            Phase::Runs => {
                let code = self.exit.and_then(WaitStatus::exit_status).map(Outcome::Exit);
                let signal = self.exit.and_then(WaitStatus::terminating_signal).map(Outcome::Signal);
                // Without the status of an end nothing may count.
                code.or(signal).unwrap_or(Outcome::Killed)
            }
        }
    }

    /// The last line of standard error, as text of bounded length.
    pub(super) fn last_error(&self) -> String {
        let text = String::from_utf8_lossy(&self.last_error);
        text.chars().take(MAX_MESSAGE / 4).collect()
    }

    /// What a long-lived program says on its standard output, where that is no log.
    pub(super) fn take_answers(&mut self, link: &Link, buffer: &mut [u8]) -> Result<Vec<Bytes>, ShimError> {
        if self.stdout.raw {
            self.stdout.take(link, buffer)
        } else {
            Ok(Vec::new())
        }
    }

    /// What it prints is from here on about another partition.
    pub(super) fn is_about(&mut self, partition: u64, number: u32) {
        (self.tag.partition, self.tag.number) = (partition, number);
    }

    /// Adds a line to what it has printed.
    pub(super) fn say(&self, outlet: &mut Outlet<'_>, text: String) -> Result<(), ShimError> {
        outlet.line(
            self.attempt,
            &self.tag,
            (Stream::Stderr, false),
            Bytes::from(text),
            None,
        )
    }

    /// Reads output until the pipes are empty or there is enough to be taken.
    pub(super) fn read(&mut self, outlet: &mut Outlet<'_>, buffer: &mut [u8]) -> Result<(), ShimError> {
        let (attempt, tag, served) = (self.attempt, &self.tag, self.served);
        let last_error = &mut self.last_error;
        let at_once = outlet.at_once(buffer.len());
        let buffer = buffer.get_mut(..at_once).unwrap_or_default();
        for output in [&mut self.stdout, &mut self.stderr] {
            if output.raw {
                continue;
            }
            let stream = output.stream;
            let mut sent = Ok(());
            let mut turns = READS;
            while turns > 0
                && outlet.has_room()
                && let Some(pipe) = &output.pipe
            {
                let mut emit = |line: Bytes, cut: bool| {
                    let marked = served.then(|| MarkedLine::read(&line)).flatten();
                    let text = marked.as_ref().map_or(&line, |marked| &marked.line);
                    if stream == Stream::Stderr && !text.iter().all(u8::is_ascii_whitespace) {
                        *last_error = text.slice(..text.len().min(MAX_MESSAGE));
                    }
                    if sent.is_ok() {
                        sent = outlet.line(attempt, tag, (stream, cut), line, marked.as_ref());
                    }
                };
                turns -= 1;
                match nix::unistd::read(pipe, buffer) {
                    Ok(0) => {
                        output.pipe = None;
                        output.lines.finish(&mut emit);
                    }
                    Ok(count) => output.lines.push(buffer.get(..count).unwrap_or_default(), &mut emit),
                    Err(Errno::EAGAIN) => turns = 0,
                    Err(Errno::EINTR) => {}
                    Err(error) => return Err(ShimError::Pipe(error)),
                }
            }
            sent?;
        }
        Ok(())
    }

    /// Gives the last lines of pipes that are given up.
    pub(super) fn close(&mut self, outlet: &mut Outlet<'_>) -> Result<(), ShimError> {
        let (attempt, tag, served) = (self.attempt, &self.tag, self.served);
        for output in [&mut self.stdout, &mut self.stderr] {
            let stream = output.stream;
            let mut sent = Ok(());
            if output.pipe.take().is_some() {
                output.lines.finish(|line, cut| {
                    let marked = served.then(|| MarkedLine::read(&line)).flatten();
                    sent = outlet.line(attempt, tag, (stream, cut), line, marked.as_ref());
                });
            }
            sent?;
        }
        Ok(())
    }
}
