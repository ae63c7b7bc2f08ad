//! Manifests: YAML or JSON, from a file or standard input, with the place of every field.
//!
//! The text is untrusted. Size, documents, nesting, nodes, and what aliases multiply are bounded before and while it is read, so any
//! input ends soon, with values or with an error that has a place. Reading twice gives the same.

use std::{
    fmt,
    io::{self, Read},
    path::Path,
};

use serde_saphyr::{DuplicateKeyPolicy, Error, Options, UserMessageFormatter, budget, budget::BudgetBreach};

mod params;
mod tree;

pub use params::{OverrideError, override_params, preset};
pub use tree::{Kind, Node};

/// Bytes of a manifest.
pub const MANIFEST_BYTES: usize = 4 << 20;
/// Lists and maps in one another.
const DEPTH: usize = 64;
/// Values of all documents together. A workflow with 10,000 items of ten fields each fits.
const NODES: usize = 150_000;
/// Documents of one file.
const DOCUMENTS: usize = 64;
/// Values that aliases may add.
const ALIASED: usize = 20_000;

/// A place in a text, from 1; columns count characters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    /// The line.
    pub line: usize,
    /// The column.
    pub column: usize,
}

impl Place {
    /// Where a text begins.
    pub const START: Self = Self { line: 1, column: 1 };
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.line, self.column)
    }
}

/// Why a manifest cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum ManifestError {
    /// The file cannot be read.
    #[error("cannot read it: {0}")]
    Io(#[from] io::Error),
    /// More than a manifest may have.
    #[error("a manifest has at most {} MiB: put data into files of their own", MANIFEST_BYTES >> 20)]
    TooLarge,
    /// Bytes that are no text.
    #[error("byte {offset} is not UTF-8: save the file as UTF-8")]
    NotUtf8 {
        /// Where, in bytes from 0.
        offset: usize,
        /// Where, for people.
        place: Place,
    },
    /// A character that no text has.
    #[error("there is a control character (U+{code:04X}): this is not a text file")]
    Control {
        /// Which.
        code: u32,
        /// Where.
        place: Place,
    },
    /// Not YAML, or more of it than is read.
    #[error("{message}")]
    Yaml {
        /// What.
        message: String,
        /// Where.
        place: Place,
    },
}

impl ManifestError {
    /// Where.
    #[must_use]
    pub fn place(&self) -> Place {
        match self {
            Self::Io(_) | Self::TooLarge => Place::START,
            Self::NotUtf8 { place, .. } | Self::Control { place, .. } | Self::Yaml { place, .. } => *place,
        }
    }
}

/// Reads a file, or standard input if it is named `-`.
pub fn read(path: &Path) -> Result<String, ManifestError> {
    let mut bytes = Vec::new();
    // One byte more than allowed tells "too large" from "just fits", whatever a file says of its size.
    let limit = MANIFEST_BYTES as u64 + 1;
    if path.as_os_str() == "-" {
        io::stdin().lock().take(limit).read_to_end(&mut bytes)?;
    } else {
        std::fs::File::open(path)?.take(limit).read_to_end(&mut bytes)?;
    }
    decode(bytes)
}

/// Bytes as the text of a manifest.
pub fn decode(bytes: Vec<u8>) -> Result<String, ManifestError> {
    if bytes.len() > MANIFEST_BYTES {
        return Err(ManifestError::TooLarge);
    }
    let text = String::from_utf8(bytes).map_err(|error| {
        let offset = error.utf8_error().valid_up_to();
        let before = error.as_bytes().get(..offset).unwrap_or_default();
        let place = place_at(&String::from_utf8_lossy(before), usize::MAX);
        ManifestError::NotUtf8 { offset, place }
    })?;
    let control = |c: char| c.is_control() && !matches!(c, '\n' | '\r' | '\t' | '\u{85}');
    match text.char_indices().find(|(_, c)| control(*c)) {
        Some((at, c)) => Err(ManifestError::Control {
            code: c.into(),
            place: place_at(&text, at),
        }),
        None => Ok(text),
    }
}

/// The documents of a text, empty ones left out.
pub fn parse(text: &str) -> Result<Vec<Node>, ManifestError> {
    let documents: Vec<Option<Node>> = serde_saphyr::from_multiple_with_options(text, options()).map_err(|error| {
        let place = error.location().map_or(Place::START, tree::place);
        ManifestError::Yaml {
            message: explain(&error),
            place,
        }
    })?;
    Ok(documents.into_iter().flatten().collect())
}

fn options() -> Options {
    let budget = budget! {
        max_depth: DEPTH,
        flow_nesting_limit: DEPTH,
        max_nodes: NODES,
        max_events: 4 * NODES,
        max_documents: DOCUMENTS,
        max_anchors: 256,
        max_aliases: 1_000,
        max_recorded_anchor_events: ALIASED,
        max_recorded_anchor_bytes: MANIFEST_BYTES,
        max_merge_keys: 256,
        max_total_scalar_bytes: 2 * MANIFEST_BYTES,
    };
    serde_saphyr::options! {
        budget: budget,
        duplicate_keys: DuplicateKeyPolicy::Error,
        alias_limits: serde_saphyr::alias_limits! {
            max_total_replayed_events: ALIASED,
            max_replay_stack_depth: 16,
            max_alias_expansions_per_anchor: 1_000,
        },
        strict_booleans: true,
        reject_unsupported_tags: true,
        with_snippet: false,
        emit_comments: false,
    }
}

/// What is wrong, in a line and without its place. The reader speaks to programmers where it meets one of its limits.
fn explain(error: &Error) -> String {
    let error = error.without_snippet();
    match error {
        Error::DuplicateMappingKey { key: Some(key), .. } => format!("{key:?} is there twice: take one out"),
        Error::DuplicateMappingKey { key: None, .. } => "a key is there twice: take one out".to_owned(),
        Error::UnknownAnchor { .. } => "this alias names an anchor that there is not".to_owned(),
        Error::Budget { breach, .. } => breach_of(breach),
        Error::AliasReplayLimitExceeded { .. }
        | Error::AliasExpansionLimitExceeded { .. }
        | Error::AliasReplayStackDepthExceeded { .. }
        | Error::AliasReplayCounterOverflow { .. } => {
            format!("aliases add too much: at most {ALIASED} values; write them out")
        }
        other => {
            let text = other.render_with_formatter(&UserMessageFormatter);
            let line = text.lines().next().unwrap_or_default();
            if line.contains("too large or too complex") {
                // A limit that was met while an alias was replayed: it has lost its kind on the way.
                return ALIASES.to_owned();
            }
            let cut = line.find(" at line ").unwrap_or(line.len());
            line.get(..cut).unwrap_or(line).chars().take(300).collect()
        }
    }
}

const ALIASES: &str = "too many or too large anchors and aliases: write the values out";

fn breach_of(breach: &BudgetBreach) -> String {
    match breach {
        BudgetBreach::Depth { .. } => format!("more than {DEPTH} lists and maps in one another"),
        BudgetBreach::Documents { .. } => format!("more than {DOCUMENTS} documents in a file: split it"),
        BudgetBreach::Nodes { .. } | BudgetBreach::Events { .. } => {
            format!("more than {NODES} values: put data into files of their own")
        }
        _ => ALIASES.to_owned(),
    }
}

/// The place of a byte.
fn place_at(text: &str, at: usize) -> Place {
    let before = text.get(..at).unwrap_or(text);
    let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
    Place {
        line: before.matches('\n').count() + 1,
        column: before.get(line_start..).map_or(0, |line| line.chars().count()) + 1,
    }
}

#[cfg(test)]
mod tests;
