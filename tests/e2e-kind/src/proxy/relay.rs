//! One connection: its requests are passed on, or broken.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::stream;
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt as _, Full, Limited, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper::header::AUTHORIZATION;
use hyper::http::request::Parts;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Mutex, mpsc};
use tokio::time::{sleep, timeout};
use tokio_rustls::rustls::pki_types::ServerName;

use super::Shared;
use super::call::{Call, Verb};
use super::fault::{Fault, Moment};

/// A name that every API server's certificate has.
const NAME: &str = "kubernetes";
/// For a connection to stand.
const CONNECT: Duration = Duration::from_secs(5);
/// Bytes of a request: more than a server takes.
const MOST: usize = 8 << 20;
/// Frames of a watch that wait for their client.
const FRAMES: usize = 64;
/// Between two looks whether a watch counts.
const LOOK: Duration = Duration::from_millis(200);

/// A connection is cut: on purpose, or because the other side was.
#[derive(Debug, thiserror::Error)]
pub(super) enum Cut {
    #[error("cut on purpose")]
    Broken,
    #[error("{0}")]
    Http(#[from] hyper::Error),
    #[error("{0}")]
    Io(#[from] io::Error),
    #[error("no connection within {CONNECT:?}")]
    Late,
    #[error("a request is too large: {0}")]
    Large(Box<dyn std::error::Error + Send + Sync>),
    #[error("the task of a request ended: {0}")]
    Ended(#[from] tokio::task::JoinError),
}

type Body = BoxBody<Bytes, Cut>;
type Server = SendRequest<Full<Bytes>>;

/// Takes connections for as long as it is polled.
pub(super) async fn accept(listener: TcpListener, shared: Arc<Shared>) {
    loop {
        match listener.accept().await {
            Ok((stream, _)) => {
                tokio::spawn(serve(stream, shared.clone()));
            }
            // No more sockets, for now.
            Err(_) => sleep(LOOK).await,
        }
    }
}

/// A connection's end is its client's business, which sees it.
async fn serve(stream: TcpStream, shared: Arc<Shared>) {
    let Ok(Ok(client)) = timeout(CONNECT, shared.acceptor.accept(stream)).await else {
        return;
    };
    let relay = Arc::new(Relay {
        shared,
        server: Mutex::new(None),
    });
    let service = service_fn(move |request| relay.clone().pass(request));
    let connection = hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(client), service);
    // It was cut, here or there.
    let _ = connection.await;
}

struct Relay {
    shared: Arc<Shared>,
    /// The connection to the server, once there is one.
    server: Mutex<Option<Server>>,
}

impl Relay {
    /// Passes a request on, or breaks it. What was begun is brought to its end though the client goes.
    async fn pass(self: Arc<Self>, request: Request<Incoming>) -> Result<Response<Body>, Cut> {
        let (head, body) = request.into_parts();
        let token = head.headers.get(AUTHORIZATION).and_then(|value| value.to_str().ok());
        let (path, query) = (head.uri.path(), head.uri.query().unwrap_or_default());
        let call = Call::read(&head.method, path, query, token, &self.shared.operators);
        let body = Limited::new(body, MOST).collect().await.map_err(Cut::Large)?.to_bytes();
        self.shared.count(&call);
        if self.shared.is_barred(&call) {
            return Err(Cut::Broken);
        }
        let aimed = self.shared.aimed(&call).filter(|_| call.edge.verb != Verb::Watch);
        match aimed {
            None => self.forward(head, body, &call).await,
            Some(fault) => tokio::spawn(self.break_off(fault, head, body, call)).await?,
        }
    }

    async fn break_off(
        self: Arc<Self>,
        fault: Arc<Fault>,
        head: Parts,
        body: Bytes,
        call: Call,
    ) -> Result<Response<Body>, Cut> {
        if !self.shared.take(&fault, &call).await {
            return self.forward(head, body, &call).await;
        }
        let mut overtaken = false;
        let status = match fault.moment {
            Moment::Before => {
                kill(&fault, &call).await?;
                None
            }
            Moment::After => {
                let status = self.settle(head, body, &call).await;
                kill(&fault, &call).await?;
                status
            }
            Moment::Lost => self.settle(head, body, &call).await,
            Moment::Late => {
                let mut written = self.shared.written.subscribe();
                kill(&fault, &call).await?;
                let same = async {
                    loop {
                        match written.recv().await {
                            Ok(other) if other.edge == call.edge && is_about_the_same(&other, &call) => return,
                            Ok(_) | Err(tokio::sync::broadcast::error::RecvError::Lagged(_)) => {}
                            Err(tokio::sync::broadcast::error::RecvError::Closed) => std::future::pending().await,
                        }
                    }
                };
                overtaken = timeout(fault.long, same).await.is_ok();
                self.settle(head, body, &call).await
            }
            Moment::Stalled => {
                sleep(fault.long).await;
                None
            }
        };
        fault.struck(call, status, overtaken);
        Err(Cut::Broken)
    }

    /// Has a request carried out whose answer nobody gets; its status, if there is one.
    async fn settle(self: &Arc<Self>, head: Parts, body: Bytes, call: &Call) -> Option<u16> {
        let answer = self.forward(head, body, call).await.ok()?;
        let status = answer.status().as_u16();
        // A write is carried out when its answer begins; this only leaves the connection in order.
        let _ = answer.into_body().collect().await;
        Some(status)
    }

    async fn forward(&self, head: Parts, body: Bytes, call: &Call) -> Result<Response<Body>, Cut> {
        let mut place = self.server.lock().await;
        let kept = match place.take() {
            Some(mut server) => server.ready().await.is_ok().then_some(server),
            None => None,
        };
        let mut server = match kept {
            Some(server) => server,
            None => self.connect().await?,
        };
        let answer = server.send_request(Request::from_parts(head, Full::new(body))).await?;
        *place = Some(server);
        drop(place);
        if call.edge.verb.writes() && answer.status().is_success() {
            // Nobody may be waiting.
            let _ = self.shared.written.send(call.clone());
        }
        let (head, body) = answer.into_parts();
        let body = if call.edge.verb == Verb::Watch {
            watched(self.shared.clone(), call.clone(), body)
        } else {
            body.map_err(Cut::from).boxed()
        };
        Ok(Response::from_parts(head, body))
    }

    async fn connect(&self) -> Result<Server, Cut> {
        let connected = timeout(CONNECT, async {
            let stream = TcpStream::connect(self.shared.server).await?;
            stream.set_nodelay(true)?;
            let name = ServerName::try_from(NAME).map_err(io::Error::other)?;
            let stream = self.shared.connector.connect(name, stream).await?;
            Ok::<_, Cut>(handshake(TokioIo::new(stream)).await?)
        });
        let (server, connection) = connected.await.map_err(|_| Cut::Late)??;
        // It ends with its sender.
        tokio::spawn(connection);
        Ok(server)
    }
}

/// Whether a later write is what a held one would have done: to the same object, or another object of the kind in its place.
fn is_about_the_same(later: &Call, held: &Call) -> bool {
    later.namespace == held.namespace && later.name == held.name
}

async fn kill(fault: &Arc<Fault>, call: &Call) -> Result<(), Cut> {
    let (fault, call) = (fault.clone(), call.clone());
    Ok(tokio::task::spawn_blocking(move || fault.hands.kill(&call)).await?)
}

/// The events of a watch, until it ends or is broken.
fn watched(shared: Arc<Shared>, call: Call, mut body: Incoming) -> Body {
    let (sender, receiver) = mpsc::channel::<Result<Frame<Bytes>, Cut>>(FRAMES);
    tokio::spawn(async move {
        let mut fault = shared.fault.subscribe();
        // One that is armed already is seen, too.
        fault.mark_changed();
        loop {
            tokio::select! {
                frame = body.frame() => match frame {
                    Some(frame) => {
                        let ended = frame.is_err();
                        if sender.send(frame.map_err(Cut::from)).await.is_err() || ended {
                            return;
                        }
                    }
                    None => return,
                },
                _ = fault.changed() => {
                    let Some(aimed) = shared.aimed(&call) else { continue };
                    if !shared.take(&aimed, &call).await {
                        sleep(LOOK).await;
                        fault.mark_changed();
                        continue;
                    }
                    if aimed.moment == Moment::Stalled {
                        sleep(aimed.long).await;
                    }
                    // It may have gone by itself.
                    let _ = sender.send(Err(Cut::Broken)).await;
                    aimed.struck(call, None, false);
                    return;
                }
                () = sender.closed() => return,
            }
        }
    });
    let frames = stream::unfold(receiver, |mut receiver| async move {
        receiver.recv().await.map(|frame| (frame, receiver))
    });
    StreamBody::new(frames).map_err(|cut: Cut| cut).boxed()
}
