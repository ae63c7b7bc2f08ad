//! Fills absent fields with the schema's defaults, also within defaults, items and map values; and what counts as absent.

use serde_json::Value;

use super::Schema;

impl Schema {
    /// Removes nulls that may not be null and have no default: to the real server they are absent. Items of lists stay.
    pub(crate) fn drop_nulls(&self, value: &mut Value) {
        match value {
            Value::Object(fields) => {
                fields.retain(|name, child| {
                    let schema = self.field(name);
                    !child.is_null() || schema.is_none_or(|schema| schema.nullable || schema.default.is_some())
                });
                for (name, child) in fields.iter_mut() {
                    if let Some(schema) = self.field(name) {
                        schema.drop_nulls(child);
                    }
                }
            }
            Value::Array(items) => {
                if let Some(schema) = &self.items {
                    for item in items {
                        schema.drop_nulls(item);
                    }
                }
            }
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
        }
    }

    /// Applies defaults below `value`. A null that may not be null and has a default counts as absent.
    pub(crate) fn apply_defaults(&self, value: &mut Value) {
        if !self.defaulted {
            return;
        }
        match value {
            Value::Object(fields) => {
                for (name, child) in &self.properties {
                    let Some(default) = &child.default else { continue };
                    match fields.get_mut(name) {
                        None => {
                            fields.insert(name.clone(), default.clone());
                        }
                        Some(present) if present.is_null() && !child.nullable => *present = default.clone(),
                        Some(_) => {}
                    }
                }
                for (name, child) in fields.iter_mut() {
                    if let Some(schema) = self.field(name) {
                        schema.apply_defaults(child);
                    }
                }
            }
            Value::Array(items) => {
                if let Some(schema) = &self.items {
                    for item in items {
                        schema.apply_defaults(item);
                    }
                }
            }
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
        }
    }
}
