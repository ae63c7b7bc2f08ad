//! The objects, their versions and their watchers.
//!
//! One lock, one counter. A write is *committed* (it has its version, and later writes compare with it) and then
//! *published* (reads and watches see it, its writer is answered): at once in memory, after the fsync of its record with
//! a log. So nothing that a crash can take back is ever seen. Versions are published in order.
//!
//! The lock is never held over an await. When the log fails, committed writes that are not published are
//! refused, and so is every later write.

mod canonical;
mod feed;
mod owners;
mod table;

#[cfg(test)]
mod tests;

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use serde_json::Value;
use tokio::sync::{mpsc, watch};

pub(crate) use self::feed::{Delivery, Interest, Subscription};
use self::owners::Owners;
pub(crate) use self::owners::{ObjectRef, OwnerState};
use self::table::Table;
use crate::resource::ResourceId;
use crate::status::ApiError;

/// Objects larger than this are refused, as etcd refuses them.
pub(crate) const MAX_OBJECT_BYTES: usize = 1_572_864;

/// Namespace (empty for cluster-scoped kinds) and name.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Key {
    pub(crate) namespace: Arc<str>,
    pub(crate) name: Arc<str>,
}

impl Key {
    pub(crate) fn new(namespace: &str, name: &str) -> Self {
        Self {
            namespace: namespace.into(),
            name: name.into(),
        }
    }
}

/// One version of an object, with its JSON text (which answers, events and the log share).
#[derive(Debug)]
pub(crate) struct Stored {
    pub(crate) value: Value,
    pub(crate) raw: Bytes,
    pub(crate) version: u64,
}

/// A committed write.
#[derive(Clone, Debug)]
pub(crate) struct Change {
    pub(crate) resource: ResourceId,
    pub(crate) key: Key,
    /// The new state, or for a deletion the last state with the version of the deletion.
    pub(crate) object: Arc<Stored>,
    pub(crate) deleted: bool,
    before: Option<Arc<Stored>>,
}

impl Change {
    pub(crate) fn version(&self) -> u64 {
        self.object.version
    }
}

/// What a writer wants.
pub(crate) enum Write {
    Put(Value),
    Delete(Value),
}

/// Why a commit did not happen.
#[derive(Debug)]
pub(crate) enum NotCommitted {
    /// The object changed since it was read: read again.
    Raced,
    /// The write is refused for good.
    Refused(ApiError),
}

/// How far the store is published, or why it will go no further.
#[derive(Clone, Debug)]
struct Progress {
    version: u64,
    failed: Option<Arc<str>>,
}

/// How much of the past a table keeps for watches.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Window {
    pub(crate) events: usize,
    pub(crate) bytes: usize,
}

struct State {
    committed: u64,
    published: u64,
    tables: Vec<Table>,
    /// Committed and not yet published, oldest first.
    pending: VecDeque<Change>,
    owners: Owners,
    failed: Option<Arc<str>>,
    closed: bool,
    next_watcher: u64,
}

/// What the log's thread and the API share.
pub(crate) struct Store {
    state: Mutex<State>,
    progress: watch::Sender<Progress>,
    /// Set once, when the log takes records.
    log: Mutex<Option<mpsc::Sender<Change>>>,
    touched: Arc<tokio::sync::Notify>,
}

impl Store {
    /// An empty store whose first version is `start + 1`, with one table per resource.
    pub(crate) fn new(resources: usize, start: u64, window: Window) -> Self {
        let tables = (0..resources).map(|_| Table::new(start, window)).collect();
        Self {
            state: Mutex::new(State {
                committed: start,
                published: start,
                tables,
                pending: VecDeque::new(),
                owners: Owners::default(),
                failed: None,
                closed: false,
                next_watcher: 0,
            }),
            progress: watch::Sender::new(Progress {
                version: start,
                failed: None,
            }),
            log: Mutex::new(None),
            touched: Arc::new(tokio::sync::Notify::new()),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // The critical sections do not panic; a poisoned lock would still hold consistent data.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Puts an object read from the log in place, before the server runs.
    pub(crate) fn restore(&self, resource: ResourceId, key: &Key, object: Arc<Stored>) {
        let mut state = self.state();
        state.owners.set(resource, key, Some(&object.value));
        if let Some(table) = state.tables.get_mut(resource.0) {
            table.restore(key, object);
        }
    }

    /// From now on writes are published only when the log says so.
    pub(crate) fn attach_log(&self, records: mpsc::Sender<Change>) {
        *self.log.lock().unwrap_or_else(PoisonError::into_inner) = Some(records);
    }

    /// No more writes; the log's queue is closed and drains.
    pub(crate) fn close(&self) {
        self.state().closed = true;
        *self.log.lock().unwrap_or_else(PoisonError::into_inner) = None;
        let mut state = self.state();
        for table in &mut state.tables {
            table.end_feeds();
        }
    }

    fn log(&self) -> Option<mpsc::Sender<Change>> {
        self.log.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Woken whenever the garbage collector has something to look at.
    pub(crate) fn touched(&self) -> Arc<tokio::sync::Notify> {
        Arc::clone(&self.touched)
    }

    /// The newest committed state: what a write compares itself with.
    pub(crate) fn head(&self, resource: ResourceId, key: &Key) -> Option<Arc<Stored>> {
        self.state().tables.get(resource.0)?.head(key)
    }

    /// Commits a write against the state that it was computed from (`None`: there was no object), and waits until it
    /// is published.
    pub(crate) async fn commit(
        &self,
        resource: ResourceId,
        key: &Key,
        seen: Option<&Arc<Stored>>,
        write: Write,
    ) -> Result<Arc<Stored>, NotCommitted> {
        let write = match write {
            Write::Put(value) => Write::Put(canonical(value)),
            Write::Delete(value) => Write::Delete(canonical(value)),
        };
        let log = self.log();
        let permit = match &log {
            Some(log) => Some(log.reserve().await.map_err(|_| NotCommitted::Refused(self.refusal()))?),
            None => None,
        };
        let object = {
            let mut state = self.state();
            if state.closed || state.failed.is_some() {
                drop(state);
                return Err(NotCommitted::Refused(self.refusal()));
            }
            let change = state.commit(resource, key, seen, write)?;
            let object = Arc::clone(&change.object);
            if let Some(permit) = permit {
                state.pending.push_back(change.clone());
                permit.send(change);
            } else {
                if state.publish(change) {
                    self.touched.notify_one();
                }
                return Ok(object);
            }
            object
        };
        self.published(object.version).await.map_err(NotCommitted::Refused)?;
        Ok(object)
    }

    fn refusal(&self) -> ApiError {
        match &self.state().failed {
            Some(why) => ApiError::internal(format!(
                "the log of the state directory failed and no write is accepted any more: {why}; free space or repair \
                 the disk, then start again"
            )),
            None => ApiError::unavailable("the server is shutting down"),
        }
    }

    /// Waits until `version` can be seen by everyone.
    pub(crate) async fn published(&self, version: u64) -> Result<(), ApiError> {
        if self.state().published >= version {
            return Ok(());
        }
        let mut progress = self.progress.subscribe();
        let reached = progress.wait_for(|p| p.version >= version || p.failed.is_some()).await;
        match reached {
            Ok(progress) if progress.version >= version => Ok(()),
            _ => Err(self.refusal()),
        }
    }

    /// The log has everything up to `version` on disk.
    pub(crate) fn publish_up_to(&self, version: u64) {
        let mut touched = false;
        {
            let mut state = self.state();
            while state.pending.front().is_some_and(|c| c.version() <= version) {
                if let Some(change) = state.pending.pop_front() {
                    touched |= state.publish(change);
                }
            }
        }
        self.progress.send_modify(|p| p.version = p.version.max(version));
        if touched {
            self.touched.notify_one();
        }
    }

    /// The log cannot be written: nothing more is accepted, and what waits for it is refused.
    pub(crate) fn fail(&self, why: &str) {
        let why: Arc<str> = why.into();
        self.state().failed = Some(Arc::clone(&why));
        self.progress.send_modify(|p| p.failed = Some(why));
    }

    /// All published objects, for a compaction, and the newest published version.
    pub(crate) fn snapshot(&self) -> (u64, Vec<(ResourceId, Key, Arc<Stored>)>) {
        let state = self.state();
        let mut objects = Vec::new();
        for (index, table) in state.tables.iter().enumerate() {
            objects.extend(
                table
                    .iter()
                    .map(|(key, object)| (ResourceId(index), key.clone(), Arc::clone(object))),
            );
        }
        (state.published, objects)
    }

    /// Bytes of all published objects.
    pub(crate) fn live_bytes(&self) -> u64 {
        self.state().tables.iter().map(Table::live_bytes).sum()
    }

    /// The object as a quorum read sees it: after every write that was accepted before this call.
    pub(crate) async fn get(&self, resource: ResourceId, key: &Key) -> Result<Option<Arc<Stored>>, ApiError> {
        let wait_for = {
            let state = self.state();
            let Some(table) = state.tables.get(resource.0) else {
                return Ok(None);
            };
            match table.settled(key) {
                Some(found) => return Ok(found),
                None => state.committed,
            }
        };
        // After a failure of the log the last published state is still true.
        let _ = self.published(wait_for).await;
        Ok(self.state().tables.get(resource.0).and_then(|table| table.visible(key)))
    }

    /// All objects that match, and the version of the list. `fresh` waits for the writes accepted so far.
    pub(crate) async fn list(&self, resource: ResourceId, interest: &Interest, fresh: bool) -> (u64, Vec<Arc<Stored>>) {
        let wait_for = {
            let state = self.state();
            (fresh && !state.pending.is_empty()).then_some(state.committed)
        };
        if let Some(version) = wait_for {
            // As in `get`.
            let _ = self.published(version).await;
        }
        let state = self.state();
        let found = state
            .tables
            .get(resource.0)
            .map(|table| table.matching(interest))
            .unwrap_or_default();
        (state.published, found)
    }

    /// Subscribes to the changes after `since`; `None` begins with the current objects.
    pub(crate) fn subscribe(
        self: &Arc<Self>,
        resource: ResourceId,
        interest: Interest,
        since: Option<u64>,
    ) -> Result<Subscription, ApiError> {
        let mut guard = self.state();
        let state = &mut *guard;
        if state.closed {
            return Err(ApiError::unavailable("the server is shutting down"));
        }
        let id = state.next_watcher;
        state.next_watcher += 1;
        let table = state.tables.get_mut(resource.0).ok_or_else(ApiError::no_such_path)?;
        let (backlog, receiver) = table.subscribe(id, interest, since)?;
        Ok(Subscription::new(
            Arc::clone(self),
            resource,
            id,
            state.published,
            backlog,
            receiver,
        ))
    }

    fn unsubscribe(&self, resource: ResourceId, id: u64) {
        if let Some(table) = self.state().tables.get_mut(resource.0) {
            table.unsubscribe(id);
        }
    }

    /// Queues a bookmark with the newest published version, behind all events up to it.
    fn bookmark(&self, resource: ResourceId, id: u64) {
        let mut state = self.state();
        let version = state.published;
        if let Some(table) = state.tables.get_mut(resource.0) {
            table.bookmark(id, version);
        }
    }

    /// Ends the open watches for which `matches` holds (given the name they are restricted to, if any).
    pub(crate) fn end_watches(&self, resource: ResourceId, matches: impl Fn(Option<&str>) -> bool) -> usize {
        self.state()
            .tables
            .get_mut(resource.0)
            .map_or(0, |table| table.end_matching(matches))
    }

    /// Forgets the kept events, so that every watch from an older version is told 410.
    pub(crate) fn forget_history(&self) {
        let mut state = self.state();
        let published = state.published;
        for table in &mut state.tables {
            table.forget_history(published);
        }
    }

    /// What the garbage collector must look at next, each object once.
    pub(crate) fn next_suspect(&self) -> Option<ObjectRef> {
        self.state().owners.next_suspect()
    }

    /// Puts an object back on the collector's list, after a conflict.
    pub(crate) fn suspect_again(&self, object: ObjectRef) {
        self.state().owners.suspect(object);
    }

    /// Is there an object of this uid, and is it being deleted in the foreground?
    pub(crate) fn owner_state(&self, uid: &str) -> OwnerState {
        self.state().owners.state(uid)
    }

    /// The objects that name this uid as an owner.
    pub(crate) fn dependents(&self, uid: &str) -> Vec<ObjectRef> {
        self.state().owners.dependents(uid)
    }

    /// Number of published objects in a table.
    pub(crate) fn len(&self, resource: ResourceId) -> usize {
        self.state().tables.get(resource.0).map_or(0, Table::len)
    }
}

fn canonical(mut value: Value) -> Value {
    canonical::canonicalize(&mut value);
    value
}

impl State {
    fn commit(
        &mut self,
        resource: ResourceId,
        key: &Key,
        seen: Option<&Arc<Stored>>,
        write: Write,
    ) -> Result<Change, NotCommitted> {
        let internal = |why: String| NotCommitted::Refused(ApiError::internal(why));
        let table = self
            .tables
            .get_mut(resource.0)
            .ok_or_else(|| internal("no such table".into()))?;
        let before = table.head(key);
        let unchanged = match (&before, seen) {
            (None, None) => true,
            (Some(now), Some(then)) => now.version == then.version,
            _ => false,
        };
        if !unchanged {
            return Err(NotCommitted::Raced);
        }
        let version = self.committed + 1;
        let (deleted, mut value) = match write {
            Write::Put(value) => (false, value),
            Write::Delete(value) => (true, value),
        };
        crate::object::set_version(&mut value, version);
        let raw = serde_json::to_vec(&value).map_err(|e| internal(format!("cannot encode the object: {e}")))?;
        if raw.len() > MAX_OBJECT_BYTES && !deleted {
            return Err(NotCommitted::Refused(ApiError::too_large(raw.len(), MAX_OBJECT_BYTES)));
        }
        self.committed = version;
        let object = Arc::new(Stored {
            value,
            raw: raw.into(),
            version,
        });
        table.set_head(key, (!deleted).then(|| Arc::clone(&object)));
        Ok(Change {
            resource,
            key: key.clone(),
            object,
            deleted,
            before,
        })
    }

    /// Makes a change visible. True if the garbage collector has something to do.
    fn publish(&mut self, change: Change) -> bool {
        self.published = change.version();
        let now = (!change.deleted).then_some(&change.object.value);
        self.owners.set(change.resource, &change.key, now);
        if let Some(table) = self.tables.get_mut(change.resource.0) {
            table.publish(change);
        }
        self.owners.has_suspects()
    }
}
