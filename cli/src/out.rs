//! Standard output. A reader that goes away has had enough: that is no error.

use std::io::{self, Write as _};

use braid_engine::card::sorted;

use crate::exit::Failure;

/// Whether anybody still reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reader {
    /// Go on.
    There,
    /// Stop writing.
    Gone,
}

/// Writes a text and flushes it.
pub fn write(text: &str) -> Result<Reader, Failure> {
    let mut out = io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Ok(()) => Ok(Reader::There),
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(Reader::Gone),
        Err(error) => Err(Failure::unreachable(error).doing("cannot write to standard output")),
    }
}

/// Writes lines.
pub fn lines(lines: &[String]) -> Result<Reader, Failure> {
    let mut text = lines.join("\n");
    text.push('\n');
    write(&text)
}

/// Writes a document. Its keys are in order, as `kubectl` prints them: a run's object is the same text here and in a cluster.
pub fn json(document: &impl serde::Serialize) -> Result<Reader, Failure> {
    let mut text = serde_json::to_string_pretty(&in_order(document)?).map_err(Failure::unreachable)?;
    text.push('\n');
    write(&text)
}

/// Writes a document, its keys in order.
pub fn yaml(document: &impl serde::Serialize) -> Result<Reader, Failure> {
    write(&serde_saphyr::to_string(&in_order(document)?).map_err(Failure::unreachable)?)
}

fn in_order(document: &impl serde::Serialize) -> Result<serde_json::Value, Failure> {
    let document = serde_json::to_value(document).map_err(Failure::unreachable)?;
    Ok(sorted(document))
}
