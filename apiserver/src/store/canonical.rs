//! One form of every object, that of the real server: whatever order a client writes its fields in, they come back sorted.
//!
//! The real server keeps custom objects as Go maps, which are written in the order of their keys, and numbers as Go writes them: a
//! double without a fraction is a whole number. Whoever prints a part of an object as it is, such as the results of a run,
//! then prints the same bytes with either server.

use serde_json::{Number, Value};

/// Brings a value into this form. What is in it already costs one look.
pub(super) fn canonicalize(value: &mut Value) {
    match value {
        Value::Object(fields) => {
            if !fields.keys().is_sorted() {
                fields.sort_keys();
            }
            fields.values_mut().for_each(canonicalize);
        }
        Value::Array(items) => items.iter_mut().for_each(canonicalize),
        Value::Number(number) if number.is_f64() => {
            if let Some(whole) = number.as_f64().and_then(whole) {
                *number = whole;
            }
        }
        _ => {}
    }
}

/// A double that JSON can say as a whole number. The negative zero stays: it would lose its sign.
fn whole(value: f64) -> Option<Number> {
    if value.fract() != 0.0 || (value == 0.0 && value.is_sign_negative()) {
        return None;
    }
    // Exact: such a double is written with its digits alone.
    let text = format!("{value:.0}");
    let signed = text.parse::<i64>().map(Number::from);
    signed.or_else(|_| text.parse::<u64>().map(Number::from)).ok()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn canonical(text: &str) -> String {
        let mut value: Value = serde_json::from_str(text).unwrap();
        canonicalize(&mut value);
        value.to_string()
    }

    #[test]
    fn keys_are_sorted_at_every_depth() {
        let text = r#"{"b":[{"z":1,"a":{"y":null,"B":"x","10":1,"9":1}}],"a":2}"#;
        assert_eq!(
            canonical(text),
            r#"{"a":2,"b":[{"a":{"10":1,"9":1,"B":"x","y":null},"z":1}]}"#
        );
    }

    #[test]
    fn numbers_are_written_as_go_writes_them() {
        let table = [
            ("1.0", "1"),
            ("-2.00", "-2"),
            ("1e3", "1000"),
            ("0.5", "0.5"),
            ("-0.0", "-0.0"),
            ("9007199254740993", "9007199254740993"),
            ("1e18", "1000000000000000000"),
            ("1e19", "10000000000000000000"),
            ("-1e19", "-1e+19"),
            ("1e22", "1e+22"),
        ];
        for (given, wanted) in table {
            assert_eq!(canonical(given), wanted, "{given}");
        }
    }

    proptest! {
        #[test]
        fn nothing_but_the_order_changes(entries in prop::collection::vec((".{0,4}", any::<i32>()), 0..8)) {
            let before: Value = entries.iter().map(|(key, value)| (key.clone(), json!({"v": value, "a": key}))).collect();
            let mut after = before.clone();
            canonicalize(&mut after);
            prop_assert_eq!(&after, &before);
            let once = after.to_string();
            canonicalize(&mut after);
            prop_assert_eq!(after.to_string(), once);
            prop_assert!(after.as_object().unwrap().keys().is_sorted());
        }
    }
}
