//! The standard input of a long-lived program: what the worker sends, as the program takes it.

use std::collections::VecDeque;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::process::ChildStdin;

use bytes::{Buf, Bytes};
use nix::errno::Errno;
use nix::fcntl::{FcntlArg, OFlag, fcntl};

use crate::frames::MAX_STREAM;

/// Bytes that wait for a program to take them. Holds at most [`MAX_STREAM`].
#[derive(Debug, Default)]
pub(super) struct Waiting {
    chunks: VecDeque<Bytes>,
    held: usize,
    ended: bool,
}

impl Waiting {
    /// `false`: that is more than may wait.
    pub(super) fn push(&mut self, data: Bytes) -> bool {
        self.held += data.len();
        if self.held > MAX_STREAM {
            return false;
        }
        if !data.is_empty() {
            self.chunks.push_back(data);
        }
        true
    }

    /// Nothing more will come.
    pub(super) fn end(&mut self) {
        self.ended = true;
    }
}

/// The pipe, and what waits for it.
pub(super) struct Stream {
    pipe: Option<OwnedFd>,
    waiting: Waiting,
}

impl Stream {
    pub(super) fn new(pipe: ChildStdin, waiting: Waiting) -> io::Result<Self> {
        let pipe = OwnedFd::from(pipe);
        fcntl(&pipe, FcntlArg::F_SETFL(OFlag::O_NONBLOCK))?;
        Ok(Self {
            pipe: Some(pipe),
            waiting,
        })
    }

    /// `false`: the program does not read what it is sent.
    pub(super) fn push(&mut self, data: Bytes) -> bool {
        // A program that has closed its standard input is told nothing more; its end or its silence says the rest.
        self.pipe.is_none() || self.waiting.push(data)
    }

    pub(super) fn end(&mut self) {
        self.waiting.end();
    }

    /// What to poll for room, if something waits.
    pub(super) fn wants_room(&self) -> Option<BorrowedFd<'_>> {
        let busy = !self.waiting.chunks.is_empty() || self.waiting.ended;
        self.pipe.as_ref().filter(|_| busy).map(AsFd::as_fd)
    }

    /// Writes until the pipe is full or nothing waits.
    pub(super) fn write(&mut self) {
        let Some(pipe) = &self.pipe else { return };
        while let Some(chunk) = self.waiting.chunks.front_mut() {
            match nix::unistd::write(pipe, chunk) {
                Ok(count) => {
                    self.waiting.held = self.waiting.held.saturating_sub(count);
                    chunk.advance(count);
                    if chunk.is_empty() {
                        self.waiting.chunks.pop_front();
                    }
                }
                Err(Errno::EAGAIN) => return,
                Err(Errno::EINTR) => {}
                Err(_) => return self.close(),
            }
        }
        if self.waiting.ended {
            self.close();
        }
    }

    fn close(&mut self) {
        self.pipe = None;
        self.waiting.chunks.clear();
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::io::Read as _;
    use std::process::{Command, Stdio};

    use bytes::Bytes;

    use super::{Stream, Waiting};
    use crate::frames::MAX_STREAM;

    #[test]
    fn what_was_sent_early_comes_first_and_an_end_closes() {
        let mut waiting = Waiting::default();
        assert!(waiting.push(Bytes::from_static(b"one ")));
        let mut child = Command::new("cat")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut stream = Stream::new(child.stdin.take().unwrap(), waiting).unwrap();
        assert!(stream.push(Bytes::from_static(b"two")));
        stream.end();
        while stream.wants_room().is_some() {
            stream.write();
        }
        let mut text = String::new();
        child.stdout.take().unwrap().read_to_string(&mut text).unwrap();
        assert_eq!(text, "one two");
        assert!(child.wait().unwrap().success());
    }

    #[test]
    fn what_waits_is_bounded() {
        let mut waiting = Waiting::default();
        assert!(waiting.push(Bytes::from(vec![0; MAX_STREAM])));
        assert!(!waiting.push(Bytes::from_static(b"x")));
    }
}
