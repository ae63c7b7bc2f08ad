//! What can go wrong when a server is built or shut down. Refused requests are `Status` answers instead.

use std::fmt::Display;
use std::path::PathBuf;

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;

/// Why no server was built, or why it did not close cleanly.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BuildError {
    /// A definition cannot be served: its schema or one of its rules does not compile.
    #[error("the custom resource definition {name} cannot be served: {why}")]
    Definition {
        /// `metadata.name` of the definition.
        name: String,
        /// What is wrong and where in the schema.
        why: String,
    },
    /// Two definitions have one plural and group, or one collides with a built-in kind.
    #[error("{resource} is defined twice: give every custom resource definition its own plural and group")]
    Duplicate {
        /// Plural and group.
        resource: String,
    },
    /// The state directory is in use.
    #[error("the state directory {path} is in use by process {holder}: stop that process, or choose another directory")]
    Locked {
        /// The directory.
        path: PathBuf,
        /// The process id found in the lock file, or "unknown".
        holder: String,
    },
    /// The log has a damaged record that is not its torn end.
    #[error(
        "{path} is damaged at byte {offset}: {why}; nothing was changed. Restore the file from a copy, or move the \
         directory away to start empty"
    )]
    Corrupt {
        /// The log file.
        path: PathBuf,
        /// Where the damaged record begins.
        offset: u64,
        /// What is wrong with it.
        why: String,
    },
    /// The log has objects of a kind that is not served.
    #[error(
        "{path} holds {resource} {name:?}, a kind that this server is not built with: start with its definition, or \
         choose another directory"
    )]
    Unserved {
        /// The log file.
        path: PathBuf,
        /// Plural and group.
        resource: String,
        /// One of the objects.
        name: String,
    },
    /// The operating system refused something.
    #[error("cannot {what} {path}: {source}")]
    Io {
        /// "open", "write", ...
        what: &'static str,
        /// The file or directory.
        path: PathBuf,
        /// The system's answer.
        source: std::io::Error,
    },
    /// The log's thread could not be started, or ended abnormally.
    #[error("the log's thread failed: {0}")]
    Thread(String),
}

impl BuildError {
    pub(crate) fn crd(crd: &CustomResourceDefinition, why: impl Display) -> Self {
        let name = crd
            .metadata
            .name
            .clone()
            .unwrap_or_else(|| crd.spec.names.plural.clone());
        Self::Definition {
            name,
            why: why.to_string(),
        }
    }

    pub(crate) fn io(what: &'static str, path: impl Into<PathBuf>, source: std::io::Error) -> Self {
        Self::Io {
            what,
            path: path.into(),
            source,
        }
    }
}
