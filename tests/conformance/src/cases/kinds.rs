//! Braid's own kinds: the rules on what may become of a Worker, a Workflow and a Plan.

use kube::api::{Api, ApiResource, DynamicObject, GroupVersionKind, PostParams};
use serde_json::{Value, json};

use crate::harness::{at, cause, check, refused, same};
use crate::{Context, Failure, Outcome};

/// One kind of Braid in a case's namespace.
struct Desk {
    api: Api<DynamicObject>,
}

impl Desk {
    fn new(c: &Context, kind: &str) -> Self {
        let kind = GroupVersionKind::gvk("braid.dev", "v1alpha1", kind);
        let plural = format!("{}s", kind.kind.to_lowercase());
        let resource = ApiResource::from_gvk_with_plural(&kind, &plural);
        Self {
            api: Api::namespaced_with(c.client.clone(), &c.namespace, &resource),
        }
    }

    async fn create(&self, kind: &str, spec: Value) -> Result<DynamicObject, Failure> {
        let object = json!({"apiVersion": "braid.dev/v1alpha1", "kind": kind, "metadata": {"name": "a"}, "spec": spec});
        let object: DynamicObject = serde_json::from_value(object).map_err(|error| Failure::new(error.to_string()))?;
        Ok(self.api.create(&PostParams::default(), &object).await?)
    }

    /// Puts a changed copy.
    async fn put(&self, from: &DynamicObject, change: impl FnOnce(&mut Value)) -> Result<DynamicObject, kube::Error> {
        let mut object = from.clone();
        change(&mut object.data);
        self.api.replace("a", &PostParams::default(), &object).await
    }

    /// Puts a changed copy's status.
    async fn put_status(&self, from: &DynamicObject, shards: &Value) -> Result<DynamicObject, kube::Error> {
        let mut object = from.clone();
        if let Some(fields) = object.data.as_object_mut() {
            let status = json!({"protocol": {"min": 1, "max": 1}, "shards": shards});
            fields.insert("status".to_owned(), status);
        }
        self.api.replace_status("a", &PostParams::default(), &object).await
    }
}

/// Refused by a rule, at this field (`<nil>`: the object as a whole), with this message.
fn by_rule(result: Result<DynamicObject, kube::Error>, field: &str, message: &str) -> Outcome {
    let status = refused(result)?;
    check(&status.message, status.is_invalid() && status.code == 422)?;
    let causes = status
        .details
        .as_ref()
        .map(|details| details.causes.as_slice())
        .unwrap_or_default();
    let found = causes
        .iter()
        .any(|cause| cause.reason == "FieldValueInvalid" && cause.field == field && cause.message.ends_with(message));
    check(&format!("{causes:?} has {message:?} at {field}"), found)
}

/// Sets the field at a JSON pointer whose parent exists; null removes it.
fn set(data: &mut Value, pointer: &str, value: Value) {
    let (parent, key) = pointer.rsplit_once('/').unwrap_or(("", pointer));
    match data.pointer_mut(parent) {
        Some(Value::Object(fields)) if value.is_null() => drop(fields.remove(key)),
        Some(Value::Object(fields)) => drop(fields.insert(key.to_owned(), value)),
        Some(Value::Array(items)) => {
            if let Some(item) = key.parse().ok().and_then(|index: usize| items.get_mut(index)) {
                *item = value;
            }
        }
        _ => {}
    }
}

fn shard(id: i64) -> Value {
    json!({
        "id": id, "for": "pod-1", "start": 0, "end": 100, "budgetMillis": 1000,
        "run": {"workflow": "w", "uid": "u", "step": "s", "round": 0, "card": "c"},
    })
}

fn commit(id: i64, cursor: u64, sealed: bool) -> Value {
    json!({"id": id, "startId": "pod-1", "cursor": cursor, "sealed": sealed})
}

/// A worker to which shard 1 is assigned.
async fn worker(c: &Context) -> Result<(Desk, DynamicObject), Failure> {
    let desk = Desk::new(c, "Worker");
    let spec = json!({"podUID": "pod", "pool": "p", "nextShardId": 2, "shards": [shard(1)]});
    let worker = desk.create("Worker", spec).await?;
    Ok((desk, worker))
}

pub(super) async fn commits_move_forward_and_end(c: Context) -> Outcome {
    let (desk, worker) = worker(&c).await?;
    by_rule(
        desk.put_status(&worker, &json!([commit(9, 1, false)])).await,
        "<nil>",
        "a commit may be added only for a shard that is assigned",
    )?;
    by_rule(
        desk.put_status(&worker, &json!([commit(1, 101, false)])).await,
        "<nil>",
        "a cursor must lie within its shard",
    )?;
    let first = desk.put_status(&worker, &json!([commit(1, 10, false)])).await?;
    by_rule(
        desk.put_status(&first, &json!([commit(1, 9, false)])).await,
        "status.shards[0]",
        "a cursor never falls",
    )?;
    let mut stranger = commit(1, 10, false);
    set(&mut stranger, "/startId", json!("pod-2"));
    by_rule(
        desk.put_status(&first, &json!([stranger])).await,
        "status.shards[0]",
        "a commit belongs to the start that made it first",
    )?;
    by_rule(
        desk.put_status(&first, &json!([])).await,
        "<nil>",
        "the commit of a shard that is assigned may not be removed",
    )?;
    let sealed = desk.put_status(&first, &json!([commit(1, 20, true)])).await?;
    by_rule(
        desk.put_status(&sealed, &json!([commit(1, 21, true)])).await,
        "status.shards[0]",
        "a sealed commit is immutable",
    )?;
    let dropped = desk.put(&sealed, |data| set(data, "/spec/shards", json!([]))).await?;
    by_rule(
        desk.put_status(&dropped, &json!([commit(1, 20, false)])).await,
        "<nil>",
        "the commit of a shard that is no longer assigned may not be changed",
    )?;
    desk.put_status(&dropped, &json!([])).await?;
    Ok(())
}

pub(super) async fn assignments_are_immutable_but_for_budget_and_seal(c: Context) -> Outcome {
    let (desk, worker) = worker(&c).await?;
    for (pointer, value, field, message) in [
        (
            "/spec/podUID",
            json!("other"),
            "spec.podUID",
            "a Worker belongs to one pod for ever",
        ),
        (
            "/spec/nextShardId",
            json!(1),
            "spec.nextShardId",
            "nextShardId never falls",
        ),
        (
            "/spec/shards/0/end",
            json!(50),
            "spec.shards[0]",
            "a shard is immutable but for its budget and its seal",
        ),
        (
            "/spec/shards/0/run/step",
            json!("other"),
            "spec.shards[0]",
            "a shard is immutable but for its budget and its seal",
        ),
        (
            "/spec/shards/0/budgetMillis",
            json!(2000),
            "spec.shards[0]",
            "a budget may only shrink",
        ),
    ] {
        by_rule(
            desk.put(&worker, |data| set(data, pointer, value)).await,
            field,
            message,
        )?;
    }
    let smaller = desk
        .put(&worker, |data| set(data, "/spec/shards/0/budgetMillis", json!(500)))
        .await?;
    let committed = desk.put_status(&smaller, &json!([commit(1, 10, false)])).await?;
    let sealed = desk
        .put(&committed, |data| set(data, "/spec/shards/0/seal", json!(true)))
        .await?;
    by_rule(
        desk.put(&sealed, |data| set(data, "/spec/shards/0/seal", json!(false)))
            .await,
        "spec.shards[0]",
        "a seal is for ever",
    )?;
    by_rule(
        desk.put_status(&sealed, &json!([commit(1, 11, false)])).await,
        "<nil>",
        "the commit of a shard that the operator sealed may not be changed",
    )?;
    // Shards correlate by id, not by place.
    let more = desk
        .put(&sealed, |data| {
            let old = data.pointer("/spec/shards/0").cloned().unwrap_or_default();
            set(data, "/spec/shards", json!([shard(2), old]));
        })
        .await?;
    same(
        "a default of an item",
        at(&more, "/spec/shards/0/mode"),
        json!("Normal"),
    )
}

/// A workflow with one of everything that may not change.
fn workflow() -> Value {
    json!({
        "params": [{"name": "p", "type": "Integer", "default": 1}],
        "data": [{"name": "d", "files": {"url": "/tmp/*"}}],
        "timeout": "1h",
        "steps": [
            {
                "name": "one", "over": {"range": {"end": 10}}, "run": {"command": ["true"]},
                "results": [{"name": "r", "reduce": "Sum"}], "retry": {"attempts": 3},
                "timeout": "10m", "partitionTimeout": "1m", "maxFailedPartitions": 1,
            },
            {"name": "two", "after": ["one"], "over": {"items": [1, {"a": null}]}, "run": {"command": ["true"]}},
        ],
        "outputs": [{"name": "o", "value": "steps.one.results.r"}],
    })
}

pub(super) async fn specs_of_runs_are_immutable(c: Context) -> Outcome {
    let desk = Desk::new(&c, "Workflow");
    let made = desk.create("Workflow", workflow()).await?;
    let again = "create another Workflow";
    for (pointer, value, field) in [
        ("/spec/params/0/default", json!(2), "spec.params"),
        ("/spec/data/0/files/url", json!("/var/*"), "spec.data"),
        ("/spec/outputs/0/value", json!("1"), "spec.outputs"),
        ("/spec/timeout", json!("2h"), "spec.timeout"),
        ("/spec/steps/0/over/range/end", json!(11), "spec.steps[0]"),
        ("/spec/steps/1/over/items/1/a", json!(1), "spec.steps[1]"),
        ("/spec/steps/0/run/command", json!(["false"]), "spec.steps[0]"),
        ("/spec/steps/0/results/0/reduce", json!("Max"), "spec.steps[0]"),
        ("/spec/steps/0/retry/attempts", json!(4), "spec.steps[0]"),
        ("/spec/steps/0/timeout", json!("11m"), "spec.steps[0]"),
        ("/spec/steps/0/partitionTimeout", json!("2m"), "spec.steps[0]"),
        ("/spec/steps/1/after", json!([]), "spec.steps[1]"),
        ("/spec/steps/1/name", json!("three"), "spec.steps"),
        // What is taken out or comes in leaves nothing to compare: the rule above it tells.
        ("/spec/timeout", Value::Null, "spec"),
        ("/spec/outputs", Value::Null, "spec"),
        ("/spec/data", Value::Null, "spec"),
        ("/spec/params", Value::Null, "spec"),
        ("/spec/steps/0/retry", Value::Null, "spec.steps[0]"),
        ("/spec/steps/1/timeout", json!("1m"), "spec.steps[1]"),
    ] {
        let result = desk.put(&made, |data| set(data, pointer, value.clone())).await;
        // The rule of a step is about all of it, and names the first field that differs.
        let told = match pointer.split('/').nth(4) {
            Some(first) if field.starts_with("spec.steps[") => {
                format!("{first}: a step is immutable but for maxFailedPartitions and parallelism: {again}")
            }
            _ => again.to_owned(),
        };
        by_rule(result, field, &told).map_err(|failure| Failure::new(format!("{pointer} = {value}: {failure}")))?;
    }
    let more = desk.put(&made, |data| {
        if let Some(Value::Array(steps)) = data.pointer_mut("/spec/steps") {
            steps.push(json!({"name": "three", "run": {"command": ["true"]}}));
        }
    });
    by_rule(more.await, "spec.steps", again)
}

pub(super) async fn a_run_that_takes_over_gets_its_spec_once(c: Context) -> Outcome {
    let desk = Desk::new(&c, "Workflow");
    let source = json!({"resumeFrom": {"name": "old"}});
    let made = desk.create("Workflow", source.clone()).await?;
    let again = "create another Workflow";
    for (pointer, value, field, message) in [
        ("/spec/resumeFrom", Value::Null, "spec", again),
        ("/spec/resumeFrom/name", json!("other"), "spec.resumeFrom", again),
        ("/spec/resumeFrom/partitions", json!("Failed"), "spec.resumeFrom", again),
        ("/spec/timeout", json!("1h"), "spec", "leave them out"),
    ] {
        let result = desk.put(&made, |data| set(data, pointer, value.clone())).await;
        by_rule(result, field, message).map_err(|failure| Failure::new(format!("{pointer} = {value}: {failure}")))?;
    }
    let taken = |data: &mut Value| {
        for (key, value) in workflow().as_object().into_iter().flatten() {
            set(data, &format!("/spec/{key}"), value.clone());
        }
    };
    let filled = desk.put(&made, taken).await?;
    by_rule(
        desk.put(&filled, |data| set(data, "/spec", source)).await,
        "spec",
        again,
    )?;
    for (pointer, value, field) in [
        ("/spec/resumeFrom", Value::Null, "spec"),
        ("/spec/data", Value::Null, "spec"),
        ("/spec/timeout", json!("2h"), "spec.timeout"),
        ("/spec/steps/0/run/command", json!(["false"]), "spec.steps[0]"),
    ] {
        by_rule(desk.put(&filled, |data| set(data, pointer, value)).await, field, again)?;
    }
    Ok(())
}

pub(super) async fn runs_can_be_steered(c: Context) -> Outcome {
    let desk = Desk::new(&c, "Workflow");
    let mut now = desk.create("Workflow", workflow()).await?;
    for (pointer, value) in [
        ("/spec/suspend", json!(true)),
        ("/spec/suspend", json!(false)),
        ("/spec/suspend", Value::Null),
        ("/spec/steps/0/maxFailedPartitions", json!("10%")),
        ("/spec/steps/0/maxFailedPartitions", Value::Null),
        ("/spec/cancel", json!(true)),
    ] {
        let before = now.metadata.generation;
        now = desk.put(&now, |data| set(data, pointer, value.clone())).await?;
        check(
            &format!("{pointer} = {value} is a change"),
            now.metadata.generation > before,
        )?;
    }
    let again = "a cancel cannot be taken back: create another Workflow";
    by_rule(
        desk.put(&now, |data| set(data, "/spec/cancel", json!(false))).await,
        "spec",
        again,
    )?;
    by_rule(
        desk.put(&now, |data| set(data, "/spec/cancel", Value::Null)).await,
        "spec",
        again,
    )
}

pub(super) async fn outputs_may_be_null(c: Context) -> Outcome {
    let desk = Desk::new(&c, "Workflow");
    let mut made = desk.create("Workflow", workflow()).await?;
    let outputs = json!({"none": null, "some": {"deep": null}});
    if let Some(fields) = made.data.as_object_mut() {
        fields.insert("status".to_owned(), json!({"outputs": outputs}));
    }
    let told = desk.api.replace_status("a", &PostParams::default(), &made).await?;
    same("outputs", at(&told, "/status/outputs"), outputs)
}

pub(super) async fn plans_are_immutable(c: Context) -> Outcome {
    let desk = Desk::new(&c, "Plan");
    let spec =
        json!({"chunk": 0, "chunks": 1, "data": "AAAA", "digest": "d", "round": 0, "step": "s", "workflowUID": "u"});
    let made = desk.create("Plan", spec).await?;
    by_rule(
        desk.put(&made, |data| set(data, "/spec/data", json!("BBBB"))).await,
        "<nil>",
        "a plan is immutable",
    )
}

pub(super) async fn refusals_name_fields_of_our_kinds(c: Context) -> Outcome {
    let desk = Desk::new(&c, "Workflow");
    let invalid = |pointer: &'static str, value: Value| {
        let mut spec = json!({"spec": workflow()});
        set(&mut spec, pointer, value);
        let object = json!({"apiVersion": "braid.dev/v1alpha1", "kind": "Workflow", "metadata": {"name": "a"}, "spec": spec.get("spec")});
        let api = desk.api.clone();
        async move {
            let object: DynamicObject =
                serde_json::from_value(object).map_err(|error| Failure::new(error.to_string()))?;
            refused(api.create(&PostParams::default(), &object).await)
        }
    };
    let status = invalid("/spec/steps/0/results/0/reduce", json!("Average")).await?;
    cause(
        &status,
        "FieldValueNotSupported",
        "spec.steps[0].results[0].reduce",
        "Unsupported value: \"Average\": supported values: ",
    )?;
    let status = invalid("/spec/steps/0/name", Value::Null).await?;
    cause(&status, "FieldValueRequired", "spec.steps[0].name", "Required value")?;
    let status = invalid("/spec/steps/1/name", json!("one")).await?;
    cause(
        &status,
        "FieldValueDuplicate",
        "spec.steps[1]",
        "Duplicate value: {\"name\":\"one\"}",
    )?;
    let status = invalid("/spec/timeout", json!("soon")).await?;
    cause(
        &status,
        "FieldValueInvalid",
        "spec.timeout",
        "Invalid value: \"soon\": spec.timeout in body should match '^([0-9]{1,9}(ms|s|m|h))+$'",
    )?;
    let status = invalid("/spec/steps", json!([])).await?;
    cause(
        &status,
        "FieldValueInvalid",
        "spec.steps",
        "Invalid value: 0: spec.steps in body should have at least 1 items",
    )
}
