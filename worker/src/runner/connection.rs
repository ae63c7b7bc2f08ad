//! A shim process and the socket to it.

use std::ffi::OsString;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream as StdUnixStream;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use tokio::net::UnixStream;

use super::orphans;
use crate::frames::{Decoder, FrameError, FromShim};
use crate::shim::MARK;

/// How a shim is started.
#[derive(Debug, Clone)]
pub struct ShimCommand {
    /// The program.
    pub program: PathBuf,
    /// Its arguments.
    pub args: Vec<OsString>,
}

pub(super) struct Connection {
    pub(super) socket: UnixStream,
    decoder: Decoder,
    process: ShimProcess,
    read: Box<[u8]>,
}

/// The process alone, for its burial.
pub(super) struct ShimProcess {
    child: Child,
    mark: String,
}

impl Connection {
    /// Starts a shim: in a group of its own, so that ^C at a terminal is the worker's to handle, with a socket as
    /// standard input, and marked.
    pub(super) fn open(command: &ShimCommand) -> io::Result<Self> {
        let (ours, theirs) = StdUnixStream::pair()?;
        ours.set_nonblocking(true)?;
        let mark = format!("{:032x}", rand::random::<u128>());
        let child = Command::new(&command.program)
            .args(&command.args)
            .env(MARK, &mark)
            .stdin(Stdio::from(OwnedFd::from(theirs)))
            .stdout(Stdio::null())
            .process_group(0)
            .spawn()?;
        let process = ShimProcess { child, mark };
        match UnixStream::from_std(ours) {
            Ok(socket) => Ok(Self {
                socket,
                decoder: Decoder::default(),
                process,
                read: vec![0; 64 << 10].into(),
            }),
            Err(error) => {
                process.bury(Duration::ZERO);
                Err(error)
            }
        }
    }

    pub(super) fn pid(&self) -> u32 {
        self.process.child.id()
    }

    /// Reads what is there. `None`: nothing; 0: the end.
    pub(super) fn receive(&mut self) -> io::Result<Option<usize>> {
        match self.socket.try_read(&mut self.read) {
            Ok(count) => {
                self.decoder
                    .buffer()
                    .extend_from_slice(self.read.get(..count).unwrap_or_default());
                Ok(Some(count))
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(None),
            Err(error) => Err(error),
        }
    }

    pub(super) fn next(&mut self) -> Result<Option<FromShim>, FrameError> {
        self.decoder.next_frame()
    }

    /// Closes the socket, which is the shim's end.
    pub(super) fn close(self) -> ShimProcess {
        self.process
    }
}

impl ShimProcess {
    /// Waits for the process, whose socket is closed; kills it when the patience is over. If it did not end well by
    /// itself, kills what it left behind. Blocks.
    pub(super) fn bury(mut self, patience: Duration) {
        let started = Instant::now();
        let ended = loop {
            match self.child.try_wait() {
                Ok(Some(status)) => break Some(status),
                Ok(None) if started.elapsed() < patience => thread::sleep(Duration::from_millis(1)),
                Ok(None) | Err(_) => break None,
            }
        };
        let well = ended.is_some_and(|status| status.code().is_some());
        if ended.is_none() {
            // Either fails only if there is no such process any more.
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
        if !well {
            orphans::kill_marked(&self.mark);
        }
    }
}
