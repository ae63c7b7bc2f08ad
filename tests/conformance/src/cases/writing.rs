//! create, replace, patch.

use k8s_openapi::api::core::v1::ConfigMap;
use kube::api::{ObjectMeta, Patch, PatchParams, PostParams};
use serde_json::{Value, json};

use crate::harness::{at, check, refused, same, set, set_spec, version};
use crate::{Context, Outcome};

pub(super) async fn create_sets_what_the_server_owns(c: Context) -> Outcome {
    let mut thing = c.thing("a", &json!({"size": 1}));
    thing.metadata.uid = Some("mine".into());
    thing.metadata.generation = Some(7);
    set(&mut thing, "status", json!({"count": 1}));
    let made = c.things().create(&PostParams::default(), &thing).await?;
    same(
        "namespace",
        made.metadata.namespace.as_deref(),
        Some(c.namespace.as_str()),
    )?;
    same(
        "length of the uid",
        made.metadata.uid.as_deref().map(str::len),
        Some(36),
    )?;
    same("generation", made.metadata.generation, Some(1))?;
    check(
        "there is a creationTimestamp",
        made.metadata.creation_timestamp.is_some(),
    )?;
    check(
        "the version is a number",
        version(&made).parse::<u64>().is_ok_and(|v| v > 0),
    )?;
    same("status", at(&made, "/status"), json!(null))?;
    same("a get", c.things().get("a").await?, made)
}

pub(super) async fn create_refuses_a_version(c: Context) -> Outcome {
    let mut thing = c.thing("a", &json!({}));
    thing.metadata.resource_version = Some("5".into());
    let status = refused(c.things().create(&PostParams::default(), &thing).await)?;
    check(
        &status.message,
        status.message.contains("resourceVersion should not be set"),
    )?;
    check("nothing was created", c.things().get_opt("a").await?.is_none())
}

pub(super) async fn create_refuses_a_taken_name(c: Context) -> Outcome {
    c.create("a", &json!({})).await?;
    let status = refused(
        c.things()
            .create(&PostParams::default(), &c.thing("a", &json!({})))
            .await,
    )?;
    check("AlreadyExists", status.is_already_exists() && !status.is_conflict())?;
    same("code", status.code, 409)?;
    same(
        "message",
        status.message.as_str(),
        "things.conformance.braid.dev \"a\" already exists",
    )
}

pub(super) async fn create_generates_names(c: Context) -> Outcome {
    let mut names = std::collections::BTreeSet::new();
    for _ in 0..5 {
        let mut thing = c.thing("", &json!({}));
        thing.metadata = ObjectMeta {
            generate_name: Some("run-".into()),
            ..ObjectMeta::default()
        };
        let made = c.things().create(&PostParams::default(), &thing).await?;
        let name = made.metadata.name.unwrap_or_default();
        check(&name, name.starts_with("run-") && name.len() == 9)?;
        names.insert(name);
    }
    same("different names", names.len(), 5)
}

pub(super) async fn create_checks_names(c: Context) -> Outcome {
    let create = |name: &str| c.thing(name, &json!({}));
    let status = refused(c.things().create(&PostParams::default(), &create("Not_A_Name")).await)?;
    check(
        &status.message,
        status.is_invalid() && status.message.contains("metadata.name: Invalid value: \"Not_A_Name\""),
    )?;
    let mut nameless = create("");
    nameless.metadata.name = None;
    let status = refused(c.things().create(&PostParams::default(), &nameless).await)?;
    check(
        &status.message,
        status.is_invalid() && status.message.contains("name or generateName is required"),
    )
}

pub(super) async fn replace_needs_the_version(c: Context) -> Outcome {
    let first = c.create("a", &json!({"size": 1})).await?;
    let mut second = first.clone();
    set_spec(&mut second, "size", json!(2));
    let second = c.replace(&second).await?;
    check(
        "the version grew",
        version(&second).parse::<u64>().unwrap_or(0) > version(&first).parse().unwrap_or(0),
    )?;
    let mut stale = first.clone();
    set_spec(&mut stale, "size", json!(3));
    let status = refused(c.replace(&stale).await)?;
    check("Conflict", status.is_conflict() && status.code == 409)?;
    same(
        "message",
        status.message.as_str(),
        "Operation cannot be fulfilled on things.conformance.braid.dev \"a\": the object has been modified; please apply \
         your changes to the latest version and try again",
    )?;
    check(
        "a stale status write conflicts, too",
        refused(c.set_status(first, &json!({"note": "x"})).await)?.is_conflict(),
    )?;
    same("what is there", c.things().get("a").await?, second)
}

pub(super) async fn replace_needs_a_version(c: Context) -> Outcome {
    let mut thing = c.create("a", &json!({})).await?;
    thing.metadata.resource_version = None;
    let status = refused(c.replace(&thing).await)?;
    check(
        &status.message,
        status.is_invalid() && status.message.contains("must be specified for an update"),
    )?;
    let mut map = ConfigMap {
        metadata: ObjectMeta {
            name: Some("m".into()),
            ..ObjectMeta::default()
        },
        ..ConfigMap::default()
    };
    c.config_maps().create(&PostParams::default(), &map).await?;
    map.data = Some([("k".to_owned(), "v".to_owned())].into());
    let stored = c.config_maps().replace("m", &PostParams::default(), &map).await?;
    same("data", stored.data, map.data)
}

pub(super) async fn replace_checks_the_uid(c: Context) -> Outcome {
    let mut thing = c.create("a", &json!({})).await?;
    thing.metadata.uid = Some("00000000-0000-4000-8000-000000000000".into());
    let status = refused(c.replace(&thing).await)?;
    check(
        &status.message,
        status.is_conflict() && status.message.contains("Precondition failed: UID in precondition"),
    )
}

pub(super) async fn replace_checks_the_name(c: Context) -> Outcome {
    let thing = c.create("a", &json!({})).await?;
    let status = refused(c.things().replace("b", &PostParams::default(), &thing).await)?;
    same("code", status.code, 400)?;
    same(
        "message",
        status.message.as_str(),
        "the name of the object (a) does not match the name on the URL (b)",
    )
}

pub(super) async fn replace_needs_an_object(c: Context) -> Outcome {
    let mut thing = c.create("a", &json!({})).await?;
    thing.metadata.name = Some("b".into());
    thing.metadata.uid = None;
    let status = refused(c.replace(&thing).await)?;
    check("NotFound", status.is_not_found() && status.code == 404)
}

pub(super) async fn same_content_keeps_the_version(c: Context) -> Outcome {
    let made = c.create("a", &json!({"size": 1})).await?;
    same("a PUT", c.replace(&made).await?, made.clone())?;
    let patched = c
        .things()
        .patch(
            "a",
            &PatchParams::default(),
            &Patch::Merge(json!({"spec": {"size": 1}})),
        )
        .await?;
    same("a patch", version(&patched), version(&made))?;
    let told = c.set_status(made, &json!({"count": 0})).await?;
    same("a status PUT", version(&c.replace_status(&told).await?), version(&told))
}

pub(super) async fn generation_counts_spec(c: Context) -> Outcome {
    let made = c.create("a", &json!({"size": 1})).await?;
    let told = c.set_status(made, &json!({"count": 1})).await?;
    same("after a status write", told.metadata.generation, Some(1))?;
    let mut labelled = told;
    labelled.metadata.labels = Some([("a".to_owned(), "b".to_owned())].into());
    let mut labelled = c.replace(&labelled).await?;
    same("after a label", labelled.metadata.generation, Some(1))?;
    set_spec(&mut labelled, "size", json!(2));
    same(
        "after a change of spec",
        c.replace(&labelled).await?.metadata.generation,
        Some(2),
    )
}

pub(super) async fn status_and_spec_are_apart(c: Context) -> Outcome {
    let mut thing = c.create("a", &json!({"size": 5})).await?;
    set_spec(&mut thing, "size", json!(9));
    thing.metadata.labels = Some([("a".to_owned(), "b".to_owned())].into());
    let mut told = c.set_status(thing, &json!({"count": 1})).await?;
    same("spec after a status write", at(&told, "/spec/size"), json!(5))?;
    check("no label after a status write", told.metadata.labels.is_none())?;
    same("status after a status write", at(&told, "/status/count"), json!(1))?;
    set(&mut told, "status", json!({"count": 2}));
    set_spec(&mut told, "size", json!(6));
    let written = c.replace(&told).await?;
    same("spec after a main write", at(&written, "/spec/size"), json!(6))?;
    same("status after a main write", at(&written, "/status/count"), json!(1))
}

pub(super) async fn system_fields_stay(c: Context) -> Outcome {
    let made = c.create("a", &json!({"size": 1})).await?;
    let mut forged = made.clone();
    forged.metadata.generation = Some(99);
    forged.metadata.self_link = Some("x".into());
    set_spec(&mut forged, "size", json!(2));
    let stored = c.replace(&forged).await?;
    same("generation", stored.metadata.generation, Some(2))?;
    same("uid", stored.metadata.uid, made.metadata.uid)?;
    same(
        "creationTimestamp",
        stored.metadata.creation_timestamp,
        made.metadata.creation_timestamp,
    )
}

pub(super) async fn merge_patch_merges(c: Context) -> Outcome {
    c.create(
        "a",
        &json!({"size": 1, "title": "t", "names": ["a", "b"], "labels": {"x": "1", "y": "2"}}),
    )
    .await?;
    let patch = json!({
        "metadata": {"labels": {"l": "v"}},
        "spec": {"size": 2, "title": null, "names": ["c"], "labels": {"y": null, "z": "3"}},
        "status": {"count": 1},
    });
    let patched = c
        .things()
        .patch("a", &PatchParams::default(), &Patch::Merge(patch))
        .await?;
    same("size", at(&patched, "/spec/size"), json!(2))?;
    same("title", at(&patched, "/spec/title"), json!(null))?;
    same("names", at(&patched, "/spec/names"), json!(["c"]))?;
    same("labels", at(&patched, "/spec/labels"), json!({"x": "1", "z": "3"}))?;
    same("status", at(&patched, "/status"), json!(null))?;
    same(
        "label",
        patched.metadata.labels.and_then(|l| l.get("l").cloned()).as_deref(),
        Some("v"),
    )
}

pub(super) async fn merge_patch_of_status(c: Context) -> Outcome {
    c.create("a", &json!({"size": 5})).await?;
    let patch = json!({"spec": {"size": 9}, "status": {"count": 1, "note": "n"}});
    c.things()
        .patch_status("a", &PatchParams::default(), &Patch::Merge(patch))
        .await?;
    let patch = json!({"status": {"note": null}});
    let patched = c
        .things()
        .patch_status("a", &PatchParams::default(), &Patch::Merge(patch))
        .await?;
    same("status", at(&patched, "/status"), json!({"count": 1}))?;
    same("size", at(&patched, "/spec/size"), json!(5))
}

pub(super) async fn merge_patch_checks_a_version(c: Context) -> Outcome {
    let made = c.create("a", &json!({"size": 1})).await?;
    let merge = |patch| Patch::Merge(patch);
    c.things()
        .patch("a", &PatchParams::default(), &merge(json!({"spec": {"size": 2}})))
        .await?;
    let stale = json!({"metadata": {"resourceVersion": version(&made)}, "spec": {"size": 3}});
    check(
        "Conflict",
        refused(c.things().patch("a", &PatchParams::default(), &merge(stale)).await)?.is_conflict(),
    )?;
    same("size", at(&c.things().get("a").await?, "/spec/size"), json!(2))
}

pub(super) async fn dry_run_changes_nothing(c: Context) -> Outcome {
    let dry = PostParams {
        dry_run: true,
        ..PostParams::default()
    };
    c.things().create(&dry, &c.thing("a", &json!({}))).await?;
    check("nothing was created", c.things().get_opt("a").await?.is_none())?;
    let made = c.create("b", &json!({"size": 1})).await?;
    let mut changed = made.clone();
    set_spec(&mut changed, "size", json!(2));
    let answer = c.things().replace("b", &dry, &changed).await?;
    same("the answer", at(&answer, "/spec/size"), json!(2))?;
    same("what is there", c.things().get("b").await?, made)
}

pub(super) async fn large_objects_are_refused(c: Context) -> Outcome {
    let made = c.create("a", &json!({})).await?;
    let result = c.set_status(made, &json!({"note": "x".repeat(1_700_000)})).await;
    let status = refused(result)?;
    check(
        &status.message,
        status.code >= 400 && status.message.contains("too large"),
    )
}

pub(super) async fn maps_come_back_sorted(c: Context) -> Outcome {
    // As text, so that nothing brings it into an order before it is sent.
    let body = |status: &str, version: &str| {
        format!(
            r#"{{"spec":{{"size":1,"free":{{"b":[{{"z":1.0,"a":0.5}}],"a":{{"10":-2.0,"9":1e3,"B":1e-7}}}}}},"kind":"Thing",{status}
            "metadata":{{"name":"a","labels":{{"y":"1","x":"2"}}{version}}},"apiVersion":"conformance.braid.dev/v1"}}"#
        )
    };
    let json = "application/json";
    let made = c.raw("POST", "things", json, body("", "").as_bytes()).await?;
    is_sorted("the answer to a create", &made)?;
    let version = made.pointer("/metadata/resourceVersion").and_then(Value::as_str);
    let version = format!(r#","resourceVersion":"{}""#, version.unwrap_or_default());
    let status = r#""status":{"parts":[{"mode":"x","id":1,"cursor":2}],"note":"n","count":1},"#;
    let written = c
        .raw("PUT", "things/a/status", json, body(status, &version).as_bytes())
        .await?;
    is_sorted("the answer to a status", &written)?;
    let patch = br#"{"spec":{"labels":{"q":"1","p":"2"},"color":"Red"},"metadata":{"annotations":{"n":"1","m":"2"}}}"#;
    let patched = c
        .raw("PATCH", "things/a", "application/merge-patch+json", patch)
        .await?;
    is_sorted("the answer to a patch", &patched)?;
    let read = c.raw("GET", "things/a", json, b"").await?;
    is_sorted("what is read", &read)?;
    let list = c.raw("GET", "things", json, b"").await?;
    same(
        "what is listed",
        list.pointer("/items/0").map(Value::to_string),
        Some(read.to_string()),
    )?;
    let free = read.pointer("/spec/free").map(Value::to_string).unwrap_or_default();
    same(
        "the free part",
        free.as_str(),
        r#"{"a":{"10":-2,"9":1000,"B":1e-7},"b":[{"a":0.5,"z":1}]}"#,
    )
}

/// Whether the keys of all maps are in order.
fn is_sorted(what: &str, value: &Value) -> Outcome {
    match value {
        Value::Object(fields) => {
            check(&format!("{what}: {value} is not sorted"), fields.keys().is_sorted())?;
            fields.values().try_for_each(|value| is_sorted(what, value))
        }
        Value::Array(items) => items.iter().try_for_each(|value| is_sorted(what, value)),
        _ => Ok(()),
    }
}
