//! Structural schemas.

use serde_json::{Value, json};

use crate::harness::{at, cause, check, refused, same};
use crate::{Context, Failure, Outcome};

/// Refused as Invalid, with a cause for this field that says this.
async fn invalid(c: &Context, spec: Value, reason: &str, field: &str, message: &str) -> Outcome {
    let status = c.create_refused(&spec).await?;
    check(
        &format!("{spec} is Invalid: {status:?}"),
        status.is_invalid() && status.code == 422,
    )?;
    // Alone, or the first of several: a broken structure also says that rules were not checked.
    let plain = status.message.replace(" is invalid: [", " is invalid: ");
    let told = format!("Thing.conformance.braid.dev \"refused\" is invalid: {field}: {message}");
    check(
        &format!("{:?} begins with {told:?}", status.message),
        plain.starts_with(&told),
    )?;
    cause(&status, reason, field, message)
}

pub(super) async fn unknown_fields_are_pruned(c: Context) -> Outcome {
    let spec = json!({"size": 1, "unknown": 1, "nested": {"unknown": 1}, "free": {"kept": {"deep": [1]}}, "parts": [{"id": 1, "unknown": 1}]});
    let made = c.create("a", &spec).await?;
    same("unknown", at(&made, "/spec/unknown"), json!(null))?;
    same("nested", at(&made, "/spec/nested/unknown"), json!(null))?;
    same("item", at(&made, "/spec/parts/0/unknown"), json!(null))?;
    same("kept", at(&made, "/spec/free"), json!({"kept": {"deep": [1]}}))
}

pub(super) async fn strict_names_unknown_fields(c: Context) -> Outcome {
    let body = br#"{"apiVersion":"conformance.braid.dev/v1","kind":"Thing","metadata":{"name":"a","wrong":1},
        "spec":{"size":1,"size":2,"unknown":1,"parts":[{"id":1,"odd":2}]}}"#;
    let status = refused(
        c.raw("POST", "things?fieldValidation=Strict", "application/json", body)
            .await,
    )?;
    same("code", status.code, 400)?;
    for part in [
        "strict decoding error",
        "unknown field \"spec.unknown\"",
        "unknown field \"spec.parts[0].odd\"",
        "unknown field \"metadata.wrong\"",
        "duplicate field \"spec.size\"",
    ] {
        check(&format!("{} has {part}", status.message), status.message.contains(part))?;
    }
    for lax in ["Warn", "Ignore"] {
        let text =
            String::from_utf8_lossy(body).replace("\"name\":\"a\"", &format!("\"name\":\"{}\"", lax.to_lowercase()));
        c.raw(
            "POST",
            &format!("things?fieldValidation={lax}"),
            "application/json",
            text.as_bytes(),
        )
        .await?;
    }
    Ok(())
}

pub(super) async fn defaults_are_filled(c: Context) -> Outcome {
    let made = c
        .create("a", &json!({"parts": [{"id": 1}, {"id": 2, "mode": "Twin"}]}))
        .await?;
    same(
        "nested",
        at(&made, "/spec/nested"),
        json!({"level": 3, "must": "there"}),
    )?;
    same("first item", at(&made, "/spec/parts/0/mode"), json!("Normal"))?;
    same("second item", at(&made, "/spec/parts/1/mode"), json!("Twin"))?;
    let made = c.create("b", &json!({"nested": {"level": 5}})).await?;
    same(
        "partly given",
        at(&made, "/spec/nested"),
        json!({"level": 5, "must": "there"}),
    )
}

pub(super) async fn types_are_checked(c: Context) -> Outcome {
    let message = "Invalid value: \"string\": spec.size in body must be of type integer: \"string\"";
    invalid(
        &c,
        json!({"size": "one"}),
        "FieldValueTypeInvalid",
        "spec.size",
        message,
    )
    .await?;
    let message = "Invalid value: \"array\": spec.nested in body must be of type object: \"array\"";
    invalid(
        &c,
        json!({"nested": []}),
        "FieldValueTypeInvalid",
        "spec.nested",
        message,
    )
    .await?;
    let message = "Invalid value: \"object\": spec.names[0] in body must be of type string: \"object\"";
    invalid(
        &c,
        json!({"names": [{}]}),
        "FieldValueTypeInvalid",
        "spec.names[0]",
        message,
    )
    .await?;
    invalid(
        &c,
        json!({"parts": [{}]}),
        "FieldValueRequired",
        "spec.parts[0].id",
        "Required value",
    )
    .await
}

pub(super) async fn limits_are_checked(c: Context) -> Outcome {
    let inv = "FieldValueInvalid";
    invalid(
        &c,
        json!({"size": -1}),
        inv,
        "spec.size",
        "Invalid value: -1: spec.size in body should be greater than or equal to 0",
    )
    .await?;
    invalid(
        &c,
        json!({"size": 101}),
        inv,
        "spec.size",
        "Invalid value: 101: spec.size in body should be less than or equal to 100",
    )
    .await?;
    let message = "Unsupported value: \"Green\": supported values: \"Red\", \"Blue\"";
    let status = c.create_refused(&json!({"color": "Green"})).await?;
    cause(&status, "FieldValueNotSupported", "spec.color", message).or_else(|_| {
        // Newer servers sort the values.
        cause(
            &status,
            "FieldValueNotSupported",
            "spec.color",
            "Unsupported value: \"Green\": supported values: \"Blue\", \"Red\"",
        )
    })?;
    invalid(
        &c,
        json!({"title": "UP"}),
        inv,
        "spec.title",
        "Invalid value: \"UP\": spec.title in body should match '^[a-z]*$'",
    )
    .await?;
    invalid(
        &c,
        json!({"title": "abcdefghi"}),
        "FieldValueTooLong",
        "spec.title",
        "Too long: may not be more than 8 bytes",
    )
    .await?;
    invalid(
        &c,
        json!({"names": ["a", "b", "c", "d", "e"]}),
        "FieldValueTooMany",
        "spec.names",
        "Too many: 5: must have at most 4 items",
    )
    .await?;
    invalid(
        &c,
        json!({"labels": {"k": "12345"}}),
        "FieldValueTooLong",
        "spec.labels.k",
        "Too long: may not be more than 4 bytes",
    )
    .await?;
    let message = "Invalid value: \"yesterday\": spec.when in body must be of type date-time: \"yesterday\"";
    invalid(
        &c,
        json!({"when": "yesterday"}),
        "FieldValueTypeInvalid",
        "spec.when",
        message,
    )
    .await?;
    c.create(
        "fits",
        &json!({"size": 100, "title": "abcdefgh", "when": "2026-01-02T03:04:05.678Z", "color": "Blue"}),
    )
    .await
    .map(|_| ())
}

pub(super) async fn keyed_lists_have_unique_keys(c: Context) -> Outcome {
    let twice = json!({"parts": [{"id": 1, "cursor": 1}, {"id": 2}, {"id": 1, "cursor": 2}]});
    invalid(
        &c,
        twice,
        "FieldValueDuplicate",
        "spec.parts[2]",
        "Duplicate value: {\"id\":1}",
    )
    .await?;
    invalid(
        &c,
        json!({"names": ["a", "b", "a"]}),
        "FieldValueDuplicate",
        "spec.names[2]",
        "Duplicate value: \"a\"",
    )
    .await
}

pub(super) async fn one_of_is_checked(c: Context) -> Outcome {
    c.create("one", &json!({"choice": {"a": "x"}})).await?;
    for (wrong, found) in [
        (json!({}), "Found none valid"),
        (json!({"a": "x", "b": "y"}), "Found 2 valid alternatives"),
    ] {
        let status = c.create_refused(&json!({"choice": wrong})).await?;
        let message =
            format!("Invalid value: \"\": \"spec.choice\" must validate one and only one schema (oneOf). {found}");
        check(&status.message, status.is_invalid())?;
        cause(&status, "FieldValueInvalid", "<nil>", &message)?;
    }
    // What the first branch wants is told, too.
    let status = c.create_refused(&json!({"choice": {}})).await?;
    cause(&status, "FieldValueRequired", "spec.choice.a", "Required value")
}

pub(super) async fn limits_are_told_one_by_one(c: Context) -> Outcome {
    let causes = |spec: serde_json::Value| {
        let c = c.clone();
        async move {
            let status = c.create_refused(&spec).await?;
            let causes = status.details.map(|details| details.causes).unwrap_or_default();
            let told = causes.into_iter().filter(|cause| cause.field != "<nil>");
            Ok::<_, Failure>(told.map(|cause| cause.reason).collect::<Vec<_>>())
        }
    };
    same(
        "too long and no match",
        causes(json!({"title": "UPPER CASE"})).await?,
        vec!["FieldValueTooLong"],
    )?;
    same(
        "a wrong type that is no value, either",
        causes(json!({"color": 7})).await?,
        vec!["FieldValueTypeInvalid", "FieldValueNotSupported"],
    )?;
    same(
        "an item of a keyed list that is no object",
        causes(json!({"parts": ["text"]})).await?,
        vec!["FieldValueTypeInvalid", "FieldValueInvalid"],
    )?;
    same(
        "beyond 64 bits",
        causes(json!({"nested": {"level": u64::MAX}})).await?,
        vec!["FieldValueTypeInvalid"],
    )
}

pub(super) async fn int_or_string_takes_both(c: Context) -> Outcome {
    same(
        "integer",
        at(&c.create("a", &json!({"port": 80})).await?, "/spec/port"),
        json!(80),
    )?;
    same(
        "string",
        at(&c.create("b", &json!({"port": "80%"})).await?, "/spec/port"),
        json!("80%"),
    )?;
    check("bool", c.create_refused(&json!({"port": true})).await?.is_invalid())
}

pub(super) async fn nulls(c: Context) -> Outcome {
    let made = c.create("a", &json!({"maybe": null, "nested": null})).await?;
    same(
        "a null that may be",
        made.data.pointer("/spec/maybe"),
        Some(&Value::Null),
    )?;
    same("a null with a default", at(&made, "/spec/nested/level"), json!(3))?;
    let made = c.create("b", &json!({"title": null, "labels": {"k": null}})).await?;
    same("a null that may not be", made.data.pointer("/spec/title"), None)?;
    same("a null in a map", at(&made, "/spec/labels"), json!({}))?;
    let message = "Invalid value: \"null\": spec.names[0] in body must be of type string: \"null\"";
    invalid(
        &c,
        json!({"names": [null]}),
        "FieldValueTypeInvalid",
        "spec.names[0]",
        message,
    )
    .await
}

pub(super) async fn all_causes_are_told(c: Context) -> Outcome {
    let status = c
        .create_refused(&json!({"size": -1, "title": "UP", "names": [1]}))
        .await?;
    let causes = status.details.as_ref().map(|d| d.causes.as_slice()).unwrap_or_default();
    for field in ["spec.size", "spec.title", "spec.names[0]"] {
        check(
            &format!("{causes:?} has {field}"),
            causes.iter().any(|c| c.field == field),
        )?;
    }
    check(
        &status.message,
        status.message.contains(" is invalid: [") && status.message.ends_with(']'),
    )
}

pub(super) async fn status_is_validated(c: Context) -> Outcome {
    let made = c.create("a", &json!({})).await?;
    let status = refused(c.set_status(made, &json!({"count": "many"})).await)?;
    cause(
        &status,
        "FieldValueTypeInvalid",
        "status.count",
        "Invalid value: \"string\"",
    )
}

pub(super) async fn built_in_kinds_are_typed(c: Context) -> Outcome {
    let body = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a"}, "data": {"k": 1}});
    let request = http::Request::builder()
        .method("POST")
        .uri(format!("/api/v1/namespaces/{}/configmaps", c.namespace))
        .header("content-type", "application/json")
        .body(body.to_string().into_bytes())?;
    let answer: Result<Value, kube::Error> = c.client.request(request).await;
    let status = refused(answer).map_err(|e| Failure::new(e.to_string()))?;
    same("code", status.code, 400)
}
