//! Waiting for the shim of a pod's other container.
//!
//! The worker listens on a unix socket in a directory that only its own container can write, and takes one connection at a
//! time: while there is one, nobody listens. The first connection is the shim's, because no user code has run; it is given a
//! key, which is kept in a file for the worker's next start. From then on only who says the key first is taken.

use std::fs::{self, OpenOptions, Permissions};
use std::io::{self, Write as _};
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::net::UnixListener;
use tokio::time::{Instant, timeout_at};

use super::connection::Connection;
use crate::frames::{FromShim, LinkKey};

/// How long a connection may take to say who it is.
const INTRODUCTION: Duration = Duration::from_secs(2);

/// Why no shim can be waited for.
#[derive(Debug, thiserror::Error)]
pub enum LinkError {
    /// The socket cannot be made.
    #[error("cannot listen on {path}: {source}")]
    Listen {
        /// Where.
        path: String,
        /// Why.
        source: io::Error,
    },
    /// The file with the key cannot be read or written, or holds something else.
    #[error("cannot use the key in {path}: {source}")]
    Key {
        /// Which file.
        path: String,
        /// Why.
        source: io::Error,
    },
}

/// Where a shim in another container is waited for.
#[derive(Debug)]
pub struct Link {
    socket: PathBuf,
    key_file: PathBuf,
    listener: Option<UnixListener>,
    /// A connection that has not said who it is, and until when it may take.
    stranger: Option<(Connection, Instant)>,
}

/// A shim that has been let in.
pub(super) struct Accepted {
    pub(super) connection: Connection,
    /// What it has to be given.
    pub(super) key: Option<LinkKey>,
}

impl Link {
    /// Listens on `socket`, which must be in a directory that only this container can write, and keeps the key in
    /// `key_file`, which no other container may see.
    #[must_use]
    pub fn new(socket: PathBuf, key_file: PathBuf) -> Self {
        Self {
            socket,
            key_file,
            listener: None,
            stranger: None,
        }
    }

    /// Waits for the shim. May be dropped at any await; nothing is lost.
    pub(super) async fn accept(&mut self) -> Result<Accepted, LinkError> {
        loop {
            if let Some((stranger, until)) = &mut self.stranger {
                let said = timeout_at(*until, stranger.first_frame()).await;
                let Some((connection, _)) = self.stranger.take() else {
                    continue;
                };
                let Some(frame) = said.ok().flatten() else {
                    tracing::warn!("a connection to the shim's socket did not say who it is, and is closed");
                    continue;
                };
                if let Some(accepted) = self.judge(connection, frame)? {
                    // Nobody may wait in line while the shim is here.
                    self.close();
                    return Ok(accepted);
                }
                continue;
            }
            let listening = |path: &Path| {
                let path = path.display().to_string();
                move |source| LinkError::Listen { path, source }
            };
            let listener = match self.listener.take() {
                Some(listener) => listener,
                None => listen(&self.socket).map_err(listening(&self.socket))?,
            };
            let (socket, _) = self
                .listener
                .insert(listener)
                .accept()
                .await
                .map_err(listening(&self.socket))?;
            self.stranger = Some((Connection::accepted(socket), Instant::now() + INTRODUCTION));
        }
    }

    /// Whether this is the shim, by the first thing that it has said.
    fn judge(&self, mut connection: Connection, frame: FromShim) -> Result<Option<Accepted>, LinkError> {
        let failed = |source| LinkError::Key {
            path: self.key_file.display().to_string(),
            source,
        };
        let known = read_key(&self.key_file).map_err(failed)?;
        Ok(match (known, frame) {
            (Some(known), FromShim::Key { key }) if known.is(&key) => Some(Accepted { connection, key: None }),
            (None, frame @ FromShim::Ready { .. }) => {
                let key = LinkKey::random();
                write_key(&self.key_file, &key).map_err(failed)?;
                connection.greeting = Some(frame);
                Some(Accepted {
                    connection,
                    key: Some(key),
                })
            }
            _ => {
                tracing::warn!("a connection to the shim's socket is not the shim's, and is closed");
                None
            }
        })
    }

    fn close(&mut self) {
        if self.listener.take().is_some() {
            // What cannot be removed now is before the next listener is made.
            let _ = fs::remove_file(&self.socket);
        }
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        self.close();
    }
}

/// A listener that any user of the pod may connect to: which user the other container has is the user's choice.
fn listen(path: &Path) -> io::Result<UnixListener> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let listener = UnixListener::bind(path)?;
    fs::set_permissions(path, Permissions::from_mode(0o666))?;
    Ok(listener)
}

fn read_key(path: &Path) -> io::Result<Option<LinkKey>> {
    match fs::read(path) {
        Ok(bytes) => LinkKey::from_bytes(&bytes)
            .map(Some)
            .ok_or_else(|| io::Error::other(format!("it has {} bytes", bytes.len()))),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// Whole or not at all.
fn write_key(path: &Path, key: &LinkKey) -> io::Result<()> {
    let draft = path.with_extension("new");
    match fs::remove_file(&draft) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&draft)?;
    file.write_all(key.bytes())?;
    fs::rename(&draft, path)
}
