//! A runner that runs nothing.

use std::collections::{HashMap, VecDeque};
use std::future::{Future, pending, ready};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::time::Instant;

use super::{Attempt, AttemptId, Ending, Failure, Finished, Program, ProgramId, Runner, RunnerError};

/// How many attempts are taken before [`Runner::next`] must be called.
const CAPACITY: usize = 1024;

/// Ends each attempt at once, successfully, with the same results; or, of a share of the partitions, with exit code 1.
#[derive(Debug)]
pub struct NoopRunner {
    results: Option<Bytes>,
    failing_permille: u32,
    pace: Duration,
    /// With a pace: what ends when.
    running: VecDeque<(Instant, Finished)>,
    programs: HashMap<ProgramId, Arc<Program>>,
    finished: Vec<Finished>,
}

impl NoopRunner {
    /// A runner whose attempts all have these results.
    pub fn new(results: Option<Bytes>) -> Self {
        Self {
            results,
            failing_permille: 0,
            pace: Duration::ZERO,
            running: VecDeque::new(),
            programs: HashMap::new(),
            finished: Vec::new(),
        }
    }

    /// So many of a thousand partitions fail, at every attempt: the same ones in every run, spread as if by chance.
    #[must_use]
    pub fn failing(mut self, permille: u32) -> Self {
        self.failing_permille = permille;
        self
    }

    /// Each attempt takes so long, and as many run at once as the program allows.
    #[must_use]
    pub fn taking(mut self, pace: Duration) -> Self {
        self.pace = pace;
        self
    }

    fn ending(&self, partition: u64) -> Ending {
        if self.failing_permille > 0 && scattered(partition) % 1000 < u64::from(self.failing_permille) {
            return Ending::Failed {
                failure: Failure::Exit(1),
                message: String::new(),
            };
        }
        Ending::Succeeded {
            results: self.results.clone(),
        }
    }

    fn take(&mut self, attempt: &Attempt) -> Result<(), RunnerError> {
        if !self.programs.contains_key(&attempt.program) {
            return Err(RunnerError::UnknownProgram(attempt.program));
        }
        if self.room(attempt.program) == 0 {
            return Err(RunnerError::Full);
        }
        let finished = Finished {
            id: attempt.id,
            partition: attempt.partition,
            attempt: attempt.attempt,
            ending: self.ending(attempt.partition),
            wrote: false,
            took: self.pace,
        };
        if self.pace.is_zero() {
            self.finished.push(finished);
        } else {
            self.running.push_back((Instant::now() + self.pace, finished));
        }
        Ok(())
    }

    fn room(&self, program: ProgramId) -> usize {
        if self.pace.is_zero() {
            return CAPACITY - self.finished.len();
        }
        let concurrency = self
            .programs
            .get(&program)
            .map_or(1, |program| usize::from(program.concurrency.max(1)));
        concurrency.saturating_sub(self.running.len() + self.finished.len())
    }
}

/// A bijection that leaves no pattern (the finalizer of splitmix64).
fn scattered(partition: u64) -> u64 {
    let mut bits = partition.wrapping_add(0x9e37_79b9_7f4a_7c15);
    bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    bits ^ (bits >> 31)
}

impl Runner for NoopRunner {
    fn prepare(&mut self, program: Arc<Program>) -> impl Future<Output = Result<(), RunnerError>> + Send {
        self.programs.insert(program.id, program);
        ready(Ok(()))
    }

    fn start(&mut self, attempt: Attempt) -> impl Future<Output = Result<(), RunnerError>> + Send {
        ready(self.take(&attempt))
    }

    fn capacity(&self, program: ProgramId) -> usize {
        self.room(program)
    }

    async fn next(&mut self) -> Result<Vec<Finished>, RunnerError> {
        if let Some((due, _)) = self.running.front() {
            tokio::time::sleep_until(*due).await;
            let now = Instant::now();
            while let Some((_, finished)) = self.running.pop_front_if(|(due, _)| *due <= now) {
                self.finished.push(finished);
            }
            return Ok(std::mem::take(&mut self.finished));
        }
        if self.finished.is_empty() {
            // Only `start` makes something end, and it needs this borrow back.
            return pending().await;
        }
        // Something is always ready here: without this, nothing else on the thread would ever run.
        tokio::task::yield_now().await;
        Ok(std::mem::replace(&mut self.finished, Vec::with_capacity(CAPACITY)))
    }

    fn kill(&mut self, attempt: AttemptId) -> impl Future<Output = Result<(), RunnerError>> + Send {
        self.running.retain(|(_, running)| running.id != attempt);
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
