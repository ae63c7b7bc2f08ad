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
    (plain(message, &refusal.path), String::new())
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
