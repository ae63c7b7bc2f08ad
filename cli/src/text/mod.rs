//! Text for people: numbers, times, tables, colours. Pure.

mod number;
mod table;
mod tint;

pub use number::{clock, count, decimal, rate};
pub use table::{Align, Table};
pub use tint::{Colour, Tint};

use serde_json::Value;

/// A text without control characters (what user code gives may hold any), at most so long.
pub fn clean(text: &str, most: usize) -> String {
    let mut cleaned: String = text
        .chars()
        .take(most)
        .map(|c| if is_control(c) { '\u{fffd}' } else { c })
        .collect();
    if text.chars().nth(most).is_some() {
        cleaned.pop();
        cleaned.push('…');
    }
    cleaned
}

/// A text of several lines, without control characters but for the ends of lines.
pub fn printable(text: &str) -> String {
    text.chars()
        .map(|c| if c != '\n' && is_control(c) { '\u{fffd}' } else { c })
        .collect()
}

/// Characters that do something to a terminal: control characters, and those that turn the order of what follows.
fn is_control(c: char) -> bool {
    c.is_control() || matches!(c, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// How many columns a text takes, colours left out.
pub fn width(text: &str) -> usize {
    console::measure_text_width(text)
}

/// A value on one line: numbers grouped by thousands, texts as they are, maps as `{p50:4,p99:121}`, a value with what came along
/// as both, the rest as JSON.
pub fn value(value: &Value, most: usize) -> String {
    match value {
        Value::Number(number) => decimal(&number.to_string()),
        Value::String(text) if is_integer(text) => decimal(text),
        Value::String(text) => clean(text, most),
        Value::Object(map) => match (map.len(), map.get("value"), map.get("carry")) {
            (2, Some(picked), Some(carry)) if !picked.is_object() => {
                clean(&format!("{} {}", self::value(picked, most), inline(carry)), most)
            }
            _ => clean(&inline(value), most),
        },
        other => clean(&other.to_string(), most),
    }
}

/// JSON with bare keys where they are words.
fn inline(value: &Value) -> String {
    let Value::Object(map) = value else {
        return value.to_string();
    };
    let bare = |key: &str| !key.is_empty() && key.chars().all(|c| c.is_ascii_alphanumeric() || c == '_' || c == '-');
    let members: Vec<String> = map
        .iter()
        .map(|(key, value)| {
            let key = if bare(key) {
                key.clone()
            } else {
                Value::from(key.as_str()).to_string()
            };
            format!("{key}:{}", inline(value))
        })
        .collect();
    format!("{{{}}}", members.join(","))
}

/// Whole numbers beyond 2^53 are strings in results.
fn is_integer(text: &str) -> bool {
    let digits = text.strip_prefix('-').unwrap_or(text);
    digits.len() >= 16 && digits.bytes().all(|byte| byte.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn values_are_readable() {
        assert_eq!("1,234", value(&json!(1234), 80));
        assert_eq!("-1,234.5", value(&json!(-1234.5), 80));
        assert_eq!("1e+300", value(&json!(1e300), 80));
        assert_eq!("9,007,199,254,740,993", value(&json!("9007199254740993"), 80));
        assert_eq!("2013", value(&json!("2013"), 80));
        assert_eq!("[1,2]", value(&json!([1, 2]), 80));
        assert_eq!("abc…", value(&json!("abcdefg"), 4));
        assert_eq!("{p50:4,p99:1210.5}", value(&json!({"p50": 4, "p99": 1210.5}), 80));
        assert_eq!(
            r#"1,301 {flight:"HA51",to:{"a b":1}}"#,
            value(
                &json!({"value": 1301, "carry": {"flight": "HA51", "to": {"a b": 1}}}),
                80
            )
        );
    }

    #[test]
    fn terminals_are_not_spoken_to_by_user_code() {
        assert_eq!("\u{fffd}[2Jx\u{fffd}", clean("\u{1b}[2Jx\n", 80));
        assert_eq!("a\u{fffd}b", clean("a\u{202e}b", 80));
        assert_eq!("\u{fffd}[2Jx\ny\u{fffd}", printable("\u{1b}[2Jx\ny\r"));
    }
}
