//! The embedded API server on loopback, with answers of its own for what it does not know.

use std::{
    collections::BTreeMap,
    io,
    sync::{Arc, Mutex},
};

use braid_apiserver::ApiServer;
use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt as _, Either, Full, Limited};
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use kube::client::Body;
use serde_json::{Value, json};
use tokio::{net::TcpListener, runtime::Runtime};
use tower::ServiceExt as _;

use crate::site::Site;

/// The namespace of the kubeconfig's contexts.
pub const TEAM: &str = "team";

/// Before the credentials of a request, in the list of what was asked.
const AUTHORIZED: &str = "authorized: ";

/// A request's method and path (without a query), and the answer's status and body.
pub type Answers = Arc<Mutex<BTreeMap<String, (u16, String)>>>;

/// A cluster that is this process.
pub struct Embedded {
    pub site: Site,
    pub server: ApiServer,
    answers: Answers,
    asked: Arc<Mutex<Vec<String>>>,
    /// Dropped last.
    _runtime: Runtime,
}

impl Embedded {
    pub fn new() -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()
            .unwrap();
        let server = runtime
            .block_on(ApiServer::builder().crds(braid_crds::definitions()).build())
            .unwrap();
        let (answers, asked) = (Answers::default(), Arc::default());
        let url = open(&runtime, server.service(), Arc::clone(&answers), Arc::clone(&asked));
        let client = {
            let _entered = runtime.enter();
            server.client(TEAM)
        };
        let site = Site::new(
            runtime.handle().clone(),
            client,
            TEAM,
            &kubeconfig(&url, TEAM).to_string(),
        );
        Self {
            site,
            server,
            answers,
            asked,
            _runtime: runtime,
        }
    }

    /// From now on such requests are answered so.
    pub fn answers(&self, method_and_path: &str, code: u16, body: &impl ToString) {
        let answer = (code, body.to_string());
        self.answers.lock().unwrap().insert(method_and_path.to_owned(), answer);
    }

    /// How the last request was authorized.
    pub fn authorized(&self) -> Option<String> {
        let asked = self.asked.lock().unwrap();
        let last = asked.iter().rev().find_map(|line| line.strip_prefix(AUTHORIZED));
        last.map(str::to_owned)
    }

    /// The requests so far: method, path, query, and who is acted as.
    pub fn asked(&self) -> Vec<String> {
        self.asked.lock().unwrap().clone()
    }
}

/// A kubeconfig of two contexts: `here`, which is current, in the namespace; and `nobody`, whose server is not there.
pub fn kubeconfig(url: &str, namespace: &str) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Config", "current-context": "here",
        "clusters": [
            {"name": "here", "cluster": {"server": url}},
            {"name": "nobody", "cluster": {"server": "http://127.0.0.1:1"}},
        ],
        "users": [{"name": "me", "user": {"token": "s3cr3t-t0ken"}}],
        "contexts": [
            {"name": "here", "context": {"cluster": "here", "user": "me", "namespace": namespace}},
            {"name": "nobody", "context": {"cluster": "nobody", "user": "me"}},
        ],
    })
}

/// Serves on loopback, for as long as there is the runtime; the address.
pub fn open(
    runtime: &Runtime,
    service: braid_apiserver::ApiService,
    answers: Answers,
    asked: Arc<Mutex<Vec<String>>>,
) -> String {
    let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0")).unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    runtime.spawn(serve(listener, service, answers, asked));
    url
}

async fn serve(
    listener: TcpListener,
    service: braid_apiserver::ApiService,
    answers: Answers,
    asked: Arc<Mutex<Vec<String>>>,
) {
    loop {
        let (stream, _) = listener.accept().await.unwrap();
        let (service, answers, asked) = (service.clone(), Arc::clone(&answers), Arc::clone(&asked));
        tokio::spawn(async move {
            let answer = hyper::service::service_fn(move |request: Request<Incoming>| {
                let (service, answers, asked) = (service.clone(), Arc::clone(&answers), Arc::clone(&asked));
                async move {
                    let (head, body) = request.into_parts();
                    let acting = head.headers.get("impersonate-user").map(|user| user.to_str().unwrap());
                    if let Some(given) = head.headers.get(http::header::AUTHORIZATION) {
                        let given = format!("{AUTHORIZED}{}", given.to_str().unwrap());
                        asked.lock().unwrap().push(given);
                    }
                    let line = format!("{} {}", head.method, head.uri);
                    let line = acting.map_or(line.clone(), |user| format!("{line} as {user}"));
                    asked.lock().unwrap().push(line);
                    let key = format!("{} {}", head.method, head.uri.path());
                    let known = answers.lock().unwrap().get(&key).cloned();
                    if let Some((code, text)) = known {
                        let mut response = Response::new(Either::Left(Full::new(Bytes::from(text))));
                        *response.status_mut() = code.try_into().unwrap();
                        return Ok(response);
                    }
                    let body = Limited::new(body, 4 << 20).collect().await.map_err(io::Error::other)?;
                    let request = Request::from_parts(head, Body::from(body.to_bytes()));
                    let response = service.oneshot(request).await.map_err(io::Error::other)?;
                    Ok::<_, io::Error>(response.map(Either::Right))
                }
            });
            // A client that goes away is no failure of the test.
            let _ = hyper::server::conn::http1::Builder::new()
                .serve_connection(TokioIo::new(stream), answer)
                .await;
        });
    }
}
