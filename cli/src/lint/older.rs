//! Scalars that readers of YAML 1.1 take for something else.
//!
//! Manifests are read here as YAML 1.2 says. kubectl and Helm read YAML 1.1, so that one file would be one thing on a laptop and another in a
//! cluster: `y` and `off` are booleans there, `010` is 8, and `1_0.5` is a number. What they take is that of `sigs.k8s.io/yaml`, which
//! kubectl 1.34 has.

use std::fmt::Write as _;

use serde_json::Value;

use super::Sheet;
use crate::manifest::{Kind, Node, Place};

/// Bytes of a line with letters beyond ASCII up to which columns are counted in it.
const LONGEST: usize = 4096;
const TRUE: [&str; 8] = ["y", "Y", "yes", "Yes", "YES", "on", "On", "ON"];
const FALSE: [&str; 8] = ["n", "N", "no", "No", "NO", "off", "Off", "OFF"];

/// Tells of everything in a document that they would read otherwise.
pub(super) fn tell(sheet: &mut Sheet<'_>) {
    let document = sheet.document;
    let mut walk = Walk {
        text: Text::of(sheet.text),
        path: String::new(),
        sheet,
    };
    walk.node(document);
}

/// A walk over a document.
struct Walk<'a, 'b> {
    text: Text<'a>,
    path: String,
    sheet: &'b mut Sheet<'a>,
}

impl Walk<'_, '_> {
    fn node(&mut self, node: &Node) {
        let length = self.path.len();
        match &node.kind {
            Kind::Scalar(value) => {
                let is_suspect = match value {
                    Value::String(text) => boolean(text).is_some() || text.contains('_'),
                    value => value.is_number(),
                };
                if is_suspect
                    && let Some(word) = self.text.word(node.place)
                    && let Some(meant) = otherwise(word, value)
                    && !self.text.is_block(node.place)
                {
                    self.note(node.place, word, &meant);
                }
            }
            Kind::List(items) => {
                for (index, item) in items.iter().enumerate() {
                    // Writing to a string cannot fail.
                    let _ = write!(self.path, "[{index}]");
                    self.node(item);
                    self.path.truncate(length);
                }
            }
            Kind::Map(fields) => {
                for (name, place, node) in fields {
                    if !self.path.is_empty() {
                        self.path.push('.');
                    }
                    self.path.push_str(name);
                    if let Some(meant) = boolean(name)
                        && self.text.word(*place) == Some(name)
                    {
                        self.note(*place, name, meant);
                    }
                    self.node(node);
                    self.path.truncate(length);
                }
            }
        }
    }

    fn note(&mut self, place: Place, word: &str, meant: &str) {
        let message = format!("{word} is {meant} to kubectl, which reads YAML 1.1, and not here");
        let help = format!("put it in quotes, or write {meant}");
        self.sheet.push(place, &self.path, message, help);
    }
}

/// A text by its lines, each with whether a column is a byte: a manifest may be one line of many values.
struct Text<'a>(Vec<(&'a str, bool)>);

impl<'a> Text<'a> {
    fn of(text: &'a str) -> Self {
        Self(text.lines().map(|line| (line, line.is_ascii())).collect())
    }

    /// A line, cut at a place.
    fn cut(&self, place: Place) -> Option<(&'a str, &'a str)> {
        let (line, is_ascii) = *self.0.get(place.line.checked_sub(1)?)?;
        let column = place.column.checked_sub(1)?;
        let at = if is_ascii {
            column
        } else if line.len() <= LONGEST {
            line.char_indices().nth(column)?.0
        } else {
            return None;
        };
        line.split_at_checked(at)
    }

    /// The word that stands there, if it is not quoted.
    fn word(&self, place: Place) -> Option<&'a str> {
        let (_, rest) = self.cut(place)?;
        let ends = |c: char| c.is_whitespace() || matches!(c, ',' | ']' | '}');
        let word = rest.split(ends).next()?;
        let word = word.strip_suffix(':').unwrap_or(word);
        Some(word).filter(|word| !word.starts_with(['"', '\'', '*', '&', '!', '|', '>']))
    }

    /// Whether the word there is the text of a block. Blocks that keep their last line end are no single word. It looks back as far as lines are
    /// blank: asked only where there is something to tell, and at one place of a line, that takes no longer than reading them.
    fn is_block(&self, place: Place) -> bool {
        let is_first = self.cut(place).is_some_and(|(before, _)| before.trim_end().is_empty());
        let above = self.0.get(..place.line.saturating_sub(1)).unwrap_or_default();
        let header = || above.iter().rfind(|(line, _)| !line.trim_end().is_empty());
        is_first && header().is_some_and(|(line, _)| line.ends_with("|-") || line.ends_with(">-"))
    }
}

/// What a word is there, if that is not its value here.
fn otherwise(token: &str, value: &Value) -> Option<String> {
    match value {
        Value::String(text) if text == token => boolean(token).map(str::to_owned).or_else(|| grouped(token)),
        Value::Number(number) => octal(token).filter(|octal| number.as_f64() != octal.parse().ok()),
        _ => None,
    }
}

fn boolean(token: &str) -> Option<&'static str> {
    match token {
        _ if TRUE.contains(&token) => Some("true"),
        _ if FALSE.contains(&token) => Some("false"),
        _ => None,
    }
}

/// A number that begins with a 0, in its eights.
fn octal(token: &str) -> Option<String> {
    let (sign, digits) = match token.strip_prefix('-') {
        Some(digits) => ("-", digits),
        None => ("", token.strip_prefix('+').unwrap_or(token)),
    };
    let eights = digits.strip_prefix('0')?;
    let number = i64::from_str_radix(eights, 8).ok()?;
    Some(format!("{sign}{number}"))
}

/// A number with its digits in groups.
fn grouped(token: &str) -> Option<String> {
    let first = token.strip_prefix(['-', '+']).unwrap_or(token);
    if !token.contains('_') || !first.starts_with(|c: char| c.is_ascii_digit() || c == '.') {
        return None;
    }
    let text = token.replace('_', "");
    let unsigned = text.strip_prefix(['-', '+']).unwrap_or(&text);
    let radixes = [("0x", 16), ("0b", 2), ("0o", 8)];
    let whole = radixes.iter().find_map(|(prefix, radix)| {
        let digits = unsigned.strip_prefix(prefix)?;
        i64::from_str_radix(digits, *radix).ok()
    });
    if let Some(whole) = whole {
        return Some(whole.to_string());
    }
    let is_number = unsigned
        .bytes()
        .all(|byte| byte.is_ascii_digit() || matches!(byte, b'.' | b'e' | b'E' | b'-' | b'+'));
    let number = text
        .parse::<f64>()
        .ok()
        .filter(|number| is_number && number.is_finite())?;
    Some(octal(&text).unwrap_or_else(|| number.to_string()))
}
