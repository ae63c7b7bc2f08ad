//! Requests to a real server, and Helm speaking to it.

use std::process::Command;
use std::time::{Duration, Instant};

use braid_cluster::RealApiServer;
use http::Request;
use kube::Client;
use serde_json::Value;

use crate::helm::{helm, told};

/// For what a server does a moment after it has said yes.
pub const PATIENCE: Duration = Duration::from_mins(1);
const LOOK: Duration = Duration::from_millis(100);

/// The answer's code, and its message if it is a refusal.
pub async fn send(client: &Client, method: &str, path: &str, body: &Value) -> (u16, String) {
    let kind = if method == "PATCH" {
        "application/merge-patch+json"
    } else {
        "application/json"
    };
    let request = Request::builder()
        .method(method)
        .uri(path)
        .header("content-type", kind)
        .body(body.to_string().into_bytes())
        .unwrap();
    match client.request::<Value>(request).await {
        Ok(_) => (200, String::new()),
        Err(kube::Error::Api(status)) => (status.code, status.message),
        Err(error) => panic!("{method} {path}: {error}"),
    }
}

/// The object at a path, if it is there.
pub async fn find(client: &Client, path: &str) -> Option<Value> {
    match client.request(Request::get(path).body(Vec::new()).unwrap()).await {
        Ok(object) => Some(object),
        Err(kube::Error::Api(status)) if status.code == 404 => None,
        Err(error) => panic!("{path}: {error}"),
    }
}

/// Sends until the answer is what it should be.
pub async fn until(client: &Client, method: &str, path: &str, body: &Value, is: impl Fn(&(u16, String)) -> bool) {
    let begun = Instant::now();
    loop {
        let answer = send(client, method, path, body).await;
        if is(&answer) {
            return;
        }
        assert!(begun.elapsed() < PATIENCE, "{method} {path}: {answer:?}");
        tokio::time::sleep(LOOK).await;
    }
}

/// Looks until the object is not there any more.
pub async fn until_gone(client: &Client, path: &str) {
    let begun = Instant::now();
    while let Some(object) = find(client, path).await {
        assert!(begun.elapsed() < PATIENCE, "{path} stays: {object}");
        tokio::time::sleep(LOOK).await;
    }
}

/// Helm as an administrator of this server.
pub fn helm_on(server: &RealApiServer) -> Command {
    let kubectl = server.kubectl("default").unwrap();
    let mut command = helm();
    for (name, value) in kubectl.get_envs() {
        if let (Some("KUBECONFIG"), Some(value)) = (name.to_str(), value) {
            command.env(name, value);
        }
    }
    command
}

/// What Helm refused to do, in its words.
pub fn refused(command: &mut Command) -> String {
    let output = command.output().unwrap();
    assert!(!output.status.success(), "{command:?} is done: {}", told(&output));
    told(&output)
}
