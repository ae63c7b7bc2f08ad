//! Who owns whom, by uid, and which objects the garbage collector must look at.

use std::collections::{BTreeSet, HashMap};

use serde_json::Value;

use super::Key;
use crate::object;
use crate::resource::ResourceId;

/// Names an object of any kind.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct ObjectRef {
    pub(crate) resource: ResourceId,
    pub(crate) key: Key,
}

/// What is known of a uid.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum OwnerState {
    Absent,
    Present,
    /// It waits, with the finalizer `foregroundDeletion`, for its dependents to go.
    AwaitsDependents,
}

struct Known {
    object: ObjectRef,
    awaits_dependents: bool,
}

/// The graph of owners, and the collector's list (each object on it once).
#[derive(Default)]
pub(super) struct Owners {
    known: HashMap<String, Known>,
    uid_of: HashMap<ResourceId, HashMap<Key, Links>>,
    dependents: HashMap<String, BTreeSet<ObjectRef>>,
    suspects: BTreeSet<ObjectRef>,
}

#[derive(Default, PartialEq, Eq)]
struct Links {
    uid: String,
    owners: Vec<String>,
}

impl Owners {
    /// Notes the new state of an object (`None`: it is gone) and what follows for the collector.
    pub(super) fn set(&mut self, resource: ResourceId, key: &Key, now: Option<&Value>) {
        let table = self.uid_of.entry(resource).or_default();
        let object = || ObjectRef {
            resource,
            key: key.clone(),
        };
        let links = now.map(|value| Links {
            uid: object::uid(value).to_owned(),
            owners: object::owner_references(value)
                .filter_map(|o| Some(o.get("uid")?.as_str()?.to_owned()))
                .collect(),
        });
        let finalizing = now.is_some_and(|v| object::is_deleting(v) && object::has_collector_finalizer(v));
        let awaits_dependents =
            finalizing && now.is_some_and(|v| object::finalizers(v).any(|f| f == object::FOREGROUND));
        let links_changed = table.get(key) != links.as_ref();
        if links_changed {
            let former = match links {
                Some(links) => {
                    for owner in &links.owners {
                        self.dependents.entry(owner.clone()).or_default().insert(object());
                    }
                    if !links.owners.is_empty() {
                        self.suspects.insert(object());
                    }
                    self.known.insert(
                        links.uid.clone(),
                        Known {
                            object: object(),
                            awaits_dependents,
                        },
                    );
                    table.insert(key.clone(), links)
                }
                None => table.remove(key),
            };
            if let Some(former) = former {
                self.unlink(&former, &object(), resource, key);
            }
        } else if let Some(known) = links.and_then(|l| self.known.get_mut(&l.uid)) {
            known.awaits_dependents = awaits_dependents;
        }
        if finalizing {
            self.suspects.insert(object());
            // A foreground deletion concerns the dependents, too.
            if let Some(dependents) = now.and_then(|v| self.dependents.get(object::uid(v))) {
                self.suspects.extend(dependents.iter().cloned());
            }
        }
    }

    fn unlink(&mut self, former: &Links, object: &ObjectRef, resource: ResourceId, key: &Key) {
        let current = self.uid_of.get(&resource).and_then(|t| t.get(key));
        let same_uid = current.is_some_and(|links| links.uid == former.uid);
        for owner in &former.owners {
            let still = same_uid && current.is_some_and(|links| links.owners.contains(owner));
            if !still && let Some(set) = self.dependents.get_mut(owner) {
                set.remove(object);
                if set.is_empty() {
                    self.dependents.remove(owner);
                }
            }
            // An owner may have waited for this dependent.
            if let Some(known) = self.known.get(owner).filter(|k| k.awaits_dependents) {
                self.suspects.insert(known.object.clone());
            }
        }
        if !same_uid {
            self.known.remove(&former.uid);
            if let Some(orphans) = self.dependents.get(&former.uid) {
                self.suspects.extend(orphans.iter().cloned());
            }
        }
    }

    pub(super) fn has_suspects(&self) -> bool {
        !self.suspects.is_empty()
    }

    pub(super) fn next_suspect(&mut self) -> Option<ObjectRef> {
        self.suspects.pop_first()
    }

    pub(super) fn suspect(&mut self, object: ObjectRef) {
        self.suspects.insert(object);
    }

    pub(super) fn state(&self, uid: &str) -> OwnerState {
        match self.known.get(uid) {
            None => OwnerState::Absent,
            Some(known) if known.awaits_dependents => OwnerState::AwaitsDependents,
            Some(_) => OwnerState::Present,
        }
    }

    pub(super) fn dependents(&self, uid: &str) -> Vec<ObjectRef> {
        self.dependents
            .get(uid)
            .map(|set| set.iter().cloned().collect())
            .unwrap_or_default()
    }
}
