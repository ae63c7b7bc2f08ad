//! The event loop: one thread that polls the socket, the signals and the children's pipes.

mod endings;
mod orders;
mod pressure;
mod reap;
mod served;

use std::collections::VecDeque;
use std::fs::File;
use std::io;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use self::pressure::Pressure;
use self::served::Store;
use super::checkpoint::{Checkpoint, Checkpoints};
use super::clock::Moment;
use super::family::Strays;
use super::files::{Delivery, Leavings};
use super::input::{Feed, Input, Stdin};
use super::link::Link;
use super::memory::{Cgroup, OomKills};
use super::outlet::{Outlet, Printer};
use super::program::{NotStarted, Program, Surroundings};
use super::running::{self, Cause, Parts, Running};
use super::scratch::Scratch;
use super::signals::Signals;
use super::stream::Stream;
use super::{Config, ShimError, now};
use crate::frames::{FromShim, LinkKey, Outcome, PROGRAM_SLOTS, StartFrame, VERSION};

/// Reports wait so long for others to go with, while there is work in the queue.
const HOLD: Duration = Duration::from_millis(2);

/// Reports do not wait above so many bytes.
const HOLD_BYTES: usize = 16 << 10;

/// Reports do not wait when fewer attempts than this are in the queue: the worker must learn to send more.
const HOLD_QUEUE: usize = 3;

/// Longest sleep while something runs: `poll` does not count the time that the machine sleeps, deadlines do.
const NAP: Duration = Duration::from_secs(5);

/// An attempt that has not started.
struct Queued {
    frame: StartFrame,
    input: Input,
}

/// What a shim and its worker know of each other beyond the socket.
#[derive(Debug)]
pub(super) enum Membership {
    /// The socket was inherited: there is nobody else at its other end.
    Inherited,
    /// The socket was made by connecting, and may have to be again.
    Linked(Kept),
}

/// What a shim in a container of its own keeps from one connection to the next.
#[derive(Debug)]
pub(super) struct Kept {
    /// By which the worker knows it again, once the worker has given it.
    pub(super) key: Option<LinkKey>,
    /// Prints the lines of user code.
    pub(super) printer: Printer,
}

impl Membership {
    /// What prints the lines of user code, if that is done here.
    pub(super) fn printer(&mut self) -> Option<&mut Printer> {
        match self {
            Self::Inherited => None,
            Self::Linked(kept) => Some(&mut kept.printer),
        }
    }

    /// Where the lines of user code go.
    fn outlet<'a>(&'a mut self, link: &'a mut Link) -> Outlet<'a> {
        match self {
            Self::Inherited => Outlet::Worker(link),
            Self::Linked(kept) => Outlet::Here(&mut kept.printer),
        }
    }
}

/// How a connection was served to its end.
#[derive(Debug)]
pub(super) struct Served {
    /// Whether the shim had been asked to end: the drain is over.
    pub(super) drained: bool,
    /// Whether the worker had greeted.
    pub(super) greeted: bool,
    /// What the next connection is made with.
    pub(super) membership: Membership,
}

pub(super) struct Server {
    link: Link,
    signals: Signals,
    membership: Membership,
    scratch: Scratch,
    checkpoints: Checkpoints,
    drain: Duration,
    notice: Duration,
    greeted: bool,
    draining: bool,
    programs: [Option<Program>; PROGRAM_SLOTS as usize],
    scripts: u64,
    /// Counts the directories of files that programs have had.
    sides: u64,
    queue: VecDeque<Queued>,
    store: Store,
    running: Vec<Running>,
    /// Ended, with files that the worker has not taken yet.
    deliveries: VecDeque<Delivery>,
    started: u64,
    strays: Strays,
    /// Until then nothing starts, because something killed may still be there.
    quiet_by: Option<Moment>,
    /// Up to then attempts may go on; `None`: the worker has set no limit.
    lease: Option<Moment>,
    unsent_since: Option<Moment>,
    oom: OomKills,
    pressure: Option<Pressure>,
    null: File,
    buffer: Box<[u8]>,
}

/// What woke the loop.
#[derive(Debug, Clone, Copy)]
enum Source {
    Socket,
    Signals,
    Output,
    Feed(u64),
    Stream,
}

impl Server {
    pub(super) fn new(config: Config, signals: Signals, membership: Membership) -> Result<Self, ShimError> {
        let system = |what| move |error| ShimError::System(what, error);
        nix::sys::prctl::set_child_subreaper(true)
            .map_err(|errno| ShimError::System("adopt orphaned processes", errno.into()))?;
        let cgroup = Cgroup::find(config.cgroup.as_deref());
        Ok(Self {
            link: Link::new(config.socket)?,
            signals,
            membership,
            scratch: Scratch::new(config.places),
            checkpoints: Checkpoints::new(config.checkpoints),
            drain: config.drain,
            notice: config.notice,
            greeted: false,
            draining: false,
            programs: [const { None }; PROGRAM_SLOTS as usize],
            scripts: 0,
            sides: 0,
            queue: VecDeque::new(),
            store: Store::default(),
            running: Vec::new(),
            deliveries: VecDeque::new(),
            started: 0,
            strays: Strays::default(),
            quiet_by: None,
            lease: None,
            unsent_since: None,
            pressure: Pressure::watch(cgroup.as_ref()),
            oom: OomKills::watch(cgroup.as_ref()),
            null: File::open("/dev/null").map_err(system("open /dev/null"))?,
            buffer: vec![0; 64 << 10].into(),
        })
    }

    /// Serves until the worker closes the connection, a drain is over or something is wrong; then nothing is left. Only
    /// after that the socket is closed, so its end tells the worker so.
    pub(super) fn run(mut self) -> Result<Served, ShimError> {
        let served = self.serve();
        self.end_everything()?;
        // A worker that goes while the shim drains has drained, too.
        let drained = served? || self.draining;
        Ok(Served {
            drained,
            greeted: self.greeted,
            membership: self.membership,
        })
    }

    /// Says whether it was a drain that has ended.
    fn serve(&mut self) -> Result<bool, ShimError> {
        if let Membership::Linked(Kept { key: Some(key), .. }) = &self.membership {
            let key = key.clone();
            self.link.send(&FromShim::Key { key })?;
        }
        self.link.send(&FromShim::Ready { version: VERSION })?;
        loop {
            let now = now()?;
            self.tick(now)?;
            self.start_queued(now)?;
            self.deliver()?;
            // What was started just now has a deadline, too.
            let mut wake = self.next_due(now);
            let idle = self.queue.is_empty() && self.running.is_empty() && self.deliveries.is_empty();
            if self.draining && idle && self.lease_is_over(now) {
                self.link.flush()?;
                return Ok(true);
            }
            if let Some(hold) = self.hold(now) {
                wake = earlier(wake, Some(hold));
            } else if !self.link.flush()? {
                return Ok(false);
            }
            if let Some(printer) = self.membership.printer() {
                printer.write(now);
                wake = earlier(wake, printer.next_due());
            }
            for (source, flags) in self.wait(now, wake)? {
                match source {
                    Source::Socket if flags.intersects(PollFlags::POLLIN | PollFlags::POLLHUP | PollFlags::POLLERR) => {
                        if !self.receive()? {
                            return Ok(false);
                        }
                    }
                    Source::Signals => self.signalled()?,
                    Source::Feed(attempt) => self.feed(attempt),
                    Source::Socket | Source::Output | Source::Stream => {}
                }
            }
            self.write_streams();
            self.read_outputs()?;
        }
    }

    /// Everything that is due by the clock.
    fn tick(&mut self, now: Moment) -> Result<(), ShimError> {
        if self.signals.asked_to_end() && !self.draining {
            self.draining = true;
            self.link.send(&FromShim::Draining)?;
            self.lease = earlier(self.lease, Some(now.after(self.notice)));
        }
        if self.lease_is_over(now) {
            while let Some(queued) = self.queue.pop_front() {
                self.never_ran(
                    queued,
                    Outcome::Killed,
                    "the worker's permission to run was over".to_owned(),
                )?;
            }
            for running in &mut self.running {
                running.end(Cause::Killed, now);
            }
        }
        for running in &mut self.running {
            running.tick(now);
        }
        self.relieve(now);
        let (room, mut index) = (self.has_room(), 0);
        while let Some(running) = self.running.get(index) {
            if running.has_exited() && (running.is_closed() || (room && running.is_overdue(now))) {
                let running = self.running.swap_remove(index);
                self.finish(running, now)?;
            } else {
                index += 1;
            }
        }
        Ok(())
    }

    /// When the next thing will be due.
    fn next_due(&self, now: Moment) -> Option<Moment> {
        let own = [self.lease, self.quiet_by, self.next_look(now)]
            .into_iter()
            .flatten()
            .filter(|moment| *moment > now);
        own.chain(self.running.iter().filter_map(Running::next_due)).min()
    }

    /// Until when reports wait, if they do.
    fn hold(&mut self, now: Moment) -> Option<Moment> {
        if self.link.waiting() == 0 {
            self.unsent_since = None;
            return None;
        }
        let until = self.unsent_since.get_or_insert(now).after(HOLD);
        let busy = !self.running.is_empty() && self.queue.len() >= HOLD_QUEUE;
        if busy && self.link.waiting() < HOLD_BYTES && until > now {
            return Some(until);
        }
        self.unsent_since = None;
        None
    }

    fn wait(&mut self, now: Moment, wake: Option<Moment>) -> Result<Vec<(Source, PollFlags)>, ShimError> {
        let mut sources = vec![Source::Socket, Source::Signals];
        let held = self.unsent_since.is_some() || self.link.waiting() == 0;
        let socket = if held {
            PollFlags::POLLIN
        } else {
            PollFlags::POLLIN | PollFlags::POLLOUT
        };
        let mut fds = vec![
            PollFd::new(self.link.as_fd(), socket),
            PollFd::new(self.signals.as_fd(), PollFlags::POLLIN),
        ];
        let room = self.has_room();
        if let Membership::Linked(kept) = &self.membership
            && kept.printer.is_waiting()
        {
            sources.push(Source::Output);
            fds.push(PollFd::new(kept.printer.as_fd(), PollFlags::POLLOUT));
        }
        for running in &self.running {
            if room {
                for pipe in [&running.stdout.pipe, &running.stderr.pipe].into_iter().flatten() {
                    sources.push(Source::Output);
                    fds.push(PollFd::new(pipe.as_fd(), PollFlags::POLLIN));
                }
            }
            if let Some(feed) = &running.feed {
                sources.push(Source::Feed(running.attempt));
                fds.push(PollFd::new(feed.as_fd(), PollFlags::POLLOUT));
            }
            if let Some(pipe) = running.stream.as_ref().and_then(Stream::wants_room) {
                sources.push(Source::Stream);
                fds.push(PollFd::new(pipe, PollFlags::POLLOUT));
            }
        }
        let nap = wake.map(|wake| wake.since(now)).map(|nap| nap.min(NAP));
        // Rounded up: waking a little before a deadline would only spin.
        let timeout = nap.map_or(Ok(PollTimeout::NONE), |nap| {
            PollTimeout::try_from(nap.saturating_add(Duration::from_nanos(999_999)))
        });
        let timeout = timeout.map_err(|error| ShimError::System("sleep", io::Error::other(error)))?;
        match poll(&mut fds, timeout) {
            Ok(_) | Err(Errno::EINTR) => {}
            Err(error) => return Err(ShimError::System("wait for events", error.into())),
        }
        let flags = fds.iter().map(|fd| fd.revents().unwrap_or(PollFlags::empty()));
        Ok(sources
            .into_iter()
            .zip(flags)
            .filter(|(_, flags)| !flags.is_empty())
            .collect())
    }

    fn receive(&mut self) -> Result<bool, ShimError> {
        if !self.link.receive()? {
            return Ok(false);
        }
        let now = now()?;
        while let Some(frame) = self.link.next()? {
            self.obey(frame, now)?;
        }
        Ok(true)
    }

    fn start_queued(&mut self, now: Moment) -> Result<(), ShimError> {
        if self.quiet_by.is_some_and(|moment| moment > now) {
            return Ok(());
        }
        while self.has_room()
            && let Some(queued) = self.queue.front()
            && queued.input.is_whole()
            && let Some(Some(program)) = self.programs.get_mut(usize::from(queued.frame.slot))
            && program.sides.are_whole()
            && (queued.frame.input.is_served() || processes(&self.running) < program.concurrency())
            && let Some(mut queued) = self.queue.pop_front()
        {
            let kills_before = self.oom.count();
            let checkpoint = match take(&queued.frame, program, &mut self.checkpoints, &mut self.scratch) {
                Ok(checkpoint) => checkpoint,
                Err(NotStarted { outcome, message }) => {
                    self.never_ran(queued, outcome, message)?;
                    continue;
                }
            };
            let path = checkpoint.as_ref().map(Checkpoint::path);
            match start(
                &queued.frame,
                &mut queued.input,
                program,
                (&mut self.scratch, path),
                &self.null,
            ) {
                Ok((child, stdin, results, leavings)) => {
                    if let Some(checkpoint) = &checkpoint {
                        let kept = checkpoint.hand_down(false);
                        kept.map_err(|error| ShimError::System("keep a lock to itself", error))?;
                    }
                    self.started += 1;
                    let parts = Parts {
                        attempt: queued.frame.attempt,
                        tag: program.tag(&queued.frame),
                        slot: queued.frame.slot,
                        number: self.started,
                        kills_before,
                        input: queued.input,
                        results,
                        leavings,
                        checkpoint,
                        grace: program.grace(),
                        timeout: queued.frame.timeout_millis.map(Duration::from_millis),
                        served: queued.frame.input.is_served(),
                        now,
                    };
                    let running = Running::new(child, stdin, parts)
                        .map_err(|error| ShimError::System("set up a child's pipes", error))?;
                    self.running.push(running);
                }
                Err(NotStarted { outcome, message }) => {
                    if let Some(checkpoint) = checkpoint {
                        self.checkpoints.end(checkpoint, false, &mut self.scratch);
                    }
                    self.never_ran(queued, outcome, message)?;
                }
            }
        }
        Ok(())
    }

    fn feed(&mut self, attempt: u64) {
        if let Some(running) = self.running.iter_mut().find(|running| running.attempt == attempt)
            && let Some(feed) = &mut running.feed
            && !feed.write().unwrap_or(false)
        {
            running.feed = None;
        }
    }

    fn read_outputs(&mut self) -> Result<(), ShimError> {
        for running in &mut self.running {
            let said = running.take_answers(&self.link, &mut self.buffer)?;
            running.read(&mut self.membership.outlet(&mut self.link), &mut self.buffer)?;
            // Behind the lines: what was printed before an answer is about its partition.
            for data in said {
                let attempt = running.attempt;
                self.link.send(&FromShim::Output { attempt, data })?;
            }
        }
        Ok(())
    }

    /// Whether more of what attempts do may be told: to the worker, and to whoever reads their lines.
    fn has_room(&self) -> bool {
        let printed = match &self.membership {
            Membership::Inherited => true,
            Membership::Linked(kept) => kept.printer.has_room(),
        };
        printed && self.link.has_room()
    }

    fn lease_is_over(&self, now: Moment) -> bool {
        self.lease.is_some_and(|lease| lease <= now)
    }
}

type Started = (
    std::process::Child,
    running::Stdin,
    Option<(PathBuf, u32)>,
    Option<Leavings>,
);

/// The directory with what the partition's attempt before has saved, if the program has such. Its lock is the next process's, too.
fn take(
    frame: &StartFrame,
    program: &Program,
    checkpoints: &mut Checkpoints,
    scratch: &mut Scratch,
) -> Result<Option<Checkpoint>, NotStarted> {
    let Some(wanted) = program.checkpoint().filter(|_| !frame.input.is_served()) else {
        return Ok(None);
    };
    let taken = checkpoints.take(wanted, (frame.partition, frame.attempt), scratch);
    let taken = taken.and_then(|checkpoint| {
        checkpoint.hand_down(true)?;
        Ok(Some(checkpoint))
    });
    taken.map_err(|error| NotStarted::not_set_up("no place for a checkpoint", &error))
}

/// How many of these concurrency counts.
fn processes(running: &[Running]) -> usize {
    running.iter().filter(|running| !running.served).count()
}

fn start(
    frame: &StartFrame,
    input: &mut Input,
    program: &mut Program,
    (scratch, checkpoint): (&mut Scratch, Option<&Path>),
    null: &File,
) -> Result<Started, NotStarted> {
    let not_set_up = |what| move |error: io::Error| NotStarted::not_set_up(what, &error);
    let (stdin, pipe) = match input.stdin().map_err(not_set_up("the input could not be stored"))? {
        Stdin::Empty => (
            Stdio::from(null.try_clone().map_err(not_set_up("/dev/null"))?),
            Stdin::Empty,
        ),
        Stdin::File(file) => (Stdio::from(file), Stdin::Empty),
        piped => (Stdio::piped(), piped),
    };
    let results = match program.results_limit().filter(|_| !frame.input.is_served()) {
        None => None,
        Some(limit) => {
            let directory = scratch.small().map_err(not_set_up("no place for results"))?;
            Some((directory.join(format!("results-{}", frame.attempt)), limit))
        }
    };
    let leavings = match program.outputs() {
        [] => None,
        _ if frame.input.is_served() => None,
        data => Some(Leavings::new(frame.attempt, data, scratch).map_err(not_set_up("no place for files"))?),
    };
    let around = Surroundings {
        outputs: leavings.as_ref().map(Leavings::path),
        checkpoint,
        input: input.path(),
        results: results.as_ref().map(|(path, _)| path.as_path()),
        stdin,
    };
    let mut child = match program.start(frame, around) {
        Ok(child) => child,
        Err(error) => {
            if let Some(leavings) = leavings {
                leavings.remove();
            }
            return Err(error);
        }
    };
    let failed = not_set_up("standard input");
    let stdin = match (child.stdin.take(), pipe) {
        (Some(pipe), Stdin::Pipe(files)) => running::Stdin::Files(Feed::new(pipe, files).map_err(failed)?),
        (Some(pipe), Stdin::Stream(waiting)) => running::Stdin::Stream(Stream::new(pipe, waiting).map_err(failed)?),
        _ => running::Stdin::None,
    };
    Ok((child, stdin, results, leavings))
}

fn earlier(one: Option<Moment>, other: Option<Moment>) -> Option<Moment> {
    one.into_iter().chain(other).min()
}

fn protocol(what: String) -> Result<(), ShimError> {
    Err(ShimError::Protocol(what))
}
