//! list and watch.

use kube::Api;
use kube::api::{DeleteParams, DynamicObject, ListParams, Patch, PatchParams, PostParams, WatchEvent, WatchParams};
use serde_json::json;

use crate::harness::{check, refused, same, set_spec, version};
use crate::{Context, Failure, Outcome};

/// A thing with labels.
async fn labelled(c: &Context, name: &str, labels: &[(&str, &str)]) -> Result<DynamicObject, Failure> {
    let mut thing = c.thing(name, &json!({}));
    thing.metadata.labels = Some(labels.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect());
    Ok(c.things().create(&PostParams::default(), &thing).await?)
}

async fn list_version(c: &Context) -> Result<String, Failure> {
    Ok(c.things()
        .list(&ListParams::default())
        .await?
        .metadata
        .resource_version
        .unwrap_or_default())
}

fn number(version: &str) -> u64 {
    version.parse().unwrap_or(0)
}

pub(super) async fn watch_tells_changes(c: Context) -> Outcome {
    let from = list_version(&c).await?;
    let mut events = c.watch(&WatchParams::default(), &from).await?;
    let mut made = c.create("a", &json!({"size": 1})).await?;
    set_spec(&mut made, "size", json!(2));
    let changed = c.replace(&made).await?;
    c.set_status(changed, &json!({"count": 1})).await?;
    c.create("b", &json!({})).await?;
    c.things().delete("a", &DeleteParams::default()).await?;
    let mut last = number(&from);
    for wanted in ["ADDED a", "MODIFIED a", "MODIFIED a", "ADDED b", "DELETED a"] {
        let (told, object) = match events.next().await? {
            WatchEvent::Added(o) => ("ADDED", o),
            WatchEvent::Modified(o) => ("MODIFIED", o),
            WatchEvent::Deleted(o) => ("DELETED", o),
            other => return Err(Failure::new(format!("saw {other:?}, wanted {wanted}"))),
        };
        same(
            "event",
            format!("{told} {}", object.metadata.name.clone().unwrap_or_default()).as_str(),
            wanted,
        )?;
        check("versions grow", number(&version(&object)) > last)?;
        last = number(&version(&object));
    }
    // The same from the past.
    let mut again = c.watch(&WatchParams::default(), &from).await?;
    for wanted in ["ADDED a", "MODIFIED a", "MODIFIED a", "ADDED b", "DELETED a"] {
        same("replayed event", again.told().await?.as_str(), wanted)?;
    }
    Ok(())
}

pub(super) async fn watch_from_now_begins_with_what_is(c: Context) -> Outcome {
    c.create("a", &json!({})).await?;
    for from in ["", "0"] {
        let mut events = c.watch(&WatchParams::default(), from).await?;
        same("first", events.told().await?.as_str(), "ADDED a")?;
    }
    Ok(())
}

pub(super) async fn watch_by_name(c: Context) -> Outcome {
    let from = list_version(&c).await?;
    let mut events = c
        .watch(&WatchParams::default().fields("metadata.name=b"), &from)
        .await?;
    c.create("a", &json!({})).await?;
    c.create("b", &json!({})).await?;
    c.things().delete("a", &DeleteParams::default()).await?;
    c.things().delete("b", &DeleteParams::default()).await?;
    same("first", events.told().await?.as_str(), "ADDED b")?;
    same("second", events.told().await?.as_str(), "DELETED b")
}

pub(super) async fn watch_by_label_tells_transitions(c: Context) -> Outcome {
    let from = list_version(&c).await?;
    let mut events = c.watch(&WatchParams::default().labels("team=x"), &from).await?;
    labelled(&c, "a", &[("team", "y")]).await?;
    let relabel = |team: &str| Patch::Merge(json!({"metadata": {"labels": {"team": team}}}));
    for team in ["x", "y"] {
        c.things().patch("a", &PatchParams::default(), &relabel(team)).await?;
    }
    c.things()
        .patch(
            "a",
            &PatchParams::default(),
            &Patch::Merge(json!({"spec": {"size": 1}})),
        )
        .await?;
    c.things().patch("a", &PatchParams::default(), &relabel("x")).await?;
    c.things().delete("a", &DeleteParams::default()).await?;
    for wanted in ["ADDED a", "DELETED a", "ADDED a", "DELETED a"] {
        same("event", events.told().await?.as_str(), wanted)?;
    }
    Ok(())
}

pub(super) async fn watch_times_out(c: Context) -> Outcome {
    let from = list_version(&c).await?;
    let mut events = c.watch(&WatchParams::default().timeout(1), &from).await?;
    check("the watch ends", events.ends().await?)
}

pub(super) async fn watch_streams_lists(c: Context) -> Outcome {
    c.create("a", &json!({})).await?;
    let mut events = c.watch(&WatchParams::streaming_lists(), "0").await?;
    same("first", events.told().await?.as_str(), "ADDED a")?;
    match events.next().await? {
        WatchEvent::Bookmark(bookmark) => {
            let end = bookmark
                .metadata
                .annotations
                .get("k8s.io/initial-events-end")
                .map(String::as_str);
            same("annotation", end, Some("true"))?;
            check(
                "the version covers the list",
                number(&bookmark.metadata.resource_version) > 0,
            )
        }
        other => Err(Failure::new(format!("saw {other:?}, wanted a bookmark"))),
    }?;
    c.create("b", &json!({})).await?;
    same("after", events.told().await?.as_str(), "ADDED b")
}

pub(super) async fn watch_too_old_is_gone(c: Context) -> Outcome {
    // Only provable where the server has forgotten version 1: a real one has after its first compaction, the embedded
    // one as soon as its window has moved on. Writing moves it.
    let made = c.create("a", &json!({"size": 0})).await?;
    let mut now = made;
    for size in 1..=80 {
        set_spec(&mut now, "size", json!(size));
        now = c.replace(&now).await?;
    }
    let mut events = c.watch(&WatchParams::default(), "1").await?;
    match events.next().await {
        Ok(WatchEvent::Error(status)) => {
            same("code", status.code, 410)?;
            same("reason", status.reason.as_str(), "Expired")
        }
        other => Err(Failure::new(format!("saw {other:?}, wanted 410"))),
    }
}

pub(super) async fn deleted_events_have_new_versions(c: Context) -> Outcome {
    let made = c.create("a", &json!({})).await?;
    let mut events = c.watch(&WatchParams::default(), &version(&made)).await?;
    c.things().delete("a", &DeleteParams::default()).await?;
    match events.next().await? {
        WatchEvent::Deleted(object) => check("newer", number(&version(&object)) > number(&version(&made))),
        other => Err(Failure::new(format!("saw {other:?}, wanted DELETED"))),
    }
}

pub(super) async fn lists_select(c: Context) -> Outcome {
    labelled(&c, "a", &[("team", "x"), ("tier", "1")]).await?;
    labelled(&c, "b", &[("team", "y")]).await?;
    labelled(&c, "c", &[]).await?;
    for (selector, wanted) in [
        ("team=x", "a"),
        ("team!=x", "b c"),
        ("team in (x,y)", "a b"),
        ("team notin (x)", "b c"),
        ("team", "a b"),
        ("!team", "c"),
        ("team=x,tier=1", "a"),
        ("team=x,tier=2", ""),
    ] {
        let found = c.things().list(&ListParams::default().labels(selector)).await?;
        same(selector, names(&found.items).as_str(), wanted)?;
    }
    let by_name = c
        .things()
        .list(&ListParams::default().fields("metadata.name=b"))
        .await?;
    same("by name", names(&by_name.items).as_str(), "b")?;
    let everywhere: Api<DynamicObject> = Api::all_with(c.client.clone(), &Context::resource());
    let here = ListParams::default().fields(&format!("metadata.namespace={}", c.namespace));
    same(
        "in all namespaces",
        names(&everywhere.list(&here).await?.items).as_str(),
        "a b c",
    )
}

fn names(objects: &[DynamicObject]) -> String {
    objects
        .iter()
        .filter_map(|o| o.metadata.name.as_deref())
        .collect::<Vec<_>>()
        .join(" ")
}

pub(super) async fn lists_have_versions(c: Context) -> Outcome {
    c.create("a", &json!({})).await?;
    let from = list_version(&c).await?;
    c.create("b", &json!({})).await?;
    let mut events = c.watch(&WatchParams::default(), &from).await?;
    same("first", events.told().await?.as_str(), "ADDED b")
}

pub(super) async fn wrong_selectors_are_refused(c: Context) -> Outcome {
    let list = |p: ListParams| {
        let things = c.things();
        async move { refused(things.list(&p).await) }
    };
    same("labels", list(ListParams::default().labels("a in b")).await?.code, 400)?;
    same(
        "fields",
        list(ListParams::default().fields("spec.unknown=1")).await?.code,
        400,
    )
}

pub(super) async fn metadata_only(c: Context) -> Outcome {
    c.create("a", &json!({"size": 1})).await?;
    let meta = c.things().get_metadata("a").await?;
    same("name", meta.metadata.name.as_deref(), Some("a"))?;
    let list = c.things().list_metadata(&ListParams::default()).await?;
    same("length", list.items.len(), 1)
}
