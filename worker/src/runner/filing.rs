//! The files that attempts write, on their way from the shim to where they are stored: a thread of its own writes them, so that a slow disk
//! holds up the shim and not the worker's loop.

use std::collections::{HashMap, VecDeque};

use bytes::Bytes;
use tokio::sync::mpsc::{self, UnboundedReceiver, error::TrySendError};

use super::AttemptId;
use crate::store::{Outlet, Receiving, Refusal};

/// So many pieces wait for the disk at most.
const PIECES: usize = 16;

/// What happens to the files of an attempt.
#[derive(Debug)]
pub(super) enum Piece {
    /// The next file begins.
    File { outlet: Outlet, data: usize, path: String },
    /// More bytes of it.
    Bytes(Bytes),
    /// All have arrived.
    End,
    /// The attempt has failed.
    Drop,
}

type Stored = (AttemptId, Result<(), Refusal>);

/// The thread's two ends.
type Writer = (mpsc::Sender<(AttemptId, Piece)>, UnboundedReceiver<Stored>);

/// Stores files in the order in which they arrive.
#[derive(Debug, Default)]
pub(super) struct Filing {
    writer: Option<Writer>,
    waiting: VecDeque<(AttemptId, Piece)>,
}

impl Filing {
    /// Takes a piece; call [`Self::pass_on`] then.
    pub(super) fn take(&mut self, attempt: AttemptId, piece: Piece) {
        self.waiting.push_back((attempt, piece));
    }

    /// Whether more may be read from the shim.
    pub(super) fn has_room(&self) -> bool {
        self.waiting.is_empty()
    }

    /// Gives the thread what it takes now.
    pub(super) fn pass_on(&mut self) {
        while let Some(piece) = self.waiting.pop_front() {
            let (sender, _) = self.writer.get_or_insert_with(start);
            match sender.try_send(piece) {
                Ok(()) => {}
                Err(TrySendError::Full(piece)) => return self.waiting.push_front(piece),
                // It has broken: another goes on, and says of every attempt whose beginning it has not seen that it failed.
                Err(TrySendError::Closed(piece)) => {
                    self.writer = None;
                    self.waiting.push_front(piece);
                }
            }
        }
    }

    /// An attempt whose files are stored, or cannot be. `None`: more may be given to the thread. Never, if there is nothing to wait for.
    /// Cancel-safe.
    pub(super) async fn turn(&mut self) -> Option<Stored> {
        let Some((sender, stored)) = &mut self.writer else {
            return std::future::pending().await;
        };
        let waits = !self.waiting.is_empty();
        tokio::select! {
            Some(stored) = stored.recv() => Some(stored),
            _ = sender.reserve(), if waits => None,
            else => std::future::pending().await,
        }
    }
}

fn start() -> Writer {
    let (sender, mut pieces) = mpsc::channel(PIECES);
    let (tell, stored) = mpsc::unbounded_channel();
    // Ends when its sender is gone.
    drop(tokio::task::spawn_blocking(move || {
        let mut arriving: HashMap<AttemptId, Result<Receiving, Refusal>> = HashMap::new();
        while let Some((attempt, piece)) = pieces.blocking_recv() {
            match piece {
                Piece::File { outlet, data, path } => {
                    let files = arriving.entry(attempt).or_insert_with(|| Receiving::begin(&outlet));
                    also(files, |files| files.file(data, &path));
                }
                Piece::Bytes(bytes) => {
                    if let Some(files) = arriving.get_mut(&attempt) {
                        also(files, |files| files.bytes(&bytes));
                    }
                }
                Piece::End => {
                    let ended = arriving.remove(&attempt).unwrap_or_else(|| {
                        let problem = "their beginning was lost".to_owned();
                        Err(Refusal::NotStored {
                            data: String::new(),
                            problem,
                        })
                    });
                    // Nobody may want to know any more.
                    let _ = tell.send((attempt, ended.map(drop)));
                }
                Piece::Drop => drop(arriving.remove(&attempt)),
            }
        }
    }));
    (sender, stored)
}

/// The first refusal stays.
fn also(files: &mut Result<Receiving, Refusal>, step: impl FnOnce(&mut Receiving) -> Result<(), Refusal>) {
    if let Ok(receiving) = files
        && let Err(refusal) = step(receiving)
    {
        *files = Err(refusal);
    }
}
