//! Reads what a partition gives: one JSON document, split into the texts of its members.
//!
//! `serde_json` is the judge of what is JSON. Its own values will not do, since they round integers beyond 64 bits; so
//! the text of each number is found here and read exactly. Texts that it has not judged give no panic, but nonsense.

use std::borrow::Cow;

use serde::de::IgnoredAny;

use super::{decimal::Decimal, number::Number};

/// The text of one JSON value, without space around it.
#[derive(Clone, Copy, Debug)]
pub struct Text<'a>(&'a str);

impl<'a> Text<'a> {
    /// A document; an empty one gives nothing. The error is `serde_json`'s.
    pub fn document(bytes: &'a [u8]) -> Result<Option<Self>, String> {
        let text = std::str::from_utf8(bytes).map_err(|error| format!("it is not UTF-8: {error}"))?;
        let text = text.trim_matches(is_space);
        if text.is_empty() {
            return Ok(None);
        }
        serde_json::from_str::<IgnoredAny>(text).map_err(|error| error.to_string())?;
        Ok(Some(Self(text)))
    }

    /// As it was written.
    #[must_use]
    pub fn as_str(self) -> &'a str {
        self.0
    }

    /// Whether it is `null`, which is as good as not given.
    pub fn is_null(self) -> bool {
        self.0 == "null"
    }

    /// The number, if it is one that can be folded.
    pub fn number(self) -> Option<Number> {
        self.is_number().then(|| Number::parse(self.0)).flatten()
    }

    /// The decimal, of a number or a text.
    pub fn decimal(self) -> Option<Decimal> {
        if self.is_number() {
            return Decimal::parse(self.0);
        }
        self.string().and_then(|text| Decimal::parse(&text))
    }

    /// The boolean.
    pub fn boolean(self) -> Option<bool> {
        match self.0 {
            "true" => Some(true),
            "false" => Some(false),
            _ => None,
        }
    }

    /// The text of a text.
    pub fn string(self) -> Option<Cow<'a, str>> {
        self.0.starts_with('"').then(|| unquoted(self.0)).flatten()
    }

    /// The number, also one whose size no reducer takes.
    pub fn written_number(self) -> Option<&'a str> {
        self.is_number().then_some(self.0)
    }

    fn is_number(self) -> bool {
        self.0.starts_with(|first: char| first == '-' || first.is_ascii_digit())
    }

    /// What it is, for an error.
    pub fn kind(self) -> String {
        match self.0.chars().next() {
            Some('{') => "a map".into(),
            Some('[') => "a list".into(),
            Some('"') => format!("the text {}", self.start()),
            Some('t' | 'f') => format!("the boolean {}", self.0),
            Some('n') => "null".into(),
            _ => format!("the number {}", self.start()),
        }
    }

    fn start(self) -> String {
        match self.0.char_indices().nth(40) {
            Some((end, _)) => format!("{}..", self.0.get(..end).unwrap_or_default()),
            None => self.0.to_owned(),
        }
    }

    /// The elements, if it is a list.
    pub fn elements(self) -> Option<Elements<'a>> {
        self.0.strip_prefix('[').map(Elements)
    }

    /// The members, if it is a map.
    pub fn members(self) -> Option<Members<'a>> {
        self.0.strip_prefix('{').map(Members)
    }
}

/// The members of a map, in the order in which they are written.
#[derive(Clone, Debug)]
pub struct Members<'a>(&'a str);

impl<'a> Iterator for Members<'a> {
    type Item = (Cow<'a, str>, Text<'a>);

    fn next(&mut self) -> Option<Self::Item> {
        let rest = self.0.trim_start_matches(|c| is_space(c) || c == ',');
        let (key, rest) = rest
            .split_at_checked(value_len(rest))
            .filter(|(key, _)| key.starts_with('"'))?;
        let rest = rest.trim_start_matches(|c| is_space(c) || c == ':');
        let (value, rest) = rest.split_at_checked(value_len(rest))?;
        self.0 = rest;
        Some((unquoted(key)?, Text(value)))
    }
}

/// The elements of a list.
#[derive(Clone, Debug)]
pub struct Elements<'a>(&'a str);

impl<'a> Iterator for Elements<'a> {
    type Item = Text<'a>;

    fn next(&mut self) -> Option<Self::Item> {
        let rest = self.0.trim_start_matches(|c| is_space(c) || c == ',');
        let (value, rest) = rest
            .split_at_checked(value_len(rest))
            .filter(|(value, _)| !value.is_empty() && *value != "]")?;
        self.0 = rest;
        Some(Text(value))
    }
}

/// What a quoted text says.
fn unquoted(quoted: &str) -> Option<Cow<'_, str>> {
    let plain = quoted
        .get(1..quoted.len().saturating_sub(1))
        .filter(|inner| !inner.contains('\\'));
    Some(match plain {
        Some(inner) => Cow::Borrowed(inner),
        None => Cow::Owned(serde_json::from_str(quoted).ok()?),
    })
}

fn is_space(c: char) -> bool {
    matches!(c, ' ' | '\t' | '\n' | '\r')
}

/// How many bytes the value at the start of `text` has.
fn value_len(text: &str) -> usize {
    let (mut depth, mut quoted, mut escaped) = (0_usize, false, false);
    for (index, byte) in text.bytes().enumerate() {
        if quoted {
            match byte {
                _ if escaped => escaped = false,
                b'\\' => escaped = true,
                b'"' => {
                    quoted = false;
                    if depth == 0 {
                        return index + 1;
                    }
                }
                _ => {}
            }
            continue;
        }
        match byte {
            b'"' => quoted = true,
            b'{' | b'[' => depth += 1,
            b'}' | b']' if depth <= 1 => return index + depth,
            b'}' | b']' => depth -= 1,
            b',' | b':' | b' ' | b'\t' | b'\n' | b'\r' if depth == 0 => return index,
            _ => {}
        }
    }
    text.len()
}
