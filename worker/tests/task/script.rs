//! A runner whose attempts end as a script says.

use std::{
    collections::BTreeMap,
    io::Read as _,
    os::unix::fs::FileExt as _,
    sync::{Arc, Mutex},
    time::Duration,
};

use braid_worker::runner::{
    Attempt, AttemptId, Data, Ending, Failure, Finished, Input, Program, ProgramId, Runner, RunnerError,
};
use bytes::Bytes;
use tokio::sync::Notify;

/// What an attempt does.
pub enum Act {
    Give(String),
    Fail(Failure),
    /// Runs until it is killed or let go.
    Hang,
}

pub type Script = dyn Fn(&Attempt) -> Act + Send + Sync;

/// What a test sees and steers.
#[derive(Default)]
pub struct Stage {
    pub started: Vec<(u64, u32)>,
    pub killed: Vec<u64>,
    hanging: BTreeMap<AttemptId, Finished>,
    finished: Vec<Finished>,
}

#[derive(Clone)]
pub struct Scripted {
    script: Arc<Script>,
    stage: Arc<Mutex<Stage>>,
    news: Arc<Notify>,
    concurrency: usize,
}

impl Scripted {
    pub fn new(concurrency: usize, script: impl Fn(&Attempt) -> Act + Send + Sync + 'static) -> Self {
        Self {
            script: Arc::new(script),
            stage: Arc::default(),
            news: Arc::default(),
            concurrency,
        }
    }

    pub fn started(&self) -> Vec<(u64, u32)> {
        self.stage.lock().unwrap().started.clone()
    }

    pub fn killed(&self) -> Vec<u64> {
        self.stage.lock().unwrap().killed.clone()
    }

    /// Lets the hanging attempt at a partition succeed.
    pub fn let_go(&self, partition: u64) {
        let mut stage = self.stage.lock().unwrap();
        let ids: Vec<AttemptId> = (stage.hanging.iter())
            .filter(|(_, finished)| finished.partition == partition)
            .map(|(id, _)| *id)
            .collect();
        for id in ids {
            let finished = stage.hanging.remove(&id).unwrap();
            stage.finished.push(finished);
        }
        self.news.notify_one();
    }

    /// What hangs dies with its shim.
    pub fn kill_shim(&self) {
        let mut stage = self.stage.lock().unwrap();
        for (_, mut finished) in std::mem::take(&mut stage.hanging) {
            finished.ending = Ending::Failed {
                failure: Failure::ShimDied,
                message: String::new(),
            };
            stage.finished.push(finished);
        }
        self.news.notify_one();
    }
}

/// The bytes that user code would read from standard input.
pub fn stdin(input: &Input) -> Vec<u8> {
    fn bytes(data: &Data) -> Vec<u8> {
        match data {
            Data::Bytes(bytes) => bytes.to_vec(),
            Data::File { file, offset, length } => {
                let mut bytes = vec![0; usize::try_from(*length).unwrap()];
                file.read_exact_at(&mut bytes, *offset).unwrap();
                bytes
            }
            Data::Made(made) => {
                let mut bytes = Vec::new();
                made.open().unwrap().read_to_end(&mut bytes).unwrap();
                bytes
            }
            Data::Joined(parts) => parts.iter().flat_map(bytes).collect(),
        }
    }
    match input {
        Input::None => Vec::new(),
        Input::One { data, .. } => bytes(data),
        Input::Many(all) => all.iter().flat_map(|file| bytes(&file.data)).collect(),
    }
}

impl Runner for Scripted {
    async fn prepare(&mut self, _program: Arc<Program>) -> Result<(), RunnerError> {
        Ok(())
    }

    async fn start(&mut self, attempt: Attempt) -> Result<(), RunnerError> {
        let act = (self.script)(&attempt);
        let mut stage = self.stage.lock().unwrap();
        stage.started.push((attempt.partition, attempt.attempt));
        let ending = match &act {
            Act::Give(results) => Ending::Succeeded {
                results: Some(Bytes::from(results.clone())),
            },
            Act::Fail(failure) => Ending::Failed {
                failure: failure.clone(),
                message: "its last words".into(),
            },
            Act::Hang => Ending::Succeeded {
                results: Some(Bytes::from_static(b"1")),
            },
        };
        let finished = Finished {
            id: attempt.id,
            partition: attempt.partition,
            attempt: attempt.attempt,
            ending,
            wrote: false,
            took: Duration::ZERO,
        };
        if matches!(act, Act::Hang) {
            stage.hanging.insert(attempt.id, finished);
        } else {
            stage.finished.push(finished);
            self.news.notify_one();
        }
        Ok(())
    }

    fn capacity(&self, _program: ProgramId) -> usize {
        let stage = self.stage.lock().unwrap();
        self.concurrency
            .saturating_sub(stage.hanging.len() + stage.finished.len())
    }

    async fn next(&mut self) -> Result<Vec<Finished>, RunnerError> {
        loop {
            let news = self.news.notified();
            let finished = std::mem::take(&mut self.stage.lock().unwrap().finished);
            if !finished.is_empty() {
                return Ok(finished);
            }
            news.await;
        }
    }

    async fn kill(&mut self, attempt: AttemptId) -> Result<(), RunnerError> {
        let mut stage = self.stage.lock().unwrap();
        if let Some(mut finished) = stage.hanging.remove(&attempt) {
            stage.killed.push(finished.partition);
            finished.ending = Ending::Failed {
                failure: Failure::Killed,
                message: String::new(),
            };
            stage.finished.push(finished);
            self.news.notify_one();
        }
        Ok(())
    }

    async fn extend(&mut self, _lease: Duration) -> Result<(), RunnerError> {
        Ok(())
    }

    fn is_draining(&self) -> bool {
        false
    }

    async fn shutdown(self) {}
}
