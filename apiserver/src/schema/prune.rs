//! Drops fields that a schema does not know and names them, for `fieldValidation=Strict` and `Warn`.

use serde_json::Value;

use super::{Additional, Schema};
use crate::path::Path;

impl Schema {
    /// Removes unknown fields below `value` and appends their paths to `unknown`.
    pub(crate) fn prune(&self, value: &mut Value, path: &mut Path, unknown: &mut Vec<String>) {
        match value {
            Value::Object(fields) => {
                let mut dropped = false;
                for (name, child) in fields.iter_mut() {
                    let depth = path.push_field(name, false);
                    if let Some(schema) = self.field(name) {
                        schema.prune(child, path, unknown);
                    } else if self.embedded && matches!(name.as_str(), "apiVersion" | "kind" | "metadata") {
                        // The identity of an embedded object is known without being said.
                    } else if !self.keeps_unknown() {
                        unknown.push(path.to_string());
                        dropped = true;
                    }
                    path.truncate(depth);
                }
                if dropped {
                    fields.retain(|name, _| {
                        self.field(name).is_some()
                            || (self.embedded && matches!(name.as_str(), "apiVersion" | "kind" | "metadata"))
                    });
                }
            }
            Value::Array(items) => {
                let Some(schema) = &self.items else { return };
                for (index, item) in items.iter_mut().enumerate() {
                    let depth = path.push_index(index);
                    schema.prune(item, path, unknown);
                    path.truncate(depth);
                }
            }
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
        }
    }

    fn keeps_unknown(&self) -> bool {
        self.preserve_unknown || matches!(self.additional, Additional::Any)
    }
}
