//! Numbers that people write with a unit: byte sizes (`16Mi`) and counts that may be a share (`1%`).

use std::{borrow::Cow, fmt, str::FromStr};

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// Why a text is not the number that it should be.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum QuantityError {
    /// Not a byte size.
    #[error("{0:?} is not a size: write bytes, or a number with Ki, Mi, Gi, k, M or G, for example 16Mi")]
    Size(String),
    /// Not a count and not a percentage.
    #[error("{0:?} is neither a count nor a percentage between 0% and 100%")]
    CountOrPercent(String),
}

#[derive(Deserialize)]
#[serde(untagged)]
enum IntOrText {
    Int(u64),
    Text(String),
}

/// A size in bytes, at least 1, as a number or as a text with a unit; keeps the form in which it was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ByteSize {
    text: Option<String>,
    bytes: u64,
}

impl ByteSize {
    /// The size in bytes.
    #[must_use]
    pub fn get(&self) -> u64 {
        self.bytes
    }
}

impl FromStr for ByteSize {
    type Err = QuantityError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let wrong = || QuantityError::Size(text.chars().take(40).collect());
        let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
        let (number, unit) = text.split_at(digits);
        let unit: u64 = match unit {
            "" => 1,
            "k" => 1_000,
            "M" => 1_000_000,
            "G" => 1_000_000_000,
            "Ki" => 1 << 10,
            "Mi" => 1 << 20,
            "Gi" => 1 << 30,
            _ => return Err(wrong()),
        };
        let number: u64 = number.parse().map_err(|_| wrong())?;
        let bytes = number
            .checked_mul(unit)
            .filter(|b| (1..1 << 50).contains(b))
            .ok_or_else(wrong)?;
        Ok(Self {
            text: Some(text.to_owned()),
            bytes,
        })
    }
}

impl fmt::Display for ByteSize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.text {
            Some(text) => f.write_str(text),
            None => self.bytes.fmt(f),
        }
    }
}

impl Serialize for ByteSize {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match &self.text {
            Some(text) => serializer.serialize_str(text),
            None => serializer.serialize_u64(self.bytes),
        }
    }
}

impl<'de> Deserialize<'de> for ByteSize {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match IntOrText::deserialize(deserializer)? {
            IntOrText::Int(bytes @ 1..) if bytes < 1 << 50 => Ok(Self { text: None, bytes }),
            IntOrText::Int(other) => Err(de::Error::custom(QuantityError::Size(other.to_string()))),
            IntOrText::Text(text) => text.parse().map_err(de::Error::custom),
        }
    }
}

impl JsonSchema for ByteSize {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "ByteSize".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "x-kubernetes-int-or-string": true,
            "pattern": "^[1-9][0-9]{0,14}(k|M|G|Ki|Mi|Gi)?$",
            "minimum": 1,
            "maxLength": 20
        })
    }
}

/// A count of partitions, or a share of a step's partitions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CountOrPercent {
    /// So many.
    Count(u64),
    /// So many of a hundred, at most 100.
    Percent(u8),
}

impl Default for CountOrPercent {
    fn default() -> Self {
        Self::Count(0)
    }
}

impl CountOrPercent {
    /// How many of `total` are meant; a share is rounded down.
    #[must_use]
    pub fn of(&self, total: u64) -> u64 {
        match self {
            Self::Count(count) => *count,
            Self::Percent(percent) => u64::try_from(u128::from(total) * u128::from(*percent) / 100).unwrap_or(u64::MAX),
        }
    }
}

impl Serialize for CountOrPercent {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Count(count) => serializer.serialize_u64(*count),
            Self::Percent(percent) => serializer.serialize_str(&format!("{percent}%")),
        }
    }
}

impl<'de> Deserialize<'de> for CountOrPercent {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match IntOrText::deserialize(deserializer)? {
            IntOrText::Int(count) => Ok(Self::Count(count)),
            IntOrText::Text(text) => text
                .strip_suffix('%')
                .and_then(|digits| digits.parse().ok())
                .filter(|percent| *percent <= 100)
                .map(Self::Percent)
                .ok_or_else(|| de::Error::custom(QuantityError::CountOrPercent(text.chars().take(40).collect()))),
        }
    }
}

impl JsonSchema for CountOrPercent {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "CountOrPercent".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "x-kubernetes-int-or-string": true,
            "pattern": "^(100|[1-9]?[0-9])%$",
            "minimum": 0,
            "maximum": 1_099_511_627_776_u64,
            "maxLength": 4
        })
    }
}
