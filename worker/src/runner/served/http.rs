//! Asking a program over HTTP: one POST for each partition, to a port of this machine or pod.
//!
//! The worker asks, not the shim: containers of a pod share their network, and the shim stays small and without a runtime. The
//! server may be hostile: what it says is bounded before it is looked at, redirects are not followed, nothing is waited for
//! longer than the attempt may take, and no address but the loopback's is ever connected to.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, Request, StatusCode, header};
use http_body_util::{BodyExt as _, Limited};
use hyper::body::Incoming;
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep, timeout, timeout_at};
use tokio_util::task::AbortOnDropHandle;

use super::body::{self, Body, Posted};
use crate::frames::MAX_MESSAGE;
use crate::runner::{Attempt, Http, Input, Program};

/// How long a connection to the own machine may take.
const CONNECT: Duration = Duration::from_secs(5);
/// How long one question whether the program is ready may take.
const READY: Duration = Duration::from_secs(2);
/// Between two such questions.
const AGAIN: Duration = Duration::from_millis(20);
/// The most bytes of a response's head.
const HEAD: usize = 64 << 10;
/// How long the body of a failure is waited for: it is only a message.
const LAST_WORDS: Duration = Duration::from_secs(2);

/// What a request came to.
#[derive(Debug)]
pub(in crate::runner) enum Reply {
    /// 2xx, with the body.
    Done(Bytes),
    /// Not now.
    Wait { status: u16, after: Option<Duration> },
    /// Another status, with the start of the body.
    Status(u16, String),
    /// 2xx, with a body of more than what results may have.
    TooLarge(u32),
    /// The worker could not read the input.
    Unreadable(String),
    /// No connection, or an end of it without an answer, or no HTTP.
    Broken(String),
}

/// A connection.
struct Lane {
    sender: SendRequest<Body>,
    _connection: AbortOnDropHandle<()>,
}

/// Where one process of a program listens, and the connections to it that are free.
pub(super) struct Target {
    http: Http,
    address: SocketAddr,
    free: Mutex<Vec<Lane>>,
}

impl std::fmt::Debug for Target {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Target").field(&self.address).finish()
    }
}

/// A port of the loopback that nobody listens at just now.
pub(super) fn free_port() -> io::Result<u16> {
    let listener = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    Ok(listener.local_addr()?.port())
}

impl Target {
    pub(super) fn new(http: Http, port: u16) -> Self {
        Self {
            http,
            address: (Ipv4Addr::LOCALHOST, port).into(),
            free: Mutex::default(),
        }
    }

    /// Waits until the program is ready. Else what it lacks.
    pub(super) async fn ready(&self) -> Result<(), String> {
        let until = Instant::now() + self.http.ready_within;
        let mut last = "it was not asked".to_owned();
        loop {
            match timeout_at(until, self.is_ready()).await {
                Ok(Ok(())) => return Ok(()),
                Ok(Err(why)) => last = why,
                Err(_) => return Err(format!("it was not ready within {:?}: {last}", self.http.ready_within)),
            }
            if timeout_at(until, sleep(AGAIN)).await.is_err() {
                return Err(format!("it was not ready within {:?}: {last}", self.http.ready_within));
            }
        }
    }

    async fn is_ready(&self) -> Result<(), String> {
        let Some(path) = &self.http.ready_path else {
            return match timeout(READY, TcpStream::connect(self.address)).await {
                Ok(Ok(_)) => Ok(()),
                Ok(Err(error)) => Err(self.nobody(&error)),
                Err(_) => Err(format!("nobody accepts a connection at {}", self.address)),
            };
        };
        let asked = timeout(READY, async {
            let mut lane = self.connect().await?;
            let request = self
                .request(Method::GET, path, body::whole(Bytes::new()))
                .map_err(|error| error.to_string())?;
            let response = lane.sender.send_request(request).await;
            response
                .map(|response| response.status())
                .map_err(|error| error.to_string())
        });
        match asked.await {
            Ok(Ok(status)) if status.is_success() => Ok(()),
            Ok(Ok(status)) => Err(format!("{path} answers {status}")),
            Ok(Err(why)) => Err(why),
            Err(_) => Err(format!("{path} does not answer")),
        }
    }

    fn nobody(&self, error: &io::Error) -> String {
        format!("nobody listens at {} (BRAID_PORT): {error}", self.address)
    }

    async fn connect(&self) -> Result<Lane, String> {
        let stream = timeout(CONNECT, TcpStream::connect(self.address)).await;
        let stream = stream.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()));
        let stream = stream.map_err(|error| self.nobody(&error))?;
        // Small requests must not wait for each other's acknowledgements. Where that cannot be had it is only slower.
        let _ = stream.set_nodelay(true);
        let (sender, connection) = http1::Builder::new()
            .max_buf_size(HEAD)
            .handshake(TokioIo::new(stream))
            .await
            .map_err(|error| error.to_string())?;
        let connection = tokio::spawn(async move {
            // What goes wrong on it, its requests tell.
            let _ = connection.await;
        });
        Ok(Lane {
            sender,
            _connection: AbortOnDropHandle::new(connection),
        })
    }

    fn request(&self, method: Method, path: &str, body: Body) -> Result<Request<Body>, http::Error> {
        Request::builder()
            .method(method)
            .uri(path)
            .header(header::HOST, self.address.to_string())
            .body(body)
    }

    /// Asks about one partition.
    pub(super) async fn call(&self, attempt: &Attempt, program: &Program) -> Reply {
        // An idle connection may have been closed by the other side just when it is used: then once more, on a new one.
        loop {
            let free = self.free.lock().unwrap_or_else(PoisonError::into_inner).pop();
            let (lane, used) = match free {
                Some(lane) => (Ok(lane), true),
                None => (self.connect().await, false),
            };
            let mut lane = match lane {
                Ok(lane) => lane,
                Err(why) => return Reply::Broken(why),
            };
            if used && lane.sender.ready().await.is_err() {
                continue;
            }
            let problem = Arc::new(OnceLock::new());
            let posted = match body::of(attempt, program.concurrency, &problem).await {
                Ok(posted) => posted,
                Err(error) => return Reply::Unreadable(body::unreadable(&error)),
            };
            let request = match self.post(attempt, program, posted) {
                Ok(request) => request,
                Err(error) => return Reply::Broken(error.to_string()),
            };
            match lane.sender.send_request(request).await {
                Ok(response) => {
                    let (reply, whole) = read(response, program.results_limit).await;
                    if whole && !lane.sender.is_closed() {
                        let mut free = self.free.lock().unwrap_or_else(PoisonError::into_inner);
                        free.push(lane);
                    }
                    return reply;
                }
                Err(error) => {
                    if let Some(problem) = problem.get() {
                        return Reply::Unreadable(String::clone(problem));
                    }
                    if !used {
                        return Reply::Broken(format!("the connection broke without an answer: {error}"));
                    }
                }
            }
        }
    }

    fn post(&self, attempt: &Attempt, program: &Program, posted: Posted) -> Result<Request<Body>, http::Error> {
        let mut request = self.request(Method::POST, &self.http.path, posted.body)?;
        let headers = request.headers_mut();
        if let Some(length) = posted.length {
            headers.insert(header::CONTENT_LENGTH, HeaderValue::from(length));
        }
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(posted.kind));
        let value = |name: &str| {
            let mut variables = program.env.iter().rev();
            variables
                .find(|(known, _)| known == name)
                .map(|(_, value)| value.as_str())
        };
        let uid = format!("{}/{}", program.uid, attempt.partition);
        let name = match &attempt.input {
            Input::One { name, .. } => name.as_deref(),
            _ => None,
        };
        headers.insert("braid-partition", HeaderValue::from(attempt.partition));
        headers.insert("braid-attempt", HeaderValue::from(attempt.attempt));
        set(headers, "braid-uid", Some(&uid));
        set(headers, "braid-step", Some(&program.step));
        set(headers, "braid-workflow", value("BRAID_WORKFLOW"));
        set(headers, "braid-name", name);
        Ok(request)
    }
}

/// Sets a header; what cannot stand in one is written as in a URL.
fn set(headers: &mut HeaderMap, name: &'static str, value: Option<&str>) {
    let Some(value) = value else { return };
    let mut safe = String::with_capacity(value.len());
    for byte in value.bytes() {
        if (b' '..=b'~').contains(&byte) && byte != b'%' {
            safe.push(char::from(byte));
        } else {
            let digit = |half: u8| char::from_digit(half.into(), 16).unwrap_or('0').to_ascii_uppercase();
            safe.extend(['%', digit(byte >> 4), digit(byte & 15)]);
        }
    }
    if let Ok(value) = HeaderValue::from_str(&safe) {
        headers.insert(name, value);
    }
}

/// What a response says, and whether it has been read to its end.
async fn read(response: http::Response<Incoming>, limit: Option<u32>) -> (Reply, bool) {
    let (head, body) = response.into_parts();
    let status = head.status.as_u16();
    if head.status.is_success() {
        // Where no results are declared it is not of interest, and is bounded all the same.
        let most = limit.unwrap_or(crate::runner::MAX_RESULTS);
        return match Limited::new(body, most as usize).collect().await {
            Ok(body) => (Reply::Done(body.to_bytes()), true),
            Err(error) if error.is::<http_body_util::LengthLimitError>() => (Reply::TooLarge(most), false),
            Err(error) => (Reply::Broken(format!("the answer broke off: {error}")), false),
        };
    }
    let after = head.headers.get(header::RETRY_AFTER).and_then(retry_after);
    let waits = head.status == StatusCode::TOO_MANY_REQUESTS
        || (head.status == StatusCode::SERVICE_UNAVAILABLE && after.is_some());
    let words = timeout(LAST_WORDS, Limited::new(body, MAX_MESSAGE * 4).collect()).await;
    let words = words.ok().and_then(Result::ok).map(http_body_util::Collected::to_bytes);
    let reply = if waits {
        Reply::Wait { status, after }
    } else {
        let text = String::from_utf8_lossy(words.as_deref().unwrap_or_default())
            .trim()
            .to_owned();
        Reply::Status(status, text.chars().take(MAX_MESSAGE / 4).collect())
    };
    (reply, words.is_some())
}

/// Seconds, or a date of HTTP.
fn retry_after(value: &HeaderValue) -> Option<Duration> {
    let text = value.to_str().ok()?.trim();
    if let Ok(seconds) = text.parse::<u64>() {
        return Some(Duration::from_secs(seconds));
    }
    let date = jiff::fmt::rfc2822::parse(text).ok()?;
    let wait = date.timestamp().duration_since(jiff::Timestamp::now());
    Some(wait.try_into().unwrap_or(Duration::ZERO))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn waits_are_seconds_or_dates() {
        let read = |text: &'static str| retry_after(&HeaderValue::from_static(text));
        assert_eq!(read("7"), Some(Duration::from_secs(7)));
        assert_eq!(read("Sun, 06 Nov 1994 08:49:37 GMT"), Some(Duration::ZERO));
        assert!(read("Tue, 01 Jan 2199 00:00:00 GMT").unwrap() > Duration::from_hours(24));
        for text in ["", "-1", "soon", "1.5", "99999999999999999999999999"] {
            assert_eq!(read(text), None, "{text}");
        }
    }

    #[test]
    fn names_are_written_as_in_a_url_where_they_must_be() {
        let mut headers = HeaderMap::new();
        set(&mut headers, "braid-name", Some("a b/100%\r\nx: é.txt"));
        assert_eq!(headers["braid-name"], "a b/100%25%0D%0Ax: %C3%A9.txt");
    }
}
