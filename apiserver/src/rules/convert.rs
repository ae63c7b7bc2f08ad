//! JSON values as CEL sees them: typed by the schema, fields escaped, and only as far as the rules can reach.

use std::collections::HashMap;
use std::sync::Arc;

use kube_cel::cel::Value as Cel;
use kube_cel::cel::objects::{Key, Map};
use serde_json::{Number, Value};

use super::reach::Reach;
use crate::schema::{Schema, Type};

/// Words that CEL reserves.
const RESERVED: [&str; 21] = [
    "true",
    "false",
    "null",
    "in",
    "as",
    "break",
    "const",
    "continue",
    "else",
    "for",
    "function",
    "if",
    "import",
    "let",
    "loop",
    "package",
    "namespace",
    "return",
    "var",
    "void",
    "while",
];

/// A field's name in CEL: `a-b` is `a__dash__b`, `namespace` is `__namespace__`.
pub(crate) fn escape(name: &str) -> String {
    if RESERVED.contains(&name) {
        return format!("__{name}__");
    }
    if !name.contains(['.', '-', '/']) && !name.contains("__") {
        return name.to_owned();
    }
    name.replace("__", "__underscores__")
        .replace('.', "__dot__")
        .replace('-', "__dash__")
        .replace('/', "__slash__")
}

/// Converts what `reach` covers of `value`. At the root of an object, metadata shows its name only.
pub(crate) fn convert(schema: Option<&Schema>, value: &Value, reach: &Reach, root: bool) -> Cel {
    match value {
        Value::Null => Cel::Null,
        Value::Bool(b) => Cel::Bool(*b),
        Value::Number(number) => convert_number(schema, number),
        Value::String(text) => convert_string(schema, text),
        Value::Array(items) => {
            let below = schema.and_then(|s| s.items.as_deref());
            let items: Vec<Cel> = items
                .iter()
                .map(|item| convert(below, item, &Reach::All, false))
                .collect();
            Cel::List(Arc::new(items))
        }
        Value::Object(fields) => {
            let mut map = HashMap::with_capacity(fields.len());
            for (name, child) in fields {
                let is_key = schema.is_none_or(|s| s.is_map() && !s.properties.contains_key(name));
                // A field that is null is absent to rules; an entry of a map is not.
                if child.is_null() && !is_key {
                    continue;
                }
                let key = if is_key { name.clone() } else { escape(name) };
                let wanted = match reach {
                    Reach::All => &Reach::All,
                    Reach::Fields(fields) => match fields.get(&key) {
                        Some(below) => below,
                        None => continue,
                    },
                };
                let converted = if root && name == "metadata" {
                    convert_metadata(child)
                } else {
                    convert(schema.and_then(|s| s.field(name)), child, wanted, false)
                };
                map.insert(Key::String(Arc::new(key)), converted);
            }
            Cel::Map(Map { map: Arc::new(map) })
        }
    }
}

fn convert_metadata(metadata: &Value) -> Cel {
    let shown = ["name", "generateName"].into_iter().filter_map(|name| {
        let text = metadata.get(name)?.as_str()?;
        Some((
            Key::String(Arc::new(name.to_owned())),
            Cel::String(Arc::new(text.to_owned())),
        ))
    });
    Cel::Map(Map {
        map: Arc::new(shown.collect()),
    })
}

fn convert_number(schema: Option<&Schema>, number: &Number) -> Cel {
    let float = || Cel::Float(number.as_f64().unwrap_or(f64::NAN));
    match schema.and_then(|s| s.kind) {
        Some(Type::Number) => float(),
        // `1.0` is an integer to the server.
        #[expect(
            clippy::cast_possible_truncation,
            reason = "validation has bounded integers written as floats"
        )]
        Some(Type::Integer) => number
            .as_i64()
            .map_or_else(|| number.as_f64().map_or_else(float, |f| Cel::Int(f as i64)), Cel::Int),
        _ => number.as_i64().map_or_else(float, Cel::Int),
    }
}

fn convert_string(schema: Option<&Schema>, text: &str) -> Cel {
    let plain = || Cel::String(Arc::new(text.to_owned()));
    match schema.and_then(|s| s.format.as_deref()) {
        Some("date-time") => chrono::DateTime::parse_from_rfc3339(text).map_or_else(|_| plain(), Cel::Timestamp),
        _ => plain(),
    }
}
