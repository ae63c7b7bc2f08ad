//! A runner that runs nothing.

use std::collections::HashMap;
use std::future::{Future, pending, ready};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use super::{Attempt, AttemptId, Ending, Finished, Program, ProgramId, Runner, RunnerError};

/// How many attempts are taken before [`Runner::next`] must be called.
const CAPACITY: usize = 1024;

/// Ends each attempt at once, successfully, with the same results.
#[derive(Debug)]
pub struct NoopRunner {
    results: Option<Bytes>,
    programs: HashMap<ProgramId, Arc<Program>>,
    finished: Vec<Finished>,
}

impl NoopRunner {
    /// A runner whose attempts all have these results.
    pub fn new(results: Option<Bytes>) -> Self {
        Self {
            results,
            programs: HashMap::new(),
            finished: Vec::new(),
        }
    }

    fn take(&mut self, attempt: &Attempt) -> Result<(), RunnerError> {
        if !self.programs.contains_key(&attempt.program) {
            return Err(RunnerError::UnknownProgram(attempt.program));
        }
        if self.finished.len() >= CAPACITY {
            return Err(RunnerError::Full);
        }
        self.finished.push(Finished {
            id: attempt.id,
            partition: attempt.partition,
            attempt: attempt.attempt,
            ending: Ending::Succeeded {
                results: self.results.clone(),
            },
            took: Duration::ZERO,
        });
        Ok(())
    }
}

impl Runner for NoopRunner {
    fn prepare(&mut self, program: Arc<Program>) -> impl Future<Output = Result<(), RunnerError>> + Send {
        self.programs.insert(program.id, program);
        ready(Ok(()))
    }

    fn start(&mut self, attempt: Attempt) -> impl Future<Output = Result<(), RunnerError>> + Send {
        ready(self.take(&attempt))
    }

    fn capacity(&self, _program: ProgramId) -> usize {
        CAPACITY - self.finished.len()
    }

    async fn next(&mut self) -> Result<Vec<Finished>, RunnerError> {
        if self.finished.is_empty() {
            // Only `start` makes something end, and it needs this borrow back.
            return pending().await;
        }
        Ok(std::mem::replace(&mut self.finished, Vec::with_capacity(CAPACITY)))
    }

    fn kill(&mut self, _attempt: AttemptId) -> impl Future<Output = Result<(), RunnerError>> + Send {
        ready(Ok(()))
    }

    fn extend(&mut self, _lease: Duration) -> impl Future<Output = Result<(), RunnerError>> + Send {
        ready(Ok(()))
    }

    fn is_draining(&self) -> bool {
        false
    }

    fn shutdown(self) -> impl Future<Output = ()> + Send {
        ready(())
    }
}
