//! Durations as people write them in manifests: `90s`, `1m30s`, `500ms`, `6h`.

use std::{fmt, str::FromStr};

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// The pattern of the schema. Days are refused on purpose: their length depends on the calendar.
pub const PATTERN: &str = "^([0-9]{1,9}(ms|s|m|h))+$";

/// A duration that keeps the text it was written as, so that an object read and written back is unchanged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Duration {
    text: String,
    value: std::time::Duration,
}

/// Why a text is no duration.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DurationError {
    /// A unit that is not known; `7d` is the common case.
    #[error("{0:?} is not a duration: days are not a unit; write hours, for example 168h for seven days")]
    Days(String),
    /// Anything else.
    #[error("{0:?} is not a duration: write numbers with the units h, m, s, ms, for example 1h30m or 500ms")]
    Malformed(String),
    /// More than fits.
    #[error("{0:?} is too long: at most 87600h (ten years)")]
    TooLong(String),
}

impl Duration {
    /// The length.
    #[must_use]
    pub fn get(&self) -> std::time::Duration {
        self.value
    }

    /// The text as written.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }
}

impl FromStr for Duration {
    type Err = DurationError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let malformed = || DurationError::Malformed(text.chars().take(40).collect());
        let mut rest = text;
        let mut millis: u64 = 0;
        if rest.is_empty() || rest.len() > 32 {
            return Err(malformed());
        }
        while !rest.is_empty() {
            let digits = rest.find(|c: char| !c.is_ascii_digit()).ok_or_else(malformed)?;
            let (number, tail) = rest.split_at(digits);
            let number: u64 = number.parse().map_err(|_| malformed())?;
            let (unit, tail) = match tail {
                t if t.starts_with("ms") => (1, &tail[2..]),
                t if t.starts_with('s') => (1_000, &tail[1..]),
                t if t.starts_with('m') => (60_000, &tail[1..]),
                t if t.starts_with('h') => (3_600_000, &tail[1..]),
                t if t.starts_with('d') => return Err(DurationError::Days(text.to_owned())),
                _ => return Err(malformed()),
            };
            millis = number
                .checked_mul(unit)
                .and_then(|n| millis.checked_add(n))
                .ok_or_else(malformed)?;
            rest = tail;
        }
        if millis > 87_600 * 3_600_000 {
            return Err(DurationError::TooLong(text.to_owned()));
        }
        Ok(Self {
            text: text.to_owned(),
            value: std::time::Duration::from_millis(millis),
        })
    }
}

impl fmt::Display for Duration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl Serialize for Duration {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.text)
    }
}

impl<'de> Deserialize<'de> for Duration {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(de::Error::custom)
    }
}

impl JsonSchema for Duration {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Duration".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({"type": "string", "pattern": PATTERN, "minLength": 2, "maxLength": 32})
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn reads_what_people_write() {
        for (text, millis) in [
            ("90s", 90_000),
            ("1m30s", 90_000),
            ("500ms", 500),
            ("6h", 21_600_000),
            ("0s", 0),
        ] {
            let duration: Duration = text.parse().unwrap();
            assert_eq!((millis, text), (duration.get().as_millis(), duration.as_str()));
        }
    }

    #[test]
    fn says_what_is_wrong() {
        assert_eq!(Err(DurationError::Days("7d".into())), "7d".parse::<Duration>());
        for text in ["", "5", "s", "-5s", "1.5s", "5 s", "99999999999999999999h"] {
            assert!(
                matches!(text.parse::<Duration>(), Err(DurationError::Malformed(_))),
                "{text}"
            );
        }
        assert!(matches!("999999h".parse::<Duration>(), Err(DurationError::TooLong(_))));
    }
}
