//! Long-lived programs: what they are sent while they run, and the files of the partitions that they work on.

use std::collections::VecDeque;

use bytes::Bytes;

use super::endings::remove_input;
use super::{Queued, Server, protocol};
use crate::frames::{FromShim, InputShape, MAX_HELD};
use crate::shim::ShimError;
use crate::shim::input::Input;
use crate::shim::running::Cause;

/// Files that stay until the worker says that they are not needed any more.
#[derive(Default)]
pub(super) struct Store {
    held: VecDeque<(u64, Input)>,
}

impl Store {
    fn find(&mut self, attempt: u64) -> Option<&mut Input> {
        let mut held = self.held.iter_mut().rev();
        held.find(|(known, _)| *known == attempt).map(|(_, input)| input)
    }
}

impl Server {
    /// Begins to keep a file.
    pub(super) fn store(&mut self, attempt: u64, shape: &InputShape) -> Result<(), ShimError> {
        let known = self.store.find(attempt).is_some() || self.holds(attempt);
        let fits = !matches!(shape, InputShape::None | InputShape::Stream | InputShape::Beside);
        if known || !fits || self.store.held.len() >= MAX_HELD {
            return protocol(format!("the file of attempt {attempt} is one too many, or none"));
        }
        let input = Input::new(shape, attempt, &mut self.scratch);
        self.store.held.push_back((attempt, input));
        Ok(())
    }

    pub(super) fn forget(&mut self, attempt: u64) {
        if let Some(at) = self.store.held.iter().position(|(known, _)| *known == attempt)
            && let Some((_, mut input)) = self.store.held.remove(at)
        {
            remove_input(&mut input);
        }
    }

    /// Bytes for an attempt that waits, or for a file that is kept, or for the standard input of a long-lived program. For what
    /// was ended meanwhile they are dropped.
    pub(super) fn input_data(&mut self, attempt: u64, data: Bytes) -> Result<(), ShimError> {
        if let Some(running) = self.running.iter_mut().find(|running| running.attempt == attempt) {
            let Some(stream) = &mut running.stream else {
                return protocol(format!("input for attempt {attempt}, which runs already"));
            };
            if !stream.push(data) {
                running.why = Some("ended because it did not read its standard input".to_owned());
                running.end_at_once(Cause::Killed);
            }
            return Ok(());
        }
        self.arriving(attempt, |input| input.data(data))
    }

    /// The end of an input.
    pub(super) fn input_end(&mut self, attempt: u64) -> Result<(), ShimError> {
        if let Some(running) = self.running.iter_mut().find(|running| running.attempt == attempt) {
            let Some(stream) = &mut running.stream else {
                return protocol(format!("input for attempt {attempt}, which runs already"));
            };
            stream.end();
            return Ok(());
        }
        self.arriving(attempt, |input| {
            input.end();
            true
        })?;
        let Some(input) = self.store.find(attempt) else {
            return Ok(());
        };
        let place = input.stored();
        self.link.send(&FromShim::Stored { attempt, place })
    }

    /// Input for an attempt that was killed while it arrived is dropped.
    pub(super) fn arriving(&mut self, attempt: u64, take: impl FnOnce(&mut Input) -> bool) -> Result<(), ShimError> {
        if self.running.iter().any(|running| running.attempt == attempt) {
            return protocol(format!("input for attempt {attempt}, which runs already"));
        }
        let mut queued = self.queue.iter_mut().rev();
        let input = match queued.find(|queued| queued.frame.attempt == attempt) {
            Some(Queued { input, .. }) => input,
            None => match self.store.find(attempt) {
                Some(input) => input,
                None => return Ok(()),
            },
        };
        if !input.is_open() || !take(input) {
            return protocol(format!("attempt {attempt} cannot take this input"));
        }
        Ok(())
    }

    /// Whether this is the name of an attempt that waits or runs.
    pub(super) fn holds(&self, attempt: u64) -> bool {
        self.queue.iter().any(|queued| queued.frame.attempt == attempt)
            || self.running.iter().any(|running| running.attempt == attempt)
            || self.deliveries.iter().any(|delivery| delivery.attempt == attempt)
    }

    /// What a long-lived program prints is from here on about another partition.
    pub(super) fn about(&mut self, attempt: u64, partition: u64, number: u32) {
        if let Some(running) = self.running.iter_mut().find(|running| running.attempt == attempt) {
            running.is_about(partition, number);
        } else if let Some(queued) = self.queue.iter_mut().find(|queued| queued.frame.attempt == attempt) {
            (queued.frame.partition, queued.frame.number) = (partition, number);
        }
    }

    /// Gives long-lived programs what waits for them.
    pub(super) fn write_streams(&mut self) {
        for running in &mut self.running {
            if let Some(stream) = &mut running.stream {
                stream.write();
            }
        }
    }
}
