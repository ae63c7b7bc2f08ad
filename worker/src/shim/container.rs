//! The shim as the first process of a container, beside a worker in another container of the same pod.
//!
//! The worker listens on a socket in a directory that only its own container can write; the shim connects. No user code has run by
//! then, so the first connection is the shim's, and the worker gives it a key. When the connection ends (the worker has
//! restarted, or had enough of it), everything that it ran is killed; only when no process is left the shim connects again,
//! and says the key first. User code can connect to the socket too, but does not know the key: it is in the memory of the shim,
//! which is made unreadable for processes of the same user, and in the worker's own files.
//!
//! What user code prints is printed here, on standard output, each line with its step, partition and attempt: the log of the container.
//!
//! It never ends with 0: in an Indexed Job that would mean that the index is done for good.

use std::io::{self, Write as _};
use std::os::fd::{AsFd as _, AsRawFd as _};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{AddressFamily, SockFlag, SockType, UnixAddr, connect, socket};

use super::clock::Moment;
use super::outlet::Printer;
use super::serve::{Kept, Membership, Server};
use super::signals::Signals;
use super::{Config, ShimError, now, told};

/// The exit code after a drain, or after a signal while there was no worker: as of a process that TERM has ended.
pub const ENDED: u8 = 143;

/// The exit code when the worker did not come (back).
pub const END_OF_PATIENCE: u8 = 3;

/// Between two attempts to connect, at first and at most.
const PAUSE: (Duration, Duration) = (Duration::from_millis(10), Duration::from_secs(1));

/// A shim that connects to its worker.
#[derive(Debug)]
pub struct Container {
    /// Where the worker listens.
    pub socket: PathBuf,
    /// How long a worker may be away. Then the container ends, so that its pod is replaced.
    pub patience: Duration,
    /// Where large inputs are put, and everything if there is no memory for small ones.
    pub scratch: Option<PathBuf>,
    /// Where the memory files of the cgroup are, if not where the kernel says that this process's are.
    pub cgroup: Option<PathBuf>,
}

impl Container {
    /// Serves one connection after the other, until it is told to end, the worker stays away or something is wrong.
    #[must_use]
    pub fn main(self) -> ExitCode {
        match self.serve() {
            Ok(code) => ExitCode::from(code),
            Err(error) => told(&error),
        }
    }

    fn serve(&self) -> Result<u8, ShimError> {
        // Whoever has the same user could else read the key, or take the socket.
        nix::sys::prctl::set_dumpable(false).map_err(|errno| ShimError::System("protect its memory", errno.into()))?;
        let mut signals = Signals::receive()?;
        let printer = Printer::stdout().map_err(|error| ShimError::System("write to standard output", error))?;
        let mut membership = Membership::Linked(Kept { key: None, printer });
        let mut until = now()?.after(self.patience);
        loop {
            let Some(socket) = self.connect(&mut signals, until)? else {
                if signals.asked_to_end() {
                    return Ok(ENDED);
                }
                // Without standard error there is nobody left to tell.
                let (path, patience) = (self.socket.display(), self.patience);
                let _ = writeln!(io::stderr(), "braid shim: no worker at {path} for {patience:?}");
                return Ok(END_OF_PATIENCE);
            };
            let mut config = Config {
                cgroup: self.cgroup.clone(),
                ..Config::new(socket)
            };
            if let Some(scratch) = &self.scratch {
                config.places.disk.clone_from(scratch);
                // The pod's, and as long as that is there: a worker that begins anew finds it.
                config.checkpoints = Some(scratch.join("checkpoints"));
            }
            let served = Server::new(config, signals.again()?, membership)?.run()?;
            membership = served.membership;
            if let Some(printer) = membership.printer() {
                printer.finish()?;
            }
            if served.drained {
                return Ok(ENDED);
            }
            if served.greeted {
                until = now()?.after(self.patience);
            } else {
                // Not accepted, or by a worker that died: no haste.
                rest(&mut signals, PAUSE.1)?;
            }
        }
    }

    /// A connection. `None`: told to end, or nobody has listened until then.
    fn connect(&self, signals: &mut Signals, until: Moment) -> Result<Option<UnixStream>, ShimError> {
        let mut pause = PAUSE.0;
        loop {
            if signals.is_asked_to_end() || now()? >= until {
                return Ok(None);
            }
            if let Ok(socket) = try_connect(&self.socket) {
                return Ok(Some(socket));
            }
            rest(signals, pause)?;
            pause = pause.saturating_mul(2).min(PAUSE.1);
        }
    }
}

/// Sleeps so long, or until a signal.
fn rest(signals: &mut Signals, pause: Duration) -> Result<(), ShimError> {
    let timeout = PollTimeout::try_from(pause).unwrap_or(PollTimeout::MAX);
    match poll(&mut [PollFd::new(signals.as_fd(), PollFlags::POLLIN)], timeout) {
        Ok(_) | Err(nix::Error::EINTR) => {}
        Err(error) => return Err(ShimError::System("sleep", error.into())),
    }
    signals.drain();
    Ok(())
}

/// Connects without ever waiting: not for a listener whose queue is full, either.
fn try_connect(path: &Path) -> nix::Result<UnixStream> {
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    let socket = socket(AddressFamily::Unix, SockType::Stream, flags, None)?;
    connect(socket.as_raw_fd(), &UnixAddr::new(path)?)?;
    Ok(UnixStream::from(socket))
}
