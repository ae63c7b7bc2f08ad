//! The variables of one partition.

use serde_json::Value;

use super::{Attempt, Input, Item, Program};

/// What user code finds in its environment about its partition; `BRAID_INPUT` and `BRAID_RESULTS` are the shim's.
pub(super) fn of(attempt: &Attempt, program: &Program) -> Vec<(String, String)> {
    let mut env = vec![
        ("BRAID_PARTITION".to_owned(), attempt.partition.to_string()),
        ("BRAID_ATTEMPT".to_owned(), attempt.attempt.to_string()),
        ("BRAID_UID".to_owned(), format!("{}/{}", program.uid, attempt.partition)),
    ];
    match &attempt.item {
        Item::None => {}
        Item::Number(number) => env.push(("BRAID_ITEM".to_owned(), number.to_string())),
        Item::Json(item) => {
            env.push(("BRAID_ITEM".to_owned(), item.to_string()));
            if let Value::Object(fields) = item.as_ref() {
                env.extend(
                    fields
                        .iter()
                        .map(|(key, value)| (format!("BRAID_ITEM_{}", upper(key)), plain(value))),
                );
            }
        }
    }
    match &attempt.input {
        Input::None => {}
        Input::One { name, .. } => {
            env.push(("BRAID_NAME".to_owned(), name.as_deref().unwrap_or_default().to_owned()));
        }
        Input::Many(_) => env.push(("BRAID_NAME".to_owned(), String::new())),
    }
    env
}

/// A key as a part of a variable's name.
fn upper(key: &str) -> String {
    key.chars()
        .map(|c| {
            if c.is_ascii_alphanumeric() {
                c.to_ascii_uppercase()
            } else {
                '_'
            }
        })
        .collect()
}

/// Texts as they are, everything else as JSON.
fn plain(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}
