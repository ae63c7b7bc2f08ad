//! The worker's side of running user code: programs go in, attempts go in, endings come out.
//!
//! A [`Runner`] is what a worker drives, one per worker. [`ShimRunner`] gives attempts to a shim process (see
//! [`crate::shim`]); [`NoopRunner`] ends each at once, to measure everything around user code.
//!
//! Contract
//! - Each attempt that [`Runner::start`] took ends exactly once in [`Runner::next`], whatever happens to processes,
//!   unless the runner is shut down or dropped before.
//! - `next` may be dropped at any await; nothing is lost.
//! - Nothing waits for ever for a process: a shim that is silent or cannot end an attempt is killed, and its attempts
//!   end as [`Failure::ShimDied`].
//! - The runner opens no path that user code could have made; results arrive as bytes, bounded by the program's limit, and so do files.
//!   Files that it makes for user code are new, and it never looks into them.

mod connection;
mod environment;
mod filing;
mod link;
pub mod logs;
mod noop;
mod orphans;
mod outbox;
mod placing;
mod served;
mod shim;

use std::fs::File;
use std::future::Future;
use std::io;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use bytes::Bytes;

use crate::frames::FrameError;

pub use crate::store::Outlet;
pub use connection::{Place, ShimCommand};
pub use link::{Link, LinkError};
pub use noop::NoopRunner;
pub(crate) use served::input_bytes;
pub use shim::{Limits, ShimRunner};

/// Names one attempt; never used twice in the life of a runner.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct AttemptId(pub u64);

/// Names a program: one round of one step of one workflow.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ProgramId(pub u64);

/// How the partitions of a step's round are run: what all of them share.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Program {
    /// Its name here.
    pub id: ProgramId,
    /// The step, for the logs.
    pub step: Arc<str>,
    /// The command and its first arguments. With a script and no command the script is run by `sh`.
    pub command: Vec<String>,
    /// The text of a script, given to the command as a file.
    pub script: Option<String>,
    /// Arguments behind the command or the script. Here and in `command`, `$(NAME)` is expanded from `env` and the
    /// partition's own variables, as in core/v1.
    pub args: Vec<String>,
    /// Variables, already resolved; later ones win.
    pub env: Vec<(String, String)>,
    /// Attempts that run at once in this worker; 0 means 1.
    pub concurrency: u16,
    /// From TERM to KILL, when an attempt is ended.
    pub grace: Duration,
    /// The most bytes of a results file; `None`: this program gives no results. At most [`MAX_RESULTS`].
    pub results_limit: Option<u32>,
    /// Files that all attempts read beside their input.
    pub sides: Sides,
    /// How partitions reach it, if not by a process for each.
    pub serve: Option<Serve>,
    /// The names of the data that its attempts write.
    pub outputs: Vec<String>,
    /// What its attempts save for the next attempt of their partition; `None`: nothing.
    pub checkpoint: Option<Checkpoint>,
    /// Begins `BRAID_UID`, which goes on with `/` and the partition: the same in every attempt and every retry, also in another run.
    pub uid: Arc<str>,
    /// The workflow's uid and the step, for logs: whose lines these are.
    pub run: Arc<str>,
}

/// What attempts save for the next attempt of their partition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Checkpoint {
    /// Names the program for as long as what is saved may be found: the same in later starts, another one when anything differs that
    /// could make it wrong. One name of a directory.
    pub key: String,
    /// How many bytes a partition may save.
    pub bytes: u64,
}

/// A directory of files for all attempts of a program: given to a shim once.
#[derive(Debug, Clone)]
pub struct Side {
    /// The variable that names the directory.
    pub variable: String,
    /// The files.
    pub files: Vec<InputFile>,
}

/// Directories that a program's attempts read: they are known before the program is prepared, and then stay.
#[derive(Debug, Clone, Default)]
pub struct Sides(Arc<OnceLock<Vec<Side>>>);

impl Sides {
    /// The directories; none before they are known.
    #[must_use]
    pub fn get(&self) -> &[Side] {
        self.0.get().map_or(&[], Vec::as_slice)
    }

    /// Whether they are known.
    #[must_use]
    pub fn are_known(&self) -> bool {
        self.0.get().is_some()
    }

    /// Makes them known. Later calls change nothing.
    pub fn set(&self, sides: Vec<Side>) {
        let _ = self.0.set(sides); // known already: the same plan gave them
    }
}

impl PartialEq for Sides {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0) || (self.get().is_empty() && other.get().is_empty())
    }
}

impl Eq for Sides {}

/// How partitions reach a program that lives on: one process for all of them in this worker.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Serve {
    /// One JSON on a line each way, over standard input and output.
    Lines {
        /// The program takes its lines in their order and begins none before it has done with the one before: so more may be
        /// sent ahead than are counted as in flight.
        ahead: bool,
    },
    /// A request for each partition, to this port of this machine or pod.
    Http(Box<Http>),
}

/// How a program is asked by HTTP.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Http {
    /// Where it listens in a pod; `None`, or where several workers share a machine: at a free port, which it is told.
    pub port: Option<u16>,
    /// What is posted to.
    pub path: String,
    /// What answers 2xx when the program is ready; `None`: it is ready when it listens.
    pub ready_path: Option<String>,
    /// How long it may take until then.
    pub ready_within: Duration,
}

/// The largest [`Program::results_limit`], in bytes.
pub const MAX_RESULTS: u32 = 512 << 10;

/// One attempt at one partition.
#[derive(Debug, Clone)]
pub struct Attempt {
    /// Its name; must not be in flight.
    pub id: AttemptId,
    /// A program that was prepared.
    pub program: ProgramId,
    /// The number of the partition.
    pub partition: u64,
    /// Which attempt at this partition it is, from 1.
    pub attempt: u32,
    /// What the partition is, where it is not made of bytes.
    pub item: Item,
    /// What the partition's bytes are.
    pub input: Input,
    /// Where the files go that it writes; `None`: it writes none.
    pub outlet: Option<Outlet>,
    /// How long it may run.
    pub timeout: Option<Duration>,
}

/// What a partition is, for its environment.
#[derive(Debug, Clone, Default)]
pub enum Item {
    /// Nothing but its number.
    #[default]
    None,
    /// A number of a range: `BRAID_ITEM`.
    Number(i64),
    /// Any JSON: `BRAID_ITEM`, and `BRAID_ITEM_<KEY>` for the keys of an object.
    Json(Arc<serde_json::Value>),
}

/// What user code reads.
#[derive(Debug, Clone, Default)]
pub enum Input {
    /// Nothing: standard input is empty, there is no `BRAID_INPUT`.
    #[default]
    None,
    /// One file: standard input and `BRAID_INPUT`.
    One {
        /// Its path in the data: `BRAID_NAME`.
        name: Option<Arc<str>>,
        /// Its bytes.
        data: Data,
    },
    /// Several files: `BRAID_INPUT` is a directory, standard input has all of them in this order.
    Many(Vec<InputFile>),
}

/// One of several files.
#[derive(Debug, Clone)]
pub struct InputFile {
    /// Its path in the directory: relative, without `..`.
    pub path: Arc<str>,
    /// Its bytes.
    pub data: Data,
    /// So many of its first bytes are left out on standard input.
    pub skip: u64,
    /// On standard input its last line is ended, if it is not and more follows.
    pub lines: bool,
}

impl From<(Arc<str>, Data)> for InputFile {
    /// A file that is on standard input as it is.
    fn from((path, data): (Arc<str>, Data)) -> Self {
        Self {
            path,
            data,
            skip: 0,
            lines: false,
        }
    }
}

/// Bytes for user code.
#[derive(Debug, Clone)]
pub enum Data {
    /// In memory.
    Bytes(Bytes),
    /// Part of a file that the worker has opened. It is read when it is its turn, in pieces.
    File {
        /// The file.
        file: Arc<File>,
        /// Where the part begins, in bytes.
        offset: u64,
        /// Its length in bytes.
        length: u64,
    },
    /// Made when it is wanted.
    Made(Arc<dyn Made>),
    /// One after the other.
    Joined(Vec<Data>),
}

/// Bytes while they are made. Blocks.
pub type MadeBytes = Box<dyn io::Read + Send>;

/// Bytes that are made when they are wanted.
pub trait Made: std::fmt::Debug + Send + Sync {
    /// Begins to make them. Blocks.
    ///
    /// # Errors
    /// In words that say which data cannot be read and why: they are what people see.
    fn open(&self) -> io::Result<MadeBytes>;

    /// How many there may be, as a hint where to put them.
    fn length(&self) -> u64;
}

impl Data {
    /// The length in bytes; of what is not made yet, a hint.
    pub fn length(&self) -> u64 {
        match self {
            Self::Bytes(bytes) => bytes.len() as u64,
            Self::File { length, .. } => *length,
            Self::Made(made) => made.length(),
            Self::Joined(parts) => parts.iter().fold(0, |sum, part| sum.saturating_add(part.length())),
        }
    }
}

/// An attempt that has ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finished {
    /// Which.
    pub id: AttemptId,
    /// Its partition.
    pub partition: u64,
    /// The number of the attempt at the partition.
    pub attempt: u32,
    /// How it ended.
    pub ending: Ending,
    /// Whether it succeeded and wrote files, which are stored.
    pub wrote: bool,
    /// How long it ran; zero if it did not.
    pub took: Duration,
}

/// How an attempt ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ending {
    /// Exit code 0, and the results file if the program has results and wrote one.
    Succeeded {
        /// The bytes of the file, not looked at yet.
        results: Option<Bytes>,
    },
    /// Anything else.
    Failed {
        /// Why.
        failure: Failure,
        /// The last line of standard error, or what the runner knows: at most about 1 kB, may be empty.
        message: String,
    },
}

/// Why an attempt failed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Failure {
    /// An exit code that is not 0.
    #[error("exit code {0}")]
    Exit(i32),
    /// A signal that braid did not send.
    #[error("signal {0}")]
    Signal(i32),
    /// It ran longer than this.
    #[error("timeout after {0:?}")]
    Timeout(Duration),
    /// It was killed for want of memory: by the kernel, or by the shim before the kernel would.
    #[error("out of memory")]
    OutOfMemory,
    /// There is no such command. Trying again cannot help.
    #[error("command not found")]
    CommandNotFound,
    /// The command cannot be executed. Trying again cannot help.
    #[error("command not executable")]
    NotExecutable,
    /// Its files or its process could not be made on this machine now.
    #[error("could not be set up")]
    NotSetUp,
    /// Its input could not be read by the worker, or is shorter than it was.
    #[error("input could not be read")]
    InputUnreadable,
    /// Its results file is too large.
    #[error("results of {size} bytes are more than the {limit} allowed")]
    ResultTooLarge {
        /// What it has, in bytes; it may have more.
        size: u64,
        /// What it may have.
        limit: u32,
    },
    /// Its results file is not a regular file, or cannot be read.
    #[error("results could not be read")]
    ResultUnreadable,
    /// It said so itself, over its connection.
    #[error("it said that it failed")]
    Said {
        /// Whether another attempt could help.
        retry: bool,
    },
    /// It answered a request with this status.
    #[error("HTTP status {0}")]
    Http(u16),
    /// The long-lived program broke what was agreed: what it wrote is no answer, or it ended or closed its connection without one.
    #[error("it did not answer as agreed")]
    BadAnswer,
    /// It wrote a file whose name is taken. Trying again cannot help.
    #[error("it wrote a file that is there already")]
    OutputExists,
    /// What it wrote as data cannot be taken.
    #[error("what it wrote cannot be data")]
    BadOutput,
    /// What it wrote as data cannot be stored now.
    #[error("what it wrote could not be stored")]
    OutputNotStored,
    /// [`Runner::kill`], or the end of what [`Runner::extend`] allowed.
    #[error("killed")]
    Killed,
    /// The process that ran it has died or was killed because it hung. Nothing of the attempt runs any more.
    #[error("the shim died")]
    ShimDied,
}

impl Failure {
    /// Whether another attempt could end otherwise.
    pub fn may_be_retried(&self) -> bool {
        !matches!(
            self,
            Self::CommandNotFound
                | Self::NotExecutable
                | Self::ResultTooLarge { .. }
                | Self::Said { retry: false }
                | Self::OutputExists
                | Self::BadOutput
        ) && !matches!(self, Self::Http(status) if *status < 500 && *status != 429)
    }
}

/// Why a runner cannot do what it is asked.
#[derive(Debug, thiserror::Error)]
pub enum RunnerError {
    /// An attempt of a program that was not prepared.
    #[error("program {0:?} was not prepared")]
    UnknownProgram(ProgramId),
    /// More programs than [`crate::frames::PROGRAM_SLOTS`] have attempts in flight.
    #[error("too many programs have attempts in flight")]
    TooManyPrograms,
    /// A program that is prepared again, differently.
    #[error("program {0:?} is prepared already and is not the same")]
    ProgramChanged(ProgramId),
    /// An attempt above [`Runner::capacity`], and more than can wait.
    #[error("no room for one more attempt")]
    Full,
    /// Files that all attempts of the program read cannot be given.
    #[error("{0}")]
    Side(String),
    /// An id that is in flight.
    #[error("attempt {0:?} is in flight already")]
    DuplicateAttempt(AttemptId),
    /// A program's or a partition's variables, script or arguments are too large to be sent, or a limit is.
    #[error("{what}: {source}")]
    TooLarge {
        /// What is too large.
        what: String,
        /// How much.
        source: FrameError,
    },
    /// A value that no process can be given.
    #[error("{0}")]
    Invalid(String),
    /// The shim cannot be started. It is tried again, later each time, by further calls of [`Runner::next`].
    #[error("the shim `{command}` cannot be started: {source}")]
    Spawn {
        /// Its command.
        command: String,
        /// Why.
        source: io::Error,
    },
    /// The shim in the other container cannot be waited for.
    #[error(transparent)]
    Link(#[from] LinkError),
}

/// What a worker drives.
pub trait Runner: Send {
    /// Makes a program known, so that attempts of it can be started. The same again is nothing. The programs that were
    /// used longest ago are forgotten, but not while attempts are in flight.
    fn prepare(&mut self, program: Arc<Program>) -> impl Future<Output = Result<(), RunnerError>> + Send;

    /// Takes an attempt. Does not wait for it: call [`Self::next`].
    fn start(&mut self, attempt: Attempt) -> impl Future<Output = Result<(), RunnerError>> + Send;

    /// How many more attempts of this program [`Self::start`] takes now. As many as keep user code busy, few enough that
    /// little is held.
    fn capacity(&self, program: ProgramId) -> usize;

    /// Attempts that have ended, in any order; waits for the first. Empty when only [`Self::is_draining`] has changed.
    /// Cancel-safe. Must be called even when nothing has been started: it moves bytes and logs.
    fn next(&mut self) -> impl Future<Output = Result<Vec<Finished>, RunnerError>> + Send;

    /// Ends an attempt: TERM, the program's grace, KILL. It still comes out of [`Self::next`].
    fn kill(&mut self, attempt: AttemptId) -> impl Future<Output = Result<(), RunnerError>> + Send;

    /// What attempts of a partition have saved will not be wanted any more: it has failed for good.
    fn discard(&mut self, _program: ProgramId, _partition: u64) {}

    /// Lets what runs go on for so long from now, and no longer. Never called: there is no such limit.
    fn extend(&mut self, lease: Duration) -> impl Future<Output = Result<(), RunnerError>> + Send;

    /// Whether the place where user code runs is being shut down: start nothing more.
    fn is_draining(&self) -> bool;

    /// Kills what runs and waits, within limits, until nothing is left.
    fn shutdown(self) -> impl Future<Output = ()> + Send;
}
