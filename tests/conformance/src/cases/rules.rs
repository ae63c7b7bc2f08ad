//! CEL rules.

use serde_json::json;

use crate::harness::{at, check, refused, same, set_spec};
use crate::{Context, Outcome};

pub(super) async fn transitions_on_main(c: Context) -> Outcome {
    let mut made = c.create("a", &json!({"owner": "me"})).await?;
    set_spec(&mut made, "owner", json!("you"));
    let status = refused(c.replace(&made).await)?;
    check("Invalid", status.is_invalid())?;
    let told = status.message.contains("spec.owner: Invalid value: ") && status.message.contains("owner is immutable");
    check(&status.message, told)?;
    set_spec(&mut made, "owner", json!("me"));
    set_spec(&mut made, "size", json!(1));
    c.replace(&made).await?;
    Ok(())
}

pub(super) async fn transitions_on_status(c: Context) -> Outcome {
    let made = c.create("a", &json!({})).await?;
    let told = c.set_status(made, &json!({"count": 5})).await?;
    let status = refused(c.set_status(told.clone(), &json!({"count": 4})).await)?;
    check(
        &status.message,
        status.is_invalid() && status.message.contains("status.count: Invalid value: "),
    )?;
    check(&status.message, status.message.contains("count never falls"))?;
    let removed = c.set_status(told, &json!({"note": "gone"})).await?;
    same(
        "what is absent has no transition",
        at(&removed, "/status/count"),
        json!(null),
    )
}

pub(super) async fn items_correlate_by_key(c: Context) -> Outcome {
    let made = c.create("a", &json!({})).await?;
    let told = c
        .set_status(
            made,
            &json!({"parts": [{"id": 1, "cursor": 10}, {"id": 2, "cursor": 3}]}),
        )
        .await?;
    let moved = json!({"parts": [{"id": 3, "cursor": 0}, {"id": 2, "cursor": 3}, {"id": 1, "cursor": 11}]});
    let told = c.set_status(told, &moved).await?;
    let fallen = json!({"parts": [{"id": 1, "cursor": 11}, {"id": 2, "cursor": 2}, {"id": 3, "cursor": 0}]});
    let status = refused(c.set_status(told, &fallen).await)?;
    check(
        &status.message,
        status.message.contains("status.parts[1]: Invalid value: "),
    )?;
    check(&status.message, status.message.contains("a cursor never falls"))
}

pub(super) async fn rules_across_spec_and_status(c: Context) -> Outcome {
    let made = c.create("a", &json!({"size": 5})).await?;
    check(
        "a status write",
        refused(c.set_status(made.clone(), &json!({"count": 6})).await)?.is_invalid(),
    )?;
    let mut told = c.set_status(made, &json!({"count": 5})).await?;
    set_spec(&mut told, "size", json!(4));
    check("a main write", refused(c.replace(&told).await)?.is_invalid())
}

pub(super) async fn messages_and_paths(c: Context) -> Outcome {
    let made = c.create("a", &json!({"size": 5, "title": "a"})).await?;
    let status = refused(c.set_status(made, &json!({"count": 6})).await)?;
    let causes = status.details.map(|d| d.causes).unwrap_or_default();
    same("causes", causes.len(), 1)?;
    let cause = causes.first();
    same("reason", cause.map(|c| c.reason.as_str()), Some("FieldValueForbidden"))?;
    same("field", cause.map(|c| c.field.as_str()), Some("status.count"))?;
    same(
        "message",
        cause.map(|c| c.message.as_str()),
        Some("Forbidden: count is above the size of a"),
    )
}

pub(super) async fn structure_first(c: Context) -> Outcome {
    let made = c.create("a", &json!({"size": 5})).await?;
    let status = refused(c.set_status(made, &json!({"count": 6, "note": 1})).await)?;
    check(&status.message, status.message.contains("status.note"))?;
    check(
        &status.message,
        status
            .message
            .contains("some validation rules were not checked because the object was invalid"),
    )
}
