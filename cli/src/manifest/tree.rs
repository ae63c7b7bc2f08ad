//! A YAML document as values with places.

use std::fmt;

use serde::de::{Deserialize, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};
use serde_saphyr::{Location, Spanned};

use super::Place;

/// A value and where it stands. For a value that came by an alias: where the alias stands.
#[derive(Clone, Debug, PartialEq)]
pub struct Node {
    /// Where it begins.
    pub place: Place,
    /// What it is.
    pub kind: Kind,
}

/// A value.
#[derive(Clone, Debug, PartialEq)]
pub enum Kind {
    /// Anything but a list or a map.
    Scalar(Value),
    /// A list.
    List(Vec<Node>),
    /// A map: keys with their places, in the order of the text.
    Map(Vec<(String, Place, Node)>),
}

/// Lines and columns of the reader.
pub(super) fn place(location: Location) -> Place {
    Place {
        line: usize::try_from(location.line()).unwrap_or(1).max(1),
        column: usize::try_from(location.column()).unwrap_or(1).max(1),
    }
}

impl Node {
    /// The value without its places.
    #[must_use]
    pub fn to_json(&self) -> Value {
        match &self.kind {
            Kind::Scalar(value) => value.clone(),
            Kind::List(items) => Value::Array(items.iter().map(Self::to_json).collect()),
            Kind::Map(fields) => {
                let fields = fields.iter().map(|(name, _, node)| (name.clone(), node.to_json()));
                Value::Object(fields.collect::<Map<_, _>>())
            }
        }
    }

    /// The field of a map, and where its name stands.
    #[must_use]
    pub fn field(&self, name: &str) -> Option<(Place, &Self)> {
        let Kind::Map(fields) = &self.kind else { return None };
        let (_, place, node) = fields.iter().find(|(field, ..)| field == name)?;
        Some((*place, node))
    }

    /// Finds a path as in `spec.steps[2].labels[team]`: how far it leads, and whether to its end.
    #[must_use]
    pub fn find(&self, path: &str) -> Found<'_> {
        let mut found = Found {
            node: self,
            name: None,
            whole: true,
        };
        for part in path
            .split(['.', '['])
            .map(|part| part.trim_end_matches(']'))
            .filter(|part| !part.is_empty())
        {
            let next = match &found.node.kind {
                Kind::List(items) => part
                    .parse()
                    .ok()
                    .and_then(|index: usize| Some((None, items.get(index)?))),
                Kind::Map(_) => found.node.field(part).map(|(place, node)| (Some(place), node)),
                Kind::Scalar(_) => None,
            };
            let Some((name, node)) = next else {
                found.whole = false;
                return found;
            };
            found = Found {
                node,
                name,
                whole: true,
            };
        }
        found
    }
}

/// The end of a path.
#[derive(Clone, Copy, Debug)]
pub struct Found<'a> {
    /// The last value on the way.
    pub node: &'a Node,
    /// Where its name stands; absent in lists and at the root.
    pub name: Option<Place>,
    /// Whether the whole path leads there; else something of it is missing.
    pub whole: bool,
}

impl<'de> Deserialize<'de> for Node {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let spanned: Spanned<Kind> = Spanned::deserialize(deserializer)?;
        Ok(Self {
            place: place(spanned.referenced),
            kind: spanned.value,
        })
    }
}

impl<'de> Deserialize<'de> for Kind {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(KindVisitor)
    }
}

struct KindVisitor;

impl<'de> Visitor<'de> for KindVisitor {
    type Value = Kind;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value that JSON has")
    }

    fn visit_unit<E>(self) -> Result<Kind, E> {
        Ok(Kind::Scalar(Value::Null))
    }

    fn visit_none<E>(self) -> Result<Kind, E> {
        Ok(Kind::Scalar(Value::Null))
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<Kind, D::Error> {
        Kind::deserialize(deserializer)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Kind, E> {
        Ok(Kind::Scalar(Value::Bool(value)))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Kind, E> {
        Ok(Kind::Scalar(Value::from(value)))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Kind, E> {
        Ok(Kind::Scalar(Value::from(value)))
    }

    fn visit_i128<E: Error>(self, value: i128) -> Result<Kind, E> {
        Err(E::custom(too_large(value)))
    }

    fn visit_u128<E: Error>(self, value: u128) -> Result<Kind, E> {
        Err(E::custom(too_large(value)))
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<Kind, E> {
        let number = number(value).ok_or_else(|| E::custom(format!("{value} is not a number that JSON has")))?;
        Ok(Kind::Scalar(Value::Number(number)))
    }

    fn visit_str<E>(self, value: &str) -> Result<Kind, E> {
        Ok(Kind::Scalar(Value::String(value.to_owned())))
    }

    fn visit_string<E>(self, value: String) -> Result<Kind, E> {
        Ok(Kind::Scalar(Value::String(value)))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut access: A) -> Result<Kind, A::Error> {
        let mut items = Vec::new();
        while let Some(item) = access.next_element()? {
            items.push(item);
        }
        Ok(Kind::List(items))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut access: A) -> Result<Kind, A::Error> {
        let mut fields = Vec::new();
        while let Some(key) = access.next_key::<Spanned<String>>()? {
            fields.push((key.value, place(key.referenced), access.next_value()?));
        }
        Ok(Kind::Map(fields))
    }
}

/// A double as API servers keep it: one that is whole has no point (`1.0` and `1e3` are `1` and `1000`).
fn number(value: f64) -> Option<Number> {
    /// From here on not every whole number is a double.
    const EXACT: f64 = 9_007_199_254_740_992.0;
    if value.fract() == 0.0 && value.abs() < EXACT {
        #[expect(clippy::cast_possible_truncation, reason = "it is whole and fits")]
        return Some(Number::from(value as i64));
    }
    Number::from_f64(value)
}

fn too_large(value: impl fmt::Display) -> String {
    format!("{value} is more than 64 bits: write it as a string")
}
