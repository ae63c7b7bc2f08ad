//! Calls to the API server: each under a deadline, each answer told apart by what may be concluded from it.

use std::{future::Future, time::Duration};

use kube::core::response::StatusSummary;

/// The longest that one call may take. A lost answer then counts as doubtful, and the next pass reads what is true.
pub const DEADLINE: Duration = Duration::from_secs(10);

/// Why a call did not do what it should.
#[derive(Debug, thiserror::Error)]
pub enum ApiError {
    /// The object changed since it was read: nothing was written.
    #[error("{what}: the object was changed by somebody else")]
    Conflict {
        /// What was tried.
        what: &'static str,
    },
    /// The object is gone: nothing was written.
    #[error("{what}: the object is gone")]
    NotFound {
        /// What was tried.
        what: &'static str,
    },
    /// The server refused for good: nothing was written, and trying again will not help.
    #[error("{what}: refused by the API server: {message}")]
    Refused {
        /// What was tried.
        what: &'static str,
        /// The server's words.
        message: String,
    },
    /// Nobody knows whether it was done.
    #[error("{what}: no clear answer from the API server: {reason}")]
    Doubtful {
        /// What was tried.
        what: &'static str,
        /// Why not.
        reason: String,
    },
    /// The server stored something other than what was sent: its definitions are older than this operator.
    #[error(
        "{what}: the API server dropped fields of what was sent: its definitions (CRDs) are not those of this operator; upgrade them"
    )]
    Pruned {
        /// What was tried.
        what: &'static str,
    },
}

impl ApiError {
    /// Whether the object as it is now must be read before anything is concluded.
    #[must_use]
    pub fn is_stale(&self) -> bool {
        matches!(
            self,
            Self::Conflict { .. } | Self::NotFound { .. } | Self::Doubtful { .. }
        )
    }
}

/// Awaits `call` for at most [`DEADLINE`] and classifies its answer.
pub async fn call<T>(what: &'static str, call: impl Future<Output = kube::Result<T>>) -> Result<T, ApiError> {
    match tokio::time::timeout(DEADLINE, call).await {
        Ok(Ok(answer)) => Ok(answer),
        Ok(Err(error)) => Err(classify(what, &error)),
        Err(_) => Err(ApiError::Doubtful {
            what,
            reason: format!("none within {DEADLINE:?}"),
        }),
    }
}

fn classify(what: &'static str, error: &kube::Error) -> ApiError {
    match error {
        kube::Error::Api(status) => match status.code {
            409 => ApiError::Conflict { what },
            404 | 410 => ApiError::NotFound { what },
            429 | 500.. => ApiError::Doubtful {
                what,
                reason: status.message.clone(),
            },
            _ if status.status == Some(StatusSummary::Success) => ApiError::Doubtful {
                what,
                reason: "a success where none was expected".into(),
            },
            _ => ApiError::Refused {
                what,
                message: status.message.clone(),
            },
        },
        other => ApiError::Doubtful {
            what,
            reason: other.to_string(),
        },
    }
}
