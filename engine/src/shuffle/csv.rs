//! The key of a record of CSV: a column, by its name in the header.

use std::borrow::Cow;

use memchr::memchr;

use super::ShuffleError;
use crate::{cover::DELIMITERS, suggest};

/// So many names of columns are told.
const SHOWN: usize = 8;

/// Where a column is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Column {
    place: usize,
    /// What parts the fields: what parts the header so that the column is there.
    delimiter: u8,
}

impl Column {
    /// Finds a column by its name. The header is without byte order mark and line end.
    pub fn find(header: &[u8], by: &str) -> Result<Self, ShuffleError> {
        for delimiter in DELIMITERS {
            let is_it = |(_, field): &(usize, &[u8])| *unquoted(field) == *by.as_bytes();
            let mut found = fields(header, delimiter).enumerate().filter(is_it);
            match (found.next(), found.count()) {
                (Some((place, _)), 0) => return Ok(Self { place, delimiter }),
                (Some(_), more) => {
                    return Err(ShuffleError::Column {
                        by: by.to_owned(),
                        count: (more + 1).to_string(),
                        help: "give each a name of its own".into(),
                    });
                }
                (None, _) => {}
            }
        }
        // As most of them that any of the delimiters makes.
        let parted = |delimiter: u8| {
            fields(header, delimiter).map(|field| String::from_utf8_lossy(&unquoted(field)).into_owned())
        };
        let names: Vec<String> = DELIMITERS
            .into_iter()
            .max_by_key(|delimiter| fields(header, *delimiter).count())
            .map_or_else(Vec::new, |delimiter| parted(delimiter).collect());
        let help = if let Some(name) = suggest::nearest(by, names.iter().map(String::as_str)) {
            format!("did you mean {name:?}?")
        } else {
            let shown: Vec<String> = names.iter().take(SHOWN).map(|name| cut(name)).collect();
            let more = if names.len() > SHOWN { ", and more" } else { "" };
            format!("there are {}{more}", shown.join(", "))
        };
        Err(ShuffleError::Column {
            by: by.to_owned(),
            count: "no".into(),
            help,
        })
    }

    /// What a record has there; `None`: it ends before. The record is without line end.
    pub fn key<'a>(&self, record: &'a [u8]) -> Option<Cow<'a, [u8]>> {
        fields(record, self.delimiter).nth(self.place).map(unquoted)
    }
}

fn cut(name: &str) -> String {
    name.chars().take(40).collect()
}

/// The fields of a record, as they are written. A quote counts at the beginning of a field only.
fn fields(record: &[u8], delimiter: u8) -> impl Iterator<Item = &[u8]> {
    let mut left = Some(record);
    std::iter::from_fn(move || {
        let rest = left?;
        let behind_quotes = quoted_len(rest);
        let tail = rest.get(behind_quotes..).unwrap_or_default();
        let Some(end) = memchr(delimiter, tail).map(|at| behind_quotes + at) else {
            left = None;
            return Some(rest);
        };
        left = rest.get(end + 1..);
        rest.get(..end)
    })
}

/// How long the quoted part is that bytes begin with; without a partner, all of it.
fn quoted_len(bytes: &[u8]) -> usize {
    if bytes.first() != Some(&b'"') {
        return 0;
    }
    let mut at = 1;
    while let Some(quote) = memchr(b'"', bytes.get(at..).unwrap_or_default()).map(|found| at + found) {
        if bytes.get(quote + 1) != Some(&b'"') {
            return quote + 1;
        }
        at = quote + 2;
    }
    bytes.len()
}

/// What a field says. What stands behind its quotes belongs to it.
fn unquoted(field: &[u8]) -> Cow<'_, [u8]> {
    let quoted = quoted_len(field);
    let Some(inner) = field.get(1..quoted.max(1)) else {
        return Cow::Borrowed(field);
    };
    if quoted == 0 {
        return Cow::Borrowed(field);
    }
    let inner = inner.strip_suffix(b"\"").unwrap_or(inner);
    let behind = field.get(quoted..).unwrap_or_default();
    if behind.is_empty() && memchr(b'"', inner).is_none() {
        return Cow::Borrowed(inner);
    }
    let mut text = Vec::with_capacity(field.len());
    let mut rest = inner;
    while let Some(quote) = memchr(b'"', rest) {
        // Of two quotes one is meant.
        text.extend_from_slice(rest.get(..=quote).unwrap_or_default());
        rest = rest.get(quote + 2..).unwrap_or_default();
    }
    text.extend_from_slice(rest);
    text.extend_from_slice(behind);
    Cow::Owned(text)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn columns_are_found_by_name_whatever_parts_them() {
        let header = |text: &'static str, by: &str| Column::find(text.as_bytes(), by);
        let column = |place, delimiter| Ok(Column { place, delimiter });
        assert_eq!(header("a,b,c", "b"), column(1, b','));
        assert_eq!(header("a;\"b, \"\"c\"\"\";d", "d"), column(2, b';'));
        assert_eq!(header("a;\"b, \"\"c\"\"\";d", "b, \"c\""), column(1, b';'));
        assert_eq!(header("a\tb", "b"), column(1, b'\t'));
        assert_eq!(header("only", "only"), column(0, b','));
        let told = |text, by| header(text, by).unwrap_err().to_string();
        assert!(told("region,shop", "regoin").contains("no columns of the header are called \"regoin\""));
        assert!(told("region,shop", "regoin").contains("did you mean \"region\"?"));
        assert!(
            told("a|b|c", "zzzzzz").contains("there are a, b, c"),
            "{}",
            told("a|b|c", "zzzzzz")
        );
        assert!(told("a,b,a", "a").contains("2 columns"));
    }

    #[test]
    fn keys_are_what_readers_of_csv_see() {
        let column = Column {
            place: 1,
            delimiter: b',',
        };
        for (record, key) in [
            ("x,y,z", Some("y")),
            ("x,\"y\",z", Some("y")),
            ("x,\"a, \"\"b\"\"\nc\",z", Some("a, \"b\"\nc")),
            ("\"a,b\",\"\"", Some("")),
            ("x,", Some("")),
            ("x,a\"b\"c", Some("a\"b\"c")),
            ("x,\"a\"b,c", Some("ab")),
            ("x,\"open, to the end", Some("open, to the end")),
            ("x,\"", Some("")),
            ("x", None),
            ("", None),
        ] {
            let found = column.key(record.as_bytes());
            assert_eq!(found.as_deref(), key.map(str::as_bytes), "{record}");
        }
    }
}
