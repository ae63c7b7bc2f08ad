//! Params: their types, their values, and the names under which programs see them.

use std::collections::BTreeMap;

use braid_crds::workflow::{Param, ParamType};
use serde_json::Value;

/// Why a param has no value.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ParamError {
    /// Neither a value nor a default.
    #[error("param {0:?} has neither a value nor a default: give one with -p {0}=...")]
    Missing(String),
    /// A value of another type.
    #[error("param {name:?} must be {}, and {value} is {found}", article(*.kind))]
    WrongType {
        /// The param.
        name: String,
        /// What it must be.
        kind: ParamType,
        /// The value, shortened.
        value: String,
        /// What the value is.
        found: &'static str,
    },
    /// A value that is not in `enum`.
    #[error("param {name:?} must be one of {allowed}, not {value}")]
    NotAllowed {
        /// The param.
        name: String,
        /// The value, shortened.
        value: String,
        /// What it may be.
        allowed: String,
    },
    /// A text that is not JSON where JSON is needed.
    #[error("param {name:?} must be {}, and {text:?} cannot be read as one: {message}", article(*.kind))]
    Unreadable {
        /// The param.
        name: String,
        /// What it must be.
        kind: ParamType,
        /// The text, shortened.
        text: String,
        /// What is wrong.
        message: String,
    },
}

fn article(kind: ParamType) -> &'static str {
    match kind {
        ParamType::String => "a string",
        ParamType::Integer => "an integer of 64 bits",
        ParamType::Number => "a number",
        ParamType::Boolean => "a boolean (true or false)",
        ParamType::List => "a list",
        ParamType::Object => "an object",
    }
}

fn found(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(number) if number.is_i64() => "an integer",
        Value::Number(number) if number.is_u64() => "an integer of more than 64 bits with sign",
        Value::Number(_) => "a number",
        Value::String(_) => "a string",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    }
}

/// The values of all params: the value where there is one, else the default.
pub fn resolve(params: &[Param]) -> Result<BTreeMap<String, Value>, ParamError> {
    let mut values = BTreeMap::new();
    for param in params {
        let value = param.value.as_ref().or(param.default.as_ref());
        let value = value.ok_or_else(|| ParamError::Missing(param.name.clone()))?;
        check(param, value)?;
        values.insert(param.name.clone(), value.clone());
    }
    Ok(values)
}

/// Whether a param may have this value: its type, then its `enum`.
pub fn check(param: &Param, value: &Value) -> Result<(), ParamError> {
    let fits = match param.kind {
        None => true,
        Some(ParamType::String) => value.is_string(),
        Some(ParamType::Integer) => value.is_i64(),
        Some(ParamType::Number) => value.is_number(),
        Some(ParamType::Boolean) => value.is_boolean(),
        Some(ParamType::List) => value.is_array(),
        Some(ParamType::Object) => value.is_object(),
    };
    if let (false, Some(kind)) = (fits, param.kind) {
        return Err(ParamError::WrongType {
            name: param.name.clone(),
            kind,
            value: shorten(&value.to_string()),
            found: found(value),
        });
    }
    if param.allowed.is_empty() || param.allowed.contains(value) {
        return Ok(());
    }
    let allowed: Vec<String> = param.allowed.iter().map(|value| shorten(&value.to_string())).collect();
    Err(ParamError::NotAllowed {
        name: param.name.clone(),
        value: shorten(&value.to_string()),
        allowed: shorten(&allowed.join(", ")),
    })
}

/// The value that a text on a command line means, by the param's type. Without a type: JSON if it is, else a string.
pub fn parse(param: &Param, text: &str) -> Result<Value, ParamError> {
    let unreadable = |kind, message: String| ParamError::Unreadable {
        name: param.name.clone(),
        kind,
        text: shorten(text),
        message,
    };
    let value = match param.kind {
        Some(ParamType::String) => Value::String(text.to_owned()),
        None => serde_json::from_str(text).unwrap_or_else(|_| Value::String(text.to_owned())),
        Some(kind) => serde_json::from_str(text).map_err(|error| unreadable(kind, error.to_string()))?,
    };
    check(param, &value)?;
    Ok(value)
}

/// The environment variable of a param.
#[must_use]
pub fn env_name(param: &str) -> String {
    format!("BRAID_PARAM_{}", param.to_ascii_uppercase())
}

/// A value as the text of an environment variable: strings as they are, others as JSON.
#[must_use]
pub fn env_value(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

fn shorten(text: &str) -> String {
    if text.chars().count() <= 60 {
        return text.to_owned();
    }
    text.chars().take(57).chain("...".chars()).collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use serde_json::json;

    use super::*;

    fn param(kind: Option<ParamType>) -> Param {
        Param {
            name: "p".into(),
            kind,
            value: None,
            default: None,
            allowed: Vec::new(),
            description: None,
        }
    }

    #[test]
    fn values_have_their_type() {
        use ParamType::{Boolean, Integer, List, Number, Object, String};
        for (kind, good, bad) in [
            (String, vec![json!("x")], vec![json!(1), json!(null)]),
            (
                Integer,
                vec![json!(1), json!(i64::MIN)],
                vec![json!(1.5), json!("1"), json!(u64::MAX)],
            ),
            (Number, vec![json!(1), json!(1.5)], vec![json!("1")]),
            (Boolean, vec![json!(true)], vec![json!("true")]),
            (List, vec![json!([])], vec![json!({})]),
            (Object, vec![json!({})], vec![json!([])]),
        ] {
            for value in good {
                assert_eq!(Ok(()), check(&param(Some(kind)), &value));
                assert_eq!(Ok(()), check(&param(None), &value));
            }
            for value in bad {
                assert!(matches!(
                    check(&param(Some(kind)), &value),
                    Err(ParamError::WrongType { .. })
                ));
            }
        }
    }

    #[test]
    fn values_win_over_defaults_and_obey_the_enum() {
        let mut year = param(Some(ParamType::Integer));
        assert_eq!(
            Err(ParamError::Missing("p".into())),
            resolve(std::slice::from_ref(&year))
        );
        year.default = Some(json!(2013));
        year.allowed = vec![json!(2013), json!(2014)];
        assert_eq!(
            Some(&json!(2013)),
            resolve(std::slice::from_ref(&year)).unwrap().get("p")
        );
        year.value = Some(json!(2014));
        assert_eq!(
            Some(&json!(2014)),
            resolve(std::slice::from_ref(&year)).unwrap().get("p")
        );
        year.value = Some(json!(2015));
        let message = resolve(&[year]).unwrap_err().to_string();
        assert_eq!("param \"p\" must be one of 2013, 2014, not 2015", message);
    }

    #[test]
    fn texts_are_read_by_type() {
        for (kind, text, expected) in [
            (Some(ParamType::String), "2013", Some(json!("2013"))),
            (Some(ParamType::Integer), "2013", Some(json!(2013))),
            (Some(ParamType::Integer), "2013.5", None),
            (Some(ParamType::List), "[1]", Some(json!([1]))),
            (Some(ParamType::Object), "a", None),
            (None, "2013", Some(json!(2013))),
            (None, "a b", Some(json!("a b"))),
        ] {
            assert_eq!(expected, parse(&param(kind), text).ok(), "{text}");
        }
    }
}
