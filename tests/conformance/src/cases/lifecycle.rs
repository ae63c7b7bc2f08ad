//! delete, finalizers, owners.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use kube::api::{DeleteParams, DynamicObject, ListParams, ObjectMeta, Patch, PatchParams, PostParams, Preconditions};
use serde_json::json;

use crate::harness::{check, refused, same, version};
use crate::{Context, Failure, Outcome};

pub(super) async fn delete_answers(c: Context) -> Outcome {
    let made = c.create("a", &json!({})).await?;
    let answer = c.things().delete("a", &DeleteParams::default()).await?;
    let status = answer.right().ok_or_else(|| Failure::new("the answer is no Status"))?;
    check("success", status.is_success())?;
    same("uid", status.details.map(|d| d.uid), made.metadata.uid)?;
    check("NotFound", refused(c.things().get("a").await)?.is_not_found())?;
    check(
        "NotFound again",
        refused(c.things().delete("a", &DeleteParams::default()).await)?.is_not_found(),
    )
}

pub(super) async fn delete_checks_preconditions(c: Context) -> Outcome {
    let made = c.create("a", &json!({})).await?;
    let wants = |uid: Option<String>, resource_version: Option<String>| {
        DeleteParams::default().preconditions(Preconditions { uid, resource_version })
    };
    let other = Some("00000000-0000-4000-8000-000000000000".to_owned());
    check(
        "uid",
        refused(c.things().delete("a", &wants(other, None)).await)?.is_conflict(),
    )?;
    let touched = c.set_status(made.clone(), &json!({"note": "n"})).await?;
    let stale = wants(None, Some(version(&made)));
    check("version", refused(c.things().delete("a", &stale).await)?.is_conflict())?;
    c.things()
        .delete("a", &wants(made.metadata.uid, Some(version(&touched))))
        .await?;
    check("gone", c.things().get_opt("a").await?.is_none())
}

fn with_finalizer(c: &Context, name: &str) -> DynamicObject {
    let mut thing = c.thing(name, &json!({}));
    thing.metadata.finalizers = Some(vec!["braid.dev/hold".into()]);
    thing
}

pub(super) async fn finalizers_hold(c: Context) -> Outcome {
    let made = c
        .things()
        .create(&PostParams::default(), &with_finalizer(&c, "a"))
        .await?;
    let answer = c.things().delete("a", &DeleteParams::default()).await?;
    let Some(mut held) = answer.left() else {
        return Err(Failure::new("the answer is a Status"));
    };
    check("it is marked", held.metadata.deletion_timestamp.is_some())?;
    same(
        "generation",
        held.metadata.generation,
        made.metadata.generation.map(|g| g + 1),
    )?;
    let again = c.things().delete("a", &DeleteParams::default()).await?;
    same(
        "a second delete",
        again.left().map(|o| version(&o)),
        Some(version(&held)),
    )?;
    let mut more = held.clone();
    more.metadata.finalizers = Some(vec!["braid.dev/hold".into(), "braid.dev/more".into()]);
    let status = refused(c.replace(&more).await)?;
    check(
        &status.message,
        status
            .message
            .contains("no new finalizers can be added if the object is being deleted"),
    )?;
    held.metadata.deletion_timestamp = None;
    let still = c.replace(&held).await?;
    check("the mark stays", still.metadata.deletion_timestamp.is_some())?;
    let mut free = still;
    free.metadata.finalizers = None;
    c.replace(&free).await?;
    check("gone", c.things().get_opt("a").await?.is_none())
}

pub(super) async fn finalizers_by_any_write(c: Context) -> Outcome {
    c.things()
        .create(&PostParams::default(), &with_finalizer(&c, "a"))
        .await?;
    c.things().delete("a", &DeleteParams::default()).await?;
    check("held", c.things().get_opt("a").await?.is_some())?;
    let patch = Patch::Merge(json!({"metadata": {"finalizers": null}}));
    c.things().patch("a", &PatchParams::default(), &patch).await?;
    check("gone", c.things().get_opt("a").await?.is_none())
}

pub(super) async fn delete_collection_selects(c: Context) -> Outcome {
    for (name, team) in [("a", "x"), ("b", "y"), ("c", "x")] {
        let mut thing = c.thing(name, &json!({}));
        thing.metadata.labels = Some([("team".to_owned(), team.to_owned())].into());
        c.things().create(&PostParams::default(), &thing).await?;
    }
    let selection = ListParams::default().labels("team=x");
    c.things()
        .delete_collection(&DeleteParams::default(), &selection)
        .await?;
    let left = c.things().list(&ListParams::default()).await?;
    same(
        "left",
        left.items
            .iter()
            .filter_map(|o| o.metadata.name.clone())
            .collect::<Vec<_>>(),
        vec!["b"],
    )
}

fn owned_by(c: &Context, name: &str, owners: &[&DynamicObject], block: bool) -> DynamicObject {
    let mut thing = c.thing(name, &json!({}));
    let reference = |owner: &&DynamicObject| OwnerReference {
        api_version: "conformance.braid.dev/v1".into(),
        kind: "Thing".into(),
        name: owner.metadata.name.clone().unwrap_or_default(),
        uid: owner.metadata.uid.clone().unwrap_or_default(),
        block_owner_deletion: Some(block),
        controller: None,
    };
    thing.metadata.owner_references = Some(owners.iter().map(reference).collect());
    thing
}

async fn gone(c: &Context, name: &str) -> Outcome {
    c.eventually(&format!("{name} is collected"), || async {
        Ok(c.things().get_opt(name).await?.is_none())
    })
    .await
}

pub(super) async fn dependents_follow(c: Context) -> Outcome {
    let (a, b) = (c.create("a", &json!({})).await?, c.create("b", &json!({})).await?);
    c.things()
        .create(&PostParams::default(), &owned_by(&c, "both", &[&a, &b], false))
        .await?;
    let one = c
        .things()
        .create(&PostParams::default(), &owned_by(&c, "one", &[&a], false))
        .await?;
    c.things()
        .create(&PostParams::default(), &owned_by(&c, "below", &[&one], false))
        .await?;
    c.things().delete("a", &DeleteParams::background()).await?;
    gone(&c, "one").await?;
    gone(&c, "below").await?;
    let references = || async {
        let both = c.things().get("both").await?;
        Ok(both.metadata.owner_references.is_some_and(|o| o.len() == 1))
    };
    c.eventually("the absent owner is taken out", references).await?;
    c.things().delete("b", &DeleteParams::background()).await?;
    gone(&c, "both").await
}

pub(super) async fn dependents_of_nobody_go(c: Context) -> Outcome {
    let mut nobody = c.thing("nobody", &json!({}));
    nobody.metadata.uid = Some("00000000-0000-4000-8000-000000000000".into());
    c.things()
        .create(&PostParams::default(), &owned_by(&c, "orphan", &[&nobody], false))
        .await?;
    gone(&c, "orphan").await
}

pub(super) async fn owners_are_uids(c: Context) -> Outcome {
    let first = c.create("a", &json!({})).await?;
    c.things().delete("a", &DeleteParams::default()).await?;
    c.create("a", &json!({})).await?;
    c.things()
        .create(&PostParams::default(), &owned_by(&c, "late", &[&first], false))
        .await?;
    gone(&c, "late").await?;
    check("the new one stays", c.things().get_opt("a").await?.is_some())
}

pub(super) async fn orphans_stay(c: Context) -> Outcome {
    let a = c.create("a", &json!({})).await?;
    c.things()
        .create(&PostParams::default(), &owned_by(&c, "child", &[&a], true))
        .await?;
    c.things().delete("a", &DeleteParams::orphan()).await?;
    gone(&c, "a").await?;
    let child = c.things().get("child").await?;
    check(
        "the reference is gone",
        child.metadata.owner_references.is_none_or(|o| o.is_empty()),
    )
}

pub(super) async fn foreground_waits(c: Context) -> Outcome {
    let a = c.create("a", &json!({})).await?;
    let mut child = owned_by(&c, "child", &[&a], true);
    child.metadata = ObjectMeta {
        finalizers: Some(vec!["braid.dev/hold".into()]),
        ..child.metadata
    };
    c.things().create(&PostParams::default(), &child).await?;
    c.things().delete("a", &DeleteParams::foreground()).await?;
    let marked = || async { Ok(c.things().get("child").await?.metadata.deletion_timestamp.is_some()) };
    c.eventually("the child is deleted first", marked).await?;
    check("the owner waits", c.things().get_opt("a").await?.is_some())?;
    let free = Patch::Merge(json!({"metadata": {"finalizers": null}}));
    c.things().patch("child", &PatchParams::default(), &free).await?;
    gone(&c, "child").await?;
    gone(&c, "a").await
}
