//! The schema of `metadata`, which no definition can change.

use std::sync::OnceLock;

use serde_json::json;

use super::Schema;

/// `ObjectMeta`. Its unknown fields are pruned and its types are checked like those of any other field.
pub(crate) fn object_meta() -> &'static Schema {
    static SCHEMA: OnceLock<Schema> = OnceLock::new();
    SCHEMA.get_or_init(|| {
        let text = json!({"type": "string", "nullable": true});
        let texts = json!({"type": "object", "nullable": true, "additionalProperties": {"type": "string"}});
        let number = json!({"type": "integer", "nullable": true});
        let source = json!({
            "type": "object",
            "properties": {
                "name": text, "generateName": text, "namespace": text, "selfLink": text, "uid": text,
                "resourceVersion": text, "generation": number,
                "creationTimestamp": {"type": "string", "format": "date-time", "nullable": true},
                "deletionTimestamp": {"type": "string", "format": "date-time", "nullable": true},
                "deletionGracePeriodSeconds": number,
                "labels": texts, "annotations": texts,
                "finalizers": {"type": "array", "nullable": true, "items": {"type": "string"}},
                "ownerReferences": {
                    "type": "array", "nullable": true,
                    "items": {
                        "type": "object",
                        "required": ["apiVersion", "kind", "name", "uid"],
                        "properties": {
                            "apiVersion": {"type": "string", "minLength": 1},
                            "kind": {"type": "string", "minLength": 1},
                            "name": {"type": "string", "minLength": 1},
                            "uid": {"type": "string", "minLength": 1},
                            "controller": {"type": "boolean", "nullable": true},
                            "blockOwnerDeletion": {"type": "boolean", "nullable": true},
                        },
                    },
                },
                "managedFields": {
                    "type": "array", "nullable": true,
                    "items": {"type": "object", "x-kubernetes-preserve-unknown-fields": true},
                },
            },
        });
        // The literal above is a valid schema (a test compiles it); an empty schema would prune everything, loudly.
        Schema::node(&source, "metadata", 0).unwrap_or_default()
    })
}
