#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use serde_json::json;

use super::*;

fn failures(schema: &Value, value: &Value, old: Option<&Value>) -> Vec<String> {
    let schema = Schema::compile(schema).unwrap();
    let mut causes = Vec::new();
    evaluate(&schema, value, old, &mut causes);
    causes
        .into_iter()
        .map(|c| format!("{}: {}", c.field, c.message))
        .collect()
}

fn on_spec(rule: &Value, properties: &Value) -> Value {
    json!({"type": "object", "properties": {"spec": {
        "type": "object", "properties": properties, "x-kubernetes-validations": [rule],
    }}})
}

fn holds(rule: &str, properties: &Value, spec: &Value) -> bool {
    failures(
        &on_spec(&json!({"rule": rule}), properties),
        &json!({"spec": spec}),
        None,
    )
    .is_empty()
}

#[test]
fn values_are_typed_by_the_schema() {
    let properties = json!({
        "ratio": {"type": "number"}, "count": {"type": "integer"}, "when": {"type": "string", "format": "date-time"},
        "namespace": {"type": "string"}, "a-b": {"type": "string"}, "a__b": {"type": "string"}, "c_d": {"type": "string"},
        "map": {"type": "object", "additionalProperties": {"type": "integer"}},
    });
    for (rule, spec) in [
        ("self.ratio / 2.0 == 0.5", json!({"ratio": 1})),
        ("self.count / 2 == 1", json!({"count": 3})),
        (
            "self.when.getFullYear() == 2026",
            json!({"when": "2026-11-22T10:00:00Z"}),
        ),
        ("self.__namespace__ == 'n'", json!({"namespace": "n"})),
        (
            "self.a__dash__b == 'x' && self.a__underscores__b == 'y' && self.c_d == 'z'",
            json!({"a-b": "x", "a__b": "y", "c_d": "z"}),
        ),
        (
            "self.map['k-1'] == 7 && 'k-1' in self.map && self.map.all(k, self.map[k] > 0)",
            json!({"map": {"k-1": 7}}),
        ),
        ("!has(self.count)", json!({})),
    ] {
        assert!(holds(rule, &properties, &spec), "{rule} on {spec}");
    }
    assert!(!holds("self.count > 5", &properties, &json!({"count": 5})));
}

#[test]
fn a_field_that_is_null_is_absent_and_an_entry_of_a_map_is_not() {
    let properties = json!({
        "from": {"type": "object", "nullable": true, "properties": {"name": {"type": "string"}}},
        "map": {"type": "object", "additionalProperties": {"type": "integer", "nullable": true}},
    });
    assert!(holds("!has(self.from)", &properties, &json!({"from": null})));
    assert!(holds("has(self.from)", &properties, &json!({"from": {}})));
    assert!(holds("'a' in self.map", &properties, &json!({"map": {"a": null}})));
}

#[test]
fn optional_old_self_holds_on_create_too() {
    let rule =
        json!({"rule": "!oldSelf.hasValue() || self.n >= oldSelf.value().n", "optionalOldSelf": true, "message": "m"});
    let schema = on_spec(&rule, &json!({"n": {"type": "integer"}}));
    let spec = |n: i64| json!({"spec": {"n": n}});
    assert!(failures(&schema, &spec(1), None).is_empty());
    assert!(failures(&schema, &spec(2), Some(&spec(1))).is_empty());
    assert_eq!(
        failures(&schema, &spec(1), Some(&spec(2))),
        ["spec: Invalid value: \"object\": m"]
    );
    let starts = json!({"rule": "oldSelf.hasValue() || self.n == 0", "optionalOldSelf": true});
    let schema = on_spec(&starts, &json!({"n": {"type": "integer"}}));
    assert_eq!(
        failures(&schema, &spec(1), None).len(),
        1,
        "a rule with an optional oldSelf is evaluated on create"
    );
    assert!(
        failures(&schema, &spec(1), Some(&spec(2))).is_empty(),
        "and holds for what was there before"
    );
}

#[test]
fn atomic_lists_do_not_correlate() {
    let schema = json!({"type": "object", "properties": {"spec": {"type": "array", "items": {
        "type": "object", "properties": {"n": {"type": "integer"}},
        "x-kubernetes-validations": [{"rule": "self.n >= oldSelf.n"}],
    }}}});
    assert!(
        failures(
            &schema,
            &json!({"spec": [{"n": 1}]}),
            Some(&json!({"spec": [{"n": 2}]}))
        )
        .is_empty()
    );
}

#[test]
fn a_rule_that_fails_to_evaluate_refuses() {
    let properties = json!({"n": {"type": "integer"}, "m": {"type": "integer"}});
    let found = failures(
        &on_spec(&json!({"rule": "self.n / self.m == 1"}), &properties),
        &json!({"spec": {"n": 1, "m": 0}}),
        None,
    );
    assert!(
        found[0].ends_with("division by zero evaluating rule: self.n / self.m == 1"),
        "{found:?}"
    );
}

#[test]
fn only_what_rules_reach_is_converted() {
    let parse = |rule: &str| {
        let expression = Parser::new().enable_optional_syntax(true).parse(rule).unwrap();
        let (mut this, mut old, mut unknown) = (Reach::default(), Reach::default(), Vec::new());
        reach::collect(&expression, &mut this, &mut old, &mut unknown);
        (this, old, unknown)
    };
    let (this, old, unknown) = parse("self.a.b == oldSelf.a.b && has(self.c) && self.d.all(x, x.y == self.e)");
    let value = json!({"a": {"b": 1, "z": 2}, "c": {"q": 1}, "d": [{"y": 1, "w": 2}], "e": 1, "unread": "large"});
    let shown = convert::convert(None, &value, &this, false);
    assert_eq!(
        shown,
        convert::convert(
            None,
            &json!({"a": {"b": 1}, "c": {"q": 1}, "d": [{"y": 1, "w": 2}], "e": 1}),
            &Reach::All,
            false
        )
    );
    assert_eq!(
        convert::convert(None, &value, &old, false),
        convert::convert(None, &json!({"a": {"b": 1}}), &Reach::All, false)
    );
    assert!(unknown.is_empty());
    assert_eq!(parse("size(self) > 0").0, Reach::All);
    assert_eq!(parse("self.?a.hasValue()").0, Reach::All);
    assert_eq!(parse("nobody.a == 1").2, ["nobody"]);
    // A macro's variable hides nothing of the outer one.
    assert_eq!(parse("[1].all(x, x > 0) && self.a").0, parse("self.a").0);
}

#[test]
fn what_did_not_change_is_asked_about_changes_only() {
    let properties = json!({"n": {"type": "integer"}});
    let spec = json!({"spec": {"n": 1}});
    let state = on_spec(&json!({"rule": "self.n > 5"}), &properties);
    assert_eq!(failures(&state, &spec, None).len(), 1);
    assert!(
        failures(&state, &spec, Some(&spec)).is_empty(),
        "stored before the rule was, and not touched"
    );
    assert_eq!(failures(&state, &spec, Some(&json!({"spec": {"n": 2}}))).len(), 1);
    let change = on_spec(&json!({"rule": "self.n > oldSelf.n"}), &properties);
    assert_eq!(failures(&change, &spec, Some(&spec)).len(), 1);
}
