//! `parallelism`: how many partitions may be in flight, as a number or as an expression that gives one.

use std::borrow::Cow;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use crate::limits;

/// A number of partitions, at least 1, or a text with `$( )` that gives one; keeps the form in which it was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Parallelism {
    /// So many.
    Count(u64),
    /// As many as this gives, once its expressions are evaluated.
    Text(String),
}

#[derive(Deserialize)]
#[serde(untagged)]
enum IntOrText {
    Int(u64),
    Text(String),
}

impl Serialize for Parallelism {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Count(count) => serializer.serialize_u64(*count),
            Self::Text(text) => serializer.serialize_str(text),
        }
    }
}

impl<'de> Deserialize<'de> for Parallelism {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match IntOrText::deserialize(deserializer)? {
            IntOrText::Int(count @ 1..=limits::PARALLELISM) => Ok(Self::Count(count)),
            IntOrText::Text(text) if text.len() <= limits::EXPRESSION_BYTES => Ok(Self::Text(text)),
            _ => Err(de::Error::custom(format!(
                "parallelism is a number from 1 to {} or an expression: $(params.n)",
                limits::PARALLELISM
            ))),
        }
    }
}

impl JsonSchema for Parallelism {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "Parallelism".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "x-kubernetes-int-or-string": true,
            "pattern": "^([1-9][0-9]{0,5}|\\$\\(.*\\))$",
            "minimum": 1,
            "maximum": limits::PARALLELISM,
            "maxLength": limits::EXPRESSION_BYTES
        })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use serde_json::{Value, json};

    use super::*;

    #[test]
    fn keeps_its_form() {
        for value in [json!(1), json!(1_000_000), json!("20"), json!("$(params.n)")] {
            let read: Parallelism = serde_json::from_value(value.clone()).unwrap();
            assert_eq!(value, serde_json::to_value(read).unwrap());
        }
        for value in [
            json!(0),
            json!(-1),
            json!(1_000_001),
            json!(1.5),
            Value::Null,
            json!("x".repeat(2_049)),
        ] {
            assert!(serde_json::from_value::<Parallelism>(value).is_err());
        }
    }
}
