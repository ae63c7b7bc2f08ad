//! A worker's own object on the API server: watched by name, read with a quorum, its status replaced by version.
//!
//! Every call has a deadline. What an answer proves is decided here and nowhere else: a write is *stored* if the server
//! says so, *refused* if its content was, and in doubt in every other case, conflicts included, because a client may have
//! repeated the request by itself. Reads are repeated until they succeed, each later than the one before.

use std::time::Duration;

use braid_crds::{
    PROTOCOL, Worker,
    worker::{ProtocolRange, WorkerStatus, WorkerSummary},
};
use braid_engine::protocol::{
    Desk,
    wire::{self, Braid},
    worker::{Sheet, Version},
};
use braid_sync::{CallError, call::within};
use futures::{Stream, StreamExt as _, future};
use kube::{
    Api,
    api::PostParams,
    runtime::{WatchStreamExt as _, watcher},
};

/// The first pause of a call that is repeated.
const FIRST_PAUSE: Duration = Duration::from_millis(50);
/// The longest.
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// What came of a write.
#[derive(Debug)]
pub(crate) enum Written {
    /// It was carried out, and made this object.
    Stored(Box<Worker>),
    /// Unknown.
    Doubtful,
    /// It was not, and the same would never be: why.
    Refused(String),
}

/// How long to wait before a call is made for the `failures + 1`st time: doubling, and spread.
pub(crate) fn pause(failures: u32) -> Duration {
    let Some(doublings) = failures.checked_sub(1) else {
        return Duration::ZERO;
    };
    let longest = FIRST_PAUSE
        .saturating_mul(1_u32.checked_shl(doublings).unwrap_or(u32::MAX))
        .min(LONGEST_PAUSE);
    longest.mul_f64(rand::random_range(0.5..=1.0))
}

/// The calls on one Worker object.
#[derive(Clone, Debug)]
pub(crate) struct DeskApi {
    api: Api<Worker>,
    name: String,
    deadline: Duration,
}

impl DeskApi {
    pub(crate) fn new(api: Api<Worker>, name: &str, deadline: Duration) -> Self {
        Self {
            api,
            name: name.to_owned(),
            deadline,
        }
    }

    /// States of the object as they come, `None` where there is none. Never ends; broken watches are begun again.
    pub(crate) fn watch(&self) -> impl Stream<Item = Option<Worker>> + Send + use<> {
        let name = self.name.clone();
        watcher::watch_object(self.api.clone(), &self.name)
            .default_backoff()
            .filter_map(move |seen| {
                if let Err(error) = &seen {
                    tracing::debug!(worker = %name, %error, "the watch broke; it begins again");
                }
                future::ready(seen.ok())
            })
    }

    /// The object as it is stored now; `None`: there is none.
    pub(crate) async fn read(&self) -> Option<Worker> {
        let mut failures = 0;
        loop {
            tokio::time::sleep(pause(failures)).await;
            match within(self.deadline, self.api.get(&self.name)).await {
                Ok(worker) => return Some(worker),
                Err(CallError::NotFound) => return None,
                Err(error) => {
                    failures = u32::saturating_add(failures, 1);
                    tracing::debug!(worker = %self.name, %error, failures, "the Worker cannot be read");
                }
            }
        }
    }

    /// Replaces the status, if the object is still of the version that `worker` carries.
    pub(crate) async fn put(&self, worker: Worker) -> Written {
        let params = PostParams::default();
        let call = self.api.replace_status(&self.name, &params, &worker);
        match within(self.deadline, call).await {
            Ok(stored) => Written::Stored(Box::new(stored)),
            Err(CallError::Refused(kube::Error::Api(status))) if matches!(status.code, 400 | 413 | 422) => {
                Written::Refused(status.message.clone())
            }
            Err(error) => {
                tracing::debug!(worker = %self.name, %error, "a commit's fate is not known; the Worker is read again");
                Written::Doubtful
            }
        }
    }
}

/// The version of an object. Versions of one object are numbers that grow.
pub(crate) fn version_of(worker: &Worker) -> Option<Version> {
    worker.metadata.resource_version.as_ref()?.parse().ok().map(Version)
}

/// The status to write over `stored`, whose desk is `desk`. An entry that the machine has not touched stays to the letter
/// as it is stored: a sealed one must, and what is read of it says less than what is written there.
pub(crate) fn status_of(
    sheet: &Sheet<Braid>,
    stored: &Worker,
    desk: &Desk<Braid>,
    summary: WorkerSummary,
) -> WorkerStatus {
    let entries = stored
        .status
        .as_ref()
        .map(|status| status.shards.as_slice())
        .unwrap_or_default();
    let shards = sheet
        .commits
        .iter()
        .map(|commit| {
            let entry = entries.iter().find(|entry| entry.id == commit.id);
            match (entry, desk.commit(commit.id)) {
                (Some(entry), Some(known)) if known.cursor == commit.cursor && known.content == commit.content => {
                    let mut entry = entry.clone();
                    entry.sealed = commit.sealed;
                    entry
                }
                _ => wire::shard_status(commit),
            }
        })
        .collect();
    WorkerStatus {
        start_id: Some(sheet.start.clone()),
        protocol: ProtocolRange {
            min: PROTOCOL.0,
            max: PROTOCOL.1,
        },
        shards,
        summary: Some(summary),
    }
}
