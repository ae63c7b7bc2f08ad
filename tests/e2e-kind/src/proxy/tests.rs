//! The proxy between a client and a server that writes down what reaches it.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bytes::Bytes;
use futures::StreamExt as _;
use http_body_util::{BodyExt as _, Full, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::client::conn::http1::handshake;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};
use serde_json::json;
use tokio::net::TcpStream;
use tokio_rustls::rustls::pki_types::ServerName;

use super::*;

const HOME: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);
const LONG: Duration = Duration::from_millis(200);
const PATIENCE: Duration = Duration::from_secs(20);
const STATUS: &str = "/apis/braid.dev/v1alpha1/namespaces/n/workflows/x/status";
const WATCH: &str = "/apis/braid.dev/v1alpha1/workers?watch=true";

fn identity() -> Identity {
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.distinguished_name.push(DnType::CommonName, "authority");
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let authority = params.self_signed(&key).unwrap().pem();
    let issuer = Issuer::new(params, key);
    let key = KeyPair::generate().unwrap();
    let params = CertificateParams::new(vec!["kubernetes".to_owned()]).unwrap();
    let certificate = params.signed_by(&key, &issuer).unwrap().pem();
    Identity {
        authority,
        certificate,
        key: key.serialize_pem(),
    }
}

/// A proxy before a server that answers every write with 201 and every watch with an event each few milliseconds.
struct Field {
    runtime: Runtime,
    proxy: Proxy,
    connector: TlsConnector,
    /// The bodies that arrived.
    arrived: Arc<Mutex<Vec<String>>>,
}

/// What faults do here: they count how often they were asked.
#[derive(Clone)]
struct Tally {
    counts: Arc<AtomicBool>,
    asked: Arc<AtomicU32>,
    killed: Arc<Mutex<Vec<String>>>,
}

impl Hands for Tally {
    fn counts(&self, _: &Call) -> bool {
        self.asked.fetch_add(1, Ordering::SeqCst);
        self.counts.load(Ordering::SeqCst)
    }

    fn kill(&self, call: &Call) {
        self.killed.lock().unwrap().push(call.pod.clone());
    }
}

fn tally() -> Tally {
    Tally {
        counts: Arc::new(AtomicBool::new(true)),
        asked: Arc::default(),
        killed: Arc::default(),
    }
}

async fn answer(
    request: Request<Incoming>,
    arrived: Arc<Mutex<Vec<String>>>,
) -> Result<Response<http_body_util::combinators::BoxBody<Bytes, std::io::Error>>, hyper::Error> {
    let watches = request.uri().query().is_some();
    let body = request.into_body().collect().await?.to_bytes();
    if watches {
        let events = futures::stream::unfold((), |()| async {
            tokio::time::sleep(Duration::from_millis(5)).await;
            Some((Ok(Frame::data(Bytes::from_static(b"event\n"))), ()))
        });
        return Ok(Response::new(http_body_util::BodyExt::boxed(StreamBody::new(events))));
    }
    arrived.lock().unwrap().push(String::from_utf8(body.to_vec()).unwrap());
    let body = Full::new(body).map_err(|never| match never {}).boxed();
    Ok(Response::builder().status(201).body(body).unwrap())
}

impl Field {
    fn new() -> Self {
        let identity = identity();
        let runtime = Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()
            .unwrap();
        let acceptor = identity.acceptor().unwrap();
        let listener = runtime.block_on(TcpListener::bind((HOME, 0))).unwrap();
        let server = listener.local_addr().unwrap();
        let arrived = Arc::<Mutex<Vec<String>>>::default();
        let seen = arrived.clone();
        runtime.spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (acceptor, seen) = (acceptor.clone(), seen.clone());
                tokio::spawn(async move {
                    let stream = acceptor.accept(stream).await.unwrap();
                    let service = service_fn(move |request| answer(request, seen.clone()));
                    let _ = hyper::server::conn::http1::Builder::new()
                        .serve_connection(TokioIo::new(stream), service)
                        .await;
                });
            }
        });
        Self {
            proxy: Proxy::start(HOME, server, &identity, "braid").unwrap(),
            connector: identity.connector().unwrap(),
            runtime,
            arrived,
        }
    }

    /// A request of a pod; its answer begins.
    async fn begin(&self, pod: &str, method: &str, path: &str, body: &str) -> Result<Response<Incoming>, hyper::Error> {
        let stream = TcpStream::connect(self.proxy.address()).await.unwrap();
        let name = ServerName::try_from("kubernetes").unwrap();
        let stream = self.connector.connect(name, stream).await.unwrap();
        let (mut sender, connection) = handshake(TokioIo::new(stream)).await.unwrap();
        tokio::spawn(connection);
        let claims = json!({"kubernetes.io": {"namespace": "braid", "pod": {"name": pod}}}).to_string();
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header("host", "kubernetes")
            .header(
                "authorization",
                format!("Bearer x.{}.y", URL_SAFE_NO_PAD.encode(claims)),
            )
            .body(Full::new(Bytes::from(body.to_owned())))
            .unwrap();
        sender.send_request(request).await
    }

    /// A write; its status.
    fn write(&self, pod: &str, body: &str) -> Option<u16> {
        self.runtime.block_on(async {
            let answer = self.begin(pod, "PUT", STATUS, body).await.ok()?;
            let status = answer.status().as_u16();
            let echo = answer.into_body().collect().await.unwrap().to_bytes();
            assert_eq!(body.as_bytes(), &echo[..]);
            Some(status)
        })
    }

    fn arm(&self, edge: &Edge, moment: Moment, hands: &Tally) -> Armed {
        self.proxy.arm(edge, "n", moment, LONG, Box::new(hands.clone()))
    }

    fn arrived(&self) -> Vec<String> {
        self.arrived.lock().unwrap().clone()
    }
}

fn put() -> Edge {
    Edge::new(Who::Operator, Verb::Update, "workflows/status")
}

#[test]
fn what_is_not_broken_passes() {
    let field = Field::new();
    assert_eq!(Some(201), field.write("a", "1"));
    let hands = tally();
    hands.counts.store(false, Ordering::SeqCst);
    let armed = field.arm(&put(), Moment::Before, &hands);
    assert_eq!(Some(201), field.write("a", "2"));
    assert_eq!(None, armed.wait(Duration::ZERO));
    field.arm(
        &Edge::new(Who::Operator, Verb::Update, "workers"),
        Moment::Before,
        &hands,
    );
    assert_eq!(Some(201), field.write("b", "3"));
    field.proxy.disarm();
    let barred = field.proxy.bar(|call| call.pod == "b");
    assert_eq!((Some(201), None), (field.write("a", "4"), field.write("b", "5")));
    drop(barred);
    assert_eq!(Some(201), field.write("b", "6"));
    assert_eq!(["1", "2", "3", "4", "6"].map(str::to_owned).to_vec(), field.arrived());
    assert_eq!(1, hands.asked.load(Ordering::SeqCst));
    assert_eq!(Some(&6), field.proxy.edges().get(&put()));
    assert_eq!((3, 3), (field.proxy.count(&put(), "a"), field.proxy.count(&put(), "b")));
}

#[test]
fn one_write_is_broken_at_its_moment() {
    for (moment, status, arrives, kills) in [
        (Moment::Before, None, false, true),
        (Moment::After, Some(201), true, true),
        (Moment::Lost, Some(201), true, false),
    ] {
        let field = Field::new();
        let hands = tally();
        let armed = field.arm(&put(), moment, &hands);
        assert_eq!(None, field.write("a", "broken"), "{moment}");
        let hit = armed.wait(PATIENCE).unwrap();
        assert_eq!((status, "a"), (hit.status, hit.call.pod.as_str()), "{moment}");
        assert_eq!(kills, *hands.killed.lock().unwrap() == ["a"], "{moment}");
        assert_eq!(arrives, field.arrived() == ["broken"], "{moment}");
        // The fault was for one request.
        assert_eq!(Some(201), field.write("a", "next"), "{moment}");
    }
}

#[test]
fn a_late_write_arrives_behind_that_of_its_successor() {
    let field = Field::new();
    let hands = tally();
    let armed = field
        .proxy
        .arm(&put(), "n", Moment::Late, PATIENCE, Box::new(hands.clone()));
    std::thread::scope(|scope| {
        let late = scope.spawn(|| field.write("a", "held"));
        while hands.killed.lock().unwrap().is_empty() {
            std::thread::yield_now();
        }
        assert_eq!(Some(201), field.write("b", "successor"));
        let hit = armed.wait(PATIENCE).unwrap();
        assert_eq!((Some(201), true), (hit.status, hit.overtaken));
        assert_eq!(None, late.join().unwrap());
    });
    assert_eq!(["successor", "held"].map(str::to_owned).to_vec(), field.arrived());
    // Without a successor it arrives in the end.
    let armed = field.arm(&put(), Moment::Late, &hands);
    assert_eq!(None, field.write("a", "alone"));
    assert!(!armed.wait(PATIENCE).unwrap().overtaken);
    assert_eq!(3, field.arrived().len());
}

#[test]
fn a_watch_that_stands_is_cut_or_stalls() {
    let edge = Edge::new(Who::Operator, Verb::Watch, "workers");
    for moment in [Moment::Lost, Moment::Stalled] {
        let field = Field::new();
        let hands = tally();
        hands.counts.store(false, Ordering::SeqCst);
        field.runtime.block_on(async {
            let answer = field.begin("a", "GET", WATCH, "").await.unwrap();
            let mut events = answer.into_body().into_data_stream();
            assert!(events.next().await.unwrap().is_ok());
            let armed = field.arm(&edge, moment, &hands);
            // It is asked again until it counts.
            while hands.asked.load(Ordering::SeqCst) < 2 {
                assert!(events.next().await.unwrap().is_ok());
            }
            hands.counts.store(true, Ordering::SeqCst);
            while let Some(Ok(_)) = events.next().await {}
            assert!(armed.wait(PATIENCE).is_some(), "{moment}");
        });
        assert!(hands.killed.lock().unwrap().is_empty(), "{moment}");
    }
}
