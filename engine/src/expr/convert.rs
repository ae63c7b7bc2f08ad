//! Between JSON and CEL values.
//!
//! Whole numbers are CEL's `int` (64 bits, signed), others `double`. Beyond 2^53 a whole number is a string in JSON: JSON
//! readers lose its last digits otherwise. The values of results follow that rule, so text in them is a number, unless their
//! type says otherwise: doubles stay doubles even if whole, decimals become doubles, and what user code gave as JSON stays as it is.

use std::{collections::HashMap, sync::Arc};

use braid_crds::status::ValueType;
use cel::{
    Value as Cel,
    objects::{Key, Map},
};
use serde_json::Value;

use super::ExprError;
use crate::reduce;

/// The largest whole number that every JSON reader keeps.
const SAFE: u64 = 1 << 53;

/// What numbers and texts are.
#[derive(Clone, Copy, PartialEq)]
pub(super) enum Texts {
    /// Text is text.
    Plain,
    /// Text of digits is a whole number beyond 2^53.
    Numbers,
    /// Numbers are doubles, also those that are texts or look whole.
    Doubles,
}

impl From<Option<ValueType>> for Texts {
    fn from(kind: Option<ValueType>) -> Self {
        match kind {
            None | Some(ValueType::Integer) => Self::Numbers,
            Some(ValueType::Number | ValueType::Decimal) => Self::Doubles,
            Some(ValueType::Json) => Self::Plain,
        }
    }
}

/// JSON as CEL; `what` names the value in an error.
pub(super) fn to_cel(value: &Value, texts: Texts, what: &str) -> Result<Cel, ExprError> {
    Ok(match value {
        Value::Null => Cel::Null,
        Value::Bool(value) => Cel::Bool(*value),
        Value::Number(number) if texts == Texts::Doubles => match number.as_f64() {
            Some(float) => Cel::Float(float),
            None => return Err(overflow(what, number.to_string())),
        },
        Value::Number(number) => match (number.as_i64(), number.as_f64()) {
            (Some(whole), _) => Cel::Int(whole),
            (None, Some(float)) if !number.is_u64() => Cel::Float(float),
            _ => return Err(overflow(what, number.to_string())),
        },
        Value::String(text) if texts == Texts::Numbers && is_whole(text) => match text.parse() {
            Ok(whole) => Cel::Int(whole),
            Err(_) => return Err(overflow(what, text.clone())),
        },
        Value::String(text) => match text.parse() {
            Ok(float) if texts == Texts::Doubles => Cel::Float(float),
            _ => Cel::String(Arc::new(text.clone())),
        },
        Value::Array(items) => {
            let items: Result<Vec<Cel>, _> = items.iter().map(|item| to_cel(item, texts, what)).collect();
            Cel::List(Arc::new(items?))
        }
        Value::Object(fields) => {
            let picked = is_picked(fields);
            let mut map = HashMap::with_capacity(fields.len());
            for (name, value) in fields {
                let texts = if picked && name == "carry" { Texts::Plain } else { texts };
                map.insert(Key::String(Arc::new(name.clone())), to_cel(value, texts, what)?);
            }
            Cel::Map(Map { map: Arc::new(map) })
        }
    })
}

/// Whether a map is a value and what came along with it, which is JSON as it was given.
fn is_picked(fields: &serde_json::Map<String, Value>) -> bool {
    fields.len() == 2
        && fields.get("value").is_some_and(|value| !value.is_object())
        && fields.get("carry").is_some_and(Value::is_object)
}

fn overflow(what: &str, value: String) -> ExprError {
    ExprError::Overflow {
        what: what.to_owned(),
        value,
    }
}

fn is_whole(text: &str) -> bool {
    let digits = text.strip_prefix('-').unwrap_or(text);
    !digits.is_empty() && digits.len() <= 40 && digits.bytes().all(|byte| byte.is_ascii_digit())
}

/// CEL as JSON. Maps are in the order of their keys.
pub(super) fn to_json(value: &Cel) -> Result<Value, ExprError> {
    Ok(match value {
        Cel::Null => Value::Null,
        Cel::Bool(value) => Value::Bool(*value),
        Cel::Int(whole) if whole.unsigned_abs() <= SAFE => Value::from(*whole),
        Cel::Int(whole) => Value::String(whole.to_string()),
        Cel::UInt(whole) if *whole <= SAFE => Value::from(*whole),
        Cel::UInt(whole) => Value::String(whole.to_string()),
        Cel::Float(float) if float.is_finite() => reduce::float_json(*float),
        Cel::Float(float) => return Err(ExprError::NoJson(format!("{float} is no finite number"))),
        Cel::String(text) => Value::String(text.as_str().to_owned()),
        Cel::List(items) => Value::Array(items.iter().map(to_json).collect::<Result<_, _>>()?),
        Cel::Map(map) => {
            let mut fields = Vec::with_capacity(map.map.len());
            for (key, value) in map.map.iter() {
                fields.push((key.to_string(), to_json(value)?));
            }
            fields.sort_by(|a, b| a.0.cmp(&b.0));
            Value::Object(fields.into_iter().collect())
        }
        other => return Err(ExprError::NoJson(format!("a value of type {}", other.type_of()))),
    })
}

/// The bytes that a JSON value takes, roughly.
pub(super) fn weight(value: &Value) -> usize {
    match value {
        Value::Null | Value::Bool(_) | Value::Number(_) => 8,
        Value::String(text) => 8 + text.len(),
        Value::Array(items) => 8 + items.iter().map(weight).sum::<usize>(),
        Value::Object(fields) => {
            8 + fields
                .iter()
                .map(|(name, value)| 8 + name.len() + weight(value))
                .sum::<usize>()
        }
    }
}
