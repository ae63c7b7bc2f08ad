#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use proptest::prelude::*;
use serde_json::json;

use super::*;

#[test]
fn uids_are_of_version_4() {
    let uid = new_uid();
    let parts: Vec<usize> = uid.split('-').map(str::len).collect();
    assert_eq!(parts, [8, 4, 4, 4, 12], "{uid}");
    assert!(uid[14..].starts_with('4') && "89ab".contains(&uid[19..20]), "{uid}");
    assert_ne!(uid, new_uid());
}

#[test]
fn names() {
    for good in ["a", "a-b", "a.b", "1", "a1.b-2"] {
        assert!(is_subdomain(good), "{good}");
    }
    for bad in ["", "A", "-a", "a-", "a..b", "a_b", ".a", &"a".repeat(254)] {
        assert!(!is_subdomain(bad), "{bad}");
    }
}

#[test]
fn metadata_that_cannot_be_read_is_a_bad_request() {
    for metadata in [
        json!({"labels": {"a": 1}}),
        json!({"finalizers": "x"}),
        json!("x"),
        json!({"name": 5}),
    ] {
        let mut object = json!({"metadata": metadata});
        assert!(shape_metadata(&mut object, &mut Vec::new()).is_err(), "{metadata}");
    }
}

proptest! {
    #[test]
    fn generated_names_fit(base in "\\PC{0,80}") {
        let name = generate_name(&base);
        prop_assert!(name.len() <= 63);
        prop_assert!(base.starts_with(&name[..name.len() - 5]));
    }
}
