//! What can be wrong between here and a cluster, in words, without secrets.

use std::{error::Error, fmt::Write as _, time::Duration};

use kube::client::AuthError;

use crate::{
    exit::{Exit, Failure},
    program,
};

/// Why a cluster does not answer, or does not do what is asked.
#[derive(Debug, thiserror::Error)]
pub enum ClusterError {
    /// Nothing names one.
    #[error("there is no cluster to speak to: {0}")]
    NoCluster(String),
    /// The kubeconfig.
    #[error("the kubeconfig: {0}")]
    Kubeconfig(String),
    /// The credentials cannot be had, or are not taken.
    #[error("the credentials for {cluster}: {problem}")]
    Credentials {
        /// Which cluster.
        cluster: String,
        /// What is wrong.
        problem: String,
    },
    /// No answer.
    #[error("the API server of {cluster} ({server}) cannot be reached: {problem}")]
    Unreachable {
        /// Which cluster.
        cluster: String,
        /// Its address.
        server: String,
        /// What happened.
        problem: String,
    },
    /// No answer in time.
    #[error("the API server of {cluster} ({server}) has not answered for {}s", limit.as_secs())]
    Silent {
        /// Which cluster.
        cluster: String,
        /// Its address.
        server: String,
        /// For how long.
        limit: Duration,
    },
    /// It does not know the kind.
    #[error("the cluster of {0} does not have the kinds of braid.dev/v1alpha1")]
    NotInstalled(String),
    /// There is no such object.
    #[error("{0}")]
    NotFound(String),
    /// Not for this user.
    #[error("{0}")]
    Forbidden(String),
    /// The object, or the change, is not taken.
    #[error("{0}")]
    Refused(String),
    /// An answer that this program does not understand.
    #[error("the API server of {cluster} gives what this program cannot read ({problem})")]
    Unreadable {
        /// Which cluster.
        cluster: String,
        /// Where it stopped.
        problem: String,
    },
    /// Anything else that the server says.
    #[error("the API server of {cluster} says {code}: {message}")]
    Api {
        /// Which cluster.
        cluster: String,
        /// The HTTP status.
        code: u16,
        /// Its words.
        message: String,
    },
}

impl ClusterError {
    /// Whether asking again cannot help.
    pub fn is_final(&self) -> bool {
        !matches!(self, Self::Unreachable { .. } | Self::Silent { .. } | Self::Api { .. })
    }
}

impl From<ClusterError> for Failure {
    fn from(error: ClusterError) -> Self {
        let exit = match &error {
            ClusterError::NotFound(_) | ClusterError::Refused(_) => Exit::Usage,
            _ => Exit::Unreachable,
        };
        let name = program::name();
        let help = match &error {
            ClusterError::NoCluster(_) => {
                Some("give one with --kubeconfig FILE, or work on this machine: `braid run FILE`, `--local`".to_owned())
            }
            ClusterError::NotInstalled(_) => Some(format!(
                "install Braid there (its Helm chart), or look at `{name} doctor`"
            )),
            ClusterError::Forbidden(_) => Some(format!("`{name} doctor` lists which rights are missing")),
            ClusterError::Unreachable { .. } | ClusterError::Silent { .. } => {
                Some("is it the right context? `kubectl cluster-info` asks the same server".to_owned())
            }
            ClusterError::Unreadable { .. } => Some(format!(
                "is Braid there of another version than this program? `{name} doctor` tells"
            )),
            _ => None,
        };
        let failure = Self::new(exit, error);
        match help {
            Some(help) => failure.help(help),
            None => failure,
        }
    }
}

/// What an error of the client means. `cluster` and `server` say where.
pub fn explain(error: &kube::Error, cluster: &str, server: &str) -> ClusterError {
    let cluster = cluster.to_owned();
    match error {
        kube::Error::Api(status) => answer(status, cluster),
        kube::Error::SerdeError(error) => ClusterError::Unreadable {
            cluster,
            problem: error.to_string(),
        },
        kube::Error::Auth(error) => ClusterError::Credentials {
            cluster,
            problem: credentials(error),
        },
        other => match find::<AuthError>(other) {
            Some(error) => ClusterError::Credentials {
                cluster,
                problem: credentials(error),
            },
            None => ClusterError::Unreachable {
                cluster,
                server: server.to_owned(),
                problem: match other {
                    // What is around it says nothing.
                    kube::Error::Service(error) => chain(error.as_ref()),
                    other => chain(other),
                },
            },
        },
    }
}

fn answer(status: &kube::core::Status, cluster: String) -> ClusterError {
    let message = status.message.trim().to_owned();
    let about = status.details.as_ref().map_or("", |details| details.name.as_str());
    match status.code {
        401 => ClusterError::Credentials {
            cluster,
            problem: format!("the server does not take them ({message}): log in again"),
        },
        403 => ClusterError::Forbidden(message),
        // Where the kind itself is unknown, no object is named.
        404 if about.is_empty() => ClusterError::NotInstalled(cluster),
        404 => ClusterError::NotFound(message),
        400 | 409 | 413 | 422 => ClusterError::Refused(message),
        code => ClusterError::Api { cluster, code, message },
    }
}

/// What is wrong with credentials. What a plugin printed may be a token: it is not told.
fn credentials(error: &AuthError) -> String {
    match error {
        AuthError::AuthExecRun { out, .. } => format!(
            "the plugin that the kubeconfig names ended with {}: `kubectl version` shows what it says",
            out.status
        ),
        AuthError::AuthExecStart(error) => format!("the plugin that the kubeconfig names does not start: {error}"),
        AuthError::AuthExecParse(_) | AuthError::ExecPluginFailed => {
            "the plugin that the kubeconfig names gave none: `kubectl version` shows what it says".to_owned()
        }
        AuthError::ReadTokenFile(error, path) => format!("cannot read the token in {}: {error}", path.display()),
        AuthError::MissingCommand => "the plugin that the kubeconfig names has no command".to_owned(),
        AuthError::InvalidBasicAuth(_) | AuthError::InvalidBearerToken(_) => {
            "they hold characters that no header can".to_owned()
        }
        _ => "they cannot be had as the kubeconfig says".to_owned(),
    }
}

fn find<'a, T: Error + 'static>(error: &'a (dyn Error + 'static)) -> Option<&'a T> {
    let mut at = Some(error);
    while let Some(error) = at {
        if let Some(found) = error.downcast_ref::<T>() {
            return Some(found);
        }
        at = error.source();
    }
    None
}

/// An error with its causes, each once.
pub fn chain(error: &dyn Error) -> String {
    let mut told = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let text = error.to_string();
        if !told.contains(&text) {
            // Writing to a string cannot fail.
            let _ = write!(told, ": {text}");
        }
        cause = error.source();
    }
    told
}
