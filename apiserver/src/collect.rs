//! Garbage collection by owner references, as the controller manager does it.
//!
//! An object whose owners are all gone (by uid) is deleted; one of whose owners some are gone loses those references.
//! Foreground deletions wait for the dependents that block them; orphaning ones take the reference out of
//! the dependents first. Owners of kinds that this server does not serve count as present: nothing is known of them.

use std::sync::{Arc, Weak};
use std::time::Duration;

use serde_json::Value;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use crate::object;
use crate::server::Inner;
use crate::store::{Interest, Key, NotCommitted, ObjectRef, OwnerState, Stored, Write};
use crate::verbs::{Propagation, delete_object};

/// Wait after an object could not be handled (a log that failed stays failed).
const RETRY: Duration = Duration::from_millis(100);
/// Events live this long, as on a real server.
const EVENT_LIFE: jiff::SignedDuration = jiff::SignedDuration::from_hours(1);
/// Time between looks for old events.
const SWEEP: Duration = Duration::from_mins(1);

/// Runs until the server stops or is dropped.
pub(crate) async fn run(server: Weak<Inner>, touched: Arc<Notify>, stop: CancellationToken) {
    let mut sweep = tokio::time::interval(SWEEP);
    loop {
        {
            let Some(inner) = server.upgrade() else { return };
            while let Some(suspect) = inner.api.store.next_suspect() {
                if stop.is_cancelled() {
                    return;
                }
                if !collect(&inner, &suspect).await {
                    inner.api.store.suspect_again(suspect);
                    tokio::select! {
                        () = stop.cancelled() => return,
                        () = tokio::time::sleep(RETRY) => {}
                    }
                }
            }
        }
        tokio::select! {
            () = stop.cancelled() => return,
            () = touched.notified() => {}
            _ = sweep.tick() => {
                if let Some(inner) = server.upgrade() {
                    forget_events(&inner, jiff::Timestamp::now()).await;
                }
            }
        }
    }
}

/// Deletes the events that are too old at `now`.
async fn forget_events(inner: &Inner, now: jiff::Timestamp) {
    let store = &inner.api.store;
    for id in inner.api.registry.fleeting() {
        let Some(resource) = inner.api.registry.get(id) else {
            continue;
        };
        let (_, events) = store.list(id, &Interest::default(), false).await;
        for event in events {
            let made = object::meta_str(&event.value, "creationTimestamp").parse::<jiff::Timestamp>();
            if made.is_ok_and(|made| now.duration_since(made) > EVENT_LIFE) {
                let key = Key::new(object::meta_str(&event.value, "namespace"), object::name(&event.value));
                let seen = (object::uid(&event.value), event.version);
                // One that changed or went in the meantime is looked at again, or gone.
                let _ = delete_object(store, resource, id, &key, seen, Propagation::Background).await;
            }
        }
    }
}

/// Handles one object; false: try again.
async fn collect(inner: &Inner, suspect: &ObjectRef) -> bool {
    let store = &inner.api.store;
    let Some(object) = store.head(suspect.resource, &suspect.key) else {
        return true;
    };
    if object::is_deleting(&object.value) && object::has_collector_finalizer(&object.value) {
        return finalize(inner, suspect, &object).await;
    }
    let owners: Vec<&Value> = object::owner_references(&object.value).collect();
    if owners.is_empty() {
        return true;
    }
    let state = |owner: &Value| {
        let text = |field: &str| owner.get(field).and_then(Value::as_str).unwrap_or_default();
        let served = inner.api.registry.by_kind(text("apiVersion"), text("kind")).is_some();
        if served {
            store.owner_state(text("uid"))
        } else {
            OwnerState::Present
        }
    };
    let states: Vec<OwnerState> = owners.iter().map(|o| state(o)).collect();
    if states.contains(&OwnerState::Present) {
        if !states.contains(&OwnerState::Absent) {
            return true;
        }
        let kept = owners
            .iter()
            .zip(&states)
            .filter(|(_, s)| **s != OwnerState::Absent)
            .map(|(o, _)| (*o).clone());
        return rewrite(inner, suspect, &object, "ownerReferences", kept.collect()).await;
    }
    if object::is_deleting(&object.value) {
        return true;
    }
    let waited_for = states.contains(&OwnerState::AwaitsDependents);
    let blocked = !store.dependents(object::uid(&object.value)).is_empty();
    let propagation = if waited_for && blocked {
        Propagation::Foreground
    } else {
        Propagation::Background
    };
    let Some(resource) = inner.api.registry.get(suspect.resource) else {
        return true;
    };
    let seen = (object::uid(&object.value), object.version);
    match delete_object(store, resource, suspect.resource, &suspect.key, seen, propagation).await {
        Ok(_) => true,
        Err(error) => error.code() == http::StatusCode::NOT_FOUND,
    }
}

/// Serves the finalizers of foreground and orphaning deletions.
async fn finalize(inner: &Inner, suspect: &ObjectRef, object: &Arc<Stored>) -> bool {
    let store = &inner.api.store;
    let uid = object::uid(&object.value);
    let orphaning = object::finalizers(&object.value).any(|f| f == object::ORPHAN);
    for dependent in store.dependents(uid) {
        let Some(found) = store.head(dependent.resource, &dependent.key) else {
            continue;
        };
        let mine = |o: &&Value| o.get("uid").and_then(Value::as_str) == Some(uid);
        if orphaning {
            let others: Vec<Value> = object::owner_references(&found.value)
                .filter(|o| !mine(o))
                .cloned()
                .collect();
            if !rewrite(inner, &dependent, &found, "ownerReferences", others).await {
                return false;
            }
        } else if object::owner_references(&found.value)
            .filter(mine)
            .any(|o| o.get("blockOwnerDeletion").and_then(Value::as_bool) == Some(true))
        {
            // Looked at again when this dependent is gone.
            return true;
        }
    }
    let done = if orphaning { object::ORPHAN } else { object::FOREGROUND };
    let left: Vec<Value> = object::finalizers(&object.value)
        .filter(|f| *f != done)
        .map(Value::from)
        .collect();
    rewrite(inner, suspect, object, "finalizers", left).await
}

/// Replaces a list in metadata; an object that is being deleted and has no finalizer left goes.
async fn rewrite(inner: &Inner, at: &ObjectRef, seen: &Arc<Stored>, field: &str, list: Vec<Value>) -> bool {
    let mut value = seen.value.clone();
    let metadata = object::metadata_mut(&mut value);
    if list.is_empty() {
        metadata.shift_remove(field);
    } else {
        metadata.insert(field.to_owned(), Value::Array(list));
    }
    let gone = object::is_deleting(&value) && object::finalizers(&value).next().is_none();
    let write = if gone { Write::Delete(value) } else { Write::Put(value) };
    match inner.api.store.commit(at.resource, &at.key, Some(seen), write).await {
        Ok(_) => true,
        Err(NotCommitted::Raced) => false,
        Err(NotCommitted::Refused(error)) => {
            tracing::warn!(name = %at.key.name, %error, "garbage collection could not change an object");
            false
        }
    }
}

#[cfg(test)]
mod tests;
