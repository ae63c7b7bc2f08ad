//! How an installation is, as seen from outside: for `braid-operator check` and the chart's test.

use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt as _, Empty, Limited};
use hyper::{Request, StatusCode, Uri, header::HOST};
use hyper_util::rt::TokioIo;
use k8s_openapi::api::coordination::v1::Lease;
use kube::{Api, Client};
use tokio::{net::TcpStream, time::timeout};

use crate::{api::call, definitions};

/// For an operator's answer.
const DEADLINE: Duration = Duration::from_secs(5);
/// Bytes of an answer that are read.
const WORDS: usize = 4_096;

/// Asks once; who leads.
///
/// # Errors
/// What is wrong: a definition, the lead, or the operator that was asked.
pub async fn ask(client: &Client, leases: &Api<Lease>, lease: &str, url: &Uri) -> Result<String, String> {
    definitions::look(client).await?;
    let lease = call("read the leader's Lease", leases.get(lease))
        .await
        .map_err(|error| error.to_string())?;
    let holder = lease.spec.and_then(|spec| spec.holder_identity);
    let holder = holder.filter(|holder| !holder.is_empty()).ok_or("no operator leads")?;
    let answered = timeout(DEADLINE, ready(url)).await;
    answered.map_err(|_| format!("{url}: no answer within {DEADLINE:?}"))??;
    Ok(holder)
}

async fn ready(url: &Uri) -> Result<(), String> {
    let failed = |error: &dyn std::error::Error| format!("{url}: {error}");
    let host = url.host().ok_or_else(|| format!("{url}: this names no host"))?;
    let port = url.port_u16().unwrap_or(80);
    let stream = TcpStream::connect((host, port)).await.map_err(|error| failed(&error))?;
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
        .await
        .map_err(|error| failed(&error))?;
    let request = Request::get("/readyz")
        .header(HOST, host)
        .body(Empty::<Bytes>::new())
        .map_err(|error| failed(&error))?;
    let asked = async {
        let answer = sender.send_request(request).await.map_err(|error| failed(&error))?;
        let status = answer.status();
        let body = Limited::new(answer.into_body(), WORDS).collect().await;
        let words = body.map_err(|error| format!("{url}: {error}"))?.to_bytes();
        if status == StatusCode::OK {
            Ok(())
        } else {
            Err(format!("{url}: {status}: {}", String::from_utf8_lossy(&words).trim()))
        }
    };
    tokio::pin!(asked);
    tokio::select! {
        answered = &mut asked => answered,
        // The connection ended first: what was asked says how.
        _ = connection => asked.await,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

    use std::sync::Arc;

    use prometheus_client::registry::Registry;
    use tokio::net::TcpListener;
    use tokio_util::sync::CancellationToken;

    use super::ready;
    use crate::service::{Readiness, serve};

    #[tokio::test]
    async fn it_believes_only_who_is_ready() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap()).parse().unwrap();
        let (readiness, stop) = (Arc::new(Readiness::default()), CancellationToken::new());
        let served = tokio::spawn(serve(
            listener,
            Arc::new(Registry::default()),
            readiness.clone(),
            stop.clone(),
        ));
        readiness.not("the definition x is missing".into());
        let told = ready(&url).await.unwrap_err();
        assert!(
            told.contains("503") && told.ends_with("the definition x is missing"),
            "{told}"
        );
        readiness.now();
        ready(&url).await.unwrap();
        stop.cancel();
        served.await.unwrap();
        assert!(ready(&url).await.is_err());
    }
}
