//! The items of a step whose partitions nobody has to look up: they are in the manifest, or come from what has run before.

use std::borrow::Cow;

use braid_crds::{limits, workflow::Over};
use serde_json::{Value, json};

use crate::{
    expr::{self, ExprError, Scope},
    matrix::{self, MatrixError},
    plan::ITEMS_BYTES,
};

/// Why there are no items.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ItemsError {
    /// The expression has no value.
    #[error("itemsFrom: {0}")]
    NoValue(#[from] ExprError),
    /// A value that has no items.
    #[error("itemsFrom must give a list or a map, and it gave {0}")]
    NoList(String),
    /// More than a step may have.
    #[error(
        "itemsFrom gave {count} items, and {} is the most: write them into a file, a line each, and split that",
        limits::ITEMS
    )]
    TooMany {
        /// How many.
        count: usize,
    },
    /// More bytes than a plan of items may have.
    #[error(
        "the items of itemsFrom have more than {ITEMS_BYTES} bytes together: give keys, and let the programs look the rest up"
    )]
    TooLarge,
    /// A matrix without combinations.
    #[error(transparent)]
    Matrix(#[from] MatrixError),
}

/// Whether a step's items are planned by whoever can read its manifest and the run's status.
#[must_use]
pub fn are_of(over: &Over) -> bool {
    over.items.is_some() || over.items_from.is_some() || over.matrix.is_some()
}

/// The items of a step; `None` if it runs over something else. The scope is asked for only if there is something to evaluate.
pub fn of(over: &Over, scope: impl FnOnce() -> Scope) -> Option<Result<Cow<'_, [Value]>, ItemsError>> {
    if let Some(items) = &over.items {
        return Some(Ok(Cow::Borrowed(items)));
    }
    if let Some(matrix) = &over.matrix {
        return Some(matrix::combinations(matrix).map(Cow::Owned).map_err(ItemsError::from));
    }
    let text = over.items_from.as_ref()?;
    Some(from(text, &scope()).map(Cow::Owned))
}

/// The list that an expression gives. A map gives an item `{key, value}` for each entry, in the order of the keys' bytes: that of a
/// keyed result's value, which is by size, is not kept in JSON.
fn from(text: &str, scope: &Scope) -> Result<Vec<Value>, ItemsError> {
    let items = match expr::evaluate(text, scope)? {
        Value::Array(items) => items,
        Value::Object(entries) => {
            let mut entries: Vec<(String, Value)> = entries.into_iter().collect();
            entries.sort_by(|a, b| a.0.cmp(&b.0));
            entries
                .into_iter()
                .map(|(key, value)| json!({"key": key, "value": value}))
                .collect()
        }
        other => return Err(ItemsError::NoList(other.to_string().chars().take(60).collect())),
    };
    if items.len() > limits::ITEMS {
        return Err(ItemsError::TooMany { count: items.len() });
    }
    let bytes: usize = items.iter().map(|item| item.to_string().len() + 1).sum();
    if bytes > ITEMS_BYTES {
        return Err(ItemsError::TooLarge);
    }
    Ok(items)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn given(text: &str, value: &Value) -> Result<Value, ItemsError> {
        let over: Over = serde_json::from_value(json!({"itemsFrom": text})).unwrap();
        let scope = || Scope {
            params: [("x".to_owned(), value.clone())].into(),
            ..Scope::default()
        };
        of(&over, scope).unwrap().map(|items| Value::Array(items.into_owned()))
    }

    #[test]
    fn lists_are_items_and_maps_are_entries() {
        assert_eq!(Ok(json!([1, "a", null])), given("params.x", &json!([1, "a", null])));
        assert_eq!(Ok(json!([])), given("params.x", &json!([])));
        assert_eq!(
            Ok(json!([{"key": "a", "value": 1}, {"key": "b", "value": [2]}])),
            given("params.x", &json!({"b": [2], "a": 1}))
        );
        assert_eq!(
            Ok(json!([{"n": 2}, {"n": 4}])),
            given("params.x.filter(n, n % 2 == 0).map(n, {'n': n})", &json!([1, 2, 3, 4]))
        );
    }

    #[test]
    fn anything_else_is_an_error_that_says_so() {
        let error = |text, value| given(text, &value).unwrap_err().to_string();
        assert!(error("params.x", json!("abc")).contains("must give a list or a map, and it gave \"abc\""));
        assert!(error("params.y", json!(1)).starts_with("itemsFrom: "));
        let many: Vec<u32> = (0..10_001).collect();
        assert!(error("params.x", json!(many)).contains("10001 items"));
        let long = vec!["x".repeat(60_000); 10];
        assert!(error("params.x", json!(long)).contains("bytes together"));
    }
}
