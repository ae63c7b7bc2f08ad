//! Label and field selectors, parsed as the real server parses them.

use serde_json::Value;

use crate::status::ApiError;

/// A conjunction of label requirements.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct LabelSelector(Vec<Requirement>);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Requirement {
    In(String, Vec<String>),
    NotIn(String, Vec<String>),
    Exists(String),
    Absent(String),
    Greater(String, i64),
    Less(String, i64),
}

impl LabelSelector {
    /// Parses `a=b,c!=d,e in (f,g),h notin (i),j,!k,l>1`. The empty text selects everything.
    pub(crate) fn parse(text: &str) -> Result<Self, ApiError> {
        let mut requirements = Vec::new();
        for term in split_terms(text) {
            let term = term.trim();
            if term.is_empty() {
                if text.trim().is_empty() {
                    continue;
                }
                return Err(unparsable(text, "an empty requirement between commas"));
            }
            requirements.push(parse_requirement(term).map_err(|why| unparsable(text, &why))?);
        }
        Ok(Self(requirements))
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Does an object with these `metadata.labels` match?
    pub(crate) fn matches(&self, object: &Value) -> bool {
        let label = |key: &str| object.get("metadata")?.get("labels")?.get(key)?.as_str();
        self.0.iter().all(|requirement| match requirement {
            Requirement::In(key, values) => label(key).is_some_and(|v| values.iter().any(|w| w == v)),
            Requirement::NotIn(key, values) => label(key).is_none_or(|v| values.iter().all(|w| w != v)),
            Requirement::Exists(key) => label(key).is_some(),
            Requirement::Absent(key) => label(key).is_none(),
            Requirement::Greater(key, bound) => number(label(key)).is_some_and(|n| n > *bound),
            Requirement::Less(key, bound) => number(label(key)).is_some_and(|n| n < *bound),
        })
    }
}

fn number(label: Option<&str>) -> Option<i64> {
    label?.parse().ok()
}

fn unparsable(text: &str, why: &str) -> ApiError {
    ApiError::bad_request(format!("unable to parse requirement: {why} (in selector {text:?})"))
}

/// Splits at commas outside of parentheses.
fn split_terms(text: &str) -> Vec<&str> {
    let mut depth = 0_usize;
    text.split(move |c| {
        match c {
            '(' => depth += 1,
            ')' => depth = depth.saturating_sub(1),
            _ => {}
        }
        c == ',' && depth == 0
    })
    .collect()
}

fn parse_requirement(term: &str) -> Result<Requirement, String> {
    if let Some(key) = term.strip_prefix('!') {
        return Ok(Requirement::Absent(label_key(key.trim())?));
    }
    if let Some(at) = term.find(['=', '!', '<', '>', '(', ' ', '\t']) {
        let (key, rest) = term.split_at(at);
        let key = label_key(key.trim())?;
        let rest = rest.trim_start();
        if let Some(value) = rest.strip_prefix("!=") {
            return Ok(Requirement::NotIn(key, vec![label_value(value.trim())?]));
        }
        if let Some(value) = rest.strip_prefix("==").or_else(|| rest.strip_prefix('=')) {
            return Ok(Requirement::In(key, vec![label_value(value.trim())?]));
        }
        if let Some(value) = rest.strip_prefix('>') {
            return Ok(Requirement::Greater(key, integer(value)?));
        }
        if let Some(value) = rest.strip_prefix('<') {
            return Ok(Requirement::Less(key, integer(value)?));
        }
        if let Some(values) = rest.strip_prefix("notin") {
            return Ok(Requirement::NotIn(key, value_set(values)?));
        }
        if let Some(values) = rest.strip_prefix("in") {
            return Ok(Requirement::In(key, value_set(values)?));
        }
        return Err(format!("found '{rest}', expected: in, notin, =, ==, !=, gt, lt"));
    }
    Ok(Requirement::Exists(label_key(term)?))
}

fn integer(text: &str) -> Result<i64, String> {
    text.trim()
        .parse()
        .map_err(|_| format!("'{}' is not an integer", text.trim()))
}

fn value_set(text: &str) -> Result<Vec<String>, String> {
    let inner = text
        .trim()
        .strip_prefix('(')
        .and_then(|t| t.strip_suffix(')'))
        .ok_or_else(|| format!("found '{}', expected: '(' values ')'", text.trim()))?;
    inner.split(',').map(|v| label_value(v.trim())).collect()
}

/// Checks a label key: an optional DNS prefix and a name of at most 63 characters.
pub(crate) fn label_key(key: &str) -> Result<String, String> {
    let (prefix, name) = key.split_once('/').map_or((None, key), |(p, n)| (Some(p), n));
    let prefix_ok = prefix.is_none_or(|p| !p.is_empty() && p.len() <= 253 && qualified(p));
    if name.is_empty() || name.len() > 63 || !qualified(name) || !prefix_ok {
        return Err(format!(
            "{key:?} is not a label key: it must consist of alphanumeric characters, '-', '_' or '.', start and end \
             with an alphanumeric character, and may have a DNS prefix and a '/'"
        ));
    }
    Ok(key.to_owned())
}

/// Checks a label value: empty, or at most 63 characters as a key's name.
pub(crate) fn label_value(value: &str) -> Result<String, String> {
    if value.len() > 63 || (!value.is_empty() && !qualified(value)) {
        return Err(format!(
            "{value:?} is not a label value: at most 63 alphanumeric characters, '-', '_' or '.', that start and end \
             with an alphanumeric character"
        ));
    }
    Ok(value.to_owned())
}

fn qualified(text: &str) -> bool {
    let edge = |c: Option<char>| c.is_some_and(|c| c.is_ascii_alphanumeric());
    edge(text.chars().next())
        && edge(text.chars().last())
        && text
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.'))
}

/// The field selectors served: exact name and namespace.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct FieldSelector {
    pub(crate) name: Option<String>,
    pub(crate) namespace: Option<String>,
}

impl FieldSelector {
    /// Parses `metadata.name=x,metadata.namespace=y`.
    pub(crate) fn parse(text: &str) -> Result<Self, ApiError> {
        let mut fields = Self::default();
        for term in text.split(',').filter(|t| !t.trim().is_empty()) {
            let (key, value) = term
                .split_once("==")
                .or_else(|| term.split_once('='))
                .filter(|(key, _)| !key.ends_with('!'))
                .ok_or_else(|| {
                    ApiError::bad_request(format!("invalid field selector {term:?}: expected field=value"))
                })?;
            match key.trim() {
                "metadata.name" => fields.name = Some(value.trim().to_owned()),
                "metadata.namespace" => fields.namespace = Some(value.trim().to_owned()),
                other => return Err(ApiError::bad_request(format!("field label not supported: {other}"))),
            }
        }
        Ok(fields)
    }
}

#[cfg(test)]
mod tests;
