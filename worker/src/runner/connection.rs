//! A shim process and the socket to it.

use std::ffi::OsString;
use std::io::{self, Read as _};
use std::net::Shutdown;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream as StdUnixStream;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use tokio::net::UnixStream;

use super::link::Link;
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

/// Where shims come from.
#[derive(Debug)]
pub enum Place {
    /// They are started here.
    Here(ShimCommand),
    /// There is one in another container, and it connects.
    Beside(Box<Link>),
}

impl From<ShimCommand> for Place {
    fn from(command: ShimCommand) -> Self {
        Self::Here(command)
    }
}

impl From<Link> for Place {
    fn from(link: Link) -> Self {
        Self::Beside(Box::new(link))
    }
}

#[derive(Debug)]
pub(super) struct Connection {
    pub(super) socket: UnixStream,
    decoder: Decoder,
    /// If it was started here.
    process: Option<ShimProcess>,
    /// A frame that was read before its time.
    pub(super) greeting: Option<FromShim>,
    read: Box<[u8]>,
}

/// What is left of a connection that is given up.
pub(super) enum Remains {
    /// A process that was started here.
    Process(ShimProcess),
    /// The socket to a shim in another container.
    Socket(StdUnixStream),
    /// Nothing.
    None,
}

/// The process alone, for its burial.
#[derive(Debug)]
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
                process: Some(process),
                ..Self::accepted(socket)
            }),
            Err(error) => {
                process.bury(Duration::ZERO);
                Err(error)
            }
        }
    }

    /// With whoever has connected.
    pub(super) fn accepted(socket: UnixStream) -> Self {
        Self {
            socket,
            decoder: Decoder::default(),
            process: None,
            greeting: None,
            read: vec![0; 64 << 10].into(),
        }
    }

    /// The process id of a shim that was started here.
    pub(super) fn pid(&self) -> Option<u32> {
        self.process.as_ref().map(|process| process.child.id())
    }

    /// Waits for the first frame. `None`: there is none, or it is not one.
    pub(super) async fn first_frame(&mut self) -> Option<FromShim> {
        loop {
            if let Some(frame) = self.next().ok()? {
                return Some(frame);
            }
            self.socket.readable().await.ok()?;
            if self.receive().ok()? == Some(0) {
                return None;
            }
        }
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
        match self.greeting.take() {
            Some(frame) => Ok(Some(frame)),
            None => self.decoder.next_frame(),
        }
    }

    /// Tells the shim, by the end of what is sent to it, to kill everything.
    pub(super) fn close(self) -> Remains {
        match self.process {
            Some(process) => Remains::Process(process),
            // Where that fails the socket is closed, which says the same.
            None => self.socket.into_std().map_or(Remains::None, Remains::Socket),
        }
    }
}

impl Remains {
    /// Waits until nothing runs any more, for so long. A process that was started here is then killed, with what it left
    /// behind. Blocks.
    pub(super) fn bury(self, patience: Duration) {
        match self {
            Self::Process(process) => process.bury(patience),
            Self::Socket(socket) => wait_for_end(socket, patience),
            Self::None => {}
        }
    }
}

/// A shim in another container closes its end when all that it ran is dead.
fn wait_for_end(mut socket: StdUnixStream, patience: Duration) {
    let started = Instant::now();
    // A socket that refuses any of this is closed by the other side, or about to be closed by this one.
    if socket.set_nonblocking(false).is_err() || socket.shutdown(Shutdown::Write).is_err() {
        return;
    }
    let mut drop = [0; 4096];
    loop {
        let left = patience.saturating_sub(started.elapsed());
        if left.is_zero() || socket.set_read_timeout(Some(left)).is_err() {
            return;
        }
        match socket.read(&mut drop) {
            Ok(0) => return,
            Err(error) if error.kind() != io::ErrorKind::Interrupted => return,
            _ => {}
        }
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
