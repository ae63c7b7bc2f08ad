//! The objects of one kind, their recent events and their watchers.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::ops::Bound;
use std::sync::Arc;

use tokio::sync::mpsc;

use super::feed::{Delivery, EventKind, Interest};
use super::{Change, Key, Stored, Window};
use crate::status::ApiError;

/// Events that a watcher may be behind; a slower one is cut off and starts again, as with the real server.
const QUEUE: usize = 1024;

struct Watcher {
    interest: Interest,
    queue: mpsc::Sender<Delivery>,
}

pub(super) struct Table {
    /// Committed states; with a log these may be ahead of `visible`.
    heads: BTreeMap<Key, Arc<Stored>>,
    visible: BTreeMap<Key, Arc<Stored>>,
    visible_bytes: usize,
    events: VecDeque<Change>,
    event_bytes: usize,
    /// Changes up to this version are forgotten.
    floor: u64,
    window: Window,
    watchers: HashMap<u64, Watcher>,
    /// Watchers restricted to a name, by that name: one object's event does not visit every watcher.
    by_name: HashMap<Arc<str>, Vec<u64>>,
    unnamed: Vec<u64>,
}

impl Table {
    pub(super) fn new(floor: u64, window: Window) -> Self {
        Self {
            heads: BTreeMap::new(),
            visible: BTreeMap::new(),
            visible_bytes: 0,
            events: VecDeque::new(),
            event_bytes: 0,
            floor,
            window,
            watchers: HashMap::new(),
            by_name: HashMap::new(),
            unnamed: Vec::new(),
        }
    }

    pub(super) fn restore(&mut self, key: &Key, object: Arc<Stored>) {
        self.heads.insert(key.clone(), Arc::clone(&object));
        self.show(key, Some(object));
    }

    fn show(&mut self, key: &Key, object: Option<Arc<Stored>>) {
        self.visible_bytes += object.as_ref().map_or(0, |o| o.raw.len());
        let former = match object {
            Some(object) => self.visible.insert(key.clone(), object),
            None => self.visible.remove(key),
        };
        self.visible_bytes -= former.map_or(0, |o| o.raw.len());
    }

    pub(super) fn live_bytes(&self) -> u64 {
        u64::try_from(self.visible_bytes).unwrap_or(u64::MAX)
    }

    pub(super) fn len(&self) -> usize {
        self.visible.len()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (&Key, &Arc<Stored>)> {
        self.visible.iter()
    }

    pub(super) fn head(&self, key: &Key) -> Option<Arc<Stored>> {
        self.heads.get(key).cloned()
    }

    pub(super) fn set_head(&mut self, key: &Key, object: Option<Arc<Stored>>) {
        match object {
            Some(object) => {
                self.heads.insert(key.clone(), object);
            }
            None => {
                self.heads.remove(key);
            }
        }
    }

    pub(super) fn visible(&self, key: &Key) -> Option<Arc<Stored>> {
        self.visible.get(key).cloned()
    }

    /// The visible state if nothing newer is committed; else `None`: wait.
    #[expect(clippy::option_option, reason = "outer: settled or not; inner: there or not")]
    pub(super) fn settled(&self, key: &Key) -> Option<Option<Arc<Stored>>> {
        let (head, visible) = (self.heads.get(key), self.visible.get(key));
        let same = head.map(|o| o.version) == visible.map(|o| o.version);
        same.then(|| visible.cloned())
    }

    pub(super) fn matching(&self, interest: &Interest) -> Vec<Arc<Stored>> {
        let matches = |(key, object): &(&Key, &Arc<Stored>)| interest.matches(key, object);
        match &interest.namespace {
            None => self
                .visible
                .iter()
                .filter(matches)
                .map(|(_, o)| Arc::clone(o))
                .collect(),
            Some(namespace) => {
                if let Some(name) = &interest.name {
                    let key = Key {
                        namespace: Arc::clone(namespace),
                        name: Arc::clone(name),
                    };
                    return self
                        .visible
                        .get_key_value(&key)
                        .filter(matches)
                        .map(|(_, o)| Arc::clone(o))
                        .into_iter()
                        .collect();
                }
                let from = Key {
                    namespace: Arc::clone(namespace),
                    name: "".into(),
                };
                self.visible
                    .range((Bound::Included(from), Bound::Unbounded))
                    .take_while(|(key, _)| key.namespace == *namespace)
                    .filter(matches)
                    .map(|(_, o)| Arc::clone(o))
                    .collect()
            }
        }
    }

    pub(super) fn publish(&mut self, change: Change) {
        self.show(&change.key, (!change.deleted).then(|| Arc::clone(&change.object)));
        self.deliver(&change);
        self.event_bytes += change.object.raw.len();
        self.events.push_back(change);
        while self.events.len() > self.window.events || self.event_bytes > self.window.bytes {
            let Some(oldest) = self.events.pop_front() else { break };
            self.event_bytes -= oldest.object.raw.len();
            self.floor = oldest.version();
        }
    }

    fn deliver(&mut self, change: &Change) {
        let mut slow = Vec::new();
        let named = self
            .by_name
            .get(&change.key.name)
            .map(Vec::as_slice)
            .unwrap_or_default();
        for id in named.iter().chain(&self.unnamed) {
            let Some(watcher) = self.watchers.get(id) else { continue };
            if let Some(delivery) = delivery(change, &watcher.interest)
                && watcher.queue.try_send(delivery).is_err()
            {
                slow.push(*id);
            }
        }
        for id in slow {
            tracing::debug!(watcher = id, "cut off a watch that did not keep up");
            self.unsubscribe(id);
        }
    }

    pub(super) fn subscribe(
        &mut self,
        id: u64,
        interest: Interest,
        since: Option<u64>,
    ) -> Result<(Vec<Delivery>, mpsc::Receiver<Delivery>), ApiError> {
        let backlog = match since {
            None => self
                .matching(&interest)
                .into_iter()
                .map(|object| Delivery::Event {
                    kind: EventKind::Added,
                    object,
                })
                .collect(),
            Some(since) if since < self.floor => return Err(ApiError::expired(since, self.floor)),
            Some(since) => {
                let newer = self.events.iter().filter(|change| change.version() > since);
                newer.filter_map(|change| delivery(change, &interest)).collect()
            }
        };
        let (queue, receiver) = mpsc::channel(QUEUE);
        match &interest.name {
            Some(name) => self.by_name.entry(Arc::clone(name)).or_default().push(id),
            None => self.unnamed.push(id),
        }
        self.watchers.insert(id, Watcher { interest, queue });
        Ok((backlog, receiver))
    }

    pub(super) fn unsubscribe(&mut self, id: u64) {
        let Some(watcher) = self.watchers.remove(&id) else {
            return;
        };
        match watcher.interest.name {
            Some(name) => {
                if let Some(ids) = self.by_name.get_mut(&name) {
                    ids.retain(|other| *other != id);
                    if ids.is_empty() {
                        self.by_name.remove(&name);
                    }
                }
            }
            None => self.unnamed.retain(|other| *other != id),
        }
    }

    pub(super) fn bookmark(&mut self, id: u64, version: u64) {
        if let Some(watcher) = self.watchers.get(&id)
            && watcher.queue.try_send(Delivery::Bookmark { version }).is_err()
        {
            self.unsubscribe(id);
        }
    }

    pub(super) fn end_feeds(&mut self) {
        self.watchers.clear();
        self.by_name.clear();
        self.unnamed.clear();
    }

    pub(super) fn end_matching(&mut self, matches: impl Fn(Option<&str>) -> bool) -> usize {
        let ended: Vec<u64> = self
            .watchers
            .iter()
            .filter(|(_, w)| matches(w.interest.name.as_deref()))
            .map(|(id, _)| *id)
            .collect();
        for id in &ended {
            self.unsubscribe(*id);
        }
        ended.len()
    }

    pub(super) fn forget_history(&mut self, published: u64) {
        self.events.clear();
        self.event_bytes = 0;
        self.floor = published;
    }
}

/// What a watcher is told of a change: an object that enters its selection is added, one that leaves it is deleted.
fn delivery(change: &Change, interest: &Interest) -> Option<Delivery> {
    let was = change
        .before
        .as_ref()
        .filter(|object| interest.matches(&change.key, object));
    let is = !change.deleted && interest.matches(&change.key, &change.object);
    let object = Arc::clone(&change.object);
    Some(match (was, is) {
        (None, false) => return None,
        (None, true) => Delivery::Event {
            kind: EventKind::Added,
            object,
        },
        (Some(_), true) => Delivery::Event {
            kind: EventKind::Modified,
            object,
        },
        (Some(_), false) if change.deleted => Delivery::Event {
            kind: EventKind::Deleted,
            object,
        },
        (Some(before), false) => {
            // It left the selection: its last selected state, at the version of the change.
            let mut value = before.value.clone();
            crate::object::set_version(&mut value, change.version());
            let raw = serde_json::to_vec(&value).unwrap_or_default().into();
            let object = Arc::new(Stored {
                value,
                raw,
                version: change.version(),
            });
            Delivery::Event {
                kind: EventKind::Deleted,
                object,
            }
        }
    })
}
