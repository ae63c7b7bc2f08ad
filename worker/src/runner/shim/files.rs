//! The files that attempts write: what of them the shim may send, and what becomes of an attempt when they are stored.

use bytes::Bytes;
use tokio::time::Instant;

use super::{Flight, ShimRunner};
use crate::frames::{CHUNK, MAX_FILES, MAX_PATH};
use crate::runner::filing::Piece;
use crate::runner::{AttemptId, Ending, Failure};
use crate::store::Refusal;

impl Flight {
    /// Whether it may still write files.
    fn may_write(&self) -> bool {
        self.sent && self.ended.is_none() && self.outlet.is_some()
    }
}

impl ShimRunner {
    /// The next file of an attempt begins.
    pub(super) fn file(&mut self, attempt: u64, data: u8, path: String) -> Result<(), String> {
        let (id, data) = (AttemptId(attempt), usize::from(data));
        let flight = self.flights.get_mut(&id).filter(|flight| flight.may_write());
        let Some(flight) = flight.filter(|flight| data < flight.program.outputs.len()) else {
            return Err(format!("it sent a file of attempt {attempt}, which cannot write that"));
        };
        let allowed = path.len() <= MAX_PATH && flight.files < MAX_FILES;
        let Some(outlet) = flight.outlet.clone().filter(|_| allowed) else {
            return Err(format!("it sent more than attempt {attempt} may write"));
        };
        flight.files += 1;
        self.progress = Instant::now();
        self.filing.take(id, Piece::File { outlet, data, path });
        Ok(())
    }

    /// More bytes of it.
    pub(super) fn bytes_of_file(&mut self, attempt: u64, data: Bytes) -> Result<(), String> {
        let id = AttemptId(attempt);
        let flight = self
            .flights
            .get(&id)
            .filter(|flight| flight.may_write() && flight.files > 0);
        if flight.is_none() || data.len() > CHUNK {
            return Err(format!("it sent bytes of attempt {attempt} that are of no file"));
        }
        self.progress = Instant::now();
        self.filing.take(id, Piece::Bytes(data));
        Ok(())
    }

    /// The files of an attempt are stored, or cannot be.
    pub(super) fn filed(&mut self, id: AttemptId, stored: Result<(), Refusal>) {
        self.progress = Instant::now();
        let Some((results, took)) = self.flights.get_mut(&id).and_then(|flight| flight.ended.take()) else {
            return;
        };
        self.end(id, took, |_| match stored {
            Ok(()) => Ending::Succeeded { results },
            Err(refusal) => Ending::Failed {
                failure: match refusal {
                    Refusal::Exists { .. } => Failure::OutputExists,
                    Refusal::Path { .. } => Failure::BadOutput,
                    Refusal::NotStored { .. } => Failure::OutputNotStored,
                },
                message: refusal.to_string(),
            },
        });
    }
}
