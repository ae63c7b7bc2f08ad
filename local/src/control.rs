//! The door to a running local run: its API server, as HTTP on a unix socket that only its user can open.
//!
//! `braid get`, `suspend`, `cancel` and the others are then the same code as in a cluster: a `kube::Client`. The path of
//! a unix socket may have 107 bytes only, so it is opened by way of its directory's descriptor.

use std::{
    fs::{self, File},
    io,
    os::{fd::AsRawFd as _, unix::fs::PermissionsExt as _},
    path::{Path, PathBuf},
    time::Duration,
};

use braid_apiserver::ApiService;
use http::Request;
use http_body_util::{BodyExt as _, Limited};
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use kube::client::Body;
use tokio::net::{UnixListener, UnixStream};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tower::ServiceExt as _;

/// The socket's name in the state directory.
const SOCKET: &str = "control.sock";
/// How long a connection may take to be made.
const CONNECT: Duration = Duration::from_secs(5);
/// The longest request that is read.
const REQUEST_BYTES: usize = 4 << 20;

/// Why the door cannot be opened.
#[derive(Debug, thiserror::Error)]
#[error("the control socket in {}: {source}", directory.display())]
pub struct ControlError {
    directory: PathBuf,
    source: io::Error,
}

/// A short path to the socket, valid while the directory is held open.
fn short(directory: &Path) -> io::Result<(File, PathBuf)> {
    let held = File::open(directory)?;
    let path = PathBuf::from(format!("/proc/self/fd/{}/{SOCKET}", held.as_raw_fd()));
    Ok((held, path))
}

/// Serves `service` on the directory's socket until cancelled.
pub fn serve(
    directory: &Path,
    service: ApiService,
    tasks: &TaskTracker,
    stop: CancellationToken,
) -> Result<(), ControlError> {
    let fail = |source| ControlError {
        directory: directory.to_owned(),
        source,
    };
    let (held, path) = short(directory).map_err(fail)?;
    // The directory's lock is ours, so a socket that is there belongs to a run that is dead.
    match fs::remove_file(&path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(fail(error)),
        _ => {}
    }
    let listener = UnixListener::bind(&path).map_err(fail)?;
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).map_err(fail)?;
    let connections = tasks.clone();
    tasks.spawn(async move {
        while let Some(accepted) = stop.run_until_cancelled(listener.accept()).await {
            let Ok((stream, _)) = accepted else {
                // Out of descriptors, most likely: the caller tries again, so do we.
                tokio::time::sleep(Duration::from_millis(100)).await;
                continue;
            };
            let (service, stop) = (service.clone(), stop.clone());
            connections.spawn(async move {
                let answer = hyper::service::service_fn(move |request: Request<Incoming>| {
                    let service = service.clone();
                    async move {
                        let (head, body) = request.into_parts();
                        let body = Limited::new(body, REQUEST_BYTES).collect().await;
                        let body = body.map_err(io::Error::other)?.to_bytes();
                        let request = Request::from_parts(head, Body::from(body));
                        service.oneshot(request).await.map_err(io::Error::other)
                    }
                });
                let connection =
                    hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), answer);
                if let Some(Err(error)) = stop.run_until_cancelled(connection).await {
                    tracing::debug!(%error, "a control connection ended");
                }
            });
        }
        if let Err(error) = fs::remove_file(&path) {
            tracing::debug!(%error, "the control socket could not be removed");
        }
        drop(held);
    });
    Ok(())
}

/// A client of the run whose state is in `directory`, if it is running.
pub async fn connect(directory: &Path, namespace: &str) -> Result<kube::Client, ControlError> {
    let directory = directory.to_owned();
    open(&directory).await.map_err(|source| ControlError {
        directory: directory.clone(),
        source,
    })?;
    let service = tower::service_fn(move |request: Request<Body>| {
        let directory = directory.clone();
        async move {
            let stream = open(&directory).await?;
            let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
            // Ends with the answer's body: the sender is gone by then.
            tokio::spawn(async move {
                if let Err(error) = connection.await {
                    tracing::debug!(%error, "a control connection ended");
                }
            });
            let mut request = request;
            request
                .headers_mut()
                .insert(http::header::HOST, http::HeaderValue::from_static("braid"));
            let answer = sender.send_request(request).await?;
            Ok::<_, Box<dyn std::error::Error + Send + Sync>>(answer)
        }
    });
    Ok(kube::Client::new(service, namespace))
}

async fn open(directory: &Path) -> io::Result<UnixStream> {
    let (_held, path) = short(directory)?;
    tokio::time::timeout(CONNECT, UnixStream::connect(&path))
        .await
        .map_err(|_| io::ErrorKind::TimedOut)?
}
