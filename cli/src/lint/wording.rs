//! The API server's words, for people who do not know it: what a pattern means, which field was meant.

use std::str::FromStr as _;

use braid_apiserver::Refusal;
use braid_crds::{ByteSize, Duration, duration};
use braid_engine::suggest::nearest;
use serde_json::Value;

/// What is wrong and how to mend it. `value` is what stands in the manifest.
pub(super) fn of(refusal: &Refusal, value: Option<&Value>) -> (String, String) {
    if let Some(known) = &refusal.known_fields {
        return unknown(&refusal.path, known);
    }
    let message = refusal.message.as_str();
    if message == "Required value" {
        return ("is missing".to_owned(), String::new());
    }
    if let Some(duplicate) = message.strip_prefix("Duplicate value: ") {
        return (
            format!("{duplicate} is there twice"),
            "give each a name of its own".to_owned(),
        );
    }
    if let Some(text) = value.and_then(Value::as_str)
        && let Some((message, help)) = pattern(message, text)
    {
        return (message, help);
    }
    let help = value.and_then(|value| meant(message, value)).unwrap_or_default();
    (plain(message, &refusal.path), help)
}

/// What may have been meant by a value of another type, or by one that is not among those that there are.
fn meant(message: &str, value: &Value) -> Option<String> {
    let wanted = |kind: &str| message.contains(&format!("must be of type {kind}:"));
    match value {
        Value::Number(number) if wanted("string") => Some(format!(
            "write a text: \"{number}\", or of a duration {number}s, with its unit"
        )),
        Value::String(text) if wanted("integer") && text.parse::<i64>().is_ok() => {
            Some(format!("write {text}, without quotes"))
        }
        Value::String(text)
            if wanted("boolean") && matches!(text.as_str(), "true" | "false" | "yes" | "no" | "on" | "off") =>
        {
            Some("write true or false, without quotes".to_owned())
        }
        Value::String(text) => {
            let (_, supported) = message.split_once("supported values: ")?;
            let supported: Vec<&str> = supported.split(", ").map(|name| name.trim_matches('"')).collect();
            let same = supported.iter().find(|name| name.eq_ignore_ascii_case(text)).copied();
            let near = same.or_else(|| nearest(text, supported.iter().copied()))?;
            Some(format!("did you mean {near}?"))
        }
        _ => None,
    }
}

fn unknown(path: &str, known: &[String]) -> (String, String) {
    let name = path.rsplit('.').next().unwrap_or(path);
    let meant = nearest(name, known.iter().map(String::as_str)).map(|known| format!("did you mean {known}?"));
    let help = meant.unwrap_or_else(|| match known {
        [] => "it is not of this version of Braid".to_owned(),
        known => format!("there are {}", known.join(", ")),
    });
    (format!("there is no field {name:?}"), help)
}

/// The pattern of `function`.
const FUNCTION: &str =
    r"^[A-Za-z_][A-Za-z0-9_]*(\.[A-Za-z_][A-Za-z0-9_]*)*:[A-Za-z_][A-Za-z0-9_]*(\.[A-Za-z_][A-Za-z0-9_]*)*$";
/// The pattern of `parallelism`.
const PARALLELISM: &str = r"^([1-9][0-9]{0,5}|\$\(.*\))$";

/// Patterns are for machines.
fn pattern(message: &str, text: &str) -> Option<(String, String)> {
    let (_, pattern) = message.split_once("should match '")?;
    let pattern = pattern.trim_end_matches('\'');
    if pattern == duration::PATTERN {
        let error = Duration::from_str(text).err()?.to_string();
        return Some((error, String::new()));
    }
    if pattern.ends_with("(k|M|G|Ki|Mi|Gi)?$") {
        let error = ByteSize::from_str(text).err()?.to_string();
        return Some((error, String::new()));
    }
    let shown: String = text.chars().take(60).collect();
    let (what, help) = match pattern {
        "^[a-z0-9]([-a-z0-9]*[a-z0-9])?$" => (
            "no name of a namespace",
            "use lower case letters, digits and -, begin and end with a letter or digit",
        ),
        "^[a-z]([-a-z0-9]*[a-z0-9])?$" => (
            "no DNS label",
            "use lower case letters, digits and -, begin with a letter and do not end with -",
        ),
        "^[A-Za-z_][A-Za-z0-9_]*$" => (
            "no identifier",
            "use letters, digits and _, and do not begin with a digit",
        ),
        "^(100|[1-9]?[0-9])%$" => (
            "neither a count nor a percentage",
            "write a whole number, or a percentage between 0% and 100%",
        ),
        PARALLELISM => (
            "no number of partitions",
            "write a number, or an expression that gives one: $(params.n)",
        ),
        FUNCTION => (
            "no function of a module",
            "write MODULE:NAME, for example prices:convert",
        ),
        pattern if pattern.starts_with("^p(") => (
            "no quantile",
            "write for example p50 or p99_9 (which is 99.9 %), from p0 to p100",
        ),
        _ => return None,
    };
    Some((format!("{shown:?} is {what}"), help.to_owned()))
}

/// The message without what the place says already.
fn plain(message: &str, path: &str) -> String {
    let mut message = message.to_owned();
    for kind in ["object", "array", "string", "integer", "number", "boolean", "null"] {
        if let Some(rest) = message.strip_prefix(&format!("Invalid value: \"{kind}\": ")) {
            message = rest.to_owned();
            break;
        }
    }
    message.replace(&format!("{path} in body "), "")
}
