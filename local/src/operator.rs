//! An operator as a task of this process, and how it ended.

use std::future::Future;

use braid_operator::{OperatorError, runtime::Chain};
use tokio::{
    sync::watch,
    task::{AbortHandle, JoinError},
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

/// A running operator.
#[derive(Debug)]
pub struct Operator {
    stop: CancellationToken,
    task: AbortHandle,
    end: watch::Receiver<Option<OperatorEnd>>,
}

/// How an operator ended.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OperatorEnd {
    /// It was asked to.
    #[error("the operator was stopped")]
    Stopped,
    /// [`Operator::kill`].
    #[error("the operator was killed")]
    Killed,
    /// By itself.
    #[error("the operator ended: {0}")]
    Failed(String),
    /// By a defect.
    #[error("the operator panicked: {0}")]
    Panicked(String),
}

impl OperatorEnd {
    fn of(ended: Result<Result<(), OperatorError>, JoinError>) -> Self {
        match ended {
            Ok(Ok(())) => Self::Stopped,
            Ok(Err(error)) => Self::Failed(Chain(&error).to_string()),
            Err(error) if error.is_cancelled() => Self::Killed,
            Err(error) => Self::Panicked(error.to_string()),
        }
    }
}

impl Operator {
    /// Runs it as a task of `tasks`; `stop` is what it ends by.
    pub(crate) fn start(
        running: impl Future<Output = Result<(), OperatorError>> + Send + 'static,
        stop: CancellationToken,
        tasks: &TaskTracker,
    ) -> Self {
        let (tell, end) = watch::channel(None);
        let running = tasks.spawn(running);
        let task = running.abort_handle();
        tasks.spawn(async move {
            let end = OperatorEnd::of(running.await);
            match &end {
                OperatorEnd::Stopped | OperatorEnd::Killed => tracing::debug!("{end}"),
                OperatorEnd::Failed(_) | OperatorEnd::Panicked(_) => tracing::error!("{end}"),
            }
            tell.send_replace(Some(end));
        });
        Self { stop, task, end }
    }

    /// Asks it to end: it releases its Lease.
    pub fn stop(&self) {
        self.stop.cancel();
    }

    /// Ends it at its next await, as a crash would.
    pub fn kill(&self) {
        self.task.abort();
    }

    /// Waits for its end.
    pub async fn ended(&self) -> OperatorEnd {
        let mut end = self.end.clone();
        let ended = end.wait_for(Option::is_some).await;
        // Nobody is left to tell only when the runtime itself goes down, which drops its tasks.
        ended.ok().and_then(|end| end.clone()).unwrap_or(OperatorEnd::Killed)
    }
}

#[cfg(test)]
mod tests;
