#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use proptest::prelude::*;
use serde_json::json;

use super::*;

fn selects(selector: &str, labels: &Value) -> bool {
    LabelSelector::parse(selector)
        .unwrap()
        .matches(&json!({"metadata": {"labels": labels}}))
}

#[test]
fn each_operator_selects_as_documented() {
    let labels = json!({"app": "braid", "tier": "2", "braid.dev/pool": "p"});
    for yes in [
        "",
        "app=braid",
        "app==braid",
        "app",
        "!gone",
        "app!=x",
        "gone!=x",
        "app in (x, braid)",
        "app notin (x)",
        "gone notin (x)",
        "tier>1",
        "tier<3",
        "app=braid,tier=2",
        "braid.dev/pool=p",
        "app in (braid),!gone",
    ] {
        assert!(selects(yes, &labels), "{yes} must select");
    }
    for no in [
        "app=x",
        "gone",
        "!app",
        "app!=braid",
        "app in (x)",
        "gone in (x)",
        "app notin (braid)",
        "tier>2",
        "app>1",
        "app=braid,tier=3",
    ] {
        assert!(!selects(no, &labels), "{no} must not select");
    }
}

#[test]
fn an_object_without_labels_matches_only_absences() {
    let selector = |s: &str| LabelSelector::parse(s).unwrap().matches(&json!({"metadata": {}}));
    assert!(selector("!a") && selector("a!=b") && selector(""));
    assert!(!selector("a") && !selector("a=b"));
}

#[test]
fn nonsense_is_a_bad_request() {
    for bad in [
        "a in x",
        "a in (x",
        "a b",
        "=x",
        "a=b,,c=d",
        "a=-x",
        "-a",
        "a>x",
        "/a=b",
        &format!("a={}", "x".repeat(64)),
    ] {
        let error = LabelSelector::parse(bad).expect_err(bad);
        assert_eq!(error.code(), http::StatusCode::BAD_REQUEST, "{bad}");
    }
    assert!(FieldSelector::parse("spec.x=1").is_err());
    assert!(FieldSelector::parse("metadata.name!=a").is_err());
    assert!(FieldSelector::parse("metadata.name").is_err());
}

#[test]
fn fields_name_the_object() {
    let fields = FieldSelector::parse("metadata.name=a,metadata.namespace==b").unwrap();
    assert_eq!(
        (fields.name.as_deref(), fields.namespace.as_deref()),
        (Some("a"), Some("b"))
    );
}

proptest! {
    #[test]
    fn any_text_is_parsed_or_refused(text in "[a-z0-9=!<>(), ./_-]{0,40}") {
        let _ = LabelSelector::parse(&text);
        let _ = FieldSelector::parse(&text);
    }

    #[test]
    fn in_and_notin_are_complements(key in "[a-z]{1,3}", value in "[a-z]{0,2}", set in prop::collection::vec("[a-z]{0,2}", 1..4)) {
        let list = set.join(",");
        let object = json!({"metadata": {"labels": {&key: &value}}});
        let is_in = LabelSelector::parse(&format!("{key} in ({list})")).unwrap().matches(&object);
        let not_in = LabelSelector::parse(&format!("{key} notin ({list})")).unwrap().matches(&object);
        prop_assert_ne!(is_in, not_in);
        prop_assert_eq!(is_in, set.contains(&value));
    }
}
