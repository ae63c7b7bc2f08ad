//! JSON in its one form: the same value is the same bytes, whoever wrote it.
//!
//! No spaces; members in the order of their keys; numbers by value (`1.0` and `1e0` are `1`), and whole numbers beyond 2^53 as
//! texts of digits, which every reader keeps. What has no such form is refused: numbers beyond 128 bits or the largest double,
//! a key twice, more than 32 levels.

use serde_json::Value;

use super::given::Text;

/// Levels of lists and maps.
const LEVELS: usize = 32;

/// What is needed where a value has no one form.
pub const NEEDED: &str =
    "JSON of at most 32 levels, with each key once in a map and numbers within 128 bits or the range of doubles";

/// The one form of a value; `None` if it has none.
pub fn canonical(text: Text<'_>) -> Option<String> {
    let mut out = String::new();
    write(text, LEVELS, &mut out)?;
    Some(out)
}

/// Whether bytes of a state are one value in its one form. Gives the value.
pub fn read(text: &str) -> Option<Value> {
    let document = Text::document(text.as_bytes()).ok().flatten()?;
    (canonical(document)? == text)
        .then(|| serde_json::from_str(text).ok())
        .flatten()
}

/// A value as JSON readers and writers keep it; one that has no such form as it is.
pub fn kept(value: &Value) -> Value {
    let text = value.to_string();
    let document = Text::document(text.as_bytes()).ok().flatten();
    document
        .and_then(canonical)
        .and_then(|text| serde_json::from_str(&text).ok())
        .unwrap_or_else(|| value.clone())
}

fn write(text: Text<'_>, levels: usize, out: &mut String) -> Option<()> {
    if let Some(elements) = text.elements() {
        let levels = levels.checked_sub(1)?;
        out.push('[');
        for (index, element) in elements.enumerate() {
            if index > 0 {
                out.push(',');
            }
            write(element, levels, out)?;
        }
        out.push(']');
    } else if let Some(members) = text.members() {
        let levels = levels.checked_sub(1)?;
        let mut written = Vec::new();
        for (key, value) in members {
            let mut one = String::new();
            write(value, levels, &mut one)?;
            written.push((key, one));
        }
        written.sort_by(|(left, _), (right, _)| left.cmp(right));
        out.push('{');
        for (index, (key, value)) in written.iter().enumerate() {
            if index > 0 {
                out.push(',');
                let before = written.get(index - 1)?;
                if before.0 == *key {
                    return None;
                }
            }
            out.push_str(&quoted(key));
            out.push(':');
            out.push_str(value);
        }
        out.push('}');
    } else if text.written_number().is_some() {
        out.push_str(&text.number()?.shown().to_string());
    } else if let Some(string) = text.string() {
        out.push_str(&quoted(&string));
    } else if text.is_null() {
        out.push_str("null");
    } else {
        out.push_str(if text.boolean()? { "true" } else { "false" });
    }
    Some(())
}

fn quoted(text: &str) -> String {
    Value::String(text.to_owned()).to_string()
}
