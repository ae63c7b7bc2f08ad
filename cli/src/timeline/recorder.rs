//! Writing a timeline while a run goes on.

use std::{
    collections::BTreeSet,
    fs::{File, OpenOptions},
    io::{self, Write as _},
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
};

use braid_crds::{Worker, Workflow};
use braid_operator::standing;
use futures::StreamExt as _;
use jiff::Timestamp;
use kube::{
    Api, Client, ResourceExt as _,
    runtime::{WatchStreamExt as _, watcher},
};
use tokio::{sync::oneshot, task::JoinHandle};

use super::{ENTRIES, Entry, What, read, seen::Seen};

/// A task that notes what happens to one run, until it is told to [`finish`](Self::finish). Dropped, it ends by itself.
#[derive(Debug)]
pub struct Recorder {
    last: oneshot::Sender<Option<Box<Workflow>>>,
    task: JoinHandle<io::Result<()>>,
}

impl Recorder {
    /// Begins, and appends to `path`.
    pub fn start(path: PathBuf, client: &Client, run: &Workflow) -> Self {
        let (last, told) = oneshot::channel();
        let namespace = run.namespace().unwrap_or_default();
        let watched = Watched {
            runs: Api::namespaced(client.clone(), &namespace),
            workers: namespaces(run)
                .iter()
                .map(|namespace| Api::namespaced(client.clone(), namespace))
                .collect(),
            name: run.name_any(),
            uid: run.uid().unwrap_or_default(),
        };
        let task = tokio::spawn(record(path, watched, told));
        Self { last, task }
    }

    /// Ends it, with the run as it was at its end. Fails if something could not be written: the timeline has a hole.
    pub async fn finish(self, run: Option<&Workflow>) -> io::Result<()> {
        // It may have ended already, and says why below.
        let _ = self.last.send(run.map(|run| Box::new(run.clone())));
        self.task.await.unwrap_or_else(|error| Err(io::Error::other(error)))
    }
}

/// Where the workers of a run are: in its own namespace, and in those of the standing pools that it names.
fn namespaces(run: &Workflow) -> BTreeSet<String> {
    let pools = standing::references(run).map(|pool| pool.namespace);
    pools.chain(run.namespace()).collect()
}

/// What is looked at.
struct Watched {
    runs: Api<Workflow>,
    /// Where its workers may be.
    workers: Vec<Api<Worker>>,
    name: String,
    uid: String,
}

async fn record(path: PathBuf, watched: Watched, mut last: oneshot::Receiver<Option<Box<Workflow>>>) -> io::Result<()> {
    let mut pen = Pen::open(&path)?;
    let Watched {
        runs,
        workers,
        name,
        uid,
    } = watched;
    let is_it = |run: &Workflow| run.uid().as_ref() == Some(&uid);
    let mut seen = Seen::of(uid.clone());
    let mut runs = std::pin::pin!(watcher::watch_object(runs, &name).default_backoff());
    let watch = |workers| watcher(workers, watcher::Config::default()).default_backoff().boxed();
    let mut workers = futures::stream::select_all(workers.into_iter().map(watch));
    loop {
        let told = tokio::select! {
            run = &mut last => {
                let run = run.ok().flatten();
                let status = run.as_ref().and_then(|run| run.status.as_ref());
                let told = status.map(|status| seen.status(status, now())).unwrap_or_default();
                return pen.write(told).map(drop);
            }
            run = runs.next() => match run {
                Some(Ok(Some(run))) if is_it(&run) => run
                    .status
                    .as_ref()
                    .map(|status| seen.status(status, now()))
                    .unwrap_or_default(),
                Some(Ok(_)) => Vec::new(),
                Some(Err(error)) => again(&error)?,
                None => return Err(io::Error::other("the watch of the run has ended")),
            },
            change = workers.next() => match change {
                Some(Ok(watcher::Event::Apply(worker) | watcher::Event::InitApply(worker))) => seen.worker(&worker),
                Some(Ok(watcher::Event::Delete(worker))) => seen.gone(&worker),
                Some(Ok(watcher::Event::Init | watcher::Event::InitDone)) => Vec::new(),
                Some(Err(error)) => again(&error)?,
                None => return Err(io::Error::other("the watch of the workers has ended")),
            },
        };
        if !pen.write(told)? {
            return Ok(());
        }
    }
}

/// A watch that broke is begun anew; one that is forbidden never will be.
fn again(error: &watcher::Error) -> io::Result<Vec<What>> {
    let status = match error {
        watcher::Error::InitialListFailed(kube::Error::Api(status))
        | watcher::Error::WatchStartFailed(kube::Error::Api(status))
        | watcher::Error::WatchFailed(kube::Error::Api(status))
        | watcher::Error::WatchError(status) => Some(status),
        _ => None,
    };
    if let Some(status) = status.filter(|status| status.code == 403) {
        return Err(io::Error::new(io::ErrorKind::PermissionDenied, status.message.clone()));
    }
    tracing::debug!(%error, "what the timeline is of is watched anew");
    Ok(Vec::new())
}

fn now() -> i64 {
    Timestamp::now().as_millisecond()
}

/// The file, and how much may still be written.
struct Pen {
    file: File,
    left: usize,
}

impl Pen {
    fn open(path: &Path) -> io::Result<Self> {
        // A run that goes on: what was noted before stays, and counts.
        let before = read(path)?;
        let mut file = OpenOptions::new().append(true).create(true).mode(0o600).open(path)?;
        // The last line may be torn.
        if !before.entries.is_empty() || before.unreadable > 0 {
            file.write_all(b"\n")?;
        }
        Ok(Self {
            file,
            left: ENTRIES.saturating_sub(before.entries.len().saturating_add(1)),
        })
    }

    /// Writes entries of now; false: the file is full.
    fn write(&mut self, told: Vec<What>) -> io::Result<bool> {
        if told.is_empty() {
            return Ok(true);
        }
        let at = now();
        let mut text = Vec::new();
        for what in told {
            let full = self.left == 0;
            let entry = Entry {
                at,
                what: if full { What::Full } else { what },
            };
            serde_json::to_writer(&mut text, &entry)?;
            text.push(b'\n');
            if full {
                self.file.write_all(&text)?;
                return Ok(false);
            }
            self.left -= 1;
        }
        // One write for one change: what a kill tears is a line, never the order.
        self.file.write_all(&text)?;
        Ok(true)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use crate::timeline::FILE;

    #[test]
    fn a_full_file_says_so_and_stays_as_it_is() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join(FILE);
        let went = || What::Went { worker: "w".into() };
        let mut pen = Pen::open(&path).unwrap();
        pen.left = 2;
        assert!(pen.write(vec![went()]).unwrap());
        assert!(!pen.write(vec![went(), went()]).unwrap());
        let timeline = read(&path).unwrap();
        assert_eq!(3, timeline.entries.len());
        assert_eq!(What::Full, timeline.entries.last().unwrap().what);
    }

    #[test]
    fn a_run_that_goes_on_goes_on_in_its_file() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join(FILE);
        Pen::open(&path).unwrap().write(vec![What::Full]).unwrap();
        let mut file = OpenOptions::new().append(true).open(&path).unwrap();
        file.write_all(b"{\"at\":1,\"wh").unwrap();
        let mut pen = Pen::open(&path).unwrap();
        assert_eq!(ENTRIES - 2, pen.left);
        pen.write(vec![What::Full]).unwrap();
        assert_eq!(2, read(&path).unwrap().entries.len());
    }
}
