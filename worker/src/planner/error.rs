//! Why there is no plan.

use braid_crds::worker::Fatal;
use braid_engine::{
    cover::{CoverError, ScanError},
    plan::PlanError,
    shuffle::ShuffleError,
};

use crate::reader::{InputError, plans::FetchError};

/// Why there is no plan.
#[derive(Debug, thiserror::Error)]
pub(crate) enum PlanningError {
    /// Something that looks like the address of a server.
    #[error("{0:?} is not a path: this version reads files of the worker's own file system only")]
    NotAPath(String),
    /// A pattern that is none.
    #[error("{pattern:?} is not a pattern: {problem}")]
    Pattern {
        /// The pattern.
        pattern: String,
        /// What is wrong.
        problem: String,
    },
    /// Nothing matched.
    #[error(
        "no file matches {pattern:?} below {root}; `**` matches any directories, names that begin with a dot are left out"
    )]
    NoFiles {
        /// The pattern.
        pattern: String,
        /// Where was looked.
        root: String,
    },
    /// A directory or a file that cannot be looked at.
    #[error("{path} cannot be listed: {problem}")]
    Unreadable {
        /// Which.
        path: String,
        /// Why.
        problem: String,
    },
    /// A name that is not text.
    #[error("the path {0:?} is not UTF-8; rename the file")]
    NotText(String),
    /// Too many files, or entries.
    #[error("more than {0} entries below the pattern's fixed part; choose a pattern with a longer fixed part")]
    TooMany(usize),
    /// No plan can be made of them.
    #[error(transparent)]
    Plan(#[from] PlanError),
    /// The split.
    #[error(transparent)]
    Split(#[from] CoverError),
    /// A packed file that is to be cut.
    #[error(
        "{path} is packed with {packing}, and what is packed can only be read from its beginning: use split: {{files: N}}, or \
         unpack it"
    )]
    Packed {
        /// The file.
        path: String,
        /// How it is packed.
        packing: &'static str,
    },
    /// A file whose records cannot be found.
    #[error("{path}: {error}")]
    Records {
        /// The file.
        path: String,
        /// What is wrong with it.
        error: ScanError,
    },
    /// A file whose records cannot be split by keys.
    #[error("{path}: {error}")]
    Shuffle {
        /// The file.
        path: String,
        /// What is wrong with it.
        error: ShuffleError,
    },
    /// The parts of a shuffle that cannot be written.
    #[error(
        "the parts of the data cannot be written below {directory}: {problem}; a directory that can be written is named by keys: \
         {{through: DATA}}"
    )]
    Parts {
        /// The directory of the data.
        directory: String,
        /// Why.
        problem: String,
    },
    /// A file that cannot be looked into, or has changed meanwhile.
    #[error(transparent)]
    Input(#[from] InputError),
    /// The items that the step runs over.
    #[error(transparent)]
    Items(#[from] FetchError),
    /// An object of the plan's name is there and is not the plan.
    #[error("the Plan {0} exists already and is not this plan; delete it if nothing uses it")]
    Taken(String),
    /// The API server will not have an object.
    #[error("the Plan {name} was refused: {problem}")]
    Refused {
        /// Its name.
        name: String,
        /// Why.
        problem: String,
    },
    /// The listing was cut short.
    #[error("the listing was cut short")]
    Cut,
}

impl PlanningError {
    /// As a commit says it.
    pub(crate) fn to_fatal(&self) -> Fatal {
        let reason = match self {
            Self::NoFiles { .. } => "NoFiles",
            Self::TooMany(_)
            | Self::Plan(PlanError::TooLarge { .. } | PlanError::Cover(CoverError::TooMany))
            | Self::Records {
                error: ScanError::TooMany,
                ..
            }
            | Self::Split(CoverError::TooMany) => "PlanTooLarge",
            Self::NotAPath(_) | Self::Pattern { .. } => "BadPattern",
            Self::Split(_)
            | Self::Plan(PlanError::Cover(_))
            | Self::Packed { .. }
            | Self::Shuffle {
                error: ShuffleError::Column { .. },
                ..
            } => "BadSplit",
            Self::Parts { .. } => "PartsNotWritten",
            Self::Input(InputError::Changed { .. }) => "InputChanged",
            Self::Unreadable { .. }
            | Self::NotText(_)
            | Self::Plan(_)
            | Self::Records { .. }
            | Self::Shuffle { .. }
            | Self::Input(_)
            | Self::Items(_)
            | Self::Cut => "UnreadableInput",
            Self::Taken(_) | Self::Refused { .. } => "PlanRefused",
        };
        Fatal {
            reason: reason.into(),
            message: braid_engine::settlement::cut(&self.to_string()),
        }
    }
}
