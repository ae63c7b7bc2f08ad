//! What the shim says, frame by frame. It may be hostile: what does not fit is an error, and the shim's end.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::super::filing::Piece;
use super::super::logs::LogLine;
use super::super::{AttemptId, Ending};
use super::ShimRunner;
use super::convert::failed;
use crate::frames::{FromShim, MAX_LINE, MAX_MESSAGE, Outcome, VERSION};

impl ShimRunner {
    /// Takes a frame of the shim, which may be hostile: what does not fit is an error, and the shim's end.
    pub(super) fn hear(&mut self, frame: FromShim) -> Result<(), String> {
        match frame {
            FromShim::Ready { version } if version == VERSION && !self.greeted => self.greeted = true,
            FromShim::Ready { version } => return Err(format!("it greeted with version {version}, mine is {VERSION}")),
            _ if !self.greeted => return Err("it did not greet".to_owned()),
            FromShim::Log {
                attempt,
                stream,
                cut,
                line,
            } => {
                let flight = self.flights.get(&AttemptId(attempt)).filter(|flight| flight.sent);
                if line.len() > MAX_LINE {
                    return Err(format!("it sent a line of {} bytes", line.len()));
                }
                let (program, partition, attempt, line) = match flight {
                    Some(flight) => (&flight.program, flight.partition, flight.attempt, line),
                    None => self
                        .speaks_for(attempt, line)
                        .ok_or_else(|| format!("it wrote about the unknown attempt {attempt}"))?,
                };
                self.lines.push(LogLine {
                    run: Arc::clone(&program.run),
                    step: Arc::clone(&program.step),
                    partition,
                    attempt,
                    stream,
                    cut,
                    line,
                });
            }
            FromShim::Finished {
                attempt,
                outcome,
                results,
                message,
                micros,
            } => {
                let id = AttemptId(attempt);
                let Some(flight) = (self.flights.get(&id)).filter(|flight| flight.sent && flight.ended.is_none())
                else {
                    return self.process_ended(attempt, outcome, &message);
                };
                let limit = flight.program.results_limit;
                let size = results.as_ref().map(|bytes| bytes.len() as u64);
                let allowed = limit.filter(|_| outcome == Outcome::Exit(0)).map(u64::from);
                if size.is_some_and(|size| allowed.is_none_or(|allowed| size > allowed)) {
                    return Err(format!("it sent results that attempt {attempt} cannot have"));
                }
                let message = message.chars().take(MAX_MESSAGE).collect();
                let took = Duration::from_micros(micros);
                if !took.is_zero() {
                    let before = self.pace.unwrap_or(took.as_secs_f64());
                    self.pace = Some(before + (took.as_secs_f64() - before) / 8.0);
                    self.failures = 0;
                }
                self.progress = Instant::now();
                self.outbox.forget(id);
                if let Some(flight) = self.flights.get_mut(&id).filter(|flight| flight.files > 0) {
                    if outcome == Outcome::Exit(0) {
                        flight.ended = Some((results, took));
                        self.filing.take(id, Piece::End);
                        return Ok(());
                    }
                    self.filing.take(id, Piece::Drop);
                }
                self.end(id, took, |flight| match outcome {
                    Outcome::Exit(0) => Ending::Succeeded { results },
                    other => failed(other, message, flight),
                });
            }
            FromShim::OutFile { attempt, data, path } => return self.file(attempt, data, path),
            FromShim::OutData { attempt, data } => return self.bytes_of_file(attempt, data),
            FromShim::Key { .. } => return Err("it said a key in the middle of a conversation".to_owned()),
            FromShim::Output { attempt, data } => return self.output(attempt, &data),
            FromShim::Stored { attempt, place } => return self.stored(AttemptId(attempt), place),
            FromShim::Draining => self.draining = true,
            FromShim::Pong { .. } => {}
        }
        Ok(())
    }
}
