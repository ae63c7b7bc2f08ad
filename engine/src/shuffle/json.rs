//! The key of a JSON object: a field at its top.

use std::borrow::Cow;

use super::ShuffleError;
use crate::reduce::Text;

/// The key of the object that begins at that byte; of a field that is given twice, the last one. `None`: it has none, or null.
pub fn key<'a>(record: &'a [u8], by: &str, at: u64) -> Result<Option<Cow<'a, [u8]>>, ShuffleError> {
    let no_json = |problem: String| ShuffleError::NoJson { at, problem };
    let document = Text::document(record).map_err(no_json)?;
    let document = document.ok_or_else(|| no_json("it is empty".into()))?;
    let members = document.members().ok_or_else(|| ShuffleError::NoObject {
        at,
        what: document.kind(),
    })?;
    let Some((_, value)) = members.filter(|(name, _)| name == by).last() else {
        return Ok(None);
    };
    if value.is_null() {
        return Ok(None);
    }
    if let Some(text) = value.string() {
        return Ok(Some(match text {
            Cow::Borrowed(text) => Cow::Borrowed(text.as_bytes()),
            Cow::Owned(text) => Cow::Owned(text.into_bytes()),
        }));
    }
    if value.written_number().is_some() || value.boolean().is_some() {
        return Ok(Some(Cow::Borrowed(value.as_str().as_bytes())));
    }
    Err(ShuffleError::NoKey {
        by: by.to_owned(),
        at,
        what: value.kind(),
    })
}
