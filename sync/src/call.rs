//! One call to the API server, under a deadline, with what its answer proves.

use std::{future::Future, time::Duration};

/// Why a call gave no object.
///
/// [`NotFound`](Self::NotFound), [`Conflict`](Self::Conflict) and [`Refused`](Self::Refused) prove that *this* request
/// changed nothing. A client that repeats requests by itself may still see a conflict with its own earlier success, so
/// the object has to be read again all the same.
#[derive(Debug, thiserror::Error)]
pub enum CallError {
    /// There is no such object.
    #[error("not found")]
    NotFound,
    /// Another write came first, or the object exists already.
    #[error("conflict: {0}")]
    Conflict(#[source] kube::Error),
    /// The server would not do it: no permission, an invalid object, too many requests.
    #[error("refused: {0}")]
    Refused(#[source] kube::Error),
    /// No proof either way: a server error, a broken connection.
    #[error("outcome unknown: {0}")]
    Doubtful(#[source] kube::Error),
    /// No proof either way: no answer came in time.
    #[error("no answer within {0:?}")]
    Late(Duration),
}

/// Waits for a call, but not longer than `deadline`.
///
/// # Errors
/// Every failure, sorted by what it proves.
pub async fn within<T>(deadline: Duration, call: impl Future<Output = kube::Result<T>>) -> Result<T, CallError> {
    match tokio::time::timeout(deadline, call).await {
        Err(_) => Err(CallError::Late(deadline)),
        Ok(Ok(answer)) => Ok(answer),
        Ok(Err(error)) => Err(sorted(error)),
    }
}

fn sorted(error: kube::Error) -> CallError {
    let kube::Error::Api(status) = &error else {
        return CallError::Doubtful(error);
    };
    if status.is_not_found() {
        CallError::NotFound
    } else if status.code == 409 {
        CallError::Conflict(error)
    } else if (400..500).contains(&status.code) && status.code != 408 {
        CallError::Refused(error)
    } else {
        CallError::Doubtful(error)
    }
}
