//! Where passes are: every stage of a pass is timed, counted by how it ended, and a span of the run's trace.
//!
//! A stage that is dropped unfinished, because the lead was lost, is counted as abandoned: an early end of a pass shows where it was.

use std::{sync::Arc, time::Instant};

use prometheus_client::encoding::EncodeLabelValue;
use tracing::{Instrument as _, field::Empty};

use crate::{Counters, counters::Kind};

/// A stage of a pass.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, EncodeLabelValue)]
pub enum Stage {
    /// Plans of items are made.
    Plan,
    /// What is sealed is folded, what can end ends, what follows begins: computed, in memory.
    Fold,
    /// That is written to the run's status.
    Status,
    /// What workers get is written to their desks.
    Desks,
    /// Pools get as many workers as there is work for.
    Scale,
    /// Workers that came get desks.
    Open,
    /// Desks of workers that went are removed.
    Close,
    /// Pods are brought to their number.
    Pods,
}

impl Stage {
    /// All of them.
    pub const ALL: [Self; 8] = [
        Self::Plan,
        Self::Fold,
        Self::Status,
        Self::Desks,
        Self::Scale,
        Self::Open,
        Self::Close,
        Self::Pods,
    ];
}

/// How a stage ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, EncodeLabelValue)]
pub enum StageEnd {
    /// As it should.
    Done,
    /// With an error.
    Failed,
    /// It was dropped.
    Abandoned,
}

/// A stage that is being gone through.
struct Guard {
    counters: Arc<Counters>,
    kind: Kind,
    stage: Stage,
    began: Instant,
    end: StageEnd,
}

impl Drop for Guard {
    fn drop(&mut self) {
        self.counters
            .stage(self.kind, self.stage, self.end, self.began.elapsed());
    }
}

/// Goes through a stage of a pass.
pub(crate) async fn through<T, E>(
    counters: &Arc<Counters>,
    kind: Kind,
    stage: Stage,
    work: impl Future<Output = Result<T, E>>,
) -> Result<T, E> {
    let mut guard = Guard {
        counters: counters.clone(),
        kind,
        stage,
        began: Instant::now(),
        end: StageEnd::Abandoned,
    };
    let span = tracing::debug_span!("stage", trace.title = ?stage, error = Empty);
    let outcome = work.instrument(span.clone()).await;
    guard.end = if outcome.is_ok() {
        StageEnd::Done
    } else {
        // Why, the log says: errors may quote what somebody gave.
        span.record("error", "it failed");
        StageEnd::Failed
    };
    outcome
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

    use futures::FutureExt as _;

    use super::*;

    #[test]
    fn an_early_end_shows_where_it_was() {
        let counters = Arc::new(Counters::default());
        let of = |work| through(&counters, Kind::Workflow, Stage::Desks, work);
        assert_eq!(
            of(futures::future::ready(Ok::<_, &str>(1)).boxed()).now_or_never(),
            Some(Ok(1))
        );
        assert_eq!(
            of(futures::future::ready(Err("no")).boxed()).now_or_never(),
            Some(Err("no"))
        );
        assert_eq!(of(futures::future::pending().boxed()).now_or_never(), None);
        for end in [StageEnd::Done, StageEnd::Failed, StageEnd::Abandoned] {
            assert_eq!(counters.stages(Kind::Workflow, Stage::Desks, end), 1, "{end:?}");
        }
        assert_eq!(counters.stages(Kind::Workflow, Stage::Status, StageEnd::Done), 0);
    }
}
