//! Where the lines of user code go: to the worker that has started this shim, or, in a container of its own, to standard output.

use std::borrow::Cow;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::time::Duration;

use bytes::{Buf as _, BufMut as _, Bytes, BytesMut};
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use serde::Serialize;

use super::ShimError;
use super::clock::Moment;
use super::link::Link;
use crate::frames::{FromShim, Stream};
use crate::runner::logs::{LostLines, MarkedLine, TaggedLine};

/// Above so many bytes that standard output has not taken, children's output is left in their pipes.
const HIGH_WATER: usize = 256 << 10;

/// How long a standard output that takes nothing holds up those who print. Then lines are dropped until it takes something again.
const PATIENCE: Duration = Duration::from_secs(2);

/// A pipe that has room takes so many bytes without making its writer wait (`PIPE_BUF`).
const PIECE: usize = 4096;

/// At once so much of a child's output is made into lines to print: each is longer then, the shortest a hundred times.
const READ: usize = 8 << 10;

/// What a line is of.
#[derive(Debug, Clone)]
pub(super) struct Tag {
    pub(super) run: Arc<str>,
    pub(super) step: Arc<str>,
    pub(super) partition: u64,
    pub(super) number: u32,
}

/// Where lines go.
pub(super) enum Outlet<'a> {
    /// To the worker, which knows what they are of.
    Worker(&'a mut Link),
    /// To standard output.
    Here(&'a mut Printer),
}

impl Outlet<'_> {
    /// Whether more may be given to it.
    pub(super) fn has_room(&self) -> bool {
        match self {
            Self::Worker(link) => link.has_room(),
            Self::Here(printer) => printer.has_room(),
        }
    }

    /// How much of a child's output is to be read at once, of so much.
    pub(super) fn at_once(&self, most: usize) -> usize {
        match self {
            Self::Worker(_) => most,
            Self::Here(_) => most.min(READ),
        }
    }

    /// Gives it a line of an attempt, which may say itself what it is of.
    pub(super) fn line(
        &mut self,
        attempt: u64,
        tag: &Tag,
        (stream, cut): (Stream, bool),
        line: Bytes,
        marked: Option<&MarkedLine>,
    ) -> Result<(), ShimError> {
        match self {
            Self::Worker(link) => link.send(&FromShim::Log {
                attempt,
                stream,
                cut,
                line,
            }),
            Self::Here(printer) => {
                match marked {
                    None => printer.line(tag, stream, cut, &line),
                    Some(own) => {
                        let tag = Tag {
                            partition: own.partition,
                            number: own.attempt,
                            ..tag.clone()
                        };
                        printer.line(&tag, stream, cut, &own.line);
                    }
                }
                Ok(())
            }
        }
    }
}

/// Prints lines, never waiting for whoever reads them, and holding little.
#[derive(Debug)]
pub(super) struct Printer {
    out: OwnedFd,
    waiting: BytesMut,
    /// Since then it has taken nothing of what waits.
    stuck: Option<Moment>,
    /// It has been stuck for too long: what does not fit is dropped.
    given_up: bool,
    /// Lines that were dropped, which it has not been told yet.
    lost: u64,
    /// Nobody will ever read it.
    closed: bool,
}

impl Printer {
    /// Onto standard output.
    pub(super) fn stdout() -> io::Result<Self> {
        Ok(Self::new(io::stdout().as_fd().try_clone_to_owned()?))
    }

    fn new(out: OwnedFd) -> Self {
        Self {
            out,
            waiting: BytesMut::new(),
            stuck: None,
            given_up: false,
            lost: 0,
            closed: false,
        }
    }

    pub(super) fn has_room(&self) -> bool {
        self.given_up || self.waiting.len() < HIGH_WATER
    }

    /// Whether something waits for it to take more.
    pub(super) fn is_waiting(&self) -> bool {
        !self.waiting.is_empty()
    }

    /// When it is given up, if it takes nothing until then.
    pub(super) fn next_due(&self) -> Option<Moment> {
        self.stuck.filter(|_| !self.given_up).map(|since| since.after(PATIENCE))
    }

    fn line(&mut self, tag: &Tag, stream: Stream, cut: bool, line: &[u8]) {
        if self.closed {
            return;
        }
        if self.waiting.len() >= HIGH_WATER && self.given_up {
            self.lost += 1;
            return;
        }
        self.put(&TaggedLine {
            run: Cow::Borrowed(&tag.run),
            step: Cow::Borrowed(&tag.step),
            partition: tag.partition,
            attempt: tag.number,
            stream,
            cut,
            line: String::from_utf8_lossy(line),
        });
    }

    fn put(&mut self, value: &impl Serialize) {
        // Neither writing to memory nor these types can fail.
        let _ = serde_json::to_writer((&mut self.waiting).writer(), value);
        self.waiting.put_u8(b'\n');
    }

    /// Writes what can be without waiting.
    pub(super) fn write(&mut self, now: Moment) {
        while !self.waiting.is_empty() && self.is_ready(PollTimeout::ZERO) {
            let piece = self.waiting.get(..PIECE.min(self.waiting.len())).unwrap_or_default();
            match nix::unistd::write(&self.out, piece) {
                Ok(count) => {
                    self.waiting.advance(count);
                    (self.stuck, self.given_up) = (None, false);
                    if self.lost > 0 {
                        let lost = std::mem::take(&mut self.lost);
                        self.put(&LostLines { lost });
                    }
                }
                Err(Errno::EINTR) => {}
                Err(Errno::EAGAIN) => break,
                Err(_) => {
                    self.closed = true;
                    self.waiting = BytesMut::new();
                }
            }
        }
        if self.waiting.is_empty() {
            self.stuck = None;
        } else {
            let since = *self.stuck.get_or_insert(now);
            self.given_up |= since.after(PATIENCE) <= now;
        }
    }

    /// Whether it would take something, or say that it never will.
    fn is_ready(&self, timeout: PollTimeout) -> bool {
        let mut fds = [PollFd::new(self.out.as_fd(), PollFlags::POLLOUT)];
        // An interrupted wait is like one that was in vain: who waits asks again.
        poll(&mut fds, timeout).is_ok_and(|ready| ready > 0)
    }

    /// Writes what waits, as long as it is taken, before nobody asks for a while.
    pub(super) fn finish(&mut self) -> Result<(), ShimError> {
        loop {
            let now = super::now()?;
            self.write(now);
            if self.waiting.is_empty() || self.given_up {
                return Ok(());
            }
            self.is_ready(PollTimeout::from(100_u8));
        }
    }
}

impl AsFd for Printer {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.out.as_fd()
    }
}

#[cfg(test)]
mod tests;
