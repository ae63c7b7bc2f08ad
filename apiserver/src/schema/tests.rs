#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::path::Path;
use crate::rules;

fn causes(schema: &Value, value: &Value) -> Vec<String> {
    let schema = Schema::node(schema, "", 0).unwrap();
    let mut causes = Vec::new();
    schema.validate(value, &mut Path::default(), &mut causes);
    causes
        .into_iter()
        .map(|c| format!("{} {}", c.reason, c.message))
        .collect()
}

fn valid(schema: &Value, value: &Value) -> bool {
    causes(schema, value).is_empty()
}

#[test]
fn the_schema_of_metadata_compiles() {
    assert!(object_meta().properties.len() > 10);
}

#[test]
fn integers_and_formats() {
    // As on a real server, formats of integers are for clients; what does not fit into 64 bits is no integer.
    let int32 = json!({"type": "integer", "format": "int32"});
    assert!(valid(&int32, &json!(2_147_483_648_i64)));
    let int64 = json!({"type": "integer", "format": "int64"});
    assert!(valid(&int64, &json!(i64::MAX)) && !valid(&int64, &json!(u64::MAX)));
    assert!(valid(&json!({"type": "integer"}), &json!(1.0)) && !valid(&json!({"type": "integer"}), &json!(1.5)));
    let open =
        json!({"type": "number", "minimum": 0, "exclusiveMinimum": true, "maximum": 1, "exclusiveMaximum": true});
    assert!(valid(&open, &json!(0.5)) && !valid(&open, &json!(0)) && !valid(&open, &json!(1)));
    assert!(!valid(&json!({"type": "integer", "multipleOf": 5}), &json!(7)));
}

#[test]
fn numbers_are_told_as_a_real_server_tells_them() {
    let most = json!({"type": "integer", "maximum": 1_152_921_504_606_846_976_i64});
    let told = |value: Value| causes(&most, &value).join("; ");
    assert!(told(json!(i64::MAX)).contains("Invalid value: 9223372036854775807"));
    assert!(told(json!(i64::MAX)).ends_with("less than or equal to 1152921504606846976"));
    assert!(told(json!(u64::MAX)).contains("must be of type integer: \"number\""));
    assert!(told(json!(u64::MAX)).contains("Invalid value: 1.8446744073709552e+19"));
    let half = json!({"type": "number", "minimum": 0.5});
    assert!(
        causes(&half, &json!(0.25))[0]
            .ends_with("Invalid value: 0.25:  in body should be greater than or equal to 0.5")
    );
}

#[test]
fn nulls_that_may_not_be_are_absent() {
    let schema = json!({"type": "object", "properties": {
        "plain": {"type": "string"}, "maybe": {"type": "string", "nullable": true}, "filled": {"type": "string", "default": "x"},
        "list": {"type": "array", "items": {"type": "string"}},
        "map": {"type": "object", "additionalProperties": {"type": "string"}},
    }});
    let schema = Schema::node(&schema, "", 0).unwrap();
    let mut value = json!({"plain": null, "maybe": null, "filled": null, "list": [null], "map": {"k": null}});
    schema.drop_nulls(&mut value);
    schema.apply_defaults(&mut value);
    assert_eq!(value, json!({"maybe": null, "filled": "x", "list": [null], "map": {}}));
}

#[test]
fn combinations() {
    let any = json!({"type": "object", "anyOf": [{"required": ["a"]}, {"required": ["b"]}], "properties": {"a": {"type": "string"}, "b": {"type": "string"}}});
    assert!(valid(&any, &json!({"a": "x", "b": "y"})) && !valid(&any, &json!({})));
    let not = json!({"type": "object", "not": {"required": ["a"]}, "properties": {"a": {"type": "string"}}});
    assert!(valid(&not, &json!({})) && !valid(&not, &json!({"a": "x"})));
    let all = json!({"type": "integer", "allOf": [{"minimum": 1}, {"maximum": 3}]});
    assert!(valid(&all, &json!(2)) && !valid(&all, &json!(4)));
}

#[test]
fn a_set_knows_equal_objects_whatever_their_order() {
    let set = json!({"type": "array", "x-kubernetes-list-type": "set", "items": {"type": "object", "x-kubernetes-preserve-unknown-fields": true}});
    assert!(!valid(&set, &json!([{"a": 1, "b": 2}, {"b": 2, "a": 1}])));
    assert!(valid(&set, &json!([{"a": 1}, {"a": "1"}])));
}

#[test]
fn wrong_schemas_are_refused() {
    for (schema, why) in [
        (json!({"type": "thing"}), "unknown type"),
        (json!({"type": "string", "pattern": "("}), "does not compile"),
        (
            json!({"type": "array", "x-kubernetes-list-type": "map"}),
            "list-map-keys",
        ),
        (json!([]), "must be an object"),
    ] {
        let error = Schema::node(&schema, "x", 0).expect_err(why);
        assert!(error.contains(why), "{error}");
    }
    let mut deep = json!({"type": "string"});
    for _ in 0..100 {
        deep = json!({"type": "array", "items": deep});
    }
    assert!(Schema::node(&deep, "", 0).unwrap_err().contains("nested deeper"));
}

#[test]
fn embedded_objects_keep_their_identity() {
    let schema = Schema::node(
        &json!({"type": "object", "x-kubernetes-embedded-resource": true, "properties": {"spec": {"type": "object"}}}),
        "",
        0,
    )
    .unwrap();
    let mut value = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "a"}, "other": 1});
    let mut unknown = Vec::new();
    schema.prune(&mut value, &mut Path::default(), &mut unknown);
    assert_eq!(
        value,
        json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "a"}})
    );
    assert_eq!(unknown, ["other"]);
}

#[test]
fn duplicates_are_found_at_any_depth() {
    assert_eq!(
        duplicate_fields(br#"{"a":1,"b":{"c":1,"c":2},"a":[{"x":1,"x":1}]}"#),
        ["b.c", "a", "a[0].x"]
    );
    assert!(duplicate_fields(br#"{"a":{"x":1},"b":{"x":1}}"#).is_empty());
    assert!(duplicate_fields(b"not json").is_empty());
}

fn json_value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        (-5_i64..5).prop_map(Value::from),
        "[a-c]{0,2}".prop_map(Value::from),
    ];
    leaf.prop_recursive(4, 24, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..3).prop_map(Value::from),
            prop::collection::btree_map("[a-d]", inner, 0..4).prop_map(|m| m.into_iter().collect()),
        ]
    })
}

proptest! {
    /// Any value is pruned, defaulted and judged without harm; pruning twice is pruning once, and so is defaulting.
    #[test]
    fn shaping_is_total_and_idempotent(value in json_value()) {
        let schema = Schema::node(&json!({"type": "object", "properties": {
            "a": {"type": "object", "default": {"b": 1}, "properties": {"b": {"type": "integer", "default": 2}, "c": {"type": "string"}}},
            "b": {"type": "array", "items": {"type": "object", "properties": {"a": {"type": "string", "default": "x"}}}},
            "c": {"type": "object", "additionalProperties": {"type": "integer"}},
            "d": {"x-kubernetes-preserve-unknown-fields": true},
        }}), "", 0).unwrap();
        let shape = |value: &mut Value| {
            let mut unknown = Vec::new();
            schema.prune(value, &mut Path::default(), &mut unknown);
            schema.apply_defaults(value);
            unknown
        };
        let mut once = value;
        shape(&mut once);
        let mut twice = once.clone();
        prop_assert!(shape(&mut twice).is_empty());
        prop_assert_eq!(&once, &twice);
        let mut causes = Vec::new();
        schema.validate(&once, &mut Path::default(), &mut causes);
        rules::evaluate(&schema, &once, None, &mut causes);
    }
}
