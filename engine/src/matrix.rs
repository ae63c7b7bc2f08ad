//! The combinations of a matrix, in an order that the manifest alone decides.
//!
//! First the product of the axes: the last axis changes fastest. `exclude` leaves out every combination that has all the values that
//! one of its entries names. Then `include`, entry by entry: its values are added to every combination of the product whose axes it
//! does not contradict; what an earlier entry added may be replaced. An entry that fits none is a combination of its own, at the
//! end, and later entries are not added to it.

use std::collections::BTreeMap;

use braid_crds::{limits, workflow::Matrix};
use serde_json::{Map, Value};

use crate::plan::ITEMS_BYTES;

/// Why a matrix has no combinations.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MatrixError {
    /// More than a step may have.
    #[error(
        "the matrix has more than {} combinations: use fewer values, or a range with arithmetic in the program",
        limits::ITEMS
    )]
    TooMany,
    /// More bytes than a plan of items may have.
    #[error("the combinations of the matrix have more than {ITEMS_BYTES} bytes together: use fewer or shorter values")]
    TooLarge,
    /// `exclude` names an axis that there is not.
    #[error("exclude names {0:?}, and there is no such axis")]
    UnknownAxis(String),
}

/// One combination.
struct Combination {
    item: Map<String, Value>,
    /// It is of the product, and not an entry of `include`.
    of_product: bool,
}

/// All combinations, each an object from names to values.
pub fn combinations(matrix: &Matrix) -> Result<Vec<Value>, MatrixError> {
    let axes: BTreeMap<&str, &[Value]> = matrix
        .axes
        .iter()
        .map(|axis| (axis.name.as_str(), axis.values.as_slice()))
        .collect();
    for name in matrix.exclude.iter().flat_map(Map::keys) {
        if !axes.contains_key(name.as_str()) {
            return Err(MatrixError::UnknownAxis(name.clone()));
        }
    }
    let size = matrix
        .axes
        .iter()
        .try_fold(1_usize, |size, axis| size.checked_mul(axis.values.len()));
    let size = size.filter(|size| *size <= limits::ITEMS).ok_or(MatrixError::TooMany)?;
    let mut all = Vec::new();
    let mut bytes = 0_usize;
    for number in 0..size {
        let item = nth(matrix, number);
        if matrix.exclude.iter().any(|entry| has_all(&item, entry)) {
            continue;
        }
        // A value may be long, and is in many combinations: counted before they are all made.
        bytes = bytes.saturating_add(length(&item));
        if bytes > ITEMS_BYTES {
            return Err(MatrixError::TooLarge);
        }
        all.push(Combination { item, of_product: true });
    }
    for entry in &matrix.include {
        let mut fits = false;
        for combination in all.iter_mut().filter(|combination| combination.of_product) {
            let contradicts = entry
                .iter()
                .any(|(name, value)| axes.contains_key(name.as_str()) && combination.item.get(name) != Some(value));
            if contradicts {
                continue;
            }
            fits = true;
            bytes = bytes.saturating_add(length(entry));
            if bytes > ITEMS_BYTES {
                return Err(MatrixError::TooLarge);
            }
            combination.item.extend(entry.clone());
        }
        if !fits {
            bytes = bytes.saturating_add(length(entry));
            all.push(Combination {
                item: entry.clone(),
                of_product: false,
            });
        }
        if bytes > ITEMS_BYTES {
            return Err(MatrixError::TooLarge);
        }
        if all.len() > limits::ITEMS {
            return Err(MatrixError::TooMany);
        }
    }
    Ok(all
        .into_iter()
        .map(|combination| Value::Object(combination.item))
        .collect())
}

/// A combination of the product by its number.
fn nth(matrix: &Matrix, number: usize) -> Map<String, Value> {
    let mut rest = number;
    let mut item = Vec::with_capacity(matrix.axes.len());
    for axis in matrix.axes.iter().rev() {
        let count = axis.values.len().max(1);
        if let Some(value) = axis.values.get(rest % count) {
            item.push((axis.name.clone(), value.clone()));
        }
        rest /= count;
    }
    item.into_iter().rev().collect()
}

fn has_all(item: &Map<String, Value>, entry: &Map<String, Value>) -> bool {
    !entry.is_empty() && entry.iter().all(|(name, value)| item.get(name) == Some(value))
}

fn length(item: &Map<String, Value>) -> usize {
    item.iter()
        .map(|(name, value)| name.len() + value.to_string().len() + 4)
        .sum()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing)]
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn matrix(value: &Value) -> Matrix {
        serde_json::from_value(value.clone()).unwrap()
    }

    fn made(value: &Value) -> Value {
        Value::Array(combinations(&matrix(value)).unwrap())
    }

    #[test]
    fn the_last_axis_changes_fastest() {
        let axes = json!([{"name": "os", "values": ["linux", "mac"]}, {"name": "n", "values": [1, 2.5, null]}]);
        assert_eq!(
            json!([
                {"os": "linux", "n": 1}, {"os": "linux", "n": 2.5}, {"os": "linux", "n": null},
                {"os": "mac", "n": 1}, {"os": "mac", "n": 2.5}, {"os": "mac", "n": null},
            ]),
            made(&json!({"axes": axes}))
        );
    }

    #[test]
    fn exclude_leaves_out_what_has_all_its_values() {
        let axes = json!([{"name": "a", "values": [1, 2]}, {"name": "b", "values": [1, 2]}]);
        assert_eq!(
            json!([{"a": 1, "b": 1}, {"a": 1, "b": 2}, {"a": 2, "b": 1}]),
            made(&json!({"axes": axes, "exclude": [{"a": 2, "b": 2}]}))
        );
        assert_eq!(json!([]), made(&json!({"axes": axes, "exclude": [{"a": 1}, {"a": 2}]})));
        assert_eq!(
            4,
            made(&json!({"axes": axes, "exclude": [{}]})).as_array().unwrap().len()
        );
        assert_eq!(
            Err(MatrixError::UnknownAxis("c".into())),
            combinations(&matrix(&json!({"axes": axes, "exclude": [{"c": 1}]})))
        );
    }

    /// The example by which the workflow language that people know explains its `include`.
    #[test]
    fn include_adds_where_it_contradicts_no_axis() {
        let matrix = json!({
            "axes": [{"name": "fruit", "values": ["apple", "pear"]}, {"name": "animal", "values": ["cat", "dog"]}],
            "include": [
                {"color": "green"},
                {"color": "pink", "animal": "cat"},
                {"fruit": "apple", "shape": "circle"},
                {"fruit": "banana"},
                {"fruit": "banana", "animal": "cat"},
            ],
        });
        assert_eq!(
            json!([
                {"fruit": "apple", "animal": "cat", "color": "pink", "shape": "circle"},
                {"fruit": "apple", "animal": "dog", "color": "green", "shape": "circle"},
                {"fruit": "pear", "animal": "cat", "color": "pink"},
                {"fruit": "pear", "animal": "dog", "color": "green"},
                {"fruit": "banana"},
                {"fruit": "banana", "animal": "cat"},
            ]),
            made(&matrix)
        );
    }

    #[test]
    fn what_is_too_much_is_refused_before_it_is_made() {
        let values: Vec<u32> = (0..1_000).collect();
        let axis = |name: &str| json!({"name": name, "values": values});
        let axes: Vec<Value> = (0..16).map(|n| axis(&format!("a{n}"))).collect();
        assert_eq!(Err(MatrixError::TooMany), combinations(&matrix(&json!({"axes": axes}))));
        let long = "x".repeat(1_000);
        let axes = json!([{"name": "a", "values": [long]}, axis("b")]);
        assert_eq!(
            Err(MatrixError::TooLarge),
            combinations(&matrix(&json!({"axes": axes})))
        );
        let axes = json!([axis("a")]);
        let include: Vec<Value> = (0..250).map(|_| json!({"x": "y".repeat(100)})).collect();
        assert_eq!(
            Err(MatrixError::TooLarge),
            combinations(&matrix(&json!({"axes": axes, "include": include})))
        );
    }

    proptest! {
        /// Whatever the axes and entries: as many as the product less the excluded, all different, in the order of the product,
        /// and the same again.
        #[test]
        fn the_product_less_what_is_excluded(
            sizes in prop::collection::vec(1_usize..5, 1..4),
            out in prop::collection::vec((0_usize..4, 0_usize..5), 0..3),
        ) {
            let axes: Vec<Value> = sizes
                .iter()
                .enumerate()
                .map(|(index, size)| json!({"name": format!("a{index}"), "values": (0..*size).collect::<Vec<_>>()}))
                .collect();
            let out: Vec<(usize, usize)> = out.into_iter().filter(|(axis, _)| *axis < sizes.len()).collect();
            let exclude: Vec<Value> = out.iter().map(|(axis, value)| json!({format!("a{axis}"): value})).collect();
            let all = combinations(&matrix(&json!({"axes": axes, "exclude": exclude}))).unwrap();
            let left: usize = sizes
                .iter()
                .enumerate()
                .map(|(axis, size)| (0..*size).filter(|value| !out.contains(&(axis, *value))).count())
                .product();
            prop_assert_eq!(left, all.len());
            let keys: Vec<Vec<u64>> = all
                .iter()
                .map(|item| (0..sizes.len()).map(|axis| item[format!("a{axis}")].as_u64().unwrap()).collect())
                .collect();
            prop_assert!(keys.windows(2).all(|pair| pair[0] < pair[1]), "{:?}", keys);
            prop_assert_eq!(&all, &combinations(&matrix(&json!({"axes": axes, "exclude": exclude}))).unwrap());
        }
    }
}
