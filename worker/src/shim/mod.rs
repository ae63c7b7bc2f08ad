//! The shim: the small process beside which user code runs.
//!
//! It starts the commands that the worker asks for, over a socket, and reports how they end. It is written for two
//! places: a child of a local worker, with the socket as standard input ([`main`]), and PID 1 of the user's container
//! ([`Container`]), which connects to the worker beside it and connects again when that one has restarted.
//!
//! Contract
//! - At most the program's concurrency runs at once; what is sent ahead waits here. The shim never waits for an answer.
//! - When an attempt is reported as finished, nothing of it runs any more (its process group is killed, and what escaped
//!   the group is found because the shim is a subreaper) and all of its log lines have been sent.
//! - A long-lived program is an attempt, too, beside those that concurrency counts: the shim passes bytes on and knows nothing
//!   of what they say. What it starts and lets go belongs to it until it ends.
//! - Every deadline is the shim's own, by a clock that runs while the machine sleeps: the attempt's time-out, and the
//!   moment up to which the worker lets it go on. TERM, then after the grace KILL.
//! - The socket's end is the end of everything: children are killed at once, private files removed.
//! - Where memory has a limit, the attempt that holds most is ended shortly before it is reached (see `memory`).
//! - Lines of output go to the worker; in a container of its own the shim prints them on standard output, tagged.
//! - Files that a program has written as data are sent when nothing of the attempt runs any more, as the worker takes them.
//! - Memory is bounded: output stays in the children's pipes while it is not taken; input goes to files. A standard output that
//!   nobody reads holds up what prints for a moment, then lines are dropped and counted.
//!
//! Failure modes: frames that break the protocol end the shim (exit code 2) and with it all that runs; a SIGKILL of the
//! shim leaves its children to whoever started it: they carry the variable [`MARK`] in their environment.

mod checkpoint;
mod clock;
mod container;
mod expand;
pub(crate) mod family;
mod files;
mod input;
mod lines;
mod link;
mod memory;
mod outlet;
mod program;
mod results;
mod running;
mod scratch;
mod serve;
mod side;
mod signals;
mod stream;

use std::fs::File;
use std::io::{self, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use crate::frames::FrameError;

use clock::Moment;
use serve::{Membership, Server};
use signals::Signals;

pub use container::{Container, END_OF_PATIENCE, ENDED};
pub(crate) use input::{create_below, file_name};
pub(crate) use results::remove;
pub use scratch::Places;
pub(crate) use scratch::Scratch;

/// The variable that a shim's own environment may carry, and then everything that it starts: an unguessable name of this
/// shim, by which left-over processes are found after a SIGKILL of the shim.
pub const MARK: &str = "BRAID_SHIM";

/// What a shim needs to know before its first frame.
#[derive(Debug)]
pub struct Config {
    /// The connection to the worker.
    pub socket: UnixStream,
    /// Where private files may be put.
    pub places: Places,
    /// After an attempt's exit, how long its pipes are read if somebody still holds them open.
    pub drain: Duration,
    /// Where the memory files of the cgroup are, if not where the kernel says that this process's are.
    pub cgroup: Option<PathBuf>,
    /// Where what attempts save for the next is kept, beyond the life of this shim; `None`: in a private directory, and gone with it.
    pub checkpoints: Option<PathBuf>,
    /// After a SIGTERM to the shim, how long attempts go on if the worker does not extend it.
    pub notice: Duration,
}

impl Config {
    /// A shim that talks over this socket, with the usual limits.
    pub fn new(socket: UnixStream) -> Self {
        let drain = Duration::from_millis(200);
        Self {
            socket,
            places: Places::default(),
            cgroup: None,
            checkpoints: None,
            drain,
            notice: Duration::from_secs(20),
        }
    }

    /// Takes the connection from standard input, which becomes `/dev/null`.
    pub fn from_stdin() -> io::Result<Self> {
        let socket: OwnedFd = io::stdin().as_fd().try_clone_to_owned()?;
        nix::unistd::dup2_stdin(File::open("/dev/null")?)?;
        Ok(Self::new(UnixStream::from(socket)))
    }
}

/// Why a shim ended otherwise than by the end of its socket.
#[derive(Debug, thiserror::Error)]
pub enum ShimError {
    /// Standard input, or what was given instead, is not a connected socket.
    #[error("not a socket ({0}): a shim is started by a worker, not by hand")]
    NotASocket(#[source] io::Error),
    /// The socket fails.
    #[error("the connection to the worker failed: {0}")]
    Socket(#[source] io::Error),
    /// The worker's bytes are not frames.
    #[error("the worker sent a bad frame: {0}")]
    Frame(#[from] FrameError),
    /// The worker's frames do not fit together.
    #[error("the worker broke the protocol: {0}")]
    Protocol(String),
    /// Signals cannot be received, or processes not be waited for.
    #[error("cannot {0}: {1}")]
    System(&'static str, #[source] io::Error),
    /// A child's pipe fails.
    #[error("cannot read a child's output: {0}")]
    Pipe(#[source] nix::Error),
    /// Something that an attempt has left behind cannot be killed: it hangs in the kernel.
    #[error("processes of a former attempt do not end, though they were killed")]
    Left,
    /// A script cannot be written.
    #[error("cannot write a script: {0}")]
    Script(#[source] io::Error),
}

/// Runs a shim to its end: 0 when the worker has closed the connection or a drain is over, 2 when something is wrong.
pub fn main(config: Config) -> ExitCode {
    let signals = Signals::receive();
    let server = signals.and_then(|signals| Server::new(config, signals, Membership::Inherited));
    match server.and_then(Server::run) {
        // Here the worker kills what was left.
        Ok(_) | Err(ShimError::Left) => ExitCode::SUCCESS,
        Err(error) => told(&error),
    }
}

fn now() -> Result<Moment, ShimError> {
    Moment::now().map_err(|error| ShimError::System("read the clock", error.into()))
}

fn told(error: &ShimError) -> ExitCode {
    // Without standard error there is nobody left to tell.
    let _ = writeln!(io::stderr(), "braid shim: {error}");
    ExitCode::from(2)
}
