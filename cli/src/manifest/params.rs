//! Params given on the command line.

use braid_crds::{Workflow, workflow::Param};
use braid_engine::{
    params::{self, ParamError},
    suggest::nearest,
};
use serde_json::Value;

/// Why `-p` does not fit the workflow.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OverrideError {
    /// No `=`.
    #[error("-p {0}: write -p NAME=VALUE")]
    NoValue(String),
    /// A param that there is not.
    #[error("-p {name}: the workflow has no param {name:?}; {help}")]
    Unknown {
        /// The name given.
        name: String,
        /// What may be meant.
        help: String,
    },
    /// One param given twice.
    #[error("-p {0}: given twice")]
    Twice(String),
    /// A value that does not fit.
    #[error("-p {0}")]
    Value(#[from] ParamError),
}

/// Puts values from `NAME=VALUE` texts into a document before it is checked: a param may have nothing else. What does not fit is left to
/// [`override_params`], which tells it.
pub fn preset(document: &mut Value, given: &[String]) {
    let params = document.pointer_mut("/spec/params").and_then(Value::as_array_mut);
    for param in params.into_iter().flatten() {
        let Ok(declared) = serde_json::from_value::<Param>(param.clone()) else {
            continue;
        };
        let mut given = given.iter().filter_map(|text| text.split_once('='));
        let text = given.find(|(name, _)| *name == declared.name);
        if let Some((_, text)) = text
            && let Ok(value) = params::parse(&declared, text)
            && let Some(param) = param.as_object_mut()
        {
            param.insert("value".to_owned(), value);
        }
    }
}

/// Sets params from `NAME=VALUE` texts: by the param's type, JSON for lists and objects.
pub fn override_params<'a>(
    workflow: &mut Workflow,
    given: impl IntoIterator<Item = &'a str>,
) -> Result<(), OverrideError> {
    let mut seen: Vec<&str> = Vec::new();
    for text in given {
        let (name, value) = text
            .split_once('=')
            .ok_or_else(|| OverrideError::NoValue(text.to_owned()))?;
        if seen.contains(&name) {
            return Err(OverrideError::Twice(name.to_owned()));
        }
        seen.push(name);
        let names: Vec<String> = workflow.spec.params.iter().map(|param| param.name.clone()).collect();
        let Some(param) = workflow.spec.params.iter_mut().find(|param| param.name == name) else {
            let meant = nearest(name, names.iter().map(String::as_str)).map(|name| format!("did you mean {name:?}?"));
            let known = || match names.as_slice() {
                [] => "it has none".to_owned(),
                names => format!("it has {}", names.join(", ")),
            };
            return Err(OverrideError::Unknown {
                name: name.to_owned(),
                help: meant.unwrap_or_else(known),
            });
        };
        param.value = Some(params::parse(param, value)?);
    }
    Ok(())
}
